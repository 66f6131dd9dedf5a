//! Telling what a mirror file holds: the engine's own work, whole or not, or somebody else's. Reads
//! only, and no more than it must.
//!
//! After a clean stop a file whose `stat` is as recorded, and which was recorded as showing its
//! document as it is now, is not read. Same `stat` and other bytes is *rot*, another `stat` and other
//! bytes an edit; white space alone is neither. After an unclean stop no `stat` says that contents
//! reached the medium: everything is read.
//!
//! Invariant: contents are called the engine's only if they are known by hash, by text, or sector for
//! sector.

use std::io::ErrorKind;
use std::sync::Arc;

use super::contents::{document_in, is_laid_out_otherwise, is_part_of};
use super::edit::{PutBack, Source, Theirs};
use super::{Entry, Former, Known, Placed, Recorded};
use crate::base::{ContentHash, DocumentId, Lsn, Problem, ProblemKind};
use crate::files::conflicts::holds;
use crate::files::{names, stat};
use crate::fs::{Fs, Kind, Stat, read_file};
use crate::state::json::pretty;
use crate::state::{Collection, Doc, Table};

/// A longer mirror file is not read, unless the engine's own version is as long.
pub(super) const BYTES_MAX: u64 = 256 << 20;
/// So much of what is about to be replaced is remembered.
const FORMER_BYTES_MAX: usize = 64 << 20;
/// So many files that belong to nobody are reported one by one in each directory.
pub(super) const STRANGERS_MAX: usize = 100;

/// What a file holds.
#[derive(Debug)]
pub(super) enum Contents {
    Missing,
    /// As the document is now.
    Current(Placed),
    /// A link, directory, FIFO or device.
    NoFile,
    /// An earlier version of the engine's.
    Earlier(Placed),
    /// A version of the engine's of which not every sector reached the medium.
    Torn(Placed),
    /// Nothing but zeroes, or nothing at all.
    Blank(Placed),
    /// What is not what the engine left there, though nobody wrote to it.
    Rotten(Placed),
    /// A document of somebody else's.
    Other(DocumentId, Box<Theirs>),
    /// No JSON object, and why.
    Invalid(String),
    /// What cannot be read, and why.
    Unreadable(String),
    /// What is not what was written, and nobody can tell whether somebody wrote to it.
    Undecided,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    Clean,
    Unclean,
}

pub(super) struct Judge<'a> {
    pub(super) fs: &'a dyn Fs,
    pub(super) table: &'a Table,
    pub(super) known: &'a Known<'a>,
    pub(super) stop: Stop,
    /// The last time that the file system's clock is known to have given before anything was read (to
    /// `wal/`, where every mirror file is written): a file changed before it was not changed since it
    /// was read, if its `stat` is the same.
    pub(super) past_ns: i64,
    pub(super) problems: Vec<Problem>,
    /// Files of a directory that belong to no document, so far.
    pub(super) strangers: usize,
    /// Earlier versions that files show, and how many bytes those are.
    pub(super) former: Vec<Former>,
    pub(super) former_bytes: usize,
}

impl Judge<'_> {
    pub(super) fn report(&mut self, kind: ProblemKind, file: &str, detail: impl Into<String>) {
        self.problems.push(Problem::new(kind, file, 0, detail));
    }

    /// What the engine would write for a document now.
    fn current(&self, collection: Collection, id: &DocumentId) -> Option<String> {
        self.table.get(collection, id.as_str()).map(|doc| pretty(doc.text()))
    }

    /// What the engine had left in a file, in which there is something else now.
    pub(super) fn left_in(&self, file: &str) -> Placed {
        let mentions = self.known.mentions.get(file).filter(|_| self.stop == Stop::Unclean);
        let last = mentions.and_then(|mentions| mentions.shown.iter().max());
        let recorded = self.recorded(file).filter(|placed| Some(&placed.lsn) >= last);
        recorded.map_or(Placed::UNKNOWN, |placed| Placed { stat: None, ..placed })
    }

    /// What a clean stop left in a document's file: where nothing is recorded, the document as it is.
    pub(super) fn left_by_clean_stop(&self, file: &str, doc: Option<&Arc<Doc>>) -> Placed {
        let left = self.left_in(file);
        doc.filter(|_| left.hash == Placed::UNKNOWN.hash).map_or(left, |doc| laid_out(doc))
    }

    pub(super) fn recorded(&self, file: &str) -> Option<Placed> {
        let Entry { hash, length, lsn, stat, .. } = **self.known.entries.get(file)?;
        Some(Placed { hash, length, lsn, stat })
    }

    /// What is found of a file that belongs to no document: not one by one if there are many.
    pub(super) fn report_stranger(
        &mut self,
        kind: ProblemKind,
        file: &str,
        detail: impl Into<String>,
    ) {
        self.strangers += 1;
        if self.strangers <= STRANGERS_MAX {
            self.report(kind, file, detail);
        }
    }

    /// The rest of them, as one finding, when the directory is done.
    pub(super) fn report_strangers(&mut self, dir: &str) {
        let rest = std::mem::take(&mut self.strangers).saturating_sub(STRANGERS_MAX);
        if rest > 0 {
            let detail = format!("{rest} more files in it are of no document; they are left alone");
            self.report(ProblemKind::Edited, dir, detail);
        }
    }

    /// All that the engine may have written for a document, the present version first.
    pub(super) fn renditions(&self, collection: Collection, id: &DocumentId) -> Vec<String> {
        let earlier = (self.known.earlier)(collection, id);
        self.current(collection, id)
            .into_iter()
            .chain(earlier.iter().map(|text| pretty(text)))
            .collect()
    }

    pub(super) fn read(&self, path: &str, kind: Kind, bytes_max: u64) -> Result<Vec<u8>, Contents> {
        if kind != Kind::File {
            return Err(Contents::NoFile);
        }
        read_file(self.fs, path, bytes_max).map_err(|error| match error.kind() {
            ErrorKind::NotFound => Contents::Missing,
            _ => Contents::Unreadable(format!("it cannot be read ({error})")),
        })
    }

    pub(super) fn of_document(
        &mut self,
        (collection, id): (Collection, &DocumentId),
        doc: &Doc,
        file: &str,
        (kind, stat): (Kind, Option<Stat>),
    ) -> Contents {
        let recorded = self.recorded(file);
        let untouched = recorded.filter(|placed| placed.is_untouched(stat.as_ref()));
        let is_clean = self.stop_of(file) == Stop::Clean;
        if let Some(placed) = untouched
            && is_clean
            && !self.known.reads_all
            && placed.lsn >= doc.lsn()
        {
            return Contents::Current(placed);
        }
        let current = pretty(doc.text());
        let bytes = match self.read(file, kind, BYTES_MAX.max(current.len() as u64)) {
            Ok(bytes) => bytes,
            Err(contents) => return contents,
        };
        let tells = |stat: &Stat| untouched.is_some() || stat.modified_ns < self.past_ns;
        let found = Placed { lsn: doc.lsn(), stat: stat.filter(tells), ..placed(&bytes) };
        let recorded_lsn = recorded.filter(|placed| placed.hash == found.hash);
        let found =
            Placed { lsn: recorded_lsn.map_or(found.lsn, |p| p.lsn.max(found.lsn)), ..found };
        if bytes == current.as_bytes() {
            return Contents::Current(found);
        }
        let has_rotted = self.has_rotted(file, stat, found.hash);
        match has_rotted {
            Some(true) if is_clean => return Contents::Rotten(found),
            None if is_clean => return Contents::Undecided,
            _ => {}
        }
        // What was taken in from it may have its members in another order.
        let is_as_left = recorded_lsn.is_some_and(|placed| placed.lsn >= doc.lsn());
        if is_laid_out_otherwise(&bytes, &current) || is_clean && is_as_left {
            return Contents::Current(found);
        }
        let put_back = match self.engines_own(file, &bytes, &self.renditions(collection, id)) {
            Some(Contents::Earlier(_)) if is_clean => PutBack::Yes,
            Some(Contents::Earlier(found)) => {
                self.remember((collection, id), &bytes);
                return Contents::Earlier(found);
            }
            Some(contents) => return contents,
            None if has_rotted == Some(true) || self.is_quarantined(file, file, found.hash) => {
                return Contents::Rotten(found);
            }
            None if has_rotted.is_none() => return Contents::Undecided,
            None if is_clean => PutBack::IfEarlier,
            None => PutBack::No,
        };
        let Placed { hash, length, .. } = found;
        match document_in(collection, &bytes) {
            Ok((id, text)) => {
                let theirs = Theirs { text, hash, length, stat, put_back, source: Source::File };
                Contents::Other(id, Box::new(theirs))
            }
            Err(why) => Contents::Invalid(why),
        }
    }

    /// What a file shows will be replaced, but somebody may have read it.
    pub(super) fn remember(&mut self, (collection, id): (Collection, &DocumentId), bytes: &[u8]) {
        let left = FORMER_BYTES_MAX.saturating_sub(self.former_bytes);
        let text = document_in(collection, bytes).ok().map(|(_, text)| text);
        if let Some(text) = text.filter(|text| text.len() <= left) {
            self.former_bytes += text.len();
            self.former.push((collection, id.clone(), text));
        }
    }

    /// All that the engine may have left in the file of a document.
    pub(super) fn all_known(
        &self,
        collection: Collection,
        id: &DocumentId,
        file: &str,
    ) -> Vec<Placed> {
        let texts = self.renditions(collection, id);
        let recorded = self.known.versions.get(file).into_iter().flat_map(Recorded::iter);
        let recorded = recorded.map(|(hash, lsn)| Placed { hash, lsn, ..Placed::UNKNOWN });
        let entry = self
            .known
            .entries
            .get(file)
            .map(|entry| Placed { hash: entry.hash, ..Placed::UNKNOWN });
        texts.iter().map(|text| placed(text.as_bytes())).chain(recorded).chain(entry).collect()
    }

    /// How the store was stopped, as far as this file goes: one of which nothing was known at a clean stop,
    /// say because it could not be read, may hold what an unclean one left there.
    pub(super) fn stop_of(&self, file: &str) -> Stop {
        let recorded = self.known.entries.get(file);
        let is_unknown = recorded.is_some_and(|entry| entry.hash == Placed::UNKNOWN.hash);
        if is_unknown { Stop::Unclean } else { self.stop_before(file) }
    }

    /// How the store was stopped before anything was done to this file: an opening that was cut off is no
    /// stop for files that it did not come to.
    pub(super) fn stop_before(&self, file: &str) -> Stop {
        let Known { shut_down, mentions, entries, .. } = *self.known;
        let is_before = |lsn: Lsn| {
            mentions.get(file).is_none_or(|mentions| mentions.changed <= lsn)
                && entries.get(file).is_none_or(|entry| entry.lsn <= lsn)
        };
        if shut_down.is_some_and(is_before) { Stop::Clean } else { self.stop }
    }

    /// Whether nobody can tell a person's contents from the engine's.
    pub(super) fn is_in_doubt(&self, file: &str) -> bool {
        !self.known.is_sound && self.stop_of(file) == Stop::Unclean
    }

    /// Whether a document's file that is gone was removed by somebody: it was there durably, and showed
    /// the document as it is.
    pub(super) fn was_removed(&self, file: &str, doc: &Doc) -> bool {
        let Known { entries, mentions, synced, .. } = *self.known;
        let was_shown = entries.get(file).is_some_and(|entry| entry.lsn >= doc.lsn());
        let was_durable = mentions.get(file).is_none_or(|mentions| mentions.changed < synced);
        was_shown && was_durable
    }

    /// What somebody left in a file that belongs to no document.
    pub(super) fn of_stranger(
        &self,
        collection: Collection,
        file: &str,
        (kind, stat): (Kind, Option<Stat>),
    ) -> Contents {
        let bytes = match self.read(file, kind, BYTES_MAX) {
            Ok(bytes) => bytes,
            Err(contents) => return contents,
        };
        let found = placed(&bytes);
        match self.has_rotted(file, stat, found.hash) {
            Some(true) => return Contents::Rotten(found),
            None => return Contents::Undecided,
            Some(false) => {}
        }
        // What was taken in from it, before it could be removed.
        let is_recorded =
            self.known.versions.get(file).is_some_and(|all| all.get(found.hash).is_some());
        if is_recorded && self.stop == Stop::Unclean {
            return Contents::Earlier(found);
        }
        let Placed { hash, length, .. } = found;
        match document_in(collection, &bytes) {
            Ok((id, text)) => {
                let put_back = PutBack::No;
                let theirs = Theirs { text, hash, length, stat, put_back, source: Source::File };
                Contents::Other(id, Box::new(theirs))
            }
            Err(why) => Contents::Invalid(why),
        }
    }

    /// Whether a file is not what was written, though nobody wrote to it until it had been read: its `stat` is
    /// as recorded, before that and since. `None` where one of the two cannot be had.
    fn has_rotted(&self, file: &str, before: Option<Stat>, hash: ContentHash) -> Option<bool> {
        let entry = self.known.entries.get(file).filter(|entry| entry.hash != hash);
        let Some(written) = entry.and_then(|entry| entry.stat) else { return Some(false) };
        let after = || stat(self.fs, file).ok().map(|after| after == before);
        let is_rot = before.and_then(|now| if now == written { after() } else { Some(false) });
        // In a damaged store it goes to `conflicts/`, whoever wrote it.
        is_rot.or_else(|| self.is_in_doubt(file).then_some(false))
    }

    /// Whether a crash came between the copying of a damaged file to `quarantine/` and its end: its
    /// `stat` may have changed since. What was written after the copy is somebody's, though it be the same.
    pub(super) fn is_quarantined(&self, path: &str, file: &str, hash: ContentHash) -> bool {
        let copy = names::quarantine(file, hash, 0);
        if self.stop == Stop::Clean || !holds(self.fs, &copy, hash).unwrap_or(false) {
            return false;
        }
        let modified = |path| stat(self.fs, path).ok().flatten().map(|stat| stat.modified_ns);
        modified(path) <= modified(&copy)
    }

    /// Up to which LSN a file is known to have held contents of this hash, if it is.
    fn recorded_as(&self, file: &str, hash: ContentHash) -> Option<Lsn> {
        let Known { entries, versions, .. } = self.known;
        let entry = entries.get(file).filter(|entry| entry.hash == hash).map(|entry| entry.lsn);
        entry.or_else(|| versions.get(file)?.get(hash))
    }

    /// Whether the contents of a file are an earlier version of the engine's, or half of one.
    pub(super) fn engines_own(
        &self,
        file: &str,
        bytes: &[u8],
        renditions: &[String],
    ) -> Option<Contents> {
        let found = placed(bytes);
        // An editor may leave out the newline at the end, and a crash too: it is that version all the same.
        let whole = (!bytes.ends_with(b"\n")).then(|| ContentHash::of(&[bytes, b"\n"].concat()));
        let mut hashes = [Some(found.hash), whole].into_iter().flatten();
        if let Some(lsn) = hashes.find_map(|hash| self.recorded_as(file, hash)) {
            return Some(Contents::Earlier(Placed { lsn, ..found }));
        }
        let is_text = |text: &String| text.trim_end().as_bytes() == bytes.trim_ascii_end();
        if renditions.iter().any(is_text) {
            return Some(Contents::Earlier(found));
        }
        if bytes.iter().all(|byte| *byte == 0) {
            return Some(Contents::Blank(found));
        }
        let is_torn = renditions.iter().any(|text| is_part_of(bytes, text.as_bytes()));
        is_torn.then_some(Contents::Torn(found))
    }
}

/// A document's file as the engine writes it.
fn laid_out(doc: &Doc) -> Placed {
    Placed { lsn: doc.lsn(), ..placed(pretty(doc.text()).as_bytes()) }
}

pub(super) fn placed(bytes: &[u8]) -> Placed {
    let (hash, length) = (ContentHash::of(bytes), bytes.len() as u64);
    Placed { hash, length, lsn: Lsn::ZERO, stat: None }
}
