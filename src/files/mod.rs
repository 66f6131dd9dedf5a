//! The files of the directory, each with its format: names, `.walden`, `state.json`, backups, the
//! mirror.
//!
//! Architecture invariant: the disk is reached only through [`crate::fs::Fs`]; there is no thread,
//! no clock and no log here. What the engine must log before a file is touched, it logs between two
//! calls.

pub mod backups;
mod conflicts;
#[cfg(test)]
mod meddler;
pub mod mirror;
pub mod names;
pub mod owner;
pub mod snapshot;
