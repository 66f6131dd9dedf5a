//! The contents of one simulated file: what a read sees, and what is on the medium.
//!
//! Both are kept by sectors of 512 bytes. A dirty sector reaches the medium by a sync, by a later
//! rename if it was written back before that and not written again, or, at a power cut, by chance,
//! and then perhaps torn. A sector whose sync failed is clean and *lost*: reads still see it, but
//! only a new write makes it dirty again.
//!
//! Invariants: `durable` is never longer than `now`; where a sector is neither dirty nor lost, both
//! hold the same.

use std::collections::BTreeSet;

use super::crash::{Chance, Kept};
use super::image::Image;

pub(super) const SECTOR_BYTES: usize = 512;

/// A file's contents.
#[derive(Clone, Debug, Default)]
pub(super) struct Data {
    now: Image,
    durable: Image,
    dirty: BTreeSet<usize>,
    lost: BTreeSet<usize>,
    written_back: BTreeSet<usize>,
}

/// What a rename takes to the medium with it: the sectors that were written back before it.
#[derive(Clone, Debug)]
pub(super) struct Carried {
    length: usize,
    sectors: Vec<(usize, Vec<u8>)>,
}

impl Data {
    /// Contents that are wholly durable.
    pub(super) fn settled(bytes: Image) -> Data {
        Data { durable: bytes.clone(), now: bytes, ..Data::default() }
    }

    pub(super) fn now(&self) -> &Image {
        &self.now
    }

    /// Whether a power cut leaves it as it is.
    pub(super) fn is_settled(&self) -> bool {
        self.dirty.is_empty() && self.lost.is_empty()
    }

    /// Writes at `offset`; a gap before it is filled with zeroes.
    pub(super) fn write(&mut self, bytes: &[u8], offset: usize) {
        self.now.write(offset, bytes);
        let end = offset + bytes.len();
        for sector in offset / SECTOR_BYTES..end.div_ceil(SECTOR_BYTES) {
            self.dirty.insert(sector);
            self.lost.remove(&sector);
            self.written_back.remove(&sector);
        }
    }

    /// Makes every dirty sector and the length durable.
    pub(super) fn sync(&mut self) {
        if self.lost.is_empty() {
            self.durable = self.now.clone();
        } else {
            self.durable.grow(self.now.len());
            for sector in &self.dirty {
                self.durable.overwrite(sector * SECTOR_BYTES, &bytes_of(&self.now, *sector));
            }
        }
        self.dirty.clear();
        self.written_back.clear();
    }

    /// Makes the dirty sectors of `length` bytes at `offset` durable, and the length of the file.
    pub(super) fn sync_part(&mut self, offset: usize, length: usize) {
        self.durable.grow(self.now.len());
        for sector in offset / SECTOR_BYTES..(offset + length).div_ceil(SECTOR_BYTES) {
            if self.dirty.remove(&sector) {
                self.durable.overwrite(sector * SECTOR_BYTES, &bytes_of(&self.now, sector));
            }
            self.written_back.remove(&sector);
        }
    }

    /// What a failed sync leaves where the pages become clean: they are not on the medium.
    pub(super) fn lose(&mut self) {
        self.lost.append(&mut self.dirty);
        self.written_back.clear();
    }

    pub(super) fn write_back(&mut self) {
        self.written_back.clone_from(&self.dirty);
    }

    /// What a rename of this file, done now, would carry.
    pub(super) fn carried(&self) -> Option<Carried> {
        let last = self.written_back.last()?;
        let length = self.now.len().min((last + 1) * SECTOR_BYTES);
        let sector = |at: &usize| (*at, bytes_of(&self.now, *at));
        Some(Carried { length, sectors: self.written_back.iter().map(sector).collect() })
    }

    /// Puts what a rename carried onto the medium.
    pub(super) fn settle(&mut self, carried: &Carried) {
        self.durable.grow(carried.length);
        for (sector, bytes) in &carried.sectors {
            self.durable.overwrite(sector * SECTOR_BYTES, bytes);
        }
    }

    /// What the medium holds after a power cut.
    pub(super) fn after_crash(&self, chance: &mut Chance) -> Image {
        let mut unsynced = self.dirty.clone();
        // A failed sync may have got through for all that anyone knows.
        if !self.lost.is_empty() && chance.whim() {
            unsynced.extend(&self.lost);
        }
        let mut image = self.durable.clone();
        for Kept { sector, bytes } in chance.sectors(&unsynced) {
            let new = bytes_of(&self.now, sector);
            let new = new.get(..bytes).unwrap_or(&new);
            // A tear at the very beginning keeps nothing, the new length neither.
            if !new.is_empty() {
                image.write(sector * SECTOR_BYTES, new);
            }
        }
        if image.len() < self.now.len() && chance.coin() {
            image.grow(self.now.len());
        }
        image
    }

    /// Flips bits on the medium and in what is read.
    pub(super) fn corrupt(&mut self, offset: usize, mask: u8) {
        self.now.flip(offset, mask);
        self.durable.flip(offset, mask);
    }
}

fn bytes_of(image: &Image, sector: usize) -> Vec<u8> {
    image.part(sector * SECTOR_BYTES, SECTOR_BYTES)
}
