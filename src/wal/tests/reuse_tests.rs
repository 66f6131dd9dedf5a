//! Segments that were cut and are used again: what they held before is never taken for the log, and
//! nothing of the log for what they held before.

use std::io::ErrorKind;

use super::crash_tests::{continuation, explore, prepare};
use super::oracle::{DIR, Oracle, QUARANTINE, STORE, disk, rot, wal_file, zero};
use crate::base::{Lsn, Result, StoreId, Timestamp};
use crate::fs::sim::{CallKind, CrashMode, Fault, SimFs};
use crate::wal::format::{SEGMENT_HEADER_BYTES, SegmentNumber, encode_mark, usize_of};
use crate::wal::reader::SegmentReader;
use crate::wal::{self, Hints, Identity, Log, LogOptions, Preparation, Scan, Verdict};

const BLOCK: usize = 4096;
/// Where the first group lies.
const HEADER: usize = 2 * BLOCK;
pub(super) const ROOM: u64 = 40 << 10;
pub(super) const ALWAYS: LogOptions = LogOptions {
    segment_bytes_min: ROOM,
    segment_bytes_max: ROOM,
    direct: true,
    reuse_group_bytes: 0,
};

pub(super) fn oracle(options: LogOptions) -> Oracle {
    let mut oracle = Oracle::default();
    oracle.options = Some(options);
    oracle
}

/// Appends groups of two blocks, each flushed, until the log has gone on in another segment.
pub(super) fn rotate(log: &mut Log, oracle: &mut Oracle) -> Result<()> {
    let before = log.stats().rotations;
    while log.stats().rotations == before {
        oracle.commit(log, &[5000])?;
    }
    Ok(())
}

/// A log whose segment 3 was segment 1 before, and has a start group of one block and `more` groups of two.
pub(super) fn reused(more: usize) -> (SimFs, Oracle, Log) {
    let (fs, mut oracle) = (disk(), oracle(ALWAYS));
    let mut log = oracle.begin(&fs).unwrap();
    rotate(&mut log, &mut oracle).unwrap();
    oracle.cut(&mut log, 0).unwrap();
    assert!(fs.names().contains(&temporary(1)), "{:?}", fs.names());
    rotate(&mut log, &mut oracle).unwrap();
    assert_eq!(log.stats().reused, 1);
    for _ in 0..more {
        oracle.commit(&mut log, &[5000]).unwrap();
    }
    (fs, oracle, log)
}

/// Appends until the log wants its next segment.
pub(super) fn wanted(log: &mut Log, oracle: &mut Oracle) -> Preparation {
    loop {
        match log.begin_preparing() {
            Some(wanted) => return wanted,
            None => oracle.commit(log, &[5000]).unwrap(),
        }
    }
}

pub(super) fn temporary(number: u64) -> String {
    format!("{DIR}/{}", SegmentNumber(number).temporary_name())
}

/// How many segments are kept to be reused.
pub(super) fn spares(fs: &SimFs) -> usize {
    fs.names()
        .iter()
        .filter(|name| name.split_once('.').is_some_and(|(_, end)| end == "tmp"))
        .count()
}

fn look(fs: &SimFs, oracle: &Oracle) -> Scan {
    wal::scan(fs, DIR, &oracle.hints()).unwrap()
}

fn workload(fs: &SimFs, oracle: &mut Oracle) -> Result<()> {
    let mut log = oracle.begin(fs)?;
    rotate(&mut log, oracle)?;
    oracle.cut(&mut log, 0)?;
    oracle.commit(&mut log, &[5000, 4000, 9])?;
    prepare(fs, &mut log)?;
    rotate(&mut log, oracle)?;
    oracle.append(&mut log, &[6000])?;
    oracle.append(&mut log, &[8])?;
    log.witness(Timestamp(0))?;
    rotate(&mut log, oracle)?;
    oracle.cut(&mut log, 1)?;
    oracle.append(&mut log, &[300, 5000])?;
    rotate(&mut log, oracle)?;
    assert!(log.stats().reused >= 2, "{:?}", log.stats());
    oracle.append(&mut log, &[3000])?;
    oracle.close(log)?;
    let mut log = oracle.begin(fs)?;
    continuation(&mut log, oracle)
}

#[test]
fn a_power_cut_at_any_call_of_a_log_that_reuses_segments_loses_nothing_and_makes_nothing_up() {
    let (calls, states) = explore(&oracle(ALWAYS), workload);
    assert!(calls > 100 && states > 1000, "{states} crash states, {calls} places");
}

#[test]
fn a_reused_segment_ends_with_an_end_mark_and_says_nothing_of_what_it_was() {
    let (fs, mut oracle, log) = reused(1);
    let bytes = fs.read_now(&wal_file(3)).unwrap();
    assert_eq!(bytes[116..124], 1_u64.to_le_bytes(), "its former number");
    // Header, two groups, an end mark; then groups of segment 1.
    let at = HEADER + 4 * BLOCK;
    assert_eq!(bytes[at + 52], 6, "the end mark's kind");
    assert!(bytes[at + BLOCK..].iter().any(|byte| *byte != 0), "what it was before");
    let scan = look(&fs, &oracle);
    assert_eq!((scan.verdict(), &*scan.findings), (Verdict::Clean, &[][..]));
    oracle.scan(&fs).unwrap();
    oracle.close(log).unwrap();
    assert_eq!(spares(&fs), 0, "{:?}", fs.names());
    assert_eq!(look(&fs, &oracle).verdict(), Verdict::Clean);
}

#[test]
fn the_mark_has_these_bytes() {
    let identity = Identity { store: StoreId(7), incarnation: 3, nonce: 0x2a };
    let mark = encode_mark(&identity, SegmentNumber(9));
    let fields = [
        &b"WALDENPR"[..],
        &[1, 0, 0, 0, 0, 0, 0, 0],
        &7_u128.to_le_bytes(),
        &9_u64.to_le_bytes(),
        &3_u64.to_le_bytes(),
        &0x2a_u64.to_le_bytes(),
        &[0; 68],
    ]
    .concat();
    let crc = crc32fast::hash(&fields).to_le_bytes();
    for copy in mark.chunks(BLOCK) {
        assert_eq!((&copy[..124], &copy[124..128]), (&*fields, &crc[..]));
        assert!(copy[128..].iter().all(|byte| *byte == 0));
    }
    assert_eq!(mark.len(), 2 * BLOCK);
}

/// The last group is damaged so that no bit of its header is left: by what was there before it, too.
#[test]
fn a_last_group_whose_beginning_is_lost_is_told_whatever_lies_there() {
    let (fs, oracle, log) = reused(0);
    let before = fs.read_now(&wal_file(3)).unwrap();
    drop(log);
    let (fs_more, oracle_more, _log) = reused(1);
    let at = HEADER + 2 * BLOCK;
    let whole = fs_more.read_now(&wal_file(3)).unwrap();
    assert_eq!(before[at + 52], 6, "the end mark that the last group replaced");
    for lost in [before[at..at + BLOCK].to_vec(), vec![0; BLOCK], vec![7; BLOCK]] {
        let mut bytes = whole.clone();
        bytes[at..at + BLOCK].copy_from_slice(&lost);
        fs_more.write_now(&wal_file(3), &bytes).unwrap();
        let scan = look(&fs_more, &oracle_more);
        assert_eq!((scan.verdict(), scan.findings.len()), (Verdict::Torn, 1), "{:?}", lost[52]);
        let finding = &scan.findings[0];
        assert_eq!(finding.offset, at as u64);
        assert!(
            finding.length < ROOM / 2,
            "what the file was before is no part of it: {finding:?}"
        );
    }
    assert_eq!(look(&fs, &oracle).verdict(), Verdict::Clean);
}

#[test]
fn padding_that_nothing_vouches_for_may_be_what_the_file_had_before() {
    let (fs, mut oracle, mut log) = reused(0);
    oracle.append(&mut log, &[5000]).unwrap();
    // The last sector of the group's two blocks is padding.
    let at = SEGMENT_HEADER_BYTES + 4 * BLOCK as u64 - 512;
    fs.corrupt(&wal_file(3), at, 0xff).unwrap();
    let scan = look(&fs, &oracle);
    assert_eq!((scan.verdict(), scan.findings[0].offset < at + 1), (Verdict::Torn, true));
    oracle.sync(&mut log).unwrap();
    log.witness(Timestamp(0)).unwrap();
    assert_eq!(look(&fs, &oracle).verdict(), Verdict::Corrupt, "that was durable");
}

#[test]
fn a_header_of_what_the_file_was_before_is_not_believed() {
    let (fs, mut oracle) = (disk(), oracle(ALWAYS));
    let mut log = oracle.begin(&fs).unwrap();
    rotate(&mut log, &mut oracle).unwrap();
    let former = fs.read_now(&wal_file(1)).unwrap();
    oracle.cut(&mut log, 0).unwrap();
    while log.begin_preparing().is_none_or(|mut wanted| {
        assert!(wanted.spare.is_some());
        log.install(Some(wanted.prepare(&fs, DIR).unwrap())).unwrap();
        false
    }) {
        oracle.commit(&mut log, &[5000]).unwrap();
    }
    let stale = |fs: &SimFs, copy: usize| {
        let mut bytes = fs.read_now(&wal_file(3)).unwrap();
        bytes[copy * BLOCK..][..BLOCK].copy_from_slice(&former[..BLOCK]);
        fs.write_now(&wal_file(3), &bytes).unwrap();
    };
    assert_eq!(look(&fs, &oracle).verdict(), Verdict::Clean);
    for copy in 0..2 {
        let fs = fs.if_killed();
        stale(&fs, copy);
        let scan = look(&fs, &oracle);
        assert_eq!((scan.verdict(), scan.end_in_doubt), (Verdict::Clean, false), "prepared");
        assert!(scan.leftovers.iter().all(|leftover| leftover.is_worthless));
    }
    rotate(&mut log, &mut oracle).unwrap();
    for copy in 0..2 {
        let fs = fs.if_killed();
        stale(&fs, copy);
        let scan = look(&fs, &oracle);
        let durable = log.durable_lsn();
        assert_eq!((scan.last_lsn, scan.leftovers.len()), (durable, 0), "its groups are used");
        assert!(scan.findings.iter().all(|finding| finding.missing.is_none()));
        assert_ne!(scan.verdict(), Verdict::Clean, "and the damage is told");
    }
}

#[test]
fn a_mark_is_durable_before_the_segment_has_its_number_also_without_direct_writes() {
    let (fs, mut oracle) = (disk(), oracle(ALWAYS));
    let mut log = oracle.begin(&fs).unwrap();
    rotate(&mut log, &mut oracle).unwrap();
    oracle.cut(&mut log, 0).unwrap();
    let mut wanted = wanted(&mut log, &mut oracle);
    // It is opened to be marked, and then for direct writes.
    fs.fail_path(&temporary(1), CallKind::Open, 2, Fault::Error(ErrorKind::InvalidInput));
    wanted.prepare(&fs, DIR).unwrap();
    assert_eq!(fs.faults_fired(), 1);
    // Not later: the flush of segment 1's seal, which the next installing makes, is one of the same file.
    let cut = fs.if_crashed(CrashMode::Nothing);
    assert!(cut.names().contains(&wal_file(3)), "{:?}", cut.names());
    let scan = look(&cut, &oracle);
    assert_eq!((scan.verdict(), scan.end_in_doubt), (Verdict::Clean, false), "{:?}", scan.findings);
}

/// A reader that has the file open reads either what it was, or learns that it is gone.
#[test]
fn what_was_read_once_is_read_again_only_if_it_is_still_there() {
    let (fs, mut oracle) = (disk(), oracle(ALWAYS));
    let mut log = oracle.begin(&fs).unwrap();
    let identity = Identity { store: STORE, incarnation: 1, nonce: 1 };
    rotate(&mut log, &mut oracle).unwrap();
    // Small windows, so that the second reading asks the disk again.
    let mut reader = SegmentReader::with_window(&fs, &wal_file(1), 64).unwrap();
    let at = SEGMENT_HEADER_BYTES + BLOCK as u64;
    let group = reader.group(at, SegmentNumber(1), &identity).unwrap().unwrap();
    let other = reader.group(at + 2 * BLOCK as u64, SegmentNumber(1), &identity).unwrap().unwrap();
    let number = |reader: &mut SegmentReader| {
        reader.records(&group, |records| records[0].payload[..8].to_vec()).unwrap()
    };
    let first = number(&mut reader).unwrap();
    oracle.cut(&mut log, 0).unwrap();
    reader.records(&other, |_| ()).unwrap().unwrap();
    assert_eq!(number(&mut reader), Ok(first), "it is cut, but not used yet");
    // The first group of the segment takes one block, as the start did.
    while log.stats().reused == 0 {
        oracle.commit(&mut log, &[8]).unwrap();
    }
    oracle.commit(&mut log, &[5000]).unwrap();
    assert!(reader.records(&other, |_| ()).unwrap().is_err());
    assert!(number(&mut reader).is_err(), "another group of the same shape is there");
}

#[test]
fn a_marked_segment_alone_is_a_log_that_was_and_anothers_is_left_alone() {
    let (fs, mut oracle) = (disk(), oracle(ALWAYS));
    let identity = Identity { store: STORE, incarnation: 3, nonce: 0x2a };
    let mut bytes = encode_mark(&identity, SegmentNumber(9));
    bytes.resize(usize_of(ROOM), 0);
    fs.write_now(&wal_file(9), &bytes).unwrap();
    let scan = look(&fs, &oracle);
    assert!(scan.next_lsn > Lsn(1), "{:?}", scan.next_lsn);
    assert_eq!((scan.verdict(), scan.leftovers[0].is_worthless), (Verdict::Clean, true));
    let others = Hints { store: Some(StoreId(8)), ..Hints::default() };
    let scan = wal::scan(&fs, DIR, &others).unwrap();
    assert_eq!((scan.verdict(), scan.leftovers.len()), (Verdict::Clean, 0));
    assert!(scan.findings[0].why.contains("of store"), "{:?}", scan.findings);
    // Something in the place of the first group is kept aside.
    bytes[HEADER + 100] = 1;
    fs.write_now(&wal_file(9), &bytes).unwrap();
    assert!(!look(&fs, &oracle).leftovers[0].is_worthless);
    oracle.begin(&fs).unwrap();
    assert!(fs.names().iter().any(|name| name.starts_with(QUARANTINE)), "{:?}", fs.names());
}

#[test]
fn damage_to_a_reused_segment_is_told_as_in_any_other() {
    let (fs, oracle, log) = reused(1);
    let at = SEGMENT_HEADER_BYTES;
    let one = fs.if_killed();
    rot(&one, 3, at);
    let scan = look(&one, &oracle);
    assert_eq!(scan.verdict(), Verdict::Corrupt, "the group behind it was flushed after it");
    assert_eq!(scan.last_lsn, log.durable_lsn());
    // Without either header its groups are found by who wrote them.
    let headless = fs.if_killed();
    zero(&headless, 3, 0, 2 * BLOCK);
    let scan = look(&headless, &oracle);
    assert_eq!((scan.verdict(), scan.last_lsn), (Verdict::Corrupt, log.durable_lsn()));
}
