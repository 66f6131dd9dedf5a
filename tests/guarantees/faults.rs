//! Failing disks (G8): each kind of call fails in each way, at many places of a whole life of a
//! store. Nothing acknowledged is lost, nobody waits for ever, nothing panics, reads go on, later
//! writes are answered `Poisoned` where the log failed, and `reopen()` heals.

use std::io::ErrorKind;
use std::sync::Arc;

use walden::fs::sim::{CallKind, CrashMode, Fault, Plan, SimFs};
use walden::testing::{Shared, shows};
use walden::{Durability, Error, Result};

use crate::lost_history::Draw;
use crate::oracle::Oracle;
use crate::support::{PATIENCE, at, documents, open, seeds, within};
use crate::workload::{Run, Step, put, reference};

/// What a run of the grid met.
#[derive(Debug, Default)]
struct Met {
    faults: u64,
    failures: u64,
    poisoned: u64,
    healed: u64,
}

impl Met {
    fn add(&mut self, met: &Met) {
        self.faults += met.faults;
        self.failures += met.failures;
        self.poisoned += met.poisoned;
        self.healed += met.healed;
    }
}

/// A run in which faults strike, and after which the store is healed and goes on.
struct Broken {
    run: Run,
    met: Met,
    what: String,
    /// Whether faults are left that strike the healing.
    goes_on: bool,
}

impl Broken {
    fn live(plans: Vec<Plan>, what: String) -> Met {
        let disk = SimFs::new();
        let oracle = Shared::new(Oracle::new());
        let mut run = Run::new(&disk, Arc::new(disk.clone()), oracle);
        run.edits = false;
        let mut broken = Broken { run, met: Met::default(), what, goes_on: plans.len() > 1 };
        for plan in plans {
            disk.fail(plan);
        }
        if let Err(error) = broken.run.open() {
            broken.failed_to_open(&error);
        }
        for step in reference() {
            if let Err(error) = broken.run.step(&step) {
                broken.failed(&step, &error);
            }
        }
        if let Err(error) = broken.run.shutdown() {
            broken.failed_to_shut_down(&error);
        }
        broken.end()
    }

    fn disk(&self) -> &SimFs {
        &self.run.disk
    }

    fn failed_to_open(&mut self, error: &Error) {
        self.met.failures += 1;
        self.typed(error);
        self.open_again(error);
        self.compare(true);
    }

    fn open_again(&mut self, error: &Error) {
        if self.goes_on {
            match self.run.open() {
                Ok(()) => return self.disk().clear_faults(),
                Err(again) => self.typed(&again),
            }
        }
        self.disk().clear_faults();
        self.run.open().unwrap_or_else(|again| panic!("{}: {error}, then {again}", self.what));
    }

    /// A step failed: what follows is refused until the store is healed; then it is as it must be.
    fn failed(&mut self, step: &Step, error: &Error) {
        self.met.failures += 1;
        self.typed(error);
        if self.run.store.is_none() {
            // The shutdown failed, or the opening after it.
            return self.failed_to_open(error);
        }
        let before = documents(&self.run.store().view());
        let next = self.run.store().save_task_json(r#"{"id": "probe"}"#);
        let is_poisoned = matches!(next, Err(Error::Poisoned { .. }));
        self.met.poisoned += u64::from(is_poisoned);
        // The fault may strike the log in its turn, and then the probe stays.
        let stays = next.is_ok() && self.run.store().delete_task("probe").is_err();
        let after = documents(&self.run.store().view());
        assert!(stays || after == before, "{}: reads go on", self.what);
        if self.goes_on
            && let Err(again) = self.run.store().reopen()
        {
            self.typed(&again);
        }
        self.disk().clear_faults();
        self.run.store().reopen().unwrap_or_else(|again| panic!("{}: {again}", self.what));
        self.met.healed += 1;
        self.run.store().delete_task("probe").unwrap();
        // A `Buffered` write may go with the flush that failed.
        self.compare(is_poisoned);
        if matches!(step, Step::Checkpoint) {
            self.run.step(step).unwrap_or_else(|again| panic!("{}: {again}", self.what));
        }
    }

    fn failed_to_shut_down(&mut self, error: &Error) {
        self.met.failures += 1;
        self.typed(error);
        self.open_again(error);
        self.compare(true);
        self.run.shutdown().unwrap();
    }

    fn typed(&self, error: &Error) {
        let typed = matches!(
            error,
            Error::Io { .. }
                | Error::DiskFull { .. }
                | Error::Poisoned { .. }
                | Error::NotFound { .. }
        );
        assert!(typed, "{}: {error:?}", self.what);
    }

    /// What is there must be what was acknowledged, or a bit more; and the same after a power cut.
    fn compare(&self, buffered_may_go: bool) {
        let found = documents(&self.run.store().view());
        self.run.oracle.change(|oracle| {
            let place = oracle
                .place(&found, buffered_may_go)
                .unwrap_or_else(|why| panic!("{}: {why}", self.what));
            oracle.found(place);
        });
        // Where the log did not fail, nobody flushed what was `Buffered`.
        let left = if buffered_may_go {
            self.disk().if_crashed(CrashMode::Nothing)
        } else {
            self.disk().if_killed()
        };
        let store = open(&left, 5000).unwrap_or_else(|error| panic!("{}: {error}", self.what));
        assert_eq!(documents(&store.view()), found, "{}: after a crash", self.what);
    }

    fn end(mut self) -> Met {
        self.met.faults = self.disk().faults_fired();
        self.disk().clear_faults();
        let store = open(self.disk(), 6000).unwrap();
        let oracle = self.run.oracle.get();
        assert_eq!(&documents(&store.view()), oracle.present(), "{}", self.what);
        store.checkpoint().unwrap();
        store.shutdown().unwrap();
        shows(self.disk(), &oracle).unwrap();
        let verified = at(self.disk(), 6001).verify().unwrap();
        assert!(verified.ok, "{}: {:#?}", self.what, verified.problems);
        let kept = self.disk().names();
        let kept: Vec<_> = kept.iter().filter(|name| name.starts_with("conflicts/")).collect();
        assert!(kept.is_empty(), "{}: nobody edited anything: {kept:?}", self.what);
        self.met
    }
}

/// Calls of a kind in the whole workload.
fn calls_of(kind: CallKind) -> u64 {
    let disk = SimFs::new();
    // A short write would be followed by another.
    let counts = !matches!(kind, CallKind::Read | CallKind::Write);
    if counts {
        (1..4000).for_each(|nth| disk.fail_when(kind, nth, Fault::Short));
    }
    let mut run = Run::new(&disk, Arc::new(disk.clone()), Shared::new(Oracle::new()));
    run.edits = false;
    run.open().unwrap();
    for step in reference() {
        run.step(&step).unwrap();
    }
    run.shutdown().unwrap();
    let verb = if kind == CallKind::Read { "read " } else { "write " };
    let traced = disk.trace().iter().filter(|call| call.starts_with(verb)).count() as u64;
    if counts { disk.faults_fired() } else { traced }
}

fn grid(fault: Fault, kinds: &[CallKind], places: u64) -> Met {
    let mut all = Met::default();
    for kind in kinds {
        let calls = calls_of(*kind);
        let step = (calls / places).max(1);
        for nth in (1..=calls).step_by(usize::try_from(step).unwrap()) {
            let plan = Plan::new(fault).kind(*kind).nth(nth);
            let met = Broken::live(vec![plan], format!("{kind:?} {nth}: {fault:?}"));
            assert!(met.faults > 0 || met.failures > 0, "{kind:?} {nth} of {calls} never came");
            all.add(&met);
        }
    }
    println!("{fault:?}: {all:?}");
    all
}

#[test]
fn an_io_error_at_any_call_loses_nothing_acknowledged_and_is_healed_by_reopening() {
    let met = within(PATIENCE, || grid(Fault::Errno(5), &CallKind::ALL, 12));
    assert!(met.faults > 60 && met.failures > 40 && met.poisoned > 2 && met.healed > 20, "{met:?}");
}

#[test]
fn a_disk_that_keeps_failing_loses_nothing_acknowledged() {
    let met = within(PATIENCE, || grid(Fault::Sticky(ErrorKind::Other), &CallKind::ALL, 6));
    assert!(met.faults > 60 && met.failures > 40 && met.poisoned > 2 && met.healed > 20, "{met:?}");
}

#[test]
fn a_full_disk_at_any_call_loses_nothing_acknowledged() {
    let kinds =
        [CallKind::Create, CallKind::Write, CallKind::Sync, CallKind::Rename, CallKind::Link];
    let met = within(PATIENCE, move || grid(Fault::Error(ErrorKind::StorageFull), &kinds, 12));
    assert!(met.faults > 40 && met.failures > 20, "{met:?}");
}

/// Calls that fail one soon after the other: the second strikes the answer to the first, or the healing.
#[test]
fn several_calls_that_fail_one_after_the_other_lose_nothing_acknowledged() {
    let calls = {
        let disk = SimFs::new();
        let mut run = Run::new(&disk, Arc::new(disk.clone()), Shared::new(Oracle::new()));
        run.edits = false;
        run.open().unwrap();
        for step in reference() {
            run.step(&step).unwrap();
        }
        disk.calls()
    };
    let replayed = std::env::var("WALDEN_FAULTS").ok().map(|seed| seed.parse::<u64>().unwrap());
    let met = within(PATIENCE, move || {
        let mut all = Met::default();
        for seed in replayed.map_or(0..300 * seeds(), |seed| seed..seed + 1) {
            let mut draw = Draw(seed);
            let first = 1 + draw.below(calls);
            let second = first + 1 + draw.below(30);
            let failing = [first, second, second + 1 + draw.below(30)];
            let what = format!("WALDEN_FAULTS={seed}: calls {failing:?} of {calls}");
            let plans = failing.map(|nth| Plan::new(Fault::Errno(5)).nth(nth));
            all.add(&Broken::live(plans.into(), what));
        }
        all
    });
    println!("{met:?} in {calls} calls");
    assert!(
        replayed.is_some() || met.faults > 500 && met.failures > 200 && met.healed > 100,
        "{met:?}"
    );
}

#[test]
fn interrupted_and_short_reads_and_writes_are_not_noticed() {
    for fault in [Fault::Error(ErrorKind::Interrupted), Fault::Short] {
        let kinds = [CallKind::Read, CallKind::Write];
        let met = within(PATIENCE, move || grid(fault, &kinds, 15));
        assert!(met.faults > 20, "{met:?}");
        assert_eq!(met.failures, 0, "{fault:?}: {met:?}");
    }
}

#[test]
fn no_space_for_a_segment_only_refuses_and_heals_by_itself() -> Result<()> {
    let disk = SimFs::new();
    let store = open(&disk, 1)?;
    disk.set_free_bytes(50_000);
    let mut refused = 0;
    let mut saved = Vec::new();
    for round in 0..20 {
        let change = put(&format!("t{round}"), 2000, round);
        let saving = store
            .submit(Durability::Sync, |tx| crate::workload::fill(tx, std::slice::from_ref(&change)))
            .and_then(walden::Commit::wait);
        match saving {
            Ok(_) => saved.push(format!("t{round}")),
            Err(Error::DiskFull { .. }) => refused += 1,
            Err(error) => panic!("{error:?}"),
        }
    }
    assert!(refused > 5 && !saved.is_empty(), "{refused} refused, {} saved", saved.len());
    disk.set_free_bytes(1 << 30);
    store.save_task_json(r#"{"id": "again"}"#)?;
    saved.push("again".to_owned());
    let cut = disk.if_crashed(CrashMode::Nothing);
    let found = documents(&open(&cut, 2)?.view());
    let mut ids: Vec<String> = found.into_keys().map(|(_, id)| id).collect();
    saved.sort();
    ids.sort();
    assert_eq!(ids, saved);
    Ok(())
}

/// Before a durable `.walden` speaks of what an opening left that was cut off, all of it is flushed.
/// The opener waits for that flush.
#[test]
fn a_flush_of_everything_that_fails_refuses_the_opening_and_the_next_one_heals() {
    let whole = SimFs::new();
    drop(open(&whole, 1).unwrap());
    let mut refused = 0;
    for call in 1..whole.calls() {
        let disk = SimFs::new();
        disk.fail_at(call, Fault::Crash);
        assert!(open(&disk, 1).is_err() || disk.has_stopped());
        let left = disk.kill();
        left.fail_when(CallKind::SyncAll, 1, Fault::Errno(5));
        let opened = open(&left, 2);
        // The shutdown of a dropped store flushes everything too.
        if left.faults_fired() == 0 {
            left.clear_faults();
            continue;
        }
        refused += 1;
        assert!(matches!(opened, Err(Error::Io { .. })), "at {call}: {opened:?}");
        let store = open(&left, 3).unwrap();
        assert!(store.view().is_empty(), "at {call}");
        store.shutdown().unwrap();
    }
    assert!(refused > 3, "{refused} openings were refused");
}
