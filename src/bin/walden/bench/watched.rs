//! What writers feel of checkpoints: threads that write all the time, while checkpoints are asked for.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use parking_lot::Mutex;
use walden::Result;

use super::args::Interval;
use super::load::{Load, Target, Writer, float, latencies, nanoseconds};
use super::report::{Latency, Slice, Watched};
use super::session::Session;
use super::target::{Setup, StoreTarget};
use crate::failure::Failure;

/// So many slices of time are told apart.
const SLICES: u32 = 100;
/// So many checkpoints are asked for.
const CHECKPOINTS: u32 = 4;
/// More threads would hide a stall behind each other.
const THREADS_MAX: usize = 16;

/// Counts what goes to a store, by time and by whether a checkpoint is being made.
struct Watch<'a> {
    store: &'a StoreTarget,
    begun: Instant,
    slice: Duration,
    slices: Vec<(AtomicU64, AtomicU64)>,
    is_saving: AtomicBool,
    idle: Mutex<Histogram<u64>>,
    during: Mutex<Histogram<u64>>,
}

impl Target for Watch<'_> {
    fn writer(&self, alone: bool) -> Writer<'_> {
        let mut write = self.store.writer(alone);
        let mut seen = Seen { watch: self, idle: latencies(), during: latencies() };
        Box::new(move |number| {
            let is_saving = self.is_saving.load(Ordering::Relaxed);
            let begun = Instant::now();
            let written = write(number);
            let ns = nanoseconds(begun.elapsed()).max(1);
            let found = if is_saving { &mut seen.during } else { &mut seen.idle };
            found.saturating_record(ns);
            let slice = self.begun.elapsed().div_duration_f64(self.slice);
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a time")]
            if let Some((count, longest)) = self.slices.get(slice as usize) {
                count.fetch_add(1, Ordering::Relaxed);
                longest.fetch_max(ns, Ordering::Relaxed);
            }
            written
        })
    }
}

/// What one thread saw; handed over when the thread is done.
struct Seen<'a> {
    watch: &'a Watch<'a>,
    idle: Histogram<u64>,
    during: Histogram<u64>,
}

impl Drop for Seen<'_> {
    fn drop(&mut self) {
        for (all, seen) in [(&self.watch.idle, &self.idle), (&self.watch.during, &self.during)] {
            all.lock().add(seen).expect("both have the same bounds");
        }
    }
}

pub(crate) fn measure(session: &Session<'_>, base: Setup) -> Result<Watched, Failure> {
    let plan = session.plan;
    session.step("checkpoints: preparing")?;
    let setup = Setup { interval: Interval(None), ..base };
    let store = StoreTarget::open(&session.path("store"), setup, plan.watched_documents())?;
    let slice = plan.watched / SLICES;
    let watch = Watch {
        store: &store,
        begun: Instant::now(),
        slice,
        slices: (0..SLICES).map(|_| <(AtomicU64, AtomicU64)>::default()).collect(),
        is_saving: AtomicBool::new(false),
        idle: Mutex::new(latencies()),
        during: Mutex::new(latencies()),
    };
    let threads = plan.crowd.min(THREADS_MAX);
    let load = Load { threads, time: plan.watched, documents: store.documents() };
    let is_over = AtomicBool::new(false);
    let spans = thread::scope(|scope| {
        let saving = scope.spawn(|| save_again_and_again(&watch, plan.watched, &is_over));
        let loaded = session.load(&watch, load, "checkpoints beside writers");
        is_over.store(true, Ordering::Relaxed);
        let spans = saving.join().unwrap_or_else(|_| {
            let error = std::io::Error::other("its thread panicked");
            Err(walden::Error::io("make", "a checkpoint", error))
        });
        loaded.and_then(|_| Ok(spans?))
    })?;
    let slices = watch.slices.iter().map(|(count, longest)| Slice {
        writes: count.load(Ordering::Relaxed),
        max_us: float(longest.load(Ordering::Relaxed)) / 1e3,
    });
    let found = Watched {
        threads,
        documents: store.documents(),
        slice_ms: slice.as_secs_f64() * 1e3,
        slices: slices.collect(),
        spans_ms: spans,
        idle: Latency::of(&watch.idle.lock()),
        during: Latency::of(&watch.during.lock()),
    };
    drop(watch);
    store.store.shutdown()?;
    drop(store);
    session.remove("store")?;
    Ok(found)
}

/// Makes checkpoints until it is over; gives when each began and ended, in milliseconds.
fn save_again_and_again(
    watch: &Watch<'_>,
    time: Duration,
    is_over: &AtomicBool,
) -> Result<Vec<[f64; 2]>> {
    let now = || watch.begun.elapsed().as_secs_f64() * 1e3;
    let mut spans = Vec::new();
    for number in 1..=CHECKPOINTS {
        let at = time * number / (CHECKPOINTS + 1);
        while watch.begun.elapsed() < at && !is_over.load(Ordering::Relaxed) {
            thread::sleep(Duration::from_millis(2));
        }
        if is_over.load(Ordering::Relaxed) {
            break;
        }
        let begun = now();
        watch.is_saving.store(true, Ordering::Relaxed);
        let made = watch.store.store.checkpoint();
        watch.is_saving.store(false, Ordering::Relaxed);
        made?;
        spans.push([begun, now()]);
    }
    Ok(spans)
}
