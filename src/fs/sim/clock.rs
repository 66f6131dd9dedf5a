//! The simulated file system's clock, and what it gives to files: the times in a `stat`.
//!
//! By default every change gets a time of its own, one nanosecond after the one before, and a file
//! keeps any time that it is given. A test can let the clock stand still, as a real one does between
//! two ticks, and have times kept in coarse steps only.
//!
//! Invariant: no change gets an earlier time than the one before it. Only
//! [`File::set_modified`](crate::fs::File::set_modified) sets a time back.

use super::SimFs;
use super::disk::Disk;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Times {
    pub(super) modified: i64,
    pub(super) changed: i64,
}

#[derive(Clone, Debug)]
pub(super) struct FsClock {
    now_ns: i64,
    stands_still: bool,
    /// Times are kept as multiples of it.
    step_ns: i64,
}

impl Default for FsClock {
    fn default() -> Self {
        FsClock { now_ns: 0, stands_still: false, step_ns: 1 }
    }
}

impl FsClock {
    /// The time of a change that happens now.
    fn now(&mut self) -> i64 {
        self.now_ns += i64::from(!self.stands_still);
        self.kept(self.now_ns)
    }

    /// What a file keeps of a time.
    fn kept(&self, time_ns: i64) -> i64 {
        time_ns - time_ns.rem_euclid(self.step_ns)
    }
}

impl Disk {
    pub(super) fn touch(&mut self, inode: u64, contents: bool) {
        let now = self.clock.now();
        if let Some(inode) = self.inode_mut(inode) {
            inode.times.changed = now;
            if contents {
                inode.times.modified = now;
            }
        }
    }

    pub(super) fn set_modified(&mut self, inode: u64, modified_ns: i64) {
        self.touch(inode, false);
        let modified = self.clock.kept(modified_ns);
        if let Some(inode) = self.inode_mut(inode) {
            inode.times.modified = modified;
        }
    }
}

impl SimFs {
    /// Stops the file system's clock, so that all changes from now on get the same time, or lets it
    /// go on.
    pub fn set_clock_stands_still(&self, stands_still: bool) {
        self.machine.lock().disk.clock.stands_still = stands_still;
    }

    /// Has files keep times from now on as multiples of `step_ns` only, rounded down; at least 1,
    /// which is the default.
    pub fn set_time_step(&self, step_ns: i64) {
        self.machine.lock().disk.clock.step_ns = step_ns.max(1);
    }
}
