//! The former `state.json`: how it becomes a backup, and how it is let go of once another file has
//! its name.
//!
//! An editor that opened it before may still write into it. While it is one file with a backup, or
//! about to lose its last name, that would harm the backup, or be lost. So whoever has it open for
//! writing is asked for after the exchange, when nobody can open it as `state.json` any more.
//!
//! Invariants: a file that is open for writing, or whose contents are not known, never loses its last
//! name; a backup that shares it becomes a copy of its own, or goes if it is no backup any more.

use std::io::ErrorKind;

use super::is_same;
use super::parse::{Parsed, parse, peek};
use super::proof::prove;
use crate::base::{Error, Problem, ProblemKind, Result, StoreId, Timestamp};
use crate::files::backups::{self, Backup};
use crate::files::conflicts::{
    cannot_link, is_open_for_writing, keep, keep_open, put_aside, sync_dir,
};
use crate::files::names::{STATE, STATE_PART, STATE_SWAP};
use crate::files::stat;
use crate::fs::replace::{Mark, remove_if_any, write_temporary};
use crate::fs::{Fs, Kind, Mode, Stat, read_file};

/// What a person left in the place of `state.json` in the instant of a save: what is told of it, and where
/// it is kept.
pub(super) type Displaced = (Problem, String);

/// Makes `state.json`, which is the engine's and has the stat `found`, a backup, and says which: by
/// shared blocks, else by a second name, else by a copy. `None` if it changed meanwhile. The name is
/// not yet durable. The mark tells the backup from one that somebody wrote to, if `state.json` was
/// known to be untouched.
pub(super) fn back_up(
    fs: &dyn Fs,
    store: StoreId,
    found: &Stat,
    now: Timestamp,
) -> Result<Option<(String, Mark)>> {
    let backups = backups::list(fs)?;
    if let Some(newest) = backups.last()
        && is_backup_of(fs, store, newest, found)?
    {
        return Ok(Some((newest.name.clone(), Mark::default())));
    }
    let name = backups::next_name(&backups, now);
    remove_if_any(fs, STATE_PART)?;
    match fs.reflink(STATE, STATE_PART) {
        Ok(()) => {
            let flushed = fs.open(STATE_PART, Mode::Read).and_then(|file| {
                let mark = Mark::set(&*file)?;
                file.sync_data().map(|()| mark)
            });
            let mark =
                flushed.map_err(|error| Error::io("flush", fs.display(STATE_PART), error))?;
            return publish_copy(fs, found, name, mark);
        }
        Err(error) if is_gone(error.kind()) => return Ok(None),
        Err(error) if error.kind() == ErrorKind::Unsupported => {}
        Err(error) => return Err(Error::io("copy", fs.display(STATE), error)),
    }
    match fs.link(STATE, &name) {
        Ok(()) => return Ok(Some((name, Mark::of(found)))),
        Err(error) if is_gone(error.kind()) => return Ok(None),
        Err(error) if cannot_link(error.kind()) => {}
        Err(error) => return Err(Error::io("link", fs.display(&name), error)),
    }
    let bytes = match read_file(fs, STATE, super::BYTES_MAX) {
        Ok(bytes) => bytes,
        Err(error) if is_gone(error.kind()) => return Ok(None),
        Err(error) => return Err(Error::io("read", fs.display(STATE), error)),
    };
    let mark = write_temporary(fs, STATE_PART, &bytes, true)?.mark;
    publish_copy(fs, found, name, mark)
}

/// Whether a backup holds `state.json` already, since a save failed after it was made.
fn is_backup_of(fs: &dyn Fs, store: StoreId, backup: &Backup, found: &Stat) -> Result<bool> {
    let Some(there) = stat(fs, &backup.name)? else { return Ok(false) };
    if is_one_file(&there, found) {
        return Ok(true);
    }
    let base = peek(fs, STATE)?;
    let is_alike = there.size_bytes == found.size_bytes && base.is_some();
    if !is_alike || peek(fs, &backup.name)? != base {
        return Ok(false);
    }
    Ok(prove(fs, &backup.name)?.is_some_and(|proved| proved.is_ok_and(|(of, _)| of == store)))
}

/// Gives the copy of `state.json` in `state.part` its name, if it was a copy of what was `found`.
fn publish_copy(
    fs: &dyn Fs,
    found: &Stat,
    name: String,
    mark: Mark,
) -> Result<Option<(String, Mark)>> {
    if !stat(fs, STATE)?.is_some_and(|now| is_same(&now, found)) {
        remove_if_any(fs, STATE_PART)?;
        return Ok(None);
    }
    fs.rename_new(STATE_PART, &name)
        .map_err(|error| Error::io("rename", fs.display(STATE_PART), error))?;
    Ok(Some((name, mark)))
}

/// Lets go of the file at `path`, `state.swap` or a backup, that was `state.json`. If its contents
/// are known (`is_known`) and nobody can change them any more, `state.swap` is removed. Else it is
/// moved to `conflicts/`, the file itself, so that what is still written goes there; and a backup
/// that is the same file is made again as a copy, or removed if the contents are no longer the
/// engine's.
pub(super) fn let_go(
    fs: &dyn Fs,
    store: StoreId,
    path: &str,
    is_known: bool,
) -> Result<Option<Displaced>> {
    let is_held = is_open_for_writing(fs, path)?;
    if is_known && !is_held {
        if path == STATE_SWAP {
            remove_if_any(fs, STATE_SWAP)?;
        }
        return Ok(None);
    }
    if stat(fs, path)?.is_some_and(|found| found.kind != Kind::File) {
        let kept = put_aside(fs, path, STATE)?;
        let detail = format!("somebody replaced it while it was being saved: {kept}");
        return Ok(Some((edited(detail), kept)));
    }
    let shared = backups_that_are(fs, path)?;
    let kept = if is_held { keep_open(fs, path, STATE)? } else { keep(fs, path, STATE)? };
    let mut detail = if is_held {
        format!(
            "somebody has the one before open for writing; it is kept as {kept}, with whatever is \
             still written to it"
        )
    } else {
        format!("somebody changed it while it was being saved; that is kept as {kept}")
    };
    for backup in shared {
        let is_true = part(fs, store, &kept, &backup)?;
        let now = if is_true { "a copy of its own" } else { "no backup any more" };
        detail = format!("{detail}; {backup}, which was the same file, is now {now}");
    }
    if path == STATE_SWAP {
        remove_if_any(fs, STATE_SWAP)?;
    }
    Ok(Some((edited(detail), kept)))
}

fn edited(detail: String) -> Problem {
    Problem::new(ProblemKind::Edited, STATE, 0, detail)
}

/// The backups that are the same file as the one at `path`.
fn backups_that_are(fs: &dyn Fs, path: &str) -> Result<Vec<String>> {
    let Some(file) = stat(fs, path)? else { return Ok(Vec::new()) };
    let mut shared = Vec::new();
    for Backup { name, .. } in backups::list(fs)? {
        if stat(fs, &name)?.is_some_and(|other| is_one_file(&other, &file)) {
            shared.push(name);
        }
    }
    Ok(shared)
}

/// Makes a backup that is the same file as `kept` one of its own; `false` if its contents are no
/// intact snapshot any more, so that it lost its name.
fn part(fs: &dyn Fs, store: StoreId, kept: &str, backup: &str) -> Result<bool> {
    let bytes = read_file(fs, kept, super::BYTES_MAX)
        .map_err(|error| Error::io("read", fs.display(kept), error))?;
    let is_intact = matches!(parse(&bytes), Parsed::Intact(snapshot) if snapshot.store == store);
    if is_intact {
        write_temporary(fs, STATE_PART, &bytes, true)?;
        fs.rename(STATE_PART, backup)
            .map_err(|error| Error::io("replace", fs.display(backup), error))?;
    } else {
        remove_if_any(fs, backup)?;
    }
    sync_dir(fs, "")?;
    Ok(is_intact)
}

pub(super) fn is_one_file(a: &Stat, b: &Stat) -> bool {
    (a.device, a.inode) == (b.device, b.inode)
}

/// Whether `state.json` is no regular file any more.
fn is_gone(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::NotFound | ErrorKind::InvalidInput)
}

#[cfg(test)]
#[path = "former_tests.rs"]
mod tests;
