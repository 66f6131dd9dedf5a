//! Snapshots for tests: intact, of any store and LSN, with one task or none.

use super::{Contents, render};
use crate::base::{DocumentId, Lsn, StoreId, Timestamp};

/// An intact snapshot, with one task of about so many bytes if that is more than 0.
pub(crate) fn snapshot_bytes(store: StoreId, lsn: u64, task_bytes: usize) -> Vec<u8> {
    let id = DocumentId::new("a").expect("a valid id");
    let text = format!("{{\"id\":\"a\",\"n\":{lsn},\"pad\":\"{}\"}}", "x".repeat(task_bytes));
    let tasks = if task_bytes > 0 { vec![(&id, &*text)] } else { Vec::new() };
    let (lsn, metrics, last_saved) = (Lsn(lsn), "{}", Timestamp(0));
    render(Contents { store, lsn, tasks, sessions: Vec::new(), metrics, last_saved, others: "" })
        .bytes()
}
