//! Fidelity (G12): what was saved comes back to the last digit, by every way there is.

use walden::fs::sim::{CrashMode, SimFs};
use walden::{LogEntry, Store};

use crate::support::{at, open};

const TEXTS: [&str; 5] = [
    r#"{"id": "a", "big": 123456789012345678901234567890, "huge": 1e400, "tiny": -1.50e-400}"#,
    r#"{"z": 1, "id": "b", "a": {"y": [1.0, 1.00, 1e2, -0, 0.10], "x": null}, "b": true}"#,
    r#"{"id":"c","text":"\u0041\/\n\t\"\\ é \ud83d\ude00 😀","":""}"#,
    r#"{"updated_at": "2020-02-30T25:61:00+99:99", "id": "d", "status": "no such status", "logs": []}"#,
    r#"{"id": "e\u0065", "unknown": {"deep": [[[[{"k": [1, "2", null]}]]]]}, "tries": 1.50}"#,
];

fn id_of(text: &str) -> String {
    let value: serde_json::Value = serde_json::from_str(&text.replace("1e400", "1")).unwrap();
    value["id"].as_str().unwrap().to_owned()
}

fn check(store: &Store, by: &str) {
    for text in TEXTS {
        assert_eq!(&*store.task_json(&id_of(text)).unwrap(), text, "by {by}");
        assert_eq!(&*store.session_json(&id_of(text)).unwrap(), text, "by {by}");
    }
}

#[test]
fn every_text_survives_kill_power_cut_snapshot_and_backup_verbatim() {
    let disk = SimFs::new();
    let store = open(&disk, 1).unwrap();
    for text in TEXTS {
        store.save_task_json(text).unwrap();
        store.save_session_json(text).unwrap();
    }
    check(&store, "memory");
    check(&open(&disk.if_killed(), 2).unwrap(), "the log after a kill");
    check(&open(&disk.if_crashed(CrashMode::Nothing), 3).unwrap(), "the log after a power cut");
    store.checkpoint().unwrap();
    check(&open(&disk.if_killed(), 4).unwrap(), "the snapshot");
    store.save_task_json(r#"{"id": "more"}"#).unwrap();
    store.checkpoint().unwrap();
    let without_snapshot = disk.if_killed();
    without_snapshot.remove_now("state.json").unwrap();
    check(&open(&without_snapshot, 5).unwrap(), "the backup");
    store.shutdown().unwrap();
    let view = at(&disk, 6).open_read_only().unwrap();
    assert_eq!(&*view.task_json("a").unwrap(), TEXTS[0]);
    check(&open(&disk, 7).unwrap(), "a clean shutdown");
}

#[test]
fn a_delta_changes_what_it_names_and_nothing_else() {
    let disk = SimFs::new();
    let store = open(&disk, 1).unwrap();
    for text in TEXTS {
        store.save_task_json(text).unwrap();
    }
    store.checkpoint().unwrap();
    let store = open(&disk.if_killed(), 2).unwrap();
    store.patch_task_json("a", r#"{"big": null, "new": 9007199254740993}"#).unwrap();
    store.patch_task_json("b", r#"{"a": {"x": 1}}"#).unwrap();
    store.append_task_log("d", LogEntry::info("x")).unwrap();
    let a = store.task_json("a").unwrap();
    assert!(a.contains(r#""huge":1e400,"tiny":-1.50e-400"#), "{a}");
    assert!(!a.contains("123456789012345678901234567890") && a.contains("9007199254740993"), "{a}");
    let b = store.task_json("b").unwrap();
    assert!(b.starts_with(r#"{"z":1,"id":"b","a":{"y":[1.0, 1.00, 1e2, -0, 0.10]"#), "{b}");
    let d = store.task_json("d").unwrap();
    assert!(d.starts_with(r#"{"updated_at": "2020-02-30T25:61:00+99:99""#), "{d}");
}

#[test]
fn mirror_and_snapshot_show_every_digit() {
    let disk = SimFs::new();
    let store = open(&disk, 1).unwrap();
    for text in TEXTS {
        store.save_task_json(text).unwrap();
    }
    store.checkpoint().unwrap();
    for file in ["state.json", "tasks/a.json"] {
        let text = String::from_utf8(disk.read_now(file).unwrap()).unwrap();
        for digits in ["123456789012345678901234567890", "1e400", "-1.50e-400"] {
            assert!(text.contains(digits), "{file}: {text}");
        }
    }
}
