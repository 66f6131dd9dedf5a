//! What recovery builds upon: whose directory it is, and the intact snapshot with the highest LSN.
//!
//! Reads only. What is not usable is a problem, never an error, but for what a newer version wrote.

use crate::base::{Error, Lsn, Problem, ProblemKind, Result, StoreId};
use crate::engine::recovery::Rung;
use crate::files::owner::{self, Owner, OwnerFile};
use crate::files::snapshot::{Defect, Parsed, Snapshot};
use crate::files::{backups, names, names::STATE};
use crate::fs::Fs;
use crate::wal::{self, Hints};

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
/// say. An owner file that is outvoted is not believed. Where none of them says anything, the newest
/// backup does.
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
    let by_log = wal::scan(fs, names::WAL, &Hints::default())?.store;
    let votes = [by_owner, by_log, by_state];
    let twice = votes
        .into_iter()
        .flatten()
        .find(|id| votes.iter().filter(|vote| **vote == Some(*id)).count() > 1);
    let store = twice.or(by_owner).or(by_log).or(by_state);
    if by_owner.is_some() && by_owner != store {
        let detail = "it is of another store and not believed";
        problems.push(Problem::new(ProblemKind::Foreign, names::OWNER, 0, detail));
        return Ok((store, None));
    }
    match store {
        Some(store) => Ok((Some(store), owner)),
        None => Ok((by_backups(fs)?, owner)),
    }
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
    let detail = format!("{detail}; it is kept in conflicts/ when the next snapshot is saved");
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
    let found = backups::newest_intact(fs, store)?;
    problems.extend(found.problems);
    let Some((name, backup)) = found.newest else { return Ok(base) };
    let detail = format!("there is no usable snapshot; {name} and the log were used instead");
    problems.push(Problem::new(ProblemKind::Missing, STATE, 0, detail));
    Ok(Base { rung: Rung::Backup, snapshot: Some(backup), ..base })
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
            let found = backups::newest_intact(fs, store)?;
            problems.extend(found.problems);
            if let Some((_, backup)) = found.newest.filter(|(_, backup)| backup.lsn > state.lsn) {
                let (snapshot, older_state) = (Some(backup), Some(state));
                return Ok(Base { rung: Rung::Backup, snapshot, older_state, ..base });
            }
        }
    }
    Ok(Base { rung: Rung::Snapshot, snapshot: Some(state), ..base })
}
