//! The same on real data, whose folder `WALDEN_REAL_DATA` names; without it these tests say that they
//! are skipped.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::Stdio;

use serde_json::Value;

use crate::support::{Place, json_lines};

pub(crate) fn data() -> Option<(PathBuf, PathBuf)> {
    let Some(folder) = std::env::var_os("WALDEN_REAL_DATA").map(PathBuf::from) else {
        println!("skipped: WALDEN_REAL_DATA does not name the folder of the real data");
        return None;
    };
    let folder = folder.canonicalize().unwrap();
    Some((folder.join("agent-tasks.jsonl"), folder.join("agent-trace.jsonl")))
}

pub(crate) fn by_id(tasks: Vec<Value>) -> BTreeMap<String, Value> {
    tasks.into_iter().map(|task| (task["id"].as_str().unwrap().to_owned(), task)).collect()
}

/// Compares task by task, so that a difference can be read.
pub(crate) fn assert_same(found: Vec<Value>, expected: &BTreeMap<String, Value>) {
    let found = by_id(found);
    assert_eq!(found.len(), expected.len());
    for (id, task) in expected {
        assert_eq!(found.get(id), Some(task), "{id}");
    }
}

#[test]
fn import_and_replay_give_the_same_tasks_as_the_file() {
    let Some((tasks, trace)) = data() else { return };
    let expected = by_id(json_lines(&std::fs::read_to_string(&tasks).unwrap()));
    let operations = std::fs::read_to_string(&trace).unwrap().lines().count();
    let place = Place::new();
    place.run_args(&["--dir", "imported", "import", tasks.to_str().unwrap()]).ok();
    assert_same(json_lines(&place.ok("--dir imported list --format json")), &expected);
    let texts = std::fs::read_to_string(&tasks).unwrap();
    let lines: BTreeMap<_, _> =
        texts.lines().map(|line| (by_id(json_lines(line)).into_keys().next(), line)).collect();
    for line in place.ok("--dir imported export").lines() {
        let id = by_id(json_lines(line)).into_keys().next();
        assert_eq!(line, walden::state::json::compact(lines[&id]), "text for text");
    }

    let trace = trace.to_str().unwrap();
    let acks = place.run_args(&["--dir", "one", "replay", trace, "--acks"]).ok();
    assert_eq!(acks.lines().count(), operations);
    assert_same(json_lines(&place.ok("--dir one list --format json")), &expected);
    place.run_args(&["--dir", "many", "replay", trace, "--threads", "16"]).ok();
    assert_same(json_lines(&place.ok("--dir many list --format json")), &expected);
    assert_eq!(place.ok("--dir one verify"), "ok\n");
}

#[test]
fn a_kill_at_the_last_acknowledgement_loses_nothing() {
    let Some((tasks, trace)) = data() else { return };
    let expected = by_id(json_lines(&std::fs::read_to_string(&tasks).unwrap()));
    let operations = std::fs::read_to_string(&trace).unwrap().lines().count();
    for threads in ["1", "16"] {
        let place = Place::new();
        let mut command = place.command();
        command.args(["--dir", "state", "replay", trace.to_str().unwrap(), "--acks", "--hold"]);
        let mut child =
            command.args(["--threads", threads]).stdout(Stdio::piped()).spawn().unwrap();
        let acks = BufReader::new(child.stdout.take().unwrap()).lines().take(operations);
        assert_eq!(acks.map(Result::unwrap).count(), operations);
        child.kill().unwrap();
        assert!(!child.wait().unwrap().success(), "it was killed");
        assert_same(place.tasks_in_spite_of_warnings(), &expected);
        assert_eq!(place.run("verify").code, 0);
        place.run("checkpoint");
        assert_same(place.tasks(), &expected);
    }
}

impl Place {
    /// After a kill a torn end may be told on stderr.
    fn tasks_in_spite_of_warnings(&self) -> Vec<Value> {
        let ran = self.run("list --format json");
        assert_eq!(ran.code, 0, "{ran:?}");
        json_lines(&ran.out)
    }
}
