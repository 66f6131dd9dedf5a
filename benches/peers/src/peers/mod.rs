//! The engines, one file each, and the table of them.

mod fjall;
mod heed;
mod json_files;
mod okaywal;
mod raft_engine;
mod redb;
#[cfg(feature = "rocksdb")]
mod rocksdb;
mod sqlite;
mod walden;

use crate::peer::Open;

/// An engine.
pub(crate) struct Entry {
    pub(crate) name: &'static str,
    pub(crate) open: Open,
    /// A group commit is put in front of it too, since its transactions have none.
    pub(crate) is_grouped_too: bool,
    /// Opening it brings the documents back: a log whose entries nobody keeps does not.
    pub(crate) recovers: bool,
}

const fn entry(name: &'static str, open: Open, is_grouped_too: bool) -> Entry {
    Entry { name, open, is_grouped_too, recovers: true }
}

pub(crate) const ALL: &[Entry] = &[
    entry("walden", walden::open, false),
    Entry { recovers: false, ..entry("okaywal", okaywal::open, false) },
    entry("raft-engine", raft_engine::open, false),
    #[cfg(feature = "rocksdb")]
    entry("rocksdb", rocksdb::open, false),
    entry("fjall", fjall::open, true),
    entry("redb", redb::open, true),
    entry("sqlite", sqlite::open, true),
    entry("heed", heed::open, true),
    Entry { recovers: false, ..entry("json-files", json_files::open, false) },
];
