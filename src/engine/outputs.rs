//! Session logs and reports: who may write one when, and what of them the log still needs.
//!
//! Each file has a lock, held from choosing the place until the file is written, so that a file is
//! written in the order of the log, while writers of different files share group commits. The records
//! are always flushed before the file is touched, whatever durability the store has otherwise.
//!
//! Lock order: `gate` (shared by calls; alone by `reopen`), a file's lock, then whatever a commit takes;
//! `checkpointer` comes before a file's lock. `known` is a leaf. Listeners are called with none held.

use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde_json::Value;

use crate::base::{DocumentId, Error, Event, Lsn, Problem, ProblemKind, Result};
use crate::engine::core::Core;
use crate::engine::options::Durability;
use crate::engine::store::Store;
use crate::engine::sync::{AtomicBool, Mutex, RwLock, RwLockWriteGuard};
use crate::files::names::{OutputKind, OutputNames, output_part, parse_output_part};
use crate::files::outputs::{Logged, Output, Version, files};
use crate::fs::Fs;
use crate::fs::replace::remove_if_any;
use crate::state::{Op, json};

/// So many files may hold bytes that only the next checkpoint flushes; each has an open handle.
const FILES_MAX: usize = 256;
/// How often an append is begun anew because somebody changes the file.
const ATTEMPTS_MAX: usize = 8;

/// All that an open store knows of its outputs.
#[derive(Debug, Default)]
pub(crate) struct Outputs {
    gate: RwLock<()>,
    known: Mutex<Known>,
    /// Whether a checkpoint has anything to flush.
    is_dirty: AtomicBool,
}

/// The files in use, and (once one was asked for) the names of all.
#[derive(Debug, Default)]
pub(crate) struct Known {
    files: HashMap<String, Arc<Mutex<Output>>>,
    names: Option<OutputNames>,
}

impl Known {
    /// Brings the files to what the log holds of them, durably; `leftovers` are the names in `wal/`.
    /// What cannot be written now is tried again by the next checkpoint, and until then not cut from
    /// the log. After a clean stop there is nothing to do, and what people did since is theirs.
    pub(crate) fn recover(
        fs: &dyn Fs,
        logged: Logged,
        is_clean: bool,
        leftovers: &[String],
    ) -> (Known, Vec<Problem>) {
        for (file, generation) in leftovers.iter().filter_map(|name| parse_output_part(name)) {
            if is_clean || !logged.awaits(&file, generation) {
                let removed = remove_if_any(fs, &output_part(&file, generation));
                let _ = removed.inspect_err(|error| tracing::warn!(%error, "a leftover stays"));
            }
        }
        let mut known = Known::default();
        let mut problems = Vec::new();
        for (file, version) in logged.into_iter().filter(|_| !is_clean) {
            let mut output = Output::new(file.clone());
            match output.put(fs, version) {
                Ok(found) => problems.extend(found),
                Err(error) => {
                    let detail = format!("{error}; the log keeps what belongs there until it can");
                    problems.push(Problem::new(ProblemKind::Unreadable, &*file, 0, detail));
                }
            }
            known.files.insert(file, Arc::new(Mutex::new(output)));
        }
        if let Err(error) = known.flush(fs, &mut problems) {
            tracing::warn!(%error, "outputs are flushed by the next checkpoint");
        }
        (known, problems)
    }

    /// Makes contents and names durable, as far as it can; gives the first failure.
    fn flush(&self, fs: &dyn Fs, problems: &mut Vec<Problem>) -> Result<()> {
        flush(fs, self.files.values(), problems)
    }
}

fn flush<'a>(
    fs: &dyn Fs,
    files: impl Iterator<Item = &'a Arc<Mutex<Output>>>,
    problems: &mut Vec<Problem>,
) -> Result<()> {
    let mut flushed = Ok(());
    let mut dirs = BTreeSet::new();
    let mut named = Vec::new();
    for entry in files {
        let mut output = entry.lock();
        match output.flush(fs) {
            Ok(found) => problems.extend(found),
            Err(error) => flushed = flushed.and(Err(error)),
        }
        if let Some(dir) = output.take_unflushed_name() {
            dirs.insert(dir.to_owned());
            named.push(entry);
        }
    }
    for dir in dirs {
        if let Err(error) = fs.sync_dir(&dir) {
            for entry in &named {
                entry.lock().distrust();
            }
            flushed = flushed.and(Err(Error::io("flush", fs.display(&dir), error)));
        }
    }
    flushed
}

impl Outputs {
    pub(crate) fn new(known: Known) -> Self {
        // What recovery could not flush is for the first checkpoint.
        let is_dirty = AtomicBool::new(!known.files.is_empty());
        Outputs { gate: RwLock::default(), known: Mutex::new(known), is_dirty }
    }

    /// Keeps calls out while the store recovers in place.
    pub(crate) fn close(&self) -> RwLockWriteGuard<'_, ()> {
        self.gate.write()
    }

    /// Takes over what a recovery in place found; the gate is closed.
    pub(crate) fn reset(&self, known: Known) {
        *self.known.lock() = known;
        self.is_dirty.store(true, Ordering::Release);
    }

    pub(crate) fn are_unflushed(&self) -> bool {
        self.is_dirty.load(Ordering::Acquire)
    }

    /// Makes all that was written to outputs durable in their files, so that the log may be cut.
    pub(crate) fn flush(&self, fs: &dyn Fs, problems: &mut Vec<Problem>) -> Result<()> {
        self.is_dirty.store(false, Ordering::Release);
        let files: Vec<_> = self.known.lock().files.values().cloned().collect();
        let flushed = flush(fs, files.iter(), problems);
        drop(files);
        if flushed.is_err() {
            self.is_dirty.store(true, Ordering::Release);
        }
        let mut known = self.known.lock();
        if known.files.len() >= FILES_MAX {
            let is_idle = |entry: &Arc<Mutex<Output>>| {
                Arc::strong_count(entry) == 1
                    && entry.try_lock().is_some_and(|output| output.is_settled())
            };
            known.files.retain(|_, entry| !is_idle(entry));
        }
        flushed
    }

    /// The output of an id, and whether so many are in use that it must be flushed at once.
    fn entry(
        &self,
        fs: &dyn Fs,
        kind: OutputKind,
        id: &DocumentId,
    ) -> Result<(Arc<Mutex<Output>>, bool)> {
        let mut known = self.known.lock();
        if known.names.is_none() {
            let mut names = OutputNames::default();
            for kind in OutputKind::ALL {
                for file in files(fs, kind)?.iter().chain(known.files.keys()) {
                    names.insert(file);
                }
            }
            known.names = Some(names);
        }
        let Known { files, names } = &mut *known;
        let names = names.get_or_insert_default();
        let file = names.file(kind, id);
        names.insert(&file);
        let entry =
            files.entry(file.clone()).or_insert_with(|| Arc::new(Mutex::new(Output::new(file))));
        let entry = entry.clone();
        Ok((entry, files.len() >= FILES_MAX))
    }
}

/// What to tell listeners when no lock is held any more.
type Told = Vec<Event>;

impl Core {
    /// Runs a call on one output, alone with the file.
    fn with_output<T>(
        &self,
        kind: OutputKind,
        id: &str,
        call: impl FnOnce(&mut Output, &mut Told) -> Result<T>,
    ) -> Result<T> {
        let id = DocumentId::new(id)?;
        let mut told = Told::new();
        let done = {
            let _gate = self.outputs.gate.read();
            let fs = &*self.around.fs;
            let (entry, is_full) = self.outputs.entry(fs, kind, &id)?;
            let mut output = entry.lock();
            let done = call(&mut output, &mut told);
            self.outputs.is_dirty.store(true, Ordering::Release);
            if is_full {
                tell(&mut told, output.flush(fs));
            }
            done
        };
        for event in &told {
            self.listeners.emit(event);
        }
        done
    }

    /// A number that no generation of any output had. There is none, and no file may be touched, if
    /// nothing can be logged.
    fn next_generation(&self) -> Result<u64> {
        let mut writer = self.writer.lock();
        let log = writer.log()?;
        match log.poison() {
            Some(cause) => Err(Error::Poisoned { cause: Arc::new(cause.clone()) }),
            None => Ok(log.next_lsn().0),
        }
    }

    fn commit_output(self: &Arc<Self>, op: Op) -> Result<Lsn> {
        self.submit(vec![op], Durability::Sync)?.wait()
    }

    fn check_output(&self, bytes: &[u8]) -> Result<()> {
        let max = self.options.transaction_bytes_max;
        if bytes.len() < max {
            return Ok(());
        }
        let why = format!("an output takes fewer than transaction_bytes_max, {max} bytes, at once");
        Err(Error::invalid(format!("output of {} bytes", bytes.len()), why))
    }

    fn append_output(
        self: &Arc<Self>,
        output: &mut Output,
        bytes: &[u8],
        told: &mut Told,
    ) -> Result<Lsn> {
        let fs = &*self.around.fs;
        self.next_generation()?;
        told.extend(output.retry(fs)?.map(Event::Found));
        for _ in 0..ATTEMPTS_MAX {
            let place = output.place(fs, self.next_generation()?)?;
            let (generation, offset) = (place.generation, place.offset);
            let file = output.file().to_owned();
            let op = Op::AppendOutput { file, generation, offset, bytes: bytes.into() };
            let lsn = self.commit_output(op)?;
            match output.is_still(fs, &place) {
                Ok(false) => continue,
                Ok(true) => {}
                Err(error) => told.push(Event::SaveError { error }),
            }
            tell(told, output.put(fs, Version::new(generation, Some(offset), bytes)));
            return Ok(lsn);
        }
        let why = "somebody else keeps changing it; stop that, or write to another".to_owned();
        Err(Error::Conflict { what: fs.display(output.file()), why })
    }

    /// Logs new contents, and puts them in place; how that went is the second result.
    fn replace_output(
        self: &Arc<Self>,
        output: &mut Output,
        bytes: &[u8],
        told: &mut Told,
    ) -> Result<(Lsn, Result<()>)> {
        let fs = &*self.around.fs;
        let generation = self.next_generation()?;
        // By it, what the engine wrote and could not look at is known from what somebody else did. If it
        // fails again, the new contents heal the file.
        tell(told, output.retry(fs));
        told.extend(output.prepare(fs, generation, bytes)?.map(Event::Found));
        let file = output.file().to_owned();
        let lsn =
            match self.commit_output(Op::WriteOutput { file, generation, bytes: bytes.into() }) {
                Ok(lsn) => lsn,
                Err(error) => {
                    let is_sound = |log: &crate::wal::Log| log.poison().is_none();
                    // Of a log that failed, it is not known whether it holds the record.
                    if self.writer.lock().log.as_ref().is_some_and(is_sound) {
                        output.discard(fs, generation)?;
                    }
                    return Err(error);
                }
            };
        Ok((lsn, output.replace(fs, Version::new(generation, None, bytes))))
    }
}

/// A failure here loses nothing: the record is durable, and the write is tried again.
fn tell(told: &mut Told, done: Result<Option<Problem>>) {
    match done {
        Ok(problem) => told.extend(problem.map(Event::Found)),
        Err(error) => told.push(Event::SaveError { error }),
    }
}

impl Store {
    /// Appends to a session's log, `logs/session_<id>.log`, which it begins if there is none. Durable
    /// when it returns, at any [`Durability`]: what was appended is in the file once, in order, also
    /// after a crash. What somebody else appended is kept; after the file was removed or cut it goes on
    /// with what is there.
    ///
    /// If the record is durable but the file cannot be written, listeners are told
    /// (`state:save-error`), and the write is tried again by the next call for that file, the next
    /// checkpoint and the next opening.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let store = walden::Store::open(dir.path())?;
    /// store.append_session_log("s1", "cloned\n")?;
    /// store.append_session_log("s1", "built\n")?;
    /// let log = std::fs::read_to_string(dir.path().join("logs/session_s1.log"))?;
    /// assert_eq!(log, "cloned\nbuilt\n");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// `Invalid` if the id is, or if `bytes` are not fewer than
    /// [`transaction_bytes_max`](crate::Options::transaction_bytes_max). `Conflict` if something that
    /// is no regular file has the name.
    pub fn append_session_log(&self, id: &str, bytes: impl AsRef<[u8]>) -> Result<Lsn> {
        let (core, bytes) = (self.core(), bytes.as_ref());
        core.check_output(bytes)?;
        core.with_output(OutputKind::SessionLog, id, |output, told| {
            core.append_output(output, bytes, told)
        })
    }

    /// Replaces a session's log, `logs/session_<id>.log`. Durable when it returns; the file holds the
    /// old contents or the new ones, never a mixture. Failures are as with
    /// [`Store::append_session_log`].
    pub fn save_session_log(&self, id: &str, bytes: impl AsRef<[u8]>) -> Result<Lsn> {
        let (core, bytes) = (self.core(), bytes.as_ref());
        core.check_output(bytes)?;
        core.with_output(OutputKind::SessionLog, id, |output, told| {
            let (lsn, written) = core.replace_output(output, bytes, told)?;
            tell(told, written.map(|()| None));
            Ok(lsn)
        })
    }

    /// Saves a report, `reports/report_<id>.json`, laid out for people, replacing any of the same id,
    /// and gives its path. The file is there when it returns, and durable.
    ///
    /// # Errors
    /// `Invalid` if the id is, if the report is no JSON object, is deeper than 128 levels or too large
    /// (see [`Store::append_session_log`]). If the file cannot be written, that is returned; once its
    /// record is durable, it appears all the same when that is possible again.
    pub fn save_report(&self, id: &str, report: &Value) -> Result<PathBuf> {
        self.save_report_json(id, &report.to_string())
    }

    /// [`Store::save_report`] with the report as JSON text, of which digits and escapes are kept.
    pub fn save_report_json(&self, id: &str, report: &str) -> Result<PathBuf> {
        let core = self.core();
        let what = || format!("the report {id:?}");
        json::check_object(report).map_err(|error| error.into_error(what()))?;
        let text = json::pretty(report);
        core.check_output(text.as_bytes())?;
        core.with_output(OutputKind::Report, id, |output, told| {
            let (_, written) = core.replace_output(output, text.as_bytes(), told)?;
            written?;
            Ok(PathBuf::from(core.around.fs.display(output.file())))
        })
    }
}
