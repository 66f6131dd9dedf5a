//! Snapshots for tests: intact, of any store and LSN, with one task or none.

use super::{Contents, Index, Rendered, render};
use crate::base::{DocumentId, Lsn, StoreId, Timestamp};

/// An intact snapshot, with one task of about so many bytes if that is more than 0.
pub(crate) fn snapshot_bytes(store: StoreId, lsn: u64, task_bytes: usize) -> Vec<u8> {
    let id = DocumentId::new("a").expect("a valid id");
    let text = format!("{{\"id\":\"a\",\"n\":{lsn},\"pad\":\"{}\"}}", "x".repeat(task_bytes));
    let tasks = if task_bytes > 0 { vec![(&id, &*text)] } else { Vec::new() };
    rendered(store, lsn, tasks).bytes()
}

/// The index of a snapshot without documents.
pub(crate) fn empty_index(store: StoreId, lsn: u64) -> Index {
    Index::new(&rendered(store, lsn, Vec::new()), &[], &[])
}

fn rendered<'a>(store: StoreId, lsn: u64, tasks: Vec<(&'a DocumentId, &'a str)>) -> Rendered<'a> {
    let (lsn, metrics, last_saved) = (Lsn(lsn), "{}", Timestamp(0));
    render(Contents { store, lsn, tasks, sessions: Vec::new(), metrics, last_saved, others: "" })
}
