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
use crate::files::stat;
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

/// Whether there is a regular file with these contents at `path`.
pub(crate) fn holds(fs: &dyn Fs, path: &str, hash: ContentHash) -> Result<bool> {
    Ok(matches!(look(fs, path)?, Sight::File(_, found) if found == hash))
}

/// Gives the regular file at `path` a second, durable name in `conflicts/`, made from the name of
/// `of`, and says which; where the file system cannot link, a copy gets it.
pub(crate) fn keep(fs: &dyn Fs, path: &str, of: &str) -> Result<String> {
    keep_on(FOR_CONFLICTS, fs, path, of)
}

/// Gives the damaged regular file at `path` a second, durable name in `quarantine/`, as [`keep`] does
/// in `conflicts/`.
pub(crate) fn quarantine(fs: &dyn Fs, path: &str) -> Result<String> {
    keep_on(FOR_DAMAGE, fs, path, path)
}

/// Copies the damaged regular file at `path` into `quarantine/`, durably. No second name: that would
/// change the `stat` by which the damage is told from an edit.
pub(crate) fn quarantine_copy(fs: &dyn Fs, path: &str) -> Result<String> {
    let bytes = read_file(fs, path, COPY_BYTES_MAX)
        .map_err(|error| Error::io("read", fs.display(path), error))?;
    keep_bytes_on(FOR_DAMAGE, fs, CONFLICT_PART, path, &bytes)
}

fn keep_on(shelf: Shelf, fs: &dyn Fs, path: &str, of: &str) -> Result<String> {
    let Sight::File(file, hash) = look(fs, path)? else {
        return Err(Error::not_found(fs.display(path)));
    };
    file.sync_data().map_err(|error| Error::io("flush", fs.display(path), error))?;
    match place(shelf, fs, of, hash, |target| fs.link(path, target)) {
        Ok(kept) => Ok(kept),
        Err(Error::Io { source, .. }) if cannot_link(source.kind()) => {
            let bytes = read_file(fs, path, COPY_BYTES_MAX)
                .map_err(|error| Error::io("read", fs.display(path), error))?;
            keep_bytes_on(shelf, fs, CONFLICT_PART, of, &bytes)
        }
        Err(error) => Err(error),
    }
}

/// Keeps a text that has no file of its own in `conflicts/`, durably, under a name made from that of
/// `of`, and says which.
pub(crate) fn keep_text(fs: &dyn Fs, of: &str, text: &str) -> Result<String> {
    keep_bytes(fs, CONFLICT_PART, of, text.as_bytes())
}

/// The same for any bytes, by way of `temporary`.
pub(crate) fn keep_bytes(fs: &dyn Fs, temporary: &str, of: &str, bytes: &[u8]) -> Result<String> {
    keep_bytes_on(FOR_CONFLICTS, fs, temporary, of, bytes)
}

fn keep_bytes_on(
    shelf: Shelf,
    fs: &dyn Fs,
    temporary: &str,
    of: &str,
    bytes: &[u8],
) -> Result<String> {
    write_temporary(fs, temporary, bytes, true)?;
    let hash = ContentHash::of(bytes);
    let kept = place(shelf, fs, of, hash, |target| fs.rename_new(temporary, target))?;
    remove_if_any(fs, temporary)?;
    Ok(kept)
}

/// Does what [`keep`] does for a file that somebody has open for writing: it is the very file that
/// gets the name, whatever else has the same contents, so that what is still written is kept too.
/// Where the file system cannot link, the file is renamed.
pub(crate) fn keep_open(fs: &dyn Fs, path: &str, of: &str) -> Result<String> {
    let Sight::File(file, hash) = look(fs, path)? else {
        return Err(Error::not_found(fs.display(path)));
    };
    let wrap = |action, error| Error::io(action, fs.display(path), error);
    file.sync_data().map_err(|error| wrap("flush", error))?;
    let this = file.stat().map_err(|error| wrap("look at", error))?;
    ensure_dir(fs, CONFLICTS)?;
    for attempt in 0..ATTEMPTS_MAX {
        let target = names::conflict(of, hash, attempt);
        let given = match fs.link(path, &target) {
            Err(error) if cannot_link(error.kind()) => fs.rename_new(path, &target),
            linked => linked,
        };
        let is_there = match given {
            Ok(()) => true,
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                stat(fs, &target)?.is_some_and(|s| (s.device, s.inode) == (this.device, this.inode))
            }
            Err(error) => return Err(Error::io("keep", fs.display(&target), error)),
        };
        if is_there {
            sync_dir(fs, CONFLICTS)?;
            return Ok(target);
        }
    }
    Err(taken(fs, FOR_CONFLICTS))
}

/// Whether somebody has the file at `path` open for writing, as far as the system tells: where it
/// does not, nobody is assumed to. Some network file systems say yes of every file, so a yes is
/// believed only where they say no of a file that surely nobody has open.
pub(crate) fn is_open_for_writing(fs: &dyn Fs, path: &str) -> Result<bool> {
    if !has_writer(fs, path)? {
        return Ok(false);
    }
    drop(write_temporary(fs, CONFLICT_PART, &[], false)?);
    let is_believed = !has_writer(fs, CONFLICT_PART)?;
    remove_if_any(fs, CONFLICT_PART)?;
    Ok(is_believed)
}

fn has_writer(fs: &dyn Fs, path: &str) -> Result<bool> {
    match fs.open(path, Mode::Read).and_then(|file| file.has_writer()) {
        Ok(has_writer) => Ok(has_writer),
        Err(error) => match error.kind() {
            ErrorKind::NotFound
            | ErrorKind::InvalidInput
            | ErrorKind::PermissionDenied
            | ErrorKind::Unsupported => Ok(false),
            _ => Err(Error::io("ask who writes to", fs.display(path), error)),
        },
    }
}

/// Moves what lies at `path` into `conflicts/`, under a name made from the name of `of`, and says
/// which. A regular file is durable there before `path` goes away.
pub(crate) fn put_aside(fs: &dyn Fs, path: &str, of: &str) -> Result<String> {
    if matches!(look(fs, path)?, Sight::NoFile) {
        return move_name(FOR_CONFLICTS, fs, path, of);
    }
    let kept = keep(fs, path, of)?;
    remove_if_any(fs, path)?;
    Ok(kept)
}

/// Moves what lies at `path` into `quarantine/`, whatever it is, and says which name it has there;
/// `None` if nothing lies there. It is durable there before `path` goes away, and that is durable
/// too when this returns.
pub(crate) fn set_aside(fs: &dyn Fs, path: &str) -> Result<Option<String>> {
    let kept = match look(fs, path)? {
        Sight::Nothing => return Ok(None),
        Sight::NoFile => move_name(FOR_DAMAGE, fs, path, path)?,
        Sight::File(..) => {
            let kept = quarantine(fs, path)?;
            remove_if_any(fs, path)?;
            kept
        }
    };
    sync_dir(fs, path.split_once('/').map_or("", |(dir, _)| dir))?;
    Ok(Some(kept))
}

/// Moves what is no regular file, or may not be read: only its name can be moved.
fn move_name(shelf: Shelf, fs: &dyn Fs, path: &str, of: &str) -> Result<String> {
    ensure_dir(fs, shelf.dir)?;
    for attempt in 0..ATTEMPTS_MAX {
        let target = (shelf.name)(of, ContentHash::of(&[]), attempt);
        match fs.rename_new(path, &target) {
            Ok(()) => {
                sync_dir(fs, shelf.dir)?;
                return Ok(target);
            }
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(Error::io("move aside", fs.display(path), error)),
        }
    }
    Err(taken(fs, shelf))
}

fn taken(fs: &dyn Fs, shelf: Shelf) -> Error {
    Error::Conflict { what: fs.display(shelf.dir), why: "every name for it is taken".into() }
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
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                holds_durably(fs, &target, hash)?
            }
            Err(error) => return Err(Error::io("keep", fs.display(&target), error)),
        };
        if is_there {
            sync_dir(fs, shelf.dir)?;
            return Ok(target);
        }
    }
    Err(taken(fs, shelf))
}

/// Whether a file that was kept has these contents already; then they are made durable.
fn holds_durably(fs: &dyn Fs, target: &str, hash: ContentHash) -> Result<bool> {
    match look(fs, target)? {
        Sight::File(file, found) if found == hash => {
            file.sync_data().map_err(|error| Error::io("flush", fs.display(target), error))?;
            Ok(true)
        }
        Sight::File(..) | Sight::NoFile | Sight::Nothing => Ok(false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::Kind;
    use crate::fs::sim::{CrashMode, SimFs};

    fn left(disk: &SimFs) -> SimFs {
        disk.if_crashed(CrashMode::Nothing)
    }

    #[test]
    fn what_is_kept_or_moved_survives_a_power_cut_there_and_nowhere_else() {
        let disk = SimFs::new();
        let file = disk.open("a", Mode::CreateNew).unwrap();
        crate::fs::write_all_at(&*file, b"an editor's", 0).unwrap();
        disk.sync_dir("").unwrap();
        let kept = keep_open(&disk, "a", "a").unwrap();
        assert_eq!(left(&disk).read_now(&kept).unwrap(), b"an editor's");
        disk.plant_now("b", Kind::Other).unwrap();
        let moved = put_aside(&disk, "b", "b").unwrap();
        assert!(left(&disk).stat(&moved).unwrap().is_some());
        disk.write_now("c", b"damaged").unwrap();
        let kept = set_aside(&disk, "c").unwrap().unwrap();
        assert_eq!(left(&disk).read_now("c"), None);
        // What a crash left there may not be durable yet.
        let disk = SimFs::new();
        ensure_dir(&disk, QUARANTINE).unwrap();
        let file = disk.open(&kept, Mode::CreateNew).unwrap();
        crate::fs::write_all_at(&*file, b"damaged", 0).unwrap();
        disk.write_now("c", b"damaged").unwrap();
        assert_eq!(set_aside(&disk, "c").unwrap().unwrap(), kept);
        assert_eq!(left(&disk).read_now(&kept).unwrap(), b"damaged");
    }

    #[test]
    fn what_is_no_file_is_moved_also_where_an_empty_file_has_its_name() {
        for shelf in [FOR_CONFLICTS, FOR_DAMAGE] {
            let disk = SimFs::new();
            let taken = (shelf.name)("tasks/a.json", ContentHash::of(&[]), 0);
            disk.write_now(&taken, b"").unwrap();
            disk.write_now("tasks/b.json", b"").unwrap();
            disk.plant_now("tasks/a.json", Kind::Other).unwrap();
            let kept = match shelf.dir {
                CONFLICTS => put_aside(&disk, "tasks/a.json", "tasks/a.json").unwrap(),
                _ => set_aside(&disk, "tasks/a.json").unwrap().unwrap(),
            };
            assert_ne!(kept, taken);
            assert_eq!(disk.stat("tasks/a.json").unwrap(), None);
            assert_eq!(disk.stat(&kept).unwrap().unwrap().kind, Kind::Other);
        }
    }

    #[test]
    fn a_damaged_file_is_set_aside_once_and_its_place_is_free() {
        let disk = SimFs::new();
        let mut names = Vec::new();
        for bytes in [&b"one"[..], b"one", b"two"] {
            disk.write_now("state.json", bytes).unwrap();
            let kept = set_aside(&disk, "state.json").unwrap().unwrap();
            assert_eq!(disk.read_now(&kept).unwrap(), bytes);
            assert_eq!(disk.read_now("state.json"), None);
            names.push(kept);
        }
        assert!(names[0] == names[1] && names[1] != names[2], "{names:?}");
        assert_eq!(set_aside(&disk, "state.json").unwrap(), None);
    }
}
