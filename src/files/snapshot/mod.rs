//! `state.json`: the whole state as one JSON file that vouches for itself.
//!
//! ```text
//! {
//!   "version": "2.0.0",
//!   "engine": {"store": "<32 hex>", "lsn": 7, "documents": 1, "digest": "<32 hex>"},
//!   "tasks": [
//!     {"id": "a", "description": "its text, verbatim"}
//!   ],
//!   "sessions": [],
//!   "metrics": {…},
//!   "last_saved": "2026-01-02T03:04:05Z"
//! }
//! ```
//!
//! Members of other names, which a person added, follow, verbatim, and are kept from one to the next.
//! The digest is the [`ContentHash`] of the file with the digest's own digits as zeros, so every
//! other byte is under it. Documents are sorted by the bytes of their ids.

pub mod edited;
#[cfg(test)]
pub(crate) mod fixture;
mod former;
pub mod index;
mod parse;
mod proof;
mod save;
#[cfg(test)]
mod tests;

use std::ops::Range;

use crate::base::{ContentHash, DocumentId, Lsn, StoreId, Timestamp};
use crate::fs::Stat;
use crate::state::Doc;
use crate::state::json::{Member, Object};

pub use index::{Index, Loaded, load};
pub use parse::{Defect, Parsed, parse, peek, read};
pub use proof::prove;
pub use save::{Saved, leftovers, save, save_as_backup, save_elsewhere};

/// The version of the format that is written.
pub const VERSION: &str = "2.0.0";
const MAJOR: &str = "2";
/// The largest snapshot that is read. It is held in memory whole.
pub const BYTES_MAX: u64 = 16 << 30;
/// The engine's members.
const MEMBERS: [&str; 6] = ["version", "engine", "tasks", "sessions", "metrics", "last_saved"];
/// What stands in the place of the digest while it is computed.
const NO_DIGEST: &str = "00000000000000000000000000000000";

/// A snapshot that vouches for itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// The store it is of.
    pub store: StoreId,
    /// The last mutation in it.
    pub lsn: Lsn,
    /// The tasks, in the order of the file, each document's text verbatim. When a document was last
    /// changed, and whether it is suspect, only an index tells; without, it is as of `lsn`.
    pub tasks: Vec<(DocumentId, Doc)>,
    /// The sessions, likewise.
    pub sessions: Vec<(DocumentId, Doc)>,
    /// When it was saved, as it stands in the file.
    pub last_saved: Option<String>,
    /// The members that a person added, as [`Contents::others`] has them.
    pub others: String,
}

/// What goes into a snapshot.
#[derive(Debug)]
pub struct Contents<'a> {
    /// The store's id.
    pub store: StoreId,
    /// The last mutation in it.
    pub lsn: Lsn,
    /// The tasks, in any order: id and text, which must be a JSON object.
    pub tasks: Vec<(&'a DocumentId, &'a str)>,
    /// The sessions, likewise.
    pub sessions: Vec<(&'a DocumentId, &'a str)>,
    /// The metrics of these tasks: the text of a JSON object.
    pub metrics: &'a str,
    /// The time of saving.
    pub last_saved: Timestamp,
    /// Members of other names, as they are to stand in the file: `"key": value`, with commas between.
    pub others: &'a str,
}

/// What tells one `state.json` from every other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// The store it is of.
    pub store: StoreId,
    /// The last mutation in it.
    pub lsn: Lsn,
    /// When it was saved.
    pub last_saved: Timestamp,
    /// Its length in bytes.
    pub length: u64,
    /// Its digest.
    pub digest: ContentHash,
    /// Where the digits of that begin in it, in bytes.
    pub digest_at: u64,
}

/// A snapshot, ready to be saved.
#[derive(Debug)]
pub struct Rendered {
    /// The bytes of `state.json`.
    pub bytes: Vec<u8>,
    /// What tells it from every other.
    pub head: Head,
    /// Where in it the tasks' texts are, in bytes, by the bytes of their ids; then the sessions'.
    pub spans: Vec<Range<u64>>,
}

/// Lays out `state.json`.
pub fn render(contents: Contents<'_>) -> Rendered {
    let Contents { store, lsn, mut tasks, mut sessions, metrics, last_saved, others } = contents;
    let documents = tasks.len().saturating_add(sessions.len());
    let text_bytes: usize =
        tasks.iter().chain(&sessions).map(|(_, text)| text.len().saturating_add(6)).sum();
    let mut out = String::with_capacity(text_bytes.saturating_add(1024));
    out.push_str("{\n  \"version\": \"");
    out.push_str(VERSION);
    out.push_str("\",\n  \"engine\": ");
    let engine = format!(
        "{{\"store\": \"{store}\", \"lsn\": {lsn}, \"documents\": {documents}, \"digest\": \""
    );
    out.push_str(&engine);
    let digest_at = out.len();
    let mut spans = Vec::with_capacity(documents);
    out.push_str(NO_DIGEST);
    out.push_str("\"},\n");
    push_documents(&mut out, "tasks", &mut tasks, &mut spans);
    push_documents(&mut out, "sessions", &mut sessions, &mut spans);
    out.push_str("  \"metrics\": ");
    out.push_str(metrics);
    out.push_str(",\n  \"last_saved\": \"");
    out.push_str(&last_saved.to_string());
    out.push('"');
    if !others.is_empty() {
        out.push_str(",\n  ");
        out.push_str(others);
    }
    out.push_str("\n}\n");
    let mut bytes = out.into_bytes();
    let digest = ContentHash::of(&bytes);
    if let Some(place) = bytes.get_mut(digest_at..digest_at.saturating_add(NO_DIGEST.len())) {
        place.copy_from_slice(digest.to_string().as_bytes());
    }
    let (length, digest_at) = (bytes.len() as u64, digest_at as u64);
    let head = Head { store, lsn, last_saved, length, digest, digest_at };
    Rendered { bytes, head, spans }
}

fn push_documents(
    out: &mut String,
    key: &str,
    documents: &mut [(&DocumentId, &str)],
    spans: &mut Vec<Range<u64>>,
) {
    documents.sort_unstable_by_key(|(id, _)| *id);
    out.push_str("  \"");
    out.push_str(key);
    out.push_str("\": [");
    for (index, (_, text)) in documents.iter().enumerate() {
        out.push_str(if index == 0 { "\n    " } else { ",\n    " });
        let start = out.len() as u64;
        out.push_str(text);
        spans.push(start..out.len() as u64);
    }
    out.push_str(if documents.is_empty() { "],\n" } else { "\n  ],\n" });
}

/// The members of other names behind the last document of a snapshot that the engine laid out, given what
/// follows that document.
fn others_behind(tail: &str) -> String {
    let metrics = tail.find("\n  \"metrics\": ").and_then(|at| tail.get(at..));
    let object = metrics.map(|rest| format!("{{{rest}"));
    let object = object.as_deref().and_then(|text| Object::parse(text).ok());
    object.map(|object| others_of(&object)).unwrap_or_default()
}

/// The members whose names are not the engine's.
fn others_of(object: &Object<'_>) -> String {
    let is_other = |member: &&Member<'_>| !MEMBERS.contains(&member.key.as_ref());
    let others = object.iter().filter(is_other);
    let lines: Vec<String> = others.map(|m| format!("{}: {}", m.raw_key, m.value)).collect();
    lines.join(",\n  ")
}

/// Whether two looks show the same file with the same contents. The time of change and the number
/// of names are left out, since the engine's own links and renames change them.
fn is_same(a: &Stat, b: &Stat) -> bool {
    (a.kind, a.size_bytes, a.device, a.inode, a.modified_ns)
        == (b.kind, b.size_bytes, b.device, b.inode, b.modified_ns)
}
