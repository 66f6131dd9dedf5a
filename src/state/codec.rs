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
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn id() -> DocumentId {
        DocumentId::new("t1").unwrap()
    }

    /// One of each kind, with its bytes as an earlier version would have written them.
    fn golden() -> Vec<(Op, u8, &'static [u8])> {
        let (task, session) = (Collection::Task, Collection::Session);
        vec![
            (
                Op::Put { collection: task, id: id(), document: Document::new("{\"id\":\"t1\"}") },
                1,
                b"\0\x02\0\0\0\0\0\0\0t1\x0b\0\0\0\0\0\0\0{\"id\":\"t1\"}",
            ),
            (
                Op::Patch { collection: session, id: id(), patch: "{}".into() },
                2,
                b"\x01\x02\0\0\0\0\0\0\0t1\x02\0\0\0\0\0\0\0{}",
            ),
            (
                Op::AppendLog { id: id(), entry: "{}".into() },
                3,
                b"\x02\0\0\0\0\0\0\0t1\x02\0\0\0\0\0\0\0{}",
            ),
            (
                Op::Delete { collection: session, id: id() },
                4,
                b"\x01\x02\0\0\0\0\0\0\0t1",
            ),
            (
                Op::Wrote {
                    file: "tasks/a".into(),
                    hash: ContentHash(0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10),
                    length: 258,
                    lsn: Lsn(3),
                },
                5,
                b"\x07\0\0\0\0\0\0\0tasks/a\x10\x0f\x0e\x0d\x0c\x0b\x0a\x09\x08\x07\x06\x05\x04\x03\x02\x01\x02\x01\0\0\0\0\0\0\x03\0\0\0\0\0\0\0",
            ),
            (
                Op::Removed { file: "tasks/a".into(), lsn: Lsn(4) },
                6,
                b"\x07\0\0\0\0\0\0\0tasks/a\x04\0\0\0\0\0\0\0",
            ),
            (Op::Saved { lsn: Lsn(5) }, 7, b"\x05\0\0\0\0\0\0\0"),
            (
                Op::WriteOutput {
                    file: "reports/a".into(),
                    generation: 5,
                    bytes: b"{}\xff"[..].into(),
                },
                8,
                b"\x09\0\0\0\0\0\0\0reports/a\x05\0\0\0\0\0\0\0\x03\0\0\0\0\0\0\0{}\xff",
            ),
            (
                Op::AppendOutput {
                    file: "logs/a".into(),
                    generation: 6,
                    offset: 256,
                    bytes: b"x\n"[..].into(),
                },
                9,
                b"\x06\0\0\0\0\0\0\0logs/a\x06\0\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\x02\0\0\0\0\0\0\0x\n",
            ),
        ]
    }

    /// Those of edits.
    fn golden_edits() -> Vec<(Op, u8, &'static [u8])> {
        vec![
            (
                Op::Edited {
                    file: "tasks/a".into(),
                    hash: ContentHash(0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10),
                    length: 258,
                    modified_ns: -2,
                    is_whole: true,
                    text: None,
                },
                10,
                b"\x07\0\0\0\0\0\0\0tasks/a\x10\x0f\x0e\x0d\x0c\x0b\x0a\x09\x08\x07\x06\x05\x04\x03\x02\x01\x02\x01\0\0\0\0\0\0\xfe\xff\xff\xff\xff\xff\xff\xff\x01",
            ),
            (Op::Synced, 11, b""),
            (
                Op::Edited {
                    file: "tasks/a".into(),
                    hash: ContentHash(0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10),
                    length: 258,
                    modified_ns: 3,
                    is_whole: false,
                    text: Some("{}".into()),
                },
                12,
                b"\x07\0\0\0\0\0\0\0tasks/a\x10\x0f\x0e\x0d\x0c\x0b\x0a\x09\x08\x07\x06\x05\x04\x03\x02\x01\x02\x01\0\0\0\0\0\0\x03\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0{}",
            ),
        ]
    }

    #[test]
    fn the_bytes_of_every_kind_never_change() {
        for (op, kind, payload) in golden().into_iter().chain(golden_edits()) {
            assert_eq!(op.encode(), (kind, payload.to_vec()), "{op:?}");
            assert_eq!(decode(kind, payload).unwrap(), op);
            assert_eq!(is_about_document(kind), op.is_document_change());
        }
    }

    #[test]
    fn bytes_that_are_cut_or_left_over_are_refused() {
        for (_, kind, payload) in golden().into_iter().chain(golden_edits()) {
            for end in 0..payload.len() {
                assert!(decode(kind, &payload[..end]).is_err(), "kind {kind} cut at {end}");
            }
            let why = decode(kind, &[payload, b"\0"].concat()).unwrap_err();
            assert_eq!(why, "1 bytes too many in a record");
        }
    }

    #[test]
    fn a_length_beyond_the_limit_takes_no_memory_and_is_refused() {
        for length in [u64::MAX, 1 << 40, 1 << 30] {
            let payload = [&length.to_le_bytes()[..], b"t1"].concat();
            let why = decode(APPEND_LOG, &payload).unwrap_err();
            assert!(why.contains("Limit"), "{length}: {why}");
        }
    }

    #[test]
    fn unknown_kinds_collections_and_impossible_ids_are_refused() {
        assert!(decode(0, b"").is_err());
        assert!(decode(100, b"").is_err());
        assert!(decode(DELETE, b"\x02\x02\0\0\0\0\0\0\0t1").unwrap_err().contains("collection 2"));
        assert!(decode(DELETE, b"\0\0\0\0\0\0\0\0\0").unwrap_err().contains("empty"));
        assert!(decode(DELETE, b"\0\x01\0\0\0\0\0\0\0\n").unwrap_err().contains("control"));
        assert!(decode(DELETE, b"\0\x01\0\0\0\0\0\0\0\xff").is_err(), "not UTF-8");
    }

    proptest! {
        #[test]
        fn no_bytes_make_decoding_panic(
            kind in 0..12_u8, payload in prop::collection::vec(any::<u8>(), 0..64),
        ) {
            if let Ok(op) = decode(kind, &payload) {
                prop_assert_eq!(op.encode(), (kind, payload));
            }
        }
    }
}
