//! What must be there after a crash, told by the list of transactions alone. It shares no code with
//! the engine: documents are `serde_json` values, and the merge patch is written down once more.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value;

use crate::testing::merge;

/// All documents, by the directory of their collection and their id.
pub type Documents = BTreeMap<(&'static str, String), Value>;

/// One change of one document.
#[derive(Clone, Debug)]
pub enum Change {
    /// A document of a collection (`tasks` or `sessions`) is saved.
    Put(&'static str, Value),
    /// A JSON merge patch of the document with an id.
    Patch(&'static str, String, Value),
    /// An entry for the logs of the task with an id.
    Append(String, Value),
    /// The document with an id is deleted.
    Delete(&'static str, String),
}

/// The transactions submitted so far, and how far they are promised.
#[derive(Clone, Debug, Default)]
pub struct Oracle {
    /// The state before the first transaction and after each.
    states: Vec<Arc<Documents>>,
    /// The states up to here survive a kill.
    pub acked: usize,
    /// The states up to here survive a power cut.
    pub durable: usize,
    /// What a person wrote and did not undo: file, and contents.
    pub edits: Vec<(String, Vec<u8>)>,
    /// Whether a person ever wrote anything.
    pub is_edited: bool,
}

impl Oracle {
    /// Nothing was submitted, and the store is empty.
    pub fn new() -> Oracle {
        Oracle::after(Documents::new())
    }

    /// Nothing was submitted, and these documents are there; they must not be lost.
    pub fn after(documents: Documents) -> Oracle {
        Oracle { states: vec![Arc::new(documents)], ..Oracle::default() }
    }

    /// Transactions submitted.
    pub fn submitted(&self) -> usize {
        self.states.len() - 1
    }

    /// The state after everything submitted.
    pub fn present(&self) -> &Documents {
        self.states.last().expect("there is the state before the first")
    }

    /// Whether these changes make sense now: after a failure, what they build on may be gone.
    pub fn suits(&self, changes: &[Change]) -> bool {
        let mut next = self.present().clone();
        changes.iter().all(|change| {
            let is_there = match change {
                Change::Put(..) => true,
                Change::Append(id, _) => next.contains_key(&("tasks", id.clone())),
                Change::Patch(dir, id, _) | Change::Delete(dir, id) => {
                    next.contains_key(&(*dir, id.clone()))
                }
            };
            if is_there {
                apply(&mut next, change);
            }
            is_there
        }) && &next != self.present()
    }

    /// Notes a transaction that is about to be submitted.
    pub fn submit(&mut self, changes: &[Change]) {
        let mut next = self.present().clone();
        for change in changes {
            apply(&mut next, change);
        }
        assert!(&next != self.present(), "each transaction must be told from the others");
        self.states.push(Arc::new(next));
    }

    /// Notes that an output of a directory is about to be written.
    pub fn submit_output(&mut self, dir: &'static str, file: &str, contents: Value) {
        let mut next = self.present().clone();
        next.insert((dir, file.to_owned()), contents);
        self.states.push(Arc::new(next));
    }

    /// What an output of a directory holds, if there is one.
    pub fn output(&self, dir: &'static str, file: &str) -> Option<Value> {
        self.present().get(&(dir, file.to_owned())).cloned()
    }

    /// Notes that all tasks and sessions are about to be replaced by these; `false` if they are these
    /// already.
    pub fn submit_documents(&mut self, mut documents: Documents) -> bool {
        let outputs =
            self.present().iter().filter(|((dir, _), _)| matches!(*dir, "logs" | "reports"));
        documents.extend(outputs.map(|(key, value)| (key.clone(), value.clone())));
        let differs = &documents != self.present();
        if differs {
            self.states.push(Arc::new(documents));
        }
        differs
    }

    /// Notes that everything submitted is acknowledged.
    pub fn ack(&mut self, is_durable: bool) {
        self.acked = self.submitted();
        if is_durable {
            self.durable = self.acked;
        }
    }

    /// What was found after a crash, as a number of transactions; it says why it cannot be right.
    pub fn place(&self, found: &Documents, power_cut: bool) -> Result<usize, String> {
        let at_least = if power_cut { self.durable } else { self.acked };
        match self.states.iter().rposition(|state| **state == *found) {
            Some(place) if place >= at_least => Ok(place),
            Some(place) => Err(format!("lost: {place} transactions of {at_least} acknowledged")),
            None => {
                let all = self.states.iter().enumerate().rev();
                let differing = all.map(|(place, state)| (differences(found, state), place));
                let (lines, place) =
                    differing.min_by_key(|(lines, _)| lines.len()).unwrap_or_default();
                Err(format!(
                    "this is the state after no number of transactions; after {place} of {} it would differ in\n{}",
                    self.submitted(),
                    lines.join("\n")
                ))
            }
        }
    }

    /// Whether these are the documents of some state, outputs left out of account; it says why not.
    pub fn was(&self, documents: &Documents) -> Result<(), String> {
        let was = self.was_in(documents, |(dir, _)| matches!(*dir, "tasks" | "sessions"));
        if was { Ok(()) } else { Err(format!("{documents:#?}")) }
    }

    /// Whether these documents are those of some state, of which only those count that are picked, by
    /// directory and id.
    pub fn was_in(
        &self,
        documents: &Documents,
        is_picked: impl Fn(&(&'static str, String)) -> bool,
    ) -> bool {
        let picked = |of: &Documents| {
            of.iter()
                .filter(|(key, _)| is_picked(key))
                .eq(documents.iter().filter(|(key, _)| is_picked(key)))
        };
        self.states.iter().any(|state| picked(state))
    }

    /// Whether a document ever was like that; `None` for not being there at all.
    pub fn ever(&self, dir: &'static str, id: &str, document: Option<&Value>) -> bool {
        let key = (dir, id.to_owned());
        self.states.iter().any(|state| state.get(&key) == document)
    }

    /// Forgets the transactions that are not there, and takes the others for durable.
    pub fn found(&mut self, place: usize) {
        self.states.truncate(place + 1);
        self.ack(true);
    }
}

/// What is not the same in both, a line each: a document as it was found, and as it would be.
fn differences(found: &Documents, would_be: &Documents) -> Vec<String> {
    let keys: BTreeSet<_> = found.keys().chain(would_be.keys()).collect();
    let differ = keys.into_iter().filter(|key| found.get(*key) != would_be.get(*key));
    let told = |document: Option<&Value>| {
        let text = document.map_or_else(|| "not there".to_owned(), Value::to_string);
        let begin: String = text.chars().take(TOLD_MAX).collect();
        if begin == text { text } else { format!("{begin}… ({} bytes)", text.len()) }
    };
    let line = |key @ (dir, id): &(&str, String)| {
        format!("  {dir} {id}: {}, would be {}", told(found.get(key)), told(would_be.get(key)))
    };
    differ.map(line).collect()
}

/// So much of a document is told.
const TOLD_MAX: usize = 200;

fn apply(documents: &mut Documents, change: &Change) {
    match change {
        Change::Put(dir, value) => {
            documents.insert((dir, id_of(value)), value.clone());
        }
        Change::Patch(dir, id, patch) => {
            let document = documents.get_mut(&(*dir, id.clone())).expect("a document to patch");
            merge(document, patch);
        }
        Change::Append(id, entry) => {
            let task = documents.get_mut(&("tasks", id.clone())).expect("a task to append to");
            let task = task.as_object_mut().expect("a document is an object");
            let logs = task.entry("logs").or_insert_with(|| Value::Array(Vec::new()));
            logs.as_array_mut().expect("the logs of a task are an array").push(entry.clone());
        }
        Change::Delete(dir, id) => {
            documents.remove(&(*dir, id.clone()));
        }
    }
}

/// The id of a document.
pub(super) fn id_of(document: &Value) -> String {
    let id = document.get("id").and_then(Value::as_str);
    id.expect("a document has an id").to_owned()
}
