//! The limit, Walden and its peers on the same disk, in interleaved rounds.
//!
//! A subcommand a workload: `p1` durable puts by threads, `p2` the latency of one durable writer, `p3`
//! buffered puts, `p4` opening after a kill, `p5` after a clean shutdown, `p6` reads, `p7` small changes,
//! `p8` checkpoints, `p9` write amplification, `p10` memory. Contenders take turns within each round, and
//! ratios to the limit are formed within the round. What can have a group commit in front of its
//! transactions runs with and without. Tables go to stdout; `--json` keeps every round with kernel, disk,
//! file system and seed; `--html` draws them. It works in a directory of its own inside `--dir`, which it
//! removes.

#![deny(unsafe_code)]

mod ahead;
mod amplification;
mod changes;
#[cfg_attr(
    not(test),
    expect(dead_code, reason = "the command of the crate draws more kinds of axes")
)]
#[path = "../../../src/bin/walden/bench/chart.rs"]
mod chart;
mod checkpoints;
mod child;
mod documents;
mod html;
#[expect(dead_code, reason = "the command of the crate measures more ways")]
#[path = "../../../src/bin/walden/bench/limit.rs"]
mod limit;
#[expect(dead_code, reason = "the command of the crate tells more")]
#[path = "../../../src/bin/walden/bench/load.rs"]
mod load;
#[path = "../../../src/bin/walden/machine.rs"]
mod machine;
mod memory;
mod opening;
mod peer;
mod peers;
mod puts;
mod reads;
mod recovery;
mod report;
mod session;
mod system;
mod written;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand};

use report::Report;
use session::{Plan, Session};

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
    /// Seconds of each turn; the workload's own if it is not said
    #[arg(long, global = true)]
    seconds: Option<f64>,
    /// Numbers of threads; the workload's own if it is not said
    #[arg(long, global = true, value_delimiter = ',')]
    threads: Vec<usize>,
    /// Only these contenders
    #[arg(long, global = true, value_delimiter = ',')]
    only: Vec<String>,
    /// Bytes of a document
    #[arg(long, global = true, default_value_t = 1024)]
    value_bytes: usize,
    /// Documents of a store; the workload's own if it is not said. p5 takes several numbers
    #[arg(long, global = true, value_delimiter = ',')]
    documents: Vec<usize>,
    /// Records of the log that p4 leaves behind
    #[arg(long, global = true, default_value_t = 100_000)]
    records: usize,
    /// In which order the contenders take their turns, and what the documents say
    #[arg(long, global = true, default_value_t = 1)]
    seed: u64,
    /// Keep everything in this file
    #[arg(long, global = true)]
    json: Option<PathBuf>,
    /// Draw it in this file: one page that needs nothing else
    #[arg(long, global = true)]
    html: Option<PathBuf>,
}

#[derive(Clone, Debug, Subcommand)]
enum Workload {
    /// Durable puts, by 1, 4, 16, 64 and 256 threads
    P1,
    /// The latency of one durable writer
    P2,
    /// Buffered puts, by 1 and 4 threads
    P3,
    /// Opening after a kill, by --records of the log; documents as many, or --documents
    P4,
    /// Opening after a clean shutdown, with 10,000 and 100,000 documents
    P5,
    /// Reading by id among ten times --documents, by 1 and 2 threads; listing by status
    P6,
    /// Patches and log entries, by 64 threads
    P7,
    /// What 16 writers feel of checkpoints, and what one change rewrites
    P8,
    /// Bytes written for those put, by 64 threads
    P9,
    /// Memory of a process that holds a store
    P10,
    /// What the others do in a process of its own
    #[command(hide = true)]
    Child { act: child::Act, contender: String, path: PathBuf },
}

impl Workload {
    fn name(&self) -> &'static str {
        match self {
            Workload::P1 => "p1",
            Workload::P2 => "p2",
            Workload::P3 => "p3",
            Workload::P4 => "p4",
            Workload::P5 => "p5",
            Workload::P6 => "p6",
            Workload::P7 => "p7",
            Workload::P8 => "p8",
            Workload::P9 => "p9",
            Workload::P10 => "p10",
            Workload::Child { .. } => "child",
        }
    }

    fn threads(&self) -> &'static [usize] {
        match self {
            Workload::P1 => &[1, 4, 16, 64, 256],
            Workload::P3 => &[1, 4],
            Workload::P6 => &[1, 2],
            Workload::P7 | Workload::P9 => &[64],
            Workload::P8 => &[16],
            _ => &[1],
        }
    }

    fn seconds(&self) -> f64 {
        if matches!(self, Workload::P9) { 30.0 } else { 3.0 }
    }

    fn documents(&self, records: usize) -> Vec<usize> {
        match self {
            Workload::P4 => vec![records],
            Workload::P5 => vec![10_000, 100_000],
            Workload::P8 | Workload::P10 => vec![100_000],
            _ => vec![10_000],
        }
    }
}

impl Args {
    fn plan(&self) -> Result<Plan, Box<dyn std::error::Error>> {
        fn said<T: Clone>(said: &[T], own: Vec<T>) -> Vec<T> {
            if said.is_empty() { own } else { said.to_vec() }
        }
        let wrong = |why: &str| Err(why.to_owned().into());
        let seconds = self.seconds.unwrap_or_else(|| self.workload.seconds());
        let documents = said(&self.documents, self.workload.documents(self.records));
        let threads = said(&self.threads, self.workload.threads().to_vec());
        // Ids have six digits.
        let counts = 1..=1_000_000;
        if self.rounds == 0 || !(0.01..=3600.0).contains(&seconds) {
            return wrong("--rounds are at least 1, --seconds between 0.01 and 3600");
        }
        if documents.iter().chain([&self.records]).any(|count| !counts.contains(count)) {
            return wrong("--documents and --records are between 1 and 1000000");
        }
        if threads.contains(&0) || !(128..=1 << 24).contains(&self.value_bytes) {
            return wrong("--threads are at least 1, --value-bytes between 128 and 16777216");
        }
        if matches!(self.workload, Workload::P6)
            && documents.iter().any(|count| !(10..=100_000).contains(count))
        {
            return wrong(
                "--documents of p6 are between 10 and 100000: it makes ten times as many",
            );
        }
        Ok(Plan {
            workload: self.workload.name(),
            threads,
            rounds: self.rounds,
            turn: Duration::from_secs_f64(seconds),
            value_bytes: self.value_bytes,
            documents,
            records: self.records,
            seed: self.seed,
            only: self.only.clone(),
        })
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args = Args::parse();
    let plan = args.plan()?;
    if let Workload::Child { act, contender, path } = &args.workload {
        return Ok(child::be(&plan, *act, contender, path)?);
    }
    let session = Session::begin(plan, &args.dir)?;
    let mut report = Report::new(&session.plan, machine::look_at(session.dir()));
    println!("{} on {}", args.workload.name(), machine::disk_of(session.dir()));
    match args.workload {
        Workload::P1 | Workload::P2 => puts::run(&session, true, &mut report)?,
        Workload::P3 => puts::run(&session, false, &mut report)?,
        Workload::P4 => recovery::run(&session, &mut report)?,
        Workload::P5 => opening::run(&session, &mut report)?,
        Workload::P6 => reads::run(&session, &mut report)?,
        Workload::P7 => changes::run(&session, &mut report)?,
        Workload::P8 => checkpoints::run(&session, &mut report)?,
        Workload::P9 => amplification::run(&session, &mut report)?,
        Workload::P10 => memory::run(&session, &mut report)?,
        Workload::Child { .. } => unreachable!("it was done above"),
    }
    if let Some(file) = &args.json {
        std::fs::write(file, serde_json::to_vec_pretty(&report)?)?;
    }
    if let Some(file) = &args.html {
        std::fs::write(file, html::page(&report))?;
    }
    Ok(())
}
