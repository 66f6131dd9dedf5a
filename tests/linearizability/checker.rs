//! Whether the order of LSNs is a legal linearization of a history, in nearly linear time.
//!
//! The engine gives each write an LSN, so the order of writes need not be searched for; it is not trusted
//! either. Checked is (1) that transactions share no LSN, (2) that no write stands before one that was
//! answered before it was called, (3) that each succeeds in the model, and (4) that each read has a place
//! between two writes where the model holds what it found, behind all that was answered before it was
//! called, reads included, and before every write that was called after it was answered.
//!
//! Each read takes the first place that it can, in the order of calls: a later place could only leave
//! less room for those behind it. So with the writes' order given, no legal history is refused.

use std::collections::HashMap;
use std::fmt;

use crate::history::{Change, Changes, Content, Found, History, Operation, What};

/// What was checked.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    pub(crate) writes: usize,
    pub(crate) reads: usize,
    pub(crate) refused: usize,
    /// Operations that were called before the one called before them was answered.
    pub(crate) overlapping: usize,
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Figures { writes, reads, refused, overlapping } = self;
        write!(
            f,
            "{writes} writes, {refused} refused ones, {reads} reads, {overlapping} overlapping,"
        )
    }
}

/// The state after each write: of every document its versions, each from a place on.
struct Versions {
    /// By document; place 0 is before the first write.
    of: Vec<Vec<(usize, Found)>>,
    /// Which version of a document has this content.
    by_content: HashMap<(usize, Content), usize>,
}

impl Versions {
    fn replay(documents: usize, writes: &[(&Operation, &Changes, u64)]) -> Result<Self, String> {
        let mut of: Vec<Vec<(usize, Found)>> = vec![vec![(0, None)]; documents];
        for (place, (operation, changes, _)) in (1..).zip(writes) {
            for (document, change) in *changes {
                let versions = &mut of[*document];
                let (since, found) = versions.last().unwrap();
                let next = change.apply(found).map_err(|()| {
                    format!("changed a document that was not there: {operation:?}")
                })?;
                if *since == place {
                    versions.pop();
                }
                versions.push((place, next));
            }
        }
        let mut by_content = HashMap::new();
        for (document, versions) in of.iter().enumerate() {
            for (number, (_, found)) in versions.iter().enumerate() {
                if let Some(content) = found {
                    by_content.insert((document, content.clone()), number);
                }
            }
        }
        Ok(Versions { of, by_content })
    }

    /// The first place from `place` on where the document is so.
    fn next(&self, document: usize, found: &Found, place: usize) -> Option<usize> {
        let versions = &self.of[document];
        let end = |number: usize| versions.get(number + 1).map_or(usize::MAX, |(end, _)| *end);
        if let Some(content) = found {
            let number = *self.by_content.get(&(document, content.clone()))?;
            let first = versions[number].0.max(place);
            return (first < end(number)).then_some(first);
        }
        let now = versions.partition_point(|(since, _)| *since <= place) - 1;
        let number = (now..versions.len()).find(|number| versions[*number].1.is_none())?;
        Some(versions[number].0.max(place))
    }

    /// The first place from `place` on where such a transaction must be refused.
    fn next_refusal(&self, changes: &Changes, place: usize) -> Option<usize> {
        let mut own: HashMap<usize, bool> = HashMap::new();
        let mut first: Option<usize> = None;
        for (document, change) in changes {
            let needs = matches!(change, Change::Patch(_) | Change::Append(_));
            match own.get(document) {
                Some(false) if needs => return Some(place),
                None if needs => {
                    let absent = self.next(*document, &None, place);
                    first = first.into_iter().chain(absent).min();
                    own.insert(*document, true);
                }
                _ => {
                    own.insert(*document, *change != Change::Delete);
                }
            }
        }
        first
    }

    /// The first place from `place` on where a read could have found what it did.
    fn next_for(
        &self,
        what: &What,
        place: usize,
        place_of_lsn: impl Fn(u64) -> usize,
    ) -> Option<usize> {
        match what {
            What::Write { .. } => Some(place),
            What::Refused { changes } => self.next_refusal(changes, place),
            What::Get { document, found } => self.next(*document, found, place),
            What::View { lsn, found } => {
                let exact = lsn.map(place_of_lsn);
                let mut at = place.max(exact.unwrap_or(0));
                loop {
                    let begun = at;
                    for (document, found) in found.iter().enumerate() {
                        at = self.next(document, found, at)?;
                    }
                    if exact.is_some_and(|exact| exact != at) {
                        return None;
                    }
                    if at == begun {
                        return Some(at);
                    }
                }
            }
        }
    }
}

/// The writes in the order of their LSNs, if that is one, and not against time.
fn writes_of(history: &History) -> Result<Vec<(&Operation, &Changes, u64)>, String> {
    let mut writes: Vec<_> = history
        .operations
        .iter()
        .filter_map(|operation| match &operation.what {
            What::Write { changes, lsn } => Some((operation, changes, *lsn)),
            _ => None,
        })
        .collect();
    writes.sort_by_key(|(_, _, lsn)| *lsn);
    let (mut last_lsn, mut last_called) = (0, 0);
    for (operation, changes, lsn) in &writes {
        if last_lsn + changes.len() as u64 > *lsn {
            return Err(format!("shares LSNs with another: {operation:?}"));
        }
        if operation.answered < last_called {
            return Err(format!("answered before one of lower LSN was called: {operation:?}"));
        }
        last_lsn = *lsn;
        last_called = last_called.max(operation.called);
    }
    Ok(writes)
}

/// Checks a history; says what is wrong with the first operation that fits nowhere.
pub(crate) fn check(history: &History) -> Result<Figures, String> {
    let writes = writes_of(history)?;
    let versions = Versions::replay(history.documents, &writes)?;
    let place_of_lsn = |lsn: u64| writes.partition_point(|(_, _, other)| *other <= lsn);

    // From which call on the first write, in the order of places, was called after it.
    let mut by_call: Vec<(u64, usize)> =
        (1..).zip(&writes).map(|(place, (operation, _, _))| (operation.called, place)).collect();
    by_call.sort_unstable();
    let mut least = usize::MAX;
    for (_, place) in by_call.iter_mut().rev() {
        least = least.min(*place);
        *place = least;
    }
    let ceiling = |answered: u64| {
        by_call
            .get(by_call.partition_point(|(called, _)| *called < answered))
            .map(|(_, place)| *place)
    };

    let mut instants: Vec<(u64, bool, usize)> = Vec::with_capacity(history.operations.len() * 2);
    for (number, operation) in history.operations.iter().enumerate() {
        instants.push((operation.called, false, number));
        instants.push((operation.answered, true, number));
    }
    instants.sort_unstable();
    let mut places = vec![0_usize; history.operations.len()];
    for (place, (operation, _, _)) in (1..).zip(&writes) {
        let number = instants.binary_search_by_key(&operation.called, |(at, _, _)| *at).unwrap();
        places[instants[number].2] = place;
    }
    let (mut figures, mut floor, mut running) = (Figures::default(), 0, 0_usize);
    for (_, is_answer, number) in instants {
        let operation = &history.operations[number];
        let is_write = matches!(operation.what, What::Write { .. });
        if is_answer {
            running -= 1;
            floor = floor.max(places[number]);
            continue;
        }
        figures.overlapping += usize::from(running > 0);
        running += 1;
        if is_write {
            figures.writes += 1;
            continue;
        }
        figures.refused += usize::from(matches!(operation.what, What::Refused { .. }));
        figures.reads += 1;
        let place = versions.next_for(&operation.what, floor, place_of_lsn);
        match place {
            Some(place) if ceiling(operation.answered).is_none_or(|first| place < first) => {
                places[number] = place;
            }
            _ => return Err(format!("found what was nowhere to be found: {operation:?}")),
        }
    }
    Ok(figures)
}
