//! Publishing a snapshot, in steps each of which a crash may follow.
//!
//! 1. Write `wal/state.part`, make its contents durable, rename it to `wal/state.swap`. So
//!    `state.part` is always the engine's own and half-done, `state.swap` always whole.
//! 2. What lies in the place of `state.json` gets a second, durable name: a backup's if it is the
//!    engine's (the stat recorded after the last save, else an intact digest and the store's id),
//!    one in `conflicts/` if it is a person's.
//! 3. Exchange `state.swap` and `state.json`; make both directories durable.
//! 4. Look at what came out as `state.swap`. The very file of step 2 is removed, unless somebody has
//!    it open for writing; any other is a person's, who was quicker than step 3. Those are moved to
//!    `conflicts/`, and a backup that is the same file becomes a copy of its own.
//!
//! Invariants: there is no instant without a `state.json`, once there was one; no file that the
//! engine did not write, or that somebody can still write to, loses its last name. If the place is taken by something that is no regular
//! file, that is left alone, and the snapshot is published as a backup.

use std::io::ErrorKind;

use super::former::{Displaced, back_up, is_one_file, let_go};
use super::is_same;
use super::parse::peek;
use super::proof::prove;
use crate::base::{Error, Lsn, Problem, ProblemKind, Result, StoreId, Timestamp};
use crate::files::backups;
use crate::files::conflicts::{is_open_for_writing, keep, put_aside, sync_dir};
use crate::files::migration;
use crate::files::names::{CONFLICT_PART, STATE, STATE_PART, STATE_SWAP, WAL};
use crate::files::stat;
use crate::fs::replace::{Mark, Pieces, remove_if_any, write_temporary};
use crate::fs::{Fs, Kind, Stat};

const ATTEMPTS_MAX: u32 = 8;

/// What a save did. The snapshot is durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Saved {
    /// The file it was saved to: `state.json`, or a backup if that place cannot be used.
    pub file: String,
    /// The stat of `state.json` as the engine left it, to recognise it by at the next save; none if
    /// somebody wrote to it meanwhile, or could without a trace in it.
    pub stat: Option<Stat>,
    /// The backup that the former `state.json` now is.
    pub backup: Option<String>,
    /// The stat of that backup as the engine left it, if it is known that nobody wrote to it.
    pub backup_stat: Option<Stat>,
    /// What people had done to `state.json`.
    pub problems: Vec<Problem>,
    /// Where what they left in its place in the instant of the save is kept, in `conflicts/`.
    pub displaced: Vec<String>,
}

/// What lay in the place of `state.json` before step 3, with a second name.
enum Former {
    Nothing,
    NoFile,
    /// It changed while it was being looked at.
    Unsteady,
    /// The engine's, also a backup of this name.
    Backup(String, Stat, Mark),
    /// What is needed no more: the earlier implementation's, of which there is a copy, or a person's that
    /// was taken in.
    Done(Stat),
    /// A person's, also in `conflicts/` under this name.
    Person(Stat, Problem, String),
}

/// Publishes `bytes` (from [`super::render`]) as `state.json`. `last` is the stat that the last save
/// of this opening returned, `taken_in` that of what a person left there and is in the log. `wal/` must
/// exist.
pub fn save<B: Pieces + ?Sized>(
    fs: &dyn Fs,
    store: StoreId,
    bytes: &B,
    last: Option<&Stat>,
    taken_in: Option<&Stat>,
    now: Timestamp,
) -> Result<Saved> {
    let mut problems = leftovers(fs, store, None, now)?;
    let mark = write_temporary(fs, STATE_PART, bytes, true)?.mark;
    fs.rename(STATE_PART, STATE_SWAP)
        .map_err(|error| Error::io("rename", fs.display(STATE_PART), error))?;
    sync_dir(fs, WAL)?;
    for _ in 0..ATTEMPTS_MAX {
        let former = give_second_name(fs, store, last, taken_in, now)?;
        if matches!(former, Former::NoFile) {
            return publish_as_backup(fs, now, problems);
        }
        if !put_in_place(fs, &former)? {
            continue;
        }
        // What came out must have its durable name before its old one durably goes.
        sync_dir(fs, WAL)?;
        sync_dir(fs, "")?;
        let displaced = settle_former(fs, store, &former)?;
        let (found, displaced): (Vec<_>, Vec<_>) = displaced.into_iter().unzip();
        problems.extend(found);
        let mut saved = Saved {
            file: STATE.to_owned(),
            stat: mark.untouched(stat(fs, STATE)?),
            backup: None,
            backup_stat: None,
            problems,
            displaced,
        };
        if let Former::Backup(name, _, mark) = former
            && let Some(backup) = stat(fs, &name)?
        {
            saved.backup_stat = mark.untouched(Some(backup));
            saved.backup = Some(name);
        }
        return Ok(saved);
    }
    let why = "somebody else keeps changing it while it is being saved";
    Err(Error::Conflict { what: fs.display(STATE), why: why.to_owned() })
}

/// Step 2.
fn give_second_name(
    fs: &dyn Fs,
    store: StoreId,
    last: Option<&Stat>,
    taken_in: Option<&Stat>,
    now: Timestamp,
) -> Result<Former> {
    let Some(found) = stat(fs, STATE)? else { return Ok(Former::Nothing) };
    if found.kind != Kind::File {
        return Ok(Former::NoFile);
    }
    if taken_in == Some(&found) {
        return Ok(Former::Done(found));
    }
    let strange = if last == Some(&found) { None } else { not_ours(fs, store)? };
    if matches!(strange, Some((ProblemKind::Stale, _))) && migration::is_kept(fs, STATE)? {
        return Ok(Former::Done(found));
    }
    let Some((kind, why)) = strange else {
        let Some((name, mark)) = back_up(fs, store, &found, now)? else {
            return Ok(Former::Unsteady);
        };
        sync_dir(fs, "")?;
        let mark = if last == Some(&found) { mark } else { Mark::default() };
        return Ok(Former::Backup(name, found, mark));
    };
    let kept = keep(fs, STATE, STATE)?;
    let detail = format!("{why}; it was replaced by a new snapshot and is kept as {kept}");
    Ok(Former::Person(found, Problem::new(kind, STATE, 0, detail), kept))
}

/// Why `state.json` is not one that this store wrote, if so.
fn not_ours(fs: &dyn Fs, store: StoreId) -> Result<Option<(ProblemKind, String)>> {
    Ok(match prove(fs, STATE)? {
        None => None,
        Some(Ok((of, _))) if of == store => None,
        Some(Ok((of, _))) => Some((ProblemKind::Foreign, format!("it is of another store, {of}"))),
        Some(Err(defect)) => Some((defect.kind(), defect.to_string())),
    })
}

/// Step 3. `false` if the place changed meanwhile, so that step 2 must be done again.
fn put_in_place(fs: &dyn Fs, former: &Former) -> Result<bool> {
    let former = match former {
        Former::Nothing => None,
        Former::Backup(_, stat, _) | Former::Person(stat, ..) | Former::Done(stat) => Some(stat),
        Former::NoFile | Former::Unsteady => return Ok(false),
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
fn settle_former(fs: &dyn Fs, store: StoreId, former: &Former) -> Result<Option<Displaced>> {
    let came_out = stat(fs, STATE_SWAP)?;
    let is_same = |found: &Stat| came_out.is_some_and(|came_out| is_same(found, &came_out));
    match former {
        // Without an exchange nothing came out, and a linked backup is all that is left of it.
        Former::Backup(name, found, _) if came_out.is_none() => match stat(fs, name)? {
            Some(backup) if is_one_file(&backup, found) => {
                let_go(fs, store, name, super::is_same(&backup, found))
            }
            Some(_) | None => Ok(None),
        },
        Former::Backup(_, found, _) => let_go(fs, store, STATE_SWAP, is_same(found)),
        Former::Done(found) if is_same(found) && !is_open_for_writing(fs, STATE_SWAP)? => {
            remove_if_any(fs, STATE_SWAP)?;
            Ok(None)
        }
        // Its contents are kept once: what step 2 kept already is only removed here.
        Former::Person(found, problem, kept) if came_out.is_none() || is_same(found) => {
            if came_out.is_some() && is_open_for_writing(fs, STATE_SWAP)? {
                let_go(fs, store, STATE_SWAP, false)?;
            } else if came_out.is_some() {
                put_aside(fs, STATE_SWAP, STATE)?;
            }
            Ok(Some((problem.clone(), kept.clone())))
        }
        Former::Nothing | Former::NoFile | Former::Unsteady | Former::Done(_)
            if came_out.is_none() =>
        {
            Ok(None)
        }
        Former::Nothing
        | Former::NoFile
        | Former::Unsteady
        | Former::Done(_)
        | Former::Person(..) => let_go(fs, store, STATE_SWAP, false),
    }
}

/// Saves `bytes` (from [`super::render`]) as a backup, durably, whatever `state.json` is; says under
/// which name.
pub fn save_as_backup<B: Pieces + ?Sized>(
    fs: &dyn Fs,
    bytes: &B,
    now: Timestamp,
) -> Result<String> {
    write_temporary(fs, STATE_PART, bytes, true)?;
    let name = backups::next_name(&backups::list(fs)?, now);
    rename_new(fs, STATE_PART, &name)?;
    sync_dir(fs, "")?;
    Ok(name)
}

/// Saves `bytes` (from [`super::render`]), durably, to a directory that is no store's, under the name of
/// a backup made `now` that nothing there has; says which. `part` is nobody else's name, for the time
/// of writing.
pub fn save_elsewhere<B: Pieces + ?Sized>(
    fs: &dyn Fs,
    bytes: &B,
    now: Timestamp,
    part: &str,
) -> Result<String> {
    write_temporary(fs, part, bytes, true)?;
    let placed = name_elsewhere(fs, part, now);
    if placed.is_err()
        && let Err(error) = remove_if_any(fs, part)
    {
        tracing::warn!(%error, "a half-made file stays");
    }
    let name = placed?;
    sync_dir(fs, "")?;
    Ok(name)
}

fn name_elsewhere(fs: &dyn Fs, part: &str, now: Timestamp) -> Result<String> {
    for _ in 0..ATTEMPTS_MAX {
        let name = backups::next_name(&backups::list(fs)?, now);
        match fs.rename_new(part, &name) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            renamed => {
                renamed.map_err(|error| Error::io("rename", fs.display(part), error))?;
                return Ok(name);
            }
        }
    }
    let why = "somebody else keeps taking the names of backups there";
    Err(Error::Conflict { what: fs.display(""), why: why.to_owned() })
}

fn publish_as_backup(fs: &dyn Fs, now: Timestamp, mut problems: Vec<Problem>) -> Result<Saved> {
    let name = backups::next_name(&backups::list(fs)?, now);
    rename_new(fs, STATE_SWAP, &name)?;
    sync_dir(fs, "")?;
    let detail = format!("it is no regular file and is left alone; the snapshot is {name}");
    problems.push(Problem::new(ProblemKind::Unreadable, STATE, 0, detail));
    let (stat, backup, backup_stat, displaced) = (None, None, None, Vec::new());
    Ok(Saved { file: name, stat, backup, backup_stat, problems, displaced })
}

/// Settles what a save left behind that failed or was cut off by a crash, and says what of it was a
/// person's. To be done at opening for writing; every save begins with it too.
///
/// | `state.swap` is | then |
/// |---|---|
/// | intact, of this store, in no backup, no older than any and `saved`, and there is no `state.json` | made `state.json` |
/// | intact, of this store, in no backup, and older than an intact `state.json` | made a backup |
/// | intact, of this store, in no backup, and `state.json` is not, or missing | made a backup |
/// | intact, of this store, otherwise, and open for writing | `conflicts/`; a linked backup is copied |
/// | intact, of this store, otherwise | removed: it is a backup too, or was never published |
/// | anything else | a person's: moved to `conflicts/`, reported |
///
/// `saved` is the LSN of the last snapshot that is known to have been in its place: an older one there
/// would pass for one that a person put back.
pub fn leftovers(
    fs: &dyn Fs,
    store: StoreId,
    saved: Option<Lsn>,
    now: Timestamp,
) -> Result<Vec<Problem>> {
    remove_if_any(fs, STATE_PART)?;
    remove_if_any(fs, CONFLICT_PART)?;
    if stat(fs, STATE_SWAP)?.is_none() {
        return Ok(Vec::new());
    }
    match prove(fs, STATE_SWAP)? {
        Some(Ok((of, lsn))) if of == store => {
            if let Some(name) = place_of_only_copy(fs, store, saved, lsn, now)? {
                rename_new(fs, STATE_SWAP, &name)?;
                sync_dir(fs, "")?;
                return Ok(Vec::new());
            }
            Ok(let_go(fs, store, STATE_SWAP, true)?.into_iter().map(|(found, _)| found).collect())
        }
        Some(_) => {
            let is_original = migration::is_kept(fs, STATE_SWAP)?;
            let let_go = let_go(fs, store, STATE_SWAP, is_original)?;
            Ok(let_go.into_iter().map(|(found, _)| found).collect())
        }
        None => Ok(Vec::new()),
    }
}

/// Where the leftover of this LSN belongs, if there is no other copy of it.
fn place_of_only_copy(
    fs: &dyn Fs,
    store: StoreId,
    saved: Option<Lsn>,
    lsn: Lsn,
    now: Timestamp,
) -> Result<Option<String>> {
    let published = match prove(fs, STATE)? {
        Some(Ok((of, lsn))) if of == store => Some(lsn),
        Some(_) | None => None,
    };
    if published.is_some_and(|published| published <= lsn) {
        return Ok(None);
    }
    let backups = backups::list(fs)?;
    let mut newest = saved;
    for backup in &backups {
        let named = peek(fs, &backup.name)?.filter(|(of, _)| *of == store).map(|(_, lsn)| lsn);
        if named == Some(lsn) {
            return Ok(None);
        }
        newest = newest.max(named);
    }
    let is_newest = newest <= Some(lsn) && stat(fs, STATE)?.is_none();
    Ok(Some(if is_newest { STATE.to_owned() } else { backups::next_name(&backups, now) }))
}

fn rename_new(fs: &dyn Fs, from: &str, to: &str) -> Result<()> {
    fs.rename_new(from, to).map_err(|error| Error::io("rename", fs.display(from), error))
}

#[cfg(test)]
#[path = "save_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "place_tests.rs"]
mod place_tests;
