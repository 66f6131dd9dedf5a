//! What the log holds of an output file, and bringing the file to it after a crash.
//!
//! | in the file | then |
//! |---|---|
//! | new contents wait in `wal/` | they get the name; and as below |
//! | no file, the log holds it from its first byte | it is made |
//! | nothing behind a place, or what a crash leaves of the logged bytes | all of them are written |
//! | the logged bytes | they are written again, so that a flush covers them |
//! | anything else, or the file ends before the first logged byte | somebody's: it is left |
//!
//! *What a crash leaves*: in each sector the logged bytes up to some byte, and zeros from there on.
//! Everything below the first logged byte of a generation was durable when that was logged.
//!
//! Invariants: no byte that somebody else wrote is ever overwritten; doing all of it twice, or again
//! after a crash in the middle, is doing it once.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::sync::Arc;

use crate::base::{Error, Result};
use crate::files::conflicts::ensure_dir;
use crate::files::names;
use crate::fs::replace::write_temporary;
use crate::fs::{File, Fs, Kind, Mode, Stat, read_full_at, split, write_all_at};
use crate::state::Op;

const SECTOR_BYTES: usize = 512;

/// Bytes of one generation of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Version {
    pub(crate) generation: u64,
    /// Whether the generation began by replacing the file.
    pub(crate) is_whole: bool,
    /// Bytes and their places, rising; two in a row touch only where records are missing between.
    pieces: Vec<(u64, Vec<u8>)>,
}

/// What the log holds of all output files: of each the last generation.
#[derive(Clone, Debug, Default)]
pub(crate) struct Logged(BTreeMap<String, Version>);

impl Logged {
    /// Takes note of a record, in the order of the log.
    pub(crate) fn note(&mut self, op: &Op) {
        let (file, version) = match op {
            Op::WriteOutput { file, generation, bytes } => {
                (file, Version::new(*generation, None, bytes))
            }
            Op::AppendOutput { file, generation, offset, bytes } => {
                (file, Version::new(*generation, Some(*offset), bytes))
            }
            _ => return,
        };
        if !names::is_output(file) {
            tracing::warn!(file, "the log names an output that cannot be one; it is passed over");
            return;
        }
        match self.0.get_mut(file) {
            Some(known) if known.generation == version.generation => known.extend(version),
            _ => drop(self.0.insert(file.clone(), version)),
        }
    }

    /// Whether new contents that wait in `wal/` belong to a record of the log.
    pub(crate) fn awaits(&self, file: &str, generation: u64) -> bool {
        let version = self.0.get(file).filter(|version| version.is_whole);
        version.is_some_and(|version| version.generation == generation)
    }

    pub(crate) fn into_iter(self) -> impl Iterator<Item = (String, Version)> {
        self.0.into_iter()
    }
}

/// How a file was found when it was to be brought to a version.
pub(crate) enum Settled {
    /// It holds the version now, not flushed.
    Done(Arc<dyn File>, Stat),
    /// Somebody else's contents, or no regular file, have the place.
    Taken,
}

impl Version {
    /// Bytes at an offset, or the whole contents.
    pub(crate) fn new(generation: u64, offset: Option<u64>, bytes: &[u8]) -> Self {
        let pieces = vec![(offset.unwrap_or(0), bytes.to_vec())];
        Version { generation, is_whole: offset.is_none(), pieces }
    }

    fn extend(&mut self, later: Version) {
        for (offset, bytes) in later.pieces {
            match self.pieces.last_mut() {
                Some((start, known)) if *start + known.len() as u64 == offset => {
                    known.extend_from_slice(&bytes);
                }
                _ => self.pieces.push((offset, bytes)),
            }
        }
    }

    /// The offset of its first byte.
    pub(crate) fn start(&self) -> u64 {
        self.pieces.first().map_or(0, |(offset, _)| *offset)
    }

    /// The offset behind its last byte.
    pub(crate) fn end(&self) -> u64 {
        self.pieces.last().map_or(0, |(offset, bytes)| offset.saturating_add(bytes.len() as u64))
    }

    /// Its bytes, one after the other.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.pieces.iter().flat_map(|(_, bytes)| bytes).copied().collect()
    }

    /// Brings `file` to this version; it may be called again after any failure or crash.
    pub(crate) fn settle(&self, fs: &dyn Fs, file: &str) -> Result<Settled> {
        let (dir, _) = split(file).map_err(|error| Error::io("write", fs.display(file), error))?;
        ensure_dir(fs, dir)?;
        let part = names::output_part(file, self.generation);
        let waits = self.is_whole && crate::files::stat(fs, &part)?.is_some();
        if waits && place(fs, &part, file)?.is_none() {
            return Ok(Settled::Taken);
        }
        let handle = match fs.open(file, Mode::Write) {
            Ok(handle) => handle,
            Err(error) if error.kind() == ErrorKind::NotFound && self.start() == 0 => {
                self.create(fs, file, &part)?
            }
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::InvalidInput) => {
                return Ok(Settled::Taken);
            }
            Err(error) => return Err(Error::io("write", fs.display(file), error)),
        };
        let failed = |error| Error::io("write", fs.display(file), error);
        if !self.fits(&*handle).map_err(failed)? {
            return Ok(Settled::Taken);
        }
        for (offset, bytes) in &self.pieces {
            write_all_at(&*handle, bytes, *offset).map_err(failed)?;
        }
        let stat = handle.stat().map_err(failed)?;
        Ok(Settled::Done(handle, stat))
    }

    /// Makes a file that is not there: what was replaced as a whole appears as a whole.
    fn create(&self, fs: &dyn Fs, file: &str, part: &str) -> Result<Arc<dyn File>> {
        if !self.is_whole {
            let made = fs.open(file, Mode::CreateNew);
            return made.map_err(|error| Error::io("create", fs.display(file), error));
        }
        let first = self.pieces.first().map_or(&[][..], |(_, bytes)| bytes);
        let handle = write_temporary(fs, part, first, true)?.file;
        let placed = fs.rename_new(part, file);
        placed.map_err(|error| Error::io("write", fs.display(file), error))?;
        Ok(handle)
    }

    /// Whether all its bytes may be written: nobody else's are in their places.
    fn fits(&self, file: &dyn File) -> std::io::Result<bool> {
        let mut end = file.stat()?.size_bytes;
        for (offset, bytes) in &self.pieces {
            if *offset > end {
                return Ok(false);
            }
            let there = end.saturating_sub(*offset).min(bytes.len() as u64);
            let mut found = vec![0; usize::try_from(there).unwrap_or(bytes.len())];
            let length = read_full_at(file, &mut found, *offset)?;
            found.truncate(length);
            if !may_be_left_of(&found, bytes, *offset) {
                return Ok(false);
            }
            end = end.max(offset.saturating_add(bytes.len() as u64));
        }
        Ok(true)
    }
}

/// Gives new contents that wait in `wal/` their name, and says what they are known by; `None` if what has it is
/// no regular file. They are looked at before: behind the rename nothing fails that it would take to know them.
pub(crate) fn place(fs: &dyn Fs, part: &str, file: &str) -> Result<Option<Stat>> {
    if crate::files::stat(fs, file)?.is_some_and(|stat| stat.kind != Kind::File) {
        return Ok(None);
    }
    let failed = |error| Error::io("replace", fs.display(file), error);
    let found = crate::files::stat(fs, part)?.ok_or_else(|| failed(ErrorKind::NotFound.into()))?;
    fs.rename(part, file).map_err(failed)?;
    Ok(Some(found))
}

/// Whether `found` may be what a crash left of writing `intended` at `offset`.
fn may_be_left_of(found: &[u8], intended: &[u8], offset: u64) -> bool {
    let sector = SECTOR_BYTES as u64;
    let into_sector = usize::try_from(offset.checked_rem(sector).unwrap_or(0)).unwrap_or(0);
    let (mut found, mut intended) = (found, intended);
    let mut room = SECTOR_BYTES.saturating_sub(into_sector);
    while !found.is_empty() {
        let (here, rest) = found.split_at(room.min(found.len()));
        let (wanted, rest_wanted) = intended.split_at(here.len().min(intended.len()));
        let same = here.iter().zip(wanted).take_while(|(a, b)| a == b).count();
        if here.iter().skip(same).any(|byte| *byte != 0) {
            return false;
        }
        (found, intended, room) = (rest, rest_wanted, SECTOR_BYTES);
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crash_leaves_of_each_sector_a_beginning_and_zeros() {
        let intended: Vec<u8> =
            (0..2000_usize).map(|n| u8::try_from(n % 250 + 1).unwrap()).collect();
        let at = 300;
        let check = |found: &[u8]| may_be_left_of(found, &intended, at);
        assert!(check(&[]) && check(&intended) && check(&intended[..700]));
        let mut lost = intended.clone();
        lost[212..724].fill(0);
        assert!(check(&lost), "a whole sector");
        lost[150..212].fill(0);
        assert!(check(&lost), "the end of one");
        let mut edited = intended.clone();
        edited[1000] = b'x';
        assert!(!check(&edited));
        let mut hollow = intended.clone();
        hollow[1000..1010].fill(0);
        assert!(!check(&hollow), "no disk loses the middle of a sector");
    }

    #[test]
    fn only_the_last_generation_counts_and_its_bytes_are_joined() {
        let append = |generation, offset, bytes: &[u8]| Op::AppendOutput {
            file: "logs/session_a.log".into(),
            generation,
            offset,
            bytes: bytes.into(),
        };
        let mut logged = Logged::default();
        logged.note(&append(1, 0, b"old"));
        logged.note(&append(5, 10, b"ab"));
        logged.note(&append(5, 12, b"cd"));
        logged.note(&append(5, 20, b"behind a hole"));
        logged.note(&Op::WriteOutput {
            file: "state.json".into(),
            generation: 1,
            bytes: [][..].into(),
        });
        assert!(!logged.awaits("logs/session_a.log", 5), "it was not replaced");
        let all: Vec<_> = logged.into_iter().collect();
        let pieces = vec![(10, b"abcd".to_vec()), (20, b"behind a hole".to_vec())];
        let version = Version { generation: 5, is_whole: false, pieces };
        assert_eq!(all, [("logs/session_a.log".to_owned(), version)]);
    }
}
