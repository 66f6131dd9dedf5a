//! What the names in a directory of the mirror tell.

use std::io::ErrorKind;

use crate::base::{Error, Result};
use crate::files::names;
use crate::fs::{Entry, Fs};

/// Whether a name is one that a document's file may have.
pub(super) fn is_json(name: &str) -> bool {
    name.strip_suffix(".json").is_some()
}

/// How many files of a directory may be gone at once and are believed to have been removed.
pub fn deletions_max(documents: usize) -> usize {
    (documents / 10).max(100)
}

/// The names of editors' files in a directory.
pub(super) fn editor_files(entries: &[Entry]) -> Vec<&str> {
    let names = entries.iter().map(|entry| entry.name.as_str());
    names.filter(|name| names::is_editor_file(name)).collect()
}

/// Whether one of them is of a file of that name: it is being saved.
pub(super) fn has_editor_file(editors: &[&str], name: &str) -> bool {
    editors.iter().any(|editor| editor.contains(name))
}

pub(super) fn list(fs: &dyn Fs, dir: &str) -> Result<Vec<Entry>> {
    match fs.list(dir) {
        Ok(mut entries) => {
            // A directory that changes while it is read may give a name twice.
            entries.dedup_by(|a, b| a.name == b.name);
            Ok(entries)
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(Error::io("list", fs.display(dir), error)),
    }
}
