//! Writes a second by durability and number of threads: the engine in turn with the limit.
//!
//! Before each turn the store saves what its own last turn left, outside the measured time.

use walden::{CommitStats, Durability};

use super::disk::limit_file;
use super::limit::Limit;
use super::load::{Load, Spread, float, latencies};
use super::report::{Latency, Row, name_of};
use super::session::Session;
use super::target::{LimitTarget, Setup, StoreTarget};
use crate::failure::Failure;

/// The rows of one durability.
pub(crate) fn measure(
    session: &Session<'_>,
    base: Setup,
    durability: Durability,
) -> Result<Vec<Row>, Failure> {
    let name = name_of(durability);
    session.step(&format!("{name}: preparing"))?;
    let groups = limit_file(session, "limit", durability)?;
    let count = session.plan.documents(base.value_bytes);
    let limit = LimitTarget::new(Limit::start(groups), base.value_bytes, count);
    let setup = Setup { durability, ..base };
    let store = StoreTarget::open(&session.path("store"), setup, count)?;
    let rows = session.plan.threads.iter();
    let rows: Vec<Row> = rows
        .map(|threads| measure_row(session, name, *threads, &limit, &store))
        .collect::<Result<_, _>>()?;
    store.store.shutdown()?;
    drop((store, limit));
    session.remove("store")?;
    session.remove("limit")?;
    Ok(rows)
}

fn measure_row(
    session: &Session<'_>,
    name: &'static str,
    threads: usize,
    limit: &LimitTarget,
    store: &StoreTarget,
) -> Result<Row, Failure> {
    let plan = session.plan;
    let load = Load { threads, time: plan.turn, documents: store.documents() };
    let mut rounds = Vec::new();
    let (mut of_limit, mut of_store) = (latencies(), latencies());
    let mut sum = CommitStats::default();
    let mut time = 0.0;
    for round in 1..=plan.rounds {
        if round > 1 && session.is_late() {
            session.passed(plan.turn * 2);
            continue;
        }
        let what = |who: &str| {
            format!("{name}, {threads} threads, round {round} of {}: {who}", plan.rounds)
        };
        store.settle()?;
        let raw = session.load(limit, load, &what("limit"))?;
        let before = store.stats();
        let turn = session.load(store, load, &what("walden"))?;
        let after = store.stats();
        sum.groups += after.groups - before.groups;
        sum.records += after.records - before.records;
        sum.flushes += after.flushes - before.flushes;
        sum.bytes += after.bytes - before.bytes;
        time += turn.elapsed.as_secs_f64();
        rounds.push([raw.per_second(), turn.per_second()]);
        for (all, new) in [(&mut of_limit, raw.latency), (&mut of_store, turn.latency)] {
            all.add(new).expect("both have the same bounds");
        }
    }
    Ok(Row {
        durability: name,
        threads,
        limit: Spread::of(rounds.iter().map(|[limit, _]| *limit)),
        walden: Spread::of(rounds.iter().map(|[_, walden]| *walden)),
        ratio: Spread::of(rounds.iter().map(|[limit, walden]| walden / limit.max(1e-9))),
        rounds,
        group_size: float(sum.records) / float(sum.groups.max(1)),
        flushes_per_second: float(sum.flushes) / time.max(1e-9),
        log_bytes_per_write: float(sum.bytes) / float(sum.records.max(1)),
        limit_latency: Latency::of(&of_limit),
        latency: Latency::of(&of_store),
    })
}
