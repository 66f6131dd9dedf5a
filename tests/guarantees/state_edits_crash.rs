//! Edits of `state.json` that are cut off, or that meet a checkpoint; and rot, which is none.

use std::sync::Arc;

use parking_lot::Mutex;
use walden::fs::Fs;
use walden::fs::sim::{CrashMode, SimFs};
use walden::testing::SteppedClock;
use walden::{ProblemKind, Store};

use crate::state_edits::{A, B, Left, Life, STATE, bare, below, conflicts, sed, state};
use crate::support::{PATIENCE, at, builder, open, within};
use crate::watched::Watched;

#[test]
fn rot_in_state_json_is_no_edit() {
    let disk = SimFs::new();
    let store = open(&disk, 1).unwrap();
    store.save_task_json(A).unwrap();
    store.shutdown().unwrap();
    let at_byte = state(&disk).find("\"m\": 1").unwrap() as u64 + 5;
    disk.corrupt(STATE, at_byte, 0b1000).unwrap();
    assert!(state(&disk).contains("\"m\": 9"), "it still parses");
    assert!(!at(&disk, 2).verify().unwrap().ok);
    let store = open(&disk, 3).unwrap();
    assert_eq!(bare(&store, "a"), r#"{"id":"a","n":1,"m":1}"#);
    let kinds: Vec<_> = store.recovery().problems.iter().map(|found| found.kind).collect();
    assert_eq!(kinds, [ProblemKind::Corrupt]);
    assert_eq!((below(&disk, "quarantine/").len(), conflicts(&disk).len()), (1, 0));
    store.shutdown().unwrap();
    assert_eq!(at(&disk, 4).verify().unwrap().problems, []);
}

#[test]
fn a_crash_at_any_call_of_taking_state_json_in_leaves_the_edit_in_the_file_or_in_the_log() {
    for left in [Left::Shut, Left::Killed] {
        let disk = SimFs::new();
        let store = open(&disk, 1).unwrap();
        for task in [A, B, r#"{"id": "c"}"#] {
            store.save_task_json(task).unwrap();
        }
        store.checkpoint().unwrap();
        store.patch_task_json("a", r#"{"n": 2}"#).unwrap();
        let disk = if left == Left::Shut {
            store.shutdown().unwrap();
            disk
        } else {
            disk.if_killed()
        };
        let is_patched = left == Left::Shut;
        let (from, to) = if is_patched { ("\"m\":1", "\"m\":5") } else { ("\"m\": 1", "\"m\": 5") };
        sed(&disk, from, to);
        sed(&disk, &format!("{B},"), r#"{"id": "new"},"#);
        sed(&disk, "{\n", "{\n  \"mine\": 1,\n");
        let calls = Arc::new(Mutex::new(0));
        let count = calls.clone();
        let watched = Watched::new(&disk, move |disk| {
            let place: u64 = {
                *count.lock() += 1;
                *count.lock()
            };
            let mode = &[CrashMode::Nothing, CrashMode::Random(place)][(place % 2) as usize];
            for crashed in [disk.if_killed(), disk.if_crashed(mode)] {
                let store = open(&crashed, 60 + place).unwrap();
                let found = ["a", "b", "c", "new"].map(|id| bare(&store, id));
                let wanted = [r#"{"id":"a","n":2,"m":5}"#, "", r#"{"id":"c"}"#, r#"{"id":"new"}"#];
                assert_eq!(found, wanted, "at {place}: {:#?}", store.recovery());
                // What is written now is not taken back by an edit that was taken in already.
                store.patch_task_json("a", r#"{"m": 6}"#).unwrap();
                let again = open(&crashed.if_killed(), 900 + place).unwrap();
                assert_eq!(bare(&again, "a"), r#"{"id":"a","n":2,"m":6}"#, "at {place}");
                again.shutdown().unwrap();
                store.shutdown().unwrap();
                assert!(state(&crashed).contains("\"mine\": 1"), "at {place}");
            }
        });
        let store = builder(Arc::new(watched), Arc::default(), 7).open().unwrap();
        assert_eq!(bare(&store, "a"), r#"{"id":"a","n":2,"m":5}"#);
        let places = *calls.lock();
        println!("{left:?}: crashed before {places} calls");
        assert!(places > 40, "{places}");
    }
}

#[test]
fn an_edit_of_state_json_at_any_call_of_a_checkpoint_is_in_force_soon() {
    let mut places = 0;
    for place in 1.. {
        let disk = SimFs::new();
        let store = open(&disk, 1).unwrap();
        store.save_task_json(A).unwrap();
        store.save_task_json(B).unwrap();
        store.checkpoint().unwrap();
        store.shutdown().unwrap();
        let (watched, switch) = Watched::while_on(&disk, move |disk, call| {
            if call == place && disk.stat(STATE).unwrap().is_some() {
                sed(disk, "\"m\": 1", "\"m\": 5");
            }
        });
        let clock = Arc::new(SteppedClock::default());
        let store = builder(Arc::new(watched), clock.clone(), 7).open().unwrap();
        let life = Life::of(disk, store.clone(), clock);
        store.patch_task_json("b", r#"{"n": 2}"#).unwrap();
        switch.set(true);
        store.checkpoint().unwrap();
        switch.set(false);
        if switch.calls() < place {
            break;
        }
        life.find();
        assert_eq!(bare(&life.store, "a"), r#"{"id":"a","n":1,"m":5}"#, "at {place}");
        let events = life.heard.lock();
        assert_eq!(bare(&life.store, "b"), r#"{"id":"b","n":2}"#, "at {place}: {events:#?}");
        drop(events);
        life.assert_lasting();
        places += 1;
    }
    println!("edited before each of {places} calls of a checkpoint");
    assert!(places > 40, "{places}");
}

#[test]
fn what_somebody_is_still_writing_into_state_json_is_waited_for() {
    let life = Life::new(Left::Open, &[A, B], |_| {}, |_| {});
    let whole = state(&life.disk).replace("\"m\": 1", "\"m\": 5");
    let editor = life.disk.hold_now(STATE).unwrap();
    editor.write(&whole.as_bytes()[..whole.len() / 2]);
    life.store.patch_task_json("b", r#"{"n": 2}"#).unwrap();
    life.store.checkpoint().unwrap();
    assert_eq!(life.disk.read_now(STATE).unwrap(), &whole.as_bytes()[..whole.len() / 2]);
    assert_eq!(life.told(), [], "nobody is told of half a save");
    editor.write(whole.as_bytes());
    drop(editor);
    life.find();
    assert_eq!(bare(&life.store, "a"), r#"{"id":"a","n":1,"m":5}"#);
    assert_eq!(bare(&life.store, "b"), r#"{"id":"b","n":2}"#);
    assert_eq!(conflicts(&life.disk), [""; 0]);
    life.assert_lasting();
}

#[test]
fn a_shutdown_takes_in_what_was_done_an_instant_before() {
    within(PATIENCE, || {
        let disk = SimFs::new();
        let store = Store::builder("sim").fs(Arc::new(disk.clone())).open().unwrap();
        store.save_task_json(A).unwrap();
        store.save_task_json(B).unwrap();
        store.checkpoint().unwrap();
        sed(&disk, "\"m\": 1", "\"m\": 5");
        disk.save_now("tasks/b.json", br#"{"id": "b", "n": 9}"#).unwrap();
        store.shutdown().unwrap();
        let again = open(&disk, 2).unwrap();
        assert_eq!(again.recovery().problems, [], "nothing was left to it");
        assert_eq!(bare(&again, "a"), r#"{"id":"a","n":1,"m":5}"#);
        assert_eq!(bare(&again, "b"), r#"{"id":"b","n":9}"#);
    });
}
