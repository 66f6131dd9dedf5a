//! All documents in memory: the state that the log, replayed, always gives again.
//!
//! Cloning shares everything and costs one counter a shard, so that a checkpoint or a reader takes
//! a consistent copy between two transactions; whoever writes afterwards copies one shard of
//! pointers at its first touch, never a text. The shards also know who has which status.
//!
//! Invariants: a transaction is applied whole or not at all; what a mutation does depends on the
//! table and the mutation alone; the sums of the metrics always count exactly the tasks in it.

mod shard;

use std::sync::Arc;

use crate::base::{DocumentId, Error, Lsn, Timestamp};
use crate::state::metrics::Sums;
use crate::state::{Collection, Document, Metrics, Op};
pub use shard::OfStatus;
use shard::Shards;

/// A document in the table, with its place in the order of changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Doc {
    document: Document,
    lsn: Lsn,
    suspect: bool,
}

impl Doc {
    /// A document as of `lsn`.
    pub fn new(document: Document, lsn: Lsn, suspect: bool) -> Self {
        Doc { document, lsn, suspect }
    }

    /// Its text, and what is indexed of it.
    pub fn document(&self) -> &Document {
        &self.document
    }

    /// The text, as it was saved or last changed.
    pub fn text(&self) -> &Arc<str> {
        self.document.text()
    }

    /// The LSN of its last change.
    pub fn lsn(&self) -> Lsn {
        self.lsn
    }

    /// Whether it may be behind, since a delta to it could not be applied.
    pub fn is_suspect(&self) -> bool {
        self.suspect
    }

    /// The member `status`, where it is a string.
    pub fn status(&self) -> Option<&str> {
        self.document.status()
    }

    /// The member `assigned_to`, where it is a string.
    pub fn assigned_to(&self) -> Option<&str> {
        self.document.assigned_to()
    }

    /// The member `started_at`, where it is an RFC 3339 time.
    pub fn started_at(&self) -> Option<Timestamp> {
        self.document.started_at()
    }

    /// The member `completed_at`, where it is an RFC 3339 time.
    pub fn completed_at(&self) -> Option<Timestamp> {
        self.document.completed_at()
    }
}

/// What became of a transaction that was applied.
#[derive(Clone, Debug, Default)]
pub struct Applied {
    /// How many of its deletes found no document.
    pub missing: usize,
    /// For each of its mutations of documents, in order, what it replaced or deleted. Who is in a hurry
    /// drops them later.
    pub replaced: Vec<Option<Arc<Doc>>>,
}

/// Why a transaction was not applied; nothing of it was.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{error}")]
pub struct Refused {
    /// Which of its mutations, counted from 0.
    pub index: usize,
    /// `NotFound` for a delta to no document, `Invalid` for a log entry where `logs` is no array.
    pub error: Error,
}

/// What could not be applied because records before it are missing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AfterHole {
    /// Documents that were left as they are, and became suspect by that.
    pub suspect: Vec<(Collection, DocumentId)>,
    /// Documents that a delta was for, but that do not exist: their creation must have been in the
    /// hole.
    pub missing: Vec<(Collection, DocumentId)>,
}

/// All tasks and sessions, as of [`last_changed`](Table::last_changed).
#[derive(Clone, Debug, Default)]
pub struct Table {
    tasks: Shards,
    sessions: Shards,
    sums: Sums,
    last_changed: Lsn,
}

impl Table {
    /// A table without documents.
    pub fn new() -> Self {
        Table::default()
    }

    /// The document with this id.
    pub fn get(&self, collection: Collection, id: &str) -> Option<&Arc<Doc>> {
        self.shards(collection).get(id)
    }

    /// How many documents there are.
    pub fn len(&self, collection: Collection) -> usize {
        self.shards(collection).len()
    }

    /// Whether there is no document at all.
    pub fn is_empty(&self) -> bool {
        Collection::ALL.into_iter().all(|collection| self.len(collection) == 0)
    }

    /// All documents, in no particular order.
    pub fn iter(&self, collection: Collection) -> impl Iterator<Item = (&DocumentId, &Arc<Doc>)> {
        self.shards(collection).iter()
    }

    /// All documents, by the bytes of their ids.
    pub fn sorted(&self, collection: Collection) -> Vec<(DocumentId, Arc<Doc>)> {
        let mut all: Vec<_> =
            self.iter(collection).map(|(id, doc)| (id.clone(), Arc::clone(doc))).collect();
        all.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        all
    }

    /// The documents whose member `status` is this string. To find them takes time by how many they are,
    /// not by how many others there are.
    pub fn of_status<'s>(&self, collection: Collection, status: &'s str) -> OfStatus<'s> {
        self.shards(collection).of_status(status)
    }

    /// The LSN of the last change of any document.
    pub fn last_changed(&self) -> Lsn {
        self.last_changed
    }

    /// The counts over all tasks.
    pub fn metrics(&self) -> Metrics {
        self.sums.metrics()
    }

    /// Says that the table is as of `lsn` at least, whatever the last change to a document that is
    /// still there: a snapshot's last change may have been a deletion.
    pub fn advance(&mut self, lsn: Lsn) {
        self.last_changed = self.last_changed.max(lsn);
    }

    /// Puts a document from a snapshot or a mirror file in its place, whatever was there.
    pub fn load(&mut self, collection: Collection, id: &DocumentId, doc: impl Into<Arc<Doc>>) {
        let doc = doc.into();
        self.last_changed = self.last_changed.max(doc.lsn);
        self.set(collection, id, Some(&doc));
    }

    /// Takes a document away that recovery found to be deleted.
    pub fn unload(&mut self, collection: Collection, id: &DocumentId) {
        self.set(collection, id, None);
    }

    /// Applies one transaction, whole or not at all. Later mutations see the earlier ones.
    ///
    /// A put always applies, and a delete too, if only by finding nothing. A patch or log entry for
    /// a document that does not exist, or a log entry where `logs` is no array, refuses the whole
    /// transaction. What is about files changes no document.
    pub fn apply(&mut self, changes: &[(Lsn, Op)]) -> Result<Applied, Refused> {
        let before = self.last_changed;
        let mut undo = Vec::with_capacity(changes.len());
        let mut applied = Applied::default();
        for (index, (lsn, op)) in changes.iter().enumerate() {
            let Some((collection, id)) = op.target() else { continue };
            match self.next(*lsn, op, collection, id) {
                Ok(next) => {
                    let is_delete = next.is_none();
                    let previous = self.set(collection, id, next.as_ref());
                    if is_delete && previous.is_none() {
                        applied.missing = applied.missing.saturating_add(1);
                    } else {
                        self.last_changed = *lsn;
                    }
                    undo.push((collection, id, previous));
                }
                Err(error) => {
                    for (collection, id, previous) in undo.into_iter().rev() {
                        self.set(collection, id, previous.as_ref());
                    }
                    self.last_changed = before;
                    return Err(Refused { index, error });
                }
            }
        }
        applied.replaced.extend(undo.into_iter().map(|(_, _, previous)| previous));
        Ok(applied)
    }

    /// Applies what can be applied of a transaction that lies behind missing records, the last of
    /// them being `hole`.
    ///
    /// Puts and deletes apply. A patch or log entry applies only to a document that is known as of
    /// the hole's end; any other stays as it is and becomes suspect, until it is put again.
    pub fn apply_after_hole(&mut self, changes: &[(Lsn, Op)], hole: Lsn) -> AfterHole {
        let mut left = AfterHole::default();
        for change in changes {
            let (_, op) = change;
            let Some((collection, id)) = op.target() else { continue };
            let is_delta = matches!(op, Op::Patch { .. } | Op::AppendLog { .. });
            let base = self.get(collection, id.as_str()).cloned();
            // One taken on trust bears the LSN of the hole, but nobody knows how old it is.
            let base_is_known = base.as_ref().is_some_and(|doc| doc.lsn >= hole && !doc.suspect);
            if (!is_delta || base_is_known) && self.apply(std::slice::from_ref(change)).is_ok() {
                continue;
            }
            match base {
                None => left.missing.push((collection, id.clone())),
                Some(doc) if doc.suspect => {}
                Some(doc) => {
                    let marked = Doc { suspect: true, ..Doc::clone(&doc) };
                    self.set(collection, id, Some(&Arc::new(marked)));
                    left.suspect.push((collection, id.clone()));
                }
            }
        }
        left
    }

    /// The next version of the document that a mutation is about; none if it deletes it.
    fn next(
        &self,
        lsn: Lsn,
        op: &Op,
        collection: Collection,
        id: &DocumentId,
    ) -> Result<Option<Arc<Doc>>, Error> {
        let existing = || {
            self.get(collection, id.as_str())
                .ok_or_else(|| Error::not_found(format!("{collection} {id}")))
        };
        let next = match op {
            Op::Put { document, .. } => Doc::new(document.clone(), lsn, false),
            Op::Patch { patch, .. } => {
                let doc = existing()?;
                Doc::new(doc.document.patched(patch), lsn, doc.suspect)
            }
            Op::AppendLog { entry, .. } => {
                let doc = existing()?;
                let document = doc
                    .document
                    .with_log(entry)
                    .map_err(|error| Error::invalid(format!("{collection} {id}"), error.why))?;
                Doc::new(document, lsn, doc.suspect)
            }
            Op::Delete { .. }
            | Op::Wrote { .. }
            | Op::Removed { .. }
            | Op::Edited { .. }
            | Op::Synced
            | Op::Saved { .. }
            | Op::WriteOutput { .. }
            | Op::AppendOutput { .. } => return Ok(None),
        };
        Ok(Some(Arc::new(next)))
    }

    /// The one place where the table changes; gives back what was there.
    fn set(
        &mut self,
        collection: Collection,
        id: &DocumentId,
        next: Option<&Arc<Doc>>,
    ) -> Option<Arc<Doc>> {
        let shards = match collection {
            Collection::Task => &mut self.tasks,
            Collection::Session => &mut self.sessions,
        };
        let previous = shards.set(id, next);
        if collection == Collection::Task {
            if let Some(doc) = &previous {
                self.sums.remove(&doc.document);
            }
            if let Some(doc) = next {
                self.sums.add(&doc.document);
            }
        }
        previous
    }

    fn shards(&self, collection: Collection) -> &Shards {
        match collection {
            Collection::Task => &self.tasks,
            Collection::Session => &self.sessions,
        }
    }
}

#[cfg(test)]
mod tests;
