//! What an exploration did, and what it found.

use std::collections::HashSet;
use std::error;
use std::fmt;
use std::ops::AddAssign;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use crate::testing::CrashPath;

/// What was explored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Calls that change something in one run of the program.
    pub calls: u64,
    /// All of its calls to the disk, reading ones included.
    pub calls_all: u64,
    /// Calls before which the machine was stopped, and the ends of runs, recoveries included.
    pub places: u64,
    /// Disks that the program recovered from and checked, each different from every other: in names,
    /// contents, what was promised, or in what is not durable yet. Outcomes that differ in file times
    /// alone count once.
    pub states: u64,
    /// Of these, disks that no other resembles in names and contents; nor does one of an exploration
    /// before it with the same [`Known`].
    pub disks: u64,
    /// Of these, those left by a power cut; the others by a kill.
    pub power_cuts: u64,
    /// Of these, those left by a crash in the middle of a recovery.
    pub nested: u64,
    /// Outcomes that were the same as one before, and not recovered from again.
    pub repeated: u64,
    /// How long it took.
    pub elapsed: Duration,
}

impl AddAssign for Report {
    /// Puts explorations together.
    fn add_assign(&mut self, other: Report) {
        self.calls += other.calls;
        self.calls_all += other.calls_all;
        self.places += other.places;
        self.states += other.states;
        self.disks += other.disks;
        self.power_cuts += other.power_cuts;
        self.nested += other.nested;
        self.repeated += other.repeated;
        self.elapsed += other.elapsed;
    }
}

/// Disks that were met, by what is on them; clones are the same. Explorations that share one count a disk
/// once. It takes some 40 bytes a disk.
#[derive(Clone, Debug, Default)]
pub struct Known(Arc<Mutex<HashSet<u128>>>);

impl Known {
    /// Whether it is the first like that.
    pub(super) fn insert(&self, fingerprint: u128) -> bool {
        self.0.lock().insert(fingerprint)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report { calls, calls_all, places, states, disks, power_cuts, nested, .. } = self;
        let Report { repeated, elapsed, .. } = self;
        let seconds = elapsed.as_secs_f64();
        write!(
            f,
            "{calls_all} calls, {calls} of them changing; stopped at {places} places; {states} \
             different states recovered and checked ({power_cuts} of a power cut, {nested} of a crash \
             in a recovery; {disks} with contents of their own; {repeated} others were the same again) \
             in {seconds:.1} s"
        )
    }
}

/// A crash after which the program's check failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// What the check said.
    pub why: String,
    /// The crash that shows it.
    pub path: CrashPath,
    /// The last calls before the (last) crash, oldest first.
    pub calls: Vec<String>,
    /// The crash that was found first, if this one is simpler.
    pub found: Option<CrashPath>,
    /// Whether the crash showed a violation again. If not, the program does not do the same in every
    /// run, which is to be mended first.
    pub replays: bool,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.why)?;
        writeln!(f, "after the crash {}; the calls before it:", self.path)?;
        for call in &self.calls {
            writeln!(f, "  {call}")?;
        }
        if let Some(found) = &self.found {
            writeln!(f, "(found as {found})")?;
        }
        if !self.replays {
            return write!(f, "this crash alone did not show it again: is anything in it random?");
        }
        write!(f, "to see it again: set WALDEN_CRASH={} and run the same command", self.path)
    }
}

impl error::Error for Violation {}
