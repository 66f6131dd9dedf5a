//! Backups of `state.json`: listing, pruning, and falling back to one.
//!
//! The engine deletes only what it can prove to be its own: a file under a backup's name that is
//! not an intact snapshot of this store stays, and does not take the place of one.

use crate::base::{Error, Lsn, Problem, ProblemKind, Result, StoreId, Timestamp};
use crate::files::conflicts::sync_dir;
use crate::files::names;
use crate::files::snapshot::{self, Parsed, Snapshot};
use crate::fs::replace::remove_if_any;
use crate::fs::{Fs, Kind};

/// A file under a backup's name; what is in it, is not known yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backup {
    /// Its name.
    pub name: String,
    /// The time in the name.
    pub time: Timestamp,
}

impl Backup {
    /// Its size in bytes; `None` if it is gone.
    pub fn size_bytes(&self, fs: &dyn Fs) -> Result<Option<u64>> {
        let stat = fs.stat(&self.name);
        let stat = stat.map_err(|error| Error::io("look at", fs.display(&self.name), error))?;
        Ok(stat.map(|stat| stat.size_bytes))
    }

    /// The LSN that it names, without proof, if it is of this store.
    pub fn lsn(&self, fs: &dyn Fs, store: StoreId) -> Result<Option<Lsn>> {
        let named = snapshot::peek(fs, &self.name)?;
        Ok(named.filter(|(of, _)| *of == store).map(|(_, lsn)| lsn))
    }
}

/// The regular files under backups' names, oldest first.
pub fn list(fs: &dyn Fs) -> Result<Vec<Backup>> {
    let entries = fs.list("").map_err(|error| Error::io("list", fs.display(""), error))?;
    let mut backups: Vec<Backup> = entries
        .into_iter()
        .filter(|entry| entry.kind == Kind::File)
        .filter_map(|entry| {
            names::parse_backup(&entry.name).map(|time| Backup { name: entry.name, time })
        })
        .collect();
    backups.sort_unstable_by(|a, b| (a.time, &a.name).cmp(&(b.time, &b.name)));
    Ok(backups)
}

/// The name for a backup made now, above all that are there (`backups`, from [`list`]).
pub fn next_name(backups: &[Backup], now: Timestamp) -> String {
    names::backup(names::backup_time(now, backups.last().map(|newest| newest.time)))
}

/// Removes the oldest backups until `keep` (at least 1) are left, and says which it removed. What
/// is not an intact snapshot of this store is neither removed nor counted.
///
/// To be cheap, the backups that stay are counted by the store that they name; only what is to be
/// removed is read whole and proved.
pub fn prune(fs: &dyn Fs, store: StoreId, keep: usize) -> Result<Vec<String>> {
    let mut removed = Vec::new();
    let mut counted = 0_usize;
    for backup in list(fs)?.into_iter().rev() {
        if backup.lsn(fs, store)?.is_none() {
            continue;
        }
        counted = counted.saturating_add(1);
        if counted <= keep.max(1) {
            continue;
        }
        match snapshot::read(fs, &backup.name)? {
            Some(Parsed::Intact(snapshot)) if snapshot.store == store => {
                remove_if_any(fs, &backup.name)?;
                removed.push(backup.name);
            }
            Some(_) | None => {}
        }
    }
    if !removed.is_empty() {
        sync_dir(fs, "")?;
    }
    Ok(removed)
}

/// The newest backup that is an intact snapshot of this store, and what is wrong with the newer
/// ones.
pub fn newest_intact(
    fs: &dyn Fs,
    store: StoreId,
) -> Result<(Option<(String, Snapshot)>, Vec<Problem>)> {
    let mut problems = Vec::new();
    for backup in list(fs)?.into_iter().rev() {
        let name = backup.name;
        match snapshot::read(fs, &name)? {
            Some(Parsed::Intact(snapshot)) if snapshot.store == store => {
                return Ok((Some((name, snapshot)), problems));
            }
            Some(Parsed::Intact(snapshot)) => {
                let detail = format!("it is of another store, {}", snapshot.store);
                problems.push(Problem::new(ProblemKind::Foreign, name, 0, detail));
            }
            Some(Parsed::NotIntact(defect)) => {
                problems.push(Problem::new(defect.kind(), name, 0, defect.to_string()));
            }
            None => {}
        }
    }
    Ok((None, problems))
}
