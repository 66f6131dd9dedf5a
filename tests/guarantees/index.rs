//! The index of `state.json` (G4, G7): an untouched snapshot is loaded without parsing it, and no
//! index, damaged, lost or of another snapshot, ever gives a wrong document.

use std::sync::Arc;

use walden::fs::Kind;
use walden::fs::sim::SimFs;
use walden::{Collection, Doc, DocumentId, Options, ProblemKind, Rung, Store};

use crate::support::{at, documents, files, open, small};

const INDEX: &str = "wal/state.index";

/// All documents with their LSNs, what is indexed of them, and whether they are suspect.
fn docs(store: &Store) -> [Vec<(DocumentId, Arc<Doc>)>; 2] {
    Collection::ALL.map(|collection| store.view().docs(collection))
}

fn is_indexed(store: &Store) -> bool {
    let recovery = store.recovery();
    assert_eq!(recovery.rung, Rung::Snapshot);
    recovery.snapshot_indexed
}

/// A small store that was shut down, with a snapshot before its last.
fn shut_down() -> SimFs {
    let disk = SimFs::new();
    let store = open(&disk, 1).unwrap();
    for id in ["a", "b"] {
        store.save_task_json(&format!(r#"{{"id": "{id}", "status": "x", "n": 1}}"#)).unwrap();
    }
    store.save_session_json(r#"{"id": "s"}"#).unwrap();
    store.checkpoint().unwrap();
    store.save_task_json(r#"{"id": "b", "status": "y", "n": 2}"#).unwrap();
    store.shutdown().unwrap();
    disk
}

#[test]
fn a_store_of_300_documents_that_was_shut_down_is_opened_without_parsing_one() {
    let disk = SimFs::new();
    let store = open(&disk, 1).unwrap();
    for n in 0..280 {
        let text = format!(
            r#"{{"id": "t{n}", "status": "completed", "assigned_to": "é{n}", "logs": [{n}],
                "started_at": "2024-01-01T10:00:00Z", "completed_at": "2024-01-01T10:00:{:02}Z"}}"#,
            n % 60
        );
        store.save_task_json(&text).unwrap();
    }
    for n in 0..20 {
        store.save_session_json(&format!(r#"{{"id": "s{n}"}}"#)).unwrap();
    }
    store.delete_task("t7").unwrap();
    let (before, metrics) = (docs(&store), store.view().metrics());
    store.shutdown().unwrap();
    assert!(at(&disk, 2).verify().unwrap().ok);
    let store = open(&disk, 2).unwrap();
    assert!(is_indexed(&store));
    assert_eq!(store.recovery().problems, []);
    assert_eq!(docs(&store), before, "LSNs included");
    assert_eq!(store.view().metrics(), metrics);
    store.append_task_log_json("t3", r#"{"message": "m"}"#).unwrap();
    let view = store.view();
    let t3 = view.docs(Collection::Task).into_iter().find(|(id, _)| id.as_str() == "t3").unwrap();
    assert!(t3.1.text().contains(r#""logs": [3,{"message": "m"}],"#), "{}", t3.1.text());
    store.shutdown().unwrap();
    disk.remove_now(INDEX).unwrap();
    let parsed = open(&disk, 3).unwrap();
    assert!(!is_indexed(&parsed));
    assert_eq!(documents(&parsed.view()), documents(&view));
    assert_eq!(parsed.recovery().problems, [], "nothing is amiss without it");
}

#[test]
fn a_checkpoint_that_leaves_out_the_mirror_writes_the_index_too() {
    let disk = SimFs::new();
    let options = Options { checkpoint_log_bytes: 64 << 10, ..small() };
    let store = at(&disk, 1).options(options).open().unwrap();
    for round in 0.. {
        assert!(round < 1000, "the log never asked for a checkpoint");
        store.save_task_json(&format!(r#"{{"id": "t", "round": {round}}}"#)).unwrap();
        store.step();
        if disk.read_now("state.json").is_some() {
            break;
        }
    }
    assert_eq!(disk.read_now("tasks/t.json"), None);
    assert!(is_indexed(&open(&disk.if_killed(), 2).unwrap()));
}

#[test]
fn no_damaged_byte_of_the_index_or_the_snapshot_gives_a_wrong_document() {
    let disk = shut_down();
    let state = documents(&open(&disk.if_killed(), 2).unwrap().view());
    for name in [INDEX, "state.json"] {
        let length = disk.read_now(name).unwrap().len() as u64;
        for at_byte in 0..length {
            let damaged = disk.if_killed();
            damaged.corrupt(name, at_byte, 1 << (at_byte % 8)).unwrap();
            let store = open(&damaged, 3).unwrap();
            assert_eq!(documents(&store.view()), state, "{name} at {at_byte}");
            let recovery = store.recovery();
            assert!(!recovery.snapshot_indexed, "{name} at {at_byte}");
            let told = recovery.problems.iter().any(|problem| problem.file == name);
            assert!(told, "{name} at {at_byte}: {recovery:?}");
        }
    }
}

#[test]
fn an_index_of_another_snapshot_of_the_store_is_not_applied() {
    let disk = shut_down();
    let (old_index, old_state) = (disk.read_now(INDEX).unwrap(), disk.read_now("state.json"));
    let store = open(&disk, 2).unwrap();
    store.save_task_json(r#"{"id": "b", "status": "z", "n": 3}"#).unwrap();
    let state = documents(&store.view());
    store.shutdown().unwrap();
    let behind = disk.if_killed();
    behind.write_now(INDEX, &old_index).unwrap();
    let store = open(&behind, 3).unwrap();
    assert!(!is_indexed(&store));
    assert_eq!(documents(&store.view()), state);
    assert_eq!(store.recovery().problems, []);
    let ahead = disk.if_killed();
    ahead.write_now("state.json", &old_state.unwrap()).unwrap();
    assert!(!open(&ahead, 3).unwrap().recovery().snapshot_indexed);
}

#[test]
fn a_damaged_index_is_made_anew_with_the_next_snapshot() {
    let disk = shut_down();
    disk.corrupt(INDEX, 40, 1).unwrap();
    let found = at(&disk, 2).verify().unwrap();
    assert!(!found.ok && found.problems.iter().all(|problem| problem.file == INDEX), "{found:?}");
    let store = open(&disk, 2).unwrap();
    store.save_task_json(r#"{"id": "c"}"#).unwrap();
    store.shutdown().unwrap();
    assert!(at(&disk, 3).verify().unwrap().ok);
    assert!(is_indexed(&open(&disk, 3).unwrap()));
}

#[test]
fn an_index_that_cannot_be_written_fails_nothing() {
    let disk = shut_down();
    disk.remove_now(INDEX).unwrap();
    disk.plant_now(INDEX, Kind::Directory).unwrap();
    let store = open(&disk, 2).unwrap();
    store.save_task_json(r#"{"id": "c"}"#).unwrap();
    assert!(store.checkpoint().unwrap().written);
    let state = documents(&store.view());
    store.shutdown().unwrap();
    assert!(!files(&disk).contains_key("wal/index.part"));
    let store = open(&disk, 3).unwrap();
    assert!(!is_indexed(&store) && store.recovery().clean);
    assert_eq!(documents(&store.view()), state);
    let kinds: Vec<_> = store.recovery().problems.iter().map(|problem| problem.kind).collect();
    assert_eq!(kinds, [ProblemKind::Unreadable]);
}

#[test]
fn a_half_written_index_is_no_finding_and_is_replaced() {
    let disk = shut_down();
    disk.write_now("wal/index.part", b"WALDEN").unwrap();
    assert!(at(&disk, 2).verify().unwrap().ok);
    let store = open(&disk, 2).unwrap();
    assert_eq!(store.recovery().problems, []);
    store.save_task_json(r#"{"id": "c"}"#).unwrap();
    store.shutdown().unwrap();
    assert!(!files(&disk).contains_key("wal/index.part"));
    assert!(is_indexed(&open(&disk, 3).unwrap()));
}

#[test]
fn a_document_that_is_suspect_stays_so_over_a_snapshot() {
    let disk = SimFs::new();
    let store = open(&disk, 1).unwrap();
    for id in ["a", "b"] {
        store.save_task_json(&format!(r#"{{"id": "{id}"}}"#)).unwrap();
    }
    store.checkpoint().unwrap();
    store.save_task_json(r#"{"id": "a", "lost": "in the hole"}"#).unwrap();
    for n in 0..5 {
        store.append_task_log_json("a", &format!(r#"{{"message": "{n}"}}"#)).unwrap();
        store.save_task_json(r#"{"id": "b"}"#).unwrap();
    }
    let left = disk.if_killed();
    let (segment, place) = left
        .names()
        .into_iter()
        .filter(|name| name.ends_with(".wal"))
        .find_map(|name| {
            let bytes = left.read_now(&name)?;
            let place = bytes.windows(11).position(|window| window == b"in the hole")?;
            Some((name, place as u64))
        })
        .unwrap();
    left.corrupt(&segment, place, 1).unwrap();
    let suspects = |store: &Store| -> Vec<String> {
        let docs = store.view().docs(Collection::Task).into_iter();
        docs.filter(|(_, doc)| doc.is_suspect()).map(|(id, _)| id.to_string()).collect()
    };
    let store = open(&left, 2).unwrap();
    assert_eq!(suspects(&store), ["a"]);
    store.shutdown().unwrap();
    let store = open(&left, 3).unwrap();
    assert!(is_indexed(&store) && store.recovery().records_replayed == 0);
    assert_eq!(suspects(&store), ["a"]);
}
