//! The checker against a search through every order: on small random histories, right and wrong ones, both
//! must come to the same.

use crate::checker::check;
use crate::history::{Change, Found, History, Operation, What};
use crate::recorder::Draw;

/// Whether some order of all operations respects time and LSNs and explains what was found.
fn is_linearizable(history: &History) -> bool {
    search(&history.operations, &mut vec![false; history.operations.len()], &vec![None; 2], 0)
}

fn search(operations: &[Operation], done: &mut Vec<bool>, state: &[Found], last_lsn: u64) -> bool {
    let mut is_complete = true;
    for (number, operation) in operations.iter().enumerate() {
        if done[number] {
            continue;
        }
        is_complete = false;
        let left = || operations.iter().enumerate().filter(|(other, _)| !done[*other]);
        if left().any(|(_, other)| other.answered < operation.called) {
            continue;
        }
        let least = left().filter_map(|(_, other)| lsn_of(other)).min();
        let Some((next, lsn)) = step(operation, state, last_lsn, least) else { continue };
        done[number] = true;
        if search(operations, done, &next, lsn) {
            return true;
        }
        done[number] = false;
    }
    is_complete
}

fn lsn_of(operation: &Operation) -> Option<u64> {
    match &operation.what {
        What::Write { lsn, .. } => Some(*lsn),
        _ => None,
    }
}

/// The state and the last LSN after an operation, if it can come next.
fn step(
    operation: &Operation,
    state: &[Found],
    last_lsn: u64,
    least: Option<u64>,
) -> Option<(Vec<Found>, u64)> {
    let mut next = state.to_vec();
    let mut apply = |changes: &[(usize, Change)]| {
        changes.iter().try_for_each(|(document, change)| {
            next[*document] = change.apply(&next[*document])?;
            Ok::<(), ()>(())
        })
    };
    let (is_possible, lsn) = match &operation.what {
        What::Write { changes, lsn } => {
            let is_next = least == Some(*lsn) && last_lsn + changes.len() as u64 <= *lsn;
            (is_next && apply(changes).is_ok(), *lsn)
        }
        What::Refused { changes } => {
            let is_refused = apply(changes).is_err();
            next = state.to_vec();
            (is_refused, last_lsn)
        }
        What::Get { document, found } => (state[*document] == *found, last_lsn),
        What::View { lsn, found } => {
            let is_its_lsn =
                lsn.is_none_or(|lsn| last_lsn <= lsn && least.is_none_or(|least| least > lsn));
            (is_its_lsn && state == found.as_slice(), last_lsn)
        }
    };
    is_possible.then_some((next, lsn))
}

/// A history of a few operations on two documents: executed in some order, stretched so that they overlap,
/// and then perhaps spoilt.
fn draw_history(draw: &mut Draw) -> History {
    let mut state: Vec<Found> = vec![None; 2];
    let mut lsn = 0;
    let mut operations = Vec::new();
    for number in 1..=u64::try_from(draw.below(5) + 2).unwrap() {
        let document = draw.below(2);
        let what = match draw.below(6) {
            0 => What::Get { document, found: state[document].clone() },
            1 => {
                let lsn = (draw.below(2) == 0).then_some(lsn);
                What::View { lsn, found: state.clone() }
            }
            _ => write(draw, number, &mut state, &mut lsn),
        };
        let called = 5000 + 1000 * number - 2 * draw.below(450) as u64;
        let answered = 5001 + 1000 * number + 2 * draw.below(450) as u64;
        operations.push(Operation { called, answered, what });
    }
    if draw.below(4) > 0 {
        spoil(draw, &mut operations);
    }
    // No instant is that of two.
    for (number, operation) in (0_u64..).zip(&mut operations) {
        operation.called = operation.called * 100 + 2 * number;
        operation.answered = operation.answered * 100 + 2 * number + 1;
    }
    History { documents: 2, operations }
}

fn write(draw: &mut Draw, number: u64, state: &mut Vec<Found>, lsn: &mut u64) -> What {
    let changes: Vec<(usize, Change)> = (0..=draw.below(2) as u64)
        .map(|part| {
            let number = 10 * number + part;
            let kinds = [
                Change::Save(number),
                Change::Patch(number),
                Change::Append(number),
                Change::Delete,
            ];
            (draw.below(2), kinds[draw.below(4)])
        })
        .collect();
    let mut next = state.clone();
    let applied = changes.iter().try_for_each(|(document, change)| {
        next[*document] = change.apply(&next[*document])?;
        Ok::<(), ()>(())
    });
    // A refused transaction is in the log all the same.
    *lsn += changes.len() as u64;
    if applied.is_err() {
        return What::Refused { changes };
    }
    *state = next;
    What::Write { changes, lsn: *lsn }
}

/// Lets an operation find what another found, or exchanges two LSNs or two times.
fn spoil(draw: &mut Draw, operations: &mut [Operation]) {
    let (one, other) = (draw.below(operations.len()), draw.below(operations.len()));
    let theirs = operations[other].clone();
    let mine = &mut operations[one];
    match (&mut mine.what, &theirs.what) {
        (What::Get { found, .. }, What::Get { found: theirs, .. }) => found.clone_from(theirs),
        (What::Get { document, found }, What::View { found: theirs, .. }) => {
            found.clone_from(&theirs[*document]);
        }
        (What::View { found, .. }, What::View { found: theirs, .. }) => {
            found[0].clone_from(&theirs[0]);
        }
        (What::Write { lsn, .. }, What::Write { lsn: theirs_lsn, .. }) => {
            let mine = std::mem::replace(lsn, *theirs_lsn);
            if let What::Write { lsn, .. } = &mut operations[other].what {
                *lsn = mine;
            }
        }
        _ => {
            let (called, answered) = (mine.called, mine.answered);
            (mine.called, mine.answered) = (theirs.called, theirs.answered);
            (operations[other].called, operations[other].answered) = (called, answered);
        }
    }
}

#[test]
fn the_checker_and_a_search_through_all_orders_come_to_the_same() {
    let mut draw = Draw(11);
    let (mut right, mut wrong) = (0, 0);
    for _ in 0..30_000 {
        let history = draw_history(&mut draw);
        let (checked, searched) = (check(&history), is_linearizable(&history));
        assert_eq!(checked.is_ok(), searched, "{checked:?}: {history:#?}");
        *if searched { &mut right } else { &mut wrong } += 1;
    }
    println!("{right} right histories, {wrong} wrong ones");
    assert!(right > 10_000 && wrong > 3_000, "{right} right, {wrong} wrong");
}
