//! Changes that no call makes: a person's, durable at once, and rot.
//!
//! Invariant: what a person changed survives every later power cut; rot leaves no trace in a file's
//! times.

use std::io;

use super::{Disk, ROOT};
use crate::fs::sim::data::Data;
use crate::fs::sim::image::Image;
use crate::fs::{Kind, split};

impl Disk {
    /// Sets a file's contents as a person would who then waits for the medium: durable at once,
    /// name included.
    pub(in crate::fs::sim) fn settle(&mut self, path: &str, bytes: Vec<u8>) -> io::Result<()> {
        let inode = match self.find(path)? {
            Some(_) => self.file(path)?,
            None => self.create(path, Kind::File)?,
        };
        self.settle_inode(inode, bytes);
        self.settle_name(path)
    }

    /// The same of a file that is already open.
    pub(in crate::fs::sim) fn settle_inode(&mut self, inode: u64, bytes: Vec<u8>) {
        self.touch(inode, true);
        if let Some(data) = self.data(inode) {
            *data = Data::settled(Image::of(&bytes));
        }
        self.sync(inode);
    }

    /// Makes durable what is pending of one name, and of its directory's.
    pub(in crate::fs::sim) fn settle_name(&mut self, path: &str) -> io::Result<()> {
        let (dir, _) = split(path)?;
        let place = self.place(path)?;
        self.commit(|change| {
            (change.dir == place.dir && *change.name == *place.name)
                || (change.dir == ROOT && *change.name == *dir)
        });
        Ok(())
    }

    pub(in crate::fs::sim) fn corrupt(
        &mut self,
        path: &str,
        offset: usize,
        mask: u8,
    ) -> io::Result<()> {
        let inode = self.file(path)?;
        self.corrupt_inode(inode, offset, mask);
        Ok(())
    }

    pub(in crate::fs::sim) fn corrupt_inode(&mut self, inode: u64, offset: usize, mask: u8) {
        if let Some(data) = self.data(inode) {
            data.corrupt(offset, mask);
        }
    }

    /// From now on, whatever names it gets, reading this file fails.
    pub(in crate::fs::sim) fn spoil(&mut self, path: &str, error: io::ErrorKind) -> io::Result<()> {
        let inode = self.file(path)?;
        self.spoiled.insert(inode, error);
        Ok(())
    }

    /// Whether a call may read the file.
    pub(in crate::fs::sim) fn give(&self, inode: u64) -> io::Result<()> {
        self.spoiled.get(&inode).map_or(Ok(()), |error| Err((*error).into()))
    }
}
