//! The commit handle: one waiter's end of one transaction, to be waited for or awaited.
//!
//! Invariant: a slot is filled exactly once, whatever happens to the log; nobody waits for ever. A
//! queued transaction that is dropped unanswered (which only a defect could cause) answers its
//! waiter with an error.

use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use parking_lot::{Condvar, Mutex};

use crate::base::{Error, Lsn, Result};
use crate::state::{Doc, Op};
use crate::wal::Record;

/// Makes progress on the thread that waits, in a store without threads of its own.
pub(crate) type Drive = Arc<dyn Fn() + Send + Sync>;

#[derive(Default)]
struct Slot {
    state: Mutex<SlotState>,
    filled: Condvar,
}

#[derive(Default)]
struct SlotState {
    outcome: Option<Result<Lsn>>,
    waker: Option<Waker>,
    spent: Option<Spent>,
}

/// What a transaction leaves when it is done. It goes back to the waiter to be freed: there it was
/// allocated, and the one writer has no time for it.
#[expect(dead_code, reason = "it is only carried to where it is freed")]
pub(crate) struct Spent {
    pub(crate) records: Vec<Record>,
    pub(crate) changes: Vec<(Lsn, Op)>,
    pub(crate) replaced: Vec<Arc<Doc>>,
}

/// Where the outcome of one transaction arrives.
///
/// Dropping it gives up the wait, not the write.
#[must_use = "until it is waited for, nothing is known of the write"]
pub struct Commit {
    slot: Arc<Slot>,
    drive: Option<Drive>,
}

impl Commit {
    /// Waits until the transaction is durable (or, if `Buffered`, handed to the kernel), and gives
    /// the LSN of its last record.
    ///
    /// # Errors
    /// `NotFound` and `Invalid` say that the transaction changed nothing. After `Io` and `Poisoned`
    /// it is not known whether it will be there after `reopen()`. `DiskFull` from preparing a segment
    /// says that nothing was written.
    pub fn wait(self) -> Result<Lsn> {
        if let Some(drive) = &self.drive {
            loop {
                if let Some(outcome) = self.slot.state.lock().outcome.clone() {
                    return outcome;
                }
                drive();
            }
        }
        let mut state = self.slot.state.lock();
        while state.outcome.is_none() {
            self.slot.filled.wait(&mut state);
        }
        let spent = state.spent.take();
        let outcome = state.outcome.clone();
        drop(state);
        drop(spent);
        outcome.expect("the loop ends when there is one")
    }

    /// The outcome, if it is there already.
    pub fn try_outcome(&self) -> Option<Result<Lsn>> {
        self.slot.state.lock().outcome.clone()
    }
}

impl Future for Commit {
    type Output = Result<Lsn>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if let Some(drive) = &self.drive {
            drive();
        }
        let mut state = self.slot.state.lock();
        if let Some(outcome) = &state.outcome {
            return Poll::Ready(outcome.clone());
        }
        state.waker = Some(context.waker().clone());
        Poll::Pending
    }
}

impl fmt::Debug for Commit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Commit").field("outcome", &self.try_outcome()).finish()
    }
}

/// The writer's end: fills the slot, once.
pub(crate) struct Promise {
    slot: Option<Arc<Slot>>,
}

impl Promise {
    /// Nothing of it is to be applied.
    pub(crate) fn fail(mut self, error: Error) {
        self.fill(Err(error), None);
    }

    pub(crate) fn fulfil(mut self, outcome: Result<Lsn>, spent: Option<Spent>) {
        self.fill(outcome, spent);
    }

    fn fill(&mut self, outcome: Result<Lsn>, spent: Option<Spent>) {
        let Some(slot) = self.slot.take() else { return };
        let waker = {
            let mut state = slot.state.lock();
            state.outcome = Some(outcome);
            state.spent = spent;
            state.waker.take()
        };
        // There is one handle, and waiting takes it.
        slot.filled.notify_one();
        // A waker is code of the caller's: it must not stop the writer.
        if let Some(waker) = waker
            && catch_unwind(AssertUnwindSafe(|| waker.wake())).is_err()
        {
            tracing::error!("the waker of a commit panicked");
        }
    }
}

impl Drop for Promise {
    fn drop(&mut self) {
        self.fill(Err(Error::Closed), None);
    }
}

/// A promise and the handle that waits for it.
pub(crate) fn promise(drive: Option<Drive>) -> (Promise, Commit) {
    let slot = Arc::new(Slot::default());
    (Promise { slot: Some(slot.clone()) }, Commit { slot, drive })
}
