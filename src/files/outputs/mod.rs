//! Outputs: session logs and reports, which the log keeps exact in plain files.
//!
//! The order of an append: [`Output::place`] says where it goes, the engine logs that and waits until
//! it is durable, [`Output::put`] writes the file. Of a replacement: [`Output::prepare`] makes the new
//! contents durable in `wal/`, the engine logs them, [`Output::replace`] gives them the name. So new
//! contents that still wait there are known not to have had the name yet, whatever the file holds.
//!
//! A *generation* begins whenever a file's contents start anew: by a replacement, or by an append that
//! finds the file missing, replaced, or of another length than the engine left it. Before it is logged,
//! what is in the file is flushed, so the records of earlier generations are of no more use.
//!
//! Invariants: a file whose flush failed is never flushed again, its contents get another inode; what
//! could not be written is kept, and tried again before anything else is done to that file.

mod version;

use std::sync::Arc;

use crate::base::{ContentHash, ContentHasher, Error, Problem, ProblemKind, Result};
use crate::files::conflicts::{ensure_dir, keep, keep_bytes, sync_dir};
use crate::files::names::{self, OutputKind, WAL};
use crate::files::stat;
use crate::fs::replace::{remove_if_any, write_temporary};
use crate::fs::{File, Fs, Kind, Mode, Stat, read_file, split};

pub(crate) use version::{Logged, Version};
use version::{Settled, place};

/// The largest file that is copied to another inode, in memory, after its flush failed.
const COPY_BYTES_MAX: u64 = 1 << 30;

/// One output file, as far as it is known.
#[derive(Debug)]
pub(crate) struct Output {
    file: String,
    left: Option<Left>,
    /// What is logged and not in the file.
    pending: Option<Version>,
    unflushed: Option<Unflushed>,
    is_name_unflushed: bool,
    is_distrusted: bool,
}

/// A file as the engine left it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Left {
    /// `None` if somebody continued it, so that the next append begins a new one.
    generation: Option<u64>,
    id: FileId,
}

/// What tells that a file was replaced, cut or continued by somebody else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FileId {
    device: u64,
    inode: u64,
    length: u64,
}

/// What was written and not flushed: everything from an offset on.
#[derive(Debug)]
struct Unflushed {
    handle: Arc<dyn File>,
    from: u64,
    length: u64,
    hasher: ContentHasher,
}

/// Where an append goes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) generation: u64,
    pub(crate) offset: u64,
    seen: Option<FileId>,
}

impl Output {
    pub(crate) fn new(file: String) -> Self {
        Output {
            file,
            left: None,
            pending: None,
            unflushed: None,
            is_name_unflushed: false,
            is_distrusted: false,
        }
    }

    pub(crate) fn file(&self) -> &str {
        &self.file
    }

    fn dir(&self) -> &str {
        split(&self.file).map_or("", |(dir, _)| dir)
    }

    /// What has the name now; an error if it is no regular file.
    fn look(&self, fs: &dyn Fs) -> Result<Option<FileId>> {
        match stat(fs, &self.file)? {
            Some(found) if found.kind != Kind::File => Err(self.is_taken(fs)),
            found => Ok(found.map(|found| id_of(&found))),
        }
    }

    fn is_taken(&self, fs: &dyn Fs) -> Error {
        let why = "it is no regular file (a link, directory, FIFO or device); move it away";
        Error::Conflict { what: fs.display(&self.file), why: why.to_owned() }
    }

    /// Writes what an earlier call could not; says what it found of people's.
    pub(crate) fn retry(&mut self, fs: &dyn Fs) -> Result<Option<Problem>> {
        if self.pending.is_some() {
            self.look(fs)?;
        }
        self.pending.take().map_or(Ok(None), |version| self.put(fs, version))
    }

    /// Where the next append goes: behind what the engine left, or behind what somebody made of it,
    /// in the new generation that `next` names. Then all that is there is made durable first.
    pub(crate) fn place(&mut self, fs: &dyn Fs, next: u64) -> Result<Place> {
        let seen = self.look(fs)?;
        if let Some(Left { generation: Some(generation), id }) = self.left
            && Some(id) == seen
        {
            return Ok(Place { generation, offset: id.length, seen });
        }
        ensure_dir(fs, self.dir())?;
        if self.is_distrusted {
            self.copy_anew(fs)?;
        }
        self.flush_contents(fs)?;
        if seen.is_some() {
            let flushed = fs.open(&self.file, Mode::Write).and_then(|file| file.sync_data());
            flushed.map_err(|error| Error::io("flush", fs.display(&self.file), error))?;
        }
        sync_dir(fs, self.dir())?;
        Ok(Place { generation: next, offset: seen.map_or(0, |seen| seen.length), seen })
    }

    /// Whether the file is still what it was when the place was chosen.
    pub(crate) fn is_still(&self, fs: &dyn Fs, place: &Place) -> Result<bool> {
        Ok(self.look(fs)? == place.seen)
    }

    /// Makes the whole new contents durable in `wal/`, for a replacement. A version that somebody else
    /// made of a file that the engine knew is kept in `conflicts/`, and reported.
    pub(crate) fn prepare(
        &mut self,
        fs: &dyn Fs,
        generation: u64,
        bytes: &[u8],
    ) -> Result<Option<Problem>> {
        let seen = self.look(fs)?;
        ensure_dir(fs, self.dir())?;
        let mut problem = None;
        if seen.is_some() && self.left.is_some_and(|left| Some(left.id) != seen) {
            let kept = keep(fs, &self.file, &self.file)?;
            let detail = format!("somebody changed it before it was replaced; theirs is {kept}");
            problem = Some(Problem::new(ProblemKind::Edited, &*self.file, 0, detail));
        }
        write_temporary(fs, &names::output_part(&self.file, generation), bytes, true)?;
        if let Err(error) = sync_dir(fs, WAL) {
            if let Err(error) = self.discard(fs, generation) {
                tracing::debug!(%error, "contents that were not logged stay until the next opening");
            }
            return Err(error);
        }
        Ok(problem)
    }

    /// Forgets what was prepared and not logged.
    pub(crate) fn discard(&self, fs: &dyn Fs, generation: u64) -> Result<()> {
        remove_if_any(fs, &names::output_part(&self.file, generation)).map(drop)
    }

    /// Gives contents that were prepared and logged the file's name.
    pub(crate) fn replace(&mut self, fs: &dyn Fs, version: Version) -> Result<()> {
        if let Some(older) = self.pending.take()
            && let Err(error) = self.discard(fs, older.generation)
        {
            tracing::debug!(%error, "contents that are replaced stay until the next opening");
        }
        let part = names::output_part(&self.file, version.generation);
        let placed = place(fs, &part, &self.file);
        match placed.and_then(|found| found.ok_or_else(|| self.is_taken(fs))) {
            Ok(found) => {
                self.left = Some(Left { generation: Some(version.generation), id: id_of(&found) });
                // They were flushed before they had the name.
                self.unflushed = None;
                self.is_distrusted = false;
                self.is_name_unflushed = true;
                Ok(())
            }
            Err(error) => {
                self.pending = Some(version);
                Err(error)
            }
        }
    }

    /// Brings the file to a logged version. On an error, that is still to be done.
    pub(crate) fn put(&mut self, fs: &dyn Fs, version: Version) -> Result<Option<Problem>> {
        let done = match version.settle(fs, &self.file) {
            Ok(Settled::Done(handle, found)) => {
                self.note(&version, handle, &found);
                Ok(None)
            }
            Ok(Settled::Taken) => self.set_aside(fs, &version).map(Some),
            Err(error) => Err(error),
        };
        if done.is_err() {
            self.pending = Some(version);
        }
        done
    }

    /// Remembers what is in the file now.
    fn note(&mut self, version: &Version, handle: Arc<dyn File>, found: &Stat) {
        let generation = Some(version.generation);
        let continues = self.left.is_some_and(|left| left.generation == generation);
        let is_end = version.end() == found.size_bytes;
        self.left = Some(Left { generation: generation.filter(|_| is_end), id: id_of(found) });
        self.is_name_unflushed |= !continues;
        let bytes = version.bytes();
        match &mut self.unflushed {
            Some(known) if continues && known.from + known.length == version.start() => {
                known.hasher.write(&bytes);
                known.length += bytes.len() as u64;
            }
            _ => {
                let mut hasher = ContentHasher::default();
                hasher.write(&bytes);
                let (from, length) = (version.start(), bytes.len() as u64);
                self.unflushed = Some(Unflushed { handle, from, length, hasher });
            }
        }
    }

    /// Keeps a logged version in `conflicts/`, where somebody else's has its place.
    fn set_aside(&mut self, fs: &dyn Fs, version: &Version) -> Result<Problem> {
        let copy = names::output_part(&self.file, 0);
        let kept = keep_bytes(fs, &copy, &self.file, &version.bytes())?;
        self.discard(fs, version.generation)?;
        let detail = format!(
            "somebody changed or removed it; what is there is left, what the log holds of it is {kept}"
        );
        Ok(Problem::new(ProblemKind::Edited, &*self.file, version.start(), detail))
    }

    /// Makes contents durable, and writes first what is still to be written. The name is durable only
    /// when the directory is flushed: see [`Output::take_unflushed_name`].
    pub(crate) fn flush(&mut self, fs: &dyn Fs) -> Result<Option<Problem>> {
        let mut problem = None;
        if let Some(version) = self.pending.take() {
            problem = self.put(fs, version)?;
        }
        if self.is_distrusted {
            self.copy_anew(fs)?;
        }
        self.flush_contents(fs)?;
        Ok(problem)
    }

    /// The directory that is to be flushed for the file's name, once.
    pub(crate) fn take_unflushed_name(&mut self) -> Option<&str> {
        std::mem::take(&mut self.is_name_unflushed).then(|| self.dir())
    }

    /// A flush that covered it failed: it gets another inode before the next.
    pub(crate) fn distrust(&mut self) {
        self.is_distrusted = true;
    }

    /// Whether there is nothing to be done for it any more.
    pub(crate) fn is_settled(&self) -> bool {
        let is_open = self.pending.is_some() || self.unflushed.is_some();
        !(is_open || self.is_name_unflushed || self.is_distrusted)
    }

    fn flush_contents(&mut self, fs: &dyn Fs) -> Result<()> {
        let Some(unflushed) = &self.unflushed else { return Ok(()) };
        if let Err(error) = unflushed.handle.sync_data() {
            self.is_distrusted = true;
            return Err(Error::io("flush", fs.display(&self.file), error));
        }
        self.unflushed = None;
        Ok(())
    }

    /// Copies the contents to another inode, which takes the name: what a failed flush left in the
    /// cache is not known to be on the medium, and a second flush would not say.
    fn copy_anew(&mut self, fs: &dyn Fs) -> Result<()> {
        let unsure = |why: &str| Error::Conflict { what: fs.display(&self.file), why: why.into() };
        let seen = self.look(fs)?;
        let Some(left) = self.left.filter(|left| Some(left.id) == seen) else {
            let why = "its flush failed, and somebody replaced it; the log keeps what was in it, and \
                       the next opening settles it";
            return Err(unsure(why));
        };
        let bytes = read_file(fs, &self.file, COPY_BYTES_MAX)
            .map_err(|error| Error::io("read", fs.display(&self.file), error))?;
        if let Some(Unflushed { from, length, hasher, .. }) = &self.unflushed {
            let at = |place: u64| usize::try_from(place).unwrap_or(usize::MAX);
            let written = bytes.get(at(*from)..at(from.saturating_add(*length)));
            if written.map(ContentHash::of) != Some(hasher.finish()) {
                let why = "its flush failed, and its contents are not what was written; the log keeps \
                           them, and the next opening settles it";
                return Err(unsure(why));
            }
        }
        let copy = names::output_part(&self.file, 0);
        let handle = write_temporary(fs, &copy, &bytes, true)?.file;
        // Looked at before it has the name: after that, nothing may fail that says which file it is.
        let found = handle.stat().and_then(|found| fs.rename(&copy, &self.file).map(|()| found));
        let found = found.map_err(|error| Error::io("replace", fs.display(&self.file), error))?;
        self.left = Some(Left { id: id_of(&found), ..left });
        self.unflushed = None;
        self.is_distrusted = false;
        self.is_name_unflushed = true;
        Ok(())
    }
}

fn id_of(stat: &Stat) -> FileId {
    FileId { device: stat.device, inode: stat.inode, length: stat.size_bytes }
}

/// How many files there are of one kind, whoever made them.
pub(crate) fn count(fs: &dyn Fs, kind: OutputKind) -> Result<usize> {
    Ok(files(fs, kind)?.len())
}

/// The files of one kind, as in `logs/session_a.log`.
pub(crate) fn files(fs: &dyn Fs, kind: OutputKind) -> Result<Vec<String>> {
    let dir = kind.dir();
    let entries = match fs.list(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(Error::io("list", fs.display(dir), error)),
    };
    let is_file = |entry: &crate::fs::Entry| entry.kind == Kind::File;
    let names = entries.into_iter().filter(is_file);
    Ok(names.map(|entry| crate::fs::join(dir, &entry.name)).collect())
}
