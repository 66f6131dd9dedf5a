//! What recovery builds upon: whose directory it is, and the intact snapshot with the highest LSN.
//!
//! Reads only. What is not usable is a problem, never an error, but for what a newer version wrote.

use crate::base::{Error, Lsn, Problem, ProblemKind, Result, StoreId};
use crate::engine::recovery::{Rung, hints};
use crate::files::backups::Fallback;
use crate::files::owner::{self, Owner, OwnerFile};
use crate::files::snapshot::{Defect, Parsed, Snapshot};
use crate::files::{backups, names, names::STATE};
use crate::fs::Fs;
use crate::wal::{self, Hints, Verdict};

/// The snapshot that the log is applied to, and what else was seen on the way to it.
#[derive(Default)]
pub(super) struct Base {
    pub(super) rung: Rung,
    /// None: the log from its first record.
    pub(super) snapshot: Option<Snapshot>,
    /// `state.json` where it is intact and ours, but a backup is newer.
    pub(super) older_state: Option<Snapshot>,
    /// The highest LSN that a backup of this store names.
    pub(super) backup_lsn: Option<Lsn>,
    /// Whether `state.json` names the LSN of a backup.
    pub(super) state_is_a_backup: bool,
}

pub(super) fn read_owner(fs: &dyn Fs, problems: &mut Vec<Problem>) -> Result<Option<Owner>> {
    Ok(match owner::read(fs)? {
        OwnerFile::Intact(owner) => Some(owner),
        OwnerFile::Missing => None,
        OwnerFile::Damaged { why } => {
            let detail = format!("{why}; the store is taken as not shut down");
            problems.push(Problem::new(ProblemKind::Corrupt, names::OWNER, 0, detail));
            None
        }
    })
}

/// Whose directory this is, where `.walden`, `state.json` and the log may disagree: what two of them
/// say. An owner file that is outvoted is not believed. Backups speak where no two agree.
pub(super) fn whose(
    fs: &dyn Fs,
    owner: Option<Owner>,
    state: Option<&Parsed>,
    problems: &mut Vec<Problem>,
) -> Result<(Option<StoreId>, Option<Owner>)> {
    let by_owner = owner.map(|owner| owner.store);
    let by_state = match state {
        Some(Parsed::Intact(snapshot)) => Some(snapshot.store),
        _ => None,
    };
    if by_owner.is_some() && by_owner == by_state {
        return Ok((by_owner, owner));
    }
    let store = settle(fs, by_owner, by_state)?;
    if store.is_some() && owner.is_none() && problems.iter().all(|found| found.file != names::OWNER)
    {
        let detail = "it is gone, and with it, how the last opening ended; it is made again";
        problems.push(Problem::new(ProblemKind::Missing, names::OWNER, 0, detail));
    }
    if by_owner.is_some() && by_owner != store {
        let detail = "it is of another store and not believed";
        problems.push(Problem::new(ProblemKind::Foreign, names::OWNER, 0, detail));
        return Ok((store, None));
    }
    Ok((store, owner))
}

/// The log speaks for every store that it has segments of, since a person may have put another's
/// beside them.
fn settle(
    fs: &dyn Fs,
    by_owner: Option<StoreId>,
    by_state: Option<StoreId>,
) -> Result<Option<StoreId>> {
    let scan = |store| wal::scan(fs, names::WAL, &Hints { store, ..Hints::default() });
    for store in [by_owner, by_state].into_iter().flatten() {
        if scan(Some(store))?.incarnation_max > 0 {
            return Ok(Some(store));
        }
    }
    if by_owner.is_some() {
        return Ok(by_owner);
    }
    let (by_log, by_backups) = (scan(None)?.store, by_backups(fs)?);
    let is_confirmed =
        by_backups.is_some() && (by_state == by_backups || scan(by_backups)?.incarnation_max > 0);
    Ok(by_backups.filter(|_| is_confirmed).or(by_log).or(by_state).or(by_backups))
}

fn by_backups(fs: &dyn Fs) -> Result<Option<StoreId>> {
    for backup in backups::list(fs)?.iter().rev() {
        if let Some(Parsed::Intact(snapshot)) = crate::files::snapshot::read(fs, &backup.name)? {
            return Ok(Some(snapshot.store));
        }
    }
    Ok(None)
}

/// `state.json`, if it is an intact snapshot of this store; else what is wrong with it.
pub(super) fn usable_snapshot(
    fs: &dyn Fs,
    state: Option<Parsed>,
    store: Option<StoreId>,
    problems: &mut Vec<Problem>,
) -> Result<Option<Snapshot>> {
    let (kind, detail) = match state {
        None => return Ok(None),
        Some(Parsed::Intact(snapshot)) if Some(snapshot.store) == store => {
            return Ok(Some(snapshot));
        }
        Some(Parsed::Intact(snapshot)) => {
            (ProblemKind::Foreign, format!("it is of another store, {}", snapshot.store))
        }
        Some(Parsed::NotIntact(defect @ Defect::Unsupported { .. })) => {
            let why = format!("{defect}; use the newer Walden that wrote it");
            return Err(Error::Unsupported { what: fs.display(STATE), why });
        }
        Some(Parsed::NotIntact(defect)) => (defect.kind(), defect.to_string()),
    };
    problems.push(Problem::new(kind, STATE, 0, detail));
    Ok(None)
}

/// The snapshot to apply the log to: `state.json`, if it is intact and the log reaches back to it; else
/// the intact backup with the highest LSN, which may have been made after `state.json` was put back.
/// Backups are read only where there are some above `state.json`.
pub(super) fn choose(
    fs: &dyn Fs,
    state: Option<Snapshot>,
    store: Option<StoreId>,
    owner: Option<&Owner>,
    problems: &mut Vec<Problem>,
) -> Result<Base> {
    let Some(store) = store else { return Ok(Base::default()) };
    let mut backup_lsns = Vec::new();
    for backup in backups::list(fs)? {
        match backup.lsn(fs, store) {
            Ok(lsn) => backup_lsns.extend(lsn),
            // Beside a usable snapshot it is not needed; where it is, the search below fails by it.
            Err(error) => {
                let problem =
                    Problem::new(ProblemKind::Unreadable, backup.name, 0, error.to_string());
                problems.push(problem);
            }
        }
    }
    let backup_lsn = backup_lsns.iter().max().copied();
    let state_lsn = state.as_ref().map(|state| state.lsn);
    let state_is_a_backup = state_lsn.is_some_and(|lsn| backup_lsns.contains(&lsn));
    let base = Base { backup_lsn, state_is_a_backup, ..Base::default() };
    if let Some(state) = state {
        return above(fs, store, state, base, problems);
    }
    let end = match backup_lsn {
        Some(_) => whole_log_end(fs, store, owner)?,
        None => None,
    };
    let found = newest_up_to(fs, store, end.unwrap_or(Lsn::MAX))?;
    problems.extend(found.problems);
    let Some((name, backup)) = found.newest else { return Ok(base) };
    let instead = format!("{name} and the log were used instead");
    if let Some(told) = problems.iter_mut().find(|problem| problem.file == STATE) {
        told.detail = format!("{}; {instead}", told.detail);
    } else {
        let detail = format!("it is gone; {instead}");
        problems.push(Problem::new(ProblemKind::Missing, STATE, 0, detail));
    }
    Ok(Base { rung: Rung::Backup, snapshot: Some(backup), ..base })
}

/// The end of the log, if there is one and nothing is missing of it: then a snapshot of a higher LSN is
/// of a copy of this store that went another way.
fn whole_log_end(fs: &dyn Fs, store: StoreId, owner: Option<&Owner>) -> Result<Option<Lsn>> {
    let first = wal::scan(fs, names::WAL, &Hints { store: Some(store), ..Hints::default() })?;
    let scan = wal::scan(fs, names::WAL, &hints(Some(store), owner, first.first_base))?;
    let is_whole = scan.size_bytes > 0 && scan.verdict() == Verdict::Clean;
    Ok(is_whole.then_some(scan.last_lsn))
}

/// The newest backup up to the log's end, with those above it as problems; without one, the newest.
fn newest_up_to(fs: &dyn Fs, store: StoreId, end: Lsn) -> Result<Fallback> {
    let mut found = backups::newest_intact(fs, store, end)?;
    if found.newest.is_none() {
        return backups::newest_intact(fs, store, Lsn::MAX);
    }
    for backup in backups::list(fs)? {
        if backup.lsn(fs, store)?.is_some_and(|lsn| lsn > end) {
            let detail = format!(
                "it is newer than the whole log, which ends at LSN {end}, so it is of a copy of this \
                 store that went another way; it was not used"
            );
            found.problems.push(Problem::new(ProblemKind::Foreign, backup.name, 0, detail));
        }
    }
    Ok(found)
}

/// The base where `state.json` is intact.
fn above(
    fs: &dyn Fs,
    store: StoreId,
    state: Snapshot,
    base: Base,
    problems: &mut Vec<Problem>,
) -> Result<Base> {
    if base.backup_lsn > Some(state.lsn) {
        let log = wal::scan(fs, names::WAL, &Hints { store: Some(store), ..Hints::default() })?;
        if log.size_bytes == 0 || log.first_base > state.lsn {
            let found = backups::newest_intact(fs, store, Lsn::MAX)?;
            problems.extend(found.problems);
            if let Some((_, backup)) = found.newest.filter(|(_, backup)| backup.lsn > state.lsn) {
                let (snapshot, older_state) = (Some(backup), Some(state));
                return Ok(Base { rung: Rung::Backup, snapshot, older_state, ..base });
            }
        }
    }
    Ok(Base { rung: Rung::Snapshot, snapshot: Some(state), ..base })
}

#[cfg(test)]
#[path = "base_tests.rs"]
mod tests;
