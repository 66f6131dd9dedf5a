//! Earlier versions of documents: what their files showed, as far as snapshots and log still tell. The
//! base of an edit is one of them.

use std::collections::HashMap;
use std::sync::Arc;

use crate::base::{DocumentId, Lsn, Result};
use crate::engine::recovery::Plan;
use crate::engine::recovery::replay::decode;
use crate::files::names::WAL;
use crate::fs::Fs;
use crate::state::{Collection, Table};

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
    /// The version that is the present one at this point of the replay, and since when.
    present: Option<(Lsn, Arc<str>)>,
    /// Whether it was shown, whatever `shown` says.
    is_shown: bool,
    /// With the LSN of each; oldest first.
    all: Vec<(Lsn, Arc<str>)>,
}

impl Versions {
    /// The present version ends at `lsn`.
    fn end(&mut self, lsn: Lsn) {
        let Some((since, text)) = self.present.take() else { return };
        let was_shown = std::mem::take(&mut self.is_shown)
            || self.shown.iter().any(|shown| (since..lsn).contains(shown));
        if was_shown || self.is_untold {
            self.all.push((since, text));
        }
        let surplus = self.all.len().saturating_sub(VERSIONS_MAX);
        self.all.drain(..surplus);
    }

    fn begin(&mut self, table: &Table, (collection, id): &Key, lsn: Lsn) {
        let doc = table.get(*collection, id.as_str());
        self.present = doc.map(|doc| (lsn, doc.text().clone()));
    }

    /// Newest first, at the end of the replay.
    fn into_texts(mut self) -> Vec<Arc<str>> {
        self.end(Lsn::MAX);
        // A record comes before the change of the file, which may not have been made.
        if let Some(last) = self.last.filter(|last| *last > Lsn::ZERO) {
            self.all.retain(|(since, _)| *since <= last);
        }
        self.all.reverse();
        self.all.into_iter().map(|(_, text)| text).collect()
    }
}

impl Plan {
    /// The earliest state from which the log leads to the present one.
    fn earliest(&self, fs: &dyn Fs) -> (Table, Lsn) {
        let previous = self.previous(fs);
        let from = previous.last_changed();
        if !previous.is_empty() && from <= self.recovery.base_lsn {
            (previous, from)
        } else if self.is_sound && self.scan.first_base == Lsn::ZERO {
            (Table::new(), Lsn::ZERO)
        } else {
            (self.base.clone(), self.recovery.base_lsn)
        }
    }

    /// What tells which versions of the wanted documents were shown.
    fn shown_of(&self, wanted: impl IntoIterator<Item = Wanted>) -> HashMap<Key, Versions> {
        let entries = self.index.iter().flat_map(|index| &index.mirror);
        let entries: HashMap<&str, Lsn> =
            entries.map(|entry| (entry.file.as_str(), entry.lsn)).collect();
        // Every change of a file was recorded before it was made.
        let tells_all =
            self.is_sound && (self.index.is_some() || self.scan.first_base == Lsn::ZERO);
        let of = |Wanted { key, file, last }: Wanted| {
            let Some(file) = file else {
                return (key, Versions { is_untold: true, ..Versions::default() });
            };
            let entry = entries.get(file.as_str()).copied();
            let mentions = self.mentions.get(&file);
            let shown: Vec<Lsn> =
                mentions.iter().flat_map(|m| &m.shown).copied().chain(entry).collect();
            let is_untold = shown.is_empty() && !tells_all;
            // After a clean stop the index has it.
            let last = last.or(entry.filter(|_| self.recovery.clean));
            (key, Versions { shown, is_untold, entry, last, ..Versions::default() })
        };
        wanted.into_iter().map(of).collect()
    }

    /// The versions that the files of documents are known to have shown, newest first; all versions that
    /// are left where nothing tells. From the previous snapshot on.
    pub(crate) fn history(
        &self,
        fs: &dyn Fs,
        wanted: impl IntoIterator<Item = Wanted>,
    ) -> Result<HashMap<Key, Vec<Arc<str>>>> {
        let mut all = self.shown_of(wanted);
        if all.is_empty() {
            return Ok(HashMap::new());
        }
        let (mut table, from) = self.earliest(fs);
        for (key, versions) in &mut all {
            // When it was made so is not known. The checkpoint of the snapshot showed it, unless its file is
            // known to be behind since before.
            let entry = versions.entry.filter(|entry| *entry > Lsn::ZERO);
            let is_behind = entry.is_some_and(|entry| entry < from);
            versions.begin(&table, key, if is_behind { from } else { Lsn::ZERO });
            versions.is_shown = !is_behind && (entry.is_some() || self.index.is_none());
        }
        self.scan.replay(fs, WAL, from, &mut |replayed| {
            for transaction in replayed.records().chunk_by(|record, _| record.continues()) {
                let is_new = transaction.last().is_some_and(|record| record.lsn > from);
                if !is_new {
                    continue;
                }
                let changes = decode(fs, transaction, true)?;
                let wanted = |(_, op): &&(Lsn, crate::state::Op)| {
                    op.target().is_some_and(|(of, id)| all.contains_key(&(of, id.clone())))
                };
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
                        versions.begin(&table, &key, last);
                    }
                }
            }
            Ok(())
        })?;
        Ok(all.into_iter().map(|(key, versions)| (key, versions.into_texts())).collect())
    }
}
