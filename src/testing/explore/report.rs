//! What an exploration did, and what it found.

use std::error;
use std::fmt;
use std::time::Duration;

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
    /// contents or what was promised. Outcomes that differ in file times alone count once.
    pub states: u64,
    /// Of these, those left by a power cut; the others by a kill.
    pub power_cuts: u64,
    /// Of these, those left by a crash in the middle of a recovery.
    pub nested: u64,
    /// Outcomes that were the same as one before, and not recovered from again.
    pub repeated: u64,
    /// How long it took.
    pub elapsed: Duration,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report { calls, calls_all, places, states, power_cuts, nested, repeated, elapsed } =
            self;
        let seconds = elapsed.as_secs_f64();
        write!(
            f,
            "{calls_all} calls, {calls} of them changing; stopped at {places} places; {states} \
             different disks recovered and checked ({power_cuts} of a power cut, {nested} of a crash \
             in a recovery; {repeated} others were the same again) in {seconds:.1} s"
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
