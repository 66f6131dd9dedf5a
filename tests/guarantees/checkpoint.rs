//! Checkpoints (G3, G7, G9): they show durable records only, do nothing when nothing changed, and cut
//! the log only below the snapshot before the last.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use walden::fs::Kind;
use walden::fs::sim::{CallKind, CrashMode, Fault, Rules, SimFs};
use walden::{Durability, Event, Options, ProblemKind};

use crate::support::{at, builder, documents, files, open, small};
use crate::watched::Watched;
use crate::workload::snapshot_documents;

#[test]
fn a_checkpoint_shows_nothing_that_a_power_cut_could_still_take() {
    let disk = SimFs::new();
    let (watched, switch) = Watched::while_on(&disk, |disk, call| {
        if disk.read_now("state.json").is_some() {
            // What the snapshot shows, the log must have without it.
            let cut = disk.if_crashed(CrashMode::Nothing);
            let _ = cut.remove_now("state.json");
            assert_eq!(documents(&open(&cut, 2).unwrap().view()).len(), 1, "call {call}");
        }
    });
    let store = builder(Arc::new(watched), Arc::default(), 1).options(small()).open().unwrap();
    let commit = store.submit(Durability::Buffered, |tx| tx.save_task_json(r#"{"id": "a"}"#));
    commit.unwrap().wait().unwrap();
    switch.set(true);
    store.checkpoint().unwrap();
    switch.set(false);
    assert!(switch.calls() > 10, "{} places", switch.calls());
    let cut = disk.if_crashed(CrashMode::Nothing);
    let shown = snapshot_documents(&disk.read_now("state.json").unwrap());
    assert_eq!(documents(&open(&cut, 2).unwrap().view()), shown);
    assert_eq!(shown.len(), 1);
}

#[test]
fn the_names_that_a_checkpoint_made_in_the_mirror_are_durable() {
    let disk = SimFs::new();
    disk.set_rules(Rules::Unordered);
    let store = open(&disk, 1).unwrap();
    // The files get their names out of `wal/`, whose flush for the index would do as well.
    disk.plant_now("wal/state.index", Kind::Directory).unwrap();
    store.save_task_json(r#"{"id": "a"}"#).unwrap();
    store.checkpoint().unwrap();
    assert!(disk.if_crashed(CrashMode::Nothing).read_now("tasks/a.json").is_some());
}

#[test]
fn a_checkpoint_without_a_change_writes_nothing_and_rotates_no_backup_away() {
    let disk = SimFs::new();
    let store = open(&disk, 1).unwrap();
    assert!(!store.checkpoint().unwrap().written, "there is nothing yet");
    store.save_task_json(r#"{"id": "a"}"#).unwrap();
    assert!(store.checkpoint().unwrap().written);
    store.save_task_json(r#"{"id": "a", "n": 2}"#).unwrap();
    assert!(store.checkpoint().unwrap().written);
    let before = files(&disk);
    for _ in 0..5 {
        let made = store.checkpoint().unwrap();
        assert!(!made.written && made.files_changed == 0, "{made:?}");
    }
    assert_eq!(files(&disk), before);
    store.shutdown().unwrap();
    let backups = |disk: &SimFs| {
        disk.names().into_iter().filter(|name| name.starts_with("state.backup.")).count()
    };
    assert_eq!(backups(&disk), 1);
    for opening in 2..5 {
        open(&disk, opening).unwrap().shutdown().unwrap();
    }
    assert_eq!(backups(&disk), 1, "openings without a change rotate nothing either");
}

#[test]
fn the_log_is_bounded_by_checkpoints_and_backups_by_their_number() {
    let disk = SimFs::new();
    let store = open(&disk, 1).unwrap();
    let mut sizes = Vec::new();
    for round in 0..12 {
        for task in 0..20 {
            let text = format!(r#"{{"id": "t{task}", "round": {round}}}"#);
            store.save_task_json(&text).unwrap();
        }
        store.checkpoint().unwrap();
        sizes.push(store.status().unwrap().wal_bytes);
    }
    assert!(sizes.last().unwrap() <= &(sizes[3] * 2), "{sizes:?}");
    assert_eq!(store.status().unwrap().backup_count, 2);
    store.shutdown().unwrap();
    assert!(at(&disk, 2).verify().unwrap().ok);
}

#[test]
fn a_full_log_asks_for_a_checkpoint_and_tells_of_it() {
    let disk = SimFs::new();
    let options = walden::Options { checkpoint_log_bytes: 64 << 10, ..crate::support::small() };
    let store = at(&disk, 1).options(options).open().unwrap();
    let names = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let heard = names.clone();
    store.on_event(move |event: &Event| heard.lock().unwrap().push(event.name()));
    for round in 0..40 {
        store.save_task_json(&format!(r#"{{"id": "t", "round": {round}}}"#)).unwrap();
        store.step();
    }
    let names = names.lock().unwrap().clone();
    assert!(names.contains(&"autosave:triggered") && names.contains(&"state:saved"), "{names:?}");
    assert!(disk.read_now("state.json").is_some());
}

#[test]
fn a_mirror_that_lags_behind_a_cut_log_is_still_known_as_the_engines_own() {
    let disk = SimFs::new();
    let saved = Arc::new(AtomicU64::new(0));
    let count = saved.clone();
    let store = at(&disk, 1)
        .options(Options { checkpoint_log_bytes: 64 << 10, ..small() })
        .on_event(move |event| {
            count.fetch_add(u64::from(matches!(event, Event::StateSaved { .. })), SeqCst);
        })
        .open()
        .unwrap();
    let (mut shown, mut saved_since_shown, mut lagged_most) = (None, 0, 0);
    for round in 0..400 {
        let text = format!(r#"{{"id": "t{}", "round": {round}}}"#, round % 20);
        store.save_task_json(&text).unwrap();
        store.step();
        if round == 40 {
            store.checkpoint().unwrap();
        }
        let now = disk.read_now("tasks/t3.json");
        if now != shown {
            (shown, saved_since_shown) = (now, saved.load(SeqCst));
        }
        let lagged = saved.load(SeqCst) - saved_since_shown;
        lagged_most = lagged_most.max(lagged);
        if lagged >= 3 && shown.is_some() {
            // The index knows it too, and the store does without one.
            for keeps_index in [true, false] {
                let left = disk.if_killed();
                if !keeps_index {
                    left.remove_now("wal/state.index").unwrap();
                }
                let killed = open(&left, 2).unwrap();
                assert_eq!(killed.recovery().problems, [], "after round {round}, {keeps_index}");
            }
        }
    }
    assert!(lagged_most >= 3, "the log was not cut below what a file shows: {lagged_most}");
}

/// Opens what a crash before a call left, and checks that nothing in it passes for a person's.
pub(crate) fn finds_no_edit(after: &SimFs, call: u64) {
    let store = open(after, 2).unwrap();
    let harmless = |kind| matches!(kind, ProblemKind::Torn | ProblemKind::Stale);
    let found = &store.recovery().problems;
    assert!(found.iter().all(|problem| harmless(problem.kind)), "call {call}: {found:?}");
    store.checkpoint().unwrap();
    assert!(!after.names().iter().any(|name| name.starts_with("conflicts/")));
}

#[test]
fn a_crash_at_any_call_while_the_mirror_lags_is_no_persons_edit() {
    let disk = SimFs::new();
    let (watched, switch) = Watched::while_on(&disk, |disk, call| {
        for after in [disk.if_killed(), disk.if_crashed(CrashMode::Random(call))] {
            finds_no_edit(&after, call);
        }
    });
    let store = builder(Arc::new(watched), Arc::default(), 1)
        .options(Options { checkpoint_log_bytes: 64 << 10, ..small() })
        .open()
        .unwrap();
    for round in 0..110 {
        let text = format!(r#"{{"id": "t{}", "round": {round}}}"#, round % 5);
        store.save_task_json(&text).unwrap();
        switch.set(round > 50);
        store.step();
        if round == 10 {
            store.checkpoint().unwrap();
        }
    }
    switch.set(false);
    let tried = switch.calls();
    println!("{tried} places, a kill and a power cut at each");
    assert!(tried > 100, "{tried} places are too few to prove anything");
}

#[test]
fn an_edit_in_the_same_tick_as_a_checkpoint_is_seen_by_the_next() {
    for can_set_times in [true, false] {
        let disk = SimFs::new();
        if !can_set_times {
            let refusal = Fault::Sticky(std::io::ErrorKind::PermissionDenied);
            disk.fail_when(CallKind::SetModified, 1, refusal);
        }
        let store = open(&disk, 1).unwrap();
        store.save_task_json(r#"{"id": "a", "name": "one"}"#).unwrap();
        disk.set_clock_stands_still(true);
        assert!(store.checkpoint().unwrap().written);
        if can_set_times {
            assert!(!store.checkpoint().unwrap().written, "nothing changed");
        }
        let edit = |file: &str, from: &str, to: &str| {
            let text = String::from_utf8(disk.read_now(file).unwrap()).unwrap();
            disk.write_now(file, text.replace(from, to).as_bytes()).unwrap();
        };
        edit("state.json", "one", "two");
        assert!(store.checkpoint().unwrap().written);
        assert_eq!(store.task("a").unwrap().unwrap().extra["name"], "two");
        store.shutdown().unwrap();
        edit("tasks/a.json", "two", "six");
        let store = open(&disk, 2).unwrap();
        let problems: Vec<_> = store.recovery().problems.iter().map(|found| found.kind).collect();
        assert_eq!(problems, [ProblemKind::Edited]);
    }
}

#[test]
fn a_store_that_was_shut_down_opens_without_reading_its_mirror() {
    let disk = SimFs::new();
    let store = open(&disk, 1).unwrap();
    for round in 0..3 {
        for task in 0..50 {
            store.save_task_json(&format!(r#"{{"id": "t{task}", "round": {round}}}"#)).unwrap();
        }
        store.checkpoint().unwrap();
    }
    drop(store);
    let of_mirror = |disk: &SimFs, before: usize, verb: &str| {
        let calls = disk.trace().split_off(before);
        calls.iter().filter(|call| call.starts_with(&format!("{verb} tasks/"))).count()
    };
    for unclean in [false, true] {
        let disk = if unclean { disk.kill() } else { disk.clone() };
        if unclean {
            // Everything is read after an unclean stop, and known from then on.
            let store = open(&disk, 2).unwrap();
            store.save_task_json(r#"{"id": "new"}"#).unwrap();
            store.shutdown().unwrap();
        }
        let before = disk.trace().len();
        let view = at(&disk, 3).open_read_only().unwrap();
        assert_eq!(of_mirror(&disk, before, "open") + of_mirror(&disk, before, "read"), 0);
        assert!(view.len(walden::Collection::Task) >= 50);
        let store = open(&disk, 4).unwrap();
        assert_eq!(store.recovery().problems, vec![]);
        assert_eq!(of_mirror(&disk, before, "open") + of_mirror(&disk, before, "read"), 0);
        assert!(of_mirror(&disk, before, "stat") >= 50);
    }
}
