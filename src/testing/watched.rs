//! A disk that calls back before every call, so that a test can look at what a crash there would
//! leave while the run goes on.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};

use crate::fs::sim::{SimFile, SimFs};
use crate::fs::{Entry, File, Fs, Lock, LockMode, Mode, Space, Stat};

/// Turns a hook on and off, and counts the calls it saw.
#[derive(Debug, Default)]
pub struct Switch {
    is_on: AtomicBool,
    calls: AtomicU64,
}

impl Switch {
    /// Turns it on or off; it begins off.
    pub fn set(&self, is_on: bool) {
        self.is_on.store(is_on, SeqCst);
    }

    /// Calls seen while it was on.
    pub fn calls(&self) -> u64 {
        self.calls.load(SeqCst)
    }
}

type Hook = Arc<dyn Fn(&SimFs) + Send + Sync>;

/// A handle to a simulated disk that calls back before each call that changes something, and between a
/// write past the page cache and its flush. The callback must not use this handle, but may use the disk
/// itself, and others.
#[derive(Clone)]
pub struct Watched {
    disk: SimFs,
    hook: Hook,
    /// Whether calls that change nothing are called back for, too.
    reads: bool,
}

impl Watched {
    /// Calls `hook` with the disk, before each call.
    pub fn new(disk: &SimFs, hook: impl Fn(&SimFs) + Send + Sync + 'static) -> Watched {
        Watched { disk: disk.clone(), hook: Arc::new(hook), reads: false }
    }

    /// Calls `hook` with the disk before each call, those included that only read.
    pub fn at_all(disk: &SimFs, hook: impl Fn(&SimFs) + Send + Sync + 'static) -> Watched {
        Watched { reads: true, ..Watched::new(disk, hook) }
    }

    /// Calls `hook` with the number of the call, from 1, only while the switch is on.
    pub fn while_on(
        disk: &SimFs,
        hook: impl Fn(&SimFs, u64) + Send + Sync + 'static,
    ) -> (Watched, Arc<Switch>) {
        let switch = Arc::new(Switch::default());
        let seen = switch.clone();
        let watched = Watched::new(disk, move |disk| {
            if seen.is_on.load(SeqCst) {
                hook(disk, seen.calls.fetch_add(1, SeqCst) + 1);
            }
        });
        (watched, switch)
    }

    /// For a call that only reads.
    fn reading(&self) -> &SimFs {
        if self.reads { self.disk() } else { &self.disk }
    }

    fn disk(&self) -> &SimFs {
        // A store that is dropped by a failing test still shuts down.
        if !std::thread::panicking() {
            (self.hook)(&self.disk);
        }
        &self.disk
    }
}

impl fmt::Debug for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.disk.fmt(f)
    }
}

impl Fs for Watched {
    fn open(&self, path: &str, mode: Mode) -> io::Result<Arc<dyn File>> {
        let file = self.disk().open_file(path, mode)?;
        Ok(Arc::new(WatchedFile { watched: self.clone(), file }))
    }
    fn stat(&self, path: &str) -> io::Result<Option<Stat>> {
        self.reading().stat(path)
    }
    fn list(&self, dir: &str) -> io::Result<Vec<Entry>> {
        self.reading().list(dir)
    }
    fn create_dir(&self, dir: &str) -> io::Result<bool> {
        self.disk().create_dir(dir)
    }
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.disk().rename(from, to)
    }
    fn rename_new(&self, from: &str, to: &str) -> io::Result<()> {
        self.disk().rename_new(from, to)
    }
    fn exchange(&self, a: &str, b: &str) -> io::Result<()> {
        self.disk().exchange(a, b)
    }
    fn link(&self, from: &str, to: &str) -> io::Result<()> {
        self.disk().link(from, to)
    }
    fn reflink(&self, from: &str, to: &str) -> io::Result<()> {
        self.disk().reflink(from, to)
    }
    fn remove(&self, path: &str) -> io::Result<()> {
        self.disk().remove(path)
    }
    fn sync_dir(&self, dir: &str) -> io::Result<()> {
        self.disk().sync_dir(dir)
    }
    fn sync_all(&self) -> io::Result<()> {
        self.disk().sync_all()
    }
    fn lock(&self, mode: LockMode) -> io::Result<Option<Box<dyn Lock>>> {
        self.disk().lock(mode)
    }
    fn space(&self) -> io::Result<Space> {
        self.disk.space()
    }
    fn is_writable(&self) -> bool {
        self.disk.is_writable()
    }
    fn display(&self, path: &str) -> String {
        self.disk.display(path)
    }
}

#[derive(Debug)]
struct WatchedFile {
    watched: Watched,
    file: SimFile,
}

/// Calls that change nothing are not called back for: a crash there is one at the next call.
impl File for WatchedFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.watched.reading();
        self.file.read_at(buf, offset)
    }
    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        self.watched.disk();
        self.file.write_at_with(buf, offset, || {
            self.watched.disk();
        })
    }
    fn sync_data(&self) -> io::Result<()> {
        self.watched.disk();
        self.file.sync_data()
    }
    fn write_back(&self) -> io::Result<()> {
        self.watched.disk();
        self.file.write_back()
    }
    fn set_modified(&self, modified_ns: i64) -> io::Result<()> {
        self.watched.disk();
        self.file.set_modified(modified_ns)
    }
    fn stat(&self) -> io::Result<Stat> {
        self.file.stat()
    }
    fn has_writer(&self) -> io::Result<bool> {
        self.file.has_writer()
    }
}
