//! Checksums made right again after a change, so that what they guard is reached: without them a
//! mutation is found by its checksum, and nothing behind that is ever run.
//!
//! It reads bytes at the offsets that DESIGN.md tells, and takes nothing for granted about them.

use walden::ContentHash;
use walden::StoreId;
use walden::wal::format::{self, Identity, SegmentNumber};

pub(crate) const BLOCK: usize = 4096;
const GROUP_HEADER: usize = 64;
const ENTRY: usize = 16;

/// Makes the header's checksum right, and its second copy equal to the first.
pub(crate) fn segment_header(bytes: &mut [u8]) {
    if bytes.len() < 2 * BLOCK {
        return;
    }
    let crc = crc32fast::hash(&bytes[..124]);
    bytes[124..128].copy_from_slice(&crc.to_le_bytes());
    bytes.copy_within(..BLOCK, BLOCK);
}

/// Makes the checksums of the group at `at` right: of its records, and its own.
pub(crate) fn group(bytes: &mut [u8], at: usize) -> Option<usize> {
    let identity = identity(bytes)?;
    let number = SegmentNumber(u64_at(bytes, 32)?);
    let count = usize::try_from(u32_at(bytes, at + 4)?).ok()?;
    let length = usize::try_from(u64_at(bytes, at + 8)?).ok()?;
    let table_end = GROUP_HEADER.checked_add(count.checked_mul(ENTRY)?)?;
    let is_there = table_end <= length && at.checked_add(length)? <= bytes.len();
    let is_known = (1..=5).contains(bytes.get(at + 52)?);
    (is_there && is_known).then_some(())?;
    let mut record_at = at + table_end;
    for entry in 0..count {
        let entry_at = at + GROUP_HEADER + entry * ENTRY;
        let record_bytes = usize::try_from(u32_at(bytes, entry_at)?).ok()?;
        let Some(record) = bytes.get(record_at..record_at.checked_add(record_bytes)?) else {
            break;
        };
        let crc = crc32fast::hash(record);
        bytes[entry_at + 4..entry_at + 8].copy_from_slice(&crc.to_le_bytes());
        record_at += record_bytes;
    }
    let covered = &bytes[at + 4..at + table_end];
    let crc = format::group_crc(&identity, number, at as u64, covered);
    bytes[at..at + 4].copy_from_slice(&crc.to_le_bytes());
    Some(length)
}

/// Makes all checksums of a segment right, from its header on, each group naming the one before.
pub(crate) fn segment(bytes: &mut [u8]) {
    segment_header(bytes);
    let Some(mut chain) = u32_at(bytes, 112) else { return };
    let mut at = 2 * BLOCK;
    while at + GROUP_HEADER <= bytes.len() {
        let before = bytes[at..at + GROUP_HEADER].to_vec();
        bytes[at + 48..at + 52].copy_from_slice(&chain.to_le_bytes());
        if let Some(length) = group(bytes, at) {
            chain = u32_at(bytes, at).unwrap_or_default();
            at += length.div_ceil(BLOCK).max(1) * BLOCK;
        } else {
            bytes[at..at + GROUP_HEADER].copy_from_slice(&before);
            at += BLOCK;
        }
    }
}

/// Makes what guards a file of the store right, whichever file it is.
pub(crate) fn file(name: &str, bytes: &mut [u8]) {
    if name.ends_with(".wal") {
        segment(bytes);
    } else if name == ".walden" {
        digits(bytes, b"\"crc32\":\"", 8, |bytes| {
            let own = bytes.windows(9).position(|found| found == b"\"crc32\":\"");
            let own = own.map_or(0, |at| at + 9);
            let covered = [&bytes[..own], &bytes[(own + 8).min(bytes.len())..]].concat();
            format!("{:08x}", crc32fast::hash(&covered))
        });
    } else if name == "wal/state.index" {
        let Some(end) = bytes.len().checked_sub(16) else { return };
        let hash = ContentHash::of(&bytes[..end]).0;
        bytes[end..].copy_from_slice(&hash.to_le_bytes());
    } else {
        digits(bytes, b"\"digest\":\"", 32, |bytes| ContentHash::of(bytes).to_string());
        digits(bytes, b"\"digest\": \"", 32, |bytes| ContentHash::of(bytes).to_string());
    }
}

/// Replaces the hexadecimal digits behind `key` by those made of all bytes with zeros in their place.
fn digits(bytes: &mut [u8], key: &[u8], count: usize, of: impl Fn(&[u8]) -> String) {
    let Some(at) = bytes.windows(key.len()).position(|found| found == key) else { return };
    let at = at + key.len();
    let Some(place) = bytes.get_mut(at..at + count) else { return };
    place.fill(b'0');
    let made = of(bytes);
    bytes[at..at + count].copy_from_slice(made.as_bytes());
}

fn identity(bytes: &[u8]) -> Option<Identity> {
    let store = bytes.get(16..32)?.try_into().ok()?;
    Some(Identity {
        store: StoreId(u128::from_le_bytes(store)),
        incarnation: u64_at(bytes, 40)?,
        nonce: u64_at(bytes, 48)?,
    })
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at.checked_add(8)?)?.try_into().ok()?))
}
