//! Where the engine's locks, condition variables and threads come from.
//!
//! Normally they are `parking_lot`'s and the standard library's, by their own names. Built with
//! `--cfg walden_shuttle` they are shuttle's, with the same interface: then every lock, wait and wake-up
//! is a place where a test's scheduler may switch, and `tests/schedules` runs the whole store under
//! thousands of schedules.
//!
//! Invariant: everything by which a caller, the writer and the keeper wait for each other is taken from
//! here; one lock from elsewhere would hide its races, or block the only real thread for ever. Verification
//! alone is outside: its threads live within one call and meet nobody else's.

#[cfg(not(walden_shuttle))]
mod real {
    pub(crate) use std::sync as like_std;
    pub(crate) use std::sync::atomic::AtomicBool;
    pub(crate) use std::thread;

    pub(crate) use parking_lot::{Condvar, Mutex, RwLock, RwLockWriteGuard};
}
#[cfg(walden_shuttle)]
mod scheduled;

#[cfg(not(walden_shuttle))]
pub(crate) use real::*;
#[cfg(walden_shuttle)]
pub(crate) use scheduled::*;
