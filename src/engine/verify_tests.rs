//! The check of single files, where no opening has looked at them before.

use std::collections::HashSet;
use std::sync::Arc;

use super::*;
use crate::engine::recovery::plan;
use crate::fs::sim::SimFs;

const FILE: &str = "tasks/a.json";

/// What is found of a mirror file with these bytes, if nothing was found by other means.
fn found_of(disk: &SimFs, bytes: &[u8]) -> Option<ProblemKind> {
    let disk = disk.if_killed();
    disk.write_now(FILE, bytes).unwrap();
    let plan = plan(&disk).unwrap();
    let documents = mirror_files(&plan);
    assert_eq!(documents.len(), 2);
    let known = Known { fs: &disk, plan: Some(&plan), documents, told: HashSet::new() };
    let place = Place { path: FILE.into(), bytes: bytes.len() as u64, check: Check::Mirror };
    let (read, found) = known.check(&place);
    assert_eq!(read, bytes.len() as u64);
    found.map(|problem| problem.kind)
}

#[test]
fn rot_of_a_mirror_file_that_an_opening_would_not_read_is_found() {
    let disk = SimFs::new();
    let store = Store::builder("sim").fs(Arc::new(disk.clone())).single_threaded().open().unwrap();
    store.save_task_json(r#"{"id": "a", "n": [1, "x"]}"#).unwrap();
    store.save_task_json(r#"{"id": "b"}"#).unwrap();
    store.shutdown().unwrap();
    let whole = disk.read_now(FILE).unwrap();
    assert_eq!(found_of(&disk, &whole), None);
    assert_eq!(found_of(&disk, br#"{"id":"a", "n":[1,"x"]}"#), None, "laid out otherwise");
    for at in 0..whole.len() {
        let mut rotten = whole.clone();
        rotten[at] ^= 1;
        assert_eq!(found_of(&disk, &rotten), Some(ProblemKind::Corrupt), "byte {at}");
    }
}
