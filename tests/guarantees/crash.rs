//! Durability, atomicity and order (G1 to G3, G5): a crash before and after every call that changes
//! something, also during the recovery from a crash, against an oracle that knows only what was
//! submitted and acknowledged.
//!
//! By default a sample; `WALDEN_EXHAUSTIVE=1` stops the machine at every call and makes four times as
//! many random outcomes, `WALDEN_SIM_SEEDS` sets their number, and `WALDEN_CRASH` replays one crash. A
//! run prints what it exercised and fails below a floor.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use walden::fs::sim::{CrashMode, Rules, SimFs};
use walden::testing::{Explorer, Life, Met, Report, Step, random_steps, whole_reference};
use walden::{Durability, ProblemKind};

use crate::oracle::Oracle;
use crate::support::{Documents, PATIENCE, is_exhaustive, open, within};
use crate::workload::put;

/// Checks that snapshot and mirror show exactly these documents, but for a person's files.
pub(crate) fn shows(disk: &SimFs, documents: &Documents, edits: &[(String, Vec<u8>)]) {
    let mut oracle = Oracle::after(documents.clone());
    oracle.edits = edits.to_vec();
    walden::testing::shows(disk, &oracle).unwrap();
}

/// Explores a life of a store, with every crash or a sample of them.
fn explore(life: Life, stride: u64, threads: u64) -> (Report, Arc<Met>) {
    explore_with(Explorer { threads, ..Explorer::from_env().unwrap() }, life, stride)
}

fn explore_with(mut explorer: Explorer, life: Life, stride: u64) -> (Report, Arc<Met>) {
    let met = life.met();
    if is_exhaustive() {
        explorer.random *= 4;
    } else {
        explorer.stride = stride;
        explorer.nested_stride = 5;
    }
    let report = explorer.explore(life).unwrap_or_else(|violation| panic!("{violation}"));
    println!("{report}; {met:?}");
    (report, met)
}

fn within_patience(test: impl FnOnce() + Send + 'static) {
    if is_exhaustive() { test() } else { within(PATIENCE, test) }
}

#[test]
fn a_crash_at_any_call_loses_nothing_acknowledged_and_tears_nothing() {
    within_patience(|| {
        let (report, met) = explore(Life::new(whole_reference()), 3, 2);
        assert!(report.calls_all > 2000 && report.calls > 1000, "{report}");
        assert!(report.states > 2000 && report.nested > 300, "{report}");
        for (count, floor) in [
            (&met.ahead, 20),
            (&met.behind, 100),
            (&met.torn, 20),
            (&met.edited, 200),
            (&met.written, 200),
            (&met.settled, 200),
            (&met.verified, 40),
        ] {
            assert!(count.load(Relaxed) > floor, "{met:?}");
        }
    });
}

#[test]
fn a_crash_at_any_call_of_a_life_that_begins_with_a_migration_loses_nothing() {
    within_patience(|| {
        let steps: Vec<Step> = random_steps(4, 8);
        let (report, met) = explore(Life::migrated(steps), 2, 1);
        assert!(report.states > 200 && report.nested > 30, "{report}");
        assert!(met.settled.load(Relaxed) > 20, "{met:?}");
    });
}

#[test]
fn a_crash_at_any_call_of_random_lives_loses_nothing() {
    within_patience(|| {
        for seed in 0..if is_exhaustive() { 200 } else { 12 } {
            println!("seed {seed}");
            explore(Life::new(random_steps(seed, 25)), 7, 1);
        }
    });
}

#[test]
fn on_a_disk_that_keeps_no_order_nothing_acknowledged_is_lost_either() {
    within_patience(|| {
        for seed in 100..if is_exhaustive() { 200 } else { 106 } {
            println!("seed {seed}");
            let life = Life::new(random_steps(seed, 20));
            let rules = Rules::Unordered;
            explore_with(Explorer { rules, ..Explorer::from_env().unwrap() }, life, 5);
        }
    });
}

#[test]
fn three_crashes_in_a_row_of_a_first_opening_are_no_damage() {
    within_patience(|| {
        for rules in [Rules::Ordered, Rules::Unordered] {
            let nested_stride = if is_exhaustive() { 1 } else { 5 };
            let explorer =
                Explorer { rules, depth: 3, nested_every: 1, nested_stride, ..Explorer::default() };
            let report = explorer.explore(Life::new(Vec::new())).unwrap_or_else(|v| panic!("{v}"));
            println!("{rules:?}: {report}");
            assert!(report.nested > 500, "{report}");
        }
    });
}

/// Of two buffered groups a crash left the second. Nothing vouches for a record in their segment, so the next
/// incarnation passes over it, and if it stayed, every later opening would find the second group.
#[test]
fn a_torn_segment_that_nothing_vouches_for_is_gone_with_the_opening_that_found_it() {
    let disk = SimFs::new();
    open(&disk, 1).unwrap().save_task_json(r#"{"id": "a"}"#).unwrap();
    let store = open(&disk, 2).unwrap();
    for text in [r#"{"id": "b"}"#, r#"{"id": "c"}"#] {
        let commit = store.submit(Durability::Buffered, |tx| tx.save_task_json(text));
        commit.unwrap().wait().unwrap();
    }
    let left = disk.if_crashed(CrashMode::Everything);
    let is_segment = |name: &String| name.ends_with(".wal");
    let segment = left.names().into_iter().rfind(is_segment).unwrap();
    let bytes = left.read_now(&segment).unwrap();
    let (first, second) = (12288..16384, 16384..20480);
    assert!(bytes[first.clone()].contains(&b'b') && bytes[second].contains(&b'c'));
    left.write_now(&segment, &[&bytes[..first.start], &[0; 4096], &bytes[first.end..]].concat())
        .unwrap();
    let told = |seed| {
        let store = open(&left, seed).unwrap();
        assert_eq!(store.load_tasks().unwrap().len(), 1);
        store.recovery().problems.clone()
    };
    let problems = told(3);
    assert_eq!(problems.len(), 1, "{problems:#?}");
    assert_eq!((&problems[0].file, problems[0].kind), (&segment, ProblemKind::Torn));
    assert_eq!(told(4), []);
}

#[test]
fn a_lost_write_would_be_noticed() {
    let mut oracle = Oracle::new();
    oracle.submit(&[put("a", 10, 1)]);
    let one = oracle.present().clone();
    oracle.ack(true);
    oracle.submit(&[put("a", 10, 2), put("b", 10, 2)]);
    let two = oracle.present().clone();
    oracle.ack(false);
    assert_eq!(oracle.place(&two, true), Ok(2));
    assert_eq!(oracle.place(&one, true), Ok(1), "a buffered one may go");
    assert!(oracle.place(&one, false).is_err(), "but not by a kill");
    assert!(oracle.place(&Documents::new(), true).is_err());
    let mut half = two.clone();
    half.remove(&("tasks", "b".to_owned()));
    assert!(oracle.place(&half, true).is_err(), "half a transaction");
}
