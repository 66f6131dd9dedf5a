//! Publishing a snapshot, in steps each of which a crash may follow.
//!
//! 1. Write `wal/state.part`, make its contents durable, rename it to `wal/state.swap`. So
//!    `state.part` is always the engine's own and half-done, `state.swap` always whole.
//! 2. What lies in the place of `state.json` gets a second, durable name: a backup's if it is the
//!    engine's (the stat recorded after the last save, else an intact digest and the store's id),
//!    one in `conflicts/` if it is a person's.
//! 3. Exchange `state.swap` and `state.json`; make both directories durable.
//! 4. Look at what came out as `state.swap`. The very file of step 2 is removed; any other is a
//!    person's, who was quicker than step 3, and is moved to `conflicts/`.
//!
//! Invariants: there is no instant without a `state.json`, once there was one; no file that the
//! engine did not write loses its last name. If the place is taken by something that is no regular
//! file, that is left alone, and the snapshot is published as a backup.

use std::io::ErrorKind;

use super::parse::{Parsed, peek, read};
use crate::base::{Error, Lsn, Problem, ProblemKind, Result, StoreId, Timestamp};
use crate::files::backups;
use crate::files::conflicts::{cannot_link, keep, put_aside, sync_dir};
use crate::files::migration;
use crate::files::names::{
    CONFLICT_PART, PRE_MIGRATION_BACKUP, STATE, STATE_PART, STATE_SWAP, WAL,
};
use crate::files::stat;
use crate::fs::replace::{remove_if_any, write_temporary};
use crate::fs::{Fs, Kind, Stat, read_file};

const ATTEMPTS_MAX: u32 = 8;

/// What a save did. The snapshot is durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Saved {
    /// The file it was saved to: `state.json`, or a backup if that place cannot be used.
    pub file: String,
    /// The stat of `state.json` as the engine left it, to recognise it by at the next save.
    pub stat: Option<Stat>,
    /// The backup that the former `state.json` now is.
    pub backup: Option<String>,
    /// What people had done to `state.json`.
    pub problems: Vec<Problem>,
}

/// What lay in the place of `state.json` before step 3, with a second name.
enum Former {
    Nothing,
    NoFile,
    /// The engine's, also a backup of this name.
    Backup(String, Stat),
    /// A person's, also in `conflicts/`.
    Person(Stat, Problem),
}

/// Publishes `bytes` (from [`super::render`]) as `state.json`. `last` is the stat that the last save
/// of this opening returned. `wal/` must exist.
pub fn save(
    fs: &dyn Fs,
    store: StoreId,
    bytes: &[u8],
    last: Option<&Stat>,
    now: Timestamp,
) -> Result<Saved> {
    let mut problems = leftovers(fs, store, now)?;
    write_temporary(fs, STATE_PART, bytes, true)?;
    fs.rename(STATE_PART, STATE_SWAP)
        .map_err(|error| Error::io("rename", fs.display(STATE_PART), error))?;
    sync_dir(fs, WAL)?;
    for _ in 0..ATTEMPTS_MAX {
        let former = give_second_name(fs, store, last, now)?;
        if matches!(former, Former::NoFile) {
            return publish_as_backup(fs, now, problems);
        }
        if !put_in_place(fs, &former)? {
            continue;
        }
        // What came out must have its durable name before its old one durably goes.
        sync_dir(fs, WAL)?;
        sync_dir(fs, "")?;
        problems.extend(settle_former(fs, &former)?);
        let stat = stat(fs, STATE)?;
        let backup = match former {
            Former::Backup(name, _) => Some(name),
            Former::Nothing | Former::NoFile | Former::Person(..) => None,
        };
        return Ok(Saved { file: STATE.to_owned(), stat, backup, problems });
    }
    let why = "somebody else keeps changing it while it is being saved";
    Err(Error::Conflict { what: fs.display(STATE), why: why.to_owned() })
}

/// Step 2.
fn give_second_name(
    fs: &dyn Fs,
    store: StoreId,
    last: Option<&Stat>,
    now: Timestamp,
) -> Result<Former> {
    let Some(found) = stat(fs, STATE)? else { return Ok(Former::Nothing) };
    if found.kind != Kind::File {
        return Ok(Former::NoFile);
    }
    let strange = if last == Some(&found) { None } else { not_ours(fs, store)? };
    if matches!(strange, Some((ProblemKind::Stale, _))) && migration::is_kept(fs)? {
        return Ok(Former::Backup(PRE_MIGRATION_BACKUP.to_owned(), found));
    }
    let Some((kind, why)) = strange else {
        let name = back_up(fs, &found, now)?;
        sync_dir(fs, "")?;
        return Ok(Former::Backup(name, found));
    };
    let kept = keep(fs, STATE, STATE)?;
    let detail = format!("{why}; it was replaced by a new snapshot and is kept as {kept}");
    Ok(Former::Person(found, Problem::new(kind, STATE, 0, detail)))
}

/// Why `state.json` is not one that this store wrote, if so.
fn not_ours(fs: &dyn Fs, store: StoreId) -> Result<Option<(ProblemKind, String)>> {
    Ok(match read(fs, STATE)? {
        None => None,
        Some(Parsed::Intact(snapshot)) if snapshot.store == store => None,
        Some(Parsed::Intact(snapshot)) => {
            Some((ProblemKind::Foreign, format!("it is of another store, {}", snapshot.store)))
        }
        Some(Parsed::NotIntact(defect)) => Some((defect.kind(), defect.to_string())),
    })
}

/// Makes `state.json`, which is the engine's, a backup: by a second name, else by a copy.
fn back_up(fs: &dyn Fs, found: &Stat, now: Timestamp) -> Result<String> {
    let backups = backups::list(fs)?;
    if let Some(newest) = backups.last() {
        // A save that failed after this step had made it a backup already.
        let newest_stat = stat(fs, &newest.name)?;
        if newest_stat.is_some_and(|s| (s.device, s.inode) == (found.device, found.inode)) {
            return Ok(newest.name.clone());
        }
    }
    let name = backups::next_name(&backups, now);
    match fs.link(STATE, &name) {
        Ok(()) => return Ok(name),
        Err(error) if cannot_link(error.kind()) => {}
        Err(error) => return Err(Error::io("link", fs.display(&name), error)),
    }
    let bytes = read_file(fs, STATE, super::BYTES_MAX)
        .map_err(|error| Error::io("read", fs.display(STATE), error))?;
    write_temporary(fs, STATE_PART, &bytes, true)?;
    rename_new(fs, STATE_PART, &name)?;
    Ok(name)
}

/// Step 3. `false` if the place changed meanwhile, so that step 2 must be done again.
fn put_in_place(fs: &dyn Fs, former: &Former) -> Result<bool> {
    let former = match former {
        Former::Nothing => None,
        Former::Backup(_, stat) | Former::Person(stat, _) => Some(stat),
        Former::NoFile => return Ok(false),
    };
    let Some(former) = former else {
        return match fs.rename_new(STATE_SWAP, STATE) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(Error::io("rename", fs.display(STATE_SWAP), error)),
        };
    };
    let exchanged = fs.exchange(STATE_SWAP, STATE);
    match exchanged.as_ref().map_err(std::io::Error::kind) {
        Ok(()) => Ok(true),
        Err(ErrorKind::NotFound) => Ok(false),
        Err(ErrorKind::Unsupported) => {
            if !stat(fs, STATE)?.is_some_and(|found| is_same(&found, former)) {
                return Ok(false);
            }
            fs.rename(STATE_SWAP, STATE)
                .map(|()| true)
                .map_err(|error| Error::io("rename", fs.display(STATE_SWAP), error))
        }
        Err(_) => exchanged
            .map(|()| true)
            .map_err(|error| Error::io("exchange", fs.display(STATE), error)),
    }
}

/// Step 4.
fn settle_former(fs: &dyn Fs, former: &Former) -> Result<Option<Problem>> {
    let Some(came_out) = stat(fs, STATE_SWAP)? else {
        return Ok(match former {
            Former::Person(_, problem) => Some(problem.clone()),
            Former::Nothing | Former::NoFile | Former::Backup(..) => None,
        });
    };
    match former {
        Former::Backup(_, stat) if is_same(stat, &came_out) => {
            remove_if_any(fs, STATE_SWAP)?;
            Ok(None)
        }
        // Its contents are kept once: what step 2 kept already is only removed here.
        Former::Person(stat, problem) if is_same(stat, &came_out) => {
            put_aside(fs, STATE_SWAP, STATE)?;
            Ok(Some(problem.clone()))
        }
        Former::Nothing | Former::NoFile | Former::Backup(..) | Former::Person(..) => {
            aside_as_edited(fs).map(Some)
        }
    }
}

fn aside_as_edited(fs: &dyn Fs) -> Result<Problem> {
    let kept = put_aside(fs, STATE_SWAP, STATE)?;
    let detail = format!("somebody changed it while it was being saved; that is kept as {kept}");
    Ok(Problem::new(ProblemKind::Edited, STATE, 0, detail))
}

/// Saves `bytes` (from [`super::render`]) as a backup, durably, whatever `state.json` is; says under
/// which name.
pub fn save_as_backup(fs: &dyn Fs, bytes: &[u8], now: Timestamp) -> Result<String> {
    write_temporary(fs, STATE_PART, bytes, true)?;
    let name = backups::next_name(&backups::list(fs)?, now);
    rename_new(fs, STATE_PART, &name)?;
    sync_dir(fs, "")?;
    Ok(name)
}

fn publish_as_backup(fs: &dyn Fs, now: Timestamp, mut problems: Vec<Problem>) -> Result<Saved> {
    let name = backups::next_name(&backups::list(fs)?, now);
    rename_new(fs, STATE_SWAP, &name)?;
    sync_dir(fs, "")?;
    let detail = format!("it is no regular file and is left alone; the snapshot is {name}");
    problems.push(Problem::new(ProblemKind::Unreadable, STATE, 0, detail));
    Ok(Saved { file: name, stat: None, backup: None, problems })
}

/// Settles what a save left behind that failed or was cut off by a crash, and says what of it was a
/// person's. To be done at opening for writing; every save begins with it too.
///
/// | `state.swap` is | then |
/// |---|---|
/// | intact, of this store, in no backup, and there is no `state.json` | made `state.json` |
/// | intact, of this store, older than an intact `state.json`, in no backup | made a backup |
/// | intact, of this store, and `state.json` is not | made a backup |
/// | intact, of this store, otherwise | removed: it is a backup too, or was never published |
/// | anything else | a person's: moved to `conflicts/`, reported |
pub fn leftovers(fs: &dyn Fs, store: StoreId, now: Timestamp) -> Result<Vec<Problem>> {
    remove_if_any(fs, STATE_PART)?;
    remove_if_any(fs, CONFLICT_PART)?;
    if stat(fs, STATE_SWAP)?.is_none() {
        return Ok(Vec::new());
    }
    match read(fs, STATE_SWAP)? {
        Some(Parsed::Intact(snapshot)) if snapshot.store == store => {
            if is_only_copy(fs, store, snapshot.lsn)? {
                let name = match stat(fs, STATE)? {
                    None => STATE.to_owned(),
                    Some(_) => backups::next_name(&backups::list(fs)?, now),
                };
                rename_new(fs, STATE_SWAP, &name)?;
                sync_dir(fs, "")?;
            } else {
                remove_if_any(fs, STATE_SWAP)?;
            }
            Ok(Vec::new())
        }
        Some(_) => Ok(vec![aside_as_edited(fs)?]),
        None => Ok(Vec::new()),
    }
}

fn is_only_copy(fs: &dyn Fs, store: StoreId, lsn: Lsn) -> Result<bool> {
    let published = match read(fs, STATE)? {
        Some(Parsed::Intact(snapshot)) if snapshot.store == store => Some(snapshot.lsn),
        Some(_) | None => None,
    };
    if published.is_some_and(|published| published <= lsn) {
        return Ok(false);
    }
    for backup in backups::list(fs)? {
        if peek(fs, &backup.name)? == Some((store, lsn)) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether two looks show the same file with the same contents. The time of change and the number
/// of names are left out, since the engine's own links and renames change them.
fn is_same(a: &Stat, b: &Stat) -> bool {
    (a.kind, a.size_bytes, a.device, a.inode, a.modified_ns)
        == (b.kind, b.size_bytes, b.device, b.inode, b.modified_ns)
}

fn rename_new(fs: &dyn Fs, from: &str, to: &str) -> Result<()> {
    fs.rename_new(from, to).map_err(|error| Error::io("rename", fs.display(from), error))
}

#[cfg(test)]
#[path = "save_tests.rs"]
mod tests;
