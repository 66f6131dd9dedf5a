//! Ids and planted names (G11): files stay inside, names are unique, and nothing that lies at a known
//! name is followed, opened or waited for.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use walden::{Error, Store, Task, sanitize_id};

use crate::crash::shows;
use crate::support::{PATIENCE, documents, open, within};

const STRANGE: [&str; 22] = [
    "../x",
    "/etc/passwd",
    "..",
    ".",
    ".hidden",
    "a/b/c",
    "a\\b",
    "CON",
    "con.txt",
    "NUL",
    "LPT1",
    "trailing.",
    "trailing ",
    "task",
    "Task",
    "TASK",
    "ünïcode",
    "u\u{308}nicode",
    "日本語",
    "a:b*?\"<>|",
    "task~0123456789abcdef0123",
    "4913",
];

fn fifo(path: &Path) {
    let status = std::process::Command::new("mkfifo").arg(path).status().unwrap();
    assert!(status.success());
}

#[test]
fn every_id_comes_back_and_its_file_stays_inside_under_a_name_of_its_own() {
    let outer = tempfile::tempdir().unwrap();
    let path = outer.path().join("state");
    let long = "x".repeat(200);
    let wide = "é".repeat(100);
    let ids: Vec<&str> = STRANGE.iter().copied().chain([long.as_str(), wide.as_str()]).collect();
    let store = Store::open(&path).unwrap();
    for id in &ids {
        store.save_task(&Task::new(*id, *id)).unwrap();
    }
    store.shutdown().unwrap();
    let names: Vec<String> = fs::read_dir(path.join("tasks"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let folded: BTreeSet<String> = names.iter().map(|name| name.to_lowercase()).collect();
    assert_eq!((names.len(), folded.len()), (ids.len(), ids.len()), "{names:?}");
    for name in &names {
        assert!(name.len() <= 255 && name.is_ascii() && !name.starts_with('.'), "{name}");
    }
    assert_eq!(fs::read_dir(outer.path()).unwrap().count(), 1, "nothing outside");
    let store = Store::open(&path).unwrap();
    assert!(
        store.recovery().clean && store.recovery().problems.is_empty(),
        "{:?}",
        store.recovery()
    );
    for id in &ids {
        assert_eq!(store.task(id).unwrap().unwrap().description, *id);
    }
}

#[test]
fn case_twins_may_come_and_go_and_each_file_shows_its_document() {
    let disk = walden::fs::sim::SimFs::new();
    let store = open(&disk, 1).unwrap();
    let present = |round: usize, n: usize| (round >> n) & 1 == 1;
    for round in 0..8 {
        for (n, id) in ["task", "Task", "TASK"].into_iter().enumerate() {
            if present(round, n) {
                store.save_task_json(&format!(r#"{{"id": "{id}", "round": {round}}}"#)).unwrap();
            } else {
                store.delete_task(id).unwrap();
            }
        }
        store.checkpoint().unwrap();
        shows(&disk, &documents(&store.view()), &[]);
    }
    store.shutdown().unwrap();
    let store = open(&disk, 2).unwrap();
    assert!(store.recovery().problems.is_empty(), "{:?}", store.recovery());
}

#[test]
fn an_invalid_id_is_refused_with_a_reason() {
    let disk = walden::fs::sim::SimFs::new();
    let store = open(&disk, 1).unwrap();
    let long = "x".repeat(201);
    for id in ["", "a\nb", "a\0b", "\u{7f}", "\u{85}", long.as_str()] {
        for refused in [
            store.save_task(&Task::new(id, "x")).map(drop),
            store.patch_task_json(id, "{}").map(drop),
            store.delete_task(id).map(drop),
            store.save_session_json(&serde_json::json!({ "id": id }).to_string()).map(drop),
        ] {
            assert!(matches!(refused, Err(Error::Invalid { .. })), "{id:?}: {refused:?}");
        }
        assert_eq!(store.task(id).unwrap(), None);
    }
    assert!(store.view().is_empty());
    assert_eq!(sanitize_id("../../a").unwrap().as_str(), "....a");
}

#[test]
fn links_and_fifos_at_known_names_are_never_followed_and_never_waited_for() {
    let places = ["state.json", "tasks/a.json", "wal/00000000000000000009.wal", "wal/state.part"];
    for place in places {
        for is_fifo in [true, false] {
            within(PATIENCE, move || plant(place, is_fifo));
        }
    }
}

fn plant(place: &str, is_fifo: bool) {
    let outer = tempfile::tempdir().unwrap();
    let victim = outer.path().join("victim");
    fs::write(&victim, "{\"id\": \"victim\"}").unwrap();
    let path = outer.path().join("state");
    let store = Store::open(&path).unwrap();
    store.save_task(&Task::new("a", "one")).unwrap();
    store.save_task(&Task::new("b", "one")).unwrap();
    store.shutdown().unwrap();
    let planted = path.join(place);
    let _ = fs::remove_file(&planted);
    if is_fifo {
        fifo(&planted);
    } else {
        symlink(&victim, &planted).unwrap();
    }
    Store::builder(&path).open_read_only().map(drop).unwrap();
    walden::verify(&path).unwrap();
    let store = Store::open(&path).unwrap();
    assert_eq!(store.load_tasks().unwrap().len(), 2, "{place}");
    store.save_task(&Task::new("a", "two")).unwrap();
    store.checkpoint().unwrap();
    store.shutdown().unwrap();
    assert_eq!(fs::read_to_string(&victim).unwrap(), "{\"id\": \"victim\"}", "{place}");
    let found = fs::symlink_metadata(&planted);
    let is_engines = place.starts_with("wal/state.part");
    assert!(is_engines || !found.unwrap().is_file(), "{place}: what it is, is left");
    let store = Store::open(&path).unwrap();
    assert_eq!(store.task("a").unwrap().unwrap().description, "two", "{place}");
}

#[test]
fn a_link_in_the_place_of_a_directory_is_refused_and_not_followed() {
    for dir in ["tasks", "wal", "sessions"] {
        let outer = tempfile::tempdir().unwrap();
        let elsewhere = outer.path().join("elsewhere");
        fs::create_dir(&elsewhere).unwrap();
        let path = outer.path().join("state");
        fs::create_dir(&path).unwrap();
        symlink(&elsewhere, path.join(dir)).unwrap();
        let opened = Store::open(&path);
        assert!(matches!(opened, Err(Error::Io { .. })), "{dir}: {opened:?}");
        assert_eq!(fs::read_dir(&elsewhere).unwrap().count(), 0, "{dir}");
    }
}

#[test]
fn a_link_in_the_place_of_the_owner_file_is_not_followed() {
    for is_fifo in [true, false] {
        within(PATIENCE, move || {
            let outer = tempfile::tempdir().unwrap();
            let victim = outer.path().join("victim");
            fs::write(&victim, "text").unwrap();
            let path = outer.path().join("state");
            let store = Store::open(&path).unwrap();
            store.save_task(&Task::new("a", "one")).unwrap();
            store.shutdown().unwrap();
            fs::remove_file(path.join(".walden")).unwrap();
            if is_fifo {
                fifo(&path.join(".walden"));
            } else {
                symlink(&victim, path.join(".walden")).unwrap();
            }
            let store = Store::open(&path).unwrap();
            assert_eq!(store.load_tasks().unwrap().len(), 1);
            store.shutdown().unwrap();
            assert_eq!(fs::read_to_string(&victim).unwrap(), "text");
        });
    }
}
