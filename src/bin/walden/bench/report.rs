//! What was measured: the one value from which the summary, the JSON form and the page are made.
//!
//! The names of the fields are those of the JSON form, which programs rely on. Times are in the unit that
//! the name ends with, rates are by the second.

use hdrhistogram::Histogram;
use serde::Serialize;
use walden::Durability;

use super::load::{Spread, float};
use crate::machine::Machine;

#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) version: &'static str,
    pub(crate) dir: String,
    pub(crate) machine: Machine,
    pub(crate) free_bytes: u64,
    pub(crate) plan: Planned,
    pub(crate) disk: Vec<Probe>,
    pub(crate) throughput: Vec<Row>,
    pub(crate) tuning: Vec<Variant>,
    pub(crate) recovery: Vec<Opening>,
    pub(crate) checkpoints: Watched,
    pub(crate) seconds: f64,
    pub(crate) notes: Vec<String>,
    pub(crate) recommendation: Vec<String>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Planned {
    pub(crate) quick: bool,
    pub(crate) rounds: usize,
    pub(crate) turn_ms: f64,
    pub(crate) value_bytes: usize,
    pub(crate) documents: usize,
    /// How the limit makes its groups durable: `direct` or `flush`.
    pub(crate) limit: &'static str,
}

/// One way to make something durable, by one thread.
#[derive(Debug, Serialize)]
pub(crate) struct Probe {
    pub(crate) name: &'static str,
    pub(crate) what: String,
    pub(crate) latency: Latency,
}

/// One number of threads at one durability.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) durability: &'static str,
    pub(crate) threads: usize,
    pub(crate) limit: Spread,
    pub(crate) walden: Spread,
    /// Walden's rate by the limit's of the same round.
    pub(crate) ratio: Spread,
    /// Both rates of each round.
    pub(crate) rounds: Vec<[f64; 2]>,
    /// Records by write to the log.
    pub(crate) group_size: f64,
    pub(crate) flushes_per_second: f64,
    pub(crate) log_bytes_per_write: f64,
    pub(crate) limit_latency: Latency,
    pub(crate) latency: Latency,
}

/// A store with one setting changed.
#[derive(Debug, Serialize)]
pub(crate) struct Variant {
    pub(crate) setting: &'static str,
    pub(crate) value: String,
    /// Whether everything else was measured with this value.
    pub(crate) is_base: bool,
    pub(crate) threads: usize,
    pub(crate) rounds: usize,
    pub(crate) writes: Spread,
    pub(crate) document_bytes_per_second: f64,
    pub(crate) checkpoints: u64,
    pub(crate) p99_us: f64,
}

/// Openings of a log of one size after a crash.
#[derive(Debug, Serialize)]
pub(crate) struct Opening {
    pub(crate) records: u64,
    pub(crate) log_bytes: u64,
    pub(crate) open_ms: Spread,
    /// Reading the log's files and checking what is read.
    pub(crate) read_ms: Spread,
}

/// What writers felt of checkpoints.
#[derive(Debug, Serialize)]
pub(crate) struct Watched {
    pub(crate) threads: usize,
    pub(crate) documents: usize,
    pub(crate) slice_ms: f64,
    pub(crate) slices: Vec<Slice>,
    /// From when to when each checkpoint was made, in milliseconds.
    pub(crate) spans_ms: Vec<[f64; 2]>,
    /// Of the writes that began while none was made.
    pub(crate) idle: Latency,
    /// Of those that began during one.
    pub(crate) during: Latency,
}

#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Slice {
    pub(crate) writes: u64,
    pub(crate) max_us: f64,
}

/// How long something took, in microseconds.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Latency {
    pub(crate) count: u64,
    pub(crate) p50_us: f64,
    pub(crate) p90_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) p999_us: f64,
    pub(crate) max_us: f64,
    /// Microseconds, and the share of all that took no longer.
    pub(crate) cdf: Vec<[f64; 2]>,
}

/// The times of neighbouring points of a CDF differ by this factor at least.
const CDF_STEP: f64 = 1.04;

impl Latency {
    /// Of a histogram of nanoseconds.
    pub(crate) fn of(found: &Histogram<u64>) -> Latency {
        let us = |ns: u64| float(ns) / 1e3;
        let at = |quantile| us(found.value_at_quantile(quantile).min(found.max()));
        let mut cdf: Vec<[f64; 2]> = Vec::new();
        let all = float(found.len().max(1));
        let mut so_far = 0;
        for step in found.iter_recorded() {
            so_far += step.count_since_last_iteration();
            let point = [us(step.value_iterated_to()), float(so_far) / all];
            let is_near = cdf.last().is_some_and(|[last, _]| point[0] < last * CDF_STEP);
            if !is_near || so_far == found.len() {
                cdf.push(point);
            }
        }
        Latency {
            count: found.len(),
            p50_us: at(0.5),
            p90_us: at(0.9),
            p99_us: at(0.99),
            p999_us: at(0.999),
            max_us: us(found.max()),
            cdf,
        }
    }
}

/// The name of a durability, as the option has it.
pub(crate) fn name_of(durability: Durability) -> &'static str {
    match durability {
        Durability::Sync => "sync",
        Durability::Buffered => "buffered",
    }
}
