//! A value that a run changes while the explorer looks at it.

use std::sync::Arc;

use parking_lot::Mutex;

/// What a program has promised so far; clones are handles to the same value. It counts its changes.
#[derive(Debug, Default)]
pub struct Shared<T>(Arc<Mutex<(T, u64)>>);

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        Shared(self.0.clone())
    }
}

impl<T> Shared<T> {
    /// A new value.
    pub fn new(value: T) -> Shared<T> {
        Shared(Arc::new(Mutex::new((value, 0))))
    }

    /// Looks at the value. `look` must not use this handle.
    pub fn look<R>(&self, look: impl FnOnce(&T) -> R) -> R {
        look(&self.0.lock().0)
    }

    /// Changes the value. `change` must not use this handle.
    pub fn change<R>(&self, change: impl FnOnce(&mut T) -> R) -> R {
        let mut inner = self.0.lock();
        inner.1 += 1;
        change(&mut inner.0)
    }

    /// How often it was changed.
    pub fn changes(&self) -> u64 {
        self.0.lock().1
    }
}

impl<T: Clone> Shared<T> {
    /// A copy of the value.
    pub fn get(&self) -> T {
        self.look(T::clone)
    }
}
