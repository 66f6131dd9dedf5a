//! What a test does to the simulated disk behind the engine's back: looking, a person's edits,
//! planted names, rot.
//!
//! Invariants: none of it counts as a call or can be made to fail by a planned fault; what a person
//! changes is durable at once, so that a later power cut shows only what the engine lost.

use std::collections::BTreeSet;
use std::io;

use super::crash::{Chance, CrashMode};
use super::disk::{Disk, Taken};
use super::image::Image;
use super::rules::Tearing;
use super::{SimFile, SimFs};
use crate::fs::{Entry, Kind, Mode, join, split};

impl SimFs {
    /// What a file holds, as calls see it; `None` if there is no such file.
    pub fn read_now(&self, path: &str) -> Option<Vec<u8>> {
        let machine = self.machine.lock();
        let inode = machine.disk.file(path).ok()?;
        Some(machine.disk.image(inode)?.to_vec())
    }

    /// A person's edit in place: the same inode, if there is one, gets these contents, durable at
    /// once. Missing directories are made.
    pub fn write_now(&self, path: &str, bytes: &[u8]) -> io::Result<()> {
        let mut machine = self.machine.lock();
        make_dir_of(&mut machine.disk, path)?;
        machine.disk.settle(path, bytes.to_vec())
    }

    /// A person's edit as most editors do it: a new inode takes the name, durable at once. Missing
    /// directories are made.
    pub fn save_now(&self, path: &str, bytes: &[u8]) -> io::Result<()> {
        let mut machine = self.machine.lock();
        make_dir_of(&mut machine.disk, path)?;
        let temporary = format!("{path}~");
        machine.disk.settle(&temporary, bytes.to_vec())?;
        machine.disk.rename(&temporary, path, Taken::Replace)?;
        machine.disk.settle_name(path)
    }

    /// Opens a file as an editor does that holds it open for writing, and writes into it later,
    /// whatever name it has by then.
    pub fn hold_now(&self, path: &str) -> io::Result<Held> {
        let inode = self.machine.lock().disk.file(path)?;
        Ok(Held(self.handle(inode, path, Mode::Write)))
    }

    /// A person's deletion of a file, durable at once.
    pub fn remove_now(&self, path: &str) -> io::Result<()> {
        let mut machine = self.machine.lock();
        machine.disk.remove(path)?;
        machine.disk.settle_name(path)
    }

    /// Plants an empty file, a directory, or something else (a link, a FIFO) at a free name, durable
    /// at once.
    pub fn plant_now(&self, path: &str, kind: Kind) -> io::Result<()> {
        let mut machine = self.machine.lock();
        machine.disk.create(path, kind)?;
        machine.disk.settle_name(path)
    }

    /// Flips the bits of `mask` in one byte, on the medium and in what is read, with no trace in the
    /// file's `stat`. Nothing happens beyond the file's end.
    pub fn corrupt(&self, path: &str, offset: u64, mask: u8) -> io::Result<()> {
        let offset = usize::try_from(offset).map_err(|_| io::ErrorKind::InvalidInput)?;
        self.machine.lock().disk.corrupt(path, offset, mask)
    }

    /// Rot at rest: flips one bit in each of `count` bytes of regular files, all drawn from the seed,
    /// as [`SimFs::corrupt`] does. Returns path, offset and mask of each; fewer where there are not
    /// many bytes.
    pub fn rot(&self, seed: u64, count: usize) -> Vec<(String, u64, u8)> {
        let mut machine = self.machine.lock();
        let disk = &mut machine.disk;
        let mut files = Vec::new();
        for path in paths(disk) {
            if let Ok(inode) = disk.file(&path) {
                let length = disk.image(inode).map_or(0, Image::len);
                files.extend((length > 0).then_some((path, inode, length)));
            }
        }
        let mut chance = Chance::new(&CrashMode::Random(seed), Tearing::Sector);
        let mut below =
            |limit: usize| chance.draw(u32::try_from(limit).unwrap_or(u32::MAX).max(1)) as usize;
        let (mut flipped, mut hit) = (Vec::new(), BTreeSet::new());
        // Most draws hit a byte that is whole yet, unless there are too few.
        for _ in 0..count.saturating_mul(16) {
            let Some((path, inode, length)) = files.get(below(files.len())) else { break };
            let (offset, mask) = (below(*length), 1 << below(8));
            if flipped.len() < count && hit.insert((*inode, offset)) {
                disk.corrupt_inode(*inode, offset, mask);
                flipped.push((path.clone(), offset as u64, mask));
            }
        }
        flipped
    }

    /// Makes every later call that reads the file fail, under any name: bad sectors, or permissions
    /// that were taken away. `read_now` still gives its contents.
    pub fn spoil_now(&self, path: &str, error: io::ErrorKind) -> io::Result<()> {
        self.machine.lock().disk.spoil(path, error)
    }

    /// The paths of all files (not directories), sorted.
    pub fn names(&self) -> Vec<String> {
        paths(&self.machine.lock().disk)
    }
}

fn paths(disk: &Disk) -> Vec<String> {
    let list = |dir: &str| disk.list(dir).unwrap_or_default();
    let mut paths = Vec::new();
    for Entry { name, kind } in list("") {
        if kind == Kind::Directory {
            let below = list(&name).into_iter().filter(|entry| entry.kind != Kind::Directory);
            paths.extend(below.map(|entry| join(&name, &entry.name)));
        } else {
            paths.push(name);
        }
    }
    paths.sort();
    paths
}

/// A file that somebody else has open for writing, until this is dropped.
#[derive(Debug)]
pub struct Held(SimFile);

impl Held {
    /// Gives the file these contents, durable at once, and leaves it open.
    pub fn write(&self, bytes: &[u8]) {
        self.0.fs.machine.lock().disk.settle_inode(self.0.inode, bytes.to_vec());
    }
}

fn make_dir_of(disk: &mut Disk, path: &str) -> io::Result<()> {
    let (dir, _) = split(path)?;
    if !dir.is_empty() && disk.find(dir)?.is_none() {
        disk.create(dir, Kind::Directory)?;
    }
    Ok(())
}
