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

    use std::sync::atomic::{AtomicUsize, Ordering};

    pub(crate) use parking_lot::{Condvar, Mutex, RwLock, RwLockReadGuard, RwLockWriteGuard};

    /// How many places a [`Striped`](super::Striped) has, but for its own bound.
    pub(super) fn places() -> usize {
        thread::available_parallelism().map_or(1, usize::from)
    }

    /// Numbers the threads that read, in the order of their first reading.
    pub(super) fn place_of_thread() -> usize {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        thread_local!(static PLACE: usize = NEXT.fetch_add(1, Ordering::Relaxed));
        PLACE.with(|place| *place)
    }
}
#[cfg(walden_shuttle)]
mod scheduled;
mod striped;

#[cfg(not(walden_shuttle))]
pub(crate) use real::*;
#[cfg(walden_shuttle)]
pub(crate) use scheduled::*;
pub(crate) use striped::Striped;
