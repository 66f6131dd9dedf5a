//! Bad input and limits (G9): refused with a typed error that says where, and nothing changed.

use std::sync::Arc;
use std::time::Duration;

use walden::fs::sim::{CrashMode, SimFs};
use walden::{Durability, Error, Options, Store};

use crate::support::{TestClock, at, builder, documents, open, small};

#[test]
fn what_is_no_acceptable_document_is_refused_and_nothing_is_changed() {
    let disk = SimFs::new();
    let store = open(&disk, 1).unwrap();
    store.save_task_json(r#"{"id": "a", "n": 1}"#).unwrap();
    let before = store.view().lsn();
    let deep = format!(r#"{{"id": "a", "d": {}{}}}"#, "[".repeat(200), "]".repeat(200));
    let bad = [
        "",
        "null",
        "[]",
        "\"a\"",
        "{",
        "{\"id\": \"a\"",
        "{\"id\": \"a\"} x",
        "{\"id\": 7}",
        "{\"id\": null}",
        "{\"no\": \"id\"}",
        "{\"id\": \"a\", \"id\": \"b\"}",
        "{\"id\": \"a\", \"x\": {\"k\": 1, \"k\": 2}}",
        "{\"id\": \"a\", \"x\": \"\\ud800\"}",
        "{\"id\": \"a\", \"x\": 01}",
        "{\"id\": \"a\", \"x\": NaN}",
        "\u{feff}{\"id\": \"a\"}",
        deep.as_str(),
    ];
    for text in bad {
        for refused in [store.save_task_json(text), store.save_session_json(text)] {
            assert!(matches!(refused, Err(Error::Invalid { .. })), "{text}: {refused:?}");
        }
        let refused = store.transaction(|tx| {
            tx.save_task_json(r#"{"id": "half"}"#)?;
            tx.save_task_json(text)
        });
        assert!(matches!(refused, Err(Error::Invalid { .. })), "{text}: {refused:?}");
    }
    for patch in ["", "[]", "3", "{\"id\": \"other\"}", "{\"a\": 1, \"a\": 2}"] {
        let refused = store.patch_task_json("a", patch);
        assert!(matches!(refused, Err(Error::Invalid { .. })), "{patch}: {refused:?}");
    }
    assert!(matches!(store.patch_task_json("none", "{}"), Err(Error::NotFound { .. })));
    assert!(matches!(store.append_task_log_json("none", "{}"), Err(Error::NotFound { .. })));
    assert_eq!(store.load_tasks().unwrap().len(), 1);
    assert_eq!(&*store.task_json("a").unwrap(), r#"{"id": "a", "n": 1}"#);
    assert!(store.view().lsn() >= before);
}

#[test]
fn an_oversized_document_or_transaction_is_refused_and_the_largest_is_not() {
    let disk = SimFs::new();
    let options = Options { document_bytes_max: 1000, transaction_bytes_max: 3000, ..small() };
    let store = at(&disk, 1).options(options).open().unwrap();
    let of = |id: &str, bytes: usize| {
        let empty = format!(r#"{{"id": "{id}", "x": ""}}"#).len();
        format!(r#"{{"id": "{id}", "x": "{}"}}"#, "y".repeat(bytes - empty))
    };
    store.save_task_json(&of("a", 1000)).unwrap();
    assert!(matches!(store.save_task_json(&of("b", 1001)), Err(Error::Invalid { .. })));
    assert!(matches!(store.patch_task_json("a", r#"{"z": 1}"#), Err(Error::Invalid { .. })));
    assert!(matches!(store.append_task_log_json("a", "{}"), Err(Error::Invalid { .. })));
    let refused = store
        .transaction(|tx| (0..4).try_for_each(|n| tx.save_task_json(&of(&format!("t{n}"), 900))));
    assert!(matches!(refused, Err(Error::Invalid { .. })), "{refused:?}");
    assert_eq!(store.load_tasks().unwrap().len(), 1);
    drop(store);
    assert_eq!(open(&disk, 2).unwrap().task_json("a").unwrap().len(), 1000);
}

#[test]
fn a_transaction_larger_than_a_segment_is_one_group_all_the_same() {
    let disk = SimFs::new();
    let store = open(&disk, 1).unwrap();
    let text = "z".repeat(30_000);
    store
        .transaction(|tx| {
            (0..3)
                .try_for_each(|n| tx.save_task_json(&format!(r#"{{"id": "t{n}", "x": "{text}"}}"#)))
        })
        .unwrap();
    let left = disk.if_crashed(walden::fs::sim::CrashMode::Nothing);
    assert_eq!(open(&left, 2).unwrap().load_tasks().unwrap().len(), 3);
}

#[test]
fn options_that_cannot_be_are_refused_before_anything_is_made() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state");
    for options in [
        Options { backups: 0, ..Options::default() },
        Options { queue_bytes_max: 0, ..Options::default() },
        Options { queue_entries_max: 0, ..Options::default() },
        Options { document_bytes_max: 0, ..Options::default() },
        Options { document_bytes_max: usize::MAX, ..Options::default() },
        Options { checkpoint_log_bytes: 1, ..Options::default() },
    ] {
        let opened = Store::builder(&path).options(options).open();
        assert!(matches!(opened, Err(Error::Invalid { .. })), "{opened:?}");
    }
    assert!(!path.exists());
}

#[test]
fn a_directory_that_cannot_be_one_is_a_typed_error() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "mine").unwrap();
    for path in [file.clone(), file.join("below")] {
        assert!(matches!(Store::open(&path), Err(Error::Io { .. })), "{}", path.display());
        assert!(Store::builder(&path).open_read_only().is_err());
    }
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "mine");
    let state = dir.path().join("state");
    std::fs::create_dir(&state).unwrap();
    std::fs::write(state.join("wal"), "mine").unwrap();
    assert!(matches!(Store::open(&state), Err(Error::Io { .. })));
    assert_eq!(std::fs::read_to_string(state.join("wal")).unwrap(), "mine");
}

#[test]
fn a_directory_without_permission_is_a_typed_error() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state");
    std::fs::create_dir(&path).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o500)).unwrap();
    if std::fs::write(path.join("probe"), "").is_ok() {
        println!("skipped: this user may write anywhere (mode bits bind no root)");
        return;
    }
    assert!(matches!(Store::open(&path), Err(Error::Io { .. })));
    assert_eq!(std::fs::read_dir(&path).unwrap().count(), 0);
}

#[test]
fn a_buffered_write_is_durable_a_second_later() {
    let disk = SimFs::new();
    let clock = Arc::new(TestClock::default());
    let rare = Options { mirror_interval: Duration::from_secs(3600), ..Options::default() };
    let store = builder(Arc::new(disk.clone()), clock.clone(), 1).options(rare).open().unwrap();
    let commit = store.submit(Durability::Buffered, |tx| tx.save_task_json(r#"{"id": "a"}"#));
    commit.unwrap().wait().unwrap();
    let left = || documents(&open(&disk.if_crashed(CrashMode::Nothing), 2).unwrap().view()).len();
    assert_eq!(left(), 0, "nothing has flushed it yet");
    clock.advance(Duration::from_secs(1));
    store.step();
    assert_eq!(left(), 1);
}

#[test]
fn what_was_buffered_before_a_sync_is_durable_and_what_comes_behind_is_not() {
    let disk = SimFs::new();
    let store = open(&disk, 1).unwrap();
    let left = || documents(&open(&disk.if_crashed(CrashMode::Nothing), 2).unwrap().view()).len();
    for round in 0..3 {
        for (number, are_left) in [(0, 2 * round), (1, 2 * round + 2)] {
            let text = format!(r#"{{"id": "{round}-{number}"}}"#);
            let commit = store.submit(Durability::Buffered, |tx| tx.save_task_json(&text));
            commit.unwrap().wait().unwrap();
            if number == 1 {
                store.sync().unwrap();
            }
            assert_eq!(left(), are_left);
        }
    }
}

#[test]
fn what_a_caller_wrote_by_itself_is_durable_when_it_is_old_though_the_writer_thread_slept() {
    let disk = SimFs::new();
    let options = Options {
        durability: Durability::Buffered,
        buffered_age_max: Duration::from_millis(20),
        witness_after: Duration::from_secs(3600),
        // A pass of the mirror or a checkpoint would flush it too.
        mirror_interval: Duration::from_secs(3600),
        checkpoint_interval: Duration::from_secs(3600),
        ..Options::default()
    };
    let store = Store::builder("sim").fs(Arc::new(disk.clone())).options(options).open().unwrap();
    for round in 1..=3 {
        // Nothing is due, so the writer thread sleeps until somebody wakes it.
        std::thread::sleep(Duration::from_millis(50));
        store.save_task_json(&format!(r#"{{"id": "{round}"}}"#)).unwrap();
        let left = || documents(&open(&disk.if_crashed(CrashMode::Nothing), 2).unwrap().view());
        let begun = std::time::Instant::now();
        while left().len() < round {
            assert!(begun.elapsed() < Duration::from_secs(10), "nobody flushes it");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}
