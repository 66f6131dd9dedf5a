//! What people wrote, kept in `conflicts/` before its place is taken.
//!
//! A file gets its second name there, contents and name durable, *before* its first name goes away,
//! so that there is no instant, not even after a power cut, at which it has none. Nothing here ever
//! replaces or removes a file in `conflicts/`; the same contents are kept once.

use std::io::{self, ErrorKind};
use std::sync::Arc;

use crate::base::{ContentHash, ContentHasher, Error, Result};
use crate::files::names::{self, CONFLICTS};
use crate::fs::{File, Fs, Mode, read_full_at};

const CHUNK_BYTES: usize = 64 << 10;
const ATTEMPTS_MAX: u32 = 1000;

/// Hashes an open file, however long, without holding it in memory.
pub(crate) fn hash_of(file: &dyn File) -> io::Result<ContentHash> {
    let mut hasher = ContentHasher::default();
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut offset = 0;
    loop {
        let length = read_full_at(file, &mut chunk, offset)?;
        hasher.write(chunk.get(..length).unwrap_or_default());
        offset += length as u64;
        if length < CHUNK_BYTES {
            return Ok(hasher.finish());
        }
    }
}

/// What lies under a name.
#[derive(Clone, Debug)]
pub(crate) enum Sight {
    /// Nothing.
    Nothing,
    /// A symbolic link, directory, FIFO or device, or a file that may not be read.
    NoFile,
    /// A regular file with these contents.
    File(Arc<dyn File>, ContentHash),
}

/// Looks at a name without following or changing anything.
pub(crate) fn look(fs: &dyn Fs, path: &str) -> Result<Sight> {
    let file = match fs.open(path, Mode::Read) {
        Ok(file) => file,
        Err(error) => {
            return match error.kind() {
                ErrorKind::NotFound => Ok(Sight::Nothing),
                ErrorKind::InvalidInput | ErrorKind::PermissionDenied => Ok(Sight::NoFile),
                _ => Err(Error::io("read", fs.display(path), error)),
            };
        }
    };
    let hash = hash_of(&*file).map_err(|error| Error::io("read", fs.display(path), error))?;
    Ok(Sight::File(file, hash))
}

/// Makes a directory of the store where it is missing; its name is durable when this returns.
pub(crate) fn ensure_dir(fs: &dyn Fs, dir: &str) -> Result<()> {
    match fs.create_dir(dir) {
        Ok(false) => Ok(()),
        Ok(true) => sync_dir(fs, ""),
        Err(error) => Err(Error::io("create", fs.display(dir), error)),
    }
}

pub(crate) fn sync_dir(fs: &dyn Fs, dir: &str) -> Result<()> {
    fs.sync_dir(dir).map_err(|error| Error::io("flush", fs.display(dir), error))
}

/// Gives the regular file at `path` a second, durable name in `conflicts/`, made from the name of
/// `of`, and says which. `None` if the file system cannot give second names.
pub(crate) fn keep(fs: &dyn Fs, path: &str, of: &str) -> Result<Option<String>> {
    place(fs, path, of, |target| fs.link(path, target))
}

/// Moves what lies at `path` into `conflicts/`, under a name made from the name of `of`, and
/// says which. It is durable there before `path` goes away.
pub(crate) fn put_aside(fs: &dyn Fs, path: &str, of: &str) -> Result<String> {
    // Of a link or a directory only the name can be moved.
    let linked = match look(fs, path)? {
        Sight::NoFile => None,
        Sight::File(..) | Sight::Nothing => keep(fs, path, of)?,
    };
    let kept = match linked {
        Some(kept) => kept,
        None => place(fs, path, of, |target| fs.rename_new(path, target))?.ok_or_else(|| {
            let why = format!("the file system can neither link nor move {}", fs.display(path));
            Error::Unsupported { what: "keeping a changed file".to_owned(), why }
        })?,
    };
    crate::fs::replace::remove_if_any(fs, path)?;
    Ok(kept)
}

/// Finds a name in `conflicts/` for the file, and has it `given`. `None` if that is unsupported.
fn place(
    fs: &dyn Fs,
    path: &str,
    of: &str,
    given: impl Fn(&str) -> io::Result<()>,
) -> Result<Option<String>> {
    let hash = match look(fs, path)? {
        Sight::File(file, hash) => {
            file.sync_data().map_err(|error| Error::io("flush", fs.display(path), error))?;
            hash
        }
        Sight::NoFile => ContentHash::of(&[]),
        Sight::Nothing => return Err(Error::not_found(fs.display(path))),
    };
    ensure_dir(fs, CONFLICTS)?;
    for attempt in 0..ATTEMPTS_MAX {
        let target = names::conflict(of, hash, attempt);
        let taken = match given(&target) {
            Ok(()) => false,
            Err(error) => match error.kind() {
                ErrorKind::AlreadyExists => true,
                ErrorKind::Unsupported | ErrorKind::PermissionDenied | ErrorKind::TooManyLinks => {
                    return Ok(None);
                }
                _ => return Err(Error::io("keep", fs.display(&target), error)),
            },
        };
        if taken && !holds(fs, &target, hash)? {
            continue;
        }
        sync_dir(fs, CONFLICTS)?;
        return Ok(Some(target));
    }
    Err(Error::Conflict { what: fs.display(CONFLICTS), why: "every name for it is taken".into() })
}

/// Whether a file in `conflicts/` has these contents already; then they are made durable.
fn holds(fs: &dyn Fs, target: &str, hash: ContentHash) -> Result<bool> {
    match look(fs, target)? {
        Sight::File(file, found) if found == hash => {
            file.sync_data().map_err(|error| Error::io("flush", fs.display(target), error))?;
            Ok(true)
        }
        Sight::File(..) | Sight::NoFile | Sight::Nothing => Ok(false),
    }
}
