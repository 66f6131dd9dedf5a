//! A simpler crash that shows the same: fewer crashes in a row, extremes instead of drawn outcomes,
//! fewer things that survive.

use std::sync::Arc;

use super::search::Search;
use super::{Crash, CrashPath, Explorer, Outcome, Program, Violation};
use crate::fs::sim::CrashMode;

/// Replays that are spent on it at most.
const TRIES_MAX: usize = 200;

/// So many calls are tried for a crash that is to stand for several.
const CALLS_TRIED: u64 = 100;

/// Tries simpler crashes until none of them shows a violation.
pub(super) fn shrink<P: Program>(
    explorer: &Explorer,
    program: &Arc<P>,
    found: Violation,
) -> Violation {
    let first = found.path.clone();
    let mut simplest = found;
    let mut tries = 0;
    let mut is_simpler = true;
    while is_simpler {
        is_simpler = false;
        for path in simpler(&simplest.path) {
            tries += 1;
            if tries > TRIES_MAX {
                break;
            }
            let only = Explorer { only: Some(path), on_progress: None, ..explorer.clone() };
            if let Err(violation) = Search::new(only, program.clone()).run() {
                simplest = *violation;
                is_simpler = true;
                break;
            }
        }
    }
    if simplest.path != first {
        simplest.found = Some(first);
    }
    simplest
}

/// Crashes that are a step simpler, the simplest first.
fn simpler(path: &CrashPath) -> Vec<CrashPath> {
    let crashes = &path.0;
    let mut all: Vec<CrashPath> = (1..crashes.len())
        .map(|length| CrashPath(crashes.iter().take(length).cloned().collect()))
        .collect();
    // What takes several crashes to find may be there in a run without any, a few calls later.
    if let [first, .., last] = crashes.as_slice() {
        let calls = 1..=first.call.saturating_add(last.call).min(CALLS_TRIED);
        all.extend(
            calls.map(|call| CrashPath(vec![Crash { call, outcome: last.outcome.clone() }])),
        );
    }
    for (at, crash) in crashes.iter().enumerate() {
        for outcome in simpler_outcomes(&crash.outcome) {
            let mut changed = crashes.clone();
            if let Some(place) = changed.get_mut(at) {
                *place = Crash { call: crash.call, outcome };
            }
            all.push(CrashPath(changed));
        }
    }
    all
}

fn simpler_outcomes(outcome: &Outcome) -> Vec<Outcome> {
    let extremes = [
        Outcome::Kill,
        Outcome::PowerCut(CrashMode::Nothing),
        Outcome::PowerCut(CrashMode::Everything),
    ];
    let rank = extremes.iter().position(|extreme| extreme == outcome).unwrap_or(extremes.len());
    extremes.into_iter().take(rank).collect()
}
