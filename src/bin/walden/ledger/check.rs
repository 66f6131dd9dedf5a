//! The check: every document of the store against the ledger, field by field.
//!
//! A pure function, so that it can be shown to fail. Each document must be exactly as its acknowledged
//! writes left it; a transaction in flight at the kill must be there whole or not at all; and
//! nothing may be there that nobody wrote.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use walden::Lsn;

use super::{Known, Ledger, Step};

/// What was found: every document, by the names that the ledger uses.
pub(crate) type Found = BTreeMap<String, Value>;

/// What the check found.
#[derive(Debug, Default)]
pub(crate) struct Checked {
    /// Acknowledged writes whose effect was looked for.
    pub(crate) writes: u64,
    /// Those of them on tasks that were deleted since, whose effect is that nothing is there.
    pub(crate) writes_of_deleted: u64,
    /// Tasks compared.
    pub(crate) tasks: u64,
    /// Strings, numbers and the like compared.
    pub(crate) fields: u64,
    /// Transactions that were not acknowledged when the process was killed.
    pub(crate) in_flight: usize,
    /// Those of them that are there, whole.
    pub(crate) landed: Vec<Step>,
    /// What is not as it must be.
    pub(crate) problems: Vec<String>,
}

/// Compares what was found with what must be.
pub(crate) fn check(ledger: &Ledger, found: &Found, lsn: Lsn) -> Checked {
    let mut checked = Checked { in_flight: ledger.in_flight.len(), ..Checked::default() };
    let mut open = BTreeSet::new();
    for step in &ledger.in_flight {
        let after = ledger.after(step);
        open.extend(after.keys().cloned());
        let as_in = |known: &Known, id: &String| known.task.as_ref() == found.get(id);
        if after.iter().all(|(id, known)| as_in(known, id)) {
            checked.landed.push(step.clone());
            for id in after.keys() {
                checked.count(ledger.known.get(id));
            }
            continue;
        }
        // Not there: then its tasks are as they were before it.
        for id in after.keys() {
            checked.compare(id, ledger.known.get(id), found.get(id));
        }
    }
    for (id, known) in ledger.known.iter().filter(|(id, _)| !open.contains(*id)) {
        checked.compare(id, Some(known), found.get(id));
    }
    for id in found.keys().filter(|id| !ledger.known.contains_key(*id) && !open.contains(*id)) {
        checked.problems.push(format!("{id}: it is there, and nobody wrote it"));
    }
    if lsn < ledger.lsn {
        let acknowledged = ledger.lsn;
        checked
            .problems
            .push(format!("the store ends at LSN {lsn}, acknowledged was {acknowledged}"));
    }
    checked
}

impl Checked {
    fn count(&mut self, known: Option<&Known>) {
        let Some(known) = known else { return };
        self.writes += known.writes;
        match &known.task {
            Some(task) => {
                self.tasks += 1;
                self.fields += fields_of(task);
            }
            None => self.writes_of_deleted += known.writes,
        }
    }

    fn compare(&mut self, id: &str, known: Option<&Known>, found: Option<&Value>) {
        self.count(known);
        let writes = known.map_or(0, |known| known.writes);
        match (known.and_then(|known| known.task.as_ref()), found) {
            (None, None) => {}
            (Some(_), None) => {
                self.problems.push(format!("{id}: it is gone, with {writes} acknowledged writes"));
            }
            (None, Some(_)) if writes > 0 => {
                self.problems
                    .push(format!("{id}: it is there, though its deletion was acknowledged"));
            }
            (None, Some(_)) => {
                self.problems.push(format!("{id}: a transaction is there in part"));
            }
            (Some(expected), Some(found)) => {
                differences(id, "", expected, found, &mut self.problems);
            }
        }
    }
}

fn fields_of(value: &Value) -> u64 {
    match value {
        Value::Object(members) => members.values().map(fields_of).sum(),
        Value::Array(items) => items.iter().map(fields_of).sum(),
        _ => 1,
    }
}

/// Names every place where the two differ.
fn differences(id: &str, path: &str, expected: &Value, found: &Value, problems: &mut Vec<String>) {
    let mut member = |key: &str, expected: Option<&Value>, found: Option<&Value>| {
        let path = format!("{path}/{key}");
        match (expected, found) {
            (Some(expected), Some(found)) => differences(id, &path, expected, found, problems),
            (Some(expected), None) => {
                problems
                    .push(format!("{id}: {path}: acknowledged was {expected}, nothing is there"));
            }
            (None, Some(found)) => {
                problems.push(format!("{id}: {path}: nobody wrote {found}"));
            }
            (None, None) => {}
        }
    };
    match (expected, found) {
        (Value::Object(expected), Value::Object(found)) => {
            let keys: BTreeSet<&String> = expected.keys().chain(found.keys()).collect();
            for key in keys {
                member(key, expected.get(key), found.get(key));
            }
        }
        (Value::Array(expected), Value::Array(found)) => {
            for index in 0..expected.len().max(found.len()) {
                member(&index.to_string(), expected.get(index), found.get(index));
            }
        }
        (expected, found) if expected == found => {}
        _ => problems.push(format!("{id}: {path}: acknowledged was {expected}, found {found}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// Two acknowledged tasks, one deleted; in flight: a transaction that ends one and begins another.
    fn ledger() -> Ledger {
        let mut ledger = Ledger::default();
        let steps = [
            json!([{"op": "save_task", "task": {"id": "a", "logs": []}}]),
            json!([{"op": "append_task_log", "id": "a", "entry": {"message": "m"}}]),
            json!([{"op": "patch_task", "id": "a", "patch": {"status": "in_progress", "x": null}}]),
            json!([{"op": "save_task", "task": {"id": "b"}}]),
            json!([{"op": "delete_task", "id": "b"}]),
        ];
        for step in steps {
            ledger.announce(1, &step.to_string()).unwrap();
            ledger.acknowledge(1, Lsn(5)).unwrap();
        }
        let flying = json!([
            {"op": "patch_task", "id": "a", "patch": {"status": "completed"}},
            {"op": "save_task", "task": {"id": "c"}},
        ]);
        ledger.announce(1, &flying.to_string()).unwrap();
        ledger.fold().unwrap();
        ledger
    }

    fn before() -> Value {
        json!({"a": {"id": "a", "logs": [{"message": "m"}], "status": "in_progress"}})
    }

    fn after() -> Value {
        let status = "completed";
        json!({"a": {"id": "a", "logs": [{"message": "m"}], "status": status}, "c": {"id": "c"}})
    }

    fn check_of(found: Value, lsn: u64) -> Checked {
        check(&ledger(), &serde_json::from_value(found).unwrap(), Lsn(lsn))
    }

    #[test]
    fn what_was_acknowledged_passes_with_and_without_what_was_in_flight() {
        for (found, landed) in [(before(), 0), (after(), 1)] {
            let checked = check_of(found, 5);
            assert_eq!(checked.problems, [""; 0]);
            assert_eq!((checked.writes, checked.writes_of_deleted, checked.in_flight), (5, 2, 1));
            assert_eq!(checked.landed.len(), landed);
            let mut ledger = ledger();
            ledger.settle(&checked.landed);
            assert_eq!(ledger.known.contains_key("c"), landed == 1);
        }
    }

    #[test]
    fn every_lost_changed_or_invented_write_is_named() {
        let edit = |edit: &dyn Fn(&mut Value)| {
            let mut found = before();
            edit(&mut found);
            check_of(found, 5).problems.join("; ")
        };
        let gone = edit(&|found| found["a"]["logs"] = json!([]));
        assert_eq!(gone, "a: /logs/0: acknowledged was {\"message\":\"m\"}, nothing is there");
        let changed = edit(&|found| found["a"]["status"] = json!("pending"));
        assert_eq!(changed, "a: /status: acknowledged was \"in_progress\", found \"pending\"");
        let lost = edit(&|found| *found = json!({}));
        assert_eq!(lost, "a: it is gone, with 3 acknowledged writes");
        let back = edit(&|found| found["b"] = json!({"id": "b"}));
        assert_eq!(back, "b: it is there, though its deletion was acknowledged");
        let part = edit(&|found| found["c"] = json!({"id": "c"}));
        assert_eq!(part, "c: a transaction is there in part");
        let invented = edit(&|found| found["d"] = json!({"id": "d"}));
        assert_eq!(invented, "d: it is there, and nobody wrote it");
        let short = check_of(before(), 4).problems;
        assert_eq!(short, ["the store ends at LSN 4, acknowledged was 5"]);
    }
}
