//! Rounds of turns, and the table of them.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;
use walden::{Error, Result};

use crate::limit::{Groups, Way};
use crate::load::{self, Load, Spread, float};
use crate::machine::{self, Machine};
use crate::peer::{Alone, Contender, Grouped, failed, grouped};
use crate::peers::ALL;

const LIMIT_BYTES: usize = 256 << 20;
const LIMIT: &str = "limit";

pub(crate) struct Plan {
    pub(crate) workload: &'static str,
    pub(crate) durable: bool,
    pub(crate) threads: Vec<usize>,
    pub(crate) rounds: usize,
    pub(crate) turn: Duration,
    pub(crate) value_bytes: usize,
    pub(crate) documents: usize,
    pub(crate) seed: u64,
    /// All, if it names none.
    pub(crate) only: Vec<String>,
}

/// Everything that was measured.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    workload: &'static str,
    machine: Machine,
    /// How the limit makes its groups durable.
    limit: &'static str,
    seed: u64,
    rounds: usize,
    turn_ms: u128,
    value_bytes: usize,
    documents: usize,
    rows: Vec<Row>,
}

/// A contender with one number of threads.
#[derive(Debug, Serialize)]
struct Row {
    name: String,
    threads: usize,
    /// Puts a second, by round.
    rates: Vec<f64>,
    puts: Spread,
    /// To the limit's of the same round.
    ratio: Spread,
    /// Medians of the rounds.
    p50_us: f64,
    p99_us: f64,
}

/// The run's own directory, removed at its end.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            eprintln!("{} is left behind: {error}", self.0.display());
        }
    }
}

/// Measures, and prints the table as it goes.
///
/// # Errors
/// The first failure of a contender or of the disk.
pub(crate) fn run(plan: &Plan, dir: &Path) -> Result<Report> {
    let scratch = Scratch(dir.join(format!("walden-peers.{}", std::process::id())));
    std::fs::create_dir(&scratch.0).map_err(|error| failed("the directory", error))?;
    let contenders = contenders(plan, &scratch.0)?;
    let mut report = Report {
        workload: plan.workload,
        machine: machine::look_at(&scratch.0),
        limit: contenders.limit,
        seed: plan.seed,
        rounds: plan.rounds,
        turn_ms: plan.turn.as_millis(),
        value_bytes: plan.value_bytes,
        documents: plan.documents,
        rows: Vec::new(),
    };
    println!("{} on {}, limit: {}", plan.workload, machine::disk_of(&scratch.0), report.limit);
    for threads in &plan.threads {
        let rows = measure(plan, *threads, &contenders.all)?;
        println!("\n{threads} threads");
        for row in &rows {
            let (puts, ratio) = (&row.puts, &row.ratio);
            println!(
                "  {:<28} {:>9.0} ({:.0}-{:.0})  {:.2} ({:.2}-{:.2}) x limit  p50 {:.0} us  p99 {:.0} us",
                row.name,
                puts.median,
                puts.least,
                puts.most,
                ratio.median,
                ratio.least,
                ratio.most,
                row.p50_us,
                row.p99_us
            );
        }
        report.rows.extend(rows);
    }
    Ok(report)
}

struct Contenders {
    all: Vec<(String, Box<dyn Contender>)>,
    limit: &'static str,
}

fn contenders(plan: &Plan, dir: &Path) -> Result<Contenders> {
    let documents: Arc<[Arc<[u8]>]> =
        (0..plan.documents).map(|number| document(number, plan)).collect();
    let path = dir.join(LIMIT);
    let groups = if plan.durable {
        Groups::prewritten(&path, LIMIT_BYTES)
    } else {
        Groups::plain(&path, LIMIT_BYTES, Way::Write)
    };
    let groups = groups.map_err(|error| failed(LIMIT, error))?;
    let limit = match groups.way() {
        Way::Direct => "aligned O_DIRECT and O_DSYNC",
        Way::Flush => "write and fdatasync: direct writes are refused here",
        Way::Write => "write",
    };
    let front = Grouped::limit(groups, documents.clone());
    let mut all: Vec<(String, Box<dyn Contender>)> = vec![(LIMIT.to_owned(), Box::new(front))];
    let wants = |name: &str| plan.only.is_empty() || plan.only.iter().any(|only| only == name);
    for entry in ALL.iter().filter(|entry| wants(entry.name)) {
        let open = |name: &str| (entry.open)(&dir.join(name), plan.durable);
        match open(entry.name) {
            Ok(peer) => {
                let alone = Alone { peer, documents: documents.clone() };
                all.push((entry.name.to_owned(), Box::new(alone)));
            }
            Err(Error::Unsupported { what, why }) => {
                eprintln!("{what} is left out: {why}");
                continue;
            }
            Err(error) => return Err(error),
        }
        if entry.is_grouped_too && plan.durable {
            let name = format!("{} + group commit", entry.name);
            let peer = open(&format!("{}-grouped", entry.name))?;
            all.push((name, Box::new(grouped(peer, documents.clone()))));
        }
    }
    Ok(Contenders { all, limit })
}

/// A task of about so many bytes, whose text follows from number and seed.
fn document(number: usize, plan: &Plan) -> Arc<[u8]> {
    let mut text = format!(r#"{{"id":"task_{number:06}","status":"in_progress","description":""#);
    let mut state = plan.seed ^ (number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    while text.len() + 2 < plan.value_bytes {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let letter = u8::try_from(state >> 59).unwrap_or_default() % 26;
        text.push(char::from(b'a' + letter));
    }
    text.push_str("\"}");
    Arc::from(text.into_bytes())
}

fn measure(plan: &Plan, threads: usize, all: &[(String, Box<dyn Contender>)]) -> Result<Vec<Row>> {
    let mut turns: Vec<Vec<load::Turn>> = all.iter().map(|_| Vec::new()).collect();
    let load = Load { threads, time: plan.turn, documents: plan.documents };
    let begun = Instant::now();
    for round in 0..plan.rounds {
        // Another one begins each time, so that no contender always follows the same.
        let first = usize::try_from(plan.seed).unwrap_or_default().wrapping_add(round) % all.len();
        let order = (first..all.len()).chain(0..first);
        for at in order {
            let Some(((name, contender), turns)) = all.get(at).zip(turns.get_mut(at)) else {
                continue;
            };
            contender.settle()?;
            let seconds = begun.elapsed().as_secs();
            eprintln!("[{seconds:>5} s] {threads} threads, round {}: {name}", round + 1);
            turns.push(load::run(&**contender, load, &mut |_| ControlFlow::Continue(()))?);
        }
    }
    let of_limit: Vec<f64> =
        turns.first().into_iter().flatten().map(load::Turn::per_second).collect();
    let rows = all.iter().zip(turns).map(|((name, _), turns)| {
        let rates: Vec<f64> = turns.iter().map(load::Turn::per_second).collect();
        let us = |quantile: f64| {
            let values =
                turns.iter().map(|turn| float(turn.latency.value_at_quantile(quantile)) / 1e3);
            Spread::of(values).median
        };
        Row {
            name: name.clone(),
            threads,
            puts: Spread::of(rates.iter().copied()),
            ratio: Spread::of(
                rates.iter().zip(&of_limit).map(|(rate, limit)| rate / limit.max(1e-9)),
            ),
            p50_us: us(0.5),
            p99_us: us(0.99),
            rates,
        }
    });
    Ok(rows.collect())
}
