//! What each verb does, and the forms of its output that scripts rely on.

use serde_json::{Value, json};

use crate::support::{Place, json_lines};

const TWO: &str = r#"{"id": "b",  "status": "completed", "assigned_to": "ann", "n": 1.00}

{"id":"a","status":"pending","description":"first\nsecond","updated_at":"2026-01-16T04:03:27.872446544Z"}
"#;

fn with_two() -> Place {
    let place = Place::new();
    place.write("two.jsonl", TWO);
    assert_eq!(place.ok("import two.jsonl"), "imported 2 tasks from two.jsonl\n");
    place
}

#[test]
fn import_saves_every_line_and_list_gives_them_compact_and_sorted() {
    let place = with_two();
    assert_eq!(
        place.ok("list --format json"),
        concat!(
            r#"{"id":"a","status":"pending","description":"first\nsecond","#,
            r#""updated_at":"2026-01-16T04:03:27.872446544Z"}"#,
            "\n",
            r#"{"id":"b","status":"completed","assigned_to":"ann","n":1.00}"#,
            "\n",
        )
    );
    assert_eq!(place.ok("import two.jsonl --format json"), "{\"imported\":2}\n");
    assert_eq!(place.tasks().len(), 2, "an import replaces tasks with the same ids");
}

#[test]
fn list_for_people_is_a_table_of_first_lines() {
    let place = with_two();
    assert_eq!(
        place.ok("list"),
        "ID  STATUS     ASSIGNEE  UPDATED               DESCRIPTION\n\
         a   pending              2026-01-16T04:03:27Z  first\n\
         b   completed  ann\n"
    );
}

#[test]
fn list_selects_by_status_assignee_and_limit() {
    let place = with_two();
    let ids = |line: &str| {
        let ids = json_lines(&place.ok(&format!("list --format json {line}")));
        ids.iter().map(|task| task["id"].as_str().unwrap().to_owned()).collect::<String>()
    };
    assert_eq!(ids("--status pending"), "a");
    assert_eq!(ids("--assignee ann"), "b");
    assert_eq!(ids("--assignee ann --status pending"), "");
    assert_eq!(ids("--limit 1"), "a");
    assert_eq!(ids("--limit 0"), "");
    assert_eq!(place.ok("list --status nothing"), "", "no heading over nothing");
}

#[test]
fn control_characters_of_a_document_never_reach_the_terminal() {
    let place = Place::new();
    place.run_with_input("put -", r#"{"id":"a","description":"\u001b[31mred\u009b\u202e"}"#).ok();
    assert!(place.ok("list").contains("\\u{1b}[31mred\\u{9b}\\u{202e}"));
}

#[test]
fn get_is_pretty_for_people_and_compact_for_programs() {
    let place = with_two();
    let pretty = "{\n  \"id\": \"b\",\n  \"status\": \"completed\",\n  \"assigned_to\": \"ann\",\n  \"n\": 1.00\n}\n";
    assert_eq!(place.ok("get b"), pretty);
    let compact = r#"{"id":"b","status":"completed","assigned_to":"ann","n":1.00}"#;
    assert_eq!(place.ok("get b --format json"), format!("{compact}\n"));
}

#[test]
fn put_patch_log_and_rm_change_one_task() {
    let place = Place::new();
    place.write("t.json", "{\n  \"id\": \"t 1\",\n  \"n\": 12345678901234567890123\n}\n");
    assert_eq!(place.ok("put t.json"), "saved task t 1 (LSN 1)\n");
    let patched = place.run_args(&["patch", "t 1", r#"{"status":"in_progress","big":1e400}"#]);
    assert!(patched.ok().starts_with("patched task t 1 (LSN "));
    let input = r#"{"big":null}"#;
    let place_patch = place.command().args(["--dir", "state", "patch", "t 1", input]).output();
    assert!(place_patch.unwrap().status.success());
    let logged =
        place.run_args(&["log", "t 1", "half done", "--level", "warn", "--format", "json"]);
    let logged: Value = serde_json::from_str(&logged.ok()).unwrap();
    assert_eq!(logged["id"], "t 1");
    assert!(logged["lsn"].as_u64().unwrap() > 1);

    let text = place.run_args(&["get", "t 1", "--format", "json"]).ok();
    let start =
        r#"{"id":"t 1","n":12345678901234567890123,"status":"in_progress","logs":[{"timestamp":""#;
    assert!(text.starts_with(start), "{text}");
    assert!(text.ends_with("\"level\":\"warn\",\"message\":\"half done\"}]}\n"), "{text}");

    assert_eq!(place.run_args(&["rm", "t 1"]).ok(), "deleted task t 1\n");
    assert_eq!(place.run_args(&["rm", "t 1"]).failed(3), "error: task t 1 does not exist\n");
    assert_eq!(place.ok("list"), "");
}

#[test]
fn a_patch_is_read_from_standard_input() {
    let place = with_two();
    place.run_with_input("patch a -", "{\"status\": \"failed\"}\n").ok();
    assert_eq!(place.tasks()[0]["status"], "failed");
}

#[test]
fn sessions_are_apart_from_tasks() {
    let place = with_two();
    place.run_with_input("put --session -", r#"{"id":"a","agent":7}"#).ok();
    place.run_args(&["patch", "--session", "a", r#"{"x":1}"#]).ok();
    assert_eq!(place.ok("get --session a --format json"), "{\"id\":\"a\",\"agent\":7,\"x\":1}\n");
    assert_eq!(place.ok("list --session --format json"), "{\"id\":\"a\",\"agent\":7,\"x\":1}\n");
    assert_eq!(place.ok("rm --session a"), "deleted session a\n");
    assert_eq!(place.tasks().len(), 2);
}

#[test]
fn what_is_exported_can_be_imported_text_for_text() {
    let place = with_two();
    let exported = place.ok("export");
    assert_eq!(exported, place.ok("list --format json"));
    assert_eq!(place.ok("export out.jsonl"), "exported 2 tasks to out.jsonl\n");
    assert_eq!(std::fs::read_to_string(place.path("out.jsonl")).unwrap(), exported);
    place.ok("export out.jsonl --format json");
    place.ok("--dir other import out.jsonl");
    assert_eq!(place.ok("--dir other export"), exported);
    let names = std::fs::read_dir(place.path(".")).unwrap().count();
    assert_eq!(names, 4, "state, other, two.jsonl, out.jsonl, and no temporary file");
}

#[test]
fn status_is_one_object_with_the_fields_that_scripts_rely_on() {
    let place = with_two();
    let status: Value = serde_json::from_str(&place.ok("status --format json")).unwrap();
    for (name, value) in [
        ("state_dir_exists", json!(true)),
        ("writeable", json!(true)),
        ("backup_count", json!(0)),
        ("tasks", json!(2)),
        ("sessions", json!(0)),
    ] {
        assert_eq!(status[name], value, "{name}");
    }
    for name in
        ["disk_free_bytes", "last_lsn", "durable_lsn", "snapshot_lsn", "mirror_lsn", "wal_bytes"]
    {
        assert!(status[name].as_u64().unwrap() > 0, "{name}: {status}");
    }
    assert_eq!((&status["mirror_behind"], &status["mirror_lag_ms"]), (&json!(0), &json!(0)));
    assert!(walden::Timestamp::parse(status["last_save_time"].as_str().unwrap()).is_some());
    assert_eq!(status["recovery"]["clean"], true);
    assert!(place.ok("status").contains("\ntasks: 2\n"));
}

#[test]
fn verify_is_ok_with_an_edit_and_exits_5_on_damage() {
    let place = with_two();
    let sound: Value = serde_json::from_str(&place.ok("verify --format json")).unwrap();
    assert_eq!((&sound["ok"], &sound["problems"]), (&json!(true), &json!([])));
    assert_eq!(sound["bytes"], sound["bytes_total"]);
    assert!(sound["files"].as_u64() >= Some(5) && sound["bytes"].as_u64() > Some(0), "{sound}");
    assert_eq!(place.ok("verify"), "ok\n");

    place.write("state/tasks/a.json", "{\"id\":\"a\",\"status\":\"mine\"}");
    let edited: Value = serde_json::from_str(&place.ok("verify --format json")).unwrap();
    assert_eq!(edited["ok"], true);
    let problem = &edited["problems"][0];
    assert_eq!((&problem["file"], &problem["kind"]), (&json!("tasks/a.json"), &json!("edited")));
    assert!(problem["offset"].is_u64() && problem["detail"].is_string(), "{problem}");

    // The records of the first group, which nothing but the log holds a second time.
    let segment = place.path("state/wal/00000000000000000001.wal");
    let mut bytes = std::fs::read(&segment).unwrap();
    bytes[4096 + 100] ^= 1;
    std::fs::write(&segment, bytes).unwrap();
    let damaged = place.run("verify --format json");
    assert_eq!(damaged.code, 5, "{damaged:?}");
    assert_eq!(serde_json::from_str::<Value>(&damaged.out).unwrap()["ok"], false);
}

#[test]
fn a_checkpoint_says_what_it_saved() {
    let place = with_two();
    let made: Value = serde_json::from_str(&place.ok("checkpoint --format json")).unwrap();
    assert_eq!(made["documents"], 2);
    assert!(made["lsn"].is_u64() && made["written"].is_boolean() && made["files_changed"].is_u64());
    assert!(place.path("state/tasks/a.json").exists());
}

#[test]
fn the_directory_is_the_option_else_the_environment_else_the_env_file_else_the_default() {
    let place = Place::new();
    place.write("t.json", r#"{"id":"t"}"#);
    let put = |environment: &[(&str, &str)], args: &[&str]| {
        let mut command = place.command();
        command.envs(environment.iter().copied()).args(args).args(["put", "t.json"]);
        assert!(command.output().unwrap().status.success());
    };
    put(&[], &[]);
    assert!(place.path("coding-agent-state").is_dir());
    place.write(".env", "OTHER=1\nwhat is this\nSTATE_PATH=\"from file\" # here\n");
    put(&[], &[]);
    assert!(place.path("from file").is_dir());
    put(&[("STATE_PATH", "from-env")], &[]);
    assert!(place.path("from-env").is_dir());
    put(&[("STATE_PATH", "unused")], &["--dir", "explicit"]);
    assert!(place.path("explicit").is_dir() && !place.path("unused").exists());
}
