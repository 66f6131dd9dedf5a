//! `repair`: a damaged store is sound again wherever an intact copy remains, nothing that was removed
//! is lost, and a crash in the middle of it changes nothing of that.

use walden::fs::Kind;
use walden::fs::sim::{CrashMode, Fault, SimFs};
use walden::{Action, Error, ProblemKind, Repair, RepairOptions};

use crate::support::{Documents, at, documents, files, open, seeds};
use crate::verify::{DAMAGES, damage, reference, verified};

const DRY: RepairOptions = RepairOptions { dry_run: true };

fn repair(disk: &SimFs, what: &str) -> Repair {
    let repaired = at(disk, 80).repair(RepairOptions::default());
    repaired.unwrap_or_else(|error| panic!("{what}: {error}"))
}

fn state_of(disk: &SimFs) -> Documents {
    documents(&at(&disk.if_killed(), 81).open_read_only().unwrap())
}

/// Repairs, and checks that the store is sound, its state is `state`, and nothing is lost.
fn mended(disk: &SimFs, state: &Documents, what: &str) -> Repair {
    let before = files(disk);
    let told = at(disk, 82).repair(DRY).unwrap_or_else(|error| panic!("{what}: {error}"));
    assert_eq!(files(disk), before, "{what}: a dry run changes no byte");
    assert!(told.dry_run && told.after.is_none(), "{what}");
    let repaired = repair(disk, what);
    let actions = |of: &Repair| of.actions.iter().map(|step| step.action).collect::<Vec<_>>();
    assert_eq!(actions(&told), actions(&repaired), "{what}: what is told is what is done");
    assert!(repaired.is_sound(), "{what}: {repaired:#?}");
    assert_eq!(repaired.after.as_ref(), Some(&verified(disk, what)), "{what}");
    assert_eq!(&state_of(disk), state, "{what}");
    let after = files(disk);
    for step in &repaired.actions {
        let file = &step.problem.file;
        if let (Some(kept), Some(bytes)) = (&step.kept, before.get(file)) {
            assert_eq!(after.get(kept), Some(bytes), "{what}: {file}");
        }
        if step.action == Action::Leave && !file.starts_with("state") {
            assert_eq!(after.get(file), before.get(file), "{what}: {file} is a person's");
        }
    }
    let is_kept = |bytes| after.values().any(|kept| kept == bytes);
    for (name, bytes) in &before {
        // The engine replaces or prunes what is intact of these itself, as ever.
        let is_intact = repaired.before.problems.iter().all(|problem| problem.file != *name);
        let is_engines = name.starts_with("wal/")
            || [".walden", "state.migration-v1-to-v2.log"].contains(&name.as_str());
        let is_snapshot = name == "state.json" || name.starts_with("state.backup.");
        let is_engines = is_engines || is_snapshot && is_intact;
        assert!(is_engines || is_kept(bytes), "{what}: {name} is nowhere");
    }
    repaired
}

#[test]
fn every_file_damaged_in_turn_is_mended_and_what_was_removed_is_kept_byte_by_byte() {
    let (whole, other) = (reference(1), reference(50));
    let state = state_of(&whole);
    let (mut tried, mut kept) = (0, 0);
    for name in whole.names() {
        for how in DAMAGES {
            let disk = whole.if_killed();
            // Who takes a mirror file away deletes its document, and who puts another in its place edits it.
            let is_mirror = name.starts_with("tasks/") || name.starts_with("sessions/");
            let is_edit = is_mirror && ["renamed", "swapped"].contains(&how);
            if is_edit || damage(&disk, &other, &name, how).is_none() {
                continue;
            }
            tried += 1;
            let what = format!("{name} {how}");
            let repaired = mended(&disk, &state, &what);
            kept += repaired.actions.iter().filter(|step| step.kept.is_some()).count();
        }
    }
    println!("{tried} damages mended, {kept} files kept");
    assert!(tried > 90 && kept > 40, "{tried}, {kept}");
}

#[test]
fn a_sound_store_and_one_that_only_people_changed_are_not_touched() {
    let disk = reference(1);
    let before = files(&disk);
    assert!(repair(&disk, "sound").actions.is_empty());
    assert_eq!(files(&disk), before);
    for name in ["notes.txt", "tasks/a.json", "tasks/mine.json", "logs/mine.txt"] {
        disk.write_now(name, br#"{"id": "a", "mine": true}"#).unwrap();
    }
    let before = files(&disk);
    let repaired = repair(&disk, "edited");
    assert!(repaired.is_sound());
    assert_eq!(repaired.actions.len(), 4, "{repaired:#?}");
    assert!(repaired.actions.iter().all(|step| step.action == Action::Leave), "{repaired:#?}");
    assert_eq!(files(&disk), before);
}

#[test]
fn what_is_no_file_is_moved_aside_where_the_engine_needs_the_place() {
    let state = state_of(&reference(1));
    for name in [
        "state.json",
        ".walden",
        "tasks/a.json",
        "wal/00000000000000000077.wal",
        "wal/state.part",
        "wal/strange",
        "state.backup.20260102T030405.123456789Z.json",
    ] {
        for kind in [Kind::Directory, Kind::Other] {
            let disk = reference(1);
            if disk.read_now(name).is_some() {
                disk.remove_now(name).unwrap();
            }
            disk.plant_now(name, kind).unwrap();
            let repaired = mended(&disk, &state, name);
            assert!(repaired.actions.iter().any(|step| step.kept.is_some()), "{repaired:#?}");
        }
    }
}

#[test]
fn a_file_in_the_place_of_a_directory_is_moved_aside() {
    for dir in ["tasks", "sessions", "wal"] {
        let whole = reference(1);
        let state = state_of(&whole);
        let disk = SimFs::new();
        for (name, bytes) in files(&whole) {
            if !name.starts_with(&format!("{dir}/")) {
                disk.write_now(&name, &bytes.unwrap()).unwrap();
            }
        }
        disk.write_now(dir, b"in the way").unwrap();
        mended(&disk, &state, dir);
    }
}

#[test]
fn a_lock_that_another_holds_stops_a_repair_before_it_begins() {
    let disk = reference(1);
    let store = open(&disk, 3).unwrap();
    let before = files(&disk);
    let refused = at(&disk, 4).repair(RepairOptions::default());
    assert!(matches!(refused, Err(Error::Locked { .. })), "{refused:?}");
    assert_eq!(files(&disk), before);
    drop(store);
    let missing = tempfile::tempdir().unwrap().path().join("missing");
    let refused = walden::repair(&missing, RepairOptions::default());
    assert!(matches!(refused, Err(Error::NotFound { .. })), "{refused:?}");
    assert!(!missing.exists());
}

/// A store with much wrong at once, of which everything has an intact copy.
fn wreck() -> SimFs {
    let disk = reference(1);
    let backups: Vec<String> =
        disk.names().into_iter().filter(|name| name.starts_with("state.backup.2")).collect();
    let oldest = disk.read_now(&backups[0]).unwrap();
    disk.write_now(&backups[0], &oldest[..oldest.len() / 2]).unwrap();
    disk.write_now("state.json", b"").unwrap();
    disk.write_now("tasks/b.json", b"{x").unwrap();
    disk.write_now("tasks/c.json", b"{").unwrap();
    disk.write_now("wal/strange", b"strange").unwrap();
    disk.write_now(".walden", b"rubbish").unwrap();
    let segments = disk.names().into_iter().filter(|name| name.ends_with(".wal"));
    for segment in segments.take(1) {
        disk.corrupt(&segment, 8192 + 70, 1).unwrap();
    }
    disk
}

#[test]
fn a_crash_at_any_call_of_a_repair_leaves_a_store_that_opens_to_the_same_state() {
    let wreck = wreck();
    let state = state_of(&wreck);
    assert_eq!(state, state_of(&reference(1)));
    let whole_run = wreck.if_killed();
    let repaired = mended(&whole_run, &state, "the whole run");
    let did = |action| repaired.actions.iter().any(|step| step.action == action);
    assert!(did(Action::Quarantine) && did(Action::Keep), "{repaired:#?}");
    let trial = wreck.if_killed();
    repair(&trial, "trial");
    let changing = ["write ", "create ", "rename", "exchange", "link", "remove", "sync"];
    let calls: Vec<u64> = (1..)
        .zip(trial.trace())
        .filter(|(_, call)| changing.iter().any(|verb| call.starts_with(verb)))
        .map(|(at, _)| at)
        .collect();
    let mut tried = 0;
    for call in &calls {
        let modes = (0..seeds()).map(|seed| CrashMode::Random(seed ^ *call));
        for mode in modes.chain([CrashMode::Nothing, CrashMode::Everything]) {
            let disk = wreck.if_killed();
            disk.fail_at(*call, Fault::Crash);
            let cut_off = at(&disk, 80).repair(RepairOptions::default());
            assert!(cut_off.is_err() || !cut_off.unwrap().is_sound(), "call {call}");
            let left = disk.crash_with(&mode);
            let what = format!("call {call}, {mode:?}");
            assert_eq!(state_of(&left), state, "{what}");
            let opened = left.if_killed();
            assert_eq!(documents(&open(&opened, 90).unwrap().view()), state, "{what}");
            assert!(repair(&left, &what).is_sound(), "{what}");
            assert_eq!(state_of(&left), state, "{what}");
            let kept = files(&left);
            for lost in [&b"strange"[..], b"rubbish", b"{x"] {
                assert!(kept.values().any(|bytes| bytes.as_deref() == Some(lost)), "{what}");
            }
            tried += 1;
        }
    }
    println!("{} calls, {tried} crashes", calls.len());
    assert!(calls.len() > 60, "{} calls", calls.len());
}

#[test]
fn a_power_cut_in_the_repair_of_one_mirror_file_is_no_persons_removal() {
    let whole = reference(1);
    let state = state_of(&whole);
    whole.corrupt("tasks/c.json", 8, 1).unwrap();
    let trial = whole.if_killed();
    let repaired = repair(&trial, "trial");
    assert_eq!(repaired.actions.len(), 1, "{repaired:#?}");
    assert_eq!(repaired.actions[0].action, Action::Quarantine);
    for (call, name) in (1..).zip(trial.trace()) {
        let disk = whole.if_killed();
        disk.fail_at(call, Fault::Crash);
        drop(at(&disk, 80).repair(RepairOptions::default()));
        let left = disk.crash_with(&CrashMode::Nothing);
        let opened = documents(&open(&left, 90).unwrap().view());
        assert_eq!(opened, state, "call {call}: {name}");
    }
}

#[test]
fn an_error_at_any_call_of_a_repair_loses_nothing_and_the_next_repair_succeeds() {
    let wreck = wreck();
    let state = state_of(&wreck);
    let trial = wreck.if_killed();
    repair(&trial, "trial");
    for call in 1..=trial.calls() {
        let disk = wreck.if_killed();
        disk.fail_at(call, Fault::Errno(5));
        // Whatever it says: an error may be one that costs nothing.
        let first = at(&disk, 80).repair(RepairOptions::default());
        disk.clear_faults();
        assert_eq!(state_of(&disk), state, "call {call}: {first:?}");
        assert!(repair(&disk, "again").is_sound(), "call {call}");
        let kept = files(&disk);
        for lost in [&b"strange"[..], b"rubbish", b"{x"] {
            assert!(kept.values().any(|bytes| bytes.as_deref() == Some(lost)), "call {call}");
        }
    }
}

#[test]
fn a_finding_of_every_kind_has_the_action_of_the_table() {
    let disk = wreck();
    disk.write_now("notes.txt", b"mine").unwrap();
    let action = |file: &str, kind: ProblemKind| {
        let told = at(&disk, 82).repair(DRY).unwrap();
        let mut steps = told.actions.iter();
        let step = steps.find(|step| step.problem.file == file && step.problem.kind == kind);
        step.unwrap_or_else(|| panic!("{file}: {told:#?}")).action
    };
    assert_eq!(action("notes.txt", ProblemKind::Edited), Action::Leave);
    assert_eq!(action("state.json", ProblemKind::Corrupt), Action::Quarantine);
    assert_eq!(action(".walden", ProblemKind::Corrupt), Action::Quarantine);
    assert_eq!(action("wal/strange", ProblemKind::Foreign), Action::Quarantine);
    disk.remove_now("state.json").unwrap();
    assert_eq!(action("state.json", ProblemKind::Missing), Action::Open);
}
