//! Looking for edits while the store is open: every file whose `stat` is not as the engine left it.
//!
//! It reads only. What somebody may be at still is left for another look: an edit counts when two looks
//! 50 ms apart find the same `stat`, and nobody has the file open for writing (or for a second now).
//! Files that are gone must be gone for a second (`gone`).

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::io::ErrorKind;
use std::time::Duration;

use super::contents::document_in;
use super::dir::{is_json, list};
use super::edit::Whose;
use super::judge::STRANGERS_MAX;
use super::{Edit, Mirror, Now, Placed, PutBack, Source, Stranger, Target, Theirs};
use crate::base::{ContentHash, DocumentId, Error, Problem, ProblemKind, Result};
use crate::files::conflicts::is_open_for_writing;
use crate::files::names::{self, WAL};
use crate::fs::{Fs, Kind, Stat, join, read_file};
use crate::state::{Collection, Table};

/// A larger file is held.
const BYTES_MAX: u64 = 256 << 20;
/// So long contents must stay as they are.
const SETTLES_AFTER: Duration = Duration::from_millis(50);
/// So long a file must be gone, or the same although somebody has it open for writing.
pub(super) const BELIEVED_AFTER: Duration = Duration::from_secs(1);

/// A look at the mirror's files.
#[derive(Clone, Copy)]
pub struct Look<'a> {
    /// The disk.
    pub fs: &'a dyn Fs,
    /// The state that the mirror is to show.
    pub table: &'a Table,
    /// The files to look at; `None`: all.
    pub files: Option<&'a BTreeSet<String>>,
    /// The time, of a clock that never goes back.
    pub now: Duration,
    /// Whether what somebody may be at is left for another look.
    pub is_patient: bool,
}

impl std::fmt::Debug for Look<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Look").field("files", &self.files).finish_non_exhaustive()
    }
}

/// What a look found.
#[derive(Debug, Default)]
pub struct Seen {
    /// Edits, to be taken in.
    pub edits: Vec<Edit>,
    /// What else is to be told.
    pub problems: Vec<Problem>,
    /// Findings about files of the directory that belong to no document, so far.
    strangers: usize,
}

impl Seen {
    pub(super) fn tell(&mut self, kind: ProblemKind, file: &str, detail: impl Into<String>) {
        self.problems.push(Problem::new(kind, file, 0, detail));
    }

    /// The same of a file that belongs to no document: not one by one if there are many.
    fn tell_of_stranger(&mut self, kind: ProblemKind, file: &str, detail: impl Into<String>) {
        self.strangers += 1;
        if self.strangers <= STRANGERS_MAX {
            self.tell(kind, file, detail);
        }
    }

    /// The rest of them, as one finding, when the directory is done.
    fn tell_of_strangers(&mut self, dir: &str) {
        let rest = std::mem::take(&mut self.strangers).saturating_sub(STRANGERS_MAX);
        if rest > 0 {
            let detail = format!("{rest} more files in it are left alone; see `walden verify`");
            self.tell(ProblemKind::Edited, dir, detail);
        }
    }
}

impl Mirror {
    /// Looks for what people did since the engine last looked. Files of which it is not sure yet stay
    /// noted; see [`Mirror::looks_again`].
    pub fn look(&mut self, look: &Look<'_>) -> Result<Seen> {
        let past = crate::files::stat(look.fs, WAL)?.map_or(i64::MIN, |wal| wal.modified_ns);
        self.past_ns = self.past_ns.max(past);
        self.unblock(look.fs)?;
        let mut seen = Seen::default();
        for collection in Collection::ALL {
            let gone = match look.files {
                None => true,
                Some(files) => self.look_at_some(collection, files, look, &mut seen)?,
            };
            // Whether files were removed, only all that are there tell.
            if gone {
                self.look_at_all(collection, look, &mut seen)?;
            }
            seen.tell_of_strangers(collection.dir());
        }
        // A file that was named and is in a directory of which all is looked at was looked at twice.
        let mut files = HashSet::new();
        seen.edits.retain(|edit| files.insert(edit.file.clone()));
        self.look_at_lingering(look, &mut seen)?;
        Ok(seen)
    }

    /// Looks at the files of a directory that are named; says whether one is gone, for all that can be told.
    fn look_at_some(
        &mut self,
        collection: Collection,
        files: &BTreeSet<String>,
        look: &Look<'_>,
        seen: &mut Seen,
    ) -> Result<bool> {
        let prefix = join(collection.dir(), "");
        let mut ids = HashSet::new();
        for file in files.iter().filter(|file| file.starts_with(&prefix)) {
            let name = file.get(prefix.len()..).unwrap_or_default();
            match crate::files::stat(look.fs, file)? {
                Some(stat) => self.look_at(collection, name, stat, look, &mut ids, seen)?,
                None if self.is_expected(file) => {
                    if !look.is_patient || !self.waits_for_its_return(file, look) {
                        return Ok(true);
                    }
                }
                None => self.forget(file),
            }
        }
        Ok(false)
    }

    fn look_at_all(
        &mut self,
        collection: Collection,
        look: &Look<'_>,
        seen: &mut Seen,
    ) -> Result<()> {
        let dir = collection.dir();
        let entries = list(look.fs, dir)?;
        let names: Vec<&str> = entries.iter().map(|entry| entry.name.as_str()).collect();
        let mut found: BTreeMap<&str, Stat> = BTreeMap::new();
        for (name, stat) in names.iter().zip(look.fs.stats(dir, &names)) {
            match stat {
                Ok(stat) => found.extend(stat.map(|stat| (*name, stat))),
                Err(error) => return Err(Error::io("look at", look.fs.display(dir), error)),
            }
        }
        self.recall_strangers(collection, look.table, &found);
        let mut ids = HashSet::new();
        for (name, stat) in &found {
            self.look_at(collection, name, *stat, look, &mut ids, seen)?;
        }
        self.look_for_gone(collection, &found, &entries, look, &ids, seen);
        Ok(())
    }

    /// Looks at one file that is there. `ids` are those that a file was counted for in this look.
    fn look_at(
        &mut self,
        collection: Collection,
        name: &str,
        stat: Stat,
        look: &Look<'_>,
        ids: &mut HashSet<DocumentId>,
        seen: &mut Seen,
    ) -> Result<()> {
        let file = join(collection.dir(), name);
        if !is_json(name) || names::is_editor_file(name) {
            return Ok(());
        }
        if self.is_as_known(&file, stat) {
            self.forget_doubt(&file);
            return Ok(());
        }
        if stat.kind != Kind::File {
            self.found_no_file(file, stat, seen);
            return Ok(());
        }
        let bytes = match read_file(look.fs, &file, BYTES_MAX) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) => {
                // It is read again by every look, and told once, if opening has not done that.
                let is_told = self.held.get(&file) == Some(&None)
                    || self.strangers.get(&file).is_some_and(|stranger| stranger.stat.is_none());
                if !is_told {
                    let why = format!("it cannot be read ({error})");
                    self.hold_and_tell(collection, file, None, &why, seen);
                }
                return Ok(());
            }
        };
        let hash = ContentHash::of(&bytes);
        if self.is_ours(&file, hash, stat) {
            return Ok(());
        }
        if look.is_patient && !self.has_settled(&file, stat, look)? {
            return Ok(());
        }
        self.unsettled.remove(&file);
        match document_in(collection, &bytes) {
            Err(why) => self.hold_and_tell(collection, file, Some(stat), &why, seen),
            Ok((inside, text)) => {
                let put_back = if self.placed.contains_key(file.as_str()) {
                    PutBack::IfEarlier
                } else {
                    PutBack::No
                };
                let (length, stat) = (bytes.len() as u64, Some(stat));
                let theirs = Theirs { text, hash, length, stat, put_back, source: Source::File };
                self.found_document(collection, name, inside, theirs, look, ids, seen);
            }
        }
        Ok(())
    }

    /// Whether contents are what the engine put there. If so, they are known by their `stat` from now on.
    fn is_ours(&mut self, file: &str, hash: ContentHash, stat: Stat) -> bool {
        let is_trusted = stat.modified_ns < self.past_ns;
        let is_placed = match self.placed.get_mut(file) {
            Some(placed) if placed.hash == hash => {
                placed.stat = Some(stat).filter(|_| is_trusted);
                true
            }
            _ => false,
        };
        let mut attempts = self.attempts.get(file).into_iter().flatten();
        let attempt = attempts.find(|attempt| attempt.hash == hash).copied();
        let is_ours = is_placed || attempt.is_some();
        let is_known =
            self.placed.get(file).is_some_and(|placed| placed.hash != Placed::UNKNOWN.hash);
        if let Some(attempt) = attempt.filter(|_| !is_known) {
            // It could not be read before; what it is to be is decided already, unless it is to go.
            let (length, stat) = (stat.size_bytes, Some(stat).filter(|_| is_trusted));
            self.placed.insert(file.into(), Placed { length, stat, ..attempt });
            self.pending.entry(file.to_owned()).or_insert(Target::Nothing);
        }
        if is_ours {
            self.held.remove(file);
            self.forget_doubt(file);
        }
        is_ours
    }

    /// Whether a file has been as it is for long enough.
    fn has_settled(&mut self, file: &str, stat: Stat, look: &Look<'_>) -> Result<bool> {
        let age = self.age(file, Some(stat), look);
        Ok(age >= BELIEVED_AFTER || age >= SETTLES_AFTER && !is_open_for_writing(look.fs, file)?)
    }

    /// Since when looks find a file as it is; `None`: gone.
    pub(super) fn age(&mut self, file: &str, stat: Option<Stat>, look: &Look<'_>) -> Duration {
        let fresh = (stat, look.now);
        let since = self.unsettled.entry(file.to_owned()).or_insert(fresh);
        if since.0 != stat {
            *since = fresh;
        }
        look.now.saturating_sub(since.1)
    }

    fn found_no_file(&mut self, file: String, stat: Stat, seen: &mut Seen) {
        self.forget_doubt(&file);
        if self.blocked.contains(&file) {
            // Told when it was met there.
            return;
        }
        let detail = "it is no regular file; it is left alone";
        if self.is_expected(&file) {
            seen.tell(ProblemKind::Unreadable, &file, detail);
            self.held.insert(file, Some(stat));
        } else {
            seen.tell_of_stranger(ProblemKind::Unreadable, &file, detail);
            self.strangers.insert(file, Stranger { stat: Some(stat), id: None });
        }
    }

    fn hold_and_tell(
        &mut self,
        collection: Collection,
        file: String,
        stat: Option<Stat>,
        why: &str,
        seen: &mut Seen,
    ) {
        let detail = format!("{why}; it is left as it is until it is mended, ");
        if self.is_expected(&file) || self.pending.contains_key(&file) {
            let detail =
                format!("{detail}and the last good version of its {collection} stays in force");
            seen.tell(ProblemKind::Unreadable, &file, detail);
            self.hold(&file, stat);
        } else {
            let detail = format!("{detail}and no {collection} is made of it");
            seen.tell_of_stranger(ProblemKind::Unreadable, &file, detail);
            self.forget_doubt(&file);
            self.strangers.insert(file, Stranger { stat, id: None });
        }
    }

    #[expect(clippy::too_many_arguments, reason = "what a look has learnt of one file")]
    fn found_document(
        &mut self,
        collection: Collection,
        name: &str,
        inside: DocumentId,
        theirs: Theirs,
        look: &Look<'_>,
        ids: &mut HashSet<DocumentId>,
        seen: &mut Seen,
    ) {
        let file = join(collection.dir(), name);
        let stat = theirs.stat;
        let (id, counts) = match self.whose(look.table, collection, name, inside) {
            Whose::Own(id) if ids.contains(&id) => {
                // The file of its former name and that of its present one were both edited: one by one.
                self.noticed.insert(file);
                return;
            }
            Whose::Own(id) => (id, true),
            Whose::Other(id) => {
                let own = join(collection.dir(), &self.names(collection).file_name(&id));
                let is_present = look.table.get(collection, id.as_str()).is_some();
                // A file that cannot be looked at is there.
                let has_file = is_present && !matches!(look.fs.stat(&own), Ok(None));
                if !has_file {
                    // Nothing is left of what the engine put there.
                    self.placed.remove(own.as_str());
                }
                (id, !has_file)
            }
            Whose::Mismatch(why) => {
                seen.tell(ProblemKind::Unreadable, &file, why);
                self.hold(&file, stat);
                return;
            }
        };
        if counts && ids.insert(id.clone()) {
            self.held.remove(&file);
            self.strangers.remove(&file);
            seen.edits.push(Edit { collection, id, file, now: Now::Text(theirs) });
            return;
        }
        let detail = format!(
            "the id in it is that of {collection} {:?}, which has a file; it is left alone",
            id.as_str()
        );
        if self.pending.contains_key(&file) {
            // It lies where the engine wants to remove its own.
            seen.tell(ProblemKind::Edited, &file, detail);
            self.hold(&file, stat);
        } else {
            seen.tell_of_stranger(ProblemKind::Edited, &file, detail);
            self.forget_doubt(&file);
        }
        self.strangers.insert(file, Stranger { stat, id: Some(id) });
    }

    /// Whether the engine knows that it left something in this file.
    pub fn knows(&self, file: &str) -> bool {
        self.placed.contains_key(file)
    }
}
