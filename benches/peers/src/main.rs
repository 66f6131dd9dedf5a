//! The limit, Walden and its peers on the same disk, in interleaved rounds.
//!
//! A subcommand a workload: `p1` durable puts by threads, `p2` the latency of one durable writer, `p3`
//! buffered puts. Contenders take turns within each round, beginning with another one each time, and ratios
//! to the limit are formed within the round. What can have a group commit in front of its transactions runs
//! with and without. The table goes to stdout; `--json` keeps every round with kernel, disk, file system and
//! seed. It works in a directory of its own inside `--dir`, which it removes.

#![deny(unsafe_code)]

#[expect(dead_code, reason = "the command of the crate measures more ways")]
#[path = "../../../src/bin/walden/bench/limit.rs"]
mod limit;
#[expect(dead_code, reason = "the command of the crate tells more")]
#[path = "../../../src/bin/walden/bench/load.rs"]
mod load;
#[path = "../../../src/bin/walden/machine.rs"]
mod machine;
mod peer;
mod peers;
mod run;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand};

/// Holds the limit, Walden and its peers against each other.
#[derive(Debug, Parser)]
struct Args {
    #[command(subcommand)]
    workload: Workload,
    /// Where to measure
    #[arg(long, global = true, default_value = ".")]
    dir: PathBuf,
    /// Interleaved rounds
    #[arg(long, global = true, default_value_t = 7)]
    rounds: usize,
    /// Seconds of each turn
    #[arg(long, global = true, default_value_t = 3.0)]
    seconds: f64,
    /// Numbers of threads; the workload's own if it is not said
    #[arg(long, global = true, value_delimiter = ',')]
    threads: Vec<usize>,
    /// Only these contenders
    #[arg(long, global = true, value_delimiter = ',')]
    only: Vec<String>,
    /// Bytes of a document
    #[arg(long, global = true, default_value_t = 1024)]
    value_bytes: usize,
    /// Documents that are put again and again
    #[arg(long, global = true, default_value_t = 10_000)]
    documents: usize,
    /// In which order the contenders take their turns, and what the documents say
    #[arg(long, global = true, default_value_t = 1)]
    seed: u64,
    /// Keep everything in this file
    #[arg(long, global = true)]
    json: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, Subcommand)]
enum Workload {
    /// Durable puts, by 1, 4, 16, 64 and 256 threads
    P1,
    /// The latency of one durable writer
    P2,
    /// Buffered puts, by 1 and 4 threads
    P3,
}

impl Workload {
    fn name(self) -> &'static str {
        match self {
            Workload::P1 => "p1",
            Workload::P2 => "p2",
            Workload::P3 => "p3",
        }
    }

    fn is_durable(self) -> bool {
        !matches!(self, Workload::P3)
    }

    fn threads(self) -> &'static [usize] {
        match self {
            Workload::P1 => &[1, 4, 16, 64, 256],
            Workload::P2 => &[1],
            Workload::P3 => &[1, 4],
        }
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args = Args::parse();
    let wrong = |why: &str| Err(why.to_owned().into());
    if args.rounds == 0 || args.documents == 0 || !(0.01..=3600.0).contains(&args.seconds) {
        return wrong("--rounds and --documents are at least 1, --seconds between 0.01 and 3600");
    }
    if args.threads.contains(&0) || !(128..=1 << 24).contains(&args.value_bytes) {
        return wrong("--threads are at least 1, --value-bytes between 128 and 16777216");
    }
    let threads = if args.threads.is_empty() {
        args.workload.threads().to_vec()
    } else {
        args.threads.clone()
    };
    let plan = run::Plan {
        workload: args.workload.name(),
        durable: args.workload.is_durable(),
        threads,
        rounds: args.rounds,
        turn: Duration::from_secs_f64(args.seconds),
        value_bytes: args.value_bytes,
        documents: args.documents,
        seed: args.seed,
        only: args.only,
    };
    let report = run::run(&plan, &args.dir)?;
    if let Some(file) = &args.json {
        std::fs::write(file, serde_json::to_vec_pretty(&report)?)?;
    }
    Ok(())
}
