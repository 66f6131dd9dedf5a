//! Calls that fail: once, for good, and for want of room. What was acknowledged stands after reopening
//! in the same boot, where a failed flush leaves pages that look written, and after a later power cut.

use std::io::ErrorKind;

use super::crash_tests::{check, continuation, workload};
use super::oracle::{DIR, Oracle, SMALL, STORE, disk};
use crate::base::{Error, Lsn, Timestamp};
use crate::fs::sim::{CallKind, CrashMode, Fault};
use crate::wal::{Hints, Identity, Log, LogOptions, Origin, Record, scan};

const FAULTS: [Fault; 4] = [
    Fault::Error(ErrorKind::Other),
    Fault::Sticky(ErrorKind::Other),
    Fault::Error(ErrorKind::StorageFull),
    Fault::Short,
];

#[test]
fn a_failed_call_is_an_error_and_what_was_acknowledged_stands_after_it() {
    let (mut failed, mut states) = (0, 0);
    for (at, fault) in (1..).zip(FAULTS.iter().copied().cycle()) {
        let mut oracle = Oracle::default();
        let fs = disk();
        fs.fail_at(at, fault);
        let done = workload(&fs, &mut oracle);
        if fs.faults_fired() == 0 {
            break;
        }
        assert!(fault != Fault::Short || done.is_ok(), "a short call is no failure: {done:?}");
        failed += u64::from(done.is_err());
        // A power cut now, and a reopening in the same boot, that fails once more and then does not.
        for mode in [CrashMode::Nothing, CrashMode::Random(at)] {
            check(&fs.crash_with(mode), &mut oracle.clone());
        }
        let same_boot = fs.kill();
        check(&same_boot, &mut oracle);
        same_boot.fail_when(CallKind::Sync, 1 + at % 4, Fault::Error(ErrorKind::Other));
        let reopened = oracle.begin(&same_boot).and_then(|mut log| {
            continuation(&mut log, &mut oracle)?;
            oracle.sync(&mut log)
        });
        drop(reopened);
        same_boot.clear_faults();
        let mut log = oracle.begin(&same_boot).unwrap();
        continuation(&mut log, &mut oracle).unwrap();
        for mode in [CrashMode::Nothing, CrashMode::Random(at), CrashMode::Everything] {
            let (cut, mut oracle) = (same_boot.crash_with(mode), oracle.clone());
            check(&cut, &mut oracle);
            let mut log = oracle.begin(&cut).unwrap();
            continuation(&mut log, &mut oracle).unwrap();
            states += 1;
        }
    }
    println!("{failed} failed runs, {states} power cuts after them");
    assert!(failed > 60 && states > 300, "{failed} failed runs, {states} power cuts");
}

fn log_on(fs: &crate::fs::sim::SimFs) -> Log {
    log_with(fs, SMALL)
}

fn log_with(fs: &crate::fs::sim::SimFs, options: LogOptions) -> Log {
    let found = scan(fs, DIR, &Hints::default()).unwrap();
    let identity = Identity { store: STORE, incarnation: 1, nonce: 1 };
    Log::begin(std::sync::Arc::new(fs.clone()), DIR, &found, identity, options, Timestamp(0))
        .unwrap()
}

fn record(bytes: usize) -> [Record; 1] {
    [Record::new(1, Origin::Api, vec![1; bytes])]
}

#[test]
fn no_room_for_the_next_segment_leaves_the_log_usable_and_gives_no_lsn_away() {
    let fs = disk();
    let mut log = log_on(&fs);
    assert_eq!(log.append(&record(8), Timestamp(0)).unwrap(), Lsn(1));
    fs.set_free_bytes(5000);
    let refused = log.append(&record(50_000), Timestamp(0));
    assert!(matches!(refused, Err(Error::DiskFull { .. })), "{refused:?}");
    assert_eq!(fs.names().len(), 1, "nothing is left behind: {:?}", fs.names());
    fs.set_free_bytes(1 << 30);
    assert_eq!(log.append(&record(50_000), Timestamp(0)).unwrap(), Lsn(2));
    assert_eq!(log.sync().unwrap(), Lsn(2));
}

#[test]
fn after_a_failed_write_or_flush_every_call_is_refused_and_none_reaches_the_disk() {
    for kind in [CallKind::Write, CallKind::Sync] {
        let fs = disk();
        let mut log = log_on(&fs);
        fs.fail_when(kind, 1, Fault::Error(ErrorKind::Other));
        let failed = log.append(&record(8), Timestamp(0)).and_then(|_| log.sync());
        assert!(matches!(failed, Err(Error::Io { .. })), "{failed:?}");
        let calls = fs.calls();
        for refused in [
            log.append(&record(8), Timestamp(0)).map(drop),
            log.sync().map(drop),
            log.witness(Timestamp(0)).map(drop),
            log.install(None),
            log.remove_below(Lsn(9)).map(drop),
        ] {
            assert!(matches!(refused, Err(Error::Poisoned { .. })), "{refused:?}");
        }
        assert_eq!(log.begin_preparing(), None);
        assert!(matches!(log.close(Timestamp(0)), Err(Error::Poisoned { .. })));
        assert_eq!(fs.calls(), calls, "a poisoned log must not touch the disk");
    }
}

#[test]
fn what_is_kept_back_of_a_segment_takes_only_what_may_have_it_and_stands_after_a_power_cut() {
    let fs = disk();
    let options =
        LogOptions { segment_bytes_min: 128 << 10, segment_bytes_max: 128 << 10, ..SMALL };
    let mut log = log_with(&fs, options);
    let mut written = 0;
    fs.set_free_bytes(0);
    while log.append(&record(8), Timestamp(0)).is_ok() {
        written += 1;
    }
    assert!(written > 0 && log.poison().is_none());
    let mut kept_back = 0;
    while log.append_to_reserve(&record(8), Timestamp(0)).unwrap().is_some() {
        kept_back += 1;
    }
    assert_eq!(kept_back, 4, "an eighth of the segment, in blocks; {written} others");
    log.sync().unwrap();
    let full = log.append_to_reserve(&record(8), Timestamp(0)).unwrap();
    assert_eq!(full, None, "the room behind every group stays for a witness and an end");
    assert!(log.witness(Timestamp(0)).unwrap());
    let found = scan(&fs.crash_with(CrashMode::Nothing), DIR, &Hints::default()).unwrap();
    assert_eq!(found.join.lsn, Lsn(written + kept_back));
}

#[test]
fn no_room_in_the_middle_of_a_commit_does_not_say_that_nothing_was_written() {
    for kind in [CallKind::Write, CallKind::Sync] {
        let fs = disk();
        let mut log = log_on(&fs);
        fs.fail_when(kind, 1, Fault::Error(ErrorKind::StorageFull));
        let record = Record::new(1, Origin::Api, vec![7; 100]);
        let failed = log.append(&[record], Timestamp(0)).and_then(|_| log.sync());
        assert!(matches!(failed, Err(Error::Io { .. })), "{kind:?}: {failed:?}");
        assert!(log.poison().is_some());
    }
}

#[test]
fn where_direct_writes_are_refused_the_page_cache_serves_and_what_is_committed_is_durable() {
    // Either no file can be opened so, or the first write fails: there it is the one behind the zeroes.
    for (kind, nth) in [(CallKind::Open, 1), (CallKind::Write, 2), (CallKind::Sync, 2)] {
        let fs = disk();
        fs.fail_when(kind, nth, Fault::Error(ErrorKind::InvalidInput));
        let mut log = log_with(&fs, LogOptions { segment_bytes_min: 128 << 10, ..SMALL });
        assert_eq!(fs.faults_fired(), 1, "{kind:?}");
        for committed in 1..=3 {
            assert_eq!(log.commit(&record(100), Timestamp(0)).unwrap(), Lsn(committed));
            let cut = fs.if_crashed(CrashMode::Nothing);
            let found = scan(&cut, DIR, &Hints::default()).unwrap();
            assert_eq!(found.last_lsn, Lsn(committed), "{kind:?}");
        }
    }
}

#[test]
fn a_direct_commit_makes_durable_what_was_only_written_before_it() {
    for direct in [true, false] {
        let fs = disk();
        let mut log = log_with(&fs, LogOptions { direct, segment_bytes_min: 128 << 10, ..SMALL });
        for before in [0, 2, 4] {
            log.append(&record(5000), Timestamp(0)).unwrap();
            assert_eq!(log.commit(&record(100), Timestamp(0)).unwrap(), Lsn(before + 2));
            let found = scan(&fs.if_crashed(CrashMode::Nothing), DIR, &Hints::default()).unwrap();
            assert_eq!(found.last_lsn, Lsn(before + 2));
        }
    }
}

#[test]
fn a_commit_behind_what_was_only_written_costs_one_flush() {
    let fs = disk();
    fs.set_traced(true);
    let mut log = log_with(&fs, LogOptions { segment_bytes_min: 128 << 10, ..SMALL });
    for unflushed in [0, 1, 2] {
        let before = fs.trace().len();
        for _ in 0..unflushed {
            log.append(&record(100), Timestamp(0)).unwrap();
        }
        log.commit(&record(100), Timestamp(0)).unwrap();
        let trace = fs.trace().split_off(before);
        let count = |verb: &str| trace.iter().filter(|call| call.starts_with(verb)).count();
        assert_eq!((count("write"), count("sync"), trace.len()), (unflushed + 1, 1, unflushed + 2));
    }
}
