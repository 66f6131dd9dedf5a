//! The versions of one document: what the log, and before it the backups, still have of it.
//!
//! From the lowest intact snapshot to which the log reaches back, the log is replayed as a recovery does,
//! so every version since is there, and refused changes are none. What is older is known only as far as
//! a backup shows it. Reads only, beside a writer too.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crate::base::{DocumentId, Error, Lsn, Result, StoreId, Timestamp};
use crate::engine::changes::{Change, changes_of};
use crate::engine::recovery::{decode, table_of};
use crate::engine::store::{Builder, Store};
use crate::engine::view::read_plan;
use crate::files::backups;
use crate::files::names::{STATE, WAL};
use crate::files::snapshot::{self, Parsed, Snapshot};
use crate::fs::Fs;
use crate::state::{Collection, Table};
use crate::wal::{RecordView, Replayed};

/// Beside a writer backups and segments go while they are read; so often it is tried again.
const ATTEMPTS_MAX: u32 = 20;
const ATTEMPT_PAUSE: Duration = Duration::from_millis(10);

/// Where a version is known from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The log has the change that made it: of a transaction that changed the document several times,
    /// the last.
    Log(Change),
    /// The oldest snapshot that shows it; how it came about is no longer in the log.
    Snapshot {
        /// The snapshot's name in the store's directory.
        file: String,
    },
}

/// One version of a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// The LSN of the change that made it; of one that only a snapshot shows, the snapshot's, so that
    /// it is at least that old.
    pub lsn: Lsn,
    /// When the change was written, or the snapshot saved; `None` if the snapshot does not tell.
    pub time: Option<Timestamp>,
    /// The document's whole text; `None`: it was deleted.
    pub text: Option<Arc<str>>,
    /// Where it is known from.
    pub source: Source,
}

/// The versions of one document that are still known, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// Every version with an LSN above this one is there. Of those up to it, only what a snapshot shows.
    pub complete_after: Lsn,
    /// The versions; none if nothing is known of such a document.
    pub versions: Vec<Version>,
}

impl Store {
    /// The versions of a document that log and backups still have. It reads the log and, where that
    /// was cut, every backup: this is for people who look into a case, not for programs in a hurry.
    ///
    /// # Errors
    /// `Invalid` if no document can have this id; `Io` and `Unsupported` as when opening.
    ///
    /// ```
    /// use walden::{Collection, Store, Task};
    ///
    /// # let dir = tempfile::tempdir()?;
    /// let store = Store::open(dir.path())?;
    /// store.save_task(&Task::new("task_123", "Implement authentication"))?;
    /// store.patch_task("task_123", &serde_json::json!({"status": "completed"}))?;
    /// let history = store.history(Collection::Task, "task_123")?;
    /// assert_eq!(history.versions.len(), 2);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn history(&self, collection: Collection, id: &str) -> Result<History> {
        let core = self.core();
        history(&*core.around.fs, collection, id, core.durable.lsn())
    }
}

impl Builder {
    /// As [`Store::history`], without opening the store: it takes no lock and changes no byte.
    ///
    /// # Errors
    /// `NotFound` if there is no such directory; else as [`Store::history`].
    pub fn history(&self, collection: Collection, id: &str) -> Result<History> {
        history(&*self.existing_fs()?, collection, id, Lsn::MAX)
    }
}

/// The versions up to `end`.
fn history(fs: &dyn Fs, collection: Collection, id: &str, end: Lsn) -> Result<History> {
    DocumentId::check(id)?;
    let read = || Past { fs, collection, id, end, history: History::default() }.read();
    for _ in 1..ATTEMPTS_MAX {
        match read() {
            Err(Error::Io { source, .. }) if source.kind() == ErrorKind::NotFound => {
                thread::sleep(ATTEMPT_PAUSE);
            }
            // A segment that was cut may be another one by now.
            Err(Error::Corrupt { .. }) => thread::sleep(ATTEMPT_PAUSE),
            read => return read,
        }
    }
    read()
}

/// A history that is being put together.
struct Past<'a> {
    fs: &'a dyn Fs,
    collection: Collection,
    id: &'a str,
    end: Lsn,
    history: History,
}

impl Past<'_> {
    fn read(mut self) -> Result<History> {
        let (plan, _) = read_plan(self.fs)?;
        let scan = plan.scan;
        let missing = scan.findings.iter().filter_map(|finding| finding.missing);
        let reach = missing.map(|(_, last)| last).fold(scan.first_base, Lsn::max);
        let (mut table, base_lsn) = match plan.store {
            Some(store) if reach > Lsn::ZERO => self.base(store, reach, plan.recovery.lsn)?,
            _ => (Table::new(), Lsn::ZERO),
        };
        self.history.complete_after = base_lsn.max(reach);
        let mut hole = (base_lsn < scan.first_base).then_some(scan.first_base);
        scan.replay(self.fs, WAL, base_lsn, &mut |replayed| {
            match replayed {
                Replayed::Group(records) => {
                    for transaction in records.chunk_by(|record, _| record.continues()) {
                        self.apply(transaction, base_lsn, hole, &mut table)?;
                    }
                }
                Replayed::Hole(last) => hole = Some(last),
            }
            Ok(())
        })?;
        Ok(self.history)
    }

    /// What the snapshots show, up to the lowest to which the log reaches back, and the state at that
    /// one; if it reaches back to none, at the highest.
    fn base(&mut self, store: StoreId, reach: Lsn, log_end: Lsn) -> Result<(Table, Lsn)> {
        let names = backups::list(self.fs)?.into_iter().map(|backup| backup.name);
        let mut by_lsn: BTreeMap<Lsn, String> = BTreeMap::new();
        for name in names.chain([STATE.to_owned()]) {
            match snapshot::peek(self.fs, &name)? {
                Some((of, lsn)) if of == store && lsn <= log_end => {
                    by_lsn.entry(lsn).or_insert(name);
                }
                _ => {}
            }
        }
        let mut base = empty(store);
        for (lsn, file) in by_lsn {
            let Some(Parsed::Intact(snapshot)) = snapshot::read(self.fs, &file)? else { continue };
            if snapshot.lsn != lsn || snapshot.store != store {
                continue;
            }
            self.show(&snapshot, file);
            base = snapshot;
            if lsn >= reach {
                break;
            }
        }
        let lsn = base.lsn;
        Ok((table_of(base), lsn))
    }

    /// A version that a snapshot shows, unless it is the one before.
    fn show(&mut self, snapshot: &Snapshot, file: String) {
        let documents = match self.collection {
            Collection::Task => &snapshot.tasks,
            Collection::Session => &snapshot.sessions,
        };
        let found = documents.iter().find(|(id, _)| id.as_str() == self.id);
        let text = found.map(|(_, doc)| doc.text().clone());
        let before = self.history.versions.last().and_then(|version| version.text.clone());
        if text != before {
            let time = snapshot.last_saved.as_deref().and_then(Timestamp::parse);
            let source = Source::Snapshot { file };
            self.history.versions.push(Version { lsn: snapshot.lsn, time, text, source });
        }
    }

    fn apply(
        &mut self,
        transaction: &[RecordView<'_>],
        base_lsn: Lsn,
        hole: Option<Lsn>,
        table: &mut Table,
    ) -> Result<()> {
        let Some(last) = transaction.last().map(|record| record.lsn) else { return Ok(()) };
        if last <= base_lsn || last > self.end {
            return Ok(());
        }
        let before = table.get(self.collection, self.id).cloned();
        let ops = decode(self.fs, transaction, true)?;
        match hole {
            Some(hole) => drop(table.apply_after_hole(&ops, hole)),
            None => {
                if let Err(refused) = table.apply(&ops) {
                    tracing::debug!(error = %refused.error, "a refused change is no version");
                    return Ok(());
                }
            }
        }
        let is_ours =
            |change: &Change| change.collection == self.collection && change.id.as_str() == self.id;
        let Some(change) = changes_of(self.fs, transaction)?.into_iter().rfind(is_ours) else {
            return Ok(());
        };
        let after = table.get(self.collection, self.id);
        // What could not be applied behind a hole leaves the document at its LSN.
        let is_applied = match after {
            Some(doc) => doc.lsn() == change.lsn,
            None => before.is_some(),
        };
        if is_applied {
            let text = after.map(|doc| doc.text().clone());
            let (lsn, time) = (change.lsn, Some(change.time));
            self.history.versions.push(Version { lsn, time, text, source: Source::Log(change) });
        }
        Ok(())
    }
}

/// The state before the first record.
fn empty(store: StoreId) -> Snapshot {
    Snapshot {
        store,
        lsn: Lsn::ZERO,
        tasks: Vec::new(),
        sessions: Vec::new(),
        last_saved: None,
        others: String::new(),
    }
}
