//! What is relied on, kept, removed and moved away, and that only what must be is read.

use super::*;
use crate::files::names;
use crate::files::names::CONFLICTS;
use crate::files::snapshot::fixture::snapshot_bytes;
use crate::fs::Mode;
use crate::fs::sim::{CallKind, CrashMode, Fault, SimFs};

const STORE: StoreId = StoreId(7);
const TWO: Retention = Retention { last: 2, hourly: 0, daily: 0, bytes_max: 1 << 30 };

fn bytes(store: StoreId, lsn: u64) -> Vec<u8> {
    snapshot_bytes(store, lsn, 0)
}

/// A backup with one byte changed, near its end.
fn damaged(lsn: u64) -> Vec<u8> {
    let mut bytes = bytes(STORE, lsn);
    let last = bytes.len() - 5;
    bytes[last] ^= 1;
    bytes
}

fn name(time: i64) -> String {
    names::backup(Timestamp(time * 1_000_000_000))
}

/// A disk with backups made at these times, in seconds.
fn disk(backups: &[(i64, Vec<u8>)]) -> SimFs {
    let disk = SimFs::new();
    disk.create_dir(names::WAL).unwrap();
    for (time, bytes) in backups {
        disk.write_now(&name(*time), bytes).unwrap();
    }
    disk
}

fn times(disk: &SimFs) -> Vec<i64> {
    list(disk).unwrap().iter().map(|backup| backup.time.0 / 1_000_000_000).collect()
}

fn conflicts(disk: &SimFs) -> Vec<Vec<u8>> {
    let names = disk.names().into_iter().filter(|name| name.starts_with(CONFLICTS));
    names.map(|name| disk.read_now(&name).unwrap()).collect()
}

/// What one call finds, and the problems that it tells.
fn previous(kept: &mut Backups, disk: &SimFs, present: u64) -> (Option<u64>, usize) {
    let mut problems = Vec::new();
    let found = kept.previous(disk, Lsn(present), &mut problems).unwrap();
    (found.map(|lsn| lsn.0), problems.len())
}

fn prune(kept: &mut Backups, disk: &SimFs, present: u64) -> usize {
    let mut problems = Vec::new();
    let removed = kept.prune(disk, &TWO, Lsn(present), &mut problems).unwrap();
    assert_eq!(problems, []);
    removed.len()
}

fn free_one(kept: &mut Backups, disk: &SimFs, present: u64) -> bool {
    kept.free_one(disk, Lsn(present), &mut Vec::new()).unwrap()
}

#[test]
fn pruning_removes_the_oldest_and_never_what_is_not_intact_and_ours() {
    let disk = disk(&[
        (1, bytes(STORE, 1)),
        (2, bytes(STORE, 2)),
        (4, bytes(STORE, 4)),
        (5, bytes(StoreId(8), 5)),
        (6, Vec::new()),
        (7, bytes(STORE, 7)),
    ]);
    disk.write_now("state.backup.8000.json", b"{\"tasks\":[]}").unwrap();
    let mut kept = Backups::new(STORE);
    assert_eq!(prune(&mut kept, &disk, 9), 2);
    assert_eq!(times(&disk), [4, 5, 6, 7, 8]);
    assert_eq!(prune(&mut kept, &disk, 9), 0);
    let durable = disk.if_crashed(CrashMode::Nothing);
    assert_eq!(times(&durable), [4, 5, 6, 7, 8], "a removal is durable when it is told");
}

#[test]
fn the_previous_snapshot_is_the_highest_intact_lsn_below_the_present_whatever_the_names_say() {
    let disk = disk(&[
        (1, bytes(STORE, 8)),
        (2, bytes(STORE, 9)),
        (3, bytes(STORE, 2)),
        (4, bytes(STORE, 3)),
        (5, bytes(STORE, 10)),
        (6, bytes(STORE, 11)),
    ]);
    let mut kept = Backups::new(STORE);
    assert_eq!(previous(&mut kept, &disk, 10), (Some(9), 0));
    assert_eq!(prune(&mut kept, &disk, 10), 3, "the previous one stays beside the last two");
    assert_eq!(times(&disk), [2, 5, 6]);
    while free_one(&mut kept, &disk, 10) {}
    assert_eq!(times(&disk), [2, 5, 6], "nothing at or above the present snapshot goes");
    assert_eq!(previous(&mut kept, &disk, 2), (None, 0));
    assert!(!free_one(&mut kept, &disk, 2), "without a previous one nothing goes");
}

#[test]
fn a_backup_that_somebody_wrote_into_is_moved_to_conflicts_and_not_relied_on() {
    let disk = disk(&[(1, bytes(STORE, 1)), (2, bytes(STORE, 2)), (3, bytes(STORE, 3))]);
    let mut kept = Backups::new(STORE);
    assert_eq!(previous(&mut kept, &disk, 9), (Some(3), 0));
    disk.write_now(&name(3), &damaged(3)).unwrap();
    assert_eq!(previous(&mut kept, &disk, 9), (Some(2), 1), "its stat has changed");
    assert_eq!((times(&disk), conflicts(&disk)), (vec![1, 2], vec![damaged(3)]));
    assert_eq!(previous(&mut kept, &disk, 9), (Some(2), 0), "it is told once");
}

/// Takes backups away, and says how many.
type Removal = fn(&mut Backups, &SimFs, &mut Vec<Problem>) -> usize;

#[test]
fn a_surplus_backup_that_somebody_wrote_into_is_moved_to_conflicts_and_not_removed() {
    let made = [(1, damaged(1)), (2, damaged(2)), (3, bytes(STORE, 3)), (4, bytes(STORE, 4))];
    let removals: [Removal; 2] = [
        |kept, disk, told| kept.prune(disk, &TWO, Lsn(9), told).unwrap().len(),
        |kept, disk, told| usize::from(kept.free_one(disk, Lsn(9), told).unwrap()),
    ];
    for (remove, left) in removals.into_iter().zip([vec![3, 4], vec![4]]) {
        let (disk, mut told) = (disk(&made), Vec::new());
        let removed = remove(&mut Backups::new(STORE), &disk, &mut told);
        assert_eq!((removed, told.len(), times(&disk)), (2 - left.len(), 2, left));
        let mut kept = conflicts(&disk);
        kept.sort_by_key(|kept| *kept != damaged(1));
        assert_eq!(kept, [damaged(1), damaged(2)]);
    }
}

#[test]
fn a_backup_that_is_being_written_is_left_until_nobody_writes_any_more() {
    let disk = disk(&[(1, bytes(STORE, 1)), (2, bytes(STORE, 2)[..200].to_vec())]);
    let mut kept = Backups::new(STORE);
    let writer = disk.hold_now(&name(2)).unwrap();
    assert_eq!(previous(&mut kept, &disk, 9), (Some(1), 0));
    writer.write(&bytes(STORE, 2));
    drop(writer);
    assert_eq!(previous(&mut kept, &disk, 9), (Some(2), 0));
    assert_eq!(conflicts(&disk), Vec::<Vec<u8>>::new());
}

#[test]
fn what_was_proved_is_not_read_again_while_its_stat_stays() {
    let disk = disk(&[(1, bytes(STORE, 1)), (2, bytes(STORE, 2)), (3, bytes(STORE, 3))]);
    let mut kept = Backups::new(STORE);
    let mut opened_for = |present| {
        let before = disk.calls();
        previous(&mut kept, &disk, present);
        let trace = disk.trace().split_off(usize::try_from(before).unwrap());
        trace.iter().filter(|call| call.starts_with("open")).count()
    };
    assert_eq!(opened_for(9), 4, "each head, and one whole");
    assert_eq!(opened_for(9), 2, "two heads are not known yet");
    opened_for(3);
    opened_for(2);
    assert_eq!(opened_for(9), 0);
    disk.write_now(&name(2), &bytes(STORE, 2)).unwrap();
    assert_eq!(opened_for(3), 2, "its head, and the whole");
}

#[test]
fn what_a_save_made_is_proved_by_its_stat() {
    let disk = disk(&[(1, bytes(STORE, 1))]);
    let mut kept = Backups::new(STORE);
    let saved = Saved {
        file: "state.json".to_owned(),
        stat: None,
        backup: Some(name(1)),
        backup_stat: disk.stat(&name(1)).unwrap(),
        problems: Vec::new(),
        displaced: Vec::new(),
    };
    kept.admit(&disk, &saved);
    let before = disk.calls();
    assert_eq!(previous(&mut kept, &disk, 9), (Some(1), 0));
    assert_eq!(disk.calls() - before, 2, "a list and a stat");
    disk.write_now(&name(1), &damaged(1)).unwrap();
    assert_eq!(previous(&mut kept, &disk, 9), (None, 1));
}

#[test]
fn room_is_made_by_the_oldest_first_and_not_by_one_of_two_names() {
    let disk = disk(&[
        (1, bytes(STORE, 1)),
        (2, bytes(STORE, 2)),
        (3, bytes(STORE, 3)),
        (4, bytes(STORE, 4)),
    ]);
    disk.link(&name(1), "another-name").unwrap();
    let mut kept = Backups::new(STORE);
    let mut left = Vec::new();
    while free_one(&mut kept, &disk, 9) {
        left.push(times(&disk));
    }
    assert_eq!(left, [vec![1, 3, 4], vec![1, 4]]);
}

#[test]
fn a_backup_that_cannot_be_read_is_told_once_and_hinders_nothing() {
    let disk = disk(&[(1, bytes(STORE, 1)), (2, bytes(STORE, 2))]);
    let mut kept = Backups::new(STORE);
    // The first time both heads are opened before it, the second time only its own.
    for (opens, told) in [(3, 1), (2, 0)] {
        disk.fail_when(CallKind::Open, opens, Fault::Errno(5));
        assert_eq!(previous(&mut kept, &disk, 9), (Some(1), told));
    }
    assert_eq!(previous(&mut kept, &disk, 9), (Some(2), 0));
    assert!(disk.open(&name(2), Mode::Read).is_ok());
}

#[test]
fn a_failure_at_any_call_keeps_the_previous_snapshot_in_place() {
    for call in 1.. {
        let disk = disk(&[
            (1, bytes(STORE, 1)),
            (2, damaged(2)),
            (3, bytes(STORE, 3)),
            (4, bytes(STORE, 4)),
            (5, bytes(STORE, 5)),
            (6, damaged(6)),
        ]);
        disk.fail_at(call, Fault::Errno(5));
        let mut kept = Backups::new(STORE);
        let _ = kept.prune(&disk, &TWO, Lsn(9), &mut Vec::new());
        if disk.faults_fired() == 0 {
            disk.clear_faults();
            assert_eq!(times(&disk), [5], "the damaged one counted until it was found");
            break;
        }
        for mode in [CrashMode::Nothing, CrashMode::Everything] {
            let after = disk.if_crashed(&mode);
            let found = previous(&mut Backups::new(STORE), &after, 9).0;
            assert_eq!(found, Some(5), "{call} {mode:?}");
        }
    }
}
