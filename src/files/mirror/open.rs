//! Judging the mirror at opening. Reads only: what is to be done is left pending.
//!
//! Of a document's file:
//!
//! | contents | after a clean stop | after an unclean stop |
//! |---|---|---|
//! | as the document is now | in place | in place |
//! | an earlier version that the engine wrote | a person put it back: left, `edited` | written anew |
//! | none | written anew, `missing` | written anew |
//! | half on the medium | left, `unreadable` | written anew, `torn` |
//! | another JSON object | left, `edited` | left, `edited` |
//! | no JSON object, or not to be read | left, `unreadable` | left, `unreadable` |
//! | a link, directory, FIFO, device | left until it is gone, `unreadable` | the same |
//!
//! *Left* means until the engine next writes that file; then it goes to `conflicts/`. Of any other
//! file in the directories: a version that the engine wrote there, whole or half on the medium, is
//! removed after an unclean stop; editors' files are ignored; the rest is people's, left for good.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::sync::Arc;

use super::{Mirror, Placed, Target};
use crate::base::{ContentHash, DocumentId, Error, Problem, ProblemKind, Result};
use crate::files::names::{self, WAL};
use crate::fs::{Entry, Fs, Kind, join, read_file};
use crate::state::json::{Object, check_object, pretty};
use crate::state::{Collection, Table};

/// A longer mirror file is not read, unless the engine's own version is as long.
const BYTES_MAX: u64 = 256 << 20;
const SECTOR_BYTES: usize = 512;

/// What the engine is known to have put into the mirror, besides the present state.
pub struct Known<'a> {
    /// By file (`tasks/a.json`): the hashes of what the log records as written there.
    pub versions: &'a HashMap<String, Vec<ContentHash>>,
    /// The texts that a document had in earlier snapshots, or since, as far as they are at hand.
    pub earlier: &'a dyn Fn(Collection, &DocumentId) -> Vec<Arc<str>>,
}

impl std::fmt::Debug for Known<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Known").field("versions", self.versions).finish_non_exhaustive()
    }
}

/// What a file holds.
#[derive(Debug)]
enum Contents {
    Missing,
    /// As the document is now.
    Current(Placed),
    /// A link, directory, FIFO or device.
    NoFile,
    /// An earlier version of the engine's.
    Earlier(Placed),
    /// A version of the engine's of which not every sector reached the medium.
    Torn(Placed),
    /// A JSON object of somebody else's.
    Other,
    /// No JSON object, and why.
    Invalid(String),
    /// What cannot be read, and why.
    Unreadable(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    Clean,
    Unclean,
}

struct Judge<'a> {
    fs: &'a dyn Fs,
    table: &'a Table,
    known: &'a Known<'a>,
    stop: Stop,
    problems: Vec<Problem>,
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
        let mut judge = Judge { fs, table, known, stop, problems: Vec::new() };
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
        let mut expected: HashMap<String, &DocumentId> =
            table.iter(collection).map(|(id, _)| (names.file_name(id), id)).collect();
        let (dir, documents) = (collection.dir(), expected.len());
        for entry in list(judge.fs, dir)? {
            let file = join(dir, &entry.name);
            match expected.remove(&entry.name) {
                Some(id) => {
                    let contents = judge.of_document(collection, id, &file, entry.kind);
                    self.decide(file, (collection, id), contents, judge);
                }
                None => self.judge_orphan(collection, &entry, file, judge),
            }
        }
        let all_missing = documents > 0 && expected.len() == documents;
        if all_missing && judge.stop == Stop::Clean {
            judge.report(ProblemKind::Missing, dir, "all its files are gone; they are restored");
        }
        for (name, id) in expected {
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
        use ProblemKind::{Edited, Missing, Torn, Unreadable};
        let (finding, placed, is_due) = match (contents, judge.stop) {
            (Contents::Current(found), _) => (None, Some(found), false),
            (Contents::Earlier(found), Stop::Unclean) => (None, Some(found), true),
            (Contents::Torn(found), Stop::Unclean) => (
                Some((Torn, "half of it was on the medium; it is restored".into())),
                Some(found),
                true,
            ),
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
            (Contents::Torn(_), Stop::Clean) => {
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
        match (contents, judge.stop) {
            (Some(Contents::Earlier(found)), Stop::Unclean) => {
                self.pending.insert(file.clone(), Target::Nothing);
                self.placed.insert(file, found);
            }
            (Some(Contents::Torn(found)), Stop::Unclean) => {
                let detail = "half of a file that is no longer wanted; it is removed";
                judge.report(ProblemKind::Torn, &file, detail);
                self.pending.insert(file.clone(), Target::Nothing);
                self.placed.insert(file, found);
            }
            _ if names::is_editor_file(&entry.name) => {}
            _ => {
                let detail = "it belongs to no document; somebody made it, and it is left alone";
                judge.report(ProblemKind::Edited, &file, detail);
            }
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
                (Some(Contents::Earlier(found)), _)
                | (Some(Contents::Torn(found)), Stop::Unclean) => {
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

impl Judge<'_> {
    fn report(&mut self, kind: ProblemKind, file: &str, detail: impl Into<String>) {
        self.problems.push(Problem::new(kind, file, 0, detail));
    }

    /// What the engine would write for a document now.
    fn current(&self, collection: Collection, id: &DocumentId) -> Option<String> {
        self.table.get(collection, id.as_str()).map(|doc| pretty(doc.text()))
    }

    fn rendition(&self, collection: Collection, id: &DocumentId) -> Option<Placed> {
        self.current(collection, id).map(|text| placed(text.as_bytes()))
    }

    /// All that the engine may have written for a document, the present version first.
    fn renditions(&self, collection: Collection, id: &DocumentId) -> Vec<String> {
        let earlier = (self.known.earlier)(collection, id);
        self.current(collection, id)
            .into_iter()
            .chain(earlier.iter().map(|text| pretty(text)))
            .collect()
    }

    fn read(&self, path: &str, kind: Kind, bytes_max: u64) -> Result<Vec<u8>, Contents> {
        if kind != Kind::File {
            return Err(Contents::NoFile);
        }
        read_file(self.fs, path, bytes_max).map_err(|error| match error.kind() {
            ErrorKind::NotFound => Contents::Missing,
            _ => Contents::Unreadable(format!("it cannot be read ({error})")),
        })
    }

    fn of_document(
        &self,
        collection: Collection,
        id: &DocumentId,
        file: &str,
        kind: Kind,
    ) -> Contents {
        let current = self.current(collection, id).unwrap_or_default();
        let bytes = match self.read(file, kind, BYTES_MAX.max(current.len() as u64)) {
            Ok(bytes) => bytes,
            Err(contents) => return contents,
        };
        if bytes == current.as_bytes() {
            return Contents::Current(placed(&bytes));
        }
        let renditions = self.renditions(collection, id);
        self.engines_own(file, &bytes, &renditions).unwrap_or_else(|| of_person(&bytes))
    }

    /// Whether the contents of a file are an earlier version of the engine's, or half of one.
    fn engines_own(&self, file: &str, bytes: &[u8], renditions: &[String]) -> Option<Contents> {
        let placed = placed(bytes);
        let recorded = self.known.versions.get(file).is_some_and(|all| all.contains(&placed.hash));
        if recorded || renditions.iter().any(|text| text.as_bytes() == bytes) {
            return Some(Contents::Earlier(placed));
        }
        let is_torn = bytes.iter().all(|byte| *byte == 0)
            || renditions.iter().any(|text| is_part_of(bytes, text.as_bytes()));
        is_torn.then_some(Contents::Torn(placed))
    }

    /// `None` if nothing tells that the engine made it.
    fn of_orphan(&self, collection: Collection, entry: &Entry, file: &str) -> Option<Contents> {
        if !names::is_document_file(&entry.name) {
            return None;
        }
        let bytes = self.read(file, entry.kind, BYTES_MAX).ok()?;
        let id = id_inside(&bytes).or_else(|| id_of_plain(&entry.name));
        // A copy that a person made under another name is theirs, though it equals ours.
        let id = id.filter(|id| names::forms(id).contains(&entry.name));
        let renditions = id.map(|id| self.renditions(collection, &id)).unwrap_or_default();
        self.engines_own(file, &bytes, &renditions)
    }

    fn of_leftover(&self, path: &str, file: &str, kind: Kind, mirror: &Mirror) -> Option<Contents> {
        let bytes = self.read(path, kind, BYTES_MAX).ok()?;
        let (dir, name) = file.split_once('/')?;
        let collection = Collection::ALL.into_iter().find(|each| each.dir() == dir)?;
        let id = id_inside(&bytes)
            .filter(|id| names::forms(id).iter().any(|form| form == name))
            .or_else(|| id_of_plain(name))
            .or_else(|| {
                let mut ids = self.table.iter(collection).map(|(id, _)| id);
                ids.find(|id| mirror.names(collection).file_name(id) == name).cloned()
            });
        let renditions = id.map(|id| self.renditions(collection, &id)).unwrap_or_default();
        self.engines_own(file, &bytes, &renditions)
    }
}

fn placed(bytes: &[u8]) -> Placed {
    Placed { hash: ContentHash::of(bytes), length: bytes.len() as u64 }
}

/// What a file holds that the engine did not write.
fn of_person(bytes: &[u8]) -> Contents {
    match std::str::from_utf8(bytes) {
        Err(error) => Contents::Invalid(format!("no UTF-8 at byte {}", error.valid_up_to())),
        Ok(text) => match check_object(text) {
            Ok(()) => Contents::Other,
            Err(error) => Contents::Invalid(error.to_string()),
        },
    }
}

/// Whether each sector is zero or as in `whole`, up to an early end: what a crash can leave of a
/// file that was written once and never overwritten.
fn is_part_of(bytes: &[u8], whole: &[u8]) -> bool {
    let mut wholes = whole.chunks(SECTOR_BYTES);
    bytes.len() <= whole.len()
        && bytes.chunks(SECTOR_BYTES).all(|sector| {
            let whole = wholes.next().unwrap_or_default();
            sector.iter().all(|byte| *byte == 0) || whole.starts_with(sector)
        })
}

pub(super) fn id_inside(bytes: &[u8]) -> Option<DocumentId> {
    let object = Object::parse(std::str::from_utf8(bytes).ok()?).ok()?;
    let id: String = serde_json::from_str(object.get("id")?).ok()?;
    DocumentId::new(&id).ok()
}

fn id_of_plain(name: &str) -> Option<DocumentId> {
    DocumentId::new(name.strip_suffix(".json")?).ok()
}

pub(super) fn list(fs: &dyn Fs, dir: &str) -> Result<Vec<Entry>> {
    match fs.list(dir) {
        Ok(entries) => Ok(entries),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(Error::io("list", fs.display(dir), error)),
    }
}
