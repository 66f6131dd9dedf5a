//! The record outside the store: what every agent was about to write, and what was acknowledged.
//!
//! It folds acknowledged writes into the state that each task must have, with its own few lines of
//! merging, not the crate's, so that the two cannot be wrong in the same way. An agent waits for
//! each of its writes, and no two agents write to the same task; so at most one write of each is in
//! flight, and a task has either its acknowledged state or the one after the write in flight.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value};
use walden::Lsn;

/// One write of a transaction, as in a trace.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub(super) enum Write {
    SaveTask { task: Value },
    PatchTask { id: String, patch: Value },
    AppendTaskLog { id: String, entry: Value },
    DeleteTask { id: String },
}

impl Write {
    pub(super) fn id(&self) -> &str {
        match self {
            Write::SaveTask { task } => task.get("id").and_then(Value::as_str).unwrap_or_default(),
            Write::PatchTask { id, .. }
            | Write::AppendTaskLog { id, .. }
            | Write::DeleteTask { id } => id,
        }
    }
}

/// What must be known of a task.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Known {
    /// Its state; nothing once it was deleted.
    pub(super) task: Option<Value>,
    /// How many acknowledged writes led there.
    pub(super) writes: u64,
}

/// A transaction: all of its writes or none.
pub(super) type Step = Vec<Write>;

#[derive(Debug, Default)]
pub(super) struct Ledger {
    pub(super) known: BTreeMap<String, Known>,
    /// The highest LSN that was acknowledged.
    pub(super) lsn: Lsn,
    /// By agent: announced, not yet acknowledged.
    flying: BTreeMap<u16, String>,
    /// Acknowledged, not yet folded: the texts, in the order in which they were heard.
    acknowledged: Vec<String>,
    /// The same as `flying`, once folded.
    pub(super) in_flight: Vec<Step>,
}

impl Ledger {
    /// An agent is about to submit a transaction.
    pub(super) fn announce(&mut self, agent: u16, step: &str) -> Result<(), String> {
        match self.flying.insert(agent, step.to_owned()) {
            None => Ok(()),
            Some(_) => Err(format!("agent {agent} did not wait for its write")),
        }
    }

    /// The commit of an agent's transaction has returned.
    pub(super) fn acknowledge(&mut self, agent: u16, lsn: Lsn) -> Result<(), String> {
        let step = self.flying.remove(&agent);
        self.acknowledged.push(step.ok_or_else(|| format!("agent {agent} wrote nothing"))?);
        self.lsn = self.lsn.max(lsn);
        Ok(())
    }

    /// Takes everything that was acknowledged into `known`, and what was not into `in_flight`.
    pub(super) fn fold(&mut self) -> Result<(), String> {
        let parse = |step: &String| -> Result<Step, String> {
            serde_json::from_str(step).map_err(|error| format!("the ledger: {error}: {step}"))
        };
        for step in std::mem::take(&mut self.acknowledged) {
            for write in parse(&step)? {
                apply(self.known.entry(write.id().to_owned()).or_default(), &write);
            }
        }
        self.in_flight = self.flying.values().map(parse).collect::<Result<_, _>>()?;
        self.flying.clear();
        Ok(())
    }

    /// What the tasks of `step` must be if all of it landed.
    pub(super) fn after(&self, step: &[Write]) -> BTreeMap<String, Known> {
        let mut after = BTreeMap::new();
        for write in step {
            let before = || self.known.get(write.id()).cloned().unwrap_or_default();
            apply(after.entry(write.id().to_owned()).or_insert_with(before), write);
        }
        after
    }

    /// Takes the transactions that were in flight and landed into `known`; the others never were.
    pub(super) fn settle(&mut self, landed: &[Step]) {
        for step in landed {
            let after = self.after(step);
            self.known.extend(after);
        }
        self.in_flight.clear();
    }
}

fn apply(known: &mut Known, write: &Write) {
    known.writes += 1;
    match write {
        Write::SaveTask { task } => known.task = Some(task.clone()),
        Write::PatchTask { patch, .. } => {
            let task = known.task.get_or_insert_with(|| Value::Object(Map::new()));
            merge(task, patch);
        }
        Write::AppendTaskLog { entry, .. } => {
            let logs = known.task.as_mut().and_then(|task| task.get_mut("logs"));
            if let Some(logs) = logs.and_then(Value::as_array_mut) {
                logs.push(entry.clone());
            }
        }
        Write::DeleteTask { .. } => known.task = None,
    }
}

/// RFC 7396.
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    if let Some(target) = target.as_object_mut() {
        for (key, value) in patch {
            if value.is_null() {
                target.remove(key);
            } else {
                merge(target.entry(key).or_insert(Value::Null), value);
            }
        }
    }
}
