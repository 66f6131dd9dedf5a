//! The words every layer above shares: errors, log positions, ids, time and randomness, events,
//! hashes.
//!
//! Architecture invariant: nothing here touches a disk, starts a thread or knows what a task is.

pub mod clock;
pub mod error;
pub mod event;
pub mod hash;
pub mod id;
pub mod lsn;

pub use clock::{Clock, Entropy, OsEntropy, SystemClock, Timestamp};
pub use error::{Error, Result};
pub use event::{Event, Problem, ProblemKind};
pub use hash::{ContentHash, ContentHasher};
pub use id::{DocumentId, StoreId, sanitize_id};
pub use lsn::Lsn;
