//! The change stream: what happens to documents, in LSN order, for whoever wants to follow.
//!
//! The log is its only buffer: a subscriber has a cursor in it ([`crate::wal::Tail`]) and reads on by
//! itself, on its own thread, when the writer says that more is durable. So a subscriber that is slow
//! holds nothing back, neither a commit nor a cut of the log; it is told what it missed.
//!
//! Invariants: nothing is given that is not durable; a transaction is given whole, or not yet; the writer
//! stores a number after a flush, and takes a lock only if somebody waits.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::base::{Clock, DocumentId, Error, Lsn, Result, SystemClock, Timestamp};
use crate::engine::recovery::decode;
use crate::engine::store::{Builder, Store};
use crate::engine::sync::like_std::atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst};
use crate::engine::sync::{AtomicBool, Condvar, Mutex, thread};
use crate::files::names::WAL;
use crate::files::owner::{self, OwnerFile};
use crate::fs::Fs;
use crate::state::{Collection, Op};
use crate::wal::{Origin, RecordView, Tail, Tailed};

/// So much of the log is read at once, or one group if that is larger.
const BATCH_BYTES: u64 = 256 << 10;
/// So often another process's log is looked at.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// How a document changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ChangeKind {
    /// It is now this text.
    Put,
    /// A JSON merge patch (RFC 7396).
    Patch,
    /// One more entry for the `logs` of a task.
    AppendLog,
    /// It is gone.
    Delete,
}

/// One durable change of a document.
///
/// A patch or an entry for a document that does not exist, or an entry where `logs` is no array, is in the
/// log though its caller was refused; it has no effect, nor has anything else of its transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Its place in the order.
    pub lsn: Lsn,
    /// When its group was written, by the clock of that time. Order comes from LSNs alone.
    pub time: Timestamp,
    /// Who made it.
    pub origin: Origin,
    /// To what the document belongs.
    pub collection: Collection,
    /// The document's id.
    pub id: DocumentId,
    /// What happened.
    pub kind: ChangeKind,
    /// The document, the patch or the entry, as it was given; `None` of a deletion.
    pub text: Option<Arc<str>>,
    /// The file, relative to the store's directory, whose edit it was.
    pub file: Option<String>,
    /// Whether the next change belongs to the same transaction.
    pub continues: bool,
}

/// What a subscriber is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// A document changed.
    Change(Change),
    /// What changed with these LSNs, both included, is no longer in the log: it was cut (or damaged)
    /// before it was read. Some of them may be of other records, or may never have been given out.
    /// [`Store::view`] has what came out of them, and goes to [`View::lsn`](crate::View::lsn).
    Missed {
        /// The first.
        first: Lsn,
        /// The last.
        last: Lsn,
    },
}

/// A subscription to the changes of documents, made by [`Store::changes`] or [`Builder::changes`].
///
/// As an iterator it waits for the next one, and ends with the store.
pub struct Changes {
    fs: Arc<dyn Fs>,
    tail: Tail,
    ready: VecDeque<News>,
    /// What was durable when nothing more was found.
    seen: Lsn,
    /// Of the store in this process; another process's log tells by itself.
    durable: Option<Arc<Durable>>,
}

/// Up to where the log is on the medium, and who waits for more. It never goes back.
#[derive(Default)]
pub(crate) struct Durable {
    lsn: AtomicU64,
    is_closed: AtomicBool,
    waiting: AtomicUsize,
    lock: Mutex<()>,
    moved: Condvar,
}

impl Durable {
    pub(crate) fn tell(&self, lsn: Lsn) {
        if self.lsn.fetch_max(lsn.0, SeqCst) < lsn.0 {
            self.wake();
        }
    }

    /// Nothing more will be durable.
    pub(crate) fn close(&self) {
        self.is_closed.store(true, SeqCst);
        self.wake();
    }

    pub(crate) fn lsn(&self) -> Lsn {
        Lsn(self.lsn.load(SeqCst))
    }

    /// Whoever says that it waits before it looks is seen here, or sees what was stored before.
    fn wake(&self) {
        if self.waiting.load(SeqCst) > 0 {
            drop(self.lock.lock());
            self.moved.notify_all();
        }
    }

    /// Waits until there is more than `seen`, or nothing more will come, or somebody wakes it for nothing,
    /// but no longer than `limit`.
    fn wait(&self, seen: Lsn, limit: Option<Duration>) {
        self.waiting.fetch_add(1, SeqCst);
        let mut guard = self.lock.lock();
        if self.lsn() <= seen && !self.is_closed.load(SeqCst) {
            match limit {
                Some(limit) => drop(self.moved.wait_for(&mut guard, limit)),
                None => self.moved.wait(&mut guard),
            }
        }
        drop(guard);
        self.waiting.fetch_sub(1, SeqCst);
    }
}

impl Store {
    /// Subscribes to the changes of documents with an LSN above `from`, in LSN order, as they become
    /// durable. [`Lsn::ZERO`] asks for all that the log still has; the LSN of a [`Store::view`] for what
    /// follows it; that of the last change received continues a subscription. It costs the store
    /// nothing until something is received: everything is read from the log on the receiver's thread.
    ///
    /// ```
    /// use walden::{Lsn, News, Store, Task};
    ///
    /// # let dir = tempfile::tempdir()?;
    /// let store = Store::open(dir.path())?;
    /// let mut changes = store.changes(Lsn::ZERO);
    /// store.save_task(&Task::new("task_123", "Implement authentication"))?;
    /// match changes.recv()? {
    ///     News::Change(change) => assert_eq!(change.id.as_str(), "task_123"),
    ///     News::Missed { .. } => { /* read the state: `store.view()` */ }
    /// }
    /// store.shutdown()?;
    /// assert!(changes.next().is_none());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn changes(&self, from: Lsn) -> Changes {
        let core = self.core();
        Changes {
            fs: core.around.fs.clone(),
            tail: Tail::new(core.around.fs.clone(), WAL, Some(core.store), from),
            ready: VecDeque::new(),
            seen: Lsn::ZERO,
            durable: Some(core.durable.clone()),
        }
    }
}

impl Builder {
    /// As [`Store::changes`], of a store that another process may be writing to: it takes no lock,
    /// changes no byte, and never ends. A change is known to be durable here once something later says so:
    /// the next group, or a mark that is written when the log has rested for a second, or is closed.
    ///
    /// # Errors
    /// `NotFound` if there is no such directory.
    pub fn changes(&self, from: Lsn) -> Result<Changes> {
        let fs = self.existing_fs()?;
        let store = match owner::read(&*fs)? {
            OwnerFile::Intact(owner) => Some(owner.store),
            OwnerFile::Missing | OwnerFile::Damaged { .. } => None,
        };
        let tail = Tail::new(fs.clone(), WAL, store, from);
        Ok(Changes { fs, tail, ready: VecDeque::new(), seen: Lsn::ZERO, durable: None })
    }
}

impl Changes {
    /// The next, if there is one already.
    ///
    /// # Errors
    /// `Closed` once the store is shut down and all was received. `Io` and `Unsupported` where the log
    /// cannot be read; the next call tries the same again.
    pub fn try_recv(&mut self) -> Result<Option<News>> {
        loop {
            if let Some(news) = self.ready.pop_front() {
                return Ok(Some(news));
            }
            let is_closed = self.durable.as_ref().is_some_and(|told| told.is_closed.load(SeqCst));
            let durable = match &self.durable {
                Some(told) => told.lsn(),
                None => self.tail.vouched()?,
            };
            let before = self.tail.passed();
            self.fill(durable)?;
            let rests = self.tail.passed() >= durable || self.tail.passed() == before;
            if self.ready.is_empty() && rests {
                self.seen = durable;
                return if is_closed { Err(Error::Closed) } else { Ok(None) };
            }
        }
    }

    /// Waits for the next.
    ///
    /// # Errors
    /// As [`Changes::try_recv`].
    pub fn recv(&mut self) -> Result<News> {
        loop {
            if let Some(news) = self.recv_within(None)? {
                return Ok(news);
            }
        }
    }

    /// Waits for the next, but no longer than `timeout`; `None` if none came.
    ///
    /// # Errors
    /// As [`Changes::try_recv`].
    pub fn recv_timeout(&mut self, timeout: Duration) -> Result<Option<News>> {
        self.recv_within(Some(timeout))
    }

    fn recv_within(&mut self, limit: Option<Duration>) -> Result<Option<News>> {
        let clock = SystemClock::default();
        loop {
            let news = self.try_recv()?;
            let rest = limit.map(|limit| limit.saturating_sub(clock.monotonic()));
            if news.is_some() || rest == Some(Duration::ZERO) {
                return Ok(news);
            }
            match &self.durable {
                Some(told) => told.wait(self.seen, rest),
                None => thread::sleep(rest.unwrap_or(POLL_INTERVAL).min(POLL_INTERVAL)),
            }
        }
    }

    /// Reads on in the log, some of what is durable.
    fn fill(&mut self, durable: Lsn) -> Result<()> {
        let Changes { fs, tail, ready, .. } = self;
        tail.read(durable, BATCH_BYTES, &mut |tailed| {
            match tailed {
                Tailed::Group(records) => {
                    let mut changes = Vec::new();
                    for transaction in records.chunk_by(|record, _| record.continues()) {
                        changes.append(&mut changes_of(&**fs, transaction)?);
                    }
                    ready.extend(changes.into_iter().map(News::Change));
                }
                Tailed::Missing { first, last } => match ready.back_mut() {
                    Some(News::Missed { last: before, .. }) if before.next() == first => {
                        *before = last;
                    }
                    _ => ready.push_back(News::Missed { first, last }),
                },
            }
            Ok(())
        })
    }
}

impl Iterator for Changes {
    type Item = Result<News>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.recv() {
            Err(Error::Closed) => None,
            received => Some(received),
        }
    }
}

impl fmt::Debug for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Changes").field("tail", &self.tail).finish_non_exhaustive()
    }
}

/// The changes of documents in a transaction.
pub(crate) fn changes_of(fs: &dyn Fs, transaction: &[RecordView<'_>]) -> Result<Vec<Change>> {
    let Some(record) = transaction.first() else { return Ok(Vec::new()) };
    let Some(origin) = Origin::from_number(record.origin) else {
        let what = format!("{}, record {}", fs.display(WAL), record.lsn);
        let why = format!("its origin is {}; was it written by a newer Walden?", record.origin);
        return Err(Error::Unsupported { what, why });
    };
    let mut changes = Vec::new();
    let mut edited = None;
    for (lsn, op) in decode(fs, transaction, true)? {
        if let (Origin::Edit, Op::Edited { file, .. }) = (origin, &op) {
            edited = Some(file.clone());
        }
        let change = change_of(lsn, record.time, origin, &op);
        changes.extend(change.map(|change| Change { file: edited.clone(), ..change }));
    }
    if let Some(last) = changes.last_mut() {
        last.continues = false;
    }
    Ok(changes)
}

/// The change that a mutation is, with more of its transaction behind it.
pub(crate) fn change_of(lsn: Lsn, time: Timestamp, origin: Origin, op: &Op) -> Option<Change> {
    let (collection, id) = op.target()?;
    let (kind, text) = match op {
        Op::Put { document, .. } => (ChangeKind::Put, Some(document.text().clone())),
        Op::Patch { patch, .. } => (ChangeKind::Patch, Some(patch.clone())),
        Op::AppendLog { entry, .. } => (ChangeKind::AppendLog, Some(entry.clone())),
        _ => (ChangeKind::Delete, None),
    };
    let id = id.clone();
    Some(Change { lsn, time, origin, collection, id, kind, text, file: None, continues: true })
}
