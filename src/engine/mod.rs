//! The engine: a store put together from log, state and files.
//!
//! Architecture invariant: only here are threads made, time passes and things wait; what is on disk,
//! and in what order, is decided by the layers below.

mod census;
mod changes;
mod checkpoint;
mod core;
mod documents;
mod dump;
mod edit;
mod edits;
mod handle;
mod history;
mod intake;
mod kept;
mod listeners;
mod mirror;
mod open;
mod options;
mod outputs;
mod pending;
mod queue;
mod recovery;
mod repair;
mod room;
mod serve;
mod status;
mod store;
mod submit;
mod sync;
mod threads;
mod tx;
mod verify;
mod view;
mod watch;
mod whole;

pub use changes::{Change, ChangeKind, Changes, News};
pub use checkpoint::Checkpoint;
pub use edit::EditTaken;
pub use handle::Commit;
pub use history::{History, Source, Version};
pub use intake::Restored;
pub use kept::{KeptStatus, KeptVersion, Resolution, Resolved, conflicts};
pub use options::{Durability, Options};
pub use pending::{Effect, Pending, PendingEdit, pending_edits};
pub use recovery::{Recovery, Rung};
pub use repair::{Action, Repair, RepairOptions, Step, repair};
pub use status::{CommitStats, Status, status};
pub use store::{Builder, Store};
pub use tx::Tx;
pub use verify::{Progress, Verification, verify};
pub use view::View;
