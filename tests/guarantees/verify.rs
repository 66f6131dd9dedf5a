//! `verify` (G4): every byte of every file is accounted for, whatever is wrong is said to be so, and
//! nothing is changed.

use std::sync::Mutex;

use walden::fs::Kind;
use walden::fs::sim::{CallKind, Fault, SimFs};
use walden::{ProblemKind, Progress, Store, Verification};

use crate::support::{at, files, open};

/// Verifies, and checks that every file was read whole and no byte changed.
pub(crate) fn verified(disk: &SimFs, what: &str) -> Verification {
    let before = files(disk);
    let verified = at(disk, 70).verify().unwrap_or_else(|error| panic!("{what}: {error}"));
    assert_eq!(files(disk), before, "{what}: verify changes nothing");
    let ok = verified.problems.iter().all(|problem| problem.kind.is_harmless());
    assert_eq!(verified.ok, ok, "{what}");
    assert_eq!(verified.files, before.values().flatten().count() as u64, "{what}: {verified:#?}");
    let bytes: usize = before.values().flatten().map(Vec::len).sum();
    assert_eq!((verified.bytes, verified.bytes_total), (bytes as u64, bytes as u64), "{what}");
    verified
}

/// The kinds that are told of a file.
fn kinds(found: &Verification, file: &str) -> Vec<ProblemKind> {
    let of = found.problems.iter().filter(|problem| problem.file == file);
    of.map(|problem| problem.kind).collect()
}

/// A store that was shut down, with backups, a session, and a file of every kind.
pub(crate) fn reference(seed: u64) -> SimFs {
    let disk = SimFs::new();
    let store = open(&disk, seed).unwrap();
    for round in 0..4 {
        for id in ["a", "b", "c"] {
            let text = format!(r#"{{"id": "{id}", "round": {round}, "by": {seed}}}"#);
            store.save_task_json(&text).unwrap();
        }
        store.save_session_json(&format!(r#"{{"id": "s", "round": {round}}}"#)).unwrap();
        store.checkpoint().unwrap();
    }
    store.shutdown().unwrap();
    for name in [
        "logs/session_s.log",
        "logs/session_s_1767000000000.log",
        "reports/report_r.json",
        "archive/2026-01.jsonl",
        "conflicts/a~00000000000000000000000000000000.json",
        "quarantine/whatever",
        "state.pre-migration.backup.json",
        "state.migration-v1-to-v2.log",
    ] {
        disk.write_now(name, format!("{name}, kept as it is\n").as_bytes()).unwrap();
    }
    disk
}

#[test]
fn a_sound_store_is_ok_without_a_finding_and_every_byte_of_it_is_read() {
    let found = verified(&reference(1), "sound");
    assert!(found.ok && found.problems.is_empty(), "{:#?}", found.problems);
    assert!(found.warnings.is_empty());
    let empty = verified(&SimFs::new(), "empty");
    assert!(empty.ok && empty.files == 0, "{empty:#?}");
}

#[test]
fn progress_rises_to_the_totals_and_threads_find_what_one_finds() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    for n in 0..40 {
        store.save_task_json(&format!(r#"{{"id": "t{n}"}}"#)).unwrap();
    }
    store.shutdown().unwrap();
    for name in ["junk.txt", "tasks/t7.json", "wal/core", "logs/x.txt"] {
        let path = dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "{").unwrap();
    }
    let told: Mutex<Vec<Progress>> = Mutex::default();
    let builder = Store::builder(dir.path());
    let parallel = builder.verify_with(&|progress| told.lock().unwrap().push(progress)).unwrap();
    let told = told.into_inner().unwrap();
    assert_eq!(told.len() as u64, parallel.files);
    assert!(told.windows(2).all(|two| two[0].files + 1 == two[1].files), "{told:?}");
    assert!(told.windows(2).all(|two| two[0].bytes <= two[1].bytes), "{told:?}");
    let last = told.last().unwrap();
    assert_eq!((last.files, last.bytes), (last.files_total, last.bytes_total));
    let alone = Store::builder(dir.path()).single_threaded().verify().unwrap();
    assert_eq!(parallel, alone);
    let found: Vec<_> = parallel.problems.iter().map(|one| (one.file.as_str(), one.kind)).collect();
    let expected = [
        ("junk.txt", ProblemKind::Edited),
        ("logs/x.txt", ProblemKind::Edited),
        ("tasks/t7.json", ProblemKind::Unreadable),
        ("wal/core", ProblemKind::Foreign),
    ];
    assert_eq!(found, expected);
}

#[test]
fn a_name_that_is_nobodys_is_an_edit_and_in_the_log_foreign() {
    for (name, kind) in [
        ("notes.txt", ProblemKind::Edited),
        ("state.backup.x.json", ProblemKind::Edited),
        ("logs/notes.txt", ProblemKind::Edited),
        ("reports/r.json", ProblemKind::Edited),
        ("archive/a.txt", ProblemKind::Edited),
        ("tasks/mine.json", ProblemKind::Edited),
        ("wal/notes.txt", ProblemKind::Foreign),
        ("wal/18446744073709551615.wal", ProblemKind::Foreign),
    ] {
        for contents in [&b""[..], b"{\"id\": \"x\"}"] {
            let disk = reference(1);
            disk.write_now(name, contents).unwrap();
            let found = verified(&disk, name);
            // What could be a document must be one.
            let is_broken = name.starts_with("tasks/") && contents.is_empty();
            let kind = if is_broken { ProblemKind::Unreadable } else { kind };
            assert_eq!(kinds(&found, name), [kind], "{name}: {found:#?}");
            assert_eq!(found.problems.len(), 1, "{name}: {found:#?}");
            assert_eq!(found.ok, kind == ProblemKind::Edited);
        }
    }
    let disk = reference(1);
    disk.write_now("mine/notes.txt", b"mine").unwrap();
    let found = verified(&disk, "a person's directory");
    assert_eq!(kinds(&found, "mine"), [ProblemKind::Edited], "{found:#?}");
    assert_eq!(found.problems.len(), 1);
}

#[test]
fn what_is_no_file_in_the_place_of_a_known_one_is_unreadable_and_never_followed() {
    let known = [
        "state.json",
        "state.backup.20260102T030405.123456789Z.json",
        "state.pre-migration.backup.json",
        "tasks/a.json",
        "logs/session_t.log",
        "reports/report_t.json",
        "archive/2026-02.jsonl",
        "wal/00000000000000000077.wal",
        "wal/state.part",
    ];
    for name in known {
        for kind in [Kind::Directory, Kind::Other] {
            let disk = reference(1);
            if disk.read_now(name).is_some() {
                disk.remove_now(name).unwrap();
            }
            disk.plant_now(name, kind).unwrap();
            let found = verified(&disk, name);
            let told = kinds(&found, name).contains(&ProblemKind::Unreadable);
            assert!(told, "{name}: {found:#?}");
            assert!(!found.ok, "{name}");
        }
    }
}

#[test]
fn something_else_under_a_directorys_name_is_unreadable() {
    for dir in ["tasks", "sessions", "wal", "logs", "conflicts"] {
        for kind in [Kind::File, Kind::Other] {
            let disk = SimFs::new();
            for (name, bytes) in files(&reference(1)) {
                if !name.starts_with(&format!("{dir}/")) {
                    disk.write_now(&name, &bytes.unwrap()).unwrap();
                }
            }
            disk.plant_now(dir, kind).unwrap();
            let before = files(&disk);
            let found = at(&disk, 71).verify().unwrap();
            assert_eq!(files(&disk), before);
            assert_eq!(kinds(&found, dir), [ProblemKind::Unreadable], "{dir}: {found:#?}");
        }
    }
}

#[test]
fn a_file_that_the_disk_does_not_give_is_unreadable() {
    for name in ["logs/session_s.log", "conflicts/x", "tasks/a.json", "state.backup"] {
        let disk = reference(1);
        disk.write_now("conflicts/x", b"x").unwrap();
        let name = disk.names().into_iter().find(|one| one.starts_with(name)).unwrap();
        let trial = disk.if_killed();
        at(&trial, 72).verify().unwrap();
        let opens = trial.trace().into_iter().filter(|call| call.starts_with("open "));
        let opens: Vec<String> = opens.collect();
        let nth = opens.iter().rposition(|call| *call == format!("open {name}")).unwrap();
        disk.fail_when(CallKind::Open, nth as u64 + 1, Fault::Errno(5));
        let found = at(&disk, 72).verify().unwrap();
        assert_eq!(kinds(&found, &name), [ProblemKind::Unreadable], "{name}: {found:#?}");
        assert!(found.bytes < found.bytes_total);
    }
}

/// What is done to one file at a time.
pub(crate) const DAMAGES: [&str; 6] =
    ["cut", "emptied", "doubled", "renamed", "flipped", "swapped"];

/// Does it; `None` where it would change nothing.
pub(crate) fn damage(disk: &SimFs, other: &SimFs, name: &str, how: &str) -> Option<()> {
    let bytes = disk.read_now(name)?;
    let contents = match how {
        "cut" => bytes[..bytes.len() / 2].to_vec(),
        "emptied" => Vec::new(),
        "doubled" => [bytes.as_slice(), &bytes].concat(),
        "flipped" => {
            let at = bytes.len() / 3;
            disk.corrupt(name, at as u64, 0x10).unwrap();
            return Some(());
        }
        "renamed" => {
            disk.write_now(&format!("{name}.moved"), &bytes).unwrap();
            return disk.remove_now(name).ok();
        }
        // The same name if the other store has it; else one like it.
        _ => other.read_now(name).or_else(|| {
            let stem = name.get(..8).unwrap_or(name);
            let names = other.names();
            let like = names.iter().find(|one| one.starts_with(stem));
            other.read_now(like?)
        })?,
    };
    (contents != bytes).then(|| disk.write_now(name, &contents).unwrap())
}

/// Whether nothing can tell of this damage: an opaque file, an intact index that is merely not used, or
/// bytes of the log that say nothing.
fn is_past_telling(disk: &SimFs, name: &str, how: &str) -> bool {
    let opaque = ["logs/", "reports/", "archive/", "conflicts/", "quarantine/"];
    let is_opaque = opaque.iter().any(|dir| name.starts_with(dir))
        || name.starts_with("state.pre-")
        || name.starts_with("state.migration");
    let is_opaque = is_opaque || (how == "swapped" && name == "wal/state.index");
    let bytes = disk.read_now(name).unwrap();
    is_opaque || how == "flipped" && name.starts_with("wal/") && bytes[bytes.len() / 3] == 0
}

#[test]
fn every_file_damaged_in_turn_is_told_of_by_its_name() {
    let (whole, other) = (reference(1), reference(50));
    let (mut tried, mut told) = (0, 0);
    for name in whole.names() {
        for how in DAMAGES {
            let disk = whole.if_killed();
            if damage(&disk, &other, &name, how).is_none() {
                continue;
            }
            tried += 1;
            let what = format!("{name} {how}");
            let found = verified(&disk, &what);
            let about = |one: &str| one == name || one == format!("{name}.moved");
            if found.problems.iter().any(|problem| about(&problem.file)) {
                told += 1;
            } else {
                assert!(is_past_telling(&whole, &name, how), "{what}: {found:#?}");
            }
        }
    }
    println!("{tried} damages, {told} told of");
    assert!(tried > 90 && told > 60, "{tried} damages, {told} told of");
}

#[test]
fn a_snapshot_or_an_owner_file_that_is_gone_is_missing_unless_there_was_none_yet() {
    let disk = SimFs::new();
    let store = open(&disk, 1).unwrap();
    store.save_task_json(r#"{"id": "a"}"#).unwrap();
    let killed = verified(&disk.if_killed(), "before the first checkpoint");
    assert!(killed.problems.is_empty(), "{killed:#?}");
    store.shutdown().unwrap();
    for name in ["state.json", ".walden"] {
        let left = disk.if_killed();
        left.remove_now(name).unwrap();
        let found = verified(&left, name);
        assert_eq!(kinds(&found, name), [ProblemKind::Missing], "{found:#?}");
        assert_eq!(found.problems.len(), 1, "{found:#?}");
    }
}
