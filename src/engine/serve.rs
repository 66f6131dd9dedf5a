//! The end of an opening, a reopening in place, and the end of a store.
//!
//! Nothing is served before what people did to the files is taken in, or is known to have to wait.

use std::sync::Arc;
use std::time::Duration;

use crate::base::{Error, Event, Lsn, Result, Timestamp};
use crate::engine::checkpoint::{Checkpointer, Reason};
use crate::engine::core::{Core, Writer};
use crate::engine::edits::{Earlier, Told};
use crate::engine::open::{Unsettled, recover, write_owner};
use crate::engine::recovery::StateEdit;
use crate::engine::threads::autosave;
use crate::files::mirror::Edit;
use crate::files::names;
use crate::files::owner::{Evidence, Stage};
use crate::files::{conflicts, migration, stat};
use crate::state::{Collection, Op};
use crate::wal::Log;

impl Core {
    /// Recovers from disk again, in place, after a failure that poisoned the log.
    pub(crate) fn reopen(&self) -> Result<()> {
        let gate = self.outputs.close();
        let mut checkpointer = self.checkpointer.lock();
        let alone = self.preparing.lock();
        let mut writer = self.writer.lock();
        match &writer.log {
            None => return Err(Error::Closed),
            Some(log) if log.poison().is_none() => return Ok(()),
            Some(_) => {}
        }
        let mut opened = recover(&self.around, &self.options)?;
        opened.checkpointer.mirror.inherit(&mut checkpointer.mirror);
        *checkpointer = opened.checkpointer;
        self.outputs.reset(opened.outputs);
        *self.facts.lock() = opened.facts;
        *self.table.write() = opened.table;
        let recovery = Arc::new(opened.recovery);
        *self.recovery.lock() = recovery.clone();
        let now = self.around.clock.monotonic();
        *writer = Writer::new(opened.log, opened.identity, now, self.durable.clone());
        self.set_checkpoint_at(&mut writer);
        self.wishes.lock().segment = None;
        self.queue.reopen();
        drop(writer);
        drop(alone);
        drop(checkpointer);
        drop(gate);
        self.begin_serving(opened.unsettled)
    }

    /// What earlier openings left in the log counts too.
    pub(super) fn set_checkpoint_at(&self, writer: &mut Writer) {
        let left = writer.log.as_ref().map_or(0, Log::size_bytes);
        writer.checkpoint_at_bytes = self.pace().0.saturating_sub(left);
    }

    /// Ends an opening: takes in what is to be taken in, tells what was found, saves what no snapshot
    /// holds.
    pub(crate) fn begin_serving(&self, unsettled: Unsettled) -> Result<()> {
        let Unsettled { checkpoint, intake, edits, evidence, state_edit, saved } = unsettled;
        let told = self.take_in_first(edits, evidence, state_edit.as_ref());
        let snapshot_lsn = {
            let checkpointer = self.checkpointer.lock();
            self.backups.lock().spare(checkpointer.in_place.filter(|_| checkpointer.is_held));
            checkpointer.snapshot_lsn.filter(|_| !checkpointer.is_held)
        };
        if let Some(intake) = intake {
            self.take_in(intake)?;
        } else if let Some(lsn) = snapshot_lsn.filter(|_| snapshot_lsn != saved) {
            // The crash came before its record, or the log is gone: without one, it might be taken
            // for something that was put back.
            self.log_own(&[Op::Saved { lsn }])?;
        }
        self.loaded();
        self.tell(told);
        match checkpoint {
            // Nobody need wait for it.
            Some(Reason::Growth) if self.around.threads => {
                self.wishes.lock().checkpoint.get_or_insert(Reason::Growth);
                self.wished.notify_one();
            }
            Some(reason) => autosave(self, reason),
            None => {}
        }
        if self.checkpointer.lock().snapshot_lsn.is_some() {
            migration::complete_log(&*self.around.fs, self.around.clock.now())?;
        }
        Ok(())
    }

    /// Takes in what people did while the store was closed. What cannot be now, say because there is no
    /// room, stays in the files, which are not touched until it can.
    fn take_in_first(
        &self,
        (edits, earlier): (Vec<Edit>, Earlier),
        evidence: Evidence,
        state_edit: Option<&StateEdit>,
    ) -> Told {
        let mut told = Told::default();
        let mut checkpointer = self.checkpointer.lock();
        let displaced = checkpointer.mirror.take_displaced(&*self.around.fs, &mut told.problems);
        self.keep_rotten(&checkpointer);
        let noted = self.note_doubted(&checkpointer);
        // What was displaced was so by this opening, or before it.
        let taken = self.adopt(&mut checkpointer, displaced, None, &mut told);
        let taken =
            taken.and_then(|_| self.adopt(&mut checkpointer, edits, Some(&earlier), &mut told));
        let taken = taken.and_then(|_| match state_edit {
            Some(edit) => self.take_in_state(&mut checkpointer, edit, names::STATE, &mut told),
            None => Ok(()),
        });
        let mut errors: Vec<_> = [noted.err(), taken.err()].into_iter().flatten().collect();
        if errors.is_empty() && evidence != Evidence::default() {
            // From here on nobody needs to know what this opening found.
            let identity = self.writer.lock().identity;
            let write =
                || write_owner(&*self.around.fs, &identity, Stage::Open, Evidence::default());
            errors.extend(self.with_room(write).err());
        }
        for error in errors {
            tracing::error!(%error, "edits are not taken in yet");
            told.events.push(Event::SaveError { error });
        }
        told
    }

    /// Keeps what rotted, so that a later opening decides the same, though a power cut may change the times
    /// by which rot is told from an edit. A copy that cannot be made now is made when the file is restored.
    fn keep_rotten(&self, checkpointer: &Checkpointer) {
        for file in checkpointer.mirror.rotten() {
            if let Err(error) = conflicts::quarantine_copy(&*self.around.fs, file) {
                tracing::warn!(%error, "a damaged file is not kept yet");
            }
        }
    }

    /// Keeps what may be a person's or not, and logs that it was found, so that a later opening, which may
    /// find a sound store, decides the same.
    fn note_doubted(&self, checkpointer: &Checkpointer) -> Result<()> {
        let fs = &*self.around.fs;
        let mut found = Vec::new();
        for (file, hash) in checkpointer.mirror.doubted() {
            conflicts::keep(fs, file, file)?;
            let length = stat(fs, file)?.map_or(1, |stat| stat.size_bytes.max(1));
            found.push(Op::noted(file.to_owned(), hash, length));
        }
        // A change of its name that is not known to be durable: its absence proves nothing.
        let removals = checkpointer.mirror.doubted_removals();
        found.extend(removals.map(|file| Op::Removed { file: file.to_owned(), lsn: Lsn::ZERO }));
        if found.is_empty() {
            return Ok(());
        }
        self.log_own(&found).map(drop)
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
        if closed.is_ok() {
            self.durable.tell(lsn);
        }
        if closed.is_ok() && saved.is_ok() {
            let table = self.table.read();
            let [tasks, sessions] = Collection::ALL.map(|each| table.len(each) as u64);
            let stage = Stage::Clean { lsn, documents: Some((tasks, sessions)) };
            let write = || write_owner(&*self.around.fs, &identity, stage, Evidence::default());
            self.with_room(write)?;
        }
        drop(lock);
        closed
    }
}
