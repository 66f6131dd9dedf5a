//! The bytes of one simulated file, in chunks that its copies share until one of them is written to.
//!
//! A crash exploration makes many disks from one and changes little on each, so a copy must cost
//! nothing, and a hash must be computed once for all copies.
//!
//! Invariants: what a chunk holds beyond the file's length is zero; a chunk's hash is of its present
//! bytes.

use std::sync::{Arc, OnceLock};

use crate::base::hash::ContentHash;

const CHUNK_BYTES: usize = 4096;

#[derive(Debug)]
struct Chunk {
    bytes: [u8; CHUNK_BYTES],
    hash: OnceLock<u128>,
}

impl Default for Chunk {
    fn default() -> Self {
        Chunk { bytes: [0; CHUNK_BYTES], hash: OnceLock::new() }
    }
}

impl Clone for Chunk {
    /// A chunk is cloned in order to be changed: its hash would be of no use.
    fn clone(&self) -> Self {
        Chunk { bytes: self.bytes, hash: OnceLock::new() }
    }
}

/// A file's bytes; clones share them.
#[derive(Clone, Debug, Default)]
pub(super) struct Image {
    chunks: Arc<Vec<Arc<Chunk>>>,
    length: usize,
}

impl Image {
    pub(super) fn of(bytes: &[u8]) -> Image {
        let mut image = Image::default();
        image.write(0, bytes);
        image
    }

    pub(super) fn len(&self) -> usize {
        self.length
    }

    /// Reads into `buf` from `offset` what there is, and says how much.
    pub(super) fn read(&self, offset: usize, buf: &mut [u8]) -> usize {
        let count = buf.len().min(self.length.saturating_sub(offset));
        let mut rest = buf.get_mut(..count).unwrap_or_default();
        for (at, start, length) in pieces(offset, count) {
            let (place, behind) = rest.split_at_mut(length);
            if let Some(bytes) =
                self.chunks.get(at).and_then(|it| it.bytes.get(start..start + length))
            {
                place.copy_from_slice(bytes);
            }
            rest = behind;
        }
        count
    }

    /// What there is of the `length` bytes at `offset`.
    pub(super) fn part(&self, offset: usize, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length.min(self.length.saturating_sub(offset))];
        self.read(offset, &mut bytes);
        bytes
    }

    pub(super) fn to_vec(&self) -> Vec<u8> {
        self.part(0, self.length)
    }

    /// Makes it at least `length` long, with zeroes.
    pub(super) fn grow(&mut self, length: usize) {
        if length <= self.length {
            return;
        }
        self.length = length;
        let count = length.div_ceil(CHUNK_BYTES);
        if count > self.chunks.len() {
            Arc::make_mut(&mut self.chunks).resize_with(count, Arc::default);
        }
    }

    /// Writes at `offset`; a gap before it is filled with zeroes.
    pub(super) fn write(&mut self, offset: usize, bytes: &[u8]) {
        self.grow(offset + bytes.len());
        self.overwrite(offset, bytes);
    }

    /// Writes what of `bytes` lies within the file, whose length stays.
    pub(super) fn overwrite(&mut self, offset: usize, bytes: &[u8]) {
        let count = bytes.len().min(self.length.saturating_sub(offset));
        let chunks = Arc::make_mut(&mut self.chunks);
        let mut rest = bytes;
        for (at, start, length) in pieces(offset, count) {
            let (piece, behind) = rest.split_at(length);
            if let Some(chunk) = chunks.get_mut(at).map(Arc::make_mut) {
                chunk.hash.take();
                if let Some(place) = chunk.bytes.get_mut(start..start + length) {
                    place.copy_from_slice(piece);
                }
            }
            rest = behind;
        }
    }

    /// Flips the bits of `mask` in one byte; nothing happens beyond the end.
    pub(super) fn flip(&mut self, offset: usize, mask: u8) {
        let byte = self.part(offset, 1);
        self.overwrite(offset, &byte.iter().map(|byte| byte ^ mask).collect::<Vec<_>>());
    }

    /// What tells these bytes from others, for a hash over many files: the length and each chunk's
    /// hash.
    pub(super) fn digest_into(&self, to: &mut Vec<u8>) {
        to.extend((self.length as u64).to_le_bytes());
        for chunk in self.chunks.iter() {
            let hash = chunk.hash.get_or_init(|| ContentHash::of(&chunk.bytes).0);
            to.extend(hash.to_le_bytes());
        }
    }
}

/// Cuts the `count` bytes at `offset` at the ends of chunks: of each, which one, where, how much.
fn pieces(offset: usize, count: usize) -> impl Iterator<Item = (usize, usize, usize)> {
    let end = offset + count;
    (offset / CHUNK_BYTES..end.div_ceil(CHUNK_BYTES)).map(move |at| {
        let from = offset.max(at * CHUNK_BYTES);
        let to = end.min((at + 1) * CHUNK_BYTES);
        (at, from - at * CHUNK_BYTES, to.saturating_sub(from))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_holds_what_a_vector_would() {
        let mut image = Image::default();
        let mut model: Vec<u8> = Vec::new();
        let mut copies = Vec::new();
        let mut state = 1_u64;
        for round in 0..400 {
            let mut draw = |limit: usize| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                usize::try_from(state >> 33).unwrap() % limit
            };
            let (offset, length) = (draw(20_000), draw(9_000));
            if round % 20 == 0 {
                copies.push((image.clone(), model.clone()));
            }
            model.resize(model.len().max(offset + length), 0);
            model[offset..offset + length].fill(u8::try_from(round % 251).unwrap());
            image.write(offset, &vec![u8::try_from(round % 251).unwrap(); length]);
            let (offset, length) = (draw(30_000), draw(9_000));
            let start = offset.min(model.len());
            let end = (offset + length).min(model.len()).max(start);
            assert_eq!(image.part(offset, length), model[start..end]);
        }
        copies.push((image, model));
        for (image, model) in copies {
            assert!(image.to_vec() == model, "a copy does not see later writes");
        }
    }

    #[test]
    fn a_digest_follows_every_change() {
        let digest = |image: &Image| {
            let mut bytes = Vec::new();
            image.digest_into(&mut bytes);
            bytes
        };
        let mut image = Image::of(&[1; 10_000]);
        let first = digest(&image);
        let copy = image.clone();
        image.flip(5000, 4);
        assert!(digest(&image) != first && digest(&copy) == first);
        image.flip(5000, 4);
        assert_eq!(digest(&image), first);
        image.grow(10_001);
        assert_ne!(digest(&image), first, "a length counts, though zeroes are added");
        image.flip(20_000, 1);
        assert_eq!(image.len(), 10_001);
    }
}
