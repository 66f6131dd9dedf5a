//! Recovery (G5, G7): any one view can be lost, whatever cannot be understood is left alone, and a
//! read-only opening changes no byte.

use walden::fs::Kind;
use walden::fs::sim::SimFs;
use walden::{Error, Problem, ProblemKind, Rung, Store};

use crate::crash::shows;
use crate::support::{Documents, at, documents, files, open};

/// A store that was shut down: three checkpoints, two backups, a delta after each.
fn shut_down() -> (SimFs, Documents) {
    let disk = SimFs::new();
    let store = filled(&disk);
    let state = documents(&store.view());
    store.shutdown().unwrap();
    (disk, state)
}

fn filled(disk: &SimFs) -> Store {
    let store = open(disk, 1).unwrap();
    for round in 0..3 {
        for id in ["a", "b", "c"] {
            let text = format!(r#"{{"id": "{id}", "round": {round}, "logs": []}}"#);
            store.save_task_json(&text).unwrap();
        }
        store.save_session_json(&format!(r#"{{"id": "s", "round": {round}}}"#)).unwrap();
        store.checkpoint().unwrap();
        store.append_task_log_json("a", r#"{"message": "later"}"#).unwrap();
    }
    store
}

fn has(problems: &[Problem], kind: ProblemKind, file: &str) -> bool {
    problems.iter().any(|problem| problem.kind == kind && problem.file.starts_with(file))
}

/// Opens, compares, and checks that all is whole again after a shutdown.
fn restored(disk: &SimFs, state: &Documents) -> std::sync::Arc<walden::Recovery> {
    let store = open(disk, 10).unwrap_or_else(|error| panic!("{error}"));
    let recovery = store.recovery();
    assert_eq!(&documents(&store.view()), state, "{recovery:#?}");
    store.save_task_json(r#"{"id": "new"}"#).unwrap();
    store.delete_task("new").unwrap();
    store.shutdown().unwrap();
    shows(disk, state, &[]);
    let again = open(disk, 11).unwrap();
    assert!(again.recovery().clean, "{:#?}", again.recovery());
    assert_eq!(&documents(&again.view()), state);
    recovery
}

fn remove_all(disk: &SimFs, dir: &str) {
    let names: Vec<_> = disk.names().into_iter().filter(|name| name.starts_with(dir)).collect();
    assert!(!names.is_empty());
    for name in names {
        disk.remove_now(&name).unwrap();
    }
}

#[test]
fn a_lost_snapshot_is_restored_from_backup_and_log() {
    let (disk, state) = shut_down();
    disk.remove_now("state.json").unwrap();
    let recovery = restored(&disk, &state);
    assert_eq!(recovery.rung, Rung::Backup);
    assert!(has(&recovery.problems, ProblemKind::Missing, "state.json"));
}

#[test]
fn a_lost_snapshot_after_a_kill_is_restored_too() {
    let disk = SimFs::new();
    let store = filled(&disk);
    let state = documents(&store.view());
    let left = disk.if_killed();
    left.remove_now("state.json").unwrap();
    assert_eq!(restored(&left, &state).rung, Rung::Backup);
}

#[test]
fn a_lost_first_snapshot_is_restored_from_the_log_alone() {
    let disk = SimFs::new();
    let store = open(&disk, 1).unwrap();
    store.save_task_json(r#"{"id": "a"}"#).unwrap();
    store.save_task_json(r#"{"id": "b"}"#).unwrap();
    let state = documents(&store.view());
    store.shutdown().unwrap();
    remove_all(&disk, "state.");
    assert_eq!(restored(&disk, &state).rung, Rung::Log);
}

#[test]
fn snapshot_and_backups_lost_behind_a_cut_log_leave_the_mirror() {
    let (disk, state) = shut_down();
    remove_all(&disk, "state.");
    let recovery = restored(&disk, &state);
    assert_eq!(recovery.rung, Rung::Mirror);
    assert!(recovery.from_mirror > 0);
    assert!(has(&recovery.problems, ProblemKind::Missing, "wal"), "{recovery:#?}");
}

/// That the store opens to `state`, whatever lies in the place of `state.json`, and leaves that.
fn left_alone(disk: &SimFs, state: &Documents, kind: ProblemKind) {
    let bytes = disk.read_now("state.json").unwrap();
    let store = open(disk, 7).unwrap();
    assert_eq!(&documents(&store.view()), state);
    assert_eq!(store.recovery().rung, Rung::Backup);
    assert!(has(&store.recovery().problems, kind, "state.json"), "{:#?}", store.recovery());
    store.shutdown().unwrap();
    assert_eq!(disk.read_now("state.json").unwrap(), bytes);
}

#[test]
fn a_truncated_snapshot_is_left_alone_and_not_believed() {
    for length in [0, 1, 100, 400] {
        let (disk, state) = shut_down();
        let whole = disk.read_now("state.json").unwrap();
        disk.write_now("state.json", &whole[..length]).unwrap();
        left_alone(&disk, &state, ProblemKind::Unreadable);
    }
}

#[test]
fn a_snapshot_of_another_store_is_left_alone_and_not_believed() {
    let (other, _) = shut_down();
    let (disk, state) = {
        let disk = SimFs::new();
        let store = open(&disk, 77).unwrap();
        for round in 0..3 {
            store.save_task_json(&format!(r#"{{"id": "mine", "n": {round}}}"#)).unwrap();
            store.checkpoint().unwrap();
        }
        let state = documents(&store.view());
        store.shutdown().unwrap();
        (disk, state)
    };
    let foreign = other.read_now("state.json").unwrap();
    disk.write_now("state.json", &foreign).unwrap();
    left_alone(&disk, &state, ProblemKind::Foreign);
}

#[test]
fn a_damaged_newest_backup_does_not_stand_in_the_way() {
    let (disk, state) = shut_down();
    let backups: Vec<_> =
        disk.names().into_iter().filter(|name| name.starts_with("state.backup.")).collect();
    let newest = backups.last().unwrap();
    let whole = disk.read_now(newest).unwrap();
    disk.write_now(newest, &whole[..whole.len() / 2]).unwrap();
    assert_eq!(restored(&disk, &state).rung, Rung::Snapshot);
}

#[test]
fn a_lost_mirror_is_restored() {
    for dir in ["tasks/", "sessions/"] {
        let (disk, state) = shut_down();
        remove_all(&disk, dir);
        let recovery = restored(&disk, &state);
        assert!(has(&recovery.problems, ProblemKind::Missing, dir.trim_end_matches('/')));
    }
}

#[test]
fn a_log_lost_after_a_clean_shutdown_is_no_loss() {
    let (disk, state) = shut_down();
    let last = at(&disk, 2).open_read_only().unwrap().lsn();
    remove_all(&disk, "wal/");
    assert!(at(&disk, 4).verify().unwrap().ok);
    let store = open(&disk, 3).unwrap();
    assert_eq!(documents(&store.view()), state);
    assert!(store.recovery().clean, "{:#?}", store.recovery());
    let next = store.save_task_json(r#"{"id": "next"}"#).unwrap();
    assert!(next > last, "{next} was given out before ({last})");
    drop(store);
    disk.remove_now("tasks/next.json").unwrap();
}

#[test]
fn a_log_lost_after_a_kill_is_told_loudly() {
    let disk = SimFs::new();
    let store = filled(&disk);
    let snapshot = store.status().unwrap().snapshot_lsn;
    let last = store.status().unwrap().last_lsn;
    let left = disk.if_killed();
    remove_all(&left, "wal/");
    let store = open(&left, 2).unwrap();
    let recovery = store.recovery();
    assert!(!recovery.clean);
    assert!(has(&recovery.problems, ProblemKind::Missing, "wal"), "{recovery:#?}");
    assert!(recovery.lsn >= snapshot);
    let next = store.save_task_json(r#"{"id": "next"}"#).unwrap();
    assert!(next > last, "{next} was given out before ({last})");
    drop(left.names());
}

#[test]
fn reading_changes_no_byte_of_a_clean_crashed_or_damaged_store() {
    let (clean, _) = shut_down();
    let disk = SimFs::new();
    let store = filled(&disk);
    let killed = disk.if_killed();
    drop(store);
    let damaged = killed.if_killed();
    damaged.corrupt("state.json", 300, 1).unwrap();
    damaged.write_now("tasks/a.json", b"{").unwrap();
    damaged.plant_now("wal/junk", Kind::File).unwrap();
    for disk in [clean, killed, damaged, SimFs::new()] {
        let before = files(&disk);
        let view = at(&disk, 5).open_read_only().unwrap();
        let verified = at(&disk, 6).verify().unwrap();
        assert_eq!(files(&disk), before, "{verified:?}");
        drop(view);
        let writes = ["write ", "create ", "rename", "exchange", "link", "remove", "sync"];
        let wrote = disk.trace().into_iter().rev().take_while(|call| call != "lock Probe");
        let wrote: Vec<_> =
            wrote.filter(|call| writes.iter().any(|w| call.starts_with(w))).collect();
        assert!(wrote.is_empty(), "{wrote:?}");
    }
}

#[test]
fn an_empty_directory_is_an_empty_store_and_a_missing_one_is_not_made() {
    let dir = tempfile::tempdir().unwrap();
    let view = Store::builder(dir.path()).open_read_only().unwrap();
    assert!(view.is_empty());
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    let missing = dir.path().join("missing");
    assert!(matches!(Store::builder(&missing).open_read_only(), Err(Error::NotFound { .. })));
    assert!(matches!(walden::verify(&missing), Err(Error::NotFound { .. })));
    assert!(matches!(walden::status(&missing), Err(Error::NotFound { .. })));
    assert!(!missing.exists());
}
