//! A segment's header, and the mark in its place: their fields, their bytes, and whether they can be
//! believed.
//!
//! Either lies twice in the segment, in two blocks, because a torn write or a lost sector takes at most
//! one of them. Either copy will do.

use crate::base::{Lsn, StoreId};

use super::{
    BLOCK_BYTES, Fields, Identity, NUMBER_MAX, SEGMENT_BYTES_MIN, SegmentNumber, usize_of,
};

const MAGIC: [u8; 8] = *b"WALDENLG";
const MARK_MAGIC: [u8; 8] = *b"WALDENPR";
const VERSION: u32 = 1;
const HEADER_FIELD_BYTES: usize = 128;
const FLAG_BEGINS_INCARNATION: u32 = 1;
const NEWER: &str = "the segment's format version is unknown";

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
    /// The segment that it follows; 0 if none. Those between were passed over.
    pub previous: SegmentNumber,
    /// Where the last standing group of that one ends; 0 if none stands.
    pub previous_end: u64,
    /// The last LSN before this segment that stands.
    pub previous_lsn: Lsn,
    /// The last LSN that the start group restates; `previous_lsn` if it restates nothing.
    pub restated_lsn: Lsn,
    /// The checksum field of the last standing group of records before this segment; 0 if none.
    pub chain: u32,
    /// The segment that its file was before, if it is reused: behind the last group lies an end mark, and
    /// then what that one left. Else 0.
    pub former: SegmentNumber,
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
        fields.extend_from_slice(&self.former.0.to_le_bytes());
        twice(fields)
    }

    /// Whether it names a group that it follows.
    pub fn is_joined(&self) -> bool {
        self.previous_end > 0
    }

    /// Whether the start group restates records.
    pub fn restates(&self) -> bool {
        self.restated_lsn > self.previous_lsn
    }

    /// Reads both header blocks of the segment `number`. A lost write may have left what the file was
    /// before, so the segment's own header counts first, then a mark, then another's header.
    pub fn decode(block: &[u8], number: SegmentNumber) -> HeaderBlock {
        let copies = [0, usize_of(BLOCK_BYTES)].map(|at| Self::decode_copy(block, at));
        let headers = || copies.iter().filter_map(|copy| copy.ok());
        let own = headers().find(|header| header.number == number);
        let is_newer = headers().next().is_none() && copies.contains(&Err(NEWER));
        if is_newer {
            return HeaderBlock::Newer(NEWER);
        }
        if let Some(identity) = decode_mark(block).filter(|_| own.is_none()) {
            return HeaderBlock::Marked(identity);
        }
        match (own.or(headers().next()), copies) {
            (Some(header), _) => {
                HeaderBlock::Read { header, intact: block == header.encode().as_slice() }
            }
            (None, [Err(why), _]) if block.iter().any(|byte| *byte != 0) => {
                HeaderBlock::Unreadable(why)
            }
            (None, _) => HeaderBlock::Zero("no segment header"),
        }
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
        let rising = [self.previous_lsn, self.restated_lsn, self.ceiling];
        self.size_bytes >= SEGMENT_BYTES_MIN
            && self.size_bytes.is_multiple_of(BLOCK_BYTES)
            && self.previous < self.number
            && self.former < self.number
            && self.number.0 < NUMBER_MAX
            && self.identity.incarnation < NUMBER_MAX
            && self.ceiling.0 < NUMBER_MAX
            && rising.is_sorted()
            && self.restated_lsn < self.next_lsn
            && self.next_lsn <= self.ceiling
    }
}

/// What takes the place of the header of a segment that is to be reused, both blocks.
pub fn encode_mark(identity: &Identity, number: SegmentNumber) -> Vec<u8> {
    let mut fields = Vec::with_capacity(HEADER_FIELD_BYTES);
    fields.extend_from_slice(&MARK_MAGIC);
    fields.extend_from_slice(&VERSION.to_le_bytes());
    fields.extend_from_slice(&[0; 4]);
    fields.extend_from_slice(&identity.store.0.to_le_bytes());
    fields.extend_from_slice(&number.0.to_le_bytes());
    fields.extend_from_slice(&identity.incarnation.to_le_bytes());
    fields.extend_from_slice(&identity.nonce.to_le_bytes());
    twice(fields)
}

/// Who marked a segment.
fn decode_mark(block: &[u8]) -> Option<Identity> {
    [0, usize_of(BLOCK_BYTES)].into_iter().find_map(|at| {
        let copy = block.get(at..at + HEADER_FIELD_BYTES)?;
        let (covered, crc) = copy.split_at_checked(HEADER_FIELD_BYTES - 4)?;
        let mut fields = Fields(covered);
        let begins = (fields.take::<8>()?, fields.u32()?, fields.u32()?);
        let store = StoreId(fields.take().map(u128::from_le_bytes)?);
        let number = fields.u64()?;
        let identity = Identity { store, incarnation: fields.u64()?, nonce: fields.u64()? };
        let is_intact =
            begins == (MARK_MAGIC, VERSION, 0) && crc == crc32fast::hash(covered).to_le_bytes();
        (is_intact && number.max(identity.incarnation) < NUMBER_MAX).then_some(identity)
    })
}

/// The fields with their checksum, in each of the two blocks.
fn twice(mut fields: Vec<u8>) -> Vec<u8> {
    fields.resize(HEADER_FIELD_BYTES - 4, 0);
    fields.extend_from_slice(&crc32fast::hash(&fields).to_le_bytes());
    fields.resize(usize_of(BLOCK_BYTES), 0);
    fields.repeat(2)
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
    /// The mark of a segment that is to be reused, and who made it.
    Marked(Identity),
    /// No copy can be read; why.
    Unreadable(&'static str),
    /// Written by a newer version.
    Newer(&'static str),
}

impl Fields<'_> {
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
            former: SegmentNumber(self.u64()?),
        })
    }
}
