//! Commits that succeed: everybody is answered, in the order in which the state changes, and what was
//! answered survives a crash at any point.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use shuttle::thread;
use walden::fs::sim::CrashMode;
use walden::{Durability, Lsn, Store, View};

use crate::runner::{
    Acked, Met, after_kill, after_power_cut, dawdle, explore, join_all, open, pause, random,
    round_in, task, tight,
};

/// What one transaction was told: its last LSN, and what it wrote to the document that all share.
type Written = Arc<Mutex<Vec<(Lsn, u64)>>>;

fn submit_pair(store: &Store, durability: Durability, id: &str, round: u64) -> walden::Commit {
    let (own, shared) = (task(id, round), task("shared", round));
    let submitted = store.submit(durability, |tx| {
        tx.save_task_json(&own)?;
        tx.save_task_json(&shared)
    });
    submitted.unwrap()
}

/// Three commits, each waited for in another way; the rounds of all writers differ.
fn write_pairs(store: &Store, number: u64, written: &Written) {
    let id = format!("t{number}");
    let mut last = Lsn::ZERO;
    for (round, durability) in
        [(1, Durability::Sync), (2, Durability::Buffered), (3, Durability::Sync)]
    {
        let round = 10 * number + round;
        let commit = submit_pair(store, durability, &id, round);
        let lsn = if (number + round).is_multiple_of(2) {
            shuttle::future::block_on(commit).unwrap()
        } else {
            commit.wait().unwrap()
        };
        assert!(lsn > last, "{lsn:?} after {last:?}");
        last = lsn;
        assert_eq!(round_in(&store.view(), &id), round, "acknowledged, and not visible");
        written.lock().unwrap().push((lsn, round));
    }
}

fn every_commit_is_answered() {
    let opened = open(tight());
    let store = opened.store.clone();
    let written = Written::default();
    let mut threads: Vec<_> = (0..2)
        .map(|number| {
            let (store, written) = (store.clone(), written.clone());
            thread::spawn(move || write_pairs(&store, number, &written))
        })
        .collect();
    let dropper = store.clone();
    threads.push(thread::spawn(move || {
        for round in 90..92 {
            let text = task("dropped", round);
            drop(dropper.submit(Durability::Sync, |tx| tx.save_task_json(&text)).unwrap());
        }
    }));
    let views: Arc<Mutex<Vec<View>>> = Arc::default();
    let (reader, seen) = (store.clone(), views.clone());
    threads.push(thread::spawn(move || {
        for _ in 0..4 {
            let view = reader.view();
            seen.lock().unwrap().push(view);
            pause();
        }
    }));
    join_all(threads);
    let last = store.view();
    store.shutdown().unwrap();
    let saved = after_power_cut(&opened.disk, CrashMode::Nothing);
    assert_eq!(round_in(&saved, "dropped"), 91, "giving up the wait is not giving up the write");
    views.lock().unwrap().push(last);
    check_order(&written.lock().unwrap(), &views.lock().unwrap());
}

/// Whether each view is what the transactions up to its LSN make, and no transaction stands within another.
fn check_order(written: &[(Lsn, u64)], views: &[View]) {
    let mut written = written.to_vec();
    written.sort_unstable();
    assert_eq!(written.len(), 6);
    let lsns: BTreeSet<u64> = written.iter().flat_map(|(lsn, _)| [lsn.0 - 1, lsn.0]).collect();
    assert_eq!(lsns.len(), 12, "transactions share LSNs: {written:?}");
    for view in views {
        let before = written.iter().rev().find(|(lsn, _)| *lsn <= view.lsn());
        let shared = before.map_or(0, |(_, round)| *round);
        assert_eq!(round_in(view, "shared"), shared, "at {:?}: {written:?}", view.lsn());
        for number in 0..2 {
            let own = written
                .iter()
                .rev()
                .find(|(lsn, round)| *lsn <= view.lsn() && round / 10 == number);
            let own = own.map_or(0, |(_, round)| *round);
            assert_eq!(round_in(view, &format!("t{number}")), own, "at {:?}", view.lsn());
        }
    }
    assert!(views.windows(2).all(|pair| pair[0].lsn() <= pair[1].lsn()));
}

static CUTS: Met = Met::new();

/// Buffered and Sync commits of pairs that belong together; says what may be lost from then on.
fn write_and_note(store: &Store, number: u64, durable: &Acked, handed: &Acked) {
    let (id, twin) = (format!("t{number}"), format!("u{number}"));
    for round in 1..=3 {
        let durability = if round % 2 == 0 { Durability::Buffered } else { Durability::Sync };
        let texts = [task(&id, round), task(&twin, round)];
        let submitted = store
            .submit(durability, |tx| texts.iter().try_for_each(|text| tx.save_task_json(text)));
        submitted.unwrap().wait().unwrap();
        handed.note(&id, round);
        if durability == Durability::Sync {
            durable.note(&id, round);
        }
    }
}

fn acknowledged_is_durable() {
    let opened = open(tight());
    let (durable, handed) = (Acked::default(), Acked::default());
    let mut threads: Vec<_> = (0..2)
        .map(|number| {
            let (store, durable, handed) = (opened.store.clone(), durable.clone(), handed.clone());
            thread::spawn(move || write_and_note(&store, number, &durable, &handed))
        })
        .collect();
    let saver = opened.store.clone();
    threads.push(thread::spawn(move || {
        saver.checkpoint().unwrap();
    }));
    let disk = opened.disk.clone();
    let (cut_durable, cut_handed) = (durable.clone(), handed.clone());
    threads.push(thread::spawn(move || {
        for _ in 0..4 {
            dawdle(60);
            let mode =
                if random(2) == 0 { CrashMode::Nothing } else { CrashMode::Random(random(1000)) };
            let (cut, killed) = (after_power_cut(&disk, mode), after_kill(&disk));
            cut_durable.are_in(&cut, "after a power cut");
            cut_handed.are_in(&killed, "after a kill");
            for view in [&cut, &killed] {
                for number in 0..2 {
                    let round = round_in(view, &format!("t{number}"));
                    let twin = round_in(view, &format!("u{number}"));
                    assert_eq!(round, twin, "half a transaction");
                }
            }
            if cut_durable.all().values().sum::<u64>() > 0 {
                CUTS.one();
            }
        }
    }));
    join_all(threads);
    opened.store.shutdown().unwrap();
    durable.are_in(&after_power_cut(&opened.disk, CrashMode::Nothing), "after the shutdown");
}

#[test]
fn every_commit_is_answered_and_seen_in_the_order_of_its_lsn() {
    explore("every_commit_is_answered_and_seen_in_the_order_of_its_lsn", every_commit_is_answered);
}

#[test]
fn what_was_acknowledged_survives_a_crash_at_any_point() {
    explore("what_was_acknowledged_survives_a_crash_at_any_point", acknowledged_is_durable);
    CUTS.at_least(100, "power cuts with something acknowledged");
}
