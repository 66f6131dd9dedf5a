//! Files that somebody had open for writing in the instant in which they were replaced.
//!
//! Whoever holds one may write into it though it has left its place, and would be believed to have saved. So
//! it gets a name in `conflicts/`, and is looked at, less and less often, until nobody has it open. What was
//! written is taken in as an edit of the file. If nothing was, the name goes: it is the one that was given
//! here, to contents that are the engine's own; nothing else in `conflicts/` is ever removed.

use std::time::Duration;

use super::apply::edited;
use super::look::{BELIEVED_AFTER, Look, Seen};
use super::{Displaced, Mirror};
use crate::base::{ContentHash, Lsn, Result};
use crate::files::conflicts::{self, Sight, is_open_for_writing, keep_open};
use crate::fs::Fs;
use crate::fs::replace::remove_if_any;

/// Looks follow each other after an eighth of the time that nothing has happened, within these.
const PAUSE_SHARE: u32 = 8;
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// A file that lingers.
#[derive(Debug)]
pub(super) struct Lingering {
    /// The file in whose place it was.
    pub(super) file: String,
    /// When it is looked at next.
    pub(super) due: Duration,
    /// Its contents when it was looked at last, and since when it is known that they are that.
    contents: ContentHash,
    since: Option<Duration>,
    /// Contents of which nothing is to be taken in any more.
    known: Option<ContentHash>,
    /// Whether those are the engine's own, so that they need not be kept.
    is_ours: bool,
    /// The file showed its document as of this LSN, if that is known.
    shown: Option<Lsn>,
}

impl Mirror {
    /// Gives what lies at `path`, and came out of the place of `file`, its name in `conflicts/`.
    pub(super) fn let_linger(
        &mut self,
        fs: &dyn Fs,
        path: &str,
        file: &str,
        contents: ContentHash,
        is_ours: bool,
    ) -> Result<()> {
        let kept = keep_open(fs, path, file)?;
        let lingering = Lingering {
            file: file.to_owned(),
            due: Duration::ZERO,
            contents,
            since: None,
            known: is_ours.then_some(contents),
            is_ours,
            shown: self.shown_as_of(file),
        };
        self.lingering.insert(kept, lingering);
        remove_if_any(fs, path)?;
        Ok(())
    }

    /// Looks at the files that linger and are due, and notes what was written to them as displaced.
    pub(super) fn look_at_lingering(&mut self, look: &Look<'_>, seen: &mut Seen) -> Result<()> {
        let is_due = |one: &Lingering| !look.is_patient || one.due <= look.now;
        let due = self.lingering.iter().filter(|(_, one)| is_due(one));
        let due: Vec<String> = due.map(|(kept, _)| kept.clone()).collect();
        for kept in due {
            // In this order: what is written after the answer is another look's.
            let is_held = is_open_for_writing(look.fs, &kept)?;
            let found = conflicts::look(look.fs, &kept)?;
            let Some(one) = self.lingering.get_mut(&kept) else { continue };
            let Sight::File(_, contents) = found else {
                // Somebody took it away.
                self.lingering.remove(&kept);
                continue;
            };
            let age = one.age(contents, look.now);
            let is_settled = !is_held || !look.is_patient || age >= BELIEVED_AFTER;
            if one.known != Some(contents) && is_settled {
                (one.known, one.is_ours) = (Some(contents), false);
                seen.problems.push(edited(&one.file, &kept));
                let (file, kept, shown) = (one.file.clone(), kept.clone(), one.shown);
                let is_doubtful = shown.is_none();
                self.displaced.push(Displaced { file, kept, shown, is_doubtful });
            }
            if is_held {
                let pause = (age / PAUSE_SHARE).clamp(PAUSE_MIN, PAUSE_MAX);
                one.due = look.now.saturating_add(pause);
                continue;
            }
            if one.is_ours {
                remove_if_any(look.fs, &kept)?;
            }
            self.lingering.remove(&kept);
        }
        Ok(())
    }
}

impl Lingering {
    /// For how long it has been seen with the `contents` that it has now.
    fn age(&mut self, contents: ContentHash, now: Duration) -> Duration {
        if self.contents != contents {
            (self.contents, self.since) = (contents, None);
        }
        now.saturating_sub(*self.since.get_or_insert(now))
    }
}
