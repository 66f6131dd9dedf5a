//! An edit that a person made of a document's text, and not of its file: merged with the document as it
//! is by then, and logged as theirs.
//!
//! Invariant: nothing is logged before what loses by it is durable in `conflicts/`, and only if the document
//! is still the one that the edit was merged with.

use std::sync::Arc;

use serde::Serialize;

use crate::base::{DocumentId, Error, Event, Lsn, Result};
use crate::engine::core::Core;
use crate::engine::store::Store;
use crate::files::{conflicts, names};
use crate::fs::join;
use crate::state::json::pretty;
use crate::state::merge::{FieldChange, field_changes, is_same, merge3};
use crate::state::{Collection, Doc, Op};
use crate::wal::Origin;

/// A document that changes under each merge is held still for the last of so many.
const ATTEMPTS_MAX: usize = 4;

/// What an edit did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EditTaken {
    /// The LSN of the document's change; `None` if the edit changed nothing.
    pub lsn: Option<Lsn>,
    /// What it changed in the document as it was by then.
    pub changes: Vec<FieldChange>,
    /// JSON pointers of what both the edit and a program changed since the edited version; the edit
    /// counts. Empty, too, if a program deleted the document, which the edit then made again.
    pub conflicts: Vec<String>,
    /// Where the program's version is kept, if there are conflicts.
    pub kept: Option<String>,
}

impl EditTaken {
    fn nothing() -> Self {
        EditTaken { lsn: None, changes: Vec::new(), conflicts: Vec::new(), kept: None }
    }
}

impl Store {
    /// Takes in what a person made of a document: `edited` is merged, field by field, with what programs
    /// changed since `base`, the text that was given to the person (`None` for a new document, or where
    /// it is not known). What both changed is as in `edited`; the program's version is then kept in
    /// `conflicts/`. Durable when it returns.
    ///
    /// # Errors
    /// `Invalid`, with line and column, if `edited` is no document; or if its id is not that of `base`.
    ///
    /// ```
    /// use walden::{Collection, Store};
    /// # let dir = tempfile::tempdir()?;
    /// let store = Store::open(dir.path())?;
    /// let base = r#"{"id": "a", "status": "pending", "tries": 1}"#;
    /// store.save_task_json(base)?;
    /// store.patch_task_json("a", r#"{"tries": 2}"#)?; // meanwhile
    /// let edited = r#"{"id": "a", "status": "done", "tries": 1}"#;
    /// let taken = store.edit_json(Collection::Task, Some(base), edited)?;
    /// assert_eq!((taken.changes.len(), taken.conflicts.len()), (1, 0));
    /// assert_eq!(store.task_json("a").as_deref(), Some(r#"{"id":"a","status":"done","tries":2}"#));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn edit_json(
        &self,
        collection: Collection,
        base: Option<&str>,
        edited: &str,
    ) -> Result<EditTaken> {
        let core = self.core();
        let edited = edited.strip_prefix('\u{feff}').unwrap_or(edited);
        let edited = edited.trim_matches(|c| matches!(c, ' ' | '\t' | '\r' | '\n'));
        let id = core.id_of(collection, edited)?;
        if let Some(base) = base {
            let before = core.id_of(collection, base)?;
            if before != id {
                let why = format!("its id was {:?}; an id cannot be edited", before.as_str());
                return Err(Error::invalid(format!("the id {:?}", id.as_str()), why));
            }
        }
        core.take_edit(collection, &id, base, edited)
    }
}

/// What an edit comes to.
struct Merged {
    text: String,
    conflicts: Vec<String>,
    /// Whether a program deleted the document meanwhile.
    is_revived: bool,
}

fn merge(base: Option<&str>, present: Option<&Arc<Doc>>, edited: &str) -> Merged {
    match present {
        Some(doc) => {
            let merged = merge3(base, doc.text(), edited);
            Merged { text: merged.text, conflicts: merged.conflicts, is_revived: false }
        }
        None => {
            Merged { text: edited.to_owned(), conflicts: Vec::new(), is_revived: base.is_some() }
        }
    }
}

impl Core {
    fn id_of(&self, collection: Collection, text: &str) -> Result<DocumentId> {
        let op = Op::put(collection, text, self.options.document_bytes_max)?;
        match op.target() {
            Some((_, id)) => Ok(id.clone()),
            None => Err(Error::invalid("the document", "it has no id")),
        }
    }

    fn take_edit(
        &self,
        collection: Collection,
        id: &DocumentId,
        base: Option<&str>,
        edited: &str,
    ) -> Result<EditTaken> {
        let checkpointer = self.checkpointer.lock();
        // After a shutdown the files are somebody else's.
        self.writer.lock().log()?;
        let name = names::forms(id).into_iter().next().unwrap_or_default();
        let file = join(collection.dir(), &name);
        let find = || self.table.read().get(collection, id.as_str()).cloned();
        let mut attempts = 0;
        loop {
            attempts += 1;
            let mut held = (attempts == ATTEMPTS_MAX).then(|| self.writer.lock());
            let present = find();
            let ours = present.as_ref().map(|doc| doc.text().clone());
            let merged = merge(base, present.as_ref(), edited);
            if ours.as_ref().is_some_and(|ours| is_same(ours, &merged.text)) {
                return Ok(EditTaken::nothing());
            }
            let op = Op::put(collection, &merged.text, self.options.document_bytes_max)?;
            let loser = ours.as_ref().filter(|_| !merged.conflicts.is_empty());
            let kept = loser
                .map(|text| conflicts::keep_text(&*self.around.fs, &file, &pretty(text)))
                .transpose()?;
            let mut writer = held.take().unwrap_or_else(|| self.writer.lock());
            if find().map(|doc| doc.lsn()) != present.as_ref().map(|doc| doc.lsn()) {
                continue;
            }
            let lsn = self.commit_own(&mut writer, vec![op], Origin::Edit)?;
            drop(writer);
            drop(checkpointer);
            self.note_unshown();
            let Merged { text, conflicts, is_revived } = merged;
            let dir = collection.dir();
            if is_revived || !conflicts.is_empty() {
                let (file, id) = (file.clone(), id.clone());
                let (fields, kept) = (conflicts.clone(), kept.clone());
                self.listeners.emit(&Event::Conflict { file, dir, id, lsn, fields, kept });
            }
            let id = id.clone();
            self.listeners.emit(&Event::Edited { file, dir, id, lsn, is_deletion: false });
            let changes = field_changes(ours.as_deref(), Some(&text));
            return Ok(EditTaken { lsn: Some(lsn), changes, conflicts, kept });
        }
    }
}
