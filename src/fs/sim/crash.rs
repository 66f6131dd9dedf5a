//! What a power cut leaves of everything that was not yet durable: nothing, all, or a choice that a
//! seed draws.
//!
//! Invariant: the same state, mode and seed give the same disk on every machine.

use std::collections::BTreeSet;

/// What survives of what was not yet durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CrashMode {
    /// Nothing: every unsynced sector and name is lost.
    Nothing,
    /// Everything but the sectors whose sync failed.
    Everything,
    /// For each file none, all, a prefix or any subset of its unsynced sectors, with or without its
    /// new length; of the changes to directories none, all, a prefix, or any subset in which no
    /// change comes without those that it builds on. What a failed sync lost may have got through.
    /// Drawn from the seed.
    Random(u64),
}

/// The draws of one power cut.
#[derive(Debug)]
pub(super) enum Chance {
    Never,
    Always,
    /// The state of a 64-bit linear congruential generator, of which the upper half is used.
    Drawn(u64),
}

impl Chance {
    pub(super) fn new(mode: CrashMode) -> Chance {
        match mode {
            CrashMode::Nothing => Chance::Never,
            CrashMode::Everything => Chance::Always,
            CrashMode::Random(seed) => {
                let mut chance = Chance::Drawn(seed ^ 0x9e37_79b9_7f4a_7c15);
                // Neighbouring seeds begin alike; a few steps drive them apart.
                for _ in 0..4 {
                    chance.draw(2);
                }
                chance
            }
        }
    }

    /// A number below `limit`, which must not be 0.
    fn draw(&mut self, limit: u64) -> u64 {
        match self {
            Chance::Never => 0,
            Chance::Always => limit - 1,
            Chance::Drawn(state) => {
                *state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                (*state >> 32) % limit
            }
        }
    }

    /// Heads or tails.
    pub(super) fn coin(&mut self) -> bool {
        self.draw(2) == 1
    }

    /// Which of `count` things in their order survive: none, a prefix, any subset, or all.
    pub(super) fn survivors(&mut self, count: usize) -> Vec<bool> {
        match self.draw(4) {
            0 => vec![false; count],
            1 => {
                let kept = self.draw(count as u64 + 1);
                (0..count as u64).map(|at| at < kept).collect()
            }
            2 => (0..count).map(|_| self.coin()).collect(),
            _ => vec![true; count],
        }
    }

    /// Which unsynced sectors reach the medium, and whether the file's new length does anyway.
    pub(super) fn sectors(&mut self, unsynced: &[usize]) -> (Vec<usize>, bool) {
        let kept = self.survivors(unsynced.len());
        let kept = unsynced.iter().zip(kept).filter_map(|(at, kept)| kept.then_some(*at)).collect();
        (kept, self.coin())
    }

    /// Which sectors of a failed sync got through: only where the outcome is drawn, since the other
    /// two modes are there to show a definite one.
    pub(super) fn some_lost(&mut self, lost: &BTreeSet<usize>) -> Vec<usize> {
        let through = matches!(self, Chance::Drawn(_)) && self.coin();
        if through { lost.iter().copied().collect() } else { Vec::new() }
    }
}
