//! Random losses (G4, G5, G7): a random history, a random stop, then random parts of the directory gone
//! or damaged. Whatever it is, opening succeeds, serves no version that never was, keeps every newest
//! version of which an intact, dated copy is left, tells what it lacks, and comes to the same again.
//!
//! `WALDEN_SIM_SEEDS` scales the number of cases; `WALDEN_LOST_CASE` runs a single one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Value, json};
use walden::fs::sim::{CrashMode, SimFs};
use walden::{ProblemKind, Recovery, Rung, Store};

use crate::support::{Documents, at, documents, mix, open, seeds};

const CASES: u64 = 1500;
type Key = (&'static str, String);

/// Numbers drawn from a seed.
struct Draw(u64);

impl Draw {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = mix(self.0);
        self.0 % end
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stop {
    Clean,
    Kill,
    PowerCut,
}

/// What was done to a store, and what it must have.
struct History {
    disk: SimFs,
    stop: Stop,
    state: Documents,
    /// Every version that a document ever had; `None` for its absence.
    versions: BTreeMap<Key, Vec<Option<Value>>>,
    /// Documents changed since the last checkpoint.
    unshown: BTreeSet<Key>,
    /// The snapshots that were made, by the bytes of `state.json`.
    snapshots: Vec<(Vec<u8>, Documents)>,
    /// `state.json` at the stop.
    last_snapshot: Option<Vec<u8>>,
}

impl History {
    fn note(&mut self, key: Key, value: Option<Value>) {
        self.versions.entry(key.clone()).or_insert_with(|| vec![None]).push(value.clone());
        match value {
            Some(value) => self.state.insert(key.clone(), value),
            None => self.state.remove(&key),
        };
        self.unshown.insert(key);
    }

    fn change(&mut self, draw: &mut Draw, store: &Store, number: u64) {
        const TASKS: [&str; 8] = ["t0", "t1", "t2", "t3", "T1", "a:b", "x", "y"];
        let id = TASKS[draw.below(8) as usize];
        let key = ("tasks", id.to_owned());
        match draw.below(10) {
            0 => {
                let id = format!("s{}", draw.below(3));
                let value = json!({"id": id, "n": number});
                store.save_session_json(&value.to_string()).unwrap();
                self.note(("sessions", id), Some(value));
            }
            1 if self.state.contains_key(&("sessions", "s1".to_owned())) => {
                store.delete_session("s1").unwrap();
                self.note(("sessions", "s1".to_owned()), None);
            }
            2 | 3 if self.state.contains_key(&key) => {
                store.delete_task(id).unwrap();
                self.note(key, None);
            }
            4 | 5 if self.state.contains_key(&key) => {
                store.patch_task_json(id, &json!({"patched": number}).to_string()).unwrap();
                let mut value = self.state[&key].clone();
                value["patched"] = json!(number);
                self.note(key, Some(value));
            }
            _ => {
                let text = "walden ".repeat(draw.below(1500) as usize);
                let value = json!({"id": id, "n": number, "text": text});
                store.save_task_json(&value.to_string()).unwrap();
                self.note(key, Some(value));
            }
        }
    }

    fn checkpoint(&mut self, store: &Store) {
        store.checkpoint().unwrap();
        self.saved();
    }

    fn saved(&mut self) {
        self.unshown.clear();
        if let Some(bytes) = self.disk.read_now("state.json") {
            self.snapshots.push((bytes, self.state.clone()));
        }
    }

    fn new(draw: &mut Draw, case: u64) -> History {
        let mut history = History {
            disk: SimFs::new(),
            stop: Stop::Clean,
            state: Documents::new(),
            versions: BTreeMap::new(),
            unshown: BTreeSet::new(),
            snapshots: Vec::new(),
            last_snapshot: None,
        };
        let mut number = 0;
        for opening in 0..=draw.below(3) {
            let store = open(&history.disk, case * 16 + opening).unwrap();
            assert_eq!(documents(&store.view()), history.state, "{:#?}", store.recovery());
            // The opening after a crash shows everything; nothing is known of when.
            for _ in 0..draw.below(25) {
                number += 1;
                history.change(draw, &store, number);
                if draw.one_in(6) {
                    history.checkpoint(&store);
                } else if draw.one_in(6) {
                    store.step();
                }
            }
            history.stop = [Stop::Clean, Stop::Kill, Stop::PowerCut][draw.below(3) as usize];
            let left = match history.stop {
                Stop::Clean => {
                    store.shutdown().unwrap();
                    history.saved();
                    history.disk.if_killed()
                }
                Stop::Kill => history.disk.kill(),
                Stop::PowerCut => history.disk.crash_with(match draw.below(3) {
                    0 => CrashMode::Nothing,
                    _ => CrashMode::Random(draw.below(1 << 40)),
                }),
            };
            drop(store);
            history.disk = left;
        }
        history.last_snapshot = history.disk.read_now("state.json");
        history
    }
}

/// What was taken away.
#[derive(Debug, Default)]
struct Loss {
    state: bool,
    backups: usize,
    index: bool,
    owner: bool,
    segments: usize,
    log_is_gone: bool,
    /// Mirror files that are not as they were left.
    files: BTreeSet<String>,
    /// The snapshot that was put back.
    put_back: Option<(Vec<u8>, Documents)>,
    done: Vec<String>,
}

impl Loss {
    fn damage(&mut self, draw: &mut Draw, disk: &SimFs, name: &str) {
        let bytes = disk.read_now(name).unwrap();
        let is_mirror = name.starts_with("tasks/") || name.starts_with("sessions/");
        let kind = if bytes.is_empty() { 0 } else { draw.below(4) };
        match kind {
            0 | 1 => disk.remove_now(name).unwrap(),
            // A flipped bit in a file that has no digest may look like another version.
            2 if !is_mirror => {
                let offset = draw.below(bytes.len() as u64);
                disk.corrupt(name, offset, 1 << draw.below(8)).unwrap();
            }
            _ => disk.write_now(name, &bytes[..bytes.len() / 2]).unwrap(),
        }
        let kind = if is_mirror && kind == 2 { 3 } else { kind };
        self.done.push(format!("{} {name}", ["remove", "remove", "flip", "cut"][kind as usize]));
    }

    fn of(draw: &mut Draw, history: &History) -> Loss {
        let disk = &history.disk;
        let mut loss = Loss::default();
        let odds: Vec<u64> = (0..6).map(|_| [1, 2, 4, 1_000_000][draw.below(4) as usize]).collect();
        let whole_log = draw.one_in(3);
        for name in disk.names() {
            let part = match name.as_str() {
                "state.json" => 0,
                "wal/state.index" => 2,
                ".walden" => 3,
                name if name.starts_with("state.backup.") => 1,
                name if name.ends_with(".wal") => 4,
                name if name.starts_with("tasks/") || name.starts_with("sessions/") => 5,
                _ => continue,
            };
            let all = part == 4 && whole_log && odds[4] < 3;
            if !all && !draw.one_in(odds[part]) {
                continue;
            }
            if all {
                disk.remove_now(&name).unwrap();
                loss.done.push(format!("remove {name}"));
            } else {
                loss.damage(draw, disk, &name);
            }
            match part {
                0 => loss.state = true,
                1 => loss.backups += 1,
                2 => loss.index = true,
                3 => loss.owner = true,
                4 => loss.segments += 1,
                _ => drop(loss.files.insert(name)),
            }
        }
        loss.log_is_gone = !disk.names().iter().any(|name| name.ends_with(".wal"));
        loss.put_back(draw, history);
        loss
    }

    /// Puts a snapshot back, where that can be told: by the log, or by a backup after a clean stop.
    fn put_back(&mut self, draw: &mut Draw, history: &History) {
        let disk = &history.disk;
        let by_backup = self.log_is_gone && history.stop == Stop::Clean;
        if !draw.one_in(6) || self.owner || self.segments > 0 && !by_backup {
            return;
        }
        let backups: Vec<_> =
            disk.names().into_iter().filter(|name| name.starts_with("state.backup")).collect();
        let backups: Vec<_> = backups.iter().filter_map(|name| disk.read_now(name)).collect();
        let can_be = |(bytes, _): &&(Vec<u8>, Documents)| !by_backup || backups.contains(bytes);
        let snapshots: Vec<_> = history.snapshots.iter().filter(can_be).collect();
        if !snapshots.is_empty() {
            let which = draw.below(snapshots.len() as u64) as usize;
            disk.save_now("state.json", &snapshots[which].0).unwrap();
            self.put_back = Some(snapshots[which].clone());
            self.done.push(format!("put back snapshot {which} of {}", snapshots.len()));
        }
    }
}

/// The file that shows a document, if one does.
fn file_of(disk: &SimFs, key: &Key) -> Option<String> {
    disk.names().into_iter().find(|name| {
        let Some(bytes) = name.starts_with(key.0).then(|| disk.read_now(name)).flatten() else {
            return false;
        };
        serde_json::from_slice::<Value>(&bytes).is_ok_and(|doc| doc["id"] == key.1)
    })
}

#[derive(Debug, Default)]
struct Tally {
    cases: u64,
    whole: u64,
    behind: u64,
    suspect: u64,
    from_mirror: u64,
    proven: u64,
    restored: u64,
    holes: u64,
    clean: u64,
}

/// Whether anything tells of a loss. Nothing can where no trace of a store is left, nor where a power cut
/// may have taken what says that a lost segment was there.
fn told(recovery: &Recovery, history: &History, loss: &Loss) -> bool {
    let tells = |problem: &walden::Problem| {
        !problem.kind.is_harmless()
            || problem.file.starts_with("wal/") && history.stop != Stop::Clean
    };
    recovery.rung == Rung::Empty
        || recovery.problems.iter().any(tells)
        || history.stop == Stop::PowerCut && loss.segments > 0
}

/// Opens what is left, and again after a kill, after a shutdown, and without the snapshot that the first
/// opening made.
fn opened(disk: &SimFs, loss: &Loss, case: u64) -> (Documents, Arc<Recovery>) {
    let view = documents(&at(disk, case * 16 + 8).open_read_only().unwrap());
    let store = open(disk, case * 16 + 9).unwrap_or_else(|error| panic!("{error}"));
    let (found, recovery) = (documents(&store.view()), store.recovery());
    assert_eq!(view, found, "a reader sees the same: {recovery:#?}");
    let killed = disk.if_killed();
    store.shutdown().unwrap();
    for (disk, is_clean) in [(&killed, false), (disk, true)] {
        let again = open(disk, case * 16 + 10).unwrap();
        let next = again.recovery();
        assert_eq!(
            documents(&again.view()),
            found,
            "once more: {next:#?}\nat first: {recovery:#?}"
        );
        // A damaged segment stays in the log until that is cut above it.
        assert!(next.clean || !is_clean || loss.segments > 0, "{next:#?}");
        // What nothing could be taken over of is left alone.
        let is_over = is_clean && recovery.rung != Rung::Migration;
        let views = ["state.json", ".walden", "wal"];
        let again = next.problems.iter().any(|problem| views.contains(&problem.file.as_str()));
        assert!(!is_over || !again, "it is told once: {next:#?}");
    }
    let store = open(&killed, case * 16 + 12).unwrap();
    store.save_task_json(r#"{"id": "after"}"#).unwrap();
    let mut wanted = found.clone();
    wanted.insert(("tasks", "after".to_owned()), json!({"id": "after"}));
    let left = killed.kill();
    drop(store);
    // A file of the mirror that is left damaged is no copy.
    if left.read_now("state.json").is_some() && loss.files.is_empty() {
        left.remove_now("state.json").unwrap();
    }
    let last = open(&left, case * 16 + 13).unwrap();
    let next = last.recovery();
    assert_eq!(documents(&last.view()), wanted, "later: {next:#?}\nat first: {recovery:#?}");
    (found, recovery)
}

fn check(
    history: &History,
    loss: &Loss,
    shown: &BTreeMap<Key, String>,
    tally: &mut Tally,
    case: u64,
) {
    let (found, recovery) = opened(&history.disk, loss, case);
    tally.cases += 1;
    if let Some(snapshot) = &loss.put_back {
        // What lay there already is no restore.
        let is_last = history.last_snapshot.as_ref() == Some(&snapshot.0);
        let wanted = if is_last { &history.state } else { &snapshot.1 };
        assert_eq!(&found, wanted, "{is_last}: {recovery:#?}");
        tally.restored += 1;
        return;
    }
    let put_back =
        recovery.problems.iter().any(|problem| problem.detail.contains("put the snapshot"));
    assert!(!put_back, "nobody put anything back: {recovery:#?}");
    // Where a damaged `state.json` is all that is left, what can be read of it counts, and that is told.
    let is_guess = recovery.rung == Rung::Migration && loss.state;
    for (key, value) in found.iter().filter(|_| !is_guess) {
        let known = history.versions.get(key);
        assert!(
            known.is_some_and(|known| known.contains(&Some(value.clone()))),
            "{key:?} never was {value}: {recovery:#?}"
        );
    }
    check_newest(history, loss, shown, (&found, &recovery), tally);
    tally.whole += u64::from(found == history.state);
    tally.clean += u64::from(history.stop == Stop::Clean);
    tally.from_mirror += u64::from(recovery.from_mirror > 0);
    let any = |kind| u64::from(recovery.problems.iter().any(|problem| problem.kind == kind));
    tally.suspect += any(ProblemKind::Suspect);
    tally.holes += u64::from(recovery.problems.iter().any(|problem| problem.file == "wal"));
}

/// What must be at its last version is, and the rest is told.
fn check_newest(
    history: &History,
    loss: &Loss,
    shown: &BTreeMap<Key, String>,
    (found, recovery): (&Documents, &Recovery),
    tally: &mut Tally,
) {
    let log_is_whole = loss.segments == 0;
    let is_clean = history.stop == Stop::Clean;
    let mirror_is_whole = loss.files.is_empty() && is_clean && !loss.owner;
    let is_exact = log_is_whole && (!loss.state || loss.backups == 0)
        || is_clean && !loss.owner && !loss.state && loss.log_is_gone
        || mirror_is_whole;
    if is_exact {
        assert_eq!(*found, history.state, "{recovery:#?}");
    }
    let is_dated = !loss.index || is_clean && !loss.owner;
    for key in history.versions.keys() {
        let (last, now) = (history.state.get(key), found.get(key));
        let is_at_last = last == now;
        let is_shown = shown.get(key).is_some_and(|file| !loss.files.contains(file));
        let is_kept = is_clean || history.stop == Stop::Kill && !history.unshown.contains(key);
        if last.is_some() && is_shown && is_kept && is_dated {
            assert!(is_at_last, "{key:?}: {last:?} is shown, and {now:?} served: {recovery:#?}");
            tally.proven += 1;
        }
        if !is_at_last {
            assert!(
                told(recovery, history, loss),
                "{key:?}: nothing tells that it is behind: {recovery:#?}"
            );
            tally.behind += 1;
        }
    }
}

#[test]
fn whatever_is_lost_the_newest_that_is_left_is_served_and_the_rest_is_told() {
    let mut tally = Tally::default();
    let (first, last) = match std::env::var("WALDEN_LOST_CASE") {
        Ok(case) => {
            let case: u64 = case.parse().unwrap();
            (case, case + 1)
        }
        Err(_) => (0, CASES * seeds()),
    };
    let mut failed = Vec::new();
    for case in first..last {
        let mut draw = Draw(mix(case));
        let history = History::new(&mut draw, case);
        let shown: BTreeMap<Key, String> = history
            .versions
            .keys()
            .filter_map(|key| Some((key.clone(), file_of(&history.disk, key)?)))
            .collect();
        let loss = Loss::of(&mut draw, &history);
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            check(&history, &loss, &shown, &mut tally, case);
        }));
        if outcome.is_err() {
            eprintln!("case {case}, {:?}, {:#?}", history.stop, loss.done);
            failed.push(case);
        }
    }
    println!("lost: {tally:#?}");
    if last - first > 1 {
        let floors = [tally.whole, tally.behind, tally.proven, tally.holes, tally.clean];
        assert!(floors.iter().all(|count| *count > CASES / 5), "{tally:?}");
        let rare = [tally.suspect, tally.from_mirror, tally.restored];
        assert!(rare.iter().all(|count| *count > CASES / 50), "{tally:?}");
    }
    assert!(failed.is_empty(), "{} of {}: {failed:?}", failed.len(), last - first);
}
