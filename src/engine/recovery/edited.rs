//! What lies in the place of `state.json` where that is no intact snapshot of this store: an edit, which
//! will be taken in; what was taken in already; what cannot be understood; or damage. Reads only.
//!
//! | it is | then |
//! |---|---|
//! | as the index recorded it by `stat`, with other bytes | damage: `quarantine/`, `corrupt` |
//! | empty or all zero, after an unclean stop | the same |
//! | the earlier implementation's, of which there is a copy | nothing: the next snapshot replaces it |
//! | what the log says was taken in, and no snapshot was saved since | nothing: the next one replaces it |
//! | a whole state, of no other store | an edit |
//! | anything else | held: left as it is, until it is mended |
//!
//! Invariant: a deletion follows from a document's absence only where the snapshot that was edited is known.

use crate::base::{ContentHash, DocumentId, Error, Lsn, Problem, ProblemKind, Result, StoreId};
use crate::engine::edits::Earlier;
use crate::engine::recovery::history::Wanted;
use crate::engine::recovery::{Plan, table_of};
use crate::files;
use crate::files::backups::{self, Fallback};
use crate::files::names::{STATE, WAL};
use crate::files::snapshot::edited::{Edited, Held, understand};
use crate::files::snapshot::{self, BYTES_MAX, Defect, Parsed};
use crate::fs::{Fs, Kind, Stat, join, read_file};
use crate::state::{Collection, Table};
use crate::wal::Replayed;

/// What lies in the place of `state.json`.
#[derive(Clone, Debug)]
pub(crate) struct Strange {
    pub(crate) stat: Stat,
    pub(crate) what: What,
}

#[derive(Clone, Debug)]
pub(crate) enum What {
    /// A person's, to be taken in.
    Edit(Edited),
    /// A person's, in the log already.
    TakenIn(Edited),
    /// The earlier implementation's, of which there is a copy.
    TakenOver,
    Held(Held),
    Damaged,
}

/// What is known of `state.json` when it is judged.
pub(super) struct Clues {
    pub(super) store: StoreId,
    /// Its `stat` as the index recorded it.
    pub(super) recorded: Option<Stat>,
    /// The hash of what was taken in from it since the last snapshot.
    pub(super) taken_in: Option<ContentHash>,
    pub(super) is_clean: bool,
}

/// Judges what lies in the place of `state.json`; `None` if there is no file, or a snapshot of this store.
pub(super) fn judge(fs: &dyn Fs, clues: &Clues) -> Result<Option<Strange>> {
    let Some(stat) = files::stat(fs, STATE)?.filter(|stat| stat.kind == Kind::File) else {
        return Ok(None);
    };
    let bytes = match read_file(fs, STATE, BYTES_MAX) {
        Ok(bytes) => bytes,
        Err(error) => match error.kind() {
            std::io::ErrorKind::NotFound | std::io::ErrorKind::InvalidInput => return Ok(None),
            std::io::ErrorKind::FileTooLarge => {
                let held = Held::unreadable("it is too large to be a snapshot");
                return Ok(Some(Strange { stat, what: What::Held(held) }));
            }
            _ => return Err(Error::io("read", fs.display(STATE), error)),
        },
    };
    let is_damaged = match snapshot::parse(&bytes) {
        Parsed::Intact(snapshot) if snapshot.store == clues.store => return Ok(None),
        Parsed::Intact(snapshot) => {
            let what = What::Held(Held::foreign(snapshot.store));
            return Ok(Some(Strange { stat, what }));
        }
        Parsed::NotIntact(Defect::Unsupported { .. }) => false,
        Parsed::NotIntact(_) if files::migration::is_kept(fs, STATE)? => {
            return Ok(Some(Strange { stat, what: What::TakenOver }));
        }
        Parsed::NotIntact(_) => clues.recorded.is_some_and(|known| is_untouched(&known, &stat)),
    };
    let is_blank = bytes.iter().all(|byte| *byte == 0 || byte.is_ascii_whitespace());
    if is_damaged || (is_blank && !clues.is_clean) {
        return Ok(Some(Strange { stat, what: What::Damaged }));
    }
    let what = match understand(&bytes, clues.store) {
        Ok(edited) if clues.taken_in == Some(edited.hash) => What::TakenIn(edited),
        Ok(edited) => What::Edit(edited),
        Err(held) => What::Held(held),
    };
    Ok(Some(Strange { stat, what }))
}

/// Whether nobody wrote to a file since it was marked, whatever is in it now.
fn is_untouched(marked: &Stat, found: &Stat) -> bool {
    (marked.device, marked.inode, marked.modified_ns)
        == (found.device, found.inode, found.modified_ns)
}

impl Strange {
    /// Tells what it is, in the place of what was told of `state.json` before.
    pub(super) fn tell(&self, problems: &mut Vec<Problem>) {
        let (kind, detail) = match &self.what {
            What::Edit(edited) if edited.base.is_none() => (
                ProblemKind::Edited,
                "somebody changed it, and its \"engine\", by which it is known what it was made of; what it \
                 says is taken in, and what is missing in it stays"
                    .to_owned(),
            ),
            What::Edit(_) => {
                (ProblemKind::Edited, "somebody changed it; that is taken in".to_owned())
            }
            What::TakenIn(_) => {
                let detail = "somebody changed it; that was taken in, and the next snapshot replaces it";
                (ProblemKind::Edited, detail.to_owned())
            }
            What::TakenOver => {
                let detail = "it is of the earlier format, and taken over; the next snapshot replaces it";
                (ProblemKind::Stale, detail.to_owned())
            }
            What::Held(held) => (held.kind, held.told()),
            What::Damaged => {
                let detail = "it is not what was written, and that was durable; it goes to quarantine/, and a new \
                              snapshot is saved";
                (ProblemKind::Corrupt, detail.to_owned())
            }
        };
        problems.retain(|problem| problem.file != STATE);
        problems.push(Problem::new(kind, STATE, 0, detail));
    }
}

impl Held {
    /// What is told of a `state.json` that is held.
    pub(crate) fn told(&self) -> String {
        format!(
            "{}; it is left as it is until it is mended, and the last good state stays in force; meanwhile \
             snapshots are state.backup.<time>.json",
            self.why
        )
    }
}

/// An edited `state.json`, and what is known of what it was made of.
#[derive(Clone, Debug)]
pub(crate) struct StateEdit {
    pub(crate) edited: Edited,
    /// Its `stat`, if it lies in the place of `state.json`.
    pub(crate) stat: Option<Stat>,
    /// The state that it showed before it was edited, if that can be rebuilt.
    pub(crate) base: Option<Table>,
    /// What else is known of its documents, where that cannot: their earlier versions, newest first.
    pub(crate) earlier: Earlier,
    /// When the snapshot was saved that it was made of, as that says.
    pub(crate) last_saved: Option<String>,
}

impl Plan {
    /// The edit in the place of `state.json`, if one is there.
    pub(crate) fn state_edit_found(&self, fs: &dyn Fs) -> Result<Option<StateEdit>> {
        match &self.strange {
            Some(Strange { stat, what: What::Edit(edited) }) => {
                self.state_edit(fs, edited.clone(), Some(*stat)).map(Some)
            }
            Some(_) | None => Ok(None),
        }
    }

    /// An edit, with what it was made of.
    pub(crate) fn state_edit(
        &self,
        fs: &dyn Fs,
        edited: Edited,
        stat: Option<Stat>,
    ) -> Result<StateEdit> {
        let lsn = edited.base;
        let base = lsn.map(|lsn| self.snapshot_as_of(fs, lsn)).transpose()?.flatten();
        let earlier = if base.is_some() {
            Earlier::new()
        } else {
            let wanted = edited.documents.iter().map(|(collection, id, _)| Wanted {
                key: (*collection, id.clone()),
                file: None,
                last: None,
            });
            self.history(fs, wanted)?
        };
        let head = self.index.as_ref().map(|index| index.head).filter(|head| Some(head.lsn) == lsn);
        let last_saved = head.map(|head| head.last_saved.to_string());
        Ok(StateEdit { edited, stat, base, earlier, last_saved })
    }

    /// The snapshot of this LSN, if there was one: from a backup, or rebuilt from the one before it and the
    /// log.
    pub(crate) fn snapshot_as_of(&self, fs: &dyn Fs, lsn: Lsn) -> Result<Option<Table>> {
        let Some(store) = self.store else { return Ok(None) };
        let mut backups = Vec::new();
        for backup in backups::list(fs)? {
            backups.extend(backup.lsn(fs, store)?);
        }
        let indexed = self.index.as_ref().map(|index| index.head.lsn);
        let known = || backups.iter().copied().chain(self.all_saved.iter().copied()).chain(indexed);
        let is_newest = lsn <= self.recovery.lsn && known().all(|known| known < lsn);
        if !is_newest && known().all(|known| known != lsn) {
            return Ok(None);
        }
        let Fallback { newest, .. } = backups::newest_intact(fs, store, lsn)?;
        let before = newest.map(|(_, snapshot)| (snapshot.lsn, table_of(snapshot)));
        let (from, table) = before.unwrap_or_default();
        if from == lsn {
            return Ok(Some(table));
        }
        self.replay_to(fs, from, table, lsn)
    }

    /// The state at `lsn`, from that at `from`; `None` if records between the two are missing.
    fn replay_to(
        &self,
        fs: &dyn Fs,
        from: Lsn,
        mut table: Table,
        lsn: Lsn,
    ) -> Result<Option<Table>> {
        if self.scan.first_base > from || self.scan.last_lsn < lsn {
            return Ok(None);
        }
        let (mut is_whole, mut passed) = (true, from);
        self.scan.replay(fs, WAL, from, &mut |replayed| {
            let records = match replayed {
                Replayed::Group(records) => records,
                Replayed::Hole(last) => {
                    is_whole &= last <= from || passed >= lsn;
                    return Ok(());
                }
            };
            for transaction in records.chunk_by(|record, _| record.continues()) {
                let last = transaction.last().map(|record| record.lsn).unwrap_or_default();
                passed = passed.max(last);
                if last > from && last <= lsn {
                    let changes = super::replay::decode(fs, transaction, true)?;
                    // A change that is refused was refused when it was made.
                    if let Err(refused) = table.apply(&changes) {
                        tracing::debug!(error = %refused.error, "replayed a refused change");
                    }
                }
            }
            Ok(())
        })?;
        table.advance(lsn);
        Ok(is_whole.then_some(table))
    }
}

/// The name of a document's file, for what is kept of it.
pub(crate) fn file_of(collection: Collection, id: &DocumentId) -> String {
    let form = files::names::forms(id).into_iter().next().unwrap_or_default();
    join(collection.dir(), &form)
}

#[cfg(test)]
#[path = "edited_tests.rs"]
mod tests;
