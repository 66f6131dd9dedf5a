//! `repair` and `wal`, and what `verify` and `status` say beside their findings.

use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};

use crate::support::{Place, json_lines};

const SEGMENT: &str = "state/wal/00000000000000000002.wal";

fn with_three() -> Place {
    let place = Place::new();
    for id in ["a", "b", "c"] {
        place.run_with_input("put -", &format!("{{\"id\":\"{id}\"}}")).ok();
    }
    place
}

fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

/// Flips a bit of the second copy of a segment's header.
fn damage(place: &Place) -> Vec<u8> {
    let mut bytes = std::fs::read(place.path(SEGMENT)).unwrap();
    bytes[4096 + 100] ^= 1;
    std::fs::write(place.path(SEGMENT), &bytes).unwrap();
    bytes
}

#[test]
fn a_repair_makes_a_damaged_store_sound_keeps_what_it_removes_and_says_what_it_did() {
    let place = with_three();
    assert_eq!(place.ok("repair --dry-run"), "nothing is to be done\n");
    assert_eq!(place.ok("repair"), "ok\n");
    let damaged = damage(&place);
    place.write("state/state.json", "");
    place.write("state/wal/strange", "strange");
    place.write("state/notes.txt", "mine");
    assert_eq!(place.run("verify").code, 5);

    let before = place.bytes_of("state");
    let told = place.ok("repair --dry-run");
    assert_eq!(place.bytes_of("state"), before);
    for line in
        ["quarantine: corrupt: state.json at", "leave: edited: notes.txt", "keep: corrupt: wal/"]
    {
        assert!(told.contains(line), "{line}: {told}");
    }
    let dry = parsed(&place.ok("repair --dry-run --format json"));
    assert_eq!((&dry["dry_run"], &dry["after"]), (&json!(true), &Value::Null));
    assert_eq!(dry["before"]["ok"], false);

    let repaired = place.run("repair --format json");
    assert_eq!(repaired.code, 0, "{repaired:?}");
    let repaired = parsed(&repaired.out);
    assert_eq!(repaired["after"]["ok"], true, "{repaired:#}");
    let kept = |file: &str| {
        let mut steps = repaired["actions"].as_array().unwrap().iter();
        let step = steps.find(|step| step["problem"]["file"] == file && !step["kept"].is_null());
        let name = step.unwrap_or_else(|| panic!("{file}: {repaired:#}"))["kept"].as_str().unwrap();
        std::fs::read(place.path("state").join(name)).unwrap()
    };
    assert_eq!(kept("state.json"), b"");
    assert_eq!(kept("wal/strange"), b"strange");
    assert_eq!(kept(SEGMENT.trim_start_matches("state/")), damaged);
    assert_eq!(std::fs::read(place.path("state/notes.txt")).unwrap(), b"mine");
    assert_eq!(place.run("verify").code, 0);
    assert_eq!(place.tasks(), [json!({"id": "a"}), json!({"id": "b"}), json!({"id": "c"})]);
}

#[test]
fn what_a_repair_cannot_mend_leaves_it_with_exit_code_5() {
    let place = with_three();
    std::fs::create_dir_all(place.path("state/logs/session_a.log")).unwrap();
    let told = place.run("repair");
    assert_eq!(told.code, 5, "{told:?}");
    assert!(told.out.starts_with("leave: unreadable: logs/session_a.log"), "{told:?}");
    assert_eq!(place.run("repair --dry-run").code, 0);
}

#[test]
fn the_log_is_listed_as_segments_and_groups() {
    let place = with_three();
    let segments = json_lines(&place.ok("wal --format json"));
    assert!(segments.len() >= 2, "{segments:?}");
    for segment in &segments {
        assert_eq!(segment["type"], "segment");
        assert!(matches!(segment["verdict"].as_str(), Some("stands" | "void")), "{segment}");
        let all = ["number", "file", "bytes", "used_bytes", "incarnation", "first_lsn", "last_lsn"];
        let fields = segment.as_object().unwrap();
        for field in all.iter().chain(&["groups", "records", "state", "verdict"]) {
            assert!(fields.contains_key(*field), "{field}: {segment}");
        }
    }
    let pieces = json_lines(&place.ok("wal --groups --format json"));
    let of_type = |name: &str| pieces.iter().filter(|one| one["type"] == name).count();
    assert_eq!(of_type("segment"), segments.len());
    let groups: u64 = segments.iter().map(|one| one["groups"].as_u64().unwrap()).sum();
    assert_eq!((of_type("group") as u64, of_type("damage")), (groups, 0));
    let data = pieces.iter().find(|one| one["kind"] == "data" && one["verdict"] == "stands");
    let data = data.unwrap_or_else(|| panic!("{pieces:?}"));
    assert!(walden::Timestamp::parse(data["time"].as_str().unwrap()).is_some());
    let all = ["segment", "offset", "first_lsn", "records", "bytes", "durable_lsn"];
    assert!(all.iter().all(|field| data[*field].is_u64()), "{data}");
    assert_eq!(json_lines(&place.ok("wal --groups --format json --limit 2")).len(), 2);

    let table = place.ok("wal");
    assert!(table.starts_with("NUMBER  BYTES"), "{table}");
    assert_eq!(table.lines().count(), segments.len() + 1);
    assert_eq!(place.ok("wal --limit 1").lines().count(), 2);
    assert_eq!(place.ok("wal --groups").lines().count() as u64, groups + 1);
}

#[test]
fn a_damaged_log_is_listed_too_also_where_opening_would_be_refused() {
    let place = with_three();
    damage(&place);
    let damaged = json_lines(&place.ok("wal --groups --format json"));
    let damage = damaged.iter().find(|one| one["type"] == "damage").unwrap();
    assert_eq!((&damage["verdict"], &damage["segment"]), (&json!("corrupt"), &json!(2)));
    assert!(damage["offset"].is_u64() && damage["bytes"].is_u64() && damage["why"].is_string());
    assert!(place.ok("wal").contains("corrupt: the segment header is damaged"));
    for entry in std::fs::read_dir(place.path("state")).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            std::fs::remove_file(path).unwrap();
        }
    }
    std::fs::remove_file(place.path(SEGMENT)).unwrap();
    assert!(place.ok("wal").lines().count() > 1);
}

#[test]
fn files_that_others_can_use_are_a_warning_for_people_and_no_finding() {
    let place = with_three();
    let open_up = |name: &str, mode| {
        std::fs::set_permissions(place.path(name), PermissionsExt::from_mode(mode)).unwrap();
    };
    open_up("state/state.json", 0o644);
    open_up("state/tasks/a.json", 0o640);
    for (verb, path) in [("verify", "state.json (mode 644)"), ("status", "state.json (mode 644)")] {
        let ran = place.run(verb);
        assert_eq!(ran.code, 0);
        assert!(ran.err.starts_with("warning: ") && ran.err.contains(path), "{verb}: {ran:?}");
        assert_eq!(ran.err.lines().count(), 1);
        let json = place.ok(&format!("{verb} --format json"));
        assert!(!json.contains("mode"), "{json}");
    }
    assert!(place.run("verify").err.contains("and 1 more"));
}

#[test]
fn a_backup_that_lies_elsewhere_is_refused_and_not_taken_for_the_stores_own_of_that_name() {
    let place = with_three();
    place.write("d.json", r#"{"id": "d"}"#);
    place.ok("put d.json");
    let names = std::fs::read_dir(place.path("state")).unwrap();
    let mut names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let backup = names.find(|name| name.starts_with("state.backup.")).unwrap();
    std::fs::create_dir(place.path("elsewhere")).unwrap();
    place.write(&format!("elsewhere/{backup}"), "another");
    let before = place.tasks();
    let err = place.run_args(&["restore", &format!("elsewhere/{backup}")]).failed(2);
    assert!(err.contains(&format!("elsewhere/{backup} is not in state")), "{err}");
    assert_eq!(place.tasks(), before);
    place.run_args(&["restore", &format!("./state/{backup}")]).ok();
    assert_ne!(place.tasks(), before);
}
