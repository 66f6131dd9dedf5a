//! Making one planned change to the mirror, once its record is durable.
//!
//! | wanted | in its place | then |
//! |---|---|---|
//! | either | a link, directory, FIFO, device | left alone, reported, still pending |
//! | write | nothing | the new file gets the name, which must still be free |
//! | write | the same contents | nothing |
//! | either | a person's file | left alone, noticed, still pending |
//! | write | a file | exchanged; what came out is settled |
//! | remove | nothing | nothing |
//! | remove | a file | renamed into `wal/`; what came out is settled |
//!
//! A person's file stays in its place, and is noticed, so that it is taken in first; of damage a copy goes
//! to `quarantine/`. *Settled*: contents known to be the engine's (or kept before) are removed, any other
//! are moved to `conflicts/`: they came between the look and the exchange. What somebody has open for writing
//! lingers there, whatever it holds: see `linger`.

use std::io::ErrorKind;

use super::{Change, Displaced, Mirror, Placed, Target, dir_of};
use crate::base::{ContentHash, Error, Problem, ProblemKind, Result};
use crate::files::conflicts::{
    Sight, ensure_dir, holds, is_open_for_writing, keep, look, put_aside, quarantine_copy,
};
use crate::files::names::{self, MIRROR_PART, WAL};
use crate::files::stat;
use crate::fs::replace::{Written, remove_if_any, write_temporary};
use crate::fs::{Fs, Stat};

const ATTEMPTS_MAX: u32 = 8;

/// How one attempt at a change ended.
enum Outcome {
    /// The place is as wanted; the `stat` of the file that the engine put there, if it did.
    Done(Option<Stat>),
    /// The place is taken by what is no regular file.
    Blocked,
    /// Somebody else's contents are in it, to be taken in first.
    Theirs,
    /// Somebody changed the place meanwhile.
    Again,
}

impl Mirror {
    /// Makes one change of a plan; to be called when the engine's record of it is durable. Says
    /// what it found of people's. On an error, and when the place is taken by something that is no
    /// regular file, the change stays pending.
    ///
    /// Contents are on their way to the medium before they get their name, but not durable.
    pub fn apply(&mut self, fs: &dyn Fs, change: &Change) -> Result<Vec<Problem>> {
        let mut problems = self.take_found();
        match self.make(fs, change, &mut problems) {
            Ok(()) => Ok(problems),
            Err(error) => {
                self.unreported = problems;
                Err(error)
            }
        }
    }

    fn make(&mut self, fs: &dyn Fs, change: &Change, problems: &mut Vec<Problem>) -> Result<()> {
        let mut ours = self.ours(&change.file);
        let made = self.make_of(fs, change, &mut ours, problems);
        if made.is_err() {
            // What came out of its place is told apart as long as these are known.
            self.left_half_way(fs, &change.file, ours);
        }
        made
    }

    fn make_of(
        &mut self,
        fs: &dyn Fs,
        change: &Change,
        ours: &mut Vec<ContentHash>,
        problems: &mut Vec<Problem>,
    ) -> Result<()> {
        let file = change.file.as_str();
        // What came out of an attempt that failed.
        self.settle(fs, file, ours, problems)?;
        if change.write.is_some() {
            self.note_attempt(change);
            ours.push(change.hash);
            ensure_dir(fs, dir_of(file))?;
        }
        for _ in 0..ATTEMPTS_MAX {
            match self.attempt(fs, change, ours, problems)? {
                Outcome::Done(stat) => {
                    self.made(change, stat);
                    return Ok(());
                }
                Outcome::Blocked => {
                    self.blocked.insert(file.to_owned());
                    let detail = "it is no regular file that can be read; it is left alone, and \
                                  the document is not shown here";
                    problems.push(Problem::new(ProblemKind::Unreadable, file, 0, detail));
                    return Ok(());
                }
                Outcome::Theirs => {
                    self.noticed.insert(file.to_owned());
                    return Ok(());
                }
                Outcome::Again => {}
            }
        }
        let why = "somebody else keeps changing it while it is being written";
        Err(Error::Conflict { what: fs.display(file), why: why.to_owned() })
    }

    /// A change that fails over and over is noted once.
    fn note_attempt(&mut self, change: &Change) {
        let Change { file, hash, length, lsn, .. } = change;
        let attempts = self.attempts.entry(file.clone()).or_default();
        attempts.retain(|attempt| attempt.hash != *hash);
        attempts.push(Placed { hash: *hash, length: *length, lsn: *lsn, stat: None });
    }

    fn attempt(
        &mut self,
        fs: &dyn Fs,
        change: &Change,
        ours: &mut Vec<ContentHash>,
        problems: &mut Vec<Problem>,
    ) -> Result<Outcome> {
        let file = change.file.as_str();
        let found = match look(fs, file)? {
            Sight::NoFile => return Ok(Outcome::Blocked),
            Sight::Nothing => None,
            Sight::File(_, hash) => Some(hash),
        };
        let is_there = found == Some(change.hash) && !self.distrusted.contains(file);
        if let Some(hash) = found.filter(|hash| self.doubted.get(file) == Some(hash)) {
            if !is_kept(fs, file, keep(fs, file, file))? {
                return Ok(Outcome::Again);
            }
            ours.push(hash);
        }
        let is_damage = |hash: &ContentHash| self.damaged.get(file) == Some(hash);
        if let Some(hash) = found.filter(|hash| !ours.contains(hash) || is_damage(hash)) {
            if !self.is_rot(fs, file, hash, problems)? {
                return Ok(Outcome::Theirs);
            }
            if !is_kept(fs, file, quarantine_copy(fs, file))? {
                return Ok(Outcome::Again);
            }
            // From here on these contents may be dropped: they have their second name.
            ours.push(hash);
        }
        match (&change.write, found) {
            (Some(bytes), None) => place_new(fs, file, bytes),
            (Some(_), Some(_)) if is_there => Ok(Outcome::Done(None)),
            (Some(bytes), Some(hash)) => {
                let outcome = replace(fs, file, bytes, hash)?;
                self.settle(fs, file, ours, problems)?;
                Ok(outcome)
            }
            (None, None) => Ok(Outcome::Done(None)),
            (None, Some(_)) => {
                let outcome = take_out(fs, file)?;
                self.settle(fs, file, ours, problems)?;
                Ok(outcome)
            }
        }
    }

    /// Whether contents are damage (which opening has reported already, if it saw it), and not what somebody
    /// else wrote.
    fn is_rot(
        &mut self,
        fs: &dyn Fs,
        file: &str,
        hash: ContentHash,
        problems: &mut Vec<Problem>,
    ) -> Result<bool> {
        if self.damaged.get(file) != Some(&hash) {
            let stat = stat(fs, file)?;
            let placed = self.placed.get(file);
            if !placed.is_some_and(|placed| placed.is_untouched(stat.as_ref())) {
                return Ok(false);
            }
            // Another attempt must know it without the stat.
            self.damaged.insert(file.to_owned(), hash);
            let detail = "it has rotted; it is kept in quarantine/ and replaced";
            problems.push(Problem::new(ProblemKind::Corrupt, file, 0, detail));
        }
        Ok(true)
    }

    /// Settles what lies under the swap name of a file: what somebody wrote goes to `conflicts/`, to be
    /// taken in from there.
    pub(super) fn settle(
        &mut self,
        fs: &dyn Fs,
        file: &str,
        ours: &[ContentHash],
        problems: &mut Vec<Problem>,
    ) -> Result<()> {
        let swap = names::swap(file);
        // Asked first: who does not have it open by now cannot reach it any more.
        let is_held = is_open_for_writing(fs, &swap)?;
        match look(fs, &swap)? {
            Sight::Nothing => {}
            Sight::File(_, hash) if is_held => {
                self.let_linger(fs, &swap, file, hash, ours.contains(&hash))?;
            }
            Sight::File(_, hash) if ours.contains(&hash) => {
                remove_if_any(fs, &swap)?;
            }
            Sight::File(..) | Sight::NoFile => {
                let kept = put_aside(fs, &swap, file)?;
                problems.push(edited(file, &kept));
                let shown = self.shown_as_of(file);
                let (file, is_doubtful) = (file.to_owned(), shown.is_none());
                self.displaced.push(Displaced { file, kept, shown, is_doubtful });
            }
        }
        Ok(())
    }

    /// The hashes of contents that the engine put, or tried to put, into a file.
    pub(super) fn ours(&self, file: &str) -> Vec<ContentHash> {
        let placed = self.placed.get(file).map(|placed| placed.hash);
        let attempts = self.attempts.get(file).into_iter().flatten().map(|attempt| attempt.hash);
        placed.into_iter().chain(attempts).collect()
    }

    fn made(&mut self, change: &Change, stat: Option<Stat>) {
        let Change { file, write, hash, length, lsn } = change;
        self.attempts.remove(file);
        self.laid_out.remove(file);
        self.distrusted.remove(file);
        self.damaged.remove(file);
        self.doubted.remove(file);
        // What was removed from `wal/` must not come back after a clean shutdown.
        self.unsynced_dirs.extend([dir_of(file), WAL].map(str::to_owned));
        let target = self.pending.remove(file);
        if write.is_some() {
            let placed = Placed { hash: *hash, length: *length, lsn: *lsn, stat };
            self.placed.insert(file.as_str().into(), placed);
            self.unsynced.insert(file.clone(), target.unwrap_or(Target::Nothing));
        } else {
            self.placed.remove(file.as_str());
            self.unsynced.remove(file);
        }
    }
}

/// Whether a file got its second name or its copy; if not, it is gone meanwhile.
fn is_kept(fs: &dyn Fs, file: &str, kept: Result<String>) -> Result<bool> {
    match kept {
        Err(error) if stat(fs, file)?.is_some() => Err(error),
        kept => Ok(kept.is_ok()),
    }
}

/// What was written has its name now. If somebody wrote to it meanwhile, nothing is known of it: it is
/// not the engine's any more.
fn placed(written: &Written) -> Outcome {
    Outcome::Done(written.mark.untouched(written.file.stat().ok()))
}

fn place_new(fs: &dyn Fs, file: &str, bytes: &[u8]) -> Result<Outcome> {
    let written = write_temporary(fs, MIRROR_PART, bytes, false)?;
    match fs.rename_new(MIRROR_PART, file) {
        Ok(()) => Ok(placed(&written)),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(Outcome::Again),
        Err(error) => Err(Error::io("write", fs.display(file), error)),
    }
}

/// Puts new contents in the place of a file in which `found` was seen, which may go. What was there
/// is then under the swap name; where files cannot be exchanged, it is replaced if it is still the
/// same.
fn replace(fs: &dyn Fs, file: &str, bytes: &[u8], found: ContentHash) -> Result<Outcome> {
    let swap = names::swap(file);
    let written = write_temporary(fs, MIRROR_PART, bytes, false)?;
    fs.rename_new(MIRROR_PART, &swap)
        .map_err(|error| Error::io("rename", fs.display(MIRROR_PART), error))?;
    let Err(error) = fs.exchange(&swap, file) else { return Ok(placed(&written)) };
    match error.kind() {
        ErrorKind::NotFound => Ok(Outcome::Again),
        ErrorKind::Unsupported => {
            if !holds(fs, file, found)? {
                return Ok(Outcome::Again);
            }
            fs.rename(&swap, file)
                .map(|()| placed(&written))
                .map_err(|error| Error::io("write", fs.display(file), error))
        }
        _ => Err(Error::io("exchange", fs.display(file), error)),
    }
}

fn take_out(fs: &dyn Fs, file: &str) -> Result<Outcome> {
    match fs.rename_new(file, &names::swap(file)) {
        Ok(()) => Ok(Outcome::Done(None)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Outcome::Done(None)),
        Err(error) => Err(Error::io("remove", fs.display(file), error)),
    }
}

pub(super) fn edited(file: &str, kept: &str) -> Problem {
    let detail = format!("somebody changed it while it was being replaced; that is {kept}");
    Problem::new(ProblemKind::Edited, file, 0, detail)
}
