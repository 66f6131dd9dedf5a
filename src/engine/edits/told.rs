//! What taking in edits has to tell, gathered while locks are held, which listeners must not run under.

use crate::base::{Event, Problem, ProblemKind};
use crate::engine::core::Core;

/// What is to be told when no lock is held any more.
#[derive(Debug, Default)]
pub(crate) struct Told {
    pub(crate) events: Vec<Event>,
    pub(crate) problems: Vec<Problem>,
}

impl Told {
    pub(super) fn problem(&mut self, kind: ProblemKind, file: &str, detail: impl Into<String>) {
        self.problems.push(Problem::new(kind, file, 0, detail));
    }
}

impl Core {
    /// Tells what was found and done. No lock is held.
    pub(crate) fn tell(&self, told: Told) {
        let Told { events, problems } = told;
        self.report(&problems);
        for event in &events {
            self.listeners.emit(event);
        }
    }
}
