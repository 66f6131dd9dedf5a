//! How a group is committed: written, flushed, applied, answered, by whoever has the role of the writer.
//!
//! The role is the writer thread's, but for a caller that waits for its own write and finds nobody else
//! there: it saves itself a hand-over to that thread and back, which costs more than half a flush. The
//! queue gives the role out and takes it back; only who has it takes from the queue.
//!
//! Invariants: nobody is answered before the log is as durable as was asked for and the table has it; a
//! panic on the way poisons the log, whosever thread it is, and the role is given back.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use crate::base::{Error, Lsn, Result};
use crate::engine::core::{Core, Writer};
use crate::engine::handle::{Promise, Spent};
use crate::engine::options::Durability;
use crate::engine::queue::{Lead, Taken, Transaction};
use crate::files::names::WAL;
use crate::wal::Record;

/// Whom to answer, what, and what to give back to it.
type Answer = (Promise, Result<Lsn>, Spent);

impl Core {
    /// What the writer thread does, once: duties that are due, then a group; says if there was one.
    pub(crate) fn step(&self) -> bool {
        self.duties();
        match self.queue.take(Some(Duration::ZERO)) {
            Taken::Group(group) => {
                self.commit(group);
                true
            }
            Taken::Idle | Taken::Stopped => false,
        }
    }

    /// Commits a caller's transaction on its own thread.
    pub(crate) fn lead(&self, transaction: Transaction, lead: Lead<'_>) {
        self.guarded(|| {
            self.commit(vec![transaction]);
            self.remind();
        });
        drop(lead);
    }

    /// Does something with the role of the writer; says whether it ended well. After a panic nothing is
    /// known of what it was doing, as after a failed write: nothing more may be acknowledged.
    pub(crate) fn guarded(&self, act: impl FnOnce()) -> bool {
        if catch_unwind(AssertUnwindSafe(act)).is_ok() {
            return true;
        }
        let panicked = io::Error::other("a thread panicked as the writer");
        let error = Error::io("commit to", self.around.fs.display(WAL), panicked);
        if let Some(log) = self.writer.lock().log.as_mut() {
            log.give_up(error.clone());
        }
        self.failed(&error);
        false
    }

    /// Commits one group: write, flush, apply, answer.
    pub(crate) fn commit(&self, group: Vec<Transaction>) {
        let sync = group.iter().any(|transaction| transaction.durability == Durability::Sync);
        let records: Vec<&Record> =
            group.iter().flat_map(|transaction| &transaction.records).collect();
        let mut writer = self.writer.lock();
        let last_lsn = match writer.write(self, &records, sync) {
            Ok(last_lsn) => last_lsn,
            Err(error) => {
                let is_written = writer.log.as_ref().is_none_or(|log| log.poison().is_some());
                drop(writer);
                self.refuse(group, &error, is_written);
                return;
            }
        };
        let first_lsn = last_lsn.0.saturating_sub(records.len() as u64).saturating_add(1);
        let answers = self.apply(&mut writer, group, Lsn(first_lsn));
        self.wish(&mut writer);
        drop(writer);
        Promise::fulfil_all(answers);
    }

    /// Answers a group that failed. If there was no room for it and nothing of it is written, its
    /// deletions are tried again without the others: they may use what is kept back for them.
    fn refuse(&self, group: Vec<Transaction>, error: &Error, is_written: bool) {
        let may_fit = matches!(error, Error::DiskFull { .. }) && !is_written;
        let (deletions, others): (Vec<_>, Vec<_>) =
            group.into_iter().partition(|transaction| may_fit && transaction.makes_room());
        let (refused, again) =
            if others.is_empty() { (deletions, Vec::new()) } else { (others, deletions) };
        for transaction in refused {
            transaction.promise.fail(error.clone());
        }
        self.failed(error);
        if !again.is_empty() {
            self.commit(again);
        }
    }

    /// Applies a group that is written, from `lsn` on; says what to answer to whom.
    fn apply(&self, writer: &mut Writer, group: Vec<Transaction>, mut lsn: Lsn) -> Vec<Answer> {
        let mut answers = Vec::with_capacity(group.len());
        let was_shown = writer.dirty.is_empty();
        let mut table = self.table.write();
        for Transaction { records, mut changes, promise, .. } in group {
            for (place, _) in &mut changes {
                *place = lsn;
                lsn = lsn.next();
            }
            let last_lsn = changes.last().map_or(lsn, |(last_lsn, _)| *last_lsn);
            let (outcome, replaced) = match table.apply(&changes) {
                Ok(applied) => {
                    writer.note_changed(&changes, &applied.replaced);
                    (Ok(last_lsn), applied.replaced)
                }
                Err(refused) => (Err(refused.error), Vec::new()),
            };
            answers.push((promise, outcome, Spent { records, changes, replaced }));
        }
        if was_shown && !writer.dirty.is_empty() {
            self.note_unshown();
        }
        answers
    }
}
