//! Bytes on their way to the disk, from memory that begins on a block's boundary, as a write past the page
//! cache demands. It is used again and again, so that no group takes memory anew.

use crate::wal::format::{BLOCK_BYTES, usize_of};

/// A buffer that a big group made larger is given back.
const BYTES_KEPT: usize = 4 << 20;

/// Bytes on a boundary: behind as many others as come before it.
#[derive(Debug, Default)]
pub(crate) struct Buffer {
    all: Vec<u8>,
    start: usize,
}

impl Buffer {
    /// Empties it, to be appended to; up to `need` bytes stay on the boundary.
    pub(crate) fn begin(&mut self, need: usize) -> &mut Vec<u8> {
        let block = usize_of(BLOCK_BYTES);
        self.all.clear();
        self.all.shrink_to(BYTES_KEPT);
        self.all.reserve(need.saturating_add(block));
        self.start = self.all.as_ptr().align_offset(block).min(block);
        self.all.resize(self.start, 0);
        &mut self.all
    }

    /// What was appended.
    pub(crate) fn bytes(&self) -> &[u8] {
        self.all.get(self.start..).unwrap_or_default()
    }

    /// Whether it lies on the boundary and ends on one.
    pub(crate) fn is_aligned(&self) -> bool {
        let (bytes, block) = (self.bytes(), usize_of(BLOCK_BYTES));
        bytes.as_ptr().align_offset(block) == 0 && bytes.len().is_multiple_of(block)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_within_the_need_lies_on_a_boundary_whatever_came_before() {
        let mut buffer = Buffer::default();
        for need in [4096, 3 * 4096, 4096, 9 << 20, 8192] {
            buffer.begin(need).extend(std::iter::repeat_n(7, need - 1));
            assert!(!buffer.is_aligned(), "one byte is missing");
            buffer.all.push(7);
            assert!(buffer.is_aligned(), "{need}");
            assert_eq!(buffer.bytes(), vec![7; need]);
        }
    }
}
