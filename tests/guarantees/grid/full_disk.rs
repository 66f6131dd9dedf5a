//! A disk that is full: writes are refused, deletions go through from what every segment keeps back for
//! them, nothing is left half-made, and when there is room again everything goes on by itself.

use std::time::Duration;

use walden::fs::sim::{CrashMode, SimFs};
use walden::wal::LogOptions;
use walden::{Durability, Error, Options, Result, Store};

use super::phases::{Phase, Start};
use super::type_of;
use crate::support::{PATIENCE, TestClock, at, builder, documents, open, small, within};

/// Segments of which an eighth are four blocks.
fn roomy() -> Options {
    let log =
        LogOptions { segment_bytes_min: 128 << 10, segment_bytes_max: 128 << 10, ..small().log };
    Options { log, ..small() }
}

fn save(store: &Store, id: usize, bytes: usize) -> Result<()> {
    let text = "x".repeat(bytes);
    store.save_task_json(&format!(r#"{{"id": "t{id}", "description": "{text}"}}"#)).map(drop)
}

/// Fills the log of a disk without room, so that the next group needs another segment.
fn fill(store: &Store, disk: &SimFs) -> usize {
    disk.set_free_bytes(0);
    let refused = (0..1000).find(|id| save(store, *id, 100).is_err());
    let saved = refused.expect("a full disk refuses some time");
    assert!(matches!(save(store, saved, 100), Err(Error::DiskFull { .. })));
    saved
}

fn is_there(disk: &SimFs, id: usize) -> bool {
    let store = open(disk, 900).unwrap();
    store.task_json(&format!("t{id}")).is_some()
}

#[test]
fn deletes_go_through_on_a_full_disk_until_what_is_kept_for_them_is_used_up() -> Result<()> {
    let disk = SimFs::new();
    let store = at(&disk, 1).options(roomy()).open()?;
    let saved = fill(&store, &disk);
    let mut deleted = 0;
    let refusal = loop {
        match store.delete_task(&format!("t{deleted}")) {
            Ok(was_there) => assert!(was_there),
            Err(error) => break error,
        }
        let cut = disk.if_crashed(CrashMode::Nothing);
        cut.set_free_bytes(1 << 30);
        assert!(!is_there(&cut, deleted) && is_there(&cut, deleted + 1), "{deleted}");
        deleted += 1;
        assert!(matches!(save(&store, 2000, 1), Err(Error::DiskFull { .. })), "only deletes");
    };
    assert_eq!(deleted, 4, "an eighth of a segment of 128 KiB, by blocks of 4 KiB");
    assert!(matches!(refusal, Error::DiskFull { .. }), "{refusal}");
    assert!(store.task_json(&format!("t{deleted}")).is_some(), "what was refused has no effect");
    disk.set_free_bytes(1 << 30);
    save(&store, saved, 100)?;
    store.delete_task(&format!("t{deleted}"))?;
    let ids: Vec<_> = documents(&store.view()).into_keys().collect();
    let left = documents(&open(&disk.if_crashed(CrashMode::Nothing), 901)?.view());
    assert_eq!(left.into_keys().collect::<Vec<_>>(), ids);
    assert_eq!(ids.len(), saved - deleted, "one more was saved, and one more deleted");
    store.shutdown()
}

#[test]
fn a_transaction_of_deletes_goes_through_whole_and_beside_writes_that_are_refused() -> Result<()> {
    let disk = SimFs::new();
    let store = at(&disk, 1).options(roomy()).open()?;
    let saved = fill(&store, &disk);
    // All are queued before the first is waited for, so they are one group.
    let delete = |ids: std::ops::Range<usize>| {
        store.submit(Durability::Sync, |tx| {
            ids.clone().try_for_each(|id| tx.delete_task(&format!("t{id}")))
        })
    };
    let first = delete(0..3)?;
    let write = store.submit(Durability::Sync, |tx| tx.save_task_json(r#"{"id": "new"}"#))?;
    let mixed = store.submit(Durability::Sync, |tx| {
        tx.delete_task("t9")?;
        tx.save_task_json(r#"{"id": "other"}"#)
    })?;
    let second = delete(3..5)?;
    assert!(matches!(write.wait(), Err(Error::DiskFull { .. })));
    assert!(matches!(mixed.wait(), Err(Error::DiskFull { .. })));
    assert!(first.wait()? < second.wait()?, "in their order");
    let found = documents(&open_again(&disk)?.view());
    assert_eq!(found, documents(&store.view()));
    assert_eq!(found.len(), saved - 5);
    Ok(())
}

/// After a power cut, and with room.
fn open_again(disk: &SimFs) -> Result<Store> {
    let cut = disk.if_crashed(CrashMode::Nothing);
    cut.set_free_bytes(1 << 30);
    open(&cut, 900)
}

#[test]
fn what_a_log_keeps_to_reuse_it_makes_room_before_any_backup_goes() -> Result<()> {
    let disk = SimFs::new();
    let store = at(&disk, 1).options(roomy()).open()?;
    let kept =
        |disk: &SimFs, end: &str| disk.names().iter().filter(|name| name.ends_with(end)).count();
    let backups = |disk: &SimFs| disk.names().iter().filter(|name| name.contains("backup")).count();
    // A cut comes with the second snapshot above a segment.
    for id in 0..400 {
        save(&store, id, 2000)?;
        // Seals are flushed by the next preparation, and keep their segments open until then.
        store.step();
        if id % 80 == 79 {
            store.checkpoint()?;
        }
        if kept(&disk, ".tmp") > 0 {
            break;
        }
    }
    assert!(kept(&disk, ".tmp") > 0, "{:?}", disk.names());
    let (before, spares) = (backups(&disk), kept(&disk, ".tmp"));
    save(&store, 91, 60_000)?;
    let length = disk.read_now("state.json").unwrap().len() as u64;
    disk.set_free_bytes(length);
    store.checkpoint()?;
    assert!(kept(&disk, ".tmp") < spares && backups(&disk) >= before, "{:?}", disk.names());
    disk.set_free_bytes(1 << 30);
    store.shutdown()?;
    assert_eq!(kept(&disk, ".tmp"), 0, "{:?}", disk.names());
    Ok(())
}

#[test]
fn what_deletes_make_room_for_is_written_without_anybodys_help() -> Result<()> {
    let disk = SimFs::new();
    let clock = std::sync::Arc::new(TestClock::default());
    let fs = std::sync::Arc::new(disk.clone());
    let store = builder(fs, clock.clone(), 1).options(roomy()).open()?;
    for id in 500..520 {
        save(&store, id, 9000)?;
    }
    store.checkpoint()?;
    fill(&store, &disk);
    store
        .submit(Durability::Sync, |tx| {
            (500..520).try_for_each(|id| tx.delete_task(&format!("t{id}")))
        })?
        .wait()?;
    clock.advance(Duration::from_secs(2));
    store.step();
    assert!(disk.read_now("tasks/t500.json").is_none(), "its removal is logged like a deletion");
    save(&store, 3000, 100)?;
    let found = documents(&open_again(&disk)?.view());
    assert_eq!(found, documents(&store.view()));
    Ok(())
}

#[test]
fn a_disk_that_is_full_at_any_moment_poisons_nothing_and_heals_when_there_is_room() {
    let (refused, runs) = within(PATIENCE, || {
        let (mut refused, mut runs) = (0, 0);
        for phase in Phase::ALL {
            let start = Start::new(phase);
            for free_bytes in (0..12_u64).map(|n| n * 700).chain([12_000, 30_000, 45_000, 90_000]) {
                let what = format!("{phase:?} with {free_bytes} bytes free");
                let mut world = start.prepared();
                let disk = world.faulty.disk.clone();
                disk.set_free_bytes(free_bytes);
                if let Err(error) = world.act(phase) {
                    assert_eq!(type_of(&error), "DiskFull", "{what}: {error}");
                    refused += 1;
                }
                // A whole segment is kept to be reused.
                let is_whole =
                    |name: &str| disk.read_now(name).is_some_and(|bytes| bytes.len() == 44 << 10);
                let half = |name: &String| {
                    name.ends_with(".tmp") && !is_whole(name) || name.ends_with(".part")
                };
                let half: Vec<String> = disk.names().into_iter().filter(half).collect();
                assert!(half.is_empty(), "{what}: {half:?}");
                disk.set_free_bytes(1 << 30);
                world.survives(&what);
                if world.run.store.is_some() {
                    assert!(!world.probe(&what), "{what}: poisoned");
                }
                assert_eq!(world.ends_well(&what), [], "{what}");
                runs += 1;
            }
        }
        (refused, runs)
    });
    println!("{refused} of {runs} refused");
    assert!(refused > 40, "{refused} of {runs}");
}
