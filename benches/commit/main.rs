//! How fast durable commits are, beside what the same disk allows to anybody.
//!
//! First the throughput of durable puts at 1 to 256 threads, in interleaved rounds: the limit (raw
//! durable writes behind the same kind of group commit), the same with a write and a flush, the store, the
//! store without checkpoints and mirror, and that by way of the page cache. What counts is the ratio:
//! absolute figures move from day to day and from disk to disk. Then criterion measures the parts.
//!
//! `cargo bench --bench commit` measures; an argument is a filter (`throughput/64`, `latency`).
//! `WALDEN_BENCH_QUICK=1`, `--quick` and `--test` run everything once, to see that it works.
//! `WALDEN_BENCH_DIR` names the directory to measure in; by default it is below `target/tmp`.

#![expect(clippy::print_stdout, reason = "the table is what this program is for")]
#![expect(clippy::indexing_slicing, reason = "a benchmark that goes wrong should end")]

mod large;
// The limit, the load and the look at the machine are those of `walden bench`.
#[expect(dead_code, reason = "the command measures more ways")]
#[path = "../../src/bin/walden/bench/limit.rs"]
mod limit;
#[expect(dead_code, reason = "the command tells more")]
#[path = "../../src/bin/walden/bench/load.rs"]
mod load;
#[expect(dead_code, reason = "the command tells more")]
#[path = "../../src/bin/walden/machine.rs"]
mod machine;
mod opening;
mod parts;
mod place;
mod tasks;
mod throughput;

use std::time::Duration;

use criterion::Criterion;

/// How the program was called.
struct Call {
    quick: bool,
    list: bool,
    filter: Option<String>,
}

impl Call {
    /// Criterion reads the same arguments by itself; what is not an option is its filter.
    fn read() -> Call {
        let arguments: Vec<String> = std::env::args().skip(1).collect();
        let has = |name: &str| arguments.iter().any(|argument| argument == name);
        let asked = std::env::var("WALDEN_BENCH_QUICK").is_ok_and(|value| !value.is_empty());
        // Without `--bench` it was started by `cargo test`, which wants to see that it works.
        let quick = asked || has("--quick") || has("--test") || !has("--bench");
        let filter = arguments.iter().find(|argument| !argument.starts_with('-')).cloned();
        Call { quick, list: has("--list"), filter }
    }

    fn wants(&self, name: &str) -> bool {
        self.filter.as_ref().is_none_or(|filter| name.contains(filter.as_str()))
    }
}

fn main() {
    let call = Call::read();
    let place = place::Place::new();
    if !call.list {
        println!("in {} ({})\n", place.path().display(), machine::disk_of(place.path()));
        throughput::run(&call, &place);
        large::run(&call, &place);
    }
    let mut criterion = Criterion::default();
    if call.quick {
        criterion = criterion
            .sample_size(10)
            .warm_up_time(Duration::from_millis(1))
            .measurement_time(Duration::from_millis(20))
            .without_plots();
    }
    criterion = criterion.configure_from_args();
    parts::run(&mut criterion, &place);
    opening::run(&mut criterion, &place);
    criterion.final_summary();
}
