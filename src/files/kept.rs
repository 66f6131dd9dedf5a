//! What lies in `conflicts/`: reading it, marking it as resolved, and removing what was resolved.
//!
//! What is resolved has a name of its own there, `<name>.resolved`, so that equal contents that are kept
//! later get the first name again and count again. Only such names are ever removed, and only on request.
//! Nothing is followed: what is no regular file is told, and neither read nor touched.

use std::io::ErrorKind;

use crate::base::{ContentHash, Error, Result};
use crate::files::conflicts::sync_dir;
use crate::files::names::{CONFLICTS, is_resolved, resolved};
use crate::files::stat;
use crate::fs::replace::remove_if_any;
use crate::fs::{Fs, Kind, join, read_file};

const ATTEMPTS_MAX: u32 = 1000;
/// A longer file is no document.
const DOCUMENT_BYTES_MAX: u64 = 256 << 20;

/// One name in `conflicts/`.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    pub(crate) name: String,
    pub(crate) bytes: u64,
    /// When its contents were last changed, in nanoseconds since the epoch.
    pub(crate) modified_ns: i64,
    pub(crate) contents: Contents,
}

/// What it holds.
#[derive(Clone, Debug)]
pub(crate) enum Contents {
    /// It was resolved, and not read.
    Resolved,
    /// Text.
    Text(ContentHash, String),
    /// Something else, or nothing that can be read, and why.
    Unreadable(Option<ContentHash>, String),
}

/// All that is in `conflicts/`, by name. What is resolved is not read.
pub(crate) fn list(fs: &dyn Fs) -> Result<Vec<Kept>> {
    let mut found = Vec::new();
    for (name, kind) in names(fs)? {
        found.extend(read(fs, name, kind)?);
    }
    Ok(found)
}

/// The file of this name in `conflicts/`; `NotFound` for any other name, wherever it might lead.
pub(crate) fn find(fs: &dyn Fs, name: &str) -> Result<Kept> {
    let found = names(fs)?.into_iter().find(|(known, _)| known == name);
    let found = found.map(|(name, kind)| read(fs, name, kind)).transpose()?.flatten();
    found.ok_or_else(|| Error::not_found(format!("{name:?} in {}", fs.display(CONFLICTS))))
}

/// Where there is no such directory, or something else has its place, there is nothing in it.
fn names(fs: &dyn Fs) -> Result<Vec<(String, Kind)>> {
    if stat(fs, CONFLICTS)?.is_none_or(|found| found.kind != Kind::Directory) {
        return Ok(Vec::new());
    }
    match fs.list(CONFLICTS) {
        Ok(entries) => Ok(entries.into_iter().map(|entry| (entry.name, entry.kind)).collect()),
        Err(error) => Err(Error::io("list", fs.display(CONFLICTS), error)),
    }
}

/// `None` if it is gone by now.
fn read(fs: &dyn Fs, name: String, kind: Kind) -> Result<Option<Kept>> {
    let path = join(CONFLICTS, &name);
    let unreadable = |why: &str| Contents::Unreadable(None, why.to_owned());
    let (bytes, modified_ns) = match fs.stat(&path) {
        Ok(Some(stat)) => (stat.size_bytes, stat.modified_ns),
        Ok(None) => return Ok(None),
        Err(error) => return Err(Error::io("look at", fs.display(&path), error)),
    };
    let contents = if kind != Kind::File {
        unreadable("it is no regular file")
    } else if is_resolved(&name) {
        Contents::Resolved
    } else {
        match read_file(fs, &path, DOCUMENT_BYTES_MAX) {
            Ok(bytes) => {
                let hash = ContentHash::of(&bytes);
                String::from_utf8(bytes).map_or_else(
                    |_| Contents::Unreadable(Some(hash), "it is not UTF-8".to_owned()),
                    |text| Contents::Text(hash, text),
                )
            }
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => unreadable(&format!("it cannot be read ({error})")),
        }
    };
    Ok(Some(Kept { name, bytes, modified_ns, contents }))
}

/// Marks a file as resolved, durably, and gives its new name.
pub(crate) fn resolve(fs: &dyn Fs, name: &str) -> Result<String> {
    let path = join(CONFLICTS, name);
    for attempt in 0..ATTEMPTS_MAX {
        let new = resolved(name, attempt);
        match fs.rename_new(&path, &join(CONFLICTS, &new)) {
            Ok(()) => {
                sync_dir(fs, CONFLICTS)?;
                return Ok(new);
            }
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(Error::io("rename", fs.display(&path), error)),
        }
    }
    Err(Error::Conflict { what: fs.display(&path), why: "every name for it is taken".into() })
}

/// Removes what was resolved before an instant, in nanoseconds since the epoch, and counts it.
pub(crate) fn prune(fs: &dyn Fs, before_ns: i64) -> Result<usize> {
    let mut removed = 0;
    for (name, kind) in names(fs)? {
        let path = join(CONFLICTS, &name);
        // The renaming was the last change of the inode.
        let is_old = |changed_ns: i64| changed_ns <= before_ns;
        let is_due = kind == Kind::File
            && is_resolved(&name)
            && stat(fs, &path)?.is_some_and(|stat| is_old(stat.changed_ns));
        if is_due {
            removed += usize::from(remove_if_any(fs, &path)?);
        }
    }
    if removed > 0 {
        sync_dir(fs, CONFLICTS)?;
    }
    Ok(removed)
}
