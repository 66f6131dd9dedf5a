//! `verify`: whether every file of the store is what it should be, down to its last byte.
//!
//! Recovery reads and judges log and snapshot, the mirror's own rules judge the mirror, and a census
//! names every other file; what none of them reads is read here, by as many threads as there are
//! cores. It changes nothing. Its findings do not depend on the order in which files are read.
//!
//! Invariant: whatever an opening may skip because a file's `stat` has not changed, is read here.

use std::collections::{HashMap, HashSet};
use std::io::{self, ErrorKind};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use parking_lot::Mutex;
use serde::Serialize;

use crate::base::{DocumentId, Lsn, Problem, ProblemKind, Result};
use crate::engine::census::{Census, Check, Place, census};
use crate::engine::recovery::{Plan, Rung};
use crate::engine::store::{Builder, Store};
use crate::engine::view::{read_plan, writer_is_alive};
use crate::files::mirror::means;
use crate::files::names::{Names, OWNER, STATE, WAL};
use crate::files::owner::Stage;
use crate::files::snapshot::{self, Parsed};
use crate::files::{backups, stat};
use crate::fs::{Fs, Mode, join, read_file, read_full_at};
use crate::state::Collection;
use crate::state::json::pretty;

const CHUNK_BYTES: usize = 1 << 20;
/// A longer file in the mirror is no document's, and is only read through.
const DOCUMENT_BYTES_MAX: u64 = 1 << 30;

/// What [`verify`] found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Verification {
    /// Whether nothing is damaged, missing or foreign. What people changed, torn ends and stale
    /// leftovers do not make a store unsound.
    pub ok: bool,
    /// Every finding, by file and offset.
    pub problems: Vec<Problem>,
    /// How many regular files were checked.
    pub files: u64,
    /// How many bytes of them were read.
    pub bytes: u64,
    /// How many bytes all files in the directory have: as many as were read, unless a file could not
    /// be read or was changed meanwhile.
    pub bytes_total: u64,
    /// Files that the system did not give to their ends, sorted: of their contents nothing is known.
    /// Not part of the JSON form, where they are findings.
    #[serde(skip)]
    pub unread: Vec<String>,
    /// What is no finding but worth a word: files that others than their owner can use. Not part of
    /// the JSON form.
    #[serde(skip)]
    pub warnings: Vec<String>,
}

/// How far a verification has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Files that were checked.
    pub files: u64,
    /// All files.
    pub files_total: u64,
    /// Bytes of the files that were checked.
    pub bytes: u64,
    /// Bytes of all files.
    pub bytes_total: u64,
}

/// [`Builder::verify`](crate::Builder::verify) of the store in `path`.
pub fn verify(path: impl AsRef<Path>) -> Result<Verification> {
    Store::builder(path).verify()
}

impl Builder {
    /// Checks every byte of every file: log, snapshot, backups and mirror by their checksums and against
    /// each other, the others by reading them to their ends; changes nothing. Names that are nobody's
    /// are told.
    ///
    /// # Errors
    /// `NotFound` if there is no such directory; `Unsupported` as an opening would.
    /// Findings are no errors.
    pub fn verify(&self) -> Result<Verification> {
        self.verify_with(&|_| {})
    }

    /// Verifies as [`Builder::verify`] does, and calls `tell` after every file, on the thread that
    /// read it, never two at once.
    pub fn verify_with(&self, tell: &(dyn Fn(Progress) + Sync)) -> Result<Verification> {
        Verifier { fs: &*self.existing_fs()?, threads: self.makes_threads(), tell }.verify()
    }
}

/// How a verification is made.
pub(crate) struct Verifier<'a> {
    pub(crate) fs: &'a dyn Fs,
    /// Whether threads may be made.
    pub(crate) threads: bool,
    /// Told after every file, by whichever thread has read it, and never by two at once.
    pub(crate) tell: &'a (dyn Fn(Progress) + Sync),
}

/// What is known when the files are checked one by one.
struct Known<'a> {
    fs: &'a dyn Fs,
    /// `None` if the log's directory is blocked, so that there is nothing to recover from.
    plan: Option<&'a Plan>,
    /// The documents that mirror files must show; empty where a file may well lag behind.
    documents: HashMap<String, (Collection, DocumentId)>,
    /// Files of which something was found already.
    told: HashSet<String>,
}

impl Verifier<'_> {
    /// Verifies a store that nobody has to have locked.
    pub(crate) fn verify(&self) -> Result<Verification> {
        let census = census(self.fs)?;
        if census.is_blocked(WAL) {
            return self.examine(census, None);
        }
        let (plan, writer_alive) = read_plan(self.fs)?;
        // Beside a writer the mirror is changing; it is its own to watch.
        let is_quiet = !writer_alive && !writer_is_alive(self.fs)?;
        self.examine(census, Some((&plan, is_quiet)))
    }

    /// Verifies a store that the caller has locked.
    pub(crate) fn verify_locked(&self) -> Result<Verification> {
        let census = census(self.fs)?;
        if census.is_blocked(WAL) {
            return self.examine(census, None);
        }
        let plan = crate::engine::recovery::plan(self.fs)?;
        self.examine(census, Some((&plan, true)))
    }

    /// Puts together what recovery, the mirror, the census and the reading of every file find.
    fn examine(&self, census: Census, plan: Option<(&Plan, bool)>) -> Result<Verification> {
        let mut problems = Vec::new();
        let mut documents = HashMap::new();
        if let Some((plan, is_quiet)) = plan {
            problems.extend(plan.recovery.problems.iter().cloned());
            let is_mirror_blocked =
                Collection::ALL.iter().any(|collection| census.is_blocked(collection.dir()));
            if is_quiet && !is_mirror_blocked {
                problems.extend(plan.mirror(self.fs, true)?.1);
                if plan.recovery.clean {
                    documents = mirror_files(plan);
                }
            }
            problems.extend(lacks(plan, &problems));
        }
        let mut told: HashSet<String> = problems.iter().map(|found| found.file.clone()).collect();
        let warnings = census.warnings();
        let untold = census.problems.into_iter().filter(|found| !told.contains(&found.file));
        problems.extend(untold.collect::<Vec<_>>());
        told.extend(problems.iter().map(|found| found.file.clone()));
        let known = Known { fs: self.fs, plan: plan.map(|(plan, _)| plan), documents, told };
        let Tally { progress, found, mut unread } = self.check_all(&census.places, &known);
        problems.extend(found);
        unread.sort();
        problems.sort_by(|a, b| {
            (&a.file, a.offset, a.kind, &a.detail).cmp(&(&b.file, b.offset, b.kind, &b.detail))
        });
        problems.dedup();
        Ok(Verification {
            ok: problems.iter().all(|problem| problem.kind.is_harmless()),
            problems,
            files: progress.files,
            bytes: progress.bytes,
            bytes_total: progress.bytes_total,
            unread,
            warnings,
        })
    }

    /// Checks every file, on as many threads as there are cores.
    fn check_all(&self, places: &[Place], known: &Known<'_>) -> Tally {
        let total = Progress {
            files_total: places.len() as u64,
            bytes_total: places.iter().map(|place| place.bytes).sum(),
            ..Progress::default()
        };
        let tally = Tally { progress: total, found: Vec::new(), unread: Vec::new() };
        let tally = Mutex::new(tally);
        let next = AtomicUsize::new(0);
        let work = || {
            while let Some(place) = places.get(next.fetch_add(1, Ordering::Relaxed)) {
                let (bytes, found) = known.check(place);
                let mut tally = tally.lock();
                tally.progress.files += 1;
                tally.progress.bytes += bytes;
                tally.found.extend(found);
                if bytes < place.bytes {
                    tally.unread.push(place.path.clone());
                }
                (self.tell)(tally.progress);
            }
        };
        let cores = thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let others = if self.threads { cores.min(places.len()).saturating_sub(1) } else { 0 };
        thread::scope(|scope| {
            for _ in 0..others {
                scope.spawn(work);
            }
            work();
        });
        tally.into_inner()
    }
}

/// What the reading of all files has come to.
struct Tally {
    progress: Progress,
    found: Vec<Problem>,
    unread: Vec<String>,
}

/// What should be there after all that was recovered, and is not.
fn lacks(plan: &Plan, problems: &[Problem]) -> Vec<Problem> {
    let is_told = |file: &str| problems.iter().any(|problem| problem.file == file);
    let mut lacks = Vec::new();
    let mut missing = |file: &str, detail: &str| {
        if !is_told(file) {
            lacks.push(Problem::new(ProblemKind::Missing, file, 0, detail));
        }
    };
    if plan.recovery.rung != Rung::Empty && plan.owner.is_none() {
        missing(OWNER, "it is missing; the next opening makes it again");
    }
    let stopped_cleanly =
        plan.owner.is_some_and(|owner| matches!(owner.stage, Stage::Clean { .. }));
    if stopped_cleanly && plan.snapshot_lsn.is_none() && plan.table.last_changed() > Lsn::ZERO {
        missing(STATE, "it is missing although the store was shut down; the next opening saves it");
    }
    lacks
}

/// The file of every document.
fn mirror_files(plan: &Plan) -> HashMap<String, (Collection, DocumentId)> {
    let mut files = HashMap::new();
    for collection in Collection::ALL {
        let mut names = Names::default();
        for (id, _) in plan.shown().iter(collection) {
            names.insert(id);
        }
        for (id, _) in plan.shown().iter(collection) {
            let file = join(collection.dir(), &names.file_name(id));
            files.insert(file, (collection, id.clone()));
        }
    }
    files
}

/// How many bytes of a file were read, and what was found.
type Checked = (u64, Option<Problem>);

impl Known<'_> {
    /// Checks one file. One that cannot be read is a finding.
    fn check(&self, place: &Place) -> Checked {
        match place.check {
            // It was read whole and judged already.
            Check::Recovery if self.plan.is_some() => (place.bytes, None),
            Check::Backup => self.backup(place),
            Check::Swap => self.swap(place),
            Check::Mirror => self.mirror(place),
            Check::Recovery | Check::Readable => self.readable(place),
        }
    }

    fn problem(
        &self,
        kind: ProblemKind,
        place: &Place,
        detail: impl Into<String>,
    ) -> Option<Problem> {
        let is_news = !self.told.contains(&place.path);
        is_news.then(|| Problem::new(kind, &place.path, 0, detail))
    }

    fn unreadable(&self, place: &Place, error: &io::Error) -> Option<Problem> {
        if error.kind() == ErrorKind::NotFound && matches!(stat(self.fs, &place.path), Ok(None)) {
            // Beside a writer files go away.
            return None;
        }
        self.problem(ProblemKind::Unreadable, place, format!("it cannot be read ({error})"))
    }

    fn backup(&self, place: &Place) -> Checked {
        let store = self.plan.and_then(|plan| plan.store);
        match store.map(|store| backups::check(self.fs, store, &place.path)) {
            Some(Ok(found)) => (place.bytes, found.filter(|_| !self.told.contains(&place.path))),
            Some(Err(error)) => {
                (0, self.problem(ProblemKind::Unreadable, place, error.to_string()))
            }
            None => self.readable(place),
        }
    }

    /// What a save left: a snapshot of ours, or what a person had put in the place of `state.json`.
    fn swap(&self, place: &Place) -> Checked {
        let store = self.plan.and_then(|plan| plan.store);
        let detail = "it was taken out of the place of state.json, and the engine did not write it; \
                      it belongs in conflicts/";
        match snapshot::read(self.fs, &place.path) {
            Ok(Some(Parsed::Intact(snapshot))) if Some(snapshot.store) == store => {
                (place.bytes, None)
            }
            Ok(Some(_)) => (place.bytes, self.problem(ProblemKind::Edited, place, detail)),
            Ok(None) => (0, None),
            Err(error) => (0, self.problem(ProblemKind::Unreadable, place, error.to_string())),
        }
    }

    /// Holds a document's file against the document where a person has not been told of: then the
    /// bytes can only have changed without the file system's knowledge.
    fn mirror(&self, place: &Place) -> Checked {
        let document = self.documents.get(&place.path).filter(|_| !self.told.contains(&place.path));
        let doc = document
            .zip(self.plan)
            .and_then(|((collection, id), plan)| plan.shown().get(*collection, id.as_str()));
        let Some(doc) = doc.filter(|_| place.bytes <= DOCUMENT_BYTES_MAX) else {
            return self.readable(place);
        };
        let bytes = match read_file(self.fs, &place.path, DOCUMENT_BYTES_MAX) {
            Ok(bytes) => bytes,
            Err(error) => return (0, self.unreadable(place, &error)),
        };
        let shows = bytes == pretty(doc.text()).as_bytes() || means(&bytes, doc.text());
        let detail = "its bytes are not those that were written, though nothing tells of a change; \
                      the document itself is intact";
        let found = if shows { None } else { self.problem(ProblemKind::Corrupt, place, detail) };
        (bytes.len() as u64, found)
    }

    /// Reads a file to its end.
    fn readable(&self, place: &Place) -> Checked {
        let mut bytes = 0;
        let read = self.fs.open(&place.path, Mode::Read).and_then(|file| {
            let length = usize::try_from(place.bytes).unwrap_or(CHUNK_BYTES);
            let mut chunk = vec![0; length.clamp(1, CHUNK_BYTES)];
            loop {
                match read_full_at(&*file, &mut chunk, bytes)? {
                    0 => return Ok(()),
                    length => bytes += length as u64,
                }
            }
        });
        (bytes, read.err().and_then(|error| self.unreadable(place, &error)))
    }
}

impl Census {
    fn is_blocked(&self, dir: &str) -> bool {
        self.blocked.iter().any(|blocked| blocked == dir)
    }
}

#[cfg(test)]
#[path = "verify_tests.rs"]
mod tests;
