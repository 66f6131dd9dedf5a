//! The real disk: one directory of the operating system, reached through its descriptor.
//!
//! Every name is opened relative to a descriptor of its directory and never through a symbolic
//! link, so moving or replacing the directory, or planting a link in it, leads nowhere else. What
//! is opened is looked at before and after: only a regular file is ever read or written.
//!
//! Architecture invariant: no other module names the operating system's file calls (but for
//! those in `sys` that have no safe wrapper). Nothing here retries a failed flush, and nothing here
//! follows a link below the root; the root itself may be reached through one.

use std::fs::DirBuilder;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs as os;
use rustix::fs::{AtFlags, FileType, FlockOperation, OFlags};
use rustix::io::Errno;

use super::{
    Entry, File, Fs, Kind, Lock, LockMode, Mode, Space, Stat, check_dir, join, not_regular, split,
};

mod file;

use file::{RealFile, THROUGH};

const FILE_MODE: os::Mode = os::Mode::from_raw_mode(0o600);
const DIRECTORY_MODE: os::Mode = os::Mode::from_raw_mode(0o700);
const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// A directory of the operating system.
#[derive(Debug)]
pub struct RealFs {
    root: OwnedFd,
    path: PathBuf,
}

/// A name below an open directory.
struct Place<'a> {
    /// The directory below the root, if the name is in one.
    below: Option<OwnedFd>,
    root: BorrowedFd<'a>,
    name: &'a str,
}

impl Place<'_> {
    fn dir(&self) -> BorrowedFd<'_> {
        self.below.as_ref().map_or(self.root, AsFd::as_fd)
    }
}

impl RealFs {
    /// Opens an existing directory: `NotFound` if there is none, `NotADirectory` if it is
    /// something else. Changes nothing.
    pub fn open(path: &Path) -> io::Result<RealFs> {
        let root = os::open(path, DIRECTORY, os::Mode::empty())?;
        Ok(RealFs { root, path: path.to_owned() })
    }

    /// Opens a directory and creates it first, with permissions 0700, where it is missing; its
    /// missing parents get the permissions that the process gives by default. Its own name is
    /// durable when this returns.
    pub fn create(path: &Path) -> io::Result<RealFs> {
        create_dir_all(path, 0o700)?;
        Self::open(path)
    }

    /// Opens a directory right below the root, or nothing for the root itself.
    fn below(&self, dir: &str) -> io::Result<Option<OwnedFd>> {
        if dir.is_empty() {
            return Ok(None);
        }
        check_dir(dir)?;
        match os::openat(&self.root, dir, DIRECTORY | OFlags::NOFOLLOW, os::Mode::empty()) {
            Ok(opened) => Ok(Some(opened)),
            Err(Errno::LOOP | Errno::NOTDIR) => Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("{dir} is not a directory (a link to one is never followed)"),
            )),
            Err(error) => Err(error.into()),
        }
    }

    fn place<'a>(&'a self, path: &'a str) -> io::Result<Place<'a>> {
        let (dir, name) = split(path)?;
        Ok(Place { below: self.below(dir)?, root: self.root.as_fd(), name })
    }

    fn open_file(&self, path: &str, mode: Mode) -> io::Result<RealFile> {
        let place = self.place(path)?;
        let flags = match mode {
            Mode::Read => OFlags::RDONLY,
            Mode::Write => OFlags::RDWR,
            Mode::CreateNew => OFlags::RDWR | OFlags::CREATE | OFlags::EXCL,
            Mode::Through => THROUGH.ok_or(io::ErrorKind::Unsupported)?,
        };
        if mode != Mode::CreateNew {
            // Merely opening a device can already do something to it, so it is looked at first.
            let found = os::statat(place.dir(), place.name, AtFlags::SYMLINK_NOFOLLOW)?;
            if kind_of(FileType::from_raw_mode(found.st_mode)) != Kind::File {
                return Err(not_regular());
            }
        }
        let flags = flags | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let file = match os::openat(place.dir(), place.name, flags, FILE_MODE) {
            Ok(file) => RealFile::from(file),
            Err(Errno::LOOP | Errno::ISDIR | Errno::NXIO) => return Err(not_regular()),
            Err(error) => return Err(error.into()),
        };
        if file.stat()?.kind == Kind::File { Ok(file) } else { Err(not_regular()) }
    }

    /// A descriptor of a directory with an open file description of its own.
    fn reopen(&self, dir: &str) -> io::Result<OwnedFd> {
        match self.below(dir)? {
            Some(opened) => Ok(opened),
            None => Ok(os::openat(&self.root, ".", DIRECTORY, os::Mode::empty())?),
        }
    }
}

/// Creates a directory like `mkdir -p`, and makes the names of what it created durable.
fn create_dir_all(path: &Path, mode: u32) -> io::Result<()> {
    let parent = match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => return Ok(()),
    };
    let create = || DirBuilder::new().mode(mode).create(path);
    let created = match create() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            create_dir_all(parent, 0o777)?;
            create()
        }
        created => created,
    };
    let sync_parent = || std::fs::File::open(parent)?.sync_all();
    match created {
        Ok(()) => sync_parent(),
        // Whoever created it may have died before its name was durable. A parent that may not be
        // opened was made by somebody else, who answers for it.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => match sync_parent() {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
            synced => synced,
        },
        Err(error) => Err(error),
    }
}

impl Fs for RealFs {
    fn open(&self, path: &str, mode: Mode) -> io::Result<Arc<dyn File>> {
        Ok(Arc::new(self.open_file(path, mode)?))
    }

    fn stat(&self, path: &str) -> io::Result<Option<Stat>> {
        let place = match self.place(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            place => place?,
        };
        stat_at(place.dir(), place.name)
    }

    fn stats(&self, dir: &str, names: &[&str]) -> Vec<io::Result<Option<Stat>>> {
        let opened = self.below(dir);
        let look = |name: &&str| {
            // A name is checked as that of a directory is: neither leads any deeper.
            check_dir(name)?;
            match &opened {
                Ok(below) => stat_at(below.as_ref().map_or(self.root.as_fd(), AsFd::as_fd), name),
                // This words the failure as `stat` does.
                Err(_) => self.stat(&join(dir, name)),
            }
        };
        names.iter().map(look).collect()
    }

    fn list(&self, dir: &str) -> io::Result<Vec<Entry>> {
        let dir = self.reopen(dir)?;
        let mut entries = Vec::new();
        for entry in os::Dir::read_from(&dir)? {
            let entry = entry?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            let kind = match entry.file_type() {
                // Some file systems do not say it in the directory.
                FileType::Unknown => match os::statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW) {
                    Ok(stat) => FileType::from_raw_mode(stat.st_mode),
                    Err(Errno::NOENT) => continue,
                    Err(error) => return Err(error.into()),
                },
                known => known,
            };
            entries.push(Entry { name: name.to_string_lossy().into_owned(), kind: kind_of(kind) });
        }
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    fn create_dir(&self, dir: &str) -> io::Result<bool> {
        check_dir(dir)?;
        match os::mkdirat(&self.root, dir, DIRECTORY_MODE) {
            Ok(()) => Ok(true),
            Err(Errno::EXIST) => match self.below(dir)? {
                Some(_) => Ok(false),
                None => Err(Errno::EXIST.into()),
            },
            Err(error) => Err(error.into()),
        }
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let (from, to) = (self.place(from)?, self.place(to)?);
        Ok(os::renameat(from.dir(), from.name, to.dir(), to.name)?)
    }

    fn rename_new(&self, from: &str, to: &str) -> io::Result<()> {
        let (from, to) = (self.place(from)?, self.place(to)?);
        match rename_with(&from, &to, Special::NoReplace) {
            Err(error) if is_unsupported(error) => rename_by_link(&from, &to),
            renamed => Ok(renamed?),
        }
    }

    fn exchange(&self, a: &str, b: &str) -> io::Result<()> {
        let (a, b) = (self.place(a)?, self.place(b)?);
        match rename_with(&a, &b, Special::Exchange) {
            Err(error) if is_unsupported(error) => Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "this file system cannot exchange two names",
            )),
            exchanged => Ok(exchanged?),
        }
    }

    fn link(&self, from: &str, to: &str) -> io::Result<()> {
        let (from, to) = (self.place(from)?, self.place(to)?);
        Ok(os::linkat(from.dir(), from.name, to.dir(), to.name, AtFlags::empty())?)
    }

    fn reflink(&self, from: &str, to: &str) -> io::Result<()> {
        let source = self.open_file(from, Mode::Read)?;
        let shared = self.open_file(to, Mode::CreateNew)?.share_blocks(&source);
        shared.inspect_err(|_| {
            // The first failure is the one to tell; what is left over is an empty file.
            let _ = self.remove(to);
        })
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        let place = self.place(path)?;
        Ok(os::unlinkat(place.dir(), place.name, AtFlags::empty())?)
    }

    fn sync_dir(&self, dir: &str) -> io::Result<()> {
        std::fs::File::from(self.reopen(dir)?).sync_all()
    }

    #[cfg(target_os = "linux")]
    fn sync_all(&self) -> io::Result<()> {
        Ok(os::syncfs(&self.root)?)
    }

    #[cfg(not(target_os = "linux"))]
    fn sync_all(&self) -> io::Result<()> {
        Err(io::Error::new(
            io::ErrorKind::Unsupported,
            "this system cannot flush a whole file system and say whether it succeeded",
        ))
    }

    fn lock(&self, mode: LockMode) -> io::Result<Option<Box<dyn Lock>>> {
        // A lock belongs to an open file description: with one of its own, two openings within one
        // process exclude each other as two processes do.
        let held = self.reopen("")?;
        let operation = match mode {
            LockMode::Exclusive => FlockOperation::NonBlockingLockExclusive,
            LockMode::Probe => FlockOperation::NonBlockingLockShared,
        };
        match os::flock(&held, operation) {
            Ok(()) => Ok(Some(Box::new(RealLock { _held: held }))),
            Err(Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn space(&self) -> io::Result<Space> {
        let found = os::fstatvfs(&self.root)?;
        Ok(Space {
            free_bytes: found.f_bavail.saturating_mul(found.f_frsize),
            total_bytes: found.f_blocks.saturating_mul(found.f_frsize),
        })
    }

    fn is_writable(&self) -> bool {
        let access = os::Access::WRITE_OK | os::Access::EXEC_OK;
        os::accessat(&self.root, ".", access, AtFlags::empty()).is_ok()
    }

    fn display(&self, path: &str) -> String {
        let path = if path.is_empty() { self.path.clone() } else { self.path.join(path) };
        path.display().to_string()
    }
}

/// A lock lives as long as its open file description. It is not released by a call, so that a
/// forked child which drops its copy does not take the lock away from the parent.
#[derive(Debug)]
struct RealLock {
    _held: OwnedFd,
}

impl Lock for RealLock {}

/// The renames beyond POSIX.
#[derive(Clone, Copy)]
enum Special {
    NoReplace,
    Exchange,
}

#[cfg(any(target_os = "linux", target_vendor = "apple"))]
fn rename_with(from: &Place<'_>, to: &Place<'_>, special: Special) -> Result<(), Errno> {
    let flags = match special {
        Special::NoReplace => os::RenameFlags::NOREPLACE,
        Special::Exchange => os::RenameFlags::EXCHANGE,
    };
    os::renameat_with(from.dir(), from.name, to.dir(), to.name, flags)
}

#[cfg(not(any(target_os = "linux", target_vendor = "apple")))]
fn rename_with(_: &Place<'_>, _: &Place<'_>, _: Special) -> Result<(), Errno> {
    Err(Errno::NOSYS)
}

fn is_unsupported(error: Errno) -> bool {
    // The last two are one number on some systems, which a `match` would not take.
    [Errno::INVAL, Errno::NOSYS, Errno::OPNOTSUPP, Errno::NOTSUP].contains(&error)
}

/// Gives the new name, then takes the old one: a crash in between leaves both, and loses nothing.
fn rename_by_link(from: &Place<'_>, to: &Place<'_>) -> io::Result<()> {
    os::linkat(from.dir(), from.name, to.dir(), to.name, AtFlags::empty())?;
    if let Err(error) = os::unlinkat(from.dir(), from.name, AtFlags::empty()) {
        // The first failure is the one to tell; what is left over is a second name of one file.
        let _ = os::unlinkat(to.dir(), to.name, AtFlags::empty());
        return Err(error.into());
    }
    Ok(())
}

fn kind_of(file_type: FileType) -> Kind {
    match file_type {
        FileType::RegularFile => Kind::File,
        FileType::Directory => Kind::Directory,
        _ => Kind::Other,
    }
}

fn stat_at(dir: BorrowedFd<'_>, name: &str) -> io::Result<Option<Stat>> {
    match os::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat_of(&stat))),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn stat_of(stat: &os::Stat) -> Stat {
    Stat {
        kind: kind_of(FileType::from_raw_mode(stat.st_mode)),
        size_bytes: unsigned(stat.st_size),
        device: unsigned(stat.st_dev),
        inode: unsigned(stat.st_ino),
        links: unsigned(stat.st_nlink),
        modified_ns: nanoseconds(stat.st_mtime, stat.st_mtime_nsec),
        changed_ns: nanoseconds(stat.st_ctime, stat.st_ctime_nsec),
        permissions: u32::try_from(unsigned(stat.st_mode) & 0o7777).unwrap_or(0),
    }
}

/// The fields of a `stat` differ in type from system to system; none of these is ever negative or
/// wider than 64 bits.
fn unsigned<T: TryInto<u64>>(field: T) -> u64 {
    field.try_into().unwrap_or(u64::MAX)
}

fn nanoseconds<S: TryInto<i64>, N: TryInto<i64>>(seconds: S, nanos: N) -> i64 {
    let seconds = seconds.try_into().unwrap_or(i64::MAX);
    seconds.saturating_mul(1_000_000_000).saturating_add(nanos.try_into().unwrap_or(0))
}

#[cfg(test)]
#[path = "real_tests.rs"]
mod tests;
