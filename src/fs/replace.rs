//! Replacing a file atomically: temporary file, contents durable, rename, directory durable.
//!
//! A crash at any instant leaves the old file or the new one, whole, and at most a leftover
//! temporary file. On failure the old file stands, unless the very last step failed: then the new
//! one is in place and its durability unknown.
//!
//! Architecture invariant: no other module knows this order of steps.

use std::io;
use std::sync::Arc;

use super::{File, Fs, Mode, split, write_all_at};
use crate::base::{Error, Result};

/// Replaces (or creates) `path` by a file of `bytes`, by way of `temporary` on the same file system;
/// a leftover of that name is removed first. The new file is durable when this returns.
pub fn replace(fs: &dyn Fs, path: &str, temporary: &str, bytes: &[u8]) -> Result<()> {
    write_temporary(fs, temporary, bytes, true)?;
    if let Err(error) = fs.rename(temporary, path) {
        discard(fs, temporary);
        return Err(Error::io("replace", fs.display(path), error));
    }
    let dir = dir_of(fs, path)?;
    sync_dir(fs, dir)?;
    let temporary_dir = dir_of(fs, temporary)?;
    if temporary_dir == dir { Ok(()) } else { sync_dir(fs, temporary_dir) }
}

/// The first half, for callers who rename in their own way: creates `temporary` (a leftover of that
/// name is removed first) and writes `bytes` into it. With `durable` its contents are on the medium
/// when this returns; without, they are only ordered before a later rename. Its name is not durable
/// either way. On failure there is no such file, as far as that can be helped.
pub fn write_temporary(
    fs: &dyn Fs,
    temporary: &str,
    bytes: &[u8],
    durable: bool,
) -> Result<Arc<dyn File>> {
    remove_if_any(fs, temporary)?;
    let wrap = |action, error| Error::io(action, fs.display(temporary), error);
    let file = fs.open(temporary, Mode::CreateNew).map_err(|error| wrap("create", error))?;
    let written = write_all_at(&*file, bytes, 0).map_err(|error| wrap("write", error));
    let flushed = written.and_then(|()| {
        if durable { file.sync_data() } else { file.write_back() }
            .map_err(|error| wrap("flush", error))
    });
    match flushed {
        Ok(()) => Ok(file),
        Err(error) => {
            discard(fs, temporary);
            Err(error)
        }
    }
}

/// Removes a file; `false` if there was none. Not yet durable.
pub fn remove_if_any(fs: &dyn Fs, path: &str) -> Result<bool> {
    match fs.remove(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(Error::io("remove", fs.display(path), error)),
    }
}

/// Removes a temporary file after a failure. What went wrong first is what the caller must know, and
/// the next replacement removes a leftover anyway, so a second failure is not reported.
fn discard(fs: &dyn Fs, temporary: &str) {
    let _ = fs.remove(temporary);
}

fn dir_of<'a>(fs: &dyn Fs, path: &'a str) -> Result<&'a str> {
    let (dir, _) = split(path).map_err(|error| Error::io("open", fs.display(path), error))?;
    Ok(dir)
}

fn sync_dir(fs: &dyn Fs, dir: &str) -> Result<()> {
    fs.sync_dir(dir).map_err(|error| Error::io("flush", fs.display(dir), error))
}
