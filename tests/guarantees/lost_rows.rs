//! What recovery makes of single states of the directory in which something is missing, foreign or put
//! back (G4, G5, G7): nothing that is intact is passed over, and no loss is seen where there is none.

use walden::fs::sim::SimFs;
use walden::{ProblemKind, Rung, Store};

use crate::support::{Documents, at, documents, open};

fn remove(disk: &SimFs, what: &str) {
    for name in disk.names().iter().filter(|name| name.starts_with(what)) {
        disk.remove_now(name).unwrap();
    }
}

fn save(store: &Store, id: &str, round: usize) {
    store.save_task_json(&format!(r#"{{"id": "{id}", "round": {round}}}"#)).unwrap();
}

/// A store with a snapshot in each round, shut down; and what it held.
fn stopped(seed: u64, id: &str, rounds: usize) -> (SimFs, Documents) {
    let disk = SimFs::new();
    let store = open(&disk, seed).unwrap();
    for round in 0..rounds {
        save(&store, id, round);
        store.checkpoint().unwrap();
    }
    let state = documents(&store.view());
    store.shutdown().unwrap();
    (disk, state)
}

#[test]
fn a_log_deleted_after_a_clean_stop_is_no_hole_at_any_later_opening() {
    let (disk, state) = stopped(1, "a", 3);
    let mut last = at(&disk, 2).open_read_only().unwrap().lsn();
    for seed in 3..9 {
        // Every other time the log of the opening before is deleted too, which wrote no document.
        if seed % 2 == 1 {
            remove(&disk, "wal/");
        }
        let store = open(&disk, seed).unwrap();
        let recovery = store.recovery();
        assert_eq!(documents(&store.view()), state);
        assert!(recovery.clean && recovery.problems.is_empty(), "{seed}: {recovery:#?}");
        assert_eq!((recovery.rung, recovery.from_mirror), (Rung::Snapshot, 0), "{recovery:#?}");
        assert!(recovery.lsn >= last, "{seed}: {} after {last}", recovery.lsn);
        store.shutdown().unwrap();
        let lsn = at(&disk, 2).open_read_only().unwrap().lsn();
        assert!(lsn >= last, "{seed}: LSNs rise");
        last = lsn;
    }
    let store = open(&disk, 10).unwrap();
    assert!(store.save_task_json(r#"{"id": "b"}"#).unwrap() > last, "no LSN is used twice");
}

#[test]
fn no_opening_has_the_number_of_one_before_though_the_log_is_gone() {
    let (disk, _) = stopped(1, "a", 3);
    let newest = |disk: &SimFs| {
        let segments = at(disk, 20).list_log().unwrap();
        segments.iter().filter_map(|segment| segment.incarnation).max().unwrap()
    };
    let mut last = newest(&disk);
    for seed in 2..5 {
        remove(&disk, "wal/");
        open(&disk, seed).unwrap().shutdown().unwrap();
        assert!(newest(&disk) > last, "{} after {last}", newest(&disk));
        last = newest(&disk);
    }
}

#[test]
fn a_hole_that_changed_nothing_is_told_once() {
    for gone_too in ["nothing else", ".walden"] {
        let disk = SimFs::new();
        let store = open(&disk, 1).unwrap();
        save(&store, "a", 1);
        store.checkpoint().unwrap();
        let state = documents(&store.view());
        let left = disk.kill();
        drop(store);
        remove(&left, "wal/");
        remove(&left, gone_too);
        let store = open(&left, 2).unwrap();
        let told = |file: &str| store.recovery().problems.iter().any(|found| found.file == file);
        assert!(told("wal") && !told("state.json"), "{gone_too}: {:#?}", store.recovery());
        store.shutdown().unwrap();
        let store = open(&left, 3).unwrap();
        assert_eq!(documents(&store.view()), state);
        assert!(store.recovery().problems.is_empty(), "{:#?}", store.recovery());
    }
}

/// A store that was opened twice and killed, and the segments that the second opening made.
fn killed_in_its_second_opening() -> (SimFs, Vec<String>, Documents) {
    let (disk, _) = stopped(1, "a", 3);
    let before = disk.names();
    let store = open(&disk, 2).unwrap();
    save(&store, "a", 9);
    store.checkpoint().unwrap();
    let state = documents(&store.view());
    let left = disk.kill();
    drop(store);
    let is_new = |name: &String| name.ends_with(".wal") && !before.contains(name);
    let new = left.names().into_iter().filter(is_new).collect();
    (left, new, state)
}

#[test]
fn what_was_lost_at_the_end_of_the_log_is_looked_for_in_the_mirror() {
    for gone in ["nothing else", "wal/state.index"] {
        let (left, new, state) = killed_in_its_second_opening();
        let lsn = at(&left, 2).open_read_only().unwrap().lsn();
        for segment in new {
            left.remove_now(&segment).unwrap();
        }
        remove(&left, "state.json");
        remove(&left, gone);
        let store = open(&left, 3).unwrap();
        assert_eq!(documents(&store.view()), state, "{gone}: {:#?}", store.recovery());
        if gone == "nothing else" {
            let next = store.save_task_json(r#"{"id": "b"}"#).unwrap();
            assert!(next > lsn, "LSN {next} was given out before: the index has {lsn}");
        }
    }
}

#[test]
fn what_only_the_mirror_had_is_not_lost_with_the_snapshot_that_holds_it_then() {
    let (left, _, state) = killed_in_its_second_opening();
    remove(&left, "wal/");
    remove(&left, "state.json");
    let store = open(&left, 3).unwrap();
    assert_eq!(documents(&store.view()), state, "{:#?}", store.recovery());
    let left = left.kill();
    drop(store);
    remove(&left, "state.json");
    let store = open(&left, 4).unwrap();
    assert_eq!(documents(&store.view()), state, "{:#?}", store.recovery());
}

#[test]
fn a_damaged_store_without_a_snapshot_is_no_earlier_directory() {
    let disk = SimFs::new();
    let store = open(&disk, 1).unwrap();
    save(&store, "a", 1);
    store.checkpoint().unwrap();
    let left = disk.kill();
    drop(store);
    for name in left.names().iter().filter(|name| name.ends_with(".wal")) {
        let bytes = left.read_now(name).unwrap();
        left.write_now(name, &bytes[..5000]).unwrap();
    }
    left.write_now("state.json", b"{\"version\": \"2.0.0\"").unwrap();
    let store = open(&left, 2).unwrap();
    assert_eq!(store.view().task("a").unwrap().unwrap().id, "a");
    assert_ne!(store.recovery().rung, Rung::Migration, "{:#?}", store.recovery());
}

#[test]
fn where_only_the_mirror_and_cut_segments_are_left_it_is_served_and_stays() {
    for bytes_left in [0, 1, 5000] {
        let (disk, state) = stopped(1, "a", 3);
        for gone in [".walden", "state.json", "state.backup.", "wal/state.index"] {
            remove(&disk, gone);
        }
        for name in disk.names().iter().filter(|name| name.ends_with(".wal")) {
            let bytes = disk.read_now(name).unwrap();
            disk.write_now(name, &bytes[..bytes_left]).unwrap();
        }
        for seed in 2..4 {
            let store = open(&disk, seed).unwrap();
            let recovery = store.recovery();
            assert_eq!(documents(&store.view()), state, "{bytes_left} bytes: {recovery:#?}");
            save(&store, "b", 1);
            store.delete_task("b").unwrap();
        }
    }
}

#[test]
fn a_foreign_segment_does_not_take_the_store_over() {
    for gone in [".walden", "nothing else"] {
        for whole in [true, false] {
            let (disk, state) = stopped(1, "a", 3);
            let (other, _) = stopped(2, "b", 3);
            if !whole {
                remove(&disk, "wal/");
            }
            let segment =
                other.names().into_iter().rev().find(|name| name.ends_with(".wal")).unwrap();
            let bytes = other.read_now(&segment).unwrap();
            disk.write_now(&format!("wal/{:020}.wal", 900), &bytes).unwrap();
            disk.write_now(&segment, &bytes).unwrap();
            remove(&disk, gone);
            let store = open(&disk, 3).unwrap();
            let recovery = store.recovery();
            assert_eq!(documents(&store.view()), state, "{gone}, {whole}: {recovery:#?}");
            let told = recovery.problems.iter().any(|problem| {
                problem.kind == ProblemKind::Foreign && problem.file.starts_with("wal/")
            });
            assert!(told, "{gone}, {whole}: {recovery:#?}");
        }
    }
}

#[test]
fn a_backup_that_is_newer_than_the_whole_log_is_of_another_way_and_not_used() {
    for is_clean in [true, false] {
        let disk = SimFs::new();
        let store = open(&disk, 1).unwrap();
        for round in 0..3 {
            save(&store, "a", round);
            store.checkpoint().unwrap();
        }
        let copy = disk.if_killed();
        save(&store, "b", 0);
        let wanted = documents(&store.view());
        if is_clean {
            store.shutdown().unwrap();
        }
        let left = disk.if_killed();
        let other = open(&copy, 2).unwrap();
        for round in 0..50 {
            save(&other, "a", 100 + round);
        }
        other.checkpoint().unwrap();
        let diverged = copy.read_now("state.json").unwrap();
        left.write_now("state.backup.20990101T000000.000000000Z.json", &diverged).unwrap();
        remove(&left, "state.json");
        let again = open(&left, 3).unwrap();
        let recovery = again.recovery();
        assert_eq!(documents(&again.view()), wanted, "clean {is_clean}: {recovery:#?}");
        let foreign = |problem: &walden::Problem| {
            problem.kind == ProblemKind::Foreign && problem.file.contains("2099")
        };
        assert!(recovery.problems.iter().any(foreign), "{recovery:#?}");
    }
}

#[test]
fn a_copy_of_the_snapshot_under_a_backups_name_makes_it_no_restore_after_a_kill() {
    for log_is_gone in [true, false] {
        let (disk, _) = stopped(1, "a", 3);
        let store = open(&disk, 2).unwrap();
        save(&store, "b", 0);
        let state = documents(&store.view());
        store.checkpoint().unwrap();
        let left = disk.kill();
        drop(store);
        let snapshot = left.read_now("state.json").unwrap();
        left.write_now("state.backup.20990101T000000.000000000Z.json", &snapshot).unwrap();
        if log_is_gone {
            remove(&left, "wal/");
        }
        let store = open(&left, 3).unwrap();
        let recovery = store.recovery();
        assert_eq!(documents(&store.view()), state, "{recovery:#?}");
        let is_edited = |problem: &walden::Problem| problem.kind == ProblemKind::Edited;
        assert!(!recovery.problems.iter().any(is_edited), "{log_is_gone}: {recovery:#?}");
    }
}

#[test]
fn the_newest_backup_put_back_where_the_log_is_gone_is_a_restore_and_the_state_before_is_kept() {
    let (disk, now) = stopped(1, "a", 3);
    let newest = disk.names().into_iter().rfind(|name| name.starts_with("state.backup.")).unwrap();
    disk.write_now("state.json", &disk.read_now(&newest).unwrap()).unwrap();
    let then = documents(&at(&disk, 2).open_read_only().unwrap());
    remove(&disk, "wal/");
    let backups = |disk: &SimFs| -> Vec<String> {
        let names = disk.names().into_iter().filter(|name| name.starts_with("state.backup."));
        names.collect()
    };
    let before = backups(&disk);
    let store = open(&disk, 3).unwrap();
    assert_eq!(documents(&store.view()), then, "{:#?}", store.recovery());
    assert_ne!(then, now);
    let kept = backups(&disk).into_iter().filter(|name| !before.contains(name)).any(|name| {
        let saved = String::from_utf8(disk.read_now(&name).unwrap()).unwrap();
        saved.contains("\"round\": 2")
    });
    assert!(kept, "the state before, which the mirror showed, is a backup");
}

#[test]
fn backups_of_another_store_do_not_take_over_one_whose_log_speaks() {
    let (disk, state) = stopped(1, "a", 3);
    let (other, _) = stopped(2, "b", 3);
    remove(&disk, ".walden");
    remove(&disk, "state.json");
    let theirs = other.read_now("state.json").unwrap();
    disk.write_now("state.backup.20990101T000000.000000000Z.json", &theirs).unwrap();
    let store = open(&disk, 3).unwrap();
    assert_eq!(documents(&store.view()), state, "{:#?}", store.recovery());
}

#[test]
fn a_store_is_new_only_where_nothing_was_ever_logged() {
    let disk = SimFs::new();
    drop(open(&disk, 1).unwrap());
    let left = disk.if_killed();
    assert_eq!(open(&left, 2).unwrap().recovery().rung, Rung::Log, "its log was there");
    let (disk, _) = stopped(1, "a", 1);
    for gone in ["wal/", "state.", "tasks/"] {
        remove(&disk, gone);
    }
    let recovery = open(&disk, 2).unwrap().recovery();
    assert_eq!(recovery.rung, Rung::Log, "{recovery:#?}");
    assert!(recovery.problems.iter().any(|problem| problem.file == "wal"), "{recovery:#?}");
}

#[test]
fn a_backup_is_used_though_the_end_of_the_log_is_missing_below_it() {
    let (disk, state) = stopped(1, "a", 4);
    let last = disk.read_now("state.json").unwrap();
    remove(&disk, "state.json");
    disk.write_now("state.backup.20990101T000000.000000000Z.json", &last).unwrap();
    let newest = disk.names().into_iter().rev().find(|name| name.ends_with(".wal")).unwrap();
    let mut bytes = disk.read_now(&newest).unwrap();
    bytes[8192..].fill(0);
    disk.write_now(&newest, &bytes).unwrap();
    let store = open(&disk, 2).unwrap();
    assert_eq!(documents(&store.view()), state, "{:#?}", store.recovery());
}

#[test]
fn a_migration_log_that_is_not_of_this_migration_is_kept() {
    let foreign = b"what somebody noted\n";
    let name = "state.migration-v1-to-v2.log";
    let disk = SimFs::new();
    disk.write_now("state.json", br#"{"tasks": [{"id": "a"}], "sessions": []}"#).unwrap();
    disk.write_now(name, foreign).unwrap();
    let store = open(&disk, 1).unwrap();
    let kept = |disk: &SimFs, bytes: &[u8]| {
        disk.names().iter().any(|name| disk.read_now(name).as_deref() == Some(bytes))
    };
    assert!(kept(&disk, foreign), "{:?}", disk.names());
    store.shutdown().unwrap();
    // Nor is one beside a store that was never migrated written to.
    let (disk, _) = stopped(2, "a", 2);
    disk.write_now(name, foreign).unwrap();
    open(&disk, 3).unwrap();
    assert_eq!(disk.read_now(name).as_deref(), Some(&foreign[..]));
}
