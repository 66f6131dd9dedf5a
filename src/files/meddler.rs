//! For tests: a disk that lacks what some file systems lack, or on which a person is quicker than
//! the engine, exactly before an exchange or a rename that must find its place free.

use std::fmt;
use std::io;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::fs::sim::SimFs;
use crate::fs::{Entry, File, Fs, Lock, LockMode, Mode, Space, Stat};

type Edit = Box<dyn FnOnce(&SimFs) + Send>;

#[derive(Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is one thing that a file system lacks")]
pub(super) struct Meddler {
    pub(super) disk: SimFs,
    pub(super) no_exchange: bool,
    pub(super) no_link: bool,
    pub(super) no_sync_all: bool,
    /// `write_back` does nothing, as on systems that have no such call.
    pub(super) no_write_back: bool,
    /// Every file is said to be open for writing, as on some network file systems.
    pub(super) no_leases: bool,
    /// A listing gives each name twice, as some file systems do of what changes meanwhile.
    pub(super) lists_twice: bool,
    /// Done once, before the next exchange or `rename_new` to a path outside `wal/`.
    pub(super) edit: Mutex<Option<Edit>>,
}

impl fmt::Debug for Meddler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Meddler")
    }
}

impl Meddler {
    pub(super) fn on(disk: &SimFs) -> Self {
        Meddler { disk: disk.clone(), ..Meddler::default() }
    }

    pub(super) fn editing(disk: &SimFs, edit: impl FnOnce(&SimFs) + Send + 'static) -> Self {
        Meddler { edit: Mutex::new(Some(Box::new(edit))), ..Meddler::on(disk) }
    }

    fn meddle(&self) {
        if let Some(edit) = self.edit.lock().take() {
            edit(&self.disk);
        }
    }
}

impl Fs for Meddler {
    fn open(&self, path: &str, mode: Mode) -> io::Result<Arc<dyn File>> {
        let file = self.disk.open(path, mode)?;
        let Meddler { no_write_back, no_leases, .. } = *self;
        Ok(Arc::new(Lacking { file, no_write_back, no_leases }))
    }
    fn stat(&self, path: &str) -> io::Result<Option<Stat>> {
        self.disk.stat(path)
    }
    fn list(&self, dir: &str) -> io::Result<Vec<Entry>> {
        let all = self.disk.list(dir)?;
        let times = 1 + usize::from(self.lists_twice);
        Ok(all.into_iter().flat_map(|entry| vec![entry; times]).collect())
    }
    fn create_dir(&self, dir: &str) -> io::Result<bool> {
        self.disk.create_dir(dir)
    }
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.disk.rename(from, to)
    }
    fn rename_new(&self, from: &str, to: &str) -> io::Result<()> {
        if !to.starts_with("wal/") {
            self.meddle();
        }
        self.disk.rename_new(from, to)
    }
    fn exchange(&self, a: &str, b: &str) -> io::Result<()> {
        self.meddle();
        if self.no_exchange {
            return Err(io::ErrorKind::Unsupported.into());
        }
        self.disk.exchange(a, b)
    }
    fn link(&self, from: &str, to: &str) -> io::Result<()> {
        if self.no_link {
            return Err(io::ErrorKind::Unsupported.into());
        }
        self.disk.link(from, to)
    }
    fn reflink(&self, from: &str, to: &str) -> io::Result<()> {
        self.disk.reflink(from, to)
    }
    fn remove(&self, path: &str) -> io::Result<()> {
        self.disk.remove(path)
    }
    fn sync_dir(&self, dir: &str) -> io::Result<()> {
        self.disk.sync_dir(dir)
    }
    fn sync_all(&self) -> io::Result<()> {
        if self.no_sync_all {
            return Err(io::ErrorKind::Unsupported.into());
        }
        self.disk.sync_all()
    }
    fn lock(&self, mode: LockMode) -> io::Result<Option<Box<dyn Lock>>> {
        self.disk.lock(mode)
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
struct Lacking {
    file: Arc<dyn File>,
    no_write_back: bool,
    no_leases: bool,
}

impl File for Lacking {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(buf, offset)
    }
    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        self.file.write_at(buf, offset)
    }
    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }
    fn write_back(&self) -> io::Result<()> {
        if self.no_write_back { Ok(()) } else { self.file.write_back() }
    }
    fn set_modified(&self, modified_ns: i64) -> io::Result<()> {
        self.file.set_modified(modified_ns)
    }
    fn stat(&self) -> io::Result<Stat> {
        self.file.stat()
    }
    fn has_writer(&self) -> io::Result<bool> {
        if self.no_leases { Ok(true) } else { self.file.has_writer() }
    }
}
