//! The counts that `state.json` carries under `metrics`, kept up to date task by task.
//!
//! Invariant: only integers are added and taken away, so the figures depend on the tasks there are
//! and not on the order in which they came; the one division happens when somebody asks.

use serde::{Deserialize, Serialize};

use crate::state::Document;

/// Counts over all tasks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Metrics {
    /// All tasks.
    pub total_tasks: u64,
    /// Those whose status is `completed` or `completed_active`.
    pub completed_tasks: u64,
    /// Those whose status is `failed`.
    pub failed_tasks: u64,
    /// From `started_at` to `completed_at`, in seconds, over the completed tasks that have both;
    /// 0 if there are none.
    pub average_completion_time: f64,
}

/// The sums behind [`Metrics`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sums {
    total: u64,
    completed: u64,
    failed: u64,
    timed: u64,
    nanos: i128,
}

impl Sums {
    /// Counts a task in.
    pub(super) fn add(&mut self, task: &Document) {
        let one = Self::of(task);
        self.total = self.total.saturating_add(one.total);
        self.completed = self.completed.saturating_add(one.completed);
        self.failed = self.failed.saturating_add(one.failed);
        self.timed = self.timed.saturating_add(one.timed);
        self.nanos = self.nanos.saturating_add(one.nanos);
    }

    /// Counts out a task that was counted in.
    pub(super) fn remove(&mut self, task: &Document) {
        let one = Self::of(task);
        self.total = self.total.saturating_sub(one.total);
        self.completed = self.completed.saturating_sub(one.completed);
        self.failed = self.failed.saturating_sub(one.failed);
        self.timed = self.timed.saturating_sub(one.timed);
        self.nanos = self.nanos.saturating_sub(one.nanos);
    }

    fn of(task: &Document) -> Self {
        let completed = matches!(task.status(), Some("completed" | "completed_active"));
        let nanos = match (task.started_at(), task.completed_at()) {
            (Some(start), Some(end)) if completed => {
                Some(i128::from(end.0).saturating_sub(i128::from(start.0)))
            }
            _ => None,
        };
        Sums {
            total: 1,
            completed: u64::from(completed),
            failed: u64::from(task.status() == Some("failed")),
            timed: u64::from(nanos.is_some()),
            nanos: nanos.unwrap_or(0),
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "an average need not have 128 bits")]
    pub(super) fn metrics(&self) -> Metrics {
        let average_completion_time = match self.timed {
            0 => 0.0,
            timed => self.nanos as f64 / timed as f64 / 1e9,
        };
        Metrics {
            total_tasks: self.total,
            completed_tasks: self.completed,
            failed_tasks: self.failed,
            average_completion_time,
        }
    }
}
