//! Durability, atomicity and order (G1 to G3, G5): a crash before every call that changes something,
//! also during the recovery from a crash, against an oracle that knows only what was submitted and
//! acknowledged.
//!
//! Each outcome is recovered, compared, written to, and some of them crash again: in the middle of
//! that recovery, and after the write. A run prints what it exercised and fails below a floor.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use walden::fs::sim::{CrashMode, SimFs};
use walden::testing::Shared;
use walden::{ProblemKind, Store};

use crate::oracle::Oracle;
use crate::support::{Documents, PATIENCE, at, documents, open, seeds, within};
use crate::watched::Watched;
use crate::workload::{Run, Step, fill, put, reference, snapshot_documents};

/// Of so many crashes one is followed by a crash of its recovery, at a third of that one's calls.
const NESTED_EVERY: u64 = 31;

/// What a run exercised.
#[derive(Debug, Default)]
struct Tally {
    /// Calls before which the machine was stopped.
    places: AtomicU64,
    /// Disks recovered from.
    states: AtomicU64,
    /// Of these, in the middle of a recovery.
    nested: AtomicU64,
    /// Recoveries that found something submitted but not acknowledged.
    ahead: AtomicU64,
    /// Recoveries that lost something (which nobody had been promised).
    behind: AtomicU64,
    /// Recoveries that found a torn end.
    torn: AtomicU64,
    /// Disks with a person's edit on them.
    edited: AtomicU64,
}

/// How the machine stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    Kill,
    PowerCut,
}

/// What it may leave at one place: a sample, or with more seeds all of it.
fn outcomes(disk: &SimFs, stop: Stop, place: u64) -> Vec<SimFs> {
    if stop == Stop::Kill {
        return vec![disk.if_killed()];
    }
    let mut modes: Vec<_> =
        (0..seeds() + 2).map(|seed| CrashMode::Random(place * 1000 + seed)).collect();
    if seeds() > 1 || !place.is_multiple_of(4) {
        modes.push(CrashMode::Nothing);
    }
    if seeds() > 1 || place.is_multiple_of(4) {
        modes.push(CrashMode::Everything);
    }
    modes.into_iter().map(|mode| disk.if_crashed(mode)).collect()
}

fn crash_everywhere(steps: &[Step], stop: Stop) -> Arc<Tally> {
    let tally = Arc::new(Tally::default());
    let oracle = Shared::new(Oracle::new());
    let disk = SimFs::new();
    let (noted, shared) = (tally.clone(), oracle.clone());
    let fs = Watched::new(&disk, move |disk| {
        let place = noted.places.fetch_add(1, Relaxed);
        let oracle = shared.get();
        for (number, left) in outcomes(disk, stop, place).into_iter().enumerate() {
            let case = Case { oracle: oracle.clone(), stop, place, tally: noted.clone() };
            case.check(&left, (place + 7 * number as u64).is_multiple_of(NESTED_EVERY));
        }
    });
    let mut run = Run::new(&disk, Arc::new(fs), oracle);
    run.open().unwrap();
    for step in steps {
        run.step(step).unwrap_or_else(|error| panic!("{step:?}: {error}"));
    }
    run.shutdown().unwrap();
    let Tally { places, states, nested, ahead, behind, torn, edited } = &*tally;
    println!(
        "{stop:?} before {} calls: {} disks recovered ({} of them left by a crash of a recovery); \
         {} held more than was acknowledged, {} less than was submitted, {} a torn log, {} an edit",
        places.load(Relaxed),
        states.load(Relaxed),
        nested.load(Relaxed),
        ahead.load(Relaxed),
        behind.load(Relaxed),
        torn.load(Relaxed),
        edited.load(Relaxed),
    );
    tally
}

/// One crash: what was promised until then.
struct Case {
    oracle: Oracle,
    stop: Stop,
    place: u64,
    tally: Arc<Tally>,
}

impl Case {
    fn check(&self, left: &SimFs, goes_deep: bool) {
        self.tally.states.fetch_add(1, Relaxed);
        self.tally.edited.fetch_add(u64::from(!self.oracle.edits.is_empty()), Relaxed);
        self.files_are_whole(left);
        if goes_deep {
            self.crash_the_recovery(left);
        }
        let disk = left.if_killed();
        let (store, oracle) = self.recover(&disk);
        let torn = store.recovery().torn_bytes > 0;
        self.tally.torn.fetch_add(u64::from(torn), Relaxed);
        if self.place % 5 == 1 || seeds() > 1 {
            self.write_and_crash(&disk, &store, oracle.clone());
        }
        if self.place.is_multiple_of(3) || seeds() > 1 {
            self.settle(&disk, &store, &oracle);
        }
    }

    /// Opens what a crash left, and compares; gives the store and what it must hold from now on.
    fn recover(&self, disk: &SimFs) -> (Store, Oracle) {
        let Case { place, stop, .. } = *self;
        let store =
            open(disk, place + 100).unwrap_or_else(|error| panic!("at {place}, {stop:?}: {error}"));
        let found = documents(&store.view());
        let mut oracle = self.oracle.clone();
        let known = oracle
            .place(&found, stop == Stop::PowerCut)
            .unwrap_or_else(|why| panic!("at {place}, {stop:?}: {why}"));
        self.tally.ahead.fetch_add(u64::from(known > oracle.acked), Relaxed);
        self.tally.behind.fetch_add(u64::from(known < oracle.submitted()), Relaxed);
        oracle.found(known);
        let recovery = store.recovery();
        for problem in &recovery.problems {
            let explained = matches!(problem.kind, ProblemKind::Torn | ProblemKind::Stale)
                || (problem.kind == ProblemKind::Edited && !oracle.edits.is_empty());
            assert!(explained, "at {place}, {stop:?}: a crash is no damage: {problem}");
        }
        (store, oracle)
    }

    /// A later acknowledged write must not be lost with what came before it.
    fn write_and_crash(&self, disk: &SimFs, store: &Store, mut oracle: Oracle) {
        let changes = [put("later", 100, 0), put("later too", 900, 1)];
        oracle.submit(&changes);
        store.transaction(|tx| fill(tx, &changes)).unwrap();
        oracle.ack(true);
        for left in outcomes(disk, self.stop, self.place) {
            self.tally.states.fetch_add(1, Relaxed);
            self.with(oracle.clone(), self.stop).recover(&left);
        }
        store.delete_task("later").unwrap();
        store.delete_task("later too").unwrap();
    }

    fn with(&self, oracle: Oracle, stop: Stop) -> Case {
        Case { oracle, stop, place: self.place, tally: self.tally.clone() }
    }

    /// Stops the machine before calls of the recovery itself.
    fn crash_the_recovery(&self, left: &SimFs) {
        let disk = left.if_killed();
        let case = self.with(self.oracle.clone(), self.stop);
        let calls = AtomicU64::new(case.place);
        let fs = Watched::new(&disk, move |disk| {
            let call = calls.fetch_add(1, Relaxed);
            if seeds() == 1 && !call.is_multiple_of(3) {
                return;
            }
            // A kill of the recovery comes on top of whatever the first crash was.
            let left = match call % 4 {
                0 => disk.if_killed(),
                1 => disk.if_crashed(CrashMode::Nothing),
                _ => disk.if_crashed(CrashMode::Random(case.place * 77 + call)),
            };
            let stop = if call.is_multiple_of(4) { case.stop } else { Stop::PowerCut };
            case.tally.nested.fetch_add(1, Relaxed);
            case.tally.states.fetch_add(1, Relaxed);
            let (store, oracle) = case.with(case.oracle.clone(), stop).recover(&left);
            if call.is_multiple_of(5) {
                case.write_and_crash(&left, &store, oracle);
            }
        });
        let builder = crate::support::builder(Arc::new(fs), Arc::default(), self.place + 7);
        drop(builder.open().unwrap());
    }

    /// Whatever the instant, a file of JSON that must be whole is whole.
    fn files_are_whole(&self, left: &SimFs) {
        for name in left.names() {
            let is_snapshot = name == "state.json" || name.starts_with("state.backup.");
            if is_snapshot {
                let found = snapshot_documents(&left.read_now(&name).unwrap());
                let mut any = self.oracle.clone();
                any.acked = 0;
                any.place(&found, false).unwrap_or_else(|why| panic!("{name}: {why}"));
            }
            let conflict = name.starts_with("conflicts/");
            assert!(!conflict || !self.oracle.edits.is_empty(), "nobody edited anything: {name}");
        }
        self.edits_are_kept(left);
    }

    fn edits_are_kept(&self, left: &SimFs) {
        for (file, contents) in &self.oracle.edits {
            let holds = |name: &String| {
                let place =
                    name == file || name.starts_with("conflicts/") || name.starts_with("wal/");
                place && left.read_now(name).as_ref() == Some(contents)
            };
            assert!(left.names().iter().any(holds), "the edit of {file} is gone");
        }
    }

    /// After the next checkpoint all files show the state; after a shutdown nothing is left to say.
    fn settle(&self, disk: &SimFs, store: &Store, oracle: &Oracle) {
        store.checkpoint().unwrap();
        store.shutdown().unwrap();
        shows(disk, oracle.present(), &oracle.edits);
        self.edits_are_kept(disk);
        if self.place.is_multiple_of(4) {
            let verified = at(disk, self.place + 200).verify().unwrap();
            assert!(verified.ok, "at {}: {:#?}", self.place, verified.problems);
            let again = open(disk, self.place + 300).unwrap();
            let recovery = again.recovery();
            let before = store.recovery();
            assert!(recovery.clean, "at {}: {recovery:#?} after {before:#?}", self.place);
            assert_eq!(&documents(&again.view()), oracle.present());
        }
    }
}

/// Checks that snapshot and mirror show exactly these documents, but for a person's files.
pub(crate) fn shows(disk: &SimFs, documents: &Documents, edits: &[(String, Vec<u8>)]) {
    match disk.read_now("state.json") {
        Some(bytes) => assert_eq!(&snapshot_documents(&bytes), documents),
        None => assert!(documents.is_empty()),
    }
    let is_edit = |name: &str, bytes: &Vec<u8>| edits.iter().any(|(f, b)| f == name && b == bytes);
    let mut shown = BTreeSet::new();
    for name in disk.names() {
        let Some(dir) = ["tasks", "sessions"].into_iter().find(|dir| name.starts_with(*dir)) else {
            continue;
        };
        let bytes = disk.read_now(&name).unwrap();
        if is_edit(&name, &bytes) {
            continue;
        }
        let value: serde_json::Value = serde_json::from_slice(&bytes).unwrap_or_else(|error| {
            panic!("{name}: {error}: {:?}", String::from_utf8_lossy(&bytes))
        });
        let id = value["id"].as_str().unwrap().to_owned();
        assert_eq!(documents.get(&(dir, id.clone())), Some(&value), "{name}");
        assert!(shown.insert((dir, id)), "{name}: one document has two files");
    }
    let edited = edits.iter().filter(|(name, bytes)| disk.read_now(name).as_ref() == Some(bytes));
    assert!(shown.len() + edited.count() >= documents.len(), "only {shown:?} of {documents:#?}");
}

#[test]
fn a_power_cut_at_any_call_loses_nothing_durable_and_tears_nothing() {
    let tally = within(PATIENCE, || crash_everywhere(&reference(), Stop::PowerCut));
    assert!(tally.places.load(Relaxed) > 400, "{tally:?}");
    assert!(tally.states.load(Relaxed) > 1500, "{tally:?}");
    assert!(tally.nested.load(Relaxed) > 250, "{tally:?}");
    assert!(tally.ahead.load(Relaxed) > 8, "{tally:?}");
    assert!(tally.behind.load(Relaxed) > 50, "{tally:?}");
    assert!(tally.torn.load(Relaxed) > 1, "{tally:?}");
    assert!(tally.edited.load(Relaxed) > 100, "{tally:?}");
}

#[test]
fn a_kill_at_any_call_loses_nothing_acknowledged_and_tears_nothing() {
    let tally = within(PATIENCE, || crash_everywhere(&reference(), Stop::Kill));
    assert!(tally.places.load(Relaxed) > 400, "{tally:?}");
    assert!(tally.states.load(Relaxed) > 700, "{tally:?}");
    assert!(tally.nested.load(Relaxed) > 100, "{tally:?}");
    assert!(tally.ahead.load(Relaxed) > 8, "{tally:?}");
    assert!(tally.edited.load(Relaxed) > 50, "{tally:?}");
}

#[test]
fn a_lost_write_would_be_noticed() {
    let mut oracle = Oracle::new();
    oracle.submit(&[put("a", 10, 1)]);
    let one = oracle.present().clone();
    oracle.ack(true);
    oracle.submit(&[put("a", 10, 2), put("b", 10, 2)]);
    let two = oracle.present().clone();
    oracle.ack(false);
    assert_eq!(oracle.place(&two, true), Ok(2));
    assert_eq!(oracle.place(&one, true), Ok(1), "a buffered one may go");
    assert!(oracle.place(&one, false).is_err(), "but not by a kill");
    assert!(oracle.place(&Documents::new(), true).is_err());
    let mut half = two.clone();
    half.remove(&("tasks", "b".to_owned()));
    assert!(oracle.place(&half, true).is_err(), "half a transaction");
}
