//! Walden: an embedded, crash-safe state store whose state at rest is plain JSON.

pub mod base;
pub mod files;
pub mod fs;
pub mod state;
pub mod wal;

pub use base::{
    Clock, ContentHash, DocumentId, Entropy, Error, Event, Lsn, OsEntropy, Problem, ProblemKind,
    Result, StoreId, SystemClock, Timestamp, sanitize_id,
};
