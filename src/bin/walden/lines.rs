//! JSON Lines from outside: which line, which column, and what is wrong there.
//!
//! Invariant: a document's text is passed on exactly as it stands in its line.

use walden::state::Op;
use walden::state::json::{JsonError, Object, check_object};
use walden::{Error, Result};

use crate::host::Input;

/// One line that is not blank.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Line<'a> {
    file: &'a str,
    /// Counted from 1, blank lines included.
    pub(crate) number: usize,
    pub(crate) text: &'a str,
}

/// The lines of an input that are not blank.
pub(crate) fn lines(input: &Input) -> impl Iterator<Item = Line<'_>> {
    let numbered = (1..).zip(input.text.lines());
    numbered
        .map(|(number, text)| Line { file: &input.name, number, text: text.trim_end() })
        .filter(|line| !line.text.is_empty())
}

impl Line<'_> {
    /// The line's place, for messages.
    pub(crate) fn place(&self) -> String {
        format!("{}, line {}", self.file, self.number)
    }

    /// The error at `part`, a piece of this line.
    pub(crate) fn refuse(&self, part: &str, why: impl Into<String>) -> Error {
        self.refuse_at(self.column_of(part), why.into())
    }

    /// The error that was found in `part`, a piece of this line.
    pub(crate) fn refuse_json(&self, part: &str, error: JsonError) -> Error {
        let before = self.column_of(part).saturating_sub(1);
        self.refuse_at(before.saturating_add(error.column), error.why)
    }

    fn refuse_at(&self, column: usize, why: String) -> Error {
        Error::invalid(format!("{}, column {column}", self.place()), why)
    }

    /// Checks `object`, a piece of this line, and makes a mutation of it.
    pub(crate) fn make(&self, object: &str, make: impl FnOnce() -> Result<Op>) -> Result<Op> {
        let members = check_object(object)
            .and_then(|()| Object::parse(object))
            .map_err(|error| self.refuse_json(object, error))?;
        make().map_err(|error| match error {
            Error::Invalid { why, .. } => self.refuse(members.get("id").unwrap_or(object), why),
            other => other,
        })
    }

    /// In characters, counted from 1.
    fn column_of(&self, part: &str) -> usize {
        let offset = part.as_ptr().addr().saturating_sub(self.text.as_ptr().addr());
        let before = self.text.get(..offset).unwrap_or_default();
        before.chars().count().saturating_add(1)
    }
}
