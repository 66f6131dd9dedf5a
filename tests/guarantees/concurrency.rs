//! Real threads on a real directory: many writers, tiny queues, shutdown and drop while callers wait,
//! readers beside a writer, two openers. Nobody hangs; what was acknowledged is there.

use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Barrier, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::Duration;

use walden::fs::sim::{CallKind, Fault, SimFs};
use walden::{Durability, Error, Event, Options, Store, Task};

use crate::support::{PATIENCE, small, within};
use crate::watched::Watched;

fn tight() -> Options {
    Options { queue_entries_max: 2, queue_bytes_max: 500, group_bytes_max: 300, ..small() }
}

fn task(thread: u64, round: u64) -> String {
    format!(
        r#"{{"id": "t{thread}", "round": {round}, "description": "some text to fill the log"}}"#
    )
}

/// Waits for a future as the smallest of executors does.
fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(thread::Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}

/// Lets 64 threads write until they are told that the store is shut; gives each one's last
/// acknowledged round.
fn write_until_shut(store: &Store, begun: &Arc<Barrier>) -> Vec<thread::JoinHandle<u64>> {
    (0..64)
        .map(|number| {
            let (store, begun) = (store.clone(), begun.clone());
            thread::spawn(move || {
                begun.wait();
                for round in 1.. {
                    match store.save_task_json(&task(number, round)) {
                        Ok(_) => {}
                        Err(Error::Closed | Error::Poisoned { .. }) => return round - 1,
                        Err(error) => panic!("{error}"),
                    }
                }
                unreachable!("the store is shut down some day")
            })
        })
        .collect()
}

fn round_of(store: &Store, number: u64) -> u64 {
    let task = store.task(&format!("t{number}")).unwrap();
    task.map_or(0, |task| task.extra["round"].as_u64().unwrap())
}

#[test]
fn sixty_four_threads_and_a_tiny_queue_lose_nothing_at_a_shutdown() {
    within(PATIENCE, || {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::builder(dir.path()).options(tight()).open().unwrap();
        let begun = Arc::new(Barrier::new(65));
        let threads = write_until_shut(&store, &begun);
        begun.wait();
        while store.commit_stats().records < 500 {
            thread::sleep(Duration::from_millis(10));
        }
        store.shutdown().unwrap();
        let acked: Vec<u64> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
        drop(store);
        assert!(acked.iter().sum::<u64>() > 64, "{acked:?}");
        let store = Store::open(dir.path()).unwrap();
        assert!(store.recovery().clean, "{:?}", store.recovery());
        for (number, acked) in acked.into_iter().enumerate() {
            let found = round_of(&store, number as u64);
            assert_eq!(found, acked, "t{number}: one write too many or too few");
        }
    });
}

#[test]
fn dropping_the_last_handle_commits_what_was_submitted() {
    within(PATIENCE, || {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::builder(dir.path()).options(small()).open().unwrap();
        let commits: Vec<_> = (0..50)
            .map(|round| {
                store.submit(Durability::Sync, |tx| tx.save_task_json(&task(round, round + 1)))
            })
            .collect();
        drop(store);
        for commit in commits {
            commit.unwrap().wait().unwrap();
        }
        let store = Store::open(dir.path()).unwrap();
        assert!(store.recovery().clean);
        (0..50).for_each(|number| assert_eq!(round_of(&store, number), number + 1));
    });
}

#[test]
fn a_single_threaded_store_drains_its_queue_at_shutdown() {
    let disk = SimFs::new();
    let options = Options { group_bytes_max: 1, ..small() };
    let store = crate::support::at(&disk, 1).options(options).open().unwrap();
    let commits: Vec<_> = (0..9)
        .map(|n| store.submit(Durability::Buffered, |tx| tx.save_task_json(&task(n, 1))).unwrap())
        .collect();
    store.shutdown().unwrap();
    assert!(commits.iter().all(|commit| matches!(commit.try_outcome(), Some(Ok(_)))));
    assert_eq!(crate::support::open(&disk, 2).unwrap().load_tasks().unwrap().len(), 9);
}

#[test]
fn a_commit_can_be_awaited_on_any_executor() {
    within(PATIENCE, || {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let mut last = walden::Lsn::ZERO;
        for round in 0..20 {
            let commit = store.submit(Durability::Sync, |tx| tx.save_task_json(&task(0, round)));
            let lsn = block_on(commit.unwrap()).unwrap();
            assert!(lsn > last);
            last = lsn;
        }
    });
}

#[test]
fn a_waker_that_panics_stops_nobody() {
    struct Bomb;
    impl Wake for Bomb {
        fn wake(self: Arc<Self>) {
            panic!("on purpose");
        }
    }
    within(PATIENCE, || {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let waker = Waker::from(Arc::new(Bomb));
        for round in 0..20 {
            let submitted = store.submit(Durability::Sync, |tx| tx.save_task_json(&task(0, round)));
            let mut commit = submitted.unwrap();
            let _ = pin!(&mut commit).poll(&mut Context::from_waker(&waker));
            commit.wait().unwrap();
        }
        store.save_task_json(&task(1, 1)).unwrap();
    });
}

#[test]
fn a_listener_may_panic_and_may_ask_the_store_whatever_it_likes() {
    within(PATIENCE, || {
        let dir = tempfile::tempdir().unwrap();
        // What is broken is for the checkpoint to find.
        let options = Options { mirror_interval: PATIENCE, ..Options::default() };
        let store = Store::builder(dir.path()).options(options).open().unwrap();
        let store = Arc::new(store);
        let weak = Arc::downgrade(&store);
        let names = Arc::new(Mutex::new(Vec::new()));
        let heard = names.clone();
        store.on_event(|_| panic!("on purpose"));
        store.on_event(move |event| {
            heard.lock().unwrap().push(event.name());
            if let Some(store) = weak.upgrade() {
                assert!(store.status().is_ok());
                store.reopen().unwrap();
                store.view();
            }
        });
        store.save_task(&Task::new("a", "one")).unwrap();
        store.checkpoint().unwrap();
        std::fs::write(dir.path().join("tasks/a.json"), "{\"id\": \"a\", \"mine\": ").unwrap();
        store.save_task(&Task::new("a", "two")).unwrap();
        store.shutdown().unwrap();
        let names = names.lock().unwrap().clone();
        for name in ["state:saved", "problem:found", "shutdown:save"] {
            assert!(names.contains(&name), "{name} in {names:?}");
        }
    });
}

#[test]
fn a_second_opener_is_told_who_has_the_store() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    match Store::open(dir.path()) {
        Err(Error::Locked { pid, .. }) => assert_eq!(pid, Some(std::process::id())),
        other => panic!("{other:?}"),
    }
    store.shutdown().unwrap();
    Store::open(dir.path()).unwrap();
}

#[test]
fn an_opener_that_waits_for_ever_gets_the_store_when_it_is_free() {
    within(PATIENCE, || {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let options = Options { lock_wait: Duration::MAX, ..Options::default() };
        let waiting = Store::builder(dir.path()).options(options);
        let opener = thread::spawn(move || waiting.open().map(drop));
        thread::sleep(Duration::from_millis(50));
        drop(store);
        opener.join().unwrap().unwrap();
    });
}

#[test]
fn settings_without_end_are_no_overflow() {
    within(PATIENCE, || {
        let dir = tempfile::tempdir().unwrap();
        let options = Options {
            checkpoint_interval: Duration::MAX,
            buffered_age_max: Duration::MAX,
            witness_after: Duration::MAX,
            buffered_bytes_max: u64::MAX,
            checkpoint_log_bytes: u64::MAX,
            queue_bytes_max: usize::MAX,
            queue_entries_max: usize::MAX,
            group_bytes_max: usize::MAX,
            backups: usize::MAX,
            ..Options::default()
        };
        let store = Store::builder(dir.path()).options(options).open().unwrap();
        for round in 0..20 {
            let durability = if round % 2 == 0 { Durability::Sync } else { Durability::Buffered };
            let commit = store.submit(durability, |tx| tx.save_task_json(&task(0, round)));
            commit.unwrap().wait().unwrap();
        }
        store.checkpoint().unwrap();
        store.shutdown().unwrap();
    });
}

#[test]
fn a_reader_beside_a_busy_writer_sees_a_prefix_with_all_that_was_acknowledged_before() {
    within(PATIENCE, || {
        let dir = tempfile::tempdir().unwrap();
        let options = Options { checkpoint_interval: Duration::from_millis(20), ..small() };
        let store = Store::builder(dir.path()).options(options).open().unwrap();
        let (acked, submitted) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let done = Arc::new(AtomicBool::new(false));
        let writer = {
            let (acked, submitted, done) = (acked.clone(), submitted.clone(), done.clone());
            thread::spawn(move || {
                let mut round = 0;
                while !done.load(SeqCst) {
                    round += 1;
                    submitted.store(round, SeqCst);
                    // Two documents that always agree, and one that is new each time.
                    let texts = [task(0, round), task(1, round), task(1000 + round % 50, round)];
                    store
                        .transaction(|tx| texts.iter().try_for_each(|text| tx.save_task_json(text)))
                        .unwrap();
                    acked.store(round, SeqCst);
                }
                store.shutdown().unwrap();
            })
        };
        let mut seen = 0;
        while seen < 30 {
            let before = acked.load(SeqCst);
            let view = Store::builder(dir.path()).open_read_only().unwrap();
            let after = submitted.load(SeqCst);
            let round = |id: &str| {
                let task = view.task(id).unwrap();
                task.map_or(0, |task| task.extra["round"].as_u64().unwrap())
            };
            let found = round("t0");
            assert_eq!(found, round("t1"), "half a transaction");
            assert!(found >= before, "{found} of {before} acknowledged: {:?}", view.recovery());
            assert!(found <= after, "{found} of {after} submitted");
            for other in (1..=found.min(50)).map(|back| found - found.min(50) + back) {
                assert!(round(&format!("t{}", 1000 + other % 50)) <= found);
            }
            seen += u64::from(found > 0);
        }
        done.store(true, SeqCst);
        writer.join().unwrap();
    });
}

#[test]
fn a_reader_sees_what_was_acknowledged_though_the_writer_saves_between_any_two_of_its_calls() {
    let mut saved = 0;
    for nth in 1_u64.. {
        let disk = SimFs::new();
        let store = crate::support::open(&disk, 1).unwrap();
        for round in 1..=3 {
            store.save_task_json(&task(0, round)).unwrap();
            store.checkpoint().unwrap();
        }
        store.save_task_json(&task(0, 4)).unwrap();
        let writer = store.clone();
        let (watched, switch) = Watched::while_on(&disk, move |_, call| {
            if call == nth {
                writer.save_task_json(&task(0, 5)).unwrap();
                writer.checkpoint().unwrap();
            }
        });
        switch.set(true);
        let reader = Store::builder("sim").fs(Arc::new(watched));
        let view = reader.open_read_only().unwrap();
        let found = view.task("t0").unwrap().unwrap().extra["round"].as_u64().unwrap();
        assert!(found >= 4, "saved at call {nth}: {found}, {:?}", view.recovery());
        let problems = &view.recovery().problems;
        assert!(problems.is_empty(), "saved at call {nth}: {problems:?}");
        if switch.calls() < nth {
            break;
        }
        saved += 1;
    }
    println!("a checkpoint at each of {saved} calls of a reader");
    assert!(saved >= 5, "only {saved} calls");
}

#[test]
fn a_failing_disk_under_many_threads_answers_everybody_and_is_healed() {
    within(PATIENCE, || {
        let poisonings = Arc::new(AtomicU64::new(0));
        // A flush that fails while a segment is prepared is nobody's: until enough met a commit.
        let met = |rounds| rounds >= 20 && poisonings.load(SeqCst) > 5;
        for round in (0..200).take_while(|round| !met(*round)) {
            let disk = SimFs::new();
            let store = Store::builder("sim").options(tight()).fs(Arc::new(disk.clone()));
            let store = store.open().unwrap();
            let noted = poisonings.clone();
            store.on_event(move |event| {
                noted.fetch_add(u64::from(matches!(event, Event::SaveError { .. })), SeqCst);
            });
            disk.fail_when(CallKind::Sync, 3 + round, Fault::Errno(5));
            let threads: Vec<_> = (0..8)
                .map(|number| {
                    let store = store.clone();
                    thread::spawn(move || {
                        let mut acked = 0;
                        for round in 1..60 {
                            match store.save_task_json(&task(number, round)) {
                                Ok(_) => acked = round,
                                Err(Error::Io { .. } | Error::Poisoned { .. }) => {
                                    store.reopen().unwrap();
                                }
                                Err(error) => panic!("{error}"),
                            }
                        }
                        acked
                    })
                })
                .collect();
            let acked: Vec<u64> = threads.into_iter().map(|t| t.join().unwrap()).collect();
            assert_eq!(disk.faults_fired(), 1);
            // Every thread wrote on after the failure, so the last round is there.
            store.save_task_json(&task(99, 1)).unwrap();
            for (number, acked) in acked.iter().enumerate() {
                assert!(round_of(&store, number as u64) >= *acked);
            }
            store.shutdown().unwrap();
        }
        assert!(met(200), "{poisonings:?} of 200 failures met a commit");
    });
}

#[test]
fn a_panic_of_the_writer_answers_everybody_and_is_healed_by_reopening() {
    let fuse = Arc::new(AtomicBool::new(false));
    let lit = fuse.clone();
    let disk = Watched::new(&SimFs::new(), move |_| {
        assert!(!lit.swap(false, SeqCst), "the disk's driver goes mad");
    });
    let store = Store::builder("x").fs(Arc::new(disk)).open().unwrap();
    store.save_task_json(&task(0, 1)).unwrap();
    fuse.store(true, SeqCst);
    assert!(store.save_task_json(&task(0, 2)).is_err(), "nobody knows what became of it");
    assert!(matches!(store.save_task_json(&task(0, 3)), Err(Error::Poisoned { .. })));
    assert!(round_of(&store, 0) >= 1, "reads go on");
    store.reopen().unwrap();
    store.save_task_json(&task(0, 4)).unwrap();
    assert_eq!(round_of(&store, 0), 4);
    store.shutdown().unwrap();
}
