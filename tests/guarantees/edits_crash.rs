//! Crashes while edits are taken in: before each call, also of the opening that follows, whatever people
//! did and whether the store was shut down, killed or open. An edit is in force in the end, once.
//! `WALDEN_EXHAUSTIVE=1` takes ten times as many of the second crashes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use walden::fs::sim::{CrashMode, SimFs};
use walden::testing::SteppedClock;
use walden::wal::Origin;
use walden::{Collection, ProblemKind, Source, Store, Version};

use crate::edits::{A, bare, conflicts, find, store_with, text};
use crate::support::builder;
use crate::watched::Watched;

/// Of so many calls one is where a crash is followed by crashes at every call of the next opening.
fn nested_one_in() -> u64 {
    if std::env::var_os("WALDEN_EXHAUSTIVE").is_some() { 6 } else { 60 }
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
}

fn check(store: &Store, disk: &SimFs, left: Left, what: &str) {
    let found = ["a", "b", "c", "d", "e"].map(|id| bare(&text(store, id)));
    let e = if left == Left::Shut { r#"{"id":"e","n":1}"# } else { r#"{"id":"e","n":2}"# };
    let wanted = [r#"{"id":"a","n":2,"m":5}"#, "", r#"{"id":"c","n":1}"#, r#"{"id":"d","n":1}"#, e];
    assert_eq!(found, wanted, "{what}: {:#?}", store.recovery());
    assert_eq!(disk.read_now("tasks/d.json").as_deref(), Some(BROKEN), "{what}");
    // Whoever deletes is a party too: what was deleted is kept.
    assert_eq!(conflicts(disk).len(), 1, "{what}: {:?}", disk.names());
}

/// How often the log says that each document was edited.
fn adoptions(store: &Store) -> [usize; 4] {
    ["a", "b", "c", "e"].map(|id| {
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

/// Crashes at each call of taking edits in; gives the numbers of calls and of openings.
fn explore(left: Left) -> (u64, u64) {
    let disk = SimFs::new();
    let tasks = ["a", "b", "d", "e"].map(|id| format!(r#"{{"id": "{id}", "n": 1}}"#));
    let (store, clock) = store_with(&disk, &tasks.each_ref().map(String::as_str));
    drop(clock);
    let change = |store: &Store| {
        store.patch_task_json("a", r#"{"n": 2}"#).unwrap();
        store.patch_task_json("e", r#"{"n": 2}"#).unwrap();
    };
    let crashes = Arc::new(Crashes { left, opened: AtomicU64::new(0) });
    change(&store);
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
