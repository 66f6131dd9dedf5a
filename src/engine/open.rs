//! Recovery, the acting half: from a plan to an open store.
//!
//! Each step can be cut off by a crash and is then resolved by the next opening: until the log's new
//! start group is durable, nothing of the old log was changed, and everything before it only adds.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use parking_lot::{Condvar, Mutex, RwLock};

use crate::base::{Error, Event, Result, StoreId, Timestamp};
use crate::engine::checkpoint::Checkpointer;
use crate::engine::core::{Core, Facts, Surroundings, Wishes, Writer};
use crate::engine::listeners::Listeners;
use crate::engine::mirror::Freshness;
use crate::engine::options::Options;
use crate::engine::queue::Queue;
use crate::engine::recovery::{Plan, Recovery, Rung, plan};
use crate::files::mirror::Mirror;
use crate::files::names::{QUARANTINE, WAL};
use crate::files::owner::{self, Owner, Stage};
use crate::files::snapshot;
use crate::fs::{Fs, Lock};
use crate::state::{Collection, Table};
use crate::wal::{self, Identity, Log};

/// What an opening made of a directory.
pub(crate) struct Opened {
    pub(crate) recovery: Recovery,
    store: StoreId,
    identity: Identity,
    log: Log,
    table: Table,
    checkpointer: Checkpointer,
    facts: Facts,
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
    let saved_lsn = snapshot_lsn.unwrap_or_default();
    let facts = Facts {
        snapshot_lsn: saved_lsn,
        snapshot_bytes: state_stat.map_or(0, |stat| stat.size_bytes),
        mirror_lsn: if mirror.behind() == 0 { recovery.lsn } else { saved_lsn },
        mirror: Freshness::new(&mirror, around.clock.monotonic(), options.mirror_interval),
        last_saved,
    };
    Ok(Opened {
        store,
        identity,
        log,
        table,
        checkpointer: Checkpointer { mirror, snapshot_lsn, state_stat },
        facts,
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
        listeners: Listeners,
        lock: Box<dyn Lock>,
    ) -> (Arc<Core>, bool) {
        let now = around.clock.monotonic();
        let core = Core {
            store: self.store,
            queue: Queue::new(options.limits()),
            writer: Mutex::new(Writer::new(self.log, self.identity, now)),
            table: RwLock::new(self.table),
            checkpointer: Mutex::new(self.checkpointer),
            facts: Mutex::new(self.facts),
            recovery: Mutex::new(Arc::new(self.recovery)),
            listeners,
            wishes: Mutex::new(Wishes::default()),
            wished: Condvar::new(),
            lock: Mutex::new(Some(lock)),
            shut: AtomicBool::new(false),
            around,
            options,
        };
        core.set_checkpoint_at(&mut core.writer.lock());
        (Arc::new(core), self.needs_checkpoint)
    }
}

impl Core {
    /// Recovers from disk again, in place, after a failure that poisoned the log.
    pub(crate) fn reopen(&self) -> Result<()> {
        let mut checkpointer = self.checkpointer.lock();
        let mut writer = self.writer.lock();
        match &writer.log {
            None => return Err(Error::Closed),
            Some(log) if log.poison().is_none() => return Ok(()),
            Some(_) => {}
        }
        let opened = recover(&self.around, &self.options)?;
        *checkpointer = opened.checkpointer;
        *self.facts.lock() = opened.facts;
        *self.table.write() = opened.table;
        let recovery = Arc::new(opened.recovery);
        *self.recovery.lock() = recovery.clone();
        *writer = Writer::new(opened.log, opened.identity, self.around.clock.monotonic());
        self.set_checkpoint_at(&mut writer);
        self.wishes.lock().segment = None;
        self.queue.reopen();
        drop(writer);
        drop(checkpointer);
        self.loaded();
        Ok(())
    }

    /// What earlier openings left in the log counts too.
    fn set_checkpoint_at(&self, writer: &mut Writer) {
        let left = writer.log.as_ref().map_or(0, Log::size_bytes);
        writer.checkpoint_at_bytes = self.pace().0.saturating_sub(left);
    }

    /// Tells what an opening found.
    pub(crate) fn loaded(&self) {
        let recovery = self.recovery.lock().clone();
        let documents = {
            let table = self.table.read();
            Collection::ALL.iter().map(|collection| table.len(*collection)).sum()
        };
        let took = Duration::from_millis(recovery.took_ms);
        self.report(&recovery.problems);
        self.listeners.emit(&Event::StateLoaded { lsn: recovery.lsn, documents, took });
    }

    /// Ends an opening: the log closed, `.walden` clean, the lock released.
    pub(crate) fn close(&self, saved: &Result<()>) -> Result<()> {
        // No checkpoint of another thread may touch the files once the lock is released.
        let _checkpointer = self.checkpointer.lock();
        let lock = self.lock.lock().take();
        let mut writer = self.writer.lock();
        let Some(log) = writer.log.take() else { return Ok(()) };
        let wall: Timestamp = self.around.clock.now();
        let lsn = log.last_lsn();
        let identity = writer.identity;
        let closed = log.close(wall);
        if closed.is_ok() && saved.is_ok() {
            write_owner(&*self.around.fs, &identity, Stage::Clean(lsn))?;
        }
        drop(lock);
        closed
    }
}
