//! The way of names to the medium: operations that are not yet durable, what makes them so, and
//! what a power cut leaves of them.
//!
//! Every call that changes names is one operation, which reaches the medium whole or not at all,
//! across directories too. An operation builds on each earlier one that changed a name of its own,
//! and on each that gave another name to a file of which it drops one; it never gets to the medium
//! before those, so no power cut half-does a rename or loses a file that was merely moved.
//!
//! Invariant: the durable names are what the operations that got there, in their order, give.

use std::collections::{BTreeMap, BTreeSet};

use super::super::crash::{Chance, CrashMode};
use super::super::data::{Carried, Data};
use super::{Body, Disk, Inode, ROOT, set};

/// One name that an operation changed.
#[derive(Clone, Debug)]
pub(super) struct Change {
    pub(super) dir: u64,
    pub(super) name: String,
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
    /// Makes durable, in order, every pending operation with a change that `wanted` says yes to,
    /// and what these build on.
    pub(super) fn commit(&mut self, wanted: impl Fn(&Change) -> bool) {
        let mut ties = Ties::default();
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
            if let Some(Inode { body: Body::Directory { durable, .. }, .. }) =
                self.inodes.get_mut(dir)
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

    /// The disk after a power cut.
    pub(in crate::fs::sim) fn after_crash(&self, mode: CrashMode) -> Disk {
        let mut chance = Chance::new(mode);
        let mut cut = self.clone();
        let pending = std::mem::take(&mut cut.pending);
        let mut missing = Ties::default();
        for (operation, survives) in pending.iter().zip(chance.survivors(pending.len())) {
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
        cut
    }

    /// Takes over what is durable of an inode, and of everything below it.
    fn revive(&mut self, from: &BTreeMap<u64, Inode>, number: u64, chance: &mut Chance) {
        if let Some(known) = self.inodes.get_mut(&number) {
            known.links += 1;
            return;
        }
        let Some(inode) = from.get(&number) else {
            return;
        };
        let times = if chance.coin() { inode.times } else { inode.durable_times };
        let mut below = Vec::new();
        let body = match &inode.body {
            Body::File(data) => Body::File(Data::settled(data.after_crash(chance))),
            Body::Directory { durable, .. } => {
                below.extend(durable.values().copied());
                Body::Directory { now: durable.clone(), durable: durable.clone() }
            }
            Body::Other => Body::Other,
        };
        self.inodes.insert(number, Inode { body, links: 1, times, durable_times: times });
        for number in below {
            self.revive(from, number, chance);
        }
    }
}

/// What a set of operations touches, to tell which others are tied to them.
#[derive(Default)]
struct Ties {
    names: BTreeSet<(u64, String)>,
    given: BTreeSet<u64>,
    dropped: BTreeSet<u64>,
}

impl Ties {
    fn add(&mut self, operation: &Operation) {
        for Change { dir, name, old, new } in &operation.changes {
            self.names.insert((*dir, name.clone()));
            self.given.extend(*new);
            self.dropped.extend(*old);
        }
    }

    fn shares_name(&self, operation: &Operation) -> bool {
        operation
            .changes
            .iter()
            .any(|change| self.names.contains(&(change.dir, change.name.clone())))
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
