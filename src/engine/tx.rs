//! A transaction while it is being put together.
//!
//! It reads the state as it is visible when it reads, with its own mutations on top; it locks nothing,
//! and nothing keeps others from committing in between.

use std::sync::Arc;

use serde_json::Value;

use crate::base::{DocumentId, Error, Lsn, Result};
use crate::engine::core::Core;
use crate::engine::documents::to_json;
use crate::state::{Collection, LogEntry, Op, Session, Table, Task};

/// Several mutations that are to happen whole or not at all. See [`crate::Store::transaction`].
pub struct Tx<'a> {
    core: &'a Core,
    ops: Vec<Op>,
}

impl<'a> Tx<'a> {
    pub(crate) fn new(core: &'a Core) -> Self {
        Tx { core, ops: Vec::new() }
    }

    pub(crate) fn into_ops(self) -> Vec<Op> {
        self.ops
    }

    fn push(&mut self, op: Op) -> Result<()> {
        self.core.check_growth(&op)?;
        self.ops.push(op);
        Ok(())
    }

    /// As [`crate::Store::save_task`].
    pub fn save_task(&mut self, task: &Task) -> Result<()> {
        self.save_task_json(&to_json("task", task)?)
    }

    /// As [`crate::Store::save_task_json`].
    pub fn save_task_json(&mut self, task: &str) -> Result<()> {
        self.push(Op::put(Collection::Task, task, self.document_bytes_max())?)
    }

    /// As [`crate::Store::patch_task`].
    pub fn patch_task(&mut self, id: &str, patch: &Value) -> Result<()> {
        self.patch_task_json(id, &patch.to_string())
    }

    /// As [`crate::Store::patch_task_json`].
    pub fn patch_task_json(&mut self, id: &str, patch: &str) -> Result<()> {
        self.push(Op::patch(Collection::Task, id, patch, self.document_bytes_max())?)
    }

    /// As [`crate::Store::append_task_log`].
    #[expect(clippy::needless_pass_by_value, reason = "callers make the entry for this call")]
    pub fn append_task_log(&mut self, id: &str, entry: LogEntry) -> Result<()> {
        self.append_task_log_json(id, &to_json("log entry", &entry)?)
    }

    /// As [`crate::Store::append_task_log_json`].
    pub fn append_task_log_json(&mut self, id: &str, entry: &str) -> Result<()> {
        self.push(Op::append_log(id, entry, self.document_bytes_max())?)
    }

    /// Deletes a task; it is no error if there is none.
    pub fn delete_task(&mut self, id: &str) -> Result<()> {
        self.push(Op::delete(Collection::Task, id)?)
    }

    /// As [`crate::Store::save_session`].
    pub fn save_session(&mut self, session: &Session) -> Result<()> {
        self.save_session_json(&to_json("session", session)?)
    }

    /// As [`crate::Store::save_session_json`].
    pub fn save_session_json(&mut self, session: &str) -> Result<()> {
        self.push(Op::put(Collection::Session, session, self.document_bytes_max())?)
    }

    /// As [`crate::Store::patch_session`].
    pub fn patch_session(&mut self, id: &str, patch: &Value) -> Result<()> {
        self.patch_session_json(id, &patch.to_string())
    }

    /// As [`crate::Store::patch_session_json`].
    pub fn patch_session_json(&mut self, id: &str, patch: &str) -> Result<()> {
        self.push(Op::patch(Collection::Session, id, patch, self.document_bytes_max())?)
    }

    /// Deletes a session; it is no error if there is none.
    pub fn delete_session(&mut self, id: &str) -> Result<()> {
        self.push(Op::delete(Collection::Session, id)?)
    }

    /// A task as this transaction sees it.
    pub fn task(&self, id: &str) -> Result<Option<Task>> {
        self.task_json(id).map(|text| Task::from_json(&text)).transpose()
    }

    /// A task's text as this transaction sees it.
    pub fn task_json(&self, id: &str) -> Option<Arc<str>> {
        self.read(Collection::Task, id)
    }

    /// A session's text as this transaction sees it.
    pub fn session_json(&self, id: &str) -> Option<Arc<str>> {
        self.read(Collection::Session, id)
    }

    fn document_bytes_max(&self) -> usize {
        self.core.options.document_bytes_max
    }

    fn read(&self, collection: Collection, id: &str) -> Option<Arc<str>> {
        let visible = self.core.table.read();
        let touches = |op: &&Op| {
            op.target().is_some_and(|(of, target)| of == collection && target.as_str() == id)
        };
        if !self.ops.iter().any(|op| touches(&op)) {
            return visible.get(collection, id).map(|doc| doc.text().clone());
        }
        let mut own = Table::new();
        if let (Some(doc), Ok(id)) = (visible.get(collection, id), DocumentId::new(id)) {
            own.load(collection, &id, (**doc).clone());
        }
        drop(visible);
        for op in self.ops.iter().filter(touches) {
            // A refusal is told when the transaction commits; until then it has no effect.
            let _ = own.apply(&[(Lsn::ZERO, op.clone())]);
        }
        own.get(collection, id).map(|doc| doc.text().clone())
    }
}

impl Core {
    /// Refuses a delta that would make a document larger than allowed. The limit is no part of what
    /// is replayed, so it is checked here, against the state as it is visible now.
    pub(crate) fn check_growth(&self, op: &Op) -> Result<()> {
        let (collection, id, growth) = match op {
            Op::Patch { collection, id, patch } => (*collection, id, patch.len()),
            Op::AppendLog { id, entry } => (Collection::Task, id, entry.len()),
            _ => return Ok(()),
        };
        let max = self.options.document_bytes_max;
        let size = self.table.read().get(collection, id.as_str()).map_or(0, |doc| doc.text().len());
        if size.saturating_add(growth) <= max {
            return Ok(());
        }
        let why = format!(
            "with this change it could exceed {max} bytes; split it, or raise \
                           document_bytes_max"
        );
        Err(Error::invalid(format!("{collection} {id} of {size} bytes"), why))
    }
}
