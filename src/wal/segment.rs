//! Preparing segments: a file gets its name only once it has its full size in real zeroes, durable.
//!
//! Real zeroes, because allocated but unwritten extents would make every later flush write metadata
//! too. It runs beside the writer; what it makes says nothing until the writer puts a header in it.

use std::io;
use std::sync::Arc;

use crate::base::{Error, Result};
use crate::fs::replace::remove_if_any;
use crate::fs::{self, File, Fs, Mode, join};
use crate::wal::format::{SEGMENT_BYTES_MIN, SegmentNumber, padded, usize_of};

const ZEROES_BYTES: u64 = 1 << 20;

/// A segment of zeroes, ready to be used.
#[derive(Debug)]
pub struct PreparedSegment {
    pub(crate) number: SegmentNumber,
    pub(crate) size_bytes: u64,
    pub(crate) file: Arc<dyn File>,
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
    let failed = |source: io::Error| Error::io("prepare", fs.display(&path), source);
    // Only a process that was killed while preparing this very segment can have left one.
    remove_if_any(fs, &temporary)?;
    let made = fill(fs, &temporary, size_bytes)
        .and_then(|file| fs.rename_new(&temporary, &path).map(|()| file));
    let file = made.map_err(|source| {
        if let Err(error) = fs.remove(&temporary) {
            tracing::debug!(%error, temporary, "an unfinished segment stays until the next opening");
        }
        failed(source)
    })?;
    fs.sync_dir(dir).map_err(failed)?;
    Ok(PreparedSegment { number, size_bytes, file })
}

fn fill(fs: &dyn Fs, path: &str, size_bytes: u64) -> io::Result<Arc<dyn File>> {
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

#[cfg(all(test, feature = "testing"))]
mod tests {
    use super::*;
    use crate::fs::sim::SimFs;

    #[test]
    fn what_a_killed_process_left_of_a_segment_does_not_keep_it_from_being_made() {
        let fs = SimFs::new();
        let (dir, number) = ("wal", SegmentNumber(3));
        fs.create_dir(dir).unwrap();
        let left = fs.open(&join(dir, &number.temporary_name()), Mode::CreateNew).unwrap();
        fs::write_all_at(&*left, b"half", 0).unwrap();
        let made = prepare_segment(&fs, dir, number, SEGMENT_BYTES_MIN).unwrap();
        assert_eq!(made.file.stat().unwrap().size_bytes, SEGMENT_BYTES_MIN);
        assert!(fs.open(&join(dir, &number.temporary_name()), Mode::Read).is_err());
    }
}
