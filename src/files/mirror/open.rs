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

use std::collections::HashSet;
use std::sync::Arc;

use super::dir::{deletions_max, editor_files, has_editor_file, list};
use super::judge::{Contents, Judge, Stop};
use super::listing::{Listed, Matched, past_ns, stats_of, to_be_written};
use super::{Edit, Known, Listing, Mirror, Now, Placed, PutBack, Target, Theirs};
use crate::base::{DocumentId, Lsn, Problem, ProblemKind, Result};
use crate::fs::{Entry, Fs, Kind, Stat, join};
use crate::state::{Collection, Doc, Table};

/// What is to be told of a document's file, what the engine is taken to have put there, and whether it is
/// to be written anew.
type Decision = (Option<(ProblemKind, String)>, Option<Placed>, bool);

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
        Self::open_listed(fs, table, known, unclean, None)
    }

    /// The same with a listing that was taken since the store was locked.
    pub fn open_listed(
        fs: &dyn Fs,
        table: &Table,
        known: &Known<'_>,
        unclean: bool,
        mut listing: Option<Listing>,
    ) -> Result<(Mirror, Vec<Problem>)> {
        let stop = if unclean { Stop::Unclean } else { Stop::Clean };
        // Before any file is read.
        let past_ns = match &listing {
            Some(listing) => listing.past_ns,
            None => past_ns(fs)?,
        };
        let (problems, strangers, former, former_bytes) = (Vec::new(), 0, Vec::new(), 0);
        let mut judge =
            Judge { fs, table, known, stop, past_ns, problems, strangers, former, former_bytes };
        let mut mirror = Mirror { past_ns, ..Mirror::default() };
        for collection in Collection::ALL {
            let listed = match &mut listing {
                Some(listing) => listing.dir(fs, collection)?,
                None => None,
            };
            mirror.judge_collection(collection, listed, &mut judge)?;
        }
        mirror.judge_leftovers(&mut judge)?;
        mirror.former = judge.former;
        Ok((mirror, judge.problems))
    }

    fn judge_collection(
        &mut self,
        collection: Collection,
        listed: Option<Listed>,
        judge: &mut Judge<'_>,
    ) -> Result<()> {
        let (table, dir) = (judge.table, collection.dir());
        let (entries, stats) = match listed {
            Some((entries, stats)) => (entries, Some(stats)),
            None => (list(judge.fs, dir)?, None),
        };
        let Matched { of, missing } =
            Matched::new(self.names_mut(collection), table, collection, &entries);
        let has_all_stats = stats.is_some();
        let stats = stats.unwrap_or_else(|| stats_of(judge.fs, dir, entries.iter().zip(&of)));
        let mut stats = stats.into_iter();
        let mut orphans = Vec::new();
        // Nearly all of them are as they were left.
        self.placed.reserve(entries.len());
        for (entry, of) in entries.iter().zip(of) {
            let is_listed = entry.kind == Kind::File && (has_all_stats || of.is_some());
            let stat = if is_listed { stats.next().flatten() } else { None };
            let Some((id, doc)) = of else {
                orphans.push(entry);
                continue;
            };
            let file = join(dir, &entry.name);
            let seen = (entry.kind, stat);
            let contents = judge.of_document((collection, &id), doc, &file, seen);
            if matches!(contents, Contents::Missing) {
                // It went since it was listed, perhaps to another name: a look finds out.
                let left_in = judge.left_in(&file);
                self.placed.insert(file.into(), left_in);
                continue;
            }
            self.decide(file, (collection, &id), contents, stat, judge);
        }
        let taken = self.judge_orphans(collection, orphans, &missing, judge);
        self.judge_all_missing(collection, &entries, missing, &taken, judge);
        Ok(())
    }

    /// The documents without a file: each by itself, unless too many of them are to be believed.
    fn judge_all_missing(
        &mut self,
        collection: Collection,
        entries: &[Entry],
        mut missing: Vec<(String, DocumentId, &Arc<Doc>)>,
        taken: &HashSet<DocumentId>,
        judge: &mut Judge<'_>,
    ) {
        let (dir, documents) = (collection.dir(), judge.table.len(collection));
        let all_missing = documents > 0 && missing.len() == documents;
        let too_many = all_missing || missing.len() > deletions_max(documents);
        if too_many && judge.stop == Stop::Clean {
            let detail = if all_missing {
                "all its files are gone; they are restored".to_owned()
            } else {
                format!(
                    "{} of its {documents} files are gone, too many to believe; they are restored",
                    missing.len()
                )
            };
            judge.report(ProblemKind::Missing, dir, detail);
        }
        if too_many {
            // Nearly in the order of their names, and ids are compared where they lie.
            missing.sort_unstable_by(|(_, a, _), (_, b, _)| a.cmp(b));
            let files = missing.into_iter().map(|(file, id, _)| (file, id));
            self.pending.append(&mut to_be_written(collection, files));
            return;
        }
        let editors = editor_files(entries);
        for (file, id, doc) in missing {
            if taken.contains(&id) {
                self.pending.insert(file, Target::Document(collection, id));
            } else {
                let name = file.strip_prefix(dir).and_then(|name| name.strip_prefix('/'));
                let has_editor = has_editor_file(&editors, name.unwrap_or(&file));
                self.judge_missing(file, (collection, &id), doc, has_editor, judge);
            }
        }
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
            (Contents::Undecided, _) => self.decide_later(&file, (collection, id), judge),
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
            self.placed.insert(file.into(), placed);
        }
    }

    /// What has rotted, or is somebody's: the file is known by its `stat` again, or not, and a look finds out
    /// before anything is done to it.
    fn decide_later(
        &mut self,
        file: &str,
        (collection, id): (Collection, &DocumentId),
        judge: &Judge<'_>,
    ) -> Decision {
        let (left_in, stat) = (judge.left_in(file), judge.recorded(file).and_then(|it| it.stat));
        let doc = judge.table.get(collection, id.as_str());
        let is_behind = doc.is_some_and(|doc| doc.lsn() > left_in.lsn);
        (Some(self.leave_undecided(file)), Some(Placed { stat, ..left_in }), is_behind)
    }

    /// Leaves a file to a look, and gives what is told of it.
    pub(super) fn leave_undecided(&mut self, file: &str) -> (ProblemKind, String) {
        self.noticed.insert(file.to_owned());
        let detail = "it is not what was written, and whether somebody changed it cannot be told yet; it is \
                      left until that can";
        (ProblemKind::Unreadable, detail.to_owned())
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
                let is_unclean = stop == Stop::Unclean;
                let left_in = if is_unclean {
                    // When it can be read, it is known for the engine's if it is.
                    self.attempts.insert(file.to_owned(), judge.all_known(collection, id, file));
                    Placed { hash: Placed::UNKNOWN.hash, ..left_in }
                } else {
                    judge.left_by_clean_stop(file, doc)
                };
                let detail = format!("{why}; the last good version stays in force");
                (Some((Unreadable, detail)), Some(left_in), is_unclean)
            }
            // All others are the engine's own.
            _ => (None, None, false),
        }
    }
}
