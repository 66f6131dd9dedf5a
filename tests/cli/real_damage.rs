//! The real tasks, of which views are lost or damaged, or which are taken back to a backup: what is
//! listed equals the file, field by field, before and after the store is opened for writing. Without
//! `WALDEN_REAL_DATA` these tests say that they are skipped.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::real_data::{assert_same, by_id, data};
use crate::support::{Place, json_lines};

type Tasks = BTreeMap<String, Value>;

/// What is done to a view.
#[derive(Clone, Copy, Debug)]
enum Harm {
    Removed,
    Cut,
}

const HARMS: [Harm; 2] = [Harm::Removed, Harm::Cut];

/// Harms `state.json`, or every file of a directory.
fn harm(path: &Path, how: Harm) {
    match how {
        Harm::Removed if path.is_dir() => fs::remove_dir_all(path).unwrap(),
        Harm::Removed => fs::remove_file(path).unwrap(),
        Harm::Cut if path.is_dir() => {
            for entry in fs::read_dir(path).unwrap() {
                harm(&entry.unwrap().path(), how);
            }
        }
        Harm::Cut => {
            let bytes = fs::read(path).unwrap();
            fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
        }
    }
}

/// The real tasks, and the directory of a process that was killed, or of one that was shut down.
fn stored(place: &Place, is_clean: bool) -> Option<(Tasks, PathBuf)> {
    let (tasks, trace) = data()?;
    let expected = by_id(json_lines(&fs::read_to_string(&tasks).unwrap()));
    assert_eq!(expected.len(), 513);
    place.run_args(&["--dir", "whole", "import", tasks.to_str().unwrap()]).ok();
    if !is_clean {
        let operations = fs::read_to_string(&trace).unwrap().lines().count();
        kill(hold(place, "whole", &trace, operations));
    }
    Some((expected, place.path("whole")))
}

/// A process that replayed so many operations and stays with the store open.
fn hold(place: &Place, dir: &str, trace: &Path, operations: usize) -> Child {
    let mut command = place.command();
    command.args(["--dir", dir, "replay", trace.to_str().unwrap(), "--acks", "--hold"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let acks = BufReader::new(child.stdout.take().unwrap()).lines().take(operations);
    assert_eq!(acks.map(Result::unwrap).count(), operations);
    child
}

fn kill(mut child: Child) {
    child.kill().unwrap();
    assert!(!child.wait().unwrap().success(), "it was killed");
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

/// Lists the tasks; damage may be told on stderr.
fn listed(place: &Place) -> Vec<Value> {
    let ran = place.run("list --format json");
    assert_eq!(ran.code, 0, "{}", ran.err);
    json_lines(&ran.out)
}

/// Harms these views of a copy, in every combination of ways, and looks for the tasks.
fn survive(is_clean: bool, views: &[&str]) {
    let place = Place::new();
    let Some((expected, whole)) = stored(&place, is_clean) else { return };
    let ways = HARMS.iter().flat_map(|one| HARMS.iter().map(move |two| [*one, *two]));
    let ways = ways.take(if views.len() == 1 { 1 } else { 4 });
    for (number, [one, two]) in ways.enumerate() {
        let state = place.path("state");
        copy(&whole, &state);
        for (view, how) in views.iter().zip([one, two]) {
            harm(&state.join(view), how);
        }
        println!("{views:?}, clean {is_clean}: {one:?}, {two:?}");
        assert_same(listed(&place), &expected);
        let opened = place.run("checkpoint");
        assert_eq!(opened.code, 0, "{}", opened.err);
        assert_same(listed(&place), &expected);
        fs::rename(&state, place.path(&format!("done{number}"))).unwrap();
    }
}

#[test]
fn any_one_view_can_be_deleted_after_a_shutdown() {
    for view in ["state.json", "tasks", "wal"] {
        survive(true, &[view]);
    }
}

#[test]
fn snapshot_or_mirror_can_be_deleted_after_a_kill() {
    for view in ["state.json", "tasks"] {
        survive(false, &[view]);
    }
}

#[test]
fn any_two_of_the_three_can_be_damaged_after_a_shutdown() {
    for views in [["state.json", "tasks"], ["state.json", "wal"], ["tasks", "wal"]] {
        survive(true, &views);
    }
}

#[test]
fn snapshot_and_mirror_can_both_be_damaged_after_a_kill() {
    survive(false, &["state.json", "tasks"]);
}

/// Changes, adds and deletes tasks after the import, so that the import's state is a backup; and the
/// backup's name.
fn changed(place: &Place) -> Option<(Tasks, String)> {
    let (tasks, _) = data()?;
    let expected = by_id(json_lines(&fs::read_to_string(&tasks).unwrap()));
    place.run_args(&["import", tasks.to_str().unwrap()]).ok();
    for (number, id) in expected.keys().take(5).enumerate() {
        match number % 2 {
            0 => place.run_args(&["patch", id, r#"{"status": "changed"}"#]).ok(),
            _ => place.run_args(&["rm", id]).ok(),
        };
    }
    place.write("new.json", r#"{"id": "new"}"#);
    place.ok("put new.json");
    let names = fs::read_dir(place.path("state")).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let holds_all = |name: &String| {
        let text = fs::read_to_string(place.path("state").join(name)).unwrap();
        let state: Value = serde_json::from_str(&text).unwrap();
        let tasks = state["tasks"].as_array().unwrap();
        tasks
            .iter()
            .map(|task| (task["id"].as_str().unwrap().to_owned(), task.clone()))
            .collect::<Tasks>()
            == expected
    };
    let backup = names.filter(|name| name.starts_with("state.backup.")).find(holds_all);
    Some((expected, backup.expect("the import's state is a backup")))
}

fn copy_over(place: &Place, backup: &str) {
    let state = place.path("state");
    fs::copy(state.join(backup), state.join("state.json")).unwrap();
}

#[test]
fn a_backup_is_restored_field_by_field_with_the_store_closed() {
    for by_verb in [true, false] {
        let place = Place::new();
        let Some((expected, backup)) = changed(&place) else { return };
        assert_ne!(by_id(listed(&place)), expected);
        if by_verb {
            place.run_args(&["restore", &backup]).ok();
        } else {
            copy_over(&place, &backup);
        }
        assert_same(listed(&place), &expected);
        assert_eq!(place.run("checkpoint").code, 0);
        assert_same(place.tasks(), &expected);
        assert_eq!(place.ok("verify"), "ok\n");
    }
}

#[test]
fn a_backup_is_restored_field_by_field_while_another_process_has_the_store_open() {
    for by_verb in [true, false] {
        let place = Place::new();
        let Some((expected, backup)) = changed(&place) else { return };
        let trace = place.write("one.jsonl", r#"{"op":"save_task","task":{"id":"tail"}}"#);
        let holder = hold(&place, "state", &trace, 1);
        if by_verb {
            place.run_args(&["restore", &backup]).ok();
        } else {
            copy_over(&place, &backup);
        }
        let begun = Instant::now();
        while by_id(listed(&place)) != expected {
            assert!(begun.elapsed() < Duration::from_secs(60), "it is not taken in");
            thread::sleep(Duration::from_millis(50));
        }
        kill(holder);
        assert_same(listed(&place), &expected);
        assert_eq!(place.run("checkpoint").code, 0);
        assert_same(place.tasks(), &expected);
    }
}
