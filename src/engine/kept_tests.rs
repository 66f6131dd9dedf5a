//! What is told of `conflicts/` and of the files' edits, and what a person's decisions and edits do.

use std::sync::Arc;
use std::time::Duration;

use crate::engine::{Effect, KeptStatus, Resolution, Store};
use crate::fs::sim::{CrashMode, SimFs};
use crate::fs::{Fs, Kind};
use crate::testing::{SteppedClock, builder};
use crate::{Builder, Clock, Collection, Error};

const A1: &str = "conflicts/a~00000000000000000000000000000001.json";
const A2: &str = "conflicts/a~00000000000000000000000000000002.json";

fn at(disk: &SimFs, clock: &Arc<SteppedClock>, seed: u64) -> Builder {
    builder(Arc::new(disk.clone()), clock.clone(), seed)
}

/// A store with one task, and these files in `conflicts/`.
fn with_kept(disk: &SimFs, kept: &[(&str, &str)]) -> (Store, Arc<SteppedClock>) {
    let clock = Arc::new(SteppedClock::default());
    let store = at(disk, &clock, 1).open().unwrap();
    store.save_task_json(r#"{"id":"a","n":1}"#).unwrap();
    for (file, text) in kept {
        disk.write_now(file, text.as_bytes()).unwrap();
    }
    (store, clock)
}

fn name(file: &str) -> &str {
    file.strip_prefix("conflicts/").unwrap()
}

const TAKE: Resolution = Resolution::TakeKept { collection: None };

#[test]
fn a_kept_version_is_open_while_its_document_is_there_and_means_something_else() {
    let rows = [
        (r#"{"id":"a","n":2}"#, KeptStatus::Open),
        (r#"{ "n": 1.0, "id": "\u0061" }"#, KeptStatus::Same),
        (r#"{"id":"b","n":2}"#, KeptStatus::Gone),
        (r#"{"n":2}"#, KeptStatus::NoDocument),
        ("{\"id\":\"a\",\n\"n\":}", KeptStatus::NoDocument),
    ];
    for (text, status) in rows {
        let disk = SimFs::new();
        let (store, clock) = with_kept(&disk, &[(A1, text)]);
        let listed = store.conflicts().unwrap();
        assert_eq!(listed.len(), 1);
        assert_eq!((listed[0].status, listed[0].name.as_str()), (status, name(A1)), "{text}");
        let is_open = usize::from(status == KeptStatus::Open);
        assert_eq!(store.status().unwrap().conflicts_open, is_open, "{text}");
        let is_explained = listed[0].detail.is_some();
        assert_eq!(is_explained, status == KeptStatus::NoDocument, "{listed:?}");
        assert_eq!(
            listed[0].id.as_ref().unwrap().as_str(),
            if text.contains("\"b\"") { "b" } else { "a" }
        );
        store.shutdown().unwrap();
        let reader = at(&disk, &clock, 2);
        let view = reader.clone().open_read_only().unwrap();
        assert_eq!(reader.conflicts(&view).unwrap(), listed);
    }
}

#[test]
fn the_side_that_is_taken_is_in_force_and_the_file_is_marked_through_a_power_cut() {
    let disk = SimFs::new();
    let (store, clock) =
        with_kept(&disk, &[(A1, r#"{"id":"a","n":2}"#), (A2, r#"{"id":"a","n":3}"#)]);
    let kept = store.resolve_conflict(name(A1), Resolution::KeepState).unwrap();
    assert_eq!((kept.lsn, kept.name), (None, format!("{}.resolved", name(A1))));
    assert_eq!(store.task_json("a").unwrap().as_ref(), r#"{"id":"a","n":1}"#);
    let taken = store.resolve_conflict(name(A2), TAKE).unwrap();
    assert!(taken.lsn.is_some());
    let left = disk.crash_with(CrashMode::Nothing);
    drop(store);
    let store = at(&left, &clock, 2).open().unwrap();
    assert_eq!(store.task_json("a").unwrap().as_ref(), r#"{"id":"a","n":3}"#);
    let listed = store.conflicts().unwrap();
    assert!(listed.iter().all(|kept| kept.status == KeptStatus::Resolved), "{listed:?}");
    assert_eq!((listed.len(), listed[0].id.as_ref().unwrap().as_str()), (3, "a"));
    let is_loser = |name: &&String| left.read_now(name).unwrap().ends_with(b"\"n\": 1\n}\n");
    assert_eq!(
        left.names().iter().filter(|n| n.starts_with("conflicts/")).filter(is_loser).count(),
        1
    );
    for file in [A1, A2] {
        assert_eq!(left.read_now(file), None);
        assert!(left.read_now(&format!("{file}.resolved")).is_some());
    }
    // What is resolved already, or was never there, changes nothing.
    assert!(matches!(store.resolve_conflict(&taken.name, TAKE), Err(Error::Invalid { .. })));
    assert!(matches!(store.resolve_conflict(name(A1), TAKE), Err(Error::NotFound { .. })));
}

#[test]
fn a_kept_version_of_a_deleted_document_brings_it_back_where_it_is_told_to() {
    let disk = SimFs::new();
    let gone = "conflicts/b~00000000000000000000000000000001.json";
    let (store, _) = with_kept(&disk, &[(gone, r#"{"id":"b"}"#)]);
    let collection = Some(Collection::Session);
    store.resolve_conflict(name(gone), Resolution::TakeKept { collection }).unwrap();
    assert!(store.session_json("b").is_some() && store.task_json("b").is_none());
    disk.write_now(gone, br#"{"id":"c"}"#).unwrap();
    store.resolve_conflict(name(gone), TAKE).unwrap();
    assert!(store.task_json("c").is_some());
    assert!(disk.read_now(&format!("{gone}.1.resolved")).is_some(), "no name is taken twice");
}

#[test]
fn equal_contents_that_are_kept_again_are_open_again() {
    let disk = SimFs::new();
    let (store, _) = with_kept(&disk, &[]);
    let base = r#"{"id":"a","n":0}"#;
    for round in [1, 2] {
        store.save_task_json(r#"{"id":"a","n":1}"#).unwrap();
        let taken = store.edit_json(Collection::Task, Some(base), r#"{"id":"a","n":5}"#).unwrap();
        assert_eq!(taken.conflicts, ["/n"]);
        let kept = taken.kept.unwrap();
        assert_eq!(store.status().unwrap().conflicts_open, 1, "round {round}");
        store.resolve_conflict(name(&kept), Resolution::KeepState).unwrap();
        assert_eq!(store.status().unwrap().conflicts_open, 0, "round {round}");
    }
}

#[test]
fn nothing_is_followed_or_touched_outside_of_conflicts() {
    let disk = SimFs::new();
    let (store, _) = with_kept(&disk, &[(A1, r#"{"id":"a","n":2}"#)]);
    disk.plant_now(A2, Kind::Other).unwrap();
    for name in ["../state.json", "a/b", "", ".", "..", "/etc/passwd", "no such file"] {
        let refused = store.resolve_conflict(name, Resolution::KeepState);
        assert!(matches!(refused, Err(Error::NotFound { .. })), "{name}: {refused:?}");
    }
    assert!(matches!(store.resolve_conflict(name(A2), TAKE), Err(Error::Invalid { .. })));
    assert_eq!(disk.stat(A2).unwrap().unwrap().kind, Kind::Other);
    // Something else in the place of the directory.
    let disk = SimFs::new();
    disk.plant_now("conflicts", Kind::Other).unwrap();
    let (store, _) = with_kept(&disk, &[]);
    assert_eq!((store.conflicts().unwrap(), store.status().unwrap().conflicts_open), (vec![], 0));
}

#[test]
fn only_what_was_resolved_is_removed_and_only_if_that_is_long_enough_ago() {
    let disk = SimFs::new();
    let (store, clock) =
        with_kept(&disk, &[(A1, r#"{"id":"a","n":2}"#), (A2, r#"{"id":"a","n":3}"#)]);
    store.resolve_conflict(name(A1), Resolution::KeepState).unwrap();
    let resolved = format!("{A1}.resolved");
    let changed_ns = disk.stat(&resolved).unwrap().unwrap().changed_ns;
    let age_ns = u64::try_from(clock.now().0 - changed_ns).unwrap();
    let (age, day) = (Duration::from_nanos(age_ns), Duration::from_secs(86_400));
    assert_eq!(store.prune_conflicts(Some(age + day)).unwrap(), 0);
    clock.advance(2 * day);
    assert_eq!(store.prune_conflicts(Some(age + day)).unwrap(), 1);
    assert_eq!(disk.read_now(&resolved), None);
    assert!(disk.read_now(A2).is_some());
    assert_eq!(store.prune_conflicts(None).unwrap(), 0);
    store.resolve_conflict(name(A2), Resolution::KeepState).unwrap();
    assert_eq!(store.prune_conflicts(None).unwrap(), 1);
    store.shutdown().unwrap();
    assert!(matches!(store.prune_conflicts(None), Err(Error::Closed)));
    assert!(matches!(store.resolve_conflict("x", TAKE), Err(Error::Closed)));
}

#[test]
fn an_edit_of_a_text_merges_with_what_changed_meanwhile_and_keeps_what_loses() {
    let disk = SimFs::new();
    let (store, clock) = with_kept(&disk, &[]);
    let base = r#"{"id":"a","n":1}"#;
    store.save_task_json(r#"{"id":"a","n":2,"m":1}"#).unwrap();
    let edit = |edited: &str| store.edit_json(Collection::Task, Some(base), edited);
    assert_eq!(edit(r#"{"id": "a", "n": 1.0}"#).unwrap().lsn, None, "nothing was changed");
    let taken = edit("\u{feff}{\"id\":\"a\",\"n\":3}\r\n").unwrap();
    assert_eq!(taken.conflicts, ["/n"]);
    assert_eq!(store.task_json("a").unwrap().as_ref(), r#"{"id":"a","n":3,"m":1}"#);
    let kept = disk.if_crashed(CrashMode::Nothing).read_now(&taken.kept.unwrap()).unwrap();
    assert_eq!(
        String::from_utf8(kept).unwrap(),
        "{\n  \"id\": \"a\",\n  \"n\": 2,\n  \"m\": 1\n}\n"
    );
    store.delete_task("a").unwrap();
    assert!(edit(r#"{"id":"a","n":4}"#).unwrap().lsn.is_some(), "what was changed lives on");
    assert!(matches!(edit(r#"{"id":"b","n":4}"#), Err(Error::Invalid { .. })));
    store.shutdown().unwrap();
    assert!(matches!(edit(r#"{"id":"a","n":5}"#), Err(Error::Closed)));
    let view = at(&disk, &clock, 2).open_read_only().unwrap();
    assert_eq!(view.task_json("a").unwrap().as_ref(), r#"{"id":"a","n":4}"#);
}

#[test]
fn what_an_opening_would_take_in_is_told_by_file_and_field_and_nothing_is_changed() {
    let disk = SimFs::new();
    let (store, clock) = with_kept(&disk, &[]);
    for id in ["b", "c", "d"] {
        store.save_task_json(&format!("{{\"id\":\"{id}\"}}")).unwrap();
    }
    store.shutdown().unwrap();
    disk.save_now("tasks/a.json", br#"{"id":"a","n":2}"#).unwrap();
    disk.remove("tasks/b.json").unwrap();
    disk.save_now("tasks/c.json", b"{\"id\":\n").unwrap();
    disk.save_now("tasks/new.json", br#"{"id":"e"}"#).unwrap();
    let before = disk.names();
    let pending = at(&disk, &clock, 2).pending_edits().unwrap();
    assert_eq!(disk.names(), before);
    let told: Vec<_> = pending.edits.iter().map(|edit| (edit.file.as_str(), edit.effect)).collect();
    let expected = [
        ("tasks/a.json", Effect::Change),
        ("tasks/b.json", Effect::Delete),
        ("tasks/new.json", Effect::Create),
    ];
    assert_eq!(told, expected);
    let change = &pending.edits[0].changes[0];
    assert_eq!((change.path.as_str(), change.new.as_deref()), ("/n", Some("2")));
    let left: Vec<_> = pending.left.iter().map(|problem| problem.file.as_str()).collect();
    assert_eq!((left, pending.writer_pid), (vec!["tasks/c.json"], None));
    assert!(pending.left[0].detail.contains("line 2"), "{pending:?}");

    let writer = at(&disk, &clock, 3).open().unwrap();
    writer.save_task_json(r#"{"id":"d","n":1}"#).unwrap();
    disk.save_now("tasks/a.json", br#"{"id":"a","n":3}"#).unwrap();
    let pending = at(&disk, &clock, 4).pending_edits().unwrap();
    let told: Vec<_> = pending.edits.iter().map(|edit| edit.file.as_str()).collect();
    assert_eq!(told, ["tasks/a.json"], "{pending:?}");
    assert!(pending.writer_pid.is_some());
    drop(writer);
}
