//! What a program under exploration runs in: a disk, a clock, and randomness from a seed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::engine::Builder;
use crate::fs::Fs;
use crate::fs::sim::{Rules, SimFs};
use crate::testing::{CrashPath, SteppedClock, builder, mix};

/// Between a crash and what comes after it, more time passes than any run takes.
const REST: Duration = Duration::from_secs(86_400);

/// The surroundings of one run.
#[derive(Debug)]
pub struct World {
    disk: SimFs,
    fs: Arc<dyn Fs>,
    clock: Arc<SteppedClock>,
    seed: u64,
    rules: Rules,
    openings: AtomicU64,
}

impl World {
    pub(super) fn new(disk: SimFs, fs: Arc<dyn Fs>, rules: Rules, path: &CrashPath) -> World {
        let clock = Arc::new(SteppedClock::default());
        clock.advance(REST.saturating_mul(u32::try_from(path.0.len()).unwrap_or(u32::MAX)));
        World { disk, fs, clock, seed: path.seed(), rules, openings: AtomicU64::new(0) }
    }

    /// The disk, for what a person does to it, and to look at files. What is done by it is no call of
    /// the program's.
    pub fn disk(&self) -> &SimFs {
        &self.disk
    }

    /// The disk as the program sees it: at each call that changes something, the machine may stop.
    pub fn fs(&self) -> Arc<dyn Fs> {
        self.fs.clone()
    }

    /// The clock, to let time pass.
    pub fn clock(&self) -> &Arc<SteppedClock> {
        &self.clock
    }

    /// In what order unflushed changes reach this world's disk.
    pub fn rules(&self) -> Rules {
        self.rules
    }

    /// A number that differs from crash to crash, to choose what a recovery goes on with.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// A builder for a store in this world: without threads of its own, with
    /// [`small`](crate::testing::small) options, and with random numbers of its own.
    pub fn builder(&self) -> Builder {
        let opening = self.openings.fetch_add(1, Relaxed);
        builder(self.fs(), self.clock.clone(), mix(self.seed ^ mix(opening)))
    }
}
