//! The disk as the engine sees it: one directory tree, behind an object-safe trait.
//!
//! Paths are relative to the store's directory, with `/`, at most one directory deep
//! (`state.json`, `tasks/a.json`). An implementation must never follow a symbolic link and never
//! open anything but a regular file, so that no planted link, FIFO or device leads out of the
//! directory or blocks. Errors are the operating system's; wording them is the caller's part.
//!
//! Architecture invariant: [`real`] is the only place that names the operating system's file
//! calls, but for those in `sys` that have no safe wrapper; [`replace`] is the only place that
//! knows how a file is replaced atomically.

use std::fmt;
use std::io;
use std::sync::Arc;

#[cfg(unix)]
pub mod real;
#[cfg(not(unix))]
#[path = "real_unsupported.rs"]
pub mod real;
pub mod replace;
#[cfg(any(test, feature = "testing"))]
pub mod sim;
#[cfg(target_os = "linux")]
mod sys;

/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// An existing file, to read.
    Read,
    /// An existing file, to read and write.
    Write,
    /// A file that must not exist yet, to read and write, permissions 0600.
    CreateNew,
    /// An existing file, to write whole blocks of 4096 bytes from memory on such a boundary, past the
    /// page cache: each write is durable when it returns, with nothing else that was written before. An
    /// error, at opening or at the first write, where the file system or the system has no such way.
    Through,
}

/// What a directory entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// Anything else: symbolic link, FIFO, socket, device.
    Other,
}

/// What `stat` tells of a file, without following links. Two equal values of a regular file mean
/// that nobody wrote to it in between, if its time of modification was past already when the first
/// was taken: below a time that the file system's clock had given before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// What it is.
    pub kind: Kind,
    /// Length in bytes.
    pub size_bytes: u64,
    /// Device number.
    pub device: u64,
    /// Inode number.
    pub inode: u64,
    /// Number of names.
    pub links: u64,
    /// Last change of the contents, nanoseconds since the epoch.
    pub modified_ns: i64,
    /// Last change of the inode, nanoseconds since the epoch.
    pub changed_ns: i64,
    /// Permission bits.
    pub permissions: u32,
}

/// One name in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name; where that is no UTF-8, with replacement characters (and then not to be opened).
    pub name: String,
    /// What it is.
    pub kind: Kind,
}

/// Room on the file system, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// What an unprivileged user can still write.
    pub free_bytes: u64,
    /// The whole.
    pub total_bytes: u64,
}

/// How the directory is locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockMode {
    /// The one writer's.
    Exclusive,
    /// A reader's short probe whether a writer is alive.
    Probe,
}

/// A held lock; dropping it, or the end of the process, releases it.
pub trait Lock: fmt::Debug + Send + Sync {}

/// An open regular file.
pub trait File: fmt::Debug + Send + Sync {
    /// Reads into `buf` from `offset`; 0 means end of file. May read less than asked.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Writes from `buf` at `offset`, growing the file as needed. May write less than asked.
    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize>;
    /// Makes contents and length durable (`fdatasync`). After an error nothing is known of what is
    /// durable, and another call proves nothing.
    fn sync_data(&self) -> io::Result<()>;
    /// Hands the contents to the device and waits for it, without flushing its cache: orders
    /// contents before a later rename, and promises no durability. A no-op where there is no such
    /// call.
    fn write_back(&self) -> io::Result<()>;
    /// Sets the time of the last change of the contents, in nanoseconds since the epoch, whatever
    /// this handle was opened for. The file system may keep it more coarsely. `PermissionDenied` if
    /// the file is another user's.
    fn set_modified(&self, modified_ns: i64) -> io::Result<()>;
    /// Says that a long file will be read bit by bit by somebody who has time: nothing is to be read ahead,
    /// so that others' writes come in between.
    fn read_gently(&self) {}
    /// The file's `stat`.
    fn stat(&self) -> io::Result<Stat>;
    /// Whether some process, this one included, has the file open for writing now. This handle must
    /// be one for reading. `Unsupported` where it cannot be told: the file is another user's, or
    /// the system or file system has no leases.
    fn has_writer(&self) -> io::Result<bool>;
}

/// A directory tree: the store's directory and what lies in it.
pub trait Fs: fmt::Debug + Send + Sync {
    /// Opens a regular file. A symbolic link, directory, FIFO or device is `InvalidInput`.
    fn open(&self, path: &str, mode: Mode) -> io::Result<Arc<dyn File>>;
    /// The `stat` of a name, `None` if there is none.
    fn stat(&self, path: &str) -> io::Result<Option<Stat>>;
    /// What [`Fs::stat`] gives of each of these names in a directory, in their order. Where it can, the
    /// directory is opened once for all.
    fn stats(&self, dir: &str, names: &[&str]) -> Vec<io::Result<Option<Stat>>> {
        names.iter().map(|name| self.stat(&join(dir, name))).collect()
    }
    /// The names in a directory (`""` is the store's own), sorted, without `.` and `..`.
    fn list(&self, dir: &str) -> io::Result<Vec<Entry>>;
    /// Makes a directory with permissions 0700; `false` if a directory of that name is there.
    fn create_dir(&self, dir: &str) -> io::Result<bool>;
    /// Renames, replacing what has the new name. Atomic, not yet durable.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Renames; `AlreadyExists` if the new name is taken. Atomic, not yet durable.
    fn rename_new(&self, from: &str, to: &str) -> io::Result<()>;
    /// Exchanges two names. Atomic, not yet durable. `Unsupported` where it cannot be done.
    fn exchange(&self, a: &str, b: &str) -> io::Result<()>;
    /// Gives a file a second name; `AlreadyExists` if that is taken.
    fn link(&self, from: &str, to: &str) -> io::Result<()>;
    /// Makes a new file with the contents that `from` has at this instant, in the same blocks, and
    /// from then on independent of it; `AlreadyExists` if the name is taken. Contents and name are
    /// not yet durable. `Unsupported` where blocks cannot be shared; then there is no new file.
    fn reflink(&self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a file's name.
    fn remove(&self, path: &str) -> io::Result<()>;
    /// Makes the names in a directory durable.
    fn sync_dir(&self, dir: &str) -> io::Result<()>;
    /// Makes everything on the file system durable (`syncfs`): slow, for shutdown only.
    fn sync_all(&self) -> io::Result<()>;
    /// Locks the directory itself; `None` if another opener holds it.
    fn lock(&self, mode: LockMode) -> io::Result<Option<Box<dyn Lock>>>;
    /// Room on the file system.
    fn space(&self) -> io::Result<Space>;
    /// Whether the file system lets this process write here (`access`), without writing.
    fn is_writable(&self) -> bool;
    /// The path as people know it, for messages.
    fn display(&self, path: &str) -> String;
}

/// Reads the `buf.len()` bytes at `offset`; `UnexpectedEof` if the file ends before.
pub fn read_exact_at(file: &dyn File, buf: &mut [u8], offset: u64) -> io::Result<()> {
    if read_full_at(file, buf, offset)? == buf.len() {
        Ok(())
    } else {
        Err(io::ErrorKind::UnexpectedEof.into())
    }
}

/// Reads until `buf` is full or the file ends, and says how much; repeats interrupted and short
/// reads.
pub fn read_full_at(file: &dyn File, buf: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut done = 0;
    while let Some(rest) = buf.get_mut(done..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, offset + done as u64) {
            Ok(0) => break,
            Ok(count) => done += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}

/// Writes all of `buf` at `offset`; repeats interrupted writes, continues short ones. A write of
/// nothing is an error, so that it can never loop for ever.
pub fn write_all_at(file: &dyn File, buf: &[u8], offset: u64) -> io::Result<()> {
    let mut done = 0;
    while let Some(rest) = buf.get(done..).filter(|rest| !rest.is_empty()) {
        match file.write_at(rest, offset + done as u64) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => done += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Reads a whole file of at most `bytes_max`; a longer one is `FileTooLarge`, before any memory is
/// taken for it.
pub fn read_file(fs: &dyn Fs, path: &str, bytes_max: u64) -> io::Result<Vec<u8>> {
    let file = fs.open(path, Mode::Read)?;
    let size = file.stat()?.size_bytes;
    let Some(size) = usize::try_from(size).ok().filter(|_| size <= bytes_max) else {
        return Err(io::ErrorKind::FileTooLarge.into());
    };
    let mut bytes = vec![0; size];
    let read = read_full_at(&*file, &mut bytes, 0)?;
    bytes.truncate(read);
    Ok(bytes)
}

/// Reads a whole file as [`read_file`] does; `None` if there is none.
pub fn read_file_if_any(fs: &dyn Fs, path: &str, bytes_max: u64) -> io::Result<Option<Vec<u8>>> {
    match read_file(fs, path, bytes_max) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Takes a path apart into its directory (`""` is the store's own) and its name; `InvalidInput` if
/// it is empty, absolute, deeper than one directory, or has a component that leads elsewhere.
pub fn split(path: &str) -> io::Result<(&str, &str)> {
    let (dir, name) = path.split_once('/').unwrap_or(("", path));
    let dir_is_plain = !path.contains('/') || is_plain(dir);
    if dir_is_plain && is_plain(name) { Ok((dir, name)) } else { Err(leads_out(path)) }
}

#[cfg(any(unix, test, feature = "testing"))]
/// Checks the name of a directory right below the store's own, as [`split`] does for files.
fn check_dir(dir: &str) -> io::Result<()> {
    if is_plain(dir) { Ok(()) } else { Err(leads_out(dir)) }
}

fn is_plain(component: &str) -> bool {
    !matches!(component, "" | "." | "..") && !component.contains(['/', '\0'])
}

fn leads_out(path: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidInput,
        format!("{path:?} is no path of the form `name` or `directory/name`"),
    )
}

#[cfg(any(unix, test, feature = "testing"))]
/// The refusal to open what is no regular file.
fn not_regular() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidInput,
        "it is not a regular file (a link, directory, FIFO or device is never opened)",
    )
}

/// Joins a directory (`""` is the store's own) and a name.
pub fn join(dir: &str, name: &str) -> String {
    if dir.is_empty() { name.to_owned() } else { format!("{dir}/{name}") }
}
