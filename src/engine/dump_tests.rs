//! What a dump holds, that it needs nothing of the store's own disk, and that a directory in which it
//! fails is left as it was.

use std::sync::Arc;

use parking_lot::Mutex;

use crate::base::{Error, Event, Result};
use crate::engine::{Options, Store};
use crate::files::backups::list;
use crate::files::snapshot::{Parsed, read};
use crate::fs::Kind;
use crate::fs::sim::{CallKind, CrashMode, Fault, SimFs};
use crate::testing::{Documents, SteppedClock, builder, documents, small};

fn open(disk: &SimFs, seed: u64) -> Store {
    let clock = Arc::new(SteppedClock::default());
    clock.advance(std::time::Duration::from_secs(seed * 100));
    builder(Arc::new(disk.clone()), clock, seed).open().unwrap()
}

/// A store with a few documents, on a disk of its own.
fn store() -> (SimFs, Store) {
    let disk = SimFs::new();
    let store = open(&disk, 1);
    for text in [r#"{"id": "a", "n": 1.00}"#, r#"{"id": "b", "text": "ü"}"#] {
        store.save_task_json(text).unwrap();
    }
    store.save_session_json(r#"{"id": "s"}"#).unwrap();
    (disk, store)
}

/// What a file that was saved elsewhere brings back to the store as it is now.
fn restored(disk: &SimFs, elsewhere: &SimFs, name: &str) -> Documents {
    let disk = disk.if_killed();
    disk.set_free_bytes(1 << 30);
    let store = open(&disk, 7);
    store.save_task_json(r#"{"id": "later"}"#).unwrap();
    disk.save_now(name, &elsewhere.read_now(name).unwrap()).unwrap();
    store.restore(name).unwrap();
    documents(&store.view())
}

#[test]
fn a_store_whose_log_failed_is_dumped_as_reading_shows_it_and_restored_from_that() {
    let (disk, store) = store();
    disk.fail_when(CallKind::Sync, 1, Fault::Errno(5));
    store.save_task_json(r#"{"id": "lost"}"#).unwrap_err();
    assert!(matches!(store.delete_task("a"), Err(Error::Poisoned { .. })));
    let (elsewhere, calls) = (SimFs::new(), disk.calls());
    let name = store.core().dump_to(&elsewhere).unwrap();
    assert_eq!(disk.calls(), calls, "nothing was asked of the disk that failed");
    let lost = elsewhere.crash_with(CrashMode::Nothing);
    let shown = documents(&store.view());
    assert_eq!(shown.len(), 3, "not what is indeterminate");
    assert_eq!(restored(&disk, &lost, &name), shown);
}

#[test]
fn a_full_disk_does_not_keep_the_state_from_being_dumped_to_another() {
    let (disk, store) = store();
    disk.set_free_bytes(0);
    let elsewhere = SimFs::new();
    let name = store.core().dump_to(&elsewhere).unwrap();
    assert_eq!(restored(&disk, &elsewhere, &name), documents(&store.view()));
}

#[test]
fn a_dump_never_takes_the_place_of_a_file_and_never_goes_into_a_store() {
    let (disk, store) = store();
    let elsewhere = SimFs::new();
    let first = store.core().dump_to(&elsewhere).unwrap();
    let bytes = elsewhere.read_now(&first);
    store.save_task_json(r#"{"id": "c"}"#).unwrap();
    let second = store.core().dump_to(&elsewhere).unwrap();
    assert!(second > first, "they sort by time");
    assert_eq!(elsewhere.read_now(&first), bytes);
    assert_eq!(elsewhere.names(), [first, second]);
    let names = disk.names();
    let refused = store.core().dump_to(&disk);
    assert!(matches!(refused, Err(Error::Invalid { .. })), "{refused:?}");
    assert_eq!(disk.names(), names);
}

#[test]
fn a_dump_that_fails_at_any_call_leaves_no_half_file_and_the_store_as_it_was() {
    let (_disk, store) = store();
    let shown = documents(&store.view());
    for fault in [Fault::Errno(5), Fault::Errno(28), Fault::Crash] {
        for call in 1.. {
            let elsewhere = SimFs::new();
            elsewhere.fail_at(call, fault);
            let dumped = store.core().dump_to(&elsewhere);
            if elsewhere.faults_fired() == 0 {
                assert!(call > 6 && dumped.is_ok());
                break;
            }
            let what = format!("{fault:?} at call {call}: {:?}", elsewhere.trace().last());
            match dumped {
                Ok(_) | Err(Error::Io { .. } | Error::DiskFull { .. }) => {}
                Err(error) => panic!("{what}: {error}"),
            }
            for disk in [elsewhere.if_killed(), elsewhere.if_crashed(CrashMode::Nothing)] {
                check(&disk, fault == Fault::Crash, &what).unwrap();
            }
            assert_eq!(documents(&store.view()), shown, "{what}");
        }
    }
    store.save_task_json(r#"{"id": "c"}"#).unwrap();
}

/// Whatever has a backup's name is whole; after an error there is nothing else.
fn check(disk: &SimFs, may_be_half: bool, what: &str) -> Result<()> {
    let backups = list(disk)?;
    for backup in &backups {
        let whole = matches!(read(disk, &backup.name)?, Some(Parsed::Intact(_)));
        assert!(whole, "{what}: {} is not whole", backup.name);
    }
    assert!(may_be_half || backups.len() == disk.names().len(), "{what}: {:?}", disk.names());
    Ok(())
}

#[test]
fn the_last_save_goes_to_the_emergency_directory_where_it_fails() {
    let dir = tempfile::tempdir().unwrap();
    let emergency_dir = Some(dir.path().join("not/yet/there"));
    let disk = SimFs::new();
    let told = Arc::new(Mutex::new(Vec::new()));
    let listener = told.clone();
    let store = builder(Arc::new(disk.clone()), Arc::default(), 1)
        .options(Options { emergency_dir, ..small() })
        .on_event(move |event| {
            if let Event::StateDumped { file } = event {
                listener.lock().push(file.clone());
            }
        })
        .open()
        .unwrap();
    store.save_task_json(r#"{"id": "a"}"#).unwrap();
    disk.set_free_bytes(0);
    let failed = store.shutdown();
    assert!(matches!(failed, Err(Error::DiskFull { .. })), "{failed:?}");
    let told = told.lock();
    let [file] = told.as_slice() else { panic!("{told:?}") };
    let bytes = std::fs::read(file).unwrap();
    assert_eq!(crate::testing::snapshot_documents(&bytes), documents(&store.view()));
}

#[test]
fn a_place_where_nothing_can_be_made_is_an_error_that_names_it() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a file");
    std::fs::write(&file, "").unwrap();
    let (_disk, store) = store();
    for place in [file.clone(), file.join("below")] {
        let error = store.dump(&place).unwrap_err();
        assert!(matches!(&error, Error::Io { path, .. } if path.contains("a file")), "{error}");
    }
    let read_only = SimFs::new();
    read_only.fail_when(CallKind::Create, 1, Fault::Errno(30));
    assert!(matches!(store.core().dump_to(&read_only), Err(Error::Io { .. })));
    read_only.plant_now(".walden", Kind::File).unwrap();
    assert!(matches!(store.core().dump_to(&read_only), Err(Error::Invalid { .. })));
}

#[test]
fn a_dump_that_cannot_get_its_name_fails_with_the_disks_error() {
    let (_, store) = store();
    let elsewhere = SimFs::new();
    elsewhere.fail_when(CallKind::Rename, 1, Fault::Errno(5));
    assert!(matches!(store.core().dump_to(&elsewhere), Err(Error::Io { .. })));
    assert_eq!(elsewhere.names(), Vec::<String>::new());
}
