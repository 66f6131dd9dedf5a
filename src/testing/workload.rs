//! The workload that the crash and fault tests run: everything a store does, on few documents.

use std::sync::Arc;
use std::time::Duration;

use crate::base::{Error, Result};
use crate::engine::{Durability, Store, Tx};
use crate::fs::Fs;
use crate::fs::sim::SimFs;
use crate::testing::oracle::id_of;
use crate::testing::{Change, Documents, Oracle, Shared, SteppedClock, builder};
use serde_json::{Value, json};

/// One thing to do.
#[derive(Clone, Debug)]
pub enum Step {
    /// One transaction, waited for.
    Commit(Durability, Vec<Change>),
    /// Several `Buffered` transactions in one group.
    Burst(Vec<Vec<Change>>),
    /// A change that the engine must refuse without a trace.
    Refused,
    /// A checkpoint; all is durable then.
    Checkpoint,
    /// A flush of the log; all is durable then.
    Sync,
    /// Time passes, and the store does what is due.
    Rest(Duration),
    /// A person's edit of a mirror file.
    Edit(&'static str, bool),
    /// A shutdown and an opening.
    Restart,
}

/// Saves a task with a text of about so many bytes; the round tells versions apart.
pub fn put(id: &str, bytes: usize, round: u32) -> Change {
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
pub fn reference() -> Vec<Step> {
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
#[derive(Debug)]
pub struct Run {
    /// The disk itself.
    pub disk: SimFs,
    /// The disk as the store sees it.
    pub fs: Arc<dyn Fs>,
    /// The store's clock.
    pub clock: Arc<SteppedClock>,
    /// What was promised so far.
    pub oracle: Shared<Oracle>,
    /// The store, while it is open.
    pub store: Option<Store>,
    /// How often it was opened; the seed of the opening.
    pub openings: u64,
    /// Whether there is a file to be edited where a step says so.
    pub edits: bool,
}

impl Run {
    /// Nothing was opened yet.
    pub fn new(disk: &SimFs, fs: Arc<dyn Fs>, oracle: Shared<Oracle>) -> Run {
        let clock = Arc::new(SteppedClock::default());
        Run { disk: disk.clone(), fs, clock, oracle, store: None, openings: 0, edits: true }
    }

    /// Opens the store.
    pub fn open(&mut self) -> Result<()> {
        self.openings += 1;
        self.store = Some(builder(self.fs.clone(), self.clock.clone(), self.openings).open()?);
        Ok(())
    }

    /// The open store.
    pub fn store(&self) -> &Store {
        self.store.as_ref().expect("an open store")
    }

    /// Does one step, and tells the oracle.
    pub fn step(&mut self, step: &Step) -> Result<()> {
        let note = |note: &dyn Fn(&mut Oracle)| self.oracle.change(note);
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
        self.oracle.look(|oracle| oracle.suits(changes))
    }

    /// Shuts down; what was acknowledged is durable then.
    pub fn shutdown(&mut self) -> Result<()> {
        let Some(store) = self.store.take() else { return Ok(()) };
        store.shutdown()?;
        self.oracle.change(|oracle| oracle.ack(true));
        Ok(())
    }

    fn edit(&mut self, file: &str, in_place: bool) {
        if !self.edits || self.disk.read_now(file).is_none() {
            return;
        }
        let count = self.oracle.look(|oracle| oracle.edits.len());
        let text = format!("{{\"id\": \"mine\", \"edit\": {count}}}");
        if in_place {
            self.disk.write_now(file, text.as_bytes()).expect("a person's save");
        } else {
            self.disk.save_now(file, text.as_bytes()).expect("a person's save");
        }
        self.oracle.change(|oracle| oracle.edits.push((file.to_owned(), text.into_bytes())));
    }
}

/// Puts changes into a transaction.
pub fn fill(tx: &mut Tx<'_>, changes: &[Change]) -> Result<()> {
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

/// The documents of a snapshot's text, which must be whole.
pub fn snapshot_documents(bytes: &[u8]) -> Documents {
    let snapshot: Value = serde_json::from_slice(bytes).expect("a snapshot is whole");
    let mut documents = Documents::new();
    for dir in ["tasks", "sessions"] {
        let array = snapshot.get(dir).and_then(Value::as_array);
        for document in array.expect("an array of documents") {
            documents.insert((dir, id_of(document)), document.clone());
        }
    }
    documents
}
