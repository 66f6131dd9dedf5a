//! What is to be measured, the directory it is measured in, and the turns.
//!
//! Contenders take turns within each round, and another one begins each time, so that no contender always
//! follows the same. The directory is the run's own, inside the one that was named, and removed at the end,
//! also after a failure.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use walden::Result;

use crate::peer::failed;

/// What the command line asked for, with what the workload takes where it did not say.
pub(crate) struct Plan {
    pub(crate) workload: &'static str,
    pub(crate) threads: Vec<usize>,
    pub(crate) rounds: usize,
    pub(crate) turn: Duration,
    pub(crate) value_bytes: usize,
    /// Several for a workload that goes through sizes.
    pub(crate) documents: Vec<usize>,
    pub(crate) records: usize,
    pub(crate) seed: u64,
    /// All contenders, if it names none.
    pub(crate) only: Vec<String>,
}

impl Plan {
    pub(crate) fn documents(&self) -> usize {
        self.documents.first().copied().unwrap_or(1)
    }

    pub(crate) fn threads(&self) -> usize {
        self.threads.first().copied().unwrap_or(1)
    }

    pub(crate) fn wants(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| only == name)
    }
}

/// A run.
pub(crate) struct Session {
    pub(crate) plan: Plan,
    dir: PathBuf,
    begun: Instant,
}

impl Drop for Session {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.dir) {
            eprintln!("{} is left behind: {error}", self.dir.display());
        }
    }
}

impl Session {
    /// Makes a directory of its own inside `dir`.
    pub(crate) fn begin(plan: Plan, dir: &Path) -> Result<Session> {
        let dir = dir.join(format!("walden-peers.{}", std::process::id()));
        std::fs::create_dir(&dir).map_err(|error| failed("the directory", error))?;
        Ok(Session { plan, dir, begun: Instant::now() })
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Removes what is not needed any more.
    pub(crate) fn remove(&self, name: &str) -> Result<()> {
        std::fs::remove_dir_all(self.path(name)).map_err(|error| failed(name, error))
    }

    /// Tells what is done next.
    pub(crate) fn step(&self, what: &str) {
        eprintln!("[{:>5} s] {what}", self.begun.elapsed().as_secs());
    }

    /// Lets contenders take their turns, by their places; gives what each found, by round.
    ///
    /// # Errors
    /// The first of a turn.
    pub(crate) fn rounds<T>(
        &self,
        what: &str,
        names: &[impl AsRef<str>],
        mut turn: impl FnMut(usize) -> Result<T>,
    ) -> Result<Vec<Vec<T>>> {
        let mut found: Vec<Vec<T>> = names.iter().map(|_| Vec::new()).collect();
        for round in 0..self.plan.rounds {
            for at in order(names.len(), self.plan.seed, round) {
                let Some((name, found)) = names.get(at).zip(found.get_mut(at)) else { continue };
                self.step(&format!("{what}, round {}: {}", round + 1, name.as_ref()));
                found.push(turn(at)?);
            }
        }
        Ok(found)
    }
}

/// Everybody once, beginning with another one each round.
fn order(count: usize, seed: u64, round: usize) -> impl Iterator<Item = usize> {
    let seed = usize::try_from(seed).unwrap_or_default();
    // Each is brought below the number first, since a sum that wraps would let the same one begin twice.
    let below = |number: usize| number.checked_rem(count).unwrap_or_default();
    let first = below(below(seed) + below(round));
    (first..count).chain(0..first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_has_one_turn_a_round_and_another_one_begins_each_time() {
        for seed in [0, 1, u64::MAX] {
            let mut firsts: Vec<usize> = (0..3)
                .map(|round| {
                    let mut all: Vec<usize> = order(3, seed, round).collect();
                    let first = all[0];
                    all.sort_unstable();
                    assert_eq!(all, [0, 1, 2]);
                    first
                })
                .collect();
            firsts.sort_unstable();
            assert_eq!(firsts, [0, 1, 2]);
        }
        assert_eq!(order(0, 1, 1).count(), 0);
    }
}
