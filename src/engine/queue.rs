//! The bounded queue between callers and the writer: backpressure on one end, groups at the other, and
//! the role of the writer, which is the writer thread's or for one transaction a caller's.
//!
//! Invariants: a transaction is never split; nothing is taken while a caller has the role, and no caller
//! gets it while anything is queued or in the writer thread's hands; once the queue is shut, with
//! whatever reason, nothing enters, and everybody who waits for room is told that reason.

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

/// So many groups of one transaction in a row say that nobody else is there. Several callers are served
/// best by the writer thread: while it writes for some, the others gather.
const ALONE_MIN: u32 = 2;

/// What the writer finds.
pub(crate) enum Taken {
    /// A group's worth of transactions.
    Group(Vec<Transaction>),
    /// Nothing arrived in time, or somebody wants the duties looked at.
    Idle,
    /// Nothing will arrive any more.
    Stopped,
}

/// The role of the writer in a caller's hands. Dropping it gives it back, and wakes the writer thread if
/// that has something to do.
#[must_use = "while it is held, nobody else writes"]
pub(crate) struct Lead<'a>(&'a Queue);

impl Drop for Lead<'_> {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.role = Role::Nobody;
        let is_awaited = !state.waiting.is_empty() || state.stopped;
        drop(state);
        if is_awaited {
            self.0.work.notify_one();
        }
    }
}

pub(crate) struct Queue {
    limits: Limits,
    state: Mutex<State>,
    work: Condvar,
    room: Condvar,
}

/// Who has the role of the writer.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    Nobody,
    /// Until it drops its [`Lead`].
    Caller,
    /// Until it comes back for more.
    Thread,
}

struct State {
    waiting: VecDeque<(usize, Transaction)>,
    /// Whoever is queued now.
    batch: Arc<Batch>,
    bytes: usize,
    shut: Option<Error>,
    stopped: bool,
    nudged: bool,
    role: Role,
    /// So many groups in a row were of one transaction.
    alone: u32,
}

impl State {
    fn is_led(&self) -> bool {
        self.role == Role::Caller
    }
}

impl Queue {
    pub(crate) fn new(limits: Limits) -> Self {
        let state = State {
            waiting: VecDeque::new(),
            batch: Arc::default(),
            bytes: 0,
            shut: None,
            stopped: false,
            nudged: false,
            role: Role::Nobody,
            alone: ALONE_MIN,
        };
        Queue { limits, state: Mutex::new(state), work: Condvar::new(), room: Condvar::new() }
    }

    /// Gives the transaction back, with the role, to a caller that will wait for it and finds nobody
    /// else there; else adds it as [`Queue::push`] does.
    pub(crate) fn lead_or_push(
        &self,
        transaction: Transaction,
    ) -> Result<Option<(Transaction, Lead<'_>)>> {
        let mut state = self.state.lock();
        let is_free = state.role == Role::Nobody && state.waiting.is_empty();
        if !is_free || state.alone < ALONE_MIN || state.shut.is_some() {
            drop(state);
            return self.push(transaction, None).map(|()| None);
        }
        state.role = Role::Caller;
        Ok(Some((transaction, Lead(self))))
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
        let is_first = state.waiting.is_empty() && !state.is_led();
        transaction.promise.join(&state.batch);
        state.waiting.push_back((bytes, transaction));
        drop(state);
        if is_first {
            self.work.notify_one();
        }
        Ok(())
    }

    /// Takes up to a group's worth, waiting at most `patience` (`None`: until something comes). The group
    /// that was taken before is done.
    pub(crate) fn take(&self, patience: Option<Duration>) -> Taken {
        let mut state = self.state.lock();
        if !state.is_led() {
            state.role = Role::Nobody;
        }
        while state.is_led() || state.waiting.is_empty() {
            if state.stopped && !state.is_led() {
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
            if timed_out && (state.is_led() || state.waiting.is_empty()) {
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
        state.role = Role::Thread;
        state.alone = if group.len() > 1 { 0 } else { state.alone.saturating_add(1) };
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
