//! Judging the mirror at opening. Reads only: what is to be done is left pending.
//!
//! Of a document's file:
//!
//! | contents | after a clean stop | after an unclean stop |
//! |---|---|---|
//! | as the document is now, but for white space | in place | in place |
//! | other bytes under the recorded `stat` | quarantined, written anew, `corrupt` | the same |
//! | an earlier version that the engine wrote | a person put it back: an edit | written anew |
//! | none, though it was there durably | an edit, if that can be believed | the same |
//! | none | written anew, `missing` | written anew |
//! | empty, or all zero | held, `unreadable` | written anew, `torn` |
//! | half on the medium | held, `unreadable` | quarantined, written anew, `torn` |
//! | another document with its id | an edit | an edit |
//! | no document, another id, or not to be read | held, `unreadable` | the same |
//! | a link, directory, FIFO, device | left until it is gone, `unreadable` | the same |
//!
//! Edits are to be taken in ([`Mirror::take_edits`]); *held* files stay as they are until they change. Of any
//! other file in the directories: a version that the engine wrote there, whole or half on the medium, is
//! removed after an unclean stop; editors' files are ignored; a document that has no file of its own is an
//! edit; the rest is people's, left for good.

use std::collections::{HashMap, HashSet};

use super::dir::{deletions_max, editor_files, has_editor_file, is_json, list};
use super::judge::{Contents, Judge, Stop};
use super::{Edit, Known, Mirror, Now, Placed, PutBack, Stranger, Target, Theirs};
use crate::base::{DocumentId, Lsn, Problem, ProblemKind, Result};
use crate::files::names::{self, WAL};
use crate::files::stat;
use crate::fs::{Entry, Fs, Kind, Stat, join};
use crate::state::{Collection, Table};

/// What is to be told of a document's file, what the engine is taken to have put there, and whether it is
/// to be written anew.
type Decision = (Option<(ProblemKind, String)>, Option<Placed>, bool);

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
    /// Compares the mirror with `table`, the recovered state, and reports what is not the engine's
    /// own doing. Changes nothing on disk: what must be written or removed is in the next plan.
    /// `unclean` says that the store was not closed by a completed shutdown.
    pub fn open(
        fs: &dyn Fs,
        table: &Table,
        known: &Known<'_>,
        unclean: bool,
    ) -> Result<(Mirror, Vec<Problem>)> {
        let stop = if unclean { Stop::Unclean } else { Stop::Clean };
        // Before any file is read.
        let past_ns = stat(fs, WAL)?.map_or(i64::MIN, |wal| wal.modified_ns);
        let (problems, strangers, former, former_bytes) = (Vec::new(), 0, Vec::new(), 0);
        let mut judge =
            Judge { fs, table, known, stop, past_ns, problems, strangers, former, former_bytes };
        let mut mirror = Mirror { past_ns, ..Mirror::default() };
        for collection in Collection::ALL {
            mirror.judge_collection(collection, &mut judge)?;
        }
        mirror.judge_leftovers(&mut judge)?;
        mirror.former = judge.former;
        Ok((mirror, judge.problems))
    }

    fn judge_collection(&mut self, collection: Collection, judge: &mut Judge<'_>) -> Result<()> {
        let table = judge.table;
        let names = self.names_mut(collection);
        for (id, _) in table.iter(collection) {
            names.insert(id);
        }
        let mut expected: HashMap<_, _> =
            table.iter(collection).map(|(id, doc)| (names.file_name(id), (id, doc))).collect();
        let documents = expected.len();
        let dir = collection.dir();
        let entries = list(judge.fs, dir)?;
        let of: Vec<_> = entries.iter().map(|entry| expected.remove(&entry.name)).collect();
        let mut stats = judge.stats(dir, entries.iter().zip(&of)).into_iter();
        let mut orphans = Vec::new();
        for (entry, of) in entries.iter().zip(of) {
            let Some((id, doc)) = of else {
                orphans.push(entry);
                continue;
            };
            let file = join(dir, &entry.name);
            let stat = if entry.kind == Kind::File { stats.next().flatten() } else { None };
            let seen = (entry.kind, stat);
            let contents = judge.of_document((collection, id), doc, &file, seen);
            self.decide(file, (collection, id), contents, stat, judge);
        }
        let missing = expected.values().map(|(id, _)| (*id).clone()).collect();
        let names = orphans.iter().map(|entry| entry.name.as_str()).collect();
        let mut claims = Claims { missing, taken: HashSet::new(), names };
        orphans.retain(|entry| !self.judge_orphan(collection, entry, &mut claims, judge));
        claims.names.clear();
        for entry in orphans {
            self.judge_orphan(collection, entry, &mut claims, judge);
        }
        let taken = claims.taken;
        judge.report_strangers(dir);
        let all_missing = documents > 0 && expected.len() == documents;
        let too_many = all_missing || expected.len() > deletions_max(documents);
        if too_many && judge.stop == Stop::Clean {
            let detail = if all_missing {
                "all its files are gone; they are restored".to_owned()
            } else {
                format!(
                    "{} of its {documents} files are gone, too many to believe; they are restored",
                    expected.len()
                )
            };
            judge.report(ProblemKind::Missing, dir, detail);
        }
        let editors = editor_files(&entries);
        for (name, (id, doc)) in expected {
            let file = join(dir, &name);
            if taken.contains(id) || too_many {
                self.pending.insert(file, Target::Document(collection, id.clone()));
            } else {
                let has_editor = has_editor_file(&editors, &name);
                self.judge_missing(file, (collection, id), doc, has_editor, judge);
            }
        }
        Ok(())
    }

    /// The table of a document's file.
    pub(super) fn decide(
        &mut self,
        file: String,
        (collection, id): (Collection, &DocumentId),
        contents: Contents,
        stat: Option<Stat>,
        judge: &mut Judge<'_>,
    ) {
        use ProblemKind::{Corrupt, Missing, Torn, Unreadable};
        let stop = match contents {
            // Whoever could not read it then has left it so since.
            Contents::Torn(_) | Contents::Blank(_) => judge.stop_before(&file),
            _ => judge.stop_of(&file),
        };
        let (finding, placed, is_due) = match (contents, stop) {
            (Contents::Current(found), _) => (None, Some(found), false),
            (Contents::Earlier(found), Stop::Unclean) => (None, Some(found), true),
            (Contents::Blank(found), Stop::Unclean) => (
                Some((Torn, "nothing of it was on the medium; it is restored".into())),
                Some(found),
                true,
            ),
            (Contents::Torn(found), Stop::Unclean) => {
                self.damaged.insert(file.clone(), found.hash);
                let detail = "half of it was on the medium; it goes to quarantine/ and is restored";
                (Some((Torn, detail.into())), Some(found), true)
            }
            (Contents::Rotten(found), _) => {
                self.damaged.insert(file.clone(), found.hash);
                self.rotten.push(file.clone());
                let detail = "it is not what was written, though nobody wrote to it since; it goes to \
                              quarantine/ and is restored";
                (Some((Corrupt, detail.into())), Some(found), true)
            }
            (Contents::NoFile, _) => {
                // To be written as soon as the place is free.
                self.blocked.insert(file.clone());
                let detail = "it is no regular file; it is left alone";
                (Some((Unreadable, detail.into())), None, true)
            }
            (Contents::Missing, Stop::Unclean) => (None, None, true),
            (Contents::Missing, Stop::Clean) => {
                (Some((Missing, "it is gone; it is restored".into())), None, true)
            }
            (contents, stop) => {
                self.decide_of_person(&file, (collection, id), contents, (stat, stop), judge)
            }
        };
        if let Some((kind, detail)) = finding {
            judge.report(kind, &file, detail);
        }
        if is_due {
            self.pending.insert(file.clone(), Target::Document(collection, id.clone()));
        }
        if let Some(placed) = placed {
            self.placed.insert(file, placed);
        }
    }

    /// The rows of contents that the engine did not leave there.
    fn decide_of_person(
        &mut self,
        file: &str,
        (collection, id): (Collection, &DocumentId),
        contents: Contents,
        (stat, stop): (Option<Stat>, Stop),
        judge: &Judge<'_>,
    ) -> Decision {
        use ProblemKind::{Edited, Unreadable};
        let left_in = judge.left_in(file);
        // A held file is written anew when it is mended by putting back what was there.
        let doc = judge.table.get(collection, id.as_str());
        let is_behind = doc.is_some_and(|doc| doc.lsn() > left_in.lsn);
        match (contents, stop) {
            (Contents::Other(_, theirs), _) if judge.is_in_doubt(file) => {
                self.doubted.insert(file.to_owned(), theirs.hash);
                let detail = "nobody can tell whether somebody changed it, since the store is damaged; it goes \
                              to conflicts/ and is written anew";
                let Theirs { hash, length, .. } = *theirs;
                let found = Placed { hash, length, lsn: Lsn::ZERO, stat: None };
                (Some((Edited, detail.into())), Some(found), true)
            }
            (Contents::Other(inside, theirs), _) if inside == *id => {
                let detail = if theirs.put_back == PutBack::Yes {
                    "somebody put an earlier version back; it is taken in"
                } else {
                    "somebody changed it; that is taken in"
                };
                let (id, file, now) = (id.clone(), file.to_owned(), Now::Text(*theirs));
                self.edits.push(Edit { collection, id, file, now });
                (Some((Edited, detail.into())), Some(left_in), false)
            }
            (Contents::Other(inside, _), _) => {
                self.held.insert(file.to_owned(), stat);
                let detail = format!(
                    "the id in it is {:?}; it is left, and its document stays; restore the id, or give the \
                     file another name",
                    inside.as_str()
                );
                (Some((Unreadable, detail)), Some(left_in), is_behind)
            }
            (Contents::Earlier(_) | Contents::Torn(_) | Contents::Blank(_), Stop::Clean) => {
                self.held.insert(file.to_owned(), stat);
                let detail = "it is empty or cut short; it is left, and the last good version stays in force";
                (Some((Unreadable, detail.into())), Some(left_in), is_behind)
            }
            (Contents::Invalid(why), _) => {
                self.held.insert(file.to_owned(), stat);
                let detail = format!(
                    "{why}; it is left as it is until it is mended, and the last good version stays in force"
                );
                (Some((Unreadable, detail)), Some(left_in), is_behind)
            }
            (Contents::Unreadable(why), stop) => {
                self.held.insert(file.to_owned(), None);
                let detail = format!("{why}; the last good version stays in force");
                let is_unclean = stop == Stop::Unclean;
                if is_unclean {
                    // When it can be read, it is known for the engine's if it is.
                    let known = judge.all_known(collection, id, file);
                    self.attempts.insert(file.to_owned(), known);
                }
                let hash = if is_unclean { Placed::UNKNOWN.hash } else { left_in.hash };
                let left_in = Placed { hash, ..left_in };
                (Some((Unreadable, detail)), Some(left_in), is_unclean)
            }
            // All others are the engine's own.
            _ => (None, None, false),
        }
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
        self.placed.insert(file, found);
    }
}
