//! The files of the directory, each with its format: names, `.walden`, `state.json`, backups, the
//! mirror.
//!
//! Architecture invariant: the disk is reached only through [`crate::fs::Fs`]; there is no thread,
//! no clock and no log here. What the engine must log before a file is touched, it logs between two
//! calls.

pub mod backups;
pub(crate) mod conflicts;
pub(crate) mod kept;
#[cfg(test)]
mod meddler;
pub mod migration;
pub mod mirror;
pub mod names;
pub(crate) mod outputs;
pub mod owner;
pub mod snapshot;

use crate::base::{Error, Result};
use crate::fs::{Fs, Stat};

/// The `stat` of a name, its error worded.
pub(crate) fn stat(fs: &dyn Fs, path: &str) -> Result<Option<Stat>> {
    fs.stat(path).map_err(|error| Error::io("look at", fs.display(path), error))
}
