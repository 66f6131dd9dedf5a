//! `state.json` as a person left it: looked at, taken in as one transaction, or held.
//!
//! It is judged by `recovery::edited`, as at an opening, and merged document by document with the state as it
//! is. The checkpointer's lock is held throughout. Nothing that is not known by its `stat` is ever replaced:
//! a snapshot that cannot have the place of `state.json` is saved as a backup, and the one that was last
//! in that place is kept for the edit that may be made of it.

use std::sync::Arc;
use std::time::Duration;

use super::{
    ATTEMPTS_MAX, BELIEVED_AFTER, LOOK_AGAIN, Past, SETTLES_AFTER, Told, state_merge::merge_state,
};
use crate::base::{Error, Event, Lsn, ProblemKind, Result, Timestamp};
use crate::engine::checkpoint::{Checkpointer, Reason, Sorted};
use crate::engine::core::Core;
use crate::engine::edits::merge::{Merged, Outcome};
use crate::engine::intake::Restored;
use crate::engine::recovery::{Plan, Rung, StateEdit, Strange, What, plan};
use crate::files::conflicts::{is_open_for_writing, set_aside, sync_dir};
use crate::files::mirror::{Edit, Mirror, Now};
use crate::files::names::STATE;
use crate::files::snapshot::edited::{Held, understand};
use crate::files::snapshot::{self, BYTES_MAX, Defect, Parsed, Rendered};
use crate::files::{backups, stat};
use crate::fs::{Fs, Kind, Mode, Stat, read_file};
use crate::state::{Doc, Document, Op};
use crate::wal::Origin;

impl Checkpointer {
    /// What an opening knows.
    pub(crate) fn opened(plan: &Plan, mut mirror: Mirror, now: Duration) -> Checkpointer {
        let strange = plan.strange.as_ref();
        let held = strange.filter(|strange| matches!(strange.what, What::Held(_)));
        let is_done = |what: &What| matches!(what, What::TakenIn(_) | What::TakenOver);
        let taken_in = strange.filter(|strange| is_done(&strange.what));
        // While it is held, backups are the snapshots.
        let is_backup = held.is_some() && plan.recovery.rung == Rung::Backup;
        let base = is_backup.then_some(plan.recovery.base_lsn);
        let mut past = Past::new(now);
        for (collection, id, text) in mirror.take_former() {
            let doc = Doc::new(Document::new(text), Lsn::ZERO, false);
            past.push(now, (collection, id), Arc::new(doc));
        }
        Checkpointer {
            mirror,
            snapshot_lsn: plan.snapshot_lsn.or(base),
            state_stat: plan.state_stat.or(held.map(|held| held.stat)),
            looked_at: None,
            taken_in: taken_in.map(|strange| strange.stat),
            is_held: held.is_some(),
            in_place: plan.snapshot_lsn.or(plan.saved),
            unsettled: None,
            past,
        }
    }

    fn knows_state(&self, found: Stat) -> bool {
        [self.state_stat, self.looked_at, self.taken_in].contains(&Some(found))
    }
}

/// Puts a damaged `state.json` into quarantine; the checkpoint of this opening makes a new one.
pub(crate) fn set_damage_aside(fs: &dyn Fs, strange: Option<&Strange>) {
    if !strange.is_some_and(|strange| matches!(strange.what, What::Damaged)) {
        return;
    }
    if let Err(error) = set_aside(fs, STATE) {
        tracing::warn!(%error, "a damaged state.json stays where it is until the next snapshot");
    }
}

impl Core {
    /// Looks what a person did to `state.json`, if anything: restores an earlier snapshot, takes an edit
    /// in, or holds what cannot be understood. `is_patient`: not what somebody may be at still.
    pub(crate) fn look_at_state(
        &self,
        checkpointer: &mut Checkpointer,
        is_patient: bool,
        told: &mut Told,
    ) -> Result<Option<Restored>> {
        let fs = &*self.around.fs;
        let found = stat(fs, STATE)?;
        let Some(found) = found.filter(|found| !checkpointer.knows_state(*found)) else {
            checkpointer.is_held &= found.is_some();
            checkpointer.unsettled = None;
            return Ok(None);
        };
        let parsed = if found.kind == Kind::File { snapshot::read(fs, STATE)? } else { None };
        match parsed {
            Some(Parsed::Intact(snapshot)) if snapshot.store == self.store => {
                let restored = self.restore_older(checkpointer, snapshot, STATE)?;
                checkpointer.settle_state(found);
                return Ok(restored);
            }
            Some(Parsed::Intact(snapshot)) => {
                hold_state(checkpointer, found, &Held::foreign(snapshot.store), told);
            }
            Some(Parsed::NotIntact(defect @ Defect::Unsupported { .. })) => {
                let held = Held::unreadable(defect.to_string());
                hold_state(checkpointer, found, &held, told);
            }
            Some(Parsed::NotIntact(_)) => {
                if self.has_settled(checkpointer, found, is_patient)? {
                    self.judge_state(checkpointer, told)?;
                }
            }
            None => checkpointer.settle_state(found),
        }
        Ok(None)
    }

    /// Whether nobody is at it any more, as far as can be told.
    fn has_settled(
        &self,
        checkpointer: &mut Checkpointer,
        found: Stat,
        is_patient: bool,
    ) -> Result<bool> {
        let now = self.around.clock.monotonic();
        let seen = checkpointer.unsettled.filter(|(stat, _)| *stat == found);
        let (_, since) = *checkpointer.unsettled.insert(seen.unwrap_or((found, now)));
        let age = now.saturating_sub(since);
        let is_quiet = |fs| is_open_for_writing(fs, STATE).map(|is_open| !is_open);
        let has_settled = if is_patient {
            age >= SETTLES_AFTER && (age >= BELIEVED_AFTER || is_quiet(&*self.around.fs)?)
        } else {
            is_quiet(&*self.around.fs)?
        };
        if !has_settled {
            self.watch.lock().again.get_or_insert(now.saturating_add(LOOK_AGAIN));
        }
        Ok(has_settled)
    }

    /// Judges what is neither a snapshot nor known. Where the log seems to lack what it was made of, it is
    /// read again while nobody writes to it.
    fn judge_state(&self, checkpointer: &mut Checkpointer, told: &mut Told) -> Result<()> {
        let fs = &*self.around.fs;
        let read = || -> Result<_> {
            let plan = plan(fs)?;
            let edit = plan.state_edit_found(fs)?;
            Ok(plan.strange.map(|Strange { stat, what }| (stat, what, edit)))
        };
        let is_sure = |read: &Option<(Stat, What, Option<StateEdit>)>| {
            let edit = read.as_ref().and_then(|(_, _, edit)| edit.as_ref());
            edit.is_none_or(|edit| edit.base.is_some() || edit.edited.base.is_none())
        };
        let judged = match read() {
            Ok(judged) if is_sure(&judged) => judged,
            Ok(_) | Err(_) => {
                let _still = self.writer.lock();
                read()?
            }
        };
        match judged {
            // It is a snapshot by now, or gone.
            None => Ok(()),
            Some((_, _, Some(edit))) => self.take_in_state(checkpointer, &edit, STATE, told),
            Some((stat, What::Held(held), _)) => {
                hold_state(checkpointer, stat, &held, told);
                Ok(())
            }
            Some((stat, What::Damaged | What::Edit(_), _)) => {
                let held = Held::unreadable("it is empty or damaged");
                hold_state(checkpointer, stat, &held, told);
                Ok(())
            }
            Some((stat, What::TakenIn(_) | What::TakenOver, _)) => {
                checkpointer.taken_in = Some(stat);
                Ok(())
            }
        }
    }

    /// Takes in what somebody put in the place of `state.json` in the instant in which it was replaced.
    pub(crate) fn take_in_displaced(
        &self,
        checkpointer: &mut Checkpointer,
        kept: &str,
        told: &mut Told,
    ) -> Result<()> {
        let fs = &*self.around.fs;
        let bytes = read_file(fs, kept, BYTES_MAX);
        let bytes = bytes.map_err(|error| Error::io("read", fs.display(kept), error))?;
        if let Parsed::Intact(_) = snapshot::parse(&bytes) {
            return Ok(());
        }
        match understand(&bytes, self.store) {
            Ok(edited) => {
                let edit = plan(fs)?.state_edit(fs, edited, None)?;
                self.take_in_state(checkpointer, &edit, kept, told)?;
                self.wishes.lock().checkpoint.get_or_insert(Reason::Request);
                self.wished.notify_one();
            }
            Err(Held { kind, why }) => {
                told.problem(
                    kind,
                    kept,
                    format!("{why}; what it is to say is to be put into {STATE}"),
                );
            }
        }
        Ok(())
    }

    /// Takes an edit in that lies in `file`.
    pub(crate) fn take_in_state(
        &self,
        checkpointer: &mut Checkpointer,
        edit: &StateEdit,
        file: &str,
        told: &mut Told,
    ) -> Result<()> {
        let fs = &*self.around.fs;
        if edit.stat.is_some() && !flush_if_same(fs, edit.stat)? {
            // Somebody was at it since: the next look takes it as it is.
            return Ok(());
        }
        for attempt in 1..=ATTEMPTS_MAX {
            // The last time nobody changes anything meanwhile.
            let mut held = (attempt == ATTEMPTS_MAX).then(|| self.writer.lock());
            let table = self.table.read().clone();
            let merged = match merge_state(&table, edit, self.options.document_bytes_max) {
                Ok((merged, notes)) => {
                    let notes = notes.into_iter().map(|note| (ProblemKind::Edited, note));
                    (merged, notes)
                }
                Err(why) => {
                    drop(held);
                    let held = Held::unreadable(why);
                    match edit.stat {
                        Some(stat) => hold_state(checkpointer, stat, &held, told),
                        None => told.problem(held.kind, file, held.why),
                    }
                    return Ok(());
                }
            };
            let (merged, notes) = merged;
            let kept = self.keep_losers(&merged)?;
            let mut writer = held.take().unwrap_or_else(|| self.writer.lock());
            let (same, moved) = self.split_moved(merged.into_iter().zip(kept));
            if !moved.is_empty() {
                continue;
            }
            let ops = transaction(edit, &same);
            let lsn = self.commit_own(&mut writer, ops, Origin::Edit)?;
            drop(writer);
            notes.for_each(|(kind, note)| told.problem(kind, file, note));
            tell_taken_in(same, lsn, told);
            self.facts.lock().others = edit.edited.others.as_str().into();
            if let Some(stat) = edit.stat {
                checkpointer.settle_state(stat);
                checkpointer.taken_in = Some(stat);
            }
            self.note_unshown();
            return Ok(());
        }
        Ok(())
    }

    /// Whether what lies in the place of `state.json` is a person's, to be left.
    pub(crate) fn must_leave_state(&self, checkpointer: &Checkpointer) -> Result<bool> {
        let found = stat(&*self.around.fs, STATE)?.filter(|found| found.kind == Kind::File);
        Ok(found.is_some_and(|found| checkpointer.is_held || !checkpointer.knows_state(found)))
    }

    /// Saves a snapshot as a backup, `state.json` being held; which one was last saved there, is logged
    /// again, since the log will be cut.
    pub(crate) fn save_beside(
        &self,
        checkpointer: &Checkpointer,
        rendered: &Rendered<'_>,
        now: Timestamp,
    ) -> Result<()> {
        let fs = &*self.around.fs;
        if let Some(lsn) = checkpointer.in_place {
            self.backups.lock().spare(Some(lsn));
            if let Err(error) = self.keep_base(lsn, now) {
                tracing::warn!(%error, "an edit of state.json may have to be merged without its base");
            }
        }
        let name = self.with_room(|| snapshot::save_as_backup(fs, rendered, now))?;
        tracing::info!(name, "state.json is held; the snapshot is a backup");
        if let Some(lsn) = checkpointer.in_place {
            self.log_own(&[Op::Saved { lsn }])?;
        }
        Ok(())
    }

    /// Sees to it that the snapshot of `lsn` is among the backups.
    fn keep_base(&self, lsn: Lsn, now: Timestamp) -> Result<()> {
        let fs = &*self.around.fs;
        for backup in backups::list(fs)? {
            if backup.lsn(fs, self.store)? == Some(lsn) {
                return Ok(());
            }
        }
        if let Some(table) = plan(fs)?.snapshot_as_of(fs, lsn)? {
            let sorted = Sorted::of(&table);
            let rendered = self.render(&sorted, lsn, now);
            self.with_room(|| snapshot::save_as_backup(fs, &rendered, now))?;
        }
        Ok(())
    }
}

impl Checkpointer {
    /// This is what lies in the place of `state.json`, and it was looked at.
    fn settle_state(&mut self, found: Stat) {
        self.looked_at = Some(found);
        self.unsettled = None;
        self.is_held = false;
        self.taken_in = None;
    }
}

/// Makes `state.json` durable as it was read; `false` if it has changed since.
fn flush_if_same(fs: &dyn Fs, read: Option<Stat>) -> Result<bool> {
    let flushed = fs.open(STATE, Mode::Read).and_then(|file| file.sync_data());
    match flushed {
        Ok(()) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(Error::io("flush", fs.display(STATE), error)),
    }
    sync_dir(fs, "")?;
    Ok(stat(fs, STATE)? == read)
}

/// One transaction for the whole file; nothing if it changes nothing.
fn transaction(edit: &StateEdit, merged: &[(Merged, Option<String>)]) -> Vec<Op> {
    let changes = merged.iter().filter_map(|(merged, _)| match &merged.outcome {
        Outcome::Change { op, .. } => Some(op.clone()),
        Outcome::Nothing { .. } | Outcome::Restored | Outcome::Held(_) => None,
    });
    let mut ops: Vec<Op> = changes.collect();
    if !ops.is_empty() {
        let modified_ns = edit.stat.map_or(0, |stat| stat.modified_ns);
        let (file, hash, length) = (STATE.to_owned(), edit.edited.hash, edit.edited.length);
        ops.insert(0, Op::Edited { file, hash, length, modified_ns, is_whole: false, text: None });
    }
    ops
}

/// What is to be told of each document; the transaction ended at `last`.
fn tell_taken_in(merged: Vec<(Merged, Option<String>)>, last: Lsn, told: &mut Told) {
    let is_change =
        |(merged, _): &(Merged, Option<String>)| matches!(merged.outcome, Outcome::Change { .. });
    let changes = merged.iter().filter(|merged| is_change(merged)).count() as u64;
    let mut lsn = Lsn(last.0.saturating_sub(changes));
    for (Merged { edit, outcome, .. }, kept) in merged {
        let Edit { collection, id, now, .. } = edit;
        let (file, dir) = (STATE.to_owned(), collection.dir());
        match outcome {
            Outcome::Change { conflict, .. } => {
                lsn = lsn.next();
                let is_deletion = matches!(now, Now::Gone);
                if let Some(conflict) = conflict.filter(|_| !is_deletion) {
                    let (file, id, fields) = (file.clone(), id.clone(), conflict.fields);
                    told.events.push(Event::Conflict { file, dir, id, lsn, fields, kept });
                }
                told.events.push(Event::Edited { file, dir, id, lsn, is_deletion });
            }
            Outcome::Restored => {
                let detail = format!(
                    "{collection} {:?} was removed from it, but has changed since; it stays",
                    id.as_str()
                );
                told.problem(ProblemKind::Edited, STATE, detail);
            }
            Outcome::Nothing { .. } | Outcome::Held(_) => {}
        }
    }
}

fn hold_state(checkpointer: &mut Checkpointer, found: Stat, held: &Held, told: &mut Told) {
    checkpointer.settle_state(found);
    checkpointer.is_held = true;
    checkpointer.state_stat = Some(found);
    told.problem(held.kind, STATE, held.told());
}
