//! The options of `bench`, and the measurements that follow from them.
//!
//! What cannot be measured in the time or on the disk that there is, is refused here or said beforehand;
//! nothing is measured that was not asked for.

use std::path::PathBuf;
use std::time::Duration;

use walden::Durability;

use crate::failure::Failure;

pub(crate) const ABOUT: &str = "\
Measure this disk, and the engine on it, for those who tune.

It works in a directory of its own inside --dir (else the current one), which is removed at the end, also \
after Ctrl-C. First the disk: a flush, and writes that are flushed. Then durable and buffered writes by \
several threads, in turn with the limit: the least that anybody could do on this disk, one aligned write \
with O_DIRECT and O_DSYNC (or a write and fdatasync, where that is refused) for all who wait. Then sizes of \
documents and segments and intervals of checkpoints against each other, openings after a crash, and what \
writers feel of a checkpoint. Rounds are interleaved: compare ratios, for the pace of a disk changes.

Of each list the first value is the one that everything else is measured with. As JSON it is one object: \
machine, plan, disk, throughput, tuning, recovery, checkpoints, notes, recommendation.";

/// Shortest time for which a load is measured.
const TURN_MIN: Duration = Duration::from_millis(40);
/// Most bytes of documents that wait for a flush at the same time.
const IN_FLIGHT_BYTES_MAX: usize = 1 << 30;
/// Most bytes of the documents of a store, unless their number was said.
const DOCUMENTS_BYTES: usize = 10 << 20;
/// So many times the documents has the store whose checkpoints are watched.
const WATCHED_TIMES: usize = 10;
const QUICK_SECONDS: u64 = 10;
const SECONDS: u64 = 120;

#[derive(Debug, clap::Args)]
pub(crate) struct Bench {
    /// Only a first impression, within 20 seconds
    #[arg(long, conflicts_with = "seconds")]
    quick: bool,
    /// How long the measurements take, about; 120 if it is not said
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    seconds: Option<u64>,
    /// Interleaved rounds of each measurement; 7 if it is not said, with --quick 3
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1000))]
    rounds: Option<u16>,
    /// Threads that write at the same time
    #[arg(long, value_name = "N,N", value_delimiter = ',', default_value = "1,4,16,64,256",
          value_parser = clap::value_parser!(u16).range(1..=4096))]
    threads: Vec<u16>,
    /// When a write is answered: `sync`, on the medium; `buffered`, handed to the kernel
    #[arg(long, value_name = "D,D", value_delimiter = ',', default_value = "sync,buffered",
          value_parser = durability)]
    durability: Vec<Durability>,
    /// Documents of a store, which are replaced again and again; 1000 if it is not said, with --quick 100
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(4..=10_000_000))]
    documents: Option<u32>,
    /// Sizes of documents
    #[arg(long, value_name = "N,N", value_delimiter = ',', default_value = "1024,128,16384",
          value_parser = clap::value_parser!(u32).range(128..=16 << 20))]
    value_bytes: Vec<u32>,
    /// Largest segments of the log
    #[arg(long, value_name = "N,N", value_delimiter = ',', default_value = "67108864,1048576,8388608",
          value_parser = clap::value_parser!(u64).range(12_288..=1 << 30))]
    segment_bytes: Vec<u64>,
    /// Seconds between checkpoints; `none` for none
    #[arg(long, value_name = "S,S", value_delimiter = ',', default_value = "30,1,none",
          value_parser = interval)]
    checkpoint_interval: Vec<Interval>,
    /// Also make a page of it, with plots, that needs no network
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
    /// The same as `--format json`
    #[arg(long)]
    pub(crate) json: bool,
}

/// How often a store makes checkpoints: not at all, if there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Interval(pub(crate) Option<Duration>);

fn durability(text: &str) -> Result<Durability, String> {
    match text {
        "sync" => Ok(Durability::Sync),
        "buffered" => Ok(Durability::Buffered),
        _ => Err("it is `sync` or `buffered`".to_owned()),
    }
}

fn interval(text: &str) -> Result<Interval, String> {
    if text == "none" {
        return Ok(Interval(None));
    }
    let why = || "it is `none`, or seconds between 0.01 and 86400".to_owned();
    let seconds: f64 = text.parse().map_err(|_| why())?;
    match seconds {
        0.01..=86_400.0 => Ok(Interval(Some(Duration::from_secs_f64(seconds)))),
        _ => Err(why()),
    }
}

/// What is measured, and for how long.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) quick: bool,
    pub(crate) rounds: usize,
    pub(crate) threads: Vec<usize>,
    pub(crate) durabilities: Vec<Durability>,
    pub(crate) value_bytes: Vec<usize>,
    pub(crate) segment_bytes: Vec<u64>,
    pub(crate) intervals: Vec<Interval>,
    /// Threads where only one number of them is measured.
    pub(crate) crowd: usize,
    /// How long each load of many threads is measured in each round.
    pub(crate) turn: Duration,
    /// How long each way to flush is measured in each round.
    pub(crate) probe: Duration,
    /// How long checkpoints are watched.
    pub(crate) watched: Duration,
    /// Records of the logs that are opened.
    pub(crate) log_records: Vec<usize>,
    /// Documents of a store: as was said, or else at most so many.
    documents_said: Option<usize>,
    documents_most: usize,
    /// Size of the file that the limit is measured with.
    pub(crate) limit_bytes: usize,
}

impl Plan {
    pub(crate) fn of(wanted: &Bench) -> Result<Plan, Failure> {
        let quick = wanted.quick;
        let rounds = usize::from(wanted.rounds.unwrap_or(if quick { 3 } else { 7 }));
        let threads: Vec<usize> = distinct(&wanted.threads).map(usize::from).collect();
        let durabilities: Vec<Durability> = distinct(&wanted.durability).collect();
        let value_bytes: Vec<usize> = distinct(&wanted.value_bytes).map(|n| n as usize).collect();
        let segment_bytes: Vec<u64> = distinct(&wanted.segment_bytes).collect();
        let intervals: Vec<Interval> = distinct(&wanted.checkpoint_interval).collect();
        let most = threads.iter().copied().max().unwrap_or(1);
        let crowd = threads.iter().copied().filter(|n| *n <= 64).max().unwrap_or(most);
        let base = value_bytes.first().copied().unwrap_or_default();
        let in_flight = value_bytes.iter().map(|bytes| bytes * crowd).max().unwrap_or_default();
        if in_flight.max(base * most) > IN_FLIGHT_BYTES_MAX {
            let why = "--threads times --value-bytes is more than 1 GiB; lower one of them";
            return Err(Failure::Usage(why.to_owned()));
        }
        let default = if quick { QUICK_SECONDS } else { SECONDS };
        let time = Duration::from_secs(wanted.seconds.unwrap_or(default));
        let variants: usize = [value_bytes.len(), segment_bytes.len(), intervals.len()]
            .into_iter()
            .map(|values| if values > 1 { values } else { 0 })
            .sum();
        let turns = threads.len() * durabilities.len() * 2 + variants;
        let is_short = time < Duration::from_secs(60);
        let logs: &[usize] =
            if is_short { &[1000, 4000, 16_000] } else { &[1000, 10_000, 100_000] };
        let bytes_max = if is_short { 64 << 20 } else { 512 << 20 };
        let log_records = logs.iter().map(|n| (*n).min((bytes_max / base).max(4)));
        Ok(Plan {
            quick,
            rounds,
            crowd,
            turn: share(time, 70, turns * rounds),
            probe: share(time, 10, 4 * rounds),
            watched: time.mul_f64(0.1),
            log_records: distinct(&log_records.collect::<Vec<_>>()).collect(),
            documents_said: wanted.documents.map(|n| n as usize),
            documents_most: if quick { 100 } else { 1000 },
            limit_bytes: (in_flight * 2).max(if is_short { 32 << 20 } else { 256 << 20 }),
            threads,
            durabilities,
            value_bytes,
            segment_bytes,
            intervals,
        })
    }

    /// The size of documents where nothing else is said.
    pub(crate) fn base_bytes(&self) -> usize {
        self.value_bytes.first().copied().unwrap_or_default()
    }

    /// How many documents of a size a store has.
    pub(crate) fn documents(&self, value_bytes: usize) -> usize {
        let room = (DOCUMENTS_BYTES / value_bytes.max(1)).max(4);
        self.documents_said.unwrap_or(self.documents_most.min(room))
    }

    /// The same of the store whose checkpoints are watched.
    pub(crate) fn watched_documents(&self) -> usize {
        let room = (DOCUMENTS_BYTES / self.base_bytes().max(1)).max(4);
        self.documents_said.unwrap_or((self.documents_most * WATCHED_TIMES).min(room))
    }

    /// How long it all takes, measuring alone.
    pub(crate) fn time(&self) -> Duration {
        let loads = self.threads.len() * self.durabilities.len() * 2 + self.variants();
        let in_rounds = self.turn * loads_of(loads) + self.probe * 4;
        in_rounds * loads_of(self.rounds) + self.watched
    }

    /// Stores that differ in one setting.
    fn variants(&self) -> usize {
        let lists = [self.value_bytes.len(), self.segment_bytes.len(), self.intervals.len()];
        lists.into_iter().filter(|values| *values > 1).sum()
    }

    /// Memory that the documents take at most, about: as texts, for the limit, and in the store.
    pub(crate) fn memory_needed(&self) -> u64 {
        let of_size = self.value_bytes.iter().map(|bytes| self.documents(*bytes) * bytes);
        let watched = self.watched_documents() * self.base_bytes();
        of_size.fold(watched, usize::max) as u64 * 4
    }

    /// Room that the measurements need at most, about: the stores that are there at the same time, each
    /// with its log, its segment to come, its snapshots and its files, and the file of the limit.
    pub(crate) fn bytes_needed(&self) -> u64 {
        let lists = [self.segment_bytes.len(), self.intervals.len(), self.value_bytes.len(), 1];
        let stores = lists.into_iter().max().unwrap_or(1) as u64;
        let log = walden::Options::default().checkpoint_log_bytes * 3;
        let largest = self.value_bytes.iter().map(|bytes| self.documents(*bytes) * bytes).max();
        // As documents, as backups, and once more for those in a block of the file system each.
        let documents = largest.unwrap_or_default().max(DOCUMENTS_BYTES) as u64 * 12;
        self.limit_bytes as u64 + stores * (log + documents)
    }
}

fn share(time: Duration, percent: u32, parts: usize) -> Duration {
    (time * percent / 100 / loads_of(parts.max(1))).max(TURN_MIN)
}

fn loads_of(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// The values as they were said, each once.
fn distinct<T: Copy + PartialEq>(values: &[T]) -> impl Iterator<Item = T> {
    let is_first = |(at, value): &(usize, &T)| values.iter().position(|v| v == *value) == Some(*at);
    values.iter().enumerate().filter(is_first).map(|(_, value)| *value)
}
