//! Durable puts a second by many threads, in interleaved rounds, as a table of medians.
//!
//! The contenders take turns within each round, so that what else the machine does meets all of them
//! alike. Before each turn the stores save what the turn before left behind, outside the measured
//! time: nobody's turn pays for another's.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use walden::{Error, Options, Store};

use crate::limit::{Groups, Limit};
use crate::load::{self, Load, Spread, Target, Writer, float};
use crate::place::Place;
use crate::{Call, tasks};

const THREADS: [usize; 3] = [1, 16, 64];
const NAMES: [&str; 3] = ["limit", "walden", "walden, no checkpoint"];

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
            let turn = Duration::from_secs(5);
            Plan { rounds: 7, turn, documents: 10_000, limit_bytes: 256 << 20 }
        }
    }
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
        let mut rates = [const { Vec::new() }; NAMES.len()];
        let mut groups = [None; NAMES.len()];
        for _ in 0..plan.rounds {
            let turns = contenders.iter().zip(&mut rates).zip(&mut groups);
            for ((contender, rates), group) in turns {
                for any in &contenders {
                    any.settle();
                }
                let before = contender.counts();
                rates.push(turn(&**contender, threads, &plan));
                *group = records_per_flush(before, contender.counts());
            }
        }
        print_rows(threads, &rates, &groups);
    }
    println!();
}

fn contenders(place: &Place, plan: &Plan) -> [Box<dyn Contender>; NAMES.len()] {
    let texts = tasks::prepare(plan.documents);
    let groups = Groups::prewritten(&place.join("limit"), plan.limit_bytes).expect("room");
    let limit = Limit::start(groups);
    let records = texts.iter().map(|text| Arc::from(text.as_bytes())).collect();
    let quiet = Options {
        checkpoint_interval: Duration::from_secs(86_400),
        checkpoint_log_bytes: u64::MAX,
        ..Options::default()
    };
    [
        Box::new(LimitContender { limit, records }),
        Box::new(StoreContender::open(place, "store", &texts, Options::default())),
        Box::new(StoreContender::open(place, "store-without-checkpoints", &texts, quiet)),
    ]
}

/// One contender's turn in a round: puts a second.
fn turn(contender: &dyn Contender, threads: usize, plan: &Plan) -> f64 {
    let load = Load { threads, time: plan.turn, documents: plan.documents };
    let turn = load::run(contender, load, &mut |_| ControlFlow::Continue(()));
    turn.expect("the disk takes it").per_second()
}

fn records_per_flush(before: Option<(u64, u64)>, after: Option<(u64, u64)>) -> Option<f64> {
    let ((records, flushes), (records_after, flushes_after)) = before.zip(after)?;
    Some(float(records_after - records) / float((flushes_after - flushes).max(1)))
}

fn print_rows(threads: usize, rates: &[Vec<f64>], groups: &[Option<f64>]) {
    let plural = if threads == 1 { "" } else { "s" };
    println!("\n{threads} thread{plural}");
    for ((name, of_this), group) in NAMES.iter().zip(rates).zip(groups) {
        // Within a round the disk was about the same for all, so ratios are formed there.
        let ratios = of_this.iter().zip(&rates[0]).map(|(rate, limit)| rate / limit);
        let (rate, ratio) = (Spread::of(of_this.iter().copied()), Spread::of(ratios));
        print!("  {name:<22} {:>8.0} ({:.0}-{:.0})", rate.median, rate.least, rate.most);
        print!("  {:.2} ({:.2}-{:.2}) x limit", ratio.median, ratio.least, ratio.most);
        match group {
            Some(group) => println!("  {group:.1} records a flush"),
            None => println!(),
        }
    }
}
