//! `serde_json::Value` is the oracle: what it reads from our text must be what a straightforward
//! implementation over values gives.

use std::borrow::Cow;

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::{
    DEPTH_MAX, Object, append_to_array, check_object, compact, members_of, merge_patch,
    parse_checked, pretty,
};
use crate::state::Document;

/// Any value without floats: those are compared as text elsewhere.
fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "[a-c\"\\\\\n\u{1}é{}\\[\\],: 😀]{0,6}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            members(inner).prop_map(Value::Object),
        ]
    })
}

/// Few different keys, so that patches meet their targets; some are indexed.
fn members(inner: impl Strategy<Value = Value>) -> impl Strategy<Value = Map<String, Value>> {
    let indexed = prop::sample::select(vec!["status", "logs"]).prop_map(str::to_owned);
    let key = prop_oneof![4 => "[ab\"\\\\é]{1,2}", 1 => indexed];
    prop::collection::vec((key, inner), 0..5).prop_map(Map::from_iter)
}

fn object() -> impl Strategy<Value = Value> {
    members(value()).prop_map(Value::Object)
}

/// The text of a value as different writers would lay it out.
fn written(value: &Value, style: u8) -> String {
    match style % 3 {
        0 => value.to_string(),
        1 => serde_json::to_string_pretty(value).unwrap(),
        _ => format!(" {}\t", serde_json::to_string_pretty(value).unwrap().replace('\n', " \r\n")),
    }
}

fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

/// RFC 7396, section 2, over values.
fn merge_values(target: Value, patch: &Value) -> Value {
    let Value::Object(patch) = patch else { return patch.clone() };
    let mut target = match target {
        Value::Object(target) => target,
        _ => Map::new(),
    };
    for (key, change) in patch {
        if change.is_null() {
            target.remove(key);
        } else {
            let old = target.remove(key).unwrap_or(Value::Null);
            target.insert(key.clone(), merge_values(old, change));
        }
    }
    Value::Object(target)
}

proptest! {
    #[test]
    fn a_merge_patch_of_text_equals_one_of_values(
        target in object(), patch in object(), style in 0..3_u8,
    ) {
        let (before, change) = (written(&target, style), written(&patch, style / 2));
        let merged = merge_patch(&before, &change);
        check_object(&merged).unwrap();
        let patched = Document::new(before).patched(&change);
        prop_assert_eq!(patched, Document::new(merged.as_str()), "its index is as if read anew");
        prop_assert_eq!(parsed(&merged), merge_values(target, &patch));
    }

    #[test]
    fn layouts_change_nothing_but_white_space(value in object(), style in 0..3_u8) {
        let text = written(&value, style);
        let (pretty, compact) = (pretty(&text), compact(&text).into_owned());
        prop_assert_eq!(&pretty, &(serde_json::to_string_pretty(&value).unwrap() + "\n"));
        prop_assert_eq!(compact, value.to_string());
        check_object(&pretty).unwrap();
    }

    #[test]
    fn what_serde_json_writes_is_accepted_and_split_as_by_the_library(
        value in object(), style in 0..3_u8,
    ) {
        let text = written(&value, style);
        let (walked, read) = (parse_checked(&text).unwrap(), Object::parse(&text).unwrap());
        prop_assert_eq!(walked.iter().collect::<Vec<_>>(), read.iter().collect::<Vec<_>>());
        prop_assert_eq!(members_of(&text).unwrap().members, read.members);
    }

    #[test]
    fn text_that_serde_json_refuses_is_refused_and_nothing_panics(
        value in object(), cut in any::<prop::sample::Index>(), insert in "[\\x00-\\x7f]{0,2}",
        skip in 0..3_usize,
    ) {
        let text: Vec<char> = written(&value, 1).chars().collect();
        let at = cut.index(text.len());
        let damaged: String = text[..at].iter().copied().chain(insert.chars())
            .chain(text[at..].iter().copied().skip(skip)).collect();
        let accepted = check_object(&damaged).is_ok();
        match serde_json::from_str::<Value>(&damaged) {
            Err(why) => prop_assert!(
                !accepted || why.to_string().contains("number out of range"), "{}: {}", why, damaged
            ),
            Ok(value) => prop_assert!(!accepted || value.is_object()),
        }
        let _ = (pretty(&damaged), compact(&damaged), merge_patch(&damaged, &damaged));
        let _ = append_to_array(&damaged, "a", "1");
    }

    #[test]
    fn appending_to_an_array_adds_one_value_and_moves_no_other_byte(
        value in object(), style in 0..3_u8,
    ) {
        let text = written(&value, style);
        let result = append_to_array(&text, "a", "{\"new\": 1}");
        let mut expected = value.clone();
        let logs = expected.as_object_mut().unwrap().entry("a").or_insert(Value::Null);
        match logs {
            Value::Null => *logs = json!([{"new": 1}]),
            Value::Array(array) => array.push(json!({"new": 1})),
            _ => {
                prop_assert!(result.is_err());
                return Ok(());
            }
        }
        let appended = result.unwrap();
        prop_assert_eq!(parsed(&appended), expected);
        let kept: usize = text.bytes().zip(appended.bytes()).take_while(|(a, b)| a == b).count()
            + text.bytes().rev().zip(appended.bytes().rev()).take_while(|(a, b)| a == b).count();
        prop_assert!(kept + "null".len() >= text.len(), "{} -> {}", text, appended);
    }
}

#[test]
fn the_examples_of_the_standard_that_apply_to_objects_hold() {
    // RFC 7396, appendix A: those whose original and patch are objects.
    for (original, patch, result) in [
        (r#"{"a":"b"}"#, r#"{"a":"c"}"#, r#"{"a":"c"}"#),
        (r#"{"a":"b"}"#, r#"{"b":"c"}"#, r#"{"a":"b","b":"c"}"#),
        (r#"{"a":"b"}"#, r#"{"a":null}"#, "{}"),
        (r#"{"a":"b","b":"c"}"#, r#"{"a":null}"#, r#"{"b":"c"}"#),
        (r#"{"a":["b"]}"#, r#"{"a":"c"}"#, r#"{"a":"c"}"#),
        (r#"{"a":"c"}"#, r#"{"a":["b"]}"#, r#"{"a":["b"]}"#),
        (r#"{"a":{"b":"c"}}"#, r#"{"a":{"b":"d","c":null}}"#, r#"{"a":{"b":"d"}}"#),
        (r#"{"a":[{"b":"c"}]}"#, r#"{"a":[1]}"#, r#"{"a":[1]}"#),
        (r#"{"a":"foo"}"#, "null", "null"),
        (r#"{"a":"foo"}"#, r#""bar""#, r#""bar""#),
        (r#"{"e":null}"#, r#"{"a":1}"#, r#"{"e":null,"a":1}"#),
        ("[1,2]", r#"{"a":"b","c":null}"#, r#"{"a":"b"}"#),
        ("{}", r#"{"a":{"bb":{"ccc":null}}}"#, r#"{"a":{"bb":{}}}"#),
    ] {
        assert_eq!(merge_patch(original, patch), result, "{original} + {patch}");
    }
}

#[test]
fn digits_escapes_and_order_survive_every_change() {
    let text = r#"{ "z": 1.10, "n": 123456789012345678901234567890, "e": 1e400, "\u0061": "\u00e9\/", "m": {"y": -0.0, "x": 1E+2} }"#;
    check_object(text).unwrap();
    let merged = merge_patch(text, r#"{"a": 2.50, "new": 1e-999, "m": {"x": null, "w": 0.10}}"#);
    assert_eq!(
        merged,
        r#"{"z":1.10,"n":123456789012345678901234567890,"e":1e400,"\u0061":2.50,"m":{"y":-0.0,"w":0.10},"new":1e-999}"#
    );
    assert_eq!(compact(&pretty(text)), compact(text));
    assert!(pretty(text).contains("\"\\u0061\": \"\\u00e9\\/\",\n"));
    assert!(matches!(compact(&merged), Cow::Borrowed(_)));
}

#[test]
fn what_readers_could_understand_differently_is_refused_with_its_place() {
    for (text, message) in [
        ("", "line 1, column 1: expected a JSON object, found nothing"),
        (" [1]", "line 1, column 2: expected a JSON object, found an array"),
        (
            "\u{feff}{}",
            "line 1, column 1: the text begins with a byte order mark; save it as UTF-8 without one",
        ),
        ("{\"é\": 1, \"é\": 2}", "line 1, column 10: the key \"é\" appears twice in one object"),
        (
            "{\"k\": [{\"b\":0,\n\"a\":1,\"\\u0061\":2}]}",
            "line 2, column 7: the key \"a\" appears twice in one object",
        ),
    ] {
        assert_eq!(check_object(text).unwrap_err().to_string(), message);
    }
    for (text, line, offset) in [
        ("{\"a\": 1} x", 1, 9),
        ("{\"a\": 1,\n}", 2, 9),
        ("{\"a\":\n \"\\ud800\"}", 2, 14),
        ("{\"\\udc00\": 1}", 1, 8),
        ("{\"a\": \"\\ud800\\u0041\"}", 1, 18),
        ("{\"a\": \"\u{0}\"}", 1, 7),
        ("{\"a\": 01}", 1, 7),
        ("{\"a\": \"line\nbreak\"}", 1, 11),
        ("{\"a\": {\n", 2, 8),
    ] {
        let error = check_object(text).unwrap_err();
        assert_eq!(error.line, line, "{text:?}: {error}");
        assert!(error.offset.abs_diff(offset) <= 2, "{text:?}: offset {}", error.offset);
    }
    for text in [
        "{\"a\": \"\\ud83d\\ude00\", \"\\\\u0061\": 1, \"b\": [{\"a\": 1}, {\"a\": 1}], \"B\": {}}",
        "{\"a\": {\"a\": 1}, \"b\": [\"a\", \"a\", \"\\\\ud800\"], \"\": \"\"}",
    ] {
        check_object(text).unwrap();
    }
}

#[test]
fn depth_is_bounded_and_deep_text_exhausts_no_stack() {
    let nested =
        |levels: usize| format!("{}{}", "{\"a\":".repeat(levels), "1") + &"}".repeat(levels);
    check_object(&nested(DEPTH_MAX)).unwrap();
    let error = check_object(&nested(DEPTH_MAX + 1)).unwrap_err();
    assert_eq!(error.offset, DEPTH_MAX * "{\"a\":".len());
    let mixed = format!("{{\"a\":{}{}}}", "[".repeat(DEPTH_MAX), "]".repeat(DEPTH_MAX));
    assert!(check_object(&mixed).is_err());

    assert!(check_object(&nested(200_000)).is_err());
    let abyss = nested(20_000);
    assert!(!merge_patch(&abyss, &abyss).is_empty());
    let (deepest, patch) = (nested(DEPTH_MAX), nested(DEPTH_MAX).replace('1', "2"));
    assert_eq!(merge_patch(&deepest, &patch), patch);
    check_object(&merge_patch("{}", &patch)).unwrap();
}

#[test]
fn checking_many_keys_takes_no_quadratic_time() {
    let members: Vec<String> = (0..200_000).map(|n| format!("\"k{n}\":[]")).collect();
    let start = std::time::Instant::now();
    check_object(&format!("{{{}}}", members.join(","))).unwrap();
    assert!(start.elapsed() < std::time::Duration::from_secs(20), "{:?}", start.elapsed());
}

#[test]
fn an_object_gives_its_members_in_order_and_as_written() {
    let object = Object::parse("{\"b\\n\" : 1.0 ,\n\"a\": {\"x\" :1}, \"t\":\"\\u0041\"}").unwrap();
    let members: Vec<_> = object.iter().map(|m| (&*m.key, m.raw_key, m.value)).collect();
    assert_eq!(
        members,
        [("b\n", "\"b\\n\"", "1.0"), ("a", "\"a\"", "{\"x\" :1}"), ("t", "\"t\"", "\"\\u0041\"")]
    );
    assert_eq!(object.get("missing"), None);
    assert!(Object::parse("{} {}").is_err());
    assert!(Object::parse("[1]").is_err());
}

#[test]
fn appending_is_refused_where_there_is_no_array() {
    let error = append_to_array("{\"x\": 1,\n \"logs\": \"text\"}", "logs", "{}").unwrap_err();
    assert_eq!(error.to_string(), "line 2, column 10: `logs` is a string, not an array");
    for (before, after) in [
        ("{\n  \"logs\": [\n    1\n  ]\n}\n", "{\n  \"logs\": [\n    1,2\n  ]\n}\n"),
        ("{\"logs\": [ ]}", "{\"logs\": [2 ]}"),
        ("{\"logs\": null, \"a\": 1}", "{\"logs\": [2], \"a\": 1}"),
        ("{\"a\": 1 }\n", "{\"a\": 1 ,\"logs\":[2]}\n"),
    ] {
        assert_eq!(append_to_array(before, "logs", "2").unwrap(), after);
    }
}
