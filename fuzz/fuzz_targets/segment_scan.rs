//! Any bytes as a log: scanning, replaying, beginning anew and scanning again never panic, and what
//! the first scan let stand is still there after the opening.
//!
//! The first byte chooses: raw bytes as one or two segments, or a small valid log with the rest of the
//! input as changes to it (segment, place, kind of change, argument; five bytes each).
#![no_main]

use std::sync::{Arc, LazyLock};

use libfuzzer_sys::fuzz_target;
use walden::fs::Fs;
use walden::fs::sim::SimFs;
use walden::wal::{self, Hints, Identity, Log, LogOptions, Origin, Record, Scan, SegmentNumber};
use walden::{Lsn, StoreId, Timestamp};

const OPTIONS: LogOptions =
    LogOptions { segment_bytes_min: 24 << 10, segment_bytes_max: 32 << 10 };
const SEGMENT_BYTES_MAX: usize = 64 << 10;
/// Where changes hit most often: the first bytes of these, with headers and tables.
const BLOCK: usize = 4096;

static VALID: LazyLock<Vec<Vec<u8>>> = LazyLock::new(valid_log);

fuzz_target!(|data: &[u8]| {
    let Some((mode, data)) = data.split_first() else { return };
    let segments = match mode % 3 {
        0 => vec![data.to_vec()],
        1 => {
            let (first, second) = data.split_at(data.len() / 2);
            vec![first.to_vec(), second.to_vec()]
        }
        _ => changed(data),
    };
    let fs = SimFs::new();
    for (number, bytes) in (1..).zip(segments) {
        fs.write_now(&SegmentNumber(number).file_name(), &bytes).unwrap();
    }
    check(&fs);
});

fn valid_log() -> Vec<Vec<u8>> {
    let fs = SimFs::new();
    for incarnation in 1..3 {
        let scan = wal::scan(&fs, "", &Hints::default()).unwrap();
        let mut log = begin(&fs, &scan, incarnation, StoreId(7)).unwrap();
        for size in [8, 100, 9000] {
            log.append(&[record(size), record(size)], Timestamp(0)).unwrap();
            log.sync().unwrap();
        }
        log.witness(Timestamp(0)).unwrap();
    }
    fs.names().iter().map(|name| fs.read_now(name).unwrap()).collect()
}

fn record(size: usize) -> Record {
    Record::new(1, Origin::Api, vec![0x5a; size])
}

fn begin(fs: &SimFs, scan: &Scan, incarnation: u64, store: StoreId) -> walden::Result<Log> {
    let identity = Identity { store, incarnation, nonce: incarnation };
    Log::begin(Arc::new(fs.clone()), "", scan, identity, OPTIONS, Timestamp(0))
}

/// The valid log with the changes that the input asks for.
fn changed(data: &[u8]) -> Vec<Vec<u8>> {
    let mut segments = VALID.clone();
    for change in data.chunks_exact(5).take(64) {
        let [segment, block, place, kind, argument] = *change else { continue };
        let at = usize::from(segment) % segments.len();
        let from = usize::from(argument) % segments.len();
        let copy = segments[from].clone();
        let bytes = &mut segments[at];
        if bytes.is_empty() {
            continue;
        }
        let offset = (usize::from(block) * BLOCK + usize::from(place)) % bytes.len();
        let end = (offset + BLOCK).min(bytes.len());
        match kind % 8 {
            0 => bytes[offset] ^= argument,
            1 => bytes[offset] = argument,
            2 => bytes[offset..(offset + 512).min(end)].fill(0),
            3 => bytes[offset..end].fill(argument),
            4 => bytes.truncate(offset),
            5 => bytes.resize((bytes.len() + BLOCK).min(SEGMENT_BYTES_MAX), argument),
            6 => *bytes = copy,
            _ => {
                // A header that fits its checksum, whatever it says.
                if let Some(field) = bytes.get_mut(32 + usize::from(place) % 84) {
                    *field = argument;
                }
                if bytes.len() >= 128 {
                    let crc = crc32(&bytes[..124]).to_le_bytes();
                    bytes[124..128].copy_from_slice(&crc);
                }
            }
        }
    }
    segments
}

/// CRC-32/ISO-HDLC.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 }
        })
    })
}

type Found = Vec<(Lsn, Vec<u8>)>;

fn read(fs: &SimFs, scan: &Scan) -> Found {
    let mut found = Vec::new();
    scan.replay(fs, "", Lsn::ZERO, &mut |replayed| {
        found.extend(replayed.records().iter().map(|r| (r.lsn, r.payload.to_vec())));
        Ok(())
    })
    .unwrap();
    assert!(found.is_sorted_by(|a, b| a.0 < b.0), "{found:?}");
    found
}

fn check(fs: &SimFs) {
    let hints = Hints {
        identities: vec![Identity { store: StoreId(7), incarnation: 1, nonce: 1 }],
        ..Hints::default()
    };
    // A segment of a newer format is refused.
    let Ok(scan) = wal::scan(fs, "", &hints) else { return };
    let before = read(fs, &scan);
    let store = scan.store.unwrap_or(StoreId(7));
    let Ok(mut log) = begin(fs, &scan, scan.incarnation_max + 1, store) else { return };
    let last = log.append(&[record(20)], Timestamp(0)).unwrap();
    log.sync().unwrap();
    let after = read(fs, &wal::scan(fs, "", &hints).unwrap());
    let (appended, restated) = after.split_last().unwrap();
    assert_eq!(appended.0, last);
    assert_eq!(restated, before, "{:#?}", scan.findings);
    assert!(fs.list("").unwrap().len() < 12);
}
