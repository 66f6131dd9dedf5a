//! What a plan says of directories in which something is gone, and which of them are taken for the earlier
//! implementation's.

use std::io::ErrorKind as IoErrorKind;
use std::sync::Arc;

use super::*;
use crate::base::Timestamp;
use crate::engine::Store;
use crate::files::names::{self, MIGRATION_LOG, OWNER};
use crate::files::owner::{self, Stage};
use crate::files::snapshot::fixture::{empty_index, snapshot_bytes};
use crate::fs::sim::SimFs;
use crate::state::{Collection, Op};
use crate::testing::builder;
use crate::wal::{Hints, Identity, Log, LogOptions, Origin, Record};

const STORE: StoreId = StoreId(7);

fn open(disk: &SimFs) -> Store {
    builder(Arc::new(disk.clone()), Arc::default(), 1).open().unwrap()
}

/// A store with a document, shut down.
fn stopped() -> SimFs {
    let disk = SimFs::new();
    let store = open(&disk);
    store.save_task_json(r#"{"id": "a"}"#).unwrap();
    store.shutdown().unwrap();
    disk
}

fn remove(disk: &SimFs, what: &str) {
    for name in disk.names().iter().filter(|name| name.starts_with(what)) {
        disk.remove_now(name).unwrap();
    }
}

fn write_owner(disk: &SimFs, stage: Stage) {
    let evidence = Evidence::default();
    let owner = Owner { store: STORE, incarnation: 3, nonce: 1, pid: 1, stage, evidence };
    owner::write(disk, &owner).unwrap();
}

#[test]
fn a_store_whose_log_is_gone_is_clean_after_a_clean_stop_but_vouches_for_no_file() {
    let disk = stopped();
    assert!(plan(&disk).unwrap().is_sound);
    remove(&disk, "wal/");
    let plan = plan(&disk).unwrap();
    assert!(plan.recovery.clean && plan.recovery.problems.is_empty());
    assert!(!plan.is_sound);
}

#[test]
#[cfg(feature = "testing")]
fn the_stat_of_state_json_is_known_unless_somebody_saved_it_as_it_was_read() {
    use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
    // Before the call of this number somebody saves it, as it is.
    let planned = |place: u64| {
        let disk = stopped();
        let calls = AtomicU64::new(0);
        let watched = crate::testing::Watched::at_all(&disk, move |disk| {
            if calls.fetch_add(1, Relaxed) + 1 == place {
                disk.save_now(STATE, &disk.read_now(STATE).unwrap()).unwrap();
            }
        });
        let before = disk.stat(STATE).unwrap();
        let found = plan(&watched).unwrap().state_stat;
        assert!(found.is_none() || found == before || found == disk.stat(STATE).unwrap());
        (found.is_some(), found == before)
    };
    assert_eq!(planned(u64::MAX), (true, true));
    let all: Vec<_> = (1..30).map(planned).collect();
    let saved_before = all.iter().take_while(|found| **found == (true, false)).count();
    let as_it_was_read = all.iter().filter(|found| **found == (false, false)).count();
    let later = all.iter().rev().take_while(|found| **found == (true, true)).count();
    assert_eq!(saved_before + as_it_was_read + later, all.len(), "{all:?}");
    assert!(saved_before > 0 && as_it_was_read > 0 && later > 0, "{all:?}");
}

#[test]
fn a_log_that_is_gone_after_a_kill_is_told_once() {
    let disk = SimFs::new();
    let store = open(&disk);
    store.save_task_json(r#"{"id": "a"}"#).unwrap();
    store.checkpoint().unwrap();
    let left = disk.if_killed();
    remove(&left, "wal/");
    let plan = plan(&left).unwrap();
    let told = plan.recovery.problems.iter().filter(|problem| problem.kind == ProblemKind::Missing);
    assert_eq!(told.map(|problem| &*problem.file).collect::<Vec<_>>(), [WAL]);
    assert!(plan.has_hole && plan.scan.findings.iter().all(|finding| finding.missing.is_none()));
}

#[test]
fn where_the_index_knows_of_later_records_than_the_log_they_are_missing() {
    let disk = SimFs::new();
    disk.create_dir(WAL).unwrap();
    let hints = Hints { store: Some(STORE), ..Hints::default() };
    let scan = wal::scan(&disk, WAL, &hints).unwrap();
    let identity = Identity { store: STORE, incarnation: 1, nonce: 1 };
    let (fs, options) = (Arc::new(disk.clone()), LogOptions::default());
    let mut log = Log::begin(fs, WAL, &scan, identity, options, Timestamp(0)).unwrap();
    let (kind, payload) = Op::put(Collection::Task, r#"{"id":"a"}"#, 99).unwrap().encode();
    log.append(&[Record::new(kind, Origin::Api, payload)], Timestamp(0)).unwrap();
    log.witness(Timestamp(0)).unwrap();
    assert_eq!(plan(&disk).unwrap().recovery.lsn, Lsn(1));
    empty_index(STORE, 20).save(&disk).unwrap();
    let plan = plan(&disk).unwrap();
    assert!(plan.has_hole);
    assert!(plan.recovery.lsn >= Lsn(20), "{}", plan.recovery.lsn);
}

#[test]
fn no_lsn_up_to_a_clean_stop_is_given_out_again_though_the_log_is_gone() {
    let disk = SimFs::new();
    disk.create_dir(WAL).unwrap();
    disk.write_now(STATE, &snapshot_bytes(STORE, 5, 1)).unwrap();
    let lsn = Lsn(1 << 40);
    write_owner(&disk, Stage::Clean { lsn, documents: Some((1, 0)) });
    let plan = plan(&disk).unwrap();
    assert!(plan.recovery.clean && plan.scan.next_lsn > lsn, "{}", plan.scan.next_lsn);
}

#[test]
fn where_log_and_snapshots_are_gone_the_hole_ends_with_the_clean_stop() {
    let disk = SimFs::new();
    disk.create_dir(WAL).unwrap();
    write_owner(&disk, Stage::Clean { lsn: Lsn(10), documents: None });
    empty_index(STORE, 20).save(&disk).unwrap();
    let plan = plan(&disk).unwrap();
    assert!(plan.has_hole);
    assert_eq!(plan.recovery.lsn, Lsn(10), "an index above it is of something else");
}

/// What the earlier implementation left.
fn earlier(state: Option<&str>, files: &[(&str, &str)]) -> SimFs {
    let disk = SimFs::new();
    for (name, text) in state.map(|text| (STATE, text)).into_iter().chain(files.iter().copied()) {
        disk.write_now(name, text.as_bytes()).unwrap();
    }
    disk
}

const FILE: (&str, &str) = ("tasks/a.json", r#"{"id": "a"}"#);
const OLD: &str = r#"{"version": "1.0", "tasks": [{"id": "b"}], "sessions": []}"#;

#[test]
fn a_snapshot_or_files_alone_are_taken_over_and_an_empty_directory_is_not() {
    for (state, files, wanted) in [
        (Some(OLD), &[][..], Rung::Migration),
        (None, &[FILE], Rung::Migration),
        (Some(OLD), &[FILE], Rung::Migration),
        (None, &[], Rung::Empty),
    ] {
        let plan = plan(&earlier(state, files)).unwrap();
        assert_eq!(plan.recovery.rung, wanted, "{state:?} {files:?}");
    }
}

#[test]
fn files_beside_a_backup_of_a_store_are_what_is_left_of_that() {
    let disk = earlier(None, &[FILE]);
    disk.write_now(&names::backup(Timestamp(1)), &snapshot_bytes(STORE, 5, 1)).unwrap();
    assert_eq!(plan(&disk).unwrap().recovery.rung, Rung::Backup);
}

#[test]
fn an_empty_log_beside_an_earlier_state_is_told_unless_a_migration_made_it() {
    let is_told = |disk: &SimFs| {
        let plan = plan(disk).unwrap();
        assert_eq!(plan.recovery.rung, Rung::Migration);
        plan.recovery.problems.iter().any(|problem| problem.file == WAL)
    };
    assert!(!is_told(&earlier(Some(OLD), &[FILE])), "there is none");
    let with_log = earlier(Some(OLD), &[FILE]);
    with_log.create_dir(WAL).unwrap();
    assert!(is_told(&with_log));
    let owned = with_log.if_killed();
    write_owner(&owned, Stage::Opening { former: None });
    assert!(!is_told(&owned), "an opening began it");
    assert!(owned.read_now(OWNER).is_some());
    let begun = with_log.if_killed();
    crate::files::migration::keep_original(&begun).unwrap();
    assert!(!is_told(&begun), "the copy was made already");
    assert!(begun.read_now(MIGRATION_LOG).is_none());
}

#[test]
fn a_backup_that_is_no_regular_file_is_passed_over_for_the_one_before() {
    let backups = [
        ("state.backup.1704103200000.json", r#"{"tasks": [{"id": "from a backup"}]}"#),
        ("state.backup.1704103300000.json", r#"{"tasks": []}"#),
    ];
    let disk = earlier(Some("{\"tasks\": ["), &backups);
    disk.spoil_now(backups[1].0, IoErrorKind::InvalidInput).unwrap();
    let state = plan(&disk).unwrap().state();
    assert!(state.get(Collection::Task, "from a backup").is_some());
}

#[test]
fn of_two_versions_of_one_time_the_files_stays() {
    let task = |n| format!(r#"{{"id": "a", "n": {n}, "updated_at": "2024-01-01T00:00:00Z"}}"#);
    let disk = earlier(
        Some(&format!(r#"{{"version": "1.0", "tasks": [{}]}}"#, task(1))),
        &[("tasks/a.json", &task(2))],
    );
    let state = plan(&disk).unwrap().state();
    assert_eq!(&**state.get(Collection::Task, "a").unwrap().text(), task(2));
}
