//! The recovery ladder (G4, G5, G7): whatever is gone, of each document the newest version that is left
//! is served, what was deleted stays deleted, and what cannot be known is told.

use walden::fs::sim::{CallKind, Fault, SimFs};
use walden::{ProblemKind, Recovery, Rung, Store};

use crate::support::{Documents, at, documents, open};

fn task(id: usize, round: usize) -> String {
    format!(r#"{{"id": "t{id}", "round": {round}, "digits": 1.{round}0, "logs": []}}"#)
}

/// Tasks, sessions, deletions and deltas over so many checkpoints that the log was cut and backups
/// were pruned.
fn busy(disk: &SimFs) -> Store {
    let store = open(disk, 1).unwrap();
    for round in 0..6 {
        for id in 0..12 {
            if !(id == 3 && round > 2) {
                store.save_task_json(&task(id, round)).unwrap();
            }
        }
        store.save_session_json(&format!(r#"{{"id": "s{round}"}}"#)).unwrap();
        if round == 3 {
            store.delete_task("t3").unwrap();
            store.delete_session("s1").unwrap();
        }
        store.checkpoint().unwrap();
        store.append_task_log_json("t5", &format!(r#"{{"message": "round {round}"}}"#)).unwrap();
    }
    store
}

fn after(is_clean: bool) -> (SimFs, Documents) {
    let disk = SimFs::new();
    let store = busy(&disk);
    let state = documents(&store.view());
    if is_clean {
        store.shutdown().unwrap();
        return (disk, state);
    }
    let left = disk.if_killed();
    (left, state)
}

fn remove(disk: &SimFs, what: &[&str]) {
    for name in disk.names() {
        if what.iter().any(|prefix| name.starts_with(prefix)) {
            disk.remove_now(&name).unwrap();
        }
    }
}

/// Opens what is left, reads it without a lock first, and checks that the next opening, after a
/// shutdown, has the same.
fn opened(disk: &SimFs) -> (Documents, std::sync::Arc<Recovery>) {
    let view = documents(&at(disk, 90).open_read_only().unwrap());
    let store = open(disk, 91).unwrap_or_else(|error| panic!("{error}"));
    let found = documents(&store.view());
    assert_eq!(view, found, "a reader and an opener see the same");
    let recovery = store.recovery();
    store.save_task_json(r#"{"id": "new"}"#).unwrap();
    store.delete_task("new").unwrap();
    store.shutdown().unwrap();
    let again = open(disk, 92).unwrap();
    assert_eq!(documents(&again.view()), found, "{:#?}", again.recovery());
    assert!(again.recovery().clean, "{:#?}", again.recovery());
    (found, recovery)
}

fn tells(recovery: &Recovery, kind: ProblemKind) -> bool {
    recovery.problems.iter().any(|problem| problem.kind == kind)
}

#[test]
fn any_two_of_the_three_can_go_after_a_clean_shutdown() {
    for (gone, rung) in [
        (&["state.json", "tasks/", "sessions/"][..], Rung::Backup),
        (&["state.json", "wal/"], Rung::Backup),
        (&["state.", "wal/"], Rung::Mirror),
        (&["tasks/", "sessions/", "wal/"], Rung::Snapshot),
    ] {
        let (disk, state) = after(true);
        remove(&disk, gone);
        let (found, recovery) = opened(&disk);
        assert_eq!(found, state, "{gone:?}: {recovery:#?}");
        assert_eq!(recovery.rung, rung, "{gone:?}");
    }
}

#[test]
fn any_two_of_the_three_can_go_after_a_kill_where_an_intact_copy_remains() {
    for gone in [&["state.json", "tasks/", "sessions/"][..], &["state.json"], &["tasks/"]] {
        let (disk, state) = after(false);
        remove(&disk, gone);
        let (found, recovery) = opened(&disk);
        assert_eq!(found, state, "{gone:?}: {recovery:#?}");
    }
}

#[test]
fn a_log_lost_after_a_kill_leaves_the_newer_of_mirror_and_snapshot_and_is_told() {
    let (disk, state) = after(false);
    remove(&disk, &["wal/"]);
    let (found, recovery) = opened(&disk);
    // The last log entry was in the log alone.
    let lost: Vec<_> = state.iter().filter(|(key, doc)| found.get(*key) != Some(doc)).collect();
    assert_eq!(lost.len(), 1, "{lost:?}");
    assert_eq!(found.len(), state.len());
    assert!(tells(&recovery, ProblemKind::Missing), "{recovery:#?}");
}

#[test]
fn an_old_backup_neither_revives_the_deleted_nor_reverts_the_newer() {
    for is_clean in [true, false] {
        let disk = SimFs::new();
        let store = busy(&disk);
        let state = documents(&store.view());
        let before = disk.read_now("state.json").unwrap();
        drop(before);
        if is_clean {
            store.shutdown().unwrap();
        }
        let left = disk.if_killed();
        // Only the oldest backup is left, from before the deletions; the log does not reach so far.
        let backups: Vec<_> =
            left.names().into_iter().filter(|name| name.starts_with("state.backup.")).collect();
        let old = {
            let first = SimFs::new();
            let store = open(&first, 1).unwrap();
            for id in 0..12 {
                store.save_task_json(&task(id, 0)).unwrap();
            }
            store.save_session_json(r#"{"id": "s0"}"#).unwrap();
            store.checkpoint().unwrap();
            first.read_now("state.json").unwrap()
        };
        remove(&left, &["state."]);
        left.write_now(&backups[0], &old).unwrap();
        let (found, recovery) = opened(&left);
        assert_eq!(found, state, "clean {is_clean}: {recovery:#?}");
        assert!(recovery.from_mirror > 0);
    }
}

#[test]
fn half_of_everything_missing_leaves_what_the_rest_shows() {
    let (disk, state) = after(true);
    let names = disk.names();
    for (index, name) in names.iter().filter(|name| name.contains('/')).enumerate() {
        if index.is_multiple_of(2) {
            disk.remove_now(name).unwrap();
        }
    }
    disk.remove_now("state.json").unwrap();
    let (found, recovery) = opened(&disk);
    for (key, doc) in &found {
        assert!(state.contains_key(key), "{key:?} was deleted: {recovery:#?}");
        let is_new = doc == &state[key];
        let told = recovery.problems.iter().any(|problem| problem.kind != ProblemKind::Torn);
        assert!(is_new || told, "{key:?} is old and nothing is told");
    }
    assert_eq!(found.len(), state.len());
}

#[test]
fn a_hole_in_the_log_is_bridged_by_mirror_files_that_are_newer() {
    let disk = SimFs::new();
    let store = busy(&disk);
    let state = documents(&store.view());
    store.checkpoint().unwrap();
    store.append_task_log_json("t5", r#"{"message": "behind the hole"}"#).unwrap();
    store.save_task_json(&task(1, 99)).unwrap();
    let last = documents(&store.view());
    assert_ne!(last, state);
    let left = disk.if_killed();
    remove(&left, &["state."]);
    let (found, recovery) = opened(&left);
    assert_eq!(found, last, "{recovery:#?}");
    assert_eq!(recovery.rung, Rung::Mirror);
    assert!(!tells(&recovery, ProblemKind::Suspect), "each file says as of when it is");
}

#[test]
fn an_unclean_store_without_any_snapshot_and_log_is_what_its_files_show() {
    let (disk, state) = after(false);
    remove(&disk, &["wal/", "state."]);
    let (found, recovery) = opened(&disk);
    assert_eq!(found.len(), state.len());
    assert!(tells(&recovery, ProblemKind::Missing), "{recovery:#?}");
}

#[test]
fn a_file_whose_age_nothing_tells_counts_and_what_it_displaces_is_kept() {
    let (disk, state) = after(false);
    remove(&disk, &["wal/"]);
    disk.write_now("tasks/t1.json", br#"{"id": "t1", "from": "the lost log"}"#).unwrap();
    let (found, recovery) = opened(&disk);
    assert_eq!(found[&("tasks", "t1".to_owned())]["from"], "the lost log");
    assert!(tells(&recovery, ProblemKind::Suspect), "{recovery:#?}");
    let old = &state[&("tasks", "t1".to_owned())];
    let kept = disk.names().into_iter().filter(|name| name.starts_with("conflicts/t1"));
    let kept: Vec<serde_json::Value> =
        kept.map(|name| serde_json::from_slice(&disk.read_now(&name).unwrap()).unwrap()).collect();
    assert!(kept.contains(old), "{old} is in {kept:?}");
}

#[test]
fn what_was_removed_behind_a_hole_does_not_come_back_by_its_old_file() {
    for keeps_index in [true, false] {
        let disk = SimFs::new();
        let store = open(&disk, 1).unwrap();
        for id in 0..3 {
            store.save_task_json(&task(id, 0)).unwrap();
        }
        store.checkpoint().unwrap();
        let old = |name: &str| disk.read_now(name).unwrap();
        let (first, old_file) = (old("state.json"), old("tasks/t1.json"));
        store.delete_task("t1").unwrap();
        for round in 0..4 {
            let text = "y".repeat(30_000);
            store
                .save_task_json(&format!(r#"{{"id": "t2", "n": {round}, "text": "{text}"}}"#))
                .unwrap();
        }
        store.checkpoint().unwrap();
        let state = documents(&store.view());
        // Of the log only the segment is left in which that checkpoint says what it removed.
        let left = disk.if_killed();
        let mut segments: Vec<_> =
            left.names().into_iter().filter(|name| name.ends_with(".wal")).collect();
        segments.pop();
        assert!(segments.len() > 2);
        remove(&left, &["state."]);
        for name in &segments {
            left.remove_now(name).unwrap();
        }
        if !keeps_index {
            remove(&left, &["wal/state.index"]);
        }
        left.write_now("state.backup.20200101T000000.000000000Z.json", &first).unwrap();
        left.write_now("tasks/t1.json", &old_file).unwrap();
        let (found, recovery) = opened(&left);
        assert_eq!(found, state, "index {keeps_index}: {recovery:#?}");
    }
}

#[test]
fn a_file_that_lags_behind_the_snapshot_does_not_displace_what_that_holds() {
    let disk = SimFs::new();
    let store = open(&disk, 1).unwrap();
    store.save_task_json(&task(1, 0)).unwrap();
    store.checkpoint().unwrap();
    let old_file = disk.read_now("tasks/t1.json");
    store.save_task_json(&task(1, 1)).unwrap();
    disk.fail_path("tasks/", CallKind::Rename, 1, Fault::StickyErrno(5));
    store.checkpoint().unwrap_err();
    let state = documents(&store.view());
    let left = disk.if_killed();
    assert_eq!(left.read_now("tasks/t1.json"), old_file);
    for name in left.names().iter().filter(|name| name.ends_with(".wal")) {
        left.remove_now(name).unwrap();
    }
    let (found, recovery) = opened(&left);
    assert_eq!(found, state, "{recovery:#?}");
    assert!(!tells(&recovery, ProblemKind::Suspect), "the index says of when it is");
}
