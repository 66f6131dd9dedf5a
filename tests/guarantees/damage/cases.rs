//! All ways in which one file, or the log as a whole, is damaged: each has a number, so that all of
//! them, or any sample, can be made.
//!
//! Damage that keeps a file's length leaves no trace in its `stat`, as a medium's does. A number that
//! would change nothing (a sector that is zero already) is no case.

use std::ops::Range;

use walden::fs::sim::SimFs;

use super::store::Reference;

const SECTOR: usize = 512;
const BLOCK: usize = 4096;
/// How far a file is extended.
const EXTENSIONS: [usize; 4] = [1, SECTOR, BLOCK, BLOCK + 7];

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    BitFlipped,
    CutShort,
    SectorZeroed,
    SectorLost,
    BlocksSwapped,
    LongerByZeroes,
    LongerByJunk,
    SegmentMissing,
    SegmentDuplicated,
    SegmentsSwapped,
    SegmentStale,
    SegmentForeign,
    AllSegmentsGone,
}

pub(super) const KINDS: [Kind; 13] = [
    Kind::BitFlipped,
    Kind::CutShort,
    Kind::SectorZeroed,
    Kind::SectorLost,
    Kind::BlocksSwapped,
    Kind::LongerByZeroes,
    Kind::LongerByJunk,
    Kind::SegmentMissing,
    Kind::SegmentDuplicated,
    Kind::SegmentsSwapped,
    Kind::SegmentStale,
    Kind::SegmentForeign,
    Kind::AllSegmentsGone,
];

/// All damage of one kind to one file.
#[derive(Clone)]
pub(super) struct Family<'a> {
    pub(super) reference: &'a Reference,
    pub(super) foreign: &'a Reference,
    pub(super) name: String,
    pub(super) kind: Kind,
    /// How many numbers there are.
    pub(super) numbers: usize,
}

impl<'a> Family<'a> {
    /// Every kind of damage to every file of a store.
    pub(super) fn all(reference: &'a Reference, foreign: &'a Reference) -> Vec<Family<'a>> {
        let mut families = Vec::new();
        for name in reference.files.keys() {
            for kind in KINDS {
                let mut family =
                    Family { reference, foreign, name: name.clone(), kind, numbers: 0 };
                family.numbers = family.count();
                families.push(family);
            }
        }
        families.retain(|family| family.numbers > 0);
        families
    }

    fn whole(&self) -> &'a [u8] {
        &self.reference.files[&self.name]
    }

    fn earlier(&self) -> &'a [Vec<u8>] {
        self.reference.earlier.get(&self.name).map(Vec::as_slice).unwrap_or_default()
    }

    fn segments(&self) -> Vec<&'a String> {
        self.reference.segments.keys().collect()
    }

    fn count(&self) -> usize {
        let length = self.whole().len();
        let (sectors, blocks) = (length.div_ceil(SECTOR), length.div_ceil(BLOCK));
        let is_segment = self.reference.segments.contains_key(&self.name);
        let is_first = self.segments().first() == Some(&&self.name);
        match self.kind {
            Kind::BitFlipped => length * 8,
            Kind::CutShort => length,
            Kind::SectorZeroed => sectors,
            Kind::SectorLost => sectors * self.earlier().len(),
            Kind::BlocksSwapped => blocks * blocks.saturating_sub(1) / 2,
            Kind::LongerByZeroes | Kind::LongerByJunk => EXTENSIONS.len(),
            Kind::AllSegmentsGone => usize::from(is_first),
            _ if !is_segment => 0,
            Kind::SegmentMissing | Kind::SegmentForeign => 1,
            Kind::SegmentDuplicated => self.free_numbers().len(),
            Kind::SegmentsSwapped => {
                self.segments().iter().filter(|other| ***other > self.name).count()
            }
            Kind::SegmentStale => self.earlier().len(),
        }
    }

    /// Numbers that no segment has: below all, above all, far above all, and the largest of all.
    fn free_numbers(&self) -> Vec<String> {
        let of = |name: &String| name[4..24].parse::<u64>().unwrap();
        let (first, last) = (of(self.segments()[0]), of(self.segments().last().unwrap()));
        let numbers = [first - 1, last + 1, last + 90, u64::MAX];
        numbers.map(|number| format!("wal/{number:020}.wal")).to_vec()
    }

    /// Does it; gives the names that a finding may bear, or `None` if it would change nothing.
    pub(super) fn inflict(&self, disk: &SimFs, number: usize) -> Option<Vec<String>> {
        let (name, whole) = (&self.name, self.whole());
        let mut named = vec![name.clone()];
        let same_length = match self.kind {
            Kind::BitFlipped => {
                disk.corrupt(name, (number / 8) as u64, 1 << (number % 8)).unwrap();
                return Some(named);
            }
            Kind::SectorZeroed => zeroed(whole, sector(whole, number)),
            Kind::SectorLost => {
                let earlier = &self.earlier()[number / whole.len().div_ceil(SECTOR)];
                lost(whole, earlier, sector(whole, number % whole.len().div_ceil(SECTOR)))
            }
            Kind::BlocksSwapped => swapped(whole, number),
            _ => {
                self.replace(disk, number, &mut named)?;
                return Some(named);
            }
        };
        for (at, (old, new)) in whole.iter().zip(&same_length).enumerate() {
            if old != new {
                disk.corrupt(name, at as u64, old ^ new).unwrap();
            }
        }
        (same_length != whole).then_some(named)
    }

    /// Damage after which a file has another length, or another one its place.
    fn replace(&self, disk: &SimFs, number: usize, named: &mut Vec<String>) -> Option<()> {
        let (name, whole) = (&self.name, self.whole());
        let write = |name: &str, bytes: &[u8]| disk.write_now(name, bytes).unwrap();
        match self.kind {
            Kind::CutShort => write(name, &whole[..number]),
            Kind::LongerByZeroes | Kind::LongerByJunk => {
                let mut longer = whole.to_vec();
                let junk = if self.kind == Kind::LongerByZeroes { 0 } else { 0xa5 };
                longer.resize(whole.len() + EXTENSIONS[number], junk);
                write(name, &longer);
            }
            Kind::SegmentMissing => disk.remove_now(name).unwrap(),
            Kind::SegmentDuplicated => {
                let copy = &self.free_numbers()[number];
                write(copy, whole);
                named.push(copy.clone());
            }
            Kind::SegmentsSwapped => {
                let all = self.segments();
                let other = all.into_iter().filter(|other| *other > name).nth(number)?;
                write(name, &self.reference.files[other]);
                write(other, whole);
                named.push(other.clone());
            }
            Kind::SegmentStale => write(name, &self.earlier()[number]),
            Kind::SegmentForeign => {
                let mut theirs =
                    self.foreign.segments.iter().filter(|(_, segment)| !segment.is_prepared);
                let first = theirs.clone().next();
                let (other, _) = theirs.find(|(other, _)| *other == name).or(first)?;
                write(name, &self.foreign.files[other]);
            }
            Kind::AllSegmentsGone => {
                for name in self.segments() {
                    disk.remove_now(name).unwrap();
                }
            }
            _ => unreachable!("{:?} keeps the file's length", self.kind),
        }
        Some(())
    }
}

fn sector(whole: &[u8], number: usize) -> Range<usize> {
    number * SECTOR..((number + 1) * SECTOR).min(whole.len())
}

fn zeroed(whole: &[u8], range: Range<usize>) -> Vec<u8> {
    let mut damaged = whole.to_vec();
    damaged[range].fill(0);
    damaged
}

/// A write to one sector that never reached the medium.
fn lost(whole: &[u8], earlier: &[u8], range: Range<usize>) -> Vec<u8> {
    let mut damaged = whole.to_vec();
    for at in range {
        damaged[at] = earlier.get(at).copied().unwrap_or_default();
    }
    damaged
}

/// The blocks of the `number`-th pair, each in the other's place, as far as both have bytes.
fn swapped(whole: &[u8], number: usize) -> Vec<u8> {
    let blocks = whole.len().div_ceil(BLOCK);
    let pairs = (0..blocks).flat_map(|a| (a + 1..blocks).map(move |b| (a, b)));
    let (a, b) = pairs.into_iter().nth(number).unwrap();
    let mut damaged = whole.to_vec();
    for offset in 0..BLOCK.min(whole.len() - b * BLOCK) {
        damaged.swap(a * BLOCK + offset, b * BLOCK + offset);
    }
    damaged
}
