//! Bad input beyond one damaged file (G4, G5, G9): directories that are gone or blocked, backups that
//! are cut, a clock that goes backwards, and a hundred thousand files that are nobody's.

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::{Duration, Instant};

use walden::fs::Kind;
use walden::fs::sim::SimFs;
use walden::{ContentHash, Error, Options, ProblemKind};

use crate::bad_input::{reference, without_the_tail};
use crate::support::{TestClock, at, builder, documents, files, open, small};
use crate::workload::snapshot_documents;

/// The disk without a directory, for which something else may have been planted.
fn without(whole: &SimFs, dir: &str, instead: Option<Kind>) -> SimFs {
    let disk = SimFs::new();
    for (name, bytes) in files(whole).iter().filter(|(name, _)| !name.starts_with(dir)) {
        disk.write_now(name, bytes.as_ref().unwrap()).unwrap();
    }
    if let Some(kind) = instead {
        disk.plant_now(dir, kind).unwrap();
    }
    disk
}

#[test]
fn any_directory_that_is_gone_is_made_again_and_one_that_is_needed_is_named_where_its_place_is_taken()
 {
    for is_clean in [true, false] {
        for dir in ["tasks", "sessions", "logs", "reports", "wal"] {
            for instead in [None, Some(Kind::Directory), Some(Kind::File), Some(Kind::Other)] {
                let (whole, state) = reference(1, is_clean);
                let disk = without(&whole, dir, instead);
                let what = format!("{dir}, {instead:?}, clean: {is_clean}");
                let before = files(&disk);
                let view = at(&disk, 90).open_read_only();
                let opened = open(&disk, 91);
                let is_blocked = [Some(Kind::File), Some(Kind::Other)].contains(&instead);
                if is_blocked && ["tasks", "sessions", "wal"].contains(&dir) {
                    assert_eq!(view.is_ok(), dir != "wal", "{what}: a reader needs no mirror");
                    let error = opened.err().unwrap_or_else(|| panic!("{what} is no directory"));
                    assert!(matches!(error, Error::Io { .. }), "{what}: {error}");
                    assert!(error.to_string().contains(dir), "{what}: {error}");
                    assert_eq!(files(&disk), before, "{what}: a refusal changes nothing");
                    continue;
                }
                let store = opened.unwrap_or_else(|error| panic!("{what}: {error}"));
                let found = documents(&store.view());
                assert_eq!(documents(&view.unwrap()), found, "{what}");
                let problems = &store.recovery().problems;
                if dir == "wal" && !is_clean {
                    assert_eq!(found, without_the_tail(&state), "{what}");
                    assert!(problems.iter().any(|one| one.kind == ProblemKind::Missing), "{what}");
                } else {
                    assert_eq!(found, state, "{what}: {problems:#?}");
                }
                drop(store);
                let again = open(&disk, 92).unwrap_or_else(|error| panic!("{what}: {error}"));
                assert_eq!(documents(&again.view()), found, "{what}");
                let shows = |file: &str| disk.read_now(file).is_some();
                assert!(shows("tasks/a.json") && shows("sessions/s.json"), "{what}");
            }
        }
    }
}

#[test]
fn a_backup_that_is_cut_in_half_is_passed_over_where_it_is_needed_and_kept() {
    for is_clean in [true, false] {
        let (whole, state) = reference(1, is_clean);
        let names = whole.names();
        for name in names.iter().filter(|name| name.starts_with("state.backup.")) {
            for has_state in [true, false] {
                let disk = whole.if_killed();
                let bytes = disk.read_now(name).unwrap();
                disk.write_now(name, &bytes[..bytes.len() / 2]).unwrap();
                if !has_state {
                    disk.remove_now("state.json").unwrap();
                }
                let what = format!("{name}, clean: {is_clean}, state.json: {has_state}");
                let store = open(&disk, 2).unwrap_or_else(|error| panic!("{what}: {error}"));
                assert_eq!(documents(&store.view()), state, "{what}: {:#?}", store.recovery());
                let is_newest =
                    names.iter().rfind(|one| one.starts_with("state.backup.")) == Some(name);
                let is_told = store.recovery().problems.iter().any(|problem| problem.file == *name);
                assert!(is_told || has_state || !is_newest, "{what}: {:#?}", store.recovery());
                store.shutdown().unwrap();
                let is_kept = files(&disk)
                    .into_values()
                    .flatten()
                    .any(|kept| kept == bytes[..bytes.len() / 2]);
                assert!(is_kept, "{what}");
                assert_eq!(documents(&open(&disk, 3).unwrap().view()), state, "{what}");
            }
        }
    }
}

#[test]
fn a_backup_that_the_disk_does_not_give_is_passed_over_unless_there_is_nothing_better() {
    for is_clean in [true, false] {
        let (whole, state) = reference(1, is_clean);
        let names = whole.names();
        let newest = names.iter().rfind(|name| name.starts_with("state.backup.")).unwrap();
        whole.spoil_now(newest, ErrorKind::Other).unwrap();
        let disk = whole.if_killed();
        let store = open(&disk, 2).unwrap();
        assert_eq!(documents(&store.view()), state);
        let told = store.recovery().problems.iter().any(|problem| problem.file == *newest);
        assert!(told, "{:#?}", store.recovery());

        let disk = whole.if_killed();
        disk.remove_now("state.json").unwrap();
        let before = files(&disk);
        let refused = open(&disk, 2).unwrap_err();
        assert!(matches!(refused, Error::Io { .. }), "{refused:?}");
        assert!(refused.to_string().contains(newest), "{refused}");
        assert_eq!(files(&disk), before, "a refusal changes nothing");
    }
}

#[test]
fn a_clock_that_goes_backwards_between_two_backups_leaves_their_order_and_loses_no_state() {
    let disk = SimFs::new();
    let mut states = Vec::new();
    for (round, hours) in [(0, 100), (1, 50), (2, 10), (3, 200)] {
        let clock = Arc::new(TestClock::default());
        clock.advance(Duration::from_secs(hours * 3600));
        let options = Options { backups: 10, ..small() };
        let opened = builder(Arc::new(disk.clone()), clock, round).options(options).open();
        let store = opened.unwrap();
        assert_eq!(store.recovery().problems, []);
        store.save_task_json(&format!(r#"{{"id": "a", "round": {round}}}"#)).unwrap();
        states.push(documents(&store.view()));
        store.shutdown().unwrap();
    }
    let names = disk.names().into_iter().filter(|name| name.starts_with("state.backup."));
    let names: Vec<_> = names.collect();
    assert_eq!(names.len(), 3);
    for (name, state) in names.iter().zip(&states) {
        assert_eq!(&snapshot_documents(&disk.read_now(name).unwrap()), state, "{name}");
    }
    disk.remove_now("state.json").unwrap();
    let store = open(&disk, 9).unwrap();
    assert_eq!(&documents(&store.view()), states.last().unwrap());
    store.restore(&names[1]).unwrap();
    assert_eq!(documents(&store.view()), states[1]);
}

#[test]
fn a_hundred_thousand_foreign_files_beside_the_tasks_are_counted_left_and_not_read() {
    const FOREIGN: usize = 100_000;
    let (disk, state) = reference(1, true);
    for n in 0..FOREIGN {
        disk.write_now(&format!("tasks/foreign {n:06}.txt"), b"somebody's").unwrap();
    }
    let calls = usize::try_from(disk.calls()).unwrap();
    let begun = Instant::now();
    let store = open(&disk, 2).unwrap();
    let took = begun.elapsed();
    println!("opened in {took:?}");
    assert!(took < Duration::from_secs(10), "{took:?}");
    assert_eq!(documents(&store.view()), state);
    let problems = &store.recovery().problems;
    assert!((1..=101).contains(&problems.len()), "{} problems", problems.len());
    assert!(problems.iter().all(|problem| problem.kind == ProblemKind::Edited), "{problems:#?}");
    store.save_task_json(r#"{"id": "new"}"#).unwrap();
    store.shutdown().unwrap();
    let trace = disk.trace().split_off(calls);
    assert!(!trace.iter().any(|call| call.starts_with("open tasks/foreign")));
    let left = disk.names().into_iter().filter(|name| name.starts_with("tasks/foreign"));
    assert_eq!(left.count(), FOREIGN);
    let again = open(&disk, 3).unwrap();
    assert!(again.recovery().clean && again.view().task_json("new").is_some());
}

/// The snapshot as a newer version might have written it: its digest is right.
fn of_a_newer_version(bytes: &[u8]) -> Vec<u8> {
    let text = std::str::from_utf8(bytes).unwrap().replacen("2.0.0", "3.0.0", 1);
    let digest_at = text.find("\"digest\": \"").unwrap() + 11;
    let zeroed = format!("{}{}{}", &text[..digest_at], "0".repeat(32), &text[digest_at + 32..]);
    let digest = ContentHash::of(zeroed.as_bytes()).to_string();
    zeroed.replacen(&"0".repeat(32), &digest, 1).into_bytes()
}

#[test]
fn what_a_newer_version_saved_is_refused_what_only_says_so_is_an_edit_and_a_backup_is_passed_over()
{
    let (whole, state) = reference(1, true);
    let snapshot = whole.read_now("state.json").unwrap();
    let disk = whole.if_killed();
    disk.write_now("state.json", &of_a_newer_version(&snapshot)).unwrap();
    let before = files(&disk);
    for refused in [open(&disk, 2).err(), at(&disk, 3).open_read_only().err()] {
        let Some(Error::Unsupported { what, .. }) = refused else { panic!("{refused:?}") };
        assert!(what.ends_with("state.json"), "{what}");
    }
    assert_eq!(files(&disk), before, "a refusal changes nothing");

    let disk = whole.if_killed();
    let edited = String::from_utf8(snapshot).unwrap().replacen("2.0.0", "3.0.0", 1);
    disk.write_now("state.json", edited.as_bytes()).unwrap();
    let store = open(&disk, 2).unwrap();
    assert_eq!(documents(&store.view()), state);
    let told = store.recovery().problems.iter().any(|one| one.kind == ProblemKind::Unreadable);
    assert!(told, "{:#?}", store.recovery());
    store.shutdown().unwrap();
    assert!(files(&disk).into_values().flatten().any(|kept| kept == edited.as_bytes()));

    for has_state in [true, false] {
        let disk = whole.if_killed();
        let names = disk.names();
        let newest = names.iter().rfind(|name| name.starts_with("state.backup.")).unwrap();
        let newer = of_a_newer_version(&disk.read_now(newest).unwrap());
        disk.write_now(newest, &newer).unwrap();
        if !has_state {
            disk.remove_now("state.json").unwrap();
        }
        let store = open(&disk, 2).unwrap();
        assert_eq!(documents(&store.view()), state, "{:#?}", store.recovery());
        store.shutdown().unwrap();
        assert_eq!(disk.read_now(newest), Some(newer), "it is left");
    }
}
