//! A document: its text, verbatim, and beside it the few top-level members that are indexed.
//!
//! The text is the truth; the indexed members are read from it once, on the thread that makes the
//! document, so that applying it later parses nothing. They tolerate any type: a `status` that is
//! a number is simply not indexed.
//!
//! Invariant: two documents of equal text are equal in everything, whether they were saved, patched
//! or replayed.

use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use smol_str::SmolStr;

use crate::base::{Error, Result, Timestamp};
use crate::state::json::{self, JsonError, Merged, Object, append_to_array, members_of};

/// The member of a task that log entries are appended to.
const LOGS: &str = "logs";

/// A document's text with what is indexed of it. Cloning copies no text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    text: Arc<str>,
    members: Indexed,
}

/// What is indexed of a document's text. Whoever keeps it beside the text need not parse that again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Indexed {
    /// The member `status`, where it is a string.
    pub status: Option<SmolStr>,
    /// The member `assigned_to`, where it is a string.
    pub assigned_to: Option<SmolStr>,
    /// The member `started_at`, where it is an RFC 3339 time.
    pub started_at: Option<Timestamp>,
    /// The member `completed_at`, where it is an RFC 3339 time.
    pub completed_at: Option<Timestamp>,
    /// Where in the text, in bytes, the next entry of a `logs` array that has entries goes, so that
    /// appending to a long one does not read it.
    pub logs_end: Option<usize>,
}

impl Document {
    /// Takes a text that passed [`check_object`](crate::state::json::check_object). What is indexed of any other
    /// means nothing.
    pub fn new(text: impl Into<Arc<str>>) -> Self {
        let text = text.into();
        let object = members_of(&text).unwrap_or_default();
        Self::indexed(Arc::clone(&text), &text, &object)
    }

    /// The same where the caller has split the text already: `object` holds spans of `source`,
    /// which equals `text`.
    pub(super) fn indexed(text: Arc<str>, source: &str, object: &Object<'_>) -> Self {
        let string = |key: &str| object.get(key).and_then(json::string_of);
        let time = |key: &str| string(key).as_deref().and_then(Timestamp::parse);
        let logs_end = object.get(LOGS).filter(|logs| logs.starts_with('[')).and_then(|logs| {
            let inside = logs.strip_suffix(']')?.trim_end_matches(json::is_space);
            (inside != "[").then(|| json::offset_in(source, logs).saturating_add(inside.len()))
        });
        let members = Indexed {
            status: string("status").map(SmolStr::from),
            assigned_to: string("assigned_to").map(SmolStr::from),
            started_at: time("started_at"),
            completed_at: time("completed_at"),
            logs_end,
        };
        Document { text, members }
    }

    /// A document without parsing its text: `members` are what [`members`](Document::members) gave
    /// for one of the very same text.
    pub fn with_members(text: impl Into<Arc<str>>, members: Indexed) -> Self {
        Document { text: text.into(), members }
    }

    /// What is indexed of it.
    pub fn members(&self) -> &Indexed {
        &self.members
    }

    /// The text, as it was saved.
    pub fn text(&self) -> &Arc<str> {
        &self.text
    }

    /// The member `status`, where it is a string.
    pub fn status(&self) -> Option<&str> {
        self.members.status.as_deref()
    }

    /// The member `assigned_to`, where it is a string.
    pub fn assigned_to(&self) -> Option<&str> {
        self.members.assigned_to.as_deref()
    }

    /// The member `started_at`, where it is an RFC 3339 time.
    pub fn started_at(&self) -> Option<Timestamp> {
        self.members.started_at
    }

    /// The member `completed_at`, where it is an RFC 3339 time.
    pub fn completed_at(&self) -> Option<Timestamp> {
        self.members.completed_at
    }

    /// The document with a merge patch applied.
    pub(super) fn patched(&self, patch: &str) -> Document {
        let merged = Merged::of(&self.text, patch);
        let mut patched =
            Document::indexed(merged.text.as_str().into(), &merged.text, &merged.object());
        // Most patches leave the status as it is: then both share its text.
        if patched.members.status == self.members.status {
            patched.members.status.clone_from(&self.members.status);
        }
        patched
    }

    /// The document with one more entry in `logs`; refused where `logs` is no array.
    pub(super) fn with_log(&self, entry: &str) -> Result<Document, JsonError> {
        let entry = entry.trim_matches(json::is_space);
        let around =
            self.members.logs_end.and_then(|at| Some((at, self.text.split_at_checked(at)?)));
        let Some((at, (before, after))) = around else {
            return append_to_array(&self.text, LOGS, entry).map(Document::new);
        };
        let text = [before, ",", entry, after].concat().into();
        let logs_end = Some(at.saturating_add(entry.len()).saturating_add(1));
        Ok(Document { text, members: Indexed { logs_end, ..self.members.clone() } })
    }
}

/// Reads a typed value from a document's text. Member by member, since the library's limit of depth
/// is one level below ours.
pub(super) fn read<T: DeserializeOwned>(text: &str, what: &str) -> Result<T> {
    let object = Object::parse(text).map_err(|error| error.into_error(what))?;
    let mut members = Map::new();
    for member in &object {
        let value: Value = serde_json::from_str(member.value).map_err(|error| {
            let start = json::offset_in(text, member.value);
            JsonError::from_serde(text, start, member.value, &error).into_error(what)
        })?;
        members.insert(member.key.clone().into_owned(), value);
    }
    serde_json::from_value(Value::Object(members)).map_err(|error| Error::invalid(what, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indexed_members_are_top_level_and_tolerate_any_type() {
        let document = Document::new(
            r#"{"x": {"status": "failed"}, "status": "\u0061b", "assigned_to": 7,
                "started_at": "2024-01-01T10:00:00Z", "completed_at": "soon", "logs": {}}"#,
        );
        assert_eq!(document.status(), Some("ab"));
        assert_eq!(document.assigned_to(), None);
        assert_eq!(document.started_at(), Timestamp::parse("2024-01-01T10:00:00Z"));
        assert_eq!(document.completed_at(), None);
        assert_eq!(Document::new("no JSON").status(), None);
    }

    #[test]
    fn a_document_made_of_its_text_and_members_is_the_one_that_parsing_makes() {
        for text in [
            "{}",
            r#"{"id": "t", "status": "\u0061b", "assigned_to": "é", "logs": [1 ]}"#,
            r#"{"started_at": "2024-01-01T10:00:00Z", "completed_at": "2024-01-01T11:00:00.5Z"}"#,
            r#"{"status": 7, "assigned_to": null, "started_at": "soon", "logs": []}"#,
        ] {
            let parsed = Document::new(text);
            let made = Document::with_members(text, parsed.members().clone());
            assert_eq!(made, parsed);
            let entry = r#"{"message": "x"}"#;
            assert_eq!(made.with_log(entry).unwrap(), parsed.with_log(entry).unwrap());
            assert_eq!(made.patched(r#"{"a": 1}"#), parsed.patched(r#"{"a": 1}"#));
        }
    }

    #[test]
    fn appending_entries_one_by_one_gives_what_reading_the_text_anew_gives() {
        for start in [
            r#"{"id": "t"}"#,
            r#"{"id": "t", "logs": null, "b": 1}"#,
            r#"{"logs": [ ], "id": "t"}"#,
            "{\n  \"logs\": [\n    {\"message\": \"é]\"}\n  ],\n  \"id\": \"t\"\n}\n",
        ] {
            let mut document = Document::new(start);
            for entry in [" {\"message\":\"a\"}\n", "{\"message\":\"]\\\"\"}", "{}"] {
                let anew = append_to_array(document.text(), LOGS, entry.trim())
                    .map(Document::new)
                    .unwrap();
                document = document.with_log(entry).unwrap();
                assert_eq!(document, anew);
                json::check_object(document.text()).unwrap();
            }
        }
        let why = Document::new(r#"{"logs": 1}"#).with_log("{}").unwrap_err().why;
        assert_eq!(why, "`logs` is a number, not an array");
    }
}
