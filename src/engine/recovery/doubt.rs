//! Crossing a hole: of each document in doubt the newest intact version, by LSN, among what is left.
//!
//! Follows DESIGN.md, "Where records are missing". A mirror file says as of which LSN it shows its
//! document only together with a record of its hash; without one it is newer than what is at hand
//! or older, and nothing tells: then it counts, and what it displaces is kept in `conflicts/`.

use std::collections::{HashMap, HashSet};

use crate::base::{ContentHash, DocumentId, Lsn, Problem};
use crate::engine::recovery::replay::suspect;
use crate::files::mirror::Shown;
use crate::files::names;
use crate::files::owner::Stage;
use crate::files::snapshot::Index;
use crate::fs::join;
use crate::state::{Collection, Doc, Document, Table};

/// Missing records.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hole {
    /// The last LSN before them.
    pub(super) after: Lsn,
    /// The last of them.
    pub(super) last: Lsn,
    /// Whether there is no log at all, so that only files can tell what was deleted.
    pub(super) log_is_gone: bool,
}

/// What is recorded of the mirror's files, by file.
#[derive(Debug, Default)]
pub(super) struct AsOf {
    wrote: HashMap<String, Vec<(ContentHash, Lsn)>>,
    removed: HashMap<String, Lsn>,
}

impl AsOf {
    pub(super) fn wrote(&mut self, file: &str, hash: ContentHash, lsn: Lsn) {
        self.wrote.entry(file.to_owned()).or_default().push((hash, lsn));
    }

    pub(super) fn removed(&mut self, file: &str, lsn: Lsn) {
        let last = self.removed.entry(file.to_owned()).or_default();
        *last = lsn.max(*last);
    }

    /// Takes in what an index says of the mirror; gives the documents that its snapshot held. A file
    /// that shows the last change before the snapshot shows the document as of the snapshot.
    pub(super) fn read(&mut self, index: &Index) -> Listed {
        let at = index.head.lsn;
        let mut changed = HashMap::new();
        for place in &index.documents {
            for form in names::forms(&place.id) {
                changed.insert(join(place.collection.dir(), &form), place.lsn);
            }
        }
        for entry in &index.mirror {
            let is_current = changed.get(&entry.file).is_some_and(|lsn| *lsn <= entry.lsn);
            self.wrote(
                &entry.file,
                entry.hash,
                if is_current { at.max(entry.lsn) } else { entry.lsn },
            );
        }
        let keys = index.documents.iter().map(|place| (place.collection, place.id.clone()));
        (at, keys.collect())
    }

    /// As of which LSN these contents of the file show the document: if they were written more than
    /// once, the last time, since the document was so again then.
    fn of(&self, shown: &Shown) -> Option<Lsn> {
        let all = self.wrote.get(&shown.file)?;
        all.iter().filter(|(hash, _)| *hash == shown.hash).map(|(_, lsn)| *lsn).max()
    }

    /// As of which LSN the document is known to be gone, by the last record of any of its files.
    fn gone(&self, collection: Collection, id: &DocumentId) -> Option<Lsn> {
        let files: Vec<String> =
            names::forms(id).iter().map(|name| join(collection.dir(), name)).collect();
        let removed = files.iter().filter_map(|file| self.removed.get(file)).max()?;
        let wrote = files.iter().filter_map(|file| self.wrote.get(file)).flatten();
        let written = wrote.map(|(_, lsn)| lsn).max();
        written.is_none_or(|written| written < removed).then_some(*removed)
    }
}

type Key = (Collection, DocumentId);
/// The documents that a snapshot held, and its LSN.
type Listed = (Lsn, HashSet<Key>);

/// What there is beside log and base.
#[derive(Debug, Default)]
pub(super) struct Doubt {
    /// The documents that files show, without those that were removed since.
    shown: HashMap<Key, Shown>,
    as_of: AsOf,
    /// The last clean stop: the mirror showed everything up to there.
    clean: Option<Lsn>,
    /// The collections of which it still has as many files as then.
    whole: Vec<Collection>,
    /// The documents that a snapshot held which is lost itself, and its LSN.
    listed: Option<Listed>,
    /// Documents that are known as of an LSN, by their files.
    known: HashMap<Key, Lsn>,
    /// Versions that were displaced without proof of being older.
    pub(super) losers: Vec<(Collection, DocumentId, String)>,
    /// Documents taken from the mirror.
    pub(super) from_mirror: u64,
}

impl Doubt {
    pub(super) fn new(
        shown: Vec<Shown>,
        as_of: AsOf,
        stage: Option<Stage>,
        listed: Option<Listed>,
    ) -> Self {
        let (clean, counts) = match stage {
            Some(Stage::Clean { lsn, documents }) => (Some(lsn), documents),
            _ => (None, None),
        };
        let mut doubt = Doubt { as_of, clean, listed, ..Doubt::default() };
        for shown in shown {
            let key = (shown.collection, shown.id.clone());
            // Another file of an id counts only while the engine's own is missing.
            let is_better = shown.is_engines || !doubt.shown.contains_key(&key);
            if is_better && !doubt.is_left_over(&shown) {
                doubt.shown.insert(key, shown);
            }
        }
        let counts = counts.map(|(tasks, sessions)| [tasks, sessions]).into_iter().flatten();
        for (collection, count) in Collection::ALL.into_iter().zip(counts) {
            if doubt.shown.keys().filter(|(of, _)| *of == collection).count() as u64 == count {
                doubt.whole.push(collection);
            }
        }
        doubt
    }

    /// As of which LSN a file shows its document, if anything tells.
    fn as_of(&self, shown: &Shown) -> Option<Lsn> {
        self.as_of.of(shown).or(self.clean)
    }

    /// Whether the document was removed since, so that the file is one that should not be there: a
    /// crash came before its removal, or somebody put it back.
    fn is_left_over(&self, shown: &Shown) -> bool {
        let gone = self.as_of.gone(shown.collection, &shown.id);
        gone.is_some_and(|gone| self.as_of(shown).is_none_or(|lsn| lsn <= gone))
    }

    /// Whether a document was found to be as of `lsn` or later.
    pub(super) fn knows(&self, (collection, id): (Collection, &DocumentId), lsn: Lsn) -> bool {
        self.known.get(&(collection, id.clone())).is_some_and(|known| *known >= lsn)
    }

    /// Brings `table`, which is as of the hole's beginning, to its end as far as that can be.
    pub(super) fn cross(&mut self, hole: Hole, table: &mut Table) -> Vec<Problem> {
        let mut problems = Vec::new();
        for key in self.absent(table) {
            let (collection, id) = &key;
            if let Some(lsn) = self.deletion(hole, &key) {
                table.unload(*collection, id);
                self.known.insert(key, lsn);
            }
        }
        let shown: Vec<Shown> = self.shown.values().cloned().collect();
        for shown in shown {
            problems.extend(self.take(hole, &shown, table));
        }
        // So that the next snapshot is saved even if nothing changed, and covers the hole for good.
        table.advance(hole.last);
        problems
    }

    /// The documents of the table that no mirror file shows.
    fn absent(&self, table: &Table) -> Vec<Key> {
        let all = Collection::ALL.into_iter().flat_map(|collection| {
            table.iter(collection).map(move |(id, _)| (collection, id.clone()))
        });
        all.filter(|key| !self.shown.contains_key(key)).collect()
    }

    /// As of which LSN a document without a file is gone, if anything says so.
    fn deletion(&self, hole: Hole, key: &Key) -> Option<Lsn> {
        let recorded = self.as_of.gone(key.0, &key.1).filter(|lsn| *lsn > hole.after);
        let unlisted = self
            .listed
            .as_ref()
            .filter(|(lsn, listed)| *lsn > hole.after && !listed.contains(key))
            .map(|(lsn, _)| *lsn);
        // What the log says later goes before.
        let is_whole = self.whole.contains(&key.0);
        let unshown = self.clean.filter(|lsn| is_whole && *lsn >= hole.last).map(|_| hole.last);
        recorded.max(unlisted).max(unshown)
    }

    fn take(&mut self, hole: Hole, shown: &Shown, table: &mut Table) -> Option<Problem> {
        let key = (shown.collection, shown.id.clone());
        let (collection, id) = &key;
        if self.knows((*collection, id), hole.last) {
            return None;
        }
        let as_of = self.as_of(shown);
        let present = table.get(*collection, id.as_str()).cloned();
        let is_same = present.as_ref().is_some_and(|doc| shown.shows(doc.text()));
        let (lsn, is_suspect) = match as_of {
            Some(lsn) if lsn <= hole.after => return None,
            Some(lsn) => (lsn, lsn < hole.last),
            None if is_same => return None,
            None => (hole.last, true),
        };
        self.known.insert(key.clone(), lsn);
        if !is_same {
            self.from_mirror += 1;
            let document = Document::new(shown.text.as_str());
            table.load(*collection, id, Doc::new(document, lsn, is_suspect));
        }
        if as_of.is_some() {
            return None;
        }
        if let Some(present) = present {
            self.losers.push((*collection, id.clone(), present.text().to_string()));
        }
        Some(suspect(
            *collection,
            id,
            "records are missing, and nothing tells how old its file is; the file was taken, what \
             it displaced is in conflicts/",
        ))
    }
}

#[cfg(test)]
#[path = "doubt_tests.rs"]
mod tests;
