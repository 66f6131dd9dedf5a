//! Each check of the scan alone, with bytes that only this check tells from what was written.
//!
//! A check often hides behind another: a flipped bit breaks a checksum and the chain too. Here damage is
//! judged group by group, and what no accident makes is forged with its checksum put right.

use super::guarantee_tests::{BLOCK, START, groups, look, lsns, missing};
use super::oracle::{DIR, SMALL, STORE, disk, rot, wal_file};
use crate::base::{Lsn, StoreId, Timestamp};
use crate::fs::sim::SimFs;
use crate::wal::format::{HeaderBlock, SegmentHeader, group_crc, usize_of};
use crate::wal::reader::{GroupRef, SegmentReader};
use crate::wal::{self, Hints, Identity, Log, Origin, Record, SegmentNumber, Verdict};

const IDENTITY: Identity = Identity { store: STORE, incarnation: 1, nonce: 1 };
const FIRST: SegmentNumber = SegmentNumber(1);

/// The group at `offset` of the first segment.
fn group_at(fs: &SimFs, offset: u64) -> Result<GroupRef, &'static str> {
    let mut reader = SegmentReader::open(fs, &wal_file(1)).unwrap();
    reader.group(offset, FIRST, &IDENTITY).unwrap()
}

/// Changes that group and makes its checksum right again.
fn forge(fs: &SimFs, offset: u64, change: impl FnOnce(&mut [u8])) {
    let mut bytes = fs.read_now(&wal_file(1)).unwrap();
    let group = &mut bytes[usize_of(offset)..];
    change(group);
    let count = u32::from_le_bytes(*group[4..].first_chunk().unwrap());
    let table_end = 64 + 16 * usize_of(u64::from(count));
    let crc = group_crc(&IDENTITY, FIRST, offset, &group[4..table_end]);
    group[..4].copy_from_slice(&crc.to_le_bytes());
    fs.write_now(&wal_file(1), &bytes).unwrap();
}

#[test]
fn a_flipped_bit_of_a_groups_header_table_or_records_makes_it_no_group() {
    let (fs, _, _) = groups(2);
    let (path, offset) = (wal_file(1), START + 2 * BLOCK);
    let written = group_at(&fs, offset).unwrap();
    assert_eq!((written.header.count, written.header.length), (2, 64 + 2 * 16 + 2 * 8));
    for at in 0..written.header.length {
        for bit in 0..8 {
            fs.corrupt(&path, offset + at, 1 << bit).unwrap();
            assert!(group_at(&fs, offset).is_err(), "bit {bit} of byte {at}");
            fs.corrupt(&path, offset + at, 1 << bit).unwrap();
        }
    }
    assert_eq!(group_at(&fs, offset), Ok(written));
}

#[test]
fn a_flipped_bit_of_padding_costs_no_record_and_is_told() {
    let (fs, _, _) = groups(2);
    let (path, offset) = (wal_file(1), START + BLOCK);
    let length = group_at(&fs, offset).unwrap().header.length;
    for at in length..BLOCK {
        fs.corrupt(&path, offset + at, 0x10).unwrap();
        assert!(!group_at(&fs, offset).unwrap().padding_intact, "byte {at}");
        if at == length || at == BLOCK - 1 {
            let found = look(&fs, &Hints::default());
            assert_eq!((found.verdict(), lsns(&fs, &found)), (Verdict::Corrupt, vec![1, 2, 3, 4]));
        }
        fs.corrupt(&path, offset + at, 0x10).unwrap();
    }
}

#[test]
fn a_flipped_bit_of_a_segments_header_is_read_from_the_other_copy_and_told() {
    let (fs, _, _) = groups(1);
    let written = fs.read_now(&wal_file(1)).unwrap()[..8192].to_vec();
    let HeaderBlock::Read { header, intact: true } =
        SegmentHeader::decode(&written, SegmentNumber(1))
    else {
        panic!("as it was written")
    };
    for at in 0..written.len() {
        let bits = if at % 4096 < 128 { 0..8 } else { 3..4 };
        for bit in bits {
            let mut damaged = written.clone();
            damaged[at] ^= 1 << bit;
            let read = SegmentHeader::decode(&damaged, SegmentNumber(1));
            assert_eq!(read, HeaderBlock::Read { header, intact: false }, "bit {bit} of {at}");
            if at < 128 {
                damaged[4096 + at] ^= 1 << bit;
                let read = SegmentHeader::decode(&damaged, SegmentNumber(1));
                assert!(matches!(read, HeaderBlock::Unreadable(_)), "bit {bit} of both {at}");
            }
        }
    }
}

/// What is wrong with a group, and how to make it so.
type Forgery = (&'static str, fn(&mut [u8]));

#[test]
fn a_group_that_contradicts_itself_or_its_segment_is_none_whatever_its_checksum_says() {
    let offset = START + BLOCK;
    let forgeries: [Forgery; 6] = [
        ("one byte more than its records", |group| group[8] += 1),
        ("more records than its bytes", |group| group[64] += 1),
        ("longer than its file", |group| group[8..16].fill(0xff)),
        ("a witness with records", |group| group[52] = 3),
        ("another incarnation", |group| group[32] = 2),
        ("another codec", |group| group[53] = 1),
    ];
    for (what, change) in forgeries {
        let (fs, _, _) = groups(1);
        forge(&fs, offset, |_| ());
        assert!(group_at(&fs, offset).is_ok(), "the forger knows how");
        forge(&fs, offset, change);
        assert!(group_at(&fs, offset).is_err(), "{what}");
    }
}

#[test]
fn an_intact_group_that_does_not_continue_the_log_does_not_stand() {
    for (at, what) in [(48, "the group before it"), (16, "its LSN")] {
        let (fs, _, _) = groups(3);
        forge(&fs, START + 3 * BLOCK, |group| group[at] ^= 0x40);
        assert!(group_at(&fs, START + 3 * BLOCK).is_ok());
        let found = look(&fs, &Hints::default());
        assert_eq!(
            (found.verdict(), lsns(&fs, &found)),
            (Verdict::Torn, vec![1, 2, 3, 4]),
            "{what}"
        );
    }
}

#[test]
fn damage_where_the_log_was_durable_is_told_once_and_at_its_place() {
    let (fs, _, _) = groups(3);
    rot(&fs, 1, START + 3 * BLOCK);
    let found = look(&fs, &Hints { durable: Lsn(6), ..Hints::default() });
    assert_eq!(missing(&found), [(5, 6)]);
    let places: Vec<_> =
        found.findings.iter().map(|finding| (finding.verdict, finding.offset)).collect();
    assert_eq!(places, [(Verdict::Corrupt, START + 3 * BLOCK)]);
}

#[test]
fn durable_records_that_leave_no_trace_at_the_end_are_missed() {
    let (fs, _, _) = groups(3);
    let bytes = fs.read_now(&wal_file(1)).unwrap();
    fs.write_now(&wal_file(1), &bytes[..usize_of(START + 3 * BLOCK)]).unwrap();
    let found = look(&fs, &Hints { durable: Lsn(6), ..Hints::default() });
    assert_eq!((missing(&found), lsns(&fs, &found)), (vec![(5, 6)], vec![1, 2, 3, 4]));
}

#[test]
fn bytes_behind_a_clean_stop_are_damage_and_not_torn() {
    let (fs, mut oracle, log) = groups(1);
    oracle.close(log).unwrap();
    fs.corrupt(&wal_file(1), START + 3 * BLOCK + 5, 1).unwrap();
    let found = look(&fs, &Hints::default());
    assert_eq!((found.verdict(), lsns(&fs, &found)), (Verdict::Corrupt, vec![1, 2]));
}

#[test]
fn a_group_is_known_to_be_durable_whole_or_not_at_all() {
    let (fs, _, _) = groups(2);
    let found = look(&fs, &Hints { base: Lsn(3), ..Hints::default() });
    assert_eq!(found.vouched, Lsn(4));
}

#[test]
fn a_segment_under_another_ones_name_is_told_and_adds_nothing() {
    let (fs, _, _) = groups(1);
    fs.write_now(&wal_file(9), &fs.read_now(&wal_file(1)).unwrap()).unwrap();
    let found = look(&fs, &Hints::default());
    let told: Vec<_> =
        found.findings.iter().map(|finding| (finding.verdict, &finding.file)).collect();
    assert_eq!(told, [(Verdict::Corrupt, &SegmentNumber(9).file_name())]);
    assert_eq!(lsns(&fs, &found), [1, 2]);
}

#[test]
fn the_newest_segment_of_another_store_is_left_alone_and_adds_nothing() {
    let other = disk();
    for incarnation in 1..=3 {
        let found = look(&other, &Hints::default());
        let identity = Identity { store: StoreId(8), incarnation, nonce: incarnation };
        let shared = std::sync::Arc::new(other.clone());
        let mut log = Log::begin(shared, DIR, &found, identity, SMALL, Timestamp(0)).unwrap();
        log.append(&[Record::new(1, Origin::Api, vec![0; 8])], Timestamp(0)).unwrap();
        log.witness(Timestamp(0)).unwrap();
    }
    let (fs, oracle, _) = groups(1);
    fs.write_now(&wal_file(3), &other.read_now(&wal_file(3)).unwrap()).unwrap();
    let found = wal::scan(&fs, DIR, &oracle.hints()).unwrap();
    assert_eq!((found.verdict(), lsns(&fs, &found)), (Verdict::Clean, vec![1, 2]));
    assert_eq!(found.leftovers, []);
}
