//! Saving, replacing and loading the whole state at once.
//!
//! Only the documents that differ from what is there are logged, as one transaction; so it may be as
//! large as the state, beyond the limit that callers have otherwise. Nothing is logged before the whole
//! of it was checked.

use std::collections::HashSet;

use crate::base::{DocumentId, Error, Lsn, Result};
use crate::engine::checkpoint::Reason;
use crate::engine::documents::to_json;
use crate::engine::store::Store;
use crate::engine::view::View;
use crate::state::{Collection, Doc, Op, Session, State, Table, Task, whole};

impl Store {
    /// Saves every task and session of `state` in one transaction, and makes a checkpoint. Nothing is
    /// deleted; documents that are equal to what is there are not written again. `metrics`,
    /// `last_saved` and unknown members are ignored. Durable, in the log and in `state.json`, when it
    /// returns.
    ///
    /// What differs is told by the state as it is when this is called. A document that somebody
    /// changes between then and the commit has the change still if it was equal before, and is
    /// replaced by the one in `state` if not. Nobody sees a part of the transaction, in memory or
    /// after a crash.
    ///
    /// ```
    /// use walden::{State, Store, Task};
    /// # let dir = tempfile::tempdir()?;
    /// # let store = Store::open(dir.path())?;
    /// assert!(store.load_state()?.is_none(), "nothing was ever written");
    /// store.save_state(&State { tasks: vec![Task::new("a", "first")], ..State::default() })?;
    /// let state = store.load_state()?.expect("it was just saved");
    /// assert_eq!(state.metrics.total_tasks, 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// `Invalid`, with nothing changed, if two documents of a kind have one id, or one cannot be saved.
    /// If only the checkpoint fails, that is returned, and the documents are durable in the log.
    pub fn save_state(&self, state: &State) -> Result<Lsn> {
        self.put_state(self.typed_puts(state)?, false)
    }

    /// [`Store::save_state`] with the state as JSON text; the documents' texts are kept as they are.
    ///
    /// # Errors
    /// Those of [`Store::save_state`], `Invalid` with line and column.
    pub fn save_state_json(&self, state: &str) -> Result<Lsn> {
        self.put_state(self.text_puts(state)?, false)
    }

    /// As [`Store::save_state`], and deletes every task and session that is not in `state`. A document
    /// that somebody creates while this runs stays.
    pub fn replace_state(&self, state: &State) -> Result<Lsn> {
        self.put_state(self.typed_puts(state)?, true)
    }

    /// [`Store::replace_state`] with the state as JSON text; the documents' texts are kept as they are.
    pub fn replace_state_json(&self, state: &str) -> Result<Lsn> {
        self.put_state(self.text_puts(state)?, true)
    }

    /// The whole state as it is now; `None` if nothing was ever written to this store.
    ///
    /// # Errors
    /// `Invalid` if a document's fields have not the types of a [`Task`] or [`Session`];
    /// [`Store::load_state_json`] has it anyway.
    pub fn load_state(&self) -> Result<Option<State>> {
        self.view().load_state()
    }

    /// The whole state as JSON text, in the shape of `state.json`, with the documents' texts as they
    /// are; `None` if nothing was ever written to this store.
    pub fn load_state_json(&self) -> Option<String> {
        self.view().load_state_json()
    }

    /// What is wanted, given as text: a document is as it was only if its text is, but for white space
    /// around it, which an array's member has not.
    fn text_puts(&self, state: &str) -> Result<Wanted> {
        let is_same = |doc: &Doc, put: &Op| match put {
            Op::Put { document, .. } => **document.text() == *doc.text().trim_ascii(),
            _ => false,
        };
        let puts = whole::puts(state, self.core().options.document_bytes_max)?;
        let table = self.core().table.read();
        puts.into_iter()
            .try_fold(Wanted::default(), |wanted, put| wanted.with(&table, put, is_same))
    }

    /// What is wanted, given as values: a document is as it was if it reads as the same value, so that
    /// loading and saving changes no text.
    fn typed_puts(&self, state: &State) -> Result<Wanted> {
        let max = self.core().options.document_bytes_max;
        let table = self.core().table.read();
        let mut wanted = Wanted::default();
        for task in &state.tasks {
            let put = Op::put(Collection::Task, &to_json("task", task)?, max)?;
            let is_same = |doc: &Doc, _: &Op| Task::from_json(doc.text()).is_ok_and(|t| t == *task);
            wanted = wanted.with(&table, put, is_same)?;
        }
        for session in &state.sessions {
            let put = Op::put(Collection::Session, &to_json("session", session)?, max)?;
            let is_same =
                |doc: &Doc, _: &Op| Session::from_json(doc.text()).is_ok_and(|s| s == *session);
            wanted = wanted.with(&table, put, is_same)?;
        }
        Ok(wanted)
    }

    fn put_state(&self, wanted: Wanted, replaces: bool) -> Result<Lsn> {
        let Wanted { ids, puts: mut ops } = wanted;
        let core = self.core();
        if replaces {
            let table = core.table.read();
            for collection in Collection::ALL {
                let is_surplus = |id: &&DocumentId| !ids.contains(&(collection, (*id).clone()));
                let surplus = table.iter(collection).map(|(id, _)| id).filter(is_surplus);
                ops.extend(surplus.map(|id| Op::Delete { collection, id: id.clone() }));
            }
        }
        let lsn = core.write_within(ops, core.options.durability, usize::MAX)?;
        core.checkpoint(Reason::Request)?;
        Ok(lsn)
    }
}

/// The documents of a state: all ids, and of those that differ the mutation.
#[derive(Default)]
struct Wanted {
    ids: HashSet<(Collection, DocumentId)>,
    puts: Vec<Op>,
}

impl Wanted {
    fn with(
        mut self,
        table: &Table,
        put: Op,
        is_same: impl Fn(&Doc, &Op) -> bool,
    ) -> Result<Wanted> {
        let Some((collection, id)) = put.target() else { return Ok(self) };
        if !self.ids.insert((collection, id.clone())) {
            let why = format!("a second {collection} has the id {:?}", id.as_str());
            return Err(Error::invalid("the state", why));
        }
        if !table.get(collection, id.as_str()).is_some_and(|doc| is_same(doc, &put)) {
            self.puts.push(put);
        }
        Ok(self)
    }
}

impl View {
    /// As [`Store::load_state`].
    pub fn load_state(&self) -> Result<Option<State>> {
        if self.is_untouched() {
            return Ok(None);
        }
        Ok(Some(State {
            tasks: self.load_tasks()?,
            sessions: self.load_sessions()?,
            metrics: self.metrics(),
            last_saved: self.last_saved.clone(),
            ..State::default()
        }))
    }

    /// As [`Store::load_state_json`].
    pub fn load_state_json(&self) -> Option<String> {
        if self.is_untouched() {
            return None;
        }
        let mut text = String::from("{");
        for collection in Collection::ALL {
            let docs = self.docs(collection);
            let texts: Vec<&str> = docs.iter().map(|(_, doc)| &**doc.text()).collect();
            text.extend(["\"", collection.dir(), "\":[\n", &texts.join(",\n"), "\n],\n"]);
        }
        let derived = serde_json::json!({"metrics": self.metrics(), "last_saved": self.last_saved});
        text.push_str(derived.to_string().trim_start_matches('{'));
        text.push('\n');
        Some(text)
    }

    /// Whether nothing was ever written.
    fn is_untouched(&self) -> bool {
        self.is_empty() && self.lsn() == Lsn::ZERO
    }
}
