//! Splitting an object whose text was checked before, without checking it again.
//!
//! What is in the table or the log passed `check_object` when it came in, so only the places of its members are
//! needed: strings are skipped from quote to quote, nested values by their brackets.
//!
//! Invariant: of a text that passed, these are the members that [`Object::parse`] gives. Of any other they
//! are something meaningless, but spans of it, found in one walk.

use std::borrow::Cow;

use super::{Member, Object, decode, is_space};

/// The members of a text that passed `check_object`; `None` if it does not begin as an object.
pub(in crate::state) fn members_of(text: &str) -> Option<Object<'_>> {
    let mut rest = text.trim_start_matches(is_space).strip_prefix('{')?;
    let mut members = Vec::with_capacity(16);
    loop {
        rest = rest.trim_start_matches(|c| is_space(c) || c == ',');
        if !rest.starts_with('"') {
            return Some(Object { members });
        }
        let Some((raw_key, after)) = rest.split_at_checked(string_length(rest)) else { break };
        let after = after.trim_start_matches(|c| is_space(c) || c == ':');
        let Some((value, after)) = after.split_at_checked(value_length(after)) else { break };
        let key = decode(raw_key).unwrap_or(Cow::Borrowed(raw_key));
        members.push(Member { key, raw_key, value });
        rest = after;
    }
    Some(Object { members })
}

/// The length of the string that `text` begins with, both quotes included.
pub(super) fn string_length(text: &str) -> usize {
    let bytes = text.as_bytes();
    let mut at = 1_usize;
    while let Some(found) = bytes.get(at..).and_then(|rest| memchr::memchr2(b'"', b'\\', rest)) {
        at = at.saturating_add(found);
        if bytes.get(at) == Some(&b'"') {
            return at.saturating_add(1);
        }
        // What is escaped ends no string.
        at = at.saturating_add(2);
    }
    text.len()
}

/// The length of the value that `text` begins with.
fn value_length(text: &str) -> usize {
    match text.bytes().next() {
        Some(b'"') => string_length(text),
        Some(b'{' | b'[') => nested_length(text),
        _ => {
            let is_end = |byte: &u8| matches!(byte, b',' | b'}' | b' ' | b'\t' | b'\n' | b'\r');
            text.as_bytes().iter().position(is_end).unwrap_or(text.len())
        }
    }
}

/// The length of the object or array that `text` begins with.
fn nested_length(text: &str) -> usize {
    let (mut at, mut depth) = (0_usize, 0_usize);
    while let Some(byte) = text.as_bytes().get(at) {
        let length = match byte {
            b'"' => text.get(at..).map_or(1, string_length),
            _ => 1,
        };
        at = at.saturating_add(length);
        match byte {
            b'{' | b'[' => depth = depth.saturating_add(1),
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 {
            return at;
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checked_object_is_split_as_by_the_library() {
        for text in [
            "{}",
            " { } ",
            r#"{"a":1}"#,
            "\n{ \"a\" :\t[ {\"]\": \"}\\\"\"} , [ ] ] , \"b\" : { } }\n",
            r#"{"\u0061\"":-1.50e+3,"é":"\\","n":null ,"t":true}"#,
            r#"{"a":{"b":{"c":[[["{"]]]}},"d":"[","":""}"#,
        ] {
            let expected = Object::parse(text).unwrap();
            assert_eq!(members_of(text).unwrap().members, expected.members, "{text}");
        }
        assert!(members_of("[1]").is_none());
    }

    #[test]
    fn anything_else_is_walked_once_and_gives_spans_of_it() {
        let all = "{\"a\":[1,{\"é\\\"\":null}],\"b\":\"x\\\\\"}";
        for cut in (0..=all.len()).filter(|cut| all.is_char_boundary(*cut)) {
            for text in [all.get(..cut).unwrap(), all.get(cut..).unwrap()] {
                let members = members_of(text).unwrap_or_default().members;
                assert!(members.iter().all(|member| text.contains(member.value)), "{text}");
            }
        }
        assert_eq!(members_of(&"{\"a\":".repeat(100_000)).unwrap().len(), 1);
    }
}
