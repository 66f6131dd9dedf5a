//! Bad input and bad circumstances: the exit code, the message, and that nothing was changed.

use std::process::Stdio;

use serde_json::Value;

use crate::support::{Place, ended};

#[test]
fn one_bad_line_changes_nothing_and_is_named_with_its_place() {
    let table = [
        ("{\"id\":\"a\"}\n\n{\"id\":\"é\", \"x\": }\n", "line 3, column 17: expected value"),
        ("{\"id\":\"a\"}\n[1]\n", "line 2, column 1: expected a JSON object, found an array"),
        ("{\"no\":1}", "line 1, column 1: it has no member \"id\", which must be a string"),
        ("{\"id\":7}", "line 1, column 7: the member \"id\" must be a string, it is a number"),
        (
            "{\"id\":\"a\",\"id\":\"b\"}",
            "line 1, column 11: the key \"id\" appears twice in one object",
        ),
    ];
    for (text, why) in table {
        let place = Place::new();
        place.write("bad.jsonl", text);
        assert_eq!(place.run("import bad.jsonl").failed(1), format!("error: bad.jsonl, {why}\n"));
        assert!(!place.path("state").exists(), "not even the directory is made");
    }
}

#[test]
fn a_bad_import_leaves_an_existing_store_as_it_was() {
    let place = Place::new();
    place.run_with_input("put -", r#"{"id":"a"}"#).ok();
    let before = place.bytes_of("state");
    place.write("bad.jsonl", "{\"id\":\"b\"}\n{\"id\":\n");
    place.run("import bad.jsonl").failed(1);
    assert_eq!(place.bytes_of("state"), before);
}

#[test]
fn bytes_that_are_no_text_are_refused_with_their_place() {
    let place = Place::new();
    place.write("bad.jsonl", b"{}\n{\"\xc3\xa9\xff\":1}\n");
    let err = place.run("import bad.jsonl").failed(1);
    assert_eq!(err, "error: bad.jsonl, line 2, column 4: the bytes here are not UTF-8\n");
}

#[test]
fn a_missing_directory_is_not_found_and_not_created() {
    let place = Place::new();
    let verbs = [
        "list",
        "get a",
        "export",
        "status",
        "verify",
        "wal",
        "repair",
        "repair --dry-run",
        "rm a",
        "patch a {}",
        "log a m",
        "checkpoint",
    ];
    for verb in verbs {
        let err = place.run(verb).failed(3);
        assert!(
            err.starts_with("error: ") && err.ends_with("state does not exist\n"),
            "{verb}: {err}"
        );
        assert!(!place.path("state").exists(), "{verb}");
    }
}

#[test]
fn an_empty_directory_is_an_empty_store_to_readers() {
    let place = Place::new();
    std::fs::create_dir(place.path("state")).unwrap();
    for verb in ["list", "list --format json", "export"] {
        assert_eq!(place.ok(verb), "");
    }
    assert_eq!(place.run("get a").failed(3), "error: task a does not exist\n");
    assert_eq!(place.ok("verify"), "ok\n");
    assert_eq!(std::fs::read_dir(place.path("state")).unwrap().count(), 0);
}

#[test]
fn bad_ids_documents_and_patches_are_failures_that_say_why() {
    let place = Place::new();
    place.run_with_input("put -", r#"{"id":"a"}"#).ok();
    let id = place.run_args(&["get", ""]).failed(1);
    assert_eq!(id, "error: id \"\": an id must not be empty\n");
    let put = place.run_with_input("put -", "{\n\"id\": 1}").failed(1);
    let why = "the member \"id\" must be a string, it is a number";
    assert_eq!(put, format!("error: <stdin>: the task, line 2, column 7: {why}\n"));
    let patch = place.run_args(&["patch", "a", "{\"id\":\"b\"}"]).failed(1);
    assert!(patch.contains("a patch cannot change the member \"id\""), "{patch}");
    let nobody = place.run_args(&["patch", "b", "{}"]).failed(3);
    assert_eq!(nobody, "error: task b does not exist\n");
    assert_eq!(place.run("log b m").failed(3), "error: task b does not exist\n");
    assert_eq!(place.run("import none.jsonl").failed(3), "error: none.jsonl does not exist\n");
}

#[test]
fn wrong_usage_exits_2() {
    let place = Place::new();
    for line in ["", "frobnicate", "list --limit x", "--format yaml list", "get", "demo --dir x"] {
        assert_eq!(place.run(line).code, 2, "{line}");
    }
    let level = place.command().env("WALDEN_LOG", "loud").arg("list").output().unwrap();
    assert_eq!(ended(&level).code, 2);
    assert_eq!(place.run("--help").code, 0);
    assert_eq!(place.run("--version").out, concat!("walden ", env!("CARGO_PKG_VERSION"), "\n"));
}

#[test]
fn errors_are_one_object_on_stderr_for_programs() {
    let place = Place::new();
    for (line, code, kind) in [
        ("get a --format json", 3, "not_found"),
        ("put none --format=json", 3, "not_found"),
        ("--format json list --limit x", 2, "usage"),
    ] {
        let err: Value = serde_json::from_str(&place.run(line).failed(code)).unwrap();
        assert_eq!(err["error"]["kind"], kind, "{line}");
        assert!(err["error"]["message"].as_str().is_some_and(|text| !text.is_empty()), "{line}");
    }
}

#[test]
fn a_second_writer_exits_6_and_names_the_first_one_while_readers_go_on() {
    let place = Place::new();
    let store = walden::Store::open(place.path("state")).unwrap();
    store.save_task_json(r#"{"id":"a"}"#).unwrap();
    let err = place.run_with_input("put -", r#"{"id":"b"}"#).failed(6);
    assert!(err.contains(&format!("process {}", std::process::id())), "{err}");
    assert_eq!(place.ok("list --format json"), "{\"id\":\"a\"}\n");
    store.shutdown().unwrap();
    place.run_with_input("put -", r#"{"id":"b"}"#).ok();
}

#[test]
fn a_reader_that_goes_away_ends_the_command_quietly() {
    let place = Place::new();
    let lines: Vec<_> = (0..5000).map(|n| format!("{{\"id\":\"task_{n}\"}}\n")).collect();
    place.write("many.jsonl", lines.concat());
    place.ok("import many.jsonl");
    let mut command = place.command();
    command.args(["--dir", "state", "list"]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    drop(child.stdout.take());
    let ran = ended(&child.wait_with_output().unwrap());
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
}

#[test]
fn an_env_file_that_names_the_directory_illegibly_is_not_ignored() {
    let place = Place::new();
    place.write(".env", "STATE_PATH=\"unclosed\n");
    let ran = ended(&place.command().arg("list").output().unwrap());
    assert!(ran.failed(1).starts_with("error: .env: "));
}

#[test]
fn a_directory_that_cannot_be_used_exits_7_and_is_named() {
    let place = Place::new();
    place.write("state", "a file, not a directory");
    place.write("t.json", r#"{"id":"t"}"#);
    for line in ["put t.json", "list", "status"] {
        let err = place.run(line).failed(7);
        assert!(err.starts_with("error: cannot ") && err.contains("state"), "{line}: {err}");
    }
    assert_eq!(std::fs::read(place.path("state")).unwrap(), b"a file, not a directory");
}

#[cfg(target_os = "linux")]
#[test]
fn output_that_cannot_be_written_is_a_failure() {
    let place = Place::new();
    place.write("t.jsonl", "{\"op\":\"save_task\",\"task\":{\"id\":\"a\"}}\n");
    for line in ["replay t.jsonl --acks", "list", "status --format json"] {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let mut command = place.command();
        command.env("STATE_PATH", "state").args(line.split_whitespace()).stdout(full);
        let err = ended(&command.output().unwrap()).failed(1);
        assert!(err.contains("cannot write the output"), "{line}: {err}");
    }
}

#[cfg(unix)]
#[test]
fn an_export_over_something_that_is_no_plain_file_writes_into_it() {
    let place = Place::new();
    place.run_with_input("put -", r#"{"id":"a"}"#).ok();
    std::os::unix::fs::symlink(place.write("real.jsonl", "old"), place.path("link")).unwrap();
    place.ok("export link");
    assert_eq!(std::fs::read(place.path("real.jsonl")).unwrap(), b"{\"id\":\"a\"}\n");
    assert!(place.path("link").is_symlink());
    place.ok("export /dev/null");
    let null = std::fs::metadata("/dev/null").unwrap();
    assert!(!null.is_file(), "a device stays a device");
    let err = place.run("export no/such/place.jsonl").failed(7);
    assert!(err.starts_with("error: cannot write no/such/place.jsonl: "), "{err}");
}
