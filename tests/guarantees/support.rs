//! Surroundings for tests: a clock that is stepped, seeded randomness, stores on the simulated disk,
//! and a watchdog that turns a hang into a failure.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use serde_json::Value;
use walden::fs::Fs;
use walden::fs::sim::SimFs;
use walden::wal::LogOptions;
use walden::{Builder, Clock, Collection, Entropy, Options, Store, Timestamp, View};

/// All documents, by collection's directory and id.
pub(crate) type Documents = BTreeMap<(&'static str, String), Value>;

/// A clock that moves a little whenever it is looked at, and on demand.
#[derive(Debug, Default)]
pub(crate) struct TestClock(AtomicU64);

impl TestClock {
    pub(crate) fn advance(&self, by: Duration) {
        self.0.fetch_add(by.as_nanos().try_into().unwrap(), Ordering::Relaxed);
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        let since: i64 = self.0.fetch_add(1000, Ordering::Relaxed).try_into().unwrap();
        Timestamp(1_767_000_000_000_000_000 + since)
    }

    fn monotonic(&self) -> Duration {
        Duration::from_nanos(self.0.fetch_add(1000, Ordering::Relaxed))
    }
}

/// Numbers that differ between all openings of one run and are the same in every run.
#[derive(Debug)]
pub(crate) struct Seeded(AtomicU64);

impl Seeded {
    pub(crate) fn new(seed: u64) -> Seeded {
        Seeded(AtomicU64::new(seed))
    }
}

impl Entropy for Seeded {
    fn next_u64(&self) -> io::Result<u64> {
        Ok(mix(self.0.fetch_add(1, Ordering::Relaxed)))
    }
}

/// A well-mixed number of a number.
pub(crate) fn mix(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Options under which small workloads rotate segments and cut the log: one has room for a few groups,
/// so that commits also go on in a segment, by a flush of their own.
pub(crate) fn small() -> Options {
    Options {
        log: LogOptions { segment_bytes_min: 40 << 10, segment_bytes_max: 40 << 10 },
        backups: 2,
        backups_hourly: 0,
        backups_daily: 0,
        ..Options::default()
    }
}

/// A builder for a single-threaded store on a simulated disk.
pub(crate) fn builder(fs: Arc<dyn Fs>, clock: Arc<TestClock>, seed: u64) -> Builder {
    Store::builder("sim")
        .options(small())
        .fs(fs)
        .clock(clock)
        .entropy(Arc::new(Seeded::new(mix(seed))))
        .single_threaded()
}

/// A store on `disk`, opened with a seed of its own.
pub(crate) fn open(disk: &SimFs, seed: u64) -> walden::Result<Store> {
    at(disk, seed).open()
}

/// A builder for `disk` with a seed of its own and a new clock, later than those of lower seeds.
pub(crate) fn at(disk: &SimFs, seed: u64) -> Builder {
    let clock = Arc::new(TestClock::default());
    clock.advance(Duration::from_secs(seed % 1_000_000 * 100));
    builder(Arc::new(disk.clone()), clock, seed)
}

/// All documents of a view.
pub(crate) fn documents(view: &View) -> Documents {
    let mut all = Documents::new();
    for collection in Collection::ALL {
        for (id, doc) in view.docs(collection) {
            let value = serde_json::from_str(doc.text()).unwrap();
            all.insert((collection.dir(), id.to_string()), value);
        }
    }
    all
}

/// All files of a disk with their contents.
pub(crate) fn files(disk: &SimFs) -> BTreeMap<String, Option<Vec<u8>>> {
    disk.names().into_iter().map(|name| (name.clone(), disk.read_now(&name))).collect()
}

/// How many random outcomes of each crash are tried.
pub(crate) fn seeds() -> u64 {
    match std::env::var("WALDEN_SIM_SEEDS") {
        Ok(seeds) => seeds.parse().expect("WALDEN_SIM_SEEDS is a number"),
        Err(_) => 1,
    }
}

/// Runs `test` on a thread of its own; if it takes longer than any slow machine explains, somebody
/// waits for ever, and the whole run is aborted, since a thread that hangs cannot be ended.
pub(crate) fn within<T: Send + 'static>(
    patience: Duration,
    test: impl FnOnce() -> T + Send + 'static,
) -> T {
    let (done, outcome) = channel();
    let thread = thread::spawn(move || done.send(test()));
    match outcome.recv_timeout(patience) {
        Ok(value) => value,
        Err(RecvTimeoutError::Disconnected) => match thread.join() {
            Ok(_) => panic!("the test ended without an outcome"),
            Err(panic) => std::panic::resume_unwind(panic),
        },
        Err(RecvTimeoutError::Timeout) => {
            eprintln!("a test hangs: nothing happened in {patience:?}");
            std::process::abort();
        }
    }
}

/// Long enough for any test on any machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(240);
