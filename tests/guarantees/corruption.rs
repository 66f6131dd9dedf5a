//! Damage and strangers (G4): found, told by file, and what is not the engine's is left alone.

use walden::fs::sim::SimFs;
use walden::{Error, ProblemKind};

use crate::support::{at, documents, files, open};

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

/// Whether a byte of the log says nothing: it is padding, or of a seal, which a crash may take from a
/// segment whose follower is there.
fn means_nothing(disk: &SimFs, name: &str, at_byte: u64) -> bool {
    const SEAL: u8 = 4;
    let bytes = disk.read_now(name).unwrap();
    let at_byte = usize::try_from(at_byte).unwrap();
    let block = at_byte / 4096 * 4096;
    name.starts_with("wal/") && (bytes[at_byte] == 0 || bytes[block + 52] == SEAL)
}

#[test]
fn every_flipped_byte_of_every_file_is_told_or_harmless_and_never_wrong() {
    let disk = SimFs::new();
    let store = open(&disk, 1).unwrap();
    for round in 0..4 {
        store.save_task_json(&format!(r#"{{"id": "a", "round": {round}}}"#)).unwrap();
        store.save_task_json(&format!(r#"{{"id": "b{round}"}}"#)).unwrap();
        if round % 2 == 1 {
            store.checkpoint().unwrap();
        }
    }
    let state = documents(&store.view());
    store.shutdown().unwrap();
    let (mut told, mut refused, mut flips) = (0, 0, 0);
    for (name, bytes) in files(&disk) {
        let length = bytes.unwrap().len() as u64;
        let step = (length / 40).max(1) | 1;
        for at_byte in (0..length).step_by(usize::try_from(step).unwrap()) {
            let damaged = disk.if_killed();
            damaged.corrupt(&name, at_byte, 1 << (at_byte % 8)).unwrap();
            flips += 1;
            let verified = at(&damaged, 2).verify();
            let before = files(&damaged);
            match open(&damaged, 3) {
                Ok(store) => {
                    assert_eq!(documents(&store.view()), state, "{name} at {at_byte}");
                    let problems = verified.unwrap().problems;
                    told += u64::from(!problems.is_empty());
                    assert!(
                        !problems.is_empty() || means_nothing(&disk, &name, at_byte),
                        "{name} at {at_byte}: nothing was told"
                    );
                }
                Err(Error::Corrupt { .. } | Error::Unsupported { .. }) => {
                    refused += 1;
                    assert_eq!(
                        files(&damaged),
                        before,
                        "{name} at {at_byte}: a refusal changes nothing"
                    );
                }
                Err(error) => panic!("{name} at {at_byte}: {error}"),
            }
        }
    }
    println!("{flips} flips: {told} told, {refused} refused");
    assert!(flips > 300 && told > 200, "{flips} flips: {told} told, {refused} refused");
}
