//! What must be there after a crash, told by the list of transactions alone. It shares no code with
//! the engine: documents are `serde_json` values, and the merge patch is written down once more.

use serde_json::Value;

use crate::support::Documents;

/// One change of one document.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    Put(&'static str, Value),
    Patch(&'static str, String, Value),
    Append(String, Value),
    Delete(&'static str, String),
}

/// The transactions submitted so far, and how far they are promised.
#[derive(Clone, Debug, Default)]
pub(crate) struct Oracle {
    /// The state before the first transaction and after each.
    states: Vec<Documents>,
    /// The states up to here survive a kill.
    pub(crate) acked: usize,
    /// The states up to here survive a power cut.
    pub(crate) durable: usize,
    /// What a person wrote: file, and contents.
    pub(crate) edits: Vec<(String, Vec<u8>)>,
}

impl Oracle {
    pub(crate) fn new() -> Oracle {
        Oracle { states: vec![Documents::new()], ..Oracle::default() }
    }

    /// Transactions submitted.
    pub(crate) fn submitted(&self) -> usize {
        self.states.len() - 1
    }

    /// The state after everything submitted.
    pub(crate) fn present(&self) -> &Documents {
        self.states.last().unwrap()
    }

    /// Whether these changes make sense now: after a failure, what they build on may be gone.
    pub(crate) fn suits(&self, changes: &[Change]) -> bool {
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
    pub(crate) fn submit(&mut self, changes: &[Change]) {
        let mut next = self.present().clone();
        for change in changes {
            apply(&mut next, change);
        }
        assert!(&next != self.present(), "each transaction must be told from the others");
        self.states.push(next);
    }

    /// Notes that everything submitted is acknowledged.
    pub(crate) fn ack(&mut self, is_durable: bool) {
        self.acked = self.submitted();
        if is_durable {
            self.durable = self.acked;
        }
    }

    /// What was found after a crash, as a number of transactions; it says why it cannot be right.
    pub(crate) fn place(&self, found: &Documents, power_cut: bool) -> Result<usize, String> {
        let at_least = if power_cut { self.durable } else { self.acked };
        match self.states.iter().rposition(|state| state == found) {
            Some(place) if place >= at_least => Ok(place),
            Some(place) => Err(format!("lost: {place} transactions of {at_least} acknowledged")),
            None => Err(format!(
                "{found:#?}\nis the state after no number of transactions; after all: {:#?}",
                self.present()
            )),
        }
    }

    /// Forgets the transactions that are not there, and takes the others for durable.
    pub(crate) fn found(&mut self, place: usize) {
        self.states.truncate(place + 1);
        self.ack(true);
    }
}

fn apply(documents: &mut Documents, change: &Change) {
    match change {
        Change::Put(dir, value) => {
            let id = value["id"].as_str().unwrap().to_owned();
            documents.insert((dir, id), value.clone());
        }
        Change::Patch(dir, id, patch) => {
            let document = documents.get_mut(&(*dir, id.clone())).expect("a document to patch");
            crate::merge::merge(document, patch);
        }
        Change::Append(id, entry) => {
            let task = documents.get_mut(&("tasks", id.clone())).expect("a task to append to");
            let logs = task
                .as_object_mut()
                .unwrap()
                .entry("logs")
                .or_insert_with(|| Value::Array(Vec::new()));
            logs.as_array_mut().unwrap().push(entry.clone());
        }
        Change::Delete(dir, id) => {
            documents.remove(&(*dir, id.clone()));
        }
    }
}
