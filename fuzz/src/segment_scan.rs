//! Any bytes as a log: scanning, listing, replaying, beginning anew and scanning again never panic,
//! ask the disk for little, and what the first scan let stand is still there after the opening, after
//! a power cut too.
//!
//! The first byte chooses: raw bytes as one or two segments, or a small valid log with the rest of the
//! input as changes to it (segment, place, kind of change, argument; five bytes each). Many kinds
//! make checksums right again.

use std::sync::{Arc, LazyLock};

use walden::fs::sim::{CrashMode, SimFs};
use walden::wal::{self, Hints, Identity, Log, LogOptions, Origin, Record, Scan, SegmentNumber};
use walden::{Lsn, StoreId, Timestamp};

use super::reseal::{self, BLOCK};

const OPTIONS: LogOptions = LogOptions {
    segment_bytes_min: 24 << 10,
    segment_bytes_max: 32 << 10,
    direct: true,
    reuse_group_bytes: 0,
};
const SEGMENT_BYTES_MAX: usize = 64 << 10;
const STORE: StoreId = StoreId(7);
/// A scan asks for each file's stat and for its bytes, in pieces of at least a block.
const CALLS_MAX: u64 = 600;

/// The number of each segment, and its bytes.
type Segments = Vec<(u64, Vec<u8>)>;

static VALID: LazyLock<Segments> = LazyLock::new(valid_log);

/// Runs one input.
pub fn run(data: &[u8]) {
    let Some((mode, data)) = data.split_first() else { return };
    let segments = match mode % 3 {
        0 => vec![(1, data.to_vec())],
        1 => {
            let (first, second) = data.split_at(data.len() / 2);
            vec![(1, first.to_vec()), (2, second.to_vec())]
        }
        _ => changed(data),
    };
    let fs = SimFs::new();
    for (number, bytes) in segments {
        fs.write_now(&SegmentNumber(number).file_name(), &bytes).unwrap();
    }
    check(&fs, &hints(mode / 3));
}

fn valid_log() -> Segments {
    let fs = SimFs::new();
    for incarnation in 1..4 {
        let scan = wal::scan(&fs, "", &Hints::default()).unwrap();
        let mut log = begin(&fs, &scan, incarnation, incarnation, STORE).unwrap();
        // The first one goes on in another segment.
        for size in [8, 100, if incarnation == 1 { 9000 } else { 500 }] {
            let records = [record(size).continued(), record(size)];
            log.append(&records, Timestamp(0)).unwrap();
            log.sync().unwrap();
        }
        match incarnation {
            1 => drop(log.witness(Timestamp(0)).unwrap()),
            2 => log.append(&[record(50)], Timestamp(0)).map(drop).unwrap(),
            _ => {}
        }
    }
    let number = |name: &String| SegmentNumber::parse(name).unwrap().0;
    fs.names().iter().map(|name| (number(name), fs.read_now(name).unwrap())).collect()
}

fn record(size: usize) -> Record {
    Record::new(1, Origin::Api, vec![0x5a; size])
}

fn begin(
    fs: &SimFs,
    scan: &Scan,
    incarnation: u64,
    nonce: u64,
    store: StoreId,
) -> walden::Result<Log> {
    let identity = Identity { store, incarnation, nonce };
    Log::begin(Arc::new(fs.clone()), "", scan, identity, OPTIONS, Timestamp(0))
}

/// What is known from elsewhere; it need not be true.
fn hints(choice: u8) -> Hints {
    let known = |bit: u8, lsn: u64| if choice & bit == 0 { Lsn::ZERO } else { Lsn(lsn) };
    Hints {
        identities: vec![Identity { store: STORE, incarnation: 1, nonce: 1 }],
        store: (choice & 1 != 0).then_some(STORE),
        base: known(2, 4),
        durable: known(4, 7),
        begun: (choice & 8 != 0).then_some(2),
        given_out: known(16, 9),
        ..Hints::default()
    }
}

/// The valid log with the changes that the input asks for.
fn changed(data: &[u8]) -> Segments {
    let mut segments = VALID.clone();
    for change in data.chunks_exact(5).take(64) {
        let [segment, block, place, kind, argument] = *change else { continue };
        let at = usize::from(segment) % segments.len();
        let from = usize::from(argument) % segments.len();
        let copy = segments[from].1.clone();
        let (number, bytes) = &mut segments[at];
        if bytes.is_empty() {
            continue;
        }
        let offset = (usize::from(block) * BLOCK + usize::from(place)) % bytes.len();
        let end = (offset + BLOCK).min(bytes.len());
        let group_at = offset / BLOCK * BLOCK;
        match kind % 14 {
            0 => bytes[offset] ^= argument,
            1 => bytes[offset] = argument,
            2 => bytes[offset..(offset + 512).min(end)].fill(0),
            3 => bytes[offset..end].fill(argument),
            4 => bytes.truncate(offset),
            5 => bytes.resize((bytes.len() + BLOCK).min(SEGMENT_BYTES_MAX), argument),
            6 => *bytes = copy,
            7 => {
                // A header that fits its checksum, whatever it says.
                if let Some(field) = bytes.get_mut(32 + usize::from(place) % 84) {
                    *field = argument;
                }
                reseal::segment_header(bytes);
            }
            8 | 9 => {
                // A field of a group, or of its record table.
                let field = if kind % 14 == 8 { 4 + place % 60 } else { 64 + place % 64 };
                if let Some(field) = bytes.get_mut(group_at + usize::from(field)) {
                    *field = argument;
                }
                reseal::group(bytes, group_at);
            }
            10 => reseal::segment(bytes),
            11 => {
                let from = usize::from(argument) * BLOCK % bytes.len();
                let moved = bytes[from..(from + BLOCK).min(bytes.len())].to_vec();
                let to = group_at.min(bytes.len() - moved.len().min(bytes.len()));
                bytes[to..to + moved.len()].copy_from_slice(&moved);
                reseal::group(bytes, to);
            }
            12 => *number = u64::from(argument % 8),
            _ => {
                if let Some(place) = bytes.get_mut(32..40) {
                    place.copy_from_slice(&number.to_le_bytes());
                }
                reseal::segment(bytes);
            }
        }
    }
    segments
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

fn check(fs: &SimFs, hints: &Hints) {
    let (calls, files) = (fs.calls(), fs.names().len());
    let listed = wal::list(fs, "", hints);
    // A segment of a newer format is refused.
    let Ok(scan) = wal::scan(fs, "", hints) else { return };
    assert!(fs.calls() - calls < CALLS_MAX, "{:?}", fs.trace());
    listed.expect("what can be scanned can be listed");
    let again = wal::scan(fs, "", hints).unwrap();
    assert_eq!(scan.findings, again.findings, "a scan depends on the disk alone");
    assert_eq!((scan.last_lsn, scan.vouched), (again.last_lsn, again.vouched));
    let before = read(fs, &scan);
    let store = scan.store.unwrap_or(STORE);
    // Nobody else draws this nonce, so what the input has of later incarnations is not of this one.
    let begun = begin(fs, &scan, scan.incarnation_max + 1, u64::MAX, store);
    let Ok(mut log) = begun else { return };
    let last = log.append(&[record(20)], Timestamp(0)).unwrap();
    log.sync().unwrap();
    assert!(before.iter().all(|(lsn, _)| *lsn < last), "an LSN is never given out twice");
    for fs in [fs.clone(), fs.if_crashed(CrashMode::Nothing), fs.if_crashed(CrashMode::Everything)]
    {
        let again = wal::scan(&fs, "", hints).unwrap();
        let after = read(&fs, &again);
        let (appended, restated) = after.split_last().unwrap();
        assert_eq!(appended.0, last, "{scan:#?}\n{again:#?}");
        assert_eq!(restated, before, "{scan:#?}\n{again:#?}");
    }
    assert!(fs.names().len() <= files + 2, "{:?}", fs.names());
}
