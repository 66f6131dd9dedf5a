//! What Walden promises, tested through its public interface: one module for each guarantee.
//!
//! Tests on the simulated disk are single-threaded and repeatable; `WALDEN_SIM_SEEDS` sets how many
//! random outcomes of each crash are tried (default 1). None may depend on another, on the order in
//! which they run, or on more than a temporary directory.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::case_sensitive_file_extension_comparisons,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test that meets the unexpected is to fail, and says what it exercised"
)]

mod backups;
mod bad_input;
mod bad_places;
mod calls;
mod changes;
mod checkpoint;
mod complete;
mod concurrency;
mod corruption;
mod costs;
mod crash;
mod damage;
mod edits;
mod edits_crash;
mod edits_many;
mod edits_meeting;
mod edits_sim;
mod faults;
mod fidelity;
mod grid;
mod ids;
mod index;
mod ladder;
mod lies;
mod limits;
mod lost;
mod lost_history;
mod lost_rows;
mod migrate;
mod mirror;
mod mirror_slices;
mod opening;
mod operations;
mod oracle;
mod outputs;
mod outputs_failing;
mod outputs_shared;
mod recovery;
mod repair;
mod restore;
mod reused;
mod state_edits;
mod state_edits_crash;
mod support;
mod tidy;
mod unreadable;
mod verify;
mod watched;
mod whole_state;
mod workload;
