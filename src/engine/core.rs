//! What every handle and thread of one open store shares, and how a group is committed.
//!
//! Lock order: `checkpointer`, then `writer`, then `table`; `backups`, the queue's and the handles' own
//! locks are leaves. The table changes only under `writer`, so whoever holds it sees state and log agree. A
//! failure that poisons the log is spread here and nowhere else: it shuts the queue and answers
//! everybody who waits.

use std::borrow::Borrow;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::base::{Clock, Entropy, Error, Event, Lsn, Problem, Result, StoreId};
use crate::engine::changes::Durable;
use crate::engine::checkpoint::{Checkpointer, Reason};
use crate::engine::listeners::Listeners;
use crate::engine::mirror::{DirtySet, Freshness};
use crate::engine::options::Options;
use crate::engine::outputs::Outputs;
use crate::engine::queue::Queue;
use crate::engine::recovery::Recovery;
use crate::engine::sync::{AtomicBool, Condvar, Mutex, Striped};
use crate::engine::watch::Watch;
use crate::files::backups::Backups;
use crate::files::names::WAL;
use crate::fs::{Fs, Lock};
use crate::state::{Doc, Op, Table};
use crate::wal::{Identity, Log, Origin, Preparation, PreparedSegment, Record};

/// The surroundings of a store: disk, time, randomness, and whether it makes threads.
#[derive(Clone, Debug)]
pub(crate) struct Surroundings {
    pub(crate) fs: Arc<dyn Fs>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) threads: bool,
    /// Where the directory lies, if it is a real one.
    pub(crate) place: Option<PathBuf>,
}

impl Surroundings {
    /// Whether several threads may use the disk at once within a call: on a simulated one the order of calls
    /// counts.
    pub(crate) fn overlaps(&self) -> bool {
        self.threads && self.place.is_some()
    }
}

/// The log and what belongs to its end.
pub(crate) struct Writer {
    /// `None` once the store is shut down.
    pub(crate) log: Option<Log>,
    pub(crate) identity: Identity,
    /// Documents changed since the last checkpoint took them.
    pub(crate) dirty: DirtySet,
    /// When the oldest unflushed group was written.
    unflushed_since: Option<Duration>,
    /// When the log was last flushed or written.
    last_active: Duration,
    /// When the writer thread will look at its duties at the latest.
    looks_at: Duration,
    /// The log asks for a checkpoint when it has written so many bytes.
    pub(crate) checkpoint_at_bytes: u64,
    durable: Arc<Durable>,
}

/// What is told of the last checkpoint without waiting for one that is being made.
#[derive(Clone, Debug, Default)]
pub(crate) struct Facts {
    pub(crate) snapshot_lsn: Lsn,
    pub(crate) snapshot_bytes: u64,
    pub(crate) mirror_lsn: Lsn,
    pub(crate) mirror: Freshness,
    pub(crate) last_saved: Option<String>,
    /// The members of `state.json` that a person added.
    pub(crate) others: Arc<str>,
}

/// What is asked of the maintenance thread.
#[derive(Default)]
pub(crate) struct Wishes {
    pub(crate) segment: Option<Preparation>,
    pub(crate) checkpoint: Option<Reason>,
    /// The mirror has begun to lag behind.
    pub(crate) unshown: bool,
    /// Something was heard to happen to the files.
    pub(crate) heard: bool,
    pub(crate) stop: bool,
}

impl Wishes {
    pub(crate) fn are_there(&self) -> bool {
        self.stop
            || self.unshown
            || self.heard
            || self.segment.is_some()
            || self.checkpoint.is_some()
    }
}

pub(crate) struct Core {
    pub(crate) around: Surroundings,
    pub(crate) options: Options,
    pub(crate) store: StoreId,
    pub(crate) queue: Queue,
    pub(crate) writer: Mutex<Writer>,
    /// Held while a segment is prepared; taken before the writer's lock.
    pub(crate) preparing: Mutex<()>,
    pub(crate) table: Striped<Table>,
    pub(crate) durable: Arc<Durable>,
    pub(crate) checkpointer: Mutex<Checkpointer>,
    pub(crate) outputs: Outputs,
    pub(crate) backups: Mutex<Backups>,
    pub(crate) facts: Mutex<Facts>,
    pub(crate) recovery: Mutex<Arc<Recovery>>,
    pub(crate) listeners: Listeners,
    pub(crate) wishes: Mutex<Wishes>,
    pub(crate) wished: Condvar,
    pub(crate) watch: Mutex<Watch>,
    pub(crate) lock: Mutex<Option<Box<dyn Lock>>>,
    pub(crate) shut: AtomicBool,
}

impl Writer {
    pub(crate) fn new(log: Log, identity: Identity, now: Duration, durable: Arc<Durable>) -> Self {
        durable.tell(log.durable_lsn());
        Writer {
            log: Some(log),
            identity,
            dirty: DirtySet::default(),
            unflushed_since: None,
            last_active: now,
            looks_at: Duration::ZERO,
            checkpoint_at_bytes: 0,
            durable,
        }
    }

    pub(crate) fn log(&mut self) -> Result<&mut Log> {
        self.log.as_mut().ok_or(Error::Closed)
    }

    /// Writes records as one group, and flushes them if asked to or due.
    pub(crate) fn write<R: Borrow<Record>>(
        &mut self,
        core: &Core,
        records: &[R],
        sync: bool,
    ) -> Result<Lsn> {
        let now = core.around.clock.monotonic();
        let wall = core.around.clock.now();
        let last_lsn = core.append(self.log()?, records, wall, sync)?;
        self.last_active = now;
        let since = *self.unflushed_since.get_or_insert(now);
        let log = self.log()?;
        let due = log.unflushed_bytes() >= core.options.buffered_bytes_max
            || now.saturating_sub(since) >= core.options.buffered_age_max;
        if sync || due {
            log.sync()?;
        }
        let log = self.log()?;
        let (rest, durable) = (log.unflushed_bytes(), log.durable_lsn());
        if rest == 0 {
            self.unflushed_since = None;
        }
        self.durable.tell(durable);
        Ok(last_lsn)
    }

    /// Notes which documents a transaction changed, with what it `replaced`.
    pub(crate) fn note_changed(&mut self, changes: &[(Lsn, Op)], replaced: &[Option<Arc<Doc>>]) {
        let targets = changes.iter().filter_map(|(_, op)| op.target());
        for ((collection, id), replaced) in targets.zip(replaced) {
            self.dirty.insert(collection, id, replaced.as_ref());
        }
    }

    /// Flushes everything written; gives the durable LSN.
    pub(crate) fn sync(&mut self) -> Result<Lsn> {
        self.unflushed_since = None;
        self.log()?.sync().inspect(|lsn| self.durable.tell(*lsn))
    }
}

impl Core {
    /// Logs what the engine is about to do to its own files; durable when it returns. Tells nobody of
    /// a failure, since its caller holds a lock.
    pub(crate) fn log_own(&self, ops: &[Op]) -> Result<Lsn> {
        let records: Vec<Record> = ops
            .iter()
            .map(|op| {
                let (kind, payload) = op.encode();
                Record::new(kind, Origin::Engine, payload)
            })
            .collect();
        let mut writer = self.writer.lock();
        let written = writer.write(self, &records, true);
        self.wish(&mut writer);
        drop(writer);
        self.queue.nudge();
        written.inspect_err(|_| self.spread_poison())
    }

    /// Tells of a failed write, and spreads it if it poisoned the log. No lock is held.
    pub(crate) fn failed(&self, error: &Error) {
        self.spread_poison();
        self.listeners.emit(&Event::SaveError { error: error.clone() });
    }

    /// If the log is poisoned, nobody gets in any more and nobody waits any more. The queue is shut
    /// under the writer's lock, so that a log that was reopened meanwhile keeps its queue open.
    pub(crate) fn spread_poison(&self) {
        let writer = self.writer.lock();
        let Some(cause) = writer.log.as_ref().and_then(|log| log.poison().cloned()) else { return };
        let poisoned = Error::Poisoned { cause: Arc::new(cause) };
        let queued = self.queue.shut(&poisoned);
        drop(writer);
        for transaction in queued {
            transaction.promise.fail(poisoned.clone());
        }
    }

    /// How far the log may grow before a checkpoint, and how long a changed store goes without one: a
    /// large state is not written over and over.
    pub(crate) fn pace(&self) -> (u64, Duration) {
        const BYTES_PER_SECOND: u64 = 256 << 10;
        let snapshot_bytes = self.facts.lock().snapshot_bytes;
        let interval = Duration::from_secs(snapshot_bytes / BYTES_PER_SECOND);
        let bytes = self.options.checkpoint_log_bytes.max(snapshot_bytes / 2);
        (bytes, self.options.checkpoint_interval.max(interval))
    }

    /// Does what time demands of the log (flush of `Buffered` writes, witness), and says how long
    /// nothing will be due.
    pub(crate) fn duties(&self) -> Option<Duration> {
        let now = self.around.clock.monotonic();
        let wall = self.around.clock.now();
        let mut writer = self.writer.lock();
        let due = self.due(&writer);
        writer.looks_at = due.unwrap_or(Duration::MAX);
        let due = due?;
        if let Some(rest) = due.checked_sub(now).filter(|rest| !rest.is_zero()) {
            return Some(rest);
        }
        let done = match writer.unflushed_since {
            Some(_) => writer.sync().map(|_| ()),
            None => writer.log().and_then(|log| log.witness(wall)).map(|_| ()),
        };
        writer.last_active = now;
        writer.looks_at = now.saturating_add(self.options.witness_after);
        drop(writer);
        if let Err(error) = done {
            self.failed(&error);
        }
        Some(self.options.witness_after)
    }

    /// When time demands something of the log.
    fn due(&self, writer: &Writer) -> Option<Duration> {
        match (writer.unflushed_since, writer.log.as_ref()?.wants_witness()) {
            (Some(since), _) => Some(since.saturating_add(self.options.buffered_age_max)),
            (None, true) => Some(writer.last_active.saturating_add(self.options.witness_after)),
            (None, false) => None,
        }
    }

    /// Sees to it that the writer thread looks at its duties in time, after another thread has written.
    pub(crate) fn remind(&self) {
        let mut writer = self.writer.lock();
        let sooner = self.due(&writer).filter(|due| *due < writer.looks_at);
        if let Some(due) = sooner {
            writer.looks_at = due;
            drop(writer);
            self.queue.nudge();
        }
    }

    /// Tells the maintenance thread what the log wants.
    pub(crate) fn wish(&self, writer: &mut Writer) {
        let Some(log) = writer.log.as_mut() else { return };
        let segment = log.begin_preparing();
        let full = log.stats().bytes >= writer.checkpoint_at_bytes;
        if segment.is_none() && !full {
            return;
        }
        let mut wishes = self.wishes.lock();
        wishes.segment = segment.or(wishes.segment.take());
        if full {
            wishes.checkpoint.get_or_insert(Reason::Growth);
        }
        drop(wishes);
        self.wished.notify_one();
    }

    /// Prepares the segment that the log asked for, if it did. Long work in the background calls this now
    /// and then, so that the writer finds its next segment.
    pub(crate) fn prepare_wanted(&self) {
        // A store that was shut down meanwhile has no use for it; the next opening removes it.
        if let Err(error) = self.prepare()
            && !matches!(error, Error::Closed)
        {
            self.failed(&error);
        }
    }

    fn prepare(&self) -> Result<()> {
        // A log that is reopened numbers its own segments: not before this one is settled.
        let _alone = self.preparing.lock();
        let Some(mut wanted) = self.wishes.lock().segment.take() else { return Ok(()) };
        let fs = &*self.around.fs;
        let made: Result<PreparedSegment> = self.with_room(|| wanted.prepare(fs, WAL));
        let made = made.and_then(|made| wanted.measure(made, fs, WAL, &*self.around.clock));
        if let Err(error) = &made {
            tracing::warn!(%error, "no segment could be prepared; the writer will try itself");
        }
        self.writer.lock().log().and_then(|log| log.install(made.ok()))
    }

    pub(crate) fn report(&self, problems: &[Problem]) {
        for problem in problems {
            self.listeners.emit(&Event::Found(problem.clone()));
        }
    }
}
