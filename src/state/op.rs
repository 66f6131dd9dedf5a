//! What can happen to the state: the mutations that the log holds.
//!
//! A mutation from outside is made by the checking constructors, on the caller's thread, so that
//! nothing that could fail to parse ever reaches the log. Mutations decoded from the log were
//! checked then, and their text is not checked again.

use std::fmt;
use std::sync::Arc;

use crate::base::{ContentHash, DocumentId, Error, Lsn, Result};
use crate::state::json::{self, DEPTH_MAX, JsonError, Object};
use crate::state::{Document, codec};

/// The longest text, in bytes, that [`Op::Edited`] holds.
pub const OWN_TEXT_MAX: usize = 1 << 20;

/// The two kinds of documents; ids are unique within each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Collection {
    /// Tasks, in `tasks/`.
    Task,
    /// Sessions, in `sessions/`.
    Session,
}

impl Collection {
    /// Both, tasks first.
    pub const ALL: [Collection; 2] = [Collection::Task, Collection::Session];

    /// The directory of its files, and its key in `state.json`.
    pub const fn dir(self) -> &'static str {
        match self {
            Collection::Task => "tasks",
            Collection::Session => "sessions",
        }
    }
}

impl fmt::Display for Collection {
    /// As in a sentence: `task`, `session`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Collection::Task => "task",
            Collection::Session => "session",
        })
    }
}

/// One mutation: one record of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// The document is now this text.
    Put {
        /// Where it belongs.
        collection: Collection,
        /// The id inside the text.
        id: DocumentId,
        /// The whole document.
        document: Document,
    },
    /// The document changes by a JSON merge patch (RFC 7396).
    Patch {
        /// Where it belongs.
        collection: Collection,
        /// Which document.
        id: DocumentId,
        /// The patch, an object.
        patch: Arc<str>,
    },
    /// A task's `logs` grow by one entry.
    AppendLog {
        /// Which task.
        id: DocumentId,
        /// The entry, an object.
        entry: Arc<str>,
    },
    /// The document is gone.
    Delete {
        /// Where it belonged.
        collection: Collection,
        /// Which document.
        id: DocumentId,
    },
    /// The engine is about to write this mirror file with these bytes.
    Wrote {
        /// The file, relative to the store's directory.
        file: String,
        /// The hash of the bytes.
        hash: ContentHash,
        /// How many bytes.
        length: u64,
        /// They hold the document as of this LSN.
        lsn: Lsn,
    },
    /// The engine is about to remove this mirror file.
    Removed {
        /// The file, relative to the store's directory.
        file: String,
        /// Its document was gone as of this LSN.
        lsn: Lsn,
    },
    /// A person had changed or removed this file; the mutation behind it in the same transaction takes
    /// that in.
    Edited {
        /// The file, relative to the store's directory.
        file: String,
        /// The hash of its bytes; of nothing, if it was removed.
        hash: ContentHash,
        /// How many bytes; 0 if it was removed.
        length: u64,
        /// When it was last changed, by its own account, in nanoseconds since the Unix epoch; 0 if nothing
        /// says.
        modified_ns: i64,
        /// Whether the file shows its document as it is after this transaction.
        is_whole: bool,
        /// What it says, if that is something else and no longer than [`OWN_TEXT_MAX`]: the next edit of
        /// the file may be made of it.
        text: Option<Arc<str>>,
    },
    /// The names of all mirror files are durable as they were when this was logged: one that is gone
    /// later was removed by somebody.
    Synced,
    /// `state.json` is durable and holds the snapshot of this LSN.
    Saved {
        /// The snapshot's LSN.
        lsn: Lsn,
    },
    /// An output file (a session's log, a report) now has these contents.
    WriteOutput {
        /// The file, relative to the store's directory.
        file: String,
        /// Which beginning of the file's contents this is: it rises from one to the next.
        generation: u64,
        /// The whole contents.
        bytes: Arc<[u8]>,
    },
    /// An output file grows by these bytes.
    AppendOutput {
        /// The file, relative to the store's directory.
        file: String,
        /// Which beginning of the file's contents they continue.
        generation: u64,
        /// Where they go, in bytes from the start of the file.
        offset: u64,
        /// The bytes.
        bytes: Arc<[u8]>,
    },
}

impl Op {
    /// A whole document, with the id that its text holds.
    ///
    /// [`Invalid`](Error::Invalid) if the text is no acceptable JSON object (see
    /// [`check_object`](json::check_object)), has no valid id as its member `id`, or more than `document_bytes_max`
    /// bytes.
    ///
    /// ```
    /// use walden::state::{Collection, Op};
    /// let op = Op::put(Collection::Task, r#"{"id": "t1", "tries": 1.50}"#, 1024)?;
    /// let (kind, payload) = op.encode();
    /// assert_eq!(Op::decode(kind, &payload), Ok(op));
    /// # Ok::<(), walden::Error>(())
    /// ```
    pub fn put(collection: Collection, text: &str, document_bytes_max: usize) -> Result<Op> {
        let what = || format!("the {collection}");
        let object = checked(what, text, document_bytes_max)?;
        let Some(raw) = object.get("id") else {
            return Err(Error::invalid(what(), "it has no member \"id\", which must be a string"));
        };
        let here =
            |why: String| JsonError::at(text, json::offset_in(text, raw), why).into_error(what());
        let id = json::string_of(raw).ok_or_else(|| {
            here(format!("the member \"id\" must be a string, it is {}", json::name_of(raw)))
        })?;
        let id = DocumentId::new(&id).map_err(|error| here(error.to_string()))?;
        let document = Document::indexed(text.into(), text, &object);
        Ok(Op::Put { collection, id, document })
    }

    /// A JSON merge patch to the document `id`. Whether there is such a document turns out when it
    /// is applied.
    ///
    /// [`Invalid`](Error::Invalid) if the id is, if the patch is no acceptable JSON object or has
    /// more than `document_bytes_max` bytes, or if it would change the member `id`.
    pub fn patch(
        collection: Collection,
        id: &str,
        patch: &str,
        document_bytes_max: usize,
    ) -> Result<Op> {
        let id = DocumentId::new(id)?;
        let what = || format!("the patch of {collection} {id}");
        let new_id = checked(what, patch, document_bytes_max)?.get("id");
        if let Some(raw) = new_id
            && json::string_of(raw).as_deref() != Some(id.as_str())
        {
            let why = "a patch cannot change the member \"id\"; save a new document instead";
            return Err(JsonError::at(patch, json::offset_in(patch, raw), why).into_error(what()));
        }
        Ok(Op::Patch { collection, id, patch: patch.into() })
    }

    /// One more entry for the `logs` of the task `id`. Whether there is such a task turns out when
    /// it is applied.
    ///
    /// [`Invalid`](Error::Invalid) if the id is, or if the entry is no acceptable JSON object, has
    /// more than `document_bytes_max` bytes, or is nested too deep to fit into a task.
    pub fn append_log(id: &str, entry: &str, document_bytes_max: usize) -> Result<Op> {
        let id = DocumentId::new(id)?;
        let what = || format!("the log entry for task {id}");
        checked(what, entry, document_bytes_max)?;
        json::check_depth(entry, DEPTH_MAX.saturating_sub(2))
            .map_err(|error| error.into_error(what()))?;
        Ok(Op::AppendLog { id, entry: entry.into() })
    }

    /// The removal of a document; of one that does not exist, it changes nothing.
    pub fn delete(collection: Collection, id: &str) -> Result<Op> {
        Ok(Op::Delete { collection, id: DocumentId::new(id)? })
    }

    /// Whether it is about a document (and not about a file of the engine).
    pub fn is_document_change(&self) -> bool {
        self.target().is_some()
    }

    /// The same of a record that is not decoded, by its kind.
    pub fn is_document_kind(kind: u8) -> bool {
        codec::is_about_document(kind)
    }

    /// Whether a record of this kind makes room on the disk: a deletion, or what must be logged before a
    /// file goes and the log is cut.
    pub fn makes_room(kind: u8) -> bool {
        codec::makes_room(kind)
    }

    /// The document concerned, if it is about one.
    pub fn target(&self) -> Option<(Collection, &DocumentId)> {
        match self {
            Op::Put { collection, id, .. }
            | Op::Patch { collection, id, .. }
            | Op::Delete { collection, id } => Some((*collection, id)),
            Op::AppendLog { id, .. } => Some((Collection::Task, id)),
            Op::Wrote { .. }
            | Op::Removed { .. }
            | Op::Edited { .. }
            | Op::Synced
            | Op::Saved { .. }
            | Op::WriteOutput { .. }
            | Op::AppendOutput { .. } => None,
        }
    }

    /// A note that these contents of a file were found, which are merged with nothing: a later opening must
    /// not take them for a new edit.
    pub fn noted(file: String, hash: ContentHash, length: u64) -> Op {
        Op::Edited { file, hash, length, modified_ns: 0, is_whole: false, text: None }
    }

    /// The record's kind and its bytes in the log.
    pub fn encode(&self) -> (u8, Vec<u8>) {
        let (kind, mut bytes, text) = self.encode_parts();
        bytes.extend_from_slice(text.unwrap_or_default().as_bytes());
        (kind, bytes)
    }

    /// As [`Op::encode`], with a document's text, which ends the record, left where it is.
    pub fn encode_parts(&self) -> (u8, Vec<u8>, Option<Arc<str>>) {
        codec::encode(self)
    }

    /// Reads a record of the log; says why, where it is none.
    pub fn decode(kind: u8, payload: &[u8]) -> Result<Op, String> {
        codec::decode(kind, payload)
    }
}

/// Checks size and JSON of a text from outside.
fn checked(what: impl Fn() -> String, text: &str, document_bytes_max: usize) -> Result<Object<'_>> {
    if text.len() > document_bytes_max {
        let why = format!("it has {} bytes, at most {document_bytes_max} are taken", text.len());
        return Err(Error::invalid(what(), why));
    }
    json::parse_checked(text).map_err(|error| error.into_error(what()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: usize = 4096;

    fn refusal(result: Result<Op>) -> String {
        let error = result.unwrap_err();
        assert!(matches!(error, Error::Invalid { .. }), "{error:?}");
        error.to_string()
    }

    #[test]
    fn a_document_keeps_its_text_and_gives_its_id() {
        let text = " {\"n\": 1.00, \"id\": \"t\\u0031\"}\n";
        let Op::Put { collection, id, document } = Op::put(Collection::Session, text, MAX).unwrap()
        else {
            panic!("no put")
        };
        assert_eq!(
            (collection, id.as_str(), &**document.text()),
            (Collection::Session, "t1", text)
        );
    }

    #[test]
    fn a_document_without_a_usable_id_is_refused_with_its_place() {
        let put = |text: &str| refusal(Op::put(Collection::Task, text, 40));
        assert_eq!(put("[]"), "the task, line 1, column 1: expected a JSON object, found an array");
        assert_eq!(put("{}"), "the task: it has no member \"id\", which must be a string");
        assert_eq!(
            put("{\n \"id\": 7}"),
            "the task, line 2, column 8: the member \"id\" must be a string, it is a number"
        );
        assert!(put("{\"id\": \"\"}").starts_with("the task, line 1, column 8: id \"\""));
        assert!(put("{\"id\": \"a\", \"id\": \"b\"}").contains("appears twice"));
        assert!(put(&format!("{{\"id\": \"{}\"}}", "x".repeat(40))).contains("at most 40"));
    }

    #[test]
    fn a_patch_must_be_an_object_and_must_not_change_the_id() {
        let patch = |text: &str| Op::patch(Collection::Task, "t1", text, MAX);
        assert!(patch("{\"id\": \"\\u00741\", \"a\": null}").is_ok());
        for id in ["\"t2\"", "null", "1"] {
            let why = refusal(patch(&format!("{{\"id\": {id}}}")));
            assert!(why.starts_with("the patch of task t1, line 1, column 8: "), "{why}");
        }
        refusal(patch("null"));
        refusal(Op::patch(Collection::Task, "", "{}", MAX));
        refusal(Op::patch(Collection::Task, "t1", &" ".repeat(MAX + 1), MAX));
        assert!(refusal(Op::delete(Collection::Task, "a\0b")).contains("control"));
    }

    #[test]
    fn a_log_entry_fits_into_the_deepest_task_that_can_hold_it() {
        let nested = |levels: usize| "{\"a\":".repeat(levels) + "1" + &"}".repeat(levels);
        let entry = nested(DEPTH_MAX - 2);
        let Op::AppendLog { entry, .. } = Op::append_log("t", &format!(" {entry} "), MAX).unwrap()
        else {
            panic!("no log entry")
        };
        let task = Document::new("{\"id\":\"t\"}").with_log(&entry).unwrap();
        json::check_object(task.text()).unwrap();
        assert!(refusal(Op::append_log("t", &nested(DEPTH_MAX - 1), MAX)).contains("levels deep"));
        refusal(Op::append_log("t", "\"text\"", MAX));
    }

    #[test]
    fn only_what_is_about_a_document_is_a_document_change() {
        let wrote = Op::Wrote { file: "f".into(), hash: ContentHash(0), length: 0, lsn: Lsn::ZERO };
        assert!(!wrote.is_document_change());
        assert!(!Op::Removed { file: "f".into(), lsn: Lsn::ZERO }.is_document_change());
        assert!(Op::append_log("t", "{}", MAX).unwrap().is_document_change());
        assert!(Op::delete(Collection::Session, "s").unwrap().is_document_change());
    }
}
