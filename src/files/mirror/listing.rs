//! What lies in the mirror's directories, and which document each file is of.
//!
//! A name is looked up among the documents, not the documents' names among the files: so an opening that
//! finds all files in place makes no name, and one that finds none makes each once. Reads only.
//!
//! Invariant: a listing that was taken ahead is used only where nothing got or lost a name in its directory since.
//! A `stat` in it may be older than what is read of its file, never newer.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use super::Target;
use super::dir::list;
use crate::base::{DocumentId, Result};
use crate::files::names::{Names, WAL};
use crate::files::stat;
use crate::fs::{Entry, Fs, Kind, Stat};
use crate::state::{Collection, Doc, Table};

/// What a directory holds, with the `stat` of each regular file in it.
pub(super) type Listed = (Vec<Entry>, Vec<Option<Stat>>);

/// The directories of the mirror and the `stat` of all regular files in them, for an opening that has a
/// thread to spare for that while it reads the state.
#[derive(Debug)]
pub struct Listing {
    /// See `Judge::past_ns`: taken before anything else.
    pub(super) past_ns: i64,
    /// Each with its own `stat`, taken before it was listed.
    dirs: HashMap<Collection, (Option<Stat>, Listed)>,
}

impl Listing {
    /// Lists everything; reads no file. To be used while nobody but people may change them.
    ///
    /// # Errors
    /// `Io` where a directory cannot be listed. A `stat` that cannot be had is none.
    pub fn take(fs: &dyn Fs) -> Result<Listing> {
        let past_ns = past_ns(fs)?;
        let mut dirs = HashMap::new();
        for collection in Collection::ALL {
            let before = stat(fs, collection.dir())?;
            let entries = list(fs, collection.dir())?;
            let regular = entries.iter().filter(|entry| entry.kind == Kind::File);
            let names: Vec<&str> = regular.map(|entry| entry.name.as_str()).collect();
            let stats = fs.stats(collection.dir(), &names).into_iter();
            let stats = stats.map(|stat| stat.ok().flatten()).collect();
            dirs.insert(collection, (before, (entries, stats)));
        }
        Ok(Listing { past_ns, dirs })
    }

    /// What a directory holds, once; `None` if a file may have come to it or gone from it since. One whose own
    /// time is not surely past may change without showing it.
    pub(super) fn dir(&mut self, fs: &dyn Fs, collection: Collection) -> Result<Option<Listed>> {
        let Some((before, listed)) = self.dirs.remove(&collection) else { return Ok(None) };
        let is_past = before.is_some_and(|dir| dir.modified_ns < self.past_ns);
        let is_same = is_past && stat(fs, collection.dir())? == before;
        Ok(is_same.then_some(listed))
    }
}

/// The `stat` of each regular file in a directory that is `of` a document, if it can be had: reading
/// will tell why not. Taken before any contents are read, so that none is of newer ones.
pub(super) fn stats_of<'e, T: 'e>(
    fs: &dyn Fs,
    dir: &str,
    files: impl Iterator<Item = (&'e Entry, &'e Option<T>)>,
) -> Vec<Option<Stat>> {
    let files = files.filter(|(entry, of)| entry.kind == Kind::File && of.is_some());
    let names: Vec<&str> = files.map(|(entry, _)| entry.name.as_str()).collect();
    fs.stats(dir, &names).into_iter().map(|stat| stat.ok().flatten()).collect()
}

/// The last time that the file system's clock is known to have given; to be asked before any file is looked at.
pub(super) fn past_ns(fs: &dyn Fs) -> Result<i64> {
    Ok(stat(fs, WAL)?.map_or(i64::MIN, |wal| wal.modified_ns))
}

/// The files of a directory, held against the documents.
pub(super) struct Matched<'t> {
    /// Of each of them, in their order, the document that it is of.
    pub(super) of: Vec<Option<(DocumentId, &'t Arc<Doc>)>>,
    /// The documents that have none, with its name.
    pub(super) missing: Vec<(String, DocumentId, &'t Arc<Doc>)>,
}

impl<'t> Matched<'t> {
    /// Adds the ids of a collection to its names, and looks each file up among them.
    pub(super) fn new(
        names: &mut Names,
        table: &'t Table,
        collection: Collection,
        entries: &[Entry],
    ) -> Self {
        let count = table.len(collection);
        let encoded = names.insert_all(count, table.iter(collection).map(|(id, _)| id));
        let by_name: HashMap<String, &DocumentId> =
            encoded.iter().map(|id| (names.file_name(id), id)).collect();
        let by_id: HashMap<&DocumentId, &String> =
            by_name.iter().map(|(name, id)| (*id, name)).collect();
        let of = |entry: &Entry| {
            let id = by_name.get(&entry.name).copied().or_else(|| names.of_plain(&entry.name))?;
            table.get(collection, id.as_str()).map(|doc| (id.clone(), doc))
        };
        let of: Vec<_> = entries.iter().map(of).collect();
        let mut missing = Vec::new();
        let lacking = count.saturating_sub(of.iter().flatten().count());
        if lacking > 0 {
            let found: HashSet<&DocumentId> = of.iter().flatten().map(|(id, _)| id).collect();
            missing.reserve_exact(lacking);
            for (id, doc) in table.iter(collection).filter(|(id, _)| !found.contains(id)) {
                let name = by_id.get(id).copied();
                missing.push((file_of(collection, id, name), id.clone(), doc));
            }
        }
        Matched { of, missing }
    }
}

/// The file of a document: under its own name, if it has no other.
fn file_of(collection: Collection, id: &DocumentId, name: Option<&String>) -> String {
    let (name, end) = name.map_or((id.as_str(), ".json"), |name| (name, ""));
    [collection.dir(), "/", name, end].concat()
}

/// Documents whose files are to be written, all at once.
pub(super) fn to_be_written(
    collection: Collection,
    files: impl Iterator<Item = (String, DocumentId)>,
) -> BTreeMap<String, Target> {
    files.map(|(file, id)| (file, Target::Document(collection, id))).collect()
}
