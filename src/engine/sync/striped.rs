//! A lock for what is read far more often than it is written: readers on different processors change no
//! memory that they share.
//!
//! There is a place for each processor, with a lock of its own and a pointer to the one value. A reader locks
//! the place of its thread. A writer locks all, in order, and takes the pointers away but for one, so that
//! nobody else has the value; its end hands them out again, also if it panics.
//!
//! Invariants: every place has the pointer unless a writer holds its lock; what a writer changed is seen by
//! nobody before it holds all locks, and by everybody who locks any place after the first is unlocked.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use super::{RwLock, RwLockReadGuard, RwLockWriteGuard, place_of_thread, places};

/// More would make writing slow.
pub(super) const PLACES_MAX: usize = 16;

pub(crate) struct Striped<T>(Box<[Place<T>]>);

/// Alone in its lines of the processors' caches, which fetch two at a time.
#[repr(align(128))]
struct Place<T>(RwLock<Option<Arc<T>>>);

pub(crate) struct Reading<'a, T>(RwLockReadGuard<'a, Option<Arc<T>>>);

pub(crate) struct Writing<'a, T> {
    value: Arc<T>,
    places: [Option<RwLockWriteGuard<'a, Option<Arc<T>>>>; PLACES_MAX],
}

impl<T> Striped<T> {
    pub(crate) fn new(value: T) -> Self {
        Striped::with_places(value, places())
    }

    fn with_places(value: T, count: usize) -> Self {
        let value = Arc::new(value);
        let place = |_| Place(RwLock::new(Some(Arc::clone(&value))));
        Striped((0..count.clamp(1, PLACES_MAX)).map(place).collect())
    }

    pub(crate) fn read(&self) -> Reading<'_, T> {
        let at = place_of_thread().checked_rem(self.0.len()).unwrap_or(0);
        Reading(self.0.get(at).expect("a place for every remainder").0.read())
    }

    pub(crate) fn write(&self) -> Writing<'_, T> {
        // Without taking memory: every change of a document comes by here.
        let mut places = std::array::from_fn(|at| self.0.get(at).map(|place| place.0.write()));
        let value = places.iter_mut().flatten().fold(None, |_, place| place.take());
        Writing { value: value.expect("there is a place, and it has the value"), places }
    }
}

impl<T> Deref for Reading<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0.as_deref().expect("it is taken by writers only")
    }
}

impl<T> Deref for Writing<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> DerefMut for Writing<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        Arc::get_mut(&mut self.value).expect("it was taken out of every place")
    }
}

impl<T> Drop for Writing<'_, T> {
    fn drop(&mut self) {
        for place in self.places.iter_mut().flatten() {
            **place = Some(Arc::clone(&self.value));
        }
    }
}

#[cfg(all(test, not(walden_shuttle)))]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::thread;

    use super::*;

    #[test]
    fn a_writer_that_panics_leaves_the_value_at_every_place() {
        let lock = Striped::with_places(1, 3);
        *lock.write() = 2;
        let panics = || {
            let mut value = lock.write();
            *value = 3;
            panic!("with the lock held");
        };
        assert!(catch_unwind(AssertUnwindSafe(panics)).is_err());
        assert!(lock.0.iter().all(|place| place.0.read().as_deref() == Some(&3)));
    }

    #[test]
    fn readers_see_what_a_writer_did_whole_and_never_go_back() {
        const LAST: u64 = 2000;
        let lock = Striped::with_places((0, 0), 3);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let mut last = 0;
                    while last < LAST {
                        let (a, b) = *lock.read();
                        assert_eq!(a, b);
                        assert!(a >= last, "{a} after {last}");
                        last = a;
                    }
                });
            }
            for number in 1..=LAST {
                let mut value = lock.write();
                value.0 = number;
                value.1 = number;
            }
        });
    }
}
