//! The `walden` command, run as scripts run it: its forms, its exit codes, its messages.
//!
//! Every test works in a directory of its own, and sees only what a caller sees: stdout, stderr, the
//! exit code, the files.

#![cfg(feature = "cli")]

mod demo;
mod failures;
mod reading;
mod real_data;
mod replay;
mod support;
mod verbs;
