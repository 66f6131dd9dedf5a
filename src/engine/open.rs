//! Recovery, the acting half: from a plan to an open store.
//!
//! Each step can be cut off by a crash and is then resolved by the next opening: until the log's new
//! start group is durable, nothing of the old log was changed, and everything before it only adds.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use parking_lot::{Condvar, Mutex, RwLock};

use crate::base::{Error, Event, Lsn, Problem, Result, StoreId, Timestamp};
use crate::engine::checkpoint::Checkpointer;
use crate::engine::core::{Core, Surroundings, Wishes, Writer};
use crate::engine::listeners::Listeners;
use crate::engine::options::Options;
use crate::engine::queue::Queue;
use crate::engine::recovery::{Plan, Recovery, Rung, plan};
use crate::files::mirror::Mirror;
use crate::files::names::{QUARANTINE, WAL};
use crate::files::owner::{self, Owner, Stage};
use crate::files::snapshot;
use crate::fs::{Fs, Lock, Stat};
use crate::state::{Collection, Table};
use crate::wal::{self, Identity, Log};

/// What an opening made of a directory.
pub(crate) struct Opened {
    pub(crate) store: StoreId,
    pub(crate) identity: Identity,
    pub(crate) log: Log,
    pub(crate) table: Table,
    pub(crate) mirror: Mirror,
    pub(crate) recovery: Recovery,
    snapshot_lsn: Option<Lsn>,
    state_stat: Option<Stat>,
    last_saved: Option<String>,
    needs_checkpoint: bool,
}

/// Recovers the directory for writing. The lock is held.
pub(crate) fn recover(around: &Surroundings, options: &Options) -> Result<Opened> {
    let fs = &*around.fs;
    let begun = around.clock.monotonic();
    let mut plan = plan(fs)?;
    let (mirror, found) = plan.mirror(fs)?;
    plan.recovery.problems.extend(found);
    let mut opened = act(around, options, plan, mirror)?;
    let took = around.clock.monotonic().saturating_sub(begun);
    opened.recovery.took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    Ok(opened)
}

fn act(
    around: &Surroundings,
    options: &Options,
    mut plan: Plan,
    mut mirror: Mirror,
) -> Result<Opened> {
    let fs = &*around.fs;
    let store = match plan.store {
        Some(store) => store,
        None => StoreId(u128::from(random(around)?) << 64 | u128::from(random(around)?)),
    };
    let incarnation_seen = plan.owner.map_or(0, |owner| owner.incarnation);
    let incarnation = plan.scan.incarnation_max.max(incarnation_seen) + 1;
    let identity = Identity { store, incarnation, nonce: random(around)? };
    make_directories(fs, &mut plan.recovery)?;
    keep_aside(fs, &plan)?;
    let former = plan.owner.map(|owner| (owner.incarnation, owner.nonce));
    write_owner(fs, &identity, Stage::Opening { former })?;
    let now = around.clock.now();
    let log = Log::begin(around.fs.clone(), WAL, &plan.scan, identity, options.log, now)?;
    write_owner(fs, &identity, Stage::Open)?;
    if let Err(error) = wal::clear_leftovers(fs, WAL, &plan.scan, QUARANTINE) {
        tracing::warn!(%error, "leftovers of the log stay where they are");
    }
    let found = snapshot::leftovers(fs, store, now)?;
    plan.recovery.problems.extend(found);
    plan.recovery.problems.extend(mirror.settle_leftovers(fs)?);
    let Plan { table, snapshot_lsn, state_stat, last_saved, recovery, has_hole, .. } = plan;
    let lacks_snapshot = matches!(recovery.rung, Rung::Backup | Rung::Log);
    Ok(Opened {
        store,
        identity,
        log,
        table,
        mirror,
        snapshot_lsn,
        state_stat,
        last_saved,
        needs_checkpoint: lacks_snapshot || has_hole,
        recovery,
    })
}

fn random(around: &Surroundings) -> Result<u64> {
    let drawn = around.entropy.next_u64();
    drawn.map_err(|source| Error::io("draw", "a random number", source))
}

fn write_owner(fs: &dyn Fs, identity: &Identity, stage: Stage) -> Result<()> {
    let Identity { store, incarnation, nonce } = *identity;
    owner::write(fs, &Owner { store, incarnation, nonce, pid: std::process::id(), stage })
}

/// Makes the directories that are missing, durably, before anything in them is relied upon.
fn make_directories(fs: &dyn Fs, recovery: &mut Recovery) -> Result<()> {
    let mut made = false;
    for dir in [WAL, Collection::Task.dir(), Collection::Session.dir()] {
        let new = fs.create_dir(dir);
        let new = new.map_err(|source| Error::io("make", fs.display(dir), source))?;
        if new && recovery.rung != Rung::Empty {
            tracing::warn!("{} was missing and was made again", fs.display(dir));
        }
        made |= new;
    }
    if made {
        fs.sync_dir("").map_err(|source| Error::io("flush", fs.display(""), source))?;
    }
    Ok(())
}

/// Copies torn and damaged regions of the log to `quarantine/` while they are still what they were.
/// Where there is no room for the copies, the opening goes on without.
fn keep_aside(fs: &dyn Fs, plan: &Plan) -> Result<()> {
    let nothing = plan.scan.findings.iter().all(|finding| finding.length == 0);
    let no_leftovers = plan.scan.leftovers.iter().all(|leftover| leftover.is_worthless);
    if nothing && no_leftovers {
        return Ok(());
    }
    let made = fs.create_dir(QUARANTINE).and_then(|_| fs.sync_dir(""));
    made.map_err(|source| Error::io("make", fs.display(QUARANTINE), source))?;
    match wal::set_aside(fs, WAL, &plan.scan, QUARANTINE) {
        Ok(_) => Ok(()),
        Err(error @ Error::DiskFull { .. }) => {
            tracing::warn!(%error, "what was cut from the log could not be kept aside");
            Ok(())
        }
        Err(error) => Err(error),
    }
}

impl Opened {
    /// The shared core of an open store; and whether it needs a checkpoint at once.
    pub(crate) fn into_core(
        self,
        around: Surroundings,
        options: Options,
        lock: Box<dyn Lock>,
    ) -> (Arc<Core>, bool) {
        let now = around.clock.monotonic();
        let checkpointer = self.mirror_and_snapshot();
        let (needs_checkpoint, queue) = (self.needs_checkpoint, Queue::new(options.limits()));
        let core = Core {
            store: self.store,
            queue,
            writer: Mutex::new(Writer::new(self.log, self.identity, now)),
            table: RwLock::new(self.table),
            checkpointer: Mutex::new(checkpointer(self.mirror)),
            recovery: Mutex::new(Arc::new(self.recovery)),
            listeners: Listeners::default(),
            wishes: Mutex::new(Wishes::default()),
            wished: Condvar::new(),
            lock: Mutex::new(Some(lock)),
            shut: AtomicBool::new(false),
            around,
            options,
        };
        (Arc::new(core), needs_checkpoint)
    }

    fn mirror_and_snapshot(&self) -> impl FnOnce(Mirror) -> Checkpointer + use<> {
        let (snapshot_lsn, last_saved) = (self.snapshot_lsn, self.last_saved.clone());
        let state_stat = self.state_stat;
        move |mirror| Checkpointer {
            mirror_lsn: snapshot_lsn.unwrap_or_default(),
            mirror,
            snapshot_lsn,
            state_stat,
            last_saved,
            snapshot_bytes: 0,
        }
    }
}

impl Core {
    /// Recovers from disk again, in place, after a failure that poisoned the log.
    pub(crate) fn reopen(&self) -> Result<()> {
        let mut checkpointer = self.checkpointer.lock();
        let mut writer = self.writer.lock();
        if writer.log.as_ref().is_some_and(|log| log.poison().is_none()) {
            return Ok(());
        }
        if self.is_shut() {
            return Err(Error::Closed);
        }
        let opened = recover(&self.around, &self.options)?;
        let lsn = opened.recovery.lsn;
        let problems: Vec<Problem> = opened.recovery.problems.clone();
        let rest = opened.mirror_and_snapshot();
        let now = self.around.clock.monotonic();
        *checkpointer = rest(opened.mirror);
        *self.table.write() = opened.table;
        *self.recovery.lock() = Arc::new(opened.recovery);
        *writer = Writer::new(opened.log, opened.identity, now);
        drop(writer);
        drop(checkpointer);
        self.queue.reopen();
        self.loaded(lsn, &problems);
        Ok(())
    }

    pub(crate) fn loaded(&self, lsn: Lsn, problems: &[Problem]) {
        let documents = self.documents();
        let took = std::time::Duration::from_millis(self.recovery.lock().took_ms);
        self.report(problems);
        self.listeners.emit(&Event::StateLoaded { lsn, documents, took });
    }

    pub(crate) fn documents(&self) -> usize {
        let table = self.table.read();
        Collection::ALL.iter().map(|collection| table.len(*collection)).sum()
    }

    /// Ends an opening: the log closed, `.walden` clean, the lock released.
    pub(crate) fn close(&self, saved: &Result<()>) -> Result<()> {
        let mut writer = self.writer.lock();
        let Some(log) = writer.log.take() else { return Ok(()) };
        let wall: Timestamp = self.around.clock.now();
        let lsn = log.last_lsn();
        let identity = writer.identity;
        let closed = log.close(wall);
        if closed.is_ok() && saved.is_ok() {
            write_owner(&*self.around.fs, &identity, Stage::Clean(lsn))?;
        }
        closed
    }
}
