//! Which way to the medium is the quicker one on this disk: one write past the page cache, or a write and a
//! flush.
//!
//! It only ever writes zeroes over zeroes, so that no crash can tell that it was here.

use std::io;
use std::time::Duration;

use crate::base::Clock;
use crate::fs::{self, File};
use crate::wal::buffer::Buffer;
use crate::wal::format::{BLOCK_BYTES, SEGMENT_HEADER_BYTES, usize_of};

/// So often each way is tried, in turn.
pub(super) const ROUNDS: usize = 5;
/// A write and a flush are taken if they need less than so many percent of the time of the one write,
/// which saves a call and a copy besides.
const PLAIN_PERCENT: u32 = 80;

/// Tries both ways at the place of the first group of a prepared segment. `through` is the same file as
/// `file`, past the page cache; if it fails it is not the quicker one.
///
/// # Errors
/// What the other way fails with: then the segment must not be used.
pub(super) fn is_direct_quicker(
    file: &dyn File,
    through: &dyn File,
    clock: &dyn Clock,
) -> io::Result<bool> {
    let mut buffer = Buffer::default();
    let length = usize_of(BLOCK_BYTES);
    let zeroes = buffer.begin(length);
    zeroes.resize(zeroes.len() + length, 0);
    let (mut direct, mut plain) = ([Duration::ZERO; ROUNDS], [Duration::ZERO; ROUNDS]);
    for (direct, plain) in direct.iter_mut().zip(&mut plain) {
        let begun = clock.monotonic();
        if fs::write_all_at(through, buffer.bytes(), SEGMENT_HEADER_BYTES).is_err() {
            return Ok(false);
        }
        let between = clock.monotonic();
        fs::write_all_at(file, buffer.bytes(), SEGMENT_HEADER_BYTES)?;
        file.sync_data()?;
        *direct = between.saturating_sub(begun);
        *plain = clock.monotonic().saturating_sub(between);
    }
    Ok(median(plain) >= median(direct) * PLAIN_PERCENT / 100)
}

fn median(mut took: [Duration; ROUNDS]) -> Duration {
    took.sort_unstable();
    took[ROUNDS / 2]
}
