//! A record: one mutation as the log sees it, bytes with a checksum made on the caller's thread.

use std::sync::Arc;

use serde::Serialize;

use crate::base::{Lsn, Timestamp};
use crate::wal::format::{FLAG_CONTINUES, FLAG_CRITICAL};

/// The most bytes one record can have: its length is a 32-bit field.
pub const RECORD_BYTES_MAX: usize = u32::MAX as usize;

/// Who made a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Origin {
    /// A caller of the interface.
    Api = 1,
    /// The engine, about its own files.
    Engine = 2,
    /// A person who put an earlier snapshot back.
    Restore = 3,
    /// The taking over of an earlier implementation's directory.
    Migration = 4,
    /// A person who edited the files.
    Edit = 5,
}

impl Origin {
    /// The origin that a record names by this number; `None` if a newer version wrote it.
    pub fn from_number(number: u8) -> Option<Origin> {
        let all = [Origin::Api, Origin::Engine, Origin::Restore, Origin::Migration, Origin::Edit];
        all.into_iter().find(|origin| *origin as u8 == number)
    }
}

/// One mutation to be logged. Its checksum is computed here, so on the caller's thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) origin: u8,
    pub(crate) crc: u32,
    head: Vec<u8>,
    /// What follows the head: shared, so that a large value need not be copied to be logged.
    body: Option<Arc<[u8]>>,
}

impl Record {
    /// A record of the caller's `kind`. Readers that do not know the kind refuse the log.
    pub fn new(kind: u8, origin: Origin, payload: Vec<u8>) -> Self {
        Self::with_body(kind, origin, payload, None)
    }

    /// A record whose bytes are `head` and then `body`.
    pub fn with_body(kind: u8, origin: Origin, head: Vec<u8>, body: Option<Arc<[u8]>>) -> Self {
        let mut record =
            Record { kind, flags: FLAG_CRITICAL, origin: origin as u8, crc: 0, head, body };
        let mut crc = crc32fast::Hasher::new();
        record.parts().for_each(|part| crc.update(part));
        record.crc = crc.finalize();
        record
    }

    /// A record as it was read.
    pub(crate) fn of_view(view: &RecordView<'_>) -> Self {
        let RecordView { kind, flags, origin, payload, .. } = *view;
        let crc = crc32fast::hash(payload);
        Record { kind, flags, origin, crc, head: payload.to_vec(), body: None }
    }

    /// Its bytes, in order.
    pub(crate) fn parts(&self) -> impl Iterator<Item = &[u8]> {
        [Some(&*self.head), self.body.as_deref()].into_iter().flatten()
    }

    /// Says that the next record belongs to the same transaction.
    #[must_use]
    pub fn continued(mut self) -> Self {
        self.flags |= FLAG_CONTINUES;
        self
    }

    /// Bytes of the record itself.
    pub fn len(&self) -> usize {
        self.parts().map(<[u8]>::len).sum()
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A record read back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordView<'a> {
    /// Its place.
    pub lsn: Lsn,
    /// When its group was written, by the clock of that time.
    pub time: Timestamp,
    /// The kind it was logged with.
    pub kind: u8,
    /// Its flags.
    pub flags: u8,
    /// Who made it, as the number of an [`Origin`].
    pub origin: u8,
    /// Its bytes.
    pub payload: &'a [u8],
}

impl RecordView<'_> {
    /// Whether the next record of the group belongs to the same transaction.
    pub fn continues(&self) -> bool {
        self.flags & FLAG_CONTINUES != 0
    }

    /// Whether a reader that does not know its kind may skip it.
    pub fn may_be_skipped(&self) -> bool {
        self.flags & FLAG_CRITICAL == 0
    }
}
