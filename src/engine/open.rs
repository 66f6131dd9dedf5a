//! Recovery, the acting half: from a plan to an open store.
//!
//! Each step can be cut off by a crash and is then resolved by the next opening: until the log's new
//! start group is durable, nothing of the old log was changed, and everything before it only adds.

use std::sync::Arc;

use crate::base::{Error, Lsn, Problem, ProblemKind, Result, StoreId};
use crate::engine::changes::Durable;
use crate::engine::checkpoint::{Checkpointer, Reason};
use crate::engine::core::{Core, Facts, Surroundings, Wishes, Writer};
use crate::engine::edits::{Earlier, earlier_versions, set_damage_aside};
use crate::engine::listeners::Listeners;
use crate::engine::mirror::Freshness;
use crate::engine::options::Options;
use crate::engine::outputs::{Known, Outputs};
use crate::engine::queue::Queue;
use crate::engine::recovery::{Intake, Plan, Recovery, Rung, StateEdit, plan_with_mirror};
use crate::engine::room::make_room;
use crate::engine::sync::{AtomicBool, Condvar, Mutex, Striped};
use crate::engine::watch::Watch;
use crate::files::backups::Backups;
use crate::files::mirror::{Edit, Mirror};
use crate::files::names::{self, QUARANTINE, WAL};
use crate::files::owner::{self, Evidence, Owner, Stage};
use crate::files::{conflicts, migration, snapshot};
use crate::fs::{Fs, Lock, join};
use crate::state::{Collection, Table};
use crate::wal::{self, Identity, Log};

/// What an opening made of a directory.
pub(crate) struct Opened {
    pub(crate) recovery: Recovery,
    pub(super) store: StoreId,
    pub(super) identity: Identity,
    pub(super) log: Log,
    pub(super) table: Table,
    pub(super) checkpointer: Checkpointer,
    pub(super) outputs: Known,
    pub(super) facts: Facts,
    pub(super) unsettled: Unsettled,
}

/// What an opening still has to do once the log takes records.
pub(crate) struct Unsettled {
    /// What no snapshot holds, or not as it is: the checkpoint to be made.
    pub(super) checkpoint: Option<Reason>,
    pub(super) intake: Option<Intake>,
    /// What people did to the files, and what those showed earlier.
    pub(super) edits: (Vec<Edit>, Earlier),
    /// What `.walden` says of it until that is taken in.
    pub(super) evidence: Evidence,
    /// What they did to `state.json`.
    pub(super) state_edit: Option<StateEdit>,
    /// The LSN that the log's last `saved` record names.
    pub(super) saved: Option<Lsn>,
}

/// Recovers the directory for writing. The lock is held.
pub(crate) fn recover(around: &Surroundings, options: &Options) -> Result<Opened> {
    let fs = &*around.fs;
    let begun = around.clock.monotonic();
    let (mut plan, mut mirror, found) = plan_with_mirror(fs, around.overlaps())?;
    plan.recovery.problems.extend(found);
    let mut edits = mirror.take_edits();
    if matches!(plan.intake, Some(Intake::Migration(_))) {
        // They are what is migrated.
        mirror.supersede(std::mem::take(&mut edits));
    }
    plan.evidence = plan.evidence(&mirror, !edits.is_empty());
    let earlier = earlier_versions(&plan, fs, &edits, None)?;
    let state_edit = plan.state_edit_found(fs)?;
    let mut opened = act(around, options, plan, mirror)?;
    opened.unsettled.edits = (edits, earlier);
    opened.unsettled.state_edit = state_edit;
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
    mirror.settle_leftovers(fs)?;
    plan.recovery.problems.extend(mirror.take_found());
    let logged = std::mem::take(&mut plan.outputs);
    let leftovers = &plan.scan.other_files;
    let (outputs, found) = Known::recover(fs, logged, plan.recovery.clean, leftovers);
    plan.recovery.problems.extend(found);
    set_damage_aside(fs, plan.strange.as_ref());
    let checkpointer = Checkpointer::opened(&plan, mirror, around.clock.monotonic());
    let mirror = &checkpointer.mirror;
    let checkpoint = checkpoint_due(&plan);
    let Plan {
        table,
        snapshot_lsn,
        state_stat,
        last_saved,
        others,
        recovery,
        intake,
        saved,
        evidence,
        ..
    } = plan;
    let saved_lsn = snapshot_lsn.unwrap_or_default();
    let facts = Facts {
        snapshot_lsn: saved_lsn,
        snapshot_bytes: state_stat.map_or(0, |stat| stat.size_bytes),
        mirror_lsn: if mirror.behind() == 0 { recovery.lsn } else { saved_lsn },
        mirror: Freshness::new(mirror, around.clock.monotonic(), options.mirror_interval),
        last_saved,
        others: others.into(),
    };
    Ok(Opened {
        store,
        identity,
        log,
        table,
        checkpointer,
        outputs,
        facts,
        unsettled: Unsettled {
            checkpoint,
            intake,
            edits: (Vec::new(), Earlier::new()),
            evidence,
            state_edit: None,
            saved,
        },
        recovery,
    })
}

/// The checkpoint that ends an opening. A store that never had a snapshot, and whose log is whole, has lost
/// nothing: its first can wait for the keeper, and the files of the mirror for their passes. Any other that is not
/// built on its `state.json` has one again before anybody is served.
fn checkpoint_due(plan: &Plan) -> Option<Reason> {
    let Plan { recovery, saved, strange, .. } = plan;
    let had_snapshot = saved.is_some() || strange.is_some() || plan.index.is_some();
    match recovery.rung {
        _ if plan.has_hole || plan.intake.is_some() => Some(Reason::Interval),
        Rung::Snapshot | Rung::Empty => None,
        Rung::Log if !had_snapshot && plan.is_sound => Some(Reason::Growth),
        _ => Some(Reason::Interval),
    }
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
    if let Err(error) = wal::clear_temporaries(fs, WAL, &plan.scan) {
        tracing::warn!(%error, "leftovers of the log stay where they are");
    }
    let mut room = Room::new(fs, identity.store, plan);
    room.with(|| write_owner(fs, &identity, Stage::Opening { former }, plan.evidence))?;
    let now = around.clock.now();
    let begin = || Log::begin(around.fs.clone(), WAL, &plan.scan, identity, options.log, now);
    let log = room.with(begin)?;
    room.with(|| write_owner(fs, &identity, Stage::Open, plan.evidence))?;
    let cleared = wal::clear_leftovers(fs, WAL, &plan.scan, QUARANTINE)
        .and_then(|()| wal::clear_temporaries(fs, WAL, &plan.scan))
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

pub(super) fn write_owner(
    fs: &dyn Fs,
    identity: &Identity,
    stage: Stage,
    evidence: Evidence,
) -> Result<()> {
    let Identity { store, incarnation, nonce } = *identity;
    let pid = std::process::id();
    owner::write(fs, &Owner { store, incarnation, nonce, pid, stage, evidence })
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
    let made = made.map_err(|source| Error::io("make", fs.display(QUARANTINE), source));
    match made.and_then(|()| wal::set_aside(fs, WAL, &plan.scan, QUARANTINE)) {
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
        let durable = Arc::<Durable>::default();
        let core = Core {
            store: self.store,
            queue: Queue::new(options.limits()),
            writer: Mutex::new(Writer::new(self.log, self.identity, now, durable.clone())),
            preparing: Mutex::new(()),
            table: Striped::new(self.table),
            durable,
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

#[cfg(test)]
#[path = "open_tests.rs"]
mod tests;
