//! The commit handle: one waiter's end of one transaction, to be waited for or awaited.
//!
//! Invariant: a slot is filled exactly once, whatever happens to the log; nobody waits for ever. A
//! queued transaction that is dropped unanswered (which only a defect could cause) answers its
//! waiter with an error.
//!
//! Who is queued together waits together: one wake-up ends the wait of a whole group, since a call
//! to the kernel for each waiter costs more than all else that a commit does.

use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, OnceLock, PoisonError};
use std::task::{Context, Poll, Waker};

use crate::base::{Error, Lsn, Result};
use crate::engine::sync::{Mutex, like_std};
use crate::state::{Doc, Op};
use crate::wal::Record;

/// Makes progress on the thread that waits, in a store without threads of its own.
pub(crate) type Drive = Arc<dyn Fn() + Send + Sync>;

/// Where the waiters of one group wait. The standard library's lock, because its condition variable
/// wakes all waiters with one call to the kernel.
#[derive(Default)]
pub(crate) struct Batch {
    filling: like_std::Mutex<()>,
    filled: like_std::Condvar,
}

impl Batch {
    fn lock(&self) -> like_std::MutexGuard<'_, ()> {
        // It guards no data that a panic could leave half-changed.
        self.filling.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self) {
        // Whoever looked before a slot was filled waits by now, and does not miss it.
        drop(self.lock());
        self.filled.notify_all();
    }
}

#[derive(Default)]
struct Slot {
    state: Mutex<SlotState>,
    /// Set when the transaction is queued.
    batch: OnceLock<Arc<Batch>>,
}

impl Slot {
    fn is_filled(&self) -> bool {
        self.state.lock().outcome.is_some()
    }
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
    pub(crate) replaced: Vec<Option<Arc<Doc>>>,
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
    /// What makes progress on the thread that waits, where there are no others.
    pub(crate) fn drive(&self) -> Option<&dyn Fn()> {
        self.drive.as_deref().map(|drive| drive as &dyn Fn())
    }

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
        if let Some(batch) = self.slot.batch.get() {
            let mut filling = batch.lock();
            while !self.slot.is_filled() {
                filling = batch.filled.wait(filling).unwrap_or_else(PoisonError::into_inner);
            }
        }
        let mut state = self.slot.state.lock();
        let spent = state.spent.take();
        let outcome = state.outcome.clone();
        drop(state);
        drop(spent);
        outcome.expect("only what was queued or answered is waited for")
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
    /// Says with whom it waits.
    pub(crate) fn join(&self, batch: &Arc<Batch>) {
        if let Some(slot) = &self.slot {
            slot.batch.get_or_init(|| batch.clone());
        }
    }

    /// Nothing of it is to be applied.
    pub(crate) fn fail(mut self, error: Error) {
        self.fill(Err(error), None);
    }

    pub(crate) fn fulfil(mut self, outcome: Result<Lsn>) {
        self.fill(outcome, None);
    }

    /// Answers a whole group, with one wake-up for those who were queued together.
    pub(crate) fn fulfil_all(answers: impl IntoIterator<Item = (Promise, Result<Lsn>, Spent)>) {
        let mut filled: Option<Arc<Batch>> = None;
        for (mut promise, outcome, spent) in answers {
            let Some(batch) = promise.fill_quietly(outcome, Some(spent)) else { continue };
            if let Some(before) = filled.replace(batch.clone())
                && !Arc::ptr_eq(&before, &batch)
            {
                before.wake();
            }
        }
        if let Some(batch) = filled {
            batch.wake();
        }
    }

    fn fill(&mut self, outcome: Result<Lsn>, spent: Option<Spent>) {
        if let Some(batch) = self.fill_quietly(outcome, spent) {
            batch.wake();
        }
    }

    /// Leaves it to the caller to wake the waiters of the batch.
    fn fill_quietly(&mut self, outcome: Result<Lsn>, spent: Option<Spent>) -> Option<Arc<Batch>> {
        let slot = self.slot.take()?;
        let waker = {
            let mut state = slot.state.lock();
            state.outcome = Some(outcome);
            state.spent = spent;
            state.waker.take()
        };
        // A waker is code of the caller's: it must not stop the writer.
        if let Some(waker) = waker
            && catch_unwind(AssertUnwindSafe(|| waker.wake())).is_err()
        {
            tracing::error!("the waker of a commit panicked");
        }
        slot.batch.get().cloned()
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
