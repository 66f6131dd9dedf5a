//! The name of a crash state: before which call each crash came, and what it left. As text it replays
//! the state: `417:r93/12:kill` is a power cut before the 417th changing call, drawn from seed 93, and
//! then a kill before the 12th of the recovery from that.

use std::fmt;
use std::str::FromStr;

use crate::base::{Error, Result};
use crate::fs::sim::CrashMode;
use crate::testing::mix;

/// How a machine stops. Of several crashes in a row, the worst counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stop {
    /// The process is killed; what it handed to the kernel is there.
    Kill,
    /// The power goes; what was not made durable may be lost.
    PowerCut,
}

/// What one crash leaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Everything that calls saw.
    Kill,
    /// What a power cut leaves.
    PowerCut(CrashMode),
}

impl Outcome {
    /// How the machine stopped.
    pub fn stop(&self) -> Stop {
        match self {
            Outcome::Kill => Stop::Kill,
            Outcome::PowerCut(_) => Stop::PowerCut,
        }
    }
}

/// One crash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Crash {
    /// Before which call that changes something, from 1; one more than there are is the end.
    pub call: u64,
    /// What it leaves.
    pub outcome: Outcome,
}

/// Crashes, each in the recovery from the one before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CrashPath(pub Vec<Crash>);

impl CrashPath {
    pub(super) fn with(&self, crash: Crash) -> CrashPath {
        let mut crashes = self.0.clone();
        crashes.push(crash);
        CrashPath(crashes)
    }

    /// A number for everything in the world after it that is drawn.
    pub(super) fn seed(&self) -> u64 {
        let text = self.to_string();
        text.bytes().fold(text.len() as u64, |seed, byte| mix(seed ^ u64::from(byte)))
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outcome::Kill => f.write_str("kill"),
            Outcome::PowerCut(mode) => mode.fmt(f),
        }
    }
}

impl fmt::Display for CrashPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (depth, Crash { call, outcome }) in self.0.iter().enumerate() {
            let slash = if depth == 0 { "" } else { "/" };
            write!(f, "{slash}{call}:{outcome}")?;
        }
        Ok(())
    }
}

impl FromStr for CrashPath {
    type Err = Error;

    fn from_str(text: &str) -> Result<CrashPath> {
        let crash = |part: &str| {
            let (call, outcome) = part.split_once(':')?;
            let outcome = match outcome {
                "kill" => Outcome::Kill,
                mode => Outcome::PowerCut(mode.parse().ok()?),
            };
            Some(Crash { call: call.parse().ok()?, outcome })
        };
        let crashes: Option<Vec<Crash>> = text.split('/').map(crash).collect();
        crashes.map(CrashPath).ok_or_else(|| {
            let why = "it must be of the form 417:r93, or several of them with slashes between";
            Error::invalid(format!("crash {text:?}"), why)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_read_back_as_it_was_written() {
        for text in ["417:r93", "1:nothing/12:kill/3:everything"] {
            let path: CrashPath = text.parse().unwrap();
            assert_eq!(path.to_string(), text);
        }
        for wrong in ["", "x", "1", "1:", "1:r", "a:kill", "1:kill/"] {
            assert!(wrong.parse::<CrashPath>().is_err(), "{wrong:?}");
        }
    }
}
