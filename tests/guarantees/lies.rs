//! Flushes that lie (G2 to G5): from some flush on the disk says that it did what it did not. What was
//! acknowledged since may be gone after a power cut; but nothing is half there, nothing that never was,
//! and where the state is not one that was, that is told.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use walden::fs::sim::{CallKind, CrashMode, Fault, Plan, SimFs};
use walden::testing::Shared;
use walden::{Error, Problem, ProblemKind};

use crate::lost::file_of;
use crate::lost_history::Key;
use crate::oracle::Oracle;
use crate::support::{Documents, PATIENCE, documents, files, open, seeds, within};
use crate::watched::Watched;
use crate::workload::{Run, Step, reference};

#[derive(Debug, Default)]
struct Met {
    cuts: u64,
    /// Something was lost that had been acknowledged.
    lost: u64,
    /// The state was one that was.
    whole: u64,
    told: u64,
    refused: u64,
}

/// A life on a disk on which flushes of a kind lie from the `nth` on; the power is cut at one of so many
/// calls behind it, and at the end. Says whether there was such a flush.
fn lie(kind: CallKind, nth: u64, one_in: u64, met: &Arc<Mutex<Met>>) -> bool {
    let disk = SimFs::new();
    let oracle = Shared::new(Oracle::new());
    let cut = {
        let (oracle, met) = (oracle.clone(), met.clone());
        move |disk: &SimFs, call: u64| {
            for mode in [CrashMode::Nothing, CrashMode::Random(nth * 1000 + call)] {
                let what = format!("{kind:?} from {nth} on, cut at {call}, {mode}");
                check(&disk.if_crashed(&mode), &oracle.get(), &mut met.lock().unwrap(), &what);
            }
        }
    };
    let (calls, at_end) = (AtomicU64::new(nth), cut.clone());
    let fs = Watched::new(&disk, move |disk| {
        let call = calls.fetch_add(1, Relaxed);
        if disk.faults_fired() > 0 && call.is_multiple_of(one_in) {
            cut(disk, call);
        }
    });
    let mut run = Run::new(&disk, Arc::new(fs), oracle);
    run.edits = false;
    disk.fail(Plan::new(Fault::Lie).kind(kind).nth(nth).for_ever());
    run.open().unwrap();
    // Behind a hole nobody can tell that a transaction was refused, so there is none.
    for step in reference().into_iter().filter(|step| !matches!(step, Step::Refused)) {
        run.step(&step).unwrap_or_else(|error| panic!("{kind:?} {nth}, {step:?}: {error}"));
    }
    let has_lied = disk.faults_fired() > 0;
    if has_lied {
        at_end(&disk, 999_999);
    }
    has_lied
}

fn check(left: &SimFs, oracle: &Oracle, met: &mut Met, what: &str) {
    met.cuts += 1;
    let before = files(left);
    let store = match open(left, 7000) {
        Ok(store) => store,
        Err(Error::Corrupt { .. } | Error::Unsupported { .. }) => {
            met.refused += 1;
            assert_eq!(files(left), before, "{what}: a refusal changes nothing");
            return;
        }
        Err(error) => panic!("{what}: {error}"),
    };
    let found = documents(&store.view());
    judge(&found, left, &store.recovery().problems, oracle, met, what);
    // From here on it is a sound store, as far as anybody can tell.
    store.save_task_json(r#"{"id": "later"}"#).unwrap();
    drop(store);
    let again = open(&left.if_crashed(CrashMode::Nothing), 7001).unwrap();
    let mut with_later = found;
    with_later.insert(("tasks", "later".into()), serde_json::json!({"id": "later"}));
    assert_eq!(documents(&again.view()), with_later, "{what}: what was found stays");
}

fn judge(
    found: &Documents,
    left: &SimFs,
    problems: &[Problem],
    oracle: &Oracle,
    met: &mut Met,
    what: &str,
) {
    if let Ok(place) = oracle.place(found, true) {
        met.whole += 1;
        met.lost += u64::from(place < oracle.durable);
        return;
    }
    // Of a file whose records are all lost nobody can tell that the engine made it: it is told as one that
    // somebody made or changed. The other documents are still those of a state that was.
    let is_edited = |file: &String| {
        problems.iter().any(|told| told.kind == ProblemKind::Edited && told.file == *file)
    };
    let as_the_log_says = |key: &Key| !file_of(left, key).is_some_and(|file| is_edited(&file));
    if oracle.was_in(found, as_the_log_says) {
        met.whole += 1;
        met.lost += 1;
        return;
    }
    met.told += 1;
    // A name that a flush made durable is missed if somebody removed it.
    let told = problems.iter().any(|problem| {
        matches!(problem.kind, ProblemKind::Missing | ProblemKind::Corrupt | ProblemKind::Suspect)
            || problem.detail.contains("somebody removed it")
    });
    assert!(told, "{what}: a state that never was, and nothing is told: {problems:#?}\n{found:#?}");
    for (dir, id) in found.keys().chain(oracle.present().keys()) {
        let document = found.get(&(*dir, id.clone()));
        assert!(oracle.ever(dir, id, document), "{what}: {dir}/{id} never was {document:?}");
    }
}

#[test]
fn behind_flushes_that_lie_nothing_is_half_there_and_what_is_lost_is_told() {
    let met = within(PATIENCE, || {
        let met = Arc::new(Mutex::new(Met::default()));
        let (step, one_in) = if seeds() > 1 { (1, 5) } else { (5, 47) };
        let kinds = [CallKind::Sync, CallKind::SyncDir, CallKind::SyncAll, CallKind::WriteBack];
        for kind in kinds {
            let places =
                (1..).step_by(step).take_while(|nth| lie(kind, *nth, one_in, &met)).count();
            println!("{kind:?}: lies from {places} places on");
        }
        Arc::into_inner(met).unwrap().into_inner().unwrap()
    });
    println!("{met:?}");
    assert!(met.cuts > 400 && met.lost > 200 && met.whole > 200 && met.told > 5, "{met:?}");
}
