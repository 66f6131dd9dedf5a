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

use super::clock::{FsClock, Times};
use super::data::Data;
use crate::fs::{Entry, Kind, Stat, check_dir, not_regular, split};

mod by_hand;
mod medium;

use medium::{Change, Operation};

const ROOT: u64 = 1;

type Names = BTreeMap<String, u64>;

#[derive(Clone, Debug)]
enum Body {
    File(Data),
    Directory { now: Names, durable: Names },
    Other,
}

#[derive(Clone, Debug)]
pub(super) struct Inode {
    body: Body,
    links: u64,
    pub(super) times: Times,
    durable_times: Times,
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

/// The disk without the gate before it.
#[derive(Clone, Debug)]
pub(super) struct Disk {
    pub(super) inodes: BTreeMap<u64, Inode>,
    pending: Vec<Operation>,
    last_inode: u64,
    pub(super) clock: FsClock,
    pub(super) free_bytes: u64,
    pub(super) reflinks: bool,
    /// Files that can be opened and not read, and the error that tells so.
    spoiled: BTreeMap<u64, io::ErrorKind>,
}

impl Disk {
    pub(super) fn new() -> Disk {
        let root = Body::Directory { now: Names::new(), durable: Names::new() };
        let root = Inode {
            body: root,
            links: 1,
            times: Times::default(),
            durable_times: Times::default(),
        };
        Disk {
            inodes: BTreeMap::from([(ROOT, root)]),
            pending: Vec::new(),
            last_inode: ROOT,
            clock: FsClock::default(),
            free_bytes: 1 << 40,
            reflinks: false,
            spoiled: BTreeMap::new(),
        }
    }

    fn names(&self, dir: u64) -> Option<&Names> {
        let Body::Directory { now, .. } = &self.inodes.get(&dir)?.body else { return None };
        Some(now)
    }

    fn data(&mut self, inode: u64) -> Option<&mut Data> {
        let Body::File(data) = &mut self.inodes.get_mut(&inode)?.body else { return None };
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
        let entry = |(name, inode): (&String, &u64)| {
            Some(Entry { name: name.clone(), kind: self.stat(*inode)?.kind })
        };
        Ok(names.iter().filter_map(entry).collect())
    }

    /// Creates what must not exist yet, and returns its inode.
    pub(super) fn create(&mut self, path: &str, kind: Kind) -> io::Result<u64> {
        let place = self.place(path)?;
        if place.inode.is_some() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let body = match kind {
            Kind::File => Body::File(Data::default()),
            Kind::Directory => Body::Directory { now: Names::new(), durable: Names::new() },
            Kind::Other => Body::Other,
        };
        self.last_inode += 1;
        let number = self.last_inode;
        let (times, durable_times) = (Times::default(), Times::default());
        self.inodes.insert(number, Inode { body, links: 0, times, durable_times });
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
        let bytes = self.read(self.file(from)?).to_vec();
        if bytes.len() as u64 > self.free_bytes {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let made = self.create(to, Kind::File)?;
        if !bytes.is_empty() {
            self.write(made, &bytes, 0)?;
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

    pub(super) fn read(&self, inode: u64) -> &[u8] {
        match self.inodes.get(&inode).map(|inode| &inode.body) {
            Some(Body::File(data)) => data.now(),
            _ => &[],
        }
    }

    /// Writes as much as there is room for; `StorageFull` if there is none at all.
    pub(super) fn write(&mut self, inode: u64, bytes: &[u8], offset: u64) -> io::Result<usize> {
        let offset = usize::try_from(offset).map_err(|_| io::ErrorKind::FileTooLarge)?;
        let length = self.read(inode).len();
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

    pub(super) fn sync(&mut self, number: u64) {
        if let Some(inode) = self.inodes.get_mut(&number) {
            inode.durable_times = inode.times;
            if let Body::File(data) = &mut inode.body {
                data.sync();
            }
        }
        // What an unsynced rename would have carried is older than what is durable now.
        for operation in &mut self.pending {
            operation.carried.retain(|(inode, _)| *inode != number);
        }
    }

    /// A sync of the file failed.
    pub(super) fn lose(&mut self, inode: u64) {
        if let Some(data) = self.data(inode) {
            data.lose();
        }
    }

    pub(super) fn write_back(&mut self, inode: u64) {
        if let Some(data) = self.data(inode) {
            data.write_back();
        }
    }

    pub(super) fn sync_dir(&mut self, dir: &str) -> io::Result<()> {
        let dir = self.directory(dir)?;
        self.commit(|change| change.dir == dir);
        if let Some(inode) = self.inodes.get_mut(&dir) {
            inode.durable_times = inode.times;
        }
        Ok(())
    }

    pub(super) fn inode_numbers(&self) -> Vec<u64> {
        self.inodes.keys().copied().collect()
    }

    pub(super) fn sync_all(&mut self) {
        self.commit(|_| true);
        for inode in self.inode_numbers() {
            self.sync(inode);
        }
    }

    /// The bytes of all files that have a name.
    pub(super) fn used_bytes(&self) -> u64 {
        let named = self.inodes.iter().filter(|(_, inode)| inode.links > 0);
        named.map(|(number, _)| self.read(*number).len() as u64).sum()
    }

    /// Gives each place its new occupant, as one operation that is not yet durable.
    fn change(&mut self, places: &[(Place<'_>, Option<u64>)]) {
        let mut operation = Operation { changes: Vec::new(), carried: Vec::new() };
        for (place, new) in places {
            let Place { dir, name, inode: old } = *place;
            self.touch(dir, true);
            if let Some(Inode { body: Body::Directory { now, .. }, .. }) = self.inodes.get_mut(&dir)
            {
                set(now, name, *new);
            }
            let carried = new.and_then(|inode| Some((inode, self.data(inode)?.carried()?)));
            operation.carried.extend(carried);
            operation.changes.push(Change { dir, name: name.to_owned(), old, new: *new });
        }
        for change in &operation.changes {
            self.count_link(change.new, 1);
        }
        for change in &operation.changes {
            self.count_link(change.old, -1);
        }
        self.pending.push(operation);
    }

    fn count_link(&mut self, number: Option<u64>, by: i64) {
        let Some(inode) = number.and_then(|number| self.inodes.get_mut(&number)) else {
            return;
        };
        inode.links = inode.links.saturating_add_signed(by);
        if let Inode { links: 0, body: Body::File(data), .. } = inode {
            self.free_bytes += data.now().len() as u64;
        }
    }
}

fn set(names: &mut Names, name: &str, inode: Option<u64>) {
    match inode {
        Some(inode) => names.insert(name.to_owned(), inode),
        None => names.remove(name),
    };
}
