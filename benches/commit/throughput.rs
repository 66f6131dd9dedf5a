//! Durable puts a second by many threads, in interleaved rounds, as a table of medians.
//!
//! The contenders take turns within each round, so that what else the machine does meets all of them
//! alike. Before each turn the stores save what the turn before left behind, outside the measured
//! time: nobody's turn pays for another's.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use walden::{Options, Store};

use crate::place::Place;
use crate::raw::{Prewritten, Raw};
use crate::{Call, tasks};

const THREADS: [usize; 3] = [1, 16, 64];
const NAMES: [&str; 3] = ["raw write + flush", "walden", "walden, no checkpoint"];

/// How much is measured.
struct Plan {
    rounds: usize,
    turn: Duration,
    documents: usize,
    raw_bytes: usize,
}

impl Plan {
    fn of(call: &Call) -> Plan {
        if call.quick {
            let turn = Duration::from_millis(50);
            Plan { rounds: 1, turn, documents: 200, raw_bytes: 8 << 20 }
        } else {
            let turn = Duration::from_secs(5);
            Plan { rounds: 7, turn, documents: 10_000, raw_bytes: 256 << 20 }
        }
    }
}

/// Something that makes the task of a number durable.
trait Contender: Sync {
    fn put(&self, number: usize);
    /// Finishes what it does in the background.
    fn settle(&self);
    /// Records written and flushes made so far, where they are counted.
    fn counts(&self) -> Option<(u64, u64)>;
}

struct RawContender {
    raw: Raw,
    records: Vec<Arc<[u8]>>,
}

impl Contender for RawContender {
    fn put(&self, number: usize) {
        self.raw.put(&self.records[number]);
    }

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

impl Contender for StoreContender {
    fn put(&self, number: usize) {
        self.store.save_task_json(&self.texts[number]).expect("the disk takes it");
    }

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
    let raw = Raw::start(Prewritten::new(&place.join("raw"), plan.raw_bytes));
    let records = texts.iter().map(|text| Arc::from(text.as_bytes())).collect();
    let quiet = Options {
        checkpoint_interval: Duration::from_secs(86_400),
        checkpoint_log_bytes: u64::MAX,
        ..Options::default()
    };
    [
        Box::new(RawContender { raw, records }),
        Box::new(StoreContender::open(place, "store", &texts, Options::default())),
        Box::new(StoreContender::open(place, "store-without-checkpoints", &texts, quiet)),
    ]
}

/// One contender's turn in a round: puts a second.
#[expect(clippy::cast_precision_loss, reason = "counts of puts are far below 2^52")]
fn turn(contender: &dyn Contender, threads: usize, plan: &Plan) -> f64 {
    let stop = AtomicBool::new(false);
    let start = Barrier::new(threads + 1);
    let (done, elapsed) = thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|worker| {
                let (stop, start) = (&stop, &start);
                scope.spawn(move || {
                    start.wait();
                    let mut number = worker * 7919;
                    let mut done = 0_u64;
                    while !stop.load(Ordering::Relaxed) {
                        contender.put(number % plan.documents);
                        number += 104_729;
                        done += 1;
                    }
                    done
                })
            })
            .collect();
        start.wait();
        let begun = Instant::now();
        thread::sleep(plan.turn);
        stop.store(true, Ordering::Relaxed);
        let done: u64 = workers.into_iter().map(|worker| worker.join().expect("no panic")).sum();
        (done, begun.elapsed())
    });
    done as f64 / elapsed.as_secs_f64()
}

#[expect(clippy::cast_precision_loss, reason = "counts of puts are far below 2^52")]
fn records_per_flush(before: Option<(u64, u64)>, after: Option<(u64, u64)>) -> Option<f64> {
    let ((records, flushes), (records_after, flushes_after)) = before.zip(after)?;
    Some((records_after - records) as f64 / (flushes_after - flushes).max(1) as f64)
}

fn print_rows(threads: usize, rates: &[Vec<f64>], groups: &[Option<f64>]) {
    let plural = if threads == 1 { "" } else { "s" };
    println!("\n{threads} thread{plural}");
    for ((name, of_this), group) in NAMES.iter().zip(rates).zip(groups) {
        // Within a round the disk was about the same for all, so ratios are formed there.
        let ratios = of_this.iter().zip(&rates[0]).map(|(rate, limit)| rate / limit).collect();
        let (rate, ratio) = (Spread::of(of_this.clone()), Spread::of(ratios));
        print!("  {name:<22} {:>8.0} ({:.0}-{:.0})", rate.median, rate.least, rate.most);
        print!("  {:.2} ({:.2}-{:.2}) x raw", ratio.median, ratio.least, ratio.most);
        match group {
            Some(group) => println!("  {group:.1} records a flush"),
            None => println!(),
        }
    }
}

struct Spread {
    least: f64,
    median: f64,
    most: f64,
}

impl Spread {
    fn of(mut values: Vec<f64>) -> Spread {
        values.sort_by(f64::total_cmp);
        let last = values.len() - 1;
        Spread { least: values[0], median: values[last / 2], most: values[last] }
    }
}
