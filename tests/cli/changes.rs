//! `changes` and `history`: what happened to documents, as lines for scripts.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use serde_json::{Value, json};

use crate::support::{Place, json_lines};

fn with_history() -> Place {
    let place = Place::new();
    place.run_with_input("put -", r#"{"id":"a","n":1.50}"#).ok();
    place.run_args(&["patch", "a", r#"{"m":10000000000000000000001}"#]).ok();
    place.run_with_input("put - --session", r#"{"id":"s"}"#).ok();
    place.ok("rm a");
    place
}

fn fields(line: &Value, names: &[&str]) -> Vec<Value> {
    names.iter().map(|name| line[*name].clone()).collect()
}

#[test]
fn changes_are_listed_with_what_the_log_no_longer_has() {
    let place = with_history();
    let lines = place.ok("changes --format json");
    let parsed = json_lines(&lines);
    let changes: Vec<_> = parsed.iter().filter(|line| line["type"] == "change").collect();
    let told: Vec<_> = changes.iter().map(|line| fields(line, &["kind", "id"])).collect();
    assert_eq!(told.last().unwrap(), &[json!("delete"), json!("a")]);
    for pair in parsed.windows(2) {
        let begin = pair[1].get("first").or(pair[1].get("lsn")).and_then(Value::as_u64);
        let end = pair[0].get("last").or(pair[0].get("lsn")).and_then(Value::as_u64);
        assert!(begin > end, "{pair:?}");
    }
    for line in &changes {
        assert_eq!(
            fields(line, &["origin", "file", "continues"]),
            [json!("api"), Value::Null, json!(false)]
        );
        assert!(walden::Timestamp::parse(line["time"].as_str().unwrap()).is_some());
    }
    let last = changes.last().unwrap()["lsn"].as_u64().unwrap();
    assert_eq!(place.ok(&format!("changes --from {last}")), "");
    let human = place.ok(&format!("changes --from {}", last - 1));
    assert!(
        human.starts_with(&last.to_string()) && human.ends_with("api  delete  tasks/a\n"),
        "{human}"
    );
    assert!(place.run("--dir nowhere changes").failed(3).contains("nowhere"));
}

#[test]
fn the_history_of_a_document_is_listed_digit_for_digit_or_is_not_found() {
    let place = with_history();
    let before = place.bytes_of("state");
    let lines = place.run("history a --format json");
    assert_eq!((lines.code, lines.err.as_str()), (0, ""), "{lines:?}");
    let versions = json_lines(&lines.out);
    assert!(versions.len() >= 2, "{versions:?}");
    assert_eq!(
        fields(versions.last().unwrap(), &["kind", "text", "complete"]),
        [json!("delete"), Value::Null, json!(true)]
    );
    assert!(
        lines.out.contains("10000000000000000000001") && lines.out.contains("1.50"),
        "{lines:?}"
    );
    assert!(place.run("history a").out.ends_with("api  delete  deleted\n"));
    assert!(place.run("history nobody").failed(3).contains("task nobody"));
    assert!(place.run("history a --session").failed(3).contains("session a"));
    assert_eq!(place.bytes_of("state"), before);
}

#[test]
fn changes_follow_a_live_writer() {
    let place = with_history();
    let mut command = place.command();
    command.args(["--dir", "state", "--format", "json", "changes", "--follow"]);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut next = |id: &str| {
        loop {
            let line: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
            if line["id"] == id {
                return line;
            }
        }
    };
    place.run_with_input("put -", r#"{"id":"b"}"#).ok();
    assert_eq!(next("b")["kind"], "put");
    let store = walden::Store::open(place.path("state")).unwrap();
    store.save_task_json(r#"{"id":"c"}"#).unwrap();
    assert_eq!(next("c")["text"], json!({"id": "c"}));
    child.kill().unwrap();
    child.wait().unwrap();
}
