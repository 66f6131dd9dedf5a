//! An open file of the simulated disk.
//!
//! Invariants: each method is one call and passes the gate, but a write past the page cache, which is
//! two, the write and its flush; a handle stays valid whatever becomes of the file's names, until the
//! machine stops.

use std::io;

use super::disk::Disk;
use super::fault::{Call, CallKind, Pass, Path};
use super::{Machine, SimFs};
use crate::fs::{File, Stat};

/// What a write past the page cache must be made of.
const ALIGNMENT: usize = 4096;

fn is_on_boundary(buf: &[u8]) -> bool {
    buf.as_ptr().align_offset(ALIGNMENT) == 0
}

#[derive(Debug)]
pub(crate) struct SimFile {
    pub(super) fs: SimFs,
    pub(super) inode: u64,
    /// The name it was opened by, for the trace and for faults by path.
    pub(super) path: String,
    pub(super) writes: bool,
    /// Its writes go past the page cache: each is followed by a flush of what it wrote, and of no more.
    pub(super) is_through: bool,
}

impl SimFile {
    /// Lets a call pass the gate.
    fn pass(
        &self,
        machine: &mut Machine,
        kind: CallKind,
        verb: &str,
        range: Option<(u64, usize)>,
    ) -> io::Result<Pass> {
        machine.gate.pass(Call { kind, verb, paths: &[Path::File(&self.path)], range })
    }

    /// Flushes in one way or another; a failure loses what was unsynced.
    fn flush(
        &self,
        machine: &mut Machine,
        kind: CallKind,
        verb: &str,
        done: impl FnOnce(&mut Disk, u64),
    ) -> io::Result<()> {
        let passed = self.pass(machine, kind, verb, None);
        match passed {
            Ok(Pass::Lie) => {}
            Ok(_) => done(&mut machine.disk, self.inode),
            // Before a crash the call never began.
            Err(_) if machine.gate.stopped => {}
            Err(_) => machine.disk.lose(self.inode),
        }
        passed.map(drop)
    }

    /// Writes, as [`File::write_at`] does. If the write goes past the page cache, `unflushed` is called
    /// before its flush, at which the power can fail with any part of it written.
    pub(crate) fn write_at_with(
        &self,
        buf: &[u8],
        offset: u64,
        unflushed: impl FnOnce(),
    ) -> io::Result<usize> {
        let mut machine = self.fs.machine.lock();
        let range = Some((offset, buf.len()));
        let pass = self.pass(&mut machine, CallKind::Write, "write", range)?;
        if !self.writes {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        // A write that goes on behind a short one need not begin at a boundary.
        let is_aligned = buf.len().is_multiple_of(ALIGNMENT) && is_on_boundary(buf);
        if self.is_through && offset.is_multiple_of(ALIGNMENT as u64) && !is_aligned {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let buf = buf.get(..pass.shortened(buf.len())).unwrap_or(buf);
        if buf.is_empty() {
            return Ok(0);
        }
        let count = machine.disk.write(self.inode, buf, offset)?;
        drop(machine);
        if self.is_through {
            unflushed();
            self.flush(&mut self.fs.machine.lock(), CallKind::Sync, "sync", |disk, inode| {
                disk.sync_part(inode, offset, count);
            })?;
        }
        Ok(count)
    }
}

impl File for SimFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut machine = self.fs.machine.lock();
        let range = Some((offset, buf.len()));
        let pass = self.pass(&mut machine, CallKind::Read, "read", range)?;
        machine.disk.give(self.inode)?;
        let count = pass.shortened(buf.len());
        Ok(machine.disk.read(self.inode, offset, buf.get_mut(..count).unwrap_or_default()))
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        self.write_at_with(buf, offset, || {})
    }

    fn sync_data(&self) -> io::Result<()> {
        self.flush(&mut self.fs.machine.lock(), CallKind::Sync, "sync", Disk::sync)
    }

    fn write_back(&self) -> io::Result<()> {
        let machine = &mut self.fs.machine.lock();
        self.flush(machine, CallKind::WriteBack, "write_back", Disk::write_back)
    }

    fn set_modified(&self, modified_ns: i64) -> io::Result<()> {
        let paths = &[Path::File(&self.path)];
        let mut machine = self.fs.enter(CallKind::SetModified, "set_modified", paths)?;
        machine.disk.set_modified(self.inode, modified_ns);
        Ok(())
    }

    fn stat(&self) -> io::Result<Stat> {
        let machine = self.fs.enter(CallKind::Stat, "stat", &[Path::File(&self.path)])?;
        machine.disk.stat(self.inode).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn has_writer(&self) -> io::Result<bool> {
        let machine = self.fs.enter(CallKind::Lease, "lease", &[Path::File(&self.path)])?;
        Ok(machine.writers.contains(&self.inode))
    }
}

impl Drop for SimFile {
    fn drop(&mut self) {
        let mut machine = self.fs.machine.lock();
        let mine = machine.writers.iter().position(|inode| self.writes && *inode == self.inode);
        if let Some(mine) = mine {
            machine.writers.swap_remove(mine);
        }
    }
}
