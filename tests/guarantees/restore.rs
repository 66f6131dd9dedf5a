//! Restoring a backup (G7): `cp` over `state.json`, closed or open, or by the interface, takes every
//! document back to exactly that state, once, and keeps the state before.

use std::io::ErrorKind;
use std::sync::Arc;

use walden::fs::sim::{CallKind, CrashMode, Fault, SimFs};
use walden::{Durability, Error, Event, Store};

use crate::support::{Documents, documents, files, open};
use crate::watched::Watched;

/// A store with changes and deletions between its snapshots: a backup, its documents, and the
/// documents now.
fn changed(disk: &SimFs) -> (Store, Vec<u8>, Documents, Documents) {
    let store = open(disk, 1).unwrap();
    store.save_task_json(r#"{"id": "a", "n": 1.50}"#).unwrap();
    store.save_task_json(r#"{"id": "gone later"}"#).unwrap();
    store.save_session_json(r#"{"id": "s"}"#).unwrap();
    store.checkpoint().unwrap();
    let then = documents(&store.view());
    store.save_task_json(r#"{"id": "a", "n": 2}"#).unwrap();
    store.delete_task("gone later").unwrap();
    store.checkpoint().unwrap();
    let backup = disk.read_now(&newest_backup(disk)).unwrap();
    store.save_task_json(r#"{"id": "new"}"#).unwrap();
    store.delete_session("s").unwrap();
    store.checkpoint().unwrap();
    store.save_task_json(r#"{"id": "tail"}"#).unwrap();
    let now = documents(&store.view());
    (store, backup, then, now)
}

fn backups(disk: &SimFs) -> Vec<String> {
    disk.names().into_iter().filter(|name| name.starts_with("state.backup.")).collect()
}

fn newest_backup(disk: &SimFs) -> String {
    backups(disk).pop().unwrap()
}

/// What `cp BACKUP state.json` does: another file with the same bytes.
fn copy_over(disk: &SimFs, backup: &[u8]) {
    disk.write_now("state.json", backup).unwrap();
}

/// Whether the documents are in a backup of the store, as text.
fn is_kept(disk: &SimFs, state: &Documents) -> bool {
    backups(disk).iter().any(|name| {
        let bytes = disk.read_now(name).unwrap();
        let json: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        let mut found = Documents::new();
        for dir in ["tasks", "sessions"] {
            for doc in json[dir].as_array().unwrap() {
                found.insert((dir, doc["id"].as_str().unwrap().to_owned()), doc.clone());
            }
        }
        found == *state
    })
}

fn check(disk: &SimFs, then: &Documents, before: &Documents) {
    let store = open(disk, 50).unwrap();
    assert_eq!(&documents(&store.view()), then, "{:#?}", store.recovery());
    assert!(is_kept(disk, before), "the state before is a backup");
    let next = store.save_task_json(r#"{"id": "after"}"#).unwrap();
    store.delete_task("after").unwrap();
    store.shutdown().unwrap();
    let again = open(disk, 51).unwrap();
    assert_eq!(&documents(&again.view()), then, "it is restored once: {:#?}", again.recovery());
    assert!(again.save_task_json(r#"{"id": "x"}"#).unwrap() > next);
}

#[test]
fn a_backup_copied_over_state_json_while_closed_is_restored_exactly() {
    for is_clean in [true, false] {
        for without_log in [false, true] {
            let disk = SimFs::new();
            let (store, backup, then, now) = changed(&disk);
            if is_clean {
                store.shutdown().unwrap();
            }
            let left = disk.if_killed();
            drop(store);
            copy_over(&left, &backup);
            if without_log && is_clean {
                for name in left.names().iter().filter(|name| name.starts_with("wal/")) {
                    left.remove_now(name).unwrap();
                }
            }
            check(&left, &then, &now);
        }
    }
}

#[test]
fn writes_after_a_restore_are_not_taken_back_by_the_same_file() {
    let disk = SimFs::new();
    let (store, backup, then, _) = changed(&disk);
    store.shutdown().unwrap();
    copy_over(&disk, &backup);
    let store = open(&disk, 2).unwrap();
    assert_eq!(documents(&store.view()), then);
    store.save_task_json(r#"{"id": "a", "n": 3}"#).unwrap();
    let wanted = documents(&store.view());
    let left = disk.if_killed();
    assert_eq!(documents(&open(&left, 3).unwrap().view()), wanted);
}

#[test]
fn a_backup_copied_over_state_json_while_open_is_restored() {
    let disk = SimFs::new();
    let (store, backup, then, now) = changed(&disk);
    let events = std::sync::Arc::new(parking_lot::Mutex::new(Vec::new()));
    let heard = events.clone();
    store.on_event(move |event: &Event| heard.lock().push(event.name()));
    copy_over(&disk, &backup);
    store.checkpoint().unwrap();
    assert_eq!(documents(&store.view()), then);
    assert!(events.lock().contains(&"state:restored"));
    assert!(is_kept(&disk, &now));
    let left = disk.if_killed();
    assert_eq!(documents(&open(&left, 3).unwrap().view()), then);
    store.shutdown().unwrap();
    check(&disk, &then, &now);
}

#[test]
fn the_interface_restores_too_and_refuses_what_it_cannot() {
    let disk = SimFs::new();
    let (store, bytes, then, now) = changed(&disk);
    let backup = "state.backup.20200103T000000.000000000Z.json";
    disk.write_now(backup, &bytes).unwrap();
    for (name, bytes) in [
        ("state.backup.20200101T000000.000000000Z.json", &b"{"[..]),
        ("state.backup.20200102T000000.000000000Z.json", b""),
    ] {
        disk.write_now(name, bytes).unwrap();
        assert!(matches!(store.restore(name), Err(Error::Corrupt { .. })), "{name}");
        disk.remove_now(name).unwrap();
    }
    assert!(matches!(store.restore("state.json"), Err(Error::Invalid { .. })));
    let none = "state.backup.20200101T000000.000000000Z.json";
    assert!(matches!(store.restore(none), Err(Error::NotFound { .. })));
    assert_eq!(documents(&store.view()), now, "nothing was changed");
    let restored = store.restore(backup).unwrap();
    assert_eq!(restored.documents_changed, 5);
    assert_eq!(documents(&store.view()), then);
    assert!(disk.read_now(&restored.saved_as.unwrap()).is_some());
    let left = disk.if_killed();
    assert_eq!(documents(&open(&left, 3).unwrap().view()), then);
    store.shutdown().unwrap();
    check(&disk, &then, &now);
}

#[test]
fn a_crash_at_any_call_of_a_restore_restores_and_keeps_the_state_before() {
    let disk = SimFs::new();
    let (store, backup, then, now) = changed(&disk);
    let left = disk.if_killed();
    drop(store);
    copy_over(&left, &backup);
    let checked = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0));
    let count = checked.clone();
    let (then_, now_) = (then.clone(), now.clone());
    let watched = Watched::new(&left, move |disk| {
        let place = count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let mode = &[CrashMode::Nothing, CrashMode::Random(place)][(place % 2) as usize];
        for crashed in [disk.if_killed(), disk.if_crashed(mode)] {
            let store = open(&crashed, 60 + place).unwrap();
            assert_eq!(documents(&store.view()), then_, "at {place}: {:#?}", store.recovery());
            assert!(is_kept(&crashed, &now_), "at {place}");
        }
    });
    let clock = std::sync::Arc::default();
    let store = crate::support::builder(std::sync::Arc::new(watched), clock, 7).open().unwrap();
    assert_eq!(documents(&store.view()), then);
    let places = checked.load(std::sync::atomic::Ordering::Relaxed);
    println!("restore: crashed before {places} calls");
    assert!(places > 40);
}

#[test]
fn an_older_snapshot_that_the_engine_itself_left_is_no_restore() {
    // A crash before the record of a snapshot that is in its place already.
    let disk = SimFs::new();
    let store = open(&disk, 1).unwrap();
    for round in 0..4 {
        store.save_task_json(&format!(r#"{{"id": "a", "round": {round}}}"#)).unwrap();
        let before = disk.calls();
        store.checkpoint().unwrap();
        store.save_task_json(&format!(r#"{{"id": "b", "round": {round}}}"#)).unwrap();
        assert!(disk.calls() > before);
    }
    let wanted = documents(&store.view());
    let left = disk.if_killed();
    let again = open(&left, 2).unwrap();
    assert_eq!(documents(&again.view()), wanted);
    assert!(again.recovery().problems.is_empty(), "{:#?}", again.recovery());
    assert!(files(&left).len() > 3);
}

#[test]
fn a_backup_of_a_copy_of_the_store_that_went_another_way_is_not_taken_for_a_newer_state() {
    let disk = SimFs::new();
    let store = open(&disk, 1).unwrap();
    for round in 0..3 {
        store.save_task_json(&format!(r#"{{"id": "a", "round": {round}}}"#)).unwrap();
        store.checkpoint().unwrap();
    }
    store.shutdown().unwrap();
    let copy = disk.if_killed();
    let other = open(&copy, 2).unwrap();
    for _ in 0..50 {
        other.save_task_json(r#"{"id": "a", "round": "another way"}"#).unwrap();
    }
    other.checkpoint().unwrap();
    let foreign = copy.read_now("state.json").unwrap();
    let store = open(&disk, 3).unwrap();
    store.save_task_json(r#"{"id": "b"}"#).unwrap();
    let wanted = documents(&store.view());
    store.shutdown().unwrap();
    disk.write_now("state.backup.20990101T000000.000000000Z.json", &foreign).unwrap();
    let again = open(&disk, 4).unwrap();
    assert_eq!(documents(&again.view()), wanted, "{:#?}", again.recovery());
}

#[test]
fn a_restore_whose_checkpoint_failed_is_not_made_again_over_later_writes() {
    let disk = SimFs::new();
    let (store, backup, then, _) = changed(&disk);
    copy_over(&disk, &backup);
    // The third one puts the new snapshot in its place.
    disk.fail_when(CallKind::Rename, 3, Fault::Error(ErrorKind::PermissionDenied));
    store.checkpoint().unwrap_err();
    assert_eq!(disk.faults_fired(), 1);
    assert_eq!(documents(&store.view()), then);
    store.save_task_json(r#"{"id": "a", "n": 3}"#).unwrap();
    let wanted = documents(&store.view());
    let left = disk.if_killed();
    assert_eq!(left.read_now("state.json").unwrap(), backup, "it still lies there");
    let again = open(&left, 3).unwrap();
    assert_eq!(documents(&again.view()), wanted, "{:#?}", again.recovery());
}

#[test]
fn a_restore_is_known_by_the_log_where_no_backup_is_left() {
    let disk = SimFs::new();
    let (store, _, _, _) = changed(&disk);
    let before_last = disk.read_now(&newest_backup(&disk)).unwrap();
    let left = disk.if_killed();
    drop(store);
    for name in backups(&left) {
        left.remove_now(&name).unwrap();
    }
    copy_over(&left, &before_last);
    let store = open(&left, 2).unwrap();
    assert!(store.task_json("new").is_none(), "it came later: {:#?}", store.recovery());
    assert!(store.task_json("tail").is_none(), "it came later");
    assert!(store.session_json("s").is_some(), "it was deleted later");
}

#[test]
fn a_restore_that_fails_half_way_reverts_nothing_at_the_next_opening() {
    let disk = SimFs::new();
    let (store, backup, _, _) = changed(&disk);
    store.shutdown().unwrap();
    for name in disk.names().iter().filter(|name| name.starts_with("wal/")) {
        disk.remove_now(name).unwrap();
    }
    let store = open(&disk, 2).unwrap();
    let name = "state.backup.20200103T000000.000000000Z.json";
    disk.write_now(name, &backup).unwrap();
    store.save_task_json(r#"{"id": "acknowledged"}"#).unwrap();
    let wanted = documents(&store.view());
    // The present state is saved as a backup; then the log fails.
    disk.fail_when(CallKind::Sync, 2, Fault::Sticky(ErrorKind::Other));
    store.restore(name).unwrap_err();
    assert!(disk.faults_fired() > 0);
    // A kill may leave the restore whole, as any write whose outcome is not known; a power cut does not.
    let left = disk.if_crashed(CrashMode::Nothing);
    left.clear_faults();
    let again = open(&left, 4).unwrap();
    let found = documents(&again.view());
    assert!(found == wanted, "{found:#?} {:#?}", again.recovery());
}

#[test]
fn a_backup_put_back_at_any_call_of_a_checkpoint_is_restored_or_kept_and_told() {
    let (mut restored, mut kept) = (0, 0);
    for place in 1.. {
        let disk = SimFs::new();
        let (store, backup, then, now) = changed(&disk);
        store.shutdown().unwrap();
        let bytes = backup.clone();
        let (watched, switch) = Watched::while_on(&disk, move |disk, call| {
            if call == place {
                disk.save_now("state.json", &bytes).unwrap();
            }
        });
        let store = crate::support::builder(Arc::new(watched), Arc::default(), 7).open().unwrap();
        let problems = Arc::new(parking_lot::Mutex::new(Vec::new()));
        let heard = problems.clone();
        store.on_event(move |event: &Event| {
            if let Event::Found(problem) = event {
                heard.lock().push(problem.file.clone());
            }
        });
        assert_eq!(documents(&store.view()), now);
        store.save_task_json(r#"{"id": "later"}"#).unwrap();
        switch.set(true);
        store.checkpoint().unwrap();
        switch.set(false);
        if switch.calls() < place {
            break;
        }
        store.step();
        let found = documents(&store.view());
        let in_conflicts = files(&disk).into_iter().any(|(name, bytes)| {
            name.starts_with("conflicts/") && bytes.as_deref() == Some(&backup)
        });
        if found == then {
            restored += 1;
        } else {
            assert!(in_conflicts, "at {place}: neither restored nor kept");
            assert!(problems.lock().contains(&"state.json".to_owned()), "at {place}: not told");
            kept += 1;
        }
        store.shutdown().unwrap();
        let again = open(&disk, 9).unwrap();
        assert_eq!(documents(&again.view()), found, "at {place}: {:#?}", again.recovery());
    }
    println!("put back at each call of a checkpoint: {restored} restored, {kept} kept and told");
    assert!(restored > 50 && kept < 5);
}

#[test]
fn a_crash_at_any_call_of_a_restore_by_the_interface_leaves_the_one_state_or_the_other() {
    let disk = SimFs::new();
    let (store, bytes, then, now) = changed(&disk);
    store.shutdown().unwrap();
    let backup = "state.backup.20200103T000000.000000000Z.json";
    disk.write_now(backup, &bytes).unwrap();
    let outcomes = Arc::new(parking_lot::Mutex::new([0, 0]));
    let (seen, old, new) = (outcomes.clone(), now.clone(), then.clone());
    let (watched, switch) = Watched::while_on(&disk, move |disk, call| {
        let mode = &[CrashMode::Nothing, CrashMode::Random(call)][(call % 2) as usize];
        for crashed in [disk.if_killed(), disk.if_crashed(mode)] {
            let store = open(&crashed, 60 + call).unwrap();
            let found = documents(&store.view());
            let is_restored = found == new;
            assert!(is_restored || found == old, "at {call}: {:#?}", store.recovery());
            assert!(!is_restored || is_kept(&crashed, &old), "at {call}: the state before is kept");
            seen.lock()[usize::from(is_restored)] += 1;
            store.shutdown().unwrap();
            let again = open(&crashed, 900 + call).unwrap();
            assert_eq!(documents(&again.view()), found, "at {call}: {:#?}", again.recovery());
        }
    });
    let store = crate::support::builder(Arc::new(watched), Arc::default(), 7).open().unwrap();
    switch.set(true);
    store.restore(backup).unwrap();
    switch.set(false);
    assert_eq!(documents(&store.view()), then);
    store.shutdown().unwrap();
    for name in disk.names().iter().filter(|name| name.starts_with("wal/")) {
        disk.remove_now(name).unwrap();
    }
    check(&disk, &then, &now);
    let [before, after] = *outcomes.lock();
    println!("restore by the interface: {before} disks before it, {after} after it");
    assert!(before > 10 && after > 40);
}

#[test]
fn an_error_at_any_call_of_a_restore_leaves_it_to_the_next_opening() {
    let mut failed = 0;
    for call in 1.. {
        let disk = SimFs::new();
        let (store, backup, then, now) = changed(&disk);
        let left = disk.if_killed();
        drop(store);
        copy_over(&left, &backup);
        left.fail_at(call, Fault::Errno(5));
        // Whatever it says: an error may be one that costs nothing.
        let first = open(&left, 2);
        failed += u64::from(first.is_err());
        if left.faults_fired() == 0 {
            break;
        }
        drop(first);
        left.clear_faults();
        let store = open(&left, 3).unwrap();
        assert_eq!(documents(&store.view()), then, "at {call}: {:#?}", store.recovery());
        assert!(is_kept(&left, &now), "at {call}: the state before is a backup");
    }
    println!("restore: {failed} openings failed");
    assert!(failed > 20);
}

#[test]
fn a_restore_flushes_what_is_buffered_before_it_saves_the_state_before() {
    let disk = SimFs::new();
    let (store, ..) = changed(&disk);
    // Until one is buffered indeed: where a segment ends, it is flushed.
    loop {
        let before = disk.trace().len();
        let commit = store.submit(Durability::Buffered, |tx| tx.save_task_json(r#"{"id": "b"}"#));
        commit.unwrap().wait().unwrap();
        if !disk.trace()[before..].iter().any(|call| call.starts_with("sync wal/0")) {
            break;
        }
    }
    let before = disk.trace().len();
    store.restore(&newest_backup(&disk)).unwrap();
    let calls = disk.trace().split_off(before);
    let place = |start: &str| calls.iter().position(|call| call.starts_with(start)).unwrap();
    assert!(place("sync wal/0") < place("write wal/state.part"), "{calls:?}");
}
