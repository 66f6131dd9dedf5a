//! The files.
pub mod names;
