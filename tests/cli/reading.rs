//! Verbs that read change no byte of the directory, whatever state it is in.

use std::process::Stdio;

use crate::support::Place;

const READING: [&str; 14] = [
    "changes",
    "changes --format json",
    "history a",
    "list",
    "list --format json",
    "list --session",
    "get a",
    "export",
    "status --format json",
    "verify --format json",
    "wal",
    "wal --groups",
    "wal --groups --format json",
    "repair --dry-run",
];

fn assert_reading_changes_nothing(place: &Place) {
    let before = place.bytes_of("state");
    for verb in READING {
        let ran = place.run(verb);
        assert_eq!(ran.code, 0, "{verb}: {ran:?}");
        assert_eq!(place.bytes_of("state"), before, "{verb}");
    }
}

#[test]
fn reading_changes_nothing_after_a_clean_shutdown() {
    let place = Place::new();
    place.run_with_input("put -", r#"{"id":"a"}"#).ok();
    assert_reading_changes_nothing(&place);
}

#[test]
fn reading_changes_nothing_after_a_kill() {
    let place = Place::new();
    place.write("t.jsonl", "{\"op\":\"save_task\",\"task\":{\"id\":\"a\"}}\n");
    let mut command = place.command();
    command.args(["--dir", "state", "replay", "t.jsonl", "--acks", "--hold"]);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut ack = String::new();
    let pipe = child.stdout.take().unwrap();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(pipe), &mut ack).unwrap();
    assert_eq!(ack, "{\"line\":1,\"lsn\":1}\n");
    assert_eq!(place.run("list --format json").out, "{\"id\":\"a\"}\n", "while the writer lives");
    child.kill().unwrap();
    child.wait().unwrap();
    assert_reading_changes_nothing(&place);
    assert_eq!(place.run("verify").code, 0);
}

#[test]
fn what_opening_finds_and_survives_is_a_warning_and_no_failure() {
    let place = Place::new();
    place.run_with_input("put -", r#"{"id":"a"}"#).ok();
    let state = place.path("state/state.json");
    let mut bytes = std::fs::read(&state).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&state, bytes).unwrap();
    let ran = place.run("list --format json");
    assert_eq!((ran.code, ran.out.as_str()), (0, "{\"id\":\"a\"}\n"), "{ran:?}");
    assert!(ran.err.starts_with("warning: "), "{ran:?}");
    assert!(ran.err.contains("state.json"), "{ran:?}");
}

#[test]
fn what_a_writer_finds_is_told_once() {
    let place = Place::new();
    place.run_with_input("put -", r#"{"id":"a"}"#).ok();
    place.write("state/tasks/a.json", r#"{"id":"a","mine":true}"#);
    let ran = place.run_with_input("put -", r#"{"id":"b"}"#);
    assert_eq!(ran.code, 0, "{ran:?}");
    let told: Vec<_> = ran.err.lines().collect();
    assert!(told.iter().all(|line| line.starts_with("warning: ")), "{ran:?}");
    assert_eq!(told.iter().filter(|line| line.contains("a.json")).count(), 1, "{ran:?}");
}
