//! The log's bytes: every constant and every field that writer and reader share, and nothing else.
//!
//! DESIGN.md, "The log", has the same by byte offset; golden tests pin it. All integers are
//! little-endian. Decoding never takes memory by a length that it has not checked against the bytes
//! at hand, and never panics.

use crc32fast::Hasher;

use crate::base::{Lsn, StoreId};

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

const MAGIC: [u8; 8] = *b"WALDENLG";
const VERSION: u32 = 1;
const HEADER_FIELD_BYTES: usize = 128;
const FLAG_BEGINS_INCARNATION: u32 = 1;
const NEWER: &str = "the segment's format version is unknown";

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

/// A segment's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    /// Who wrote it.
    pub identity: Identity,
    /// Whether it is the first of its incarnation.
    pub begins_incarnation: bool,
    /// Its number, the same as in its name.
    pub number: SegmentNumber,
    /// Its size in bytes.
    pub size_bytes: u64,
    /// The first LSN that a new record in it gets.
    pub next_lsn: Lsn,
    /// No record in it has a higher LSN.
    pub ceiling: Lsn,
    /// The segment that it follows; 0 if none.
    pub previous: SegmentNumber,
    /// Where the last standing group of that one ends.
    pub previous_end: u64,
    /// The last LSN before this segment that stands.
    pub previous_lsn: Lsn,
    /// The last LSN that the start group restates; `previous_lsn` if it restates nothing.
    pub restated_lsn: Lsn,
    /// The checksum field of the last standing group of records before this segment; 0 if none.
    pub chain: u32,
}

impl SegmentHeader {
    /// The header's bytes, both blocks.
    pub fn encode(&self) -> Vec<u8> {
        let flags = if self.begins_incarnation { FLAG_BEGINS_INCARNATION } else { 0 };
        let mut fields = Vec::with_capacity(HEADER_FIELD_BYTES);
        fields.extend_from_slice(&MAGIC);
        fields.extend_from_slice(&VERSION.to_le_bytes());
        fields.extend_from_slice(&flags.to_le_bytes());
        fields.extend_from_slice(&self.identity.store.0.to_le_bytes());
        for field in [
            self.number.0,
            self.identity.incarnation,
            self.identity.nonce,
            self.size_bytes,
            self.next_lsn.0,
            self.ceiling.0,
            self.previous.0,
            self.previous_end,
            self.previous_lsn.0,
            self.restated_lsn.0,
        ] {
            fields.extend_from_slice(&field.to_le_bytes());
        }
        fields.extend_from_slice(&self.chain.to_le_bytes());
        fields.resize(HEADER_FIELD_BYTES - 4, 0);
        fields.extend_from_slice(&crc32fast::hash(&fields).to_le_bytes());
        fields.resize(usize_of(BLOCK_BYTES), 0);
        fields.repeat(2)
    }

    /// The LSN expected in the first group.
    pub fn first_lsn(&self) -> Lsn {
        if self.restated_lsn > self.previous_lsn { self.previous_lsn.next() } else { self.next_lsn }
    }

    /// Reads both header blocks.
    pub fn decode(block: &[u8]) -> HeaderBlock {
        let first = Self::decode_copy(block, 0);
        let second = Self::decode_copy(block, usize_of(BLOCK_BYTES));
        let (header, intact) = match (first, second) {
            (Ok(header), second) => {
                let whole = second == Ok(header) && block == header.encode().as_slice();
                (header, whole)
            }
            (Err(_), Ok(header)) => (header, false),
            (Err(why), Err(_)) if block.iter().all(|byte| *byte == 0) => {
                return HeaderBlock::Zero(why);
            }
            (Err(NEWER), _) | (_, Err(NEWER)) => return HeaderBlock::Newer(NEWER),
            (Err(why), Err(_)) => return HeaderBlock::Unreadable(why),
        };
        HeaderBlock::Read { header, intact }
    }

    fn decode_copy(block: &[u8], at: usize) -> Result<SegmentHeader, &'static str> {
        const CUT: &str = "the segment header is cut";
        let copy = block.get(at..at + HEADER_FIELD_BYTES).ok_or(CUT)?;
        let (covered, crc) = copy.split_at_checked(HEADER_FIELD_BYTES - 4).ok_or(CUT)?;
        let mut fields = Fields(copy);
        if fields.take::<8>() != Some(MAGIC) {
            return Err("no segment header");
        }
        if crc != crc32fast::hash(covered).to_le_bytes() {
            return Err("the segment header's checksum is wrong");
        }
        if fields.u32() != Some(VERSION) {
            return Err(NEWER);
        }
        fields.header().filter(Self::is_plausible).ok_or("the segment header makes no sense")
    }

    /// What every writer keeps to; a header that does not would only mislead.
    fn is_plausible(&self) -> bool {
        let leap_max = 1 << 40;
        let rising = [self.previous_lsn, self.restated_lsn, self.ceiling];
        self.size_bytes >= SEGMENT_BYTES_MIN
            && self.size_bytes.is_multiple_of(BLOCK_BYTES)
            && self.previous < self.number
            && rising.is_sorted()
            && self.restated_lsn < self.next_lsn
            && self.next_lsn <= self.ceiling
            && self.ceiling.0 - self.previous_lsn.0 < leap_max
    }
}

/// What a header block holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderBlock {
    /// A header; `intact` if both copies and the rest of the block are as written.
    Read {
        /// The header.
        header: SegmentHeader,
        /// Whether the whole block is as written.
        intact: bool,
    },
    /// Only zeroes.
    Zero(&'static str),
    /// No copy can be read; why.
    Unreadable(&'static str),
    /// Written by a newer version.
    Newer(&'static str),
}

/// What a group is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
}

impl GroupKind {
    fn number(self) -> u8 {
        match self {
            GroupKind::Data => 1,
            GroupKind::Start => 2,
            GroupKind::Witness => 3,
            GroupKind::Seal => 4,
            GroupKind::Close => 5,
        }
    }

    fn from_number(number: u8) -> Option<Self> {
        [Self::Data, Self::Start, Self::Witness, Self::Seal, Self::Close]
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
    /// [`FLAG_CRITICAL`], [`FLAG_CONTINUES`].
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
    let mut seed = Hasher::new();
    seed.update(&identity.store.0.to_le_bytes());
    seed.update(&number.0.to_le_bytes());
    seed.update(&identity.nonce.to_le_bytes());
    seed.update(&offset.to_le_bytes());
    let mut crc = Hasher::new_with_initial(seed.finalize());
    crc.update(covered);
    crc.finalize()
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

    /// The fields of a segment header after magic and version.
    fn header(&mut self) -> Option<SegmentHeader> {
        let flags = self.u32()?;
        let store = StoreId(self.take().map(u128::from_le_bytes)?);
        let number = SegmentNumber(self.u64()?);
        let identity = Identity { store, incarnation: self.u64()?, nonce: self.u64()? };
        Some(SegmentHeader {
            identity,
            begins_incarnation: flags & FLAG_BEGINS_INCARNATION != 0,
            number,
            size_bytes: self.u64()?,
            next_lsn: Lsn(self.u64()?),
            ceiling: Lsn(self.u64()?),
            previous: SegmentNumber(self.u64()?),
            previous_end: self.u64()?,
            previous_lsn: Lsn(self.u64()?),
            restated_lsn: Lsn(self.u64()?),
            chain: self.u32()?,
        })
    }

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
