//! The `walden` command, run as scripts run it: its forms, its exit codes, its messages.
//!
//! Every test works in a directory of its own, and sees only what a caller sees: stdout, stderr, the
//! exit code, the files.

#![cfg(feature = "cli")]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "helpers of tests fail by panicking, and say on stdout what is skipped"
)]

mod bench;
mod changes;
mod demo;
mod editing;
mod failures;
mod inspecting;
mod reading;
mod real_damage;
mod real_data;
mod replay;
mod support;
mod torture;
mod verbs;
