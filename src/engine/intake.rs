//! Taking in what recovery or a checkpoint found: an earlier snapshot that a person put back, or the
//! directory of the earlier implementation.
//!
//! One transaction, so that it is taken in whole or not at all, and once: a restore logs with it that
//! `state.json` is that snapshot from now on.

use serde::Serialize;

use crate::base::{Error, Event, Lsn, Result};
use crate::engine::checkpoint::{Checkpointer, Reason, Sorted};
use crate::engine::core::{Core, Writer};
use crate::engine::edits::Told;
use crate::engine::recovery::{Intake, diff, table_of};
use crate::files::conflicts;
use crate::files::names::{self, STATE};
use crate::files::snapshot::{self, Parsed, Snapshot};
use crate::state::{Op, Table};
use crate::wal::{Origin, Record};

/// What a restore did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Restored {
    /// The LSN of the snapshot whose state is in force again.
    pub from_lsn: Lsn,
    /// The LSN at which it is in force.
    pub lsn: Lsn,
    /// Documents put back, changed back or deleted.
    pub documents_changed: usize,
    /// The backup that holds the state before; `None` if nothing changed.
    pub saved_as: Option<String>,
}

impl Core {
    /// Takes in what an opening found; a checkpoint should follow.
    pub(crate) fn take_in(&self, intake: Intake) -> Result<()> {
        let mut checkpointer = self.checkpointer.lock();
        match intake {
            Intake::Restore { table, lsn } => {
                let restored = self.restore_to(&table, lsn, Some(lsn))?;
                checkpointer.in_place = Some(lsn);
                drop(checkpointer);
                self.tell_restored(&restored);
                Ok(())
            }
            Intake::Migration(migration) => {
                let fs = &*self.around.fs;
                for (of, text) in &migration.losers {
                    conflicts::keep_text(fs, of, text)?;
                }
                let mut writer = self.writer.lock();
                // So that after a crash nobody takes them for edits.
                let read = migration
                    .files
                    .into_iter()
                    .map(|(file, hash, length)| Op::noted(file, hash, length));
                let ops = read.chain(diff(&self.table.read(), &migration.table)).collect();
                self.commit_own(&mut writer, ops, Origin::Migration)?;
                drop(writer);
                for (file, hash, length) in migration.old_names {
                    checkpointer.mirror.taken_in(file, hash, length);
                }
                Ok(())
            }
        }
    }

    /// Takes every document back to `target`, the snapshot of `from_lsn`. The present state is saved as
    /// a backup first. Nobody commits in between. `in_place` is the LSN of what lies in the place of
    /// `state.json`: the same, or that of the last snapshot; it is logged, so that a later opening does
    /// not take it for something else.
    fn restore_to(&self, target: &Table, from_lsn: Lsn, in_place: Option<Lsn>) -> Result<Restored> {
        let fs = &*self.around.fs;
        let mut writer = self.writer.lock();
        let before = writer.sync()?;
        let present = self.table.read().clone();
        let mut ops = diff(&present, target);
        let documents_changed = ops.len();
        let mut saved_as = None;
        if documents_changed > 0 {
            let now = self.around.clock.now();
            let sorted = Sorted::of(&present);
            let rendered = self.render(&sorted, before, now);
            let saved = self.with_room(|| snapshot::save_as_backup(fs, &rendered, now))?;
            saved_as = Some(saved);
        }
        ops.extend(in_place.map(|lsn| Op::Saved { lsn }));
        let lsn = self.commit_own(&mut writer, ops, Origin::Restore)?;
        drop(writer);
        Ok(Restored { from_lsn, lsn, documents_changed, saved_as })
    }

    /// Logs and applies the engine's own transaction, durably, before anybody else's.
    pub(crate) fn commit_own(
        &self,
        writer: &mut Writer,
        ops: Vec<Op>,
        origin: Origin,
    ) -> Result<Lsn> {
        let lsns = self.commit_all(writer, vec![ops], origin)?;
        Ok(lsns.last().copied().unwrap_or_default())
    }

    /// The same for several transactions, none of them empty, in one group; gives the last LSN of each.
    pub(crate) fn commit_all(
        &self,
        writer: &mut Writer,
        transactions: Vec<Vec<Op>>,
        origin: Origin,
    ) -> Result<Vec<Lsn>> {
        let mut records: Vec<Record> = Vec::new();
        for ops in &transactions {
            let last = ops.len().saturating_sub(1);
            records.extend(ops.iter().enumerate().map(|(index, op)| {
                let (kind, payload) = op.encode();
                let record = Record::new(kind, origin, payload);
                if index < last { record.continued() } else { record }
            }));
        }
        if records.is_empty() {
            return Ok(Vec::new());
        }
        let last_lsn = writer.write(self, &records, true)?;
        let mut lsn = Lsn(last_lsn.0.saturating_sub(records.len() as u64));
        let mut lsns = Vec::with_capacity(transactions.len());
        for ops in transactions {
            let first = lsn.next();
            lsn = Lsn(lsn.0.saturating_add(ops.len() as u64));
            let changes: Vec<(Lsn, Op)> = (first.0..).map(Lsn).zip(ops).collect();
            let applied = self.table.write().apply(&changes);
            let applied = applied.map_err(|refused| refused.error)?;
            writer.note_changed(&changes, &applied.replaced);
            lsns.push(lsn);
        }
        Ok(lsns)
    }

    /// Looks what a person did to `state.json`, unless a checkpoint is at it anyway.
    pub(crate) fn look(&self) {
        let Some(mut checkpointer) = self.checkpointer.try_lock() else { return };
        let mut told = Told::default();
        let before = checkpointer.taken_in;
        let restored = self.look_at_state(&mut checkpointer, true, &mut told);
        let was_taken_in = checkpointer.taken_in.is_some() && checkpointer.taken_in != before;
        drop(checkpointer);
        self.tell(told);
        let saved = match restored {
            Ok(None) if !was_taken_in => return,
            Ok(restored) => {
                if let Some(restored) = &restored {
                    self.tell_restored(restored);
                }
                // Listeners are told of a failure by the checkpoint itself.
                self.checkpoint(Reason::Request).map(drop)
            }
            Err(error) => {
                self.failed(&error);
                Err(error)
            }
        };
        if let Err(error) = saved {
            tracing::warn!(%error, "state.json was changed; the next checkpoint goes on");
        }
    }

    /// Restores, if what a save found in its place, and made a backup, was put back while the save was
    /// under way: it is older than the snapshot of `last`, which should have been there. The keeper is
    /// asked for another checkpoint then.
    pub(crate) fn restore_displaced(
        &self,
        checkpointer: &mut Checkpointer,
        last: Lsn,
        backup: &str,
    ) -> Result<Option<Restored>> {
        let named = snapshot::peek(&*self.around.fs, backup)?;
        if named.is_none_or(|(store, lsn)| store != self.store || lsn >= last) {
            return Ok(None);
        }
        let restored = self.restore_from(checkpointer, backup)?;
        if restored.is_some() {
            self.wishes.lock().checkpoint.get_or_insert(Reason::Request);
            self.wished.notify_one();
        }
        Ok(restored)
    }

    /// Restores, if a file is an intact snapshot of this store, older than the last one.
    pub(crate) fn restore_from(
        &self,
        checkpointer: &mut Checkpointer,
        file: &str,
    ) -> Result<Option<Restored>> {
        match snapshot::read(&*self.around.fs, file)? {
            Some(Parsed::Intact(snapshot)) => self.restore_older(checkpointer, snapshot, file),
            Some(Parsed::NotIntact(_)) | None => Ok(None),
        }
    }

    /// Restores a snapshot that lies in `file`, if it is of this store and older than the last one, and not the
    /// one that was left in the place of `state.json`.
    pub(crate) fn restore_older(
        &self,
        checkpointer: &mut Checkpointer,
        snapshot: Snapshot,
        file: &str,
    ) -> Result<Option<Restored>> {
        let is_left = file == STATE && checkpointer.in_place == Some(snapshot.lsn);
        let is_older =
            checkpointer.snapshot_lsn.is_some_and(|last| snapshot.lsn < last) && !is_left;
        if snapshot.store != self.store || !is_older {
            return Ok(None);
        }
        let lsn = snapshot.lsn;
        let in_place = (file == STATE).then_some(lsn).or(checkpointer.snapshot_lsn);
        let restored = self.restore_to(&table_of(snapshot), lsn, in_place)?;
        checkpointer.snapshot_lsn = in_place;
        checkpointer.in_place = in_place;
        Ok(Some(restored))
    }

    /// Restores a backup by its name.
    pub(crate) fn restore(&self, backup: &str) -> Result<Restored> {
        let fs = &*self.around.fs;
        if names::parse_backup(backup).is_none() {
            let why = "it is no backup's name; `ls` shows them as state.backup.<time>.json";
            return Err(Error::invalid(backup, why));
        }
        let snapshot = match snapshot::read(fs, backup)? {
            None => return Err(Error::not_found(fs.display(backup))),
            Some(Parsed::Intact(snapshot)) if snapshot.store == self.store => snapshot,
            Some(Parsed::Intact(snapshot)) => {
                let why = format!("it is a backup of another store, {}", snapshot.store);
                return Err(Error::invalid(fs.display(backup), why));
            }
            Some(Parsed::NotIntact(defect)) => {
                return Err(Error::corrupt(fs.display(backup), 0, defect));
            }
        };
        let checkpointer = self.checkpointer.lock();
        let lsn = snapshot.lsn;
        let in_place = checkpointer.in_place;
        let restored = self.restore_to(&table_of(snapshot), lsn, in_place)?;
        drop(checkpointer);
        self.checkpoint(Reason::Request)?;
        self.tell_restored(&restored);
        Ok(restored)
    }

    pub(crate) fn tell_restored(&self, restored: &Restored) {
        let Restored { from_lsn, lsn, documents_changed, .. } = *restored;
        tracing::info!(%from_lsn, %lsn, documents_changed, "an earlier snapshot was restored");
        self.listeners.emit(&Event::StateRestored { from_lsn, lsn, documents_changed });
    }
}
