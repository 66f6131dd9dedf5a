//! The format, byte by byte: a change here is a new format version.

use std::sync::Arc;

use super::oracle::{DIR, SMALL, disk};
use crate::base::{Lsn, StoreId, Timestamp};
use crate::wal::format::{
    BLOCK_BYTES, GroupHeader, GroupKind, HeaderBlock, SEGMENT_HEADER_BYTES, SegmentHeader,
    group_crc,
};
use crate::wal::{Hints, Identity, Log, Origin, Record, SegmentNumber, scan};

const IDENTITY: Identity = Identity {
    store: StoreId(0x0f0e_0d0c_0b0a_0908_0706_0504_0302_0100),
    incarnation: 0x21,
    nonce: 0x3130_2f2e_2d2c_2b2a,
};

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

fn header() -> SegmentHeader {
    SegmentHeader {
        identity: IDENTITY,
        begins_incarnation: true,
        number: SegmentNumber(5),
        size_bytes: 0x6000,
        next_lsn: Lsn(0x58),
        ceiling: Lsn(0x60),
        previous: SegmentNumber(4),
        previous_end: 0x3000,
        previous_lsn: Lsn(0x50),
        restated_lsn: Lsn(0x52),
        chain: 0xdead_beef,
        former: SegmentNumber(0),
    }
}

#[test]
fn a_segment_header_has_these_bytes_in_each_of_two_blocks() {
    let bytes = header().encode();
    assert_eq!(bytes.len() as u64, SEGMENT_HEADER_BYTES);
    let fields = concat!(
        "57414c44454e4c47",                 // 0 magic
        "01000000",                         // 8 version
        "01000000",                         // 12 flags
        "000102030405060708090a0b0c0d0e0f", // 16 store
        "0500000000000000",                 // 32 number
        "2100000000000000",                 // 40 incarnation
        "2a2b2c2d2e2f3031",                 // 48 nonce
        "0060000000000000",                 // 56 size
        "5800000000000000",                 // 64 next LSN
        "6000000000000000",                 // 72 ceiling
        "0400000000000000",                 // 80 previous segment
        "0030000000000000",                 // 88 previous end
        "5000000000000000",                 // 96 previous LSN
        "5200000000000000",                 // 104 restated LSN
        "efbeadde",                         // 112 chain
        "0000000000000000",                 // 116 former number
    );
    let crc = crc32fast::hash(&bytes[..124]).to_le_bytes();
    for block in [0, 4096] {
        assert_eq!(hex(&bytes[block..block + 124]), fields);
        assert_eq!(bytes[block + 124..block + 128], crc);
        assert!(bytes[block + 128..block + 4096].iter().all(|byte| *byte == 0));
    }
    let read = HeaderBlock::Read { header: header(), intact: true };
    assert_eq!(SegmentHeader::decode(&bytes, SegmentNumber(5)), read);
}

#[test]
fn a_segment_has_these_bytes() {
    let fs = disk();
    let found = scan(&fs, DIR, &Hints::default()).unwrap();
    let mut log =
        Log::begin(Arc::new(fs.clone()), DIR, &found, IDENTITY, SMALL, Timestamp(2)).unwrap();
    let records = [
        Record::new(9, Origin::Api, b"abc".to_vec()).continued(),
        Record::new(10, Origin::Engine, Vec::new()),
    ];
    log.append(&records, Timestamp(3)).unwrap();
    log.close(Timestamp(4)).unwrap();

    assert_eq!(fs.names(), ["wal/00000000000000000001.wal"]);
    let bytes = fs.read_now("wal/00000000000000000001.wal").unwrap();
    assert_eq!(bytes.len() as u64, SMALL.segment_bytes_min);
    let crc_at = |at: usize| hex(&bytes[at..at + 4]);
    assert_eq!(
        hex(&bytes[8196..8256]),
        concat!(
            "00000000",         // 4 count
            "4000000000000000", // 8 length
            "0100000000000000", // 16 first LSN
            "0000000000000000", // 24 durable LSN
            "2100000000000000", // 32 incarnation
            "0200000000000000", // 40 time
            "00000000",         // 48 chain
            "02000000",         // 52 kind: start; transformations
            "0000000000000000", // 56 next segment
        )
    );
    let group = concat!(
        "02000000",
        "6300000000000000",
        "0100000000000000",
        "0000000000000000",
        "2100000000000000",
        "0300000000000000",
    );
    let rest = concat!(
        "010000000000000000000000", // kind: data; transformations; next segment
        "03000000c241243509030100", // length, crc32 of "abc", kind, flags, origin, zero
        "00000000",                 // zero
        "00000000000000000a010200", // an empty record
        "00000000",                 // zero
        "616263",                   // the records
    );
    assert_eq!(hex(&bytes[12292..12387]), format!("{group}{}{rest}", crc_at(8192)));
    assert!(bytes[12387..16384].iter().all(|byte| *byte == 0), "padding");
    assert_eq!(bytes[16384 + 52], 5, "a close");
    assert_eq!(hex(&bytes[16384 + 24..16384 + 32]), "0200000000000000", "all is durable");
    assert!(bytes[16384 + 64..].iter().all(|byte| *byte == 0), "the rest");
    // The checksum, made from nothing but what DESIGN.md says.
    let mut seed = Vec::new();
    seed.extend_from_slice(&IDENTITY.store.0.to_le_bytes());
    seed.extend_from_slice(&1_u64.to_le_bytes());
    seed.extend_from_slice(&IDENTITY.nonce.to_le_bytes());
    seed.extend_from_slice(&12288_u64.to_le_bytes());
    let mut crc = crc32fast::Hasher::new_with_initial(crc32fast::hash(&seed));
    crc.update(&bytes[12292..12288 + 96]);
    assert_eq!(bytes[12288..12292], crc.finalize().to_le_bytes());
    assert_eq!(hex(&bytes[12288..12292]), "c63b0f8a");
}

#[test]
fn a_group_is_valid_in_no_other_store_segment_incarnation_or_place() {
    let crc = |identity, number, offset| group_crc(&identity, SegmentNumber(number), offset, b"x");
    let here = crc(IDENTITY, 1, BLOCK_BYTES);
    assert_ne!(here, crc(Identity { store: StoreId(1), ..IDENTITY }, 1, BLOCK_BYTES));
    assert_ne!(here, crc(Identity { nonce: 1, ..IDENTITY }, 1, BLOCK_BYTES));
    assert_ne!(here, crc(IDENTITY, 2, BLOCK_BYTES));
    assert_ne!(here, crc(IDENTITY, 1, 2 * BLOCK_BYTES));
}

#[test]
fn names_of_segments_are_twenty_digits_and_nothing_else() {
    assert_eq!(SegmentNumber(7).file_name(), "00000000000000000007.wal");
    assert_eq!(SegmentNumber::parse("00000000000000000007.wal"), Some(SegmentNumber(7)));
    assert_eq!(SegmentNumber::parse_temporary("00000000000000000007.tmp"), Some(SegmentNumber(7)));
    for name in ["7.wal", "99999999999999999999.wal", "+0000000000000000007.wal", "0.tmp", ""] {
        assert_eq!(SegmentNumber::parse(name), None, "{name}");
    }
}

#[test]
fn what_no_writer_would_write_is_not_believed() {
    let broken = [
        SegmentHeader { size_bytes: 8192, ..header() },
        SegmentHeader { size_bytes: 0x6001, ..header() },
        SegmentHeader { previous: SegmentNumber(5), ..header() },
        SegmentHeader { former: SegmentNumber(5), ..header() },
        SegmentHeader { restated_lsn: Lsn(0x58), ..header() },
        SegmentHeader { restated_lsn: Lsn(0x4f), ..header() },
        SegmentHeader { ceiling: Lsn(0x57), ..header() },
        SegmentHeader { ceiling: Lsn(1 << 62), ..header() },
        SegmentHeader { number: SegmentNumber(1 << 62), ..header() },
        SegmentHeader { identity: Identity { incarnation: 1 << 62, ..IDENTITY }, ..header() },
        SegmentHeader { ceiling: Lsn(u64::MAX), ..header() },
        SegmentHeader { number: SegmentNumber(u64::MAX), ..header() },
        SegmentHeader { identity: Identity { incarnation: u64::MAX, ..IDENTITY }, ..header() },
    ];
    for header in broken {
        let read = SegmentHeader::decode(&header.encode(), header.number);
        assert!(matches!(read, HeaderBlock::Unreadable(_)), "{header:?}");
    }
    let mut newer = header().encode();
    for block in [0, 4096] {
        newer[block + 8] = 2;
        let crc = crc32fast::hash(&newer[block..block + 124]).to_le_bytes();
        newer[block + 124..block + 128].copy_from_slice(&crc);
    }
    assert!(matches!(SegmentHeader::decode(&newer, SegmentNumber(5)), HeaderBlock::Newer(_)));
    assert_eq!(GroupHeader::decode(&[0; 64]), Err("no group"));
    assert_eq!(GroupHeader::decode(&[]), Err("no group"));
    let kinds = (0..=255_u8).filter(|kind| {
        let mut bytes = [0; 64];
        bytes[52] = *kind;
        GroupHeader::decode(&bytes).is_ok()
    });
    assert_eq!(kinds.collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6]);
    let mut coded = [0; 64];
    (coded[52], coded[53]) = (GroupKind::Data as u8 + 1, 1);
    assert!(GroupHeader::decode(&coded).is_err());
}
