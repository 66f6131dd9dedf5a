//! The workload that the crash and fault tests run: everything a store does, on few documents.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use walden::fs::Fs;
use walden::fs::sim::SimFs;
use walden::{Durability, Error, Result, Store, Tx};

use crate::oracle::{Change, Oracle};
use crate::support::{TestClock, builder};

/// One thing to do.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Commit(Durability, Vec<Change>),
    /// Several `Buffered` transactions in one group.
    Burst(Vec<Vec<Change>>),
    /// A change that the engine must refuse without a trace.
    Refused,
    Checkpoint,
    Sync,
    /// Time passes, and the store does what is due.
    Rest(Duration),
    /// A person's edit of a mirror file.
    Edit(&'static str, bool),
    Restart,
}

pub(crate) fn put(id: &str, bytes: usize, round: u32) -> Change {
    let text = "walden ".repeat(bytes / 7);
    Change::Put("tasks", json!({"id": id, "round": round, "description": text}))
}

fn session(id: &str, round: u32) -> Change {
    Change::Put("sessions", json!({"id": id, "round": round, "agent": {"name": "a7"}}))
}

fn patch(id: &str, round: u32) -> Change {
    let patch = json!({"round": round, "status": "in_progress", "meta": {"a": round, "b": null}});
    Change::Patch("tasks", id.to_owned(), patch)
}

fn append(id: &str, round: u32) -> Change {
    let entry = json!({"level": "info", "message": format!("step {round}")});
    Change::Append(id.to_owned(), entry)
}

fn delete(id: &str) -> Change {
    Change::Delete("tasks", id.to_owned())
}

fn sync(changes: impl Into<Vec<Change>>) -> Step {
    Step::Commit(Durability::Sync, changes.into())
}

fn buffered(changes: impl Into<Vec<Change>>) -> Step {
    Step::Commit(Durability::Buffered, changes.into())
}

/// Everything once: from the first opening to the last shutdown.
pub(crate) fn reference() -> Vec<Step> {
    let rest = |ms| Step::Rest(Duration::from_millis(ms));
    vec![
        sync([put("a", 40, 1)]),
        sync([session("s", 2)]),
        sync([patch("a", 3)]),
        Step::Refused,
        sync([append("a", 4), append("a", 5), put("b", 600, 6)]),
        buffered([put("c", 40, 7)]),
        buffered([patch("b", 8)]),
        Step::Checkpoint,
        sync([delete("c"), put("A", 30, 9)]),
        buffered([append("b", 10)]),
        Step::Burst(vec![vec![put("d", 1500, 11)], vec![patch("d", 12), patch("a", 13)]]),
        rest(1500),
        rest(1500),
        Step::Edit("tasks/b.json", false),
        sync([put("b", 100, 14)]),
        Step::Checkpoint,
        sync([put("e", 5000, 15), put("big", 9000, 16)]),
        sync([put("e", 5000, 17)]),
        sync([delete("big"), session("s", 18)]),
        Step::Checkpoint,
        buffered([delete("e")]),
        Step::Sync,
        buffered([patch("a", 19)]),
        Step::Restart,
        sync([append("a", 20), put("f", 20, 21)]),
        Step::Edit("tasks/f.json", true),
        buffered([delete("A")]),
        Step::Checkpoint,
        sync([put("f", 20, 22)]),
    ]
}

/// A run of steps against a store, with the oracle told of each.
pub(crate) struct Run {
    pub(crate) disk: SimFs,
    pub(crate) fs: Arc<dyn Fs>,
    pub(crate) clock: Arc<TestClock>,
    pub(crate) oracle: Arc<Mutex<Oracle>>,
    pub(crate) store: Option<Store>,
    pub(crate) openings: u64,
    /// Whether there is a file to be edited where a step says so.
    pub(crate) edits: bool,
}

impl Run {
    pub(crate) fn new(disk: &SimFs, fs: Arc<dyn Fs>, oracle: Arc<Mutex<Oracle>>) -> Run {
        let clock = Arc::new(TestClock::default());
        Run { disk: disk.clone(), fs, clock, oracle, store: None, openings: 0, edits: true }
    }

    pub(crate) fn open(&mut self) -> Result<()> {
        self.openings += 1;
        self.store = Some(builder(self.fs.clone(), self.clock.clone(), self.openings).open()?);
        Ok(())
    }

    pub(crate) fn store(&self) -> &Store {
        self.store.as_ref().expect("an open store")
    }

    pub(crate) fn step(&mut self, step: &Step) -> Result<()> {
        let note = |note: &dyn Fn(&mut Oracle)| note(&mut self.oracle.lock().unwrap());
        match step {
            Step::Commit(_, changes) if !self.suits(changes) => {}
            Step::Commit(durability, changes) => {
                note(&|oracle| oracle.submit(changes));
                self.store().submit(*durability, |tx| fill(tx, changes))?.wait()?;
                note(&|oracle| oracle.ack(*durability == Durability::Sync));
            }
            Step::Burst(transactions) => {
                let mut commits = Vec::new();
                for changes in transactions.iter().filter(|changes| self.suits(changes)) {
                    note(&|oracle| oracle.submit(changes));
                    let commit = self.store().submit(Durability::Buffered, |tx| fill(tx, changes));
                    commits.push(commit?);
                }
                commits.into_iter().try_for_each(|commit| commit.wait().map(drop))?;
                note(&|oracle| oracle.ack(false));
            }
            Step::Refused => {
                let refused = self.store().transaction(|tx| {
                    tx.save_task_json(r#"{"id": "must not be there"}"#)?;
                    tx.patch_task_json("no such task", r#"{"a": 1}"#)
                });
                match refused {
                    Err(Error::NotFound { .. }) => {}
                    Err(error) => return Err(error),
                    Ok(()) => panic!("a patch of no task was accepted"),
                }
            }
            Step::Checkpoint => {
                self.store().checkpoint()?;
                note(&|oracle| oracle.ack(true));
            }
            Step::Sync => {
                self.store().sync()?;
                note(&|oracle| oracle.ack(true));
            }
            Step::Rest(time) => {
                self.clock.advance(*time);
                self.store().step();
            }
            Step::Edit(file, in_place) => self.edit(file, *in_place),
            Step::Restart => {
                self.shutdown()?;
                self.open()?;
            }
        }
        Ok(())
    }

    fn suits(&self, changes: &[Change]) -> bool {
        self.oracle.lock().unwrap().suits(changes)
    }

    /// Shuts down; what was acknowledged is durable then.
    pub(crate) fn shutdown(&mut self) -> Result<()> {
        let Some(store) = self.store.take() else { return Ok(()) };
        store.shutdown()?;
        self.oracle.lock().unwrap().ack(true);
        Ok(())
    }

    fn edit(&mut self, file: &str, in_place: bool) {
        if !self.edits || self.disk.read_now(file).is_none() {
            return;
        }
        let count = self.oracle.lock().unwrap().edits.len();
        let text = format!("{{\"id\": \"mine\", \"edit\": {count}}}");
        if in_place {
            self.disk.write_now(file, text.as_bytes()).unwrap();
        } else {
            self.disk.save_now(file, text.as_bytes()).unwrap();
        }
        self.oracle.lock().unwrap().edits.push((file.to_owned(), text.into_bytes()));
    }
}

/// Puts changes into a transaction.
pub(crate) fn fill(tx: &mut Tx<'_>, changes: &[Change]) -> Result<()> {
    let is_task = |dir: &str| dir == "tasks";
    for change in changes {
        match change {
            Change::Put(dir, value) if is_task(dir) => tx.save_task_json(&value.to_string())?,
            Change::Put(_, value) => tx.save_session_json(&value.to_string())?,
            Change::Patch(dir, id, patch) if is_task(dir) => tx.patch_task(id, patch)?,
            Change::Patch(_, id, patch) => tx.patch_session(id, patch)?,
            Change::Append(id, entry) => tx.append_task_log_json(id, &entry.to_string())?,
            Change::Delete(dir, id) if is_task(dir) => tx.delete_task(id)?,
            Change::Delete(_, id) => tx.delete_session(id)?,
        }
    }
    Ok(())
}

/// The documents of the snapshot's text.
pub(crate) fn snapshot_documents(bytes: &[u8]) -> crate::support::Documents {
    let snapshot: Value = serde_json::from_slice(bytes).expect("a snapshot is whole");
    let mut documents = crate::support::Documents::new();
    for dir in ["tasks", "sessions"] {
        for document in snapshot[dir].as_array().expect("an array of documents") {
            let id = document["id"].as_str().unwrap().to_owned();
            documents.insert((dir, id), document.clone());
        }
    }
    documents
}
