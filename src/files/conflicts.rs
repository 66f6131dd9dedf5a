//! What people wrote, kept in `conflicts/` before its place is taken; and what is damaged, in
//! `quarantine/`.
//!
//! A file gets its second name there, contents and name durable, *before* its first name goes away,
//! so that there is no instant, not even after a power cut, at which it has none. Nothing here ever
//! replaces or removes a file in the two directories; the same contents are kept once.

use std::io::{self, ErrorKind};
use std::sync::Arc;

use crate::base::{ContentHash, ContentHasher, Error, Result};
use crate::files::names::{self, CONFLICT_PART, CONFLICTS, QUARANTINE};
use crate::fs::replace::{remove_if_any, write_temporary};
use crate::fs::{File, Fs, Mode, read_file, read_full_at};

const CHUNK_BYTES: usize = 64 << 10;
const ATTEMPTS_MAX: u32 = 1000;
/// The largest file that is copied, in memory, where it cannot be linked.
const COPY_BYTES_MAX: u64 = 16 << 30;

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

/// Where something is kept for good: the directory, and how its names are made.
#[derive(Clone, Copy)]
struct Shelf {
    dir: &'static str,
    name: fn(&str, ContentHash, u32) -> String,
}

const FOR_CONFLICTS: Shelf = Shelf { dir: CONFLICTS, name: names::conflict };
const FOR_DAMAGE: Shelf = Shelf { dir: QUARANTINE, name: names::quarantine };

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
/// `of`, and says which; where the file system cannot link, a copy gets it.
pub(crate) fn keep(fs: &dyn Fs, path: &str, of: &str) -> Result<String> {
    let Sight::File(file, hash) = look(fs, path)? else {
        return Err(Error::not_found(fs.display(path)));
    };
    file.sync_data().map_err(|error| Error::io("flush", fs.display(path), error))?;
    match place(FOR_CONFLICTS, fs, of, hash, |target| fs.link(path, target)) {
        Err(Error::Io { source, .. }) if cannot_link(source.kind()) => {
            keep_copy(FOR_CONFLICTS, fs, path, of)
        }
        kept => kept,
    }
}

/// Copies the damaged regular file at `path` into `quarantine/`, durably, under a name made from its
/// own. No link: that would change the `stat` by which the damage is told from an edit.
pub(crate) fn quarantine(fs: &dyn Fs, path: &str) -> Result<String> {
    keep_copy(FOR_DAMAGE, fs, path, path)
}

fn keep_copy(shelf: Shelf, fs: &dyn Fs, path: &str, of: &str) -> Result<String> {
    let bytes = read_file(fs, path, COPY_BYTES_MAX)
        .map_err(|error| Error::io("read", fs.display(path), error))?;
    write_temporary(fs, CONFLICT_PART, &bytes, true)?;
    let hash = ContentHash::of(&bytes);
    let kept = place(shelf, fs, of, hash, |target| fs.rename_new(CONFLICT_PART, target))?;
    remove_if_any(fs, CONFLICT_PART)?;
    Ok(kept)
}

/// Moves what lies at `path` into `conflicts/`, under a name made from the name of `of`, and says
/// which. A regular file is durable there before `path` goes away.
pub(crate) fn put_aside(fs: &dyn Fs, path: &str, of: &str) -> Result<String> {
    if matches!(look(fs, path)?, Sight::NoFile) {
        // Of a link or a directory only the name can be moved.
        let moved = |target: &str| fs.rename_new(path, target);
        return place(FOR_CONFLICTS, fs, of, ContentHash::of(&[]), moved);
    }
    let kept = keep(fs, path, of)?;
    remove_if_any(fs, path)?;
    Ok(kept)
}

/// Whether an error of `link` says that it cannot be done here at all.
pub(crate) fn cannot_link(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::Unsupported | ErrorKind::PermissionDenied | ErrorKind::TooManyLinks)
}

/// Finds a name for contents, and has it `given` unless they are there already. The name is durable
/// when this returns.
fn place(
    shelf: Shelf,
    fs: &dyn Fs,
    of: &str,
    hash: ContentHash,
    given: impl Fn(&str) -> io::Result<()>,
) -> Result<String> {
    ensure_dir(fs, shelf.dir)?;
    for attempt in 0..ATTEMPTS_MAX {
        let target = (shelf.name)(of, hash, attempt);
        let is_there = match given(&target) {
            Ok(()) => true,
            Err(error) if error.kind() == ErrorKind::AlreadyExists => holds(fs, &target, hash)?,
            Err(error) => return Err(Error::io("keep", fs.display(&target), error)),
        };
        if is_there {
            sync_dir(fs, shelf.dir)?;
            return Ok(target);
        }
    }
    Err(Error::Conflict { what: fs.display(shelf.dir), why: "every name for it is taken".into() })
}

/// Whether a file that was kept has these contents already; then they are made durable.
fn holds(fs: &dyn Fs, target: &str, hash: ContentHash) -> Result<bool> {
    match look(fs, target)? {
        Sight::File(file, found) if found == hash => {
            file.sync_data().map_err(|error| Error::io("flush", fs.display(target), error))?;
            Ok(true)
        }
        Sight::File(..) | Sight::NoFile | Sight::Nothing => Ok(false),
    }
}
