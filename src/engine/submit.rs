//! The caller's half of a commit: encoding a transaction on its own thread, and queueing it, or committing
//! it there too.
//!
//! Invariants: a transaction that is refused for its size was not queued, and leaves nothing; one that
//! is queued is answered through its handle, whatever becomes of the log.

use std::sync::Arc;

use crate::base::{Error, Lsn, Result};
use crate::engine::core::Core;
use crate::engine::handle::{Commit, Drive, promise};
use crate::engine::options::Durability;
use crate::engine::queue::Transaction;
use crate::state::Op;
use crate::wal::{Origin, Record};

impl Core {
    /// Encodes a transaction on the caller's thread and queues it.
    pub(crate) fn submit(self: &Arc<Self>, ops: Vec<Op>, durability: Durability) -> Result<Commit> {
        let max = self.options.transaction_bytes_max;
        let (transaction, commit) = self.encode(ops, durability, max)?;
        if let Some(transaction) = transaction {
            let full = commit.drive();
            self.queue.push(transaction, full)?;
        }
        Ok(commit)
    }

    /// Commits a transaction of at most `max` bytes before it returns, on this very thread where nobody
    /// else writes. The caller must not hold a lock of the engine: listeners may be called.
    pub(crate) fn write_within(
        self: &Arc<Self>,
        ops: Vec<Op>,
        durability: Durability,
        max: usize,
    ) -> Result<Lsn> {
        let (transaction, commit) = self.encode(ops, durability, max)?;
        let Some(transaction) = transaction else { return commit.wait() };
        if let Some(full) = commit.drive() {
            self.queue.push(transaction, Some(full))?;
        } else if let Some((transaction, lead)) = self.queue.lead_or_push(transaction)? {
            self.lead(transaction, lead);
        }
        commit.wait()
    }

    /// The same, of a caller's transaction.
    pub(crate) fn write(self: &Arc<Self>, ops: Vec<Op>) -> Result<Lsn> {
        self.write_within(ops, self.options.durability, self.options.transaction_bytes_max)
    }

    /// Encodes a transaction, and makes the handle that waits for it. One of nothing is answered already.
    fn encode(
        self: &Arc<Self>,
        ops: Vec<Op>,
        durability: Durability,
        max: usize,
    ) -> Result<(Option<Transaction>, Commit)> {
        let drive = (!self.around.threads).then(|| {
            let core = Arc::downgrade(self);
            Arc::new(move || {
                if let Some(core) = core.upgrade() {
                    core.step();
                }
            }) as Drive
        });
        let (promise, commit) = promise(drive);
        let Some(last) = ops.len().checked_sub(1) else {
            promise.fulfil(Ok(self.table.read().last_changed()));
            return Ok((None, commit));
        };
        let records: Vec<Record> = ops
            .iter()
            .enumerate()
            .map(|(index, op)| {
                let (kind, head, text) = op.encode_parts();
                let body = text.map(<Arc<[u8]>>::from);
                let record = Record::with_body(kind, Origin::Api, head, body);
                if index < last { record.continued() } else { record }
            })
            .collect();
        let bytes: usize = records.iter().map(Record::len).sum();
        if bytes > max {
            let why = format!("a transaction has at most {max} bytes; split it");
            return Err(Error::invalid(format!("transaction of {bytes} bytes"), why));
        }
        let changes = ops.into_iter().map(|op| (Lsn::ZERO, op)).collect();
        Ok((Some(Transaction { records, changes, durability, promise }), commit))
    }
}
