//! The change stream and the history of a document: in order, durable only, every change once, and what
//! is not to be had any more is told.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use walden::fs::sim::{CallKind, CrashMode, Fault, SimFs};
use walden::testing::{Shared, random_steps};
use walden::{
    ChangeKind, Changes, Collection, Durability, Error, Lsn, News, Options, Source, Store,
};

use crate::oracle::Oracle;
use crate::support::{PATIENCE, at, open, seeds, small, within};
use crate::watched::Watched;
use crate::workload::Run;

fn put(id: &str, n: u64) -> String {
    format!(r#"{{"id": "{id}", "n": {n}, "description": "some text to fill the log with"}}"#)
}

/// All that there is now; what was missed as `None`.
fn all(changes: &mut Changes) -> Vec<(Lsn, Option<String>)> {
    let next = || match changes.try_recv() {
        Err(Error::Closed) => None,
        news => news.unwrap(),
    };
    std::iter::from_fn(next)
        .map(|news| match news {
            News::Change(change) => (change.lsn, Some(change.id.to_string())),
            News::Missed { last, .. } => (last, None),
        })
        .collect()
}

fn lsns(changes: &mut Changes) -> Vec<u64> {
    all(changes).into_iter().map(|(lsn, id)| id.map_or(0, |_| lsn.0)).collect()
}

#[test]
fn every_change_is_told_in_order_with_its_text_and_transactions_are_whole() {
    let disk = SimFs::new();
    let store = open(&disk, 1).unwrap();
    let mut changes = store.changes(Lsn::ZERO);
    store.save_task_json(&put("a", 1)).unwrap();
    store
        .transaction(|tx| {
            tx.patch_task_json("a", r#"{"n": 1.50}"#)?;
            tx.append_task_log_json("a", r#"{"message": "m"}"#)?;
            tx.save_session_json(r#"{"id": "s"}"#)
        })
        .unwrap();
    store.delete_task("a").unwrap();
    let mut told = Vec::new();
    while let Some(news) = changes.try_recv().unwrap() {
        let News::Change(change) = news else { panic!("{news:?}") };
        assert_eq!((change.origin, &change.file), (walden::wal::Origin::Api, &None));
        let text = change.text.as_deref().unwrap_or_default().to_owned();
        told.push((change.lsn.0, change.kind, change.collection, text, change.continues));
    }
    let (task, session) = (Collection::Task, Collection::Session);
    assert_eq!(
        told,
        [
            (1, ChangeKind::Put, task, put("a", 1), false),
            (2, ChangeKind::Patch, task, r#"{"n": 1.50}"#.to_owned(), true),
            (3, ChangeKind::AppendLog, task, r#"{"message": "m"}"#.to_owned(), true),
            (4, ChangeKind::Put, session, r#"{"id": "s"}"#.to_owned(), false),
            (5, ChangeKind::Delete, task, String::new(), false),
        ]
    );
}

#[test]
fn from_any_lsn_exactly_what_lies_above_it_is_told_also_over_openings() {
    let disk = SimFs::new();
    let mut known: Vec<u64> = Vec::new();
    for opening in 1..=3 {
        let store = open(&disk, opening).unwrap();
        for n in 0..5 {
            let lsn = store.submit(Durability::Sync, |tx| tx.save_task_json(&put("a", n)));
            known.push(lsn.unwrap().wait().unwrap().0);
        }
        for from in (0..known.len()).map(|index| known[index]).chain([0]) {
            let above: Vec<u64> = known.iter().copied().filter(|lsn| *lsn > from).collect();
            assert_eq!(lsns(&mut store.changes(Lsn(from))), above, "from {from}");
        }
        let view = store.view();
        assert_eq!(lsns(&mut store.changes(view.lsn())), [0; 0]);
        assert_eq!(lsns(&mut at(&disk, 99).changes(Lsn::ZERO).unwrap()), {
            // Nothing vouches for the last group yet.
            known[..known.len() - 1].to_vec()
        });
        // The second opening recovers, and restates the last group; nobody hears of it twice.
        if opening == 1 {
            let mut changes = store.changes(Lsn(known[2]));
            assert_eq!(lsns(&mut changes), known[3..]);
            let crashed = disk.kill();
            let again = open(&crashed, 9).unwrap();
            assert_eq!(lsns(&mut again.changes(Lsn(known[2]))), known[3..]);
            return again.shutdown().unwrap();
        }
    }
}

#[test]
fn a_buffered_change_is_told_once_it_is_durable_and_not_before() {
    let disk = SimFs::new();
    let store = open(&disk, 1).unwrap();
    let mut changes = store.changes(Lsn::ZERO);
    let submit = |durability| {
        let submitted = store.submit(durability, |tx| tx.save_task_json(&put("a", 1)));
        submitted.unwrap().wait().unwrap().0
    };
    let first = submit(Durability::Sync);
    assert_eq!(lsns(&mut changes), [first]);
    let second = submit(Durability::Buffered);
    assert_eq!(lsns(&mut changes), [0; 0]);
    store.sync().unwrap();
    assert_eq!(lsns(&mut changes), [second]);
    let third = submit(Durability::Buffered);
    let fourth = submit(Durability::Sync);
    assert_eq!(lsns(&mut changes), [third, fourth]);
}

#[test]
fn a_slow_subscriber_holds_nothing_back_and_is_told_what_it_missed() {
    let disk = SimFs::new();
    let store = open(&disk, 1).unwrap();
    let mut changes = store.changes(Lsn::ZERO);
    store.save_task_json(&put("a", 0)).unwrap();
    assert_eq!(lsns(&mut changes), [1]);
    for n in 0..200 {
        store.save_task_json(&put("a", n)).unwrap();
        if n % 50 == 0 {
            store.checkpoint().unwrap();
        }
    }
    let bytes = store.status().unwrap().wal_bytes;
    let News::Missed { first, last } = changes.recv().unwrap() else { panic!("nothing was cut") };
    assert_eq!(first, Lsn(2));
    let end = store.view().lsn();
    assert!(last < end && last > Lsn(50), "{last} of {end}");
    let told = all(&mut changes);
    assert!(told.iter().all(|(_, id)| id.is_some()), "it is told once");
    let ids: BTreeSet<Lsn> = told.iter().map(|(lsn, _)| *lsn).collect();
    assert_eq!(ids.len(), told.len());
    assert!(told.windows(2).all(|pair| pair[0].0 < pair[1].0));
    // Nothing above the gap is left out: the last change of all is there.
    assert_eq!(told.last().unwrap().0, end);
    assert!(bytes < 1 << 20, "{bytes} bytes of log");
}

#[test]
fn after_a_failure_and_a_reopening_the_stream_goes_on_and_tells_all_once() {
    let disk = SimFs::new();
    let store = open(&disk, 1).unwrap();
    let mut changes = store.changes(Lsn::ZERO);
    let mut acked = Vec::new();
    let mut told = Vec::new();
    for round in 0..40 {
        if round % 5 == 4 {
            disk.fail_when(CallKind::Sync, 1, Fault::Errno(5));
        }
        match store.submit(Durability::Sync, |tx| tx.save_task_json(&put("a", round))) {
            Ok(commit) => acked.extend(commit.wait().ok()),
            Err(error) => assert!(matches!(error, Error::Poisoned { .. })),
        }
        if round % 3 == 0 {
            told.extend(all(&mut changes));
        }
        disk.clear_faults();
        store.reopen().unwrap();
    }
    told.extend(all(&mut changes));
    let told: Vec<Lsn> = told.into_iter().map(|(lsn, id)| id.map(|_| lsn).unwrap()).collect();
    assert!(told.is_sorted_by(|a, b| a < b), "{told:?}");
    assert!(acked.len() < 40 && acked.iter().all(|lsn| told.contains(lsn)), "{acked:?} {told:?}");
}

#[test]
fn a_shutdown_wakes_whoever_waits_when_all_was_told() {
    within(PATIENCE, || {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let waiting: Vec<_> = (0..4)
            .map(|_| {
                let changes = store.changes(Lsn::ZERO);
                thread::spawn(move || changes.map(Result::unwrap).count())
            })
            .collect();
        let mut late = store.changes(Lsn::ZERO);
        for n in 0..20 {
            store.save_task_json(&put("a", n)).unwrap();
        }
        assert!(matches!(late.recv_timeout(PATIENCE), Ok(Some(News::Change(_)))));
        let mut none = store.changes(Lsn(20));
        assert_eq!(none.recv_timeout(Duration::from_millis(20)).unwrap(), None);
        store.shutdown().unwrap();
        for waiter in waiting {
            assert_eq!(waiter.join().unwrap(), 20);
        }
        assert!(matches!(none.recv(), Err(Error::Closed)));
    });
}

#[test]
fn many_subscribers_beside_many_writers_are_told_everything_in_order() {
    within(PATIENCE, || {
        let dir = tempfile::tempdir().unwrap();
        let options = Options { checkpoint_interval: Duration::from_millis(30), ..small() };
        let store = Store::builder(dir.path()).options(options).open().unwrap();
        let listeners: Vec<_> = (0..3)
            .map(|slow| {
                let changes = store.changes(Lsn::ZERO);
                thread::spawn(move || {
                    let (mut told, mut missed, mut last) = (0, 0, Lsn::ZERO);
                    for news in changes {
                        match news.unwrap() {
                            News::Change(change) => {
                                assert!(change.lsn > last, "{} after {last}", change.lsn);
                                last = change.lsn;
                                told += 1;
                            }
                            News::Missed { first, last: end } => {
                                assert_eq!(first, Lsn(first.0.max(last.0 + 1)));
                                last = end;
                                missed += 1;
                            }
                        }
                        thread::sleep(Duration::from_micros(slow * 300));
                    }
                    (told, missed)
                })
            })
            .collect();
        let acked = Arc::new(AtomicU64::new(0));
        let writers: Vec<_> = (0..4)
            .map(|number| {
                let (store, acked) = (store.clone(), acked.clone());
                thread::spawn(move || {
                    for n in 0..250 {
                        store.save_task_json(&put(&format!("t{number}"), n)).unwrap();
                        acked.fetch_add(1, SeqCst);
                    }
                })
            })
            .collect();
        for writer in writers {
            writer.join().unwrap();
        }
        store.shutdown().unwrap();
        for listener in listeners {
            let (told, missed) = listener.join().unwrap();
            assert!(told == 1000 || missed > 0, "{told} told, {missed} times missed");
            assert!(told <= 1000);
        }
    });
}

/// Before each call of a run to the disk, subscribers of the store and of the directory read on; a power
/// cut there must leave what they were told of.
#[test]
fn no_subscriber_is_told_of_what_a_power_cut_takes() {
    let mut told_in_all = 0;
    for seed in 0..8 * seeds() {
        let disk = SimFs::new();
        let subscriber: Arc<Mutex<Option<Changes>>> = Arc::default();
        let told: Arc<Mutex<BTreeSet<Lsn>>> = Arc::default();
        let (hooked, heard) = (subscriber.clone(), told.clone());
        let calls = AtomicU64::new(0);
        let watched = Watched::new(&disk, move |disk| {
            // The subscriber's own calls come by here, too.
            let Ok(mut heard) = heard.try_lock() else { return };
            let call = calls.fetch_add(1, SeqCst);
            let beside = at(disk, 1).changes(heard.last().copied().unwrap_or_default());
            for changes in hooked.lock().unwrap().as_mut().into_iter().chain(&mut beside.ok()) {
                for (lsn, id) in all(changes) {
                    if id.is_some() {
                        heard.insert(lsn);
                    }
                }
            }
            if call % 16 == seed % 16 {
                let cut = disk.if_crashed(CrashMode::Nothing);
                let last = heard.last().copied().unwrap_or_default();
                let store = open(&cut, 1_000 + call).unwrap();
                let left = all(&mut store.changes(Lsn::ZERO));
                // It is there, or in a snapshot behind which the log was cut.
                let is_there = |(lsn, id): &(Lsn, Option<String>)| match id {
                    Some(_) => *lsn == last,
                    None => *lsn >= last,
                };
                let is_kept = last == Lsn::ZERO || left.iter().any(is_there);
                assert!(is_kept, "told of LSN {last}, and a power cut leaves {left:?}");
            }
        });
        let mut run = Run::new(&disk, Arc::new(watched), Shared::new(Oracle::new()));
        run.edits = false;
        run.open().unwrap();
        for step in random_steps(seed, 40) {
            *subscriber.lock().unwrap() = Some(run.store().changes(Lsn::ZERO));
            run.step(&step).unwrap();
        }
        told_in_all += told.lock().unwrap().len();
    }
    assert!(told_in_all > 150, "{told_in_all} changes were told");
}

#[test]
fn the_history_of_a_document_has_every_version_and_says_where_it_begins() {
    let disk = SimFs::new();
    let store = open(&disk, 1).unwrap();
    assert_eq!(store.history(Collection::Task, "a").unwrap().versions, []);
    store.save_task_json(r#"{"id": "a", "n": 1}"#).unwrap();
    store.save_task_json(r#"{"id": "b"}"#).unwrap();
    store.patch_task_json("a", r#"{"n": 2}"#).unwrap();
    assert!(
        store
            .transaction(|tx| {
                tx.save_task_json(r#"{"id": "a", "refused": 1}"#)?;
                tx.patch_task_json("nobody", "{}")
            })
            .is_err()
    );
    store.delete_task("a").unwrap();
    store.delete_task("a").unwrap();
    store.save_task_json(r#"{"id": "a", "n": 3}"#).unwrap();
    let history = store.history(Collection::Task, "a").unwrap();
    let texts: Vec<Option<&str>> =
        history.versions.iter().map(|version| version.text.as_deref()).collect();
    assert_eq!(
        texts,
        [
            Some(r#"{"id": "a", "n": 1}"#),
            Some(r#"{"id":"a","n":2}"#),
            None,
            Some(r#"{"id": "a", "n": 3}"#)
        ]
    );
    assert_eq!(history.complete_after, Lsn::ZERO);
    assert_eq!(history, at(&disk, 9).history(Collection::Task, "a").unwrap());
    assert_eq!(store.history(Collection::Session, "a").unwrap().versions, []);
    assert!(matches!(store.history(Collection::Task, ""), Err(Error::Invalid { .. })));

    // Once the log is cut, older versions are known only as far as backups show them.
    for n in 10..300 {
        store.patch_task_json("a", &format!(r#"{{"n": {n}}}"#)).unwrap();
        if n % 60 == 0 {
            store.checkpoint().unwrap();
        }
    }
    let history = store.history(Collection::Task, "a").unwrap();
    let begin = history.complete_after;
    assert!(begin > Lsn(10) && begin < store.view().lsn(), "{begin}");
    let (old, new): (Vec<_>, Vec<_>) =
        history.versions.iter().partition(|version| version.lsn <= begin);
    assert!(!old.is_empty() && new.len() > 50, "{} and {}", old.len(), new.len());
    assert!(old.iter().all(|version| matches!(&version.source, Source::Snapshot { .. })));
    assert!(new.iter().all(|version| matches!(&version.source, Source::Log(_))));
    assert!(history.versions.is_sorted_by(|a, b| a.lsn < b.lsn));
    let last = history.versions.last().unwrap();
    assert_eq!(last.text, store.task_json("a"));
    for (n, version) in (0..).zip(new.iter().rev()) {
        let text = version.text.as_deref().unwrap();
        assert!(text.contains(&format!("\"n\":{}", 299 - n)), "{text}");
    }
}
