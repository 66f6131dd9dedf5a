//! What people did to the mirror: finding whose document a file is, and what it says.
//!
//! The name decides first: the file of a document must hold its id. Any other file counts by the id
//! inside, as long as that document has no file of its own. What cannot be understood is *held*: left
//! byte for byte, until it changes.

use super::contents::{DOCUMENT_BYTES_MAX, Held, document_in, id_of_plain};
use super::{Mirror, Placed, Stranger, Target, dir_of};
use crate::base::{ContentHash, DocumentId, Lsn, Problem, ProblemKind};
use crate::files::names;
use crate::fs::{Fs, Stat, join, read_file};
use crate::state::{Collection, Table};

/// What a person did to one file.
#[derive(Clone, Debug)]
pub struct Edit {
    /// Where the document belongs.
    pub collection: Collection,
    /// Whose file it is.
    pub id: DocumentId,
    /// The file, as in `tasks/a.json`.
    pub file: String,
    /// What it is now.
    pub now: Now,
}

/// What an edited file is now.
#[derive(Clone, Debug)]
pub enum Now {
    /// It says this.
    Text(Theirs),
    /// It is gone.
    Gone,
}

impl Edit {
    /// Where it was found; a file that is gone was missed where it was.
    pub fn source(&self) -> Source {
        match &self.now {
            Now::Text(theirs) => theirs.source.clone(),
            Now::Gone => Source::File,
        }
    }
}

/// A document as somebody left it in a file.
#[derive(Clone, Debug)]
pub struct Theirs {
    /// Its text, without byte order mark and surrounding white space.
    pub text: String,
    /// The hash of the file's bytes.
    pub hash: ContentHash,
    /// Their number.
    pub length: u64,
    /// The file's `stat`, taken before it was read.
    pub stat: Option<Stat>,
    /// Whether it is an earlier version that was put back.
    pub put_back: PutBack,
    /// Where it was found.
    pub source: Source,
}

/// Where an edit was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// In the document's file, or where that is missing.
    File,
    /// In `state.json`.
    State,
    /// In `conflicts/`: the file was replaced in the instant in which it was written.
    Displaced(Displaced),
}

/// What somebody wrote to a file in the instant in which the engine replaced it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Displaced {
    /// The file, as in `tasks/a.json`.
    pub file: String,
    /// Where it is in `conflicts/`.
    pub kept: String,
    /// The file showed its document as of this LSN before, if that is known: what took its place nobody
    /// had seen.
    pub shown: Option<Lsn>,
    /// Whether it may have shown anything before.
    pub is_doubtful: bool,
}

/// Whether contents that equal an earlier version of the engine's were put in its place by a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PutBack {
    /// Nobody knows what the engine had left in the file: such contents may be that.
    No,
    /// The engine had left something else in the file: if they equal one, they were.
    IfEarlier,
    /// They equal one, and were.
    Yes,
}

/// Whose a file is.
pub(super) enum Whose {
    /// The document's, under the engine's name for it.
    Own(DocumentId),
    /// That of a document under some other name, which counts while it has no file of its own.
    Other(DocumentId),
    /// It is another document's, whose id it does not hold.
    Mismatch(Held),
}

impl Mirror {
    /// Whose a file with this id inside is.
    pub(super) fn whose(
        &self,
        table: &Table,
        collection: Collection,
        name: &str,
        inside: DocumentId,
    ) -> Whose {
        let names = self.names(collection);
        let is_present = table.get(collection, inside.as_str()).is_some();
        let is_own = if is_present {
            names.file_name(&inside) == name
        } else {
            names::forms(&inside).iter().any(|form| form == name)
        };
        let file = join(collection.dir(), name);
        if is_own || self.is_former(&file, name, &inside) {
            return Whose::Own(inside);
        }
        let is_shown = matches!(self.pending.get(&file), Some(Target::Document(..)));
        let is_documents = is_shown
            || self.placed.contains_key(file.as_str())
            || id_of_plain(name).is_some_and(|owner| {
                table.get(collection, owner.as_str()).is_some() && names.file_name(&owner) == name
            });
        if is_documents && self.pending.get(&file) != Some(&Target::Nothing) {
            let why = format!(
                "it is the file of another {collection}, but the id in it is {:?}; restore its id, or give \
                 the file another name",
                inside.as_str()
            );
            return Whose::Mismatch(why);
        }
        Whose::Other(inside)
    }

    /// Whether the engine showed a document here before its name changed, and has not removed that yet.
    fn is_former(&self, file: &str, name: &str, id: &DocumentId) -> bool {
        self.pending.get(file) == Some(&Target::Nothing)
            && self.placed.get(file).is_some_and(|placed| placed.lsn > Lsn::ZERO)
            && names::forms(id).iter().any(|form| form == name)
    }

    /// Whether there are files that were left as they are, since what is in them cannot be understood.
    pub fn holds_any(&self) -> bool {
        !self.held.is_empty()
    }

    /// Whether there are files of which nobody can tell what people did to them.
    pub fn is_in_doubt(&self) -> bool {
        !self.doubted.is_empty() || !self.doubted_removals.is_empty()
    }

    /// Files that a person may have changed or not, with what is in them: see [`super::Known::is_sound`].
    pub fn doubted(&self) -> impl Iterator<Item = (&str, ContentHash)> {
        self.doubted.iter().map(|(file, hash)| (file.as_str(), *hash))
    }

    /// Files that are not what was written, though nobody wrote to them since.
    pub fn rotten(&self) -> impl Iterator<Item = &str> {
        self.rotten.iter().map(String::as_str)
    }

    /// Files that are gone, which a person may have removed or not.
    pub fn doubted_removals(&self) -> impl Iterator<Item = &str> {
        self.doubted_removals.iter().map(String::as_str)
    }

    /// Notes that an edit was taken in. `shows`: the file means what its document is as of that LSN;
    /// if not, it is written anew by the next pass.
    pub fn adopted(&mut self, edit: &Edit, shows: Option<Lsn>) {
        let Edit { collection, id, file, now } = edit;
        let own = join(collection.dir(), &self.names(*collection).file_name(id));
        if edit.source() != Source::File {
            return;
        }
        self.noticed.remove(file);
        self.unsettled.remove(file);
        self.unsynced_dirs.insert(dir_of(file).to_owned());
        let Now::Text(theirs) = now else {
            self.placed.remove(file.as_str());
            self.pending.remove(file);
            return;
        };
        let Theirs { hash, length, .. } = *theirs;
        if *file != own {
            self.pending.insert(own, Target::Document(*collection, id.clone()));
            self.taken_in(file.clone(), hash, length);
            return;
        }
        let stat = theirs.stat.filter(|stat| stat.modified_ns < self.past_ns);
        // If not, the last version of the engine's that it showed is still the same.
        let former = self.placed.get(file.as_str()).map(|placed| placed.lsn);
        let lsn = shows.or(former).unwrap_or_default();
        self.placed.insert(file.as_str().into(), Placed { hash, length, lsn, stat });
        let target = Target::Document(*collection, id.clone());
        self.unsynced.insert(file.clone(), target.clone());
        self.attempts.remove(file);
        if let Some(lsn) = shows {
            self.laid_out.insert(file.clone(), lsn);
        } else {
            self.laid_out.remove(file);
            self.pending.insert(file.clone(), target);
        }
    }

    /// Leaves a file as it is, whatever its document becomes, until its `stat` changes.
    pub fn hold(&mut self, file: &str, stat: Option<Stat>) {
        self.noticed.remove(file);
        self.unsettled.remove(file);
        self.held.insert(file.to_owned(), stat);
    }

    /// What was found in these files is taken in otherwise: those of documents are written anew where they
    /// must be, the others are left.
    pub fn supersede(&mut self, edits: Vec<Edit>) {
        for edit in edits {
            let Edit { collection, id, file, now } = edit;
            let Now::Text(theirs) = now else { continue };
            if !self.placed.contains_key(file.as_str()) {
                self.strangers.insert(file, Stranger { stat: theirs.stat, id: None });
                continue;
            }
            let Theirs { hash, length, .. } = theirs;
            self.placed
                .insert(file.as_str().into(), Placed { hash, length, lsn: Lsn::ZERO, stat: None });
            self.pending.insert(file, Target::Document(collection, id));
        }
    }

    /// Notes files whose edits were not taken in: they are not to be touched before that.
    pub fn notice(&mut self, edits: impl Iterator<Item = (String, Source)>) {
        for (file, source) in edits {
            match source {
                Source::File => drop(self.noticed.insert(file)),
                Source::State => {}
                Source::Displaced(displaced) => self.displaced.push(displaced),
            }
        }
    }

    /// Whether there are edits for [`Mirror::take_displaced`].
    pub fn has_displaced(&self) -> bool {
        !self.displaced.is_empty()
    }

    /// Takes over what is still to be taken in, and that no file shows.
    pub fn inherit(&mut self, former: &mut Mirror) {
        self.displaced.append(&mut former.displaced);
    }

    /// Edits that were displaced in the instant in which they were made: each is in `conflicts/`, and is
    /// taken in from there.
    pub fn take_displaced(&mut self, fs: &dyn Fs, problems: &mut Vec<Problem>) -> Vec<Edit> {
        let mut edits = Vec::new();
        for displaced in std::mem::take(&mut self.displaced) {
            let Displaced { file, kept, .. } = &displaced;
            let Some(collection) =
                Collection::ALL.into_iter().find(|each| each.dir() == dir_of(file))
            else {
                continue;
            };
            let read = read_file(fs, kept, DOCUMENT_BYTES_MAX as u64);
            let found = match &read {
                Ok(bytes) => document_in(collection, bytes)
                    .and_then(|(id, text)| self.displaced_of(file, id).map(|id| (id, text, bytes))),
                Err(error) => Err(format!("it cannot be read ({error})")),
            };
            let (id, text, bytes) = match found {
                Ok(found) => found,
                Err(why) => {
                    let detail = format!("{why}; what it is to say is to be put into {file}");
                    problems.push(Problem::new(ProblemKind::Unreadable, kept, 0, detail));
                    continue;
                }
            };
            let theirs = Theirs {
                text,
                hash: ContentHash::of(bytes),
                length: bytes.len() as u64,
                stat: None,
                put_back: PutBack::IfEarlier,
                source: Source::Displaced(displaced.clone()),
            };
            let file = displaced.file;
            edits.push(Edit { collection, id, file, now: Now::Text(theirs) });
        }
        edits
    }

    /// Whose what was displaced from this file is: the document's that was written there, if it has one.
    fn displaced_of(&self, file: &str, inside: DocumentId) -> Result<DocumentId, Held> {
        let target = self.pending.get(file).or_else(|| self.unsynced.get(file));
        match target {
            Some(Target::Document(_, owner)) if *owner != inside => Err(format!(
                "it was written into the file of another document, but the id in it is {:?}",
                inside.as_str()
            )),
            _ => Ok(inside),
        }
    }

    /// Writes the file of a document anew, since nothing of what was found there counts.
    pub fn restore(&mut self, edit: &Edit) {
        let target = Target::Document(edit.collection, edit.id.clone());
        self.write_anew(edit.file.clone(), target);
    }

    /// Writes a file anew, whatever was known of it.
    pub(super) fn write_anew(&mut self, file: String, target: Target) {
        self.unsettled.remove(&file);
        self.placed.remove(file.as_str());
        self.laid_out.remove(&file);
        self.pending.insert(file, target);
    }
}
