//! What was kept in `conflicts/`, held against the state, and what people decide about it.
//!
//! A kept version is *open* while its document exists and means something else. Nothing here removes one
//! on its own: what is decided gets another name, durably, after the decision is in the log; only what was
//! decided is removed, and only on request.

use std::fmt::Display;
use std::path::Path;
use std::time::Duration;

use serde::{Serialize, Serializer};

use crate::base::{ContentHash, DocumentId, Error, Lsn, Result, Timestamp};
use crate::engine::core::Core;
use crate::engine::store::{Builder, Store};
use crate::engine::view::View;
use crate::files::kept::{self, Contents, Kept};
use crate::files::{conflicts, names};
use crate::fs::Fs;
use crate::state::json::pretty;
use crate::state::merge::{difference, is_same};
use crate::state::{Collection, Doc, Op, Table};
use crate::wal::Origin;

/// A file in `conflicts/`: what lost against an edit, or what was in the engine's way. As JSON, the
/// fields have these names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct KeptVersion {
    /// Its name in `conflicts/`.
    pub name: String,
    /// How it stands to the state.
    pub status: KeptStatus,
    /// Where its document belongs, as far as there is such a document: a kept version does not say it, so
    /// where a task and a session have its id, it is taken for that which it differs less from.
    #[serde(serialize_with = "as_text")]
    pub collection: Option<Collection>,
    /// Its document, by the id inside; else by the file's name, where that tells.
    #[serde(serialize_with = "as_text")]
    pub id: Option<DocumentId>,
    /// Its length.
    pub bytes: u64,
    /// The hash of its bytes, if they were read.
    #[serde(serialize_with = "as_text")]
    pub hash: Option<ContentHash>,
    /// When its contents were last changed; that is when it was kept, or before.
    #[serde(serialize_with = "as_text")]
    pub modified: Option<Timestamp>,
    /// Why it is no document, if it is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// How a kept version stands to the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum KeptStatus {
    /// Its document means something else: somebody should decide.
    Open,
    /// Its document means the same.
    Same,
    /// There is no such document any more.
    Gone,
    /// It is no document, or cannot be read.
    NoDocument,
    /// Somebody has decided.
    Resolved,
}

/// What is decided about a kept version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resolution {
    /// The state stays as it is.
    KeepState,
    /// The kept version is saved in the place of the document, or as a new one. What the document was
    /// before is kept in its turn, as resolved.
    TakeKept {
        /// Where it belongs. `None`: where [`KeptVersion::collection`] says, else to the tasks.
        collection: Option<Collection>,
    },
}

/// What a decision did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Resolved {
    /// The file's name in `conflicts/` from now on.
    pub name: String,
    /// The LSN of the document's change, if it changed.
    pub lsn: Option<Lsn>,
}

/// Serializes what can be printed as its text.
#[expect(clippy::ref_option, reason = "serde's signature")]
pub(crate) fn as_text<T: Display, S: Serializer>(
    value: &Option<T>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) => serializer.collect_str(value),
        None => serializer.serialize_none(),
    }
}

impl KeptVersion {
    fn of(kept: Kept, table: &Table) -> Self {
        let mut version = KeptVersion {
            id: id_of_name(&kept.name),
            name: kept.name,
            status: KeptStatus::NoDocument,
            collection: None,
            bytes: kept.bytes,
            hash: None,
            modified: Some(Timestamp(kept.modified_ns)),
            detail: None,
        };
        match kept.contents {
            Contents::Resolved => version.status = KeptStatus::Resolved,
            Contents::Unreadable(hash, why) => {
                version.hash = hash;
                version.detail = Some(why);
            }
            Contents::Text(hash, text) => {
                version.hash = Some(hash);
                match id_in(&text) {
                    Ok(id) => {
                        let nearest = nearest(table, &id, &text);
                        version.status = status_of(nearest.map(|(_, doc)| doc), &text);
                        version.collection = nearest.map(|(collection, _)| collection);
                        version.id = Some(id);
                    }
                    Err(error) => version.detail = Some(error.to_string()),
                }
            }
        }
        version
    }
}

fn status_of(doc: Option<&Doc>, text: &str) -> KeptStatus {
    match doc {
        None => KeptStatus::Gone,
        Some(doc) if is_same(doc.text(), text) => KeptStatus::Same,
        Some(_) => KeptStatus::Open,
    }
}

/// The document of a kept text: of two with its id the one that it differs less from.
fn nearest<'a>(table: &'a Table, id: &DocumentId, text: &str) -> Option<(Collection, &'a Doc)> {
    let all = Collection::ALL.into_iter();
    let found = all.filter_map(|each| Some((each, &**table.get(each, id.as_str())?)));
    found.min_by_key(|(_, doc)| difference(doc.text(), text))
}

/// A text as a document: whatever its size, it was kept.
fn document_in(collection: Collection, text: &str, bytes_max: usize) -> Result<Op> {
    Op::put(collection, text.strip_prefix('\u{feff}').unwrap_or(text), bytes_max)
}

fn id_in(text: &str) -> Result<DocumentId> {
    match document_in(Collection::Task, text, usize::MAX)?.target() {
        Some((_, id)) => Ok(id.clone()),
        None => Err(Error::invalid("the document", "it has no id")),
    }
}

fn id_of_name(name: &str) -> Option<DocumentId> {
    let file = names::conflict_of(name.split(".resolved").next().unwrap_or(name))?;
    let id = DocumentId::new(file.strip_suffix(".json")?).ok()?;
    names::forms(&id).contains(&file).then_some(id)
}

fn list(fs: &dyn Fs, table: &Table) -> Result<Vec<KeptVersion>> {
    Ok(kept::list(fs)?.into_iter().map(|kept| KeptVersion::of(kept, table)).collect())
}

/// How many kept versions are open.
pub(crate) fn count_open(fs: &dyn Fs, table: &Table) -> Result<usize> {
    Ok(list(fs, table)?.iter().filter(|kept| kept.status == KeptStatus::Open).count())
}

/// What is kept in `conflicts/` of the store in `path`, by name, held against its state; reads only.
///
/// # Errors
/// `NotFound` if there is no such directory; otherwise as [`Builder::open_read_only`].
pub fn conflicts(path: impl AsRef<Path>) -> Result<Vec<KeptVersion>> {
    let builder = Store::builder(path);
    builder.conflicts(&builder.clone().open_read_only()?)
}

impl Builder {
    /// What is kept in `conflicts/`, by name, held against `view`, which is of the same directory.
    pub fn conflicts(&self, view: &View) -> Result<Vec<KeptVersion>> {
        list(&*self.existing_fs()?, view.table())
    }

    /// The text of a kept version that was not resolved, by its name in `conflicts/`.
    ///
    /// # Errors
    /// `NotFound` for any name that is not in that directory; `Invalid` if it holds no text.
    pub fn kept_text(&self, name: &str) -> Result<String> {
        match kept::find(&*self.existing_fs()?, name)?.contents {
            Contents::Text(_, text) => Ok(text),
            Contents::Unreadable(_, why) => Err(Error::invalid(name, why)),
            Contents::Resolved => Err(resolved_already(name)),
        }
    }
}

impl Store {
    /// What is kept in `conflicts/`, by name, held against the state as it is now.
    pub fn conflicts(&self) -> Result<Vec<KeptVersion>> {
        let table = self.core().table.read().clone();
        list(&*self.core().around.fs, &table)
    }

    /// Decides about a kept version: the state changes accordingly, durably, and then the file gets
    /// `.resolved` behind its name, durably too. A crash in between leaves a version that means what the
    /// state is.
    ///
    /// # Errors
    /// `NotFound` for any name that is not in `conflicts/`; `Invalid` if it was resolved already, or is to be
    /// taken and is no document. Nothing is changed then.
    ///
    /// ```
    /// use walden::{KeptStatus, Resolution, Store};
    /// # let dir = tempfile::tempdir()?;
    /// let store = Store::open(dir.path())?;
    /// store.save_task_json(r#"{"id": "a", "n": 1}"#)?;
    /// # std::fs::create_dir(dir.path().join("conflicts"))?;
    /// # let kept = dir.path().join("conflicts/a~0123456789abcdef0123456789abcdef.json");
    /// # std::fs::write(kept, r#"{"id": "a", "n": 2}"#)?;
    /// for kept in store.conflicts()? {
    ///     if kept.status == KeptStatus::Open {
    ///         store.resolve_conflict(&kept.name, Resolution::TakeKept { collection: None })?;
    ///     }
    /// }
    /// assert_eq!(store.task_json("a").as_deref(), Some(r#"{"id": "a", "n": 2}"#));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn resolve_conflict(&self, name: &str, resolution: Resolution) -> Result<Resolved> {
        self.core().resolve_conflict(name, resolution)
    }

    /// Removes the files in `conflicts/` that were resolved, those that were at least `older_than` ago if
    /// that is given, and says how many.
    pub fn prune_conflicts(&self, older_than: Option<Duration>) -> Result<usize> {
        let core = self.core();
        let _checkpointer = core.checkpointer.lock();
        core.writer.lock().log()?;
        let before_ns = older_than.map_or(i64::MAX, |age| {
            let age_ns = i64::try_from(age.as_nanos()).unwrap_or(i64::MAX);
            core.around.clock.now().0.saturating_sub(age_ns)
        });
        kept::prune(&*core.around.fs, before_ns)
    }
}

fn resolved_already(name: &str) -> Error {
    Error::invalid(name, "it was resolved already")
}

impl Core {
    fn resolve_conflict(&self, name: &str, resolution: Resolution) -> Result<Resolved> {
        let fs = &*self.around.fs;
        // No other decision, and no pass of the mirror, comes in between.
        let _checkpointer = self.checkpointer.lock();
        self.writer.lock().log()?;
        let kept = kept::find(fs, name)?;
        if names::is_resolved(name) {
            return Err(resolved_already(name));
        }
        let lsn = match resolution {
            Resolution::KeepState => None,
            Resolution::TakeKept { collection } => self.take_kept(kept, collection)?,
        };
        Ok(Resolved { name: kept::resolve(fs, name)?, lsn })
    }

    /// Saves a kept version, unless the document means the same. What that was is kept before.
    fn take_kept(&self, kept: Kept, collection: Option<Collection>) -> Result<Option<Lsn>> {
        let Kept { name, contents, .. } = kept;
        let text = match contents {
            Contents::Text(_, text) => text,
            Contents::Unreadable(_, why) => return Err(Error::invalid(name, why)),
            Contents::Resolved => return Err(resolved_already(&name)),
        };
        let id = id_in(&text)?;
        let mut writer = self.writer.lock();
        let table = self.table.read().clone();
        let nearest = nearest(&table, &id, &text).map(|(collection, _)| collection);
        let collection = collection.or(nearest).unwrap_or(Collection::Task);
        let present = table.get(collection, id.as_str());
        if present.is_some_and(|doc| is_same(doc.text(), &text)) {
            return Ok(None);
        }
        let op = document_in(collection, &text, self.options.document_bytes_max)?;
        if let Some(doc) = present {
            let fs = &*self.around.fs;
            let file = names::forms(&id).into_iter().next().unwrap_or_default();
            let loser = conflicts::keep_text(fs, &file, &pretty(doc.text()))?;
            kept::resolve(fs, loser.rsplit('/').next().unwrap_or_default())?;
        }
        let lsn = self.commit_own(&mut writer, vec![op], Origin::Edit)?;
        drop(writer);
        self.note_unshown();
        Ok(Some(lsn))
    }
}

#[cfg(test)]
#[path = "kept_tests.rs"]
mod tests;
