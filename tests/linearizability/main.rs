//! Linearizability: long histories of a store that many threads use at once, recorded and checked; and a
//! proof that the checker refuses wrong ones.
//!
//! `WALDEN_OPS` sets the number of operations recorded on the simulated disk (default 100,000); on a real
//! directory there are a fifth as many.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test that meets the unexpected is to fail, and says what it exercised"
)]

mod brute;
mod checker;
mod history;
mod recorder;
mod wrong;

use std::sync::Arc;
use std::time::Instant;

use walden::fs::sim::SimFs;
use walden::{Builder, Store};

use crate::checker::check;
use crate::recorder::record;

pub(crate) const THREADS: u64 = 8;

fn operations() -> usize {
    match std::env::var("WALDEN_OPS") {
        Ok(count) => count.parse().expect("WALDEN_OPS is a number"),
        Err(_) => 100_000,
    }
}

fn record_and_check(place: &str, operations: usize, builder: impl Fn() -> Builder) {
    let begun = Instant::now();
    let history = record(&builder, operations);
    let recorded = begun.elapsed();
    let begun = Instant::now();
    let figures = check(&history).unwrap_or_else(|violation| panic!("{place}: {violation}"));
    println!(
        "{place}: {figures} recorded in {:.1} s, checked in {:.1} s",
        recorded.as_secs_f64(),
        begun.elapsed().as_secs_f64()
    );
    assert!(figures.writes >= operations / 4 && figures.reads >= operations / 4);
    assert!(figures.refused > 0 && figures.overlapping >= operations / 4, "{figures}");
}

#[test]
fn a_store_on_the_simulated_disk_is_linearizable_in_the_order_of_its_lsns() {
    let disk = SimFs::new();
    record_and_check("simulated disk", operations(), || {
        Store::builder("sim").fs(Arc::new(disk.clone()))
    });
}

#[test]
fn a_store_in_a_directory_is_linearizable_in_the_order_of_its_lsns() {
    let dir = tempfile::tempdir().unwrap();
    record_and_check("directory", operations() / 5, || Store::builder(dir.path()));
}
