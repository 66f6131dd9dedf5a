//! Random histories of a store, each with its end, and random losses: what `lost` checks openings against.
//!
//! A history knows every version that each document ever had, by the calls alone.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use walden::Store;
use walden::fs::sim::{CrashMode, SimFs};

use crate::support::{Documents, documents, mix, open};

pub(crate) type Key = (&'static str, String);

/// Numbers drawn from a seed.
pub(crate) struct Draw(pub(crate) u64);

impl Draw {
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.0 = mix(self.0);
        self.0 % end
    }

    fn index(&mut self, end: usize) -> usize {
        usize::try_from(self.below(end as u64)).unwrap()
    }

    pub(crate) fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Stop {
    Clean,
    Kill,
    PowerCut,
}

/// What was done to a store, and what it must have.
pub(crate) struct History {
    pub(crate) disk: SimFs,
    pub(crate) stop: Stop,
    pub(crate) state: Documents,
    /// Every version that a document ever had; `None` for its absence.
    pub(crate) versions: BTreeMap<Key, Vec<Option<Value>>>,
    /// Documents changed since the last checkpoint.
    pub(crate) unshown: BTreeSet<Key>,
    /// The snapshots that were made, by the bytes of `state.json`.
    pub(crate) snapshots: Vec<(Vec<u8>, Documents)>,
    /// `state.json` at the stop.
    pub(crate) last_snapshot: Option<Vec<u8>>,
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
        let id = TASKS[draw.index(8)];
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
                let text = "walden ".repeat(draw.index(1500));
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

    pub(crate) fn new(draw: &mut Draw, case: u64) -> History {
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
                match draw.below(6) {
                    0 => history.checkpoint(&store),
                    1 => store.step(),
                    _ => {}
                }
            }
            history.stop = [Stop::Clean, Stop::Kill, Stop::PowerCut][draw.index(3)];
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
#[allow(clippy::struct_excessive_bools, reason = "each is a file that is there or not")]
pub(crate) struct Loss {
    pub(crate) state: bool,
    pub(crate) backups: usize,
    pub(crate) index: bool,
    pub(crate) owner: bool,
    pub(crate) segments: usize,
    pub(crate) log_is_gone: bool,
    /// Mirror files that are not as they were left.
    pub(crate) files: BTreeSet<String>,
    /// The snapshot that was put back.
    pub(crate) put_back: Option<(Vec<u8>, Documents)>,
    pub(crate) done: Vec<String>,
}

impl Loss {
    fn damage(&mut self, draw: &mut Draw, disk: &SimFs, name: &str) {
        let bytes = disk.read_now(name).unwrap();
        let is_mirror = name.starts_with("tasks/") || name.starts_with("sessions/");
        let kind = if bytes.is_empty() { 0 } else { draw.index(4) };
        let kind = if is_mirror && draw.one_in(2) { 3 } else { kind };
        // Without the index nothing tells a flipped bit in it from an edit.
        let kind = if name == "state.json" && kind == 2 { 3 } else { kind };
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
        self.done.push(format!("{} {name}", ["remove", "remove", "flip", "cut"][kind]));
    }

    pub(crate) fn of(draw: &mut Draw, history: &History) -> Loss {
        let disk = &history.disk;
        let mut loss = Loss::default();
        let odds: Vec<u64> = (0..6).map(|_| [1, 2, 4, 1_000_000][draw.index(4)]).collect();
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
        // Where the index tells that it was there, a file that is gone was removed by somebody.
        let is_removed = |name: &String| disk.read_now(name).is_none();
        if !loss.index && loss.files.iter().any(is_removed) {
            loss.index = disk.remove_now("wal/state.index").is_ok();
            loss.done.push("remove wal/state.index".to_owned());
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
            let which = draw.index(snapshots.len());
            disk.save_now("state.json", &snapshots[which].0).unwrap();
            self.put_back = Some(snapshots[which].clone());
            self.done.push(format!("put back snapshot {which} of {}", snapshots.len()));
        }
    }
}
