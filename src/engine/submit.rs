//! The caller's half of a commit: encoding a transaction on its own thread, and queueing it.
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
        self.submit_within(ops, durability, self.options.transaction_bytes_max)
    }

    /// The same with another limit of its bytes.
    pub(crate) fn submit_within(
        self: &Arc<Self>,
        ops: Vec<Op>,
        durability: Durability,
        max: usize,
    ) -> Result<Commit> {
        let drive = (!self.around.threads).then(|| {
            let core = Arc::downgrade(self);
            Arc::new(move || {
                if let Some(core) = core.upgrade() {
                    core.step();
                }
            }) as Drive
        });
        let (promise, commit) = promise(drive.clone());
        let Some(last) = ops.len().checked_sub(1) else {
            promise.fulfil(Ok(self.table.read().last_changed()));
            return Ok(commit);
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
        let transaction = Transaction { records, changes, durability, promise };
        let full = drive.as_deref().map(|drive| drive as &dyn Fn());
        self.queue.push(transaction, full)?;
        Ok(commit)
    }
}
