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
        if let Some(Ok(_)) = read(fs, store, &backup.name)? {
            remove_if_any(fs, &backup.name)?;
            removed.push(backup.name);
        }
    }
    if !removed.is_empty() {
        sync_dir(fs, "")?;
    }
    Ok(removed)
}

/// The backup to fall back to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fallback {
    /// The newest one that is an intact snapshot of this store, and its name.
    pub newest: Option<(String, Snapshot)>,
    /// What is wrong with those that are newer by their names.
    pub problems: Vec<Problem>,
}

/// Finds the newest backup that is an intact snapshot of this store, going backwards.
pub fn newest_intact(fs: &dyn Fs, store: StoreId) -> Result<Fallback> {
    let mut problems = Vec::new();
    for backup in list(fs)?.into_iter().rev() {
        match read(fs, store, &backup.name)? {
            Some(Ok(snapshot)) => {
                return Ok(Fallback { newest: Some((backup.name, snapshot)), problems });
            }
            Some(Err(problem)) => problems.push(problem),
            None => {}
        }
    }
    Ok(Fallback { newest: None, problems })
}

/// Reads a backup whole, and says what is wrong with it, if anything is.
pub fn check(fs: &dyn Fs, store: StoreId, name: &str) -> Result<Option<Problem>> {
    Ok(read(fs, store, name)?.and_then(Result::err))
}

/// A backup, or what is wrong with it; `None` if it is gone.
fn read(fs: &dyn Fs, store: StoreId, name: &str) -> Result<Option<Result<Snapshot, Problem>>> {
    Ok(snapshot::read(fs, name)?.map(|parsed| match parsed {
        Parsed::Intact(snapshot) if snapshot.store == store => Ok(snapshot),
        Parsed::Intact(snapshot) => {
            let detail = format!("it is of another store, {}", snapshot.store);
            Err(Problem::new(ProblemKind::Foreign, name, 0, detail))
        }
        Parsed::NotIntact(defect) => Err(Problem::new(defect.kind(), name, 0, defect.to_string())),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::snapshot::{Contents, render};
    use crate::fs::sim::SimFs;
    use ProblemKind::{Corrupt, Foreign};

    const STORE: StoreId = StoreId(7);

    fn bytes(store: StoreId, lsn: u64) -> Vec<u8> {
        render(Contents {
            store,
            lsn: Lsn(lsn),
            tasks: Vec::new(),
            sessions: Vec::new(),
            metrics: "{}",
            last_saved: Timestamp(0),
        })
        .bytes
    }

    /// A disk with backups made at these times, in seconds.
    fn disk(backups: &[(i64, Vec<u8>)]) -> SimFs {
        let disk = SimFs::new();
        for (time, bytes) in backups {
            disk.write_now(&names::backup(Timestamp(time * 1_000_000_000)), bytes).unwrap();
        }
        disk
    }

    fn times(disk: &SimFs) -> Vec<i64> {
        list(disk).unwrap().iter().map(|backup| backup.time.0 / 1_000_000_000).collect()
    }

    #[test]
    fn pruning_keeps_the_newest_and_counts_and_removes_only_what_is_intact_and_ours() {
        let mut damaged = bytes(STORE, 3);
        let last = damaged.len() - 5;
        damaged[last] ^= 1;
        let disk = disk(&[
            (1, bytes(STORE, 1)),
            (2, bytes(STORE, 2)),
            (3, damaged),
            (4, bytes(STORE, 4)),
            (5, bytes(StoreId(8), 5)),
            (6, Vec::new()),
            (7, bytes(STORE, 7)),
        ]);
        disk.write_now("state.backup.8000.json", b"{\"tasks\":[]}").unwrap();
        let removed = prune(&disk, STORE, 2).unwrap();
        assert_eq!(removed.len(), 2);
        assert_eq!(times(&disk), [3, 4, 5, 6, 7, 8]);
        assert_eq!(prune(&disk, STORE, 0).unwrap().len(), 1, "one at least is kept");
        assert_eq!(times(&disk), [3, 5, 6, 7, 8]);
    }

    #[test]
    fn the_newest_intact_backup_is_found_behind_damaged_ones_which_are_reported() {
        let disk = disk(&[
            (1, bytes(STORE, 1)),
            (2, bytes(STORE, 2)),
            (3, bytes(StoreId(8), 3)),
            (4, b"{".to_vec()),
            (5, Vec::new()),
        ]);
        let Fallback { newest, problems } = newest_intact(&disk, STORE).unwrap();
        assert_eq!(newest.unwrap().1.lsn, Lsn(2));
        let kinds: Vec<ProblemKind> = problems.iter().map(|problem| problem.kind).collect();
        assert_eq!(kinds, [Corrupt, Corrupt, Foreign]);
        assert!(newest_intact(&SimFs::new(), STORE).unwrap().newest.is_none());
    }

    #[test]
    fn size_and_lsn_are_read_from_the_file() {
        let disk = disk(&[(1, bytes(STORE, 9)), (2, b"x".to_vec())]);
        let all = list(&disk).unwrap();
        assert_eq!(all[0].lsn(&disk, STORE).unwrap(), Some(Lsn(9)));
        assert_eq!(all[0].lsn(&disk, StoreId(8)).unwrap(), None);
        assert_eq!(all[1].lsn(&disk, STORE).unwrap(), None);
        assert_eq!(all[1].size_bytes(&disk).unwrap(), Some(1));
    }
}
