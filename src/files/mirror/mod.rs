//! The mirror: `tasks/*.json` and `sessions/*.json`, a cache of the state for people.
//!
//! One document a file, laid out for reading. A pass has three parts, so that nothing outside
//! `wal/` is ever ahead of the log: [`Mirror::plan`] says which files must change; the engine
//! records those changes and makes the records durable; [`Mirror::apply`] makes each of them.
//!
//! Invariants: whole files only, by rename or exchange; what lies in a file's place is removed only
//! if its contents are known to be the engine's, and is left for a look ([`Mirror::look`]) otherwise; a
//! change that was not made stays pending and is planned again. What the engine knows of each file
//! ([`Mirror::entries`]) is never more than it saw of its own doing.

mod apply;
mod contents;
mod dir;
mod due;
mod edit;
mod gone;
mod judge;
mod known;
mod leftovers;
mod linger;
mod listing;
mod look;
mod open;
mod orphans;
mod shown;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::ErrorKind;
use std::time::Duration;

use smol_str::SmolStr;

use crate::base::{ContentHash, DocumentId, Error, Lsn, Problem, Result};
use crate::files::conflicts::sync_dir;
use crate::files::names::{self, Names};
use crate::fs::{Fs, Kind, Mode, Stat, join};
use crate::state::json::pretty;
use crate::state::{Collection, Table};

pub use contents::means;
pub use dir::deletions_max;
pub use edit::{Displaced, Edit, Now, PutBack, Source, Theirs};
pub use known::{Entry, Known, Mentions, Recorded};
use leftovers::Leftovers;
use linger::Lingering;
pub use listing::Listing;
pub use look::{Look, Seen};
pub use shown::{Shown, read_shown};

/// Above so many files one flush of the whole file system is cheaper than one each.
const SYNC_EACH_MAX: usize = 64;

/// The mirror as the engine knows it.
#[derive(Debug, Default)]
pub struct Mirror {
    tasks: Names,
    sessions: Names,
    /// What the engine put into each file, as far as it knows. Contents with this hash may be
    /// removed; any other are a person's.
    placed: HashMap<SmolStr, Placed>,
    /// What must still be done to which file.
    pending: BTreeMap<String, Target>,
    /// The file at which the last plan ended, since it was full, and how often plans came by the last file.
    planned_to: String,
    rounds: u64,
    /// Contents that are the engine's too: of changes that failed half-way, and of files that could not be read.
    attempts: HashMap<String, Vec<Placed>>,
    /// Pending files whose place is taken by something that is no regular file.
    blocked: BTreeSet<String>,
    /// Files whose flush failed: their contents must be written anew, into another inode.
    distrusted: BTreeSet<String>,
    /// Files that were written since the last sync, and of what.
    unsynced: BTreeMap<String, Target>,
    /// Directories with changed names since the last sync.
    unsynced_dirs: BTreeSet<String>,
    /// What a crash left in `wal/`.
    leftovers: Leftovers,
    /// Damaged contents, by file: they go to `quarantine/`, not to `conflicts/`.
    damaged: HashMap<String, ContentHash>,
    /// Files that the opening found to be rotten.
    rotten: Vec<String>,
    /// Contents that may be a person's or not, by file: they go to `conflicts/` before their place is taken.
    doubted: HashMap<String, ContentHash>,
    /// Files that may have been removed by a person, or be lost: they are written anew.
    doubted_removals: Vec<String>,
    /// What was found by a change that failed afterwards: reported with the next one.
    unreported: Vec<Problem>,
    /// What people had done when the mirror was opened.
    edits: Vec<Edit>,
    /// What files showed then that are behind.
    former: Vec<Former>,
    /// Files that are left as they are, with their `stat`, if it is known: what is in them does not count.
    held: BTreeMap<String, Option<Stat>>,
    /// Files in whose place a change met what is not the engine's.
    noticed: BTreeSet<String>,
    /// Files that were replaced in the instant in which somebody wrote them.
    displaced: Vec<Displaced>,
    /// What somebody had open for writing when it was replaced, by its name in `conflicts/`.
    lingering: BTreeMap<String, Lingering>,
    /// Files of which it is not sure yet that nobody is at them: their `stat`, and since when it is that.
    unsettled: BTreeMap<String, (Option<Stat>, Duration)>,
    /// Files that belong to nobody, since they were reported.
    strangers: HashMap<String, Stranger>,
    /// Files that mean what their document was as of this LSN, though the engine would lay it out otherwise.
    laid_out: HashMap<String, Lsn>,
    /// A time of the file system's clock that is past.
    past_ns: i64,
}

#[derive(Clone, Copy, Debug)]
struct Placed {
    hash: ContentHash,
    length: u64,
    /// It shows its document as of this LSN; zero if that is not known.
    lsn: Lsn,
    stat: Option<Stat>,
}

impl Placed {
    /// The engine may have left anything in the file.
    const UNKNOWN: Placed = Placed { hash: ContentHash(0), length: 0, lsn: Lsn::ZERO, stat: None };

    /// Whether a file with this `stat` now has not been written to since the engine left it.
    fn is_untouched(&self, now: Option<&Stat>) -> bool {
        self.stat.is_some() && self.stat.as_ref() == now
    }
}

/// A document, and an earlier version of it that its file shows.
pub type Former = (Collection, DocumentId, String);

/// A file of a document that has another, or of none.
#[derive(Clone, Debug, Default)]
struct Stranger {
    /// As it was when it was read.
    stat: Option<Stat>,
    /// The id in it, if it holds a document.
    id: Option<DocumentId>,
}

/// What a file is to hold.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Target {
    Document(Collection, DocumentId),
    Nothing,
}

/// Writing a file costs as much as writing so many bytes.
const FILE_COSTS: u64 = 8 << 10;

/// One file that must be written or removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The file, as in `tasks/a.json`.
    pub file: String,
    /// Its new contents; `None` to remove it.
    pub write: Option<Vec<u8>>,
    /// The hash of the new contents, or of those that are removed.
    pub hash: ContentHash,
    /// The length of the same, in bytes.
    pub length: u64,
    /// The file shows its document as of this LSN afterwards.
    pub lsn: Lsn,
}

impl Mirror {
    /// Which files must change so that the mirror shows `table` as of `lsn`, removals first. `changed` are the
    /// documents that changed since the last plan; changes that were planned and not made are
    /// planned again. A file that holds what it should is none of them.
    ///
    /// Plans up to `bytes_max` bytes of contents (at least one file), each file counted as 8 KiB or what it is
    /// longer. There may be more as long as the plan is not empty; a file whose place is blocked stays pending,
    /// but is not planned.
    pub fn plan(
        &mut self,
        fs: &dyn Fs,
        changed: impl IntoIterator<Item = (Collection, DocumentId)>,
        table: &Table,
        lsn: Lsn,
        bytes_max: u64,
    ) -> Result<Vec<Change>> {
        for (collection, id) in changed {
            let present = table.get(collection, id.as_str()).is_some();
            let names = self.names_mut(collection);
            let others = if present { names.insert(&id) } else { names.remove(&id) };
            for id in others.iter().chain([&id]) {
                self.aim(collection, id, table);
            }
        }
        self.unblock(fs)?;
        if let Err(error) = self.settle_half_done(fs) {
            tracing::debug!(%error, "what is left of a change is settled later");
        }
        let (mut removals, mut writes, mut planned_bytes) = (Vec::new(), Vec::new(), 0_u64);
        let mut done = Vec::new();
        // Where the last plan ended, so that what changes all the time does not keep the rest from being shown.
        let from = std::mem::take(&mut self.planned_to);
        let turn = self.pending.range(from.clone()..).chain(self.pending.range(..from.clone()));
        for (file, target) in turn {
            if self.must_wait(file) {
                continue;
            }
            if planned_bytes >= bytes_max {
                self.planned_to.clone_from(file);
                break;
            }
            match self.change(file, target, table, lsn) {
                None => done.push(file.clone()),
                Some(change) => {
                    let is_removal = change.write.is_none();
                    let bytes = if is_removal { 0 } else { change.length };
                    planned_bytes = planned_bytes.saturating_add(bytes.max(FILE_COSTS));
                    if is_removal { &mut removals } else { &mut writes }.push(change);
                }
            }
        }
        self.rounds += u64::from(self.planned_to < from || self.planned_to.is_empty());
        for file in done {
            if let (Some(Target::Document(..)), Some(placed)) =
                (self.pending.remove(&file), self.placed.get_mut(file.as_str()))
            {
                placed.lsn = lsn;
            }
        }
        removals.append(&mut writes);
        Ok(removals)
    }

    /// Rises whenever plans have come by all files that were pending when it last rose.
    pub fn rounds(&self) -> u64 {
        self.rounds
    }

    /// How many files are not yet as the last plan wanted them, as far as is known without looking.
    pub fn behind(&self) -> usize {
        self.pending.len()
    }

    /// Whether another pass could make some of them so: not all of them have to wait.
    pub fn can_go_on(&self) -> bool {
        let waiting = self.blocked.len() + self.held.len() + self.noticed.len();
        self.pending.len() > waiting || self.pending.keys().any(|file| !self.must_wait(file))
    }

    /// What people had done to the files when the mirror was opened, once.
    pub fn take_edits(&mut self) -> Vec<Edit> {
        std::mem::take(&mut self.edits)
    }

    /// The earlier versions that files showed when the mirror was opened, once; 64 MiB at most.
    pub fn take_former(&mut self) -> Vec<Former> {
        std::mem::take(&mut self.former)
    }

    /// The files that are held, by name.
    pub fn held(&self) -> impl Iterator<Item = &str> {
        self.held.keys().map(String::as_str)
    }

    /// Whether a file's place is taken by something that is not the engine's to replace.
    fn must_wait(&self, file: &str) -> bool {
        self.blocked.contains(file) || self.held.contains_key(file) || self.noticed.contains(file)
    }

    /// Makes everything that was written durable: contents, then names. For a clean shutdown, which says
    /// that nothing half-done is left.
    pub fn sync(&mut self, fs: &dyn Fs) -> Result<()> {
        self.settle_half_done(fs)?;
        let synced = self.sync_contents(fs);
        if synced.is_err() {
            // What a failed flush leaves in memory is not what is on the medium, and flushing it
            // again proves nothing.
            for (file, target) in std::mem::take(&mut self.unsynced) {
                self.distrusted.insert(file.clone());
                self.pending.entry(file).or_insert(target);
            }
        }
        synced?;
        self.unsynced.clear();
        self.sync_dirs(fs)
    }

    /// Whether names have changed since they were last made durable.
    pub fn has_unsynced_names(&self) -> bool {
        !self.unsynced_dirs.is_empty()
    }

    /// Makes the names in the mirror's directories durable, but no contents.
    pub fn sync_dirs(&mut self, fs: &dyn Fs) -> Result<()> {
        while let Some(dir) = self.unsynced_dirs.first() {
            sync_dir(fs, dir)?;
            self.unsynced_dirs.pop_first();
        }
        Ok(())
    }

    fn sync_contents(&self, fs: &dyn Fs) -> Result<()> {
        if self.unsynced.len() > SYNC_EACH_MAX {
            match fs.sync_all() {
                Ok(()) => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Unsupported => {}
                Err(error) => return Err(Error::io("flush", fs.display(""), error)),
            }
        }
        for file in self.unsynced.keys() {
            match fs.open(file, Mode::Read).and_then(|file| file.sync_data()) {
                Ok(()) => {}
                // A person has put something else in its place; that is not ours to make durable.
                Err(error)
                    if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::InvalidInput) => {}
                Err(error) => return Err(Error::io("flush", fs.display(file), error)),
            }
        }
        Ok(())
    }

    /// Notes what the files that `id` can have are to hold, given all names there are now.
    fn aim(&mut self, collection: Collection, id: &DocumentId, table: &Table) {
        let present = table.get(collection, id.as_str()).is_some();
        let current = self.names(collection).file_name(id);
        for name in names::forms(id) {
            let file = join(collection.dir(), &name);
            let target = if present && name == current {
                Target::Document(collection, id.clone())
            } else {
                Target::Nothing
            };
            self.pending.insert(file, target);
        }
    }

    /// What must be done to a pending file, if anything.
    fn change(&self, file: &str, target: &Target, table: &Table, lsn: Lsn) -> Option<Change> {
        let placed = self.placed.get(file).copied();
        let doc = match target {
            Target::Document(collection, id) => table.get(*collection, id.as_str()),
            Target::Nothing => None,
        };
        let file = file.to_owned();
        let Some(doc) = doc else {
            let Placed { hash, length, .. } = placed?;
            return Some(Change { file, write: None, hash, length, lsn });
        };
        let bytes = pretty(doc.text()).into_bytes();
        let (hash, length) = (ContentHash::of(&bytes), bytes.len() as u64);
        let is_shown = self.laid_out.get(&file).is_some_and(|shown| *shown >= doc.lsn());
        let is_there = is_shown || placed.is_some_and(|placed| placed.hash == hash);
        let must = !is_there || self.distrusted.contains(&file);
        must.then_some(Change { file, write: Some(bytes), hash, length, lsn })
    }

    /// Lets files be planned again whose place is free, or taken by a regular file.
    fn unblock(&mut self, fs: &dyn Fs) -> Result<()> {
        let mut free = Vec::new();
        for file in &self.blocked {
            let stat = fs.stat(file);
            let stat = stat.map_err(|error| Error::io("look at", fs.display(file), error))?;
            if stat.is_none_or(|stat| stat.kind == Kind::File) {
                free.push(file.clone());
            }
        }
        for file in free {
            self.blocked.remove(&file);
        }
        Ok(())
    }

    fn names(&self, collection: Collection) -> &Names {
        match collection {
            Collection::Task => &self.tasks,
            Collection::Session => &self.sessions,
        }
    }

    fn names_mut(&mut self, collection: Collection) -> &mut Names {
        match collection {
            Collection::Task => &mut self.tasks,
            Collection::Session => &mut self.sessions,
        }
    }
}

/// The directory of a mirror file.
fn dir_of(file: &str) -> &str {
    file.split_once('/').map_or("", |(dir, _)| dir)
}
