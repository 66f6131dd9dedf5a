//! What the simulated disk promises of what was not flushed, and how it fails a flush: the choices
//! that a test has, since file systems differ.
//!
//! Invariant: a rule changes what becomes durable without a flush, or by a failed one; never what a
//! flush that succeeded has promised.

use super::SimFs;

/// In what order unflushed changes may reach the medium.
///
/// Under either, each call that changes names is one operation, which survives whole or not at all,
/// across directories too; flushing a directory makes every operation durable that changed a name in
/// it; and contents and names are durable each by a flush of their own, so that a name may be durable
/// while its contents are not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Rules {
    /// A journal that commits in order: ext4 (with `data=ordered`, its default) and xfs, and what
    /// APFS and btrfs do. An operation on names reaches the medium only together with those it
    /// builds on: each earlier one that changed a name of its own, and each that gave another name
    /// to a file of which it takes one away. Contents that were written back before a rename or a
    /// link reach the medium with it. Unrelated operations come in any order, which is more than
    /// such a journal does, since nothing in the store may lean on it.
    #[default]
    Ordered,
    /// What POSIX promises, and what ext4 without a journal, ext2, FAT, or a network file system may
    /// do (and ext4 with `data=writeback` does to contents). An operation waits only for earlier ones
    /// on the same name in the same directory: of a `link` and a later `remove` of the first name in
    /// another directory, the removal may survive alone, and then the file is gone. Contents that were
    /// written back are promised nothing: behind a durable name the file may be empty, zeroed, or
    /// torn.
    Unordered,
}

/// The unit of contents that a power cut leaves wholly old or wholly new.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tearing {
    /// Each cut draws one of the others.
    #[default]
    Drawn,
    /// 512 bytes: what every disk promises.
    Sector,
    /// 4 KiB: a page of the cache, or a disk with such sectors.
    Page,
    /// None: of a sector of 512 bytes a prefix is new, and what follows is as before. Each unsynced
    /// sector may be torn, at a place of its own.
    Byte,
}

/// What becomes of a file's unsynced contents when their flush fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AfterFailedSync {
    /// Reads still see them, but the pages count as clean: a later flush succeeds and does not make
    /// them durable, unless they are written again. Linux with ext4, xfs and btrfs; at a power cut
    /// they may be found on the medium or not.
    #[default]
    Clean,
    /// They stay unsynced, and a later flush that succeeds makes them durable: ZFS, some network file
    /// systems, FreeBSD.
    Dirty,
}

impl SimFs {
    /// Sets in what order unflushed changes may reach the medium. What was written back before a
    /// rename under [`Rules::Ordered`] keeps that promise.
    pub fn set_rules(&self, rules: Rules) {
        self.machine.lock().disk.rules = rules;
    }

    /// Sets the unit of contents that a power cut never tears.
    pub fn set_tearing(&self, tearing: Tearing) {
        self.machine.lock().disk.tearing = tearing;
    }

    /// Sets what a failed flush leaves, from the next one on.
    pub fn set_after_failed_sync(&self, outcome: AfterFailedSync) {
        self.machine.lock().disk.after_failed_sync = outcome;
    }
}
