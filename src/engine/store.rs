//! The store: the handle that programs hold, and how it is opened and shut down.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::base::{Clock, Entropy, Error, Event, OsEntropy, Result, SystemClock};
use crate::engine::checkpoint::{Checkpoint, Reason};
use crate::engine::core::{Core, Surroundings};
use crate::engine::intake::Restored;
use crate::engine::listeners::Listeners;
use crate::engine::open::recover;
use crate::engine::options::Options;
use crate::engine::recovery::Recovery;
use crate::engine::status::{CommitStats, Status};
use crate::engine::sync::{Mutex, thread};
use crate::engine::threads::{Threads, autosave};
use crate::engine::view::{View, open_view};
use crate::files::owner::{self, OwnerFile};
use crate::fs::real::RealFs;
use crate::fs::{Fs, Lock, LockMode};

/// A writer that meets a reader's probe waits it out.
const PROBE_PATIENCE: Duration = Duration::from_millis(100);
/// So many passes more a shutdown makes for people who are at the files at that instant.
const SHUTDOWN_PASSES_MAX: usize = 3;

/// An open store. Clones are handles to the same one; it can be shared between threads freely.
///
/// When the last handle is dropped without [`Store::shutdown`], the store is shut down all the same;
/// an error of that shutdown cannot be returned then: it is told to the listeners as
/// `state:save-error` and logged. Nothing acknowledged at `Sync` depends on it.
///
/// ```
/// use walden::{LogEntry, Store, Task};
///
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("coding-agent-state");
/// let store = Store::open(&path)?;
/// store.save_task(&Task::new("task_123", "Implement authentication"))?; // durable now
/// store.append_task_log("task_123", LogEntry::info("Task started"))?;
/// store.patch_task("task_123", &serde_json::json!({"status": "completed"}))?;
///
/// let task = store.task("task_123")?.expect("it was just saved");
/// assert_eq!(task.logs.len(), 1);
/// store.shutdown()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Store {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) core: Arc<Core>,
    threads: Mutex<Option<Threads>>,
}

/// How a store is opened: path, [`Options`], and (in tests) the surroundings.
#[derive(Clone, Debug)]
pub struct Builder {
    path: PathBuf,
    options: Options,
    fs: Option<Arc<dyn Fs>>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    listeners: Listeners,
    threads: bool,
}

impl Builder {
    /// Sets the options. Default: [`Options::default`].
    #[must_use]
    pub fn options(mut self, options: Options) -> Self {
        self.options = options;
        self
    }

    /// Calls `listener` with every event, from `state:loaded` on. See [`Store::on_event`].
    #[must_use]
    pub fn on_event(self, listener: impl Fn(&Event) + Send + Sync + 'static) -> Self {
        self.listeners.add(Arc::new(listener));
        self
    }

    /// Replaces the disk; the path is then only a name for messages.
    #[must_use]
    pub fn fs(mut self, fs: Arc<dyn Fs>) -> Self {
        self.fs = Some(fs);
        self
    }

    /// Replaces the clock.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Replaces the random source.
    #[must_use]
    pub fn entropy(mut self, entropy: Arc<dyn Entropy>) -> Self {
        self.entropy = entropy;
        self
    }

    /// Makes no threads: waiting for a commit does the writer's work on the waiting thread, and
    /// [`Store::step`] does what time demands. For tests that must be repeatable.
    #[must_use]
    pub fn single_threaded(mut self) -> Self {
        self.threads = false;
        self
    }

    /// Opens the store for writing, making the directory if it is not there. Recovers first, if the
    /// last opening was not shut down.
    ///
    /// # Errors
    /// `Locked` if another opener has it. `Unsupported` if a newer version wrote it. What is damaged or
    /// missing is no error: see [`Store::recovery`]. Whatever the error, what was durable before still is.
    pub fn open(self) -> Result<Store> {
        self.options.check()?;
        let fs = match &self.fs {
            Some(fs) => fs.clone(),
            None => Arc::new(RealFs::create(&self.path).map_err(|e| self.failed("open", e))?),
        };
        let lock = self.lock(&fs)?;
        self.open_locked(fs, lock)
    }

    /// Takes the writer's lock, or says who has it.
    pub(crate) fn lock(&self, fs: &Arc<dyn Fs>) -> Result<Box<dyn Lock>> {
        lock(&self.surroundings(fs.clone()), self.options.lock_wait)
    }

    fn surroundings(&self, fs: Arc<dyn Fs>) -> Surroundings {
        let (clock, entropy) = (self.clock.clone(), self.entropy.clone());
        let place = self.fs.is_none().then(|| self.path.clone());
        Surroundings { fs, clock, entropy, threads: self.threads, place }
    }

    pub(crate) fn open_locked(self, fs: Arc<dyn Fs>, lock: Box<dyn Lock>) -> Result<Store> {
        let around = self.surroundings(fs);
        let Builder { options, listeners, threads, .. } = self;
        let opened = recover(&around, &options)?;
        let (core, unsettled) = opened.into_core(around, options, listeners, lock);
        core.begin_serving(unsettled)?;
        if core.wants_checkpoint() && core.checkpointer.lock().mirror.behind() > 0 {
            core.wishes.lock().checkpoint.get_or_insert(Reason::Interval);
        }
        let threads = if threads { Some(Threads::start(&core)?) } else { None };
        Ok(Store { inner: Arc::new(Inner { core, threads: Mutex::new(threads) }) })
    }

    /// Reads the store without a lock and without changing a byte: also beside a writer (then at most
    /// one flush ahead of what is durable), and on a crashed store.
    ///
    /// # Errors
    /// `NotFound` if there is no such directory; otherwise as [`Builder::open`].
    pub fn open_read_only(self) -> Result<View> {
        open_view(&self.surroundings(self.existing_fs()?))
    }

    pub(crate) fn makes_threads(&self) -> bool {
        self.threads
    }

    /// The disk of a directory that must be there.
    pub(crate) fn existing_fs(&self) -> Result<Arc<dyn Fs>> {
        if let Some(fs) = &self.fs {
            return Ok(fs.clone());
        }
        match RealFs::open(&self.path) {
            Ok(fs) => Ok(Arc::new(fs)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                Err(Error::not_found(self.path.display().to_string()))
            }
            Err(error) => Err(self.failed("open", error)),
        }
    }

    fn failed(&self, action: &'static str, source: std::io::Error) -> Error {
        if source.kind() == std::io::ErrorKind::Unsupported {
            let what = self.path.display().to_string();
            return Error::Unsupported { what, why: source.to_string() };
        }
        Error::io(action, self.path.display().to_string(), source)
    }
}

fn lock(around: &Surroundings, wait: Duration) -> Result<Box<dyn Lock>> {
    let fs = &*around.fs;
    let give_up = around.clock.monotonic().saturating_add(wait.max(PROBE_PATIENCE));
    loop {
        match fs.lock(LockMode::Exclusive) {
            Ok(Some(lock)) => return Ok(lock),
            Ok(None) if around.threads && around.clock.monotonic() < give_up => {
                thread::sleep(Duration::from_millis(5));
            }
            Ok(None) => return Err(Error::Locked { dir: fs.display(""), pid: owner_pid(fs) }),
            Err(source) => return Err(Error::io("lock", fs.display(""), source)),
        }
    }
}

pub(crate) fn owner_pid(fs: &dyn Fs) -> Option<u32> {
    match owner::read(fs) {
        Ok(OwnerFile::Intact(owner)) => Some(owner.pid),
        _ => None,
    }
}

impl Store {
    /// Opens the store in `path` with default options, making the directory if it is not there.
    pub fn open(path: impl AsRef<Path>) -> Result<Store> {
        Store::builder(path).open()
    }

    /// A builder for the store in `path`.
    pub fn builder(path: impl AsRef<Path>) -> Builder {
        Builder {
            path: path.as_ref().to_owned(),
            options: Options::default(),
            fs: None,
            clock: Arc::new(SystemClock::default()),
            entropy: Arc::new(OsEntropy),
            listeners: Listeners::default(),
            threads: true,
        }
    }

    pub(crate) fn core(&self) -> &Arc<Core> {
        &self.inner.core
    }

    /// Makes a checkpoint now: `state.json` durable, the mirror brought up to it, the log cut.
    /// Nothing needs it for durability.
    pub fn checkpoint(&self) -> Result<Checkpoint> {
        self.core().checkpoint(Reason::Request)
    }

    /// Takes every task and session back to what a backup in the store's directory holds, deletions
    /// included; the present state is saved as a backup first. Durable when it returns. Copying the
    /// backup over `state.json` does the same, also while the store is closed.
    ///
    /// # Errors
    /// `Invalid` if it is no backup's name, or of another store; `NotFound`; `Corrupt` if the backup
    /// is damaged. Nothing is changed then.
    pub fn restore(&self, backup: &str) -> Result<Restored> {
        self.core().restore(backup)
    }

    /// Makes every acknowledged write durable, also those made at `Buffered`.
    pub fn sync(&self) -> Result<()> {
        let synced = self.core().writer.lock().sync();
        synced.map(|_| ()).inspect_err(|error| self.core().failed(error))
    }

    /// A consistent read-only copy of the state as it is now. It costs little and pins nothing but
    /// the documents that change afterwards.
    pub fn view(&self) -> View {
        let core = self.core();
        let writer = core.writer.lock();
        let table = core.table.read().clone();
        let lsn = writer.log.as_ref().map_or(table.last_changed(), crate::wal::Log::last_lsn);
        let last_saved = core.facts.lock().last_saved.clone();
        View::new(table, lsn, last_saved, core.recovery.lock().clone())
    }

    /// How this opening found the store.
    pub fn recovery(&self) -> Arc<Recovery> {
        self.core().recovery.lock().clone()
    }

    /// Directory, disk, counts and places, as they are now.
    pub fn status(&self) -> Result<Status> {
        Status::of_core(self.core())
    }

    /// What the log did since this opening.
    pub fn commit_stats(&self) -> CommitStats {
        let writer = self.core().writer.lock();
        writer.log.as_ref().map(|log| CommitStats::from(log.stats())).unwrap_or_default()
    }

    /// Calls `listener` with every event from now on, on the thread that caused it. It must be quick,
    /// and it must not wait for a write of this store, nor shut it down.
    pub fn on_event(&self, listener: impl Fn(&Event) + Send + Sync + 'static) {
        self.core().listeners.add(Arc::new(listener));
    }

    /// Recovers again, in this process, after a failed write or flush made every call answer
    /// `Poisoned`. Writes whose outcome was unknown are then there or not. Without such a failure it
    /// does nothing.
    pub fn reopen(&self) -> Result<()> {
        self.core().reopen()
    }

    /// Does once what the threads of a store do: commits what is queued, and what time demands. Only
    /// of use with [`Builder::single_threaded`].
    pub fn step(&self) {
        let core = self.core();
        core.step();
        core.prepare_wanted();
        core.look();
        core.look_for_edits();
        let checkpoint = core.wishes.lock().checkpoint.take();
        if let Some(reason) = checkpoint {
            autosave(core, reason);
        }
        core.refresh_mirror();
    }

    /// Ends the store: accepts nothing more, commits what is queued, saves snapshot and mirror, makes
    /// both durable, and lets go of the lock. Every other handle answers `Closed` from then on.
    ///
    /// # Errors
    /// If saving fails, what was acknowledged is safe in the log all the same, and the next opening
    /// recovers it.
    pub fn shutdown(&self) -> Result<()> {
        self.inner.shutdown()
    }
}

impl Inner {
    fn shutdown(&self) -> Result<()> {
        let mut threads = self.threads.lock();
        let core = &self.core;
        if core.shut.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        core.queue.stop();
        if let Some(threads) = threads.take() {
            threads.stop(core);
        }
        // Without a writer thread, or on it, nobody else commits what is queued.
        while core.step() {}
        let lsn = core.writer.lock().log.as_ref().map(crate::wal::Log::durable_lsn);
        core.listeners.emit(&Event::ShutdownSave { lsn: lsn.unwrap_or_default() });
        let mut saved = core.checkpoint(Reason::Shutdown).map(|_| ());
        // What was displaced by its own pass is in no file any more: it is taken in now.
        for _ in 0..SHUTDOWN_PASSES_MAX {
            if saved.is_err() || !core.checkpointer.lock().mirror.has_displaced() {
                break;
            }
            saved = core.checkpoint(Reason::Shutdown).map(|_| ());
        }
        let closed = core.close(&saved);
        core.durable.close();
        if let Err(error) = &closed {
            core.listeners.emit(&Event::SaveError { error: error.clone() });
        }
        let ended = saved.and(closed);
        if ended.is_err() {
            core.dump_in_emergency();
        }
        ended
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // The listeners and the log were told already.
        let _ = self.shutdown();
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("dir", &self.core().around.fs.display("")).finish()
    }
}
