//! The bounded queue between callers and the writer: backpressure on one end, groups at the other.
//!
//! Invariants: a transaction is never split; once the queue is shut, with whatever reason, nothing
//! enters, and everybody who waits for room is told that reason.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crate::base::{Error, Lsn, Result};
use crate::engine::handle::{Batch, Promise};
use crate::engine::options::Durability;
use crate::engine::sync::{Condvar, Mutex};
use crate::state::Op;
use crate::wal::Record;

/// One transaction on its way to the log.
pub(crate) struct Transaction {
    pub(crate) records: Vec<Record>,
    /// Its mutations; the writer fills in their LSNs.
    pub(crate) changes: Vec<(Lsn, Op)>,
    pub(crate) durability: Durability,
    pub(crate) promise: Promise,
}

impl Transaction {
    /// Whether it has deletions only.
    pub(crate) fn makes_room(&self) -> bool {
        self.records.iter().all(|record| Op::makes_room(record.kind))
    }

    /// Bytes it takes in the log, without padding.
    fn log_bytes(&self) -> usize {
        let entry = crate::wal::format::ENTRY_BYTES;
        self.records.iter().map(|record| record.len() + entry).sum()
    }
}

/// Limits of the queue and of the groups taken from it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) queue_bytes: usize,
    pub(crate) queue_entries: usize,
    pub(crate) group_bytes: usize,
}

/// What the writer finds.
pub(crate) enum Taken {
    /// A group's worth of transactions.
    Group(Vec<Transaction>),
    /// Nothing arrived in time, or somebody wants the duties looked at.
    Idle,
    /// Nothing will arrive any more.
    Stopped,
}

pub(crate) struct Queue {
    limits: Limits,
    state: Mutex<State>,
    work: Condvar,
    room: Condvar,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<(usize, Transaction)>,
    /// Whoever is queued now.
    batch: Arc<Batch>,
    bytes: usize,
    shut: Option<Error>,
    stopped: bool,
    nudged: bool,
}

impl Queue {
    pub(crate) fn new(limits: Limits) -> Self {
        Queue { limits, state: Mutex::default(), work: Condvar::new(), room: Condvar::new() }
    }

    /// Adds a transaction, waiting for room. One that is larger than the whole queue gets in when it
    /// is empty. `full` is called instead of waiting where there are no other threads.
    pub(crate) fn push(&self, transaction: Transaction, full: Option<&dyn Fn()>) -> Result<()> {
        let bytes = transaction.log_bytes();
        let mut state = self.state.lock();
        loop {
            if let Some(why) = &state.shut {
                let why = why.clone();
                drop(state);
                transaction.promise.fail(why.clone());
                return Err(why);
            }
            let fits = state.bytes.saturating_add(bytes) <= self.limits.queue_bytes
                && state.waiting.len() < self.limits.queue_entries;
            if fits || state.waiting.is_empty() {
                break;
            }
            match full {
                Some(make_room) => {
                    drop(state);
                    make_room();
                    state = self.state.lock();
                }
                None => self.room.wait(&mut state),
            }
        }
        state.bytes += bytes;
        let was_empty = state.waiting.is_empty();
        transaction.promise.join(&state.batch);
        state.waiting.push_back((bytes, transaction));
        drop(state);
        if was_empty {
            self.work.notify_one();
        }
        Ok(())
    }

    /// Takes up to a group's worth, waiting at most `patience` (`None`: until something comes).
    pub(crate) fn take(&self, patience: Option<Duration>) -> Taken {
        let mut state = self.state.lock();
        while state.waiting.is_empty() {
            if state.stopped {
                return Taken::Stopped;
            }
            if std::mem::take(&mut state.nudged) {
                return Taken::Idle;
            }
            let Some(patience) = patience else {
                self.work.wait(&mut state);
                continue;
            };
            let timed_out = self.work.wait_for(&mut state, patience).timed_out();
            if timed_out && state.waiting.is_empty() {
                return Taken::Idle;
            }
        }
        let mut group = Vec::with_capacity(state.waiting.len());
        let mut bytes = 0_usize;
        while let Some((next, _)) = state.waiting.front() {
            if !group.is_empty() && bytes + next > self.limits.group_bytes {
                break;
            }
            bytes += next;
            group.extend(state.waiting.pop_front().map(|(_, transaction)| transaction));
        }
        state.bytes = state.bytes.saturating_sub(bytes);
        state.batch = Arc::default();
        drop(state);
        self.room.notify_all();
        Taken::Group(group)
    }

    /// Wakes the writer, so that it looks at its duties.
    pub(crate) fn nudge(&self) {
        self.state.lock().nudged = true;
        self.work.notify_one();
    }

    /// Lets nothing in any more, and gives back what is queued, for the caller to answer.
    #[must_use = "somebody waits for each of them"]
    pub(crate) fn shut(&self, why: &Error) -> Vec<Transaction> {
        let mut state = self.state.lock();
        state.shut.get_or_insert_with(|| why.clone());
        state.bytes = 0;
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        self.work.notify_all();
        self.room.notify_all();
        waiting.into_iter().map(|(_, transaction)| transaction).collect()
    }

    /// Shuts the queue for good: the writer takes what is queued, and stops.
    pub(crate) fn stop(&self) {
        let mut state = self.state.lock();
        state.stopped = true;
        state.shut = Some(Error::Closed);
        drop(state);
        self.work.notify_all();
        self.room.notify_all();
    }

    /// Lets transactions in again, after the log was reopened; not after [`Queue::stop`].
    pub(crate) fn reopen(&self) {
        let mut state = self.state.lock();
        if !state.stopped {
            state.shut = None;
        }
    }
}
