//! Walden: an embedded, crash-safe state store whose state at rest is plain JSON.
//!
//! Every mutation goes to a checksummed write-ahead log and is group-committed; the log is compacted
//! into files that people read and edit: `state.json`, `tasks/*.json`, rotated backups. [`Store`] is
//! the way in; [`wal`] is the log alone; [`fs::sim`] (feature `testing`) is a disk that
//! crashes, and `testing` the harness that tests this crate with it, for programs that use it.

pub mod base;
pub mod engine;
pub mod files;
pub mod fs;
pub mod state;
#[cfg(feature = "testing")]
pub mod testing;
pub mod wal;

pub use base::{
    Clock, ContentHash, DocumentId, Entropy, Error, Event, Lsn, OsEntropy, Problem, ProblemKind,
    Result, StoreId, SystemClock, Timestamp, sanitize_id,
};
pub use engine::{
    Action, Builder, Change, ChangeKind, Changes, Checkpoint, Commit, CommitStats, Durability,
    EditTaken, Effect, History, KeptStatus, KeptVersion, News, Options, Pending, PendingEdit,
    Progress, Recovery, Repair, RepairOptions, Resolution, Resolved, Restored, Rung, Source,
    Status, Step, Store, Tx, Verification, Version, View, conflicts, pending_edits, repair, status,
    verify,
};
pub use state::{
    Collection, Doc, FieldChange, LogEntry, Metrics, Session, State, Status as TaskStatus, Task,
};

/// Runs the README's quickstart as a test.
#[cfg(all(doctest, feature = "testing"))]
#[doc = include_str!("../README.md")]
struct Readme;
