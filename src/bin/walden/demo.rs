//! `demo`: the main promise, shown in about ten seconds.
//!
//! A child process lets many agents work through tasks, and tells over a pipe what each is about to
//! write and what was acknowledged. It is killed with SIGKILL in full flight, several times; each
//! time the store is opened again and compared with that record, which the store had no part in.
//! At the end the same check is shown to fail on a copy in which one write was taken away.
//!
//! It must never touch a directory that it did not make.

mod live;
mod report;
mod round;
mod tasks;
pub(crate) mod worker;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use serde_json::Value;
use walden::{Collection, Error, Store, View};

use crate::args::Format;
use crate::failure::{Failure, Outcome};
use crate::host;
use crate::ledger::Ledger;
use crate::ledger::check::{Checked, check};
use live::Live;
use report::{Kill, Report, Tampering};

const DIR: &str = "walden-demo";
const MARKER: &str = "README.txt";
const MARKER_TEXT: &str = "\
This directory was made by `walden demo`, and the next `walden demo` begins it anew.

store/     the state that many agents wrote while their process was killed again and again
tampered/  a copy in which one acknowledged write was taken away, to show that the check notices
";
/// So often the working process is killed.
const KILLS: u16 = 3;
/// Shortest time that agents work between two kills.
const ROUND_MIN: Duration = Duration::from_millis(300);
/// How much longer than its work the first round is taken to last.
const FIRST_COST: f64 = 1.6;

/// Runs the demonstration.
pub(crate) fn demo(format: Format, seconds: u16, agents: u16) -> Outcome {
    let dir = Path::new(DIR);
    let (dir_of_store, dir_of_copy) = (dir.join("store"), dir.join("tampered"));
    let made = [dir_of_store.clone(), dir_of_copy.clone()];
    host::claim_dir(dir, MARKER, MARKER_TEXT, &made)?;
    let mut pace = Pace::new(Duration::from_secs(seconds.into()));
    let mut live = Live::new(format, agents, pace.time);
    live.say(&format!(
        "{agents} agents work in {} for about {seconds} s; their process is killed {KILLS} times.",
        dir_of_store.display()
    ))?;

    let mut ledger = Ledger::default();
    let mut report = Report::new(agents);
    for number in 1..=KILLS {
        let time = pace.next_round(KILLS + 1 - number);
        report.figures.add(&round::run(
            &dir_of_store,
            agents,
            number,
            time,
            &mut ledger,
            &mut live,
        )?);
        let last = number == KILLS;
        let kill = if last {
            let (kill, store) = open_and_check(&dir_of_store, &mut ledger)?;
            store.shutdown()?;
            kill
        } else {
            read_and_check(&dir_of_store, &mut ledger)?
        };
        live.say(&kill.to_string())?;
        let whole = kill.checked.problems.is_empty();
        report.kills.push(kill);
        if !whole {
            break;
        }
    }
    if report.is_whole() {
        report.tampering = Some(tamper(&dir_of_store, &dir_of_copy, &ledger)?);
    }
    live.finish();
    report.example =
        ledger.known.iter().find(|(_, known)| known.task.is_some()).map(|(id, _)| id.clone());
    report.print(format)?;
    if report.is_whole() && report.tampering.as_ref().is_some_and(Tampering::was_noticed) {
        return Ok(ExitCode::SUCCESS);
    }
    Err(Failure::Check(report.verdict()))
}

/// Shares the time out among the rounds: what starting, opening and checking cost is learnt from the
/// rounds before.
struct Pace {
    started: Instant,
    time: Duration,
    worked: Duration,
}

impl Pace {
    fn new(time: Duration) -> Self {
        Pace { started: Instant::now(), time, worked: Duration::ZERO }
    }

    fn next_round(&mut self, rounds_left: u16) -> Duration {
        let passed = self.started.elapsed();
        let cost =
            if self.worked.is_zero() { FIRST_COST } else { passed.div_duration_f64(self.worked) };
        let share = self.time.saturating_sub(passed) / u32::from(rounds_left.max(1));
        let round = share.div_f64(cost).max(ROUND_MIN);
        self.worked += round;
        round
    }
}

/// Looks at what a kill left, as a reader that changes nothing; the next worker recovers it.
fn read_and_check(dir: &Path, ledger: &mut Ledger) -> Result<Kill, Failure> {
    let started = Instant::now();
    let view = Store::builder(dir).open_read_only()?;
    let took = started.elapsed();
    let checked = settle(&view, ledger)?;
    let recovery = view.recovery();
    Ok(Kill { took, replayed: recovery.records_replayed, torn: recovery.torn_bytes, checked })
}

/// Recovers what the last kill left, as any program would.
fn open_and_check(dir: &Path, ledger: &mut Ledger) -> Result<(Kill, Store), Failure> {
    let started = Instant::now();
    let store = Store::open(dir)?;
    let took = started.elapsed();
    let checked = settle(&store.view(), ledger)?;
    let recovery = store.recovery();
    let (replayed, torn) = (recovery.records_replayed, recovery.torn_bytes);
    Ok((Kill { took, replayed, torn, checked }, store))
}

/// Checks, and takes what was in flight and landed into the ledger.
fn settle(view: &View, ledger: &mut Ledger) -> Result<Checked, Failure> {
    let settled = ledger.settle_after_kill(&tasks_of(view)?, view.lsn());
    settled.map(|settled| settled.checked).map_err(Failure::Check)
}

fn tasks_of(view: &View) -> Result<BTreeMap<String, Value>, Failure> {
    let parse = |text: &str, id: &str| {
        serde_json::from_str(text).map_err(|error| Error::corrupt(id, 0, error))
    };
    let docs = view.docs(Collection::Task);
    let tasks = docs.iter().map(|(id, doc)| Ok((id.to_string(), parse(doc.text(), id.as_str())?)));
    tasks.collect()
}

/// Takes one acknowledged write out of a copy of the store, and checks the copy.
fn tamper(dir: &Path, copy: &Path, ledger: &Ledger) -> Result<Tampering, Failure> {
    host::copy_dir(dir, copy)?;
    let store = Store::open(copy)?;
    let mut tasks = tasks_of(&store.view())?;
    let logs_of =
        |task: &mut Value| task.get_mut("logs").and_then(Value::as_array_mut).map(std::mem::take);
    let chosen = tasks.iter_mut().find_map(|(id, task)| {
        let mut logs = logs_of(task)?;
        logs.pop()?;
        Some((id.clone(), logs))
    });
    let Some((id, logs)) = chosen else {
        store.shutdown()?;
        return Err(Failure::Check("no task has a log entry: the agents had no time".to_owned()));
    };
    let missing = logs.len();
    store.patch_task(&id, &serde_json::json!({ "logs": logs }))?;
    let view = store.view();
    let found = tasks_of(&view)?;
    store.shutdown()?;
    let problems = check(ledger, &found, view.lsn()).problems;
    Ok(Tampering { expected: format!("{id}: /logs/{missing}: "), problems })
}
