//! Durable puts a second by many threads, in interleaved rounds, as a table of medians.
//!
//! The contenders take turns within each round, so that what else the machine does meets all of them
//! alike. Before each turn the stores save what the turn before left behind, outside the measured
//! time: nobody's turn pays for another's.

use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use walden::{Error, Options, Store};

use crate::limit::{Groups, Limit, Way};
use crate::load::{self, Load, Spread, Target, Writer, float};
use crate::place::Place;
use crate::{Call, tasks};

const THREADS: [usize; 5] = [1, 4, 16, 64, 256];
const NAMES: [&str; 5] = [
    "limit: raw durable write",
    "raw write + flush",
    "walden",
    "walden, log only",
    "walden, log only, cached",
];

/// How much is measured.
struct Plan {
    rounds: usize,
    turn: Duration,
    documents: usize,
    limit_bytes: usize,
}

impl Plan {
    fn of(call: &Call) -> Plan {
        if call.quick {
            let turn = Duration::from_millis(50);
            Plan { rounds: 1, turn, documents: 200, limit_bytes: 8 << 20 }
        } else {
            let turn = Duration::from_millis(given("WALDEN_BENCH_TURN_MS", 2_000));
            let rounds = usize::try_from(given("WALDEN_BENCH_ROUNDS", 7)).expect("a few rounds");
            Plan { rounds, turn, documents: 10_000, limit_bytes: 256 << 20 }
        }
    }
}

/// The number that this variable of the environment gives.
fn given(name: &str, or: u64) -> u64 {
    std::env::var(name).map_or(or, |value| value.parse().expect("a number"))
}

/// Something that makes the task of a number durable.
trait Contender: Target {
    /// Finishes what it does in the background.
    fn settle(&self);
    /// Records written and flushes made so far, where they are counted.
    fn counts(&self) -> Option<(u64, u64)>;
}

struct LimitContender {
    limit: Limit,
    records: Vec<Arc<[u8]>>,
}

impl Target for LimitContender {
    fn writer(&self, alone: bool) -> Writer<'_> {
        let client = self.limit.client(alone);
        Box::new(move |number| {
            let put = client.put(&self.records[number]);
            put.map_err(|error| Error::io("write", "the limit's file", error))
        })
    }
}

impl Contender for LimitContender {
    fn settle(&self) {}

    fn counts(&self) -> Option<(u64, u64)> {
        None
    }
}

struct StoreContender {
    store: Store,
    texts: Arc<[String]>,
    saves: bool,
}

impl StoreContender {
    fn open(place: &Place, name: &str, texts: &Arc<[String]>, options: Options) -> StoreContender {
        let saves = options == Options::default();
        let store = Store::builder(place.join(name)).options(options).open().expect("a new store");
        let filled =
            store.transaction(|tx| texts.iter().try_for_each(|text| tx.save_task_json(text)));
        filled.expect("the tasks are valid");
        store.checkpoint().expect("a new store can be saved");
        StoreContender { store, texts: texts.clone(), saves }
    }
}

impl Target for StoreContender {
    fn writer(&self, _: bool) -> Writer<'_> {
        Box::new(|number| self.store.save_task_json(&self.texts[number]).map(drop))
    }
}

impl Contender for StoreContender {
    fn settle(&self) {
        if self.saves {
            self.store.checkpoint().expect("the disk takes it");
        }
    }

    fn counts(&self) -> Option<(u64, u64)> {
        let stats = self.store.commit_stats();
        Some((stats.records, stats.flushes))
    }
}

/// Runs the table's rounds and prints it.
pub(crate) fn run(call: &Call, place: &Place) {
    let threads: Vec<usize> =
        THREADS.into_iter().filter(|n| call.wants(&format!("throughput/{n}"))).collect();
    if threads.is_empty() {
        return;
    }
    let plan = Plan::of(call);
    let contenders = contenders(place, &plan);
    println!(
        "durable puts of 1 KB tasks a second, and their ratio to the limit in the same round: medians \
         (least-most) of {} rounds of {:?} each",
        plan.rounds, plan.turn
    );
    for threads in threads {
        let [mut rates, mut waits] = [const { [const { Vec::new() }; NAMES.len()] }; 2];
        let mut groups = [None; NAMES.len()];
        for _ in 0..plan.rounds {
            let turns = contenders.iter().zip(&mut rates).zip(&mut waits).zip(&mut groups);
            for (((contender, rates), waits), group) in turns {
                for any in &contenders {
                    any.settle();
                }
                let before = contender.counts();
                let (rate, wait) = turn(&**contender, threads, &plan);
                rates.push(rate);
                waits.push(wait);
                *group = records_per_flush(before, contender.counts());
            }
        }
        print_rows(threads, &rates, &waits, &groups);
    }
    println!();
}

fn contenders(place: &Place, plan: &Plan) -> [Box<dyn Contender>; NAMES.len()] {
    let texts = tasks::prepare(plan.documents);
    let records: Vec<Arc<[u8]>> = texts.iter().map(|text| Arc::from(text.as_bytes())).collect();
    let limit = |groups: io::Result<Groups>| {
        let limit = Limit::start(groups.expect("room"));
        Box::new(LimitContender { limit, records: records.clone() })
    };
    let quiet = Options {
        checkpoint_interval: Duration::from_secs(86_400),
        mirror_interval: Duration::from_secs(86_400),
        checkpoint_log_bytes: u64::MAX,
        ..Options::default()
    };
    let mut cached = quiet.clone();
    cached.log.direct = false;
    [
        limit(Groups::prewritten(&place.join("limit"), plan.limit_bytes)),
        limit(Groups::plain(&place.join("raw"), plan.limit_bytes, Way::Flush)),
        Box::new(StoreContender::open(place, "store", &texts, Options::default())),
        Box::new(StoreContender::open(place, "store-log-only", &texts, quiet)),
        Box::new(StoreContender::open(place, "store-cached", &texts, cached)),
    ]
}

/// One contender's turn in a round: puts a second, and the median wait for one in microseconds.
fn turn(contender: &dyn Contender, threads: usize, plan: &Plan) -> (f64, f64) {
    let load = Load { threads, time: plan.turn, documents: plan.documents };
    let turn = load::run(contender, load, &mut |_| ControlFlow::Continue(()));
    let turn = turn.expect("the disk takes it");
    (turn.per_second(), float(turn.latency.value_at_quantile(0.5)) / 1000.0)
}

fn records_per_flush(before: Option<(u64, u64)>, after: Option<(u64, u64)>) -> Option<f64> {
    let ((records, flushes), (records_after, flushes_after)) = before.zip(after)?;
    Some(float(records_after - records) / float((flushes_after - flushes).max(1)))
}

fn print_rows(threads: usize, rates: &[Vec<f64>], waits: &[Vec<f64>], groups: &[Option<f64>]) {
    let plural = if threads == 1 { "" } else { "s" };
    println!("\n{threads} thread{plural}");
    for (((name, of_this), waits), group) in NAMES.iter().zip(rates).zip(waits).zip(groups) {
        // Within a round the disk was about the same for all, so ratios are formed there.
        let ratios = of_this.iter().zip(&rates[0]).map(|(rate, limit)| rate / limit);
        let (rate, ratio) = (Spread::of(of_this.iter().copied()), Spread::of(ratios));
        let wait = Spread::of(waits.iter().copied());
        print!("  {name:<25} {:>8.0} ({:.0}-{:.0})", rate.median, rate.least, rate.most);
        print!("  {:.2} ({:.2}-{:.2}) x limit", ratio.median, ratio.least, ratio.most);
        print!("  p50 {:.0} us ({:.0}-{:.0})", wait.median, wait.least, wait.most);
        match group {
            Some(group) => println!("  {group:.1} records a flush"),
            None => println!(),
        }
    }
}
