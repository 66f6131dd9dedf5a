//! `wal/state.index`: where each document lies in `state.json`, and what is indexed of it, so that an
//! untouched snapshot is loaded by reading and hashing, with no JSON parsed.
//!
//! It also keeps what `state.json` cannot say: the LSN of each document's last change, which of them
//! are suspect, and what the engine knows of the mirror's files.
//!
//! Invariants: nothing depends on it; without it, or with one that is damaged or of another snapshot,
//! `state.json` is parsed. It is applied only to the very bytes whose digest it names, and it is
//! trusted only with its own hash intact. Memory is taken only for lengths that the file has.

mod format;
#[cfg(test)]
mod tests;

use std::io::ErrorKind;
use std::ops::Range;
use std::sync::Arc;

use super::parse::{Parsed, parse, read_with};
use super::{BYTES_MAX, Head, NO_DIGEST, Rendered, Snapshot, others_behind};
use crate::base::{ContentHasher, DocumentId, Error, Lsn, Problem, ProblemKind, Result, StoreId};
use crate::files::mirror::Entry;
use crate::files::names::{INDEX_PART, STATE, STATE_INDEX};
use crate::fs::replace::replace;
use crate::fs::{Fs, Stat, read_file};
use crate::state::document::Indexed;
use crate::state::{Collection, Doc, Document};

/// The index of one snapshot, and the mirror as of when it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Index {
    /// The snapshot it is of.
    pub head: Head,
    /// Its documents: all there were in the store at the snapshot's LSN.
    pub documents: Vec<Place>,
    /// What the engine had put into the mirror's files, by their names.
    pub mirror: Vec<Entry>,
}

/// A document in a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Whether it is a task or a session.
    pub collection: Collection,
    /// Its id.
    pub id: DocumentId,
    /// Where its text is in `state.json`, in bytes.
    pub span: Range<u64>,
    /// The LSN of its last change.
    pub lsn: Lsn,
    /// Whether it may be behind, since a delta to it could not be applied.
    pub suspect: bool,
    /// What is indexed of its text.
    pub members: Indexed,
}

/// What was found in the place of `state.json`, and in that of its index.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// `state.json`; `None` if there is none.
    pub state: Option<Parsed>,
    /// Whether that was loaded by the index, without parsing.
    pub is_indexed: bool,
    /// The index, if it is intact, of whichever snapshot it is.
    pub index: Option<Index>,
    /// What is wrong with the index.
    pub problem: Option<Problem>,
}

impl Index {
    /// The index of a snapshot just rendered of these documents, which are sorted by the bytes of
    /// their ids.
    pub fn new(
        rendered: &Rendered,
        tasks: &[(DocumentId, Arc<Doc>)],
        sessions: &[(DocumentId, Arc<Doc>)],
    ) -> Self {
        let tasks = tasks.iter().map(|document| (Collection::Task, document));
        let sessions = sessions.iter().map(|document| (Collection::Session, document));
        let places = tasks.chain(sessions).zip(&rendered.spans);
        let documents = places.map(|((collection, (id, doc)), span)| Place {
            collection,
            id: id.clone(),
            span: span.clone(),
            lsn: doc.lsn(),
            suspect: doc.is_suspect(),
            members: doc.document().members().clone(),
        });
        Index { head: rendered.head, documents: documents.collect(), mirror: Vec::new() }
    }

    /// The index with these entries of the mirror.
    #[must_use]
    pub fn with_mirror(mut self, mut mirror: Vec<Entry>) -> Self {
        mirror.sort_unstable_by(|a, b| a.file.cmp(&b.file));
        self.mirror = mirror;
        self
    }

    /// The index with the `stat` of `state.json`, if that is known to tell whether somebody wrote to it: as
    /// one more entry.
    #[must_use]
    pub fn with_state(mut self, stat: Option<Stat>) -> Self {
        let Head { digest: hash, length, lsn, .. } = self.head;
        let entry = stat.map(|_| Entry { file: STATE.to_owned(), hash, length, lsn, stat });
        let at = self.mirror.partition_point(|entry| entry.file.as_str() < STATE);
        self.mirror.splice(at..at, entry);
        self
    }

    /// The `stat` that `state.json` had when this was written.
    pub fn state_stat(&self) -> Option<Stat> {
        self.mirror.iter().find(|entry| entry.file == STATE)?.stat
    }

    /// Writes the index, durably. On failure the former one stands, which is harmless, whatever
    /// snapshot it is of.
    pub fn save(&self, fs: &dyn Fs) -> Result<()> {
        replace(fs, STATE_INDEX, INDEX_PART, &format::encode(self))
    }

    /// The snapshot that `bytes` are, if they are the very ones that this is the index of.
    fn snapshot(&self, bytes: &[u8]) -> Option<Snapshot> {
        if !self.head.is_of(bytes) {
            return None;
        }
        let text = std::str::from_utf8(bytes).ok()?;
        let (mut tasks, mut sessions) = (Vec::with_capacity(self.documents.len()), Vec::new());
        for place in &self.documents {
            let Range { start, end } = place.span;
            let span = usize::try_from(start).ok()?..usize::try_from(end).ok()?;
            let document = Document::with_members(text.get(span)?, place.members.clone());
            let doc = Arc::new(Doc::new(document, place.lsn, place.suspect));
            match place.collection {
                Collection::Task => tasks.push((place.id.clone(), doc)),
                Collection::Session => sessions.push((place.id.clone(), doc)),
            }
        }
        let Head { store, lsn, last_saved, .. } = self.head;
        let last_saved = Some(last_saved.to_string());
        let ends = self.documents.iter().map(|place| place.span.end);
        let end = usize::try_from(ends.max().unwrap_or(self.head.digest_at)).ok()?;
        let others = others_behind(text.get(end..)?);
        Some(Snapshot { store, lsn, tasks, sessions, last_saved, others })
    }
}

impl Head {
    /// Whether `bytes` have this length and this digest, and bear its digits where they belong.
    fn is_of(&self, bytes: &[u8]) -> bool {
        let Ok(at) = usize::try_from(self.digest_at) else { return false };
        let end = at.saturating_add(NO_DIGEST.len());
        let parts = (bytes.get(..at), bytes.get(at..end), bytes.get(end..));
        let (Some(before), Some(digits), Some(after)) = parts else { return false };
        if self.length != bytes.len() as u64 || digits != self.digest.to_string().as_bytes() {
            return false;
        }
        let mut hasher = ContentHasher::default();
        for part in [before, NO_DIGEST.as_bytes(), after] {
            hasher.write(part);
        }
        hasher.finish() == self.digest
    }
}

/// Reads `state.json`: by its index, where that is intact and of these very bytes, else by parsing.
/// A fault of the index is no error, since it can be done without.
pub fn load(fs: &dyn Fs) -> Result<Loaded> {
    let (index, problem) = match read(fs) {
        Ok(index) => (index, None),
        Err(problem) => (None, Some(problem)),
    };
    let mut is_indexed = false;
    let state = read_with(fs, STATE, |bytes| {
        let snapshot = index.as_ref().and_then(|index| index.snapshot(bytes));
        is_indexed = snapshot.is_some();
        snapshot.map_or_else(|| parse(bytes), Parsed::Intact)
    })?;
    Ok(Loaded { state, is_indexed, index, problem })
}

/// Writes the entries of the mirror into the index that is there, if one of this store is and they
/// are not in it, durably; its documents stay as they are.
pub fn renew(fs: &dyn Fs, store: StoreId, mirror: Vec<Entry>) -> Result<()> {
    match read(fs) {
        Ok(Some(former)) if former.head.store == store => {
            let index = former.clone().with_mirror(mirror).with_state(former.state_stat());
            if index == former { Ok(()) } else { index.save(fs) }
        }
        Ok(_) => Ok(()),
        Err(problem) => Err(Error::corrupt(fs.display(STATE_INDEX), 0, problem.detail)),
    }
}

/// The index that is there, if it is of a version that is known; or what is wrong with it.
fn read(fs: &dyn Fs) -> Result<Option<Index>, Problem> {
    let unusable = |kind, why: String| {
        let detail = format!("{why}; it is done without, and made anew with the next snapshot");
        Err(Problem::new(kind, STATE_INDEX, 0, detail))
    };
    match read_file(fs, STATE_INDEX, BYTES_MAX) {
        Ok(bytes) => {
            format::decode(&bytes).or_else(|why| unusable(ProblemKind::Corrupt, why.to_owned()))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => unusable(ProblemKind::Unreadable, format!("it cannot be read ({error})")),
    }
}
