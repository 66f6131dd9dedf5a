//! The bytes of `wal/state.index`. All integers are little-endian; a text is its length in bytes as a
//! u64, and its UTF-8.
//!
//! Every version begins with magic and version and ends with the XXH3-128 of all before it, so that
//! damage and another version are told apart. There is one spelling: what is encoded decodes to the
//! same, and no bit is without meaning. Decoding panics on nothing, and bounds every length by what
//! is left of the file before memory is taken for it.

use smol_str::SmolStr;

use super::{Index, Place};
use crate::base::{ContentHash, DocumentId, Lsn, StoreId, Timestamp};
use crate::files::mirror::Entry;
use crate::files::snapshot::Head;
use crate::fs::{Kind, Stat};
use crate::state::Collection;
use crate::state::document::Indexed;

const MAGIC: [u8; 8] = *b"WALDENIX";
const VERSION: u32 = 1;
/// The shortest document: flags, span, LSN, and the length of the id.
const PLACE_BYTES_MIN: usize = 1 + 4 * 8;
/// The shortest entry: length of the name, hash, length, LSN, and whether there is a stat.
const ENTRY_BYTES_MIN: usize = 8 + 16 + 2 * 8 + 1;

const IS_SESSION: u8 = 1;
const IS_SUSPECT: u8 = 1 << 1;
const HAS_STARTED: u8 = 1 << 2;
const HAS_COMPLETED: u8 = 1 << 3;
const HAS_LOGS: u8 = 1 << 4;
const HAS_STATUS: u8 = 1 << 5;
const HAS_ASSIGNED: u8 = 1 << 6;
const UNKNOWN: u8 = 1 << 7;

pub(super) fn encode(index: &Index) -> Vec<u8> {
    let Index { head, documents, mirror } = index;
    let mut out = Vec::with_capacity(128 * (1 + documents.len() + mirror.len()));
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&VERSION.to_le_bytes());
    out.extend_from_slice(&head.store.0.to_le_bytes());
    put(&mut out, head.lsn.0);
    out.extend_from_slice(&head.last_saved.0.to_le_bytes());
    put(&mut out, head.length);
    out.extend_from_slice(&head.digest.0.to_le_bytes());
    put(&mut out, head.digest_at);
    put(&mut out, documents.len() as u64);
    put(&mut out, mirror.len() as u64);
    for place in documents {
        put_place(&mut out, place);
    }
    for entry in mirror {
        put_entry(&mut out, entry);
    }
    let hash = ContentHash::of(&out);
    out.extend_from_slice(&hash.0.to_le_bytes());
    out
}

/// The index that these bytes are; `None` if they are of another version; or what is wrong with them.
pub(super) fn decode(bytes: &[u8]) -> Result<Option<Index>, &'static str> {
    let covered = bytes.split_last_chunk().and_then(|(covered, hash)| {
        let is_intact = ContentHash::of(covered) == ContentHash(u128::from_le_bytes(*hash));
        is_intact.then_some(covered)
    });
    let mut reader = Reader(covered.ok_or("it is damaged")?);
    if reader.array() != Some(MAGIC) {
        return Err("it is no index");
    }
    match reader.array().map(u32::from_le_bytes) {
        Some(VERSION) => reader.index().map(Some).ok_or("it is no index of its version"),
        Some(_) => Ok(None),
        None => Err("it is no index"),
    }
}

fn put(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(&number.to_le_bytes());
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    put(out, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}

fn put_place(out: &mut Vec<u8>, place: &Place) {
    let Place { collection, id, span, lsn, suspect, members } = place;
    let Indexed { status, assigned_to, started_at, completed_at, logs_end } = members;
    let flag = |is_set: bool, flag: u8| if is_set { flag } else { 0 };
    let flags = flag(*collection == Collection::Session, IS_SESSION)
        | flag(*suspect, IS_SUSPECT)
        | flag(started_at.is_some(), HAS_STARTED)
        | flag(completed_at.is_some(), HAS_COMPLETED)
        | flag(logs_end.is_some(), HAS_LOGS)
        | flag(status.is_some(), HAS_STATUS)
        | flag(assigned_to.is_some(), HAS_ASSIGNED);
    out.push(flags);
    put(out, span.start);
    put(out, span.end);
    put(out, lsn.0);
    put_text(out, id.as_str());
    for time in [started_at, completed_at].into_iter().flatten() {
        out.extend_from_slice(&time.0.to_le_bytes());
    }
    if let Some(end) = logs_end {
        put(out, *end as u64);
    }
    for text in [status, assigned_to].into_iter().flatten() {
        put_text(out, text);
    }
}

fn put_entry(out: &mut Vec<u8>, entry: &Entry) {
    let Entry { file, hash, length, lsn, stat } = entry;
    put_text(out, file);
    out.extend_from_slice(&hash.0.to_le_bytes());
    put(out, *length);
    put(out, lsn.0);
    out.push(u8::from(stat.is_some()));
    if let Some(stat) = stat {
        out.push(match stat.kind {
            Kind::File => 0,
            Kind::Directory => 1,
            Kind::Other => 2,
        });
        for number in [stat.size_bytes, stat.device, stat.inode, stat.links] {
            put(out, number);
        }
        for time in [stat.modified_ns, stat.changed_ns] {
            out.extend_from_slice(&time.to_le_bytes());
        }
        out.extend_from_slice(&stat.permissions.to_le_bytes());
    }
}

/// What is left to be decoded; `None` wherever it is too short or means nothing.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (array, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*array)
    }

    fn byte(&mut self) -> Option<u8> {
        self.array().map(|[byte]| byte)
    }

    fn number(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn signed(&mut self) -> Option<i64> {
        self.array().map(i64::from_le_bytes)
    }

    fn wide(&mut self) -> Option<u128> {
        self.array().map(u128::from_le_bytes)
    }

    fn text(&mut self) -> Option<&'a str> {
        let length = usize::try_from(self.number()?).ok()?;
        let (text, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        std::str::from_utf8(text).ok()
    }

    /// `count` of what takes `bytes_min` at least, if there can be so many.
    fn many<T>(
        &mut self,
        count: u64,
        bytes_min: usize,
        one: fn(&mut Self) -> Option<T>,
    ) -> Option<Vec<T>> {
        let count = usize::try_from(count).ok()?;
        if count > self.0.len() / bytes_min {
            return None;
        }
        let mut all = Vec::with_capacity(count);
        for _ in 0..count {
            all.push(one(self)?);
        }
        Some(all)
    }

    fn index(&mut self) -> Option<Index> {
        let head = Head {
            store: StoreId(self.wide()?),
            lsn: Lsn(self.number()?),
            last_saved: Timestamp(self.signed()?),
            length: self.number()?,
            digest: ContentHash(self.wide()?),
            digest_at: self.number()?,
        };
        let (documents, mirror) = (self.number()?, self.number()?);
        let documents = self.many(documents, PLACE_BYTES_MIN, Reader::place)?;
        let mirror = self.many(mirror, ENTRY_BYTES_MIN, Reader::entry)?;
        self.0.is_empty().then_some(Index { head, documents, mirror })
    }

    fn place(&mut self) -> Option<Place> {
        let flags = self.byte()?;
        let has = |flag: u8| flags & flag != 0;
        if has(UNKNOWN) {
            return None;
        }
        let span = self.number()?..self.number()?;
        let lsn = Lsn(self.number()?);
        let id = DocumentId::new(self.text()?).ok()?;
        let mut members = Indexed::default();
        if has(HAS_STARTED) {
            members.started_at = Some(Timestamp(self.signed()?));
        }
        if has(HAS_COMPLETED) {
            members.completed_at = Some(Timestamp(self.signed()?));
        }
        if has(HAS_LOGS) {
            members.logs_end = Some(usize::try_from(self.number()?).ok()?);
        }
        if has(HAS_STATUS) {
            members.status = Some(SmolStr::from(self.text()?));
        }
        if has(HAS_ASSIGNED) {
            members.assigned_to = Some(SmolStr::from(self.text()?));
        }
        let collection = if has(IS_SESSION) { Collection::Session } else { Collection::Task };
        Some(Place { collection, id, span, lsn, suspect: has(IS_SUSPECT), members })
    }

    fn entry(&mut self) -> Option<Entry> {
        let file = self.text()?.to_owned();
        let hash = ContentHash(self.wide()?);
        let (length, lsn) = (self.number()?, Lsn(self.number()?));
        let stat = match self.byte()? {
            0 => None,
            1 => Some(self.stat()?),
            _ => return None,
        };
        Some(Entry { file, hash, length, lsn, stat })
    }

    fn stat(&mut self) -> Option<Stat> {
        let kind = match self.byte()? {
            0 => Kind::File,
            1 => Kind::Directory,
            2 => Kind::Other,
            _ => return None,
        };
        Some(Stat {
            kind,
            size_bytes: self.number()?,
            device: self.number()?,
            inode: self.number()?,
            links: self.number()?,
            modified_ns: self.signed()?,
            changed_ns: self.signed()?,
            permissions: u32::from_le_bytes(self.array()?),
        })
    }
}
