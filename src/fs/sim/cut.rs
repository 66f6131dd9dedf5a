//! The ends of a simulated machine: power cuts and kills, each of which gives a new disk.
//!
//! Invariant: the new disk shares no state with the old one but bytes that neither changes in place,
//! and none of its planned faults, locks and handles.

use std::borrow::Borrow;

use parking_lot::MutexGuard;

use super::crash::CrashMode;
use super::disk::Disk;
use super::{Machine, SimFs};

impl SimFs {
    /// Cuts the power, and gives the disk as it is found afterwards, drawn from `seed`: see
    /// [`CrashMode::Random`]. This disk stops for good, but can be cut again for another outcome.
    #[must_use]
    pub fn crash(&self, seed: u64) -> SimFs {
        self.crash_with(CrashMode::Random(seed))
    }

    /// Cuts the power as [`SimFs::crash`] does, and says what survives.
    #[must_use]
    pub fn crash_with(&self, mode: impl Borrow<CrashMode>) -> SimFs {
        let cut = |disk: &Disk| disk.after_crash(mode.borrow()).0;
        self.stop().fork(cut)
    }

    /// Kills the process: everything that calls saw is kept, durable or not, and locks are free.
    /// This disk stops for good.
    #[must_use]
    pub fn kill(&self) -> SimFs {
        self.stop().fork(Disk::after_kill)
    }

    /// The disk as a power cut now would leave it; this one goes on, so that one run shows the
    /// outcomes of a crash at each of its calls.
    #[must_use]
    pub fn if_crashed(&self, mode: impl Borrow<CrashMode>) -> SimFs {
        self.if_crashed_traced(mode).0
    }

    /// As [`SimFs::if_crashed`], and the draws that made the outcome, without the zeroes at the end.
    /// On the same state of the same disk, [`CrashMode::Choices`] of them gives it again; fewer of
    /// them, or zeroes among them, give a simpler one, so that a failing list can be shrunk.
    ///
    /// ```
    /// use walden::fs::sim::{CrashMode, SimFs};
    /// use walden::fs::{Fs, Mode, write_all_at};
    ///
    /// let disk = SimFs::new();
    /// let file = disk.open("a", Mode::CreateNew).unwrap();
    /// write_all_at(&*file, &[7; 5000], 0).unwrap();
    /// let (random, draws) = disk.if_crashed_traced(CrashMode::Random(93));
    /// let again = disk.if_crashed(CrashMode::Choices(draws.into()));
    /// assert_eq!(again.fingerprint(), random.fingerprint());
    /// ```
    #[must_use]
    pub fn if_crashed_traced(&self, mode: impl Borrow<CrashMode>) -> (SimFs, Vec<u32>) {
        let machine = self.machine.lock();
        let (disk, draws) = machine.disk.after_crash(mode.borrow());
        (SimFs::from_disk(disk, machine.gate.is_traced), draws)
    }

    /// The disk as a kill of the process now would leave it; this one goes on.
    #[must_use]
    pub fn if_killed(&self) -> SimFs {
        self.machine.lock().fork(Disk::after_kill)
    }

    /// A hash of what an opening can see: paths, their kinds, the contents of files, which names are
    /// links of one file, and which files cannot be read. Times, inode numbers and free room are not
    /// in it, and neither is what is not yet durable: after a power cut there is nothing of that kind.
    pub fn fingerprint(&self) -> u128 {
        self.machine.lock().disk.fingerprint()
    }

    fn stop(&self) -> MutexGuard<'_, Machine> {
        let mut machine = self.machine.lock();
        machine.gate.stopped = true;
        machine
    }
}

impl Machine {
    fn fork(&self, disk: impl FnOnce(&Disk) -> Disk) -> SimFs {
        SimFs::from_disk(disk(&self.disk), self.gate.is_traced)
    }
}
