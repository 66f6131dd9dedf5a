//! How soon a person's edit of an open store is in force, and what hearing of edits costs those who write.
//!
//! An edit is a rename over a file; it is in force when listeners are told so. It is measured on a store that
//! nobody else uses, and on one that four threads write to as fast as they can. Then the durable writes of
//! those threads a second, with and without the watch, in interleaved rounds; the mirror follows all the
//! time, so that most of what is heard is the engine's own doing.
//!
//! `cargo bench --bench watch` measures; `WALDEN_BENCH_QUICK=1` and `--test` run everything once, to see that
//! it works. `WALDEN_BENCH_DIR` names the directory to measure in; by default it is below `target/tmp`.

#![expect(clippy::print_stdout, reason = "the table is what this program is for")]

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use walden::{Event, Options, Store};

const TASKS: usize = 1000;
const WRITERS: usize = 4;

fn open(dir: &Path, watch: bool) -> Store {
    Store::builder(dir).options(Options { watch, ..Options::default() }).open().expect("it opens")
}

/// A store whose files are there.
fn filled(dir: &Path, watch: bool) -> Store {
    let store = open(dir, watch);
    for n in 0..TASKS {
        let task = format!(r#"{{"id": "t{n}", "note": "{}"}}"#, "n".repeat(500));
        store.save_task_json(&task).expect("it is saved");
    }
    store.checkpoint().expect("it is saved");
    store
}

/// Runs `measure` while threads write as fast as they can; gives its outcome and the writes a second.
fn under_load<T>(store: &Store, measure: impl FnOnce() -> T) -> (T, f64) {
    let (stop, count) = (AtomicBool::new(false), AtomicU64::new(0));
    let begun = Instant::now();
    let measured = thread::scope(|scope| {
        for writer in 0..WRITERS {
            let (stop, count) = (&stop, &count);
            scope.spawn(move || {
                for n in (writer..).step_by(WRITERS) {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    // The tasks that are edited are left alone: their conflicts would be measured too.
                    let id = format!("t{}", TASKS / 2 + n % (TASKS / 2));
                    store.patch_task_json(&id, &format!(r#"{{"n": {n}}}"#)).expect("it is saved");
                    count.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let measured = measure();
        stop.store(true, Ordering::Relaxed);
        measured
    });
    #[expect(clippy::cast_precision_loss, reason = "a rate")]
    let rate = count.into_inner() as f64 / begun.elapsed().as_secs_f64();
    (measured, rate)
}

/// How long each of `count` edits took to be in force, shortest first.
fn latencies(dir: &Path, name: &str, taken: &Receiver<String>, count: usize) -> Vec<Duration> {
    let mut latencies: Vec<Duration> = (0..count)
        .map(|n| {
            let file = format!("tasks/t{}.json", n % (TASKS / 2));
            let other = dir.join("tasks/edit.tmp");
            let text = format!(r#"{{"id": "t{}", "note": "{name} {n}"}}"#, n % (TASKS / 2));
            std::fs::write(&other, text).expect("it is written");
            let begun = Instant::now();
            std::fs::rename(&other, dir.join(&file)).expect("it is renamed");
            while taken.recv_timeout(Duration::from_secs(40)).expect("it is taken in") != file {}
            let took = begun.elapsed();
            // So that edits fall on any moment of a pass.
            thread::sleep(Duration::from_millis((n * 37 % 101) as u64));
            took
        })
        .collect();
    latencies.sort_unstable();
    latencies
}

fn print(name: &str, latencies: &[Duration]) {
    let at = |part: usize| latencies.get((latencies.len() - 1) * part / 100).copied();
    let [half, most, all] = [50, 99, 100].map(|part| at(part).unwrap_or_default().as_millis());
    println!(
        "{name:<24} p50 {half:>4} ms   p99 {most:>4} ms   max {all:>4} ms   ({})",
        latencies.len()
    );
}

fn main() {
    let has = |name: &str| std::env::args().any(|argument| argument == name);
    let asked = std::env::var("WALDEN_BENCH_QUICK").is_ok_and(|value| !value.is_empty());
    let quick = asked || has("--test") || !has("--bench");
    let (edits, rounds, seconds) = if quick { (2, 1, 0.1) } else { (200, 3, 2.0) };
    let parent = std::env::var_os("WALDEN_BENCH_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_TARGET_TMPDIR")), PathBuf::from);
    let place = tempfile::tempdir_in(parent).expect("a directory can be made to measure in");
    let dir = place.path().join("edited");
    let store = filled(&dir, true);
    let (tell, taken) = channel();
    store.on_event(move |event| {
        if let Event::Edited { file, .. } = event {
            let _ = tell.send(file.clone());
        }
    });
    print("edit, idle", &latencies(&dir, "idle", &taken, edits));
    let (loaded, rate) = under_load(&store, || latencies(&dir, "load", &taken, edits));
    print("edit, under load", &loaded);
    println!("{:<24} {rate:.0} writes/s", "  beside");
    store.shutdown().expect("it is saved");
    for round in 0..rounds {
        for watch in [true, false] {
            let store = filled(&place.path().join(format!("{round}{watch}")), watch);
            let ((), rate) = under_load(&store, || thread::sleep(Duration::from_secs_f64(seconds)));
            store.shutdown().expect("it is saved");
            let name = if watch { "writes, watched" } else { "writes, not watched" };
            println!("{name:<24} {rate:.0}/s");
        }
    }
}
