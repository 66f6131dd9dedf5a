//! What the store tells about itself: events as they happen, problems as they are found.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

use crate::base::{DocumentId, Error, Lsn};

/// What happened; handed to the listeners of a store, in order, on the thread that did it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event {
    /// `state:saved`: a snapshot of everything up to `lsn` is durable.
    StateSaved {
        /// The snapshot's place.
        lsn: Lsn,
        /// Tasks and sessions in it.
        documents: usize,
        /// How long it took.
        took: Duration,
    },
    /// `state:loaded`: an opening recovered the state.
    StateLoaded {
        /// The last LSN recovered.
        lsn: Lsn,
        /// Tasks and sessions recovered.
        documents: usize,
        /// How long it took.
        took: Duration,
    },
    /// `state:save-error`: a commit, a checkpoint or a part of one failed.
    SaveError {
        /// Why.
        error: Error,
    },
    /// `autosave:triggered`: the interval or the log's size asked for a checkpoint.
    AutosaveTriggered {
        /// The last durable LSN at that moment.
        lsn: Lsn,
    },
    /// `shutdown:save`: the store is shutting down and saves for the last time.
    ShutdownSave {
        /// The last durable LSN at that moment.
        lsn: Lsn,
    },
    /// `state:restored`: every document was taken back to an earlier snapshot.
    StateRestored {
        /// The snapshot's LSN.
        from_lsn: Lsn,
        /// The LSN at which that is in force.
        lsn: Lsn,
        /// Documents put back, changed back or deleted.
        documents_changed: usize,
    },
    /// `state:dumped`: the last save failed, and the state was saved to the emergency directory.
    StateDumped {
        /// The file that has it.
        file: PathBuf,
    },
    /// `edit:taken-in`: what a person did to a file is in force.
    Edited {
        /// The file, relative to the store's directory.
        file: String,
        /// Where the document belongs: `tasks` or `sessions`.
        dir: &'static str,
        /// Which document.
        id: DocumentId,
        /// The LSN of the document's change.
        lsn: Lsn,
        /// Whether the file was removed, and the document with it.
        is_deletion: bool,
    },
    /// `edit:conflict`: a person and a program changed the same; the edit is in force.
    Conflict {
        /// The file, relative to the store's directory.
        file: String,
        /// Where the document belongs: `tasks` or `sessions`.
        dir: &'static str,
        /// Which document.
        id: DocumentId,
        /// The LSN of the document's change.
        lsn: Lsn,
        /// JSON pointers of what both had changed; none if a program had deleted the document.
        fields: Vec<String>,
        /// Where the program's version is kept.
        kept: Option<String>,
    },
    /// Something in the directory is not as the engine left it.
    Found(Problem),
}

impl Event {
    /// The event's name, as in `state:saved`.
    pub fn name(&self) -> &'static str {
        match self {
            Event::StateSaved { .. } => "state:saved",
            Event::StateLoaded { .. } => "state:loaded",
            Event::SaveError { .. } => "state:save-error",
            Event::AutosaveTriggered { .. } => "autosave:triggered",
            Event::ShutdownSave { .. } => "shutdown:save",
            Event::StateRestored { .. } => "state:restored",
            Event::StateDumped { .. } => "state:dumped",
            Event::Edited { .. } => "edit:taken-in",
            Event::Conflict { .. } => "edit:conflict",
            Event::Found(_) => "problem:found",
        }
    }
}

/// The kind of a [`Problem`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ProblemKind {
    /// The end of the log was cut by a crash: nothing durable is lost.
    Torn,
    /// A file differs from what the engine wrote: a person changed, added or removed it.
    Edited,
    /// A leftover of an earlier version, harmless.
    Stale,
    /// Durable bytes are damaged.
    Corrupt,
    /// A file that should be there is not.
    Missing,
    /// A file that belongs to nobody here, or to another store.
    Foreign,
    /// A file that cannot be read or understood, left as it is.
    Unreadable,
    /// A document that may be behind, since a delta to it could not be applied.
    Suspect,
}

impl ProblemKind {
    /// Whether a store with this finding is still sound: `torn`, `edited` and `stale` are.
    pub fn is_harmless(self) -> bool {
        matches!(self, ProblemKind::Torn | ProblemKind::Edited | ProblemKind::Stale)
    }
}

impl fmt::Display for ProblemKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ProblemKind::Torn => "torn",
            ProblemKind::Edited => "edited",
            ProblemKind::Stale => "stale",
            ProblemKind::Corrupt => "corrupt",
            ProblemKind::Missing => "missing",
            ProblemKind::Foreign => "foreign",
            ProblemKind::Unreadable => "unreadable",
            ProblemKind::Suspect => "suspect",
        })
    }
}

/// A finding about one file of the directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The file, relative to the store's directory.
    pub file: String,
    /// Where in it, in bytes.
    pub offset: u64,
    /// What kind of finding.
    pub kind: ProblemKind,
    /// What was found, and what was or can be done.
    pub detail: String,
}

impl Problem {
    /// A finding at `offset` of `file`.
    pub fn new(
        kind: ProblemKind,
        file: impl Into<String>,
        offset: u64,
        detail: impl Into<String>,
    ) -> Self {
        Problem { file: file.into(), offset, kind, detail: detail.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Problem { file, offset, kind, detail } = self;
        write!(f, "{kind}: {file} at byte {offset}: {detail}")
    }
}
