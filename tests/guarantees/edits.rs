//! What people do to the files (G6): it becomes a mutation, and nothing of theirs is overwritten unseen.

use std::sync::Arc;
use std::time::Duration;

use walden::fs::sim::SimFs;
use walden::testing::SteppedClock;
use walden::{ProblemKind, Store};

use crate::support::{at, open};

pub(crate) const A: &str = "tasks/a.json";

pub(crate) fn below(disk: &SimFs, dir: &str) -> Vec<String> {
    disk.names().into_iter().filter(|name| name.starts_with(dir)).collect()
}

pub(crate) fn conflicts(disk: &SimFs) -> Vec<String> {
    let names = below(disk, "conflicts/");
    names.iter().map(|name| String::from_utf8(disk.read_now(name).unwrap()).unwrap()).collect()
}

pub(crate) fn text(store: &Store, id: &str) -> String {
    store.task_json(id).map(|text| text.to_string()).unwrap_or_default()
}

/// A document without its white space.
pub(crate) fn bare(text: &str) -> String {
    text.split_whitespace().collect()
}

pub(crate) fn file(disk: &SimFs, file: &str) -> String {
    String::from_utf8(disk.read_now(file).unwrap()).unwrap()
}

/// A store whose files are up to date, with the clock that it goes by.
pub(crate) fn store_with(disk: &SimFs, documents: &[&str]) -> (Store, Arc<SteppedClock>) {
    let clock = Arc::new(SteppedClock::default());
    let store = at(disk, 1).clock(clock.clone()).open().unwrap();
    for document in documents {
        store.save_task_json(document).unwrap();
    }
    store.checkpoint().unwrap();
    (store, clock)
}

/// Lets the store find what was done to its files: a scan, and another look at what it found.
pub(crate) fn find(store: &Store, clock: &SteppedClock) {
    for seconds in [31, 2, 2] {
        clock.advance(Duration::from_secs(seconds));
        store.step();
    }
}

#[test]
fn an_edit_of_an_open_store_is_taken_in_by_the_next_scan() {
    for in_place in [true, false] {
        let disk = SimFs::new();
        let (store, clock) = store_with(&disk, &[r#"{"id": "a", "n": 1, "m": 1}"#]);
        let mine = b"{\"id\": \"a\", \"n\": 1, \"m\": 2}";
        if in_place {
            disk.write_now(A, mine).unwrap();
        } else {
            disk.save_now(A, mine).unwrap();
        }
        find(&store, &clock);
        assert_eq!(text(&store, "a").as_bytes(), mine, "verbatim");
        assert_eq!(disk.read_now(A).unwrap(), mine, "it is not laid out anew");
        assert_eq!(conflicts(&disk), [""; 0]);
        store.patch_task_json("a", r#"{"n": 3}"#).unwrap();
        store.checkpoint().unwrap();
        assert_eq!(bare(&file(&disk, A)), r#"{"id":"a","n":3,"m":2}"#);
        store.shutdown().unwrap();
        let view = at(&disk, 2).open_read_only().unwrap();
        assert_eq!(bare(&view.task_json("a").unwrap()), r#"{"id":"a","n":3,"m":2}"#);
    }
}

#[test]
fn an_edit_merges_with_what_the_program_changed_since() {
    let disk = SimFs::new();
    let (store, clock) = store_with(&disk, &[r#"{"id": "a", "n": 1, "m": 1}"#]);
    // The editor was opened on the first version, and saves when the file shows another.
    store.patch_task_json("a", r#"{"n": 2}"#).unwrap();
    store.checkpoint().unwrap();
    disk.save_now(A, br#"{"id": "a", "n": 1, "m": 7}"#).unwrap();
    store.patch_task_json("a", r#"{"o": 3}"#).unwrap();
    find(&store, &clock);
    assert_eq!(bare(&text(&store, "a")), r#"{"id":"a","n":2,"m":7,"o":3}"#);
    assert_eq!(conflicts(&disk), [""; 0]);
    store.checkpoint().unwrap();
    assert_eq!(bare(&file(&disk, A)), r#"{"id":"a","n":2,"m":7,"o":3}"#);
}

#[test]
fn where_both_changed_a_field_the_edit_counts_and_the_programs_version_is_kept() {
    let disk = SimFs::new();
    let (store, clock) = store_with(&disk, &[r#"{"id": "a", "n": 1, "m": 1}"#]);
    disk.save_now(A, br#"{"id": "a", "n": 5, "m": 1}"#).unwrap();
    store.patch_task_json("a", r#"{"n": 2, "m": 2}"#).unwrap();
    find(&store, &clock);
    assert_eq!(bare(&text(&store, "a")), r#"{"id":"a","n":5,"m":2}"#);
    let kept: Vec<String> = conflicts(&disk).iter().map(|text| bare(text)).collect();
    assert_eq!(kept, [r#"{"id":"a","n":2,"m":2}"#]);
}

#[test]
fn a_pass_of_the_mirror_never_takes_the_place_of_an_edit() {
    let disk = SimFs::new();
    let (store, _) = store_with(&disk, &[r#"{"id": "a", "n": 1, "m": 1}"#]);
    disk.save_now(A, br#"{"id": "a", "n": 1, "m": 5}"#).unwrap();
    store.patch_task_json("a", r#"{"n": 2}"#).unwrap();
    store.checkpoint().unwrap();
    store.checkpoint().unwrap();
    assert_eq!(bare(&text(&store, "a")), r#"{"id":"a","n":2,"m":5}"#);
    assert_eq!(bare(&file(&disk, A)), r#"{"id":"a","n":2,"m":5}"#);
    assert_eq!(conflicts(&disk), [""; 0]);
}

#[test]
fn an_edit_of_a_closed_store_is_in_force_when_it_is_opened() {
    for is_clean in [true, false] {
        let disk = SimFs::new();
        let (store, _) = store_with(&disk, &[r#"{"id": "a", "n": 1, "m": 1}"#]);
        store.patch_task_json("a", r#"{"n": 2}"#).unwrap();
        let disk = if is_clean {
            store.shutdown().unwrap();
            disk
        } else {
            disk.if_killed()
        };
        // Without a shutdown the file still shows the first version.
        let mine = if is_clean {
            r#"{"id": "a", "n": 2, "m": 5}"#
        } else {
            r#"{"id": "a", "n": 1, "m": 5}"#
        };
        disk.save_now(A, mine.as_bytes()).unwrap();
        let verified = at(&disk, 2).verify().unwrap();
        assert!(verified.ok, "{verified:?}");
        assert!(verified.problems.iter().any(|problem| problem.kind == ProblemKind::Edited));
        let view = at(&disk, 2).open_read_only().unwrap();
        assert_eq!(bare(&view.task_json("a").unwrap()), r#"{"id":"a","n":2,"m":5}"#);
        assert_eq!(file(&disk, A), mine, "reading changes nothing");
        let store = open(&disk, 3).unwrap();
        assert_eq!(bare(&text(&store, "a")), r#"{"id":"a","n":2,"m":5}"#, "{is_clean}");
        store.shutdown().unwrap();
        assert_eq!(conflicts(&disk), [""; 0]);
        let store = open(&disk, 4).unwrap();
        assert_eq!(store.recovery().problems, [], "{is_clean}");
        assert_eq!(bare(&text(&store, "a")), r#"{"id":"a","n":2,"m":5}"#);
    }
}

#[test]
fn an_earlier_version_that_is_put_back_counts_after_a_clean_stop_and_while_open() {
    // Many an editor leaves the last newline out.
    for (is_open, has_newline) in [(true, true), (true, false), (false, true), (false, false)] {
        let disk = SimFs::new();
        let (store, clock) = store_with(&disk, &[r#"{"id": "a", "n": 1}"#]);
        let mut first = disk.read_now(A).unwrap();
        first.truncate(first.trim_ascii_end().len() + usize::from(has_newline));
        store.save_task_json(r#"{"id": "a", "n": 2}"#).unwrap();
        store.checkpoint().unwrap();
        if is_open {
            disk.save_now(A, &first).unwrap();
            find(&store, &clock);
            assert_eq!(bare(&text(&store, "a")), r#"{"id":"a","n":1}"#);
        } else {
            store.shutdown().unwrap();
            disk.save_now(A, &first).unwrap();
            let store = open(&disk, 2).unwrap();
            assert_eq!(bare(&text(&store, "a")), r#"{"id":"a","n":1}"#);
        }
    }
}

#[test]
fn an_earlier_edit_counts_again_though_it_is_laid_out_anew_and_has_no_last_newline() {
    let disk = SimFs::new();
    let (store, clock) = store_with(&disk, &[r#"{"id": "a", "n": 1}"#]);
    let laid_out = file(&disk, A).replace('1', "2");
    disk.save_now(A, br#"{"id": "a", "n": 2}"#).unwrap();
    find(&store, &clock);
    store.checkpoint().unwrap();
    store.patch_task_json("a", r#"{"n": 3}"#).unwrap();
    store.shutdown().unwrap();
    assert!(!below(&disk, "state.backup.").is_empty(), "one has the edit");
    for saved in [laid_out.trim_end(), &*laid_out] {
        let disk = disk.if_killed();
        disk.save_now(A, saved.as_bytes()).unwrap();
        let store = open(&disk, 2).unwrap();
        assert_eq!(bare(&text(&store, "a")), r#"{"id":"a","n":2}"#, "{saved:?}");
    }
}

#[test]
fn a_file_that_a_person_made_is_a_document() {
    for is_open in [true, false] {
        let disk = SimFs::new();
        let (store, clock) = store_with(&disk, &[r#"{"id": "a"}"#]);
        let make = || {
            disk.write_now("tasks/b.json", br#"{"id": "b", "n": 1}"#).unwrap();
            disk.write_now("tasks/any name.json", br#"{"id": "c", "n": 2}"#).unwrap();
            disk.write_now("tasks/notes.txt", b"{\"id\": \"d\"}").unwrap();
            disk.write_now("tasks/a.json~", b"{\"id\": \"e\"}").unwrap();
            disk.write_now("tasks/copy.json", br#"{"id": "a", "copy": true}"#).unwrap();
        };
        let store = if is_open {
            make();
            find(&store, &clock);
            store
        } else {
            store.shutdown().unwrap();
            make();
            open(&disk, 2).unwrap()
        };
        store.checkpoint().unwrap();
        let ids: Vec<String> =
            store.load_tasks().unwrap().iter().map(|task| task.id.clone()).collect();
        assert_eq!(ids, ["a", "b", "c"], "{is_open}");
        assert_eq!(bare(&text(&store, "a")), r#"{"id":"a"}"#, "a second file of an id is left");
        assert_eq!(
            below(&disk, "tasks/"),
            ["a.json", "a.json~", "b.json", "c.json", "copy.json", "notes.txt"]
                .map(|name| format!("tasks/{name}"))
        );
    }
}

#[test]
fn what_cannot_be_understood_is_left_and_taken_in_when_it_is_mended() {
    let broken: [&[u8]; 6] = [
        b"{\"id\": \"a\",\n \"n\": }",
        b"{\"id\": \"a\", \"n\": 1, \"n\": 2}",
        b"{\"id\": \"a\", \"n\": \"\xff\"}",
        b"{\"id\": 7}",
        b"{\"id\": \"other\", \"n\": 1}",
        b"",
    ];
    for broken in broken {
        for is_open in [true, false] {
            let disk = SimFs::new();
            let (store, clock) = store_with(&disk, &[r#"{"id": "a", "n": 1}"#]);
            let (store, clock) = if is_open {
                disk.save_now(A, broken).unwrap();
                find(&store, &clock);
                (store, clock)
            } else {
                store.shutdown().unwrap();
                disk.save_now(A, broken).unwrap();
                let clock = Arc::new(SteppedClock::default());
                let store = at(&disk, 2).clock(clock.clone()).open().unwrap();
                let kinds: Vec<_> =
                    store.recovery().problems.iter().map(|problem| problem.kind).collect();
                assert_eq!(kinds, [ProblemKind::Unreadable]);
                (store, clock)
            };
            store.patch_task_json("a", r#"{"m": 2}"#).unwrap();
            store.checkpoint().unwrap();
            store.checkpoint().unwrap();
            assert_eq!(disk.read_now(A).unwrap(), broken, "{is_open}: not touched");
            assert_eq!(bare(&text(&store, "a")), r#"{"id":"a","n":1,"m":2}"#);
            disk.save_now(A, br#"{"id": "a", "n": 3}"#).unwrap();
            find(&store, &clock);
            assert_eq!(bare(&text(&store, "a")), r#"{"id":"a","n":3,"m":2}"#, "{is_open}");
            store.checkpoint().unwrap();
            assert_eq!(bare(&file(&disk, A)), r#"{"id":"a","n":3,"m":2}"#);
            assert_eq!(conflicts(&disk), [""; 0]);
        }
    }
}

#[test]
fn a_file_that_is_removed_deletes_its_document_and_the_last_version_is_kept() {
    for is_open in [true, false] {
        let disk = SimFs::new();
        let (store, clock) = store_with(&disk, &[r#"{"id": "a", "n": 1}"#, r#"{"id": "b"}"#]);
        let store = if is_open {
            disk.remove_now(A).unwrap();
            find(&store, &clock);
            store
        } else {
            store.shutdown().unwrap();
            disk.remove_now(A).unwrap();
            assert!(at(&disk, 2).open_read_only().unwrap().task_json("a").is_none());
            open(&disk, 2).unwrap()
        };
        assert_eq!(store.task_json("a"), None, "{is_open}");
        assert_eq!(bare(&conflicts(&disk)[0]), r#"{"id":"a","n":1}"#);
        store.shutdown().unwrap();
        let store = open(&disk, 5).unwrap();
        assert_eq!(store.task_json("a"), None);
        assert_eq!(below(&disk, "tasks/"), ["tasks/b.json"]);
    }
}

#[test]
fn a_removal_that_is_hard_to_believe_deletes_nothing() {
    for is_open in [true, false] {
        for case in ["all", "editor", "changed"] {
            let disk = SimFs::new();
            let (store, clock) = store_with(&disk, &[r#"{"id": "a", "n": 1}"#, r#"{"id": "b"}"#]);
            let remove = || match case {
                "all" => ["tasks/a.json", "tasks/b.json"].map(|name| disk.remove_now(name)).len(),
                "editor" => {
                    disk.write_now("tasks/.a.json.swp", b"x").unwrap();
                    disk.remove_now(A).map(|()| 1).unwrap()
                }
                _ => disk.remove_now(A).map(|()| 1).unwrap(),
            };
            if case == "changed" && !is_open {
                continue;
            }
            let store = if is_open {
                if case == "changed" {
                    store.patch_task_json("a", r#"{"n": 2}"#).unwrap();
                }
                remove();
                find(&store, &clock);
                store
            } else {
                store.shutdown().unwrap();
                remove();
                open(&disk, 2).unwrap()
            };
            assert!(store.task_json("a").is_some(), "{case} {is_open}");
            assert!(store.task_json("b").is_some(), "{case} {is_open}");
            store.checkpoint().unwrap();
            assert!(disk.read_now(A).is_some(), "{case} {is_open}: written anew");
        }
    }
}

#[test]
fn an_edit_of_a_document_that_was_deleted_meanwhile_creates_it_again() {
    let disk = SimFs::new();
    let (store, clock) = store_with(&disk, &[r#"{"id": "a", "n": 1}"#, r#"{"id": "b"}"#]);
    disk.save_now(A, br#"{"id": "a", "n": 2}"#).unwrap();
    store.delete_task("a").unwrap();
    store.checkpoint().unwrap();
    find(&store, &clock);
    assert_eq!(bare(&text(&store, "a")), r#"{"id":"a","n":2}"#);
    assert!(disk.read_now(A).is_some());
}

#[test]
fn a_new_document_merges_with_a_file_that_a_person_made() {
    let disk = SimFs::new();
    let (store, clock) = store_with(&disk, &[r#"{"id": "b"}"#]);
    disk.write_now(A, br#"{"id": "a", "mine": true}"#).unwrap();
    store.save_task_json(r#"{"id": "a", "n": 1}"#).unwrap();
    store.checkpoint().unwrap();
    find(&store, &clock);
    let merged = bare(&text(&store, "a"));
    assert!(merged.contains("mine") && merged.contains("\"n\":1"), "{merged}");
    store.checkpoint().unwrap();
    assert_eq!(bare(&file(&disk, A)), merged);
}

#[test]
fn files_that_go_one_after_the_other_are_judged_together() {
    let disk = SimFs::new();
    let (store, clock) = store_with(&disk, &[r#"{"id": "a", "n": 1}"#, r#"{"id": "b"}"#]);
    // What was taken in as it is must be written anew too.
    disk.save_now(A, br#"{"id": "a", "n": 2}"#).unwrap();
    find(&store, &clock);
    let step = |milliseconds| {
        clock.advance(Duration::from_millis(milliseconds));
        store.step();
    };
    disk.remove_now(A).unwrap();
    step(31_000);
    step(500);
    disk.remove_now("tasks/b.json").unwrap();
    for _ in 0..80 {
        step(400);
    }
    assert_eq!(bare(&text(&store, "a")), r#"{"id":"a","n":2}"#);
    assert!(store.task_json("b").is_some());
    assert_eq!(below(&disk, "tasks/"), [A, "tasks/b.json"]);
}

#[test]
fn what_is_written_into_a_file_that_was_replaced_meanwhile_is_taken_in() {
    for stays_open in [false, true] {
        let disk = SimFs::new();
        let (store, clock) = store_with(&disk, &[r#"{"id": "a", "n": 1, "m": 1}"#]);
        let editor = disk.hold_now(A).unwrap();
        store.patch_task_json("a", r#"{"n": 2}"#).unwrap();
        store.checkpoint().unwrap();
        assert_eq!(bare(&file(&disk, A)), r#"{"id":"a","n":2,"m":1}"#);
        find(&store, &clock);
        editor.write(br#"{"id": "a", "n": 1, "m": 7}"#);
        let editor = stays_open.then_some(editor);
        find(&store, &clock);
        assert_eq!(bare(&text(&store, "a")), r#"{"id":"a","n":2,"m":7}"#, "{stays_open}");
        store.checkpoint().unwrap();
        assert_eq!(bare(&file(&disk, A)), r#"{"id":"a","n":2,"m":7}"#, "{stays_open}");
        let Some(editor) = editor else { continue };
        editor.write(br#"{"id": "a", "n": 1, "m": 8}"#);
        store.shutdown().unwrap();
        let store = open(&disk, 2).unwrap();
        assert_eq!(bare(&text(&store, "a")), r#"{"id":"a","n":2,"m":8}"#, "before the end");
    }
}

#[test]
fn a_file_that_was_open_while_it_was_replaced_and_not_written_to_is_not_kept() {
    let disk = SimFs::new();
    let (store, clock) = store_with(&disk, &[r#"{"id": "a", "n": 1}"#]);
    let editor = disk.hold_now(A).unwrap();
    for n in 2..4 {
        store.patch_task_json("a", &format!(r#"{{"n": {n}}}"#)).unwrap();
        store.checkpoint().unwrap();
        find(&store, &clock);
    }
    assert_eq!(conflicts(&disk).len(), 1, "while it is open");
    drop(editor);
    find(&store, &clock);
    assert_eq!(conflicts(&disk), [""; 0]);
    assert_eq!(bare(&text(&store, "a")), r#"{"id":"a","n":3}"#);
}

#[test]
fn a_broken_snapshot_is_left_and_the_next_one_is_a_backup() {
    let disk = SimFs::new();
    let store = open(&disk, 1).unwrap();
    store.save_task_json(r#"{"id": "a", "n": 1}"#).unwrap();
    store.checkpoint().unwrap();
    disk.write_now("state.json", b"{\"tasks\": [\"my own\"]}").unwrap();
    store.save_task_json(r#"{"id": "a", "n": 2}"#).unwrap();
    let made = store.checkpoint().unwrap();
    assert!(made.written && made.problems.len() == 1, "{made:?}");
    assert_eq!(file(&disk, "state.json"), "{\"tasks\": [\"my own\"]}");
}
