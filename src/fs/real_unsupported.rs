//! The real disk on systems where it is not built yet: every opening is refused with a sentence.
//!
//! Windows has neither `flock` on a directory, nor descriptors to open names below, nor a way to
//! make a rename durable that was tested; pretending otherwise would break the guarantees quietly.
//! Invariant: no value of [`RealFs`] can exist here.

use std::convert::Infallible;
use std::io;
use std::path::Path;
use std::sync::Arc;

use super::{Entry, File, Fs, Lock, LockMode, Mode, Space, Stat};

/// A directory of the operating system; on this system none can be opened.
#[derive(Debug)]
pub struct RealFs(Infallible);

impl RealFs {
    /// Always `Unsupported` on this system.
    pub fn open(path: &Path) -> io::Result<RealFs> {
        Err(unsupported(path))
    }

    /// Always `Unsupported` on this system; nothing is created.
    pub fn create(path: &Path) -> io::Result<RealFs> {
        Err(unsupported(path))
    }
}

fn unsupported(path: &Path) -> io::Error {
    io::Error::new(
        io::ErrorKind::Unsupported,
        format!("a store such as {} cannot be opened on this operating system", path.display()),
    )
}

impl Fs for RealFs {
    fn open(&self, _: &str, _: Mode) -> io::Result<Arc<dyn File>> {
        match self.0 {}
    }
    fn stat(&self, _: &str) -> io::Result<Option<Stat>> {
        match self.0 {}
    }
    fn list(&self, _: &str) -> io::Result<Vec<Entry>> {
        match self.0 {}
    }
    fn create_dir(&self, _: &str) -> io::Result<bool> {
        match self.0 {}
    }
    fn rename(&self, _: &str, _: &str) -> io::Result<()> {
        match self.0 {}
    }
    fn rename_new(&self, _: &str, _: &str) -> io::Result<()> {
        match self.0 {}
    }
    fn exchange(&self, _: &str, _: &str) -> io::Result<()> {
        match self.0 {}
    }
    fn link(&self, _: &str, _: &str) -> io::Result<()> {
        match self.0 {}
    }
    fn reflink(&self, _: &str, _: &str) -> io::Result<()> {
        match self.0 {}
    }
    fn remove(&self, _: &str) -> io::Result<()> {
        match self.0 {}
    }
    fn sync_dir(&self, _: &str) -> io::Result<()> {
        match self.0 {}
    }
    fn sync_all(&self) -> io::Result<()> {
        match self.0 {}
    }
    fn lock(&self, _: LockMode) -> io::Result<Option<Box<dyn Lock>>> {
        match self.0 {}
    }
    fn space(&self) -> io::Result<Space> {
        match self.0 {}
    }
    fn is_writable(&self) -> bool {
        match self.0 {}
    }
    fn display(&self, _: &str) -> String {
        match self.0 {}
    }
}
