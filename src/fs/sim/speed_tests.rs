//! How fast disks are made from one: crash exploration makes several at every call.

use std::time::{Duration, Instant};

use super::tests::put;
use super::*;
use crate::fs::write_all_at;

/// A store's disk in the middle of its work: 25 files, five of them segments of 40 KiB, the last one
/// half unsynced, and some names that are not yet durable.
fn busy() -> SimFs {
    let fs = SimFs::new();
    for at in 0..5 {
        fs.write_now(&format!("wal/{at:020}.wal"), &[at; 40 << 10]).unwrap();
    }
    for at in 0..20 {
        fs.write_now(&format!("tasks/task-{at}.json"), &[at; 600]).unwrap();
    }
    let segment = fs.open("wal/00000000000000000004.wal", Mode::Write).unwrap();
    write_all_at(&*segment, &[9; 3000], 20_000).unwrap();
    for at in 0..5 {
        put(&fs, "wal/mirror.part", &[at; 600]).write_back().unwrap();
        fs.rename("wal/mirror.part", &format!("tasks/task-{at}.json")).unwrap();
    }
    fs
}

#[test]
#[ignore = "a measurement: run it with --ignored --nocapture"]
fn how_many_disks_a_second() {
    let fs = busy();
    let rate = |what: &str, make: &dyn Fn(u64) -> SimFs| {
        let begin = Instant::now();
        let mut made = 0;
        while begin.elapsed() < Duration::from_secs(1) {
            for _ in 0..100 {
                made += 1;
                drop(make(made));
            }
        }
        println!("{what}: {made} disks a second");
    };
    rate("a power cut", &|seed| fs.if_crashed(CrashMode::Random(seed)));
    rate("nothing", &|_| fs.if_crashed(CrashMode::Nothing));
    rate("a kill", &|_| fs.if_killed());
}
