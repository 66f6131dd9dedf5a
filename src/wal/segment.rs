//! Preparing segments: a file gets its name only once it has its full size in real zeroes, durable.
//!
//! Real zeroes, because allocated but unwritten extents would make every later flush write metadata
//! too. It runs beside the writer; what it makes says nothing until the writer puts a header in it.

use std::io;
use std::sync::Arc;

use crate::base::{Error, Result};
use crate::fs::{self, File, Fs, Mode, join};
use crate::wal::buffer::Buffer;
use crate::wal::format::{
    SEGMENT_BYTES_MIN, SEGMENT_HEADER_BYTES, SegmentNumber, padded, usize_of,
};

const ZEROES_BYTES: u64 = 1 << 20;

/// A segment of zeroes, ready to be used.
#[derive(Debug)]
pub struct PreparedSegment {
    pub(crate) number: SegmentNumber,
    pub(crate) size_bytes: u64,
    pub(crate) file: Arc<dyn File>,
    /// The same file past the page cache, where that can be.
    pub(crate) through: Option<Arc<dyn File>>,
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
    let path = join(dir, &number.file_name());
    let named = fill(fs, &temporary, size_bytes)
        .map(|file| (file, open_through(fs, &temporary)))
        .and_then(|files| fs.rename_new(&temporary, &path).map(|()| files))
        .map_err(|error| (&temporary, error));
    let made = named.and_then(|files| match fs.sync_dir(dir) {
        Ok(()) => Ok(files),
        Err(error) => Err((&path, error)),
    });
    let (file, through) = made.map_err(|(unfinished, source)| {
        if let Err(error) = fs.remove(unfinished) {
            tracing::debug!(%error, unfinished, "an unfinished segment stays until the next opening");
        }
        Error::io("prepare", fs.display(&path), source)
    })?;
    Ok(PreparedSegment { number, size_bytes, file, through })
}

/// Opens a segment for writing past the page cache, and tries it with zeroes in the place of the header:
/// some file systems refuse only the write.
fn open_through(fs: &dyn Fs, path: &str) -> Option<Arc<dyn File>> {
    let (mut zeroes, length) = (Buffer::default(), usize_of(SEGMENT_HEADER_BYTES));
    zeroes.begin(length).extend(std::iter::repeat_n(0, length));
    let opened = fs.open(path, Mode::Through).and_then(|file| {
        fs::write_all_at(&*file, zeroes.bytes(), 0)?;
        Ok(file)
    });
    opened
        .inspect_err(|error| tracing::debug!(%error, path, "written by way of the page cache"))
        .ok()
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
