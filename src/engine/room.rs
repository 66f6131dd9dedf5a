//! Making room: where the disk is full, surplus backups go, oldest first, one by one, and the work is
//! done again each time.
//!
//! Only work that has changed nothing when it fails may be done again. The previous snapshot is never
//! removed, so no backup that goes is the reason for a hole. May be called with any lock held but that
//! of the backups.

use std::borrow::Borrow;
use std::io::ErrorKind;

use crate::base::{Error, Lsn, Result, Timestamp};
use crate::engine::core::Core;
use crate::files::backups::Backups;
use crate::fs::Fs;
use crate::state::Op;
use crate::wal::{Log, Record};

impl Core {
    /// Does `work`, and again each time that there was no room for it and some could be made.
    pub(crate) fn with_room<T>(&self, mut work: impl FnMut() -> Result<T>) -> Result<T> {
        loop {
            match work() {
                Err(error) if self.make_room(&error) => {}
                outcome => return outcome,
            }
        }
    }

    /// Removes the segments that the log keeps to reuse them, if that can help against `error`; says whether
    /// there were any.
    fn free_spares(&self, error: &Error) -> bool {
        let freed = || match self.writer.try_lock() {
            Some(mut writer) => writer.log().and_then(Log::free_spares),
            // Whoever writes uses them.
            None => Ok(false),
        };
        is_full(error)
            && freed().unwrap_or_else(|error| {
                tracing::warn!(%error, "no room was made by the log");
                false
            })
    }

    /// Appends a group to the log. One for which no segment could be prepared was not written at all,
    /// unless it makes room itself: such a group may use what the segments keep back for it, and is to be
    /// flushed then by the caller.
    pub(crate) fn append<R: Borrow<Record>>(
        &self,
        log: &mut Log,
        records: &[R],
        wall: Timestamp,
        sync: bool,
    ) -> Result<Lsn> {
        loop {
            let written = if sync { log.commit(records, wall) } else { log.append(records, wall) };
            match written {
                Err(error) if log.poison().is_none() && self.free_backup(&error) => {}
                Err(error @ Error::DiskFull { .. })
                    if log.poison().is_none()
                        && records.iter().all(|record| Op::makes_room(record.borrow().kind)) =>
                {
                    return log.append_to_reserve(records, wall)?.ok_or(error);
                }
                outcome => return outcome,
            }
        }
    }

    /// Makes some room if that can help against `error`; says whether it did.
    pub(crate) fn make_room(&self, error: &Error) -> bool {
        self.free_spares(error) || self.free_backup(error)
    }

    /// Removes a backup if that can help against `error`; says whether it did. Until a store that was
    /// opened on something else has an intact `state.json` again, its LSN here is 0, and none goes.
    fn free_backup(&self, error: &Error) -> bool {
        let present = self.facts.lock().snapshot_lsn;
        make_room(&*self.around.fs, &mut self.backups.lock(), present, error)
    }
}

/// Removes the oldest surplus backup, if that can help against `error`; says whether it did. `present`
/// is the LSN of `state.json`, which must be intact.
pub(crate) fn make_room(fs: &dyn Fs, backups: &mut Backups, present: Lsn, error: &Error) -> bool {
    if !is_full(error) {
        return false;
    }
    let mut problems = Vec::new();
    let freed = backups.free_one(fs, present, &mut problems);
    // Listeners are called with no lock held, which may not be so here.
    for problem in problems {
        tracing::warn!(file = problem.file, "{}", problem.detail);
    }
    freed.unwrap_or_else(|error| {
        tracing::warn!(%error, "no backup could be removed to make room");
        false
    })
}

/// Whether more room can help.
fn is_full(error: &Error) -> bool {
    let Error::DiskFull { source, .. } = error else { return false };
    matches!(source.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
}
