//! Many threads that write for a while, each as fast as its writes are answered, and what they saw.
//!
//! Threads start together and stop together; each keeps its own counts, so that counting costs nobody a
//! shared cache line. The benchmarks of the crate and of its peers take this very file in by its path, so
//! it imports nothing of this command.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde::Serialize;
use walden::{Error, Result};

/// Between two looks at how far the threads are.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Enough for what a writer does, also with a thousand of them.
const STACK_BYTES: usize = 512 << 10;
/// Longest latency that is told apart, in nanoseconds.
const LATENCY_MAX_NS: u64 = 60_000_000_000;

/// One thread's way to write a document, by its number.
pub(crate) type Writer<'a> = Box<dyn FnMut(usize) -> Result<()> + 'a>;

/// Something that is written to.
pub(crate) trait Target: Sync {
    /// A way to write for the thread that calls this; `alone` if there is no other.
    fn writer(&self, alone: bool) -> Writer<'_>;
}

/// What the threads did.
#[derive(Debug)]
pub(crate) struct Turn {
    pub(crate) writes: u64,
    pub(crate) elapsed: Duration,
    /// How long each write took to be answered, in nanoseconds.
    pub(crate) latency: Histogram<u64>,
}

impl Turn {
    pub(crate) fn per_second(&self) -> f64 {
        float(self.writes) / self.elapsed.as_secs_f64().max(1e-9)
    }
}

/// An empty histogram of latencies.
pub(crate) fn latencies() -> Histogram<u64> {
    Histogram::new_with_max(LATENCY_MAX_NS, 2).expect("the bounds are constant and well-formed")
}

/// How the threads write.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    pub(crate) threads: usize,
    pub(crate) time: Duration,
    /// They write the documents of the numbers below this.
    pub(crate) documents: usize,
}

#[derive(Default)]
#[repr(align(128))]
struct Count(AtomicU64);

/// Lets threads write until the time is over, `watch` breaks off, or a write fails. It is told how many
/// writes there were so far.
///
/// # Errors
/// The first error of a write, or that there cannot be so many threads.
pub(crate) fn run(
    target: &dyn Target,
    load: Load,
    watch: &mut dyn FnMut(u64) -> ControlFlow<()>,
) -> Result<Turn> {
    let stop = AtomicBool::new(false);
    let counts: Vec<Count> = (0..load.threads).map(|_| Count::default()).collect();
    let go = parking_lot::RwLock::new(());
    thread::scope(|scope| {
        // Whoever is ready waits for this.
        let held = go.write();
        let mut workers = Vec::with_capacity(load.threads);
        for (number, count) in counts.iter().enumerate() {
            let worker = Worker { number, load, stop: &stop, count: &count.0, go: &go };
            let spawned = thread::Builder::new()
                .stack_size(STACK_BYTES)
                .spawn_scoped(scope, move || worker.work(target));
            match spawned {
                Ok(worker) => workers.push(worker),
                Err(error) => {
                    stop.store(true, Ordering::Relaxed);
                    return Err(Error::io("start", format!("{} threads", load.threads), error));
                }
            }
        }
        let begun = Instant::now();
        drop(held);
        while begun.elapsed() < load.time && !stop.load(Ordering::Relaxed) {
            thread::sleep(LOOK_EVERY.min(load.time.saturating_sub(begun.elapsed())));
            let writes = counts.iter().map(|count| count.0.load(Ordering::Relaxed)).sum();
            if watch(writes).is_break() {
                break;
            }
        }
        stop.store(true, Ordering::Relaxed);
        let mut latency = latencies();
        let mut writes = 0;
        for worker in workers {
            let of_worker = worker.join().unwrap_or_else(|_| {
                let why = "a writing thread panicked";
                Err(Error::io("run", "the load", std::io::Error::other(why)))
            })?;
            writes += of_worker.len();
            latency.add(of_worker).expect("both have the same bounds");
        }
        Ok(Turn { writes, elapsed: begun.elapsed(), latency })
    })
}

struct Worker<'a> {
    number: usize,
    load: Load,
    stop: &'a AtomicBool,
    count: &'a AtomicU64,
    go: &'a parking_lot::RwLock<()>,
}

impl Worker<'_> {
    fn work(&self, target: &dyn Target) -> Result<Histogram<u64>> {
        let mut write = target.writer(self.load.threads == 1);
        let mut latency = latencies();
        // Each goes through all documents, from a place of its own and by a stride that shares no factor
        // with their number unless that is a multiple of this prime.
        let mut next = self.number * 7919;
        drop(self.go.read());
        while !self.stop.load(Ordering::Relaxed) {
            let begun = Instant::now();
            let written = write(next % self.load.documents);
            latency.saturating_record(nanoseconds(begun.elapsed()).max(1));
            written.inspect_err(|_| self.stop.store(true, Ordering::Relaxed))?;
            self.count.store(latency.len(), Ordering::Relaxed);
            next += 104_729;
        }
        Ok(latency)
    }
}

pub(crate) fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// A count as a number to reckon with.
#[expect(clippy::cast_precision_loss, reason = "what is counted here is far below 2^52")]
pub(crate) fn float(count: u64) -> f64 {
    count as f64
}

/// The median of several rounds, with the least and the most of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) least: f64,
    pub(crate) most: f64,
}

impl Spread {
    /// All zero of nothing.
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Spread {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let middle = values.len() / 2;
        let at = |index: usize| values.get(index).copied().unwrap_or_default();
        let median = match values.len() % 2 {
            0 => f64::midpoint(at(middle.saturating_sub(1)), at(middle)),
            _ => at(middle),
        };
        Spread { median, least: at(0), most: at(values.len().saturating_sub(1)) }
    }

    /// Whether no round of the one was as good as any round of the other.
    pub(crate) fn is_apart_from(&self, other: &Spread) -> bool {
        self.least > other.most || self.most < other.least
    }
}
