//! The workload that the crash and fault tests run.

pub(crate) use walden::testing::{Run, Step, fill, put, reference, snapshot_documents};
