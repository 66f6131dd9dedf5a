//! Preparing segments: a file gets its name only once it has its full size in real zeroes, durable; or,
//! if it was a segment before, a durable mark in the place of its header.
//!
//! Real zeroes, because allocated but unwritten extents would make every later flush write metadata
//! too. It runs beside the writer; what it makes says nothing until the writer puts a header in it.

use std::io;
use std::sync::Arc;

use crate::base::{Clock, Error, Result};
use crate::fs::replace::remove_if_any;
use crate::fs::{self, File, Fs, Mode, join};
use crate::wal::buffer::Buffer;
use crate::wal::format::{
    HeaderBlock, Identity, SEGMENT_BYTES_MIN, SEGMENT_HEADER_BYTES, SegmentHeader, SegmentNumber,
    encode_mark, padded, usize_of,
};
use crate::wal::way;

const ZEROES_BYTES: u64 = 1 << 20;

/// A segment without a group, ready to be used.
#[derive(Debug)]
pub struct PreparedSegment {
    pub(crate) number: SegmentNumber,
    pub(crate) size_bytes: u64,
    /// The segment that its file was before; 0 if none.
    pub(crate) former: SegmentNumber,
    pub(crate) file: Arc<dyn File>,
    /// The same file past the page cache, where that can be.
    pub(crate) through: Option<Arc<dyn File>>,
}

/// A segment that was cut and is kept to be reused, durably under its temporary name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Spare {
    pub(crate) identity: Identity,
    pub(crate) number: SegmentNumber,
    pub(crate) size_bytes: u64,
}

impl Spare {
    pub(crate) fn name(&self) -> String {
        self.number.temporary_name()
    }

    pub(crate) fn remove(&self, fs: &dyn Fs, dir: &str) -> Result<()> {
        remove_if_any(fs, &join(dir, &self.name())).map(drop)
    }
}

/// A segment that a log wants prepared.
#[derive(Debug, PartialEq, Eq)]
pub struct Preparation {
    pub(crate) number: SegmentNumber,
    pub(crate) size_bytes: u64,
    pub(crate) spare: Option<Spare>,
    /// It is to be found out which way to the medium is the quicker one.
    pub(crate) is_measured: bool,
}

impl Preparation {
    /// Makes the segment in `dir`, of one that was cut if there is one, and makes it durable. After a
    /// failure it can be called again.
    ///
    /// # Errors
    /// `DiskFull` where there is no room; nothing is left behind then, as far as the disk lets us.
    pub fn prepare(&mut self, fs: &dyn Fs, dir: &str) -> Result<PreparedSegment> {
        let Some(spare) = self.spare.take() else {
            return prepare_segment(fs, dir, self.number, self.size_bytes);
        };
        reuse_segment(fs, dir, self.number, spare).or_else(|error| {
            tracing::debug!(%error, "a segment that was cut could not be reused");
            prepare_segment(fs, dir, self.number, self.size_bytes)
        })
    }

    /// Finds out once for each [`Log`](crate::wal::Log) whether this disk is quicker with one direct write
    /// or with a write and a flush; if that is not known yet, some milliseconds. A segment for which the second
    /// is quicker has no direct way.
    ///
    /// # Errors
    /// `Io` where the segment cannot be written; it is removed then.
    pub fn measure(
        &self,
        mut segment: PreparedSegment,
        fs: &dyn Fs,
        dir: &str,
        clock: &dyn Clock,
    ) -> Result<PreparedSegment> {
        let Some(through) = segment.through.as_deref().filter(|_| self.is_measured) else {
            return Ok(segment);
        };
        match way::is_direct_quicker(&*segment.file, through, clock) {
            Ok(true) => {}
            Ok(false) => {
                tracing::info!(
                    "groups are written by way of the page cache, which is quicker here"
                );
                segment.through = None;
            }
            Err(source) => {
                let path = join(dir, &segment.number.file_name());
                if let Err(error) = remove_if_any(fs, &path) {
                    tracing::warn!(%error, "a segment that is not used stays until the next opening");
                }
                return Err(Error::io("try", fs.display(&path), source));
            }
        }
        Ok(segment)
    }
}

/// Makes the segment `number` in `dir`, of at least `size_bytes`, and makes it durable.
///
/// # Errors
/// `DiskFull` where there is no room; nothing is left behind then, as far as the disk lets us.
pub fn prepare_segment(
    fs: &dyn Fs,
    dir: &str,
    number: SegmentNumber,
    size_bytes: u64,
) -> Result<PreparedSegment> {
    let size_bytes = padded(size_bytes.max(SEGMENT_BYTES_MIN));
    let temporary = join(dir, &number.temporary_name());
    let filled = fill(fs, &temporary, size_bytes);
    let zeroes = vec![0; usize_of(SEGMENT_HEADER_BYTES)];
    let (file, through) = name(fs, dir, number, &temporary, filled, &zeroes)?;
    Ok(PreparedSegment { number, size_bytes, former: SegmentNumber(0), file, through })
}

/// Makes the segment `number` of one that was cut; that one is gone, also after a failure.
fn reuse_segment(
    fs: &dyn Fs,
    dir: &str,
    number: SegmentNumber,
    spare: Spare,
) -> Result<PreparedSegment> {
    let temporary = join(dir, &spare.name());
    let mut head = encode_mark(&spare.identity, number);
    // And nothing in the place of the first group.
    head.resize(usize_of(SEGMENT_BYTES_MIN), 0);
    let marked = mark(fs, &temporary, &head, &spare);
    let (file, through) = name(fs, dir, number, &temporary, marked, &head)?;
    let Spare { number: former, size_bytes, .. } = spare;
    Ok(PreparedSegment { number, size_bytes, former, file, through })
}

/// A segment's file, and the same past the page cache.
type Files = (Arc<dyn File>, Option<Arc<dyn File>>);

/// Gives a file that is durable, and begins with `head`, the name of the segment `number`, durably.
fn name(
    fs: &dyn Fs,
    dir: &str,
    number: SegmentNumber,
    temporary: &str,
    made: io::Result<Arc<dyn File>>,
    head: &[u8],
) -> Result<Files> {
    let path = join(dir, &number.file_name());
    let named = made
        .map(|file| (file, open_through(fs, temporary, head)))
        .and_then(|files| fs.rename_new(temporary, &path).map(|()| files))
        .map_err(|error| (temporary, error));
    let named = named.and_then(|files| match fs.sync_dir(dir) {
        Ok(()) => Ok(files),
        Err(error) => Err((path.as_str(), error)),
    });
    named.map_err(|(unfinished, source)| {
        if let Err(error) = fs.remove(unfinished) {
            tracing::debug!(%error, unfinished, "an unfinished segment stays until the next opening");
        }
        Error::io("prepare", fs.display(&path), source)
    })
}

/// Opens a segment for writing past the page cache, and tries it with what it begins with: some file
/// systems refuse only the write.
fn open_through(fs: &dyn Fs, path: &str, head: &[u8]) -> Option<Arc<dyn File>> {
    let mut buffer = Buffer::default();
    buffer.begin(head.len()).extend_from_slice(head);
    let opened = fs.open(path, Mode::Through).and_then(|file| {
        fs::write_all_at(&*file, buffer.bytes(), 0)?;
        Ok(file)
    });
    opened
        .inspect_err(|error| tracing::debug!(%error, path, "written by way of the page cache"))
        .ok()
}

/// Writes the mark over the beginning of what was a segment, durably: if it still is that one, and nobody
/// has it under another name, as a backup made of hard links has.
fn mark(fs: &dyn Fs, path: &str, head: &[u8], spare: &Spare) -> io::Result<Arc<dyn File>> {
    let file = fs.open(path, Mode::Write)?;
    let stat = file.stat()?;
    let mut block = vec![0; usize_of(SEGMENT_HEADER_BYTES)];
    fs::read_full_at(&*file, &mut block, 0)?;
    let is_ours = matches!(SegmentHeader::decode(&block, spare.number),
        HeaderBlock::Read { header, .. } if header.identity == spare.identity && header.number == spare.number);
    if !is_ours || stat.links != 1 || stat.size_bytes != spare.size_bytes {
        let why = "the file is not the segment that was cut, or not that alone";
        return Err(io::Error::new(io::ErrorKind::InvalidData, why));
    }
    fs::write_all_at(&*file, head, 0)?;
    file.sync_data()?;
    Ok(file)
}

fn fill(fs: &dyn Fs, path: &str, size_bytes: u64) -> io::Result<Arc<dyn File>> {
    // A crash may have left one of that name half made.
    match fs.remove(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let file = fs.open(path, Mode::CreateNew)?;
    let zeroes = vec![0; usize_of(size_bytes.min(ZEROES_BYTES))];
    let mut offset = 0;
    while offset < size_bytes {
        let length = usize_of((size_bytes - offset).min(ZEROES_BYTES));
        fs::write_all_at(&*file, zeroes.get(..length).unwrap_or(&zeroes), offset)?;
        offset += length as u64;
    }
    file.sync_data()?;
    Ok(file)
}
