//! What happened: operations with the instants at which they were called and answered, and the model of
//! a document, which knows nothing of the engine.
//!
//! Every save, patch and append carries a number that no other has, so what a reader finds tells which
//! write it saw last.

/// What a reader makes of one document.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Content {
    pub(crate) save: u64,
    pub(crate) patch: u64,
    pub(crate) logs: Vec<u64>,
}

/// A document by its number; `None` is one that is not there.
pub(crate) type Found = Option<Content>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Save(u64),
    Patch(u64),
    Append(u64),
    Delete,
}

impl Change {
    /// What it makes of a document; `Err` if it needs one that is not there.
    pub(crate) fn apply(self, found: &Found) -> Result<Found, ()> {
        match (self, found) {
            (Change::Delete, _) => Ok(None),
            (Change::Save(save), _) => Ok(Some(Content { save, ..Content::default() })),
            (Change::Patch(patch), Some(content)) => Ok(Some(Content { patch, ..content.clone() })),
            (Change::Append(entry), Some(content)) => {
                let mut content = content.clone();
                content.logs.push(entry);
                Ok(Some(content))
            }
            (Change::Patch(_) | Change::Append(_), None) => Err(()),
        }
    }
}

/// The changes of one transaction, in order, each to a document.
pub(crate) type Changes = Vec<(usize, Change)>;

#[derive(Clone, Debug)]
pub(crate) enum What {
    /// It was told that it is done, up to this LSN.
    Write {
        changes: Changes,
        lsn: u64,
    },
    /// It was told that a document was not there, and that nothing was changed.
    Refused {
        changes: Changes,
    },
    Get {
        document: usize,
        found: Found,
    },
    /// All documents at once, with the LSN that the view says it is of, if it says one.
    View {
        lsn: Option<u64>,
        found: Vec<Found>,
    },
}

#[derive(Clone, Debug)]
pub(crate) struct Operation {
    /// Instants of one counter: of two operations, one is before the other if it was answered earlier than
    /// the other was called.
    pub(crate) called: u64,
    pub(crate) answered: u64,
    pub(crate) what: What,
}

/// Operations on `documents` documents, none of which is there at first.
#[derive(Clone, Debug, Default)]
pub(crate) struct History {
    pub(crate) documents: usize,
    pub(crate) operations: Vec<Operation>,
}
