//! Tasks, sessions and what happens to them.
//!
//! Architecture invariant: a pure state machine. Nothing here does I/O, reads a clock, starts a
//! thread or depends on an option, so that replaying the log gives the same state, byte for byte.

mod codec;
pub mod document;
pub mod json;
pub mod merge;
pub mod metrics;
pub mod op;
pub mod session;
pub mod table;
pub mod task;
pub mod whole;

pub use document::{Document, Indexed};
pub use merge::{FieldChange, Merged, difference, field_changes, is_same, merge3};
pub use metrics::Metrics;
pub use op::{Collection, OWN_TEXT_MAX, Op};
pub use session::Session;
pub use table::{AfterHole, Applied, Doc, OfStatus, Refused, Table};
pub use task::{LogEntry, Status, Task};
pub use whole::State;
