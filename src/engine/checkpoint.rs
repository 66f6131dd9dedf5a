//! The checkpoint: a durable snapshot, the mirror brought up to it, the log cut behind it.
//!
//! The order, safe at every step:
//!
//! 1. The log is flushed, and under its lock a consistent copy of the state is taken, with the set of
//!    changed documents. Nothing that is not durable leaves `wal/`.
//! 2. `state.json` is replaced; the former one becomes a backup before that (`files::snapshot::save`).
//! 3. What the mirror pass will write or remove is logged and flushed; then the files are changed, one
//!    by one. So the engine's own half-done work is never taken for a person's.
//!    A checkpoint that only the log's growth asked for leaves the mirror to the next interval: under
//!    load, writing the same files over and over would take a whole core.
//! 4. The names in the mirror's directories are made durable.
//! 5. The index of `state.json` is written, with what is now known of the mirror.
//! 6. Surplus backups are removed.
//! 7. What the mirror files that lag behind hold is logged again, since the next step would forget it.
//! 8. The log is cut below the *previous* snapshot, so that `state.json` alone can be lost.
//!
//! A crash between any two leaves the log long enough for both snapshots, and records of every file
//! that may have been touched. A failure leaves what is still to be done for the next checkpoint.

use std::time::Duration;

use crate::base::{DocumentId, Event, Lsn, Problem, Result, Timestamp};
use crate::engine::core::{Core, DirtySet};
use crate::files::backups;
use crate::files::mirror::{Change, Mirror};
use crate::files::names::STATE;
use crate::files::snapshot::{self, Contents, Index, Rendered, index};
use crate::fs::Stat;
use crate::state::{Collection, Doc, Op, Table};

/// Most bytes of mirror files that are laid out at once.
const MIRROR_BATCH_BYTES: u64 = 64 << 20;

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
    /// `state.json` as it was when it was last looked at for a restore.
    pub(crate) looked_at: Option<Stat>,
}

/// A consistent copy of the durable state.
struct Cut {
    table: Table,
    lsn: Lsn,
    dirty: DirtySet,
}

impl Core {
    /// Whether a checkpoint would do anything, as far as is known without looking at the disk.
    pub(crate) fn wants_checkpoint(&self) -> bool {
        let checkpointer = self.checkpointer.lock();
        let changed = self.table.read().last_changed();
        let saved = checkpointer.snapshot_lsn;
        let unsaved = saved.map_or(changed > Lsn::ZERO, |saved| changed > saved);
        let unshown = !self.writer.lock().dirty.is_empty() || checkpointer.mirror.behind() > 0;
        unsaved || unshown
    }

    /// Makes a checkpoint; two at once follow one another. Listeners are told when it is over, with
    /// no lock held.
    pub(crate) fn checkpoint(&self, reason: Reason) -> Result<Checkpoint> {
        let begun = self.around.clock.monotonic();
        let mut problems = Vec::new();
        let made = self.make_checkpoint(reason, &mut problems);
        self.report(&problems);
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

    fn make_checkpoint(&self, reason: Reason, problems: &mut Vec<Problem>) -> Result<Checkpoint> {
        let mut checkpointer = self.checkpointer.lock();
        let restored = self.look_for_restore(&mut checkpointer)?;
        let with_mirror = reason != Reason::Growth;
        let Cut { table, lsn, dirty } = self.take_cut(with_mirror)?;
        let index = match self.save_snapshot(&mut checkpointer, &table, lsn, problems) {
            Ok(index) => index,
            Err(error) => {
                self.writer.lock().dirty.extend(dirty);
                return Err(error);
            }
        };
        let mut passed = Ok(0);
        if with_mirror {
            passed = self.show(&mut checkpointer, dirty, &table, lsn, reason, problems);
        }
        let written = index.is_some();
        self.save_index(index, &checkpointer.mirror, !matches!(passed, Ok(0)));
        // Files that cannot be written must not let the log grow for ever.
        backups::prune(&*self.around.fs, self.store, self.options.backups)?;
        self.cut_log(&checkpointer)?;
        let files_changed = passed?;
        let documents = Collection::ALL.iter().map(|collection| table.len(*collection)).sum();
        let lsn = checkpointer.snapshot_lsn.unwrap_or(lsn);
        let (problems, took) = (Vec::new(), Duration::ZERO);
        drop(checkpointer);
        restored.iter().for_each(|restored| self.tell_restored(restored));
        Ok(Checkpoint { lsn, documents, written, files_changed, problems, took })
    }

    /// Step 1. The changed documents are left where they are if nobody will look at them.
    fn take_cut(&self, with_dirty: bool) -> Result<Cut> {
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
        writer.checkpoint_at_bytes = writer.log()?.stats().bytes.saturating_add(growth);
        let mut dirty = DirtySet::default();
        if with_dirty {
            dirty = std::mem::take(&mut writer.dirty);
        }
        let table = self.table.read().clone();
        Ok(Cut { table, lsn, dirty })
    }

    /// Step 2; gives the new snapshot's index, if there was anything to save.
    fn save_snapshot(
        &self,
        checkpointer: &mut Checkpointer,
        table: &Table,
        lsn: Lsn,
        problems: &mut Vec<Problem>,
    ) -> Result<Option<Index>> {
        let fs = &*self.around.fs;
        let untouched = checkpointer.state_stat.is_some()
            && crate::files::stat(fs, STATE)? == checkpointer.state_stat;
        let saved = checkpointer.snapshot_lsn.filter(|_| untouched);
        let is_new_store = table.is_empty() && table.last_changed() == Lsn::ZERO;
        if is_new_store && checkpointer.snapshot_lsn.is_none() {
            return Ok(None);
        }
        if saved.is_some_and(|saved| table.last_changed() <= saved) {
            return Ok(None);
        }
        let now = self.around.clock.now();
        let (rendered, index) = self.render(table, lsn, now);
        let last = checkpointer.state_stat.as_ref();
        let saved = snapshot::save(fs, self.store, &rendered.bytes, last, now)?;
        problems.extend(saved.problems);
        // Also of what cannot be replaced: while it stays, there is nothing to do about it.
        checkpointer.state_stat = saved.stat.or(crate::files::stat(fs, STATE)?);
        checkpointer.snapshot_lsn = Some(lsn);
        if saved.file == STATE {
            self.log_own(&[Op::Saved { lsn }])?;
        }
        let mut facts = self.facts.lock();
        facts.snapshot_lsn = lsn;
        facts.snapshot_bytes = rendered.head.length;
        facts.last_saved = Some(now.to_string());
        Ok(Some(index))
    }

    pub(crate) fn render(&self, table: &Table, lsn: Lsn, now: Timestamp) -> (Rendered, Index) {
        let docs = Collection::ALL.map(|collection| table.sorted(collection));
        let [tasks, sessions] = &docs;
        let metrics = serde_json::to_string(&table.metrics()).unwrap_or_else(|_| "{}".to_owned());
        let rendered = snapshot::render(Contents {
            store: self.store,
            lsn,
            tasks: texts(tasks),
            sessions: texts(sessions),
            metrics: &metrics,
            last_saved: now,
        });
        let index = Index::new(&rendered, tasks, sessions);
        (rendered, index)
    }

    /// Step 5. The store does without the index if it must, so a failure fails nothing.
    fn save_index(&self, index: Option<Index>, mirror: &Mirror, mirror_changed: bool) {
        let fs = &*self.around.fs;
        let saved = match index {
            Some(index) => index.with_mirror(mirror.entries()).save(fs),
            None if mirror_changed => index::renew(fs, self.store, mirror.entries()),
            None => Ok(()),
        };
        if let Err(error) = saved {
            tracing::warn!(%error, "the index of state.json is not up to date; it is done without");
        }
    }

    /// Brings the mirror up to the state at `lsn`, at shutdown durably.
    fn show(
        &self,
        checkpointer: &mut Checkpointer,
        dirty: DirtySet,
        table: &Table,
        lsn: Lsn,
        reason: Reason,
        problems: &mut Vec<Problem>,
    ) -> Result<usize> {
        let mirror = &mut checkpointer.mirror;
        let passed = self.mirror_pass(mirror, dirty, table, lsn, problems);
        if reason == Reason::Shutdown && passed.is_ok() {
            mirror.sync(&*self.around.fs)?;
        }
        if mirror.behind() == 0 {
            self.facts.lock().mirror_lsn = lsn;
        }
        passed
    }

    /// Steps 3 and 4; gives the number of files changed. A file that cannot be changed stays for the
    /// next pass and does not keep the others from being changed; the first failure is returned.
    fn mirror_pass(
        &self,
        mirror: &mut Mirror,
        dirty: DirtySet,
        table: &Table,
        lsn: Lsn,
        problems: &mut Vec<Problem>,
    ) -> Result<usize> {
        let fs = &*self.around.fs;
        let mut dirty = Some(dirty);
        let mut done = 0;
        loop {
            let due = dirty.take().unwrap_or_default().into_iter();
            let changes = mirror.plan(fs, due, table, MIRROR_BATCH_BYTES)?;
            if changes.is_empty() {
                break;
            }
            let records: Vec<Op> = changes.iter().map(|change| own_record(change, lsn)).collect();
            self.log_own(&records)?;
            let mut failure = None;
            for change in &changes {
                match mirror.apply(fs, change) {
                    Ok(found) => problems.extend(found),
                    Err(error) => failure = failure.or(Some(error)),
                }
            }
            done += changes.len();
            if let Some(error) = failure {
                return Err(error);
            }
        }
        mirror.sync_dirs(fs)?;
        Ok(done)
    }

    /// Steps 7 and 8. The present snapshot may be a backup, where `state.json` cannot be replaced: it
    /// is not the previous one.
    fn cut_log(&self, checkpointer: &Checkpointer) -> Result<()> {
        let fs = &*self.around.fs;
        let mut previous = None;
        for backup in backups::list(fs)?.into_iter().rev() {
            let lsn = backup.lsn(fs, self.store)?;
            previous = lsn.filter(|lsn| Some(*lsn) < checkpointer.snapshot_lsn);
            if previous.is_some() {
                break;
            }
        }
        let Some(previous) = previous else { return Ok(()) };
        let lagging = {
            let mut writer = self.writer.lock();
            if !writer.log()?.can_remove_below(previous) {
                return Ok(());
            }
            checkpointer.mirror.lagging(writer.dirty.iter())
        };
        let lsn = self.facts.lock().mirror_lsn;
        let again = |(file, hash, length)| Op::Wrote { file, hash, length, lsn };
        let records: Vec<Op> = lagging.into_iter().map(again).collect();
        if !records.is_empty() {
            self.log_own(&records)?;
        }
        self.writer.lock().log()?.remove_below(previous)?;
        Ok(())
    }
}

fn texts(docs: &[(DocumentId, std::sync::Arc<Doc>)]) -> Vec<(&DocumentId, &str)> {
    docs.iter().map(|(id, doc)| (id, &**doc.text())).collect()
}

fn own_record(change: &Change, lsn: Lsn) -> Op {
    let Change { file, hash, length, .. } = change;
    match change.write {
        Some(_) => Op::Wrote { file: file.clone(), hash: *hash, length: *length, lsn },
        None => Op::Removed { file: file.clone(), lsn },
    }
}
