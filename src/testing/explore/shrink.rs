//! A simpler crash that shows the same: fewer crashes in a row, extremes instead of drawn outcomes,
//! fewer things that survive.
//!
//! Each try replays the whole run. What a power cut drew is a list of numbers in which 0 is the
//! simplest, so a drawn outcome is shrunk by cutting the list and zeroing what is in it (internal test
//! case reduction, as the property-based tester Hypothesis does it).

use std::sync::Arc;

use super::search::Search;
use super::{Crash, CrashPath, Explorer, Outcome, Program, Violation};
use crate::fs::sim::CrashMode;

/// Replays that are spent on it at most.
const TRIES_MAX: usize = 300;

/// So many calls are tried for a crash that is to stand for several.
const CALLS_TRIED: u64 = 100;

/// Replays what was found, and then tries simpler crashes until none of them shows a violation.
pub(super) fn shrink<P: Program>(
    explorer: &Explorer,
    program: &Arc<P>,
    found: Violation,
) -> Violation {
    let try_out = |path: &CrashPath| {
        let only = Explorer { only: Some(path.clone()), on_progress: None, ..explorer.clone() };
        let search = Search::new(only, program.clone());
        search.run().err().map(|violation| (*violation, search))
    };
    let Some((mut simplest, mut search)) = try_out(&found.path) else {
        return Violation { replays: false, ..found };
    };
    let mut tries = 0;
    loop {
        let mut candidates = simpler(&simplest.path, |depth| search.draws(depth)).into_iter();
        let simpler = candidates.find_map(|path| {
            tries += 1;
            if tries > TRIES_MAX { None } else { try_out(&path) }
        });
        match simpler {
            Some(simpler) => (simplest, search) = simpler,
            None => break,
        }
    }
    if simplest.path != found.path {
        simplest.found = Some(found.path);
    }
    simplest
}

/// Crashes that are a step simpler, the simplest first.
fn simpler(path: &CrashPath, draws: impl Fn(usize) -> Vec<u32>) -> Vec<CrashPath> {
    let crashes = &path.0;
    let first = |length: usize| CrashPath(crashes.iter().take(length).cloned().collect());
    let mut all: Vec<CrashPath> = (1..crashes.len()).map(first).collect();
    // What takes several crashes to find may be there in a run without any, a few calls later.
    if let [first, .., last] = crashes.as_slice() {
        let calls = 1..=first.call.saturating_add(last.call).min(CALLS_TRIED);
        all.extend(
            calls.map(|call| CrashPath(vec![Crash { call, outcome: last.outcome.clone() }])),
        );
    }
    for (depth, crash) in crashes.iter().enumerate() {
        for outcome in simpler_outcomes(&crash.outcome, &draws(depth)) {
            let mut changed = crashes.clone();
            if let Some(place) = changed.get_mut(depth) {
                *place = Crash { call: crash.call, outcome };
            }
            all.push(CrashPath(changed));
        }
    }
    all
}

fn simpler_outcomes(outcome: &Outcome, draws: &[u32]) -> Vec<Outcome> {
    let cut = |draws: &[u32]| Outcome::PowerCut(CrashMode::Choices(draws.into()));
    let extremes = [
        Outcome::Kill,
        Outcome::PowerCut(CrashMode::Nothing),
        Outcome::PowerCut(CrashMode::Everything),
    ];
    let rank = extremes.iter().position(|extreme| extreme == outcome);
    if let Some(rank) = rank {
        return extremes.into_iter().take(rank).collect();
    }
    let mut all = extremes.to_vec();
    let halves = std::iter::successors(Some(draws.len() / 2), |length| Some(length / 2));
    for length in halves.take_while(|length| *length > 0) {
        all.extend(draws.get(..length).map(cut));
        all.extend(draws.get(..draws.len() - length).map(cut));
    }
    for at in (0..draws.len()).filter(|at| draws.get(*at).is_some_and(|draw| *draw > 0)) {
        let mut zeroed = draws.to_vec();
        if let Some(draw) = zeroed.get_mut(at) {
            *draw = 0;
        }
        all.push(cut(&zeroed));
    }
    all
}
