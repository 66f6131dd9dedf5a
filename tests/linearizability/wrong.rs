//! Wrong histories, each wrong in one way, made by hand and out of a real one: the checker refuses each.

use std::sync::Arc;

use walden::Store;
use walden::fs::sim::SimFs;

use crate::checker::check;
use crate::history::{Change, Content, Found, History, Operation, What};
use crate::recorder::{Draw, record};

fn saved(save: u64) -> Found {
    Change::Save(save).apply(&None).unwrap()
}

fn write(lsn: u64, changes: &[(usize, Change)]) -> What {
    What::Write { changes: changes.to_vec(), lsn }
}

fn get(document: usize, found: Found) -> What {
    What::Get { document, found }
}

fn view(lsn: u64, found: &[Found; 2]) -> What {
    What::View { lsn: Some(lsn), found: found.to_vec() }
}

fn history(operations: Vec<(u64, u64, What)>) -> History {
    let operations = operations
        .into_iter()
        .map(|(called, answered, what)| Operation { called, answered, what })
        .collect();
    History { documents: 2, operations }
}

fn is_refused(what: &str, expected: &str, operations: Vec<(u64, u64, What)>) {
    let violation = check(&history(operations)).expect_err(what);
    assert!(violation.starts_with(expected), "{what}: {violation}");
}

const NOWHERE: &str = "found what was nowhere";

#[test]
fn a_history_made_by_hand_is_refused_for_what_is_wrong_with_it() {
    use Change::{Delete, Patch, Save};
    let (one, two) = (|| write(1, &[(0, Save(1))]), || write(2, &[(0, Save(2))]));
    let both = || write(4, &[(0, Save(3)), (1, Save(4))]);
    is_refused(
        "a stale read",
        NOWHERE,
        vec![(1, 2, one()), (3, 4, two()), (5, 6, get(0, saved(1)))],
    );
    is_refused("a lost write", NOWHERE, vec![(1, 2, one()), (3, 4, get(0, None))]);
    is_refused("a read of what was never written", NOWHERE, vec![(1, 2, get(0, saved(9)))]);
    is_refused(
        "a read of what is only written afterwards",
        NOWHERE,
        vec![(1, 2, get(0, saved(1))), (3, 4, one())],
    );
    is_refused(
        "two reads, of which the later sees less, while the write is under way",
        NOWHERE,
        vec![(1, 9, one()), (2, 3, get(0, saved(1))), (4, 5, get(0, None))],
    );
    is_refused(
        "a torn transaction",
        NOWHERE,
        vec![(1, 9, both()), (2, 3, What::View { lsn: None, found: vec![saved(3), None] })],
    );
    is_refused(
        "a view that mixes two moments",
        NOWHERE,
        vec![
            (1, 2, one()),
            (3, 4, write(2, &[(1, Save(2))])),
            (5, 6, write(3, &[(0, Save(3))])),
            (7, 14, What::View { lsn: None, found: vec![saved(3), None] }),
        ],
    );
    is_refused(
        "a view that is not of its LSN",
        NOWHERE,
        vec![(1, 9, one()), (2, 8, two()), (3, 7, view(1, &[saved(2), None]))],
    );
    is_refused(
        "LSNs against real time",
        "answered before one of lower LSN was called",
        vec![(1, 2, two()), (3, 4, one())],
    );
    is_refused(
        "one LSN for two transactions",
        "shares LSNs",
        vec![(1, 4, one()), (2, 3, write(2, &[(1, Save(3)), (0, Save(4))]))],
    );
    is_refused(
        "a patch of what was deleted",
        "changed a document that was not there",
        vec![(1, 2, one()), (3, 4, write(2, &[(0, Delete)])), (5, 6, write(3, &[(0, Patch(7))]))],
    );
    is_refused(
        "a refusal though the document is there",
        NOWHERE,
        vec![(1, 2, one()), (3, 4, What::Refused { changes: vec![(0, Patch(7))] })],
    );
}

#[test]
fn a_history_made_by_hand_that_is_right_is_accepted() {
    use Change::{Append, Delete, Save};
    let right = vec![
        (1, 20, write(1, &[(0, Save(1))])),
        (2, 3, get(0, None)),
        (4, 5, get(0, saved(1))),
        (6, 12, write(3, &[(0, Delete), (1, Save(2))])),
        (7, 8, view(1, &[saved(1), None])),
        (9, 10, view(3, &[None, saved(2)])),
        (11, 30, What::Refused { changes: vec![(0, Append(3))] }),
        (21, 22, write(9, &[(0, Save(4))])),
        (23, 24, get(0, saved(4))),
    ];
    let figures = check(&history(right)).unwrap();
    assert_eq!((figures.writes, figures.reads, figures.refused), (3, 6, 1));
}

/// The places of the writes in a history, in the order of their LSNs.
fn writes(history: &History) -> Vec<(u64, usize)> {
    let mut writes: Vec<(u64, usize)> = (0..)
        .zip(&history.operations)
        .filter_map(|(number, operation)| match operation.what {
            What::Write { lsn, .. } => Some((lsn, number)),
            _ => None,
        })
        .collect();
    writes.sort_unstable();
    writes
}

/// A document before the write of an LSN.
fn state_before(history: &History, writes: &[(u64, usize)], lsn: u64, document: usize) -> Found {
    let before = writes.iter().take_while(|(other, _)| *other < lsn);
    before.fold(None, |found, (_, at)| {
        let What::Write { changes, .. } = &history.operations[*at].what else { return found };
        let mine = changes.iter().filter(|(of, _)| *of == document);
        mine.fold(found, |found, (_, change)| change.apply(&found).unwrap())
    })
}

/// Without the write whose number somebody found: nobody wrote that.
fn without(right: &History, content: &Content) -> History {
    let newest = content.logs.last().copied().unwrap_or(content.patch.max(content.save));
    let made = [Change::Save(newest), Change::Patch(newest), Change::Append(newest)];
    let mut history = right.clone();
    history.operations.retain(|operation| match &operation.what {
        What::Write { changes, .. } => !changes.iter().any(|(_, change)| made.contains(change)),
        _ => true,
    });
    history
}

/// With the LSN of one write exchanged for another's, though the one was answered before the other was
/// called.
fn exchanged(right: &History, writes: &[(u64, usize)], number: usize) -> Option<History> {
    let one = &right.operations[number];
    let What::Write { changes, lsn: mine } = &one.what else { return None };
    let (theirs, at) = *writes.iter().find(|(_, at)| {
        let other = &right.operations[*at];
        let What::Write { changes: theirs, .. } = &other.what else { return false };
        one.answered < other.called && theirs.len() == changes.len()
    })?;
    let mut history = right.clone();
    for (place, new) in [(number, theirs), (at, *mine)] {
        if let What::Write { lsn, .. } = &mut history.operations[place].what {
            *lsn = new;
        }
    }
    Some(history)
}

/// A right history, spoilt in one of five ways; `None` if the drawn place is not fit for it.
fn spoilt(
    right: &History,
    writes: &[(u64, usize)],
    way: usize,
    draw: &mut Draw,
) -> Option<History> {
    let number = draw.below(right.operations.len());
    let operation = &right.operations[number];
    let mut what = operation.what.clone();
    match (way, &mut what) {
        // The last but one save of a document that was surely done before: its content is stale.
        (0, What::Get { document, found }) => {
            let mut done = writes.iter().rev().filter_map(|(_, at)| {
                let write = &right.operations[*at];
                let What::Write { changes, .. } = &write.what else { return None };
                match changes.as_slice() {
                    [(of, Change::Save(save))] if of == document => {
                        (write.answered < operation.called).then_some(*save)
                    }
                    _ => None,
                }
            });
            *found = saved(done.nth(1)?);
        }
        // A view of one LSN with a document of another view.
        (2, What::View { lsn: Some(_), found }) => {
            let other = right.operations.iter().rev().find_map(|other| match &other.what {
                What::View { found: theirs, .. } if theirs[3] != found[3] => Some(theirs),
                _ => None,
            });
            found[3].clone_from(&other?[3]);
        }
        // Half of a transaction, in a view of its very LSN.
        (3, What::View { lsn: Some(lsn), found }) => {
            let (lsn_of_write, at) = writes.iter().rev().find(|(other, _)| other <= lsn)?;
            let What::Write { changes, .. } = &right.operations[*at].what else { return None };
            let (document, _) = *changes
                .first()
                .filter(|(first, _)| changes.iter().any(|(other, _)| other != first))?;
            let before = state_before(right, writes, *lsn_of_write, document);
            if before == found[document] {
                return None;
            }
            found[document] = before;
        }
        (1, What::Get { found: Some(content), .. }) => return Some(without(right, content)),
        (4, What::Write { .. }) => return exchanged(right, writes, number),
        _ => return None,
    }
    let mut history = right.clone();
    history.operations[number].what = what;
    Some(history)
}

#[test]
fn a_real_history_that_was_tampered_with_is_refused() {
    let disk = SimFs::new();
    let right = record(&|| Store::builder("sim").fs(Arc::new(disk.clone())), 4_000);
    check(&right).unwrap();
    let writes = writes(&right);
    let mut draw = Draw(5);
    for (way, what) in
        ["stale reads", "lost writes", "mixed views", "torn transactions", "exchanged LSNs"]
            .into_iter()
            .enumerate()
    {
        let mut refused = 0;
        for _ in 0..50_000 {
            if let Some(history) = spoilt(&right, &writes, way, &mut draw) {
                assert!(check(&history).is_err(), "{what} went unnoticed");
                refused += 1;
            }
            if refused == 40 {
                break;
            }
        }
        println!("{refused} histories with {what} refused");
        assert!(refused >= 20, "only {refused} histories with {what}");
    }
}
