//! The way to the medium: what is not yet durable, what makes it so, and what a power cut leaves.
//!
//! Every call that changes names is one operation, which reaches the medium whole or not at all,
//! across directories too, and never before those that it builds on, as the [`Rules`] have it.
//!
//! Invariant: the durable names are what the operations that got there, in their order, give.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

use super::super::crash::{Chance, CrashMode};
use super::super::data::{Carried, Data};
use super::super::rules::{AfterFailedSync, Rules};
use super::{Body, Disk, Inode, ROOT, set};

/// One name that an operation changed.
#[derive(Clone, Debug)]
pub(super) struct Change {
    pub(super) dir: u64,
    pub(super) name: Arc<str>,
    pub(super) old: Option<u64>,
    pub(super) new: Option<u64>,
}

/// What one call did to names, and the contents that go to the medium with it.
#[derive(Clone, Debug)]
pub(super) struct Operation {
    pub(super) changes: Vec<Change>,
    pub(super) carried: Vec<(u64, Carried)>,
}

impl Disk {
    pub(in crate::fs::sim) fn sync(&mut self, number: u64) {
        if let Some(inode) = self.inode_mut(number) {
            inode.durable_times = inode.times;
            if let Body::File(data) = &mut inode.body {
                data.sync();
            }
        }
        // What an unsynced rename would have carried is older than what is durable now.
        for operation in &mut self.pending {
            if operation.carried.iter().any(|(inode, _)| *inode == number) {
                Arc::make_mut(operation).carried.retain(|(inode, _)| *inode != number);
            }
        }
    }

    /// A write past the page cache, of so many bytes, has arrived.
    pub(in crate::fs::sim) fn sync_part(&mut self, inode: u64, offset: u64, length: usize) {
        let offset = usize::try_from(offset).expect("it was written there");
        if let Some(data) = self.data(inode) {
            data.sync_part(offset, length);
        }
    }

    /// A sync of the file failed.
    pub(in crate::fs::sim) fn lose(&mut self, inode: u64) {
        let outcome = self.after_failed_sync;
        if let Some(data) = self.data(inode).filter(|_| outcome == AfterFailedSync::Clean) {
            data.lose();
        }
    }

    pub(in crate::fs::sim) fn write_back(&mut self, inode: u64) {
        if let Some(data) = self.data(inode) {
            data.write_back();
        }
    }

    pub(in crate::fs::sim) fn sync_dir(&mut self, dir: &str) -> io::Result<()> {
        let dir = self.directory(dir)?;
        self.commit(|change| change.dir == dir);
        if let Some(inode) = self.inode_mut(dir) {
            inode.durable_times = inode.times;
        }
        Ok(())
    }

    pub(in crate::fs::sim) fn inode_numbers(&self) -> Vec<u64> {
        self.inodes.keys().copied().collect()
    }

    pub(in crate::fs::sim) fn sync_all(&mut self) {
        self.commit(|_| true);
        for inode in self.inode_numbers() {
            self.sync(inode);
        }
    }

    /// What an operation that gives this file a name carries to the medium.
    pub(super) fn carried(&self, number: u64) -> Option<(u64, Carried)> {
        match &self.inodes.get(&number)?.body {
            Body::File(data) if self.rules == Rules::Ordered => Some((number, data.carried()?)),
            _ => None,
        }
    }

    /// Makes durable, in order, every pending operation with a change that `wanted` says yes to,
    /// and what these build on.
    pub(super) fn commit(&mut self, wanted: impl Fn(&Change) -> bool) {
        let mut ties = Ties::new(self.rules);
        let mut chosen = Vec::new();
        for operation in std::mem::take(&mut self.pending).into_iter().rev() {
            let is_chosen = operation.changes.iter().any(&wanted) || ties.is_base(&operation);
            if is_chosen {
                ties.add(&operation);
            }
            chosen.push((operation, is_chosen));
        }
        for (operation, is_chosen) in chosen.into_iter().rev() {
            if is_chosen {
                self.apply(&operation);
            } else {
                self.pending.push(operation);
            }
        }
    }

    /// Puts an operation onto the medium.
    fn apply(&mut self, operation: &Operation) {
        for Change { dir, name, new, .. } in &operation.changes {
            if let Some(Inode { body: Body::Directory { durable, .. }, .. }) = self.inode_mut(*dir)
            {
                set(durable, name, *new);
            }
        }
        for (inode, carried) in &operation.carried {
            if let Some(data) = self.data(*inode) {
                data.settle(carried);
            }
        }
    }

    /// The disk after a power cut, and the draws that made it.
    pub(in crate::fs::sim) fn after_crash(&self, mode: &CrashMode) -> (Disk, Vec<u32>) {
        let mut chance = Chance::new(mode, self.tearing);
        let mut cut = Disk {
            inodes: self.inodes.clone(),
            pending: Vec::new(),
            clock: self.clock.clone(),
            spoiled: self.spoiled.clone(),
            ..*self
        };
        let mut missing = Ties::new(self.rules);
        for (operation, survives) in self.pending.iter().zip(chance.survivors(self.pending.len())) {
            if survives && !missing.is_built_on_by(operation) {
                cut.apply(operation);
            } else {
                missing.add(operation);
            }
        }
        let total = self.free_bytes.saturating_add(self.used_bytes());
        let inodes = std::mem::take(&mut cut.inodes);
        cut.revive(&inodes, ROOT, &mut chance);
        cut.free_bytes = total.saturating_sub(cut.used_bytes());
        (cut, chance.into_draws())
    }

    /// The disk after the process was killed: all that calls saw. Files that no name, durable or not,
    /// can lead to any more are gone with the handles to them.
    pub(in crate::fs::sim) fn after_kill(&self) -> Disk {
        let mut killed = self.clone();
        if !self.inodes.values().any(|inode| inode.links == 0) {
            return killed;
        }
        // Where a durable name is gone, the operation that took it away is still pending.
        let mut named = BTreeSet::new();
        for change in self.pending.iter().flat_map(|operation| &operation.changes) {
            named.extend(change.old.into_iter().chain(change.new));
        }
        killed.inodes.retain(|number, inode| inode.links > 0 || named.contains(number));
        killed
    }

    /// Takes over what is durable of an inode, and of everything below it.
    fn revive(&mut self, from: &BTreeMap<u64, Arc<Inode>>, number: u64, chance: &mut Chance) {
        if let Some(known) = self.inode_mut(number) {
            known.links += 1;
            return;
        }
        let Some(inode) = from.get(&number) else {
            return;
        };
        if let Inode { body: Body::File(data), links: 1, .. } = &**inode
            && data.is_settled()
            && inode.times == inode.durable_times
        {
            self.inodes.insert(number, Arc::clone(inode));
            return;
        }
        let is_kept = inode.times == inode.durable_times || chance.coin();
        let times = if is_kept { inode.times } else { inode.durable_times };
        let mut below = Vec::new();
        let body = match &inode.body {
            Body::File(data) => Body::File(Data::settled(data.after_crash(chance))),
            Body::Directory { durable, .. } => {
                below.extend(durable.values().copied());
                Body::Directory { now: Arc::clone(durable), durable: Arc::clone(durable) }
            }
            Body::Other => Body::Other,
        };
        self.inodes.insert(number, Arc::new(Inode { body, links: 1, times, durable_times: times }));
        for number in below {
            self.revive(from, number, chance);
        }
    }
}

/// What a set of operations touches, to tell which others are tied to them.
struct Ties {
    rules: Rules,
    names: BTreeSet<(u64, Arc<str>)>,
    given: BTreeSet<u64>,
    dropped: BTreeSet<u64>,
}

impl Ties {
    fn new(rules: Rules) -> Ties {
        let (given, dropped) = (BTreeSet::new(), BTreeSet::new());
        Ties { rules, names: BTreeSet::new(), given, dropped }
    }

    fn add(&mut self, operation: &Operation) {
        for Change { dir, name, old, new } in &operation.changes {
            self.names.insert((*dir, Arc::clone(name)));
            if self.rules == Rules::Ordered {
                self.given.extend(*new);
                self.dropped.extend(*old);
            }
        }
    }

    fn shares_name(&self, operation: &Operation) -> bool {
        if self.names.is_empty() {
            return false;
        }
        let mut names = operation.changes.iter().map(|it| (it.dir, Arc::clone(&it.name)));
        names.any(|name| self.names.contains(&name))
    }

    /// Whether a later operation of the set builds on this one.
    fn is_base(&self, operation: &Operation) -> bool {
        let mut given = operation.changes.iter().filter_map(|change| change.new);
        self.shares_name(operation) || given.any(|inode| self.dropped.contains(&inode))
    }

    /// Whether this one builds on an earlier operation of the set.
    fn is_built_on_by(&self, operation: &Operation) -> bool {
        let mut dropped = operation.changes.iter().filter_map(|change| change.old);
        self.shares_name(operation) || dropped.any(|inode| self.given.contains(&inode))
    }
}
