//! The simulated directory tree as calls see it: inodes, and what each call does to them.
//!
//! It says what POSIX says of names (a rename onto another name of the same file does nothing), and
//! it has room for so many bytes. What becomes durable, and when, is told in [`medium`].
//!
//! Invariants: every change of a name goes through `Disk::change`, which queues it for the medium;
//! no inode ever goes away before the next power cut, so that open handles and durable names stay
//! valid; every change is touched with the clock's time (`clock`).

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use super::clock::{FsClock, Times};
use super::data::Data;
use super::image::Image;
use super::rules::{AfterFailedSync, Rules, Tearing};
use crate::fs::{Entry, Kind, Stat, check_dir, not_regular, split};

mod by_hand;
mod fingerprint;
mod medium;

use medium::{Change, Operation};

const ROOT: u64 = 1;

type Names = BTreeMap<Arc<str>, u64>;

#[derive(Clone, Debug)]
enum Body {
    File(Data),
    Directory { now: Arc<Names>, durable: Arc<Names> },
    Other,
}

#[derive(Clone, Debug)]
pub(super) struct Inode {
    body: Body,
    links: u64,
    pub(super) times: Times,
    durable_times: Times,
}

impl Inode {
    fn new(kind: Kind) -> Inode {
        let body = match kind {
            Kind::File => Body::File(Data::default()),
            Kind::Directory => Body::Directory { now: Arc::default(), durable: Arc::default() },
            Kind::Other => Body::Other,
        };
        Inode { body, links: 0, times: Times::default(), durable_times: Times::default() }
    }
}

/// A place for a name: its directory, the name, and what has it.
#[derive(Clone, Copy, Debug)]
struct Place<'a> {
    dir: u64,
    name: &'a str,
    inode: Option<u64>,
}

/// How a rename treats a name that is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    Replace,
    Refuse,
    Exchange,
}

/// The disk without the gate before it. A clone shares with it whatever neither changes.
#[derive(Clone, Debug)]
pub(super) struct Disk {
    inodes: BTreeMap<u64, Arc<Inode>>,
    pending: Vec<Arc<Operation>>,
    last_inode: u64,
    pub(super) clock: FsClock,
    pub(super) free_bytes: u64,
    pub(super) reflinks: bool,
    pub(super) rules: Rules,
    pub(super) tearing: Tearing,
    pub(super) after_failed_sync: AfterFailedSync,
    /// Files that can be opened and not read, and the error that tells so.
    spoiled: BTreeMap<u64, io::ErrorKind>,
}

impl Disk {
    pub(super) fn new() -> Disk {
        let root = Inode { links: 1, ..Inode::new(Kind::Directory) };
        Disk {
            inodes: BTreeMap::from([(ROOT, Arc::new(root))]),
            pending: Vec::new(),
            last_inode: ROOT,
            clock: FsClock::default(),
            free_bytes: 1 << 40,
            reflinks: false,
            rules: Rules::default(),
            tearing: Tearing::default(),
            after_failed_sync: AfterFailedSync::default(),
            spoiled: BTreeMap::new(),
        }
    }

    pub(super) fn inode_mut(&mut self, number: u64) -> Option<&mut Inode> {
        self.inodes.get_mut(&number).map(Arc::make_mut)
    }

    fn names(&self, dir: u64) -> Option<&Names> {
        let Body::Directory { now, .. } = &self.inodes.get(&dir)?.body else { return None };
        Some(now)
    }

    fn data(&mut self, inode: u64) -> Option<&mut Data> {
        let Body::File(data) = &mut self.inode_mut(inode)?.body else { return None };
        Some(data)
    }

    fn directory(&self, dir: &str) -> io::Result<u64> {
        if dir.is_empty() {
            return Ok(ROOT);
        }
        check_dir(dir)?;
        let found = self.names(ROOT).and_then(|names| names.get(dir)).copied();
        let found = found.ok_or(io::ErrorKind::NotFound)?;
        if self.names(found).is_some() {
            Ok(found)
        } else {
            Err(io::ErrorKind::InvalidInput.into())
        }
    }

    fn place<'a>(&self, path: &'a str) -> io::Result<Place<'a>> {
        let (dir, name) = split(path)?;
        let dir = self.directory(dir)?;
        let inode = self.names(dir).and_then(|names| names.get(name)).copied();
        Ok(Place { dir, name, inode })
    }

    /// The inode of a name, a regular file.
    pub(super) fn file(&self, path: &str) -> io::Result<u64> {
        let inode = self.place(path)?.inode.ok_or(io::ErrorKind::NotFound)?;
        match self.stat(inode) {
            Some(stat) if stat.kind == Kind::File => Ok(inode),
            _ => Err(not_regular()),
        }
    }

    /// The inode of a name, if there is one.
    pub(super) fn find(&self, path: &str) -> io::Result<Option<u64>> {
        match self.place(path) {
            Ok(place) => Ok(place.inode),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(super) fn stat(&self, number: u64) -> Option<Stat> {
        let inode = self.inodes.get(&number)?;
        let (kind, size, permissions) = match &inode.body {
            Body::File(data) => (Kind::File, data.now().len(), 0o600),
            Body::Directory { .. } => (Kind::Directory, 0, 0o700),
            Body::Other => (Kind::Other, 0, 0o600),
        };
        Some(Stat {
            kind,
            size_bytes: size as u64,
            device: 1,
            inode: number,
            links: inode.links,
            modified_ns: inode.times.modified,
            changed_ns: inode.times.changed,
            permissions,
        })
    }

    pub(super) fn list(&self, dir: &str) -> io::Result<Vec<Entry>> {
        let names = self.names(self.directory(dir)?).ok_or(io::ErrorKind::InvalidInput)?;
        let entry = |(name, inode): (&Arc<str>, &u64)| {
            Some(Entry { name: name.to_string(), kind: self.stat(*inode)?.kind })
        };
        Ok(names.iter().filter_map(entry).collect())
    }

    /// Creates what must not exist yet, and returns its inode.
    pub(super) fn create(&mut self, path: &str, kind: Kind) -> io::Result<u64> {
        let place = self.place(path)?;
        if place.inode.is_some() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        self.last_inode += 1;
        let number = self.last_inode;
        self.inodes.insert(number, Arc::new(Inode::new(kind)));
        self.touch(number, true);
        self.change(&[(place, Some(number))]);
        Ok(number)
    }

    pub(super) fn rename(&mut self, from: &str, to: &str, taken: Taken) -> io::Result<()> {
        let (from, to) = (self.place(from)?, self.place(to)?);
        let moved = from.inode.ok_or(io::ErrorKind::NotFound)?;
        if moved == to.dir {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        match (taken, to.inode) {
            (Taken::Exchange, None) => return Err(io::ErrorKind::NotFound.into()),
            (Taken::Refuse, Some(_)) => return Err(io::ErrorKind::AlreadyExists.into()),
            // Two names of one file: nothing happens, as POSIX has it.
            (_, Some(replaced)) if replaced == moved => return Ok(()),
            (Taken::Replace, Some(replaced)) => self.check_replaceable(moved, replaced)?,
            _ => {}
        }
        let left = if taken == Taken::Exchange { to.inode } else { None };
        for inode in [Some(moved), left].into_iter().flatten() {
            self.touch(inode, false);
        }
        self.change(&[(from, left), (to, Some(moved))]);
        Ok(())
    }

    fn check_replaceable(&self, moved: u64, replaced: u64) -> io::Result<()> {
        match (self.names(moved), self.names(replaced)) {
            (None, None) => Ok(()),
            (None, Some(_)) => Err(io::ErrorKind::IsADirectory.into()),
            (Some(_), None) => Err(io::ErrorKind::NotADirectory.into()),
            (Some(_), Some(names)) if names.is_empty() => Ok(()),
            (Some(_), Some(_)) => Err(io::ErrorKind::DirectoryNotEmpty.into()),
        }
    }

    pub(super) fn link(&mut self, from: &str, to: &str) -> io::Result<()> {
        let (from, to) = (self.place(from)?, self.place(to)?);
        let linked = from.inode.ok_or(io::ErrorKind::NotFound)?;
        if to.inode.is_some() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        if self.names(linked).is_some() {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        self.touch(linked, false);
        self.change(&[(to, Some(linked))]);
        Ok(())
    }

    /// The new file takes as much room as a copy, though a real one would take less.
    pub(super) fn reflink(&mut self, from: &str, to: &str) -> io::Result<()> {
        if !self.reflinks {
            return Err(io::ErrorKind::Unsupported.into());
        }
        let image = self.image(self.file(from)?).cloned().unwrap_or_default();
        if image.len() as u64 > self.free_bytes {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let made = self.create(to, Kind::File)?;
        if image.len() > 0 {
            self.write(made, &image.to_vec(), 0)?;
        }
        Ok(())
    }

    pub(super) fn remove(&mut self, path: &str) -> io::Result<()> {
        let place = self.place(path)?;
        let removed = place.inode.ok_or(io::ErrorKind::NotFound)?;
        if self.names(removed).is_some() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        self.touch(removed, false);
        self.change(&[(place, None)]);
        Ok(())
    }

    /// A regular file's bytes, as calls see them.
    pub(super) fn image(&self, inode: u64) -> Option<&Image> {
        let Body::File(data) = &self.inodes.get(&inode)?.body else { return None };
        Some(data.now())
    }

    fn length(&self, inode: u64) -> usize {
        self.image(inode).map_or(0, Image::len)
    }

    /// Reads into `buf` from `offset` what there is, and says how much.
    pub(super) fn read(&self, inode: u64, offset: u64, buf: &mut [u8]) -> usize {
        let offset = usize::try_from(offset).unwrap_or(usize::MAX);
        self.image(inode).map_or(0, |image| image.read(offset, buf))
    }

    /// Writes as much as there is room for; `StorageFull` if there is none at all.
    pub(super) fn write(&mut self, inode: u64, bytes: &[u8], offset: u64) -> io::Result<usize> {
        let offset = usize::try_from(offset).map_err(|_| io::ErrorKind::FileTooLarge)?;
        let length = self.length(inode);
        let room = usize::try_from(self.free_bytes).unwrap_or(usize::MAX);
        let end_max = length.saturating_add(room);
        let bytes = bytes.get(..end_max.saturating_sub(offset)).unwrap_or(bytes);
        if bytes.is_empty() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.touch(inode, true);
        let data = self.data(inode).ok_or(io::ErrorKind::InvalidInput)?;
        data.write(bytes, offset);
        let grown = data.now().len() - length;
        self.free_bytes = self.free_bytes.saturating_sub(grown as u64);
        Ok(bytes.len())
    }

    /// The bytes of all files that have a name.
    pub(super) fn used_bytes(&self) -> u64 {
        let named = self.inodes.iter().filter(|(_, inode)| inode.links > 0);
        named.map(|(number, _)| self.length(*number) as u64).sum()
    }

    /// Gives each place its new occupant, as one operation that is not yet durable.
    fn change(&mut self, places: &[(Place<'_>, Option<u64>)]) {
        let mut operation = Operation { changes: Vec::new(), carried: Vec::new() };
        for (place, new) in places {
            let Place { dir, name, inode: old } = *place;
            let name: Arc<str> = Arc::from(name);
            self.touch(dir, true);
            if let Some(Inode { body: Body::Directory { now, .. }, .. }) = self.inode_mut(dir) {
                set(now, &name, *new);
            }
            operation.carried.extend(new.and_then(|inode| self.carried(inode)));
            operation.changes.push(Change { dir, name, old, new: *new });
        }
        for change in &operation.changes {
            self.count_link(change.new, 1);
        }
        for change in &operation.changes {
            self.count_link(change.old, -1);
        }
        self.pending.push(Arc::new(operation));
    }

    fn count_link(&mut self, number: Option<u64>, by: i64) {
        let Some(inode) = number.and_then(|number| self.inode_mut(number)) else {
            return;
        };
        inode.links = inode.links.saturating_add_signed(by);
        if let Inode { links: 0, body: Body::File(data), .. } = inode {
            let given_back = data.now().len() as u64;
            self.free_bytes += given_back;
        }
    }
}

fn set(names: &mut Arc<Names>, name: &Arc<str>, inode: Option<u64>) {
    let names = Arc::make_mut(names);
    match inode {
        Some(inode) => names.insert(Arc::clone(name), inode),
        None => names.remove(name),
    };
}
