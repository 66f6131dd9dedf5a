//! Judging, at an opening, the files that belong to no document. Reads only.
//!
//! A version that the engine wrote there, whole or half on the medium, is removed after an unclean stop;
//! editors' files are ignored; a document that has no file of its own is an edit; the rest is people's,
//! left for good.

use std::collections::HashSet;
use std::sync::Arc;

use super::contents::{id_inside, id_of_plain};
use super::dir::is_json;
use super::judge::{BYTES_MAX, Contents, Judge, Stop, placed};
use super::{Edit, Known, Mirror, Now, Placed, Stranger, Target, Theirs};
use crate::base::{DocumentId, Lsn, ProblemKind};
use crate::files::{names, stat};
use crate::fs::{Entry, join};
use crate::state::{Collection, Doc};

/// Which of the files that belong to no document count for one.
struct Claims<'a> {
    /// The documents without a file.
    missing: HashSet<DocumentId>,
    /// The ids to which one is counted.
    taken: HashSet<DocumentId>,
    /// The names of all of them; none when those that had to wait are judged.
    names: HashSet<&'a str>,
}

impl Claims<'_> {
    /// Whether there may be a file of this id under a name that the engine gives to it, which would count.
    fn may_have_better(&self, id: &DocumentId, name: &str) -> bool {
        let forms = names::forms(id);
        let is_own = forms.iter().any(|form| form == name);
        !is_own && forms.iter().any(|form| self.names.contains(form.as_str()))
    }
}

impl Mirror {
    /// The files that belong to no document; gives the documents to which one is counted.
    pub(super) fn judge_orphans(
        &mut self,
        collection: Collection,
        mut orphans: Vec<&Entry>,
        missing: &[(String, DocumentId, &Arc<Doc>)],
        judge: &mut Judge<'_>,
    ) -> HashSet<DocumentId> {
        if orphans.is_empty() {
            return HashSet::new();
        }
        let missing = missing.iter().map(|(_, id, _)| id.clone()).collect();
        let names = orphans.iter().map(|entry| entry.name.as_str()).collect();
        let mut claims = Claims { missing, taken: HashSet::new(), names };
        orphans.retain(|entry| !self.judge_orphan(collection, entry, &mut claims, judge));
        claims.names.clear();
        for entry in orphans {
            self.judge_orphan(collection, entry, &mut claims, judge);
        }
        judge.report_strangers(collection.dir());
        claims.taken
    }

    /// A file that belongs to no document. Says `false` of one that is to be judged again when the others are.
    fn judge_orphan(
        &mut self,
        collection: Collection,
        entry: &Entry,
        claims: &mut Claims<'_>,
        judge: &mut Judge<'_>,
    ) -> bool {
        let file = join(collection.dir(), &entry.name);
        if self.is_leftover(collection, entry, &file, judge) || names::is_editor_file(&entry.name) {
            return true;
        }
        let detail = "it belongs to no document; somebody made it, and it is left alone";
        if !is_json(&entry.name) {
            judge.report_stranger(ProblemKind::Edited, &file, detail);
            return true;
        }
        let stat = stat(judge.fs, &file).ok().flatten();
        let mut stranger = Stranger { stat, id: None };
        match judge.of_stranger(collection, &file, (entry.kind, stat)) {
            Contents::Earlier(found) => {
                self.remove_later(file, found);
                return true;
            }
            Contents::Rotten(found) => {
                self.remove_rot(file, found, judge);
                return true;
            }
            Contents::Other(_, theirs) if judge.is_in_doubt(&file) => {
                self.remove_doubted(file, &theirs, judge);
                return true;
            }
            Contents::Other(id, _) if claims.may_have_better(&id, &entry.name) => return false,
            Contents::Other(id, theirs) => {
                let is_new = judge.table.get(collection, id.as_str()).is_none();
                if (is_new || claims.missing.contains(&id)) && claims.taken.insert(id.clone()) {
                    judge.report(ProblemKind::Edited, &file, "somebody made it; it is taken in");
                    self.edits.push(Edit { collection, id, file, now: Now::Text(*theirs) });
                    return true;
                }
                let detail = format!(
                    "the id in it is that of {collection} {:?}, which has a file; it is left alone",
                    id.as_str()
                );
                judge.report_stranger(ProblemKind::Edited, &file, detail);
                stranger.id = Some(id);
            }
            Contents::Invalid(why) | Contents::Unreadable(why) => {
                let detail = format!("{why}; it is left as it is until it is mended");
                judge.report_stranger(ProblemKind::Unreadable, &file, detail);
            }
            Contents::Undecided => {
                self.remove_when_known(file, judge);
                return true;
            }
            Contents::NoFile => {
                let detail = "it is no regular file; it is left alone";
                judge.report_stranger(ProblemKind::Unreadable, &file, detail);
            }
            _ => judge.report_stranger(ProblemKind::Edited, &file, detail),
        }
        self.strangers.insert(file, stranger);
        true
    }

    /// Whether a file is an earlier version of the engine's, whole or not, under a name that it gave; then
    /// its removal is left to the next pass.
    fn is_leftover(
        &mut self,
        collection: Collection,
        entry: &Entry,
        file: &str,
        judge: &mut Judge<'_>,
    ) -> bool {
        let contents = judge.of_orphan(collection, entry, file);
        let is_torn = matches!(contents, Some(Contents::Torn(_)));
        let found = match contents {
            Some(Contents::Earlier(found)) => found,
            Some(Contents::Torn(found) | Contents::Blank(found)) => {
                if is_torn {
                    self.damaged.insert(file.to_owned(), found.hash);
                }
                let detail = "half of a file that is no longer wanted; it is removed";
                judge.report(ProblemKind::Torn, file, detail);
                found
            }
            _ => return false,
        };
        self.remove_later(file.to_owned(), found);
        true
    }

    fn remove_rot(&mut self, file: String, found: Placed, judge: &mut Judge<'_>) {
        self.damaged.insert(file.clone(), found.hash);
        self.rotten.push(file.clone());
        let detail = "it is not what was written, though nobody wrote to it since, and no longer wanted; it \
                      goes to quarantine/";
        judge.report(ProblemKind::Corrupt, &file, detail);
        self.remove_later(file, found);
    }

    /// Rot that is to go, or somebody's.
    fn remove_when_known(&mut self, file: String, judge: &mut Judge<'_>) {
        let (kind, detail) = self.leave_undecided(&file);
        judge.report(kind, &file, detail);
        let left_in = judge.recorded(&file).unwrap_or(Placed::UNKNOWN);
        self.remove_later(file, left_in);
    }

    fn remove_doubted(&mut self, file: String, theirs: &Theirs, judge: &mut Judge<'_>) {
        self.doubted.insert(file.clone(), theirs.hash);
        let detail = "it belongs to no document, and nobody can tell whether somebody made it, since the store \
                      is damaged; it goes to conflicts/";
        judge.report(ProblemKind::Edited, &file, detail);
        let Theirs { hash, length, .. } = *theirs;
        self.remove_later(file, Placed { hash, length, lsn: Lsn::ZERO, stat: None });
    }

    /// Leaves the removal of a file that holds this to the next pass.
    fn remove_later(&mut self, file: String, found: Placed) {
        self.strangers.remove(&file);
        self.pending.insert(file.clone(), Target::Nothing);
        self.placed.insert(file.into(), found);
    }
}

impl Judge<'_> {
    /// `None` if nothing tells that the engine made it. It is read only where that would matter, and
    /// where the engine may have made it, by its name.
    fn of_orphan(&mut self, collection: Collection, entry: &Entry, file: &str) -> Option<Contents> {
        if !names::is_document_file(&entry.name) {
            return None;
        }
        if self.stop == Stop::Clean {
            // What could not be removed before the stop. Any other belongs to somebody.
            let left = self.recorded(file).filter(|left| left.lsn == Lsn::ZERO)?;
            let bytes = self.read(file, entry.kind, BYTES_MAX).ok()?;
            return (placed(&bytes).hash == left.hash).then_some(Contents::Earlier(left));
        }
        let Known { versions, entries, .. } = self.known;
        let is_recorded = versions.contains_key(file) || entries.contains_key(file);
        let has_form = |id: &DocumentId| names::forms(id).contains(&entry.name);
        let by_name = id_of_plain(&entry.name).filter(has_form);
        if !is_recorded
            && let Some(id) = by_name.as_ref()
            && (self.known.earlier)(collection, id).is_empty()
        {
            return None;
        }
        let bytes = self.read(file, entry.kind, BYTES_MAX).ok()?;
        // A copy that a person made under another name is theirs, though it equals ours.
        let id = id_inside(&bytes).or(by_name).filter(has_form);
        let renditions = id.as_ref().map(|id| self.renditions(collection, id)).unwrap_or_default();
        if !is_recorded && renditions.is_empty() {
            return None;
        }
        let contents = self.engines_own(file, &bytes, &renditions);
        if let (Some(Contents::Earlier(_)), Some(id)) = (&contents, &id) {
            self.remember((collection, id), &bytes);
        }
        contents
    }
}
