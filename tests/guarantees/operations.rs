//! What operators are told: status, counters, events.

use walden::fs::sim::SimFs;
use walden::{Event, Lsn, Store, Task};

use crate::support::open;

#[test]
fn status_tells_the_same_of_an_open_and_of_a_closed_store() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    store.save_task(&Task::new("a", "one")).unwrap();
    store.save_session_json(r#"{"id": "s"}"#).unwrap();
    store.checkpoint().unwrap();
    let open = store.status().unwrap();
    assert_eq!((open.tasks, open.sessions, open.backup_count), (1, 1, 0));
    assert_eq!(open.owner_pid, Some(std::process::id()));
    assert!(open.state_dir_exists && open.writeable && open.disk_free_bytes > 0);
    assert!(open.snapshot_lsn <= open.durable_lsn && open.durable_lsn <= open.last_lsn);
    let beside = walden::status(dir.path()).unwrap();
    assert_eq!((beside.tasks, beside.owner_pid), (1, Some(std::process::id())));
    store.shutdown().unwrap();
    let closed = walden::status(dir.path()).unwrap();
    assert_eq!((closed.tasks, closed.sessions, closed.owner_pid), (1, 1, None));
    assert_eq!((closed.last_save_time, closed.last_lsn), (open.last_save_time, open.last_lsn));
    assert!(closed.recovery.clean && closed.mirror_lsn == closed.last_lsn, "{:?}", closed.recovery);
}

#[test]
fn counters_count_groups_and_flushes() {
    let disk = SimFs::new();
    let store = open(&disk, 1).unwrap();
    let before = store.commit_stats();
    let commits: Vec<_> = (0..10)
        .map(|n| {
            let text = format!(r#"{{"id": "t{n}"}}"#);
            store.submit(walden::Durability::Sync, |tx| tx.save_task_json(&text)).unwrap()
        })
        .collect();
    for commit in commits {
        commit.wait().unwrap();
    }
    let after = store.commit_stats();
    assert_eq!(after.records - before.records, 10);
    assert_eq!(after.groups - before.groups, 1, "what waits together is one group");
    assert!(after.flushes - before.flushes <= 2, "{before:?} {after:?}");
}

#[test]
fn lsns_rise_over_openings_and_are_never_given_out_twice() {
    let mut disk = SimFs::new();
    let mut last = Lsn::ZERO;
    for opening in 1..8 {
        let store = open(&disk, opening).unwrap();
        assert_eq!(store.recovery().clean, opening % 2 == 1, "opening {opening}");
        for n in 0..3 {
            let lsn = store.save_task_json(&format!(r#"{{"id": "t", "n": {n}}}"#)).unwrap();
            assert!(lsn > last, "{lsn} after {last}");
            last = lsn;
        }
        if opening % 2 == 0 {
            store.shutdown().unwrap();
        } else {
            // A killed owner's lock is free.
            disk = disk.kill();
        }
    }
}

#[test]
fn the_first_event_of_an_opening_is_told_by_its_report() {
    let disk = SimFs::new();
    let store = open(&disk, 1).unwrap();
    let names = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let heard = names.clone();
    store.on_event(move |event: &Event| heard.lock().unwrap().push(event.name()));
    store.save_task_json(r#"{"id": "a"}"#).unwrap();
    store.shutdown().unwrap();
    assert_eq!(*names.lock().unwrap(), ["shutdown:save", "state:saved"]);
    assert_eq!(
        store.save_task_json(r#"{"id": "a"}"#).unwrap_err().to_string(),
        walden::Error::Closed.to_string()
    );
}
