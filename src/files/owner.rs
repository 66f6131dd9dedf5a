//! `.walden`: who owns the store, and whether it was closed.
//!
//! One line of JSON that people can read, replaced atomically. It is *evidence, never a lock*: the
//! lock is held on the directory. Whatever stands in the file, reading it is no error; anything but
//! the very bytes that the engine writes for these values is `Damaged`, and means "not closed".

use std::io::ErrorKind;

use serde::Deserialize;

use crate::base::id::StoreId;
use crate::base::{Error, Lsn, Result};
use crate::files::names;
use crate::fs::{Fs, read_file, replace};

const FORMAT: u32 = 1;
const BYTES_MAX: u64 = 4096;

/// How far the incarnation that wrote the file has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// It is about to begin: its first segment may not be there yet, and the log may still end with
    /// the segments of the former one, whose incarnation and nonce are kept until then.
    Opening {
        /// Incarnation and nonce of the owner before, where known.
        former: Option<(u64, u64)>,
    },
    /// Its first segment is durable, and it was not closed.
    Open,
    /// It was closed with everything in its files.
    Clean {
        /// Everything up to this LSN.
        lsn: Lsn,
        /// How many tasks and sessions there are: with so many files the mirror is whole. An owner
        /// file without the counts is read too.
        documents: Option<(u64, u64)>,
    },
}

/// What `.walden` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The store's id.
    pub store: StoreId,
    /// The opening for writing, counted from 1.
    pub incarnation: u64,
    /// The random number of this opening, which seeds the checksums of its segments.
    pub nonce: u64,
    /// The process that opened it.
    pub pid: u32,
    /// How far it has come.
    pub stage: Stage,
    /// What it found and has not acted upon yet.
    pub evidence: Evidence,
}

/// What an opening found, until what people did to the files is logged: if it is cut off, the next one goes
/// by it, though it finds a store that was not shut down, or nothing damaged any more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Evidence {
    /// The store was damaged, so that files of the mirror are in doubt.
    pub in_doubt: bool,
    /// The store had been shut down at this LSN.
    pub shut_down: Option<Lsn>,
}

/// What is found in the place of `.walden`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OwnerFile {
    /// Nothing.
    Missing,
    /// Something that the engine did not write like this.
    Damaged {
        /// What is wrong with it.
        why: String,
    },
    /// What the engine wrote.
    Intact(Owner),
}

/// The file's fields as they are parsed, before they vouch for anything.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields<'a> {
    format: u32,
    store: &'a str,
    incarnation: u64,
    nonce: &'a str,
    pid: u32,
    state: &'a str,
    lsn: Option<u64>,
    documents: Option<(u64, u64)>,
    former: Option<(u64, &'a str)>,
    #[serde(default)]
    in_doubt: bool,
    shut_down: Option<u64>,
    #[serde(rename = "crc32")]
    _crc32: &'a str,
}

/// Reads `.walden`. Only a failing disk is an error, never what the file contains.
pub fn read(fs: &dyn Fs) -> Result<OwnerFile> {
    let damaged = |why: &str| Ok(OwnerFile::Damaged { why: why.to_owned() });
    match read_file(fs, names::OWNER, BYTES_MAX) {
        Ok(bytes) => Ok(match parse(&bytes) {
            Ok(owner) => OwnerFile::Intact(owner),
            Err(why) => OwnerFile::Damaged { why },
        }),
        Err(error) => match error.kind() {
            ErrorKind::NotFound => Ok(OwnerFile::Missing),
            ErrorKind::FileTooLarge => damaged("it is larger than the engine writes it"),
            ErrorKind::InvalidInput => damaged("it is not a regular file"),
            _ => Err(Error::io("read", fs.display(names::OWNER), error)),
        },
    }
}

/// Replaces `.walden`; it is durable when this returns. `wal/` must exist.
pub fn write(fs: &dyn Fs, owner: &Owner) -> Result<()> {
    replace::replace(fs, names::OWNER, names::OWNER_PART, render(owner).as_bytes())
}

fn parse(bytes: &[u8]) -> Result<Owner, String> {
    let fields: Fields<'_> = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    if fields.format != FORMAT {
        return Err(format!("its format {} is not known to this version", fields.format));
    }
    let nonce = |digits: &str| {
        u64::from_str_radix(digits, 16).map_err(|_| "its nonce cannot be read".to_owned())
    };
    let stage = match (fields.state, fields.lsn) {
        ("opening", None) => {
            let former =
                fields.former.map(|(incarnation, digits)| Ok((incarnation, nonce(digits)?)));
            Stage::Opening { former: former.transpose().map_err(|why: String| why)? }
        }
        ("open", None) => Stage::Open,
        ("clean", Some(lsn)) => Stage::Clean { lsn: Lsn(lsn), documents: fields.documents },
        (other, _) => return Err(format!("its state {other:?} is not known, or lacks its LSN")),
    };
    let owner = Owner {
        store: StoreId::parse(fields.store).ok_or("its store id cannot be read")?,
        incarnation: fields.incarnation,
        nonce: nonce(fields.nonce)?,
        pid: fields.pid,
        stage,
        evidence: Evidence { in_doubt: fields.in_doubt, shut_down: fields.shut_down.map(Lsn) },
    };
    // One spelling only: a byte that differs is either in a field, and the checksum differs, or
    // beside the fields, and this comparison sees it.
    if render(&owner).as_bytes() == bytes {
        Ok(owner)
    } else {
        Err("its checksum does not match its contents".to_owned())
    }
}

fn render(owner: &Owner) -> String {
    let Owner { store, incarnation, nonce, pid, stage, evidence } = owner;
    let state = match stage {
        Stage::Opening { former: None } => "\"opening\"".to_owned(),
        Stage::Opening { former: Some((incarnation, nonce)) } => {
            format!("\"opening\",\"former\":[{incarnation},\"{nonce:016x}\"]")
        }
        Stage::Open => "\"open\"".to_owned(),
        Stage::Clean { lsn, documents: None } => format!("\"clean\",\"lsn\":{lsn}"),
        Stage::Clean { lsn, documents: Some((tasks, sessions)) } => {
            format!("\"clean\",\"lsn\":{lsn},\"documents\":[{tasks},{sessions}]")
        }
    };
    let in_doubt = if evidence.in_doubt { "\"in_doubt\":true," } else { "" };
    let shut_down =
        evidence.shut_down.map(|lsn| format!("\"shut_down\":{lsn},")).unwrap_or_default();
    let before = format!(
        "{{\"format\":{FORMAT},\"store\":\"{store}\",\"incarnation\":{incarnation},\
         \"nonce\":\"{nonce:016x}\",\"pid\":{pid},\"state\":{state},{in_doubt}{shut_down}\"crc32\":\""
    );
    let after = "\"}\n";
    let mut crc32 = crc32fast::Hasher::new();
    crc32.update(before.as_bytes());
    crc32.update(after.as_bytes());
    format!("{before}{:08x}{after}", crc32.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::Kind;
    use crate::fs::sim::SimFs;

    const OWNER: Owner = Owner {
        store: StoreId(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef),
        incarnation: 3,
        nonce: 0xfeed,
        pid: 4711,
        stage: Stage::Clean { lsn: Lsn(99), documents: None },
        evidence: Evidence { in_doubt: false, shut_down: None },
    };

    #[test]
    fn what_is_written_is_read_back_and_stays_as_it_is() {
        let text = render(&OWNER);
        assert_eq!(
            text,
            "{\"format\":1,\"store\":\"0123456789abcdef0123456789abcdef\",\"incarnation\":3,\
             \"nonce\":\"000000000000feed\",\"pid\":4711,\"state\":\"clean\",\"lsn\":99,\
             \"crc32\":\"78b4b6dd\"}\n"
        );
        assert_eq!(parse(text.as_bytes()), Ok(OWNER));
        let former = Some((u64::MAX, u64::MAX));
        let clean = Stage::Clean { lsn: Lsn(7), documents: Some((3, u64::MAX)) };
        let opening = [Stage::Opening { former }, Stage::Opening { former: None }];
        for stage in [Stage::Open, clean].into_iter().chain(opening) {
            for in_doubt in [false, true] {
                let shut_down = in_doubt.then_some(Lsn(u64::MAX));
                let evidence = Evidence { in_doubt, shut_down };
                let other = Owner { stage, nonce: u64::MAX, evidence, ..OWNER };
                assert_eq!(parse(render(&other).as_bytes()), Ok(other));
            }
        }
    }

    #[test]
    fn every_flipped_bit_and_every_truncation_is_detected() {
        let bytes = render(&OWNER).into_bytes();
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(parse(&flipped).is_err(), "bit {bit}");
        }
        for length in 0..bytes.len() {
            assert!(parse(&bytes[..length]).is_err(), "length {length}");
        }
        let longer = [bytes.as_slice(), b" "].concat();
        assert!(parse(&longer).is_err());
    }

    #[test]
    fn the_format_of_a_later_version_is_damage_that_says_so() {
        let later = render(&OWNER).replace("\"format\":1", "\"format\":2");
        assert!(parse(later.as_bytes()).unwrap_err().contains("format 2"));
    }

    #[test]
    fn whatever_lies_in_its_place_is_told_and_never_an_error() {
        let disk = SimFs::new();
        disk.create_dir(names::WAL).unwrap();
        assert_eq!(read(&disk).unwrap(), OwnerFile::Missing);
        write(&disk, &OWNER).unwrap();
        assert_eq!(read(&disk).unwrap(), OwnerFile::Intact(OWNER));
        disk.write_now(names::OWNER, &[b' '; 5000]).unwrap();
        assert!(matches!(read(&disk).unwrap(), OwnerFile::Damaged { .. }));
        for kind in [Kind::File, Kind::Directory, Kind::Other] {
            let disk = SimFs::new();
            disk.plant_now(names::OWNER, kind).unwrap();
            assert!(matches!(read(&disk).unwrap(), OwnerFile::Damaged { .. }), "{kind:?}");
        }
    }
}
