//! The engine: a store put together from log, state and files.
//!
//! Architecture invariant: only here are threads made, time passes and things wait; what is on disk,
//! and in what order, is decided by the layers below.

mod checkpoint;
mod core;
mod documents;
mod handle;
mod listeners;
mod mirror;
mod open;
mod options;
mod queue;
mod recovery;
mod status;
mod store;
mod threads;
mod tx;
mod view;

pub use checkpoint::Checkpoint;
pub use handle::Commit;
pub use options::{Durability, Options};
pub use recovery::{Recovery, Rung};
pub use status::{CommitStats, Status, Verification, status, verify};
pub use store::{Builder, Store};
pub use tx::Tx;
pub use view::View;
