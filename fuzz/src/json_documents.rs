//! JSON as people save it: accepted exactly where an independent judge accepts it, kept to the last
//! byte, refused with a place inside the text.
//!
//! The input is a document and, behind the first NUL byte, another: a merge patch, an entry to be
//! appended, or what somebody made of the first. Bytes that are no UTF-8 are replaced, since only text reaches the parser; readers of
//! files get the bytes themselves.

use serde_json::Value;
use walden::files::snapshot;
use walden::state::json::{self, JsonError, Object};
use walden::state::{Collection, Document, Op, Table, difference, is_same, merge3};
use walden::{DocumentId, Lsn, Task};

use super::judge::Json;

/// Longer inputs say nothing more, and what is not JSON at all may grow with its square.
const BYTES_MAX: usize = 4096;

/// Runs one input.
pub fn run(data: &[u8]) {
    let data = data.get(..BYTES_MAX).unwrap_or(data);
    snapshot::parse(data);
    let (text, other) = match data.iter().position(|byte| *byte == 0) {
        Some(at) => (&data[..at], &data[at + 1..]),
        None => (data, &[][..]),
    };
    let (text, other) = (String::from_utf8_lossy(text), String::from_utf8_lossy(other));
    total(&text, &other);
    let judged = check(&text);
    let judged_other = check(&other);
    put(&text, judged.as_ref());
    let Some(judged) = judged else { return };
    layouts(&text, &judged);
    if let Some(judged_other) = judged_other {
        merge(&text, &judged, &other, &judged_other);
        append(&text, &judged, &other, &judged_other);
        merge_edit(&text, &other);
    }
}

/// Fed anything, everything returns.
fn total(text: &str, other: &str) {
    let _ = json::pretty(text);
    let _ = json::compact(text);
    let _ = json::merge_patch(text, other);
    let _ = json::append_to_array(text, "logs", other);
    let _ = difference(text, other);
    for base in [None, Some(text), Some(other)] {
        let _ = merge3(base, text, other);
    }
    let _ = Document::new(text);
    let _ = Task::from_json(text);
}

/// Accepted or refused as the judge says; what is accepted is split as the judge splits it.
fn check(text: &str) -> Option<Json<'_>> {
    let judged = Json::object(text);
    match (json::check_object(text), &judged) {
        (Ok(()), Some(judged)) => split(text, judged),
        (Err(error), None) => placed(text, &error),
        (accepted, judged) => panic!("{accepted:?}, judged {judged:?}: {text:?}"),
    }
    if let Err(error) = serde_json::from_str::<Value>(text) {
        // It keeps a level less, and no number that a double cannot hold.
        let why = error.to_string();
        let is_known =
            why.contains("number out of range") || why.contains("recursion limit exceeded");
        assert!(judged.is_none() || is_known, "{why}: {text:?}");
    }
    judged
}

fn split(text: &str, judged: &Json<'_>) {
    let Json::Object(members) = judged else { panic!("no object: {text:?}") };
    let object = Object::parse(text).expect("it was accepted");
    assert_eq!(object.len(), members.len(), "{text:?}");
    for (found, (key, value)) in object.iter().zip(members) {
        assert_eq!(found.key, *key, "{text:?}");
        let wrapped = format!("{{{}:{}}}", found.raw_key, found.value);
        let again = Json::object(&wrapped).expect("a member is one");
        assert_eq!(again.get(key), Some(value), "{text:?}");
    }
}

fn placed(text: &str, error: &JsonError) {
    let before = text.get(..error.offset).unwrap_or_else(|| panic!("{error:?}: {text:?}"));
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    assert_eq!(error.line, before.matches('\n').count() + 1, "{error:?}: {text:?}");
    assert_eq!(error.column, before[line_start..].chars().count() + 1, "{error:?}: {text:?}");
    assert!(!error.why.is_empty());
}

/// A document is taken exactly where it has an id, and comes back verbatim.
fn put(text: &str, judged: Option<&Json<'_>>) {
    let id = judged.and_then(|judged| match judged.get("id") {
        Some(Json::Text(id)) => DocumentId::new(id).ok(),
        _ => None,
    });
    let op = Op::put(Collection::Task, text, BYTES_MAX * 4);
    assert_eq!(op.is_ok(), id.is_some(), "{op:?}: {text:?}");
    let (Ok(op), Some(id)) = (op, id) else { return };
    let (kind, bytes) = op.encode();
    let op = Op::decode(kind, &bytes).expect("what was encoded");
    let mut table = Table::new();
    table.apply(&[(Lsn(1), op)]).expect("a document is saved");
    let doc = table.get(Collection::Task, id.as_str()).expect("it was saved");
    assert_eq!(&**doc.text(), text);
    assert_eq!(*doc.document(), Document::new(text));
}

/// Both layouts say the same, and neither depends on the other.
fn layouts(text: &str, judged: &Json<'_>) {
    let (pretty, compact) = (json::pretty(text), json::compact(text));
    assert_eq!(Json::object(&pretty).as_ref(), Some(judged), "{text:?}");
    assert_eq!(Json::object(&compact).as_ref(), Some(judged), "{text:?}");
    assert_eq!(json::pretty(&compact), pretty);
    assert_eq!(json::compact(&pretty), compact);
    assert_eq!(json::pretty(&pretty), pretty);
}

fn merge(text: &str, judged: &Json<'_>, patch: &str, judged_patch: &Json<'_>) {
    let merged = json::merge_patch(text, patch);
    let found = check(&merged).unwrap_or_else(|| panic!("{text:?} + {patch:?} = {merged:?}"));
    let mut wanted = judged.exact();
    walden::testing::merge(&mut wanted, &judged_patch.exact());
    assert_eq!(found.exact(), wanted, "{text:?} + {patch:?} = {merged:?}");
    let (Json::Object(before), Json::Object(change)) = (judged, judged_patch) else { return };
    let Json::Object(after) = &found else { return };
    // What the patch leaves alone keeps its text and its place among the others.
    let is_changed = |key: &String| change.iter().any(|(other, _)| other == key);
    let kept = |members: &[(String, Json<'_>)]| {
        members.iter().filter(|(key, _)| !is_changed(key)).map(|m| m.0.clone()).collect::<Vec<_>>()
    };
    assert_eq!(kept(before), kept(after), "{text:?} + {patch:?} = {merged:?}");
    let (old, new) = (Object::parse(text).unwrap(), Object::parse(&merged).unwrap());
    for member in old.iter().filter(|member| !change.iter().any(|(key, _)| *key == member.key)) {
        assert_eq!(new.get(&member.key), Some(member.value));
    }
}

/// Whatever is whose edit of what, the merge is acceptable, and without conflicts where one side or
/// none changed anything.
fn merge_edit(text: &str, other: &str) {
    let patched = json::merge_patch(text, other);
    for [base, ours, theirs] in [[text, &patched, other], [other, text, &patched]] {
        for base in [Some(base), None] {
            let merged = merge3(base, ours, theirs);
            assert!(check(&merged.text).is_some(), "{base:?} {ours:?} {theirs:?}: {merged:?}");
        }
        let same = merge3(Some(base), theirs, theirs);
        assert!(same.text == theirs && same.conflicts.is_empty(), "{base:?} {theirs:?}: {same:?}");
        let kept = merge3(Some(base), ours, base);
        assert!(kept.text == ours && kept.conflicts.is_empty(), "{base:?} {ours:?}: {kept:?}");
        let taken = merge3(Some(base), base, theirs);
        let is_taken = difference(&taken.text, theirs) == 0 && taken.conflicts.is_empty();
        assert!(is_taken, "{base:?} {theirs:?}: {taken:?}");
    }
    assert!(is_same(text, &json::pretty(text)), "{text:?}");
}

fn append(text: &str, judged: &Json<'_>, entry: &str, judged_entry: &Json<'_>) {
    let grown = json::append_to_array(text, "logs", entry);
    let before = match judged.get("logs") {
        None | Some(Json::Word("null")) => Vec::new(),
        Some(Json::Array(items)) => items.clone(),
        Some(_) => return placed(text, &grown.expect_err("that is no array")),
    };
    let grown = grown.unwrap_or_else(|error| panic!("{error}: {text:?}"));
    // Two levels deeper than it was, it may be too deep; that is checked before a log entry is taken.
    if let Some(found) = Json::object(&grown) {
        let mut wanted = before;
        wanted.push(judged_entry.clone());
        assert_eq!(found.get("logs"), Some(&Json::Array(wanted)), "{text:?}: {grown:?}");
    } else {
        assert!(Op::append_log("t", entry, BYTES_MAX * 4).is_err(), "{text:?}: {grown:?}");
    }
    let same = text.bytes().zip(grown.bytes()).take_while(|(old, new)| old == new).count();
    let rest = text[same..].strip_prefix("null").unwrap_or(&text[same..]);
    let rest = if judged.get("logs") == Some(&Json::Word("null")) { rest } else { &text[same..] };
    assert!(grown.ends_with(rest), "{text:?}: {grown:?}");
}
