//! Crashes while edits are taken in: before each call, also of the opening that follows, whatever people
//! did and whether the store was shut down, killed or open. An edit is in force in the end, once.
//! `WALDEN_EXHAUSTIVE=1` takes ten times as many of the second crashes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use walden::fs::Kind;
use walden::fs::sim::{CrashMode, Fault, SimFs};
use walden::testing::SteppedClock;
use walden::wal::Origin;
use walden::{Collection, Problem, ProblemKind, Source, Store, Version};

use crate::edits::{A, bare, conflicts, find, store_with, text};
use crate::support::{builder, is_exhaustive};
use crate::watched::Watched;

/// Of so many calls one is where a crash is followed by crashes at every call of the next opening.
fn nested_one_in() -> u64 {
    if is_exhaustive() { 6 } else { 60 }
}

const BROKEN: &[u8] = b"{\"id\": \"d\", \"n\": ";

/// How the store that is edited was left.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Left {
    Shut,
    Killed,
    Open,
}

/// What people did: a field changed, a file removed, one made, one broken, one put back.
fn edit(disk: &SimFs, left: Left) {
    let shows = if left == Left::Killed { 1 } else { 2 };
    let mine = format!("{{\r\n \"id\": \"a\", \"n\": {shows}, \"m\": 5}}");
    disk.save_now(A, mine.as_bytes()).unwrap();
    disk.remove_now("tasks/b.json").unwrap();
    disk.write_now("tasks/c.json", br#"{"id": "c", "n": 1}"#).unwrap();
    disk.write_now("tasks/d.json", BROKEN).unwrap();
    if left == Left::Shut {
        // After a kill it may be what the engine has left.
        disk.save_now("tasks/e.json", b"{\n  \"id\": \"e\",\n  \"n\": 1\n}\n").unwrap();
    }
    // It says what it said, in other bytes; after a kill that is behind the document.
    let same = format!("{{\"id\": \"f\",   \"n\": {shows}}}");
    disk.save_now("tasks/f.json", same.as_bytes()).unwrap();
}

fn check(store: &Store, disk: &SimFs, left: Left, what: &str) {
    check_but(store, disk, left, false, what);
}

/// `is_restored`: it was told that what somebody removed is written anew.
fn check_but(store: &Store, disk: &SimFs, left: Left, is_restored: bool, what: &str) {
    let found = ["a", "b", "c", "d", "e", "f"].map(|id| bare(&text(store, id)));
    let e = if left == Left::Shut { r#"{"id":"e","n":1}"# } else { r#"{"id":"e","n":2}"# };
    let [a, c] = [r#"{"id":"a","n":2,"m":5}"#, r#"{"id":"c","n":1}"#];
    let b = if is_restored { r#"{"id":"b","n":1}"# } else { "" };
    let wanted = [a, b, c, r#"{"id":"d","n":1}"#, e, r#"{"id":"f","n":2}"#];
    assert_eq!(found, wanted, "{what}: {:#?}", store.recovery());
    assert_eq!(disk.read_now("tasks/d.json").as_deref(), Some(BROKEN), "{what}");
    // Whoever deletes is a party too: what was deleted is kept.
    assert_eq!(conflicts(disk).len(), usize::from(!is_restored), "{what}: {:?}", disk.names());
}

/// Checks that what people wrote is in force or kept, and what the program wrote, too.
fn check_kept(store: &Store, disk: &SimFs, what: &str) {
    let texts = ["a", "c", "e", "f"].map(|id| bare(&text(store, id)));
    let all = [texts.concat(), bare(&conflicts(disk).concat())].concat();
    for wanted in [r#""m":5"#, r#"{"id":"c","n":1}"#] {
        assert!(all.contains(wanted), "{what}: {wanted} is nowhere: {all} {:#?}", store.recovery());
    }
    for (id, text) in ["a", "c", "e", "f"].iter().zip(&texts) {
        assert!(*id == "c" || text.contains(r#""n":2"#), "{what}: {id} is {text}");
    }
    assert_eq!(disk.read_now("tasks/d.json").as_deref(), Some(BROKEN), "{what}");
}

/// How often the log says that each document was edited.
fn adoptions(store: &Store) -> [usize; 5] {
    ["a", "b", "c", "e", "f"].map(|id| {
        let versions = store.history(Collection::Task, id).unwrap().versions;
        let is_edit = |version: &Version| match &version.source {
            Source::Log(change) => change.origin == Origin::Edit,
            Source::Snapshot { .. } => false,
        };
        versions.iter().filter(|version| is_edit(version)).count()
    })
}

struct Crashes {
    left: Left,
    /// Openings after a crash.
    opened: AtomicU64,
}

impl Crashes {
    /// Opens what a stop of this disk at this call may leave, and checks it.
    fn at(self: &Arc<Self>, disk: &SimFs, call: u64, is_nested: bool) {
        for (at, crashed) in [
            disk.if_killed(),
            disk.if_crashed(CrashMode::Nothing),
            disk.if_crashed(CrashMode::Random(call)),
        ]
        .into_iter()
        .enumerate()
        {
            let what = format!("{:?}, before call {call}, {at}, nested: {is_nested}", self.left);
            let goes_on = !is_nested && call % nested_one_in() == at as u64;
            self.open(&crashed, goes_on, &what);
        }
    }

    fn open(self: &Arc<Self>, disk: &SimFs, goes_on: bool, what: &str) {
        let (crashes, calls) = (self.clone(), AtomicU64::new(0));
        let watched = Watched::new(disk, move |disk| {
            let call = calls.fetch_add(1, Relaxed) + 1;
            if goes_on {
                crashes.at(disk, call, true);
            }
        });
        let clock = Arc::new(SteppedClock::default());
        let store = builder(Arc::new(watched), clock.clone(), 60).open().unwrap();
        find(&store, &clock);
        check(&store, disk, self.left, what);
        let adopted = adoptions(&store);
        assert!(adopted.iter().all(|count| *count <= 1), "{what}: {adopted:?}");
        store.shutdown().unwrap();
        let again = builder(Arc::new(disk.clone()), Arc::default(), 61).open().unwrap();
        check(&again, disk, self.left, what);
        let problems = again.recovery().problems.clone();
        let is_edited = problems.iter().any(|problem| problem.kind == ProblemKind::Edited);
        assert!(!is_edited, "{what}: an edit is taken in once: {problems:?}");
        self.opened.fetch_add(1, Relaxed);
    }
}

/// A store left like this, with what people did to it, unless it is to be open.
fn edited(left: Left) -> SimFs {
    let disk = SimFs::new();
    let tasks = ["a", "b", "d", "e", "f"].map(|id| format!(r#"{{"id": "{id}", "n": 1}}"#));
    let (store, clock) = store_with(&disk, &tasks.each_ref().map(String::as_str));
    drop(clock);
    for id in ["a", "e", "f"] {
        store.patch_task_json(id, r#"{"n": 2}"#).unwrap();
    }
    let disk = if left == Left::Killed {
        disk.if_killed()
    } else {
        store.shutdown().unwrap();
        disk
    };
    drop(store);
    if left != Left::Open {
        edit(&disk, left);
    }
    disk
}

/// Crashes at each call of taking edits in; gives the numbers of calls and of openings.
fn explore(left: Left) -> (u64, u64) {
    let disk = edited(left);
    let crashes = Arc::new(Crashes { left, opened: AtomicU64::new(0) });
    let hook = crashes.clone();
    let (watched, switch) = Watched::while_on(&disk, move |disk, call| hook.at(disk, call, false));
    let clock = Arc::new(SteppedClock::default());
    switch.set(left != Left::Open);
    let store = builder(Arc::new(watched), clock.clone(), 7).open().unwrap();
    if left == Left::Open {
        edit(&disk, left);
        switch.set(true);
    }
    find(&store, &clock);
    store.checkpoint().unwrap();
    switch.set(false);
    check(&store, &disk, left, "in the end");
    (switch.calls(), crashes.opened.load(Relaxed))
}

#[test]
fn a_crash_at_any_call_of_taking_edits_in_takes_each_in_once() {
    for left in [Left::Shut, Left::Killed, Left::Open] {
        let (calls, opened) = explore(left);
        println!("{left:?}: crashed before each of {calls} calls; {opened} openings checked");
        assert!(calls > 50 && opened > 1000, "{calls} {opened}");
    }
}

/// Lets one call of an opening that takes edits in fail; gives the number of those that failed as a whole.
fn fail_at_each_call(left: Left, fault: Fault) -> u64 {
    let mut failed = 0;
    for call in 1.. {
        let disk = edited(left);
        disk.fail_at(call, fault);
        // Whatever it says: an error may be one that costs nothing.
        let clock = Arc::new(SteppedClock::default());
        let first = builder(Arc::new(disk.clone()), clock.clone(), 7).open();
        let is_beyond = disk.faults_fired() == 0;
        disk.clear_faults();
        failed += u64::from(first.is_err());
        let what = format!("{left:?}, {fault:?} at call {call}");
        let mut told = Vec::new();
        if let Ok(store) = first {
            told.clone_from(&store.recovery().problems);
            // What it could not take in is taken in by and by.
            find(&store, &clock);
        }
        let disk = disk.if_killed();
        let store = builder(Arc::new(disk.clone()), clock.clone(), 8).open().unwrap();
        find(&store, &clock);
        let tells = |of: &dyn Fn(&Problem) -> bool| told.iter().any(of);
        let is_damage = |problem: &Problem| {
            problem.kind != ProblemKind::Edited && !problem.file.starts_with("tasks/")
        };
        if left == Left::Killed && tells(&is_damage) {
            // It took the store for a damaged one, in which nobody can tell what is an edit.
            check_kept(&store, &disk, &what);
        } else {
            let is_b = |problem: &Problem| problem.file == "tasks/b.json";
            let is_restored =
                tells(&|problem| is_b(problem) && problem.kind == ProblemKind::Missing);
            check_but(&store, &disk, left, is_restored, &what);
        }
        let adopted = adoptions(&store);
        assert!(adopted.iter().all(|count| *count <= 1), "{what}: {adopted:?}");
        if is_beyond {
            return failed;
        }
    }
    unreachable!("the calls of an opening end");
}

#[test]
fn an_error_at_any_call_of_taking_edits_in_loses_none() {
    for left in [Left::Shut, Left::Killed] {
        for fault in [Fault::Errno(5), Fault::Errno(28)] {
            let failed = fail_at_each_call(left, fault);
            println!("{left:?}, {fault:?}: {failed} openings failed");
            assert!(failed > 10, "{left:?} {fault:?}: {failed}");
        }
    }
}

#[test]
fn while_conflicts_cannot_be_kept_no_file_of_the_engine_becomes_an_edit() {
    let disk = edited(Left::Shut);
    disk.plant_now("conflicts", Kind::File).unwrap();
    let clock = Arc::new(SteppedClock::default());
    let store = builder(Arc::new(disk.clone()), clock.clone(), 7).open().unwrap();
    // The log tells less and less of what the files showed.
    for n in 3..8 {
        store.patch_task_json("f", &format!(r#"{{"n": {n}}}"#)).unwrap();
        find(&store, &clock);
        assert!(store.checkpoint().is_err(), "it is told that an edit waits");
        let newest = format!(r#"{{"id":"f","n":{n}}}"#);
        for mode in [CrashMode::Nothing, CrashMode::Everything, CrashMode::Random(n)] {
            let crashed = disk.if_crashed(mode.clone());
            let store = builder(Arc::new(crashed.clone()), Arc::default(), n).open().unwrap();
            let what = format!("{mode}, {n}: {:#?}", store.recovery());
            assert_eq!(bare(&text(&store, "f")), newest, "{what}");
            assert!(store.shutdown().is_err(), "it is told that an edit waits");
            crashed.remove_now("conflicts").unwrap();
            let clock = Arc::new(SteppedClock::default());
            let store = builder(Arc::new(crashed.clone()), clock.clone(), n + 10).open().unwrap();
            find(&store, &clock);
            // Of what was removed there is no copy yet: it is not deleted, or deleted and kept.
            let [b, found @ ..] = ["b", "a", "c", "e", "f"].map(|id| bare(&text(&store, id)));
            let made = [r#"{"id":"a","n":2,"m":5}"#, r#"{"id":"c","n":1}"#, r#"{"id":"e","n":1}"#];
            assert_eq!(found[..3], made, "{what}");
            assert_eq!(found[3], newest, "{what}");
            let kept = bare(&conflicts(&crashed).concat());
            assert_eq!(kept.contains(r#"{"id":"b","n":1}"#), b.is_empty(), "{what}: {kept}");
        }
    }
}
