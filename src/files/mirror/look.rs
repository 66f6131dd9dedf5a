//! Looking for edits while the store is open: every file whose `stat` is not as the engine left it.
//!
//! It reads only. What somebody may be at still is left for another look: an edit counts when two looks
//! 50 ms apart find the same `stat`, and nobody has the file open for writing (or for a second now).
//! Files that are gone must be gone for a second.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::io::ErrorKind;
use std::time::Duration;

use super::edit::{Whose, document_in};
use super::open::{deletions_max, has_editor_file, list};
use super::{Edit, Mirror, Now, Placed, PutBack, Target, Theirs};
use crate::base::{ContentHash, DocumentId, Error, Problem, ProblemKind, Result};
use crate::files::conflicts::is_open_for_writing;
use crate::files::names::{self, WAL};
use crate::fs::{self, Fs, Kind, Stat, join, read_file};
use crate::state::{Collection, Table};

/// A larger file is held.
const BYTES_MAX: u64 = 256 << 20;
/// So long contents must stay as they are.
const SETTLES_AFTER: Duration = Duration::from_millis(50);
/// So long a file must be gone, or the same although somebody has it open for writing.
const BELIEVED_AFTER: Duration = Duration::from_secs(1);

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
}

impl Seen {
    fn tell(&mut self, kind: ProblemKind, file: &str, detail: impl Into<String>) {
        self.problems.push(Problem::new(kind, file, 0, detail));
    }
}

impl Mirror {
    /// Looks for what people did since the engine last looked. Files of which it is not sure yet stay
    /// noted; see [`Mirror::looks_again`].
    pub fn look(&mut self, look: &Look<'_>) -> Result<Seen> {
        let past = crate::files::stat(look.fs, WAL)?.map_or(i64::MIN, |wal| wal.modified_ns);
        self.past_ns = self.past_ns.max(past);
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
        }
        Ok(seen)
    }

    /// The files that are to be looked at again soon.
    pub fn looks_again(&self) -> BTreeSet<String> {
        let displaced = self.displaced.iter().map(|displaced| &displaced.file);
        self.noticed.iter().chain(self.unsettled.keys()).chain(displaced).cloned().collect()
    }

    /// Looks at the files of a directory that are named; says whether one is gone.
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
                None if self.is_expected(file) => return Ok(true),
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
        let mut ids = HashSet::new();
        for (name, stat) in &found {
            self.look_at(collection, name, *stat, look, &mut ids, seen)?;
        }
        self.look_for_gone(collection, &found, &entries, look, &ids, seen);
        Ok(())
    }

    /// Whether the engine left something in this file.
    fn is_expected(&self, file: &str) -> bool {
        let is_known = self.placed.contains_key(file) || self.held.contains_key(file);
        is_known && self.pending.get(file) != Some(&Target::Nothing)
    }

    /// Forgets what was known of a file that is not the engine's and is gone.
    fn forget(&mut self, file: &str) {
        self.noticed.remove(file);
        self.unsettled.remove(file);
        self.strangers.remove(file);
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
        if !name.ends_with(".json") || names::is_editor_file(name) {
            return Ok(());
        }
        let is_known = |known: Option<&Option<Stat>>| known == Some(&Some(stat));
        let is_untouched =
            self.placed.get(&file).is_some_and(|placed| placed.is_untouched(Some(&stat)));
        let is_seen = is_untouched && !self.held.contains_key(&file)
            || is_known(self.held.get(&file))
            || is_known(self.strangers.get(&file));
        if is_seen {
            self.forget_doubt(&file);
            return Ok(());
        }
        if stat.kind != Kind::File {
            return self.found_no_file(file, stat, seen);
        }
        let bytes = match read_file(look.fs, &file, BYTES_MAX) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) => {
                let why = format!("it cannot be read ({error})");
                self.hold_and_tell(collection, file, stat, &why, seen);
                return Ok(());
            }
        };
        let hash = ContentHash::of(&bytes);
        if self.is_ours(&file, hash, stat) {
            return Ok(());
        }
        if look.is_patient && !self.has_settled(&file, Some(stat), look)? {
            return Ok(());
        }
        self.unsettled.remove(&file);
        match document_in(collection, &bytes) {
            Err(why) => self.hold_and_tell(collection, file, stat, &why, seen),
            Ok((inside, text)) => {
                let put_back =
                    if self.placed.contains_key(&file) { PutBack::IfEarlier } else { PutBack::No };
                let (length, stat) = (bytes.len() as u64, Some(stat));
                let theirs = Theirs { text, hash, length, stat, put_back, displaced: None };
                self.found_document(collection, name, inside, theirs, look, ids, seen);
            }
        }
        Ok(())
    }

    /// Nothing in this file needs another look.
    fn forget_doubt(&mut self, file: &str) {
        self.noticed.remove(file);
        self.unsettled.remove(file);
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
        let is_ours = is_placed || attempts.any(|attempt| attempt.hash == hash);
        if is_ours {
            self.held.remove(file);
            self.forget_doubt(file);
        }
        is_ours
    }

    /// Whether a file has been as it is for long enough.
    fn has_settled(&mut self, file: &str, stat: Option<Stat>, look: &Look<'_>) -> Result<bool> {
        let fresh = (stat, look.now);
        let since = self.unsettled.entry(file.to_owned()).or_insert(fresh);
        if since.0 != stat {
            *since = fresh;
        }
        let age = look.now.saturating_sub(since.1);
        let is_young = if stat.is_none() { age < BELIEVED_AFTER } else { age < SETTLES_AFTER };
        Ok(!is_young && (age >= BELIEVED_AFTER || !is_open_for_writing(look.fs, file)?))
    }

    fn found_no_file(&mut self, file: String, stat: Stat, seen: &mut Seen) -> Result<()> {
        self.forget_doubt(&file);
        let detail = "it is no regular file; it is left alone";
        seen.tell(ProblemKind::Unreadable, &file, detail);
        if self.is_expected(&file) {
            self.held.insert(file, Some(stat));
        } else {
            self.strangers.insert(file, Some(stat));
        }
        Ok(())
    }

    fn hold_and_tell(
        &mut self,
        collection: Collection,
        file: String,
        stat: Stat,
        why: &str,
        seen: &mut Seen,
    ) {
        let in_force = if self.is_expected(&file) {
            format!("and the last good version of its {collection} stays in force")
        } else {
            format!("and no {collection} is made of it")
        };
        let detail = format!("{why}; it is left as it is until it is mended, {in_force}");
        seen.tell(ProblemKind::Unreadable, &file, detail);
        if self.is_expected(&file) || self.pending.contains_key(&file) {
            self.hold(&file, Some(stat));
        } else {
            self.forget_doubt(&file);
            self.strangers.insert(file, Some(stat));
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
            Whose::Own(id) => (id, true),
            Whose::Other(id) => {
                let own = join(collection.dir(), &self.names(collection).file_name(&id));
                let is_present = look.table.get(collection, id.as_str()).is_some();
                // A file that cannot be looked at is there.
                let has_file = is_present && !matches!(look.fs.stat(&own), Ok(None));
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
        seen.tell(ProblemKind::Edited, &file, detail);
        self.forget_doubt(&file);
        self.strangers.insert(file, stat);
    }

    /// Tells which files of a directory were removed: their documents are deleted, or they are restored.
    fn look_for_gone(
        &mut self,
        collection: Collection,
        found: &BTreeMap<&str, Stat>,
        entries: &[fs::Entry],
        look: &Look<'_>,
        ids: &HashSet<DocumentId>,
        seen: &mut Seen,
    ) {
        let dir = collection.dir();
        let mut gone: Vec<(String, DocumentId)> = Vec::new();
        let mut documents = 0_usize;
        for (id, _) in look.table.iter(collection) {
            let name = self.names(collection).file_name(id);
            let file = join(dir, &name);
            if !self.is_expected(&file) {
                continue;
            }
            documents += 1;
            if !found.contains_key(name.as_str()) && !ids.contains(id) {
                gone.push((file, id.clone()));
            }
        }
        // What is noted of other files that are gone is of no more use.
        let prefix = join(dir, "");
        let is_there = |file: &String| {
            let name = file.strip_prefix(&prefix);
            name.is_none_or(|name| found.contains_key(name))
        };
        self.strangers.retain(|file, _| is_there(file));
        self.noticed.retain(is_there);
        self.unsettled.retain(|file, (stat, _)| stat.is_none() || is_there(file));
        let all = documents > 0 && gone.len() == documents;
        let too_many = all || gone.len() > deletions_max(documents);
        let mut restored = 0_usize;
        for (file, id) in gone {
            let target = Target::Document(collection, id.clone());
            if self.held.remove(&file).is_some() {
                seen.tell(
                    ProblemKind::Missing,
                    &file,
                    "what could not be read is gone; it is written anew",
                );
                self.placed.remove(&file);
                self.pending.insert(file, target);
                continue;
            }
            if look.is_patient && !self.has_settled(&file, None, look).unwrap_or(false) {
                continue;
            }
            self.unsettled.remove(&file);
            let name = file.strip_prefix(&prefix).unwrap_or(&file);
            if too_many || has_editor_file(entries, name) {
                restored += 1;
                self.placed.remove(&file);
                self.pending.insert(file, target);
                continue;
            }
            seen.edits.push(Edit { collection, id, file, now: Now::Gone });
        }
        if restored > 0 {
            let detail = format!(
                "{restored} of the files of {documents} documents are gone, which is too many to believe, or \
                 editors are at them; they are restored; to delete documents, use `walden delete`"
            );
            seen.tell(ProblemKind::Missing, dir, detail);
        }
    }

    /// Whether the engine knows that it left something in this file.
    pub fn knows(&self, file: &str) -> bool {
        self.placed.contains_key(file)
    }

    /// Whether the file of a document shows it as it is, as far as the engine knows.
    pub fn shows(&self, file: &str, lsn: crate::base::Lsn) -> bool {
        self.placed.get(file).is_some_and(|Placed { lsn: shown, .. }| *shown >= lsn)
    }
}
