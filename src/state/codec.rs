//! The bytes of each kind of record: the only place that knows bincode.
//!
//! The layout is bincode's legacy configuration (fixed-width little-endian integers, strings as a
//! u64 length and their bytes), pinned by golden bytes below: it must never change for a kind that
//! was ever written. Decoding bounds every length before memory is taken for it, refuses bytes that
//! are left over, and checks ids again; a document's text was checked before it was logged.

use std::sync::Arc;

use bincode::config::{Configuration, Fixint, Limit, LittleEndian};
use bincode::{BorrowDecode, Encode};

use crate::base::{ContentHash, DocumentId, Lsn};
use crate::state::{Collection, Document, Op};

/// The most that one record may claim: a transaction's limit of 256 MiB, and room for its fields.
const RECORD_BYTES_MAX: usize = 256 * 1024 * 1024 + 64 * 1024;

const CONFIG: Configuration<LittleEndian, Fixint, Limit<RECORD_BYTES_MAX>> =
    bincode::config::legacy().with_limit::<RECORD_BYTES_MAX>();

const PUT: u8 = 1;
const PATCH: u8 = 2;
const APPEND_LOG: u8 = 3;
const DELETE: u8 = 4;
const WROTE: u8 = 5;
const REMOVED: u8 = 6;
const SAVED: u8 = 7;
const WRITE_OUTPUT: u8 = 8;
const APPEND_OUTPUT: u8 = 9;
const EDITED: u8 = 10;
const SYNCED: u8 = 11;
const MERGED: u8 = 12;

/// Put and patch: a document concerned, and JSON text.
#[derive(Encode, BorrowDecode)]
struct TextRecord<'a> {
    collection: u8,
    id: &'a str,
    text: &'a str,
}

/// The same without the text itself: what comes before it.
#[derive(Encode)]
struct TextHead<'a> {
    collection: u8,
    id: &'a str,
    text_bytes: u64,
}

#[derive(Encode, BorrowDecode)]
struct AppendLogRecord<'a> {
    id: &'a str,
    entry: &'a str,
}

#[derive(Encode, BorrowDecode)]
struct DeleteRecord<'a> {
    collection: u8,
    id: &'a str,
}

#[derive(Encode, BorrowDecode)]
struct WroteRecord<'a> {
    file: &'a str,
    hash: u128,
    length: u64,
    lsn: u64,
}

#[derive(Encode, BorrowDecode)]
struct RemovedRecord<'a> {
    file: &'a str,
    lsn: u64,
}

#[derive(Encode, BorrowDecode)]
struct EditedRecord<'a> {
    file: &'a str,
    hash: u128,
    length: u64,
    modified_ns: i64,
    is_whole: bool,
}

/// Of an edit whose document became something else than the file says, which is `text`.
#[derive(Encode, BorrowDecode)]
struct MergedRecord<'a> {
    file: &'a str,
    hash: u128,
    length: u64,
    modified_ns: i64,
    text: &'a str,
}

#[derive(Encode, BorrowDecode)]
struct SavedRecord {
    lsn: u64,
}

#[derive(Encode, BorrowDecode)]
struct WriteOutputRecord<'a> {
    file: &'a str,
    generation: u64,
    bytes: &'a [u8],
}

#[derive(Encode, BorrowDecode)]
struct AppendOutputRecord<'a> {
    file: &'a str,
    generation: u64,
    offset: u64,
    bytes: &'a [u8],
}

/// The kind and the payload of a record; a document's text, which would end it, beside it.
pub(super) fn encode(op: &Op) -> (u8, Vec<u8>, Option<Arc<str>>) {
    let (kind, payload) = match op {
        Op::Put { collection, id, document } => {
            let (collection, text) = (number(*collection), document.text().clone());
            let head = TextHead { collection, id: id.as_str(), text_bytes: text.len() as u64 };
            return (PUT, bytes(head), Some(text));
        }
        Op::Patch { collection, id, patch: text } => {
            (PATCH, bytes(TextRecord { collection: number(*collection), id: id.as_str(), text }))
        }
        Op::AppendLog { id, entry } => {
            (APPEND_LOG, bytes(AppendLogRecord { id: id.as_str(), entry }))
        }
        Op::Delete { collection, id } => {
            (DELETE, bytes(DeleteRecord { collection: number(*collection), id: id.as_str() }))
        }
        Op::Wrote { file, hash, length, lsn } => {
            (WROTE, bytes(WroteRecord { file, hash: hash.0, length: *length, lsn: lsn.0 }))
        }
        Op::Removed { file, lsn } => (REMOVED, bytes(RemovedRecord { file, lsn: lsn.0 })),
        Op::Edited { file, hash, length, modified_ns, is_whole, text } => {
            let (hash, length, modified_ns, is_whole) = (hash.0, *length, *modified_ns, *is_whole);
            match text.as_deref().filter(|_| !is_whole) {
                Some(text) => {
                    (MERGED, bytes(MergedRecord { file, hash, length, modified_ns, text }))
                }
                None => (EDITED, bytes(EditedRecord { file, hash, length, modified_ns, is_whole })),
            }
        }
        Op::Synced => (SYNCED, Vec::new()),
        Op::Saved { lsn } => (SAVED, bytes(SavedRecord { lsn: lsn.0 })),
        Op::WriteOutput { file, generation, bytes: contents } => {
            let generation = *generation;
            (WRITE_OUTPUT, bytes(WriteOutputRecord { file, generation, bytes: contents }))
        }
        Op::AppendOutput { file, generation, offset, bytes: added } => {
            let (generation, offset) = (*generation, *offset);
            let record = AppendOutputRecord { file, generation, offset, bytes: added };
            (APPEND_OUTPUT, bytes(record))
        }
    };
    (kind, payload, None)
}

/// Whether records of this kind are about documents.
pub(super) fn is_about_document(kind: u8) -> bool {
    matches!(kind, PUT | PATCH | APPEND_LOG | DELETE)
}

/// Whether records of this kind make room on the disk.
pub(super) fn makes_room(kind: u8) -> bool {
    matches!(kind, DELETE | REMOVED | SAVED)
}

/// The mutation that a record holds, or why these bytes are none.
pub(super) fn decode(kind: u8, payload: &[u8]) -> Result<Op, String> {
    Ok(match kind {
        PUT => {
            let TextRecord { collection, id, text } = record(payload)?;
            let document = Document::new(text);
            Op::Put { collection: collection_of(collection)?, id: id_of(id)?, document }
        }
        PATCH => {
            let TextRecord { collection, id, text } = record(payload)?;
            let (collection, id) = (collection_of(collection)?, id_of(id)?);
            Op::Patch { collection, id, patch: Arc::from(text) }
        }
        APPEND_LOG => {
            let AppendLogRecord { id, entry } = record(payload)?;
            Op::AppendLog { id: id_of(id)?, entry: Arc::from(entry) }
        }
        DELETE => {
            let DeleteRecord { collection, id } = record(payload)?;
            Op::Delete { collection: collection_of(collection)?, id: id_of(id)? }
        }
        WROTE => {
            let WroteRecord { file, hash, length, lsn } = record(payload)?;
            Op::Wrote { file: file.to_owned(), hash: ContentHash(hash), length, lsn: Lsn(lsn) }
        }
        REMOVED => {
            let RemovedRecord { file, lsn } = record(payload)?;
            Op::Removed { file: file.to_owned(), lsn: Lsn(lsn) }
        }
        EDITED => {
            let EditedRecord { file, hash, length, modified_ns, is_whole } = record(payload)?;
            let (file, hash) = (file.to_owned(), ContentHash(hash));
            Op::Edited { file, hash, length, modified_ns, is_whole, text: None }
        }
        MERGED => {
            let MergedRecord { file, hash, length, modified_ns, text } = record(payload)?;
            let (file, hash, text) = (file.to_owned(), ContentHash(hash), Some(Arc::from(text)));
            Op::Edited { file, hash, length, modified_ns, is_whole: false, text }
        }
        SYNCED => {
            record::<()>(payload)?;
            Op::Synced
        }
        SAVED => {
            let SavedRecord { lsn } = record(payload)?;
            Op::Saved { lsn: Lsn(lsn) }
        }
        WRITE_OUTPUT => {
            let WriteOutputRecord { file, generation, bytes } = record(payload)?;
            Op::WriteOutput { file: file.to_owned(), generation, bytes: Arc::from(bytes) }
        }
        APPEND_OUTPUT => {
            let AppendOutputRecord { file, generation, offset, bytes } = record(payload)?;
            let (file, bytes) = (file.to_owned(), Arc::from(bytes));
            Op::AppendOutput { file, generation, offset, bytes }
        }
        other => return Err(format!("a record of the unknown kind {other}")),
    })
}

fn bytes(record: impl Encode) -> Vec<u8> {
    // Most records are no longer, so that this is the only allocation.
    let mut bytes = Vec::with_capacity(64);
    bincode::encode_into_std_write(record, &mut bytes, CONFIG)
        .expect("strings and integers are encoded into memory");
    bytes
}

fn record<'a, T: BorrowDecode<'a, ()>>(payload: &'a [u8]) -> Result<T, String> {
    let (record, used) =
        bincode::borrow_decode_from_slice(payload, CONFIG).map_err(|error| error.to_string())?;
    match payload.len().saturating_sub(used) {
        0 => Ok(record),
        left => Err(format!("{left} bytes too many in a record")),
    }
}

fn number(collection: Collection) -> u8 {
    match collection {
        Collection::Task => 0,
        Collection::Session => 1,
    }
}

fn collection_of(number: u8) -> Result<Collection, String> {
    match number {
        0 => Ok(Collection::Task),
        1 => Ok(Collection::Session),
        other => Err(format!("a document of the unknown collection {other}")),
    }
}

fn id_of(id: &str) -> Result<DocumentId, String> {
    DocumentId::new(id).map_err(|error| error.to_string())
}

#[cfg(test)]
#[path = "codec_tests.rs"]
mod tests;
