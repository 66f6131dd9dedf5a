//! Reading and writing documents: each call with its twin that takes or gives JSON text.
//!
//! A typed value goes through its text, so the twins differ in nothing but fidelity: the text comes
//! back as it was given, to the last digit.

use std::sync::Arc;

use serde_json::Value;

use crate::base::{DocumentId, Error, Lsn, Result};
use crate::engine::handle::Commit;
use crate::engine::options::Durability;
use crate::engine::store::Store;
use crate::engine::tx::Tx;
use crate::state::{Collection, Doc, LogEntry, Op, Session, Task};

impl Store {
    fn run(&self, op: Op) -> Result<Lsn> {
        let core = self.core();
        core.check_growth(&op)?;
        core.write(vec![op])
    }

    fn document_bytes_max(&self) -> usize {
        self.core().options.document_bytes_max
    }

    /// Saves a task, replacing any of the same id. Durable when it returns.
    pub fn save_task(&self, task: &Task) -> Result<Lsn> {
        self.save_task_json(&to_json("task", task)?)
    }

    /// Saves a task given as JSON text, which is kept as it is.
    ///
    /// # Errors
    /// `Invalid`, with line and column, if it is not one JSON object with a valid `id`, has duplicate
    /// keys, is deeper than 128 levels or larger than [`crate::Options::document_bytes_max`].
    pub fn save_task_json(&self, task: &str) -> Result<Lsn> {
        self.run(Op::put(Collection::Task, task, self.document_bytes_max())?)
    }

    /// Changes a task by a JSON merge patch (RFC 7396): `null` removes a field. Only the patch is
    /// logged. `NotFound` if there is no such task.
    pub fn patch_task(&self, id: &str, patch: &Value) -> Result<Lsn> {
        self.patch_task_json(id, &patch.to_string())
    }

    /// [`Store::patch_task`] with the patch as JSON text.
    pub fn patch_task_json(&self, id: &str, patch: &str) -> Result<Lsn> {
        self.run(Op::patch(Collection::Task, id, patch, self.document_bytes_max())?)
    }

    /// Appends an entry to a task's `logs`. Only the entry is logged. `NotFound` if there is no such
    /// task; `Invalid` if its `logs` is not an array.
    #[expect(clippy::needless_pass_by_value, reason = "callers make the entry for this call")]
    pub fn append_task_log(&self, id: &str, entry: LogEntry) -> Result<Lsn> {
        self.append_task_log_json(id, &to_json("log entry", &entry)?)
    }

    /// [`Store::append_task_log`] with the entry as JSON text.
    pub fn append_task_log_json(&self, id: &str, entry: &str) -> Result<Lsn> {
        self.run(Op::append_log(id, entry, self.document_bytes_max())?)
    }

    /// Deletes a task; `false` if there was none when it was called. On a full disk deletes, and
    /// transactions of nothing else, still go through from a reserve: 8 one after the other at least
    /// with default segments, many more together; then they are `DiskFull` like other writes.
    pub fn delete_task(&self, id: &str) -> Result<bool> {
        self.delete(Collection::Task, id)
    }

    /// A task by its id.
    ///
    /// # Errors
    /// `Invalid` if its fields have not the types of a [`Task`]; [`Store::task_json`] has it anyway.
    pub fn task(&self, id: &str) -> Result<Option<Task>> {
        self.task_json(id).map(|text| Task::from_json(&text)).transpose()
    }

    /// A task's text by its id.
    pub fn task_json(&self, id: &str) -> Option<Arc<str>> {
        self.text(Collection::Task, id)
    }

    /// All tasks, sorted by id.
    pub fn load_tasks(&self) -> Result<Vec<Task>> {
        self.view().load_tasks()
    }

    /// Saves a session, replacing any of the same id. Durable when it returns.
    pub fn save_session(&self, session: &Session) -> Result<Lsn> {
        self.save_session_json(&to_json("session", session)?)
    }

    /// [`Store::save_session`] with the session as JSON text, which is kept as it is.
    pub fn save_session_json(&self, session: &str) -> Result<Lsn> {
        self.run(Op::put(Collection::Session, session, self.document_bytes_max())?)
    }

    /// Changes a session by a JSON merge patch (RFC 7396). `NotFound` if there is no such session.
    pub fn patch_session(&self, id: &str, patch: &Value) -> Result<Lsn> {
        self.patch_session_json(id, &patch.to_string())
    }

    /// [`Store::patch_session`] with the patch as JSON text.
    pub fn patch_session_json(&self, id: &str, patch: &str) -> Result<Lsn> {
        self.run(Op::patch(Collection::Session, id, patch, self.document_bytes_max())?)
    }

    /// Deletes a session; `false` if there was none when it was called.
    pub fn delete_session(&self, id: &str) -> Result<bool> {
        self.delete(Collection::Session, id)
    }

    /// A session by its id.
    pub fn session(&self, id: &str) -> Result<Option<Session>> {
        self.session_json(id).map(|text| Session::from_json(&text)).transpose()
    }

    /// A session's text by its id.
    pub fn session_json(&self, id: &str) -> Option<Arc<str>> {
        self.text(Collection::Session, id)
    }

    /// All sessions, sorted by id.
    pub fn load_sessions(&self) -> Result<Vec<Session>> {
        self.view().load_sessions()
    }

    /// Several mutations, whole or not at all: on disk, after a crash, and for every reader. If `f`
    /// fails, nothing is changed; so it is if one mutation turns out to be impossible (a patch of a
    /// missing task). Durable when it returns.
    ///
    /// ```
    /// # use walden::{Store, Task};
    /// # let dir = tempfile::tempdir()?;
    /// # let store = Store::open(dir.path())?;
    /// store.transaction(|tx| {
    ///     tx.save_task(&Task::new("a", "first"))?;
    ///     tx.save_task(&Task::new("b", "second"))
    /// })?;
    /// assert_eq!(store.load_tasks()?.len(), 2);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn transaction<T>(&self, f: impl FnOnce(&mut Tx<'_>) -> Result<T>) -> Result<T> {
        let core = self.core();
        let mut tx = Tx::new(core);
        let value = f(&mut tx)?;
        core.write(tx.into_ops())?;
        Ok(value)
    }

    /// A transaction that is queued and not waited for: the handle can be waited for or awaited. What
    /// is submitted by one thread is committed in that order. Waits only while the queue is full.
    pub fn submit(
        &self,
        durability: Durability,
        f: impl FnOnce(&mut Tx<'_>) -> Result<()>,
    ) -> Result<Commit> {
        let core = self.core();
        let mut tx = Tx::new(core);
        f(&mut tx)?;
        core.submit(tx.into_ops(), durability)
    }

    /// The documents of a collection whose member `status` is just this string, sorted by id, with their texts
    /// and indexed fields. The time it takes follows from how many they are, not from how many others there
    /// are. They are of one moment, like those of [`Store::view`]; writers are not held up while they are
    /// collected.
    ///
    /// ```
    /// # use walden::{Collection, Store};
    /// # let dir = tempfile::tempdir()?;
    /// # let store = Store::open(dir.path())?;
    /// store.save_task_json(r#"{"id": "a", "status": "pending"}"#)?;
    /// store.save_task_json(r#"{"id": "b", "status": "failed"}"#)?;
    /// let failed = store.docs_with_status(Collection::Task, "failed");
    /// let ids: Vec<&str> = failed.iter().map(|(id, _)| id.as_str()).collect();
    /// assert_eq!(ids, ["b"]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn docs_with_status(
        &self,
        collection: Collection,
        status: &str,
    ) -> Vec<(DocumentId, Arc<Doc>)> {
        let found = self.core().table.read().of_status(collection, status);
        found.sorted()
    }

    fn text(&self, collection: Collection, id: &str) -> Option<Arc<str>> {
        // One counter, the text's: to count the document too would be a second wait for memory.
        self.core().table.read().get(collection, id).map(|doc| Arc::clone(doc.text()))
    }

    fn delete(&self, collection: Collection, id: &str) -> Result<bool> {
        let existed = self.core().table.read().get(collection, id).is_some();
        self.run(Op::delete(collection, id)?)?;
        Ok(existed)
    }
}

pub(crate) fn to_json(what: &str, value: &impl serde::Serialize) -> Result<String> {
    serde_json::to_string(value).map_err(|error| Error::invalid(what, error))
}
