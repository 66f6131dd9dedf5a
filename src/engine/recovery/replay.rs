//! From the base to the state: the log's records in order, and what to do where some are missing.

use std::collections::HashMap;

use crate::base::{ContentHash, DocumentId, Error, Lsn, Problem, ProblemKind, Result};
use crate::engine::recovery::ahead;
use crate::engine::recovery::doubt::{AsOf, Doubt, Hole};
use crate::files::mirror::{Mentions, Recorded};
use crate::files::names::{STATE, WAL};
use crate::files::outputs::Logged;
use crate::fs::Fs;
use crate::state::{Collection, Op, Table};
use crate::wal::{RecordView, Replayed, Run, Scan};

/// About so much of the log is read and decoded at once.
const RUN_BYTES: u64 = if cfg!(test) { 16 << 10 } else { 4 << 20 };

/// What replaying gives.
#[derive(Default)]
pub(super) struct Outcome {
    pub(super) table: Table,
    pub(super) records: u64,
    pub(super) problems: Vec<Problem>,
    /// Hashes that the log records as written to each mirror file.
    pub(super) versions: HashMap<String, Recorded>,
    /// What else it says of each mirror file.
    pub(super) mentions: HashMap<String, Mentions>,
    /// The LSN of the last record that all names are durable.
    pub(super) synced: Lsn,
    /// The LSN that the last `saved` record names.
    pub(super) saved: Option<Lsn>,
    /// The LSNs that all of them name.
    pub(super) all_saved: Vec<Lsn>,
    /// The hash of the `state.json` that was taken in behind that.
    pub(super) state_taken_in: Option<ContentHash>,
    pub(super) outputs: Logged,
    /// How the holes were crossed, if there were any.
    pub(super) doubt: Option<Doubt>,
}

/// A stretch of the log, decoded. All changes are in one list, since every piece of memory that one thread
/// takes and another gives back makes both wait for the allocator.
#[derive(Default)]
struct Stretch {
    pieces: Vec<Piece>,
    changes: Vec<(Lsn, Op)>,
}

enum Piece {
    Transaction {
        /// The LSN at which it ends.
        last: Lsn,
        /// Whether it is above the base, so that its changes of documents count.
        is_new: bool,
        /// Where its changes end, which begin where those of the one before it do.
        end: usize,
    },
    /// Records up to this LSN are missing.
    Hole(Lsn),
}

/// Applies the log to `base`, which is as of an LSN. `gap` is what is missing before the log's first record.
/// With `threads` it is read and decoded by others ahead of the applying, which is always in order.
pub(super) fn replay(
    fs: &dyn Fs,
    scan: &Scan,
    (base, base_lsn): (Table, Lsn),
    gap: Option<Hole>,
    doubt: impl Fn() -> Result<Doubt>,
    threads: bool,
) -> Result<Outcome> {
    let mut outcome = Outcome { table: base, ..Outcome::default() };
    let mut passed = base_lsn;
    let mut hole = None;
    if let Some(gap) = gap {
        outcome.cross(gap, &doubt)?;
        hole = Some(gap.last);
    }
    let is_light = |run: &Run<'_>| run.size_bytes() <= RUN_BYTES;
    let read = |run: &Run<'_>| stretch(fs, run, base_lsn);
    ahead::in_order(&scan.runs(RUN_BYTES), threads, is_light, read, |(stretch, read)| {
        let Stretch { pieces, changes } = stretch;
        let mut begin = 0;
        for piece in pieces {
            match piece {
                // They rise, and the first is above the gap, which ends where the log begins.
                Piece::Hole(last) if last > base_lsn => {
                    outcome.cross(Hole { after: passed, last, log_is_gone: false }, &doubt)?;
                    hole = Some(last);
                }
                Piece::Hole(_) => {}
                Piece::Transaction { last, is_new, end } => {
                    let changes = changes.get(begin..end).unwrap_or_default();
                    begin = end;
                    outcome.note(changes, last);
                    if let Some((lsn, _)) = changes.last().filter(|_| is_new) {
                        passed = *lsn;
                        outcome.apply(changes, hole);
                    }
                }
            }
        }
        read
    })?;
    Ok(outcome)
}

/// What a stretch of the log says, by itself, up to where it cannot be read.
fn stretch(fs: &dyn Fs, run: &Run<'_>, base_lsn: Lsn) -> (Stretch, Result<()>) {
    let mut stretch = Stretch::default();
    let read = run.replay(fs, WAL, Lsn::ZERO, &mut |replayed| {
        let records = match replayed {
            Replayed::Group(records) => records,
            Replayed::Hole(last) => {
                stretch.pieces.push(Piece::Hole(last));
                return Ok(());
            }
        };
        for transaction in records.chunk_by(|record, _| record.continues()) {
            let last = transaction.last().map(|record| record.lsn);
            let is_new = last.is_some_and(|last| last > base_lsn);
            decode_to(&mut stretch.changes, fs, transaction, is_new)?;
            let (last, end) = (last.unwrap_or_default(), stretch.changes.len());
            stretch.pieces.push(Piece::Transaction { last, is_new, end });
        }
        Ok(())
    });
    (stretch, read)
}

impl Outcome {
    /// Takes note of what a transaction, which ends at `last`, says of files.
    fn note(&mut self, changes: &[(Lsn, Op)], last: Lsn) {
        for (at, op) in changes {
            self.outputs.note(op);
            match op {
                Op::Wrote { file, hash, lsn, .. } => {
                    self.versions.entry(file.clone()).or_default().insert(*hash, *lsn);
                    let mentions = self.mentions.entry(file.clone()).or_default();
                    mentions.shown.push(*lsn);
                    mentions.changed = *at;
                }
                Op::Edited { file, hash, .. } if file == STATE => {
                    self.state_taken_in = Some(*hash);
                }
                Op::Edited { file, hash, is_whole, .. } => {
                    let shown = is_whole.then_some(last);
                    let versions = self.versions.entry(file.clone()).or_default();
                    versions.insert(*hash, shown.unwrap_or_default());
                    let mentions = self.mentions.entry(file.clone()).or_default();
                    mentions.shown.extend(shown);
                    mentions.changed = *at;
                }
                Op::Removed { file, .. } => {
                    self.mentions.entry(file.clone()).or_default().changed = *at;
                }
                Op::Synced => self.synced = *at,
                Op::Saved { lsn } => {
                    self.saved = Some(*lsn);
                    self.all_saved.push(*lsn);
                    self.state_taken_in = None;
                }
                _ => {}
            }
        }
    }

    fn apply(&mut self, changes: &[(Lsn, Op)], hole: Option<Lsn>) {
        let (Some(hole), Some(doubt)) = (hole, &self.doubt) else {
            self.count(changes);
            if let Err(refused) = self.table.apply(changes) {
                // It was refused in the same way when it was made, and its caller told.
                tracing::debug!(error = %refused.error, "replayed a refused change");
            }
            return;
        };
        let is_new = |(lsn, op): &(Lsn, Op)| op.target().is_some_and(|id| !doubt.knows(id, *lsn));
        let new: Vec<(Lsn, Op)> = changes.iter().filter(|change| is_new(change)).cloned().collect();
        self.count(&new);
        let after = self.table.apply_after_hole(&new, hole);
        for (collection, id) in after.suspect.iter().chain(&after.missing) {
            self.problems.push(suspect(
                *collection,
                id,
                "a change to it could not be applied, since records before that change are missing",
            ));
        }
    }

    fn count(&mut self, changes: &[(Lsn, Op)]) {
        self.records += changes.iter().filter(|(_, op)| op.is_document_change()).count() as u64;
    }

    fn cross(&mut self, hole: Hole, doubt: &impl Fn() -> Result<Doubt>) -> Result<()> {
        let doubt = match &mut self.doubt {
            Some(doubt) => doubt,
            none => none.insert(doubt()?),
        };
        self.problems.extend(doubt.cross(hole, &mut self.table));
        Ok(())
    }
}

pub(super) fn suspect(collection: Collection, id: &DocumentId, why: &str) -> Problem {
    Problem::new(ProblemKind::Suspect, format!("{}/{id}", collection.dir()), 0, why)
}

/// All that the log says of the mirror's files: for when some of it is missing.
pub(super) fn evidence(fs: &dyn Fs, scan: &Scan, as_of: &mut AsOf) -> Result<()> {
    scan.replay(fs, WAL, Lsn::ZERO, &mut |replayed| {
        for transaction in replayed.records().chunk_by(|record, _| record.continues()) {
            let last = transaction.last().map_or(Lsn::ZERO, |record| record.lsn);
            for (_, op) in decode(fs, transaction, false)? {
                match op {
                    Op::Wrote { file, hash, lsn, .. } => as_of.wrote(&file, hash, lsn),
                    Op::Edited { file, length: 0, .. } => as_of.removed(&file, last),
                    Op::Edited { file, hash, is_whole: true, .. } => {
                        as_of.wrote(&file, hash, last);
                    }
                    Op::Removed { file, lsn } => as_of.removed(&file, lsn),
                    _ => {}
                }
            }
        }
        Ok(())
    })
}

/// The mutations of a transaction; without those of documents, which cost most, if they are not
/// wanted.
pub(crate) fn decode(
    fs: &dyn Fs,
    transaction: &[RecordView<'_>],
    with_documents: bool,
) -> Result<Vec<(Lsn, Op)>> {
    let mut changes = Vec::with_capacity(transaction.len());
    decode_to(&mut changes, fs, transaction, with_documents)?;
    Ok(changes)
}

/// The same, behind what is in `changes`.
fn decode_to(
    changes: &mut Vec<(Lsn, Op)>,
    fs: &dyn Fs,
    transaction: &[RecordView<'_>],
    with_documents: bool,
) -> Result<()> {
    let wanted = |record: &&RecordView<'_>| with_documents || !Op::is_document_kind(record.kind);
    for record in transaction.iter().filter(wanted) {
        match Op::decode(record.kind, record.payload) {
            Ok(op) => changes.push((record.lsn, op)),
            Err(why) if record.may_be_skipped() => {
                tracing::debug!(lsn = %record.lsn, why, "skipped a record of an unknown kind");
            }
            Err(why) => {
                let what = format!("{}, record {}", fs.display(WAL), record.lsn);
                let why = format!("{why}; was it written by a newer Walden?");
                return Err(Error::Unsupported { what, why });
            }
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "replay_tests.rs"]
mod tests;
