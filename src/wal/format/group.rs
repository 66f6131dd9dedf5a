//! A group: its header, its record table, and the checksum that binds it to its place.
//!
//! The checksum's seed holds store, segment, incarnation and offset, so that a group is valid nowhere
//! but where it was written: no copy of it, and no bytes inside a record, can pass for one.

use crc32fast::Hasher;
use serde::Serialize;

use crate::base::Lsn;

use super::{ENTRY_BYTES, Fields, GROUP_HEADER_BYTES, Identity, NUMBER_MAX, SegmentNumber};

/// What a group is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum GroupKind {
    /// New records.
    Data,
    /// The first group of an incarnation: restates the tail of the former one.
    Start,
    /// No records: says only what is durable.
    Witness,
    /// No records: the log goes on in another segment.
    Seal,
    /// No records: a clean stop.
    Close,
    /// Of a reused segment: nothing was written behind the group before it. It is no group of the log, and
    /// the next one takes its place.
    End,
}

impl GroupKind {
    fn number(self) -> u8 {
        match self {
            GroupKind::Data => 1,
            GroupKind::Start => 2,
            GroupKind::Witness => 3,
            GroupKind::Seal => 4,
            GroupKind::Close => 5,
            GroupKind::End => 6,
        }
    }

    fn from_number(number: u8) -> Option<Self> {
        [Self::Data, Self::Start, Self::Witness, Self::Seal, Self::Close, Self::End]
            .into_iter()
            .find(|kind| kind.number() == number)
    }
}

/// A group's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupHeader {
    /// What it is.
    pub kind: GroupKind,
    /// How many records it has.
    pub count: u32,
    /// Bytes without padding.
    pub length: u64,
    /// LSN of its first record; of a group without records, the next LSN.
    pub first_lsn: Lsn,
    /// The highest LSN known to be on the medium when it was written.
    pub durable_lsn: Lsn,
    /// The incarnation that wrote it.
    pub incarnation: u64,
    /// Wall time in ns since the Unix epoch, advisory.
    pub time_ns: i64,
    /// The checksum field of the group before it.
    pub chain: u32,
    /// Of a seal: the segment in which the log goes on.
    pub next_segment: SegmentNumber,
}

impl GroupHeader {
    /// The bytes 4..64: all but the checksum.
    fn encode_covered(&self, into: &mut Vec<u8>) {
        into.extend_from_slice(&self.count.to_le_bytes());
        into.extend_from_slice(&self.length.to_le_bytes());
        into.extend_from_slice(&self.first_lsn.0.to_le_bytes());
        into.extend_from_slice(&self.durable_lsn.0.to_le_bytes());
        into.extend_from_slice(&self.incarnation.to_le_bytes());
        into.extend_from_slice(&self.time_ns.to_le_bytes());
        into.extend_from_slice(&self.chain.to_le_bytes());
        into.extend_from_slice(&[self.kind.number(), 0, 0, 0]);
        into.extend_from_slice(&self.next_segment.0.to_le_bytes());
    }

    /// Reads the 64 bytes of a header whose checksum is still to be verified.
    pub fn decode(bytes: &[u8]) -> Result<(u32, GroupHeader), &'static str> {
        let mut fields = Fields(bytes);
        let (crc, header, transforms) = fields.group().ok_or("no group")?;
        if transforms != [0; 3] {
            return Err("the group's codec, encryption or compression is unknown");
        }
        let highest = [header.first_lsn.0, header.durable_lsn.0, header.incarnation];
        if highest.iter().any(|number| *number >= NUMBER_MAX) {
            return Err("the group's header makes no sense");
        }
        Ok((crc, header))
    }

    /// Bytes of header and record table together; `None` if the count cannot be right.
    pub fn table_end(&self) -> Option<u64> {
        let end = GROUP_HEADER_BYTES as u64 + u64::from(self.count) * ENTRY_BYTES as u64;
        (end <= self.length).then_some(end)
    }
}

/// An entry of the record table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Bytes of the record.
    pub length: u32,
    /// Checksum of the record.
    pub crc: u32,
    /// The record's kind, the caller's business.
    pub kind: u8,
    /// [`FLAG_CRITICAL`](super::FLAG_CRITICAL), [`FLAG_CONTINUES`](super::FLAG_CONTINUES).
    pub flags: u8,
    /// Who made it.
    pub origin: u8,
}

impl Entry {
    /// Appends the entry's bytes.
    pub fn encode(&self, into: &mut Vec<u8>) {
        into.extend_from_slice(&self.length.to_le_bytes());
        into.extend_from_slice(&self.crc.to_le_bytes());
        into.extend_from_slice(&[self.kind, self.flags, self.origin, 0, 0, 0, 0, 0]);
    }

    /// Reads one entry.
    pub fn decode(bytes: &[u8]) -> Option<Entry> {
        let mut fields = Fields(bytes);
        let entry = Entry {
            length: fields.u32()?,
            crc: fields.u32()?,
            kind: fields.u8()?,
            flags: fields.u8()?,
            origin: fields.u8()?,
        };
        (fields.take::<5>()? == [0; 5]).then_some(entry)
    }
}

/// The checksum of a group's header and table, bound to its store, segment, incarnation and place.
pub fn group_crc(identity: &Identity, number: SegmentNumber, offset: u64, covered: &[u8]) -> u32 {
    seeded_crc(group_seed(identity, number, offset), covered)
}

/// The same, of what was bound before.
pub(crate) fn seeded_crc(seed: u32, covered: &[u8]) -> u32 {
    let mut crc = Hasher::new_with_initial(seed);
    crc.update(covered);
    crc.finalize()
}

/// What binds it.
pub(crate) fn group_seed(identity: &Identity, number: SegmentNumber, offset: u64) -> u32 {
    let mut seed = Hasher::new();
    seed.update(&identity.store.0.to_le_bytes());
    seed.update(&number.0.to_le_bytes());
    seed.update(&identity.nonce.to_le_bytes());
    seed.update(&offset.to_le_bytes());
    seed.finalize()
}

/// Begins a group in `into`: header with its checksum, and table. The records follow.
pub fn encode_group_head(
    header: &GroupHeader,
    table: &[u8],
    crc_of: impl FnOnce(&[u8]) -> u32,
    into: &mut Vec<u8>,
) -> u32 {
    let mut covered = Vec::with_capacity(GROUP_HEADER_BYTES + table.len());
    header.encode_covered(&mut covered);
    covered.extend_from_slice(table);
    let crc = crc_of(&covered);
    into.extend_from_slice(&crc.to_le_bytes());
    into.extend_from_slice(&covered);
    crc
}

impl Fields<'_> {
    /// A group header: checksum, fields, and the three bytes that name transformations.
    fn group(&mut self) -> Option<(u32, GroupHeader, [u8; 3])> {
        let crc = self.u32()?;
        let count = self.u32()?;
        let length = self.u64()?;
        let first_lsn = Lsn(self.u64()?);
        let durable_lsn = Lsn(self.u64()?);
        let incarnation = self.u64()?;
        let time_ns = self.take().map(i64::from_le_bytes)?;
        let chain = self.u32()?;
        let kind = GroupKind::from_number(self.u8()?)?;
        let transforms = self.take()?;
        let next_segment = SegmentNumber(self.u64()?);
        let header = GroupHeader {
            kind,
            count,
            length,
            first_lsn,
            durable_lsn,
            incarnation,
            time_ns,
            chain,
            next_segment,
        };
        Some((crc, header, transforms))
    }
}
