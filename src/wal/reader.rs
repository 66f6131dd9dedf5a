//! Reads one segment and notes what is intact in it; judges nothing, writes nothing.
//!
//! Every byte of the file ends up in one of: header block, intact group, or gap. What a gap means
//! (end of log, torn, corrupt) is for `scan` to say, who sees all segments. Memory is bounded by one
//! window and one group; a length is checked against the file before memory is taken for it.

use std::io;
use std::sync::Arc;

use crate::base::Lsn;
use crate::fs::{self, File, Fs, Mode};
use crate::wal::format::{
    BLOCK_BYTES, GROUP_HEADER_BYTES, GroupHeader, GroupKind, HeaderBlock, Identity,
    SEGMENT_BYTES_MIN, SEGMENT_HEADER_BYTES, SegmentHeader, SegmentNumber, group_seed, padded,
    usize_of,
};
use crate::wal::record::RecordView;

mod records;

use records::{crc_of, verify_records, walk_records};

const WINDOW_BYTES: u64 = 1 << 20;
/// Crafted lengths could make the search through damaged bytes take quadratic time; it gives up once
/// it has verified this many times the segment's bytes in vain.
const VAIN_MAX: u64 = 4;
/// The end mark of a reused segment.
const END: &str = "nothing was written here";

/// An intact group: where it is and what its header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupRef {
    /// Its place in the segment.
    pub offset: u64,
    /// Where the next group can begin.
    pub end: u64,
    /// The last LSN in it; of a group without records, the LSN before its first.
    pub last_lsn: Lsn,
    /// Its checksum field, by which the next group names it.
    pub crc: u32,
    /// Whether its padding is zero, as written.
    pub padding_intact: bool,
    /// Its header.
    pub header: GroupHeader,
    /// What its checksum begins with.
    pub(crate) seed: u32,
}

impl GroupRef {
    /// Whether it has records.
    pub fn has_records(&self) -> bool {
        self.header.count > 0
    }
}

/// A stretch between intact groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// Where it begins.
    pub offset: u64,
    /// Where it ends.
    pub end: u64,
    /// Whether nothing was written there: it is all zeroes, or begins with an end mark and has no other.
    pub blank: bool,
    /// What was wrong at its beginning.
    pub why: &'static str,
}

/// What a place in a segment holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece {
    /// An intact group.
    Group(GroupRef),
    /// Anything else.
    Gap(Gap),
}

/// How a segment is prepared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prepared {
    /// Every byte is zero.
    Zeroes,
    /// It is marked to be reused, and has no group of its own and zeroes in the place of the first.
    Marked,
}

/// One segment as it lies on the disk.
#[derive(Clone, Debug)]
pub struct SegmentIndex {
    /// Its number, from its name.
    pub number: SegmentNumber,
    /// Its length in bytes.
    pub size_bytes: u64,
    /// Its header, or why it cannot be read.
    pub header: Result<SegmentHeader, &'static str>,
    /// Whether the header block is as written, down to its last byte.
    pub header_intact: bool,
    /// Whether its header is intact but bears another segment's number.
    pub is_renamed: bool,
    /// Whether it is prepared, and was never used.
    pub prepared: Option<Prepared>,
    /// Whose groups it holds: the header's or the mark's identity, or the one under which groups were
    /// found.
    pub identity: Option<Identity>,
    /// Groups and gaps from behind the header to the end, in order.
    pub pieces: Vec<Piece>,
}

impl SegmentIndex {
    /// Whether the file has a length that a segment can have; a shorter one was cut, never torn.
    pub fn is_whole(&self) -> bool {
        match self.header {
            Ok(header) => self.size_bytes == header.size_bytes,
            Err(_) => {
                self.size_bytes >= SEGMENT_BYTES_MIN && self.size_bytes.is_multiple_of(BLOCK_BYTES)
            }
        }
    }

    /// The highest LSN that its header and its groups say to be on the medium.
    pub fn vouches(&self) -> Lsn {
        let before = self.header.map_or(Lsn::ZERO, |header| header.previous_lsn);
        self.groups().map(|group| group.header.durable_lsn).fold(before, Ord::max)
    }

    /// The intact groups in order.
    pub fn groups(&self) -> impl DoubleEndedIterator<Item = &GroupRef> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Group(group) => Some(group),
            Piece::Gap(_) => None,
        })
    }
}

/// An open segment, read through a window.
pub(crate) struct SegmentReader {
    file: Arc<dyn File>,
    size_bytes: u64,
    window_bytes: u64,
    window_at: u64,
    window: Vec<u8>,
    verified_bytes: u64,
}

impl SegmentReader {
    pub(crate) fn open(fs: &dyn Fs, path: &str) -> io::Result<Self> {
        Self::with_window(fs, path, WINDOW_BYTES)
    }

    /// The same, with so many bytes read at a time where no group needs more.
    pub(crate) fn with_window(fs: &dyn Fs, path: &str, window_bytes: u64) -> io::Result<Self> {
        let file = fs.open(path, Mode::Read)?;
        let size_bytes = file.stat()?.size_bytes;
        let (window_at, window) = (0, Vec::new());
        Ok(SegmentReader { file, size_bytes, window_bytes, window_at, window, verified_bytes: 0 })
    }

    /// Bytes of groups that were verified, in vain or not.
    pub(crate) fn verified_bytes(&self) -> u64 {
        self.verified_bytes
    }

    /// The `length` bytes at `offset`, or as many as the file has.
    fn bytes(&mut self, offset: u64, length: u64) -> io::Result<&[u8]> {
        let end = offset.saturating_add(length).min(self.size_bytes);
        let window_end = self.window_at + self.window.len() as u64;
        if offset < self.window_at || end > window_end {
            let take = (end.saturating_sub(offset)).max(self.window_bytes);
            let take = take.min(self.size_bytes.saturating_sub(offset));
            self.window.resize(usize_of(take), 0);
            let read = fs::read_full_at(&*self.file, &mut self.window, offset)?;
            self.window.truncate(read);
            self.window_at = offset;
        }
        let from = usize_of(offset - self.window_at);
        let to = usize_of(end.max(offset) - self.window_at).min(self.window.len());
        Ok(self.window.get(from.min(to)..to).unwrap_or_default())
    }

    /// Reads and verifies the group at `offset`, whole.
    pub(crate) fn group(
        &mut self,
        offset: u64,
        number: SegmentNumber,
        identity: &Identity,
    ) -> io::Result<Result<GroupRef, &'static str>> {
        let room = self.size_bytes.saturating_sub(offset);
        let head = self.bytes(offset, GROUP_HEADER_BYTES as u64)?;
        let (crc, header) = match GroupHeader::decode(head) {
            Ok(decoded) => decoded,
            Err(why) => return Ok(Err(why)),
        };
        if header.incarnation != identity.incarnation {
            return Ok(Err("the group is of another incarnation"));
        }
        let Some(table_end) = header.table_end().filter(|_| header.length <= room) else {
            return Ok(Err("the group's length is impossible"));
        };
        self.verified_bytes += table_end;
        let seed = group_seed(identity, number, offset);
        if crc_of(seed, self.bytes(offset, table_end)?) != crc {
            return Ok(Err("the group's checksum is wrong"));
        }
        if header.kind == GroupKind::End {
            return Ok(Err(END));
        }
        self.verified_bytes += header.length;
        let end = (offset + padded(header.length)).min(self.size_bytes);
        let whole = self.bytes(offset, end - offset)?;
        let Some((group, padding)) = whole.split_at_checked(usize_of(header.length)) else {
            return Ok(Err("the group is cut"));
        };
        let padding_intact = is_zero(padding);
        let last_lsn = match verify_records(&header, group) {
            Ok(last_lsn) => last_lsn,
            Err(why) => return Ok(Err(why)),
        };
        Ok(Ok(GroupRef { offset, end, last_lsn, crc, padding_intact, header, seed }))
    }

    /// Calls `visit` for every record of a group that was verified before, and is verified again: the
    /// segment may be in use as another one since.
    pub(crate) fn records<T>(
        &mut self,
        group: &GroupRef,
        visit: impl FnOnce(&[RecordView<'_>]) -> T,
    ) -> io::Result<Result<T, &'static str>> {
        let bytes = self.bytes(group.offset, group.header.length)?;
        let table_end =
            usize_of(group.header.table_end().unwrap_or(u64::MAX).min(group.header.length));
        let head = bytes.get(..table_end).unwrap_or_default();
        if GroupHeader::decode(head) != Ok((group.crc, group.header))
            || crc_of(group.seed, head) != group.crc
        {
            return Ok(Err("the group is not there any more"));
        }
        let mut views = Vec::with_capacity(usize_of(u64::from(group.header.count)));
        Ok(walk_records(&group.header, bytes, |view| views.push(view)).map(|_| visit(&views)))
    }

    /// What the two header blocks hold.
    pub(crate) fn header_block(&mut self, number: SegmentNumber) -> io::Result<HeaderBlock> {
        Ok(SegmentHeader::decode(self.bytes(0, SEGMENT_HEADER_BYTES)?, number))
    }

    fn is_zero(&mut self, offset: u64, length: u64) -> io::Result<bool> {
        Ok(is_zero(self.bytes(offset, length)?))
    }
}

/// Whether there is nothing but zeroes. Compared in pieces: a segment may hold many megabytes of them.
fn is_zero(bytes: &[u8]) -> bool {
    const ZEROES: [u8; 256] = [0; 256];
    bytes.chunks(ZEROES.len()).all(|piece| ZEROES.starts_with(piece))
}

/// Reads only a segment's header.
pub(crate) fn read_header(
    fs: &dyn Fs,
    path: &str,
    number: SegmentNumber,
) -> io::Result<HeaderBlock> {
    SegmentReader::open(fs, path)?.header_block(number)
}

/// Reads a whole segment. `others` are identities known from elsewhere, for a segment whose header
/// is lost.
pub(crate) fn index_segment(
    fs: &dyn Fs,
    path: &str,
    number: SegmentNumber,
    others: &[Identity],
) -> io::Result<SegmentIndex> {
    let mut reader = SegmentReader::open(fs, path)?;
    let block = reader.header_block(number)?;
    let (header, header_intact) = match block {
        HeaderBlock::Read { header, intact } if header.number == number => (Ok(header), intact),
        HeaderBlock::Read { .. } => (Err("the segment bears another segment's name"), false),
        HeaderBlock::Marked(_) => (Err("the segment has a mark for a header"), false),
        HeaderBlock::Zero(why) | HeaderBlock::Unreadable(why) | HeaderBlock::Newer(why) => {
            (Err(why), false)
        }
    };
    let mut index = SegmentIndex {
        number,
        size_bytes: reader.size_bytes,
        header,
        header_intact,
        is_renamed: header.is_err() && matches!(block, HeaderBlock::Read { .. }),
        prepared: None,
        identity: header.ok().map(|header| header.identity),
        pieces: Vec::new(),
    };
    if let Ok(header) = &header {
        index.pieces = pieces(&mut reader, number, Some(&header.identity))?;
        without_former(&mut reader, header, &mut index.pieces)?;
        return Ok(index);
    }
    index.pieces = pieces(&mut reader, number, None)?;
    let zero = index.pieces.iter().all(|piece| matches!(piece, Piece::Gap(gap) if gap.blank));
    index.prepared = matches!(block, HeaderBlock::Zero(_) if zero).then_some(Prepared::Zeroes);
    let marked = if let HeaderBlock::Marked(identity) = block { Some(identity) } else { None };
    for identity in marked.iter().chain(others).filter(|_| !zero) {
        let found = pieces(&mut reader, number, Some(identity))?;
        if found.iter().any(|piece| matches!(piece, Piece::Group(_))) {
            index.identity = Some(*identity);
            index.pieces = found;
            return Ok(index);
        }
    }
    index.identity = marked;
    if marked.is_some() && reader.is_zero(SEGMENT_HEADER_BYTES, BLOCK_BYTES)? {
        index.prepared = Some(Prepared::Marked);
        let (offset, end, why) = (SEGMENT_HEADER_BYTES, index.size_bytes, "marked to be reused");
        index.pieces = vec![Piece::Gap(Gap { offset, end, blank: true, why })];
    }
    Ok(index)
}

/// Ends the last gap where what the file was before begins, which says nothing.
fn without_former(
    reader: &mut SegmentReader,
    header: &SegmentHeader,
    pieces: &mut [Piece],
) -> io::Result<()> {
    let Some(Piece::Gap(gap)) = pieces.last_mut().filter(|_| header.former.0 > 0) else {
        return Ok(());
    };
    let most = reader.verified_bytes + reader.size_bytes.saturating_mul(VAIN_MAX);
    let mut offset = gap.offset;
    while !gap.blank && offset < gap.end && reader.verified_bytes < most {
        let former = reader.group(offset, header.former, &header.identity)?;
        if matches!(former, Ok(_) | Err(END)) {
            gap.end = offset;
        }
        offset += BLOCK_BYTES;
    }
    Ok(())
}

fn pieces(
    reader: &mut SegmentReader,
    number: SegmentNumber,
    identity: Option<&Identity>,
) -> io::Result<Vec<Piece>> {
    let mut pieces = Vec::new();
    let mut offset = SEGMENT_HEADER_BYTES;
    let mut left = reader.size_bytes.saturating_mul(VAIN_MAX);
    while offset < reader.size_bytes {
        let zero = reader.is_zero(offset, BLOCK_BYTES)?;
        let before = reader.verified_bytes;
        let place = match identity {
            Some(_) if left == 0 => Err("too much damage to search through"),
            Some(identity) if !zero => reader.group(offset, number, identity)?,
            _ => Err("zeroes"),
        };
        let is_end = place == Err(END);
        match (place, pieces.last_mut()) {
            (Ok(group), _) => {
                offset = group.end;
                pieces.push(Piece::Group(group));
                continue;
            }
            (Err(_), Some(Piece::Gap(gap))) => {
                gap.end = (offset + BLOCK_BYTES).min(reader.size_bytes);
                gap.blank &= if gap.why == END { !is_end } else { zero };
            }
            (Err(why), _) => {
                let end = (offset + BLOCK_BYTES).min(reader.size_bytes);
                pieces.push(Piece::Gap(Gap { offset, end, blank: zero || is_end, why }));
            }
        }
        left = left.saturating_sub(reader.verified_bytes - before);
        offset += BLOCK_BYTES;
    }
    Ok(pieces)
}
