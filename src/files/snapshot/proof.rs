//! Proving that a file is an intact snapshot, without loading it.
//!
//! What the digest vouches for the engine wrote, so of an intact file only its beginning is parsed
//! and the rest hashed, in pieces of a bounded size. Whatever is not proved so is read and
//! classified whole, so that the answer is always that of [`read`]. Nothing here changes a file.

use std::io::{self, ErrorKind};

use super::parse::{Defect, Engine, Parsed, offset_in, read};
use super::{MAJOR, NO_DIGEST};
use crate::base::{ContentHash, ContentHasher, Error, Lsn, Result, StoreId};
use crate::fs::{File, Fs, Mode, read_full_at};

const HEAD_BYTES: usize = 512;
const CHUNK_BYTES: usize = 256 << 10;

/// The beginning of a snapshot, as the engine lays it out.
struct Head {
    base: (StoreId, Lsn),
    digest: ContentHash,
    /// Where the digest's own digits are.
    digest_at: usize,
}

impl Head {
    fn parse(bytes: &[u8]) -> Option<Head> {
        let end = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n').nth(2)?.0;
        let text = std::str::from_utf8(bytes.get(..end)?).ok()?;
        let (version, engine) = text.strip_prefix("{\n  \"version\": \"")?.split_once("\",\n")?;
        let engine = engine.strip_prefix("  \"engine\": ")?.strip_suffix(',')?;
        let engine = Engine::parse(engine)?;
        let is_readable = version.split('.').next() == Some(MAJOR);
        let digest = ContentHash::parse(engine.digest).filter(|_| is_readable)?;
        Some(Head { base: engine.base()?, digest, digest_at: offset_in(text, engine.digest) })
    }
}

/// The store and LSN of an intact snapshot, or why it is none; `None` if there is no such file.
pub fn prove(fs: &dyn Fs, file: &str) -> Result<Option<Result<(StoreId, Lsn), Defect>>> {
    let proved = match fs.open(file, Mode::Read).and_then(|file| prove_by_digest(&*file)) {
        Ok(proved) => proved,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) if error.kind() == ErrorKind::InvalidInput => None,
        Err(error) => return Err(Error::io("read", fs.display(file), error)),
    };
    if let Some(base) = proved {
        return Ok(Some(Ok(base)));
    }
    Ok(read(fs, file)?.map(|parsed| match parsed {
        Parsed::Intact(snapshot) => Ok((snapshot.store, snapshot.lsn)),
        Parsed::NotIntact(defect) => Err(defect),
    }))
}

fn prove_by_digest(file: &dyn File) -> io::Result<Option<(StoreId, Lsn)>> {
    file.read_gently();
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut length = read_full_at(file, &mut chunk, 0)?;
    let Some(head) = Head::parse(chunk.get(..length.min(HEAD_BYTES)).unwrap_or_default()) else {
        return Ok(None);
    };
    let digits = head.digest_at..head.digest_at.saturating_add(NO_DIGEST.len());
    if let Some(digits) = chunk.get_mut(digits) {
        digits.copy_from_slice(NO_DIGEST.as_bytes());
    }
    let mut hasher = ContentHasher::default();
    let mut offset = 0_u64;
    while length > 0 {
        hasher.write(chunk.get(..length).unwrap_or_default());
        offset = offset.saturating_add(length as u64);
        length = read_full_at(file, &mut chunk, offset)?;
    }
    Ok((hasher.finish() == head.digest).then_some(head.base))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::snapshot::fixture::snapshot_bytes;
    use crate::fs::sim::{CallKind, Fault, SimFs};

    fn bytes(text_bytes: usize) -> Vec<u8> {
        snapshot_bytes(StoreId(7), 9, text_bytes)
    }

    fn proved(bytes: &[u8]) -> Result<(StoreId, Lsn), Defect> {
        let disk = SimFs::new();
        disk.write_now("state.json", bytes).unwrap();
        let found = prove(&disk, "state.json").unwrap().unwrap();
        let read = match read(&disk, "state.json").unwrap().unwrap() {
            Parsed::Intact(snapshot) => Ok((snapshot.store, snapshot.lsn)),
            Parsed::NotIntact(defect) => Err(defect),
        };
        assert_eq!(found, read, "it says what reading says");
        found
    }

    #[test]
    fn an_intact_snapshot_of_any_length_is_proved_without_being_loaded() {
        for text_bytes in [0, CHUNK_BYTES - 400, CHUNK_BYTES, 3 * CHUNK_BYTES + 1] {
            let disk = SimFs::new();
            disk.write_now("state.json", &bytes(text_bytes)).unwrap();
            disk.fail_when(CallKind::Open, 2, Fault::Crash);
            let found = prove(&disk, "state.json").unwrap().unwrap();
            assert_eq!(found, Ok((StoreId(7), Lsn(9))), "{text_bytes}");
        }
        assert_eq!(prove(&SimFs::new(), "state.json").unwrap(), None);
    }

    #[test]
    fn no_flipped_bit_and_no_cut_is_proved_and_the_reason_is_that_of_reading() {
        let whole = bytes(10);
        for at in 0..whole.len() {
            let mut flipped = whole.clone();
            flipped[at] ^= 1;
            assert!(proved(&flipped).is_err(), "byte {at}");
            assert!(proved(&whole[..at]).is_err(), "cut at {at}");
        }
        assert!(proved(&whole).is_ok());
    }
}
