//! What a commit asks of the disk in the steady state, counted call by call on the simulated disk.

use std::time::Duration;

use walden::fs::sim::SimFs;
use walden::{Durability, Options, Store};

use crate::support::at;

const SEGMENT_BYTES: u64 = 64 << 10;

fn store(disk: &SimFs) -> Store {
    let rare = Duration::from_secs(100_000);
    let mut options = Options {
        mirror_interval: rare,
        checkpoint_interval: rare,
        checkpoint_log_bytes: u64::MAX,
        ..Options::default()
    };
    (options.log.segment_bytes_min, options.log.segment_bytes_max) = (SEGMENT_BYTES, SEGMENT_BYTES);
    at(disk, 1).options(options).open().unwrap()
}

/// The verbs of the calls that `act` makes, and how many files they are to.
fn calls(disk: &SimFs, act: impl FnOnce()) -> (Vec<String>, usize) {
    let before = disk.trace().len();
    act();
    let trace = disk.trace().split_off(before);
    let part = |call: &String, at| call.split(' ').nth(at).unwrap_or_default().to_owned();
    let mut files: Vec<String> = trace.iter().map(|call| part(call, 1)).collect();
    assert!(files.iter().all(|file| file.starts_with("wal/")), "{trace:?}");
    files.sort_unstable();
    files.dedup();
    (trace.iter().map(|call| part(call, 0)).collect(), files.len())
}

#[test]
fn a_group_is_one_write_and_one_flush_and_nothing_else_also_across_a_segment_change() {
    let disk = SimFs::new();
    disk.set_traced(true);
    let store = store(&disk);
    let (mut plain, mut changes) = (0, 0);
    for number in 0..100 {
        let text = format!(r#"{{"id": "t{number}", "text": "{}"}}"#, "x".repeat(900));
        let (calls, files) = calls(&disk, || assert!(store.save_task_json(&text).is_ok()));
        if files == 1 {
            assert_eq!(calls, ["write", "sync"]);
            plain += 1;
        } else {
            // The seal of the segment before is written, and flushed by the next preparation.
            assert_eq!((calls.join(" ").as_str(), files), ("write sync write", 2));
            changes += 1;
        }
        // What prepares segments is beside the path of a commit.
        store.step();
    }
    assert!(plain > 80 && changes > 3, "{plain} groups within a segment, {changes} in a new one");
    store.shutdown().unwrap();
}

#[test]
fn a_buffered_group_is_one_write() {
    let disk = SimFs::new();
    disk.set_traced(true);
    let store = store(&disk);
    for number in 0..5 {
        let text = format!(r#"{{"id": "t{number}"}}"#);
        let submit = || store.submit(Durability::Buffered, |tx| tx.save_task_json(&text));
        let (calls, _) = calls(&disk, || assert!(submit().unwrap().wait().is_ok()));
        assert_eq!(calls, ["write"]);
    }
    store.shutdown().unwrap();
}
