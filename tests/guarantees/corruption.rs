//! Strangers among the engine's files (G4): told by file, left alone, and never in the way.
//! What damage to the engine's own files does is in `damage`.

use walden::ProblemKind;
use walden::fs::sim::SimFs;

use crate::support::{at, documents, open};

fn store_with(seed: u64, rounds: u32) -> SimFs {
    let disk = SimFs::new();
    let store = open(&disk, seed).unwrap();
    for round in 0..rounds {
        store.save_task_json(&format!(r#"{{"id": "t{seed}", "round": {round}}}"#)).unwrap();
    }
    disk.if_killed()
}

fn newest_segment(disk: &SimFs) -> String {
    disk.names().into_iter().rfind(|name| name.ends_with(".wal")).unwrap()
}

#[test]
fn a_foreign_file_in_the_log_is_reported_and_left_alone() {
    let disk = store_with(1, 5);
    let strange = ["wal/notes.txt", "wal/1.wal", "wal/core", "wal/00000000000000000001.wal.bak"];
    for name in strange {
        disk.write_now(name, b"not yours").unwrap();
    }
    let verified = at(&disk, 2).verify().unwrap();
    for name in strange {
        let told = |kind| verified.problems.iter().any(|p| p.file == name && p.kind == kind);
        assert!(told(ProblemKind::Foreign), "{name}: {verified:#?}");
    }
    assert!(!verified.ok);
    let store = open(&disk, 3).unwrap();
    assert_eq!(store.load_tasks().unwrap().len(), 1);
    store.shutdown().unwrap();
    for name in strange {
        assert_eq!(disk.read_now(name).unwrap(), b"not yours", "{name}");
    }
}

#[test]
fn a_segment_of_another_store_is_reported_left_alone_and_its_number_not_taken() {
    let (disk, other) = (store_with(1, 5), store_with(50, 60));
    let number = newest_segment(&other);
    let theirs = other.read_now(&number).unwrap();
    let names = [number.as_str(), "wal/18446744073709551615.wal"];
    assert!(!disk.names().contains(&number));
    for name in names {
        disk.write_now(name, &theirs).unwrap();
    }
    let state = {
        let clean = store_with(1, 5);
        documents(&open(&clean, 9).unwrap().view())
    };
    let verified = at(&disk, 2).verify().unwrap();
    assert!(!verified.ok, "{verified:#?}");
    for name in names {
        let told = verified.problems.iter().find(|problem| problem.file == name);
        assert_eq!(told.unwrap().kind, ProblemKind::Foreign, "{name}: {verified:#?}");
    }
    for round in 3..6 {
        let store = open(&disk, round).unwrap();
        let recovery = store.recovery();
        let told = recovery.problems.iter().any(|problem| problem.file == names[0]);
        assert!(told, "{recovery:#?}");
        assert_eq!(documents(&store.view()), state);
        for n in 0..30 {
            store.save_task_json(&format!(r#"{{"id": "t1", "n": {n}}}"#)).unwrap();
        }
        store.save_task_json(r#"{"id": "t1", "round": 4}"#).unwrap();
        store.shutdown().unwrap();
        for name in names {
            assert_eq!(disk.read_now(name).as_ref(), Some(&theirs), "{name}");
        }
    }
}

#[test]
fn what_an_opening_cuts_from_the_log_is_kept_in_quarantine_byte_by_byte() {
    let disk = store_with(1, 5);
    let segment = newest_segment(&disk);
    let end = disk.read_now(&segment).unwrap().iter().rposition(|byte| *byte != 0).unwrap();
    disk.corrupt(&segment, end as u64, 1 << 7).unwrap();
    let bytes = disk.read_now(&segment).unwrap();
    let store = open(&disk, 2).unwrap();
    assert!(store.recovery().problems.iter().any(|problem| problem.file == segment));
    let names = disk.names();
    let kept: Vec<_> = names.iter().filter(|name| name.starts_with("quarantine/")).collect();
    let [kept] = kept[..] else { panic!("{kept:?}") };
    assert_eq!(disk.read_now(kept).unwrap(), bytes[end / 4096 * 4096..=end]);
}
