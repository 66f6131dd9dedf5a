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

use std::io;
use std::ops::Range;
use std::sync::Arc;

use crate::base::{ContentHash, ContentHasher, DocumentId, Lsn, StoreId, Timestamp};
use crate::fs::Stat;
use crate::fs::replace::Pieces;
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
    pub tasks: Vec<(DocumentId, Arc<Doc>)>,
    /// The sessions, likewise.
    pub sessions: Vec<(DocumentId, Arc<Doc>)>,
    /// When it was saved, as it stands in the file.
    pub last_saved: Option<String>,
    /// The members that a person added, as [`Contents::others`] has them.
    pub others: String,
}

/// What goes into a snapshot.
#[derive(Debug)]
pub struct Contents<'a, 'b> {
    /// The store's id.
    pub store: StoreId,
    /// The last mutation in it.
    pub lsn: Lsn,
    /// The tasks, in any order: id and text, which must be a JSON object.
    pub tasks: Vec<(&'a DocumentId, &'a str)>,
    /// The sessions, likewise.
    pub sessions: Vec<(&'a DocumentId, &'a str)>,
    /// The metrics of these tasks: the text of a JSON object.
    pub metrics: &'b str,
    /// The time of saving.
    pub last_saved: Timestamp,
    /// Members of other names, as they are to stand in the file: `"key": value`, with commas between.
    pub others: &'b str,
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

/// A snapshot, ready to be saved: its texts are still where they were.
#[derive(Debug)]
pub struct Rendered<'a> {
    /// What tells it from every other.
    pub head: Head,
    /// Where in it the tasks' texts are, in bytes, by the bytes of their ids; then the sessions'.
    pub spans: Vec<Range<u64>>,
    before: String,
    tasks: Vec<(&'a DocumentId, &'a str)>,
    sessions: Vec<(&'a DocumentId, &'a str)>,
    after: String,
}

/// Bytes come in pieces of about this size.
const PIECE_BYTES: usize = 1 << 20;

/// Lays out `state.json`.
pub fn render<'a>(contents: Contents<'a, '_>) -> Rendered<'a> {
    let Contents { store, lsn, mut tasks, mut sessions, metrics, last_saved, others } = contents;
    tasks.sort_unstable_by_key(|(id, _)| *id);
    sessions.sort_unstable_by_key(|(id, _)| *id);
    let documents = tasks.len().saturating_add(sessions.len());
    let mut before = format!(
        "{{\n  \"version\": \"{VERSION}\",\n  \"engine\": {{\"store\": \"{store}\", \"lsn\": {lsn}, \
         \"documents\": {documents}, \"digest\": \""
    );
    let digest_at = before.len();
    before.push_str(NO_DIGEST);
    before.push_str("\"},\n");
    let comma = if others.is_empty() { "" } else { ",\n  " };
    let after = format!(
        "  \"metrics\": {metrics},\n  \"last_saved\": \"{last_saved}\"{comma}{others}\n}}\n"
    );
    let head = Head {
        store,
        lsn,
        last_saved,
        length: 0,
        digest: ContentHash(0),
        digest_at: digest_at as u64,
    };
    let spans = Vec::with_capacity(documents);
    let mut rendered = Rendered { head, spans, before, tasks, sessions, after };
    rendered.measure();
    let digest = rendered.head.digest.to_string();
    let end = digest_at.saturating_add(NO_DIGEST.len());
    rendered.before.replace_range(digest_at..end, &digest);
    rendered
}

impl Rendered<'_> {
    /// Finds out length, digest and spans, while the digest's place holds zeros.
    fn measure(&mut self) {
        let (mut at, mut hasher) = (0_u64, ContentHasher::default());
        let mut spans = std::mem::take(&mut self.spans);
        self.each_part(&mut |part, is_document| {
            hasher.write(part.as_bytes());
            let end = at.saturating_add(part.len() as u64);
            if is_document {
                spans.push(at..end);
            }
            at = end;
        });
        (self.spans, self.head.length, self.head.digest) = (spans, at, hasher.finish());
    }

    /// Gives each part, and whether it is the text of a document.
    fn each_part(&self, take: &mut dyn FnMut(&str, bool)) {
        take(&self.before, false);
        for (key, documents) in [("tasks", &self.tasks), ("sessions", &self.sessions)] {
            take("  \"", false);
            take(key, false);
            take("\": [", false);
            for (index, (_, text)) in documents.iter().enumerate() {
                take(if index == 0 { "\n    " } else { ",\n    " }, false);
                take(text, true);
            }
            take(if documents.is_empty() { "],\n" } else { "\n  ],\n" }, false);
        }
        take(&self.after, false);
    }

    /// All of it.
    #[cfg(test)]
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.each_part(&mut |part, _| bytes.extend_from_slice(part.as_bytes()));
        bytes
    }
}

impl Pieces for Rendered<'_> {
    fn each(&self, take: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        let mut piece = Vec::new();
        let mut given = Ok(());
        self.each_part(&mut |part, _| {
            if given.is_err() {
                return;
            }
            piece.extend_from_slice(part.as_bytes());
            if piece.len() >= PIECE_BYTES {
                given = take(&piece);
                piece.clear();
            }
        });
        given.and_then(|()| take(&piece))
    }
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
