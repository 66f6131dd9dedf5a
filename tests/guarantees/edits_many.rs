//! Very many edits at once, in a real directory: all of them are in force when the opening returns.
//!
//! By default 3,000 tasks; `WALDEN_EXHAUSTIVE=1` takes 100,000 and prints how long it took, which is for
//! people, since it says as much of the disk as of the engine.

use std::fs;
use std::path::Path;
use std::time::Instant;

use walden::{ProblemKind, Store};

use crate::support::is_exhaustive;

const EDITED_ONE_IN: usize = 100;

fn tasks() -> usize {
    if is_exhaustive() { 100_000 } else { 3_000 }
}

fn id(number: usize) -> String {
    format!("task-{number:06}")
}

/// A store that was shut down, with files that show everything.
fn shut_down(dir: &Path) {
    let store = Store::open(dir).unwrap();
    let numbers: Vec<usize> = (0..tasks()).collect();
    for some in numbers.chunks(500) {
        let saved = store.transaction(|tx| {
            for number in some {
                let id = id(*number);
                let text =
                    format!(r#"{{"id": "{id}", "status": "pending", "n": {number}, "mine": 0}}"#);
                tx.save_task_json(&text)?;
            }
            Ok(())
        });
        saved.unwrap();
    }
    store.shutdown().unwrap();
}

/// What a person does to one file: in place or by another file, with the layout kept or not.
fn edit(dir: &Path, number: usize) {
    let file = dir.join("tasks").join(format!("{}.json", id(number)));
    let text = fs::read_to_string(&file).unwrap();
    let edited = text.replace("\"mine\": 0", &format!("\"mine\": {number}"));
    assert_ne!(edited, text, "{}", file.display());
    match number / EDITED_ONE_IN % 3 {
        0 => fs::write(&file, edited).unwrap(),
        1 => fs::write(&file, edited.replace('\n', "\r\n")).unwrap(),
        _ => {
            let temporary = file.with_extension("json~");
            fs::write(&temporary, edited).unwrap();
            fs::rename(temporary, &file).unwrap();
        }
    }
}

#[test]
fn a_thousand_files_edited_while_the_store_was_closed_are_in_force_when_it_is_open() {
    let dir = tempfile::tempdir().unwrap();
    shut_down(dir.path());
    let untouched = Instant::now();
    Store::open(dir.path()).unwrap().shutdown().unwrap();
    let untouched = untouched.elapsed();
    let edited: Vec<usize> = (1..tasks()).step_by(EDITED_ONE_IN).collect();
    for number in &edited {
        edit(dir.path(), *number);
    }
    let begun = Instant::now();
    let store = Store::open(dir.path()).unwrap();
    let took = begun.elapsed();
    let view = store.view();
    for number in 0..tasks() {
        let text = view.task_json(&id(number)).unwrap();
        let mine = serde_json::from_str::<serde_json::Value>(&text).unwrap()["mine"].clone();
        let is_edited = edited.binary_search(&number).is_ok();
        assert_eq!(mine, if is_edited { number } else { 0 }, "{text}");
    }
    let problems = &store.recovery().problems;
    let told = problems.iter().filter(|problem| problem.kind == ProblemKind::Edited).count();
    assert_eq!((told, problems.len()), (edited.len(), edited.len()), "each is told, and no more");
    println!(
        "{} of {} files edited: open after {took:.1?}; opened and shut down untouched in {untouched:.1?}",
        edited.len(),
        tasks()
    );
    store.shutdown().unwrap();
    let again = Store::open(dir.path()).unwrap();
    assert_eq!(again.recovery().problems, [], "an edit is taken in once");
}
