//! The workload that the crash and fault tests run: everything a store does, on few documents.

use std::sync::Arc;
use std::time::Duration;

use crate::base::{Clock, Error, Result};
use crate::engine::{Durability, Store, Tx};
use crate::fs::Fs;
use crate::fs::sim::SimFs;
use crate::testing::oracle::id_of;
use crate::testing::{Change, Documents, Oracle, Shared, SteppedClock, World, builder};
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
    /// A person's edit of a mirror file, in place or by renaming a new file.
    Edit(&'static str, bool),
    /// Text for a session's log: appended to it, or in its place.
    SessionLog(&'static str, bool, String),
    /// A report.
    Report(&'static str, Value),
    /// All documents but these are replaced by themselves in one call, with whatever is new.
    Replace(&'static [&'static str], Vec<Value>),
    /// Back to the newest backup.
    Restore,
    /// A shutdown and an opening.
    Restart,
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
    /// The seed of the last opening; each has the next.
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

    /// The same in a world of the explorer's.
    pub fn in_world(world: &World, oracle: Shared<Oracle>) -> Run {
        let clock = world.clock().clone();
        let openings = world.seed() >> 1;
        let disk = world.disk().clone();
        Run { disk, fs: world.fs(), clock, oracle, store: None, openings, edits: true }
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
            Step::SessionLog(id, appends, text) => self.session_log(id, *appends, text)?,
            Step::Report(id, report) => {
                note(&|oracle| oracle.submit_output("reports", &report_file(id), report.clone()));
                self.store().save_report(id, report)?;
                note(&|oracle| oracle.ack(true));
            }
            Step::Replace(without, new) => self.replace(without, new)?,
            Step::Restore => self.restore()?,
            Step::Restart => {
                self.shutdown()?;
                self.open()?;
            }
        }
        Ok(())
    }

    fn session_log(&self, id: &str, appends: bool, text: &str) -> Result<()> {
        let file = format!("session_{id}.log");
        self.oracle.change(|oracle| {
            let before = if appends { oracle.output("logs", &file) } else { None };
            let before = before.as_ref().and_then(Value::as_str).unwrap_or_default();
            oracle.submit_output("logs", &file, format!("{before}{text}").into());
        });
        if appends {
            self.store().append_session_log(id, text)?;
        } else {
            self.store().save_session_log(id, text)?;
        }
        self.oracle.change(|oracle| oracle.ack(true));
        Ok(())
    }

    fn replace(&self, without: &[&str], new: &[Value]) -> Result<()> {
        let mut kept = self.oracle.look(|oracle| oracle.present().clone());
        kept.retain(|(dir, id), _| is_collection(dir) && !without.contains(&id.as_str()));
        for task in new {
            kept.insert(("tasks", id_of(task)), task.clone());
        }
        let all = |wanted: &str| -> Vec<Value> {
            let of = kept.iter().filter(|((dir, _), _)| *dir == wanted);
            of.map(|(_, document)| document.clone()).collect()
        };
        let state = json!({"tasks": all("tasks"), "sessions": all("sessions")});
        if self.oracle.change(|oracle| oracle.submit_documents(kept)) {
            self.store().replace_state_json(&state.to_string())?;
            self.oracle.change(|oracle| oracle.ack(true));
        }
        Ok(())
    }

    fn restore(&self) -> Result<()> {
        let mut backups = self.disk.names();
        backups.retain(|name| name.starts_with("state.backup."));
        let Some(newest) = backups.pop() else { return Ok(()) };
        let documents = snapshot_documents(&self.disk.read_now(&newest).unwrap_or_default());
        if self.oracle.change(|oracle| oracle.submit_documents(documents)) {
            self.store().restore(&newest)?;
            self.oracle.change(|oracle| oracle.ack(true));
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
        let Some(before) = self.disk.read_now(file).filter(|_| self.edits) else { return };
        // An edit that is still in its place is undone by the person, not by the store.
        self.oracle.change(|oracle| {
            oracle.is_edited = true;
            oracle.edits.retain(|(edited, text)| edited != file || *text != before);
        });
        let time = self.clock.monotonic().as_nanos();
        // It is saved half-way, and left alone by the store until it is mended.
        let text = format!("{{\"id\": \"mine\", \"edit\": {time}");
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

fn report_file(id: &str) -> String {
    format!("report_{id}.json")
}

/// Whether a directory has documents, and not outputs.
fn is_collection(dir: &str) -> bool {
    matches!(dir, "tasks" | "sessions")
}

/// What the session logs and reports on a disk hold, as an oracle keeps them.
pub fn outputs(disk: &SimFs) -> Documents {
    let mut all = Documents::new();
    for path in disk.names() {
        let Some((dir, name)) = path.split_once('/') else { continue };
        let bytes = disk.read_now(&path).unwrap_or_default();
        let text = || String::from_utf8_lossy(&bytes).into_owned();
        if dir == "logs" {
            all.insert(("logs", name.to_owned()), text().into());
        } else if dir == "reports" {
            let report = serde_json::from_slice(&bytes).unwrap_or_else(|_| text().into());
            all.insert(("reports", name.to_owned()), report);
        }
    }
    all
}
