//! One test per rule of DESIGN.md, "Which bytes stand", each with the bytes that would break a log
//! without it. In a roomy segment the start lies at 8192, and each small group takes one block.

use super::oracle::{
    DIR, Oracle, QUARANTINE, ROOMY, SMALL, STORE, disk, read, rot, wal_file, zero,
};
use crate::base::{Lsn, StoreId, Timestamp};
use crate::fs::Fs;
use crate::fs::sim::{CallKind, CrashMode, Fault, SimFs};
use crate::wal::format::{HeaderBlock, SegmentHeader, SegmentNumber};
use crate::wal::{self, Hints, Identity, Log, Scan, Verdict};

pub(super) const BLOCK: u64 = 4096;
pub(super) const START: u64 = 8192;

fn roomy() -> (SimFs, Oracle) {
    let mut oracle = Oracle::default();
    oracle.options = Some(ROOMY);
    (disk(), oracle)
}

/// A log of one segment with a group at each block behind the start, each of two records, synced.
pub(super) fn groups(count: usize) -> (SimFs, Oracle, Log) {
    let (fs, mut oracle) = roomy();
    let mut log = oracle.begin(&fs).unwrap();
    for _ in 0..count {
        oracle.append(&mut log, &[8, 8]).unwrap();
        oracle.sync(&mut log).unwrap();
    }
    (fs, oracle, log)
}

pub(super) fn look(fs: &SimFs, hints: &Hints) -> Scan {
    wal::scan(fs, DIR, hints).unwrap()
}

pub(super) fn lsns(fs: &SimFs, scan: &Scan) -> Vec<u64> {
    read(fs, scan, Lsn::ZERO).unwrap().into_iter().map(|(lsn, _)| lsn.0).collect()
}

pub(super) fn missing(scan: &Scan) -> Vec<(u64, u64)> {
    let missing = scan.findings.iter().filter_map(|finding| finding.missing);
    missing.map(|(first, last)| (first.0, last.0)).collect()
}

fn header_of(fs: &SimFs, number: u64) -> SegmentHeader {
    let bytes = fs.read_now(&wal_file(number)).unwrap();
    match SegmentHeader::decode(&bytes[..8192], SegmentNumber(number)) {
        HeaderBlock::Read { header, .. } => header,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_acknowledged_after_a_failed_rotation_and_a_reopening_survives_a_power_cut() {
    let mut oracle = Oracle::default();
    let fs = disk();
    let mut log = oracle.begin(&fs).unwrap();
    oracle.append(&mut log, &[8]).unwrap();
    oracle.sync(&mut log).unwrap();
    // The third flush of a rotation is that of the new segment's header and first group, behind those of
    // its zeroes and of the trial of direct writes.
    fs.fail_when(CallKind::Sync, 3, Fault::Errno(5));
    oracle.append(&mut log, &[8]).unwrap_err();
    let fs = fs.kill();
    let mut log = oracle.begin(&fs).unwrap();
    assert_eq!(header_of(&fs, 3).previous.0, 1, "a segment that may be lost is never named");
    oracle.append(&mut log, &[8]).unwrap();
    oracle.sync(&mut log).unwrap();
    let cut = fs.crash_with(CrashMode::Nothing);
    oracle.scan(&cut).unwrap();
}

#[test]
fn a_damaged_group_without_records_costs_no_record() {
    let (fs, mut oracle, mut log) = groups(1);
    log.witness(Timestamp(0)).unwrap();
    oracle.append(&mut log, &[8]).unwrap();
    oracle.sync(&mut log).unwrap();
    rot(&fs, 1, START + 2 * BLOCK);
    let found = look(&fs, &Hints::default());
    assert_eq!((found.verdict(), lsns(&fs, &found)), (Verdict::Corrupt, vec![1, 2, 3]));
    assert_eq!(missing(&found), []);
}

#[test]
fn a_damaged_empty_start_costs_no_record_and_unused_lsns_are_not_missed() {
    let (fs, mut oracle, mut log) = groups(1);
    log.witness(Timestamp(0)).unwrap();
    let mut log = oracle.begin(&fs).unwrap();
    oracle.append(&mut log, &[8]).unwrap();
    oracle.sync(&mut log).unwrap();
    let first = header_of(&fs, 2).next_lsn.0;
    assert!(first > 60_000, "an unclean stop leaps over the ceiling");
    rot(&fs, 2, START);
    let found = look(&fs, &Hints::default());
    assert_eq!((found.verdict(), lsns(&fs, &found)), (Verdict::Corrupt, vec![1, 2, first]));
    assert_eq!(missing(&found), []);
}

#[test]
fn of_a_damaged_start_exactly_the_restated_records_are_missing() {
    let (fs, mut oracle, _) = groups(1);
    let mut log = oracle.begin(&fs).unwrap();
    oracle.append(&mut log, &[8]).unwrap();
    oracle.sync(&mut log).unwrap();
    rot(&fs, 2, START);
    let found = look(&fs, &Hints::default());
    assert_eq!(missing(&found), [(1, 2)]);
    assert_eq!(lsns(&fs, &found), [header_of(&fs, 2).next_lsn.0]);
}

#[test]
fn a_restated_record_keeps_its_lsn_also_behind_unused_ones() {
    let (fs, mut oracle) = roomy();
    oracle.begin(&fs).unwrap();
    let mut log = oracle.begin(&fs).unwrap();
    let lsn = log.next_lsn();
    oracle.append(&mut log, &[8]).unwrap();
    oracle.sync(&mut log).unwrap();
    for _ in 0..3 {
        oracle.begin(&fs).unwrap();
        let found = look(&fs, &Hints::default());
        assert_eq!((found.verdict(), lsns(&fs, &found)), (Verdict::Clean, vec![lsn.0]));
    }
}

#[test]
fn the_newest_segment_cannot_vanish_unseen() {
    // Of a new incarnation: the caller knows that it began.
    let (fs, mut oracle, _) = groups(1);
    oracle.begin(&fs).unwrap();
    fs.remove_now(&wal_file(2)).unwrap();
    assert_eq!(look(&fs, &oracle.hints()).verdict(), Verdict::Corrupt);
    assert!(look(&fs, &oracle.hints()).next_lsn.0 > 1 << 31, "LSNs in it may have been told");
    // After a rotation: the seal says so, and what is known to be missing.
    let mut oracle = Oracle::default();
    let fs = disk();
    let mut log = oracle.begin(&fs).unwrap();
    oracle.append(&mut log, &[8]).unwrap();
    oracle.append(&mut log, &[8]).unwrap();
    let whole = fs.read_now(&wal_file(2)).unwrap();
    for lost in [None, Some(&whole[..0]), Some(&whole[..8192]), Some(&whole[..24_000])] {
        match lost {
            None => fs.remove_now(&wal_file(2)).unwrap(),
            Some(rest) => fs.write_now(&wal_file(2), rest).unwrap(),
        }
        let found = look(&fs, &Hints::default());
        assert_eq!(found.verdict(), Verdict::Corrupt, "{:?}", lost.map(<[u8]>::len));
        let stands = lsns(&fs, &found) == [1, 2];
        assert!(stands || missing(&found) == [(2, 2)], "{found:?}");
    }
    fs.write_now(&wal_file(2), &whole[..0]).unwrap();
    assert!(look(&fs, &Hints::default()).leftovers.iter().all(|left| !left.is_worthless));
}

#[test]
fn a_seal_is_durable_once_the_next_segment_is_asked_for_or_the_log_is_closed() {
    let endings: [fn(Log); 2] =
        [|mut log| log.install(None).unwrap(), |log| log.close(Timestamp(0)).unwrap()];
    for ending in endings {
        let mut oracle = Oracle::default();
        let fs = disk();
        let mut log = oracle.begin(&fs).unwrap();
        oracle.append(&mut log, &[8]).unwrap();
        oracle.append(&mut log, &[8]).unwrap();
        ending(log);
        let left = fs.crash_with(CrashMode::Nothing);
        left.remove_now(&wal_file(2)).unwrap();
        assert_eq!(look(&left, &Hints::default()).verdict(), Verdict::Corrupt, "a seal names it");
    }
}

#[test]
fn what_is_cut_has_a_durable_name_in_quarantine_before_the_log_begins() {
    let (fs, oracle, _) = groups(2);
    rot(&fs, 1, START + 2 * BLOCK);
    let scan = look(&fs, &oracle.hints());
    let kept = wal::set_aside(&fs, DIR, &scan, QUARANTINE).unwrap().kept;
    let left = fs.crash_with(CrashMode::Nothing);
    assert!(!kept.is_empty() && kept.iter().all(|name| left.read_now(name).is_some()));
}

#[test]
fn a_lost_header_costs_no_record() {
    let (fs, oracle, _) = groups(3);
    zero(&fs, 1, 0, 512);
    let found = look(&fs, &Hints::default());
    assert_eq!((found.verdict(), lsns(&fs, &found).len()), (Verdict::Corrupt, 6));
    zero(&fs, 1, 4096, 512);
    let identity = Identity { store: STORE, incarnation: 1, nonce: 1 };
    let found = look(&fs, &Hints { identities: vec![identity], ..oracle.hints() });
    assert_eq!((found.verdict(), lsns(&fs, &found)), (Verdict::Corrupt, vec![1, 2, 3, 4, 5, 6]));
    // Of a rotated one, that its seal names, also if it has only its first group.
    let mut oracle = Oracle::default();
    let fs = disk();
    let mut log = oracle.begin(&fs).unwrap();
    oracle.append(&mut log, &[8]).unwrap();
    oracle.append(&mut log, &[8]).unwrap();
    zero(&fs, 2, 0, 8192);
    let found = look(&fs, &Hints::default());
    assert_eq!((found.verdict(), lsns(&fs, &found)), (Verdict::Corrupt, vec![1, 2]));
}

#[test]
fn a_first_write_that_kept_only_one_header_copy_is_torn_not_corrupt() {
    let (fs, _) = roomy();
    Oracle::default().begin(&fs).unwrap();
    zero(&fs, 1, 4096, 512);
    assert_eq!(look(&fs, &Hints::default()).verdict(), Verdict::Torn);
}

/// A log over four segments of one incarnation, one record in each.
fn four_segments() -> (SimFs, Oracle, Log) {
    let mut oracle = Oracle::default();
    let fs = disk();
    let mut log = oracle.begin(&fs).unwrap();
    for _ in 0..4 {
        oracle.append(&mut log, &[12_000]).unwrap();
    }
    (fs, oracle, log)
}

#[test]
fn a_log_that_was_cut_is_clean_whatever_unlinks_a_crash_took_back() {
    let (fs, mut oracle, mut log) = four_segments();
    let whole = fs.read_now(&wal_file(1)).unwrap();
    let count = fs.names().len();
    oracle.base = Lsn(3);
    log.remove_below(Lsn(3)).unwrap();
    assert!(fs.names().len() < count);
    let cut = oracle.scan(&fs).unwrap().0;
    assert_eq!((cut.verdict(), cut.leftovers.len()), (Verdict::Clean, 0));
    fs.write_now(&wal_file(1), &whole).unwrap();
    let found = oracle.scan(&fs).unwrap().0;
    assert_eq!(found.verdict(), Verdict::Clean);
    assert!(found.leftovers.iter().all(|leftover| leftover.is_worthless), "{found:?}");
    // Without a snapshot it is a hole.
    fs.remove_now(&wal_file(1)).unwrap();
    let found = look(&fs, &Hints::default());
    assert_eq!(found.verdict(), Verdict::Corrupt);
    assert_eq!(missing(&found), [(1, found.first_base.0)]);
}

#[test]
fn a_missing_segment_in_the_middle_takes_only_its_own_records() {
    let (fs, _, _) = four_segments();
    let last = fs.names().len() as u64;
    assert_eq!(lsns(&fs, &look(&fs, &Hints::default())), [1, 2, 3, 4]);
    for gone in 2..last {
        let fs = fs.kill();
        let own = look(&fs, &Hints::default());
        let own: Vec<u64> = own
            .standing
            .iter()
            .filter_map(|standing| match standing {
                crate::wal::scan::Standing::Group { segment, group } if segment.0 == gone => {
                    Some(group.last_lsn.0)
                }
                _ => None,
            })
            .collect();
        fs.remove_now(&wal_file(gone)).unwrap();
        let found = look(&fs, &Hints::default());
        assert_eq!(found.verdict(), Verdict::Corrupt);
        let rest: Vec<u64> = (1..=4).filter(|lsn| !own.contains(lsn)).collect();
        assert_eq!(lsns(&fs, &found), rest, "without segment {gone}");
        wal::clear_leftovers(&fs, DIR, &found, QUARANTINE).unwrap();
        let kept = gone == 2 || fs.read_now(&wal_file(2)).is_some();
        assert!(kept, "nothing older that has records is thrown away");
    }
}

#[test]
fn without_its_log_a_store_gives_no_lsn_out_again() {
    let hints = Hints { base: Lsn(500), begun: Some(3), ..Hints::default() };
    let found = look(&disk(), &hints);
    assert!(found.next_lsn.0 > 1 << 31, "{found:?}");
    assert_eq!(look(&disk(), &Hints::default()).next_lsn, Lsn(1), "a new store begins at 1");
}

#[test]
fn only_a_clean_stop_lets_lsns_go_on_without_a_leap() {
    let (fs, mut oracle, log) = groups(1);
    assert!(look(&fs, &oracle.hints()).next_lsn.0 > 60_000);
    oracle.close(log).unwrap();
    assert_eq!(look(&fs, &oracle.hints()).next_lsn, Lsn(3));
    assert!(look(&fs, &oracle.hints()).closed);
    let blind = look(&fs, &Hints::default());
    assert!(blind.next_lsn.0 > 60_000, "the mark alone proves nothing");
}

#[test]
fn a_snapshot_inside_a_group_leaves_the_group_whole() {
    let (fs, mut oracle, _) = groups(2);
    oracle.base = Lsn(3);
    oracle.begin(&fs).unwrap();
    let found = look(&fs, &Hints::default());
    assert_eq!((found.verdict(), lsns(&fs, &found)), (Verdict::Clean, vec![1, 2, 3, 4]));
}

#[test]
fn the_header_of_a_torn_rotation_vouches_for_what_came_before() {
    let mut oracle = Oracle::default();
    let fs = disk();
    let mut log = oracle.begin(&fs).unwrap();
    oracle.append(&mut log, &[8]).unwrap();
    oracle.append(&mut log, &[8]).unwrap();
    // The power went with the first flush of segment 2, before a seal; then the last group rotted.
    zero(&fs, 2, 8192, 4096);
    zero(&fs, 1, 16_384, 4096);
    assert_eq!(look(&fs, &Hints::default()).verdict(), Verdict::Torn);
    rot(&fs, 1, START + BLOCK);
    let found = look(&fs, &Hints::default());
    assert_eq!((found.verdict(), missing(&found)), (Verdict::Corrupt, vec![(1, 1)]));
}

#[test]
fn behind_a_hole_a_group_that_nothing_vouches_for_does_not_stand() {
    let (fs, mut oracle, mut log) = groups(2);
    oracle.append(&mut log, &[8]).unwrap();
    oracle.append(&mut log, &[8]).unwrap();
    rot(&fs, 1, START + 2 * BLOCK);
    zero(&fs, 1, 8192 + 3 * 4096, 4096);
    let found = look(&fs, &Hints::default());
    assert_eq!((found.verdict(), lsns(&fs, &found)), (Verdict::Corrupt, vec![1, 2]));
    assert_eq!(missing(&found), [(3, 4)]);
}

#[test]
fn a_torn_group_hides_what_was_written_behind_it_and_stays_hidden() {
    let (fs, mut oracle, mut log) = groups(1);
    for _ in 0..3 {
        oracle.append(&mut log, &[8]).unwrap();
    }
    zero(&fs, 1, 8192 + 3 * 4096, 4096);
    let found = oracle.scan(&fs).unwrap().0;
    assert_eq!((found.verdict(), lsns(&fs, &found)), (Verdict::Torn, vec![1, 2, 3]));
    oracle.begin(&fs).unwrap();
    let kept = fs.names().iter().filter(|name| name.starts_with(QUARANTINE)).count();
    assert_eq!(kept, 1, "the torn bytes are kept aside");
    let found = oracle.scan(&fs).unwrap().0;
    assert_eq!((found.verdict(), lsns(&fs, &found)), (Verdict::Clean, vec![1, 2, 3]));
}

#[test]
fn a_hole_is_reported_by_every_later_scan() {
    let (fs, mut oracle, log) = groups(3);
    log.close(Timestamp(0)).unwrap();
    rot(&fs, 1, START + 3 * BLOCK);
    for incarnation in 2..5 {
        let found = look(&fs, &oracle.hints());
        assert_eq!(found.verdict(), Verdict::Corrupt);
        assert_eq!((missing(&found), lsns(&fs, &found)), (vec![(5, 6)], vec![1, 2, 3, 4]));
        let identity = Identity { store: STORE, incarnation, nonce: incarnation };
        let shared = std::sync::Arc::new(fs.clone());
        let mut log = Log::begin(shared, DIR, &found, identity, SMALL, Timestamp(0)).unwrap();
        log.witness(Timestamp(0)).unwrap();
        oracle.begun = Some(incarnation);
    }
}

#[test]
fn a_header_names_a_group_of_records_and_no_other() {
    let (fs, mut oracle, mut log) = groups(1);
    log.witness(Timestamp(0)).unwrap();
    oracle.close(log).unwrap();
    oracle.begin(&fs).unwrap();
    assert_eq!(header_of(&fs, 2).previous_end, START + 2 * BLOCK);
}

#[test]
fn a_segment_of_a_copy_that_went_another_way_is_not_taken_for_the_newest() {
    let (fs, mut oracle, _) = groups(1);
    let (copy, mut other) = (fs.kill(), oracle.clone());
    let fs = fs.kill();
    let mut log = oracle.begin(&fs).unwrap();
    oracle.append(&mut log, &[8]).unwrap();
    oracle.close(log).unwrap();
    let mut log = other.begin(&copy).unwrap();
    other.append(&mut log, &[70]).unwrap();
    log.witness(Timestamp(0)).unwrap();
    let mut log = other.begin(&copy).unwrap();
    other.append(&mut log, &[8]).unwrap();
    log.witness(Timestamp(0)).unwrap();
    let own = fs.kill();
    let fs = own.if_killed();
    fs.write_now(&wal_file(3), &copy.read_now(&wal_file(3)).unwrap()).unwrap();
    let here: Vec<u64> = oracle.scan(&own).unwrap().1.iter().map(|(lsn, _)| lsn.0).collect();
    assert_eq!(here.len(), 3);
    let found = lsns(&fs, &look(&fs, &oracle.hints()));
    assert_eq!(found, here, "what was acknowledged here stands, and nothing else");
    assert_eq!(look(&fs, &oracle.hints()).verdict(), Verdict::Corrupt);
}

#[test]
fn opening_again_and_again_restates_the_tail_once() {
    let (fs, mut oracle, _) = groups(1);
    for number in 2..6 {
        oracle.begin(&fs).unwrap();
        let header = header_of(&fs, number);
        assert_eq!(header.restates(), number == 2, "{header:?}");
    }
}

#[test]
fn names_that_lie_in_the_way_do_not_hinder_an_opening() {
    let (fs, mut oracle, log) = groups(1);
    oracle.close(log).unwrap();
    for name in [0, u64::MAX, 1 << 61, 2] {
        fs.write_now(&wal_file(name), b"not a segment").unwrap();
    }
    fs.write_now("wal/00000000000000000003.tmp", b"half").unwrap();
    fs.write_now("wal/notes.txt", b"mine").unwrap();
    let other = disk();
    Oracle::default().begin(&other).unwrap();
    let hints = Hints { store: Some(StoreId(8)), ..Hints::default() };
    assert_eq!(look(&other, &hints).verdict(), Verdict::Clean, "another store's segment");
    let found = look(&fs, &oracle.hints());
    let identity = Identity { store: STORE, incarnation: 9, nonce: 9 };
    let shared = std::sync::Arc::new(fs.clone());
    let log = Log::begin(shared, DIR, &found, identity, SMALL, Timestamp(0)).unwrap();
    drop(log);
    assert!(fs.stat(&wal_file(3)).unwrap().is_some(), "{:?}", fs.names());
    wal::clear_leftovers(&fs, DIR, &found, QUARANTINE).unwrap();
    assert!(fs.read_now("wal/notes.txt").is_some());
    assert_eq!(lsns(&fs, &look(&fs, &Hints::default())), [1, 2]);
}
