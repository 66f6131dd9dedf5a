//! The directories that inputs begin with, and every version that their documents ever had.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde_json::Value;
use walden::fs::sim::SimFs;
use walden::testing::documents;

use super::at;

/// A directory, and what was saved in it.
pub(super) struct Reference {
    pub(super) disk: SimFs,
    pub(super) versions: BTreeMap<(&'static str, String), Vec<Value>>,
}

/// A store that was shut down, one that was killed, another of each (with the same ids), an earlier
/// implementation's directory, and an empty one.
pub(super) static REFERENCES: LazyLock<Vec<Reference>> = LazyLock::new(|| {
    vec![
        store(1, true),
        store(1, false),
        store(50, true),
        store(50, false),
        earlier(),
        Reference { disk: SimFs::new(), versions: BTreeMap::new() },
    ]
});

/// A store with every kind of file, in which snapshots, backups, segments and the mirror are at
/// different versions.
fn store(seed: u64, is_clean: bool) -> Reference {
    let disk = SimFs::new();
    let store = at(&disk, seed).open().unwrap();
    let mut versions: BTreeMap<_, Vec<Value>> = BTreeMap::new();
    let mut note = || {
        for (name, document) in documents(&store.view()) {
            let known = versions.entry(name).or_default();
            if known.last() != Some(&document) {
                known.push(document);
            }
        }
    };
    for round in 0..3 {
        for id in ["a", "B", "b", "c d"] {
            let text = format!(r#"{{"id": "{id}", "round": {round}, "by": {seed}, "logs": []}}"#);
            store.save_task_json(&text).unwrap();
            note();
        }
        store.save_session_json(&format!(r#"{{"id": "s", "round": {round}}}"#)).unwrap();
        store.append_session_log("s", format!("line {round} of {seed}\n")).unwrap();
        note();
        if round == 0 {
            store.save_task_json(r#"{"id": "gone"}"#).unwrap();
            note();
        }
        store.checkpoint().unwrap();
        if round == 1 {
            store.delete_task("gone").unwrap();
        }
    }
    store.save_report_json("r", &format!(r#"{{"by": {seed}}}"#)).unwrap();
    for step in 0..2 {
        store.append_task_log_json("a", &format!(r#"{{"message": "step {step}"}}"#)).unwrap();
        note();
        store.patch_task_json("b", &format!(r#"{{"status": "x{step}"}}"#)).unwrap();
        note();
    }
    let left = if is_clean {
        store.shutdown().unwrap();
        disk.if_killed()
    } else {
        disk.if_killed()
    };
    Reference { disk: left, versions }
}

/// What the earlier implementation leaves. All of it is taken in as it is, so nothing is known of it.
fn earlier() -> Reference {
    let disk = SimFs::new();
    for (file, text) in [
        (
            "state.json",
            r#"{"tasks": [{"id": "a", "n": 1, "updated_at": "2024-01-01T00:00:00Z"}],
                "sessions": [{"id": "s"}], "last_saved": "2024-01-02T00:00:00Z"}"#,
        ),
        ("state.backup.1704103200000.json", r#"{"tasks": [{"id": "old"}], "sessions": []}"#),
        ("tasks/a.json", r#"{"id": "a", "n": 2, "updated_at": "2024-01-02T00:00:00Z"}"#),
        ("tasks/ab.json", r#"{"id": "a:b", "n": 123456789012345678901234567890}"#),
        ("tasks/broken.json", "{\"id\": \"bro"),
        ("logs/session_s_1704103200000.log", "line\n"),
        ("reports/report_r_1704103200000.json", "{}"),
    ] {
        disk.write_now(file, text.as_bytes()).unwrap();
    }
    Reference { disk, versions: BTreeMap::new() }
}
