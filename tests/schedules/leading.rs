//! Callers that write by themselves while nobody else is there, and leave the rest to the writer thread.

use shuttle::thread;
use walden::fs::sim::CrashMode;
use walden::{Commit, Durability, Store};

use crate::runner::{
    Acked, Met, after_power_cut, dawdle, explore, join_all, open, open_quick, round_in, task, tight,
};

static LED: Met = Met::new();
static HANDED_OVER: Met = Met::new();

/// Alone for a while, then not; what it has submitted before must not be overtaken by what it waits for.
fn write_and_note(store: &Store, id: &str, acked: &Acked) {
    for round in [1, 3, 5] {
        dawdle(30);
        let first = task(id, round);
        let submitted = store.submit(Durability::Sync, |tx| tx.save_task_json(&first)).unwrap();
        let lsn = store.save_task_json(&task(id, round + 1)).unwrap();
        assert!(submitted.wait().unwrap() < lsn, "{id}: {round} was overtaken");
        acked.note(id, round + 1);
        assert_eq!(round_in(&store.view(), id), round + 1, "acknowledged, and not visible");
    }
}

fn write_alone(store: &Store, id: &str, acked: &Acked) {
    for round in 1..=4 {
        dawdle(30);
        store.save_task_json(&task(id, round)).unwrap();
        acked.note(id, round);
    }
}

fn callers_come_and_go() {
    let opened = open(tight());
    let acked = Acked::default();
    write_alone(&opened.store, "first", &acked);
    let threads: Vec<_> = (0..3)
        .map(|number| {
            let (store, acked) = (opened.store.clone(), acked.clone());
            let write = if number == 0 { write_and_note } else { write_alone };
            thread::spawn(move || write(&store, &format!("t{number}"), &acked))
        })
        .collect();
    let (disk, cut) = (opened.disk.clone(), acked.clone());
    let cutter = thread::spawn(move || {
        for _ in 0..3 {
            dawdle(80);
            // What is noted was acknowledged before the power went.
            let noted = cut.all();
            let view = after_power_cut(&disk, CrashMode::Nothing);
            for (id, round) in noted {
                assert!(round_in(&view, &id) >= round, "{id} lost {round}");
            }
        }
    });
    join_all(threads);
    cutter.join().unwrap();
    if opened.calls_of_callers() > 0 {
        LED.one();
        if opened.calls_of_writer() > 0 {
            HANDED_OVER.one();
        }
    }
    opened.store.shutdown().unwrap();
    let saved = after_power_cut(&opened.disk, CrashMode::Nothing);
    assert_eq!(round_in(&saved, "t0"), 6);
    (1..3).for_each(|number| assert_eq!(round_in(&saved, &format!("t{number}")), 4));
}

/// Between two of the submitter's transactions, which the writer thread has, a call of the same thread.
fn nobody_overtakes() {
    let opened = open_quick(tight());
    let commits: Vec<Commit> = (1..=2)
        .map(|round| {
            let text = task("own", 10 * round);
            let commit = opened.store.submit(Durability::Sync, |tx| tx.save_task_json(&text));
            opened.store.save_task_json(&task("own", 10 * round + 1)).unwrap();
            assert_eq!(round_in(&opened.store.view(), "own"), 10 * round + 1, "overtaken");
            commit.unwrap()
        })
        .collect();
    commits.into_iter().for_each(|commit| assert!(commit.wait().is_ok()));
    opened.store.shutdown().unwrap();
    assert_eq!(round_in(&after_power_cut(&opened.disk, CrashMode::Nothing), "own"), 21);
}

#[test]
fn callers_that_write_by_themselves_hand_over_and_lose_nothing() {
    let name = "callers_that_write_by_themselves_hand_over_and_lose_nothing";
    explore(name, callers_come_and_go);
    LED.at_least(100, "a caller wrote by itself");
    HANDED_OVER.at_least(100, "and the writer thread took over");
}

#[test]
fn a_caller_that_writes_by_itself_does_not_overtake_what_it_submitted() {
    let name = "a_caller_that_writes_by_itself_does_not_overtake_what_it_submitted";
    explore(name, nobody_overtakes);
}
