//! Backups of `state.json`: listing, and falling back to one. Which are kept, is [`Backups`]'s part.
//!
//! Which backup is the newest is decided by the LSN that it holds, not by its name: a person may have
//! copied an old one under a new name. A file under a backup's name that is not an intact snapshot
//! of this store is never loaded, and does not take the place of one.

mod kept;
mod retention;

use crate::base::{Error, Lsn, Problem, ProblemKind, Result, StoreId, Timestamp};
use crate::files::snapshot::{self, Parsed, Snapshot};
use crate::files::{self, names};
use crate::fs::{Fs, Kind};

pub use kept::Backups;
pub use retention::Retention;

/// A file under a backup's name; what is in it, is not known yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backup {
    /// Its name.
    pub name: String,
    /// The time in the name.
    pub time: Timestamp,
}

impl Backup {
    /// The LSN that it names, without proof, if it is of this store.
    pub fn lsn(&self, fs: &dyn Fs, store: StoreId) -> Result<Option<Lsn>> {
        named_lsn(fs, &self.name, store)
    }
}

fn named_lsn(fs: &dyn Fs, name: &str, store: StoreId) -> Result<Option<Lsn>> {
    let named = snapshot::peek(fs, name)?;
    Ok(named.filter(|(of, _)| *of == store).map(|(_, lsn)| lsn))
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

/// How many backups there are, and their bytes: all under a backup's name, whatever is in them.
pub fn count(fs: &dyn Fs) -> Result<(usize, u64)> {
    let backups = list(fs)?;
    let mut bytes = 0_u64;
    for backup in &backups {
        bytes = bytes.saturating_add(files::stat(fs, &backup.name)?.map_or(0, |s| s.size_bytes));
    }
    Ok((backups.len(), bytes))
}

/// The backup to fall back to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fallback {
    /// The one with the highest LSN that is an intact snapshot of this store, and its name.
    pub newest: Option<(String, Snapshot)>,
    /// What is wrong with those that name a higher LSN, or a later time and no LSN of this store.
    pub problems: Vec<Problem>,
}

/// Finds the intact backup of this store with the highest LSN up to `end`; of equal ones, that of the
/// last name.
pub fn newest_intact(fs: &dyn Fs, store: StoreId, end: Lsn) -> Result<Fallback> {
    let (mut named, mut strange) = (Vec::new(), Vec::new());
    for backup in list(fs)?.into_iter().rev() {
        match backup.lsn(fs, store)? {
            Some(lsn) if lsn > end => {}
            Some(lsn) => named.push((lsn, backup)),
            None => strange.push(backup),
        }
    }
    // It is stable, and the list goes backwards.
    named.sort_by_key(|(lsn, _)| std::cmp::Reverse(*lsn));
    let mut problems = Vec::new();
    let mut newest = None;
    for (_, backup) in named {
        match read(fs, store, &backup.name)? {
            Some(Ok(snapshot)) => {
                newest = Some((backup, snapshot));
                break;
            }
            Some(Err(problem)) => problems.push(problem),
            None => {}
        }
    }
    let found_at = newest.as_ref().map(|(backup, _)| backup.time);
    for backup in strange.iter().filter(|backup| Some(backup.time) > found_at) {
        problems.extend(read(fs, store, &backup.name)?.and_then(Result::err));
    }
    Ok(Fallback { newest: newest.map(|(backup, snapshot)| (backup.name, snapshot)), problems })
}

/// The intact backup of this store with the lowest LSN from `begin` on.
pub fn oldest_intact(fs: &dyn Fs, store: StoreId, begin: Lsn) -> Result<Option<Snapshot>> {
    let mut named = Vec::new();
    for backup in list(fs)? {
        let lsn = backup.lsn(fs, store)?.filter(|lsn| *lsn >= begin);
        named.extend(lsn.map(|lsn| (lsn, backup)));
    }
    named.sort_by_key(|(lsn, _)| *lsn);
    for (_, backup) in named {
        if let Some(Ok(snapshot)) = read(fs, store, &backup.name)? {
            return Ok(Some(snapshot));
        }
    }
    Ok(None)
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
    use crate::files::snapshot::fixture::snapshot_bytes;
    use crate::fs::sim::SimFs;
    use ProblemKind::{Corrupt, Foreign};

    const STORE: StoreId = StoreId(7);

    fn bytes(store: StoreId, lsn: u64) -> Vec<u8> {
        snapshot_bytes(store, lsn, 0)
    }

    /// A disk with backups made at these times, in seconds.
    fn disk(backups: &[(i64, Vec<u8>)]) -> SimFs {
        let disk = SimFs::new();
        for (time, bytes) in backups {
            disk.write_now(&names::backup(Timestamp(time * 1_000_000_000)), bytes).unwrap();
        }
        disk
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
        let Fallback { newest, problems } = newest_intact(&disk, STORE, Lsn::MAX).unwrap();
        assert_eq!(newest.unwrap().1.lsn, Lsn(2));
        let kinds: Vec<ProblemKind> = problems.iter().map(|problem| problem.kind).collect();
        assert_eq!(kinds, [Corrupt, Corrupt, Foreign]);
        assert!(newest_intact(&SimFs::new(), STORE, Lsn::MAX).unwrap().newest.is_none());
    }

    #[test]
    fn the_newest_is_the_one_with_the_highest_lsn_whatever_the_names_say() {
        let mut damaged = bytes(STORE, 9);
        let last = damaged.len() - 5;
        damaged[last] ^= 1;
        let disk = disk(&[
            (1, bytes(STORE, 8)),
            (2, damaged),
            (3, bytes(STORE, 8)),
            (4, bytes(STORE, 2)),
            (5, bytes(StoreId(8), 99)),
        ]);
        let Fallback { newest, problems } = newest_intact(&disk, STORE, Lsn::MAX).unwrap();
        let (name, snapshot) = newest.unwrap();
        assert_eq!((snapshot.lsn, name), (Lsn(8), names::backup(Timestamp(3_000_000_000))));
        let kinds: Vec<ProblemKind> = problems.iter().map(|problem| problem.kind).collect();
        assert_eq!(kinds, [ProblemKind::Edited, Foreign]);
    }

    #[test]
    fn all_under_a_backups_name_are_counted_and_the_earlier_formats_too() {
        let disk = disk(&[(1, bytes(STORE, 9)), (2, b"x".to_vec())]);
        disk.write_now("state.backup.8000.json", b"{}").unwrap();
        disk.plant_now("state.backup.9000.json", Kind::Directory).unwrap();
        let bytes = bytes(STORE, 9).len() as u64 + 3;
        assert_eq!(count(&disk).unwrap(), (3, bytes));
    }
}
