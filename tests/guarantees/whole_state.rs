//! The whole state at once (G1, G2, G12): saved, replaced and loaded as one transaction, verbatim, and
//! refused whole.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use serde_json::json;
use walden::fs::sim::{CrashMode, SimFs};
use walden::{Error, Options, Session, State, Store, Task};

use crate::support::{Documents, at, builder, documents, files, open, small};
use crate::watched::Watched;

fn state(tasks: &[(&str, &str)], sessions: &[&str]) -> State {
    State {
        tasks: tasks.iter().map(|(id, description)| Task::new(*id, *description)).collect(),
        sessions: sessions.iter().map(|id| Session::new(*id)).collect(),
        ..State::default()
    }
}

fn ids(store: &Store) -> Vec<String> {
    documents(&store.view()).into_keys().map(|(dir, id)| format!("{dir}/{id}")).collect()
}

#[test]
fn a_state_is_none_until_something_was_written_and_some_for_ever_after() {
    let disk = SimFs::new();
    let store = open(&disk, 1).unwrap();
    assert_eq!(store.load_state().unwrap(), None);
    assert_eq!(store.load_state_json(), None);
    drop(store);
    let killed = open(&disk.if_killed(), 2).unwrap();
    assert_eq!(killed.load_state().unwrap(), None, "an opening is no write");
    let store = open(&disk, 3).unwrap();
    assert_eq!(store.load_state().unwrap(), None);
    store.save_task(&Task::new("t", "x")).unwrap();
    store.delete_task("t").unwrap();
    assert_eq!(store.load_state().unwrap().unwrap().tasks, []);
    store.shutdown().unwrap();
    let view = at(&disk, 4).open_read_only().unwrap();
    assert_eq!(view.load_state().unwrap().unwrap().metrics.total_tasks, 0);
    assert!(open(&disk, 5).unwrap().load_state().unwrap().is_some());
}

#[test]
fn saving_deletes_nothing_and_replacing_deletes_the_rest_both_with_a_checkpoint() {
    let disk = SimFs::new();
    let store = open(&disk, 1).unwrap();
    store.save_state(&state(&[("a", "1"), ("b", "1")], &["s"])).unwrap();
    let lsn = store.save_state(&state(&[("b", "2"), ("c", "2")], &[])).unwrap();
    assert_eq!(ids(&store), ["sessions/s", "tasks/a", "tasks/b", "tasks/c"]);
    assert_eq!(store.task("b").unwrap().unwrap().description, "2");
    let saved = store.status().unwrap();
    assert!(saved.snapshot_lsn >= lsn, "{saved:?}");
    assert!(disk.read_now("tasks/c.json").is_some());
    store.replace_state(&state(&[("c", "2")], &["t"])).unwrap();
    assert_eq!(ids(&store), ["sessions/t", "tasks/c"]);
    let loaded = store.load_state().unwrap().unwrap();
    assert_eq!((loaded.tasks.len(), loaded.metrics.total_tasks), (1, 1));
    assert_eq!(loaded.last_saved, store.status().unwrap().last_save_time);
    assert!(loaded.last_saved.is_some());
    let left = disk.if_crashed(CrashMode::Nothing);
    assert_eq!(ids(&open(&left, 9).unwrap()), ["sessions/t", "tasks/c"]);
}

#[test]
fn only_documents_that_differ_are_logged_and_derived_members_are_ignored() {
    let disk = SimFs::new();
    let store = open(&disk, 1).unwrap();
    store.save_task_json(" {\"status\": \"failed\", \"id\": \"odd\",  \"n\": 1.50}").unwrap();
    store.save_state(&state(&[("a", "1"), ("b", "1")], &["s"])).unwrap();
    let before = (store.view().lsn(), store.task_json("odd"));
    let mut loaded = store.load_state().unwrap().unwrap();
    loaded.metrics.total_tasks = 99;
    loaded.last_saved = None;
    loaded.extra.insert("mood".into(), json!("fine"));
    store.save_state(&loaded).unwrap();
    store.replace_state(&loaded).unwrap();
    let text = store.load_state_json().unwrap();
    store.replace_state_json(&text).unwrap();
    assert_eq!((store.view().lsn(), store.task_json("odd")), before, "nothing was to be logged");
    loaded.tasks[0].description = "2".into();
    let records = store.commit_stats().records;
    store.save_state(&loaded).unwrap();
    // The document, the mirror's file, that its name is durable, and that the snapshot is saved.
    assert!(store.commit_stats().records <= records + 4);
    assert_eq!(store.load_state().unwrap().unwrap().metrics.total_tasks, 3);
}

#[test]
fn texts_come_back_verbatim() {
    let disk = SimFs::new();
    let store = open(&disk, 1).unwrap();
    let task = "{ \"z\": 123456789012345678901234567890, \"id\": \"a\",\n\t\"x\": 1.00 }";
    let text = format!("{{\"last_saved\": null, \"tasks\": [\n {task} ], \"other\": [1]}}");
    store.save_state_json(&text).unwrap();
    assert_eq!(&*store.task_json("a").unwrap(), task);
    let loaded = store.load_state_json().unwrap();
    assert!(loaded.contains(task), "{loaded}");
    let parsed: State = serde_json::from_str(&loaded).unwrap();
    assert_eq!((parsed.metrics.total_tasks, parsed.sessions.len()), (1, 0));
    assert_eq!(at(&disk, 2).open_read_only().unwrap().load_state_json().unwrap(), loaded);
}

#[test]
fn a_state_that_is_refused_changes_nothing() {
    let disk = SimFs::new();
    let store = open(&disk, 1).unwrap();
    store.save_state(&state(&[("a", "1")], &[])).unwrap();
    let before = files(&disk);
    let bad = [
        "",
        "[]",
        "{\"tasks\": [{\"id\": \"b\"}, {\"id\": \"b\"}]}",
        "{\"tasks\": [{\"id\": \"b\"}], \"sessions\": {}}",
        "{\"tasks\": [{\"id\": \"b\"}, {}]}",
        "{\"tasks\": [{\"id\": \"b\"}], \"tasks\": []}",
        "{\"tasks\": [{\"id\": \"b\"}]} x",
    ];
    for text in bad {
        for refused in [store.save_state_json(text), store.replace_state_json(text)] {
            let error = refused.unwrap_err();
            assert!(
                matches!(&error, Error::Invalid { what, .. } if what.contains("line")),
                "{error}"
            );
        }
    }
    let twice = state(&[("b", "1"), ("b", "2")], &[]);
    assert!(matches!(store.replace_state(&twice), Err(Error::Invalid { .. })));
    let empty = state(&[("b", "1"), ("", "2")], &[]);
    assert!(matches!(store.save_state(&empty), Err(Error::Invalid { .. })));
    assert_eq!(ids(&store), ["tasks/a"]);
    assert_eq!(files(&disk), before);
}

#[test]
fn a_state_may_exceed_what_a_transaction_may_have() {
    let disk = SimFs::new();
    let options = Options { transaction_bytes_max: 2000, ..small() };
    let store = at(&disk, 1).options(options).open().unwrap();
    let text = "x".repeat(500);
    let many: Vec<String> = (0..50).map(|n| format!("t{n}")).collect();
    let tasks: Vec<(&str, &str)> = many.iter().map(|id| (id.as_str(), text.as_str())).collect();
    let all = state(&tasks, &[]);
    let refused = store.transaction(|tx| all.tasks.iter().try_for_each(|task| tx.save_task(task)));
    assert!(matches!(refused, Err(Error::Invalid { .. })));
    store.replace_state(&all).unwrap();
    assert_eq!(store.load_tasks().unwrap().len(), 50);
}

#[test]
fn a_crash_at_any_call_leaves_the_old_state_or_the_new_one() {
    let disk = SimFs::new();
    let store = open(&disk, 1).unwrap();
    store.save_state(&state(&[("a", "1"), ("b", "1"), ("c", "1")], &["s"])).unwrap();
    let old = documents(&store.view());
    store.shutdown().unwrap();
    let new = state(&[("a", "1"), ("b", "2"), ("d", "2")], &["t"]);
    let wanted: Documents = {
        let disk = disk.if_killed();
        let store = open(&disk, 5).unwrap();
        store.replace_state(&new).unwrap();
        documents(&store.view())
    };
    let calls = Arc::new(AtomicU64::new(0));
    let seen = Arc::new(Mutex::new([0, 0]));
    let (counted, noted, goal) = (calls.clone(), seen.clone(), wanted.clone());
    let fs = Watched::new(&disk, move |disk| {
        let call = counted.fetch_add(1, Relaxed);
        let modes = [CrashMode::Nothing, CrashMode::Everything, CrashMode::Random(call)];
        for left in modes.map(|mode| disk.if_crashed(mode)).into_iter().chain([disk.if_killed()]) {
            let found = documents(&open(&left, 100 + call).unwrap().view());
            assert!(found == old || found == goal, "call {call}: {found:#?}");
            noted.lock().unwrap()[usize::from(found == goal)] += 1;
        }
    });
    let store = builder(Arc::new(fs), Arc::default(), 6).open().unwrap();
    store.replace_state(&new).unwrap();
    assert_eq!(documents(&store.view()), wanted);
    let [olds, news] = *seen.lock().unwrap();
    assert!(calls.load(Relaxed) > 30 && olds > 20 && news > 20, "{olds} {news}");
}
