//! Large stores: opening them after a clean shutdown, beside the least that any opening could do, and
//! a checkpoint of ten changed documents.
//!
//! The least is to read and hash `state.json` and to ask for the `stat` of every file of the mirror.
//! Rounds are interleaved, so that the ratios stand though the machine's pace does not.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use walden::{ContentHash, Store};

use crate::Call;
use crate::opening::fill;
use crate::parts::tempfile_in;
use crate::place::Place;

const CHANGED: usize = 10;

pub(crate) fn run(call: &Call, place: &Place) {
    for tasks in [20_000, 100_000] {
        if !call.wants(&format!("large/{tasks}")) {
            continue;
        }
        let (tasks, rounds) = if call.quick { (tasks / 100, 1) } else { (tasks, 7) };
        let path = tempfile_in(place);
        fill(&path, tasks);
        open(&path, tasks, rounds);
        checkpoint(&path, tasks, rounds);
        fs::remove_dir_all(&path).expect("it can be removed");
    }
}

fn open(path: &Path, tasks: usize, rounds: usize) {
    let [mut least, mut to_read, mut to_write] = [const { Vec::new() }; 3];
    for _ in 0..rounds {
        least.push(timed(|| look(path, tasks)));
        to_read.push(timed(|| drop(Store::builder(path).open_read_only().expect("a store"))));
        let mut opened = None;
        to_write.push(timed(|| opened = Some(Store::open(path).expect("a store"))));
        let store = opened.expect("it was opened");
        assert!(store.recovery().problems.is_empty() && store.recovery().snapshot_indexed);
        store.shutdown().expect("the store can be shut down");
    }
    let [least, to_read, to_write] = [least, to_read, to_write].map(median);
    let ratio = |took: Duration| took.as_secs_f64() / least.as_secs_f64();
    println!(
        "open {tasks} tasks: the least {least:.1?}; to read {to_read:.1?} ({:.2}); to write \
         {to_write:.1?} ({:.2})",
        ratio(to_read),
        ratio(to_write)
    );
}

/// The least that an opening could do.
fn look(path: &Path, tasks: usize) {
    let state = fs::read(path.join("state.json")).expect("it is there");
    std::hint::black_box(ContentHash::of(&state));
    let entries = fs::read_dir(path.join("tasks")).expect("it is there");
    let looks = entries.map(|entry| entry.and_then(|entry| entry.metadata()));
    assert_eq!(looks.flatten().count(), tasks);
}

fn checkpoint(path: &Path, tasks: usize, rounds: usize) {
    let store = Store::open(path).expect("a store");
    let mut took = Vec::new();
    let (mut files, mut bytes) = (0, 0);
    for round in 0..rounds {
        for task in 0..CHANGED {
            let id = format!("task_{:06}", task * tasks / CHANGED);
            let change = serde_json::json!({ "round": round });
            store.patch_task(&id, &change).expect("room");
        }
        let before = bytes_written();
        took.push(timed(|| files = store.checkpoint().expect("room").files_changed));
        bytes = bytes_written().saturating_sub(before);
    }
    store.shutdown().expect("the store can be shut down");
    let state = fs::metadata(path.join("state.json")).expect("it is there").len();
    println!(
        "checkpoint of {CHANGED} changed of {tasks}: {:.1?}; {files} mirror files and {bytes} bytes \
         written, state.json has {state}",
        median(took)
    );
}

/// What this process has handed to `write` so far, where the system tells.
fn bytes_written() -> u64 {
    let told = fs::read_to_string("/proc/self/io").unwrap_or_default();
    let written = told.lines().find_map(|line| line.strip_prefix("wchar: "));
    written.and_then(|count| count.parse().ok()).unwrap_or(0)
}

fn timed(act: impl FnOnce()) -> Duration {
    let begun = Instant::now();
    act();
    begun.elapsed()
}

fn median(mut all: Vec<Duration>) -> Duration {
    all.sort_unstable();
    all[all.len() / 2]
}
