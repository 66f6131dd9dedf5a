//! What is cut is kept to be used again, at its costs; and what fails on the way leaves nothing behind.

use std::io::ErrorKind;

use super::oracle::{DIR, disk, wal_file};
use super::reuse_tests::{ALWAYS, ROOM, oracle, reused, rotate, spares, temporary, wanted};
use crate::base::{Error, Lsn};
use crate::fs::Fs;
use crate::fs::sim::{CallKind, Fault, SimFs};
use crate::wal::LogOptions;
use crate::wal::format::usize_of;

/// What the disk is asked to make one segment of another.
const CALLS: [&str; 10] =
    ["open", "stat", "read", "write", "sync", "open", "write", "sync", "rename_new", "sync"];

#[test]
fn a_segment_that_has_another_name_or_is_another_file_is_not_written_over() {
    type Meddle = fn(&SimFs);
    let meddle: [Meddle; 4] = [
        |fs| fs.link(&temporary(1), "kept").unwrap(),
        |fs| fs.write_now(&temporary(1), b"somebody's").unwrap(),
        |fs| fs.write_now(&temporary(1), &vec![7; usize_of(ROOM)]).unwrap(),
        |fs| fs.remove_now(&temporary(1)).unwrap(),
    ];
    for (nth, meddle) in meddle.into_iter().enumerate() {
        let (fs, mut oracle) = (disk(), oracle(ALWAYS));
        let mut log = oracle.begin(&fs).unwrap();
        rotate(&mut log, &mut oracle).unwrap();
        let former = fs.read_now(&wal_file(1)).unwrap();
        oracle.cut(&mut log, 0).unwrap();
        meddle(&fs);
        rotate(&mut log, &mut oracle).unwrap();
        assert_eq!((log.stats().reused, log.stats().rotations), (0, 2), "{nth}");
        if nth == 0 {
            assert_eq!(fs.read_now("kept"), Some(former));
        }
        assert!(!fs.names().contains(&temporary(1)), "{nth}");
        oracle.scan(&fs).unwrap();
    }
}

#[test]
fn a_reuse_that_fails_anywhere_leaves_a_log_that_goes_on() {
    let all = 1..=CALLS.len() as u64;
    for at in all {
        let (fs, mut oracle) = (disk(), oracle(ALWAYS));
        let mut log = oracle.begin(&fs).unwrap();
        rotate(&mut log, &mut oracle).unwrap();
        oracle.cut(&mut log, 0).unwrap();
        let mut wanted = wanted(&mut log, &mut oracle);
        fs.fail_at(at, Fault::Error(ErrorKind::PermissionDenied));
        log.install(wanted.prepare(&fs, DIR).ok()).unwrap();
        assert_eq!(fs.faults_fired(), 1, "call {at}");
        fs.clear_faults();
        rotate(&mut log, &mut oracle).unwrap();
        oracle.commit(&mut log, &[5000]).unwrap();
        oracle.scan(&fs).unwrap();
        oracle.close(log).unwrap();
        oracle.begin(&fs).unwrap();
    }
}

/// DESIGN.md, "What things cost".
#[test]
fn a_reuse_costs_ten_calls_and_three_flushes_and_a_group_one_write_as_ever() {
    let (fs, mut oracle) = (disk(), oracle(ALWAYS));
    let mut log = oracle.begin(&fs).unwrap();
    rotate(&mut log, &mut oracle).unwrap();
    oracle.cut(&mut log, 0).unwrap();
    let mut wanted = wanted(&mut log, &mut oracle);
    fs.set_traced(true);
    let verbs = |act: &mut dyn FnMut()| {
        let before = fs.trace().len();
        act();
        let calls = fs.trace().split_off(before);
        let verb = |call: &String| call.split(' ').next().unwrap_or_default().to_owned();
        calls.iter().map(verb).collect::<Vec<_>>()
    };
    let mut made = None;
    assert_eq!(verbs(&mut || made = wanted.prepare(&fs, DIR).ok()), CALLS);
    log.install(made).unwrap();
    rotate(&mut log, &mut oracle).unwrap();
    assert_eq!(log.stats().reused, 1);
    let before = log.stats();
    assert_eq!(verbs(&mut || oracle.commit(&mut log, &[5000]).unwrap()), ["write", "sync"]);
    let after = log.stats();
    assert_eq!((after.flushes - before.flushes, after.bytes - before.bytes), (1, 3 * 4096));
}

#[test]
fn a_clean_stop_leaves_no_segment_that_was_to_be_reused() {
    let (fs, mut oracle) = (disk(), oracle(ALWAYS));
    let mut log = oracle.begin(&fs).unwrap();
    rotate(&mut log, &mut oracle).unwrap();
    oracle.cut(&mut log, 0).unwrap();
    assert!(wanted(&mut log, &mut oracle).spare.is_some(), "and nobody prepares it");
    assert_eq!(spares(&fs), 1);
    oracle.close(log).unwrap();
    assert_eq!(spares(&fs), 0);
}

#[test]
fn a_cut_that_fails_half_way_keeps_nothing_to_be_reused() {
    let (fs, mut oracle) = (disk(), oracle(ALWAYS));
    let mut log = oracle.begin(&fs).unwrap();
    for _ in 0..6 {
        rotate(&mut log, &mut oracle).unwrap();
    }
    // Four are kept; the fifth is to be removed.
    fs.fail_path(&wal_file(5), CallKind::Remove, 1, Fault::Error(ErrorKind::PermissionDenied));
    oracle.cut(&mut log, 0).unwrap_err();
    assert_eq!((fs.faults_fired(), spares(&fs)), (1, 0));
    assert!(fs.names().contains(&wal_file(5)) && !fs.names().contains(&wal_file(4)));
    rotate(&mut log, &mut oracle).unwrap();
    assert_eq!(log.stats().reused, 0);
    oracle.cut(&mut log, 0).unwrap();
    assert!(!log.can_remove_below(log.last_lsn()), "the next cut goes on where that one ended");
}

#[test]
fn a_cut_whose_flush_fails_keeps_nothing_to_be_reused() {
    let (fs, mut oracle) = (disk(), oracle(ALWAYS));
    let mut log = oracle.begin(&fs).unwrap();
    rotate(&mut log, &mut oracle).unwrap();
    fs.fail_when(CallKind::SyncDir, 1, Fault::Error(ErrorKind::PermissionDenied));
    oracle.cut(&mut log, 0).unwrap_err();
    assert!(!fs.names().contains(&temporary(1)), "{:?}", fs.names());
    rotate(&mut log, &mut oracle).unwrap();
    assert_eq!(log.stats().reused, 0);
}

#[test]
fn a_cut_that_fails_tells_why_though_what_it_kept_cannot_be_removed_either() {
    let (fs, mut oracle) = (disk(), oracle(ALWAYS));
    let mut log = oracle.begin(&fs).unwrap();
    for _ in 0..2 {
        rotate(&mut log, &mut oracle).unwrap();
    }
    fs.fail_when(CallKind::SyncDir, 1, Fault::Error(ErrorKind::PermissionDenied));
    fs.fail_path(&temporary(1), CallKind::Remove, 1, Fault::Error(ErrorKind::NotADirectory));
    let told = oracle.cut(&mut log, 0).unwrap_err();
    let is_first = |error: &Error| matches!(error, Error::Io { action, .. } if *action == "flush");
    assert!(is_first(&told), "{told:?}");
    assert_eq!(fs.faults_fired(), 2);
    assert_eq!(spares(&fs), 1, "the other one went");
    rotate(&mut log, &mut oracle).unwrap();
    assert_eq!(log.stats().reused, 0, "nothing is written over what is left");
}

#[test]
fn a_cut_goes_on_where_somebody_removed_a_segment_or_took_its_name() {
    for is_removed in [true, false] {
        let (fs, mut oracle) = (disk(), oracle(ALWAYS));
        let mut log = oracle.begin(&fs).unwrap();
        rotate(&mut log, &mut oracle).unwrap();
        if is_removed {
            fs.remove_now(&wal_file(1)).unwrap();
        } else {
            fs.write_now(&temporary(1), b"mine").unwrap();
        }
        oracle.cut(&mut log, 0).unwrap();
        assert!(!log.can_remove_below(Lsn(u64::MAX)), "nothing is left to be cut");
        assert!(!fs.names().contains(&wal_file(1)));
    }
}

#[test]
fn only_as_many_as_were_begun_are_kept_and_only_if_groups_are_large() {
    let rotations = 9;
    for (reuse_group_bytes, kept) in [(0, 4), (8 << 10, 4), (16 << 10, 0), (u64::MAX, 0)] {
        let (fs, mut oracle) = (disk(), oracle(LogOptions { reuse_group_bytes, ..ALWAYS }));
        let mut log = oracle.begin(&fs).unwrap();
        for _ in 0..rotations {
            rotate(&mut log, &mut oracle).unwrap();
        }
        let size = log.size_bytes();
        assert_eq!(size, (rotations + 1) * ROOM);
        oracle.cut(&mut log, 0).unwrap();
        assert_eq!(spares(&fs), kept, "{reuse_group_bytes}");
        assert_eq!(log.size_bytes(), (1 + kept as u64) * ROOM);
        assert_eq!(log.free_spares().unwrap(), kept > 0);
        assert_eq!((spares(&fs), log.size_bytes()), (0, ROOM));
        assert!(!log.free_spares().unwrap());
    }
    let (fs, mut oracle, mut log) = reused(0);
    oracle.cut(&mut log, 0).unwrap();
    assert!(fs.names().contains(&temporary(2)), "one was begun since the last cut");
    // The next opening has no use for them, nor for those of this one that it cuts itself.
    drop(log);
    let mut log = oracle.begin(&fs).unwrap();
    rotate(&mut log, &mut oracle).unwrap();
    assert!(fs.names().contains(&wal_file(3)) && !fs.names().contains(&temporary(2)));
    oracle.cut(&mut log, 0).unwrap();
    assert!(!fs.names().contains(&wal_file(3)) && !fs.names().contains(&temporary(3)));
    assert!(fs.names().contains(&temporary(4)));
}
