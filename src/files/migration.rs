//! The files of a migration: the byte-exact copy of the earlier `state.json`, and the log of what was
//! done.
//!
//! The copy is durable before anything else is changed, and never replaced: where it has another one's
//! name, it goes to `conflicts/`.

use std::io::ErrorKind;

use crate::base::{Error, Result, Timestamp};
use crate::files::conflicts::{Sight, holds, keep, look, put_aside, sync_dir};
use crate::files::names::{self, MIGRATION_LOG, PRE_MIGRATION_BACKUP, STATE, STATE_PART};
use crate::files::snapshot;
use crate::fs::replace::{remove_if_any, replace, write_temporary};
use crate::fs::{Fs, read_file, read_file_if_any};

const LOG_BYTES_MAX: u64 = 256 << 20;
const BEGUN: &str = "migration to version 2.0.0\n";
const COMPLETED: &str = "completed: state.json is of version 2.0.0 now\n";

/// Copies `state.json`, if there is one, before it is migrated; says where to. `wal/` must exist.
pub fn keep_original(fs: &dyn Fs) -> Result<Option<String>> {
    let Sight::File(_, hash) = look(fs, STATE)? else { return Ok(None) };
    match look(fs, PRE_MIGRATION_BACKUP)? {
        Sight::File(file, kept) if kept == hash => {
            let flushed = file.sync_data();
            flushed.map_err(|e| Error::io("flush", fs.display(PRE_MIGRATION_BACKUP), e))?;
            sync_dir(fs, "")?;
            return Ok(Some(PRE_MIGRATION_BACKUP.to_owned()));
        }
        Sight::Nothing => {}
        Sight::File(..) | Sight::NoFile => return keep(fs, STATE, STATE).map(Some),
    }
    let bytes = read_file(fs, STATE, snapshot::BYTES_MAX);
    let bytes = bytes.map_err(|error| Error::io("read", fs.display(STATE), error))?;
    write_temporary(fs, STATE_PART, &bytes, true)?;
    match fs.rename_new(STATE_PART, PRE_MIGRATION_BACKUP) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            remove_if_any(fs, STATE_PART)?;
            return keep(fs, STATE, STATE).map(Some);
        }
        Err(error) => return Err(Error::io("rename", fs.display(STATE_PART), error)),
    }
    sync_dir(fs, "")?;
    Ok(Some(PRE_MIGRATION_BACKUP.to_owned()))
}

/// Whether the file at `path` is kept, byte by byte, as the copy before a migration: before any in its
/// place, before one that is under way also in `conflicts/`.
pub(crate) fn is_kept(fs: &dyn Fs, path: &str) -> Result<bool> {
    let Sight::File(_, hash) = look(fs, path)? else { return Ok(false) };
    Ok(holds(fs, PRE_MIGRATION_BACKUP, hash)?
        || is_under_way(fs) && holds(fs, &names::conflict(STATE, hash, 0), hash)?)
}

/// Whether an opening has begun to migrate.
pub(crate) fn has_begun(fs: &dyn Fs) -> Result<bool> {
    Ok(is_under_way(fs) || is_kept(fs, STATE)?)
}

/// Whether a migration is under way, or may be: what is replaced as migrated lies in `conflicts/` in any case,
/// while what is taken for an edit would take newer fields back.
fn is_under_way(fs: &dyn Fs) -> bool {
    match read_file_if_any(fs, MIGRATION_LOG, LOG_BYTES_MAX) {
        Ok(log) => log.is_some_and(|log| is_begun(&log)),
        Err(_) => true,
    }
}

/// Writes what a migration found and is about to do. Durable when it returns. What lies in its place
/// goes to `conflicts/`, unless it is of an attempt that was cut off.
pub fn write_log(fs: &dyn Fs, now: Timestamp, lines: &[String]) -> Result<()> {
    let is_in_the_way = match read_file_if_any(fs, MIGRATION_LOG, LOG_BYTES_MAX) {
        Ok(former) => former.is_some_and(|former| !is_begun(&former)),
        Err(_) => true,
    };
    if is_in_the_way {
        put_aside(fs, MIGRATION_LOG, MIGRATION_LOG)?;
    }
    let mut text = format!("{now} {BEGUN}");
    for line in lines {
        text.push_str(line);
        text.push('\n');
    }
    replace(fs, MIGRATION_LOG, STATE_PART, text.as_bytes())
}

/// Whether this is the log of a migration that is not noted to be complete.
fn is_begun(log: &[u8]) -> bool {
    let first = log.split_inclusive(|byte| *byte == b'\n').next().unwrap_or_default();
    first.ends_with(BEGUN.as_bytes()) && !log.ends_with(COMPLETED.as_bytes())
}

/// Notes that a migration is complete, if one is not yet noted to be.
pub fn complete_log(fs: &dyn Fs, now: Timestamp) -> Result<()> {
    let Ok(Some(mut text)) = read_file_if_any(fs, MIGRATION_LOG, LOG_BYTES_MAX) else {
        return Ok(());
    };
    if !is_begun(&text) {
        return Ok(());
    }
    text.extend_from_slice(format!("{now} {COMPLETED}").as_bytes());
    replace(fs, MIGRATION_LOG, STATE_PART, &text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::sim::{CrashMode, SimFs};
    use crate::fs::{Mode, write_all_at};

    #[test]
    fn the_original_is_durable_before_a_migration_also_where_a_crash_left_its_copy() {
        for is_left in [false, true] {
            let disk = SimFs::new();
            disk.create_dir("wal").unwrap();
            disk.write_now(STATE, b"{}").unwrap();
            if is_left {
                let copy = disk.open(PRE_MIGRATION_BACKUP, Mode::CreateNew).unwrap();
                write_all_at(&*copy, b"{}", 0).unwrap();
            }
            assert!(keep_original(&disk).unwrap().is_some());
            let cut = disk.if_crashed(CrashMode::Nothing);
            assert_eq!(cut.read_now(PRE_MIGRATION_BACKUP).as_deref(), Some(&b"{}"[..]));
        }
    }
}
