//! `edit`, `diff` and `conflicts`, as people use them.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::{Value, json};
use walden::Store;

use crate::support::{Place, Ran, ended};

const BIN: &str = env!("CARGO_BIN_EXE_walden");

fn with(documents: &[&str]) -> Place {
    let place = Place::new();
    for document in documents {
        place.run_with_input("put -", document).ok();
    }
    place
}

/// Runs a command line with this editor; what is left of drafts is in `drafts`.
fn edit(place: &Place, editor: &str, line: &str) -> Ran {
    std::fs::create_dir_all(place.path("drafts")).unwrap();
    let mut command = place.command();
    command.env("STATE_PATH", "state").env("TMPDIR", place.path("drafts"));
    command.env_remove("VISUAL").env("EDITOR", editor).args(line.split_whitespace());
    ended(&command.output().unwrap())
}

fn drafts(place: &Place) -> usize {
    std::fs::read_dir(place.path("drafts")).unwrap().count()
}

fn document(place: &Place, id: &str) -> Value {
    serde_json::from_str(&place.run(&format!("get {id} --format json")).out).unwrap()
}

fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// The name of the one file in `conflicts/`.
fn kept(place: &Place) -> String {
    let names: Vec<_> = std::fs::read_dir(place.path("state/conflicts"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(names.len(), 1, "{names:?}");
    names[0].clone()
}

/// An editor that lets a program change `a` meanwhile, and then does what it is to.
fn editor_beside_a_program(place: &Place, patch: &str, then: &str) -> String {
    let script = format!("{BIN} patch a '{patch}' >/dev/null && {then} \"$1\"\n");
    format!("sh {}", place.write("editor.sh", script).display())
}

/// A store in which an edit of `n` won over a program's.
fn with_a_conflict() -> (Place, Ran) {
    let place = with(&[r#"{"id":"a","n":1,"m":1}"#]);
    let editor = editor_beside_a_program(&place, r#"{"n":7,"m":7}"#, "sed -i s/n.:.1/n\\\":4/");
    let ran = edit(&place, &editor, "edit a");
    (place, ran)
}

#[test]
fn an_edit_is_in_force_and_told_field_by_field() {
    let place = with(&[r#"{"id":"a","n":1,"m":"x\ny"}"#]);
    let told = edit(&place, "sed -i -e s/x/z/", "edit a").ok();
    let (first, fields) = told.split_once('\n').unwrap();
    assert!(first.starts_with("edited task a (LSN "), "{told}");
    assert_eq!(fields, "  /m: \"x\\\\ny\" → \"z\\\\ny\"\n".replace("\\\\", "\\"));
    assert_eq!(document(&place, "a"), json!({"id": "a", "n": 1, "m": "z\ny"}));
    let told = parsed(&edit(&place, "sed -i s/1/2/", "edit a --format json").ok());
    assert_eq!(told["changes"], json!([{"path": "/n", "old": 1, "new": 2}]));
    assert!(told["lsn"].is_u64() && told["conflicts"] == json!([]), "{told}");
    assert_eq!(edit(&place, "true", "edit a").ok(), "nothing was changed\n");
    assert_eq!(drafts(&place), 0);
    place.run_with_input("put --session -", r#"{"id":"s","n":1}"#).ok();
    edit(&place, "sed -i s/1/2/", "edit --session s").ok();
    assert_eq!(parsed(&place.ok("get --session s --format json"))["n"], 2);
}

#[test]
fn an_edit_merges_with_what_a_program_changed_meanwhile_and_the_loser_is_kept() {
    let place = with(&[r#"{"id":"a","n":1,"m":1}"#]);
    let editor = editor_beside_a_program(&place, r#"{"m":7}"#, "sed -i s/n.:.1/n\\\":4/");
    let told = edit(&place, &editor, "edit a").ok();
    assert!(told.ends_with("\n  /n: 1 → 4\n"), "{told}");
    assert_eq!(document(&place, "a"), json!({"id": "a", "n": 4, "m": 7}));

    let (place, told) = with_a_conflict();
    assert_eq!((told.code, told.err.as_str()), (0, ""), "{told:?}");
    assert!(told.out.contains("  /n: 7 → 4  (a program changed it, too)\n"), "{told:?}");
    assert!(told.out.contains(&format!("kept as conflicts/{}", kept(&place))), "{told:?}");
    assert_eq!(document(&place, "a"), json!({"id": "a", "n": 4, "m": 7}));
}

#[test]
fn what_is_no_document_is_refused_by_line_and_column_and_what_was_typed_stays() {
    let place = with(&[r#"{"id":"a","n":1}"#]);
    let before = place.bytes_of("state");
    let bad = place.write("bad.json", "{\"id\": \"a\",\n  \"n\": }");
    let told = edit(&place, &format!("cp {}", bad.display()), "edit a").failed(1);
    assert!(told.contains("line 2, column 8"), "{told}");
    let draft = told.split("what you wrote is in ").nth(1).unwrap().lines().next().unwrap();
    assert_eq!(std::fs::read(Path::new(draft)).unwrap(), std::fs::read(&bad).unwrap());
    let told = edit(&place, "sed -i s/a/b/", "edit a").failed(1);
    assert!(told.contains("must stay \"a\""), "{told}");
    let left = drafts(&place);
    let told = edit(&place, "false", "edit a").failed(1);
    assert!(told.contains("the editor (false) ended with"), "{told}");
    assert_eq!(drafts(&place), left, "nothing was typed");
    assert_eq!(place.bytes_of("state"), before, "nothing is changed");
}

#[test]
fn a_new_document_is_made_only_if_that_is_asked_for() {
    let place = with(&[r#"{"id":"a"}"#]);
    assert!(edit(&place, "true", "edit b").failed(3).contains("--create"));
    assert_eq!(edit(&place, "true", "edit b --create").ok(), "nothing was changed\n");
    edit(&place, "sed -i s/pending/failed/", "edit b --create").ok();
    assert_eq!(document(&place, "b")["status"], "failed");
    let place = Place::new();
    edit(&place, "true", "edit b").failed(3);
    assert!(!place.path("state").exists());
    edit(&place, "sed -i s/pending/failed/", "edit b --create").ok();
    assert_eq!(document(&place, "b")["status"], "failed");
}

#[test]
fn beside_a_writer_the_edit_goes_by_way_of_the_file() {
    let place = with(&[r#"{"id":"a","n":1}"#]);
    let store = Store::open(place.path("state")).unwrap();
    let ran = edit(&place, "sed -i s/1/2/", "edit a");
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.out.starts_with("edited task a, by way of its file"), "{ran:?}");
    assert!(ran.out.ends_with("\n  /n: 1 → 2\n"), "{ran:?}");
    assert_eq!(drafts(&place), 0);
    let mode = std::fs::metadata(place.path("state/tasks/a.json")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    store.shutdown().unwrap();
    assert_eq!(document(&place, "a"), json!({"id": "a", "n": 2}));
    assert!(!place.path("state/conflicts").exists());
    // Somebody else's edit is not overwritten.
    let store = Store::builder(place.path("state")).open().unwrap();
    place.write("state/tasks/a.json", "{ theirs");
    let told = edit(&place, "sed -i s/2/3/", "edit a").failed(4);
    assert!(told.contains("what you wrote is in"), "{told}");
    assert_eq!(std::fs::read(place.path("state/tasks/a.json")).unwrap(), b"{ theirs");
    store.shutdown().unwrap();
}

#[test]
fn diff_tells_what_is_in_the_files_and_changes_no_byte() {
    let place = with(&[r#"{"id":"a","n":1}"#, r#"{"id":"b"}"#, r#"{"id":"c"}"#]);
    assert_eq!(place.ok("diff"), "");
    place.write("state/tasks/a.json", r#"{"id":"a","n":2,"new":{"x":[]}}"#);
    place.write("state/tasks/b.json", "{\n\"id\"");
    place.write("state/tasks/mine.json", r#"{"id":"d"}"#);
    let before = place.bytes_of("state");
    let told = place.ok("diff");
    let start = "tasks/a.json: task a changes\n  /n: 1 → 2\n+ /new: {\"x\":[]}\n\
                 tasks/mine.json: task d is created\n+ {\"id\":\"d\"}\n\
                 tasks/b.json: left as it is: line 2";
    assert!(told.starts_with(start), "{told}");
    let only = place.ok("diff b d");
    assert!(only.starts_with("tasks/mine.json: task d is created\n"), "{only}");
    assert_eq!(only.lines().count(), 3, "{only}");
    let told = parsed(&place.ok("diff --format json"));
    assert_eq!(told["writer_pid"], Value::Null);
    assert_eq!(
        (&told["edits"][0]["effect"], &told["left"][0]["kind"]),
        (&json!("change"), &json!("unreadable"))
    );
    assert_eq!(place.bytes_of("state"), before);
    place.run("rm c").out.clear();
    assert_eq!(document(&place, "a")["n"], 2, "and then it is taken in");
    Place::new().run("diff").failed(3);
}

#[test]
fn conflicts_are_counted_by_every_command_until_somebody_decides() {
    let (place, _) = with_a_conflict();
    let name = kept(&place);
    let reminder = "walden: 1 unresolved conflict; see `walden conflicts`\n";
    for line in ["get a", "list", "status", "checkpoint", "log a hello", "list --format json"] {
        assert_eq!(place.run(line).err, reminder, "{line}");
    }
    assert_eq!(parsed(&place.run("status --format json").out)["conflicts_open"], 1);
    let listed = place.ok("conflicts");
    assert!(listed.contains(&name) && listed.contains("open    task a"), "{listed}");
    let listed = parsed(&place.ok("conflicts --format json"));
    assert_eq!((&listed["status"], &listed["id"]), (&json!("open"), &json!("a")));

    let shown = place.ok(&format!("conflicts show {name}"));
    let rows: Vec<Vec<&str>> = shown.lines().map(|row| row.split_whitespace().collect()).collect();
    assert!(rows.contains(&vec!["/m", "7", "7"]), "{shown}");
    assert!(rows.contains(&vec!["*", "/n", "7", "4"]), "{shown}");
    let shown = parsed(&place.ok(&format!("conflicts show conflicts/{name} --format json")));
    assert_eq!((&shown["kept"]["n"], &shown["state"]["n"]), (&json!(7), &json!(4)));
    assert_eq!(shown["differs"][0]["path"], "/n");

    place.run(&format!("conflicts resolve {name}")).failed(2);
    place.run(&format!("conflicts resolve {name} --keep-state --take-kept")).failed(2);
    place.run("conflicts resolve nothing --keep-state").failed(3);
    place.run("conflicts show ../state.json").failed(3);
    let told = place.ok(&format!("conflicts resolve {name} --take-kept"));
    assert!(told.starts_with("the kept version is in force (LSN "), "{told}");
    assert_eq!(place.ok("get a --format json"), "{\"id\":\"a\",\"n\":7,\"m\":7}\n");
    assert_eq!(place.run("verify").code, 0);
    assert!(place.path(&format!("state/conflicts/{name}.resolved")).exists());
    assert_eq!(place.ok("conflicts prune --older-than 1"), "removed 0 resolved files\n");
    assert_eq!(
        place.ok("conflicts prune"),
        "removed 2 resolved files\n",
        "it, and what lost by it"
    );
    assert_eq!(place.ok("conflicts"), "");
}

#[test]
fn keeping_the_state_changes_nothing_but_the_count() {
    let (place, _) = with_a_conflict();
    let name = kept(&place);
    let told = parsed(&place.ok(&format!("conflicts resolve {name} --keep-state --format json")));
    assert_eq!(told, json!({"name": format!("{name}.resolved"), "lsn": null}));
    assert_eq!(place.ok("get a --format json").matches("\"n\": 4").count(), 0);
    assert_eq!(document(&place, "a")["n"], 4);
}
