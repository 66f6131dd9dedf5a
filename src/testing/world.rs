//! The surroundings of a store under test: a clock that is stepped, seeded randomness, and a builder
//! for single-threaded stores, so that one seed gives one run.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::base::{Clock, Entropy, Timestamp};
use crate::engine::{Builder, Options, Store, View};
use crate::fs::Fs;
use crate::state::Collection;
use crate::testing::Documents;
use crate::wal::LogOptions;

/// Where the clock begins: 2025-12-29T09:20:00Z, in nanoseconds since the epoch.
const BEGIN_NS: i64 = 1_767_000_000_000_000_000;

/// A clock that moves a microsecond whenever it is looked at, and on demand.
#[derive(Debug, Default)]
pub struct SteppedClock(AtomicU64);

impl SteppedClock {
    /// Lets time pass.
    pub fn advance(&self, by: Duration) {
        let ns = u64::try_from(by.as_nanos()).unwrap_or(u64::MAX);
        self.0.fetch_add(ns, Ordering::Relaxed);
    }
}

impl Clock for SteppedClock {
    fn now(&self) -> Timestamp {
        let since = self.0.fetch_add(1000, Ordering::Relaxed);
        Timestamp(BEGIN_NS.saturating_add_unsigned(since))
    }

    fn monotonic(&self) -> Duration {
        Duration::from_nanos(self.0.fetch_add(1000, Ordering::Relaxed))
    }
}

/// Numbers that differ within a run and are the same in every run with the same seed.
#[derive(Debug)]
pub struct Seeded(AtomicU64);

impl Seeded {
    /// The numbers of a seed. Neighbouring seeds share numbers: [`mix`] them first.
    pub fn new(seed: u64) -> Seeded {
        Seeded(AtomicU64::new(seed))
    }
}

impl Entropy for Seeded {
    fn next_u64(&self) -> io::Result<u64> {
        Ok(mix(self.0.fetch_add(1, Ordering::Relaxed)))
    }
}

/// A well-mixed number of a number (the output function of `SplitMix64`, Steele, Lea and Flood 2014).
pub fn mix(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Options under which small workloads rotate segments and cut the log: a segment has room for a few
/// groups only.
pub fn small() -> Options {
    Options {
        log: LogOptions {
            segment_bytes_min: 44 << 10,
            segment_bytes_max: 44 << 10,
            direct: true,
            reuse_group_bytes: 0,
        },
        backups: 2,
        backups_hourly: 0,
        backups_daily: 0,
        ..Options::default()
    }
}

/// A builder for a store without threads of its own, with [`small`] options, on a simulated disk.
pub fn builder(fs: Arc<dyn Fs>, clock: Arc<SteppedClock>, seed: u64) -> Builder {
    Store::builder("sim")
        .options(small())
        .fs(fs)
        .clock(clock)
        .entropy(Arc::new(Seeded::new(mix(seed))))
        .single_threaded()
}

/// All documents of a view, parsed anew from their texts.
pub fn documents(view: &View) -> Documents {
    let mut all = Documents::new();
    for collection in Collection::ALL {
        for (id, doc) in view.docs(collection) {
            let value = serde_json::from_str(doc.text()).expect("the engine keeps only whole JSON");
            all.insert((collection.dir(), id.to_string()), value);
        }
    }
    all
}
