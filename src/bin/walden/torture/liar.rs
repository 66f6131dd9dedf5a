//! A disk that says it flushed and did not. With it a power cut loses acknowledged writes, and a test
//! of power cuts shows that it would notice.
//!
//! Only the hidden working process uses it, and only if `WALDEN_TORTURE_LIAR` is `flushes`.

use std::io;
use std::sync::Arc;

use walden::fs::{Entry, File, Fs, Lock, LockMode, Mode, Space, Stat};

/// Passes everything on but flushes.
#[derive(Debug)]
pub(super) struct LyingFs<F>(pub(super) F);

#[derive(Debug)]
struct LyingFile(Arc<dyn File>);

impl File for LyingFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(buf, offset)
    }
    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        self.0.write_at(buf, offset)
    }
    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }
    fn write_back(&self) -> io::Result<()> {
        Ok(())
    }
    fn set_modified(&self, modified_ns: i64) -> io::Result<()> {
        self.0.set_modified(modified_ns)
    }
    fn stat(&self) -> io::Result<Stat> {
        self.0.stat()
    }
    fn has_writer(&self) -> io::Result<bool> {
        self.0.has_writer()
    }
}

impl<F: Fs> Fs for LyingFs<F> {
    fn open(&self, path: &str, mode: Mode) -> io::Result<Arc<dyn File>> {
        if mode == Mode::Through {
            // There would be no flush to lie about.
            return Err(io::ErrorKind::Unsupported.into());
        }
        Ok(Arc::new(LyingFile(self.0.open(path, mode)?)))
    }
    fn stat(&self, path: &str) -> io::Result<Option<Stat>> {
        self.0.stat(path)
    }
    fn list(&self, dir: &str) -> io::Result<Vec<Entry>> {
        self.0.list(dir)
    }
    fn create_dir(&self, dir: &str) -> io::Result<bool> {
        self.0.create_dir(dir)
    }
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.0.rename(from, to)
    }
    fn rename_new(&self, from: &str, to: &str) -> io::Result<()> {
        self.0.rename_new(from, to)
    }
    fn exchange(&self, a: &str, b: &str) -> io::Result<()> {
        self.0.exchange(a, b)
    }
    fn link(&self, from: &str, to: &str) -> io::Result<()> {
        self.0.link(from, to)
    }
    fn reflink(&self, from: &str, to: &str) -> io::Result<()> {
        self.0.reflink(from, to)
    }
    fn remove(&self, path: &str) -> io::Result<()> {
        self.0.remove(path)
    }
    fn sync_dir(&self, _: &str) -> io::Result<()> {
        Ok(())
    }
    fn sync_all(&self) -> io::Result<()> {
        Ok(())
    }
    fn lock(&self, mode: LockMode) -> io::Result<Option<Box<dyn Lock>>> {
        self.0.lock(mode)
    }
    fn space(&self) -> io::Result<Space> {
        self.0.space()
    }
    fn is_writable(&self) -> bool {
        self.0.is_writable()
    }
    fn display(&self, path: &str) -> String {
        self.0.display(path)
    }
}
