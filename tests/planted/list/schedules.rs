//! What threads get wrong who wait for each other: wake-ups left out, locks released early or taken late.

use super::{Bug, By, bug};

const EVERY_COMMIT: By = By::Schedules("commits::every_commit");
const CRASHES: By = By::Schedules("commits::what_was_acknowledged");
const FAILED_FLUSH: By = By::Schedules("failures::a_failed_flush");
const REOPENED: By = By::Schedules("failures::what_a_reopening");
const SHUTDOWN: By = By::Schedules("endings::a_shutdown");

const LED: By = By::Schedules("leading::callers_that");
const OVERTAKEN: By = By::Schedules("leading::a_caller_that");

pub(super) const BUGS: [Bug; 18] = [
    bug(
        "role-given-back-without-a-wake-up",
        "engine/queue.rs",
        "if is_awaited {
            self.0.work.notify_one();
        }",
        "",
        "who was queued while a caller wrote by itself waits until somebody else comes",
        LED,
    ),
    bug(
        "caller-overtakes-what-the-writer-thread-has",
        "engine/queue.rs",
        "let is_free = «state.role == Role::Nobody» &&",
        "state.role != Role::Caller",
        "a caller that writes by itself overtakes what it submitted, and the writer thread took",
        OVERTAKEN,
    ),
    bug(
        "caller-overtakes-what-is-queued",
        "engine/queue.rs",
        "let is_free = state.role == Role::Nobody && «state.waiting.is_empty()»;",
        "true",
        "a caller that writes by itself overtakes what it submitted, and is still queued",
        OVERTAKEN,
    ),
    bug(
        "waiters-not-woken",
        "engine/handle.rs",
        "self.filled.notify_all();",
        "",
        "who waits for a commit is not woken",
        EVERY_COMMIT,
    ),
    bug(
        "waiters-woken-without-their-lock",
        "engine/handle.rs",
        "drop(self.lock());",
        "",
        "who looks just before a commit is answered misses the wake-up",
        EVERY_COMMIT,
    ),
    bug(
        "outcome-looked-at-without-the-lock",
        "engine/handle.rs",
        "let mut filling = batch.lock();
            while !self.slot.is_filled() {
                filling = batch.filled.wait(filling).unwrap_or_else(PoisonError::into_inner);
            }",
        "while !self.slot.is_filled() {
                let filling = batch.lock();
                drop(batch.filled.wait(filling).unwrap_or_else(PoisonError::into_inner));
            }",
        "a commit that is answered between look and wait is waited for in vain",
        EVERY_COMMIT,
    ),
    bug(
        "only-the-last-batch-woken",
        "engine/handle.rs",
        "before.wake();",
        "drop(before);",
        "of a group that was queued in two batches only one is woken",
        EVERY_COMMIT,
    ),
    bug(
        "waker-set-too-late",
        "engine/handle.rs",
        "state.waker = Some(context.waker().clone());",
        "drop(state); state = self.slot.state.lock(); state.waker = Some(context.waker().clone());",
        "a commit that is answered just before its waker is set is never polled again",
        EVERY_COMMIT,
    ),
    bug(
        "batch-joined-before-it-is-queued",
        "engine/queue.rs",
        "transaction.promise.join(&state.batch);",
        "transaction.promise.join(&state.batch); drop(state); state = self.state.lock();",
        "a transaction waits with a batch that was taken before it was queued",
        EVERY_COMMIT,
    ),
    bug(
        "room-not-told-of-a-failure",
        "engine/queue.rs",
        "let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        self.work.notify_all();
        «self.room.notify_all();»",
        "",
        "who waits for room in the queue waits on though the log failed",
        FAILED_FLUSH,
    ),
    bug(
        "queued-forgotten-by-a-failure",
        "engine/queue.rs",
        "waiting.into_iter().map(|(_, transaction)| transaction).collect()",
        "{ drop(waiting); Vec::new() }",
        "who is queued when the log fails is told that the store was closed",
        FAILED_FLUSH,
    ),
    bug(
        "writer-not-woken-by-a-stop",
        "engine/queue.rs",
        "state.shut = Some(Error::Closed);
        drop(state);
        «self.work.notify_all();»",
        "",
        "a shutdown waits for a writer that nobody wakes",
        SHUTDOWN,
    ),
    bug(
        "room-not-told",
        "engine/queue.rs",
        "state.batch = Arc::default();
        drop(state);
        «self.room.notify_all();»",
        "",
        "who waits for room in the queue is not told of it",
        EVERY_COMMIT,
    ),
    bug(
        "stopped-before-the-queue-is-empty",
        "engine/queue.rs",
        "while «state.is_led() || state.waiting.is_empty()» {
            if state.stopped && !state.is_led() {",
        "{ if state.stopped && !state.is_led() { return Taken::Stopped; }
            state.is_led() || state.waiting.is_empty() }",
        "a shutdown leaves what is still queued",
        EVERY_COMMIT,
    ),
    bug(
        "queue-shut-after-the-lock",
        "engine/core.rs",
        "let queued = self.queue.shut(&poisoned);
        drop(writer);
        for transaction in queued {
            transaction.promise.fail(poisoned.clone());
        }",
        "drop(writer);
        for transaction in self.queue.shut(&poisoned) {
            transaction.promise.fail(poisoned.clone());
        }",
        "a failure from before shuts the queue of a log that was reopened meanwhile",
        REOPENED,
    ),
    bug(
        "flushed-only-when-due",
        "engine/commit.rs",
        "let sync = «group.iter().any(|transaction| transaction.durability == Durability::Sync)»;",
        "false",
        "a group with a `Sync` transaction is answered before it is flushed",
        CRASHES,
    ),
    bug(
        "keeper-not-woken-by-a-stop",
        "engine/threads.rs",
        "core.wished.notify_all();",
        "",
        "a shutdown waits for a keeper that nobody wakes",
        EVERY_COMMIT,
    ),
    bug(
        "table-read-before-the-lock",
        "engine/store.rs",
        "let writer = core.writer.lock();
        let table = core.table.read().clone();
        let lsn = writer.log.as_ref().map_or(table.last_changed(), crate::wal::Log::last_lsn);
        let last_saved = core.facts.lock().last_saved.clone();
        View::new(table, lsn, last_saved, core.recovery.lock().clone())",
        "let table = core.table.read().clone();
        let writer = core.writer.lock();
        let lsn = writer.log.as_ref().map_or(table.last_changed(), crate::wal::Log::last_lsn);
        let last_saved = core.facts.lock().last_saved.clone();
        View::new(table, lsn, last_saved, core.recovery.lock().clone())",
        "a view names an LSN that is not in it",
        EVERY_COMMIT,
    ),
];
