//! Edits that meet the engine's own work, and those that follow it: passes, removals, the change stream.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use parking_lot::Mutex;
use walden::ChangeKind::{Delete, Put};
use walden::Store;
use walden::fs::sim::{CallKind, CrashMode, Fault, Plan, SimFs};
use walden::testing::SteppedClock;

use crate::edits::{A, bare, conflicts, file, find, store_with, text};
use crate::support::{at, builder, documents, open};
use crate::watched::Watched;

#[test]
fn an_edit_is_on_the_change_stream_and_in_the_history_with_its_file() {
    let disk = SimFs::new();
    let (store, clock) = store_with(&disk, &[r#"{"id": "a", "n": 1}"#, r#"{"id": "b"}"#]);
    let before = store.view().lsn();
    let changes = store.changes(before);
    disk.save_now(A, br#"{"id": "a", "n": 2}"#).unwrap();
    disk.remove_now("tasks/b.json").unwrap();
    disk.write_now("tasks/c.json", br#"{"id": "c"}"#).unwrap();
    find(&store, &clock);
    let mut seen = Vec::new();
    let mut changes = changes;
    while let Some(walden::News::Change(change)) = changes.try_recv().unwrap() {
        assert_eq!(change.origin, walden::wal::Origin::Edit);
        assert!(!change.continues && change.lsn > before);
        seen.push((change.id.to_string(), change.kind, change.file.unwrap()));
    }
    seen.sort_by(|a, b| a.0.cmp(&b.0));
    let wanted = [("a", Put, A), ("b", Delete, "tasks/b.json"), ("c", Put, "tasks/c.json")];
    let wanted = wanted.map(|(id, kind, file)| (id.to_owned(), kind, file.to_owned()));
    assert_eq!(seen, wanted);
    let history = store.history(walden::Collection::Task, "a").unwrap();
    let last = history.versions.last().unwrap();
    assert_eq!(bare(last.text.as_ref().unwrap()), r#"{"id":"a","n":2}"#);
    let source = format!("{:?}", last.source);
    assert!(source.contains("Edit") && source.contains(A), "{source}");
}

/// Edits a file before each call of a checkpoint, at which the disk may become full for a while; says how
/// many calls there were.
fn edit_at_each_call(is_full: bool) -> u64 {
    for place in 1.. {
        let disk = SimFs::new();
        store_with(&disk, &[r#"{"id": "a", "n": 1, "m": 1}"#]).0.shutdown().unwrap();
        let (watched, switch) = Watched::while_on(&disk, move |disk, call| {
            if call == place {
                disk.save_now(A, br#"{"id": "a", "n": 1, "m": 7}"#).unwrap();
                if is_full {
                    disk.fail(Plan::new(Fault::Errno(28)).kind(CallKind::Write).for_ever());
                }
            }
        });
        let clock = Arc::new(SteppedClock::default());
        let store = builder(Arc::new(watched), clock.clone(), 7).open().unwrap();
        store.patch_task_json("a", r#"{"n": 2}"#).unwrap();
        switch.set(true);
        assert!(store.checkpoint().is_ok() || is_full, "at {place}");
        switch.set(false);
        if is_full {
            // What was displaced cannot be taken in.
            find(&store, &clock);
        }
        disk.clear_faults();
        if switch.calls() < place {
            return place - 1;
        }
        store.reopen().unwrap();
        find(&store, &clock);
        assert_eq!(bare(&text(&store, "a")), r#"{"id":"a","n":2,"m":7}"#, "at {place}");
        store.shutdown().unwrap();
        assert_eq!(bare(&file(&disk, A)), r#"{"id":"a","n":2,"m":7}"#, "at {place}");
    }
    unreachable!("the calls of a checkpoint end");
}

#[test]
fn an_edit_at_any_call_of_a_checkpoint_merges_with_what_that_shows() {
    for is_full in [false, true] {
        let places = edit_at_each_call(is_full);
        println!("edited before each of {places} calls, the disk full: {is_full}");
        assert!(places > 40, "{places}");
    }
}

#[test]
fn what_takes_the_place_of_an_edit_is_no_base_of_it_though_it_is_as_near() {
    let mut before = 0;
    for place in 1.. {
        let disk = SimFs::new();
        store_with(&disk, &[r#"{"id": "a", "n": 1, "m": 1}"#]).0.shutdown().unwrap();
        let is_before = Arc::new(AtomicBool::new(false));
        let noted = is_before.clone();
        // One member from what was shown before, and one from what the checkpoint shows.
        let (watched, switch) = Watched::while_on(&disk, move |disk, call| {
            if call == place {
                noted.store(file(disk, A).contains("\"n\": 1"), SeqCst);
                disk.save_now(A, br#"{"id": "a", "n": 1, "m": 7}"#).unwrap();
            }
        });
        let clock = Arc::new(SteppedClock::default());
        let store = builder(Arc::new(watched), clock.clone(), 7).open().unwrap();
        store.patch_task_json("a", r#"{"n": 2, "m": 7}"#).unwrap();
        switch.set(true);
        store.checkpoint().unwrap();
        switch.set(false);
        if switch.calls() < place {
            break;
        }
        find(&store, &clock);
        let is_before = is_before.load(SeqCst);
        before += u64::from(is_before);
        let wanted =
            if is_before { r#"{"id":"a","n":2,"m":7}"# } else { r#"{"id":"a","n":1,"m":7}"# };
        assert_eq!(bare(&text(&store, "a")), wanted, "at {place}");
    }
    assert!(before > 10, "{before}");
}

#[test]
fn a_crash_at_any_call_of_opening_a_damaged_store_makes_no_edit_of_what_was_in_doubt() {
    let disk = SimFs::new();
    let store = store_with(&disk, &[r#"{"id": "a", "n": 1}"#, r#"{"id": "b", "n": 1}"#]).0;
    store.shutdown().unwrap();
    disk.save_now(A, br#"{"id": "a", "n": 2}"#).unwrap();
    disk.remove_now("tasks/b.json").unwrap();
    disk.save_now("tasks/c.json", br#"{"id": "c"}"#).unwrap();
    disk.corrupt(".walden", 20, 1).unwrap();
    let wanted = documents(&at(&disk, 2).open_read_only().unwrap());
    assert_eq!(wanted.len(), 2, "nobody can tell whether they are edits: {wanted:?}");
    let (watched, switch) = Watched::while_on(&disk, move |disk, call| {
        let drawn = CrashMode::Random(call);
        for mode in [CrashMode::Nothing, CrashMode::Everything, drawn] {
            let crashed = disk.if_crashed(mode.clone());
            let store = open(&crashed, 60 + call).unwrap();
            assert_eq!(
                documents(&store.view()),
                wanted,
                "{mode} at {call}: {:#?}",
                store.recovery()
            );
        }
    });
    switch.set(true);
    let clock = Arc::new(SteppedClock::default());
    let store = builder(Arc::new(watched), clock, 7).open().unwrap();
    store.shutdown().unwrap();
    println!("crashed before each of {} calls", switch.calls());
    assert!(switch.calls() > 40, "{}", switch.calls());
}

#[test]
fn a_save_into_a_torn_file_at_any_call_of_its_restoring_overwrites_nothing_unkept() {
    let mut saved = 0;
    for place in 1.. {
        let disk = SimFs::new();
        let documents = [r#"{"id": "a", "n": 1, "m": 1}"#, r#"{"id": "b"}"#];
        let (store, clock) = store_with(&disk, &documents);
        let half = file(&disk, A)[..10].to_owned();
        disk.write_now(A, half.as_bytes()).unwrap();
        find(&store, &clock);
        store.patch_task_json("a", r#"{"n": 2}"#).unwrap();
        for _ in 0..2 {
            // The version that the file showed is in no snapshot any more.
            store.patch_task_json("b", r#"{"n": 1}"#).unwrap();
            store.checkpoint().unwrap();
        }
        let disk = disk.if_killed();
        let (watched, switch) = Watched::while_on(&disk, move |disk, call| {
            if call == place && file(disk, A) == half {
                disk.save_now(A, br#"{"id": "a", "n": 1, "m": 7}"#).unwrap();
            }
        });
        let store = builder(Arc::new(watched), clock.clone(), 7).open().unwrap();
        switch.set(true);
        clock.advance(Duration::from_secs(2));
        store.step();
        switch.set(false);
        if switch.calls() < place {
            break;
        }
        find(&store, &clock);
        let all = format!("{} {}", bare(&text(&store, "a")), bare(&conflicts(&disk).concat()));
        assert!(all.contains("\"n\":2"), "at {place}: {all}");
        saved += usize::from(all.contains("\"m\":7"));
    }
    assert!(saved > 10, "{saved}");
}

#[test]
fn an_index_that_is_older_than_the_snapshots_does_not_hide_what_a_file_shows() {
    let mut disk = SimFs::new();
    drop(store_with(&disk, &[r#"{"id": "a", "n": 1, "m": 1}"#, r#"{"id": "b"}"#]));
    for seed in [2, 3, 4] {
        let store = open(&disk, seed).unwrap();
        store.patch_task_json("b", r#"{"n": 1}"#).unwrap();
        disk.fail_path("wal/state.index", CallKind::Rename, 1, Fault::Errno(5));
        store.checkpoint().unwrap();
        disk = disk.if_killed();
    }
    let clock = Arc::new(SteppedClock::default());
    let store = at(&disk, 5).clock(clock.clone()).open().unwrap();
    disk.save_now(A, br#"{"id": "a", "n": 1, "m": 7}"#).unwrap();
    store.patch_task_json("a", r#"{"n": 2}"#).unwrap();
    // A pass records what it is to write, and meets the edit.
    clock.advance(Duration::from_secs(2));
    store.step();
    let store = open(&disk.if_killed(), 6).unwrap();
    assert_eq!(bare(&text(&store, "a")), r#"{"id":"a","n":2,"m":7}"#);
}

#[test]
fn a_file_that_was_broken_over_several_openings_is_mended_without_a_conflict() {
    for openings in 0..4 {
        let disk = SimFs::new();
        let documents = [r#"{"id": "a", "n": 1, "m": 1}"#, r#"{"id": "b"}"#];
        store_with(&disk, &documents).0.shutdown().unwrap();
        let store = open(&disk, 2).unwrap();
        store.patch_task_json("a", r#"{"n": 2}"#).unwrap();
        store.shutdown().unwrap();
        disk.save_now(A, b"{\"id\": ").unwrap();
        for n in 0..openings {
            let store = open(&disk, 3 + n).unwrap();
            store.patch_task_json("b", &format!(r#"{{"n": {n}}}"#)).unwrap();
            store.shutdown().unwrap();
        }
        disk.save_now(A, br#"{"id": "a", "n": 2, "m": 5}"#).unwrap();
        let store = open(&disk, 9).unwrap();
        assert_eq!(bare(&text(&store, "a")), r#"{"id":"a","n":2,"m":5}"#);
        assert_eq!(conflicts(&disk), [""; 0], "after {openings} openings");
    }
}

#[test]
fn of_two_new_files_of_one_id_neither_is_lost() {
    let disk = SimFs::new();
    let (store, clock) = store_with(&disk, &[]);
    disk.write_now("tasks/mine.json", br#"{"id": "x", "from": "mine", "mine": 1}"#).unwrap();
    disk.write_now("tasks/x.json", br#"{"id": "x", "from": "x", "own": 1}"#).unwrap();
    find(&store, &clock);
    find(&store, &clock);
    let everything = [conflicts(&disk).concat(), text(&store, "x")].concat();
    let left = disk.read_now("tasks/mine.json").map(|left| String::from_utf8(left).unwrap());
    let everything = bare(&[everything, left.unwrap_or_default()].concat());
    for wanted in [r#""from":"mine""#, r#""from":"x""#, r#""mine":1"#, r#""own":1"#] {
        assert!(everything.contains(wanted), "{wanted}: {everything}");
    }
    let text = bare(&text(&store, "x"));
    assert!(text.contains(r#""own":1"#), "the file with its name is in force: {text}");
}

#[test]
fn whoever_saves_a_buffer_twice_takes_nothing_back_with_the_second() {
    let disk = SimFs::new();
    let (store, clock) = store_with(&disk, &[r#"{"id": "a", "n": 1, "m": 1, "k": 1}"#]);
    store.patch_task_json("a", r#"{"n": 2}"#).unwrap();
    disk.save_now(A, br#"{"id": "a", "n": 1, "m": 5, "k": 1}"#).unwrap();
    find(&store, &clock);
    disk.save_now(A, br#"{"id": "a", "n": 1, "m": 5, "k": 7}"#).unwrap();
    find(&store, &clock);
    assert_eq!(bare(&text(&store, "a")), r#"{"id":"a","n":2,"m":5,"k":7}"#);
    assert_eq!(conflicts(&disk), [""; 0]);
}

#[test]
fn a_large_buffer_saved_twice_takes_nothing_back_either() {
    // Longer than a text that goes into the log.
    let large = "x".repeat(1 << 20);
    let buffer = |n, m, k| format!(r#"{{"id":"a","n":{n},"m":{m},"k":{k},"large":"{large}"}}"#);
    let disk = SimFs::new();
    let (store, clock) = store_with(&disk, &[&buffer(1, 1, 1)]);
    store.patch_task_json("a", r#"{"n": 2}"#).unwrap();
    disk.save_now(A, buffer(1, 5, 1).as_bytes()).unwrap();
    find(&store, &clock);
    disk.save_now(A, buffer(1, 5, 7).as_bytes()).unwrap();
    find(&store, &clock);
    assert!(bare(&text(&store, "a")) == buffer(2, 5, 7), "the second took something back");
    assert_eq!(conflicts(&disk).len(), 0);
}

#[test]
fn a_buffer_read_before_an_opening_that_wrote_the_file_anew_takes_nothing_back() {
    // After some checkpoints neither the log nor the snapshot before tells of what was in the file.
    for checkpoints in [0, 1, 4] {
        let disk = SimFs::new();
        let (store, _) = store_with(&disk, &[r#"{"id": "a", "n": 1, "m": 1}"#, r#"{"id": "b"}"#]);
        store.patch_task_json("a", r#"{"n": 2}"#).unwrap();
        let disk = disk.if_killed();
        let clock = Arc::new(SteppedClock::default());
        let store = builder(Arc::new(disk.clone()), clock.clone(), 7).open().unwrap();
        for n in 0..checkpoints {
            store.patch_task_json("b", &format!(r#"{{"n": {n}}}"#)).unwrap();
            store.checkpoint().unwrap();
        }
        find(&store, &clock);
        disk.save_now(A, br#"{"id": "a", "n": 1, "m": 5}"#).unwrap();
        find(&store, &clock);
        assert_eq!(bare(&text(&store, "a")), r#"{"id":"a","n":2,"m":5}"#, "{checkpoints}");
        assert_eq!(conflicts(&disk), [""; 0], "{checkpoints}");
    }
}

#[test]
fn of_two_saves_of_a_file_that_are_found_at_once_the_second_takes_nothing_back() {
    let mut saved = 0;
    for place in 1.. {
        let disk = SimFs::new();
        store_with(&disk, &[r#"{"id": "a", "n": 1, "m": 1, "k": 1}"#]).0.shutdown().unwrap();
        let again = AtomicBool::new(false);
        let hook = again_after(place, again);
        let (watched, switch) = Watched::while_on(&disk, hook);
        let clock = Arc::new(SteppedClock::default());
        let store = builder(Arc::new(watched), clock.clone(), 7).open().unwrap();
        store.patch_task_json("a", r#"{"n": 2}"#).unwrap();
        switch.set(true);
        store.checkpoint().unwrap();
        switch.set(false);
        if switch.calls() < place {
            break;
        }
        let shown = bare(&file(&disk, A));
        let is_second = shown.contains("\"k\":9");
        saved += usize::from(is_second);
        // Now there is no waiting until it is sure that nobody is at it.
        store.shutdown().unwrap();
        let store = open(&disk, 8).unwrap();
        let found = bare(&text(&store, "a"));
        let k = if is_second || found.contains("\"k\":9") { 9 } else { 1 };
        assert_eq!(found, format!(r#"{{"id":"a","n":2,"m":7,"k":{k}}}"#), "at {place}");
    }
    assert!(saved > 0, "none was saved twice");
}

/// Saves an edit before a call, and another of what the file shows then, once the first was displaced.
fn again_after(place: u64, is_done: AtomicBool) -> impl Fn(&SimFs, u64) {
    move |disk, call| {
        if call == place {
            disk.save_now(A, br#"{"id": "a", "n": 1, "m": 7, "k": 1}"#).unwrap();
        }
        let shown = file(disk, A);
        if call > place && !shown.contains("\"m\": 7") && !is_done.swap(true, SeqCst) {
            disk.save_now(A, shown.replace("\"k\": 1", "\"k\": 9").as_bytes()).unwrap();
        }
    }
}

#[test]
fn a_write_between_the_merge_of_an_edit_and_its_record_is_not_taken_back() {
    let disk = SimFs::new();
    store_with(&disk, &[r#"{"id": "a", "n": 1, "m": 1}"#]).0.shutdown().unwrap();
    let shared: Arc<Mutex<Option<Store>>> = Arc::default();
    let writer = shared.clone();
    let watched = Watched::new(&disk, move |disk| {
        // What loses is kept before the edit is logged.
        if disk.read_now("wal/conflict.part").is_some() {
            // The write below calls back, too, perhaps from another thread: no lock is held then.
            let store = writer.lock().take();
            if let Some(store) = store {
                store.patch_task_json("a", r#"{"m": 2}"#).unwrap();
            }
        }
    });
    let clock = Arc::new(SteppedClock::default());
    let store = builder(Arc::new(watched), clock.clone(), 7).open().unwrap();
    store.patch_task_json("a", r#"{"n": 2}"#).unwrap();
    disk.save_now(A, br#"{"id": "a", "n": 3, "m": 1}"#).unwrap();
    *shared.lock() = Some(store.clone());
    store.checkpoint().unwrap();
    find(&store, &clock);
    assert!(shared.lock().is_none(), "it was written in between");
    assert_eq!(bare(&text(&store, "a")), r#"{"id":"a","n":3,"m":2}"#);
}

#[test]
fn a_version_that_no_file_ever_showed_is_no_base_of_an_edit() {
    for is_clean in [true, false] {
        let disk = SimFs::new();
        let store = open(&disk, 1).unwrap();
        store.save_task_json(r#"{"id": "a", "n": 1, "m": 1}"#).unwrap();
        store.patch_task_json("a", r#"{"n": 2}"#).unwrap();
        store.checkpoint().unwrap();
        assert_eq!(bare(&file(&disk, A)), r#"{"id":"a","n":2,"m":1}"#);
        if is_clean {
            store.shutdown().unwrap();
        }
        let left = disk.if_killed();
        left.save_now(A, br#"{"id": "a", "n": 1, "m": 5}"#).unwrap();
        let store = open(&left, 2).unwrap();
        assert_eq!(bare(&text(&store, "a")), r#"{"id":"a","n":1,"m":5}"#, "clean: {is_clean}");
        assert_eq!(conflicts(&left), [""; 0]);
    }
}
