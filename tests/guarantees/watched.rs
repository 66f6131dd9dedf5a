//! The disk that calls back.

pub(crate) use walden::testing::Watched;
