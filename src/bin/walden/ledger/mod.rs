//! The record outside the store: what every agent was about to write, and what was acknowledged.
//!
//! It folds acknowledged writes into the state that each document must have, with its own few lines
//! of merging, not the crate's, so that the two cannot be wrong in the same way. An agent waits for
//! each of its writes, and no two agents write to the same document; so at most one write of each is
//! in flight, and a document has either its acknowledged state or the one after the write in flight.
//!
//! What was acknowledged as buffered may be lost where the disk forgets, but only from the end of the
//! one order: see [`Ledger::settle_after_loss`].

pub(crate) mod check;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};

use serde::Deserialize;
use serde_json::{Map, Value};
use walden::Lsn;

use check::{Checked, Found, check};

/// One write of a transaction, as in a trace; outputs are written alone.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub(crate) enum Write {
    SaveTask { task: Value },
    SaveSession { session: Value },
    PatchTask { id: String, patch: Value },
    PatchSession { id: String, patch: Value },
    AppendTaskLog { id: String, entry: Value },
    DeleteTask { id: String },
    DeleteSession { id: String },
    SaveOutput { name: String, text: String },
    AppendOutput { name: String, text: String },
}

impl Write {
    /// The name of what is written to: an id, of which no task and session have the same, or that of
    /// an output.
    pub(crate) fn name(&self) -> &str {
        match self {
            Write::SaveTask { task: saved } | Write::SaveSession { session: saved } => {
                saved.get("id").and_then(Value::as_str).unwrap_or_default()
            }
            Write::PatchTask { id: name, .. }
            | Write::PatchSession { id: name, .. }
            | Write::AppendTaskLog { id: name, .. }
            | Write::DeleteTask { id: name }
            | Write::DeleteSession { id: name }
            | Write::SaveOutput { name, .. }
            | Write::AppendOutput { name, .. } => name,
        }
    }
}

/// What must be known of a document.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Known {
    /// Its state; nothing once it was deleted.
    pub(crate) task: Option<Value>,
    /// How many acknowledged writes led there.
    pub(crate) writes: u64,
}

/// A transaction: all of its writes or none.
pub(crate) type Step = Vec<Write>;

/// A transaction that was acknowledged and is not folded yet.
#[derive(Clone, Debug)]
struct Acknowledged {
    agent: u16,
    lsn: Lsn,
    step: String,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Ledger {
    pub(crate) known: BTreeMap<String, Known>,
    /// The highest LSN that was acknowledged, of what is folded.
    pub(crate) lsn: Lsn,
    /// The highest LSN that was acknowledged as durable.
    durable: Lsn,
    /// By agent: announced, not yet acknowledged.
    flying: BTreeMap<u16, String>,
    /// In the order in which it was heard.
    acknowledged: Vec<Acknowledged>,
    /// The same as `flying`, once folded.
    pub(crate) in_flight: Vec<Step>,
}

/// What came of a check after which the ledger goes on.
#[derive(Debug, Default)]
pub(crate) struct Settled {
    /// The check, as of what was kept.
    pub(crate) checked: Checked,
    /// Transactions that were acknowledged since the last check.
    pub(crate) acknowledged: u64,
    /// Those of them that were lost, all of them buffered and the last ones.
    #[cfg_attr(not(test), expect(dead_code, reason = "only tests cut the power and tell of it"))]
    pub(crate) lost: u64,
}

impl Ledger {
    /// Takes in a saying of a working process: `try AGENT [writes]`, `ack AGENT LSN` for what is
    /// durable, `buf AGENT LSN` for what is only handed to the kernel. `false` if it is none of them.
    pub(crate) fn hear(&mut self, line: &str) -> Result<bool, String> {
        let strange = || format!("it said {line:?}");
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        if !matches!(word, "try" | "ack" | "buf") {
            return Ok(false);
        }
        let (agent, rest) = rest.split_once(' ').ok_or_else(strange)?;
        let agent = agent.parse::<u16>().map_err(|_| strange())?;
        if word == "try" {
            self.announce(agent, rest)?;
        } else {
            let lsn = Lsn(rest.parse().map_err(|_| strange())?);
            self.acknowledge(agent, lsn)?;
            if word == "ack" {
                self.durable = self.durable.max(lsn);
            }
        }
        Ok(true)
    }

    /// An agent is about to submit a transaction.
    pub(crate) fn announce(&mut self, agent: u16, step: &str) -> Result<(), String> {
        match self.flying.insert(agent, step.to_owned()) {
            None => Ok(()),
            Some(_) => Err(format!("agent {agent} did not wait for its write")),
        }
    }

    /// The commit of an agent's transaction has returned.
    pub(crate) fn acknowledge(&mut self, agent: u16, lsn: Lsn) -> Result<(), String> {
        let step = self.flying.remove(&agent);
        let step = step.ok_or_else(|| format!("agent {agent} wrote nothing"))?;
        self.acknowledged.push(Acknowledged { agent, lsn, step });
        Ok(())
    }

    /// Everything that was acknowledged is durable: a shutdown has succeeded, say.
    pub(crate) fn all_is_durable(&mut self) {
        self.durable = self.acknowledged.iter().map(|each| each.lsn).fold(self.durable, Lsn::max);
    }

    /// Takes everything that was acknowledged into `known`, and what was not into `in_flight`.
    pub(crate) fn fold(&mut self) -> Result<(), String> {
        self.fold_to(Lsn(u64::MAX))
    }

    /// The same as if nothing had been written above an LSN. What an agent had in flight then never
    /// was either, if a write of its before that is above.
    fn fold_to(&mut self, end: Lsn) -> Result<(), String> {
        let parse = |step: &String| -> Result<Step, String> {
            serde_json::from_str(step).map_err(|error| format!("the ledger: {error}: {step}"))
        };
        let heard = std::mem::take(&mut self.acknowledged);
        let (kept, above) = heard.into_iter().partition(|each: &Acknowledged| each.lsn <= end);
        self.acknowledged = above;
        let kept: Vec<Acknowledged> = kept;
        for Acknowledged { lsn, step, .. } in kept {
            self.lsn = self.lsn.max(lsn);
            for write in parse(&step)? {
                apply(self.known.entry(write.name().to_owned()).or_default(), &write);
            }
        }
        let is_cut = |agent: &u16| self.acknowledged.iter().any(|each| each.agent == *agent);
        let flying = self.flying.iter().filter(|(agent, _)| !is_cut(agent));
        self.in_flight = flying.map(|(_, step)| parse(step)).collect::<Result<_, _>>()?;
        Ok(())
    }

    /// What the documents of `step` must be if all of it landed.
    pub(crate) fn after(&self, step: &[Write]) -> BTreeMap<String, Known> {
        let mut after = BTreeMap::new();
        for write in step {
            let before = || self.known.get(write.name()).cloned().unwrap_or_default();
            apply(after.entry(write.name().to_owned()).or_insert_with(before), write);
        }
        after
    }

    /// Takes the transactions that were in flight and landed into `known`; the others, and what was
    /// acknowledged and not folded, never were.
    pub(crate) fn settle(&mut self, landed: &[Step]) {
        for step in landed {
            let after = self.after(step);
            self.known.extend(after);
        }
        self.in_flight.clear();
        self.flying.clear();
        self.acknowledged.clear();
    }

    /// Checks what a kill left: everything that was acknowledged is there.
    pub(crate) fn settle_after_kill(&mut self, found: &Found, lsn: Lsn) -> Result<Settled, String> {
        let acknowledged = self.acknowledged.len() as u64;
        self.fold()?;
        let checked = check(self, found, lsn);
        self.settle(&checked.landed);
        Ok(Settled { checked, acknowledged, lost: 0 })
    }

    /// Checks what is left after the disk forgot what it had not flushed. There must be an LSN, not
    /// below the last one that was acknowledged as durable, up to which everything is there, and
    /// above which nothing is; the highest such is taken. Where there is none, the problems are those
    /// of the one with the fewest.
    pub(crate) fn settle_after_loss(&mut self, found: &Found, lsn: Lsn) -> Result<Settled, String> {
        let acknowledged = self.acknowledged.len() as u64;
        let mut ends: Vec<Lsn> = self.acknowledged.iter().map(|each| each.lsn).collect();
        ends.retain(|end| *end > self.durable);
        ends.push(self.durable);
        ends.sort_unstable();
        let mut trial = self.clone();
        let mut best: Option<(Ledger, Settled)> = None;
        for end in ends {
            trial.fold_to(end)?;
            let checked = check(&trial, found, lsn);
            let before = best.as_ref().map_or(usize::MAX, |(_, it)| it.checked.problems.len());
            if checked.problems.len() <= before {
                let lost = trial.acknowledged.len() as u64;
                best = Some((trial.clone(), Settled { checked, acknowledged, lost }));
            }
        }
        let (ledger, settled) = best.ok_or("nothing to compare with")?;
        *self = ledger;
        self.settle(&settled.checked.landed);
        Ok(settled)
    }
}

/// Hands every whole line to `hear`, to the end; what a kill cut off counts as not said.
pub(crate) fn read_lines(pipe: impl Read, mut hear: impl FnMut(&str)) {
    let mut pipe = BufReader::with_capacity(1 << 20, pipe);
    let mut line = Vec::new();
    loop {
        line.clear();
        let whole = pipe.read_until(b'\n', &mut line).is_ok() && line.pop() == Some(b'\n');
        if !whole {
            return;
        }
        hear(&String::from_utf8_lossy(&line));
    }
}

fn apply(known: &mut Known, write: &Write) {
    known.writes += 1;
    match write {
        Write::SaveTask { task: saved } | Write::SaveSession { session: saved } => {
            known.task = Some(saved.clone());
        }
        Write::PatchTask { patch, .. } | Write::PatchSession { patch, .. } => {
            let task = known.task.get_or_insert_with(|| Value::Object(Map::new()));
            merge(task, patch);
        }
        Write::AppendTaskLog { entry, .. } => {
            let logs = known.task.as_mut().and_then(|task| task.get_mut("logs"));
            if let Some(logs) = logs.and_then(Value::as_array_mut) {
                logs.push(entry.clone());
            }
        }
        Write::DeleteTask { .. } | Write::DeleteSession { .. } => known.task = None,
        Write::SaveOutput { text, .. } => known.task = Some(Value::String(text.clone())),
        Write::AppendOutput { text, .. } => {
            let before = known.task.as_ref().and_then(Value::as_str).unwrap_or_default();
            known.task = Some(Value::String(format!("{before}{text}")));
        }
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

#[cfg(test)]
mod tests;
