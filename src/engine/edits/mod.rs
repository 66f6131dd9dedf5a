//! Taking in what people did to the files: each edit one transaction, merged with what the engine changed
//! meanwhile.
//!
//! The life of an edit is in DESIGN.md, "People's edits". The checkpointer's lock is held throughout, so
//! that no pass of the mirror runs beside it; the writer's only while what was merged is logged, after it
//! was looked whether the document is still the one it was merged with. Nothing is logged before what
//! loses by it is durable in `conflicts/`.

mod merge;
mod past;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use crate::base::{DocumentId, Event, Lsn, Problem, ProblemKind, Result};
use crate::engine::checkpoint::Checkpointer;
use crate::engine::core::{Core, Writer};
use crate::engine::recovery::Plan;
use crate::engine::view::read_plan;
use crate::files::conflicts;
use crate::files::mirror::{Edit, Look, Mirror, Now, Theirs};
use crate::fs::Fs;
use crate::state::merge::difference;
use crate::state::{Collection, Doc, Op, Table};
use crate::wal::Origin;
use merge::{Bases, Merged, Outcome, base_of, merge};
pub(crate) use past::Past;

/// All files are looked at so often, if looking takes no more than a twentieth of the time.
const SCAN_INTERVAL: Duration = Duration::from_secs(30);
const SCAN_SHARE: u32 = 20;
/// What is not settled is looked at again after so long.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// So many edits are logged at once.
const BATCH: usize = 1024;
/// A document that changes under each merge is held still for the last of so many.
const ATTEMPTS_MAX: usize = 4;

type Key = (Collection, DocumentId);

/// Texts that documents' files showed earlier, newest first.
pub(crate) type Earlier = HashMap<Key, Vec<Arc<str>>>;

/// When which files are looked at next.
#[derive(Debug)]
pub(crate) struct Watch {
    /// Files that something was seen to happen to.
    pub(crate) touched: BTreeSet<String>,
    /// What happened was more than could be told: all files are looked at.
    pub(crate) is_overflown: bool,
    next_scan: Duration,
    again: Option<Duration>,
}

impl Watch {
    /// After an opening at `now`, which has looked at everything.
    pub(crate) fn new(now: Duration) -> Self {
        let next_scan = now.saturating_add(SCAN_INTERVAL);
        Watch { touched: BTreeSet::new(), is_overflown: false, next_scan, again: None }
    }

    /// When a look is due.
    fn due(&self) -> Duration {
        if self.is_overflown || !self.touched.is_empty() {
            return Duration::ZERO;
        }
        self.again.map_or(self.next_scan, |again| again.min(self.next_scan))
    }
}

/// What is to be told when no lock is held any more.
#[derive(Debug, Default)]
pub(crate) struct Told {
    pub(crate) events: Vec<Event>,
    pub(crate) problems: Vec<Problem>,
}

impl Told {
    fn problem(&mut self, kind: ProblemKind, file: &str, detail: impl Into<String>) {
        self.problems.push(Problem::new(kind, file, 0, detail));
    }
}

impl Core {
    /// When files are to be looked at next.
    pub(crate) fn look_due(&self) -> Duration {
        self.watch.lock().due()
    }

    /// Looks for edits, if that is due, and takes them in. Listeners are told of a failure; the files stay
    /// as they are, and another look tries again.
    pub(crate) fn look_for_edits(&self) {
        let now = self.around.clock.monotonic();
        if self.look_due() > now {
            return;
        }
        let Some(mut checkpointer) = self.checkpointer.try_lock() else { return };
        let mut told = Told::default();
        let files = self.files_due(&checkpointer.mirror, now);
        let taken = self.take_in_edits(&mut checkpointer, files.as_ref(), true, &mut told);
        drop(checkpointer);
        if files.is_none() {
            let took = self.around.clock.monotonic().saturating_sub(now);
            let pause = SCAN_INTERVAL.max(took.saturating_mul(SCAN_SHARE));
            self.watch.lock().next_scan = now.saturating_add(pause);
        }
        self.tell(told);
        if let Err(error) = taken {
            self.failed(&error);
        }
    }

    /// The files that are to be looked at now; `None`: all.
    fn files_due(&self, mirror: &Mirror, now: Duration) -> Option<BTreeSet<String>> {
        let mut watch = self.watch.lock();
        let mut files = std::mem::take(&mut watch.touched);
        watch.again = None;
        if std::mem::take(&mut watch.is_overflown) || watch.next_scan <= now {
            return None;
        }
        files.extend(mirror.looks_again());
        Some(files)
    }

    /// Takes in all edits that are there, or those of some files. `is_patient`: not what somebody may be at
    /// still.
    pub(crate) fn take_in_edits(
        &self,
        checkpointer: &mut Checkpointer,
        files: Option<&BTreeSet<String>>,
        is_patient: bool,
        told: &mut Told,
    ) -> Result<usize> {
        let now = self.around.clock.monotonic();
        let table = self.table.read().clone();
        let look = Look { fs: &*self.around.fs, table: &table, files, now, is_patient };
        let mirror = &mut checkpointer.mirror;
        let seen = mirror.look(&look)?;
        drop(table);
        told.problems.extend(seen.problems);
        // What was displaced is older than what is there now.
        let mut edits = mirror.take_displaced(&*self.around.fs, &mut told.problems);
        edits.extend(seen.edits);
        let taken = self.adopt(checkpointer, edits, None, told);
        let again = !checkpointer.mirror.looks_again().is_empty();
        self.watch.lock().again = again.then(|| now.saturating_add(LOOK_AGAIN));
        if checkpointer.mirror.can_go_on() {
            self.note_unshown();
        }
        taken
    }

    /// Tells what was found and done. No lock is held.
    pub(crate) fn tell(&self, told: Told) {
        self.report(&told.problems);
        for event in &told.events {
            self.listeners.emit(event);
        }
    }

    /// Takes edits in; gives the number of documents changed. `earlier`: what is known of files that were
    /// edited while the store was closed. After a failure what was not taken in is noticed again.
    pub(crate) fn adopt(
        &self,
        checkpointer: &mut Checkpointer,
        edits: Vec<Edit>,
        earlier: Option<&Earlier>,
        told: &mut Told,
    ) -> Result<usize> {
        let mut changed = 0;
        let mut edits = edits.into_iter().peekable();
        loop {
            // Two edits of a document do not go together: the second is merged with what the first made of it.
            let mut keys = HashSet::new();
            let mut is_next =
                |edit: &Edit| keys.len() < BATCH && keys.insert((edit.collection, edit.id.clone()));
            let batch: Vec<Edit> =
                std::iter::from_fn(|| edits.next_if(|edit| is_next(edit))).collect();
            if batch.is_empty() {
                return Ok(changed);
            }
            match self.adopt_batch(checkpointer, batch.clone(), earlier, told) {
                Ok(count) => changed += count,
                Err(error) => {
                    checkpointer.mirror.notice(batch.into_iter().chain(edits));
                    return Err(error);
                }
            }
        }
    }

    fn adopt_batch(
        &self,
        checkpointer: &mut Checkpointer,
        mut edits: Vec<Edit>,
        earlier: Option<&Earlier>,
        told: &mut Told,
    ) -> Result<usize> {
        let mut changed = 0;
        for attempt in 1..=ATTEMPTS_MAX {
            if edits.is_empty() {
                break;
            }
            // The last time nobody changes anything meanwhile.
            let mut held = (attempt == ATTEMPTS_MAX).then(|| self.writer.lock());
            let table = self.table.read().clone();
            let merged = self.merge_all(checkpointer, &table, edits, earlier, held.as_deref())?;
            let kept = self.keep_losers(&merged)?;
            let mut writer = held.take().unwrap_or_else(|| self.writer.lock());
            let (same, moved) = self.split_moved(merged.into_iter().zip(kept));
            let lsns = self.log_edits(&mut writer, &same)?;
            drop(writer);
            edits = moved;
            for ((merged, kept), lsn) in same.into_iter().zip(lsns) {
                changed += usize::from(lsn.is_some());
                self.settle_edit(checkpointer, merged, kept, lsn, told);
            }
        }
        if changed > 0 {
            self.note_unshown();
        }
        Ok(changed)
    }

    /// Merges each edit with the document as it is in `table`.
    fn merge_all(
        &self,
        checkpointer: &Checkpointer,
        table: &Table,
        edits: Vec<Edit>,
        earlier: Option<&Earlier>,
        writer: Option<&Writer>,
    ) -> Result<Vec<Merged>> {
        let mut bases: Vec<Bases> = match (earlier, writer) {
            (Some(_), _) => edits.iter().map(|edit| closed_bases(table, edit, earlier)).collect(),
            (None, Some(writer)) => self.open_bases(checkpointer, table, &edits, writer),
            (None, None) => {
                let writer = self.writer.lock();
                self.open_bases(checkpointer, table, &edits, &writer)
            }
        };
        if earlier.is_none() {
            self.add_rebuilt(checkpointer, &edits, &mut bases);
        }
        for (edit, bases) in edits.iter().zip(&mut bases) {
            bases.forget_displacing(edit);
        }
        let max = self.options.document_bytes_max;
        let merged =
            edits.into_iter().zip(&bases).map(|(edit, bases)| merge(table, edit, bases, max));
        Ok(merged.collect())
    }

    /// What is in memory of the versions that the files of `edits` showed.
    fn open_bases(
        &self,
        checkpointer: &Checkpointer,
        table: &Table,
        edits: &[Edit],
        writer: &Writer,
    ) -> Vec<Bases> {
        let of = |edit: &Edit| {
            let key = (edit.collection, edit.id.clone());
            let present = table.get(edit.collection, edit.id.as_str());
            let is_shown = |doc: &&Arc<Doc>| checkpointer.mirror.shows(&edit.file, doc.lsn());
            let present = present.filter(is_shown);
            let former = writer.dirty.former(edit.collection, &edit.id).filter(is_shown);
            let former = former.filter(|_| present.is_none());
            let past = checkpointer.past.of(&key);
            let versions = present.into_iter().chain(former).chain(past);
            Bases {
                versions: versions.map(|doc| doc.text().clone()).collect(),
                shows_present: present.is_some(),
            }
        };
        edits.iter().map(of).collect()
    }

    /// Adds what snapshots and log tell of earlier versions, where memory may lack the right one: an edit of
    /// one member of a version in memory cannot be nearer to any other.
    fn add_rebuilt(&self, checkpointer: &Checkpointer, edits: &[Edit], bases: &mut [Bases]) {
        let now = self.around.clock.monotonic();
        if !checkpointer.past.may_lack(now) {
            return;
        }
        let is_far = |edit: &Edit, bases: &Bases| match &edit.now {
            Now::Gone => false,
            Now::Text(_) if !checkpointer.mirror.knows(&edit.file) => false,
            Now::Text(theirs) => {
                base_of(bases, theirs).is_none_or(|base| difference(base, &theirs.text) > 1)
            }
        };
        let far: Vec<&Edit> = edits
            .iter()
            .zip(bases.iter())
            .filter(|(edit, bases)| is_far(edit, bases))
            .map(|(edit, _)| edit)
            .collect();
        if far.is_empty() {
            return;
        }
        let fs = &*self.around.fs;
        let rebuilt = read_plan(fs)
            .and_then(|(plan, _)| earlier_versions(&plan, fs, far, Some(&checkpointer.mirror)));
        let mut rebuilt = match rebuilt {
            Ok(rebuilt) => rebuilt,
            Err(error) => {
                tracing::warn!(%error, "edits are merged with what is in memory");
                return;
            }
        };
        for (edit, bases) in edits.iter().zip(bases) {
            let key = (edit.collection, edit.id.clone());
            bases.versions.extend(rebuilt.remove(&key).unwrap_or_default());
        }
    }

    /// Keeps what loses in `conflicts/`, durably, and says where.
    fn keep_losers(&self, merged: &[Merged]) -> Result<Vec<Option<String>>> {
        let keep = |merged: &Merged| match &merged.outcome {
            Outcome::Change { conflict: Some(conflict), .. } => {
                let keep = conflict.keep.as_ref();
                keep.map(|text| conflicts::keep_text(&*self.around.fs, &merged.edit.file, text))
                    .transpose()
            }
            _ => Ok(None),
        };
        merged.iter().map(keep).collect()
    }

    /// Parts the edits whose documents are still what they were merged with from the others, which are
    /// merged again.
    fn split_moved(
        &self,
        merged: impl Iterator<Item = (Merged, Option<String>)>,
    ) -> (Vec<(Merged, Option<String>)>, Vec<Edit>) {
        let table = self.table.read();
        let (mut same, mut moved) = (Vec::new(), Vec::new());
        for (merged, kept) in merged {
            let Edit { collection, id, .. } = &merged.edit;
            let now = table.get(*collection, id.as_str()).map(|doc| doc.lsn());
            if now == merged.against {
                same.push((merged, kept));
            } else {
                moved.push(merged.edit);
            }
        }
        (same, moved)
    }

    /// Logs and applies what edits change, a transaction each; gives each its LSN.
    fn log_edits(
        &self,
        writer: &mut Writer,
        merged: &[(Merged, Option<String>)],
    ) -> Result<Vec<Option<Lsn>>> {
        let transactions: Vec<Vec<Op>> =
            merged.iter().filter_map(|(merged, _)| transaction(merged)).collect();
        let mut lsns = self.commit_all(writer, transactions, Origin::Edit)?.into_iter();
        let lsn = |(merged, _): &(Merged, Option<String>)| match merged.outcome {
            Outcome::Change { .. } => lsns.next(),
            _ => None,
        };
        Ok(merged.iter().map(lsn).collect())
    }

    /// Tells the mirror, and whoever listens, what became of an edit.
    fn settle_edit(
        &self,
        checkpointer: &mut Checkpointer,
        merged: Merged,
        kept: Option<String>,
        lsn: Option<Lsn>,
        told: &mut Told,
    ) {
        let Merged { edit, against, outcome } = merged;
        let mirror = &mut checkpointer.mirror;
        match outcome {
            Outcome::Nothing { is_whole } => mirror.adopted(&edit, against.filter(|_| is_whole)),
            Outcome::Restored => {
                mirror.restore(&edit);
                let detail =
                    "somebody removed it, but its document has changed since; it is written anew";
                told.problem(ProblemKind::Edited, &edit.file, detail);
            }
            Outcome::Held(why) => {
                let stat = match &edit.now {
                    Now::Text(theirs) => theirs.stat,
                    Now::Gone => None,
                };
                mirror.hold(&edit.file, stat);
                let detail = format!("{why}; it is left as it is until it is mended");
                told.problem(ProblemKind::Unreadable, &edit.file, detail);
            }
            Outcome::Change { op, is_whole, conflict } => {
                self.displace(checkpointer, &edit, &op, lsn.filter(|_| is_whole));
                let mirror = &mut checkpointer.mirror;
                mirror.adopted(&edit, lsn.filter(|_| is_whole));
                if let (false, Now::Text(theirs)) = (is_whole, &edit.now) {
                    self.remember_theirs(&mut checkpointer.past, &edit, theirs, lsn);
                }
                let Edit { collection, id, file, now } = edit;
                let (lsn, dir) = (lsn.unwrap_or_default(), collection.dir());
                let is_deletion = matches!(now, Now::Gone);
                if let Some(conflict) = conflict.filter(|_| !is_deletion) {
                    let (file, id, fields) = (file.clone(), id.clone(), conflict.fields);
                    told.events.push(Event::Conflict { file, dir, id, lsn, fields, kept });
                }
                told.events.push(Event::Edited { file, dir, id, lsn, is_deletion });
            }
        }
    }

    /// An edit took the place of what its file showed; if it is `whole` as of an LSN, the file shows now what
    /// the document changes to.
    fn displace(&self, checkpointer: &mut Checkpointer, edit: &Edit, op: &Op, whole: Option<Lsn>) {
        let Checkpointer { mirror, past, .. } = checkpointer;
        let Edit { collection, id, file, .. } = edit;
        let mut writer = self.writer.lock();
        let former = writer.dirty.former(*collection, id);
        if let Some(former) = former.filter(|doc| mirror.shows(file, doc.lsn())) {
            let now = self.around.clock.monotonic();
            past.push(now, (*collection, id.clone()), former.clone());
        }
        if let (Some(lsn), Op::Put { document, .. }) = (whole, op) {
            let doc = Doc::new(document.clone(), lsn, false);
            writer.dirty.shown(*collection, id, Arc::new(doc));
        }
    }

    /// What somebody left in a file until it is written anew: their next edit may be made of it.
    fn remember_theirs(&self, past: &mut Past, edit: &Edit, theirs: &Theirs, lsn: Option<Lsn>) {
        let document = crate::state::Document::new(theirs.text.as_str());
        let doc = Doc::new(document, lsn.unwrap_or_default(), false);
        let key = (edit.collection, edit.id.clone());
        past.push(self.around.clock.monotonic(), key, Arc::new(doc));
    }
}

/// The transaction that takes an edit in, if it changes anything.
fn transaction(merged: &Merged) -> Option<Vec<Op>> {
    let Outcome::Change { op, is_whole, .. } = &merged.outcome else { return None };
    let Edit { file, now, .. } = &merged.edit;
    let file = file.clone();
    let edited = match now {
        Now::Text(theirs) => {
            let Theirs { hash, length, stat, .. } = *theirs;
            let modified_ns = stat.map_or(0, |stat| stat.modified_ns);
            Op::Edited { file, hash, length, modified_ns, is_whole: *is_whole }
        }
        Now::Gone => {
            let hash = crate::base::ContentHash::of(&[]);
            Op::Edited { file, hash, length: 0, modified_ns: 0, is_whole: true }
        }
    };
    Some(vec![edited, op.clone()])
}

/// The versions that the file of an edit showed, where the store was closed when it was made.
fn closed_bases(table: &Table, edit: &Edit, earlier: Option<&Earlier>) -> Bases {
    let key = (edit.collection, edit.id.clone());
    let versions = earlier.and_then(|earlier| earlier.get(&key)).cloned().unwrap_or_default();
    let present = table.get(edit.collection, edit.id.as_str());
    // A file is known to have been removed only where it showed the document as it is.
    let shows_present = matches!(edit.now, Now::Gone)
        || present.is_some_and(|doc| versions.first().is_some_and(|text| text == doc.text()));
    Bases { versions, shows_present }
}

/// The earlier versions of the documents of edits, by what is on the disk; `mirror` is that of an open store.
pub(crate) fn earlier_versions<'a>(
    plan: &Plan,
    fs: &dyn Fs,
    edits: impl IntoIterator<Item = &'a Edit>,
    mirror: Option<&Mirror>,
) -> Result<Earlier> {
    let wanted = |edit: &Edit| {
        let last = mirror.and_then(|mirror| mirror.shown_as_of(&edit.file));
        ((edit.collection, edit.id.clone()), edit.file.clone(), last)
    };
    plan.history(fs, edits.into_iter().map(wanted))
}

/// What a state becomes by the edits of a closed store, in memory alone.
pub(crate) fn preview(
    table: &mut Table,
    edits: Vec<Edit>,
    earlier: &Earlier,
    lsn: Lsn,
    document_bytes_max: usize,
) -> Vec<Merged> {
    let mut done = Vec::with_capacity(edits.len());
    for edit in edits {
        let bases = closed_bases(table, &edit, Some(earlier));
        let merged = merge(table, edit, &bases, document_bytes_max);
        if let Outcome::Change { op, .. } = &merged.outcome {
            match op {
                Op::Put { collection, id, document } => {
                    table.load(*collection, id, Doc::new(document.clone(), lsn, false));
                }
                Op::Delete { collection, id } => table.unload(*collection, id),
                _ => {}
            }
        }
        done.push(merged);
    }
    done
}
