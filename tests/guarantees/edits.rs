//! What people do to the files (G6, as far as it goes): nothing of theirs is overwritten unseen, and
//! the engine's state stays in force.

use walden::ProblemKind;
use walden::fs::sim::SimFs;

use crate::support::{at, open};

const MINE: &[u8] = b"{\"id\": \"a\", \"mine\": true}";

fn conflicts(disk: &SimFs) -> Vec<Vec<u8>> {
    let names = disk.names().into_iter().filter(|name| name.starts_with("conflicts/"));
    names.map(|name| disk.read_now(&name).unwrap()).collect()
}

fn edit(disk: &SimFs, in_place: bool) {
    if in_place {
        disk.write_now("tasks/a.json", MINE).unwrap();
    } else {
        disk.save_now("tasks/a.json", MINE).unwrap();
    }
}

#[test]
fn an_edit_of_an_open_store_is_kept_aside_before_its_place_is_taken() {
    for in_place in [true, false] {
        let disk = SimFs::new();
        let store = open(&disk, 1).unwrap();
        store.save_task_json(r#"{"id": "a", "n": 1}"#).unwrap();
        store.checkpoint().unwrap();
        edit(&disk, in_place);
        store.checkpoint().unwrap();
        assert_eq!(
            disk.read_now("tasks/a.json").unwrap(),
            MINE,
            "it is left while nothing changes"
        );
        store.save_task_json(r#"{"id": "a", "n": 2}"#).unwrap();
        let made = store.checkpoint().unwrap();
        assert_eq!(made.problems.len(), 1);
        assert_eq!(made.problems[0].kind, ProblemKind::Edited);
        assert_eq!(conflicts(&disk), [MINE]);
        assert_ne!(disk.read_now("tasks/a.json").unwrap(), MINE);
        assert_eq!(&*store.task_json("a").unwrap(), r#"{"id": "a", "n": 2}"#);
    }
}

#[test]
fn an_edit_of_a_closed_store_is_reported_and_kept() {
    let disk = SimFs::new();
    let store = open(&disk, 1).unwrap();
    store.save_task_json(r#"{"id": "a", "n": 1}"#).unwrap();
    store.shutdown().unwrap();
    edit(&disk, true);
    let verified = at(&disk, 2).verify().unwrap();
    assert!(verified.ok, "{verified:?}");
    assert_eq!(verified.problems.len(), 1);
    assert_eq!(verified.problems[0].kind, ProblemKind::Edited);
    let store = open(&disk, 3).unwrap();
    assert_eq!(store.recovery().problems[0].kind, ProblemKind::Edited);
    assert_eq!(&*store.task_json("a").unwrap(), r#"{"id": "a", "n": 1}"#);
    store.delete_task("a").unwrap();
    store.checkpoint().unwrap();
    assert_eq!(conflicts(&disk), [MINE]);
    assert!(disk.read_now("tasks/a.json").is_none());
}

#[test]
fn a_file_that_a_person_added_is_left_alone() {
    let disk = SimFs::new();
    let store = open(&disk, 1).unwrap();
    store.save_task_json(r#"{"id": "a", "n": 1}"#).unwrap();
    store.checkpoint().unwrap();
    for name in ["tasks/b.json", "tasks/notes.txt", "tasks/a.json~", "conflicts/x", "notes.md"] {
        disk.write_now(name, b"{\"id\": \"b\"}").unwrap();
    }
    store.save_task_json(r#"{"id": "a", "n": 2}"#).unwrap();
    store.shutdown().unwrap();
    open(&disk, 2).unwrap().shutdown().unwrap();
    for name in ["tasks/b.json", "tasks/notes.txt", "tasks/a.json~", "conflicts/x", "notes.md"] {
        assert_eq!(disk.read_now(name).unwrap(), b"{\"id\": \"b\"}", "{name}");
    }
}

#[test]
fn a_new_document_does_not_overwrite_a_file_that_a_person_made() {
    let disk = SimFs::new();
    let store = open(&disk, 1).unwrap();
    disk.write_now("tasks/a.json", MINE).unwrap();
    store.save_task_json(r#"{"id": "a", "n": 1}"#).unwrap();
    store.checkpoint().unwrap();
    assert_eq!(conflicts(&disk), [MINE]);
}

#[test]
fn an_edited_snapshot_is_kept_when_the_next_one_takes_its_place() {
    let disk = SimFs::new();
    let store = open(&disk, 1).unwrap();
    store.save_task_json(r#"{"id": "a", "n": 1}"#).unwrap();
    store.checkpoint().unwrap();
    disk.write_now("state.json", b"{\"tasks\": [\"my own\"]}").unwrap();
    store.save_task_json(r#"{"id": "a", "n": 2}"#).unwrap();
    let made = store.checkpoint().unwrap();
    assert!(made.written && made.problems.len() == 1, "{made:?}");
    assert_eq!(conflicts(&disk), [b"{\"tasks\": [\"my own\"]}"]);
}
