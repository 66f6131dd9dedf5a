//! The mirror's passes: `tasks/` and `sessions/` follow the state within a second, for a tenth of a
//! core's time at most.
//!
//! A pass takes a durable copy of the state, logs and flushes what it will write or remove, and then
//! changes the files, without flushing any: what a power cut takes of them the log still has. So the
//! engine's own half-done work is never taken for a person's, for which two things must hold: no file
//! is changed before its record is durable, and the log is cut only when the names are durable and
//! what the files that lag behind hold is in what is left of it.
//!
//! Passes and checkpoints exclude one another by the checkpointer's lock. What is told of them is kept
//! in [`Freshness`], a leaf.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::base::{DocumentId, Error, Event, Problem, Result};
use crate::engine::checkpoint::{Checkpointer, Cut, Reason};
use crate::engine::core::{Core, Writer};
use crate::engine::edits::Past;
use crate::files::mirror::{Change, Entry, Mirror};
use crate::state::{Collection, Doc, Op};

/// Most bytes of mirror files that are laid out at once; their records are one group of the log, which others wait for.
const BATCH_BYTES: u64 = 8 << 20;
/// A pass between checkpoints writes so much at most, some 25 ms of work: who looks for edits waits for it.
const SLICE_BYTES: u64 = 1 << 20;
/// A pass that took so long is followed by a pause of nine times that.
const PAUSE_FACTOR: u32 = 9;
/// A pass that fails is tried again after a pause that doubles up to 2 to this power.
const DOUBLINGS_MAX: u32 = 7;

/// How much a pass shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Extent {
    All,
    /// What is left stays for the next pass.
    Slice,
}

/// The documents that changed since a pass took them, with what they were then.
#[derive(Debug, Default)]
pub(crate) struct DirtySet {
    tasks: Formers,
    sessions: Formers,
}

type Formers = HashMap<DocumentId, Option<Arc<Doc>>, foldhash::fast::RandomState>;
/// A document that changed, and what it was before: what its file shows, if the mirror had caught up.
pub(crate) type Changed = (Collection, DocumentId, Option<Arc<Doc>>);

impl DirtySet {
    /// Notes that a document changes; what it was counts only the first time.
    pub(crate) fn insert(
        &mut self,
        collection: Collection,
        id: &DocumentId,
        former: Option<&Arc<Doc>>,
    ) {
        let ids = self.of(collection);
        if !ids.contains_key(id) {
            ids.insert(id.clone(), former.cloned());
        }
    }

    /// Its file shows what the document has changed to: an edit that was taken in.
    pub(crate) fn shown(&mut self, collection: Collection, id: &DocumentId, doc: Arc<Doc>) {
        self.of(collection).insert(id.clone(), Some(doc));
    }

    fn of(&mut self, collection: Collection) -> &mut Formers {
        match collection {
            Collection::Task => &mut self.tasks,
            Collection::Session => &mut self.sessions,
        }
    }

    /// What a document was before it changed.
    pub(crate) fn former(&self, collection: Collection, id: &DocumentId) -> Option<&Arc<Doc>> {
        match collection {
            Collection::Task => self.tasks.get(id)?.as_ref(),
            Collection::Session => self.sessions.get(id)?.as_ref(),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.tasks.is_empty() && self.sessions.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.tasks.len() + self.sessions.len()
    }

    pub(crate) fn ids(&self) -> Vec<(Collection, DocumentId)> {
        let tasks = self.tasks.keys().map(|id| (Collection::Task, id.clone()));
        tasks.chain(self.sessions.keys().map(|id| (Collection::Session, id.clone()))).collect()
    }

    /// Takes back what a failed checkpoint had taken, which was older.
    pub(crate) fn extend(&mut self, other: DirtySet) {
        self.tasks.extend(other.tasks);
        self.sessions.extend(other.sessions);
    }

    pub(crate) fn into_iter(self) -> impl Iterator<Item = Changed> {
        let tasks = self.tasks.into_iter().map(|(id, doc)| (Collection::Task, id, doc));
        tasks.chain(self.sessions.into_iter().map(|(id, doc)| (Collection::Session, id, doc)))
    }
}

/// How far the mirror is behind, and when the next pass may begin.
#[derive(Clone, Debug, Default)]
pub(crate) struct Freshness {
    /// Since when there are changes that no pass has taken.
    changed_since: Option<Duration>,
    /// Since when there are changes that a pass took and that are not shown: those that were taken before
    /// the last round of all pending files ended, and those of this round.
    taken_since: Option<Duration>,
    taken_now_since: Option<Duration>,
    /// How many documents or files those are.
    taken: usize,
    /// Whether another pass could show them.
    can_go_on: bool,
    not_before: Duration,
    failures: u32,
    /// The last failure that listeners were told of.
    told: Option<Error>,
}

impl Freshness {
    /// After an opening, at `now`; the first pass waits one `interval`.
    pub(crate) fn new(mirror: &Mirror, now: Duration, interval: Duration) -> Self {
        let taken = mirror.behind();
        Freshness {
            taken,
            taken_since: (taken > 0).then_some(now),
            can_go_on: mirror.can_go_on(),
            not_before: now.saturating_add(interval),
            ..Freshness::default()
        }
    }

    /// Since when there are changes that are not shown.
    fn since(&self) -> Option<Duration> {
        [self.taken_since, self.taken_now_since, self.changed_since].into_iter().flatten().min()
    }

    /// The age of the oldest change that is not shown; up to a round of passes more.
    pub(crate) fn lag(&self, now: Duration) -> Duration {
        self.since().map_or(Duration::ZERO, |since| now.saturating_sub(since))
    }

    /// Changes that a pass took and that are not shown.
    pub(crate) fn taken(&self) -> usize {
        self.taken
    }

    fn take(&mut self, count: usize) {
        self.taken += count;
        self.taken_now_since =
            self.taken_now_since.into_iter().chain(self.changed_since.take()).min();
    }

    /// Takes note of how far a pass came. `has_round_ended`: all that was pending at the last such time is shown.
    fn passed(&mut self, mirror: &Mirror, has_round_ended: bool) {
        self.taken = mirror.behind();
        self.can_go_on = mirror.can_go_on();
        if has_round_ended {
            self.taken_since = self.taken_now_since.take();
        }
        if self.taken == 0 {
            (self.taken_since, self.taken_now_since) = (None, None);
        }
    }
}

impl Core {
    /// Notes that there is something to show, and wakes who shows it.
    pub(crate) fn note_unshown(&self) {
        let now = self.around.clock.monotonic();
        self.facts.lock().mirror.changed_since.get_or_insert(now);
        self.wishes.lock().unshown = true;
        self.wished.notify_one();
    }

    /// Takes the changed documents for a pass.
    pub(crate) fn take_dirty(&self, writer: &mut Writer) -> DirtySet {
        let dirty = std::mem::take(&mut writer.dirty);
        self.facts.lock().mirror.take(dirty.len());
        dirty
    }

    /// Gives back what a failed checkpoint had taken and not shown.
    pub(crate) fn put_back(&self, dirty: DirtySet) {
        let mut writer = self.writer.lock();
        let mut facts = self.facts.lock();
        let mirror = &mut facts.mirror;
        mirror.taken = mirror.taken.saturating_sub(dirty.len());
        mirror.changed_since = mirror.since();
        if mirror.taken == 0 {
            (mirror.taken_since, mirror.taken_now_since) = (None, None);
        }
        writer.dirty.extend(dirty);
    }

    /// When the next pass is due, if there is anything to show that can be shown.
    pub(crate) fn mirror_due(&self) -> Option<Duration> {
        let facts = self.facts.lock();
        let mirror = &facts.mirror;
        let has_work = mirror.changed_since.is_some() || mirror.can_go_on;
        has_work.then_some(mirror.not_before)
    }

    /// Makes a pass if one is due. Listeners are told of a failure, once for as long as it stays the
    /// same; another pass tries again.
    pub(crate) fn refresh_mirror(&self) {
        let now = self.around.clock.monotonic();
        if self.mirror_due().is_none_or(|due| due > now) {
            return;
        }
        let mut problems = Vec::new();
        let refreshed = self.refresh(&mut problems);
        self.report(&problems);
        let Err(error) = refreshed else { return };
        tracing::debug!(%error, "the mirror is shown by a later pass");
        let is_news = {
            let told = &mut self.facts.lock().mirror.told;
            let is_news = told.as_ref().is_none_or(|told| told.to_string() != error.to_string());
            *told = Some(error.clone());
            is_news
        };
        if is_news {
            self.listeners.emit(&Event::SaveError { error });
        }
    }

    fn refresh(&self, problems: &mut Vec<Problem>) -> Result<()> {
        let mut checkpointer = self.checkpointer.lock();
        match self.take_cut(None) {
            Ok(cut) => self.show(&mut checkpointer, cut, Extent::Slice, problems).map(drop),
            Err(error) => {
                self.pause(Duration::ZERO, true);
                Err(error)
            }
        }
    }

    /// Brings the mirror, or a slice of what is to be changed, up to a copy of the state; gives the number
    /// of files changed.
    fn show(
        &self,
        checkpointer: &mut Checkpointer,
        cut: Cut,
        extent: Extent,
        problems: &mut Vec<Problem>,
    ) -> Result<usize> {
        let Checkpointer { mirror, past, .. } = checkpointer;
        let begun = self.around.clock.monotonic();
        // Should it panic, it is not tried again at once.
        self.facts.lock().mirror.not_before = begun.saturating_add(self.options.mirror_interval);
        let (lsn, rounds) = (cut.lsn, mirror.rounds());
        let passed = self.pass(mirror, past, cut, extent, problems);
        self.look_again(mirror, Duration::ZERO);
        self.pause(self.around.clock.monotonic().saturating_sub(begun), passed.is_err());
        let mut facts = self.facts.lock();
        facts.mirror.passed(mirror, passed.is_ok() && mirror.rounds() > rounds);
        if mirror.behind() == 0 {
            facts.mirror_lsn = lsn;
        }
        passed
    }

    /// The pass of a checkpoint: the names that it changed are durable afterwards, and at shutdown the
    /// contents too.
    pub(crate) fn show_durably(
        &self,
        checkpointer: &mut Checkpointer,
        cut: Cut,
        reason: Reason,
        problems: &mut Vec<Problem>,
    ) -> Result<usize> {
        let shown = self.show(checkpointer, cut, Extent::All, problems)?;
        let mirror = &mut checkpointer.mirror;
        let has_changed = mirror.has_unsynced_names();
        match reason {
            Reason::Shutdown => mirror.sync(&*self.around.fs)?,
            _ => mirror.sync_dirs(&*self.around.fs)?,
        }
        if has_changed {
            self.log_own(&[Op::Synced])?;
        }
        Ok(shown)
    }

    /// Decides when the next pass may begin, after one that ends now.
    fn pause(&self, took: Duration, has_failed: bool) {
        let now = self.around.clock.monotonic();
        let (interval, interval_max) =
            (self.options.mirror_interval, self.options.checkpoint_interval);
        let mirror = &mut self.facts.lock().mirror;
        mirror.failures = if has_failed { mirror.failures.saturating_add(1) } else { 0 };
        if !has_failed {
            mirror.told = None;
        }
        let pause = interval.max(took.saturating_mul(PAUSE_FACTOR));
        let patient = pause.saturating_mul(1 << mirror.failures.min(DOUBLINGS_MAX));
        mirror.not_before = now.saturating_add(patient.min(interval_max.max(pause)));
    }

    /// A file that cannot be changed stays for the next pass and does not keep the others from being
    /// changed; the first failure is returned.
    fn pass(
        &self,
        mirror: &mut Mirror,
        past: &mut Past,
        cut: Cut,
        extent: Extent,
        problems: &mut Vec<Problem>,
    ) -> Result<usize> {
        let fs = &*self.around.fs;
        let now = self.around.clock.monotonic();
        let Cut { table, lsn, dirty, .. } = cut;
        let mut touched = Vec::with_capacity(dirty.len());
        for (collection, id, former) in dirty.into_iter() {
            // What its file never showed, nobody can have edited.
            let is_shown = |doc: &Arc<Doc>| mirror.has_shown(collection, &id, doc.lsn());
            if let Some(former) = former.filter(is_shown) {
                past.push(now, (collection, id.clone()), former);
            }
            touched.push((collection, id));
        }
        let bytes_max = if extent == Extent::All { BATCH_BYTES } else { SLICE_BYTES };
        let mut done = 0;
        loop {
            let due = std::mem::take(&mut touched);
            let mut changes = mirror.plan(fs, due, &table, lsn, bytes_max)?;
            if changes.is_empty() {
                return Ok(done);
            }
            let mut failure = self.record(&mut changes)?;
            for change in &changes {
                self.prepare_wanted();
                match mirror.apply(fs, change) {
                    Ok(found) => problems.extend(found),
                    Err(error) => failure = failure.or(Some(error)),
                }
            }
            done += changes.len();
            match failure {
                // What could not be changed is in the next plan.
                Some(error) if self.make_room(&error) => continue,
                Some(error) => return Err(error),
                None => {}
            }
            if extent == Extent::Slice {
                return Ok(done);
            }
        }
    }

    /// Logs the changes that are about to be made. Where there is no room for their records, those that
    /// make room, the removals, are recorded and left, and the failure is given.
    fn record(&self, changes: &mut Vec<Change>) -> Result<Option<Error>> {
        let records: Vec<Op> = changes.iter().map(own_record).collect();
        let Err(error) = self.log_own(&records) else { return Ok(None) };
        let removals = changes.iter().take_while(|change| change.write.is_none()).count();
        let no_room = matches!(error, Error::DiskFull { .. });
        if !no_room || removals == 0 || removals == changes.len() {
            return Err(error);
        }
        changes.truncate(removals);
        self.log_own(records.get(..removals).unwrap_or_default()).map_err(|_| error.clone())?;
        Ok(Some(error))
    }

    /// Keeps what a cut of the log would forget of the mirror.
    pub(crate) fn remember_mirror(&self, mirror: &mut Mirror) -> Result<()> {
        mirror.sync_dirs(&*self.around.fs)?;
        // Nobody waits while it is found out what they hold. What changes from here on is in the log that stays.
        let changed = self.writer.lock().dirty.ids();
        let lagging = mirror.lagging(changed.iter().map(|(collection, id)| (*collection, id)));
        if lagging.is_empty() {
            return Ok(());
        }
        let records: Vec<Op> = lagging
            .into_iter()
            .map(|Entry { file, hash, length, lsn, .. }| Op::Wrote { file, hash, length, lsn })
            .collect();
        self.log_own(&records).map(drop)
    }
}

/// The record of a change that is about to be made.
fn own_record(change: &Change) -> Op {
    let Change { file, hash, length, lsn, .. } = change;
    match change.write {
        Some(_) => Op::Wrote { file: file.clone(), hash: *hash, length: *length, lsn: *lsn },
        None => Op::Removed { file: file.clone(), lsn: *lsn },
    }
}
