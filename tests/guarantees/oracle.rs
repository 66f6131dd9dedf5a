//! The oracle of the crash and fault tests.

pub(crate) use walden::testing::Oracle;
