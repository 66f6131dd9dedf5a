//! Reading on in logs that were made up group by group: what does not follow is never given, what is
//! void neither, and what is not to be had is missing to the LSN.

use std::sync::Arc;

use super::guarantee_tests::{BLOCK, START, groups};
use super::made::{Made, data, nowhere, start};
use super::oracle::{rot, wal_file};
use super::tail_tests::Got::{self, Missing, Record};
use super::tail_tests::{read_up_to, records, tail};
use crate::base::Lsn;
use crate::fs::sim::SimFs;
use crate::wal::reader::{Piece, SegmentReader, index_segment};
use crate::wal::{Origin, SegmentNumber, Tail, Tailed};

fn read(fs: &SimFs, durable: u64) -> Vec<Got> {
    read_up_to(&mut tail(fs, 0), Lsn(durable), u64::MAX)
}

#[test]
fn a_group_that_does_not_follow_is_missing_and_not_given() {
    let made = Made::new();
    made.segment((1, 1), nowhere(0), &[start(1, 0, 0), data(1, 2, 0), data(7, 1, 0)]);
    assert_eq!(read(&made.0, 7), [Record(1), Record(2), Missing(3, 7)]);
    // The first of a segment that restates nothing.
    let made = Made::new();
    made.segment_with((1, 1), nowhere(0), &[data(5, 1, 0)], |header| header.next_lsn = Lsn(1));
    assert_eq!(read(&made.0, 5), [Missing(1, 5)]);
    // Behind the start of one that does.
    let made = Made::new();
    made.segment((1, 1), nowhere(0), &[start(1, 2, 0), data(102, 1, 2), data(110, 1, 2)]);
    assert_eq!(read(&made.0, 110), [Record(1), Record(2), Record(102), Missing(103, 110)]);
}

#[test]
fn what_is_restated_keeps_its_lsns_and_none_is_missed_before_and_behind_it() {
    let made = Made::new();
    made.segment((1, 1), nowhere(0), &[start(5, 2, 0), data(106, 1, 6), data(107, 1, 6)]);
    assert_eq!(read(&made.0, 107), records([5, 6, 106, 107]));
}

#[test]
fn behind_a_start_that_is_damaged_exactly_what_it_restated_is_missing() {
    let made = Made::new();
    made.segment((1, 1), nowhere(0), &[start(1, 2, 0), data(102, 1, 2), data(103, 1, 2)]);
    rot(&made.0, 1, START);
    assert_eq!(read(&made.0, 103), [Missing(1, 2), Record(102), Record(103)]);
    rot(&made.0, 1, START + BLOCK);
    assert_eq!(read(&made.0, 103), [Missing(1, 102), Record(103)]);
}

#[test]
fn a_void_group_just_behind_the_end_of_a_segment_is_not_given() {
    let made = Made::new();
    let groups = [start(1, 0, 0), data(1, 1, 0), data(2, 1, 1), data(3, 1, 2)];
    let join = made.segment((1, 1), nowhere(0), &groups)[2];
    made.segment((2, 2), join, &[start(103, 0, 2), data(103, 1, 2)]);
    rot(&made.0, 1, START + 2 * BLOCK);
    assert_eq!(read(&made.0, 103), [Record(1), Missing(2, 2), Record(103)]);
}

#[test]
fn what_is_not_new_costs_no_call_and_no_visit() {
    let (fs, _, log) = groups(3);
    let mut all = tail(&fs, 0);
    assert_eq!(read_up_to(&mut all, log.durable_lsn(), u64::MAX), records(1..=6));
    assert_eq!(all.passed(), Lsn(6));
    assert!(format!("{all:?}").contains("passed: Lsn(6)"), "{all:?}");
    let calls = fs.calls();
    assert_eq!(read_up_to(&mut all, log.durable_lsn(), u64::MAX), []);
    assert_eq!(read_up_to(&mut all, Lsn(99), 0), []);
    assert_eq!(fs.calls(), calls);
    for after in 0..=6 {
        let mut visits = 0;
        let mut visit = |tailed: Tailed<'_>| {
            assert!(matches!(tailed, Tailed::Group([_, ..])), "{tailed:?}");
            visits += 1;
            Ok(())
        };
        tail(&fs, after).read(log.durable_lsn(), u64::MAX, &mut visit).unwrap();
        assert_eq!(visits, (6 - after).div_ceil(2), "behind {after}");
    }
}

#[test]
fn a_read_takes_a_group_more_only_if_it_lacks_a_byte() {
    let (fs, _, log) = groups(3);
    let index = index_segment(&fs, &wal_file(1), SegmentNumber(1), &[]).unwrap();
    let first = index.groups().find(|group| group.has_records()).unwrap();
    for (more, last) in [(0, 2), (1, 4)] {
        let bytes_max = first.header.length + more;
        let got = read_up_to(&mut tail(&fs, 0), log.durable_lsn(), bytes_max);
        assert_eq!(got, records(1..=last));
    }
}

#[test]
fn in_a_place_without_a_log_all_is_missing() {
    let mut nowhere = Tail::new(Arc::new(SimFs::new()), "nowhere", None, Lsn(0));
    assert_eq!(read_up_to(&mut nowhere, Lsn(2), u64::MAX), [Missing(1, 2)]);
}

/// It bounds a search through bytes that were made to cost much.
#[test]
fn a_reader_counts_the_bytes_that_it_verified() {
    let (fs, ..) = groups(1);
    let index = index_segment(&fs, &wal_file(1), SegmentNumber(1), &[]).unwrap();
    let mut reader = SegmentReader::open(&fs, &wal_file(1)).unwrap();
    assert_eq!(reader.verified_bytes(), 0);
    for piece in &index.pieces {
        let Piece::Group(group) = piece else { continue };
        let before = reader.verified_bytes();
        reader.group(group.offset, SegmentNumber(1), &index.identity.unwrap()).unwrap().unwrap();
        assert!(reader.verified_bytes() - before >= group.header.length);
    }
}

#[test]
fn every_origin_is_known_by_its_number_and_no_other_number_is_one() {
    use Origin::{Api, Edit, Engine, Migration, Restore};
    let known: Vec<_> = (0..=u8::MAX).filter_map(Origin::from_number).collect();
    assert_eq!(known, [Api, Engine, Restore, Migration, Edit]);
    let numbers: Vec<u8> = known.into_iter().map(|origin| origin as u8).collect();
    assert_eq!(numbers, [1, 2, 3, 4, 5]);
}
