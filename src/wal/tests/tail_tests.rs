//! Reading on behind the writer: every record once, in order, none above the durable LSN, and every
//! LSN that is not to be had told as missing.

use std::sync::Arc;

use super::guarantee_tests::{BLOCK, START, groups};
use super::made::{Made, data, nowhere, start};
use super::oracle::{DIR, Oracle, STORE, disk, rot, wal_file, zero};
use crate::base::{Error, Lsn, StoreId, Timestamp};
use crate::fs::sim::{CallKind, CrashMode, Fault, SimFs};
use crate::wal::scan::Join;
use crate::wal::{Log, Tail, Tailed};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Got {
    Record(u64),
    Missing(u64, u64),
}
use Got::{Missing, Record};

pub(super) fn tail(fs: &SimFs, after: u64) -> Tail {
    Tail::new(Arc::new(fs.clone()), DIR, Some(STORE), Lsn(after))
}

pub(super) fn read_up_to(tail: &mut Tail, durable: Lsn, bytes_max: u64) -> Vec<Got> {
    let mut got = Vec::new();
    tail.read(durable, bytes_max, &mut |tailed| {
        match tailed {
            Tailed::Group(records) => {
                got.extend(records.iter().map(|record| Record(record.lsn.0)));
            }
            Tailed::Missing { first, last } => got.push(Missing(first.0, last.0)),
        }
        Ok(())
    })
    .unwrap();
    got
}

fn read(tail: &mut Tail, log: &Log) -> Vec<Got> {
    read_up_to(tail, log.durable_lsn(), u64::MAX)
}

pub(super) fn records(lsns: impl IntoIterator<Item = u64>) -> Vec<Got> {
    lsns.into_iter().map(Record).collect()
}

/// A log with so many groups of one record each, flushed; small segments, so that it rotates.
fn rotating(count: usize) -> (SimFs, Oracle, Log) {
    let fs = disk();
    let mut oracle = Oracle::default();
    let mut log = oracle.begin(&fs).unwrap();
    for _ in 0..count {
        oracle.append(&mut log, &[8]).unwrap();
        oracle.sync(&mut log).unwrap();
    }
    (fs, oracle, log)
}

#[test]
fn what_is_appended_is_read_once_and_only_up_to_the_durable_lsn() {
    let (fs, mut oracle, mut log) = groups(1);
    let mut tail = tail(&fs, 0);
    assert_eq!(read(&mut tail, &log), records(1..=2));
    oracle.append(&mut log, &[8, 8]).unwrap();
    assert_eq!(read(&mut tail, &log), [], "written, and not flushed");
    assert_eq!(tail.vouched().unwrap(), Lsn(2), "nothing behind the last group says so");
    oracle.sync(&mut log).unwrap();
    log.witness(Timestamp(0)).unwrap();
    assert_eq!(tail.vouched().unwrap(), Lsn(4));
    assert_eq!(read(&mut tail, &log), records(3..=4));
    assert_eq!(read(&mut tail, &log), []);
}

#[test]
fn the_tail_goes_on_through_rotations_at_a_cost_that_does_not_grow_with_the_log() {
    let (fs, mut oracle, mut log) = rotating(0);
    let mut tail = tail(&fs, 0);
    for lsn in 1..=40 {
        oracle.append(&mut log, &[8]).unwrap();
        oracle.sync(&mut log).unwrap();
        let before = fs.calls();
        assert_eq!(read(&mut tail, &log), records([lsn]));
        let calls = fs.calls() - before;
        assert!(calls <= 30, "{calls} calls for LSN {lsn}");
    }
    assert!(log.stats().rotations > 5, "{:?}", log.stats());
    assert_eq!(
        read(&mut Tail::new(Arc::new(fs.clone()), DIR, Some(STORE), Lsn(0)), &log),
        records(1..=40)
    );
}

#[test]
fn from_any_lsn_what_lies_above_it_is_read() {
    let (fs, _, log) = groups(5);
    for after in 0..=10 {
        assert_eq!(read(&mut tail(&fs, after), &log), records(after + 1..=10), "{after}");
    }
    assert_eq!(read(&mut tail(&fs, 99), &log), []);
}

#[test]
fn a_read_stops_behind_the_group_with_which_it_has_its_bytes() {
    let (fs, _, log) = groups(3);
    let mut tail = tail(&fs, 0);
    for lsns in [1..=2, 3..=4, 5..=6] {
        assert_eq!(read_up_to(&mut tail, log.durable_lsn(), 1), records(lsns));
    }
    assert_eq!(read_up_to(&mut tail, log.durable_lsn(), 1), []);
}

#[test]
fn what_was_cut_before_it_was_read_is_missing_and_the_rest_follows() {
    let (fs, mut oracle, mut log) = rotating(20);
    let (mut slow, mut new) = (tail(&fs, 0), tail(&fs, 3));
    assert_eq!(read_up_to(&mut slow, Lsn(2), u64::MAX), records(1..=2));
    assert!(log.remove_below(Lsn(12)).unwrap() > 0);
    oracle.append(&mut log, &[8]).unwrap();
    oracle.sync(&mut log).unwrap();
    let got = read(&mut slow, &log);
    let Some(Missing(3, last)) = got.first() else { panic!("{got:?}") };
    assert!(*last <= 12, "{got:?}");
    assert_eq!(got[1..], records(last + 1..=21));
    let got = read(&mut new, &log);
    assert_eq!((&got[0], &got[1..]), (&Missing(4, *last), &records(last + 1..=21)[..]));
}

#[test]
fn restated_records_are_read_once() {
    for known in [0, 2, 4] {
        // Nothing vouches for these groups, so the next opening restates them.
        let fs = disk();
        let mut oracle = Oracle::default();
        let mut log = oracle.begin(&fs).unwrap();
        oracle.append(&mut log, &[8, 8, 8, 8]).unwrap();
        oracle.sync(&mut log).unwrap();
        let mut tail = tail(&fs, known);
        if known == 4 {
            tail = Tail::new(Arc::new(fs.clone()), DIR, Some(STORE), Lsn(0));
            assert_eq!(read(&mut tail, &log), records(1..=4));
        }
        let mut log = oracle.begin(&fs).unwrap();
        let next = log.next_lsn().0;
        assert!(next > 60_000);
        oracle.append(&mut log, &[8]).unwrap();
        oracle.sync(&mut log).unwrap();
        // Between the two there is no LSN that was ever used.
        assert_eq!(read_up_to(&mut tail, Lsn(5), u64::MAX), records(known + 1..=4));
        assert_eq!(read(&mut tail, &log), records([next]), "unused LSNs are not missed");
        assert_eq!(read(&mut tail, &log), []);
    }
}

#[test]
fn what_a_failed_rotation_leaves_is_read_once_in_its_new_place() {
    let (fs, mut oracle, mut log) = rotating(1);
    let mut tail = tail(&fs, 0);
    assert_eq!(read(&mut tail, &log), records([1]));
    // The third flush of a rotation is that of the new segment's header and first group, behind those of
    // its zeroes and of the trial of direct writes.
    fs.fail_when(CallKind::Sync, 3, Fault::Errno(5));
    oracle.append(&mut log, &[8]).unwrap_err();
    assert!(log.poison().is_some());
    fs.clear_faults();
    let known = log.durable_lsn();
    assert_eq!(read(&mut tail, &log), []);
    let mut log = oracle.begin(&fs).unwrap();
    let restated = log.durable_lsn().0;
    assert!(restated > known.0);
    let next = log.next_lsn().0;
    oracle.append(&mut log, &[8]).unwrap();
    oracle.sync(&mut log).unwrap();
    assert_eq!(read(&mut tail, &log), records((known.0 + 1..=restated).chain([next])));
}

#[test]
fn a_torn_end_gives_nothing_and_the_log_goes_on_behind_it() {
    let (fs, mut oracle, mut log) = groups(2);
    log.witness(Timestamp(0)).unwrap();
    let durable = log.durable_lsn();
    oracle.append(&mut log, &[8]).unwrap();
    zero(&fs, 1, usize::try_from(START + 4 * BLOCK).unwrap(), 512);
    let mut tail = tail(&fs, 0);
    assert_eq!(tail.vouched().unwrap(), durable);
    assert_eq!(read_up_to(&mut tail, durable, u64::MAX), records(1..=4));
    let fs = fs.kill();
    let mut log = oracle.begin(&fs).unwrap();
    let next = log.next_lsn().0;
    oracle.append(&mut log, &[8]).unwrap();
    oracle.sync(&mut log).unwrap();
    let mut tail = Tail::new(Arc::new(fs.clone()), DIR, Some(STORE), Lsn(4));
    assert_eq!(read(&mut tail, &log), records([next]));
}

#[test]
fn damage_is_missing_and_what_lies_behind_it_is_read() {
    // In the segment that is written.
    let (fs, mut oracle, mut log) = groups(3);
    rot(&fs, 1, START + 2 * BLOCK);
    assert_eq!(
        read(&mut tail(&fs, 0), &log),
        [Record(1), Record(2), Missing(3, 4), Record(5), Record(6)]
    );
    // Its last group: nothing is behind it yet.
    let mut at_end = tail(&fs, 0);
    rot(&fs, 1, START + 3 * BLOCK);
    assert_eq!(read(&mut at_end, &log), [Record(1), Record(2), Missing(3, 6)]);
    oracle.append(&mut log, &[8]).unwrap();
    oracle.sync(&mut log).unwrap();
    assert_eq!(read(&mut at_end, &log), records([7]));
    // In one that has a follower; one that is gone; a damaged group without records.
    let (fs, _, mut log) = rotating(9);
    log.witness(Timestamp(0)).unwrap();
    let whole = read(&mut tail(&fs, 0), &log);
    assert_eq!(whole, records(1..=9));
    rot(&fs, 1, START);
    assert_eq!(read(&mut tail(&fs, 0), &log), whole, "an empty start says nothing");
    fs.remove_now(&wal_file(2)).unwrap();
    let got = read(&mut tail(&fs, 0), &log);
    let gaps: Vec<&Got> = got.iter().filter(|got| matches!(got, Missing(..))).collect();
    assert_eq!(gaps.len(), 1, "{got:?}");
    let mut lsns = Vec::new();
    for got in &got {
        match got {
            Record(lsn) => lsns.push(*lsn),
            Missing(first, last) => lsns.extend(*first..=*last),
        }
    }
    assert_eq!(lsns, (1..=9).collect::<Vec<_>>(), "{got:?}");
}

#[test]
fn a_log_that_vanished_is_missing_and_no_hang() {
    let (fs, _, log) = groups(2);
    let mut tail = tail(&fs, 1);
    fs.remove_now(&wal_file(1)).unwrap();
    assert_eq!(read(&mut tail, &log), [Missing(2, 4)]);
    assert_eq!(tail.vouched().unwrap(), Lsn(0));
}

#[test]
fn a_segment_of_another_store_is_not_followed() {
    let (fs, _, log) = groups(2);
    let mut other = Tail::new(Arc::new(fs.clone()), DIR, Some(StoreId(8)), Lsn(0));
    assert_eq!(read(&mut other, &log), [Missing(1, 4)]);
    let mut any = Tail::new(Arc::new(fs), DIR, None, Lsn(0));
    assert_eq!(read(&mut any, &log), records(1..=4));
}

#[test]
fn of_the_segment_before_one_that_follows_no_group_nothing_is_read() {
    for (end, before) in [(START + 2 * BLOCK, records(1..=2)), (0, vec![Missing(1, 2)])] {
        let made = Made::new();
        let join = made.segment((1, 1), nowhere(0), &[start(1, 0, 0), data(1, 2, 0)])[1];
        made.segment((2, 2), Join { end, ..join }, &[start(103, 0, 2), data(103, 1, 2)]);
        let expected = [before, records([103])].concat();
        assert_eq!(read_up_to(&mut tail(&made.0, 0), Lsn(103), u64::MAX), expected);
    }
}

#[test]
fn a_failed_read_or_visit_is_told_and_tried_again() {
    let (fs, _, log) = groups(3);
    let mut tail = tail(&fs, 0);
    for kind in [CallKind::Open, CallKind::Read, CallKind::List] {
        fs.fail_when(kind, 1, Fault::Errno(5));
        let failed = tail.read(log.durable_lsn(), u64::MAX, &mut |_| Ok(()));
        assert!(matches!(failed, Err(Error::Io { .. })), "{kind:?}");
        fs.clear_faults();
    }
    let mut seen = 0;
    let refused = tail.read(log.durable_lsn(), u64::MAX, &mut |_| {
        seen += 1;
        if seen == 2 { Err(Error::Closed) } else { Ok(()) }
    });
    assert!(matches!(refused, Err(Error::Closed)));
    assert_eq!(read(&mut tail, &log), records(3..=6), "what was refused is given again");
}

/// Whoever reads beside the writer, told by the log alone, never gives what a power cut takes.
#[test]
fn what_the_log_vouches_for_is_there_after_a_power_cut() {
    let fs = disk();
    let mut oracle = Oracle::default();
    let mut log = oracle.begin(&fs).unwrap();
    let mut tail = tail(&fs, 0);
    let mut told = 0;
    for round in 0..60_u64 {
        oracle.append(&mut log, &[8, 600]).unwrap();
        if round % 3 == 0 {
            oracle.sync(&mut log).unwrap();
        }
        if round % 7 == 0 {
            log.witness(Timestamp(0)).unwrap();
        }
        let vouched = tail.vouched().unwrap();
        assert!(vouched <= log.durable_lsn());
        let got = read_up_to(&mut tail, vouched, u64::MAX);
        assert!(got.iter().all(|got| matches!(got, Record(_))), "{got:?}");
        told += got.len();
        let mut after = Tail::new(Arc::new(fs.if_crashed(CrashMode::Nothing)), DIR, None, Lsn(0));
        let durable = log.durable_lsn();
        assert_eq!(read_up_to(&mut after, durable, u64::MAX), records(1..=durable.0));
    }
    assert!(told > 80, "{told}");
}
