//! Surroundings for tests: stores on the simulated disk, and a watchdog that turns a hang into a failure.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use walden::fs::sim::SimFs;
pub(crate) use walden::testing::{
    Documents, SteppedClock as TestClock, builder, documents, mix, small,
};
use walden::{Builder, Store};

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

/// All files of a disk with their contents.
pub(crate) fn files(disk: &SimFs) -> BTreeMap<String, Option<Vec<u8>>> {
    disk.names().into_iter().map(|name| (name.clone(), disk.read_now(&name))).collect()
}

/// Whether everything is to be tried, where a sample is the rule.
pub(crate) fn is_exhaustive() -> bool {
    std::env::var_os("WALDEN_EXHAUSTIVE").is_some()
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
