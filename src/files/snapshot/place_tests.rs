//! Saving where another store's files, a quicker person or a failing disk are in the way of a name.

use super::super::{Parsed, parse};
use super::*;
use crate::files::meddler::Meddler;
use crate::files::names::CONFLICTS;
use crate::files::snapshot::fixture::snapshot_bytes;
use crate::fs::sim::{CallKind, Fault, SimFs};

const STORE: StoreId = StoreId(7);
const OTHER: StoreId = StoreId(8);

fn disk() -> SimFs {
    let disk = SimFs::new();
    disk.create_dir(WAL).unwrap();
    disk
}

fn bytes(store: StoreId, lsn: u64) -> Vec<u8> {
    snapshot_bytes(store, lsn, 10)
}

fn of(disk: &SimFs, file: &str) -> Option<(StoreId, Lsn)> {
    match parse(&disk.read_now(file)?) {
        Parsed::Intact(snapshot) => Some((snapshot.store, snapshot.lsn)),
        Parsed::NotIntact(_) => None,
    }
}

/// The contents of all files whose names begin so.
fn below(disk: &SimFs, start: &str) -> Vec<Vec<u8>> {
    let names = disk.names().into_iter().filter(|name| name.starts_with(start));
    names.map(|name| disk.read_now(&name).unwrap()).collect()
}

#[test]
fn a_leftover_of_another_store_is_a_persons_and_never_takes_the_place_of_a_snapshot() {
    for published in [None, Some(5), Some(20)] {
        let disk = disk();
        if let Some(lsn) = published {
            disk.write_now(STATE, &bytes(STORE, lsn)).unwrap();
        }
        disk.write_now(STATE_SWAP, &bytes(OTHER, 9)).unwrap();
        let problems = leftovers(&disk, STORE, None, Timestamp(2)).unwrap();
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert_eq!(of(&disk, STATE), published.map(|lsn| (STORE, Lsn(lsn))));
        assert_eq!(below(&disk, CONFLICTS), [bytes(OTHER, 9)]);
        assert_eq!(below(&disk, "state.backup."), [b""; 0]);
    }
}

#[test]
fn a_leftover_that_only_another_stores_snapshot_is_beside_is_made_a_backup() {
    for lsn in [5, 9, 20] {
        let disk = disk();
        disk.write_now(STATE, &bytes(OTHER, lsn)).unwrap();
        disk.write_now(STATE_SWAP, &bytes(STORE, 9)).unwrap();
        assert_eq!(leftovers(&disk, STORE, None, Timestamp(2)).unwrap(), vec![]);
        assert_eq!(below(&disk, "state.backup."), [bytes(STORE, 9)], "beside {lsn}");
        assert_eq!(of(&disk, STATE), Some((OTHER, Lsn(lsn))));
    }
}

#[test]
fn what_somebody_puts_there_after_an_edit_was_kept_is_kept_and_told_too() {
    let [first, second] = [&b"{\"tasks\": [1]}"[..], b"{\"tasks\": [2]}"];
    let disk = disk();
    disk.write_now(STATE, first).unwrap();
    let fs = Meddler::editing(&disk, |disk| disk.save_now(STATE, second).unwrap());
    let saved = save(&fs, STORE, &bytes(STORE, 2), None, None, Timestamp(1)).unwrap();
    let kept: Vec<_> = saved.displaced.iter().map(|name| disk.read_now(name).unwrap()).collect();
    assert_eq!(kept, [second], "that is what came out");
    let mut all = below(&disk, CONFLICTS);
    all.sort_unstable();
    assert_eq!(all, [first, second]);
}

#[test]
fn a_failing_disk_is_an_error_and_no_sign_that_the_place_was_taken() {
    let disk = disk();
    // The first is that of `state.part`.
    disk.fail_when(CallKind::Rename, 2, Fault::Error(ErrorKind::Other));
    let failed = save(&disk, STORE, &bytes(STORE, 1), None, None, Timestamp(1));
    assert!(matches!(&failed, Err(Error::Io { .. })), "{failed:?}");
    assert_eq!(disk.read_now(STATE), None);
}

#[test]
fn a_name_that_somebody_takes_meanwhile_is_left_to_them_and_the_next_one_used() {
    let disk = SimFs::new();
    let first = backups::next_name(&[], Timestamp(5));
    let taken = first.clone();
    let fs = Meddler::editing(&disk, move |disk| disk.write_now(&taken, b"theirs").unwrap());
    let name = save_elsewhere(&fs, &bytes(STORE, 3), Timestamp(5), "part").unwrap();
    assert_ne!(name, first);
    assert_eq!(of(&disk, &name), Some((STORE, Lsn(3))));
    assert_eq!(disk.read_now(&first).unwrap(), b"theirs");
    assert_eq!(disk.names().len(), 2, "{:?}", disk.names());
}
