//! Crash testing for programs that keep their state in a [`Store`](crate::Store): the surroundings in
//! which a store runs repeatably, the workload and the oracle with which the store itself is tested,
//! and an explorer that stops a program at every one of its calls to the disk.
//!
//! Architecture invariant: nothing here is used by the engine, and the oracle uses nothing of it.

mod explore;
mod life;
mod merge;
mod oracle;
mod shared;
mod steps;
mod watched;
mod workload;
mod world;

pub use explore::{
    Crash, CrashPath, Explorer, Outcome, Program, Report, Stop, Verdict, Violation, World,
};
pub use life::{Life, Met, shows};
pub use merge::merge;
pub use oracle::{Change, Documents, Oracle};
pub use shared::Shared;
pub use steps::{put, random_steps, reference, whole_reference};
pub use watched::{Switch, Watched};
pub use workload::{Run, Step, fill, outputs, snapshot_documents};
pub use world::{Seeded, SteppedClock, builder, documents, mix, small};
