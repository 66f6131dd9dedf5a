//! Checkpoints keep a complete source (G1, G5) and cost what changed (G9). What a crash at any of their
//! calls leaves is judged by the files alone, without recovery: an intact snapshot, and a log that holds
//! every acknowledged record above it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use walden::files::snapshot::{Parsed, parse};
use walden::fs::sim::{CrashMode, SimFs};
use walden::wal::{self, Hints, Replayed, Verdict};
use walden::{Event, Lsn, Options, Store};

use crate::support::{Documents, TestClock, at, builder, documents, files, small};
use crate::watched::Watched;
use crate::workload::snapshot_documents;

const SECOND: Duration = Duration::from_secs(1);

/// The states that were acknowledged, by LSN.
type History = BTreeMap<u64, Documents>;

/// What is wrong with a source, or nothing.
fn judge(disk: &SimFs, file: Option<&str>, history: &History) -> Result<(), String> {
    let (mut hints, mut from) = (Hints::default(), Lsn(0));
    if let Some(file) = file {
        let bytes = disk.read_now(file).unwrap();
        let Parsed::Intact(snapshot) = parse(&bytes) else { return Err("not intact".into()) };
        from = snapshot.lsn;
        hints = Hints { store: Some(snapshot.store), base: from, durable: from, ..hints };
        let shown = history.range(..=from.0).next_back().map(|(_, state)| state.clone());
        if shown.unwrap_or_default() != snapshot_documents(&bytes) {
            return Err(format!("it is not the state at LSN {from}"));
        }
    }
    let scan = wal::scan(disk, "wal", &hints).map_err(|error| error.to_string())?;
    if scan.verdict() == Verdict::Corrupt || scan.first_base > from {
        return Err(format!("the log is no continuation of {from}: {:?}", scan.findings));
    }
    let mut seen = BTreeSet::new();
    let replayed = scan.replay(disk, "wal", from, &mut |piece| {
        match piece {
            Replayed::Group(records) => seen.extend(records.iter().map(|record| record.lsn.0)),
            Replayed::Hole(_) => {}
        }
        Ok(())
    });
    replayed.map_err(|error| error.to_string())?;
    let last = *history.keys().next_back().unwrap();
    match (from.0 + 1..=last).find(|lsn| !seen.contains(lsn)) {
        Some(lsn) => Err(format!("LSN {lsn} of {last} is missing above {from}")),
        None => Ok(()),
    }
}

/// How many complete sources a disk holds; fails if it is none.
fn sources(disk: &SimFs, history: &History, what: &str) -> usize {
    let names = disk.names();
    let is_snapshot = |name: &&String| *name == "state.json" || name.starts_with("state.backup.");
    let candidates = names.iter().filter(is_snapshot).map(|name| Some(name.as_str()));
    let mut wrong = Vec::new();
    let mut complete = 0;
    for file in candidates.chain([None]) {
        match judge(disk, file, history) {
            Ok(()) => complete += 1,
            Err(why) => wrong.push((file.unwrap_or("the log alone").to_owned(), why)),
        }
    }
    assert!(complete > 0, "{what}: no complete source: {wrong:#?}");
    complete
}

/// A store whose disk is judged before every call, while it is armed.
struct Run {
    disk: SimFs,
    store: Store,
    clock: Arc<TestClock>,
    shared: Arc<Mutex<Shared>>,
}

#[derive(Default)]
struct Shared {
    history: History,
    /// What is going on; nothing is judged without it.
    armed: Option<&'static str>,
    places: BTreeMap<&'static str, u64>,
    twofold: u64,
    saved: u64,
}

impl Run {
    fn new() -> Run {
        let shared: Arc<Mutex<Shared>> = Arc::default();
        let (judged, counted) = (shared.clone(), shared.clone());
        let look = move |disk: &SimFs| {
            let mut shared = judged.lock().unwrap();
            let Some(what) = shared.armed else { return };
            let place = shared.places.entry(what).or_default();
            *place += 1;
            let place = *place;
            let modes = [CrashMode::Nothing, CrashMode::Everything, CrashMode::Random(place)];
            let left =
                modes.map(|mode| disk.if_crashed(mode)).into_iter().chain([disk.if_killed()]);
            for left in left {
                let complete = sources(&left, &shared.history, &format!("{what}, call {place}"));
                shared.twofold += u64::from(complete > 1);
            }
        };
        let disk = SimFs::new();
        let clock = Arc::new(TestClock::default());
        let store = builder(Arc::new(Watched::new(&disk, look)), clock.clone(), 1)
            .options(Options { checkpoint_log_bytes: 64 << 10, ..small() })
            .on_event(move |event| {
                let is_saved = matches!(event, Event::StateSaved { .. });
                counted.lock().unwrap().saved += u64::from(is_saved);
            })
            .open()
            .unwrap();
        Run { disk, store, clock, shared }
    }

    /// Four saves, and now and then a deletion.
    fn work(&self, round: usize) {
        for task in 0..4 {
            let text = format!(r#"{{"id": "t{task}", "round": {round}, "text": "{round:0500}"}}"#);
            self.store.save_task_json(&text).unwrap();
            self.note();
        }
        if round.is_multiple_of(3) {
            assert!(self.store.delete_task("t3").unwrap());
            self.note();
        }
    }

    /// What was acknowledged last, is to be found from now on.
    fn note(&self) {
        let lsn = self.store.status().unwrap().last_lsn;
        let state = documents(&self.store.view());
        self.shared.lock().unwrap().history.insert(lsn.0, state);
    }

    /// Does it under watch, and says how many snapshots it saved.
    fn watch<T>(&self, what: &'static str, run: impl FnOnce(&Store) -> T) -> u64 {
        let before = {
            let mut shared = self.shared.lock().unwrap();
            shared.armed = Some(what);
            shared.saved
        };
        run(&self.store);
        let mut shared = self.shared.lock().unwrap();
        shared.armed = None;
        shared.saved - before
    }

    /// Somebody writes into a file, in place.
    fn edit(&self, round: usize) {
        match round % 3 {
            0 => self.disk.write_now("tasks/t1.json", br#"{"id": "t1", "mine": "#).unwrap(),
            1 => self.disk.write_now("state.json", b"{\"tasks\": [").unwrap(),
            _ => {
                let names = self.disk.names();
                let newest = names.iter().rfind(|name| name.starts_with("state.backup."));
                self.disk.write_now(newest.unwrap(), b"mine").unwrap();
            }
        }
    }
}

#[test]
fn a_crash_at_any_call_of_a_checkpoint_leaves_a_complete_source() {
    let run = Run::new();
    let mut saved = BTreeMap::<&str, u64>::new();
    let mut round = 0;
    while saved.get("growth").copied().unwrap_or(0) < 3 {
        round += 1;
        assert!(round < 100, "the log never asked for a checkpoint");
        run.work(round);
        *saved.entry("growth").or_default() += run.watch("growth", Store::step);
    }
    for round in 100..104 {
        run.work(round);
        run.clock.advance(31 * SECOND);
        *saved.entry("interval").or_default() += run.watch("interval", Store::step);
    }
    for round in 104..110 {
        run.work(round);
        run.edit(round);
        *saved.entry("edited").or_default() +=
            run.watch("edited", |store| store.checkpoint().unwrap());
    }
    run.work(110);
    *saved.entry("shutdown").or_default() +=
        run.watch("shutdown", |store| store.shutdown().unwrap());
    let shared = run.shared.lock().unwrap();
    println!(
        "{:?} places, four disks at each; {saved:?} snapshots; {} twofold",
        shared.places, shared.twofold
    );
    assert!(saved["growth"] >= 3 && saved["interval"] >= 2 && saved["edited"] >= 6, "{saved:?}");
    assert_eq!(saved["shutdown"], 1);
    assert!(shared.places.values().all(|places| *places > 30), "{:?}", shared.places);
}

/// A store of 20,000 tasks, durable and shown.
fn large() -> (SimFs, Store) {
    let disk = SimFs::new();
    let store = at(&disk, 1).options(Options::default()).open().unwrap();
    for thousand in 0..20 {
        let saved = store.transaction(|tx| {
            (0..1000).try_for_each(|n| {
                tx.save_task_json(&format!(r#"{{"id": "t{}", "n": 0}}"#, thousand * 1000 + n))
            })
        });
        saved.unwrap();
    }
    store.checkpoint().unwrap();
    (disk, store)
}

/// The calls made since there were so many.
fn since(disk: &SimFs, calls: u64) -> Vec<String> {
    disk.trace().split_off(usize::try_from(calls).unwrap())
}

#[test]
fn a_checkpoint_of_10_changed_documents_among_20_000_rewrites_10_files_and_loads_nothing() {
    let (disk, store) = large();
    for n in 0..10 {
        store.save_task_json(&format!(r#"{{"id": "t{}", "n": 1}}"#, n * 1999)).unwrap();
    }
    let (before, calls) = (files(&disk), disk.calls());
    assert_eq!(store.checkpoint().unwrap().files_changed, 10);
    let trace = since(&disk, calls);
    let changed = files(&disk).into_iter().filter(|(name, bytes)| before.get(name) != Some(bytes));
    let changed: Vec<_> =
        changed.map(|(name, _)| name).filter(|name| name.starts_with("tasks/")).collect();
    assert_eq!(changed.len(), 10, "{changed:?}");
    let touched = |verb: &str, dir: &str| {
        trace.iter().filter(|call| call.starts_with(&format!("{verb} {dir}"))).count()
    };
    assert_eq!(touched("exchange", "wal/swap.tasks."), 10);
    assert_eq!(touched("write", "wal/mirror.part"), 10);
    // Only what the ten files held is read, and the head of the backup that was made.
    let is_due = |call: &&String| {
        ["tasks/t", "wal/swap.tasks.t", "state.backup."]
            .iter()
            .any(|file| call[5..].starts_with(file))
    };
    let reads: Vec<_> = trace.iter().filter(|call| call.starts_with("read ")).collect();
    assert!(reads.iter().all(is_due) && reads.len() < 50, "{reads:#?}");
    assert!(trace.len() < 300, "{} calls", trace.len());
}

#[test]
fn an_opening_after_a_shutdown_parses_no_document_and_opens_no_file_of_the_mirror() {
    let (disk, store) = large();
    store.delete_task("t7").unwrap();
    store.shutdown().unwrap();
    let calls = disk.calls();
    let store = at(&disk, 2).open().unwrap();
    let recovery = store.recovery();
    assert!(recovery.clean && recovery.snapshot_indexed, "{recovery:#?}");
    assert_eq!(recovery.problems, []);
    let trace = since(&disk, calls);
    let stats = trace.iter().filter(|call| call.starts_with("stat tasks/")).count();
    let opened = trace.iter().find(|call| call.starts_with("open tasks/"));
    assert_eq!((stats, opened), (19_999, None));
    assert_eq!(store.view().len(walden::Collection::Task), 19_999);
}
