//! Opening a store that was shut down, with and without the index of its snapshot, by criterion.
//!
//! Reading it into memory is the snapshot alone; opening it for writing judges the mirror's files too.

use std::path::Path;
use std::time::{Duration, Instant};

use criterion::Criterion;
use walden::{Durability, Store};

use crate::parts::tempfile_in;
use crate::place::Place;
use crate::tasks;

const TASKS: usize = 20_000;

pub(crate) fn run(criterion: &mut Criterion, place: &Place) {
    let path = tempfile_in(place);
    let mut is_filled = false;
    let mut group = criterion.benchmark_group("open 20,000 tasks");
    group.sample_size(10);
    for indexed in [true, false] {
        let how = if indexed { "with the index" } else { "without" };
        let mut prepare = |path: &Path| {
            if !std::mem::replace(&mut is_filled, true) {
                fill(path, TASKS);
            }
            if !indexed {
                // Nothing changes from here on, so no opening makes it anew.
                let _ = std::fs::remove_file(path.join(walden::files::names::STATE_INDEX));
            }
        };
        group.bench_function(format!("to read, {how}"), |bencher| {
            prepare(&path);
            bencher.iter(|| {
                let view = Store::builder(&path).open_read_only().expect("a store");
                assert_eq!(view.recovery().snapshot_indexed, indexed);
                view
            });
        });
        group.bench_function(format!("to write, {how}"), |bencher| {
            prepare(&path);
            bencher.iter_custom(|count| (0..count).map(|_| open(&path, indexed)).sum());
        });
    }
    group.finish();
}

/// How long an opening takes; the shutdown after it does not count.
fn open(path: &Path, indexed: bool) -> Duration {
    let begun = Instant::now();
    let store = Store::open(path).expect("a store");
    let took = begun.elapsed();
    assert_eq!(store.recovery().snapshot_indexed, indexed);
    store.shutdown().expect("the store can be shut down");
    took
}

/// A store of so many tasks that was shut down.
pub(crate) fn fill(path: &Path, tasks: usize) {
    let store = Store::open(path).expect("a new store");
    for texts in tasks::prepare(tasks).chunks(1000) {
        let commit = store.submit(Durability::Sync, |tx| {
            texts.iter().try_for_each(|text| tx.save_task_json(text).map(drop))
        });
        commit.and_then(walden::Commit::wait).expect("room");
    }
    // A log that reaches back to the first record would be most of the work.
    for text in &tasks::prepare(2)[..] {
        store.checkpoint().expect("room");
        store.save_task_json(text).expect("room");
    }
    store.shutdown().expect("the store can be shut down");
}
