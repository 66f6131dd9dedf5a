//! Judging the mirror at opening. Reads only: what is to be done is left pending.
//!
//! Of a document's file:
//!
//! | contents | after a clean stop | after an unclean stop |
//! |---|---|---|
//! | as the document is now, but for white space | in place | in place |
//! | other bytes under the recorded `stat` | quarantined, written anew, `corrupt` | the same |
//! | an earlier version that the engine wrote | a person put it back: left, `edited` | written anew |
//! | none | written anew, `missing` | written anew |
//! | empty, or all zero | left, `unreadable` | written anew, `torn` |
//! | half on the medium | left, `unreadable` | quarantined, written anew, `torn` |
//! | another JSON object | left, `edited` | left, `edited` |
//! | no JSON object, or not to be read | left, `unreadable` | left, `unreadable` |
//! | a link, directory, FIFO, device | left until it is gone, `unreadable` | the same |
//!
//! *Left* means until the engine next writes that file; then it goes to `conflicts/`. Of any other
//! file in the directories: a version that the engine wrote there, whole or half on the medium, is
//! removed after an unclean stop; editors' files are ignored; the rest is people's, left for good.

use std::collections::HashMap;
use std::io::ErrorKind;

use super::judge::{Contents, Judge, Stop};
use super::{Known, Mirror, Target};
use crate::base::{DocumentId, Error, Problem, ProblemKind, Result};
use crate::files::names::{self, WAL};
use crate::files::stat;
use crate::fs::{Entry, Fs, Kind, join};
use crate::state::{Collection, Table};

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
        let (problems, strangers) = (Vec::new(), 0);
        let mut judge = Judge { fs, table, known, stop, past_ns, problems, strangers };
        let mut mirror = Mirror::default();
        for collection in Collection::ALL {
            mirror.judge_collection(collection, &mut judge)?;
        }
        mirror.judge_leftovers(&mut judge)?;
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
        let (dir, documents) = (collection.dir(), expected.len());
        let entries = list(judge.fs, dir)?;
        let of: Vec<_> = entries.iter().map(|entry| expected.remove(&entry.name)).collect();
        let mut stats = judge.stats(dir, entries.iter().zip(&of)).into_iter();
        for (entry, of) in entries.iter().zip(of) {
            let file = join(dir, &entry.name);
            match of {
                Some((id, doc)) => {
                    let stat = if entry.kind == Kind::File { stats.next().flatten() } else { None };
                    let seen = (entry.kind, stat);
                    let contents = judge.of_document((collection, id), doc, &file, seen);
                    self.decide(file, (collection, id), contents, judge);
                }
                None => self.judge_orphan(collection, entry, file, judge),
            }
        }
        judge.report_strangers(dir);
        let all_missing = documents > 0 && expected.len() == documents;
        if all_missing && judge.stop == Stop::Clean {
            judge.report(ProblemKind::Missing, dir, "all its files are gone; they are restored");
        }
        for (name, (id, _)) in expected {
            let file = join(dir, &name);
            if all_missing {
                self.pending.insert(file, Target::Document(collection, id.clone()));
            } else {
                self.decide(file, (collection, id), Contents::Missing, judge);
            }
        }
        Ok(())
    }

    /// The table of a document's file.
    fn decide(
        &mut self,
        file: String,
        (collection, id): (Collection, &DocumentId),
        contents: Contents,
        judge: &mut Judge<'_>,
    ) {
        use ProblemKind::{Corrupt, Edited, Missing, Torn, Unreadable};
        let (finding, placed, is_due) = match (contents, judge.stop) {
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
            (Contents::Earlier(_), Stop::Clean) => {
                let detail = "somebody put an earlier version back; the newer one stays in force";
                (Some((Edited, detail.into())), judge.rendition(collection, id), false)
            }
            (Contents::Other, _) => {
                let detail = "somebody changed it; the engine's version stays in force";
                (Some((Edited, detail.into())), judge.rendition(collection, id), false)
            }
            (Contents::Torn(_) | Contents::Blank(_), Stop::Clean) => {
                let detail = "it is damaged; the engine's version stays in force";
                (Some((Unreadable, detail.into())), judge.rendition(collection, id), false)
            }
            (Contents::Invalid(why) | Contents::Unreadable(why), _) => {
                let detail = format!("{why}; the engine's version stays in force");
                (Some((Unreadable, detail)), judge.rendition(collection, id), false)
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

    /// A file that belongs to no document.
    fn judge_orphan(
        &mut self,
        collection: Collection,
        entry: &Entry,
        file: String,
        judge: &mut Judge<'_>,
    ) {
        let contents = judge.of_orphan(collection, entry, &file);
        let is_torn = matches!(contents, Some(Contents::Torn(_)));
        match (contents, judge.stop) {
            (Some(Contents::Earlier(found)), Stop::Unclean) => {
                self.pending.insert(file.clone(), Target::Nothing);
                self.placed.insert(file, found);
            }
            (Some(Contents::Torn(found) | Contents::Blank(found)), Stop::Unclean) => {
                if is_torn {
                    self.damaged.insert(file.clone(), found.hash);
                }
                let detail = "half of a file that is no longer wanted; it is removed";
                judge.report(ProblemKind::Torn, &file, detail);
                self.pending.insert(file.clone(), Target::Nothing);
                self.placed.insert(file, found);
            }
            _ if names::is_editor_file(&entry.name) => {}
            _ => judge.report_stranger(&file),
        }
    }

    /// Files in `wal/` in which a crash left what came out of a mirror file's place, or was to go
    /// there.
    fn judge_leftovers(&mut self, judge: &mut Judge<'_>) -> Result<()> {
        for entry in list(judge.fs, WAL)? {
            let Some(file) = names::parse_swap(&entry.name) else { continue };
            let path = join(WAL, &entry.name);
            let found = judge.of_leftover(&path, &file, entry.kind, self);
            match (found, judge.stop) {
                (Some(Contents::Rotten(found)), _) => {
                    // It has its name in quarantine/.
                    self.damaged.entry(file.clone()).or_insert(found.hash);
                    self.attempts.entry(file.clone()).or_default().push(found);
                }
                (Some(Contents::Earlier(found)), _)
                | (Some(Contents::Torn(found) | Contents::Blank(found)), Stop::Unclean) => {
                    self.attempts.entry(file.clone()).or_default().push(found);
                }
                _ => {
                    let detail = format!(
                        "it was taken out of the place of {file}, and somebody \
                                          had changed it; it belongs in conflicts/"
                    );
                    judge.report(ProblemKind::Edited, &path, detail);
                }
            }
            self.leftovers.push(file);
        }
        Ok(())
    }
}

pub(super) fn list(fs: &dyn Fs, dir: &str) -> Result<Vec<Entry>> {
    match fs.list(dir) {
        Ok(entries) => Ok(entries),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(Error::io("list", fs.display(dir), error)),
    }
}
