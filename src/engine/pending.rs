//! What people did to the files and no opening or scan has taken in yet: what it would change. Reads only.
//!
//! Beside a writer, whose business edits are, a file may change between two reads: an edit is told only
//! if its document is the same before and after the files were looked at.

use std::path::Path;

use serde::Serialize;

use crate::base::{DocumentId, Problem, ProblemKind, Result};
use crate::engine::edits::{Merged, Outcome, earlier_versions, preview};
use crate::engine::kept::as_text;
use crate::engine::options::Options;
use crate::engine::store::{Builder, Store, owner_pid};
use crate::engine::view::read_plan;
use crate::files::mirror::{Edit, Now};
use crate::files::names::STATE;
use crate::fs::Fs;
use crate::state::merge::{FieldChange, field_changes};
use crate::state::{Collection, Op, Table};

/// What lies in the files and is not in the state. As JSON, the fields have these names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Pending {
    /// The process that has the store open for writing and will take in the edits by itself; `None` if
    /// none has, and the next opening will. A process that cannot be named is 0.
    pub writer_pid: Option<u32>,
    /// What will be taken in, by collection and file.
    pub edits: Vec<PendingEdit>,
    /// Files that are left as they are, and why; `kind` is `unreadable` for those that are held until
    /// they are mended.
    pub left: Vec<Problem>,
}

/// One edited file, and what it comes to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PendingEdit {
    /// The file, as in `tasks/a.json`.
    pub file: String,
    /// Where its document belongs.
    #[serde(serialize_with = "of_collection")]
    pub collection: Collection,
    /// Its document.
    #[serde(serialize_with = "of_id")]
    pub id: DocumentId,
    /// What becomes of it.
    pub effect: Effect,
    /// What changes in the document.
    pub changes: Vec<FieldChange>,
    /// JSON pointers of what a program changed, too: the edit counts, and the program's version goes to
    /// `conflicts/`.
    pub conflicts: Vec<String>,
    /// Why it is held, if it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// What becomes of an edit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Effect {
    /// There is a new document.
    Create,
    /// The document changes.
    Change,
    /// The document is deleted; its last version goes to `conflicts/`.
    Delete,
    /// Nothing changes: the document means that already, or has the edit in it.
    Nothing,
    /// The file was removed, but its document has changed since: it is written anew.
    Restore,
    /// It cannot be taken in and is left as it is.
    Held,
}

// Serde hands a serializing function a reference, of whatever size the value is.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn of_collection<S: serde::Serializer>(value: &Collection, to: S) -> Result<S::Ok, S::Error> {
    as_text(&Some(value), to)
}

fn of_id<S: serde::Serializer>(value: &DocumentId, to: S) -> Result<S::Ok, S::Error> {
    as_text(&Some(value), to)
}

impl PendingEdit {
    /// `table`: the state without the edit.
    fn of(merged: Merged, table: &Table) -> Self {
        let Merged { edit, outcome, .. } = merged;
        let Edit { collection, id, file, .. } = edit;
        let old = table.get(collection, id.as_str()).map(|doc| doc.text().clone());
        let mut pending = PendingEdit {
            file,
            collection,
            id,
            effect: Effect::Nothing,
            changes: Vec::new(),
            conflicts: Vec::new(),
            detail: None,
        };
        match outcome {
            Outcome::Nothing { .. } => {}
            Outcome::Restored => pending.effect = Effect::Restore,
            Outcome::Held(why) => {
                pending.effect = Effect::Held;
                pending.detail = Some(why);
            }
            Outcome::Change { op, conflict, .. } => {
                let new = match &op {
                    Op::Put { document, .. } => Some(document.text().clone()),
                    _ => None,
                };
                pending.effect = match (&old, &new) {
                    (None, _) => Effect::Create,
                    (Some(_), Some(_)) => Effect::Change,
                    (Some(_), None) => Effect::Delete,
                };
                pending.changes = field_changes(old.as_deref(), new.as_deref());
                pending.conflicts = conflict.map(|conflict| conflict.fields).unwrap_or_default();
            }
        }
        pending
    }
}

/// What people did to the files of the store in `path`, and is not taken in yet; reads only.
///
/// # Errors
/// As [`Builder::open_read_only`].
///
/// ```
/// use walden::{Effect, Store, pending_edits};
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path();
/// let store = Store::open(path)?;
/// store.save_task_json(r#"{"id": "a", "n": 1}"#)?;
/// store.shutdown()?;
/// std::fs::write(path.join("tasks/a.json"), r#"{"id": "a", "n": 2}"#)?;
///
/// let pending = pending_edits(path)?;
/// let edit = &pending.edits[0];
/// assert_eq!((edit.effect, edit.changes[0].path.as_str()), (Effect::Change, "/n"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn pending_edits(path: impl AsRef<Path>) -> Result<Pending> {
    Store::builder(path).pending_edits()
}

impl Builder {
    /// What people did to the files and is not taken in yet. See [`pending_edits`].
    pub fn pending_edits(&self) -> Result<Pending> {
        look(&*self.existing_fs()?)
    }
}

fn look(fs: &dyn Fs) -> Result<Pending> {
    let (mut plan, writer_is_alive) = read_plan(fs)?;
    let (mut mirror, found) = plan.mirror(fs, false)?;
    plan.recovery.problems.extend(found);
    // With a snapshot that was put back all documents follow it, whatever the files are.
    let mut edits = if plan.intake.is_none() { mirror.take_edits() } else { Vec::new() };
    let table = plan.shown().clone();
    if writer_is_alive {
        let (later, _) = read_plan(fs)?;
        edits.retain(|edit| is_still(edit, &table, later.shown()));
    }
    let earlier = earlier_versions(&plan, fs, &edits, None)?;
    let files: Vec<String> = edits.iter().map(|edit| edit.file.clone()).collect();
    let max = Options::default().document_bytes_max;
    let merged = preview(&mut table.clone(), edits, &earlier, plan.recovery.lsn, max);
    let mut edits: Vec<_> =
        merged.into_iter().map(|merged| PendingEdit::of(merged, &table)).collect();
    edits.sort_by(|a, b| a.file.cmp(&b.file));
    let is_left = |problem: &Problem| {
        let is_of_a_person = matches!(problem.kind, ProblemKind::Edited | ProblemKind::Unreadable);
        let dir = problem.file.split_once('/').map_or("", |(dir, _)| dir);
        let is_taken_in = Collection::ALL.iter().any(|each| each.dir() == dir);
        is_of_a_person && (problem.file == STATE || is_taken_in) && !files.contains(&problem.file)
    };
    let left = plan.recovery.problems.into_iter().filter(is_left).collect();
    let writer_pid = writer_is_alive.then(|| owner_pid(fs).unwrap_or_default());
    Ok(Pending { writer_pid, edits, left })
}

/// Whether what was found in the file of a document can be no write of the engine's that came in between.
fn is_still(edit: &Edit, before: &Table, after: &Table) -> bool {
    let [before, after] = [before, after].map(|table| table.get(edit.collection, edit.id.as_str()));
    // The engine removes a file only with its document.
    let same = before.map(|doc| doc.lsn()) == after.map(|doc| doc.lsn());
    same && !matches!((&edit.now, after), (Now::Gone, None))
}
