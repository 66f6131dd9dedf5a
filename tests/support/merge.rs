//! The merge patch of the oracles.

pub(crate) use walden::testing::merge;
