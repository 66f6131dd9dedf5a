//! Earlier versions of documents: what their files showed, as far as snapshots and log still tell. The
//! base of an edit is one of them.

use std::collections::HashMap;
use std::sync::Arc;

use crate::base::{DocumentId, Lsn, Result};
use crate::engine::recovery::replay::decode;
use crate::engine::recovery::{Plan, table_of};
use crate::files::backups;
use crate::files::names::WAL;
use crate::fs::Fs;
use crate::state::{Collection, Op, Table};

/// A document.
pub(crate) type Key = (Collection, DocumentId);

/// So many versions of one document are remembered where nothing tells which of them its file showed.
const VERSIONS_MAX: usize = 64;

/// A document whose earlier versions are wanted.
pub(crate) struct Wanted {
    pub(crate) key: Key,
    /// Of interest is what this file showed; `None`: all versions.
    pub(crate) file: Option<String>,
    /// The LSN of the last version that it showed, if that is known.
    pub(crate) last: Option<Lsn>,
}

/// What the file of a document showed earlier.
#[derive(Clone, Debug, Default)]
pub(crate) struct Former {
    /// Newest first.
    pub(crate) versions: Vec<Arc<str>>,
    /// Whether it may have shown others.
    pub(crate) is_doubtful: bool,
}

/// Versions of one document.
#[derive(Default)]
struct Versions {
    /// The file showed the document as of these LSNs.
    shown: Vec<Lsn>,
    /// Whether nothing tells what it showed: then it may have been any version.
    is_untold: bool,
    /// What the index says of it.
    entry: Option<Lsn>,
    /// It showed no later version, if that is known.
    last: Option<Lsn>,
    /// It never showed any: somebody has its place.
    is_theirs: bool,
    /// The version that is the present one at this point of the replay, and since when.
    present: Option<(Lsn, Arc<str>)>,
    /// Whether it was shown, whatever `shown` says.
    is_shown: bool,
    /// With the LSN of each; oldest first. Those without one are what somebody left in the file.
    all: Vec<(Option<Lsn>, Arc<str>)>,
}

impl Versions {
    /// The present version ends at `lsn`.
    fn end(&mut self, lsn: Lsn) {
        // Where there was no document at first, none was shown; the one that comes is none of before.
        let was_shown = std::mem::take(&mut self.is_shown);
        let Some((since, text)) = self.present.take() else { return };
        let was_shown = was_shown || self.shown.iter().any(|shown| (since..lsn).contains(shown));
        if was_shown || self.is_untold {
            self.all.push((Some(since), text));
        }
        let surplus = self.all.len().saturating_sub(VERSIONS_MAX);
        self.all.drain(..surplus);
    }

    fn begin(&mut self, table: &Table, (collection, id): &Key, lsn: Lsn) {
        let doc = table.get(*collection, id.as_str());
        self.present = doc.map(|doc| (lsn, doc.text().clone()));
    }

    /// The present version came to be at `lsn`.
    fn date(&mut self, lsn: Lsn) {
        if let Some((since, _)) = &mut self.present {
            (*since, self.is_shown) = (lsn, false);
        }
    }

    /// Newest first, at the end of the replay.
    fn into_former(mut self) -> Former {
        self.end(Lsn::MAX);
        // A record comes before the change of the file, which may not have been made.
        if let Some(last) = self.last.filter(|last| *last > Lsn::ZERO) {
            self.all.retain(|(since, _)| since.is_none_or(|since| since <= last));
        }
        if self.is_theirs {
            self.all.retain(|(since, _)| since.is_none());
        }
        let is_doubtful = self.entry == Some(Lsn::ZERO);
        let versions = self.all.into_iter().rev().map(|(_, text)| text).collect();
        Former { versions, is_doubtful }
    }
}

impl Plan {
    /// The earliest state from which the log leads to the present one.
    fn earliest(&self, fs: &dyn Fs) -> Result<(Table, Lsn)> {
        let first = self.scan.first_base;
        if self.is_sound && first == Lsn::ZERO {
            return Ok((Table::new(), Lsn::ZERO));
        }
        let backup = match self.store {
            Some(store) => backups::oldest_intact(fs, store, first)?,
            None => None,
        };
        let backup = backup.map(table_of).filter(|table| !table.is_empty());
        let earlier = backup.filter(|table| table.last_changed() <= self.recovery.base_lsn);
        Ok(match earlier {
            Some(table) => {
                let from = table.last_changed();
                (table, from)
            }
            None => (self.base.clone(), self.recovery.base_lsn),
        })
    }

    /// What tells which versions of the wanted documents were shown.
    fn shown_of(&self, wanted: impl IntoIterator<Item = Wanted>) -> HashMap<Key, Versions> {
        let entries = self.index.iter().flat_map(|index| &index.mirror);
        let entries: HashMap<&str, Lsn> =
            entries.map(|entry| (entry.file.as_str(), entry.lsn)).collect();
        // Every change of a file was recorded before it was made.
        let tells_all =
            self.is_sound && (self.index.is_some() || self.scan.first_base == Lsn::ZERO);
        let indexed = self.index.as_ref().map(|index| index.head.lsn);
        let is_current = indexed.is_some() && indexed == self.snapshot_lsn;
        let of = |Wanted { key, file, last }: Wanted| {
            let Some(file) = file else {
                return (key, Versions { is_untold: true, ..Versions::default() });
            };
            let entry = entries.get(file.as_str()).copied();
            let mentions = self.mentions.get(&file);
            let shown = mentions.iter().flat_map(|m| &m.shown).copied().chain(entry);
            let shown: Vec<Lsn> = shown.filter(|lsn| *lsn > Lsn::ZERO).collect();
            let is_untold = shown.is_empty() && !tells_all;
            // After a clean stop the index has it.
            let is_told = last.is_none() && self.recovery.clean && is_current;
            let is_present = self.shown().get(key.0, key.1.as_str()).is_some();
            let is_theirs = is_told && entry.is_none() && is_present;
            let last = last.or(entry.filter(|_| is_told));
            (key, Versions { shown, is_untold, entry, last, is_theirs, ..Versions::default() })
        };
        wanted.into_iter().map(of).collect()
    }

    /// The versions that the files of documents are known to have shown; all versions that are left where
    /// nothing tells. From the previous snapshot on.
    pub(crate) fn history(
        &self,
        fs: &dyn Fs,
        wanted: impl IntoIterator<Item = Wanted>,
    ) -> Result<HashMap<Key, Former>> {
        let mut all = self.shown_of(wanted);
        if all.is_empty() {
            return Ok(HashMap::new());
        }
        let (mut table, from) = self.earliest(fs)?;
        let indexed = self.index.as_ref().map_or(from, |index| index.head.lsn);
        for (key, versions) in &mut all {
            // When it was made so is not known yet. The checkpoint of the snapshot showed it, unless its file is
            // known to be behind since before: an index that is older than the snapshot does not tell.
            let entry = versions.entry.filter(|entry| *entry > Lsn::ZERO);
            // What had not changed since it was shown was shown still, however long ago that was.
            let docs = [&self.base, self.shown()].map(|table| table.get(key.0, key.1.as_str()));
            let is_same = |entry| docs.into_iter().flatten().any(|doc| doc.lsn() <= entry);
            let is_behind = entry.is_some_and(|entry| entry < from.min(indexed) && !is_same(entry));
            versions.begin(&table, key, if is_behind { from } else { Lsn::ZERO });
            versions.is_shown = !is_behind && (versions.entry.is_some() || self.index.is_none());
        }
        self.scan.replay(fs, WAL, from.min(indexed), &mut |replayed| {
            for transaction in replayed.records().chunk_by(|record, _| record.continues()) {
                let is_new = transaction.last().is_some_and(|record| record.lsn > from);
                let changes = decode(fs, transaction, true)?;
                if !is_new {
                    for (lsn, op) in changes.into_iter().filter(|(lsn, _)| *lsn > indexed) {
                        let key = op.target().map(|(of, id)| (of, id.clone()));
                        if let Some(versions) = key.and_then(|key| all.get_mut(&key)) {
                            versions.date(lsn);
                        }
                    }
                    continue;
                }
                let wanted = |(_, op): &&(Lsn, Op)| {
                    op.target().is_some_and(|(of, id)| all.contains_key(&(of, id.clone())))
                };
                let left = changes.iter().find_map(|(_, op)| match op {
                    Op::Edited { text, .. } => text.clone(),
                    _ => None,
                });
                let changes: Vec<_> = changes.iter().filter(wanted).cloned().collect();
                let Some((last, _)) = changes.last() else { continue };
                let last = *last;
                if table.apply(&changes).is_err() {
                    continue;
                }
                for (_, op) in &changes {
                    let Some((of, id)) = op.target() else { continue };
                    let key = (of, id.clone());
                    if let Some(versions) = all.get_mut(&key) {
                        versions.end(last);
                        versions.all.extend(left.clone().map(|text| (None, text)));
                        versions.begin(&table, &key, last);
                    }
                }
            }
            Ok(())
        })?;
        Ok(all.into_iter().map(|(key, versions)| (key, versions.into_former())).collect())
    }
}

#[cfg(test)]
#[path = "history_tests.rs"]
mod tests;
