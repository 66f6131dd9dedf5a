//! A record: one mutation as the log sees it, bytes with a checksum made on the caller's thread.

use crate::base::Lsn;
use crate::wal::format::{FLAG_CONTINUES, FLAG_CRITICAL};

/// The most bytes one record can have: its length is a 32-bit field.
pub const RECORD_BYTES_MAX: usize = u32::MAX as usize;

/// Who made a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Origin {
    /// A caller of the interface.
    Api = 1,
    /// The engine, about its own files.
    Engine = 2,
}

/// One mutation to be logged. Its checksum is computed here, so on the caller's thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) origin: u8,
    pub(crate) crc: u32,
    pub(crate) payload: Vec<u8>,
}

impl Record {
    /// A record of the caller's `kind`. Readers that do not know the kind refuse the log.
    pub fn new(kind: u8, origin: Origin, payload: Vec<u8>) -> Self {
        let crc = crc32fast::hash(&payload);
        Record { kind, flags: FLAG_CRITICAL, origin: origin as u8, crc, payload }
    }

    /// Says that the next record belongs to the same transaction.
    #[must_use]
    pub fn continued(mut self) -> Self {
        self.flags |= FLAG_CONTINUES;
        self
    }

    /// Bytes of the record itself.
    pub fn len(&self) -> usize {
        self.payload.len()
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.payload.is_empty()
    }
}

/// A record read back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordView<'a> {
    /// Its place.
    pub lsn: Lsn,
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
