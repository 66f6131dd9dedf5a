//! Recovery, the acting half: from a plan to an open store.
//!
//! Each step can be cut off by a crash and is then resolved by the next opening: until the log's new
//! start group is durable, nothing of the old log was changed, and everything before it only adds.

use std::sync::Arc;
use std::time::Duration;

use crate::base::{Error, Event, Lsn, Problem, ProblemKind, Result, StoreId, Timestamp};
use crate::engine::checkpoint::{Checkpointer, Reason};
use crate::engine::core::{Core, Facts, Surroundings, Wishes, Writer};
use crate::engine::edits::{Earlier, Past, Told, Watch, earlier_versions};
use crate::engine::listeners::Listeners;
use crate::engine::mirror::Freshness;
use crate::engine::options::Options;
use crate::engine::outputs::{Known, Outputs};
use crate::engine::queue::Queue;
use crate::engine::recovery::{Intake, Plan, Recovery, Rung, plan};
use crate::engine::room::make_room;
use crate::engine::sync::{AtomicBool, Condvar, Mutex, RwLock};
use crate::engine::threads::autosave;
use crate::files::backups::Backups;
use crate::files::mirror::{Edit, Mirror};
use crate::files::names::{self, QUARANTINE, WAL};
use crate::files::owner::{self, Owner, Stage};
use crate::files::{conflicts, migration, snapshot};
use crate::fs::{Fs, Lock, join};
use crate::state::{Collection, Op, Table};
use crate::wal::{self, Identity, Log};

/// What an opening made of a directory.
pub(crate) struct Opened {
    pub(crate) recovery: Recovery,
    store: StoreId,
    identity: Identity,
    log: Log,
    table: Table,
    checkpointer: Checkpointer,
    outputs: Known,
    facts: Facts,
    unsettled: Unsettled,
}

/// What an opening still has to do once the log takes records.
pub(crate) struct Unsettled {
    needs_checkpoint: bool,
    intake: Option<Intake>,
    /// What people did to the files, and what those showed earlier.
    edits: (Vec<Edit>, Earlier),
    /// The LSN that the log's last `saved` record names.
    saved: Option<Lsn>,
}

/// Recovers the directory for writing. The lock is held.
pub(crate) fn recover(around: &Surroundings, options: &Options) -> Result<Opened> {
    let fs = &*around.fs;
    let begun = around.clock.monotonic();
    let mut plan = plan(fs)?;
    let (mut mirror, found) = plan.mirror(fs, false)?;
    plan.recovery.problems.extend(found);
    let edits = mirror.take_edits();
    let earlier = earlier_versions(&plan, fs, &edits, None)?;
    let mut opened = act(around, options, plan, mirror)?;
    opened.unsettled.edits = (edits, earlier);
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
    prepare_intake(around, &mut plan)?;
    let log = begin_log(around, options, &plan, identity)?;
    let now = around.clock.now();
    let found = snapshot::leftovers(fs, store, plan.saved, now)?;
    plan.recovery.problems.extend(found);
    plan.recovery.problems.extend(mirror.settle_leftovers(fs)?);
    let logged = std::mem::take(&mut plan.outputs);
    let leftovers = &plan.scan.other_files;
    let (outputs, found) = Known::recover(fs, logged, plan.recovery.clean, leftovers);
    plan.recovery.problems.extend(found);
    let Plan {
        table, snapshot_lsn, state_stat, last_saved, recovery, has_hole, intake, saved, ..
    } = plan;
    let has_snapshot = matches!(recovery.rung, Rung::Snapshot | Rung::Empty);
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
        checkpointer: Checkpointer {
            mirror,
            snapshot_lsn,
            state_stat,
            looked_at: None,
            past: Past::new(around.clock.monotonic()),
        },
        outputs,
        facts,
        unsettled: Unsettled {
            needs_checkpoint: !has_snapshot || has_hole || intake.is_some(),
            intake,
            edits: (Vec::new(), Earlier::new()),
            saved,
        },
        recovery,
    })
}

/// Begins the incarnation: the log goes on in a segment of its own, and what it leaves behind is cleared.
fn begin_log(
    around: &Surroundings,
    options: &Options,
    plan: &Plan,
    identity: Identity,
) -> Result<Log> {
    let fs = &*around.fs;
    let is_kept = keep_aside(fs, plan)?;
    // An opening that was cut off may have left a log that is not on the medium yet. Before anything
    // durable speaks of it, it must be.
    if matches!(plan.owner, Some(Owner { stage: Stage::Opening { .. }, .. })) {
        fs.sync_all().map_err(|source| Error::io("flush", fs.display(""), source))?;
    }
    let former = plan.owner.and_then(|owner| match owner.stage {
        // It never came to a segment of its own.
        Stage::Opening { former } if plan.scan.size_bytes == 0 => former,
        _ => Some((owner.incarnation, owner.nonce)),
    });
    let mut room = Room::new(fs, identity.store, plan);
    room.with(|| write_owner(fs, &identity, Stage::Opening { former }))?;
    let now = around.clock.now();
    let begin = || Log::begin(around.fs.clone(), WAL, &plan.scan, identity, options.log, now);
    let log = room.with(begin)?;
    write_owner(fs, &identity, Stage::Open)?;
    let cleared = wal::clear_leftovers(fs, WAL, &plan.scan, QUARANTINE)
        .and_then(|()| if is_kept { wal::clear_passed_over(fs, WAL, &plan.scan) } else { Ok(()) });
    if let Err(error) = cleared {
        tracing::warn!(%error, "leftovers of the log stay where they are");
    }
    Ok(log)
}

/// Room for an opening on a full disk: surplus backups, if `state.json` is intact and all that recovery
/// needs of the snapshots.
struct Room<'a> {
    fs: &'a dyn Fs,
    backups: Backups,
    snapshot_lsn: Option<Lsn>,
}

impl<'a> Room<'a> {
    fn new(fs: &'a dyn Fs, store: StoreId, plan: &Plan) -> Self {
        let is_base = matches!(plan.recovery.rung, Rung::Snapshot);
        let needs_no_backup = is_base && !plan.has_hole && plan.intake.is_none();
        let snapshot_lsn = plan.snapshot_lsn.filter(|_| needs_no_backup);
        Room { fs, backups: Backups::new(store), snapshot_lsn }
    }

    /// Does `work`, and again each time that there was no room for it and a backup could go. What
    /// fails for want of room must have changed nothing.
    fn with<T>(&mut self, mut work: impl FnMut() -> Result<T>) -> Result<T> {
        loop {
            match (work(), self.snapshot_lsn) {
                (Err(error), Some(present))
                    if make_room(self.fs, &mut self.backups, present, &error) => {}
                (outcome, _) => return outcome,
            }
        }
    }
}

/// What must be safe before the log begins: versions that lost without proof, and, before a migration,
/// the original and what is about to be done.
fn prepare_intake(around: &Surroundings, plan: &mut Plan) -> Result<()> {
    let fs = &*around.fs;
    for (collection, id, text) in &plan.losers {
        let form = names::forms(id).into_iter().next().unwrap_or_default();
        conflicts::keep_text(fs, &join(collection.dir(), &form), text)?;
    }
    let Some(Intake::Migration(migration)) = &plan.intake else { return Ok(()) };
    let mut lines = Vec::new();
    if let Some(copy) = migration::keep_original(fs)? {
        lines.push(format!("state.json as it was is {copy}"));
    }
    let [tasks, sessions] = Collection::ALL.map(|collection| migration.table.len(collection));
    lines.push(format!("taken over: {tasks} tasks, {sessions} sessions"));
    lines.extend(migration.report.iter().cloned());
    for line in &lines {
        plan.recovery.problems.push(Problem::new(ProblemKind::Stale, names::STATE, 0, line));
    }
    migration::write_log(fs, around.clock.now(), &lines)
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
        let is_news = !matches!(recovery.rung, Rung::Empty | Rung::Migration)
            && recovery.problems.iter().all(|problem| problem.file != dir);
        if new && is_news {
            let detail = "it was missing and was made again";
            recovery.problems.push(Problem::new(ProblemKind::Missing, dir, 0, detail));
        }
        made |= new;
    }
    if made {
        fs.sync_dir("").map_err(|source| Error::io("flush", fs.display(""), source))?;
    }
    Ok(())
}

/// Copies torn and damaged regions of the log to `quarantine/` while they are still what they were.
/// Where there is no room for the copies, the opening goes on without, and this says `false`.
fn keep_aside(fs: &dyn Fs, plan: &Plan) -> Result<bool> {
    let nothing = plan.scan.findings.iter().all(|finding| finding.length == 0);
    let no_leftovers = plan.scan.leftovers.iter().all(|leftover| leftover.is_worthless);
    if nothing && no_leftovers {
        return Ok(true);
    }
    let made = fs.create_dir(QUARANTINE).and_then(|_| fs.sync_dir(""));
    made.map_err(|source| Error::io("make", fs.display(QUARANTINE), source))?;
    match wal::set_aside(fs, WAL, &plan.scan, QUARANTINE) {
        Ok(_) => Ok(true),
        Err(error @ Error::DiskFull { .. }) => {
            tracing::warn!(%error, "what was cut from the log could not be kept aside");
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

impl Opened {
    /// The shared core of an open store, and what is to be done before it serves.
    pub(crate) fn into_core(
        self,
        around: Surroundings,
        options: Options,
        listeners: Listeners,
        lock: Box<dyn Lock>,
    ) -> (Arc<Core>, Unsettled) {
        let now = around.clock.monotonic();
        let core = Core {
            store: self.store,
            queue: Queue::new(options.limits()),
            writer: Mutex::new(Writer::new(self.log, self.identity, now)),
            table: RwLock::new(self.table),
            checkpointer: Mutex::new(self.checkpointer),
            outputs: Outputs::new(self.outputs),
            backups: Mutex::new(Backups::new(self.store)),
            facts: Mutex::new(self.facts),
            recovery: Mutex::new(Arc::new(self.recovery)),
            listeners,
            wishes: Mutex::new(Wishes::default()),
            wished: Condvar::new(),
            watch: Mutex::new(Watch::new(now)),
            lock: Mutex::new(Some(lock)),
            shut: AtomicBool::new(false),
            around,
            options,
        };
        core.set_checkpoint_at(&mut core.writer.lock());
        (Arc::new(core), self.unsettled)
    }
}

impl Core {
    /// Recovers from disk again, in place, after a failure that poisoned the log.
    pub(crate) fn reopen(&self) -> Result<()> {
        let gate = self.outputs.close();
        let mut checkpointer = self.checkpointer.lock();
        let mut writer = self.writer.lock();
        match &writer.log {
            None => return Err(Error::Closed),
            Some(log) if log.poison().is_none() => return Ok(()),
            Some(_) => {}
        }
        let opened = recover(&self.around, &self.options)?;
        *checkpointer = opened.checkpointer;
        self.outputs.reset(opened.outputs);
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
        drop(gate);
        self.begin_serving(opened.unsettled)
    }

    /// What earlier openings left in the log counts too.
    fn set_checkpoint_at(&self, writer: &mut Writer) {
        let left = writer.log.as_ref().map_or(0, Log::size_bytes);
        writer.checkpoint_at_bytes = self.pace().0.saturating_sub(left);
    }

    /// Ends an opening: takes in what is to be taken in, tells what was found, saves what no snapshot
    /// holds.
    pub(crate) fn begin_serving(&self, unsettled: Unsettled) -> Result<()> {
        let Unsettled { needs_checkpoint, intake, edits, saved } = unsettled;
        let told = self.take_in_first(edits);
        let snapshot_lsn = self.checkpointer.lock().snapshot_lsn;
        if let Some(intake) = intake {
            self.take_in(intake)?;
        } else if let Some(lsn) = snapshot_lsn.filter(|_| snapshot_lsn != saved) {
            // The crash came before its record, or the log is gone: without one, it might be taken
            // for something that was put back.
            self.log_own(&[Op::Saved { lsn }])?;
        }
        self.loaded();
        self.tell(told);
        if needs_checkpoint {
            autosave(self, Reason::Interval);
        }
        if self.checkpointer.lock().snapshot_lsn.is_some() {
            migration::complete_log(&*self.around.fs, self.around.clock.now())?;
        }
        Ok(())
    }

    /// Takes in what people did while the store was closed. What cannot be now, say because there is no
    /// room, stays in the files, which are not touched until it can.
    fn take_in_first(&self, (edits, earlier): (Vec<Edit>, Earlier)) -> Told {
        let mut told = Told::default();
        let mut checkpointer = self.checkpointer.lock();
        let displaced = checkpointer.mirror.take_displaced(&*self.around.fs, &mut told.problems);
        let taken = self
            .adopt(&mut checkpointer, displaced, None, &mut told)
            .and_then(|_| self.adopt(&mut checkpointer, edits, Some(&earlier), &mut told));
        if let Err(error) = taken {
            tracing::error!(%error, "edits are not taken in yet");
            told.events.push(Event::SaveError { error });
        }
        told
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
        // No output, and no checkpoint of another thread may touch the files once the lock is released.
        let _gate = self.outputs.close();
        let _checkpointer = self.checkpointer.lock();
        let lock = self.lock.lock().take();
        let mut writer = self.writer.lock();
        let Some(log) = writer.log.take() else { return Ok(()) };
        let wall: Timestamp = self.around.clock.now();
        let lsn = log.last_lsn();
        let identity = writer.identity;
        let closed = log.close(wall);
        if closed.is_ok() && saved.is_ok() {
            let table = self.table.read();
            let [tasks, sessions] = Collection::ALL.map(|each| table.len(each) as u64);
            let stage = Stage::Clean { lsn, documents: Some((tasks, sessions)) };
            write_owner(&*self.around.fs, &identity, stage)?;
        }
        drop(lock);
        closed
    }
}

#[cfg(test)]
#[path = "open_tests.rs"]
mod tests;
