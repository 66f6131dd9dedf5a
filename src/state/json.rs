//! JSON documents as text: checking, splitting, merging and laying it out.
//!
//! What was saved must come back digit by digit, key by key, so a document is kept as its text and
//! nothing here goes through a parsed value: `1e400`, 30-digit integers and escapes stay as they
//! were written. The grammar is `serde_json`'s; on top of it [`check_object`] refuses what two
//! readers could understand differently (duplicate keys, lone surrogates) and what could exhaust
//! one (depth). It must never panic or recurse on unchecked text without a bound.
//!
//! Invariant: the functions that return text without a `Result` expect text that passed
//! [`check_object`]; from it they make text that passes again. Fed anything else, they return
//! something meaningless, but they return.

mod edit;
mod split;

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::base::Error;

pub(super) use edit::Merged;
pub use edit::{append_to_array, compact, merge_patch, pretty};
pub(super) use split::members_of;
use split::string_length;

/// How deep objects and arrays may be nested; the document itself is the first level.
pub const DEPTH_MAX: usize = 128;

/// Why a text is not acceptable JSON, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {why}")]
pub struct JsonError {
    /// The line, counted from 1.
    pub line: usize,
    /// The column in characters, counted from 1.
    pub column: usize,
    /// The place in bytes from the start of the text.
    pub offset: usize,
    /// What is wrong there.
    pub why: String,
}

impl JsonError {
    /// The error at a byte of `text`.
    pub(crate) fn at(text: &str, offset: usize, why: impl Into<String>) -> Self {
        let whole = |at: &usize| text.is_char_boundary(*at);
        let offset = (0..=offset.min(text.len())).rev().find(whole).unwrap_or(0);
        let before = text.get(..offset).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline.saturating_add(1));
        let line = before.bytes().filter(|byte| *byte == b'\n').count().saturating_add(1);
        let column = before.get(line_start..).unwrap_or("").chars().count().saturating_add(1);
        JsonError { line, column, offset, why: why.into() }
    }

    /// Translates the library's place (a line and a column in bytes) within `part`, which begins
    /// at `start` of `text`.
    pub(super) fn from_serde(
        text: &str,
        start: usize,
        part: &str,
        error: &serde_json::Error,
    ) -> Self {
        let lines_before = error.line().saturating_sub(1);
        let line_start: usize = part.split_inclusive('\n').take(lines_before).map(str::len).sum();
        let inside = line_start.saturating_add(error.column().saturating_sub(1));
        let why = error.to_string();
        let why = why.rfind(" at line ").and_then(|end| why.get(..end)).unwrap_or(&why);
        JsonError::at(text, start.saturating_add(inside.min(part.len())), why)
    }

    /// The error that callers see: `what` (a file, an argument) with line and column, and why.
    pub fn into_error(self, what: impl fmt::Display) -> Error {
        let JsonError { line, column, why, .. } = self;
        Error::invalid(format!("{what}, line {line}, column {column}"), why)
    }
}

/// A piece of JSON text between insignificant white space: a bracket, comma or colon, or a whole
/// string, number or word.
#[derive(Clone, Copy, Debug)]
pub(super) struct Token<'a> {
    pub(super) at: usize,
    pub(super) text: &'a str,
}

impl Token<'_> {
    /// The first byte tells what a token is.
    pub(super) fn kind(&self) -> u8 {
        self.text.bytes().next().unwrap_or(b' ')
    }
}

/// Cuts text whose grammar was checked into tokens.
#[derive(Clone, Debug)]
pub(super) struct Tokens<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Tokens<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Tokens { text, at: 0 }
    }
}

impl<'a> Iterator for Tokens<'a> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Token<'a>> {
        let rest = self.text.get(self.at..)?;
        let token = rest.trim_start_matches(is_space);
        let at = self.at.saturating_add(rest.len().saturating_sub(token.len()));
        let length = match token.bytes().next()? {
            b'{' | b'}' | b'[' | b']' | b',' | b':' => 1,
            b'"' => string_length(token),
            _ => token.find(|c| is_space(c) || matches!(c, ',' | ']' | '}')).unwrap_or(token.len()),
        };
        self.at = at.saturating_add(length);
        Some(Token { at, text: token.get(..length)? })
    }
}

pub(super) fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\r')
}

/// What a string token says; it fails on a lone surrogate.
fn decode(raw: &str) -> Result<Cow<'_, str>, serde_json::Error> {
    let inside = raw.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    match inside {
        Some(inside) if !inside.contains('\\') => Ok(Cow::Borrowed(inside)),
        _ => serde_json::from_str(raw).map(Cow::Owned),
    }
}

/// Accepts a text that is one JSON object with nothing but white space around it.
///
/// Refused are, at any depth, two equal keys in one object (compared as what they say, not as they
/// are escaped), lone surrogates, and nesting beyond [`DEPTH_MAX`]. Numbers of any size and
/// precision are accepted. Time is linear (keys are sorted), memory a small multiple of the text.
///
/// ```
/// use walden::state::json::check_object;
/// assert!(check_object(r#"{"n": 123456789012345678901234567890.5e400}"#).is_ok());
/// let error = check_object("{\"a\": 1,\n \"\\u0061\": 2}").unwrap_err();
/// assert_eq!(error.to_string(), r#"line 2, column 2: the key "a" appears twice in one object"#);
/// ```
pub fn check_object(text: &str) -> Result<(), JsonError> {
    parse_checked(text).map(|_| ())
}

/// Splits an object after checking it as [`check_object`] does: the grammar by the library, then
/// depth, keys and strings in one walk over the tokens, which finds the members too.
pub(super) fn parse_checked(text: &str) -> Result<Object<'_>, JsonError> {
    check_start(text)?;
    serde_json::from_str::<IgnoredAny>(text)
        .map_err(|error| JsonError::from_serde(text, 0, text, &error))?;
    let mut members = Vec::with_capacity(16);
    // Of the outermost object: the last key, where its value begins, where the last token ended.
    let mut member: Option<(Cow<'_, str>, &str)> = None;
    let (mut value_at, mut end) = (0, 0);
    let mut keys: Vec<(Cow<'_, str>, usize)> = Vec::with_capacity(16);
    // Of each open bracket: where its keys begin, or nothing for an array.
    let mut open: Vec<Option<usize>> = Vec::with_capacity(8);
    let mut previous = b' ';
    for token in Tokens::new(text) {
        let kind = token.kind();
        let is_outermost = open.len() == 1;
        if is_outermost && previous == b':' {
            value_at = token.at;
        }
        if is_outermost
            && matches!(kind, b',' | b'}')
            && let Some((key, raw_key)) = member.take()
        {
            let value = text.get(value_at..end).unwrap_or_default();
            members.push(Member { key, raw_key, value });
        }
        match kind {
            b'{' | b'[' if open.len() >= DEPTH_MAX => {
                return Err(too_deep(text, token.at, DEPTH_MAX));
            }
            b'{' => open.push(Some(keys.len())),
            b'[' => open.push(None),
            b'}' | b']' => {
                if let Some(Some(first)) = open.pop() {
                    check_distinct(text, keys.get_mut(first..).unwrap_or_default())?;
                    keys.truncate(first);
                }
            }
            b'"' => {
                let is_key =
                    matches!(open.last(), Some(Some(_))) && matches!(previous, b'{' | b',');
                if is_key || token.text.contains("\\u") {
                    let said = decode(token.text).map_err(|error| {
                        JsonError::from_serde(text, token.at, token.text, &error)
                    })?;
                    if is_key && is_outermost {
                        member = Some((said.clone(), token.text));
                    }
                    if is_key {
                        keys.push((said, token.at));
                    }
                }
            }
            _ => {}
        }
        previous = kind;
        end = token.at.saturating_add(token.text.len());
    }
    Ok(Object { members })
}

/// Refuses nesting beyond `levels` in text whose grammar was checked.
pub(super) fn check_depth(text: &str, levels: usize) -> Result<(), JsonError> {
    let mut depth = 0_usize;
    for token in Tokens::new(text) {
        match token.kind() {
            b'{' | b'[' if depth >= levels => {
                return Err(too_deep(text, token.at, levels));
            }
            b'{' | b'[' => depth = depth.saturating_add(1),
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    Ok(())
}

fn too_deep(text: &str, at: usize, levels: usize) -> JsonError {
    JsonError::at(text, at, format!("nested more than {levels} levels deep"))
}

fn check_start(text: &str) -> Result<(), JsonError> {
    if text.starts_with('\u{feff}') {
        let why = "the text begins with a byte order mark; save it as UTF-8 without one";
        return Err(JsonError::at(text, 0, why));
    }
    let object = text.trim_start_matches(is_space);
    if !object.starts_with('{') {
        let offset = text.len().saturating_sub(object.len());
        let why = format!("expected a JSON object, found {}", name_of(object));
        return Err(JsonError::at(text, offset, why));
    }
    Ok(())
}

/// What a string says, given as it is written; `None` if it is none.
pub(super) fn string_of(value: &str) -> Option<Cow<'_, str>> {
    value.starts_with('"').then(|| decode(value).ok()).flatten()
}

/// What kind of value a text seems to be, for messages.
pub(super) fn name_of(value: &str) -> &'static str {
    match value.bytes().next() {
        None => "nothing",
        Some(b'{') => "an object",
        Some(b'[') => "an array",
        Some(b'"') => "a string",
        Some(b'-' | b'0'..=b'9') => "a number",
        Some(b't' | b'f') => "a boolean",
        Some(b'n') => "null",
        Some(_) => "something else",
    }
}

fn check_distinct(text: &str, keys: &mut [(Cow<'_, str>, usize)]) -> Result<(), JsonError> {
    keys.sort_unstable();
    let second = keys
        .windows(2)
        .filter_map(|pair| match pair {
            [(first, _), (second, at)] if first == second => Some((*at, second)),
            _ => None,
        })
        .min();
    second.map_or(Ok(()), |(at, key)| {
        Err(JsonError::at(text, at, format!("the key {key:?} appears twice in one object")))
    })
}

/// One member of an object, as spans of the object's text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member<'a> {
    /// What the key says.
    pub key: Cow<'a, str>,
    /// The key as written, quotes and escapes included.
    pub raw_key: &'a str,
    /// The value as written.
    pub value: &'a str,
}

/// The members of a JSON object, in the order of its text; values are not parsed.
///
/// ```
/// use walden::state::json::Object;
/// let object = Object::parse(r#"{"b": 1.00, "a": [2]}"#).unwrap();
/// assert_eq!(object.get("b"), Some("1.00"));
/// assert_eq!(object.iter().map(|member| &*member.key).collect::<Vec<_>>(), ["b", "a"]);
/// ```
#[derive(Clone, Debug, Default)]
pub struct Object<'a> {
    members: Vec<Member<'a>>,
}

impl<'a> Object<'a> {
    /// Splits an object. The grammar is checked; depth, duplicate keys and surrogates outside the
    /// keys are not, that is what [`check_object`] is for.
    pub fn parse(text: &'a str) -> Result<Self, JsonError> {
        let RawMembers(raw) = serde_json::from_str(text)
            .map_err(|error| JsonError::from_serde(text, 0, text, &error))?;
        let member = |(key, value): (&'a RawValue, &'a RawValue)| {
            let (raw_key, value) = (key.get(), value.get());
            let key = decode(raw_key).map_err(|error| {
                JsonError::from_serde(text, offset_in(text, raw_key), raw_key, &error)
            })?;
            Ok(Member { key, raw_key, value })
        };
        Ok(Object { members: raw.into_iter().map(member).collect::<Result<_, _>>()? })
    }

    /// The text of the value under `key`, as written.
    pub fn get(&self, key: &str) -> Option<&'a str> {
        self.iter().find(|member| member.key == key).map(|member| member.value)
    }

    /// The members, in the order of the text.
    pub fn iter(&self) -> std::slice::Iter<'_, Member<'a>> {
        self.members.iter()
    }

    /// How many members there are.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether this is `{}`.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }
}

impl<'o, 'a> IntoIterator for &'o Object<'a> {
    type Item = &'o Member<'a>;
    type IntoIter = std::slice::Iter<'o, Member<'a>>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// The members as `serde_json` finds them, before keys are decoded.
struct RawMembers<'a>(Vec<(&'a RawValue, &'a RawValue)>);

impl<'de> Deserialize<'de> for RawMembers<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;

        impl<'de> Visitor<'de> for Members {
            type Value = RawMembers<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(RawMembers(members))
            }
        }

        deserializer.deserialize_map(Members)
    }
}

/// Where `part`, a piece of `text`, begins in it.
pub(super) fn offset_in(text: &str, part: &str) -> usize {
    part.as_ptr().addr().saturating_sub(text.as_ptr().addr())
}

#[cfg(test)]
mod tests;
