//! What opening is told of the mirror before it looks: what the log, the index and earlier snapshots know.
//!
//! Facts only: what follows from them for a file is `judge`'s.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::{Mirror, Placed, Target};
use crate::base::{ContentHash, DocumentId, Lsn};
use crate::fs::{Stat, join};
use crate::state::Collection;

/// What the engine knows of a mirror file that it wrote, kept from one opening to the next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The file, as in `tasks/a.json`.
    pub file: String,
    /// The hash of what was written.
    pub hash: ContentHash,
    /// Its length in bytes.
    pub length: u64,
    /// It shows its document as of this LSN; 0 if it shows none and is to be removed.
    pub lsn: Lsn,
    /// The file's `stat`, taken after the engine's last change of it, and with a time of modification
    /// that no later write can give it; `None` if that is not known.
    pub stat: Option<Stat>,
}

/// The contents that the log records as written to a mirror file, by their hashes, and the LSNs as of which they
/// showed its document. There are few: a list is smaller than a map.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recorded(Vec<(ContentHash, Lsn)>);

impl Recorded {
    /// Adds contents; of the same ones, the last LSN counts.
    pub fn insert(&mut self, hash: ContentHash, lsn: Lsn) {
        if let Some(known) = self.0.iter_mut().find(|(known, _)| *known == hash) {
            known.1 = lsn;
            return;
        }
        if self.0.is_empty() {
            self.0.reserve_exact(1);
        }
        self.0.push((hash, lsn));
    }

    /// The LSN of contents with this hash, if there are any.
    pub fn get(&self, hash: ContentHash) -> Option<Lsn> {
        self.iter().find(|(known, _)| *known == hash).map(|(_, lsn)| lsn)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (ContentHash, Lsn)> {
        self.0.iter().copied()
    }
}

/// What the log says of a mirror file.
#[derive(Clone, Debug, Default)]
pub struct Mentions {
    /// It showed its document as of these LSNs.
    pub shown: Vec<Lsn>,
    /// The LSN of the last record of a change of its name.
    pub changed: Lsn,
}

/// What the engine is known to have put into the mirror, besides the present state.
pub struct Known<'a> {
    /// By file (`tasks/a.json`): what the log records as written there.
    pub versions: &'a HashMap<String, Recorded>,
    /// The texts that a document had in earlier snapshots, or since, as far as they are at hand.
    pub earlier: &'a dyn Fn(Collection, &DocumentId) -> Vec<Arc<str>>,
    /// By file: what [`super::Mirror::entries`] gave when it was last recorded. May be empty or old.
    pub entries: &'a HashMap<&'a str, &'a Entry>,
    /// By file: what else the log says of it.
    pub mentions: &'a HashMap<String, Mentions>,
    /// Whether nothing of the store is damaged or missing but perhaps some of these files. Else a file that
    /// is gone may be lost, and after an unclean stop one that nobody knows may be the engine's.
    pub is_sound: bool,
    /// An opening that was cut off had found the store shut down at this LSN.
    pub shut_down: Option<Lsn>,
    /// The LSN of the log's last record that all names are durable.
    pub synced: Lsn,
    /// Whether to read every file, also those that nobody can have touched: only that finds rot in
    /// them.
    pub reads_all: bool,
}

impl std::fmt::Debug for Known<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Known").field("versions", self.versions).finish_non_exhaustive()
    }
}

impl Mirror {
    /// What the engine is known to have put into the files of the documents `changed`, and into those
    /// that the last plan could not change. A cut of the log would forget it, so the engine records it
    /// again before one.
    pub fn lagging<'a>(
        &self,
        changed: impl IntoIterator<Item = (Collection, &'a DocumentId)>,
    ) -> Vec<Entry> {
        let of = changed.into_iter().map(|(of, id)| join(of.dir(), &self.names(of).file_name(id)));
        let files: BTreeSet<String> = of.chain(self.pending.keys().cloned()).collect();
        let mut lagging = Vec::new();
        for file in files {
            let attempts = self.attempts.get(&file).into_iter().flatten();
            let known = self.placed.get(file.as_str()).into_iter().chain(attempts);
            // Damage must not become a version of the engine's.
            let known = known.filter(|placed| self.damaged.get(&file) != Some(&placed.hash));
            lagging.extend(known.map(|placed| entry(&file, placed)));
        }
        lagging.extend(self.half_done().map(|(file, hash)| {
            // Not what the file shows: that these contents are the engine's.
            entry(file, &Placed { hash, ..Placed::UNKNOWN })
        }));
        lagging
    }

    /// What the engine knows of each file that it wrote, sorted by file: to be kept for the next
    /// opening, which need not read a file that is still as its entry says.
    pub fn entries(&self) -> Vec<Entry> {
        // Damage must not become a version of the engine's.
        let known = self.placed.iter().map(|(file, placed)| {
            let is_damage = self.damaged.get(file.as_str()) == Some(&placed.hash);
            let is_due = self.pending.get(file.as_str()) == Some(&Target::Nothing);
            let placed = if is_damage { &Placed::UNKNOWN } else { placed };
            let lsn = if is_due { Lsn::ZERO } else { placed.lsn };
            entry(file, &Placed { lsn, ..*placed })
        });
        let mut entries: Vec<Entry> = known.collect();
        entries.sort_unstable_by(|a, b| a.file.cmp(&b.file));
        entries
    }

    /// Notes that a pass has shown everything as of `lsn`, but for files that had to be left as they are. So
    /// [`Mirror::entries`] tells the one from the other.
    pub fn passed(&mut self, lsn: Lsn) {
        let Mirror { placed, pending, held, noticed, .. } = self;
        for (file, placed) in placed {
            let file = file.as_str();
            let is_left =
                pending.contains_key(file) || held.contains_key(file) || noticed.contains(file);
            if !is_left {
                placed.lsn = placed.lsn.max(lsn);
            }
        }
    }

    /// Whether the engine may have shown any version in a file.
    pub fn is_doubtful(&self, file: &str) -> bool {
        self.placed.get(file).is_some_and(|placed| placed.lsn == Placed::UNKNOWN.lsn)
    }

    /// The LSN as of which a file shows its document, if that is known.
    pub fn shown_as_of(&self, file: &str) -> Option<Lsn> {
        self.placed.get(file).map(|placed| placed.lsn).filter(|lsn| *lsn > Lsn::ZERO)
    }

    /// Whether the file of a document has come to show it as of `lsn`.
    pub fn has_shown(&self, collection: Collection, id: &DocumentId, lsn: Lsn) -> bool {
        self.shows(&join(collection.dir(), &self.names(collection).file_name(id)), lsn)
    }

    /// Whether the file of a document shows it as it is, as far as the engine knows.
    pub fn shows(&self, file: &str, lsn: Lsn) -> bool {
        self.placed.get(file).is_some_and(|Placed { lsn: shown, .. }| *shown >= lsn)
    }
}

fn entry(file: &str, placed: &Placed) -> Entry {
    let Placed { hash, length, lsn, stat } = *placed;
    Entry { file: file.to_owned(), hash, length, lsn, stat }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contents_that_were_recorded_again_are_of_the_last_lsn_and_others_stay() {
        let (one, two) = (ContentHash(1), ContentHash(2));
        let mut recorded = Recorded::default();
        assert_eq!(recorded.get(one), None);
        recorded.insert(one, Lsn(3));
        recorded.insert(two, Lsn(4));
        recorded.insert(one, Lsn(2));
        assert_eq!((recorded.get(one), recorded.get(two)), (Some(Lsn(2)), Some(Lsn(4))));
        assert_eq!(recorded.iter().count(), 2);
        assert_eq!(recorded.get(ContentHash(3)), None);
    }
}
