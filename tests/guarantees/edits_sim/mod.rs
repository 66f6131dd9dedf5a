//! A simulation of people's edits (G6): random interleavings of writes, checkpoints, passes of the mirror,
//! crashes, power cuts, reads that fail and edits of every kind, and an oracle that accounts for every write and every
//! edit: in force, merged, or in `conflicts/`.
//!
//! By default a sample; `WALDEN_SIM_SEEDS=N` runs so many, `WALDEN_EDITS=seed[:step,step,…]` one of them
//! again. A run that fails is shrunk to the fewest steps that show it, and says how to see it again.

mod oracle;
mod person;
mod run;
mod tally;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread;

use parking_lot::Mutex;
use walden::testing::mix;

use run::Run;
use tally::Tally;

/// Steps of a run.
const STEPS: u64 = 40;
/// After so many failures no other run is begun.
const FAILURES_MAX: usize = 50;
/// Runs by default.
const RUNS: u64 = 300;

/// What so many runs must have met at least.
const FLOORS: [(&str, u64); 17] = [
    ("writes", 2500),
    ("deletes", 200),
    ("checkpoints", 400),
    ("restarts", 150),
    ("kills", 100),
    ("failing reads", 400),
    ("power cuts", 100),
    ("edits", 2000),
    ("edits told", 1500),
    ("saves of a buffer", 500),
    ("saves in the middle of a call", 200),
    ("put back", 150),
    ("broken", 400),
    ("looks at held files", 3000),
    ("deletions taken in", 25),
    ("conflicts", 200),
    ("revivals", 40),
];

/// What a run did; or why it failed.
fn run(seed: u64, steps: &[u64]) -> Result<Tally, String> {
    let mut run = Run::new(seed);
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        run.begin().map_err(|why| format!("at the beginning: {why}"))?;
        for step in steps {
            run.oracle.change(|oracle| oracle.trace.push(format!("step {step}")));
            run.step(mix(mix(seed) ^ step)).map_err(|why| format!("step {step}: {why}"))?;
        }
        run.oracle.change(|oracle| oracle.trace.push("the end".to_owned()));
        run.end().map_err(|why| format!("at the end: {why}"))?;
        Ok(run.oracle.look(|oracle| oracle.tally.clone()))
    }));
    let outcome = outcome.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
        Err(format!("panicked: {}", text.unwrap_or_default()))
    });
    outcome.map_err(|why| run.oracle.look(|oracle| format!("{why}\n{}", oracle.trace.join("\n"))))
}

/// Leaves out steps for as long as the rest fails in the same way.
fn shrink(seed: u64, why: String) -> String {
    let kind = |why: &str| why.split(": ").nth(1).unwrap_or_default().to_owned();
    let mut steps: Vec<u64> = (0..STEPS).collect();
    let mut simplest = why;
    let mut at = steps.len();
    while at > 0 {
        at -= 1;
        let mut fewer = steps.clone();
        fewer.remove(at);
        if let Err(why) = run(seed, &fewer)
            && kind(&why) == kind(&simplest)
        {
            (steps, simplest) = (fewer, why);
            at = at.min(steps.len());
        }
    }
    let steps: Vec<String> = steps.iter().map(u64::to_string).collect();
    format!(
        "{simplest}\nto see it again: WALDEN_EDITS={seed}:{} cargo test --test guarantees edits_sim",
        steps.join(",")
    )
}

fn again(text: &str) -> Result<Tally, String> {
    let (seed, steps) = text.split_once(':').unwrap_or((text, ""));
    let seed = seed.parse().unwrap();
    if steps.is_empty() {
        return run(seed, &(0..STEPS).collect::<Vec<_>>()).map_err(|why| shrink(seed, why));
    }
    let steps: Vec<u64> = steps.split(',').map(|step| step.parse().unwrap()).collect();
    run(seed, &steps)
}

/// Runs seeds on two threads; gives what they did, or the failures.
fn simulate(runs: u64) -> Result<Tally, String> {
    let next = AtomicU64::new(0);
    let failures = Mutex::new(BTreeMap::new());
    let work = || {
        let mut sum = Tally::default();
        loop {
            let seed = next.fetch_add(1, Relaxed);
            if seed >= runs || failures.lock().len() >= FAILURES_MAX {
                return sum;
            }
            if seed > 0 && seed.is_multiple_of(10_000) {
                println!("{seed} of {runs} runs");
            }
            match run(seed, &(0..STEPS).collect::<Vec<_>>()) {
                Ok(tally) => sum.add(&tally),
                Err(why) => drop(failures.lock().insert(seed, why)),
            }
        }
    };
    let mut sum = Tally::default();
    thread::scope(|scope| {
        let threads = [scope.spawn(work), scope.spawn(work)];
        threads.map(|thread| thread.join().unwrap()).iter().for_each(|part| sum.add(part));
    });
    let failures = failures.into_inner();
    let first_lines = failures.iter().map(|(seed, why)| (seed, why.lines().next()));
    let lines: Vec<String> = first_lines.map(|line| format!("{line:?}")).collect();
    match failures.into_iter().next() {
        None => Ok(sum),
        Some((seed, why)) => Err(format!("{}\n{}", lines.join("\n"), shrink(seed, why))),
    }
}

#[test]
fn every_write_and_every_edit_is_in_force_or_merged_or_kept_in_any_interleaving() {
    if let Ok(text) = std::env::var("WALDEN_EDITS") {
        println!("{:#?}", again(&text).unwrap_or_else(|why| panic!("{why}")).0);
        return;
    }
    let runs = std::env::var("WALDEN_SIM_SEEDS").map_or(RUNS, |runs| runs.parse().unwrap());
    let tally = simulate(runs).unwrap_or_else(|why| panic!("{why}"));
    println!("{runs} runs of {STEPS} steps: {:?}", tally.0);
    for (what, floor) in FLOORS {
        let count = tally.of(what);
        assert!(count * RUNS >= floor * runs, "{count} {what} prove nothing: {:?}", tally.0);
    }
}
