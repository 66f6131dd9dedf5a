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

/// Versions of one document.
#[derive(Default)]
struct Versions {
    /// The file showed the document as of these LSNs; none if nothing tells.
    shown: Vec<Lsn>,
    /// The version that is the present one at this point of the replay.
    present: Option<(Lsn, Arc<str>)>,
    /// Oldest first.
    all: Vec<Arc<str>>,
}

impl Versions {
    /// The present version ends at `lsn`.
    fn end(&mut self, lsn: Lsn) {
        let Some((since, text)) = self.present.take() else { return };
        let was_shown = self.shown.iter().any(|shown| (since..lsn).contains(shown));
        if was_shown || self.shown.is_empty() {
            self.all.push(text);
        }
        let surplus = self.all.len().saturating_sub(VERSIONS_MAX);
        self.all.drain(..surplus);
    }

    fn begin(&mut self, table: &Table, (collection, id): &Key, lsn: Lsn) {
        let doc = table.get(*collection, id.as_str());
        self.present = doc.map(|doc| (lsn, doc.text().clone()));
    }
}

impl Plan {
    /// The versions that the files of documents are known to have shown, newest first; all versions that
    /// are left where nothing tells. From the previous snapshot on.
    pub(crate) fn history(
        &self,
        fs: &dyn Fs,
        wanted: impl IntoIterator<Item = (Key, String)>,
    ) -> Result<HashMap<Key, Vec<Arc<str>>>> {
        let mut all: HashMap<Key, Versions> = HashMap::new();
        let entries = self.index.iter().flat_map(|index| &index.mirror);
        let entries: HashMap<&str, Lsn> =
            entries.map(|entry| (entry.file.as_str(), entry.lsn)).collect();
        for (key, file) in wanted {
            let mentions = self.mentions.get(&file);
            let mut shown: Vec<Lsn> = mentions.map(|m| m.shown.clone()).unwrap_or_default();
            shown.extend(entries.get(file.as_str()));
            all.insert(key, Versions { shown, ..Versions::default() });
        }
        if all.is_empty() {
            return Ok(HashMap::new());
        }
        let previous = self.previous(fs);
        let (mut table, from) =
            if previous.is_empty() || previous.last_changed() > self.recovery.base_lsn {
                (self.base.clone(), self.recovery.base_lsn)
            } else {
                let from = previous.last_changed();
                (previous, from)
            };
        for (key, versions) in &mut all {
            // When it was made so is not known: the snapshot's documents were shown at the latest by it.
            versions.begin(&table, key, Lsn::ZERO);
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
        let newest_first = |(key, mut versions): (Key, Versions)| {
            versions.end(Lsn::MAX);
            versions.all.reverse();
            (key, versions.all)
        };
        Ok(all.into_iter().map(newest_first).collect())
    }
}
