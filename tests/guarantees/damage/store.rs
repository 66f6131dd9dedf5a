//! The store that is damaged: every kind of file, an older sealed segment, a closed one of an earlier
//! incarnation, the active one and a prepared one, stopped cleanly or killed with a tail that no file
//! shows.
//!
//! What must be in it is told by the list of changes alone (`oracle`), never by the engine. It also
//! keeps every earlier contents of every file, since a lost write or a stale copy brings them back.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use walden::fs::sim::SimFs;
use walden::wal::LogOptions;
use walden::{Options, Store};

use super::format::{self, Segment};
use walden::testing::Change;

use crate::oracle::Oracle;
use crate::support::{Documents, at, files, small};

/// A document: its collection's directory, and its id.
pub(super) type Key = (&'static str, String);

/// The last change of a document.
#[derive(Clone, Copy, Debug)]
pub(super) struct Last {
    pub(super) lsn: u64,
    /// Whether it means nothing without the version before it.
    pub(super) is_delta: bool,
}

/// How a store was left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// Shut down.
    Clean,
    /// Killed, with writes that are in the log alone.
    Killed,
    /// The same, in segments that were others before.
    KilledReusing,
}

/// A store as it was left.
pub(super) struct Reference {
    pub(super) disk: SimFs,
    pub(super) stop: Stop,
    pub(super) files: BTreeMap<String, Vec<u8>>,
    /// Other contents that each file had before, oldest first.
    pub(super) earlier: BTreeMap<String, Vec<Vec<u8>>>,
    /// What was acknowledged.
    pub(super) state: Documents,
    /// Every version that each document ever was; `Null` is none.
    pub(super) ever: BTreeMap<Key, BTreeSet<String>>,
    pub(super) last: BTreeMap<Key, Last>,
    /// The segments, read without the engine.
    pub(super) segments: BTreeMap<String, Segment>,
}

/// Options under which a few groups fill a segment.
pub(super) fn options() -> Options {
    let bytes = 24 << 10;
    Options {
        log: LogOptions { segment_bytes_min: bytes, segment_bytes_max: bytes, ..small().log },
        ..small()
    }
}

impl Reference {
    pub(super) fn is_clean(&self) -> bool {
        self.stop == Stop::Clean
    }
}

/// Opens a damaged store, or its reference, for writing.
pub(super) fn open(disk: &SimFs, seed: u64) -> walden::Result<Store> {
    at(disk, seed).options(options()).open()
}

/// Writes to a store, and notes what it holds and held.
struct Writer {
    disk: SimFs,
    store: Store,
    oracle: Oracle,
    ever: BTreeMap<Key, BTreeSet<String>>,
    last: BTreeMap<Key, Last>,
    seen: BTreeMap<String, Vec<Vec<u8>>>,
}

impl Writer {
    /// One transaction, acknowledged.
    fn submit(&mut self, changes: &[Change]) {
        self.oracle.submit(changes);
        self.store
            .transaction(|tx| {
                changes.iter().try_for_each(|change| match change {
                    Change::Put("tasks", value) => tx.save_task_json(&value.to_string()),
                    Change::Put(_, value) => tx.save_session_json(&value.to_string()),
                    Change::Patch("tasks", id, patch) => tx.patch_task(id, patch),
                    Change::Patch(_, id, patch) => tx.patch_session(id, patch),
                    Change::Append(id, entry) => tx.append_task_log_json(id, &entry.to_string()),
                    Change::Delete("tasks", id) => tx.delete_task(id),
                    Change::Delete(_, id) => tx.delete_session(id),
                })
            })
            .unwrap();
        self.oracle.ack(true);
        let lsn = self.store.view().lsn().0 - changes.len() as u64;
        for (lsn, change) in (lsn + 1..).zip(changes) {
            let is_delta = matches!(change, Change::Patch(..) | Change::Append(..));
            self.last.insert(key_of(change), Last { lsn, is_delta });
        }
        self.note();
    }

    fn put(&mut self, dir: &'static str, document: Value) {
        self.submit(&[Change::Put(dir, document)]);
    }

    /// Notes what is there now.
    fn note(&mut self) {
        for (key, value) in self.oracle.present() {
            self.ever.entry(key.clone()).or_default().insert(value.to_string());
        }
        for (name, bytes) in files(&self.disk) {
            let seen = self.seen.entry(name).or_default();
            let bytes = bytes.unwrap();
            if seen.last() != Some(&bytes) {
                seen.push(bytes);
            }
        }
    }

    fn shut_down(&mut self) {
        self.store.shutdown().unwrap();
        self.note();
    }

    fn reopen(&mut self, seed: u64) {
        self.store = open(&self.disk, seed).unwrap();
        self.note();
    }

    /// Goes on until segments of this incarnation are cut: what the first snapshot makes superfluous goes
    /// with the second.
    fn cut(&mut self) {
        for round in 0..10 {
            self.put("sessions", json!({"id": "fill", "round": round}));
            self.store.step();
            if round % 5 == 4 {
                self.store.checkpoint().unwrap();
            }
        }
        self.note();
    }

    /// What is left if it ends here.
    fn left(mut self, stop: Stop) -> Reference {
        let disk = self.disk.if_killed();
        let now: BTreeMap<String, Vec<u8>> =
            files(&disk).into_iter().map(|(name, bytes)| (name, bytes.unwrap())).collect();
        for (name, seen) in &mut self.seen {
            seen.retain(|bytes| Some(bytes) != now.get(name));
        }
        for versions in self.ever.values_mut() {
            versions.insert(Value::Null.to_string());
        }
        let segments = format::read(&now, stop == Stop::Clean);
        let state = self.oracle.present().clone();
        let Writer { ever, last, seen: earlier, .. } = self;
        Reference { disk, stop, files: now, earlier, state, ever, last, segments }
    }
}

fn key_of(change: &Change) -> Key {
    match change {
        Change::Put(dir, value) => (*dir, value["id"].as_str().unwrap().to_owned()),
        Change::Patch(dir, id, _) | Change::Delete(dir, id) => (*dir, id.clone()),
        Change::Append(id, _) => ("tasks", id.clone()),
    }
}

/// What an earlier implementation left: one document in `state.json`, another version of it in its file.
fn earlier_implementation(disk: &SimFs) -> Value {
    let document = json!({"id": "old", "n": 2, "updated_at": "2024-01-02T00:00:00Z"});
    let state = r#"{"tasks": [{"id": "old", "n": 1, "updated_at": "2024-01-01T00:00:00Z"}]}"#;
    disk.write_now("state.json", state.as_bytes()).unwrap();
    disk.write_now("tasks/old.json", document.to_string().as_bytes()).unwrap();
    document
}

/// A store of the seed's own id.
pub(super) fn reference(seed: u64, stop: Stop) -> Reference {
    let disk = SimFs::new();
    let old = earlier_implementation(&disk);
    let mut writer = Writer {
        disk: disk.clone(),
        store: open(&disk, seed).unwrap(),
        oracle: Oracle::new(),
        ever: BTreeMap::new(),
        last: BTreeMap::new(),
        seen: BTreeMap::new(),
    };
    writer.oracle.submit(&[Change::Put("tasks", old)]);
    writer.last.insert(("tasks", "old".to_owned()), Last { lsn: 1, is_delta: false });
    writer.put("tasks", json!({"id": "a", "round": 0, "by": seed}));
    writer.put("sessions", json!({"id": "s", "by": seed}));
    writer.shut_down();
    writer.reopen(seed + 1);
    writer.submit(&[
        Change::Put("tasks", json!({"id": "odd: name", "round": 1, "by": seed})),
        Change::Put("sessions", json!({"id": "odd: too", "round": 1, "by": seed})),
        Change::Put("tasks", json!({"id": "gone", "round": 1})),
    ]);
    writer.submit(&[
        Change::Append("a".to_owned(), json!({"message": "first"})),
        Change::Patch("sessions", "s".to_owned(), json!({"round": 1})),
        Change::Delete("tasks", "gone".to_owned()),
    ]);
    writer.store.append_session_log("s", format!("line of {seed}\n")).unwrap();
    writer.store.save_report_json("r", &format!(r#"{{"by": {seed}}}"#)).unwrap();
    writer.note();
    writer.shut_down();
    writer.reopen(seed + 2);
    if stop == Stop::Clean {
        writer.shut_down();
        return writer.left(stop);
    }
    if stop == Stop::KilledReusing {
        writer.cut();
    }
    writer.submit(&[
        Change::Put("tasks", json!({"id": "a", "round": 2, "by": seed})),
        Change::Put("tasks", json!({"id": "late", "round": 2, "logs": []})),
    ]);
    writer.store.append_session_log("s", "a second line\n").unwrap();
    writer.store.step();
    writer.note();
    writer.submit(&[
        Change::Append("late".to_owned(), json!({"message": "in the log alone"})),
        Change::Patch("sessions", "odd: too".to_owned(), json!({"round": 2})),
        Change::Put("tasks", json!({"id": "odd: name", "round": 2, "by": seed})),
    ]);
    writer.store.step();
    writer.submit(&[
        Change::Append("a".to_owned(), json!({"message": "behind it"})),
        Change::Put("sessions", json!({"id": "last", "round": 3})),
    ]);
    writer.submit(&[
        Change::Patch("tasks", "late".to_owned(), json!({"status": "unvouched"})),
        Change::Delete("tasks", "old".to_owned()),
    ]);
    writer.store.step();
    writer.note();
    writer.left(stop)
}
