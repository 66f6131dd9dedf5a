//! Taking in what people did to the files: each edit one transaction, merged with what the engine changed
//! meanwhile.
//!
//! The life of an edit is in DESIGN.md, "People's edits". The checkpointer's lock is held throughout, so
//! that no pass of the mirror runs beside it; the writer's only while what was merged is logged, after it
//! was looked whether the document is still the one it was merged with. Nothing is logged before what
//! loses by it is durable in `conflicts/`.

mod bases;
mod merge;
mod past;
mod state;
mod state_merge;
mod told;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use crate::base::{DocumentId, Event, Lsn, ProblemKind, Result};
use crate::engine::checkpoint::Checkpointer;
use crate::engine::core::{Core, Writer};
use crate::engine::recovery::Former;
use crate::files::conflicts;
use crate::files::mirror::{Edit, Look, Now, Source, Theirs};
use crate::state::{Collection, Doc, OWN_TEXT_MAX, Op, Table};
use crate::wal::Origin;
pub(crate) use bases::earlier_versions;
use bases::{closed_bases, open_bases};
use merge::{Bases, merge};
pub(crate) use merge::{Merged, Outcome};
pub(crate) use past::Past;
pub(crate) use state::set_damage_aside;
pub(crate) use state_merge::preview_state;
pub(crate) use told::Told;

/// What is not settled in the place of `state.json` is looked at again after so long.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// So long `state.json` must stay as it is.
const SETTLES_AFTER: Duration = Duration::from_millis(50);
/// So long it must be the same although somebody has it open for writing.
const BELIEVED_AFTER: Duration = Duration::from_secs(1);
/// So many edits are logged at once.
const BATCH: usize = 1024;
/// A document that changes under each merge is held still for the last of so many.
const ATTEMPTS_MAX: usize = 4;

type Key = (Collection, DocumentId);

/// What documents' files showed earlier.
pub(crate) type Earlier = HashMap<Key, Former>;

impl Core {
    /// Takes in all edits that are there, or those of some files. `is_patient`: not what somebody may be at
    /// still.
    pub(crate) fn take_in_edits(
        &self,
        checkpointer: &mut Checkpointer,
        files: Option<&BTreeSet<String>>,
        is_patient: bool,
        told: &mut Told,
    ) -> Result<usize> {
        let now = self.around.clock.monotonic();
        let table = self.table.read().clone();
        let look = Look { fs: &*self.around.fs, table: &table, files, now, is_patient };
        let mirror = &mut checkpointer.mirror;
        let seen = mirror.look(&look)?;
        drop(table);
        told.problems.extend(seen.problems);
        // What was displaced is older than what is there now.
        let mut edits = mirror.take_displaced(&*self.around.fs, &mut told.problems);
        edits.extend(seen.edits);
        let taken = self.adopt(checkpointer, edits, None, told);
        self.looked(&checkpointer.mirror, now);
        if checkpointer.mirror.can_go_on() {
            self.note_unshown();
        }
        taken
    }

    /// Takes edits in; gives the number of documents changed. `earlier`: what is known of files that were
    /// edited while the store was closed. After a failure what was not taken in is noticed again.
    pub(crate) fn adopt(
        &self,
        checkpointer: &mut Checkpointer,
        edits: Vec<Edit>,
        earlier: Option<&Earlier>,
        told: &mut Told,
    ) -> Result<usize> {
        let mut changed = 0;
        let mut edits = edits;
        loop {
            let batch = next_batch(&mut edits);
            if batch.is_empty() {
                return Ok(changed);
            }
            let sources: Vec<_> = batch.iter().map(source_of).collect();
            match self.adopt_batch(checkpointer, batch, earlier, told) {
                Ok(count) => changed += count,
                Err(error) => {
                    let left = edits.iter().map(source_of);
                    checkpointer.mirror.notice(sources.into_iter().chain(left));
                    return Err(error);
                }
            }
        }
    }

    fn adopt_batch(
        &self,
        checkpointer: &mut Checkpointer,
        mut edits: Vec<Edit>,
        earlier: Option<&Earlier>,
        told: &mut Told,
    ) -> Result<usize> {
        let mut changed = 0;
        for attempt in 1..=ATTEMPTS_MAX {
            if edits.is_empty() {
                break;
            }
            // The last time nobody changes anything meanwhile.
            let mut held = (attempt == ATTEMPTS_MAX).then(|| self.writer.lock());
            let table = self.table.read().clone();
            let merged = self.merge_all(checkpointer, &table, edits, earlier, held.as_deref());
            let kept = self.keep_losers(&merged)?;
            let mut writer = held.take().unwrap_or_else(|| self.writer.lock());
            let (same, moved) = self.split_moved(merged.into_iter().zip(kept));
            let lsns = self.log_edits(&mut writer, &same)?;
            drop(writer);
            edits = moved;
            for ((merged, kept), lsn) in same.into_iter().zip(lsns) {
                changed += usize::from(lsn.is_some());
                self.settle_edit(checkpointer, merged, kept, lsn, told);
            }
        }
        if changed > 0 {
            self.note_unshown();
        }
        Ok(changed)
    }

    /// Merges each edit with the document as it is in `table`.
    fn merge_all(
        &self,
        checkpointer: &Checkpointer,
        table: &Table,
        edits: Vec<Edit>,
        earlier: Option<&Earlier>,
        writer: Option<&Writer>,
    ) -> Vec<Merged> {
        let mut bases: Vec<Bases> = match (earlier, writer) {
            (Some(_), _) => edits.iter().map(|edit| closed_bases(table, edit, earlier)).collect(),
            (None, Some(writer)) => open_bases(checkpointer, table, &edits, writer),
            (None, None) => {
                let writer = self.writer.lock();
                open_bases(checkpointer, table, &edits, &writer)
            }
        };
        if earlier.is_none() {
            self.add_rebuilt(checkpointer, &edits, &mut bases);
        }
        let max = self.options.document_bytes_max;
        let merged =
            edits.into_iter().zip(&bases).map(|(edit, bases)| merge(table, edit, bases, max));
        merged.collect()
    }

    /// Keeps what loses in `conflicts/`, durably, and says where.
    fn keep_losers(&self, merged: &[Merged]) -> Result<Vec<Option<String>>> {
        let keep = |merged: &Merged| match &merged.outcome {
            Outcome::Change { conflict: Some(conflict), .. } => {
                let keep = conflict.keep.as_ref();
                keep.map(|text| conflicts::keep_text(&*self.around.fs, &merged.edit.file, text))
                    .transpose()
            }
            _ => Ok(None),
        };
        merged.iter().map(keep).collect()
    }

    /// Parts the edits whose documents are still what they were merged with from the others, which are
    /// merged again.
    fn split_moved(
        &self,
        merged: impl Iterator<Item = (Merged, Option<String>)>,
    ) -> (Vec<(Merged, Option<String>)>, Vec<Edit>) {
        let table = self.table.read();
        let (mut same, mut moved) = (Vec::new(), Vec::new());
        for (merged, kept) in merged {
            let Edit { collection, id, .. } = &merged.edit;
            let now = table.get(*collection, id.as_str()).map(|doc| doc.lsn());
            if now == merged.against {
                same.push((merged, kept));
            } else {
                moved.push(merged.edit);
            }
        }
        (same, moved)
    }

    /// Logs and applies what edits change, a transaction each; gives each its LSN.
    fn log_edits(
        &self,
        writer: &mut Writer,
        merged: &[(Merged, Option<String>)],
    ) -> Result<Vec<Option<Lsn>>> {
        let transactions: Vec<Vec<Op>> =
            merged.iter().filter_map(|(merged, _)| transaction(merged)).collect();
        let mut lsns = self.commit_all(writer, transactions, Origin::Edit)?.into_iter();
        let lsn = |(merged, _): &(Merged, Option<String>)| match merged.outcome {
            Outcome::Change { .. } => lsns.next(),
            _ => None,
        };
        Ok(merged.iter().map(lsn).collect())
    }

    /// Tells the mirror, and whoever listens, what became of an edit.
    fn settle_edit(
        &self,
        checkpointer: &mut Checkpointer,
        merged: Merged,
        kept: Option<String>,
        lsn: Option<Lsn>,
        told: &mut Told,
    ) {
        let Merged { edit, against, outcome } = merged;
        match outcome {
            Outcome::Nothing { is_whole } => {
                if let (false, Now::Text(theirs)) = (is_whole, &edit.now) {
                    self.remember_theirs(checkpointer, &edit, theirs);
                }
                checkpointer.mirror.adopted(&edit, against.filter(|_| is_whole));
            }
            Outcome::Restored => {
                checkpointer.mirror.restore(&edit);
                let detail =
                    "somebody removed it, but its document has changed since; it is written anew";
                told.problem(ProblemKind::Edited, &edit.file, detail);
            }
            Outcome::Held(why) => {
                let stat = match &edit.now {
                    Now::Text(theirs) => theirs.stat,
                    Now::Gone => None,
                };
                checkpointer.mirror.hold(&edit.file, stat);
                let detail = format!("{why}; it is left as it is until it is mended");
                told.problem(ProblemKind::Unreadable, &edit.file, detail);
            }
            Outcome::Change { op, is_whole, conflict } => {
                self.displace(checkpointer, &edit, &op, lsn.filter(|_| is_whole));
                if let (false, Now::Text(theirs)) = (is_whole, &edit.now) {
                    self.remember_theirs(checkpointer, &edit, theirs);
                }
                checkpointer.mirror.adopted(&edit, lsn.filter(|_| is_whole));
                let Edit { collection, id, file, now } = edit;
                let (lsn, dir) = (lsn.unwrap_or_default(), collection.dir());
                let is_deletion = matches!(now, Now::Gone);
                if let Some(conflict) = conflict.filter(|_| !is_deletion) {
                    let (file, id, fields) = (file.clone(), id.clone(), conflict.fields);
                    told.events.push(Event::Conflict { file, dir, id, lsn, fields, kept });
                }
                told.events.push(Event::Edited { file, dir, id, lsn, is_deletion });
            }
        }
    }

    /// An edit took the place of what its file showed; if it is `whole` as of an LSN, the file shows now what
    /// the document changes to.
    fn displace(&self, checkpointer: &mut Checkpointer, edit: &Edit, op: &Op, whole: Option<Lsn>) {
        let Checkpointer { mirror, past, .. } = checkpointer;
        let Edit { collection, id, file, .. } = edit;
        let mut writer = self.writer.lock();
        let former = writer.dirty.former(*collection, id);
        if let Some(former) = former.filter(|doc| mirror.shows(file, doc.lsn())) {
            let now = self.around.clock.monotonic();
            past.push(now, (*collection, id.clone()), former.clone());
        }
        if let (Some(lsn), Op::Put { document, .. }) = (whole, op) {
            let doc = Doc::new(document.clone(), lsn, false);
            writer.dirty.shown(*collection, id, Arc::new(doc));
        }
    }

    /// What somebody left in a file until it is written anew: their next edit may be made of it.
    fn remember_theirs(&self, checkpointer: &mut Checkpointer, edit: &Edit, theirs: &Theirs) {
        let document = crate::state::Document::new(theirs.text.as_str());
        // It came behind what the engine had shown there.
        let shown = checkpointer.mirror.shown_as_of(&edit.file);
        let doc = Doc::new(document, shown.unwrap_or_default(), false);
        let key = (edit.collection, edit.id.clone());
        checkpointer.past.push(self.around.clock.monotonic(), key, Arc::new(doc));
    }
}

/// The edits that are taken in next: at most one of each document, so that each is merged with what the
/// one before it made.
fn next_batch(edits: &mut Vec<Edit>) -> Vec<Edit> {
    let mut ids = HashSet::new();
    let (batch, left) = std::mem::take(edits)
        .into_iter()
        .partition(|edit| ids.len() < BATCH && ids.insert((edit.collection, edit.id.clone())));
    *edits = left;
    batch
}

fn source_of(edit: &Edit) -> (String, Source) {
    (edit.file.clone(), edit.source())
}

/// The transaction that takes an edit in, if it changes anything.
fn transaction(merged: &Merged) -> Option<Vec<Op>> {
    let Outcome::Change { op, is_whole, .. } = &merged.outcome else { return None };
    let Edit { file, now, .. } = &merged.edit;
    let file = file.clone();
    let edited = match now {
        Now::Text(theirs) => {
            let Theirs { hash, length, stat, ref text, .. } = *theirs;
            let modified_ns = stat.map_or(0, |stat| stat.modified_ns);
            let text = (!is_whole && text.len() <= OWN_TEXT_MAX).then(|| Arc::from(text.as_str()));
            Op::Edited { file, hash, length, modified_ns, is_whole: *is_whole, text }
        }
        Now::Gone => {
            let hash = crate::base::ContentHash::of(&[]);
            Op::Edited { file, hash, length: 0, modified_ns: 0, is_whole: true, text: None }
        }
    };
    Some(vec![edited, op.clone()])
}

/// What a state becomes by the edits of a closed store, in memory alone.
pub(crate) fn preview(
    table: &mut Table,
    edits: Vec<Edit>,
    earlier: &Earlier,
    lsn: Lsn,
    document_bytes_max: usize,
) -> Vec<Merged> {
    let mut done = Vec::with_capacity(edits.len());
    for edit in edits {
        let bases = closed_bases(table, &edit, Some(earlier));
        let merged = merge(table, edit, &bases, document_bytes_max);
        load(table, &merged, lsn);
        done.push(merged);
    }
    done
}

/// Changes a state in memory as a merged edit says.
fn load(table: &mut Table, merged: &Merged, lsn: Lsn) {
    match &merged.outcome {
        Outcome::Change { op: Op::Put { collection, id, document }, .. } => {
            table.load(*collection, id, Doc::new(document.clone(), lsn, false));
        }
        Outcome::Change { op: Op::Delete { collection, id }, .. } => table.unload(*collection, id),
        _ => {}
    }
}
