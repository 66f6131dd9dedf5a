//! Random losses (G4, G5, G7): a random history, a random stop, then random parts of the directory gone
//! or damaged. Whatever it is, opening succeeds, serves no version that never was, keeps every newest
//! version of which an intact, dated copy is left, tells what it lacks, and comes to the same again.
//!
//! `WALDEN_SIM_SEEDS` scales the number of cases; `WALDEN_LOST_CASE` runs a single one.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};
use walden::fs::sim::SimFs;
use walden::{Problem, ProblemKind, Recovery, Rung};

use crate::lost_history::{Draw, History, Key, Loss, Stop};
use crate::support::{Documents, at, documents, mix, open, seeds};

const CASES: u64 = 1500;
/// The file that shows a document, if one does.
pub(crate) fn file_of(disk: &SimFs, key: &Key) -> Option<String> {
    disk.names().into_iter().find(|name| {
        let Some(bytes) = name.starts_with(key.0).then(|| disk.read_now(name)).flatten() else {
            return false;
        };
        serde_json::from_slice::<Value>(&bytes).is_ok_and(|doc| doc["id"] == key.1)
    })
}

#[derive(Debug, Default)]
struct Tally {
    cases: u64,
    whole: u64,
    behind: u64,
    suspect: u64,
    from_mirror: u64,
    proven: u64,
    restored: u64,
    holes: u64,
    clean: u64,
}

/// Whether anything tells of a loss. Nothing can where no trace of a store is left, nor where a power cut
/// may have taken what says that a lost segment was there.
fn told(recovery: &Recovery, history: &History, loss: &Loss) -> bool {
    let tells = |problem: &walden::Problem| {
        !problem.kind.is_harmless()
            || problem.file.starts_with("wal/") && history.stop != Stop::Clean
    };
    recovery.rung == Rung::Empty
        || recovery.problems.iter().any(tells)
        || history.stop == Stop::PowerCut && loss.segments > 0
}

/// Opens what is left, and again after a kill, after a shutdown, and without the snapshot that the first
/// opening made.
fn opened(disk: &SimFs, loss: &Loss, case: u64) -> (Documents, Arc<Recovery>) {
    let view = documents(&at(disk, case * 16 + 8).open_read_only().unwrap());
    let store = open(disk, case * 16 + 9).unwrap_or_else(|error| panic!("{error}"));
    let (found, recovery) = (documents(&store.view()), store.recovery());
    assert_eq!(view, found, "a reader sees the same: {recovery:#?}");
    let killed = disk.if_killed();
    store.shutdown().unwrap();
    for (disk, is_clean) in [(&killed, false), (disk, true)] {
        let again = open(disk, case * 16 + 10).unwrap();
        let next = again.recovery();
        assert_eq!(
            documents(&again.view()),
            found,
            "once more: {next:#?}\nat first: {recovery:#?}"
        );
        // A damaged segment stays in the log until that is cut above it.
        assert!(next.clean || !is_clean || loss.segments > 0, "{next:#?}");
        // What nothing could be taken over of is left alone.
        let is_over = is_clean && recovery.rung != Rung::Migration;
        let views = ["state.json", ".walden", "wal"];
        // One that cannot be understood may be a person's, and is told until it is mended.
        let is_held =
            |found: &Problem| found.file == "state.json" && found.kind == ProblemKind::Unreadable;
        let is_again = |found: &Problem| views.contains(&found.file.as_str()) && !is_held(found);
        let again = next.problems.iter().any(is_again);
        assert!(!is_over || !again, "it is told once: {next:#?}");
    }
    let store = open(&killed, case * 16 + 12).unwrap();
    store.save_task_json(r#"{"id": "after"}"#).unwrap();
    let mut wanted = found.clone();
    wanted.insert(("tasks", "after".to_owned()), json!({"id": "after"}));
    let left = killed.kill();
    drop(store);
    // A file of the mirror that is left damaged is no copy, and without an index nothing dates it.
    if left.read_now("state.json").is_some() && loss.files.is_empty() && !loss.index {
        left.remove_now("state.json").unwrap();
    }
    let last = open(&left, case * 16 + 13).unwrap();
    let next = last.recovery();
    assert_eq!(documents(&last.view()), wanted, "later: {next:#?}\nat first: {recovery:#?}");
    (found, recovery)
}

fn check(
    history: &History,
    loss: &Loss,
    shown: &BTreeMap<Key, String>,
    tally: &mut Tally,
    case: u64,
) {
    let (found, recovery) = opened(&history.disk, loss, case);
    tally.cases += 1;
    if let Some(snapshot) = &loss.put_back {
        // What lay there already is no restore.
        let is_last = history.last_snapshot.as_ref() == Some(&snapshot.0);
        let wanted = if is_last { &history.state } else { &snapshot.1 };
        assert_eq!(&found, wanted, "{is_last}: {recovery:#?}");
        tally.restored += 1;
        return;
    }
    let put_back =
        recovery.problems.iter().any(|problem| problem.detail.contains("put the snapshot"));
    assert!(!put_back, "nobody put anything back: {recovery:#?}");
    // Where a damaged `state.json` is all that is left, what can be read of it counts, and that is told.
    let is_guess = recovery.rung == Rung::Migration && loss.state;
    for (key, value) in found.iter().filter(|_| !is_guess) {
        let known = history.versions.get(key);
        assert!(
            known.is_some_and(|known| known.contains(&Some(value.clone()))),
            "{key:?} never was {value}: {recovery:#?}"
        );
    }
    check_newest(history, loss, shown, (&found, &recovery), tally);
    tally.whole += u64::from(found == history.state);
    tally.clean += u64::from(history.stop == Stop::Clean);
    tally.from_mirror += u64::from(recovery.from_mirror > 0);
    let any = |kind| u64::from(recovery.problems.iter().any(|problem| problem.kind == kind));
    tally.suspect += any(ProblemKind::Suspect);
    tally.holes += u64::from(recovery.problems.iter().any(|problem| problem.file == "wal"));
}

/// What must be at its last version is, and the rest is told.
fn check_newest(
    history: &History,
    loss: &Loss,
    shown: &BTreeMap<Key, String>,
    (found, recovery): (&Documents, &Recovery),
    tally: &mut Tally,
) {
    let log_is_whole = loss.segments == 0;
    let is_clean = history.stop == Stop::Clean;
    let mirror_is_whole = loss.files.is_empty() && is_clean && !loss.owner;
    let is_exact = log_is_whole && (!loss.state || loss.backups == 0)
        || is_clean && !loss.owner && !loss.state && loss.log_is_gone
        || mirror_is_whole;
    if is_exact {
        assert_eq!(*found, history.state, "{recovery:#?}");
    }
    let is_dated = !loss.index || is_clean && !loss.owner;
    for key in history.versions.keys() {
        let (last, now) = (history.state.get(key), found.get(key));
        let is_at_last = last == now;
        let is_shown = shown.get(key).is_some_and(|file| !loss.files.contains(file));
        let is_kept = is_clean || history.stop == Stop::Kill && !history.unshown.contains(key);
        if last.is_some() && is_shown && is_kept && is_dated {
            assert!(is_at_last, "{key:?}: {last:?} is shown, and {now:?} served: {recovery:#?}");
            tally.proven += 1;
        }
        if !is_at_last {
            assert!(
                told(recovery, history, loss),
                "{key:?}: nothing tells that it is behind: {recovery:#?}"
            );
            tally.behind += 1;
        }
    }
}

#[test]
fn whatever_is_lost_the_newest_that_is_left_is_served_and_the_rest_is_told() {
    let mut tally = Tally::default();
    let (first, last) = match std::env::var("WALDEN_LOST_CASE") {
        Ok(case) => {
            let case: u64 = case.parse().unwrap();
            (case, case + 1)
        }
        Err(_) => (0, CASES * seeds()),
    };
    let mut failed = Vec::new();
    for case in first..last {
        let mut draw = Draw(mix(case));
        let history = History::new(&mut draw, case);
        let shown: BTreeMap<Key, String> = history
            .versions
            .keys()
            .filter_map(|key| Some((key.clone(), file_of(&history.disk, key)?)))
            .collect();
        let loss = Loss::of(&mut draw, &history);
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            check(&history, &loss, &shown, &mut tally, case);
        }));
        if outcome.is_err() {
            eprintln!("case {case}, {:?}, {:#?}", history.stop, loss.done);
            failed.push(case);
        }
    }
    println!("lost: {tally:#?}");
    if last - first > 1 {
        let floors = [tally.whole, tally.behind, tally.proven, tally.holes, tally.clean];
        assert!(floors.iter().all(|count| *count > CASES / 5), "{tally:?}");
        let rare = [tally.suspect, tally.from_mirror, tally.restored];
        assert!(rare.iter().all(|count| *count > CASES / 50), "{tally:?}");
    }
    assert!(failed.is_empty(), "{} of {}: {failed:?}", failed.len(), last - first);
}
