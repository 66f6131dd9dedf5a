//! What people do to `state.json` (G6): each document in it is an edit of its own, and nothing of theirs is
//! overwritten unseen.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use walden::fs::sim::{CrashMode, SimFs};
use walden::testing::SteppedClock;
use walden::{Event, Problem, ProblemKind, Store};

use crate::support::{at, documents, files, open};

pub(crate) const STATE: &str = "state.json";
pub(crate) const A: &str = r#"{"id": "a", "n": 1, "m": 1}"#;
pub(crate) const B: &str = r#"{"id": "b", "n": 1}"#;

/// A document without its white space; nothing if there is none.
pub(crate) fn bare(store: &Store, id: &str) -> String {
    store.task_json(id).map(|text| text.split_whitespace().collect()).unwrap_or_default()
}

pub(crate) fn below(disk: &SimFs, dir: &str) -> Vec<String> {
    disk.names().into_iter().filter(|name| name.starts_with(dir)).collect()
}

pub(crate) fn conflicts(disk: &SimFs) -> Vec<String> {
    let texts = below(disk, "conflicts/").into_iter().map(|name| disk.read_now(&name).unwrap());
    texts.map(|text| String::from_utf8(text).unwrap().split_whitespace().collect()).collect()
}

pub(crate) fn state(disk: &SimFs) -> String {
    String::from_utf8(disk.read_now(STATE).unwrap()).unwrap()
}

/// What `sed -i` does to `state.json`.
pub(crate) fn sed(disk: &SimFs, from: &str, to: &str) {
    let text = state(disk);
    assert!(text.contains(from), "{from} in {text}");
    disk.save_now(STATE, text.replacen(from, to, 1).as_bytes()).unwrap();
}

/// How the store was left when it was edited.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Left {
    Open,
    Shut,
    Killed,
}

pub(crate) const ALL: [Left; 3] = [Left::Open, Left::Shut, Left::Killed];

/// A store that was edited, and took that in.
pub(crate) struct Life {
    pub(crate) disk: SimFs,
    pub(crate) store: Store,
    pub(crate) clock: Arc<SteppedClock>,
    pub(crate) heard: Arc<Mutex<Vec<Event>>>,
}

impl Life {
    /// Of a store with these tasks, in a snapshot, which was changed by `program` since and then edited.
    pub(crate) fn new(
        left: Left,
        tasks: &[&str],
        program: impl Fn(&Store),
        person: impl Fn(&SimFs),
    ) -> Life {
        let clock = Arc::new(SteppedClock::default());
        let mut disk = SimFs::new();
        let mut store = at(&disk, 1).clock(clock.clone()).open().unwrap();
        for task in tasks {
            store.save_task_json(task).unwrap();
        }
        store.checkpoint().unwrap();
        if left == Left::Shut {
            store.shutdown().unwrap();
            person(&disk);
            store = at(&disk, 2).clock(clock.clone()).open().unwrap();
            let life = Life::of(disk, store, clock);
            program(&life.store);
            return life;
        }
        program(&store);
        if left == Left::Killed {
            disk = disk.if_killed();
            person(&disk);
            store = at(&disk, 2).clock(clock.clone()).open().unwrap();
            return Life::of(disk, store, clock);
        }
        let life = Life::of(disk, store, clock);
        person(&life.disk);
        life.find();
        life
    }

    pub(crate) fn of(disk: SimFs, store: Store, clock: Arc<SteppedClock>) -> Life {
        let heard = Arc::new(Mutex::new(Vec::new()));
        let listener = heard.clone();
        store.on_event(move |event: &Event| listener.lock().push(event.clone()));
        Life { disk, store, clock, heard }
    }

    /// Lets the store find what was done to its files.
    pub(crate) fn find(&self) {
        for seconds in [2, 2, 2] {
            self.clock.advance(Duration::from_secs(seconds));
            self.store.step();
        }
    }

    /// What was told of `state.json`, at the opening and since.
    pub(crate) fn told(&self) -> Vec<Problem> {
        let mut told = self.store.recovery().problems.clone();
        told.extend(self.heard.lock().iter().filter_map(|event| match event {
            Event::Found(problem) => Some(problem.clone()),
            _ => None,
        }));
        told.retain(|problem| problem.file == STATE);
        told
    }

    /// That what is in force now is durable, in a sound store, and found again.
    pub(crate) fn assert_lasting(&self) {
        let now = documents(&self.store.view());
        let left = self.disk.if_crashed(&CrashMode::Nothing);
        assert_eq!(documents(&open(&left, 7).unwrap().view()), now, "after a power cut");
        self.store.checkpoint().unwrap();
        let left = self.disk.if_killed();
        let view = at(&left, 8).open_read_only().unwrap();
        let found = documents(&view);
        assert_eq!(found, now, "after a checkpoint: {:#?} {:?}", view.recovery(), left.names());
        self.store.shutdown().unwrap();
        let verified = at(&self.disk, 9).verify().unwrap();
        assert_eq!(verified.problems, [], "it is sound");
        let again = open(&self.disk, 10).unwrap();
        assert_eq!(documents(&again.view()), now);
        assert_eq!(again.recovery().problems, []);
    }
}

#[test]
fn an_edit_of_one_document_in_state_json_is_in_force_and_leaves_the_others() {
    for left in ALL {
        let program = |store: &Store| {
            store.patch_task_json("a", r#"{"n": 2}"#).unwrap();
            store.patch_task_json("b", r#"{"n": 2}"#).unwrap();
        };
        let life = Life::new(left, &[A, B], program, |disk| sed(disk, "\"m\": 1", "\"m\": 5"));
        assert_eq!(bare(&life.store, "a"), r#"{"id":"a","n":2,"m":5}"#, "{left:?}");
        assert_eq!(bare(&life.store, "b"), r#"{"id":"b","n":2}"#, "{left:?}");
        assert_eq!(conflicts(&life.disk), [""; 0], "{left:?}");
        let is_told = |event: &Event| matches!(event, Event::Edited { file, .. } if file == STATE);
        let told = life.heard.lock().iter().filter(|event| is_told(event)).count();
        assert_eq!(told, usize::from(left == Left::Open), "the others are told by the opening");
        life.assert_lasting();
    }
}

#[test]
fn reading_shows_an_edited_state_json_and_changes_nothing() {
    let disk = SimFs::new();
    let store = open(&disk, 1).unwrap();
    store.save_task_json(A).unwrap();
    store.shutdown().unwrap();
    sed(&disk, "\"m\": 1", "\"m\": 5");
    let before = files(&disk);
    let view = at(&disk, 2).open_read_only().unwrap();
    assert_eq!(view.task("a").unwrap().unwrap().extra["m"], 5);
    let verified = at(&disk, 2).verify().unwrap();
    let found: Vec<_> = verified.problems.iter().map(|found| (&*found.file, found.kind)).collect();
    assert_eq!((verified.ok, found), (true, vec![(STATE, ProblemKind::Edited)]));
    assert_eq!(files(&disk), before);
}

#[test]
fn where_both_changed_a_field_the_edit_of_state_json_counts_and_the_other_version_is_kept() {
    for left in [Left::Open, Left::Killed] {
        let program = |store: &Store| {
            store.patch_task_json("a", r#"{"n": 2, "m": 2}"#).unwrap();
        };
        let life = Life::new(left, &[A, B], program, |disk| sed(disk, "\"m\": 1", "\"m\": 5"));
        assert_eq!(bare(&life.store, "a"), r#"{"id":"a","n":2,"m":5}"#, "{left:?}");
        assert_eq!(conflicts(&life.disk), [r#"{"id":"a","n":2,"m":2}"#], "{left:?}");
        life.assert_lasting();
    }
}

#[test]
fn a_document_removed_from_state_json_is_deleted_and_a_new_one_created() {
    for left in ALL {
        let person = |disk: &SimFs| sed(disk, &format!("{A},"), r#"{"id": "new", "x": [1.50]},"#);
        let life = Life::new(left, &[A, B], |_| {}, person);
        assert_eq!(bare(&life.store, "a"), "", "{left:?}");
        assert_eq!(bare(&life.store, "new"), r#"{"id":"new","x":[1.50]}"#);
        assert_eq!(bare(&life.store, "b"), r#"{"id":"b","n":1}"#);
        assert_eq!(conflicts(&life.disk), [r#"{"id":"a","n":1,"m":1}"#]);
        life.assert_lasting();
        assert_eq!(below(&life.disk, "tasks/"), ["tasks/b.json", "tasks/new.json"]);
    }
}

#[test]
fn a_removed_document_that_a_program_changed_since_stays() {
    for left in [Left::Open, Left::Killed] {
        let program = |store: &Store| {
            store.patch_task_json("a", r#"{"n": 2}"#).unwrap();
            store.delete_task("b").unwrap();
        };
        let person = |disk: &SimFs| sed(disk, &format!("{A},\n    "), "");
        let life = Life::new(left, &[A, B, r#"{"id": "c"}"#], program, person);
        assert_eq!(bare(&life.store, "a"), r#"{"id":"a","n":2,"m":1}"#, "{left:?}");
        assert_eq!(bare(&life.store, "b"), "", "what the edit left alone stays deleted");
        if left == Left::Open {
            let told = life.told();
            assert!(told.iter().any(|problem| problem.detail.contains("it stays")), "{told:?}");
        }
        life.assert_lasting();
    }
}

#[test]
fn a_removal_of_too_many_documents_deletes_none() {
    let many: Vec<String> = (0..250).map(|n| format!(r#"{{"id": "t{n:03}"}}"#)).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    for (tasks, keep) in [(&many[..2], 0), (&many[..], 149), (&many[..], 150)] {
        for left in [Left::Open, Left::Shut] {
            let person = |disk: &SimFs| {
                let gone = tasks[keep..].join(",\n    ");
                let gone = if keep == 0 { gone } else { format!(",\n    {gone}") };
                sed(disk, &gone, "");
            };
            let life = Life::new(left, tasks, |_| {}, person);
            let is_believed = keep == 150;
            let expected = if is_believed { keep } else { tasks.len() };
            assert_eq!(life.store.load_tasks().unwrap().len(), expected, "{left:?} {keep}");
            assert_eq!(below(&life.disk, "conflicts/").len(), tasks.len() - expected);
            life.assert_lasting();
        }
    }
}

#[test]
fn where_it_is_not_known_what_state_json_was_made_of_absence_deletes_nothing() {
    for left in ALL {
        for (from, to) in
            [("\"engine\": ", "\"machine\": "), ("\"lsn\": ", "\"lsn\": 7"), ("\"lsn\"", "\"was\"")]
        {
            let person = |disk: &SimFs| {
                sed(disk, from, to);
                sed(disk, &format!("{A},"), r#"{"id": "new"},"#);
                sed(disk, B, r#"{"id": "b", "n": 3}"#);
            };
            let life = Life::new(left, &[A, B], |_| {}, person);
            assert_eq!(bare(&life.store, "a"), r#"{"id":"a","n":1,"m":1}"#, "{left:?} {to}");
            assert_eq!(bare(&life.store, "b"), r#"{"id":"b","n":3}"#, "{left:?} {to}");
            assert_eq!(bare(&life.store, "new"), r#"{"id":"new"}"#, "{left:?} {to}");
            assert_eq!(conflicts(&life.disk), [""; 0], "an earlier version is its base");
            life.assert_lasting();
        }
    }
}

#[test]
fn what_is_the_engines_own_in_state_json_is_ignored_and_that_is_told() {
    for (from, to, name) in [
        ("\"total_tasks\":2", "\"total_tasks\":9", "metrics"),
        ("\"last_saved\": \"2", "\"last_saved\": \"3", "last_saved"),
        ("\"engine\": ", "\"engine\": 7, \"was\": ", "engine"),
    ] {
        let life = Life::new(Left::Open, &[A, B], |_| {}, |disk| sed(disk, from, to));
        let told = life.told();
        let is_told = told.iter().any(|problem| problem.detail.contains(&format!("{name:?}")));
        assert!(is_told && told.iter().all(|found| found.kind == ProblemKind::Edited), "{told:?}");
        assert!(!state(&life.disk).contains(to), "a new snapshot has its place");
        life.assert_lasting();
    }
}

#[test]
fn members_that_a_person_adds_to_state_json_are_kept_in_every_later_snapshot() {
    let mine = "\"my notes\": {\"b\": 1.50, \"\\u0061\": [ 1 ]}";
    for left in ALL {
        for is_indexed in [true, false] {
            let person =
                |disk: &SimFs| sed(disk, "{\n", &format!("{{\n  {mine},\n  \"k\": null,\n"));
            let life = Life::new(left, &[A], |_| {}, person);
            life.assert_lasting();
            assert!(state(&life.disk).ends_with(&format!("\",\n  {mine},\n  \"k\": null\n}}\n")));
            for seed in 20..23 {
                if !is_indexed {
                    life.disk.remove_now("wal/state.index").unwrap();
                }
                let store = open(&life.disk, seed).unwrap();
                assert_eq!(store.recovery().snapshot_indexed, is_indexed);
                store.save_task_json(&format!(r#"{{"id": "a", "n": {seed}}}"#)).unwrap();
                store.shutdown().unwrap();
                assert!(state(&life.disk).contains(mine), "{left:?} {}", state(&life.disk));
            }
            sed(&life.disk, &format!(",\n  {mine}"), "");
            open(&life.disk, 30).unwrap().shutdown().unwrap();
            assert!(!state(&life.disk).contains(mine), "and until they are removed");
            assert!(state(&life.disk).contains("\"k\": null"));
        }
    }
}

/// What a person may leave there that cannot be taken in, made of an intact one, with the kind and a part
/// of what is told.
fn broken(intact: &str) -> Vec<(Vec<u8>, ProblemKind, &'static str)> {
    let with = |from: &str, to: &str| {
        assert!(intact.contains(from));
        intact.replacen(from, to, 1).into_bytes()
    };
    let half = intact.len() / 2;
    let mut latin = with("\"m\": 1", "\"m\": \"?\"");
    let at = latin.iter().position(|byte| *byte == b'?').unwrap();
    latin[at] = 0xe4;
    let other = SimFs::new();
    let store = open(&other, 99).unwrap();
    store.save_task_json(r#"{"id": "foreign"}"#).unwrap();
    store.shutdown().unwrap();
    let foreign = other.read_now(STATE).unwrap();
    let edited = state(&other).replace("foreign", "strange").into_bytes();
    let unreadable = ProblemKind::Unreadable;
    vec![
        (with("\"m\": 1", "\"m\": "), unreadable, "line 5, column"),
        (with("\"m\": 1", "\"m\": 1, \"m\": 2"), unreadable, "line 5, column 33: task: the key"),
        (with("\"id\": \"b\"", "\"id\": \"a\""), unreadable, "line 6, column 5: task: the id"),
        (with("\"id\": \"b\", ", ""), unreadable, "line 6, column 5: task: it has no member"),
        (with("  \"metrics\"", "  \"tasks\""), unreadable, "appears twice"),
        (with("\"version\": \"2.", "\"version\": \"3."), unreadable, "version 3"),
        (latin, unreadable, "line 5, column 31: it is not UTF-8"),
        (intact.as_bytes()[..half].to_vec(), unreadable, "EOF"),
        (Vec::new(), unreadable, "empty"),
        (foreign, ProblemKind::Foreign, "another store"),
        (edited, ProblemKind::Foreign, "another store"),
    ]
}

#[test]
fn what_cannot_be_understood_in_state_json_is_left_until_it_is_mended() {
    let count = {
        let life = Life::new(Left::Open, &[A, B], |_| {}, |_| {});
        broken(&state(&life.disk)).len()
    };
    for left in [Left::Open, Left::Shut] {
        for case in 0..count {
            let person = |disk: &SimFs| {
                let bytes = broken(&state(disk)).remove(case).0;
                disk.save_now("mine", state(disk).as_bytes()).unwrap();
                disk.save_now(STATE, &bytes).unwrap();
            };
            let life = Life::new(left, &[A, B], |_| {}, person);
            let intact = String::from_utf8(life.disk.read_now("mine").unwrap()).unwrap();
            life.disk.remove_now("mine").unwrap();
            let (bytes, kind, part) = broken(&intact).remove(case);
            let told = life.told();
            assert_eq!(told.len(), 1, "{left:?} {case}: {told:?}");
            assert!(told[0].kind == kind && told[0].detail.contains(part), "{case}: {told:?}");
            assert_eq!(documents(&life.store.view()).len(), 2, "the last good state is in force");
            for n in 2..15 {
                life.clock.advance(Duration::from_secs(40));
                life.store.patch_task_json("b", &format!("{{\"n\": {n}}}")).unwrap();
                life.store.checkpoint().unwrap();
                assert_eq!(
                    life.disk.read_now(STATE).unwrap(),
                    bytes,
                    "{left:?} {case}: not touched"
                );
            }
            let backups = below(&life.disk, "state.backup.").len();
            assert!((3..=12).contains(&backups), "{left:?} {case}: {backups} backups");
            let left_so = life.disk.if_killed();
            let again = open(&left_so, 3).unwrap();
            assert_eq!(documents(&again.view()), documents(&life.store.view()));
            // Of an empty one, a crash may be the reason.
            assert!(bytes.is_empty() || left_so.read_now(STATE).unwrap() == bytes);
            // The base of what is mended is still what it was made of.
            let mended = intact.replace("\"m\": 1", "\"m\": 5");
            life.disk.save_now(STATE, mended.as_bytes()).unwrap();
            life.find();
            assert_eq!(bare(&life.store, "a"), r#"{"id":"a","n":1,"m":5}"#, "{left:?} {case}");
            assert_eq!(bare(&life.store, "b"), r#"{"id":"b","n":14}"#, "{left:?} {case}");
            assert_eq!(conflicts(&life.disk), [""; 0], "{left:?} {case}");
            life.assert_lasting();
        }
    }
}

#[test]
fn the_snapshot_itself_put_back_after_it_was_broken_restores_nothing() {
    for is_closed in [false, true] {
        let life = Life::new(Left::Open, &[A, B], |_| {}, |_| {});
        let intact = state(&life.disk);
        sed(&life.disk, "\"m\": 1", "\"m\": ");
        life.find();
        for n in 2..6 {
            life.store.patch_task_json("b", &format!("{{\"n\": {n}}}")).unwrap();
            life.store.checkpoint().unwrap();
        }
        let now = documents(&life.store.view());
        if is_closed {
            life.store.shutdown().unwrap();
            life.disk.save_now(STATE, intact.as_bytes()).unwrap();
            let again = open(&life.disk, 5).unwrap();
            assert_eq!(documents(&again.view()), now, "{:?}", again.recovery());
        } else {
            life.disk.save_now(STATE, intact.as_bytes()).unwrap();
            life.find();
            assert_eq!(documents(&life.store.view()), now);
            life.assert_lasting();
        }
    }
}
