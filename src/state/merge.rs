//! The three-way merge of an edited document with what the engine changed meanwhile.
//!
//! Field by field, by what values mean: decoded strings, exact decimals, members in any order. What
//! only one side changed is taken from that side; what both changed differently goes to the edit, and
//! is told as a conflict. The decision table is in DESIGN.md, one test a row.
//!
//! Invariants: pure, never panics, and of documents that were checked it makes one that passes again.
//! Text is put together from the texts of the three versions and from nothing else, so spelling and
//! digits survive. Time is n log n in the length of the texts, whatever they hold.

mod fields;
mod number;
mod tape;

use std::collections::{HashMap, HashSet};

pub use self::fields::{FieldChange, field_changes};
use self::tape::{Member, Numbers, Tape, Value};
use crate::state::json::offset_in;

/// The array of log entries, which merges as appends.
const LOGS: &str = "logs";

/// How much memory the conflicts' pointers may take, in bytes.
const POINTERS_BYTES_MAX: usize = 1 << 20;

/// The merge of an edit with what the engine changed since the edited version was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Merged {
    /// The document. It is `ours`, verbatim, if it means the same as that: the edit changed nothing.
    /// Else it is `theirs`, verbatim, if it means the same as that: the engine changed nothing. In the
    /// latter case, numbers that only went through a double have their digits back, so it may differ
    /// from `theirs` in these and in no other byte.
    pub text: String,
    /// JSON pointers (RFC 6901) of what both sides changed differently; in `text` the edit's version
    /// counts, or what is left where one side deleted. In the order of the edit's members; a pointer
    /// that would take the list beyond 1 MiB is left out, unless it is the first.
    pub conflicts: Vec<String>,
}

/// Merges an edit, `theirs`, into the engine's present version, `ours`; `base` is the version of the
/// engine's that was edited, if it is known.
///
/// All are objects that passed [`check_object`](crate::state::json::check_object); then so does the
/// result, which may be as long as both together. Of anything else the result is meaningless: `theirs`,
/// with a conflict about the whole document (the empty pointer), where that is noticed.
///
/// A number that became another decimal only because a tool read it into a double and wrote it again
/// (`jq` does that to every number) is unchanged, and keeps its digits.
///
/// ```
/// use walden::state::merge3;
/// let base = r#"{"id": "a", "status": "pending", "tries": 1}"#;
/// let ours = r#"{"id": "a", "status": "pending", "tries": 2}"#;
/// let theirs = r#"{"id": "a", "status": "cancelled", "tries": 1}"#;
/// let merged = merge3(Some(base), ours, theirs);
/// assert_eq!(merged.text, r#"{"id":"a","status":"cancelled","tries":2}"#);
/// assert!(merged.conflicts.is_empty());
///
/// let theirs = r#"{"id": "a", "status": "pending", "tries": 0}"#;
/// let merged = merge3(Some(base), ours, theirs);
/// assert_eq!((merged.text.as_str(), merged.conflicts), (theirs, vec!["/tries".to_owned()]));
/// ```
pub fn merge3(base: Option<&str>, ours: &str, theirs: &str) -> Merged {
    let tapes = (base.map(Tape::new), Tape::new(ours), Tape::new(theirs));
    let (base_tape, Some(our_tape), Some(their_tape)) = &tapes else {
        return unreadable(theirs);
    };
    let base_tape = match base_tape {
        Some(None) => return unreadable(theirs),
        Some(Some(tape)) => Some(tape),
        None => None,
    };
    let mut merge = Merge {
        has_base: base.is_some(),
        out: Vec::new(),
        pointer: String::new(),
        conflicts: Vec::new(),
        pointers_bytes: 0,
    };
    let (base, our, their) = (base_tape.map(Tape::root), our_tape.root(), their_tape.root());
    merge.object(base, our, their);
    let (merged, conflicts) = (merge.out.concat(), merge.conflicts);
    let means = |text: &str| is_same(&merged, text);
    if means(ours) {
        return Merged { text: ours.to_owned(), conflicts };
    }
    let mut restored = Vec::new();
    push_restored(&mut restored, base.or(Some(our)), their);
    // White space around the object is part of the file.
    let end = offset_in(theirs, their.text()).saturating_add(their.text().len());
    restored.insert(0, theirs.get(..offset_in(theirs, their.text())).unwrap_or_default());
    restored.push(theirs.get(end..).unwrap_or_default());
    let restored = restored.concat();
    Merged { text: if means(&restored) { restored } else { merged }, conflicts }
}

fn unreadable(theirs: &str) -> Merged {
    Merged { text: theirs.to_owned(), conflicts: vec![String::new()] }
}

/// In how many top-level members `edited` differs in meaning from `version`, absent ones included:
/// the version with the fewest is the likely base of an edit.
///
/// Numbers of `version` that went through a double count as equal. Of texts that are no objects it is
/// 0 if they are equal, else [`usize::MAX`].
pub fn difference(version: &str, edited: &str) -> usize {
    let (Some(version_tape), Some(edited_tape)) = (Tape::new(version), Tape::new(edited)) else {
        return if version == edited { 0 } else { usize::MAX };
    };
    let mut others = edited_tape.root().by_key();
    let gone_or_changed = version_tape
        .root()
        .members()
        .into_iter()
        .filter(|member| {
            let other = others.remove(&member.key);
            !other.is_some_and(|other| member.value.is_same(other, Numbers::Rounded))
        })
        .count();
    gone_or_changed.saturating_add(others.len())
}

/// Whether two documents mean the same: white space, the order of members, the spelling of strings and
/// that of numbers apart (`1`, `1.0` and `10e-1` are one number, as are `0` and `-0`).
///
/// Texts that are no objects are the same only if they are equal.
pub fn is_same(a: &str, b: &str) -> bool {
    match (Tape::new(a), Tape::new(b)) {
        (Some(a), Some(b)) => a.root().is_same(b.root(), Numbers::Exact),
        _ => a == b,
    }
}

struct Merge<'a> {
    /// Without a base, it is ours whose numbers theirs may have rounded.
    has_base: bool,
    /// The result, in pieces.
    out: Vec<&'a str>,
    /// The JSON pointer of the object at hand.
    pointer: String,
    conflicts: Vec<String>,
    pointers_bytes: usize,
}

impl<'a> Merge<'a> {
    fn object(&mut self, base: Option<Value<'a>>, ours: Value<'a>, theirs: Value<'a>) {
        let base = base.map(Value::by_key).unwrap_or_default();
        let (ours, theirs) = (ours.members(), theirs.members());
        self.out.push("{");
        for (our, their) in in_order(&ours, &theirs) {
            let key = our.or(their).map_or("", |member| &*member.key);
            let old = base.get(key).copied();
            match (our, their) {
                (Some(our), Some(their)) => {
                    self.key(our.raw_key);
                    self.value(key, old, our.value, their.value);
                }
                (Some(kept), None) | (None, Some(kept)) => {
                    let is_unchanged = old.is_some_and(|old| is_unchanged(old, kept.value));
                    if is_unchanged {
                        continue;
                    }
                    if old.is_some() {
                        self.conflict(key);
                    }
                    self.key(kept.raw_key);
                    // The engine writes what it was given; only an edit comes from a tool.
                    push_restored(&mut self.out, old.filter(|_| their.is_some()), kept.value);
                }
                (None, None) => {}
            }
        }
        self.out.push("}");
    }

    fn key(&mut self, raw_key: &'a str) {
        // No value ends with an opening bracket.
        if self.out.last() != Some(&"{") {
            self.out.push(",");
        }
        self.out.extend([raw_key, ":"]);
    }

    /// What both sides have under a key.
    fn value(&mut self, key: &str, base: Option<Value<'a>>, ours: Value<'a>, theirs: Value<'a>) {
        if ours.is_object() && theirs.is_object() && ours.text() != theirs.text() {
            let length = self.pointer.len();
            push_escaped(&mut self.pointer, key);
            self.object(base.filter(|base| base.is_object()), ours, theirs);
            self.pointer.truncate(length);
            return;
        }
        if base.is_some_and(|base| is_unchanged(base, theirs)) || is_unchanged(ours, theirs) {
            self.out.push(ours.text());
        } else if base.is_some_and(|base| is_unchanged(base, ours)) {
            push_restored(&mut self.out, base, theirs);
        } else if self.pointer.is_empty()
            && key == LOGS
            && let Some(entries) = appended(base, ours, theirs)
        {
            self.out.push("[");
            for (number, entry) in entries.iter().enumerate() {
                self.out.extend([if number == 0 { "" } else { "," }, entry.text()]);
            }
            self.out.push("]");
        } else {
            self.conflict(key);
            let origin = if self.has_base { base } else { Some(ours) };
            push_restored(&mut self.out, origin, theirs);
        }
    }

    fn conflict(&mut self, key: &str) {
        let mut pointer = self.pointer.clone();
        push_escaped(&mut pointer, key);
        self.pointers_bytes = self.pointers_bytes.saturating_add(pointer.len());
        if self.conflicts.is_empty() || self.pointers_bytes <= POINTERS_BYTES_MAX {
            self.conflicts.push(pointer);
        }
    }
}

fn is_unchanged(before: Value<'_>, after: Value<'_>) -> bool {
    before.is_same(after, Numbers::Rounded)
}

/// The members of both sides in the order of the result: theirs, and behind each what only ours has
/// behind that.
fn in_order<'m, 'a>(
    ours: &'m [Member<'a>],
    theirs: &'m [Member<'a>],
) -> Vec<(Option<&'m Member<'a>>, Option<&'m Member<'a>>)> {
    let in_theirs: HashSet<&str> = theirs.iter().map(|member| &*member.key).collect();
    let in_ours: HashMap<&str, usize> =
        ours.iter().enumerate().map(|(at, member)| (&*member.key, at)).collect();
    let only_ours = |from: usize| {
        let rest = ours.get(from..).unwrap_or_default().iter();
        rest.take_while(|member| !in_theirs.contains(&*member.key)).map(|our| (Some(our), None))
    };
    let mut order: Vec<_> = only_ours(0).collect();
    for their in theirs {
        let at = in_ours.get(&*their.key).copied();
        order.push((at.and_then(|at| ours.get(at)), Some(their)));
        if let Some(at) = at {
            order.extend(only_ours(at.saturating_add(1)));
        }
    }
    order
}

/// The entries of three arrays of which the first begins both others: what both have is there once,
/// then come ours, then theirs.
fn appended<'a>(
    base: Option<Value<'a>>,
    ours: Value<'a>,
    theirs: Value<'a>,
) -> Option<Vec<Value<'a>>> {
    let base = base.filter(|base| [*base, ours, theirs].iter().all(|value| value.is_array()))?;
    let mut entries: Vec<_> = ours.items().collect();
    let begins = |value: Value<'_>| {
        let mut items = value.items();
        base.items().all(|old| items.next().is_some_and(|item| is_unchanged(old, item)))
    };
    if !begins(ours) || !begins(theirs) {
        return None;
    }
    let old = base.items().count();
    let both = ours.items().zip(theirs.items()).skip(old);
    let both = both.take_while(|(our, their)| is_unchanged(*our, *their)).count();
    entries.extend(theirs.items().skip(old.saturating_add(both)));
    Some(entries)
}

/// Theirs as written, but for the numbers that are those of `origin` gone through a double: these
/// have their digits back.
fn push_restored<'a>(out: &mut Vec<&'a str>, origin: Option<Value<'a>>, theirs: Value<'a>) {
    let mut rounded = Vec::new();
    if let Some(origin) = origin {
        origin.rounded_in(theirs, &mut rounded);
    }
    let text = theirs.text();
    let mut done = 0;
    for (number, digits) in rounded {
        let at = offset_in(text, number);
        out.extend([text.get(done..at).unwrap_or_default(), digits]);
        done = at.saturating_add(number.len());
    }
    out.push(text.get(done..).unwrap_or_default());
}

fn push_escaped(pointer: &mut String, key: &str) {
    pointer.push('/');
    for c in key.chars() {
        match c {
            '~' => pointer.push_str("~0"),
            '/' => pointer.push_str("~1"),
            c => pointer.push(c),
        }
    }
}

#[cfg(test)]
mod tests;
