//! A flush that fails under many callers: everybody is told, and after reopening everybody is served.

use shuttle::thread;
use walden::fs::sim::{CallKind, CrashMode, Fault};
use walden::{Error, Options, Store};

use crate::runner::{
    Acked, Met, Opened, after_power_cut, dawdle, explore, explore_more, join_all, open, open_quick,
    random, round_in, task, tight,
};

const EIO: i32 = 5;

static POISONED: Met = Met::new();
static REOPENED: Met = Met::new();

/// A store whose disk fails at one of its next flushes.
fn failing() -> Opened {
    fail_soon(open(Options { queue_entries_max: 1, ..tight() }), 4)
}

fn fail_soon(opened: Opened, within: u64) -> Opened {
    opened.disk.fail_when(CallKind::Sync, 1 + random(within), Fault::Errno(EIO));
    opened
}

/// Writes until a call fails; every later one must say that the log is poisoned.
fn write_until_poisoned(store: &Store, id: &str, acked: &Acked) -> bool {
    for round in 1..=3 {
        match store.save_task_json(&task(id, round)) {
            Ok(_) => acked.note(id, round),
            Err(Error::Io { .. } | Error::Poisoned { .. }) => {
                let later = store.save_task_json(&task(id, round));
                assert!(matches!(later, Err(Error::Poisoned { .. })), "{later:?}");
                return true;
            }
            Err(error) => panic!("{error}"),
        }
    }
    false
}

fn everybody_is_told() {
    let opened = failing();
    let acked = Acked::default();
    let threads: Vec<_> = (0..3)
        .map(|number| {
            let (store, acked) = (opened.store.clone(), acked.clone());
            thread::spawn(move || write_until_poisoned(&store, &format!("t{number}"), &acked))
        })
        .collect();
    let told: Vec<bool> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
    if told.contains(&true) {
        POISONED.one();
        let later = opened.store.save_task_json(&task("later", 1));
        assert!(matches!(later, Err(Error::Poisoned { .. })), "{later:?}");
    }
    acked.are_in(&opened.store.view(), "in memory");
    acked.are_in(&after_power_cut(&opened.disk, CrashMode::Nothing), "after a power cut");
    let _ = opened.store.shutdown();
}

/// Writes on whatever happens, reopening when told to; there is only one failure to come.
fn write_and_reopen(store: &Store, id: &str, acked: &Acked) {
    let mut was_reopened = false;
    for round in 1..=3 {
        match store.save_task_json(&task(id, round)) {
            Ok(_) => {}
            Err(error @ (Error::Io { .. } | Error::Poisoned { .. })) => {
                assert!(!was_reopened, "served again, and then: {error}");
                store.reopen().unwrap();
                was_reopened = true;
                REOPENED.one();
                // The disk is sound again: nothing may be left of the failure.
                store.save_task_json(&task(id, round)).unwrap();
            }
            Err(error) => panic!("{error}"),
        }
        acked.note(id, round);
    }
}

fn everybody_is_served_again() {
    let opened = failing();
    let acked = Acked::default();
    let mut threads: Vec<_> = (0..3)
        .map(|number| {
            let (store, acked) = (opened.store.clone(), acked.clone());
            thread::spawn(move || write_and_reopen(&store, &format!("t{number}"), &acked))
        })
        .collect();
    let (disk, cut) = (opened.disk.clone(), acked.clone());
    threads.push(thread::spawn(move || {
        for _ in 0..2 {
            dawdle(100);
            cut.are_in(&after_power_cut(&disk, CrashMode::Nothing), "after a power cut");
        }
    }));
    join_all(threads);
    opened.disk.clear_faults();
    let view = opened.store.view();
    (0..3).for_each(|number| assert_eq!(round_in(&view, &format!("t{number}")), 3));
    opened.store.shutdown().unwrap();
}

/// As few steps as possible, so that a reopening often fits between any two of the writer's.
fn a_reopening_stays() {
    let opened = fail_soon(open_quick(tight()), 2);
    let acked = Acked::default();
    let threads: Vec<_> = (0..2)
        .map(|number| {
            let (store, acked) = (opened.store.clone(), acked.clone());
            thread::spawn(move || write_and_reopen(&store, &format!("t{number}"), &acked))
        })
        .collect();
    join_all(threads);
    opened.store.shutdown().unwrap();
}

/// Writers, somebody who reopens, and a shutdown, all at once.
fn nobody_hangs() {
    let opened = failing();
    let acked = Acked::default();
    let mut threads: Vec<_> = (0..3)
        .map(|number| {
            let (store, acked) = (opened.store.clone(), acked.clone());
            thread::spawn(move || {
                let id = format!("t{number}");
                for round in 1..=4 {
                    match store.save_task_json(&task(&id, round)) {
                        Ok(_) => acked.note(&id, round),
                        Err(Error::Io { .. } | Error::Poisoned { .. } | Error::Closed) => {}
                        Err(error) => panic!("{error}"),
                    }
                }
            })
        })
        .collect();
    let reopener = opened.store.clone();
    threads.push(thread::spawn(move || {
        for _ in 0..3 {
            dawdle(40);
            match reopener.reopen() {
                Ok(()) | Err(Error::Closed | Error::Io { .. } | Error::Poisoned { .. }) => {}
                Err(error) => panic!("{error}"),
            }
        }
    }));
    dawdle(100);
    // It fails if the disk did, and closes the store all the same.
    let _ = opened.store.shutdown();
    let late = opened.store.save_task_json(&task("late", 1));
    assert!(matches!(late, Err(Error::Closed)), "{late:?}");
    join_all(threads);
    acked.are_in(&after_power_cut(&opened.disk, CrashMode::Nothing), "after a power cut");
}

#[test]
fn a_failed_flush_is_told_to_everybody_and_to_every_later_call() {
    explore("a_failed_flush_is_told_to_everybody_and_to_every_later_call", everybody_is_told);
    POISONED.at_least(50, "the failure met a commit");
}

#[test]
fn after_reopening_everybody_is_served_and_nothing_is_left_of_the_failure() {
    let name = "after_reopening_everybody_is_served_and_nothing_is_left_of_the_failure";
    explore(name, everybody_is_served_again);
    REOPENED.at_least(50, "calls that failed and reopened");
}

#[test]
fn what_a_reopening_healed_is_not_poisoned_by_a_failure_from_before() {
    let name = "what_a_reopening_healed_is_not_poisoned_by_a_failure_from_before";
    explore_more(name, 10, a_reopening_stays);
}

#[test]
fn a_failure_a_reopening_and_a_shutdown_at_once_hang_nobody() {
    explore("a_failure_a_reopening_and_a_shutdown_at_once_hang_nobody", nobody_hangs);
}
