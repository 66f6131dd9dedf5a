//! A document's values in the order of its text, each with its span, for comparing them by meaning.
//!
//! Values stay text: strings are decoded and numbers read only where two spellings differ. A tape is
//! made in one pass without recursion and refuses nesting beyond `DEPTH_MAX`, so what walks over one
//! may recurse. Of text that was not checked it may be a tape of nothing sensible, but it is one.

use std::borrow::Cow;
use std::collections::HashMap;

use super::number;
use crate::state::json::{DEPTH_MAX, Tokens, offset_in, string_of};

/// Which numbers count as equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Numbers {
    /// Equal decimals.
    Exact,
    /// Equal decimals, and in the second value what a double makes of the first's.
    Rounded,
}

#[derive(Debug)]
pub(super) struct Tape<'a> {
    nodes: Vec<Node<'a>>,
}

/// A value or a key. Those within follow it, keys and values of an object in turn.
#[derive(Debug)]
struct Node<'a> {
    text: &'a str,
    /// The place of the first node that is not within.
    next: usize,
}

impl<'a> Tape<'a> {
    /// The tape of an object; `None` if the text plainly is none, or is too deep.
    pub(super) fn new(text: &'a str) -> Option<Self> {
        let mut nodes: Vec<Node<'a>> = Vec::new();
        let mut open: Vec<usize> = Vec::new();
        for token in Tokens::new(text) {
            let next = nodes.len().saturating_add(1);
            match token.kind() {
                b',' | b':' => {}
                b'}' | b']' => {
                    let count = nodes.len();
                    let node = nodes.get_mut(open.pop()?)?;
                    let end = token.at.saturating_add(token.text.len());
                    node.text = text.get(offset_in(text, node.text)..end)?;
                    node.next = count;
                }
                kind => {
                    if matches!(kind, b'{' | b'[') {
                        open.push(nodes.len());
                    }
                    nodes.push(Node { text: token.text, next });
                }
            }
            if open.len() > DEPTH_MAX {
                return None;
            }
        }
        let root = nodes.first()?;
        let is_whole = open.is_empty() && root.next == nodes.len() && root.text.starts_with('{');
        is_whole.then_some(Tape { nodes })
    }

    /// The document.
    pub(super) fn root(&self) -> Value<'_> {
        Value { tape: self, at: 0 }
    }
}

/// A value of a tape.
#[derive(Clone, Copy, Debug)]
pub(super) struct Value<'a> {
    tape: &'a Tape<'a>,
    at: usize,
}

/// A member of an object.
#[derive(Clone, Debug)]
pub(super) struct Member<'a> {
    /// What the key says.
    pub(super) key: Cow<'a, str>,
    /// The key as written.
    pub(super) raw_key: &'a str,
    pub(super) value: Value<'a>,
}

impl<'a> Value<'a> {
    /// The value as written.
    pub(super) fn text(self) -> &'a str {
        self.tape.nodes.get(self.at).map_or("null", |node| node.text)
    }

    fn kind(self) -> u8 {
        match self.text().bytes().next() {
            Some(b'-' | b'0'..=b'9') => b'0',
            kind => kind.unwrap_or(b' '),
        }
    }

    pub(super) fn is_object(self) -> bool {
        self.kind() == b'{'
    }

    pub(super) fn is_array(self) -> bool {
        self.kind() == b'['
    }

    /// What is directly within: the items of an array, the keys and values of an object.
    pub(super) fn items(self) -> impl Iterator<Item = Value<'a>> {
        let next = move |at: usize| self.tape.nodes.get(at).map(|node| node.next);
        let end = next(self.at).unwrap_or(0);
        let within = move |at: &usize| *at < end;
        std::iter::successors(Some(self.at.saturating_add(1)).filter(within), move |at| {
            next(*at).filter(within)
        })
        .map(move |at| Value { tape: self.tape, at })
    }

    /// The members of an object, in the order of the text.
    pub(super) fn members(self) -> Vec<Member<'a>> {
        let mut members = Vec::new();
        let mut items = self.items();
        while let (Some(key), Some(value)) = (items.next(), items.next()) {
            let raw_key = key.text();
            let key = string_of(raw_key).unwrap_or(Cow::Borrowed(raw_key));
            members.push(Member { key, raw_key, value });
        }
        members
    }

    /// The members of an object by what their keys say.
    pub(super) fn by_key(self) -> HashMap<Cow<'a, str>, Value<'a>> {
        self.members().into_iter().map(|member| (member.key, member.value)).collect()
    }

    /// Whether `other` means the same as this.
    pub(super) fn is_same(self, other: Value<'_>, numbers: Numbers) -> bool {
        let (text, other_text) = (self.text(), other.text());
        if text == other_text {
            return true;
        }
        if self.kind() != other.kind() {
            return false;
        }
        match self.kind() {
            b'{' => is_same_object(self.members(), other.members(), numbers),
            b'[' => {
                let (mut items, mut others) = (self.items(), other.items());
                loop {
                    match (items.next(), others.next()) {
                        (None, None) => return true,
                        (Some(a), Some(b)) if a.is_same(b, numbers) => {}
                        _ => return false,
                    }
                }
            }
            b'"' => {
                let said = string_of(text);
                said.is_some() && said == string_of(other_text)
            }
            b'0' => {
                number::is_same(text, other_text)
                    || (numbers == Numbers::Rounded && number::is_rounded(text, other_text))
            }
            _ => false,
        }
    }

    /// The numbers of `other`, in their order, that are those of this value gone through a double, each
    /// with the digits that it had: of members with the same key, of items in the same place.
    pub(super) fn rounded_in<'o>(self, other: Value<'o>, found: &mut Vec<(&'o str, &'a str)>) {
        if self.kind() != other.kind() || self.text() == other.text() {
            return;
        }
        match self.kind() {
            b'{' => {
                let members = self.by_key();
                for member in other.members() {
                    if let Some(value) = members.get(&member.key) {
                        value.rounded_in(member.value, found);
                    }
                }
            }
            b'[' => self.items().zip(other.items()).for_each(|(a, b)| a.rounded_in(b, found)),
            b'0' if number::is_rounded(self.text(), other.text()) => {
                found.push((other.text(), self.text()));
            }
            _ => {}
        }
    }
}

fn is_same_object(mut a: Vec<Member<'_>>, mut b: Vec<Member<'_>>, numbers: Numbers) -> bool {
    if a.len() != b.len() {
        return false;
    }
    if a.iter().zip(&b).any(|(a, b)| a.key != b.key) {
        a.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        b.sort_unstable_by(|a, b| a.key.cmp(&b.key));
    }
    a.iter().zip(&b).all(|(a, b)| a.key == b.key && a.value.is_same(b.value, numbers))
}
