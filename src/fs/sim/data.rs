//! The contents of one simulated file: what a read sees, and what is on the medium.
//!
//! The unit of both is a sector of 512 bytes, which is written whole or not at all. A dirty sector
//! reaches the medium by a sync, by a later rename if it was written back before that and not written
//! again, or, at a power cut, by chance. A sector whose sync failed is clean and *lost*: reads still see it, but only a
//! new write makes it dirty again.
//!
//! Invariant: `durable` is never longer than `now`.

use std::collections::BTreeSet;

use super::crash::Chance;

const SECTOR_BYTES: usize = 512;

/// A file's contents.
#[derive(Clone, Debug, Default)]
pub(super) struct Data {
    now: Vec<u8>,
    durable: Vec<u8>,
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
    pub(super) fn settled(bytes: Vec<u8>) -> Data {
        Data { durable: bytes.clone(), now: bytes, ..Data::default() }
    }

    pub(super) fn now(&self) -> &[u8] {
        &self.now
    }

    /// Writes at `offset`; a gap before it is filled with zeroes.
    pub(super) fn write(&mut self, bytes: &[u8], offset: usize) {
        let end = offset + bytes.len();
        if end > self.now.len() {
            self.now.resize(end, 0);
        }
        if let Some(place) = self.now.get_mut(offset..end) {
            place.copy_from_slice(bytes);
        }
        for sector in offset / SECTOR_BYTES..end.div_ceil(SECTOR_BYTES) {
            self.dirty.insert(sector);
            self.lost.remove(&sector);
            self.written_back.remove(&sector);
        }
    }

    /// Makes every dirty sector and the length durable.
    pub(super) fn sync(&mut self) {
        self.durable.resize(self.now.len(), 0);
        for sector in std::mem::take(&mut self.dirty) {
            copy_sector(&mut self.durable, sector, bytes_of(&self.now, sector));
        }
        self.written_back.clear();
    }

    /// What a failed sync leaves: pages that are clean, and not on the medium.
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
        let sector = |at: &usize| (*at, bytes_of(&self.now, *at).to_vec());
        Some(Carried { length, sectors: self.written_back.iter().map(sector).collect() })
    }

    /// Puts what a rename carried onto the medium.
    pub(super) fn settle(&mut self, carried: &Carried) {
        if self.durable.len() < carried.length {
            self.durable.resize(carried.length, 0);
        }
        for (sector, bytes) in &carried.sectors {
            copy_sector(&mut self.durable, *sector, bytes);
        }
    }

    /// What the medium holds after a power cut.
    pub(super) fn after_crash(&self, chance: &mut Chance) -> Vec<u8> {
        let mut dirty: Vec<usize> = self.dirty.iter().copied().collect();
        // A failed sync may have got through for all that anyone knows.
        dirty.extend(chance.some_lost(&self.lost));
        dirty.sort_unstable();
        let (kept, grown) = chance.sectors(&dirty);
        let mut bytes = self.durable.clone();
        for sector in &kept {
            let end = self.now.len().min((sector + 1) * SECTOR_BYTES);
            if bytes.len() < end {
                bytes.resize(end, 0);
            }
            copy_sector(&mut bytes, *sector, bytes_of(&self.now, *sector));
        }
        if grown {
            bytes.resize(self.now.len(), 0);
        }
        bytes
    }

    /// Flips bits on the medium and in what is read.
    pub(super) fn corrupt(&mut self, offset: usize, mask: u8) {
        for bytes in [&mut self.now, &mut self.durable] {
            if let Some(byte) = bytes.get_mut(offset) {
                *byte ^= mask;
            }
        }
    }
}

fn bytes_of(bytes: &[u8], sector: usize) -> &[u8] {
    let end = bytes.len().min((sector + 1) * SECTOR_BYTES);
    bytes.get(sector * SECTOR_BYTES..end).unwrap_or_default()
}

/// Copies what of `bytes` lies within the target, whose length stays.
fn copy_sector(target: &mut [u8], sector: usize, bytes: &[u8]) {
    let start = sector * SECTOR_BYTES;
    for (place, byte) in target.iter_mut().skip(start).zip(bytes) {
        *place = *byte;
    }
}
