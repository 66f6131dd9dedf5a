//! Listeners to a store's events. A listener that panics is logged and kept away from the engine.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crate::base::Event;
use crate::engine::sync::RwLock;

pub(crate) type Listener = Arc<dyn Fn(&Event) + Send + Sync>;

#[derive(Default)]
pub(crate) struct Listeners(RwLock<Vec<Listener>>);

impl Listeners {
    pub(crate) fn add(&self, listener: Listener) {
        self.0.write().push(listener);
    }

    /// Tells everybody, on this thread. No lock is held meanwhile.
    pub(crate) fn emit(&self, event: &Event) {
        match event {
            Event::SaveError { error } => tracing::error!(%error, "{}", event.name()),
            Event::Found(problem) => tracing::warn!("{problem}"),
            _ => tracing::debug!(?event, "{}", event.name()),
        }
        let listeners = self.0.read().clone();
        for listener in listeners {
            if catch_unwind(AssertUnwindSafe(|| listener(event))).is_err() {
                tracing::error!("a listener panicked at {}", event.name());
            }
        }
    }
}

impl Clone for Listeners {
    fn clone(&self) -> Self {
        Listeners(RwLock::new(self.0.read().clone()))
    }
}

impl fmt::Debug for Listeners {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} listeners", self.0.read().len())
    }
}
