//! Files that are gone from the mirror: their documents are deleted, or they are written anew.
//!
//! A document is deleted only if its file was seen in place and showed it as it is, no editor is at it, and not
//! too many are gone at once; while the store is open also only if the file has been gone for a second and no other
//! holds its id. It reads only; what is to be written anew is left pending.

use std::collections::{BTreeMap, HashSet};

use super::dir::{deletions_max, editor_files, has_editor_file};
use super::judge::{Contents, Judge};
use super::look::{BELIEVED_AFTER, Look, Seen};
use super::{Edit, Mirror, Now, Placed, Target};
use crate::base::{DocumentId, ProblemKind};
use crate::fs::{Entry, Stat, join};
use crate::state::{Collection, Doc, Table};

impl Mirror {
    /// A document's file that an opening does not find, one of few.
    pub(super) fn judge_missing(
        &mut self,
        file: String,
        (collection, id): (Collection, &DocumentId),
        doc: &Doc,
        has_editor: bool,
        judge: &mut Judge<'_>,
    ) {
        let was_removed = judge.was_removed(&file, doc);
        // Whoever replaces a file may have put it back since it was looked for; a look takes that in.
        let is_back = || matches!(judge.fs.stat(&file), Ok(Some(_)));
        if was_removed && judge.known.is_sound && !has_editor && !is_back() {
            let detail = "somebody removed it; its document is deleted";
            judge.report(ProblemKind::Edited, &file, detail);
            // If that cannot be taken in yet, a look finds it gone again.
            let placed = Placed { lsn: doc.lsn(), ..judge.left_in(&file) };
            self.placed.insert(file.as_str().into(), placed);
            self.edits.push(Edit { collection, id: id.clone(), file, now: Now::Gone });
            return;
        }
        if was_removed && !judge.known.is_sound {
            // In a damaged store it may be lost, and the next opening must not think otherwise.
            self.doubted_removals.push(file.clone());
        }
        self.decide(file, (collection, id), Contents::Missing, None, judge);
    }

    /// Tells which files of a directory were removed: their documents are deleted, or they are restored.
    pub(super) fn look_for_gone(
        &mut self,
        collection: Collection,
        found: &BTreeMap<&str, Stat>,
        entries: &[Entry],
        look: &Look<'_>,
        ids: &HashSet<DocumentId>,
        seen: &mut Seen,
    ) {
        let dir = collection.dir();
        let (gone, documents) = self.gone(collection, look.table, found, ids);
        let all = documents > 0 && gone.len() == documents;
        let too_many = all || gone.len() > deletions_max(documents);
        let editors = editor_files(entries);
        // Those that go together are judged together, when no more have followed for a while.
        let mut are_young = false;
        for (file, _) in gone.iter().filter(|_| look.is_patient) {
            are_young |= self.age(file, None, look) < BELIEVED_AFTER;
        }
        let mut restored = 0_usize;
        for (file, id) in gone {
            let target = Target::Document(collection, id.clone());
            if self.held.remove(&file).is_some() {
                let detail = "what could not be read is gone; it is written anew";
                seen.tell(ProblemKind::Missing, &file, detail);
                self.write_anew(file, target);
                continue;
            }
            if are_young {
                continue;
            }
            self.unsettled.remove(&file);
            if too_many || has_editor_file(&editors, file.get(dir.len() + 1..).unwrap_or(&file)) {
                restored += 1;
                self.write_anew(file, target);
                continue;
            }
            seen.edits.push(Edit { collection, id, file, now: Now::Gone });
        }
        self.forget_gone(collection, found);
        if restored > 0 {
            let detail = format!(
                "{restored} of the files of {documents} documents are gone, which is too many to believe, or \
                 editors are at them; they are restored; to delete documents, use `walden delete`"
            );
            seen.tell(ProblemKind::Missing, dir, detail);
        }
    }

    /// Whether a file was found to be gone less than a second ago, so that it need not be looked for among
    /// all others again.
    pub(super) fn waits_for_its_return(&self, file: &str, look: &Look<'_>) -> bool {
        let since = self.unsettled.get(file).filter(|(stat, _)| stat.is_none());
        since.is_some_and(|(_, since)| look.now.saturating_sub(*since) < BELIEVED_AFTER)
    }

    /// The files of documents that are gone, and how many documents have had one.
    fn gone(
        &self,
        collection: Collection,
        table: &Table,
        found: &BTreeMap<&str, Stat>,
        ids: &HashSet<DocumentId>,
    ) -> (Vec<(String, DocumentId)>, usize) {
        let (mut gone, mut documents) = (Vec::new(), 0);
        for (id, _) in table.iter(collection) {
            let name = self.names(collection).file_name(id);
            let file = join(collection.dir(), &name);
            if !self.is_expected(&file) {
                continue;
            }
            documents += 1;
            if !found.contains_key(name.as_str()) && !ids.contains(id) {
                gone.push((file, id.clone()));
            }
        }
        (gone, documents)
    }

    /// Lets files that belonged to nobody be looked at again whose id has lost its own file: they count now.
    pub(super) fn recall_strangers(
        &mut self,
        collection: Collection,
        table: &Table,
        found: &BTreeMap<&str, Stat>,
    ) {
        let mut recalled = Vec::new();
        for (file, stranger) in &self.strangers {
            let Some(id) = stranger.id.as_ref().filter(|_| is_in(collection, file)) else {
                continue;
            };
            let name = self.names(collection).file_name(id);
            let has_lost = table.get(collection, id.as_str()).is_some()
                && self.is_expected(&join(collection.dir(), &name))
                && !found.contains_key(name.as_str());
            if has_lost {
                recalled.push(file.clone());
            }
        }
        for file in recalled {
            self.strangers.remove(&file);
            self.held.remove(&file);
        }
    }

    /// Forgets what was known of a file that is not the engine's and is gone.
    pub(super) fn forget(&mut self, file: &str) {
        self.held.remove(file);
        self.noticed.remove(file);
        self.unsettled.remove(file);
        self.strangers.remove(file);
    }

    /// The same of all of a directory that are not `found`; of documents' files, only that they are gone
    /// stays noted.
    fn forget_gone(&mut self, collection: Collection, found: &BTreeMap<&str, Stat>) {
        let prefix = join(collection.dir(), "");
        let is_there = |file: &String| {
            let name = file.strip_prefix(&prefix);
            name.is_none_or(|name| found.contains_key(name))
        };
        self.held.retain(|file, _| is_there(file));
        self.strangers.retain(|file, _| is_there(file));
        self.noticed.retain(is_there);
        self.unsettled.retain(|file, (stat, _)| stat.is_none() || is_there(file));
    }
}

fn is_in(collection: Collection, file: &str) -> bool {
    super::dir_of(file) == collection.dir()
}
