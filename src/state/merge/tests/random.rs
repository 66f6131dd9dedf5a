//! Random documents, and texts that were made to be slow.
//!
//! The oracle is `serde_json::Value`: numbers are such that it tells them apart exactly.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::super::{Merged, difference, is_same, merge3};
use crate::state::json::{check_object, pretty};

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-3_i64..3).prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "[a\"\\\\\né😀{},:]{0,3}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            1 => prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            3 => members(inner).prop_map(Value::Object),
        ]
    })
}

/// Few different keys, so that the versions meet; `l` stands for the array of log entries.
fn members(inner: impl Strategy<Value = Value>) -> impl Strategy<Value = Map<String, Value>> {
    prop::collection::vec(("[abl/~\"é]", inner), 0..5)
        .prop_map(|members| members.into_iter().map(named).collect())
}

fn named((key, value): (String, Value)) -> (String, Value) {
    (if key == "l" { "logs".to_owned() } else { key }, value)
}

/// Three versions of one document: each member is one of a few values.
fn versions() -> impl Strategy<Value = [Value; 3]> {
    prop_oneof![
        [object(), object(), object()],
        (object(), edits(), edits()).prop_map(|(base, ours, theirs)| {
            let edited = |edits| {
                let mut edited = base.clone();
                edit(&mut edited, edits);
                edited
            };
            let (ours, theirs) = (edited(ours), edited(theirs));
            [base, ours, theirs]
        }),
    ]
}

fn object() -> impl Strategy<Value = Value> {
    members(value()).prop_map(Value::Object)
}

fn edits() -> impl Strategy<Value = Vec<(usize, Option<Value>)>> {
    prop::collection::vec((any::<usize>(), prop::option::weighted(0.8, value())), 0..4)
}

/// Sets, adds or removes members somewhere within.
fn edit(value: &mut Value, edits: Vec<(usize, Option<Value>)>) {
    for (mut way, change) in edits {
        let mut at = &mut *value;
        while let Value::Object(members) = at {
            let keys: Vec<String> = members.keys().cloned().collect();
            let key = match keys.len() {
                0 => "a".to_owned(),
                count => keys[way % count].clone(),
            };
            way /= 7;
            let is_here = !members.get(&key).is_some_and(Value::is_object) || way.is_multiple_of(3);
            match (is_here, &change) {
                (true, Some(change)) if way.is_multiple_of(2) => {
                    members.insert("b".to_owned(), change.clone());
                }
                (true, Some(change)) => {
                    members.insert(key.clone(), change.clone());
                }
                (true, None) => {
                    members.remove(&key);
                }
                (false, _) => {}
            }
            if is_here {
                break;
            }
            at = members.get_mut(&key).unwrap();
        }
    }
}

/// The text of a value in one of several spellings: order, escapes, digits and white space.
fn written(value: &Value, style: u8) -> String {
    let mut out = String::new();
    spell(&mut out, value, style);
    if style.is_multiple_of(5) { pretty(&out) } else { out }
}

fn spell(out: &mut String, value: &Value, style: u8) {
    match value {
        Value::Number(n) if style & 1 == 1 => write!(out, "{n}.0e+0").unwrap(),
        Value::String(text) if style & 2 == 2 => spell_string(out, text),
        Value::Array(items) => {
            out.push('[');
            for (number, item) in items.iter().enumerate() {
                out.push_str(if number == 0 { "" } else { " ,\t" });
                spell(out, item, style);
            }
            out.push(']');
        }
        Value::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            if style & 4 == 4 {
                members.reverse();
            }
            out.push('{');
            for (number, (key, value)) in members.into_iter().enumerate() {
                out.push_str(if number == 0 { "" } else { "," });
                if style & 2 == 2 {
                    spell_string(out, key);
                } else {
                    out.push_str(&json!(key).to_string());
                }
                out.push(':');
                spell(out, value, style);
            }
            out.push('}');
        }
        other => out.push_str(&other.to_string()),
    }
}

fn spell_string(out: &mut String, text: &str) {
    out.push('"');
    for unit in text.encode_utf16() {
        write!(out, "\\u{unit:04X}").unwrap();
    }
    out.push('"');
}

/// What a text says, numbers as integers.
fn said(text: &str) -> Value {
    fn plain(value: Value) -> Value {
        match value {
            Value::Array(items) => items.into_iter().map(plain).collect(),
            Value::Object(members) => {
                Value::Object(members.into_iter().map(|(key, value)| (key, plain(value))).collect())
            }
            other => other,
        }
    }
    plain(serde_json::from_str(&text.replace(".0e+0", "")).unwrap())
}

/// Each value that is no object with members, by its pointer.
fn leaves(value: &Value, at: &str, found: &mut BTreeMap<String, Value>) {
    match value {
        Value::Object(members) if !members.is_empty() => {
            for (key, value) in members {
                let key = key.replace('~', "~0").replace('/', "~1");
                leaves(value, &format!("{at}/{key}"), found);
            }
        }
        other => {
            found.insert(at.to_owned(), other.clone());
        }
    }
}

/// The merge over values: the decision table once more, but for `logs`, in another shape.
fn wanted(
    base: Option<&Value>,
    ours: Option<&Value>,
    theirs: Option<&Value>,
    at: &str,
    conflicts: &mut Vec<String>,
) -> Option<Value> {
    if let (Some(Value::Object(our)), Some(Value::Object(their))) = (ours, theirs) {
        let none = Map::new();
        let base = base.and_then(Value::as_object).unwrap_or(&none);
        let keys: std::collections::BTreeSet<_> =
            our.keys().chain(their.keys()).chain(base.keys()).collect();
        let merged = keys.into_iter().filter_map(|key| {
            let at = format!("{at}/{}", key.replace('~', "~0").replace('/', "~1"));
            let value = wanted(base.get(key), our.get(key), their.get(key), &at, conflicts)?;
            Some((key.clone(), value))
        });
        return Some(Value::Object(merged.collect()));
    }
    let (is_ours, is_theirs) = (ours != base, theirs != base);
    match (is_ours, is_theirs) {
        (_, false) => ours.cloned(),
        (false, true) => theirs.cloned(),
        (true, true) if ours == theirs => ours.cloned(),
        (true, true) => {
            conflicts.push(at.to_owned());
            theirs.or(ours).cloned()
        }
    }
}

proptest! {
    #[test]
    fn every_merge_is_what_the_table_says(
        versions in versions(), styles in any::<[u8; 3]>(), has_base in prop::bool::weighted(0.8),
    ) {
        let [base, ours, theirs] = &versions;
        let base = has_base.then_some(base);
        let text = base.map(|base| written(base, styles[0]));
        let merged = merge3(text.as_deref(), &written(ours, styles[1]), &written(theirs, styles[2]));
        check_object(&merged.text).unwrap();
        let mut conflicts = Vec::new();
        let wanted = wanted(base, Some(ours), Some(theirs), "", &mut conflicts).unwrap();
        let mut found = said(&merged.text);
        let mut listed = merged.conflicts.clone();
        listed.sort_unstable();
        conflicts.sort_unstable();
        // Appends have tests of their own; here they only must not disturb the rest.
        let is_append = found.get("logs") != wanted.get("logs");
        if is_append {
            let all = [base, Some(ours), Some(theirs)].map(|side| side.and_then(|side| side.get("logs")));
            prop_assert!(all.iter().all(|logs| logs.is_some_and(Value::is_array)));
            let logs = wanted.get("logs").unwrap().clone();
            found.as_object_mut().unwrap().insert("logs".to_owned(), logs);
            conflicts.retain(|pointer| pointer != "/logs");
        }
        prop_assert_eq!(found, wanted);
        prop_assert_eq!(listed, conflicts);
    }

    #[test]
    fn both_sides_with_the_same_change_have_no_conflict(
        versions in versions(), styles in any::<[u8; 3]>(),
    ) {
        let [base, both, _] = &versions;
        let ours = written(both, styles[1]);
        let merged = merge3(Some(&written(base, styles[0])), &ours, &written(both, styles[2]));
        prop_assert_eq!(merged, Merged { text: ours, conflicts: Vec::new() });
    }

    #[test]
    fn what_one_side_left_alone_is_the_others_byte_by_byte(
        versions in versions(), styles in any::<[u8; 3]>(),
    ) {
        let [base, _, other] = versions.map(|version| written(&version, styles[2]));
        let respelled = written(&said(&base), styles[0]);
        let merged = merge3(Some(&base), &other, &respelled);
        prop_assert_eq!(merged, Merged { text: other.clone(), conflicts: Vec::new() });
        let merged = merge3(Some(&base), &respelled, &other);
        // An edit that only spells otherwise is none.
        let text = if is_same(&base, &other) { respelled } else { other };
        prop_assert_eq!(merged, Merged { text, conflicts: Vec::new() });
    }

    #[test]
    fn a_merge_invents_nothing_and_without_conflicts_has_no_sides(
        versions in versions(), styles in any::<[u8; 3]>(),
    ) {
        let [base, ours, theirs] = versions;
        let texts = [written(&base, styles[0]), written(&ours, styles[1]), written(&theirs, styles[2])];
        let merged = merge3(Some(&texts[0]), &texts[1], &texts[2]);
        let without_logs = |text: &str| {
            let mut value = said(text);
            value.as_object_mut().unwrap().remove("logs");
            value
        };
        let (mut found, mut known) = (BTreeMap::new(), [BTreeMap::new(), BTreeMap::new()]);
        leaves(&without_logs(&merged.text), "", &mut found);
        leaves(&ours, "", &mut known[0]);
        leaves(&theirs, "", &mut known[1]);
        for (at, value) in found {
            // An object may have lost one member to each side.
            let is_known = known.iter().any(|side| side.get(&at) == Some(&value));
            prop_assert!(is_known || value == json!({}), "{} {}", at, value);
        }
        if merged.conflicts.is_empty() {
            let swapped = merge3(Some(&texts[0]), &texts[2], &texts[1]);
            prop_assert!(swapped.conflicts.is_empty());
            prop_assert_eq!(without_logs(&swapped.text), without_logs(&merged.text));
        }
    }

    #[test]
    fn appended_entries_of_both_sides_are_all_there_in_their_orders(
        old in prop::collection::vec(value(), 0..4),
        ours in prop::collection::vec(value(), 0..4),
        theirs in prop::collection::vec(value(), 0..4),
        styles in any::<[u8; 3]>(),
    ) {
        let text = |new: &[Value], style| written(&json!({"logs": ([&old, new].concat())}), style);
        let texts = [text(&[], styles[0]), text(&ours, styles[1]), text(&theirs, styles[2])];
        let merged = merge3(Some(&texts[0]), &texts[1], &texts[2]);
        let both = ours.iter().zip(&theirs).take_while(|(our, their)| our == their).count();
        let theirs = if ours == theirs { &[][..] } else { &theirs[both..] };
        prop_assert_eq!(said(&merged.text), json!({"logs": ([&old[..], &ours, theirs].concat())}));
        prop_assert!(merged.conflicts.is_empty());
    }

    #[test]
    fn sameness_and_difference_are_those_of_the_values(
        versions in versions(), styles in any::<[u8; 2]>(),
    ) {
        let (a, b) = (&versions[1], &versions[2]);
        let texts = [written(a, styles[0]), written(b, styles[1])];
        prop_assert_eq!(is_same(&texts[0], &texts[1]), a == b);
        prop_assert!(is_same(&texts[0], &written(a, styles[1])));
        let (a, b) = (a.as_object().unwrap(), b.as_object().unwrap());
        let differing = a.iter().filter(|(key, value)| b.get(*key) != Some(value)).count();
        let added = b.keys().filter(|key| !a.contains_key(*key)).count();
        prop_assert_eq!(difference(&texts[0], &texts[1]), differing + added);
    }

    #[test]
    fn anything_at_all_returns(parts in prop::collection::vec("[{}\\[\\]\":,a1e.\\\\ -]{0,24}", 3)) {
        let merged = merge3(Some(&parts[0]), &parts[1], &parts[2]);
        if parts.iter().all(|part| check_object(part).is_ok()) {
            check_object(&merged.text).unwrap();
        }
        let objects: Vec<String> = parts.iter().map(|part| format!("{{\"a\":[{part}],\"b\":{part}}}")).collect();
        merge3(Some(&objects[0]), &objects[1], &objects[2]);
        merge3(None, &objects[0], &objects[1]);
        difference(&objects[0], &objects[1]);
    }
}

/// Three versions that are slow to merge where something is done again at each level or for each key.
fn slow(size: usize) -> Vec<[String; 3]> {
    let keys = |n: u8, step: usize| {
        let members = (0..size / 12).map(|key| key * step % (size / 12));
        let members: Vec<String> = members.map(|key| format!("\"k{key}\":{n}")).collect();
        format!("{{{}}}", members.join(","))
    };
    let deep = |n: u8, flip: bool| {
        let filler = "\"a\",".repeat(size / 4 / 120);
        (0..120).fold(format!("[{n}]"), |inner, _| {
            if flip {
                format!("{{\"x\":[{filler}1],\"y\":{inner}}}")
            } else {
                format!("{{\"y\":{inner},\"x\":[{filler}1]}}")
            }
        })
    };
    let bottom = |n: u8, flip: bool| {
        let filler =
            (0..size / 12).map(|key| format!("\"f{key}\":{n}")).collect::<Vec<_>>().join(",");
        (0..120).fold(format!("{{{filler}}}"), |inner, level| {
            if flip {
                format!("{{\"x\":{level},\"y\":{inner}}}")
            } else {
                format!("{{\"y\":{inner},\"x\":{level}}}")
            }
        })
    };
    let numbers = |n: &str| format!("{{\"a\":[{}1]}}", format!("{n},").repeat(size / 21));
    let rounded = "12345678901234567000";
    vec![
        [keys(1, 1), keys(2, 7919), keys(3, 104_729)],
        [deep(1, false), deep(2, true), deep(3, false)],
        [bottom(1, false), bottom(2, true), bottom(3, false)],
        [numbers("12345678901234567890"), numbers("12345678901234567891"), numbers(rounded)],
    ]
}

#[test]
fn no_shape_of_a_document_makes_merging_slow() {
    let size: usize = std::env::var("WALDEN_MERGE_BYTES").map_or(1 << 20, |n| n.parse().unwrap());
    for (number, [base, ours, theirs]) in slow(size).into_iter().enumerate() {
        let start = Instant::now();
        let merged = merge3(Some(&base), &ours, &theirs);
        let time = start.elapsed();
        println!("{number}: {} bytes, {} conflicts, {time:?}", base.len(), merged.conflicts.len());
        assert!(base.len() > size / 2);
        assert!(time < Duration::from_secs(10), "{number}: {time:?}");
    }
}
