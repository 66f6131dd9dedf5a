//! A read-only copy of the state: of an open store, or of a directory that nobody needs to own.

use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crate::base::{DocumentId, Error, Lsn, ProblemKind, Result};
use crate::engine::core::Surroundings;
use crate::engine::edits::{Merged, earlier_versions, preview, preview_state};
use crate::engine::options::Options;
use crate::engine::recovery::{Intake, Plan, Recovery, hints, plan_by};
use crate::engine::store::Builder;
use crate::files::mirror::Edit;
use crate::files::names::{CONFLICTS, STATE, WAL};
use crate::files::owner::{self, OwnerFile};
use crate::files::stat;
use crate::fs::{Entry, Fs, Kind, LockMode, Stat};
use crate::state::{Collection, Doc, Metrics, Session, Table, Task};
use crate::wal::{self, SegmentListing, SegmentNumber};

/// Beside a writer, only what so many looks show is believed, during none of which it took a file away.
const LOOKS_MIN: u32 = 20;
/// With so many looks a reader gives up.
const LOOKS_MAX: u32 = 500;
const PAUSE: Duration = Duration::from_millis(10);

/// A consistent, read-only copy of the state.
#[derive(Clone, Debug)]
pub struct View {
    table: Table,
    lsn: Lsn,
    pub(crate) last_saved: Option<String>,
    recovery: Arc<Recovery>,
}

impl View {
    pub(crate) fn new(
        table: Table,
        lsn: Lsn,
        last_saved: Option<String>,
        recovery: Arc<Recovery>,
    ) -> Self {
        View { table, lsn, last_saved, recovery }
    }

    pub(crate) fn table(&self) -> &Table {
        &self.table
    }

    /// The last LSN in it.
    pub fn lsn(&self) -> Lsn {
        self.lsn
    }

    /// How the state was found.
    pub fn recovery(&self) -> &Recovery {
        &self.recovery
    }

    /// A task by its id.
    pub fn task(&self, id: &str) -> Result<Option<Task>> {
        self.task_json(id).map(|text| Task::from_json(&text)).transpose()
    }

    /// A task's text by its id.
    pub fn task_json(&self, id: &str) -> Option<Arc<str>> {
        self.table.get(Collection::Task, id).map(|doc| doc.text().clone())
    }

    /// A session by its id.
    pub fn session(&self, id: &str) -> Result<Option<Session>> {
        self.session_json(id).map(|text| Session::from_json(&text)).transpose()
    }

    /// A session's text by its id.
    pub fn session_json(&self, id: &str) -> Option<Arc<str>> {
        self.table.get(Collection::Session, id).map(|doc| doc.text().clone())
    }

    /// All tasks, sorted by id.
    pub fn load_tasks(&self) -> Result<Vec<Task>> {
        self.docs(Collection::Task).iter().map(|(_, doc)| Task::from_json(doc.text())).collect()
    }

    /// All sessions, sorted by id.
    pub fn load_sessions(&self) -> Result<Vec<Session>> {
        self.docs(Collection::Session)
            .iter()
            .map(|(_, doc)| Session::from_json(doc.text()))
            .collect()
    }

    /// All documents of a collection with their texts and indexed fields, sorted by id.
    pub fn docs(&self, collection: Collection) -> Vec<(DocumentId, Arc<Doc>)> {
        self.table.sorted(collection)
    }

    /// The documents of a collection whose member `status` is just this string, sorted by id. The time it
    /// takes follows from how many they are, not from how many others there are.
    pub fn docs_with_status(
        &self,
        collection: Collection,
        status: &str,
    ) -> Vec<(DocumentId, Arc<Doc>)> {
        self.table.of_status(collection, status).sorted()
    }

    /// How many documents a collection has.
    pub fn len(&self, collection: Collection) -> usize {
        self.table.len(collection)
    }

    /// Whether there is no document at all.
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// The metrics of the tasks.
    pub fn metrics(&self) -> Metrics {
        self.table.metrics()
    }
}

pub(crate) fn open_view(around: &Surroundings) -> Result<View> {
    let (fs, clock) = (&*around.fs, &*around.clock);
    let begun = clock.monotonic();
    let (mut plan, writer_is_alive) = read_plan_by(fs, around.overlaps())?;
    // Beside a writer, edits are its business.
    let edits = if writer_is_alive { Vec::new() } else { look_at_edits(fs, &mut plan) };
    let took = clock.monotonic().saturating_sub(begun);
    plan.recovery.took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    let (mut table, last_saved) = (plan.state(), plan.last_saved.take());
    if plan.intake.is_none() {
        let earlier = earlier_versions(&plan, fs, &edits, None)?;
        let max = Options::default().document_bytes_max;
        let state_edit = plan.state_edit_found(fs)?.filter(|_| !writer_is_alive);
        let lsn = plan.recovery.lsn;
        // An opening takes nothing in if it cannot keep what loses.
        let can_keep = can_keep(fs)?;
        let is_taken_in = |merged: &[Merged]| can_keep || !merged.iter().any(Merged::must_keep);
        let mut edited = table.clone();
        if is_taken_in(&preview(&mut edited, edits, &earlier, lsn, max)) {
            table.clone_from(&edited);
            if let Some(edit) = state_edit
                && is_taken_in(&preview_state(&mut edited, &edit, lsn, max))
            {
                table = edited;
            }
        }
    }
    Ok(View::new(table, plan.recovery.lsn, last_saved, Arc::new(plan.recovery)))
}

/// Whether there is, or can be made, a directory for what loses.
fn can_keep(fs: &dyn Fs) -> Result<bool> {
    Ok(stat(fs, CONFLICTS)?.is_none_or(|stat| stat.kind == Kind::Directory))
}

/// What people did to the files, which an opening would take in; the other findings are told.
fn look_at_edits(fs: &dyn Fs, plan: &mut Plan) -> Vec<Edit> {
    match plan.mirror(fs, false) {
        Ok((mut mirror, found)) => {
            plan.recovery.problems.extend(found);
            mirror.take_edits()
        }
        Err(error) => {
            // A reader needs no mirror.
            tracing::warn!(%error, "edits of the files cannot be looked for");
            Vec::new()
        }
    }
}

/// Whether a writer is alive, by a probe of the lock that holds nothing.
pub(crate) fn writer_is_alive(fs: &dyn Fs) -> Result<bool> {
    match fs.lock(LockMode::Probe) {
        Ok(lock) => Ok(lock.is_none()),
        Err(source) => Err(Error::io("probe the lock of", fs.display(""), source)),
    }
}

/// Recovers in memory. Beside a writer, what looks wrong may only be half-way, or cut and replaced while it was
/// read, so it is looked at again: what stays is told. Says whether a writer was alive.
///
/// A snapshot that looks put back may be the one from before a checkpoint that fell between two reads; if
/// it stays, a person did it, and it is the writer's to take in: until then snapshot and log are the state.
pub(crate) fn read_plan(fs: &dyn Fs) -> Result<(Plan, bool)> {
    read_plan_by(fs, false)
}

/// The same; with `threads` on several.
fn read_plan_by(fs: &dyn Fs, threads: bool) -> Result<(Plan, bool)> {
    let mut looks = Looks::default();
    for _ in 0..LOOKS_MAX {
        if !writer_is_alive(fs)? {
            return Ok((plan_by(fs, threads)?, writer_is_alive(fs)?));
        }
        let before = Standing::of(fs)?;
        let mut found = plan_by(fs, threads);
        let findings = findings(&mut found);
        let is_undisturbed = findings.is_empty() || before.still_stands(fs)?;
        if is_undisturbed && looks.agree_on(&findings) {
            let mut plan = found?;
            plan.intake.take_if(|intake| matches!(intake, Intake::Restore { .. }));
            return Ok((plan, true));
        }
        tracing::debug!(is_undisturbed, ?findings, "reading beside a writer is tried again");
        thread::sleep(PAUSE);
    }
    let why = format!("its writer replaced what was read, {LOOKS_MAX} times in a row; try again");
    Err(Error::io("read", fs.display(""), io::Error::new(ErrorKind::WouldBlock, why)))
}

/// The looks that were not disturbed.
#[derive(Default)]
struct Looks {
    count: u32,
    /// What each of them found wrong.
    stays: Option<Vec<Finding>>,
}

impl Looks {
    /// Whether there is nothing wrong, or what is was so in enough looks.
    fn agree_on(&mut self, findings: &[Finding]) -> bool {
        self.count += 1;
        let stays = self.stays.get_or_insert_with(|| findings.to_vec());
        stays.retain(|finding| findings.contains(finding));
        let all_stay = findings.iter().all(|finding| stays.contains(finding));
        findings.is_empty() || (self.count >= LOOKS_MIN && all_stay)
    }
}

/// What a writer takes away when it has no more use for it: segments, and `state.json` for another one.
struct Standing {
    segments: Vec<Entry>,
    state: Option<Stat>,
}

impl Standing {
    fn of(fs: &dyn Fs) -> Result<Standing> {
        let mut segments = match fs.list(WAL) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
            Err(source) => return Err(Error::io("list", fs.display(WAL), source)),
        };
        segments.retain(|entry| SegmentNumber::parse(&entry.name).is_some());
        Ok(Standing { segments, state: stat(fs, STATE)? })
    }

    fn still_stands(&self, fs: &dyn Fs) -> Result<bool> {
        let now = Standing::of(fs)?;
        let is_there = |entry: &Entry| now.segments.iter().any(|other| other.name == entry.name);
        Ok(self.state == now.state && self.segments.iter().all(is_there))
    }
}

/// What is wrong, as far as two looks at it agree: which file, where, and in which way; or why nothing could
/// be read.
type Finding = (String, u64, Option<ProblemKind>);

/// What a look beside a writer found wrong; what its end shows is only half-way, and left out of the plan.
fn findings(found: &mut Result<Plan>) -> Vec<Finding> {
    let plan = match found {
        Ok(plan) => plan,
        Err(error) => return vec![(error.to_string(), 0, None)],
    };
    let problems = &mut plan.recovery.problems;
    problems.retain(|problem| problem.kind != ProblemKind::Torn);
    plan.recovery.torn_bytes = 0;
    let wrong = problems.iter().filter(|problem| !problem.kind.is_harmless());
    let wrong = wrong.map(|problem| (problem.file.clone(), problem.offset, Some(problem.kind)));
    let is_put_back = matches!(plan.intake, Some(Intake::Restore { .. }));
    let put_back = is_put_back.then(|| (STATE.to_owned(), 0, Some(ProblemKind::Edited)));
    wrong.chain(put_back).collect()
}

impl Builder {
    /// Lists the log's segments and groups with what a recovery makes of each; reads only, also from a
    /// damaged log that could not be opened.
    ///
    /// # Errors
    /// `NotFound` if there is no such directory; `Unsupported` for segments of a newer version.
    pub fn list_log(&self) -> Result<Vec<SegmentListing>> {
        list_log(&*self.existing_fs()?)
    }
}

/// Lists the log by what a recovery knows of it; where there can be no recovery, by what `.walden`
/// says.
fn list_log(fs: &dyn Fs) -> Result<Vec<SegmentListing>> {
    let hints = match read_plan(fs) {
        Ok((plan, _)) => hints(plan.store, plan.owner.as_ref(), plan.recovery.base_lsn),
        Err(error) => {
            tracing::debug!(%error, "the log is listed without a recovery");
            let owner = match owner::read(fs)? {
                OwnerFile::Intact(owner) => Some(owner),
                OwnerFile::Missing | OwnerFile::Damaged { .. } => None,
            };
            hints(owner.map(|owner| owner.store), owner.as_ref(), Lsn::ZERO)
        }
    };
    wal::list(fs, WAL, &hints)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_every_look_shows_is_believed_and_only_after_enough_of_them() {
        let finding = |offset| ("wal/1".to_owned(), offset, Some(ProblemKind::Corrupt));
        let mut looks = Looks::default();
        assert!((1..LOOKS_MIN).all(|_| !looks.agree_on(&[finding(1), finding(2)])));
        assert!(!looks.agree_on(&[finding(1), finding(3)]), "3 is new");
        assert!(!looks.agree_on(&[finding(1), finding(2)]), "2 did not stay");
        assert!(looks.agree_on(&[finding(1)]));
        assert!(Looks::default().agree_on(&[]));
    }
}
