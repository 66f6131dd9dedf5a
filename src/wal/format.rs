//! The log's bytes: every constant and every field that writer and reader share, and nothing else.
//!
//! DESIGN.md, "The log", has the same by byte offset; golden tests pin it. All integers are
//! little-endian. Decoding never takes memory by a length that it has not checked against the bytes
//! at hand, and never panics.

use crate::base::StoreId;

mod group;
mod segment;

pub use group::{Entry, GroupHeader, GroupKind, encode_group_head, group_crc};
pub(crate) use group::{group_seed, seeded_crc};
pub use segment::{HeaderBlock, SegmentHeader, encode_mark};

/// Groups begin on multiples of this, so that no block holding acknowledged bytes is written twice.
pub const BLOCK_BYTES: u64 = 4096;
/// Bytes of a segment's header: two blocks, each with a copy. The first group follows.
pub const SEGMENT_HEADER_BYTES: u64 = 2 * BLOCK_BYTES;
/// The least a segment can be: its header and one block for a group.
pub const SEGMENT_BYTES_MIN: u64 = SEGMENT_HEADER_BYTES + BLOCK_BYTES;
/// Bytes of a group's header, before its record table.
pub const GROUP_HEADER_BYTES: usize = 64;
/// Bytes of one entry of the record table.
pub const ENTRY_BYTES: usize = 16;

/// LSNs and segment numbers stay below this, so that sums of them never overflow.
pub(crate) const NUMBER_MAX: u64 = 1 << 62;

/// An older reader must not skip a record of this kind (record flag).
pub const FLAG_CRITICAL: u8 = 1;
/// The next record belongs to the same transaction (record flag).
pub const FLAG_CONTINUES: u8 = 2;

/// The number of a segment; it only rises.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentNumber(pub u64);

impl SegmentNumber {
    /// The segment's file name in the log's directory.
    pub fn file_name(self) -> String {
        format!("{:020}.wal", self.0)
    }

    /// Whether a segment can have this number: 0 stands for none.
    pub(crate) fn is_usable(self) -> bool {
        (1..NUMBER_MAX).contains(&self.0)
    }

    /// The name under which the segment is prepared.
    pub fn temporary_name(self) -> String {
        format!("{:020}.tmp", self.0)
    }

    /// Reads a segment's file name; `None` for every other name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::parse_with(name, ".wal")
    }

    /// Reads the name of a segment that is being prepared; `None` for every other name.
    pub fn parse_temporary(name: &str) -> Option<Self> {
        Self::parse_with(name, ".tmp")
    }

    fn parse_with(name: &str, extension: &str) -> Option<Self> {
        let digits = name.strip_suffix(extension)?;
        let plain = digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit());
        plain.then(|| digits.parse().ok()).flatten().map(SegmentNumber)
    }
}

/// Who writes: a store, in one of its openings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The store.
    pub store: StoreId,
    /// The opening's number, from 1.
    pub incarnation: u64,
    /// The opening's random number; part of every checksum.
    pub nonce: u64,
}

/// `length` rounded up to whole blocks.
pub fn padded(length: u64) -> u64 {
    length.div_ceil(BLOCK_BYTES).saturating_mul(BLOCK_BYTES)
}

/// A length that is known to fit in memory, as an index.
pub fn usize_of(length: u64) -> usize {
    usize::try_from(length).expect("a length in memory fits the address space")
}

/// Reads fields one after the other.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (field, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*field)
    }

    fn u8(&mut self) -> Option<u8> {
        self.take::<1>().map(u8::from_le_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_le_bytes)
    }
}
