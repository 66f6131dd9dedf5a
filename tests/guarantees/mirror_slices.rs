//! Passes of the mirror that show a part of what changed: what is left is shown by the next ones, whatever
//! happens in between.

use std::sync::Arc;
use std::time::Duration;

use walden::fs::sim::{CallKind, CrashMode, Fault, SimFs};
use walden::testing::SteppedClock;
use walden::{ProblemKind, Store};

use crate::edits::{find, store_with};
use crate::support::builder;
use crate::watched::Watched;

const DOCUMENTS: usize = 7;

/// Four of them are as much as a pass writes.
fn large(id: usize, n: usize, m: usize) -> String {
    format!(r#"{{"id":"t{id}","n":{n},"m":{m},"large":"{}"}}"#, "x".repeat(300 << 10))
}

fn file(id: usize) -> String {
    format!("tasks/t{id}.json")
}

fn says(text: &str, n: usize, m: usize) -> bool {
    let bare: String = text.split_whitespace().collect();
    bare.contains(&format!(r#""n":{n},"m":{m},"#))
}

fn shown(disk: &SimFs, id: usize) -> String {
    String::from_utf8(disk.read_now(&file(id)).unwrap_or_default()).unwrap()
}

/// A disk whose files show all documents as of `n` 1.
fn disk() -> SimFs {
    let disk = SimFs::new();
    let documents: Vec<_> = (0..DOCUMENTS).map(|id| large(id, 1, 1)).collect();
    let documents: Vec<_> = documents.iter().map(String::as_str).collect();
    store_with(&disk, &documents).0.shutdown().unwrap();
    disk
}

fn change_all(store: &Store) {
    for id in 0..DOCUMENTS {
        store.patch_task_json(&format!("t{id}"), r#"{"n":2}"#).unwrap();
    }
}

/// Makes one pass; it is due.
fn pass(store: &Store, clock: &SteppedClock) {
    clock.advance(Duration::from_secs(3));
    store.step();
}

#[test]
fn a_crash_at_any_call_of_passes_that_show_a_part_is_no_edit() {
    let disk = disk();
    let (watched, switch) = Watched::while_on(&disk, move |disk, call| {
        if call % 5 != 0 {
            return;
        }
        for mode in [CrashMode::Nothing, CrashMode::Everything, CrashMode::Random(call)] {
            let store = builder(Arc::new(disk.if_crashed(mode.clone())), Arc::default(), 60).open();
            let store = store.unwrap();
            let edited = |kind: ProblemKind| kind == ProblemKind::Edited;
            let problems = &store.recovery().problems;
            assert!(!problems.iter().any(|problem| edited(problem.kind)), "{mode}: {problems:?}");
            let texts = (0..DOCUMENTS).map(|id| store.task_json(&format!("t{id}")).unwrap());
            assert!(texts.into_iter().all(|text| says(&text, 2, 1)), "{mode} at {call}");
        }
    });
    let clock = Arc::new(SteppedClock::default());
    let store = builder(Arc::new(watched), clock.clone(), 7).open().unwrap();
    change_all(&store);
    switch.set(true);
    let mut passes = 0;
    while !(0..DOCUMENTS).all(|id| says(&shown(&disk, id), 2, 1)) {
        pass(&store, &clock);
        passes += 1;
        assert!(passes < 10);
    }
    println!("{passes} passes, crashed at every fifth of {} calls", switch.calls());
    assert!(passes > 1 && switch.calls() > 100, "{passes}, {}", switch.calls());
}

#[test]
fn an_edit_at_any_call_of_passes_that_show_a_part_is_merged_wherever_it_falls() {
    let made = disk();
    let mut met = [0_usize; 2];
    for place in (1..).step_by(9) {
        let disk = made.if_killed();
        // One of the first part, and one of the last.
        for id in [0, DOCUMENTS - 1] {
            let disk = disk.if_killed();
            let (watched, switch) = Watched::while_on(&disk, move |disk, call| {
                if call == place {
                    let n = if says(&shown(disk, id), 2, 1) { 2 } else { 1 };
                    disk.save_now(&file(id), large(id, n, 7).as_bytes()).unwrap();
                }
            });
            let clock = Arc::new(SteppedClock::default());
            let store = builder(Arc::new(watched), clock.clone(), 7).open().unwrap();
            change_all(&store);
            switch.set(true);
            (0..4).for_each(|_| pass(&store, &clock));
            switch.set(false);
            if switch.calls() < place {
                println!("edited at every ninth of {} calls: {met:?}", switch.calls());
                assert!(met.iter().all(|met| *met > 5), "{met:?}");
                return;
            }
            find(&store, &clock);
            met[usize::from(id > 0)] += 1;
            let text = store.task_json(&format!("t{id}")).unwrap();
            assert!(says(&text, 2, 7), "t{id} at {place}: {}", &text[..60]);
            store.shutdown().unwrap();
            assert!((0..DOCUMENTS).all(|of| says(
                &shown(&disk, of),
                2,
                if of == id { 7 } else { 1 }
            )));
        }
    }
}

#[test]
fn an_error_and_a_crash_in_any_piece_of_a_long_snapshot_leave_the_one_before() {
    let huge = |n: usize| format!(r#"{{"id":"a","n":{n},"large":"{}"}}"#, "x".repeat(3 << 20));
    let made = SimFs::new();
    let texts: Vec<_> =
        ["b", "c", "d"].map(|id| huge(1).replace("\"a\"", &format!("\"{id}\""))).into();
    let all = [huge(1), texts[0].clone(), texts[1].clone(), texts[2].clone()];
    store_with(&made, &all.each_ref().map(String::as_str)).0.shutdown().unwrap();
    let (mut failed, mut handed) = (0, 0);
    for kind in [CallKind::Write, CallKind::WriteBack] {
        for nth in 1.. {
            let disk = made.if_killed();
            let store = builder(Arc::new(disk.clone()), Arc::default(), 7).open().unwrap();
            store.patch_task_json("a", r#"{"n":2}"#).unwrap();
            disk.fail_path("wal/state.part", kind, nth, Fault::Errno(5));
            let saved = store.checkpoint();
            if disk.faults_fired() == 0 {
                break;
            }
            assert!(saved.is_err(), "{kind:?} {nth}: whoever asked for it is told");
            failed += 1;
            handed += usize::from(kind == CallKind::WriteBack);
            for mode in [CrashMode::Nothing, CrashMode::Everything, CrashMode::Random(nth)] {
                let crashed = disk.if_crashed(mode);
                let store = builder(Arc::new(crashed), Arc::default(), 8).open().unwrap();
                let text = store.task_json("a").unwrap();
                assert!(text.contains("\"n\":2"), "{kind:?} {nth}");
            }
            store.checkpoint().unwrap();
            store.shutdown().unwrap();
        }
    }
    println!("{failed} calls failed, {handed} of them handed a part to the device");
    assert!(failed > 3 && handed > 0, "{failed} {handed}");
}
