//! One setting after the other: stores that differ only in it, in turn with each other.

use super::load::{Load, Spread, float, latencies};
use super::report::{Latency, Variant};
use super::session::Session;
use super::target::{Setup, StoreTarget};
use crate::failure::Failure;

pub(crate) const VALUE: &str = "value_bytes";
pub(crate) const SEGMENT: &str = "segment_bytes";
pub(crate) const INTERVAL: &str = "checkpoint_interval_s";

/// The variants of every setting for which more than one value is asked for.
pub(crate) fn measure(session: &Session<'_>, base: Setup) -> Result<Vec<Variant>, Failure> {
    let plan = session.plan;
    let values = plan.value_bytes.iter();
    let values = values.map(|n| (n.to_string(), Setup { value_bytes: *n, ..base }));
    let segments = plan.segment_bytes.iter();
    let segments = segments.map(|n| (n.to_string(), Setup { segment_bytes: *n, ..base }));
    let intervals = plan.intervals.iter().map(|interval| {
        let shown = interval.0.map(|time| time.as_secs_f64().to_string());
        (shown.unwrap_or_else(|| "none".to_owned()), Setup { interval: *interval, ..base })
    });
    let mut variants = Vec::new();
    for (setting, setups) in [
        (VALUE, values.collect::<Vec<_>>()),
        (SEGMENT, segments.collect()),
        (INTERVAL, intervals.collect()),
    ] {
        if setups.len() > 1 {
            variants.extend(measure_setting(session, setting, setups)?);
        }
    }
    Ok(variants)
}

fn measure_setting(
    session: &Session<'_>,
    setting: &'static str,
    setups: Vec<(String, Setup)>,
) -> Result<Vec<Variant>, Failure> {
    let plan = session.plan;
    session.step(&format!("{setting}: preparing"))?;
    let mut found = Vec::new();
    for (number, (value, setup)) in setups.into_iter().enumerate() {
        let (path, count) =
            (session.path(&format!("store-{number}")), plan.documents(setup.value_bytes));
        let store = StoreTarget::open(&path, setup, count)?;
        found.push((value, setup, store, Vec::new(), latencies(), 0));
    }
    for round in 1..=plan.rounds {
        // Every store has had as many turns as any other.
        if round > 1 && session.is_late() {
            for _ in &found {
                session.passed(plan.turn);
            }
            continue;
        }
        for (value, _, store, rates, latency, saved) in &mut found {
            let what = format!("{setting} {value}, round {round} of {}", plan.rounds);
            store.settle()?;
            let before = store.saved();
            let documents = store.documents();
            let load = Load { threads: plan.crowd, time: plan.turn, documents };
            let turn = session.load(store, load, &what)?;
            *saved += store.saved() - before;
            rates.push(turn.per_second());
            latency.add(turn.latency).expect("both have the same bounds");
        }
    }
    let mut variants = Vec::new();
    for (number, (value, setup, store, rates, latency, checkpoints)) in
        found.into_iter().enumerate()
    {
        store.store.shutdown()?;
        drop(store);
        session.remove(&format!("store-{number}"))?;
        let (rounds, writes) = (rates.len(), Spread::of(rates));
        variants.push(Variant {
            setting,
            value,
            is_base: number == 0,
            threads: plan.crowd,
            rounds,
            document_bytes_per_second: writes.median * float(setup.value_bytes as u64),
            writes,
            checkpoints,
            p99_us: Latency::of(&latency).p99_us,
        });
    }
    Ok(variants)
}
