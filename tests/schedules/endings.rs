//! The end of a store while others use it: by a shutdown, by two, and by the drop of the last handle.

use shuttle::thread;
use walden::fs::sim::CrashMode;
use walden::{Commit, Durability, Error, Options, Store};

use crate::runner::{
    Acked, Met, Opened, after_power_cut, dawdle, explore, join_all, open, round_in, task, tight,
};

static CAUGHT: Met = Met::new();

/// Writes until the store is shut; says whether it was before the work was done.
fn write_until_closed(store: &Store, id: &str, acked: &Acked) -> bool {
    for round in 1..=4 {
        match store.save_task_json(&task(id, round)) {
            Ok(_) => acked.note(id, round),
            Err(Error::Closed) => return true,
            Err(error) => panic!("{error}"),
        }
    }
    false
}

/// Submits without waiting, and waits in the end; a failure must not come before a success.
fn submit_until_closed(store: &Store, id: &str, acked: &Acked) -> bool {
    let commits: Vec<walden::Result<Commit>> = (1..=3)
        .map(|round| {
            let text = task(id, round);
            store.submit(Durability::Sync, |tx| tx.save_task_json(&text))
        })
        .collect();
    let mut is_closed = false;
    for (commit, round) in commits.into_iter().zip(1..) {
        match commit.and_then(Commit::wait) {
            Ok(_) => {
                assert!(!is_closed, "{id}: {round} went in after one that did not");
                acked.note(id, round);
            }
            Err(Error::Closed) => is_closed = true,
            Err(error) => panic!("{error}"),
        }
    }
    is_closed
}

fn a_shutdown_answers() {
    let Opened { disk, store, .. } = open(Options { queue_entries_max: 1, ..tight() });
    let acked = Acked::default();
    let mut threads = Vec::new();
    for number in 0..3 {
        let (store, acked) = (store.clone(), acked.clone());
        let write = if number == 0 { submit_until_closed } else { write_until_closed };
        threads.push(thread::spawn(move || write(&store, &format!("t{number}"), &acked)));
    }
    let other = store.clone();
    let second = thread::spawn(move || {
        dawdle(60);
        other.shutdown().unwrap();
    });
    dawdle(120);
    store.shutdown().unwrap();
    // Whoever's shutdown it was, it is complete.
    let disk_then = disk.if_crashed(CrashMode::Nothing);
    let caught: Vec<bool> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
    second.join().unwrap();
    if caught.contains(&true) {
        CAUGHT.one();
    }
    let view = after_power_cut(&disk_then, CrashMode::Nothing);
    assert!(view.recovery().clean, "{:?}", view.recovery());
    for number in 0..3 {
        let id = format!("t{number}");
        let acked = acked.all().get(&id).copied().unwrap_or(0);
        assert_eq!(round_in(&view, &id), acked, "{id}: one write too many or too few");
    }
}

fn a_drop_commits() {
    let Opened { disk, store, .. } = open(tight());
    let threads: Vec<_> = (0..3)
        .map(|number| {
            let store = store.clone();
            thread::spawn(move || {
                let commits: Vec<Commit> = [(1, Durability::Sync), (2, Durability::Buffered)]
                    .into_iter()
                    .map(|(round, durability)| {
                        let text = task(&format!("t{number}"), round);
                        store.submit(durability, |tx| tx.save_task_json(&text)).unwrap()
                    })
                    .collect();
                drop(store);
                for commit in commits {
                    commit.wait().unwrap();
                }
            })
        })
        .collect();
    drop(store);
    join_all(threads);
    let view = after_power_cut(&disk, CrashMode::Nothing);
    assert!(view.recovery().clean, "{:?}", view.recovery());
    (0..3).for_each(|number| assert_eq!(round_in(&view, &format!("t{number}")), 2));
}

#[test]
fn a_shutdown_answers_every_writer_and_saves_exactly_what_it_acknowledged() {
    let name = "a_shutdown_answers_every_writer_and_saves_exactly_what_it_acknowledged";
    explore(name, a_shutdown_answers);
    CAUGHT.at_least(50, "writers were caught at work");
}

#[test]
fn the_drop_of_the_last_handle_commits_what_was_submitted() {
    explore("the_drop_of_the_last_handle_commits_what_was_submitted", a_drop_commits);
}
