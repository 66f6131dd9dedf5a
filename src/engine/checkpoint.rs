//! The checkpoint: a durable snapshot, the mirror brought up to it, the log cut behind it.
//!
//! The order, safe at every step:
//!
//! 1. The log is flushed, and under its lock a consistent copy of the state is taken, with the set of
//!    changed documents. Nothing that is not durable leaves `wal/`.
//! 2. `state.json` is replaced; the former one becomes a backup before that (`files::snapshot::save`).
//! 3. What the mirror pass will write or remove is logged and flushed; then the files are changed, one
//!    by one. So the engine's own half-done work is never taken for a person's.
//!    A checkpoint that only the log's growth asked for leaves the mirror to its own passes
//!    ([`crate::engine::mirror`]): under load, writing the same files over and over would take a core.
//! 4. The names in the mirror's directories are made durable.
//! 5. The index of `state.json` is written, with what is now known of the mirror.
//! 6. Surplus backups are removed.
//! 7. Session logs and reports are flushed. The names of mirror files that passes changed are made
//!    durable, and what those that lag behind hold is logged again, since the next step would forget it.
//! 8. The log is cut below the *previous* snapshot, so that `state.json` alone can be lost.
//!
//! A crash between any two leaves the log long enough for both snapshots, and records of every file
//! that may have been touched. A failure leaves what is still to be done for the next checkpoint.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use crate::base::{DocumentId, Event, Lsn, Problem, Result, Timestamp};
use crate::engine::core::Core;
use crate::engine::edits::{Past, Told};
use crate::engine::intake::Restored;
use crate::engine::mirror::DirtySet;
use crate::files::mirror::Mirror;
use crate::files::names::STATE;
use crate::files::snapshot::{self, Contents, Index, Rendered, Saved, index};
use crate::fs::{Kind, Stat};
use crate::state::{Collection, Doc, Metrics, Op, Table};

/// Why a checkpoint is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// The log has grown.
    Growth,
    /// The interval is over.
    Interval,
    Request,
    Shutdown,
}

/// What a checkpoint did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// `state.json` holds everything up to here, durably.
    pub lsn: Lsn,
    /// Documents in it.
    pub documents: usize,
    /// Whether `state.json` was written; it is not if nothing changed.
    pub written: bool,
    /// Mirror files written or removed.
    pub files_changed: usize,
    /// What people had done to the files.
    pub problems: Vec<Problem>,
    /// How long it took.
    pub took: Duration,
}

/// What is remembered from one checkpoint to the next.
#[derive(Debug)]
pub(crate) struct Checkpointer {
    pub(crate) mirror: Mirror,
    /// LSN of `state.json`; `None` if there is none that counts.
    pub(crate) snapshot_lsn: Option<Lsn>,
    /// `state.json` as this opening left it.
    pub(crate) state_stat: Option<Stat>,
    /// `state.json` as it was when it was last looked at for what people did to it.
    pub(crate) looked_at: Option<Stat>,
    /// What a person had left in its place and is in the log: it can be replaced.
    pub(crate) taken_in: Option<Stat>,
    /// What lies in its place is not to be touched: a person has to mend it.
    pub(crate) is_held: bool,
    /// LSN of the snapshot that was last saved there.
    pub(crate) in_place: Option<Lsn>,
    /// What was seen there and may still change, and since when.
    pub(crate) unsettled: Option<(Stat, Duration)>,
    /// What mirror files showed until lately.
    pub(crate) past: Past,
}

/// A snapshot that was saved.
struct Published {
    index: Index,
    /// The backup that the former one now is.
    backup: Option<String>,
    /// Where in `conflicts/` lies what a person had put in its place meanwhile.
    displaced: Vec<String>,
}

/// A consistent copy of the durable state.
pub(crate) struct Cut {
    pub(crate) table: Table,
    pub(crate) lsn: Lsn,
    pub(crate) dirty: DirtySet,
    /// Whether the log has grown so much that it should be cut, whatever is in it.
    pub(crate) has_grown: bool,
}

impl Core {
    /// Whether a checkpoint would do anything, as far as is known without looking at the disk.
    pub(crate) fn wants_checkpoint(&self) -> bool {
        let checkpointer = self.checkpointer.lock();
        let changed = self.table.read().last_changed();
        let saved = checkpointer.snapshot_lsn;
        let unsaved = saved.map_or(changed > Lsn::ZERO, |saved| changed > saved);
        let (is_dirty, has_grown) = {
            let writer = self.writer.lock();
            let written = writer.log.as_ref().map_or(0, |log| log.stats().bytes);
            (!writer.dirty.is_empty(), written >= writer.checkpoint_at_bytes)
        };
        let unshown = is_dirty || checkpointer.mirror.behind() > 0;
        unsaved || unshown || has_grown || self.outputs.are_unflushed()
    }

    /// Makes a checkpoint; two at once follow one another. Listeners are told when it is over, with
    /// no lock held.
    pub(crate) fn checkpoint(&self, reason: Reason) -> Result<Checkpoint> {
        let begun = self.around.clock.monotonic();
        let (mut told, mut restored) = (Told::default(), Vec::new());
        let made = self.make_checkpoint(reason, &mut told, &mut restored);
        let problems = told.problems.clone();
        self.tell(told);
        for restored in &restored {
            self.tell_restored(restored);
        }
        let took = self.around.clock.monotonic().saturating_sub(begun);
        match made {
            Ok(checkpoint) => {
                let Checkpoint { lsn, documents, .. } = checkpoint;
                if checkpoint.written {
                    self.listeners.emit(&Event::StateSaved { lsn, documents, took });
                }
                Ok(Checkpoint { problems, took, ..checkpoint })
            }
            Err(error) => {
                self.listeners.emit(&Event::SaveError { error: error.clone() });
                Err(error)
            }
        }
    }

    fn make_checkpoint(
        &self,
        reason: Reason,
        told: &mut Told,
        restored: &mut Vec<Restored>,
    ) -> Result<Checkpoint> {
        let mut checkpointer = self.checkpointer.lock();
        // An edit that cannot be taken in stays in its file, and must not keep the rest from being saved.
        let taken_in = self.take_in_before(&mut checkpointer, reason, told);
        let is_patient = self.around.threads && reason != Reason::Shutdown;
        restored.extend(self.look_at_state(&mut checkpointer, is_patient, told)?);
        let problems = &mut told.problems;
        let last_lsn = checkpointer.in_place;
        let cut = self.take_cut(Some(reason))?;
        let (table, lsn, has_grown) = (cut.table.clone(), cut.lsn, cut.has_grown);
        let saved = self.save_snapshot(&mut checkpointer, &table, lsn, has_grown, problems);
        let (index, backup, displaced) = match saved {
            Ok(Some(Published { index, backup, displaced })) => (Some(index), backup, displaced),
            Ok(None) => (None, None, Vec::new()),
            Err(error) => {
                self.put_back(cut.dirty);
                return Err(error);
            }
        };
        let mut passed = Ok(0);
        if reason != Reason::Growth {
            passed = self.show_durably(&mut checkpointer, cut, reason, problems);
            if passed.is_ok() {
                checkpointer.mirror.passed(lsn);
            }
        }
        let written = index.is_some();
        self.save_index(index, &checkpointer, !matches!(passed, Ok(0)));
        if let (Some(last), Some(backup)) = (last_lsn, backup) {
            restored.extend(self.restore_displaced(&mut checkpointer, last, &backup)?);
        }
        for kept in displaced {
            self.take_in_displaced(&mut checkpointer, &kept, told)?;
        }
        let problems = &mut told.problems;
        // Files that cannot be written must not let the log grow for ever.
        let previous = self.prune_backups(&checkpointer, problems)?;
        self.outputs.flush(&*self.around.fs, problems)?;
        if let Some(previous) = previous {
            self.cut_log(&mut checkpointer, previous)?;
        }
        taken_in?;
        let files_changed = passed?;
        let documents = Collection::ALL.iter().map(|collection| table.len(*collection)).sum();
        let lsn = checkpointer.snapshot_lsn.unwrap_or(lsn);
        let (problems, took) = (Vec::new(), Duration::ZERO);
        Ok(Checkpoint { lsn, documents, written, files_changed, problems, took })
    }

    /// Takes in what people did to the files before they are written: at a shutdown everything, else where
    /// something was noticed.
    fn take_in_before(
        &self,
        checkpointer: &mut Checkpointer,
        reason: Reason,
        told: &mut Told,
    ) -> Result<()> {
        let noticed = checkpointer.mirror.looks_again();
        let files = (reason != Reason::Shutdown).then_some(&noticed);
        if reason == Reason::Growth || files.is_some_and(BTreeSet::is_empty) {
            return Ok(());
        }
        let is_patient = self.around.threads && reason != Reason::Shutdown;
        self.take_in_edits(checkpointer, files, is_patient, told).map(drop)
    }

    /// Step 1, of a checkpoint or of a mirror pass alone (`None`). The changed documents are left where
    /// they are if nobody will look at them.
    pub(crate) fn take_cut(&self, checkpoint: Option<Reason>) -> Result<Cut> {
        let (growth, _) = self.pace();
        let mut writer = self.writer.lock();
        let lsn = match writer.sync() {
            Ok(lsn) => lsn,
            Err(error) => {
                drop(writer);
                self.spread_poison();
                return Err(error);
            }
        };
        let has_grown = writer.log()?.stats().bytes >= writer.checkpoint_at_bytes;
        if checkpoint.is_some() {
            writer.checkpoint_at_bytes = writer.log()?.stats().bytes.saturating_add(growth);
        }
        let mut dirty = DirtySet::default();
        if checkpoint != Some(Reason::Growth) {
            dirty = self.take_dirty(&mut writer);
        }
        let table = self.table.read().clone();
        Ok(Cut { table, lsn, dirty, has_grown })
    }

    /// Step 2, if there is anything to save.
    fn save_snapshot(
        &self,
        checkpointer: &mut Checkpointer,
        table: &Table,
        lsn: Lsn,
        has_grown: bool,
        problems: &mut Vec<Problem>,
    ) -> Result<Option<Published>> {
        let fs = &*self.around.fs;
        let untouched = checkpointer.state_stat.is_some()
            && crate::files::stat(fs, STATE)? == checkpointer.state_stat;
        let saved = checkpointer.snapshot_lsn.filter(|_| untouched);
        let is_new_store = table.is_empty() && table.last_changed() == Lsn::ZERO;
        if is_new_store && checkpointer.snapshot_lsn.is_none() && !has_grown {
            return Ok(None);
        }
        // A log that has grown by outputs alone can only be cut below a newer snapshot.
        let is_same = |saved| table.last_changed() <= saved && !(has_grown && lsn > saved);
        if saved.is_some_and(is_same) {
            return Ok(None);
        }
        let now = self.around.clock.now();
        let sorted = Sorted::of(table);
        let rendered = self.render(&sorted, lsn, now);
        let (backup, displaced) = if self.must_leave_state(checkpointer)? {
            self.save_beside(checkpointer, &rendered, now)?;
            (None, Vec::new())
        } else {
            let saved = self.save_in_place(checkpointer, &rendered, now)?;
            problems.extend(saved.problems);
            (saved.backup, saved.displaced)
        };
        let [tasks, sessions] = &sorted.docs;
        let index = Index::new(&rendered, tasks, sessions);
        checkpointer.snapshot_lsn = Some(lsn);
        let mut facts = self.facts.lock();
        facts.snapshot_lsn = lsn;
        facts.snapshot_bytes = rendered.head.length;
        facts.last_saved = Some(now.to_string());
        Ok(Some(Published { index, backup, displaced }))
    }

    /// Saves a snapshot as `state.json`.
    fn save_in_place(
        &self,
        checkpointer: &mut Checkpointer,
        rendered: &Rendered<'_>,
        now: Timestamp,
    ) -> Result<Saved> {
        let fs = &*self.around.fs;
        let (last, taken_in) = (checkpointer.state_stat, checkpointer.taken_in);
        let save =
            || snapshot::save(fs, self.store, rendered, last.as_ref(), taken_in.as_ref(), now);
        let saved = self.with_room(save)?;
        let mut backups = self.backups.lock();
        backups.admit(fs, &saved);
        // Also of what cannot be replaced: while it stays, there is nothing to do about it.
        let in_the_way = |found: &Stat| found.kind != Kind::File;
        checkpointer.state_stat = saved.stat.or(crate::files::stat(fs, STATE)?.filter(in_the_way));
        if saved.file == STATE {
            backups.spare(None);
            drop(backups);
            checkpointer.taken_in = None;
            let lsn = rendered.head.lsn;
            checkpointer.in_place = Some(lsn);
            self.log_own(&[Op::Saved { lsn }])?;
        }
        Ok(saved)
    }

    /// Lays out a snapshot.
    pub(crate) fn render<'a>(&self, sorted: &'a Sorted, lsn: Lsn, now: Timestamp) -> Rendered<'a> {
        let Sorted { docs: [tasks, sessions], metrics } = sorted;
        let others = self.facts.lock().others.clone();
        let metrics = serde_json::to_string(metrics).unwrap_or_else(|_| "{}".to_owned());
        snapshot::render(Contents {
            store: self.store,
            lsn,
            tasks: texts(tasks),
            sessions: texts(sessions),
            metrics: &metrics,
            last_saved: now,
            others: &others,
        })
    }

    /// Step 5. The store does without the index if it must, so a failure fails nothing.
    fn save_index(&self, index: Option<Index>, known: &Checkpointer, mirror_changed: bool) {
        let fs = &*self.around.fs;
        let mirror = &known.mirror;
        let saved = match index {
            Some(index) => {
                let stat = known.state_stat.filter(|_| known.in_place == known.snapshot_lsn);
                index.with_mirror(mirror.entries()).with_state(stat).save(fs)
            }
            None if mirror_changed => index::renew(fs, self.store, mirror.entries()),
            None => Ok(()),
        };
        if let Err(error) = saved {
            tracing::warn!(%error, "the index of state.json is not up to date; it is done without");
        }
    }

    /// Step 6; gives the LSN of the previous snapshot. The present one may be a backup, where
    /// `state.json` cannot be replaced.
    fn prune_backups(
        &self,
        checkpointer: &Checkpointer,
        problems: &mut Vec<Problem>,
    ) -> Result<Option<Lsn>> {
        let fs = &*self.around.fs;
        let Some(present) = checkpointer.snapshot_lsn else { return Ok(None) };
        let mut backups = self.backups.lock();
        backups.prune(fs, &self.options.retention(), present, problems)?;
        backups.previous(fs, present, problems)
    }

    /// Steps 7 and 8.
    fn cut_log(&self, checkpointer: &mut Checkpointer, previous: Lsn) -> Result<()> {
        if !self.writer.lock().log()?.can_remove_below(previous) {
            return Ok(());
        }
        self.remember_mirror(&mut checkpointer.mirror)?;
        self.writer.lock().log()?.remove_below(previous)?;
        Ok(())
    }
}

/// The documents of a table by the bytes of their ids, tasks and sessions.
pub(crate) struct Sorted {
    docs: [Vec<(DocumentId, Arc<Doc>)>; 2],
    metrics: Metrics,
}

impl Sorted {
    pub(crate) fn of(table: &Table) -> Sorted {
        let docs = Collection::ALL.map(|collection| table.sorted(collection));
        Sorted { docs, metrics: table.metrics() }
    }
}

fn texts(docs: &[(DocumentId, Arc<Doc>)]) -> Vec<(&DocumentId, &str)> {
    docs.iter().map(|(id, doc)| (id, &**doc.text())).collect()
}

#[cfg(test)]
#[path = "checkpoint_tests.rs"]
mod tests;
