//! Session logs and reports on failing disks (G8): a flush that failed is not believed, nothing is cut
//! from the log before the files are durable, and what could not be written is made good.

use std::sync::{Arc, Mutex};

use serde_json::json;
use walden::fs::Kind;
use walden::fs::sim::{CallKind, CrashMode, Fault, SimFs};
use walden::{Error, Event, Options, Store};

use crate::edits::conflicts;
use crate::outputs_shared::{A, R, text};
use crate::support::{PATIENCE, builder, open, small, within};
use crate::watched::Watched;

#[test]
fn the_log_is_not_cut_before_outputs_are_flushed_and_a_failed_flush_is_not_believed() {
    for kind in [CallKind::Sync, CallKind::SyncDir] {
        let mut struck = 0;
        for nth in 1.. {
            let disk = SimFs::new();
            let store = open(&disk, 1).unwrap();
            let wanted = "x".repeat(5000);
            store.append_session_log("a", &wanted).unwrap();
            let fired = disk.faults_fired();
            disk.fail_when(kind, nth, Fault::Errno(5));
            let mut failed = false;
            for round in 0..4 {
                let grow = format!("{{\"id\": \"t\", \"n\": \"{round}{}\"}}", "y".repeat(30_000));
                if store.save_task_json(&grow).is_err() {
                    store.reopen().unwrap();
                }
                failed |= store.checkpoint().is_err();
            }
            if disk.faults_fired() == fired {
                break;
            }
            struck += u64::from(failed);
            let left = disk.if_crashed(CrashMode::Nothing);
            open(&left, 70).unwrap();
            assert_eq!(text(&left, A), wanted, "{kind:?} {nth}");
        }
        println!("{kind:?}: {struck} checkpoints failed");
        assert!(struck > 3, "{kind:?}: {struck}");
    }
}

/// Checks that after one failure of any look at a file, while `fallible` runs, `next` goes well, and nothing is
/// taken for an edit; gives how many failed.
fn any_look_fails(
    first: impl Fn(&SimFs, &Store),
    fallible: impl Fn(&Store) -> bool,
    next: impl Fn(&Store, &str),
) -> (usize, usize) {
    let (mut struck, mut seen) = (0, 0);
    for nth in 1.. {
        let disk = SimFs::new();
        let store = open(&disk, 1).unwrap();
        first(&disk, &store);
        let fired = disk.faults_fired();
        disk.fail_when(CallKind::Stat, nth, Fault::Errno(5));
        seen += usize::from(!fallible(&store));
        if disk.faults_fired() == fired {
            return (struck, seen);
        }
        struck += 1;
        disk.clear_faults();
        next(&store, &format!("look {nth}"));
        let kept: Vec<_> = disk.names().into_iter().filter(|name| name.contains('~')).collect();
        assert!(kept.is_empty(), "look {nth}: nobody edited anything: {kept:?}");
    }
    unreachable!()
}

#[test]
fn what_is_written_and_cannot_be_looked_at_is_no_edit() {
    let begin = |_: &SimFs, store: &Store| {
        store.append_session_log("a", "one\n").unwrap();
    };
    let replaced = |store: &Store, what: &str| {
        store.save_session_log("a", "last\n").unwrap_or_else(|error| panic!("{what}: {error}"));
    };
    let append = |store: &Store| store.append_session_log("a", "two\n").is_ok();
    let save = |store: &Store| store.save_session_log("a", "two, longer\n").is_ok();
    let (struck, _) = any_look_fails(begin, append, replaced);
    assert!(struck >= 4, "{struck}");
    let (struck, _) = any_look_fails(begin, save, replaced);
    assert!(struck >= 4, "{struck}");
}

#[test]
fn a_copy_for_a_flush_that_failed_is_known_though_no_look_at_it_succeeds() {
    let distrusted = |disk: &SimFs, store: &Store| {
        store.append_session_log("a", "one\n").unwrap();
        disk.fail_path(A, CallKind::Sync, 1, Fault::Errno(5));
        store.checkpoint().unwrap_err();
    };
    let checkpoint = |store: &Store| store.checkpoint().is_ok();
    let again = |store: &Store, what: &str| {
        store.checkpoint().unwrap_or_else(|error| panic!("{what}: {error}"));
    };
    let (struck, failed) = any_look_fails(distrusted, checkpoint, again);
    assert!(struck >= 3 && failed > 0, "{struck} {failed}");
}

#[test]
fn new_contents_that_wait_for_their_name_are_not_forgotten_with_older_ones() {
    let mut struck = 0;
    for nth in 1.. {
        let disk = SimFs::new();
        let store = open(&disk, 1).unwrap();
        store.save_session_log("a", "one\n").unwrap();
        disk.fail_when(CallKind::Rename, 1, Fault::Errno(5));
        store.save_session_log("a", "two\n").unwrap();
        disk.fail_when(CallKind::Rename, 1, Fault::Errno(5));
        let fired = disk.faults_fired();
        disk.fail_when(CallKind::Remove, nth, Fault::Errno(5));
        let saved = store.save_session_log("a", "three\n");
        struck += u64::from(saved.is_ok() && disk.faults_fired() == fired + 2);
        if disk.faults_fired() < fired + 2 {
            break;
        }
        disk.clear_faults();
        for round in 0..4 {
            let grow = format!("{{\"id\": \"t\", \"n\": \"{round}{}\"}}", "y".repeat(30_000));
            store.save_task_json(&grow).unwrap();
            store.checkpoint().unwrap();
        }
        let wanted = if saved.is_ok() { "three\n" } else { "two\n" };
        assert_eq!(text(&disk, A), wanted, "removal {nth}");
        let left = disk.if_crashed(CrashMode::Nothing);
        open(&left, 2).unwrap();
        assert_eq!(text(&left, A), wanted, "removal {nth}");
    }
    assert!(struck > 0);
}

#[test]
fn what_takes_the_name_at_any_call_of_a_replacement_is_left_and_the_contents_are_kept() {
    let (mut replaced, mut kept) = (0, 0);
    for place in 1.. {
        let disk = SimFs::new();
        open(&disk, 1).unwrap().shutdown().unwrap();
        let (watched, switch) = Watched::while_on(&disk, move |disk, call| {
            if call == place {
                disk.plant_now(A, Kind::Other).unwrap();
            }
        });
        let store = builder(Arc::new(watched), Arc::default(), 2).open().unwrap();
        disk.write_now("logs/session_b.log", b"").unwrap();
        switch.set(true);
        let saved = store.save_session_log("a", "one\n");
        switch.set(false);
        if switch.calls() < place {
            break;
        }
        store.checkpoint().unwrap();
        let is_there = disk.read_now(A).as_deref() == Some(b"one\n");
        let is_kept = conflicts(&disk) == ["one\n"];
        assert!(is_there || is_kept || saved.is_err(), "at {place}: {saved:?}");
        (replaced, kept) = (replaced + u64::from(is_there), kept + u64::from(is_kept));
    }
    assert!(replaced > 0 && kept > 0, "{replaced} {kept}");
}

#[test]
fn what_the_cache_shows_after_a_failed_flush_is_not_taken_for_what_was_written() {
    for from in [0, 3000] {
        let disk = SimFs::new();
        let store = open(&disk, 1).unwrap();
        let wanted = "x".repeat(5000);
        store.append_session_log("a", &wanted[..from]).unwrap();
        store.checkpoint().unwrap();
        store.append_session_log("a", &wanted[from..]).unwrap();
        disk.fail_path(A, CallKind::Sync, 1, Fault::Errno(5));
        store.checkpoint().unwrap_err();
        // The pages were dropped, and what is read is what the medium has of the same inode.
        let mut read = wanted.clone().into_bytes();
        read[from.max(4096)..].fill(0);
        disk.write_now(A, &read).unwrap();
        for round in 0..4 {
            let grow = format!("{{\"id\": \"t\", \"n\": \"{round}{}\"}}", "y".repeat(30_000));
            store.save_task_json(&grow).unwrap();
            let error = store.checkpoint().unwrap_err();
            assert!(matches!(&error, Error::Conflict { what, .. } if what.ends_with(A)), "{error}");
        }
        let left = disk.if_crashed(CrashMode::Nothing);
        open(&left, 2).unwrap();
        assert_eq!(text(&left, A), wanted, "the log was not cut");
    }
}

#[test]
fn nothing_is_cut_while_an_output_cannot_be_made_durable() {
    let mut met = 0;
    for nth in 1..12 {
        let disk = SimFs::new();
        let store = open(&disk, 1).unwrap();
        store.append_session_log("a", "one\n").unwrap();
        disk.fail_when(CallKind::Sync, nth, Fault::Errno(5));
        let failed = store.checkpoint().err().is_some_and(|error| error.to_string().contains(A));
        disk.clear_faults();
        if !failed {
            continue;
        }
        met += 1;
        // Its contents can be copied no more.
        walden::fs::Fs::rename(&disk, A, "logs/elsewhere").unwrap();
        for round in 0..4 {
            let grow = format!("{{\"id\": \"t\", \"n\": \"{round}{}\"}}", "y".repeat(30_000));
            store.save_task_json(&grow).unwrap();
            assert!(store.checkpoint().is_err(), "it is told every time");
        }
        let left = disk.if_crashed(CrashMode::Everything);
        open(&left, 3).unwrap();
        assert_eq!(text(&left, A), "one\n");
    }
    assert!(met > 0);
}

#[test]
fn what_a_failed_flush_lost_is_written_again_by_an_opening_in_the_same_boot() {
    let disk = SimFs::new();
    let store = open(&disk, 1).unwrap();
    store.append_session_log("a", "one\n").unwrap();
    let sync = |disk: &SimFs| {
        let file = walden::fs::Fs::open(disk, A, walden::fs::Mode::Write).unwrap();
        file.sync_data()
    };
    disk.fail_when(CallKind::Sync, 1, Fault::Errno(5));
    sync(&disk).unwrap_err();
    let killed = disk.kill();
    drop(store);
    let store = open(&killed, 2).unwrap();
    for round in 0..4 {
        let grow = format!("{{\"id\": \"t\", \"n\": \"{round}{}\"}}", "y".repeat(30_000));
        store.save_task_json(&grow).unwrap();
        store.checkpoint().unwrap();
    }
    let left = killed.if_crashed(CrashMode::Nothing);
    open(&left, 3).unwrap();
    assert_eq!(text(&left, A), "one\n");
}

#[test]
fn the_interval_flushes_outputs_also_if_no_document_changed() {
    within(PATIENCE, || {
        let disk = SimFs::new();
        let options =
            Options { checkpoint_interval: std::time::Duration::from_millis(10), ..small() };
        let builder = Store::builder("sim").options(options).fs(Arc::new(disk.clone()));
        let store = builder.open().unwrap();
        store.append_session_log("a", "one\n").unwrap();
        let flush = format!("sync {A}");
        while !disk.trace().contains(&flush) {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        store.shutdown().unwrap();
    });
}

#[test]
fn a_write_that_fails_behind_its_record_is_told_and_made_good() {
    let disk = SimFs::new();
    let store = open(&disk, 1).unwrap();
    let errors: Arc<Mutex<Vec<String>>> = Arc::default();
    let told = errors.clone();
    store.on_event(move |event| {
        if let Event::SaveError { error } = event {
            told.lock().unwrap().push(error.to_string());
        }
    });
    store.append_session_log("a", "one\n").unwrap();
    // The first write is the record's.
    disk.fail_when(CallKind::Write, 2, Fault::Errno(5));
    store.append_session_log("a", "two\n").unwrap();
    assert_eq!(text(&disk, A), "one\n");
    assert_eq!(errors.lock().unwrap().len(), 1);
    let crashed = disk.if_crashed(CrashMode::Nothing);
    open(&crashed, 80).unwrap();
    assert_eq!(text(&crashed, A), "one\ntwo\n", "by the next opening");
    let killed = disk.if_killed();
    store.append_session_log("a", "three\n").unwrap();
    assert_eq!(text(&disk, A), "one\ntwo\nthree\n", "by the next append");
    disk.fail_when(CallKind::Rename, 1, Fault::Errno(5));
    assert!(
        store.save_report("r", &json!({"n": 1})).is_err(),
        "a report is there or it is an error"
    );
    assert!(disk.read_now(R).is_none());
    store.checkpoint().unwrap();
    assert_eq!(text(&disk, R), "{\n  \"n\": 1\n}\n", "by the next checkpoint");
    open(&killed, 81).unwrap();
    assert_eq!(text(&killed, A), "one\ntwo\n");
}
