//! `repair`: what `verify` finds is brought back to a sound state, and whatever that removes is kept.
//!
//! Each finding has one action, and the table of DESIGN.md is the function [`action_for`]. Damaged
//! and foreign files get a durable name in `quarantine/` before their own goes away; everything else
//! is an opening's work, since recovery alone decides what the state is. So a crash anywhere leaves
//! what an opening can make the same state of, and a second repair goes on where the first was cut.
//!
//! It never touches what people changed, and never decides between versions of a document.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use serde::Serialize;

use crate::base::{Error, Problem, ProblemKind, Result};
use crate::engine::census::DIRECTORIES;
use crate::engine::checkpoint::Reason;
use crate::engine::core::Core;
use crate::engine::store::{Builder, Store};
use crate::engine::verify::{Progress, Verification, Verifier};
use crate::files::conflicts::{Sight, look, quarantine, set_aside};
use crate::files::names::{self, OWNER, STATE, STATE_INDEX, WAL};
use crate::fs::replace::remove_if_any;
use crate::fs::{Fs, join};
use crate::state::{Collection, Op};
use crate::wal::SegmentNumber;

/// How a repair is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RepairOptions {
    /// Only says what would be done, and changes no byte.
    pub dry_run: bool,
}

/// What is done about a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Action {
    /// Nothing: it is a person's, or nothing can be done that would not lose something.
    Leave,
    /// The file is moved to `quarantine/`; what it was for is made anew by the opening that follows.
    Quarantine,
    /// The file gets a second name in `quarantine/`; the opening that follows uses what is intact in
    /// it, and the checkpoint after that no longer needs it.
    Keep,
    /// The opening that follows sees to it.
    Open,
}

/// A finding, and what was done about it or, in a dry run, would be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Step {
    /// The finding.
    pub problem: Problem,
    /// What was done about it.
    pub action: Action,
    /// Where the file is now, or has a second name, if it was put into `quarantine/`.
    pub kept: Option<String>,
}

/// What a repair found and did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Repair {
    /// Whether it only says what would be done.
    pub dry_run: bool,
    /// One for each finding, in the order of the findings.
    pub actions: Vec<Step>,
    /// How the store was found.
    pub before: Verification,
    /// How it is now; `None` after a dry run, or if it could not be opened.
    pub after: Option<Verification>,
    /// Why the store could not be opened after everything that is listed was set aside.
    pub failure: Option<String>,
}

impl Repair {
    /// Whether the store is sound now; of a dry run, whether it was.
    pub fn is_sound(&self) -> bool {
        let last = if self.dry_run { Some(&self.before) } else { self.after.as_ref() };
        last.is_some_and(|verification| verification.ok)
    }
}

impl Builder {
    /// Brings a damaged store back to a sound state, under the writer's lock: damaged and foreign files
    /// are moved to `quarantine/`, never deleted; the store is opened, which recovers it, saved, and
    /// shut down; then it is verified again. What people changed is left to the rules of an opening.
    ///
    /// Whenever it is cut off, the store opens to the same state as before, and what was acknowledged
    /// at `Sync` and can be read is in it.
    ///
    /// # Errors
    /// As [`Builder::verify`] and [`Builder::open`]; `Locked` if another opener has it.
    ///
    /// ```
    /// use walden::{Action, RepairOptions, Store, Task};
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("coding-agent-state");
    /// let store = Store::open(&path)?;
    /// store.save_task(&Task::new("a", "kept"))?;
    /// store.shutdown()?;
    /// std::fs::write(path.join(".walden"), "rubbish")?;
    ///
    /// let repaired = walden::repair(&path, RepairOptions::default())?;
    /// assert!(repaired.is_sound());
    /// let step = &repaired.actions[0];
    /// assert_eq!((step.problem.file.as_str(), step.action), (".walden", Action::Quarantine));
    /// let kept = step.kept.as_ref().expect("what is removed is kept");
    /// assert_eq!(std::fs::read_to_string(path.join(kept))?, "rubbish");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn repair(self, options: RepairOptions) -> Result<Repair> {
        repair_directory(self, options)
    }
}

/// [`Builder::repair`] of the store in `path`.
pub fn repair(path: impl AsRef<Path>, options: RepairOptions) -> Result<Repair> {
    Store::builder(path).repair(options)
}

/// What is to be done about a finding.
pub(crate) fn action_for(problem: &Problem) -> Action {
    use ProblemKind::{Corrupt, Edited, Foreign, Missing, Stale, Suspect, Torn, Unreadable};
    let file = problem.file.as_str();
    let (dir, name) = file.split_once('/').unwrap_or(("", file));
    let is_mirror = Collection::ALL.iter().any(|collection| collection.dir() == dir);
    let is_segment = dir == WAL && SegmentNumber::parse(name).is_some();
    match problem.kind {
        Edited | Stale | Suspect => Action::Leave,
        // An opening would replace what is left of the file.
        Torn if is_mirror => Action::Quarantine,
        Torn | Missing => Action::Open,
        Corrupt if is_segment => Action::Keep,
        // What is wrong with the log as a whole has no file.
        Corrupt if file == WAL || (dir == WAL && name.is_empty()) => Action::Open,
        Corrupt | Foreign | Unreadable => {
            let is_named = matches!(file, STATE | OWNER)
                || (dir.is_empty() && names::parse_backup(name).is_some())
                || DIRECTORIES.contains(&file) && file != names::QUARANTINE;
            if is_named || dir == WAL || is_mirror { Action::Quarantine } else { Action::Leave }
        }
    }
}

/// What goes first: the log's strangers, which may mislead a recovery; last what says whose store
/// it is.
fn turn(problem: &Problem) -> u8 {
    match problem.file.as_str() {
        STATE => 2,
        OWNER => 3,
        file if file.starts_with(WAL) => 0,
        _ => 1,
    }
}

pub(crate) fn repair_directory(builder: Builder, options: RepairOptions) -> Result<Repair> {
    let fs = builder.existing_fs()?;
    let lock = builder.lock(&fs)?;
    let silent = |_: Progress| {};
    let verifier = Verifier { fs: &*fs, threads: builder.makes_threads(), tell: &silent };
    let before = verifier.verify_locked()?;
    let step = |problem: &Problem| {
        // A disk that did not give a file has said nothing about what is in it.
        let is_unread = before.unread.contains(&problem.file);
        let action = if is_unread { Action::Leave } else { action_for(problem) };
        Step { problem: problem.clone(), action, kept: None }
    };
    let actions = before.problems.iter().map(step).collect();
    let dry_run = options.dry_run;
    let mut repair = Repair { dry_run, actions, before, after: None, failure: None };
    if dry_run {
        return Ok(repair);
    }
    if repair.actions.iter().all(|step| step.action == Action::Leave) {
        repair.after = Some(repair.before.clone());
        return Ok(repair);
    }
    forget_index(&*fs, &repair.actions)?;
    put_into_quarantine(&*fs, &mut repair.actions)?;
    let is_damaged = repair.actions.iter().any(|step| step.action == Action::Keep);
    let store = match builder.open_locked(fs.clone(), lock) {
        Ok(store) => store,
        Err(error) => {
            repair.failure = Some(error.to_string());
            return Ok(repair);
        }
    };
    let saved = save_anew(store.core(), is_damaged);
    saved.and(store.shutdown())?;
    repair.after = Some(verifier.verify()?);
    Ok(repair)
}

/// Removes the index before a file goes that it knows: else that would look removed by a person, and its
/// document would be deleted.
fn forget_index(fs: &dyn Fs, steps: &[Step]) -> Result<()> {
    let is_mirrors = |step: &Step| {
        let is_in = |of: &Collection| step.problem.file.starts_with(&join(of.dir(), ""));
        step.action == Action::Quarantine && Collection::ALL.iter().any(is_in)
    };
    if steps.iter().any(is_mirrors) {
        remove_if_any(fs, STATE_INDEX)?;
        fs.sync_dir(WAL).map_err(|error| Error::io("flush", fs.display(WAL), error))?;
    }
    Ok(())
}

/// Gives everything that is to be moved or kept its durable name in `quarantine/`.
fn put_into_quarantine(fs: &dyn Fs, steps: &mut [Step]) -> Result<()> {
    let mut kept: BTreeMap<String, Option<String>> = BTreeMap::new();
    let mut ordered: Vec<&mut Step> = steps.iter_mut().collect();
    ordered.sort_by_key(|step| turn(&step.problem));
    for step in ordered {
        let file = &step.problem.file;
        if !kept.contains_key(file) {
            let name = match step.action {
                Action::Quarantine => set_aside(fs, file)?,
                // What is missing as a whole cannot be kept.
                Action::Keep => match look(fs, file)? {
                    Sight::File(..) => Some(quarantine(fs, file)?),
                    Sight::NoFile | Sight::Nothing => None,
                },
                Action::Leave | Action::Open => continue,
            };
            kept.insert(file.clone(), name);
        }
        step.kept = kept.get(file).cloned().flatten();
    }
    Ok(())
}

/// Saves a new snapshot, whatever was there. Where segments are damaged it does so twice: then both
/// `state.json` and the newest backup hold all that was recovered, and the log is cut above them.
fn save_anew(core: &Arc<Core>, is_damaged: bool) -> Result<()> {
    let fs = &*core.around.fs;
    let save = || {
        core.checkpointer.lock().state_stat = None;
        core.checkpoint(Reason::Request).map(|_| ())
    };
    save()?;
    if !is_damaged {
        return Ok(());
    }
    let Sight::File(file, hash) = look(fs, STATE)? else {
        // Where `state.json` cannot be replaced, there is nothing to cut behind.
        return Ok(());
    };
    let stat = file.stat().map_err(|error| Error::io("look at", fs.display(STATE), error))?;
    // The second snapshot has to be of a later LSN than the first, and this record is a true one.
    let lsn = core.facts.lock().snapshot_lsn;
    let saved = Op::Wrote { file: STATE.to_owned(), hash, length: stat.size_bytes, lsn };
    core.log_own(&[saved])?;
    save()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_of_the_table_has_its_action() {
        use Action::{Keep, Leave, Open, Quarantine};
        use ProblemKind::{Corrupt, Edited, Foreign, Missing, Stale, Suspect, Torn, Unreadable};
        let backup = "state.backup.20260102T030405.123456789Z.json";
        let segment = "wal/00000000000000000007.wal";
        let table: [(&[&str], &[ProblemKind], Action); 10] = [
            (&[STATE, "tasks/a.json", segment, "notes.txt"], &[Edited, Stale, Suspect], Leave),
            (&[STATE, segment, "wal", OWNER], &[Torn, Missing], Open),
            (&["tasks/a.json", "tasks"], &[Missing], Open),
            (&[segment], &[Corrupt], Keep),
            (&["wal/"], &[Corrupt], Open),
            (&[segment, "wal/strange", "wal/state.part"], &[Foreign, Unreadable], Quarantine),
            (&[STATE, OWNER, backup], &[Corrupt, Foreign, Unreadable], Quarantine),
            (&["tasks/a.json", "sessions/s.json"], &[Torn, Corrupt, Unreadable], Quarantine),
            (&["wal", "tasks", "sessions", "logs", "conflicts"], &[Unreadable], Quarantine),
            (
                &["logs/session_a.log", "reports/report_a.json", "quarantine", "conflicts/x.json"],
                &[Unreadable],
                Leave,
            ),
        ];
        for (files, kinds, action) in table {
            for (file, kind) in
                files.iter().flat_map(|file| kinds.iter().map(move |kind| (file, kind)))
            {
                let problem = Problem::new(*kind, *file, 0, "");
                assert_eq!(action_for(&problem), action, "{kind} {file}");
            }
        }
    }
}
