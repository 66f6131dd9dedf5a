//! What the log counts, asks for and finds, to the byte; and what a reader does about files that
//! vanish beside it.

use std::io::ErrorKind;

use super::oracle::{DIR, Oracle, ROOMY, STORE, disk, rot, wal_file, zero};
use crate::base::{Error, Lsn, Timestamp};
use crate::fs::sim::{CallKind, Fault, SimFs};
use crate::fs::{Fs, Kind};
use crate::wal::format::{HeaderBlock, SegmentHeader};
use crate::wal::reader::{Piece, index_segment};
use crate::wal::{
    self, Hints, Identity, Log, LogStats, Origin, PieceListing, Record, SegmentNumber,
    SegmentState, Verdict, Worth, prepare_segment,
};

const BLOCK: u64 = 4096;
const START: u64 = 8192;
const ROOM: u64 = 64 << 10;

/// A log of one segment of 64 KiB, whose groups take one block each behind the start.
fn roomy() -> (SimFs, Oracle, Log) {
    let (fs, mut oracle) = (disk(), Oracle::default());
    oracle.options = Some(ROOMY);
    let log = oracle.begin(&fs).unwrap();
    (fs, oracle, log)
}

#[test]
fn what_is_written_flushed_and_durable_is_counted_exactly() {
    let (_, mut oracle, mut log) = roomy();
    let mut stats = LogStats { flushes: 1, bytes: START + BLOCK, ..LogStats::default() };
    assert_eq!((log.stats(), log.unflushed_bytes()), (stats, 0));
    oracle.append(&mut log, &[8]).unwrap();
    oracle.append(&mut log, &[8, 8]).unwrap();
    stats = LogStats { groups: 2, records: 3, bytes: stats.bytes + 2 * BLOCK, ..stats };
    assert_eq!((log.stats(), log.unflushed_bytes()), (stats, 2 * BLOCK));
    assert_eq!((log.last_lsn(), log.durable_lsn()), (Lsn(3), Lsn::ZERO));
    oracle.sync(&mut log).unwrap();
    oracle.sync(&mut log).unwrap();
    stats.flushes += 1;
    assert_eq!((log.stats(), log.unflushed_bytes()), (stats, 0));
    assert_eq!(log.durable_lsn(), Lsn(3));
    assert!(log.witness(Timestamp(0)).unwrap() && !log.witness(Timestamp(0)).unwrap());
    stats = LogStats { flushes: stats.flushes + 1, bytes: stats.bytes + BLOCK, ..stats };
    assert_eq!(log.stats(), stats);
}

#[test]
fn the_next_segment_is_asked_for_at_half_and_taken_when_the_reserve_begins() {
    let (fs, mut oracle, mut log) = roomy();
    // Start at block 2, two blocks for an end and two that are kept back of 16: nine groups fit.
    for group in 1..=9 {
        let is_half_full = (2 + group) * BLOCK >= ROOM / 2;
        if is_half_full && group < 9 {
            let mut asked = log.begin_preparing().unwrap();
            let wanted = (asked.number, asked.size_bytes, asked.spare);
            assert_eq!((wanted, group), ((SegmentNumber(2), ROOM, None), 6), "at half, and once");
            assert_eq!(log.begin_preparing(), None);
            let made = asked.prepare(&fs, DIR).unwrap();
            assert_eq!(log.size_bytes(), ROOM);
            log.install(Some(made)).unwrap();
            assert_eq!(log.size_bytes(), 2 * ROOM);
            for _ in 6..9 {
                oracle.append(&mut log, &[8]).unwrap();
            }
            break;
        }
        assert_eq!(log.begin_preparing(), None, "{group}");
        oracle.append(&mut log, &[8]).unwrap();
    }
    oracle.append(&mut log, &[8]).unwrap();
    assert_eq!((log.stats().groups, log.stats().rotations), (9, 0));
    oracle.append(&mut log, &[8]).unwrap();
    assert_eq!((log.stats().groups, log.stats().rotations), (10, 1));
    let sealed = START + BLOCK + 9 * BLOCK + START + BLOCK + BLOCK;
    assert_eq!(
        log.stats().bytes,
        sealed,
        "two segments with a start or group, nine groups, a seal"
    );
    let header = |number| {
        let bytes = fs.read_now(&wal_file(number)).unwrap();
        match SegmentHeader::decode(&bytes[..8192], SegmentNumber(number)) {
            HeaderBlock::Read { header, .. } => (header.next_lsn, header.ceiling),
            other => panic!("{other:?}"),
        }
    };
    let ceiling = |next: u64| Lsn(next + ROOM / 16 + 65_536);
    assert_eq!(header(1), (Lsn(1), ceiling(1)), "a record takes 16 bytes, and some are spared");
    assert_eq!(header(2), (Lsn(10), ceiling(10)));
    assert_eq!(log.size_bytes(), 2 * ROOM);
    assert_eq!(log.durable_lsn(), Lsn(10), "the first group of a segment is durable at once");
}

#[test]
fn a_log_that_was_given_up_says_why_and_takes_nothing() {
    let (_, _, mut log) = roomy();
    assert!(log.poison().is_none());
    log.give_up(Error::invalid("the first", "reason"));
    log.give_up(Error::invalid("another", "one"));
    assert!(log.poison().is_some_and(|why| why.to_string().contains("the first")));
    let refused = log.append(&[Record::new(1, Origin::Api, vec![1])], Timestamp(0));
    assert!(matches!(refused, Err(Error::Poisoned { .. })), "{refused:?}");
}

#[test]
fn a_record_is_empty_without_bytes_in_head_and_body() {
    let record = |head: &[u8], body: Option<&[u8]>| {
        Record::with_body(1, Origin::Api, head.to_vec(), body.map(Into::into))
    };
    assert!(record(b"", None).is_empty() && record(b"", Some(b"")).is_empty());
    assert!(!record(b"a", None).is_empty() && !record(b"", Some(b"a")).is_empty());
}

#[test]
fn a_damaged_region_is_found_with_exactly_its_blocks() {
    let (fs, mut oracle, mut log) = roomy();
    for _ in 0..4 {
        oracle.append(&mut log, &[8]).unwrap();
    }
    oracle.close(log).unwrap();
    rot(&fs, 1, START + 2 * BLOCK);
    rot(&fs, 1, START + 3 * BLOCK);
    let found = wal::scan(&fs, DIR, &oracle.hints()).unwrap();
    let places: Vec<_> = found.findings.iter().map(|one| (one.offset, one.length)).collect();
    assert_eq!(places, [(START + 2 * BLOCK, 2 * BLOCK)]);
    let listed = wal::list(&fs, DIR, &oracle.hints()).unwrap();
    let kinds = listed[0].pieces.iter().map(|piece| match piece {
        PieceListing::Group(group) => (group.offset, true),
        PieceListing::Damage(damage) => (damage.offset, false),
    });
    let at = |block| START + block * BLOCK;
    let expected = [(at(0), true), (at(1), true), (at(2), false), (at(4), true), (at(5), true)];
    assert_eq!(kinds.collect::<Vec<_>>(), expected, "once each, by offset");
    assert_eq!(found.findings[0].missing, Some((Lsn(2), Lsn(3))));
    // A file that is longer than it was made, by less than a block.
    let mut bytes = fs.read_now(&wal_file(1)).unwrap();
    bytes.extend([7; 100]);
    fs.write_now(&wal_file(1), &bytes).unwrap();
    let found = wal::scan(&fs, DIR, &oracle.hints()).unwrap();
    assert_eq!(found.size_bytes, ROOM + 100);
    let listed = wal::list(&fs, DIR, &oracle.hints()).unwrap();
    assert_eq!((listed[0].bytes, listed[0].used_bytes), (ROOM + 100, ROOM + 100));
}

#[test]
fn damage_that_is_void_is_listed_where_it_is_and_zeroes_are_not() {
    let (fs, mut oracle, mut log) = roomy();
    for _ in 0..3 {
        oracle.append(&mut log, &[8]).unwrap();
    }
    oracle.sync(&mut log).unwrap();
    // No group vouches for another: all are restated, and void in their old place.
    oracle.begin(&fs).unwrap();
    rot(&fs, 1, START + 2 * BLOCK);
    let listed = wal::list(&fs, DIR, &oracle.hints()).unwrap();
    let damage: Vec<_> = listed[0]
        .pieces
        .iter()
        .filter_map(|piece| match piece {
            PieceListing::Damage(damage) => Some((damage.offset, damage.bytes, damage.verdict)),
            PieceListing::Group(_) => None,
        })
        .collect();
    assert_eq!(damage, [(START + 2 * BLOCK, BLOCK, Worth::Void)]);
    assert_eq!((listed[0].verdict, listed[0].used_bytes), (Worth::Void, START + 4 * BLOCK));
    assert_eq!(listed[0].pieces.len(), 4, "three groups, one damage: {:#?}", listed[0].pieces);
    // Damage is listed before what lies behind it.
    rot(&fs, 1, START + BLOCK);
    let listed = wal::list(&fs, DIR, &oracle.hints()).unwrap();
    let offsets = listed[0].pieces.iter().map(|piece| match piece {
        PieceListing::Group(group) => group.offset,
        PieceListing::Damage(damage) => damage.offset,
    });
    assert!(offsets.is_sorted(), "{:#?}", listed[0].pieces);
}

#[test]
fn a_segment_with_a_header_alone_is_open_and_uses_its_header() {
    let (fs, oracle, _) = roomy();
    zero(&fs, 1, 8192, 4096);
    let listed = wal::list(&fs, DIR, &oracle.hints()).unwrap();
    assert_eq!((listed[0].state, listed[0].used_bytes), (SegmentState::Open, START));
    prepare_segment(&fs, DIR, SegmentNumber(2), ROOM).unwrap();
    let listed = wal::list(&fs, DIR, &oracle.hints()).unwrap();
    assert_eq!((listed[1].state, listed[1].used_bytes), (SegmentState::Prepared, 0));
}

#[test]
fn a_segment_that_vanishes_beside_a_reader_is_passed_over_and_any_other_failure_is_told() {
    let (fs, mut oracle, mut log) = roomy();
    oracle.append(&mut log, &[8]).unwrap();
    oracle.sync(&mut log).unwrap();
    // Under another number the file is opened a third time, to be listed.
    let other = fs.read_now(&wal_file(1)).unwrap();
    fs.write_now(&wal_file(7), &other).unwrap();
    for nth in 1..=3 {
        let fs = fs.if_killed();
        fs.fail_path(&wal_file(7), CallKind::Open, nth, Fault::Error(ErrorKind::NotFound));
        let listed = wal::list(&fs, DIR, &oracle.hints()).unwrap();
        assert_eq!(fs.faults_fired(), 1, "open {nth}");
        let numbers: Vec<u64> = listed.iter().map(|one| one.number).collect();
        assert_eq!(numbers, if nth == 1 { vec![1, 7] } else { vec![1] }, "open {nth}");
        fs.fail_path(&wal_file(7), CallKind::Open, nth, Fault::Error(ErrorKind::PermissionDenied));
        let refused = wal::list(&fs, DIR, &oracle.hints());
        assert!(matches!(refused, Err(Error::Io { .. })), "open {nth}: {refused:?}");
    }
}

#[test]
fn only_files_with_the_number_of_a_segment_are_read_as_segments() {
    let (fs, oracle, _) = roomy();
    fs.plant_now(&wal_file(9), Kind::Directory).unwrap();
    let bytes = fs.read_now(&wal_file(1)).unwrap();
    for number in [0, 1 << 62] {
        fs.write_now(&wal_file(number), &bytes).unwrap();
    }
    let found = wal::scan(&fs, DIR, &oracle.hints()).unwrap();
    assert_eq!((found.verdict(), found.other_files.len()), (Verdict::Clean, 3));
    assert_eq!(found.next_number, SegmentNumber(2));
}

#[test]
fn a_segment_under_another_number_is_told_and_kept() {
    let (fs, oracle, _) = roomy();
    fs.write_now(&wal_file(77), &fs.read_now(&wal_file(1)).unwrap()).unwrap();
    let found = wal::scan(&fs, DIR, &oracle.hints()).unwrap();
    let told: Vec<_> = found.findings.iter().map(|one| one.why.as_str()).collect();
    assert_eq!(told, ["the segment bears another segment's name"]);
    let kept: Vec<_> = found.leftovers.iter().map(|one| (&*one.file, one.is_worthless)).collect();
    assert_eq!(kept, [(&*SegmentNumber(77).file_name(), false)]);
    assert!(found.end_in_doubt, "it may have been the newest");
}

/// A window of the reader is 1 MiB; a segment without a header is read twice.
#[test]
fn a_large_segment_that_lost_its_header_is_read_from_its_beginning_again() {
    let (fs, mut oracle) = (disk(), Oracle::default());
    oracle.options = Some(wal::LogOptions {
        segment_bytes_min: 4 << 20,
        segment_bytes_max: 4 << 20,
        direct: true,
        reuse_group_bytes: 0,
    });
    let mut log = oracle.begin(&fs).unwrap();
    for size in [700_000, 8, 900_000, 8, 1_200_000] {
        oracle.append(&mut log, &[size, 8]).unwrap();
    }
    oracle.sync(&mut log).unwrap();
    let identities = vec![wal::Identity { store: super::oracle::STORE, incarnation: 1, nonce: 1 }];
    zero(&fs, 1, 0, 8192);
    let hints = Hints { identities, ..oracle.hints() };
    let found = wal::scan(&fs, DIR, &hints).unwrap();
    assert_eq!(super::oracle::read(&fs, &found, Lsn::ZERO).unwrap().len(), 10);
    assert_eq!(found.findings.len(), 1, "{:?}", found.findings);
}

#[test]
fn a_cut_removes_what_is_needed_for_nothing_above_it_and_says_how_much() {
    let (fs, mut oracle) = (disk(), Oracle::default());
    oracle.options = Some(wal::LogOptions { reuse_group_bytes: u64::MAX, ..super::oracle::SMALL });
    let mut log = oracle.begin(&fs).unwrap();
    assert!(!log.can_remove_below(Lsn(9)), "the active segment stays");
    for _ in 0..4 {
        oracle.append(&mut log, &[12_000]).unwrap();
    }
    let (numbers, before) = (fs.names().len(), log.size_bytes());
    let last = log.last_lsn();
    assert!(log.can_remove_below(Lsn(1)) && log.can_remove_below(last), "segment 1 holds LSN 1");
    let first = log.remove_below(Lsn(1)).unwrap();
    assert_eq!(before - log.size_bytes(), first);
    fs.set_traced(true);
    let calls = usize::try_from(fs.calls()).unwrap();
    assert!(!log.can_remove_below(Lsn(1)), "again nothing");
    assert_eq!(log.remove_below(Lsn(1)).unwrap(), 0);
    assert_eq!(fs.calls(), calls as u64, "where nothing goes, nothing is flushed");
    let rest = log.remove_below(last).unwrap();
    assert_eq!(before - log.size_bytes(), first + rest);
    assert!(first > 0 && rest > first && fs.names().len() < numbers - 1);
    let cut = fs.crash_with(crate::fs::sim::CrashMode::Nothing);
    assert_eq!(cut.names(), fs.names(), "removed names do not come back");
}

#[test]
fn a_record_tells_whether_it_continues_and_whether_it_may_be_skipped() {
    let flags = |flags| wal::RecordView {
        lsn: Lsn(1),
        time: Timestamp(0),
        kind: 1,
        flags,
        origin: 1,
        payload: &[],
    };
    let told = |view: wal::RecordView<'_>| (view.continues(), view.may_be_skipped());
    assert_eq!(told(flags(0)), (false, true));
    assert_eq!(told(flags(1)), (false, false));
    assert_eq!(told(flags(2)), (true, true));
    assert_eq!(told(flags(3)), (true, false));
}

#[test]
fn a_number_that_is_taken_is_passed_over_and_a_hundred_of_them_are_an_error() {
    for (taken, is_made) in [(99, true), (100, false)] {
        let (fs, mut oracle) = (disk(), Oracle::default());
        let mut log = oracle.begin(&fs).unwrap();
        for number in 2..2 + taken {
            fs.write_now(&wal_file(number), b"mine").unwrap();
        }
        let made = log.append(&[Record::new(1, Origin::Api, vec![0; 12_000])], Timestamp(0));
        assert_eq!(made.is_ok(), is_made, "{made:?}");
        let other = disk();
        let mut log = Oracle::default().begin(&other).unwrap();
        other.fail_when(CallKind::Create, 1, Fault::Error(ErrorKind::PermissionDenied));
        log.append(&[Record::new(1, Origin::Api, vec![0; 12_000])], Timestamp(0)).unwrap_err();
        assert_eq!(other.names().len(), 1, "only a taken name is tried again");
    }
}

#[test]
fn a_prepared_segment_is_used_if_it_is_large_enough_and_otherwise_removed() {
    for (bytes, is_used) in [(8, true), (200_000, false)] {
        let (fs, mut oracle, mut log) = roomy();
        let number = loop {
            match log.begin_preparing() {
                Some(mut wanted) => {
                    log.install(Some(wanted.prepare(&fs, DIR).unwrap())).unwrap();
                    break wanted.number;
                }
                None => oracle.append(&mut log, &[8]).unwrap(),
            }
        };
        assert_eq!(number, SegmentNumber(2));
        while log.stats().rotations == 0 {
            oracle.append(&mut log, &[bytes]).unwrap();
        }
        let names = |fs: &SimFs| fs.names().iter().filter(|name| name.starts_with(DIR)).count();
        assert_eq!(names(&fs), 2, "{:?}", fs.names());
        assert_eq!(fs.stat(&wal_file(2)).unwrap().is_some(), is_used, "{bytes}");
        // One that comes when the log has gone on without it is removed; a later one is kept.
        if !is_used {
            let late = prepare_segment(&fs, DIR, SegmentNumber(2), ROOM).unwrap();
            log.install(Some(late)).unwrap();
            assert_eq!(names(&fs), 2, "{:?}", fs.names());
        }
        let flushes = log.stats().flushes;
        log.install(None).unwrap();
        let sealed = u64::from(is_used);
        assert_eq!(
            log.stats().flushes,
            flushes + sealed,
            "the seal is flushed by the next install"
        );
        log.install(None).unwrap();
        assert_eq!(log.stats().flushes, flushes + sealed, "and once");
        oracle.close(log).unwrap();
        assert_eq!(names(&fs), 2, "{:?}", fs.names());
    }
}

#[test]
fn a_segment_is_made_with_its_size_to_the_byte() {
    let fs = disk();
    for (number, size_bytes) in [(1, 3 << 19), (2, 1 << 20), (3, 12_288)] {
        prepare_segment(&fs, DIR, SegmentNumber(number), size_bytes).unwrap();
        let made = fs.read_now(&wal_file(number)).unwrap();
        assert_eq!(made.len() as u64, size_bytes);
        assert!(made.iter().all(|byte| *byte == 0));
    }
}

#[test]
fn numbers_that_are_nearly_used_up_are_refused_and_not_given_out() {
    for (given_out, is_taken) in [((1 << 61) - 2, true), ((1 << 61) - 1, false)] {
        let (fs, hints) = (disk(), Hints { given_out: Lsn(given_out), ..Hints::default() });
        // A log that was not stopped cleanly, so that what was given out counts.
        Oracle::default().begin(&fs).unwrap();
        let found = wal::scan(&fs, DIR, &hints).unwrap();
        let identity = Identity { store: STORE, incarnation: 2, nonce: 2 };
        let shared = std::sync::Arc::new(fs.clone());
        let begun = Log::begin(shared, DIR, &found, identity, ROOMY, Timestamp(0));
        assert_eq!(begun.is_ok(), is_taken, "{begun:?}");
    }
}

#[test]
fn void_damage_is_nothing_against_a_segment_of_which_something_stands() {
    let (fs, mut oracle, mut log) = roomy();
    oracle.append(&mut log, &[8]).unwrap();
    log.witness(Timestamp(0)).unwrap();
    oracle.append(&mut log, &[8]).unwrap();
    oracle.sync(&mut log).unwrap();
    oracle.begin(&fs).unwrap();
    rot(&fs, 1, START + 3 * BLOCK);
    let listed = wal::list(&fs, DIR, &oracle.hints()).unwrap();
    let last = listed[0].pieces.last();
    assert!(
        matches!(last, Some(PieceListing::Damage(one)) if one.verdict == Worth::Void),
        "{last:?}"
    );
    assert_eq!(listed[0].verdict, Worth::Stands);
}

#[test]
fn every_byte_behind_the_header_is_in_one_piece_and_no_piece_is_empty() {
    let (fs, mut oracle, mut log) = roomy();
    oracle.append(&mut log, &[8]).unwrap();
    oracle.append(&mut log, &[8]).unwrap();
    rot(&fs, 1, START + BLOCK);
    let bytes = fs.read_now(&wal_file(1)).unwrap();
    for length in
        [START, START + 1, START + 2 * BLOCK, START + 3 * BLOCK, START + 3 * BLOCK + 9, ROOM]
    {
        fs.write_now(&wal_file(1), &bytes[..usize::try_from(length).unwrap()]).unwrap();
        let index = index_segment(&fs, &wal_file(1), SegmentNumber(1), &[]).unwrap();
        let end = index.pieces.iter().fold(START, |at, piece| {
            let (offset, end) = match piece {
                Piece::Group(group) => (group.offset, group.end),
                Piece::Gap(gap) => (gap.offset, gap.end),
            };
            assert!(offset == at && end > at, "{length}: {:#?}", index.pieces);
            end
        });
        assert_eq!(end, length);
    }
}
