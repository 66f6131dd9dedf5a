//! Session logs and reports (G1, G2, G5, G8): what was acknowledged is in the file once, in order and
//! whole, after a crash at any call, also of the recovery, and after a failure of any call.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use walden::fs::sim::{CallKind, CrashMode, Fault, SimFs};
use walden::{ProblemKind, Result, Store};

use crate::support::{PATIENCE, TestClock, builder, open, seeds, within};
use crate::watched::Watched;

/// What a file must hold: what was acknowledged, or what the call under way would make of it.
#[derive(Clone, Debug, Default)]
struct Promise {
    acked: Option<Vec<u8>>,
    under_way: Option<Vec<u8>>,
}

type Promises = BTreeMap<String, Promise>;

#[derive(Clone, Copy, Debug)]
enum Step {
    Append(&'static str, usize),
    Save(&'static str, usize),
    Report(&'static str, usize),
    Task(&'static str),
    Checkpoint,
    Restart,
}

/// Bytes that tell where they belong, and none of them zero.
fn bytes(seed: usize, length: usize) -> Vec<u8> {
    (0..length).map(|n| u8::try_from((n * 7 + seed * 31 + n / 251) % 255 + 1).unwrap()).collect()
}

fn workload() -> Vec<Step> {
    use Step::{Append, Checkpoint, Report, Restart, Save, Task};
    vec![
        Append("a", 300),
        Append("a", 500),
        Append("b", 20),
        Report("r", 900),
        Task("t"),
        Append("a", 1),
        Checkpoint,
        Append("a", 2000),
        Save("b", 1500),
        Append("b", 700),
        Save("b", 40),
        Task("u"),
        Checkpoint,
        Append("b", 3),
        Report("r", 2500),
        Report("r", 60),
        Restart,
        Append("a", 100),
        Save("c", 600),
        Task("t"),
        Checkpoint,
        Append("c", 600),
        Append("c", 5),
    ]
}

struct Run {
    fs: Arc<dyn walden::fs::Fs>,
    clock: Arc<TestClock>,
    promises: Arc<Mutex<Promises>>,
    store: Option<Store>,
    count: usize,
}

impl Run {
    fn new(fs: Arc<dyn walden::fs::Fs>) -> Run {
        let clock = Arc::default();
        Run { fs, clock, promises: Arc::default(), store: None, count: 0 }
    }

    fn open(&mut self) -> Result<()> {
        self.count += 1;
        let builder = builder(self.fs.clone(), self.clock.clone(), self.count as u64);
        self.store = Some(builder.open()?);
        Ok(())
    }

    fn store(&self) -> &Store {
        self.store.as_ref().unwrap()
    }

    /// Makes a call that changes a file, with the promises told before and after.
    fn promise<T>(
        &self,
        file: &str,
        next: Vec<u8>,
        call: impl FnOnce() -> Result<T>,
    ) -> Result<()> {
        self.promises.lock().unwrap().entry(file.to_owned()).or_default().under_way = Some(next);
        call()?;
        let mut promises = self.promises.lock().unwrap();
        let promise = promises.get_mut(file).unwrap();
        promise.acked = promise.under_way.take();
        Ok(())
    }

    fn present(&self, file: &str) -> Vec<u8> {
        let promises = self.promises.lock().unwrap();
        promises.get(file).and_then(|promise| promise.acked.clone()).unwrap_or_default()
    }

    fn step(&mut self, step: Step) -> Result<()> {
        self.count += 1;
        let new = |length| bytes(self.count, length);
        let log = |id: &str| format!("logs/session_{id}.log");
        match step {
            Step::Append(id, length) => {
                let next = [self.present(&log(id)), new(length)].concat();
                self.promise(&log(id), next, || self.store().append_session_log(id, new(length)))
            }
            Step::Save(id, length) => self
                .promise(&log(id), new(length), || self.store().save_session_log(id, new(length))),
            Step::Report(id, length) => {
                let text = format!("{{\"n\":{},\"x\":\"{}\"}}", self.count, "x".repeat(length));
                let next = walden::state::json::pretty(&text).into_bytes();
                let file = format!("reports/report_{id}.json");
                self.promise(&file, next, || self.store().save_report_json(id, &text))
            }
            Step::Task(id) => {
                let text = format!("{{\"id\": \"{id}\", \"round\": {}}}", self.count);
                self.store().save_task_json(&text).map(drop)
            }
            Step::Checkpoint => self.store().checkpoint().map(drop),
            Step::Restart => {
                self.store().shutdown()?;
                self.open()
            }
        }
    }
}

/// Compares the files with the promises; what was under way may be there or not, but is known then.
fn compare(disk: &SimFs, promises: &mut Promises, what: &str) {
    for (file, promise) in promises {
        let found = disk.read_now(file);
        let is_next = promise.under_way.is_some() && found == promise.under_way;
        assert!(
            is_next || found == promise.acked,
            "{what}: {file}: found {:?} bytes, {:?} acknowledged, {:?} under way",
            found.as_ref().map(Vec::len),
            promise.acked.as_ref().map(Vec::len),
            promise.under_way.as_ref().map(Vec::len),
        );
        *promise = Promise { acked: found, under_way: None };
    }
}

fn no_edit(disk: &SimFs, what: &str) {
    let kept = disk.names().into_iter().find(|name| name.starts_with("conflicts/"));
    assert_eq!(kept, None, "{what}: nobody edited anything");
}

#[derive(Debug, Default)]
struct Tally {
    places: AtomicU64,
    states: AtomicU64,
    nested: AtomicU64,
    unwritten: AtomicU64,
}

fn recover(disk: &SimFs, promises: &Promises, seed: u64, tally: &Tally) -> (Store, Promises) {
    let what = format!("at {seed}");
    let is_behind = promises.iter().any(|(file, promise)| disk.read_now(file) != promise.acked);
    tally.unwritten.fetch_add(u64::from(is_behind), Relaxed);
    tally.states.fetch_add(1, Relaxed);
    let store = open(disk, seed + 100).unwrap_or_else(|error| panic!("{what}: {error}"));
    for problem in &store.recovery().problems {
        let is_trace = matches!(problem.kind, ProblemKind::Torn | ProblemKind::Stale);
        assert!(is_trace, "{what}: a crash is no damage: {problem}");
    }
    let mut found = promises.clone();
    compare(disk, &mut found, &what);
    no_edit(disk, &what);
    (store, found)
}

/// Recovers, continues every log, and loses power again, with and without a checkpoint before.
fn check(left: &SimFs, promises: &Promises, place: u64, tally: &Tally) {
    let disk = left.if_killed();
    let (store, mut found) = recover(&disk, promises, place, tally);
    for id in ["a", "b", "c"] {
        store.append_session_log(id, "later").unwrap();
        let promise = found.entry(format!("logs/session_{id}.log")).or_default();
        promise.acked.get_or_insert_default().extend(b"later");
    }
    let modes = [CrashMode::Nothing, CrashMode::Random(place)];
    for mode in &modes {
        recover(&disk.if_crashed(mode), &found, place + 1, tally);
    }
    store.checkpoint().unwrap();
    let wal: Vec<_> = disk.names().into_iter().filter(|name| name.contains("output.")).collect();
    assert!(wal.is_empty(), "temporary files stay: {wal:?}");
    for mode in modes {
        recover(&disk.if_crashed(mode), &found, place + 2, tally);
    }
}

fn crash_everywhere(power_cut: bool) -> Arc<Tally> {
    let tally = Arc::new(Tally::default());
    let disk = SimFs::new();
    let promises: Arc<Mutex<Promises>> = Arc::default();
    let (noted, shared) = (tally.clone(), promises.clone());
    let watched = Watched::new(&disk, move |disk| {
        let place = noted.places.fetch_add(1, Relaxed) * 1000;
        let promises = shared.lock().unwrap().clone();
        let modes = (0..=seeds()).map(|seed| CrashMode::Random(place + seed));
        let modes = modes.chain([CrashMode::Nothing, CrashMode::Everything]);
        let outcomes: Vec<SimFs> = if power_cut {
            modes.map(|mode| disk.if_crashed(mode)).collect()
        } else {
            vec![disk.if_killed()]
        };
        for (number, left) in outcomes.into_iter().enumerate() {
            check(&left, &promises, place, &noted);
            if (place / 1000 + number as u64).is_multiple_of(13) {
                crash_the_recovery(&left, &promises, place, &noted);
            }
        }
    });
    let mut run = Run::new(Arc::new(watched));
    run.promises = promises;
    run.open().unwrap();
    for step in workload() {
        run.step(step).unwrap_or_else(|error| panic!("{step:?}: {error}"));
    }
    run.store().shutdown().unwrap();
    println!("power cut: {power_cut}: {tally:?}");
    tally
}

fn crash_the_recovery(left: &SimFs, promises: &Promises, place: u64, tally: &Arc<Tally>) {
    let disk = left.if_killed();
    let (promises, tally) = (promises.clone(), tally.clone());
    let calls = AtomicU64::new(0);
    let fs = Watched::new(&disk, move |disk| {
        let call = calls.fetch_add(1, Relaxed);
        tally.nested.fetch_add(1, Relaxed);
        let mode = if call.is_multiple_of(3) {
            CrashMode::Nothing
        } else {
            CrashMode::Random(place + call)
        };
        recover(&disk.if_crashed(mode), &promises, place + call, &tally);
    });
    drop(builder(Arc::new(fs), Arc::default(), place + 7).open().unwrap());
}

#[test]
fn a_power_cut_at_any_call_leaves_every_acknowledged_byte_once_and_in_order() {
    let tally = within(PATIENCE, || crash_everywhere(true));
    assert!(tally.places.load(Relaxed) > 200, "{tally:?}");
    assert!(tally.states.load(Relaxed) > 4000, "{tally:?}");
    assert!(tally.nested.load(Relaxed) > 500, "{tally:?}");
    assert!(tally.unwritten.load(Relaxed) > 300, "files were behind the log: {tally:?}");
}

#[test]
fn a_kill_at_any_call_leaves_every_acknowledged_byte_once_and_in_order() {
    let tally = within(PATIENCE, || crash_everywhere(false));
    assert!(tally.states.load(Relaxed) > 1000, "{tally:?}");
    assert!(tally.unwritten.load(Relaxed) > 10, "{tally:?}");
}

#[test]
fn a_failure_of_any_call_loses_no_acknowledged_byte_and_no_later_one() {
    let mut struck = 0;
    let kinds = [
        CallKind::Open,
        CallKind::Create,
        CallKind::CreateDir,
        CallKind::Read,
        CallKind::Write,
        CallKind::Sync,
        CallKind::SyncDir,
        CallKind::Rename,
        CallKind::Remove,
        CallKind::List,
        CallKind::Stat,
    ];
    for kind in kinds {
        for nth in 1.. {
            let disk = SimFs::new();
            let mut run = Run::new(Arc::new(disk.clone()));
            run.open().unwrap();
            disk.fail_when(kind, nth, Fault::Errno(5));
            let what = format!("{kind:?} {nth}");
            for step in workload() {
                if run.step(step).is_ok() {
                    continue;
                }
                // The failed call may have come through or not; later ones go on from what is there.
                disk.clear_faults();
                if matches!(step, Step::Restart) {
                    run.open().unwrap_or_else(|error| panic!("{what}: {error}"));
                }
                run.store().reopen().unwrap();
                run.store().checkpoint().unwrap_or_else(|error| panic!("{what}: {error}"));
                compare(&disk, &mut run.promises.lock().unwrap(), &what);
                no_edit(&disk, &what);
            }
            let fired = disk.faults_fired();
            struck += fired;
            disk.clear_faults();
            let cut = disk.if_crashed(CrashMode::Nothing);
            recover(&cut, &run.promises.lock().unwrap(), nth, &Tally::default());
            drop(run);
            if fired == 0 {
                break;
            }
        }
    }
    println!("{struck} faults struck");
    assert!(struck > 500, "{struck}");
}

/// Runs a few steps of which some calls fail, until a step fails: what came of that is known by the files. Gives
/// how many calls did. What the engine itself wrote may have a copy then: where neither the write nor the look
/// after it came through, nobody knows whose it is.
fn calls_fail(failing: &[u64]) -> u64 {
    use Step::{Append, Checkpoint, Report, Save};
    let disk = SimFs::new();
    let mut run = Run::new(Arc::new(disk.clone()));
    run.open().unwrap();
    for nth in failing {
        disk.fail_at(*nth, Fault::Errno(5));
    }
    let what = format!("calls {failing:?}");
    let steps =
        [Append("a", 30), Save("a", 20), Save("a", 10), Report("r", 9), Checkpoint, Append("a", 5)];
    for step in steps.into_iter().chain([Save("a", 40), Append("a", 3)]) {
        let done = run.step(step);
        if done.is_err() && !matches!(step, Checkpoint) {
            break;
        }
    }
    let fired = disk.faults_fired();
    disk.clear_faults();
    if let Err(walden::Error::Poisoned { .. }) = run.store().checkpoint() {
        run.store().reopen().unwrap_or_else(|error| panic!("{what}: {error}"));
    }
    run.store().checkpoint().unwrap_or_else(|error| panic!("{what}: {error}"));
    let mut promises = run.promises.lock().unwrap().clone();
    compare(&disk, &mut promises, &what);
    let cut = disk.if_crashed(CrashMode::Nothing);
    let _store = open(&cut, 70).unwrap_or_else(|error| panic!("{what}: {error}"));
    compare(&cut, &mut promises, &what);
    fired
}

#[test]
fn a_failure_of_any_two_calls_loses_no_acknowledged_byte() {
    // A third, among those that may be the answer to the second.
    let is_whole = std::env::var_os("WALDEN_EXHAUSTIVE").is_some();
    let mut runs = 0;
    for first in 1.. {
        let mut second = first;
        let fired = loop {
            second += 1;
            match calls_fail(&[first, second]) {
                2 => runs += 1,
                fired => break fired,
            }
            for third in second + 1..second + if is_whole { 30 } else { 1 } {
                runs += calls_fail(&[first, second, third]) / 3;
            }
        };
        if fired == 0 {
            break;
        }
    }
    println!("{runs} runs");
    assert!(runs > 1000, "{runs}");
}
