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

/// An engine: its name, how it is opened, and whether a group commit is put in front of it too, since its
/// transactions have none.
pub(crate) struct Entry {
    pub(crate) name: &'static str,
    pub(crate) open: Open,
    pub(crate) is_grouped_too: bool,
}

const fn entry(name: &'static str, open: Open, is_grouped_too: bool) -> Entry {
    Entry { name, open, is_grouped_too }
}

pub(crate) const ALL: &[Entry] = &[
    entry("walden", walden::open, false),
    entry("okaywal", okaywal::open, false),
    entry("raft-engine", raft_engine::open, false),
    #[cfg(feature = "rocksdb")]
    entry("rocksdb", rocksdb::open, false),
    entry("fjall", fjall::open, true),
    entry("redb", redb::open, true),
    entry("sqlite", sqlite::open, true),
    entry("heed", heed::open, true),
    entry("json-files", json_files::open, false),
];
