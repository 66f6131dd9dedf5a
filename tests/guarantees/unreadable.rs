//! Files that cannot be read for a while (G6, G8): when they can be again, nothing that the engine itself
//! wrote is taken for an edit.

use std::sync::{Arc, Mutex};

use walden::fs::sim::{CallKind, Fault, Plan, SimFs};
use walden::testing::SteppedClock;
use walden::{Event, Store};

use crate::edits::{A, bare, conflicts, file, find, store_with};
use crate::support::{builder, open};

#[test]
fn a_file_that_could_not_be_read_nor_its_index_is_known_by_what_it_showed() {
    let whole = SimFs::new();
    store_with(&whole, &[r#"{"id": "a", "n": 1, "m": 1}"#, r#"{"id": "b"}"#]).0.shutdown().unwrap();
    let with = |is_edited: bool, call: &dyn Fn(&Store)| {
        let disk = whole.if_killed();
        if is_edited {
            disk.save_now(A, br#"{"id": "a", "n": 1, "m": 5}"#).unwrap();
        }
        disk.remove_now("wal/state.index").unwrap();
        disk.fail(Plan::new(Fault::Errno(5)).path(A).kind(CallKind::Open).for_ever());
        let clock = Arc::new(SteppedClock::default());
        let store = builder(Arc::new(disk.clone()), clock.clone(), 7).open().unwrap();
        let told = &store.recovery().problems;
        assert!(told.iter().any(|problem| problem.file == A), "{told:?}");
        call(&store);
        disk.clear_faults();
        find(&store, &clock);
        store.checkpoint().unwrap();
        find(&store, &clock);
        (disk.read_now(A).map(|_| bare(&file(&disk, A))), conflicts(&disk).len())
    };
    let patch = |store: &Store| {
        store.patch_task_json("a", r#"{"n": 2}"#).unwrap();
    };
    let delete = |store: &Store| assert!(store.delete_task("a").unwrap());
    assert_eq!(with(false, &|_| ()), (Some(r#"{"id":"a","n":1,"m":1}"#.into()), 0));
    assert_eq!(with(false, &patch), (Some(r#"{"id":"a","n":2,"m":1}"#.into()), 0));
    assert_eq!(with(false, &delete), (None, 0), "it comes back");
    assert_eq!(with(true, &patch), (Some(r#"{"id":"a","n":2,"m":5}"#.into()), 0));
    let edited_and_deleted = with(true, &delete);
    assert_eq!(edited_and_deleted.0.as_deref(), Some(r#"{"id":"a","n":1,"m":5}"#));
}

#[test]
fn a_file_that_could_not_be_read_is_removed_with_its_document_all_the_same() {
    // Or a person has written something else into it meanwhile, which counts.
    for edited in [None, Some(r#"{"id":"a","n":7}"#)] {
        let disk = SimFs::new();
        let (store, clock) = store_with(&disk, &[r#"{"id": "a", "n": 1}"#, r#"{"id": "b"}"#]);
        let shown = disk.read_now(A).unwrap();
        // Saved as it was: so it is read again.
        disk.save_now(A, &shown).unwrap();
        disk.fail(Plan::new(Fault::Errno(5)).path(A).kind(CallKind::Read).for_ever());
        find(&store, &clock);
        assert!(disk.faults_fired() > 0, "it was not read");
        assert!(store.delete_task("a").unwrap());
        store.shutdown().unwrap();
        disk.clear_faults();
        assert_eq!(disk.read_now(A).as_deref(), Some(&*shown), "it is held");
        if let Some(text) = edited {
            disk.save_now(A, text.as_bytes()).unwrap();
        }
        let store = open(&disk, 2).unwrap();
        store.checkpoint().unwrap();
        assert_eq!(store.task_json("a").map(|text| bare(&text)).as_deref(), edited);
        assert_eq!(disk.read_now(A).is_some(), edited.is_some());
        assert_eq!(conflicts(&disk), [""; 0]);
    }
}

#[test]
fn what_could_not_be_read_once_is_read_again_and_told_once() {
    for path in [A, "tasks/new.json"] {
        let disk = SimFs::new();
        let (store, clock) = store_with(&disk, &[r#"{"id": "a", "n": 1}"#]);
        let told: Arc<Mutex<Vec<String>>> = Arc::default();
        let noted = told.clone();
        store.on_event(move |event| {
            if let Event::Found(problem) = event {
                noted.lock().unwrap().push(format!("{}: {problem}", problem.file));
            }
        });
        let id = path.trim_start_matches("tasks/").trim_end_matches(".json");
        disk.save_now(path, format!(r#"{{"id": "{id}", "n": 2}}"#).as_bytes()).unwrap();
        disk.fail(Plan::new(Fault::Errno(5)).path(path).kind(CallKind::Read).for_ever());
        find(&store, &clock);
        find(&store, &clock);
        let seen = told.lock().unwrap().clone();
        assert!(seen.len() == 1 && seen[0].starts_with(path), "{seen:?}");
        disk.clear_faults();
        find(&store, &clock);
        assert_eq!(bare(&store.task_json(id).unwrap()), format!(r#"{{"id":"{id}","n":2}}"#));
        assert_eq!(conflicts(&disk), [""; 0]);
    }
}

#[test]
fn what_came_out_of_the_place_of_a_file_and_could_not_be_read_is_no_edit() {
    let disk = SimFs::new();
    let (store, clock) = store_with(&disk, &[r#"{"id": "a", "n": 1, "m": 1}"#]);
    store.patch_task_json("a", r#"{"n": 2}"#).unwrap();
    disk.fail(Plan::new(Fault::Errno(5)).path("wal/swap").kind(CallKind::Read).for_ever());
    store.checkpoint().unwrap_err();
    assert_eq!(bare(&file(&disk, A)), r#"{"id":"a","n":2,"m":1}"#);
    // So nothing is to be done for the file any more.
    disk.save_now(A, br#"{"id": "a", "n": 2, "m": 5}"#).unwrap();
    find(&store, &clock);
    store.shutdown().unwrap_err();
    disk.clear_faults();
    let again = open(&disk, 2).unwrap();
    assert_eq!(bare(&again.task_json("a").unwrap()), r#"{"id":"a","n":2,"m":5}"#);
    again.shutdown().unwrap();
    assert_eq!(conflicts(&disk), [""; 0]);
    assert!(!disk.names().iter().any(|name| name.starts_with("wal/swap")));
}
