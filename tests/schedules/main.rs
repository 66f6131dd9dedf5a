//! The whole store, its two threads and all that call it, under schedules of a test's choice.
//!
//! It exists only when the crate is built with `--cfg walden_shuttle`, since then the engine's locks
//! work nowhere else:
//!
//! `RUSTFLAGS="--cfg walden_shuttle" cargo test --no-default-features --features testing
//! --target-dir target/schedules --test schedules`
//!
//! Half of each test's schedules are drawn at random, half are of the PCT kind, which finds rare orders of
//! few events. `WALDEN_SCHEDULES` sets their number for each test. A schedule that fails is written to a
//! file, and the test says how to replay it.
#![cfg(walden_shuttle)]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test that meets the unexpected is to fail, and says what it exercised"
)]

mod commits;
mod endings;
mod failures;
mod leading;
mod runner;
