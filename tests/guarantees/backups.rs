//! Backups (G7, G8, G9): which are kept, that the log's cut relies only on what is proved, that they
//! make room when space is short, and that an editor who holds `state.json` open loses nothing.

use std::io::{Seek, Write};
use std::sync::Arc;

use walden::fs::sim::{CrashMode, SimFs};
use walden::wal::LogOptions;
use walden::{Error, Event, Options, ProblemKind, Store};

use crate::support::{Documents, at, documents, open, small};
use crate::watched::Watched;
use crate::workload::snapshot_documents;

fn backups(disk: &SimFs) -> Vec<String> {
    disk.names().into_iter().filter(|name| name.starts_with("state.backup.")).collect()
}

fn conflicts(disk: &SimFs) -> Vec<Vec<u8>> {
    let names = disk.names().into_iter().filter(|name| name.starts_with("conflicts/"));
    names.map(|name| disk.read_now(&name).unwrap()).collect()
}

/// A document that fills a group of its own.
fn save(store: &Store, round: u32) -> walden::Result<()> {
    let pad = "x".repeat(12_000);
    let text = format!(r#"{{"id": "t{}", "round": {round}, "pad": "{pad}"}}"#, round % 5);
    store.save_task_json(&text).map(|_| ())
}

/// A store that made this many checkpoints, with enough between them to go through segments.
fn checkpointed(disk: &SimFs, options: Options, rounds: u32) -> Store {
    let store = at(disk, 1).options(options).open().unwrap();
    for round in 0..rounds {
        for part in 0..4 {
            save(&store, round * 4 + part).unwrap();
        }
        store.checkpoint().unwrap();
    }
    store
}

#[test]
fn copies_of_an_old_backup_under_new_names_crowd_out_nothing_that_is_needed() {
    let disk = SimFs::new();
    let store = checkpointed(&disk, Options { backups: 4, ..small() }, 4);
    let oldest = disk.read_now(&backups(&disk)[0]).unwrap();
    for copy in 1..=5 {
        let name = format!("state.backup.209901{copy:02}T000000.000000000Z.json");
        disk.write_now(&name, &oldest).unwrap();
    }
    for round in 100..110 {
        save(&store, round).unwrap();
    }
    // So that the present snapshot becomes no backup, and the copies are the newest.
    disk.write_now("state.json", b"{\"tasks\": [\"mine\"]}").unwrap();
    store.checkpoint().unwrap();
    let shown = documents(&store.view());
    let killed = disk.if_killed();
    killed.remove_now("state.json").unwrap();
    assert_eq!(documents(&open(&killed, 2).unwrap().view()), shown);
}

#[test]
fn a_backup_that_a_person_wrote_into_is_not_relied_on_for_the_cut() {
    let disk = SimFs::new();
    let store = checkpointed(&disk, Options { backups: 10, ..small() }, 4);
    let mut scribbled = disk.read_now("state.json").unwrap();
    let last = scribbled.len() - 5;
    scribbled[last] ^= 1;
    disk.write_now("state.backup.20990101T000000.000000000Z.json", &scribbled).unwrap();
    for round in 100..110 {
        save(&store, round).unwrap();
    }
    // So that the present snapshot becomes no backup, and the scribbled one is the newest.
    disk.write_now("state.json", b"{\"tasks\": [\"mine\"]}").unwrap();
    let made = store.checkpoint().unwrap();
    assert!(made.problems.iter().any(|problem| problem.kind == ProblemKind::Edited), "{made:?}");
    assert!(conflicts(&disk).contains(&scribbled), "it is kept, and out of the way");
    let shown = documents(&store.view());
    let killed = disk.if_killed();
    killed.remove_now("state.json").unwrap();
    assert_eq!(documents(&open(&killed, 2).unwrap().view()), shown);
}

#[test]
fn over_the_budget_only_the_newest_backup_is_left() {
    let disk = SimFs::new();
    let store = checkpointed(&disk, Options { backup_bytes_max: 1, ..small() }, 4);
    let status = store.status().unwrap();
    assert_eq!(status.backup_count, 1);
    let size = disk.read_now(&backups(&disk)[0]).unwrap().len() as u64;
    assert_eq!(status.backup_bytes, size);
}

#[test]
fn a_backup_of_each_hour_and_each_day_is_kept_besides_the_last() {
    let disk = SimFs::new();
    let options = Options { backups: 2, backups_hourly: 3, backups_daily: 2, ..small() };
    for opening in 1..40 {
        // Each opening is at a time of its own, 100 seconds later; 40 are a bit more than an hour.
        let store = at(&disk, opening).options(options.clone()).open().unwrap();
        save(&store, u32::try_from(opening).unwrap()).unwrap();
        store.shutdown().unwrap();
    }
    let kept = backups(&disk).len();
    assert!((3..=4).contains(&kept), "the last two and one or two of hours before: {kept}");
}

#[test]
fn a_full_disk_costs_surplus_backups_before_it_costs_a_write() {
    let disk = SimFs::new();
    let store = checkpointed(&disk, Options { backups: 20, ..small() }, 8);
    let before = backups(&disk);
    assert!(before.len() > 5);
    disk.set_free_bytes(10_000);
    let mut refused = 0;
    for round in 100..140 {
        match save(&store, round) {
            Ok(()) => assert_eq!(refused, 0, "writes go through until nothing can be freed"),
            Err(Error::DiskFull { .. }) => refused += 1,
            Err(error) => panic!("{error:?}"),
        }
    }
    let after = backups(&disk);
    assert_eq!(after, before[before.len() - 1..], "the previous snapshot stays, the oldest went");
    assert!(refused > 0, "{refused}");
    let shown = documents(&store.view());
    let cut = disk.if_crashed(CrashMode::Nothing);
    cut.set_free_bytes(1 << 30);
    cut.remove_now("state.json").unwrap();
    assert_eq!(documents(&open(&cut, 2).unwrap().view()), shown);
}

#[test]
fn a_full_disk_costs_surplus_backups_before_it_costs_a_checkpoint() {
    let disk = SimFs::new();
    let store = checkpointed(&disk, Options { backups: 20, ..small() }, 8);
    let before = backups(&disk);
    save(&store, 100).unwrap();
    // Room for the mirror, and none for a snapshot.
    disk.set_free_bytes(30_000);
    let made = store.checkpoint().unwrap();
    assert!(made.written);
    let after = backups(&disk);
    let went = before.iter().filter(|name| !after.contains(name)).count();
    // Besides the snapshot, its record may need a segment.
    assert!(went > 0 && went < before.len() - 1, "no more than must: {before:?} {after:?}");
    assert_eq!(after[..before.len() - went], before[went..], "the oldest went");
    let shown = snapshot_documents(&disk.read_now("state.json").unwrap());
    assert_eq!(documents(&store.view()), shown);
}

/// A store that was killed with backups, how it is opened, and what it showed. It kept no segment to reuse
/// it, which would make room first.
fn killed_with_backups() -> (SimFs, Options, Documents) {
    let disk = SimFs::new();
    let log = LogOptions { reuse_group_bytes: u64::MAX, ..small().log };
    let options = Options { backups: 20, log, ..small() };
    let store = checkpointed(&disk, options.clone(), 8);
    save(&store, 100).unwrap();
    (disk.if_killed(), options, documents(&store.view()))
}

#[test]
fn a_full_disk_costs_surplus_backups_before_it_costs_an_opening() {
    let (full, options, shown) = killed_with_backups();
    full.set_free_bytes(100);
    let before = backups(&full);
    let store = at(&full, 2).options(options).open().unwrap();
    assert_eq!(documents(&store.view()), shown);
    let after = backups(&full);
    assert!(after.len() < before.len() && !after.is_empty(), "{before:?} {after:?}");
    assert_eq!(after, before[before.len() - after.len()..], "the oldest went");
    let poor = full.if_killed();
    for backup in &after[..after.len() - 1] {
        poor.remove_now(backup).unwrap();
    }
    poor.set_free_bytes(100);
    let refused = open(&poor, 3);
    assert!(matches!(refused, Err(Error::DiskFull { .. })), "{refused:?}");
    assert_eq!(backups(&poor).len(), 1, "the previous snapshot stays");
}

#[test]
fn an_opening_on_a_full_disk_has_room_wherever_it_needs_some() {
    let (killed, options, shown) = killed_with_backups();
    let before = backups(&killed).len();
    let mut went = 0;
    // `.walden` takes less than a step; a segment, all before the last.
    for free_bytes in (0..60_000).step_by(100) {
        let full = killed.if_killed();
        full.set_free_bytes(free_bytes);
        let store = at(&full, 2).options(options.clone()).open();
        let store = store.unwrap_or_else(|error| panic!("{free_bytes} bytes free: {error}"));
        assert_eq!(documents(&store.view()), shown);
        went += usize::from(backups(&full).len() < before);
    }
    assert!(went > 100, "{went}");
}

/// Shuts a store down, which may fill the disk at any time, and opens it again.
fn shut_down(store: &Store, disk: &SimFs, options: &Options, shown: &Documents, when: &str) {
    store.shutdown().unwrap_or_else(|error| panic!("{when}: {error}"));
    let store = at(disk, 3).options(options.clone()).open().unwrap();
    assert!(store.recovery().clean, "{when}");
    assert_eq!(&documents(&store.view()), shown, "{when}");
}

#[test]
fn a_shutdown_on_a_full_disk_has_room_wherever_it_needs_some() {
    let (killed, options, shown) = killed_with_backups();
    let mut went = 0;
    for free_bytes in (0..60_000).step_by(100) {
        let full = killed.if_killed();
        let store = at(&full, 2).options(options.clone()).open().unwrap();
        let before = backups(&full).len();
        full.set_free_bytes(free_bytes);
        shut_down(&store, &full, &options, &shown, &format!("{free_bytes} bytes free"));
        went += usize::from(backups(&full).len() < before);
    }
    assert!(went > 100, "{went}");
}

#[test]
fn a_shutdown_has_room_though_the_disk_fills_at_any_of_its_calls() {
    let (killed, options, shown) = killed_with_backups();
    for nth in 1_u64.. {
        let full = killed.if_killed();
        let (watched, switch) = Watched::while_on(&full, move |disk, call| {
            if call == nth {
                disk.set_free_bytes(0);
            }
        });
        let store = at(&full, 2).options(options.clone()).fs(Arc::new(watched)).open().unwrap();
        switch.set(true);
        shut_down(&store, &full, &options, &shown, &format!("full at call {nth}"));
        if switch.calls() < nth {
            assert!(nth > 30, "{nth}");
            return;
        }
    }
}

#[test]
fn what_an_editor_writes_into_a_held_snapshot_is_kept_and_told() {
    let disk = SimFs::new();
    let store = checkpointed(&disk, Options { backups: 10, ..small() }, 2);
    let former = disk.read_now("state.json").unwrap();
    let editor = disk.hold_now("state.json").unwrap();
    save(&store, 100).unwrap();
    let made = store.checkpoint().unwrap();
    assert_eq!(made.problems.len(), 1, "{made:?}");
    editor.write(b"late");
    assert_eq!(disk.read_now(backups(&disk).last().unwrap()).unwrap(), former);
    assert_eq!(conflicts(&disk), [b"late"]);
    drop(editor);
    save(&store, 101).unwrap();
    assert_eq!(store.checkpoint().unwrap().problems, []);
}

#[cfg(target_os = "linux")]
#[test]
fn a_checkpoint_under_an_open_editor_on_the_real_disk_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let told = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let heard = told.clone();
    let store = Store::builder(dir.path())
        .on_event(move |event: &Event| {
            if let Event::Found(problem) = event {
                heard.lock().unwrap().push(problem.detail.clone());
            }
        })
        .open()
        .unwrap();
    store.save_task_json(r#"{"id": "a", "n": 1}"#).unwrap();
    store.checkpoint().unwrap();
    let path = dir.path().join("state.json");
    let former = std::fs::read(&path).unwrap();
    let mut editor = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    store.save_task_json(r#"{"id": "a", "n": 2}"#).unwrap();
    store.checkpoint().unwrap();
    editor.set_len(0).unwrap();
    editor.rewind().unwrap();
    editor.write_all(b"{\"mine\": true}").unwrap();
    drop(editor);
    assert_eq!(store.status().unwrap().backup_count, 1);
    let names = |dir: &std::path::Path, start: &str| -> Vec<std::path::PathBuf> {
        let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap());
        let named = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(start));
        named.map(|entry| entry.path()).collect()
    };
    let backup = &names(dir.path(), "state.backup.")[0];
    assert_eq!(std::fs::read(backup).unwrap(), former);
    let kept = &names(&dir.path().join("conflicts"), "state~")[0];
    assert_eq!(std::fs::read(kept).unwrap(), b"{\"mine\": true}");
    assert_eq!(told.lock().unwrap().len(), 1, "{told:?}");
    store.shutdown().unwrap();
    assert!(walden::verify(dir.path()).unwrap().ok);
}
