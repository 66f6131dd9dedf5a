//! Which snapshot is built upon, at the edges: a backup just at the log's end or at the LSN of
//! `state.json`, a log that just reaches back to it, and no log at all.

use std::sync::Arc;

use super::*;
use crate::base::Timestamp;
use crate::files::snapshot::fixture::snapshot_bytes;
use crate::fs::sim::SimFs;
use crate::wal::{Identity, Log, LogOptions, Origin, Record};

const STORE: StoreId = StoreId(7);
const OTHER: StoreId = StoreId(8);

/// The name of the backup of an LSN; of two, the higher is the newer.
fn backup(lsn: u64) -> String {
    names::backup(Timestamp(i64::try_from(lsn).unwrap() * 1_000_000_000))
}

fn disk(backups: &[u64]) -> SimFs {
    let disk = SimFs::new();
    disk.create_dir(names::WAL).unwrap();
    for lsn in backups {
        disk.write_now(&backup(*lsn), &snapshot_bytes(STORE, *lsn, 10)).unwrap();
    }
    disk
}

/// A snapshot with a flipped bit, so that nothing proves the LSN that it names.
fn damaged(lsn: u64) -> Vec<u8> {
    let mut bytes = snapshot_bytes(STORE, lsn, 10);
    let at = bytes.len() - 5;
    bytes[at] ^= 1;
    bytes
}

/// A log behind `base`, with so many records in groups of their own, the last of them vouched for.
fn log(disk: &SimFs, base: u64, records: usize) {
    log_of(disk, STORE, base, records);
}

/// The same of any store; its segments are newer than those that are there.
fn log_of(disk: &SimFs, store: StoreId, base: u64, records: usize) {
    let hints = Hints { store: Some(store), base: Lsn(base), ..Hints::default() };
    let scan = wal::scan(disk, names::WAL, &hints).unwrap();
    let identity = Identity { store, incarnation: 1, nonce: 1 };
    let (fs, options) = (Arc::new(disk.clone()), LogOptions::default());
    let mut log = Log::begin(fs, names::WAL, &scan, identity, options, Timestamp(0)).unwrap();
    for _ in 0..records {
        log.append(&[Record::new(1, Origin::Api, vec![0; 8])], Timestamp(0)).unwrap();
    }
    log.witness(Timestamp(0)).unwrap();
}

/// What is built upon: how it is found, its LSN, and of which files there are problems.
fn chosen(disk: &SimFs, state_lsn: Option<u64>) -> (Rung, Option<Lsn>, Vec<String>) {
    let state = state_lsn.map(|lsn| {
        disk.write_now(STATE, &snapshot_bytes(STORE, lsn, 10)).unwrap();
        match crate::files::snapshot::read(disk, STATE).unwrap() {
            Some(Parsed::Intact(snapshot)) => snapshot,
            other => panic!("{other:?}"),
        }
    });
    let mut problems = Vec::new();
    let base = choose(disk, state, Some(STORE), None, &mut problems).unwrap();
    let files = problems.into_iter().map(|problem| problem.file).collect();
    (base.rung, base.snapshot.map(|snapshot| snapshot.lsn), files)
}

#[test]
fn an_owner_file_that_is_gone_is_told_of_and_a_damaged_one_is_not_told_of_twice() {
    let disk = disk(&[]);
    log(&disk, 0, 1);
    let before = |file: &str| Problem::new(ProblemKind::Corrupt, file, 0, "told before");
    for (before, told) in [
        (vec![], vec![names::OWNER]),
        (vec![before(STATE)], vec![STATE, names::OWNER]),
        (vec![before(names::OWNER)], vec![names::OWNER]),
    ] {
        let mut problems = before;
        assert_eq!(whose(&disk, None, None, &mut problems).unwrap(), (Some(STORE), None));
        let files: Vec<_> = problems.iter().map(|problem| &*problem.file).collect();
        assert_eq!(files, told);
    }
}

#[test]
fn the_backups_and_older_segments_outvote_a_newer_segment_of_another_store() {
    let of = |disk: &SimFs| whose(disk, None, None, &mut Vec::new()).unwrap().0;
    for (ours, wanted) in [(true, STORE), (false, OTHER)] {
        let disk = disk(&[2]);
        if ours {
            log(&disk, 0, 2);
        }
        log_of(&disk, OTHER, 0, 2);
        assert_eq!(of(&disk), Some(wanted), "of {STORE} there are segments: {ours}");
    }
}

#[test]
fn a_newer_segment_of_another_store_says_nothing_of_where_the_log_begins_and_ends() {
    let whole = disk(&[2, 4, 9]);
    log(&whole, 0, 4);
    log_of(&whole, OTHER, 8, 1);
    let told = vec![backup(9), STATE.to_owned()];
    assert_eq!(chosen(&whole, None), (Rung::Backup, Some(Lsn(4)), told));
    for (base, other_base, wanted) in [(5, 6, (Rung::Snapshot, 5)), (6, 5, (Rung::Backup, 9))] {
        let disk = disk(&[9]);
        log(&disk, base, 1);
        log_of(&disk, OTHER, other_base, 1);
        let (rung, lsn) = wanted;
        assert_eq!(chosen(&disk, Some(5)), (rung, Some(Lsn(lsn)), vec![]), "behind {base}");
    }
}

#[test]
fn only_a_backup_above_the_end_of_a_whole_log_is_of_another_way() {
    let disk = disk(&[2, 4, 9]);
    log(&disk, 0, 4);
    let told = vec![backup(9), STATE.to_owned()];
    assert_eq!(chosen(&disk, None), (Rung::Backup, Some(Lsn(4)), told));
    // The record of LSN 4 lies behind the header, the start, and three blocks.
    disk.corrupt("wal/00000000000000000001.wal", 6 * 4096 + 8, 1).unwrap();
    let told = vec![STATE.to_owned()];
    assert_eq!(chosen(&disk, None), (Rung::Backup, Some(Lsn(9)), told), "the log lost its end");
}

#[test]
fn no_log_is_no_whole_log() {
    let told = vec![STATE.to_owned()];
    assert_eq!(chosen(&disk(&[0, 9]), None), (Rung::Backup, Some(Lsn(9)), told));
}

#[test]
fn a_backup_above_state_json_is_the_base_only_where_the_log_does_not_reach_back() {
    for (first_base, rung, lsn) in [(5, Rung::Snapshot, 5), (6, Rung::Backup, 9)] {
        let disk = disk(&[9]);
        log(&disk, first_base, 1);
        assert_eq!(chosen(&disk, Some(5)), (rung, Some(Lsn(lsn)), vec![]), "behind {first_base}");
    }
    assert_eq!(chosen(&disk(&[9]), Some(5)), (Rung::Backup, Some(Lsn(9)), vec![]), "no log");
}

#[test]
fn a_backup_takes_the_place_of_state_json_only_if_it_is_proven_to_be_newer() {
    let disk = disk(&[5]);
    disk.write_now(&backup(8), &damaged(5)).unwrap();
    assert_eq!(chosen(&disk, Some(5)), (Rung::Snapshot, Some(Lsn(5)), vec![]), "none is looked at");
    disk.write_now(&backup(9), &damaged(9)).unwrap();
    let (rung, lsn, told) = chosen(&disk, Some(5));
    assert_eq!((rung, lsn), (Rung::Snapshot, Some(Lsn(5))));
    assert!(told.contains(&backup(9)), "{told:?}");
}
