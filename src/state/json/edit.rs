//! New JSON text out of old: merge patches, appending to an array, and the two layouts.
//!
//! Values travel as the text they were written in, and are never parsed, so that digits, escapes
//! and the order of keys survive every change. All of it expects text that passed `check_object`,
//! and makes text that passes again; none of it panics or recurses deeper than `DEPTH_MAX` on
//! anything else.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Range;

use foldhash::fast::RandomState;

use super::{
    DEPTH_MAX, JsonError, Member, Object, Tokens, is_space, members_of, name_of, offset_in,
};

/// Applies a JSON merge patch (RFC 7396) to an object's text.
///
/// Members that the patch leaves alone keep their place, their key's spelling and their text;
/// changed ones change in place; new ones follow in the patch's order; `null` removes.
///
/// ```
/// use walden::state::json::merge_patch;
/// let merged = merge_patch(r#"{"b": 1.00, "a": 1, "c": 2}"#, r#"{"a": null, "d": 3, "c": 4}"#);
/// assert_eq!(merged, r#"{"b":1.00,"c":4,"d":3}"#);
/// ```
pub fn merge_patch(target: &str, patch: &str) -> String {
    Merged::of(target, patch).text
}

/// A patched text, with its members, which need not be looked for again.
pub(in crate::state) struct Merged<'a> {
    pub(in crate::state) text: String,
    members: Vec<Place<'a>>,
}

/// A key, what it says and how it is written, and where its value is.
type Place<'a> = (Cow<'a, str>, &'a str, Range<usize>);

impl<'a> Merged<'a> {
    /// What [`merge_patch`] makes of the same.
    pub(in crate::state) fn of(target: &'a str, patch: &'a str) -> Merged<'a> {
        let mut text = String::with_capacity(target.len().saturating_add(patch.len()));
        let mut members = Vec::new();
        let (target, patch) = (target.trim_matches(is_space), patch.trim_matches(is_space));
        merge_into(&mut text, target, patch, DEPTH_MAX, Some(&mut members));
        Merged { text, members }
    }

    /// Its members, as spans of its text.
    pub(in crate::state) fn object(&self) -> Object<'_> {
        let mut members = Vec::with_capacity(self.members.len());
        for (key, raw_key, value) in &self.members {
            let value = self.text.get(value.clone()).unwrap_or_default();
            members.push(Member { key: Cow::Borrowed(key), raw_key, value });
        }
        Object { members }
    }
}

fn merge_into<'a>(
    out: &mut String,
    target: &'a str,
    patch: &'a str,
    levels: usize,
    mut places: Option<&mut Vec<Place<'a>>>,
) {
    let Some(patch) = members_of(patch).filter(|_| levels > 0) else {
        out.push_str(patch);
        return;
    };
    let target = members_of(target).unwrap_or_default();
    let mut changes: HashMap<&str, &Member<'_>, RandomState> =
        patch.iter().map(|member| (&*member.key, member)).collect();
    let mut first = true;
    let mut emit = |member: &Member<'a>, old: &'a str, change: Option<&'a str>| {
        if change == Some("null") {
            return;
        }
        out.push(if first { '{' } else { ',' });
        first = false;
        out.push_str(member.raw_key);
        out.push(':');
        let start = out.len();
        match change {
            None => out.push_str(old),
            Some(change) => merge_into(out, old, change, levels.saturating_sub(1), None),
        }
        if let Some(places) = &mut places {
            places.push((member.key.clone(), member.raw_key, start..out.len()));
        }
    };
    for member in &target {
        let change = changes.remove(&*member.key);
        emit(member, member.value, change.map(|change| change.value));
    }
    for member in patch.iter().filter(|member| changes.contains_key(&*member.key)) {
        emit(member, "null", Some(member.value));
    }
    out.push_str(if first { "{}" } else { "}" });
}

/// Appends `value` to the array under `key`, and changes no other byte.
///
/// A missing array is created at the end, a `null` becomes one. Anything else under the key is
/// refused, with its place.
///
/// ```
/// use walden::state::json::append_to_array;
/// assert_eq!(append_to_array(r#"{"a": [1 ], "b": 2}"#, "a", "3").unwrap(), r#"{"a": [1,3 ], "b": 2}"#);
/// assert_eq!(append_to_array("{}", "a", "3").unwrap(), r#"{"a":[3]}"#);
/// assert!(append_to_array(r#"{"a": {}}"#, "a", "3").is_err());
/// ```
pub fn append_to_array(object: &str, key: &str, value: &str) -> Result<String, JsonError> {
    let members = Object::parse(object)?;
    // What is replaced, and by what: an empty span is a pure insertion.
    let (at, removed, inserted) = match members.get(key) {
        None => {
            let inside = object.trim_end_matches(is_space);
            let at = inside.len().saturating_sub(1);
            let comma = if members.is_empty() { "" } else { "," };
            let key = serde_json::to_string(key).unwrap_or_default();
            (at, 0, format!("{comma}{key}:[{value}]"))
        }
        Some(array) if array.starts_with('[') => {
            let inside = array.strip_suffix(']').unwrap_or(array).trim_end_matches(is_space);
            let comma = if inside == "[" { "" } else { "," };
            (offset_in(object, array).saturating_add(inside.len()), 0, format!("{comma}{value}"))
        }
        Some("null") => {
            let at = members.get(key).map_or(0, |null| offset_in(object, null));
            (at, "null".len(), format!("[{value}]"))
        }
        Some(other) => {
            let why = format!("`{key}` is {}, not an array", name_of(other));
            return Err(JsonError::at(object, offset_in(object, other), why));
        }
    };
    let before = object.get(..at).unwrap_or("");
    let after = object.get(at.saturating_add(removed)..).unwrap_or("");
    Ok([before, &inserted, after].concat())
}

/// Lays a document out for people: two spaces a level, one member a line, a newline at the end.
/// Strings and numbers stay as they were written.
///
/// ```
/// use walden::state::json::pretty;
/// assert_eq!(pretty(r#"{"a":[1.0],"b":{}}"#), "{\n  \"a\": [\n    1.0\n  ],\n  \"b\": {}\n}\n");
/// ```
pub fn pretty(text: &str) -> String {
    let mut out = String::with_capacity(text.len().saturating_add(text.len() / 2));
    let mut depth = 0_usize;
    let mut previous = b' ';
    for token in Tokens::new(text) {
        let kind = token.kind();
        let closes = matches!(kind, b'}' | b']');
        if closes {
            depth = depth.saturating_sub(1);
        }
        let opened = matches!(previous, b'{' | b'[');
        if (opened || closes || previous == b',') && !(opened && closes) {
            out.push('\n');
            out.extend(std::iter::repeat_n("  ", depth));
        } else if previous == b':' {
            out.push(' ');
        }
        out.push_str(token.text);
        if matches!(kind, b'{' | b'[') {
            depth = depth.saturating_add(1);
        }
        previous = kind;
    }
    out.push('\n');
    out
}

/// The document on one line, without insignificant white space; borrowed where it has none.
///
/// ```
/// use walden::state::json::compact;
/// assert_eq!(compact("{ \"a b\": [ 1 ] }\n"), r#"{"a b":[1]}"#);
/// ```
pub fn compact(text: &str) -> Cow<'_, str> {
    let length: usize = Tokens::new(text).map(|token| token.text.len()).sum();
    if length == text.len() {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(length);
    out.extend(Tokens::new(text).map(|token| token.text));
    Cow::Owned(out)
}
