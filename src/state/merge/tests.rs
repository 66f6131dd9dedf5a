//! The decision table, row by row, what tools do to numbers, and what an unfriendly text may cost.

mod random;

use super::{Merged, difference, is_same, merge3};
use crate::state::json::{DEPTH_MAX, check_object};

/// Merges what has an id and, where they are not empty, members. Base, ours, theirs.
#[track_caller]
fn check(versions: [&str; 3], wanted: &str, conflicts: &[&str]) {
    let [base, ours, theirs] = versions.map(document);
    checked(Some(&base), &ours, &theirs, &document(wanted), conflicts);
}

#[track_caller]
fn check_without_base(ours: &str, theirs: &str, wanted: &str, conflicts: &[&str]) {
    checked(None, &document(ours), &document(theirs), &document(wanted), conflicts);
}

fn document(members: &str) -> String {
    let comma = if members.is_empty() { "" } else { "," };
    format!(r#"{{"id":"a"{comma}{members}}}"#)
}

#[track_caller]
fn checked(base: Option<&str>, ours: &str, theirs: &str, wanted: &str, conflicts: &[&str]) {
    let merged = merge3(base, ours, theirs);
    let conflicts = conflicts.iter().map(|&pointer| pointer.to_owned()).collect();
    assert_eq!(merged, Merged { text: wanted.to_owned(), conflicts }, "{base:?} {ours} {theirs}");
    check_object(&merged.text).unwrap();
}

#[test]
fn what_nobody_changed_stays_as_ours_spells_it() {
    let versions = [r#""a":10,"b":1"#, r#""a":1e1,"b":2"#, r#""a":10.0,"b":1,"c":3"#];
    check(versions, r#""a":1e1,"b":2,"c":3"#, &[]);
    check([r#""a":"A""#, r#""a":"A""#, r#""\u0061":"\u0041""#], r#""a":"A""#, &[]);
    check([r#""o":{"b":[1],"a":2}"#; 3], r#""o":{"b":[1],"a":2}"#, &[]);
}

#[test]
fn what_only_the_edit_changed_is_the_edits() {
    check([r#""a":1,"b":1"#, r#""a":1,"b":2"#, r#""a":"x","b":1"#], r#""a":"x","b":2"#, &[]);
    check([r#""a":{"b":1}"#, r#""a":{"b":1}"#, r#""a":[ {} ]"#], r#""a":[ {} ]"#, &[]);
}

#[test]
fn what_only_the_engine_changed_is_the_engines() {
    check([r#""a":1,"b":1"#, r#""a":"x","b":1"#, r#""a":1.0,"b":2"#], r#""a":"x","b":2"#, &[]);
    check([r#""a":[1]"#, r#""a":{"b":1}"#, r#""a":[1]"#], r#""a":{"b":1}"#, &[]);
}

#[test]
fn what_both_changed_to_the_same_meaning_is_there_once_as_ours_spells_it() {
    let versions = [r#""a":1,"b":1"#, r#""a":["é",2.0],"b":2"#, r#""a":["\u00e9",2],"b":1,"c":1"#];
    check(versions, r#""a":["é",2.0],"b":2,"c":1"#, &[]);
}

#[test]
fn what_both_changed_differently_is_the_edits_and_a_conflict() {
    let versions = [r#""a":1,"b":1,"c":[1]"#, r#""a":2,"b":2,"c":[1,2]"#, r#""a":3,"b":1,"c":[3]"#];
    check(versions, r#""a":3,"b":2,"c":[3]"#, &["/a", "/c"]);
}

#[test]
fn objects_that_both_changed_merge_member_by_member() {
    check(
        [
            r#""m":{"x":1,"y":1,"z":{"p":1,"q":1}}"#,
            r#""m":{"x":2,"y":1,"z":{"p":2,"q":2}}"#,
            r#""m":{"x":1,"y":2,"z":{"p":1,"q":3}}"#,
        ],
        r#""m":{"x":2,"y":2,"z":{"p":2,"q":3}}"#,
        &["/m/z/q"],
    );
}

#[test]
fn objects_that_both_put_in_the_place_of_something_else_merge_without_a_base() {
    let versions = [r#""m":1"#, r#""m":{"x":1,"y":1}"#, r#""m":{"y":2,"z":3}"#];
    check(versions, r#""m":{"x":1,"y":2,"z":3}"#, &["/m/y"]);
}

#[test]
fn log_entries_of_both_sides_follow_those_of_the_base_without_a_conflict() {
    let versions = [r#""logs":[{"n":1}]"#, r#""logs":[{"n":1},2,3]"#, r#""logs":[{"n":1.0},4]"#];
    check(versions, r#""logs":[{"n":1},2,3,4]"#, &[]);
    check([r#""logs":[]"#, r#""logs":[1]"#, r#""logs":[2]"#], r#""logs":[1,2]"#, &[]);
}

#[test]
fn a_log_entry_that_both_sides_appended_next_is_there_once() {
    check([r#""logs":[1]"#, r#""logs":[1,2,3]"#, r#""logs":[1,2,4]"#], r#""logs":[1,2,3,4]"#, &[]);
}

#[test]
fn log_entries_that_one_side_changed_or_removed_do_not_merge_as_appends() {
    check([r#""logs":[1,2]"#, r#""logs":[1,2,3]"#, r#""logs":[1]"#], r#""logs":[1]"#, &["/logs"]);
    check(
        [r#""logs":[1,2]"#, r#""logs":[9,2,3]"#, r#""logs":[1,2,4]"#],
        r#""logs":[1,2,4]"#,
        &["/logs"],
    );
    check([r#""logs":[1,2]"#, r#""logs":[1,2]"#, r#""logs":[2]"#], r#""logs":[2]"#, &[]);
    check([r#""logs":[1,2]"#, r#""logs":[2]"#, r#""logs":[1,2]"#], r#""logs":[2]"#, &[]);
    check([r#""logs":1"#, r#""logs":[1]"#, r#""logs":[2]"#], r#""logs":[2]"#, &["/logs"]);
    check([r#""logs":[]"#, r#""logs":{}"#, r#""logs":[2]"#], r#""logs":[2]"#, &["/logs"]);
    check_without_base(r#""logs":[1,2]"#, r#""logs":[1,3]"#, r#""logs":[1,3]"#, &["/logs"]);
}

#[test]
fn other_arrays_and_deeper_ones_do_not_merge_as_appends() {
    check([r#""tags":[1]"#, r#""tags":[1,2]"#, r#""tags":[1,3]"#], r#""tags":[1,3]"#, &["/tags"]);
    let versions = [r#""m":{"logs":[1]}"#, r#""m":{"logs":[1,2]}"#, r#""m":{"logs":[1,3]}"#];
    check(versions, r#""m":{"logs":[1,3]}"#, &["/m/logs"]);
}

#[test]
fn what_one_side_deleted_and_the_other_left_is_gone() {
    check([r#""a":1,"b":1"#, r#""a":1.0,"b":2"#, r#""b":1"#], r#""b":2"#, &[]);
    check([r#""a":1,"b":1"#, r#""b":1"#, r#""a":1.0,"b":2"#], r#""b":2"#, &[]);
    check([r#""a":1,"b":1"#, r#""b":2"#, r#""b":3"#], r#""b":3"#, &["/b"]);
}

#[test]
fn what_one_side_deleted_and_the_other_changed_stays_changed_and_is_a_conflict() {
    check([r#""a":1,"b":1"#, r#""a":2,"b":1"#, r#""b":2"#], r#""a":2,"b":2"#, &["/a"]);
    check([r#""a":1,"b":1"#, r#""b":2"#, r#""a":2,"b":1"#], r#""a":2,"b":2"#, &["/a"]);
    check([r#""a":{"b":1}"#, r#""a":{"b":2}"#, ""], r#""a":{"b":2}"#, &["/a"]);
}

#[test]
fn what_one_side_added_is_kept() {
    check(["", r#""a":1"#, r#""b":2"#], r#""a":1,"b":2"#, &[]);
    check([r#""m":{}"#, r#""m":{"a":1}"#, r#""m":{"b":2}"#], r#""m":{"a":1,"b":2}"#, &[]);
}

#[test]
fn what_both_added_is_there_once_or_merges_or_is_a_conflict() {
    check(["", r#""a":1.0,"x":1"#, r#""a":1,"y":1"#], r#""a":1.0,"x":1,"y":1"#, &[]);
    check(
        ["", r#""a":{"x":1,"z":1}"#, r#""a":{"y":1,"z":2}"#],
        r#""a":{"x":1,"y":1,"z":2}"#,
        &["/a/z"],
    );
    check(["", r#""a":[1],"x":1"#, r#""a":[2]"#], r#""a":[2],"x":1"#, &["/a"]);
}

#[test]
fn without_a_base_both_sides_members_are_kept_and_differing_ones_conflict() {
    let (ours, theirs) = (r#""a":1,"b":1.0,"m":{"x":1,"y":1}"#, r#""b":1,"c":2,"m":{"y":2},"n":0"#);
    check_without_base(ours, theirs, r#""a":1,"b":1.0,"c":2,"m":{"x":1,"y":2},"n":0"#, &["/m/y"]);
    check_without_base(r#""a":1"#, r#""a":2"#, r#""a":2"#, &["/a"]);
}

#[test]
fn members_are_in_the_edits_order_and_ours_follow_their_neighbours() {
    let versions = [
        r#""a":1,"b":1,"c":1"#,
        r#""x":0,"a":1,"y":0,"z":0,"b":1,"c":2"#,
        r#""c":1,"n":1,"b":1,"a":1"#,
    ];
    check(versions, r#""x":0,"c":2,"n":1,"b":1,"a":1,"y":0,"z":0"#, &[]);
    checked(None, r#"{"x":1,"a":1}"#, r#"{"a":1,"b":1}"#, r#"{"x":1,"a":1,"b":1}"#, &[]);
    checked(Some("{}"), r#"{"x":1}"#, r#"{"b":1}"#, r#"{"x":1,"b":1}"#, &[]);
}

#[test]
fn an_edit_that_changed_nothing_leaves_ours_byte_by_byte() {
    let (base, ours) = (r#"{"a":1,"b":"é"}"#, "{ \"a\": 1,\t\"b\": \"e\" }\r\n");
    for edit in [base, "{\n\"b\": \"\\u00e9\", \"a\": 1e0\n}", "\n{\"a\":1.00,\"b\":\"é\"} "] {
        checked(Some(base), ours, edit, ours, &[]);
        checked(Some(base), base, edit, base, &[]);
    }
}

#[test]
fn where_the_engine_changed_nothing_the_edit_is_taken_byte_by_byte() {
    let (base, edit) = (r#"{"a":1,"b":{"c":1}}"#, " \r\n{ \"b\" : {\"\\u0063\":2.50} }\t\n");
    checked(Some(base), base, edit, edit, &[]);
    checked(Some(base), r#"{"b":{"c":1},"a":1.0}"#, edit, edit, &[]);
}

#[test]
fn numbers_that_went_through_a_double_are_unchanged_and_keep_their_digits() {
    let (n, rounded) = ("12345678901234567890", "12345678901234567000");
    let doc = |n: &str, rest: &str| format!(r#""n":{n},"m":{{"l":[1,{n}]}},"s":{rest}"#);
    let (base, edit) = (doc(n, "1"), doc(rounded, "2"));
    check([&base, &base, &edit], &doc(n, "2"), &[]);
    check([&base, &doc("7", "1"), &edit], &doc("7", "2"), &[]);
    check([&base, &doc(n, "3"), &doc(rounded, "1")], &doc(n, "3"), &[]);
    check([&base, &doc(n, "3"), &edit], &doc(n, "2"), &["/s"]);
    check_without_base(&base, &edit, &doc(n, "2"), &["/s"]);
    let more = |n: &str| format!(r#""tags":[{n},1]"#);
    check(
        [&format!(r#""tags":[{n}]"#), &format!(r#""tags":[{n}]"#), &more(rounded)],
        &more(n),
        &[],
    );
    check([&more(n), &more(n), ""], "", &[]);
    check([&more(n), "", &more(rounded)], "", &[]);
    check(
        [r#""n":1e400"#, r#""n":1e400,"x":1"#, r#""n":1.7976931348623157e+308,"y":1"#],
        r#""n":1e400,"x":1,"y":1"#,
        &[],
    );
    let entries = |n: &str, more: &str| format!(r#""logs":[{{"n":{n}}},{more}]"#);
    let base = format!(r#""logs":[{{"n":{n}}}]"#);
    check([&base, &entries(n, "1"), &entries(rounded, "2")], &entries(n, "1,2"), &[]);
}

#[test]
fn a_program_that_rounds_what_it_saves_changes_nothing_either() {
    let (n, rounded) = ("12345678901234567890", "12345678901234567000");
    check([&format!(r#""n":{n}"#), &format!(r#""n":{rounded}"#), r#""n":5"#], r#""n":5"#, &[]);
    let (ours, edit) = (format!(r#""n":{rounded}"#), format!(r#""n":{n},"a":1"#));
    check([&format!(r#""n":{n}"#), &ours, &edit], &format!(r#""n":{rounded},"a":1"#), &[]);
}

#[test]
fn a_digit_that_a_person_changed_counts_though_no_double_has_it() {
    let (n, edited) = (r#""n":12345678901234567890"#, r#""n":12345678901234567891"#);
    check([n, n, edited], edited, &[]);
    check([n, r#""n":1"#, edited], edited, &["/n"]);
}

#[test]
fn a_conflict_is_named_by_a_json_pointer() {
    let versions =
        [r#""a/b":{"~":{"":1}}"#, r#""a/b":{"~":{"":2}}"#, r#""a\/b":{"\u007e":{"":3}}"#];
    let [base, ours, theirs] = versions.map(document);
    let merged = merge3(Some(&base), &ours, &theirs);
    assert_eq!(merged.conflicts, ["/a~1b/~0/"]);
    assert_eq!(merged.text, theirs);
}

#[test]
fn the_pointers_of_conflicts_take_a_bounded_amount_of_memory() {
    let members =
        |n: u8| (0..2000).map(|key| format!("\"{key}\":{n}")).collect::<Vec<_>>().join(",");
    let doc = |n| format!(r#"{{"{}":{{{}}}}}"#, "k".repeat(1 << 16), members(n));
    let merged = merge3(None, &doc(1), &doc(2));
    assert_eq!((merged.conflicts.len(), merged.text.len()), (15, doc(2).len()));
    let doc = |n| format!(r#"{{"{}":{n}}}"#, "k".repeat(2 << 20));
    assert_eq!(merge3(None, &doc(1), &doc(2)).conflicts.len(), 1);
}

#[test]
fn the_difference_counts_members_by_meaning_in_both_directions() {
    for (version, edited, count) in [
        (r#"{"a":1,"b":"x"}"#, r#"{ "b":"\u0078","a":1.0}"#, 0),
        (r#"{"a":1,"b":1}"#, r#"{"b":2,"c":1}"#, 3),
        (r#"{"a":{"b":1,"c":1}}"#, r#"{"a":{"b":2,"c":2}}"#, 1),
        (r#"{"a":12345678901234567890}"#, r#"{"a":12345678901234567000}"#, 0),
        (r#"{"a":12345678901234567000}"#, r#"{"a":12345678901234567890}"#, 1),
        ("{}", r#"{"a":null}"#, 1),
        ("[", "[", 0),
        ("[", "{}", usize::MAX),
    ] {
        assert_eq!(difference(version, edited), count, "{version} {edited}");
    }
}

#[test]
fn two_documents_are_the_same_if_they_mean_the_same() {
    for (a, b, expected) in [
        (
            r#"{"a":1,"b":[{"x":"é"}]}"#,
            "{\"b\" : [ {\"x\":\"\\u00E9\"}],\"\\u0061\":10e-1}\n",
            true,
        ),
        (r#"{"a":-0}"#, r#"{"a":0.0}"#, true),
        (r#"{"a":[1,2]}"#, r#"{"a":[2,1]}"#, false),
        (r#"{"a":[1,2]}"#, r#"{"a":[1]}"#, false),
        (r#"{"a":1}"#, r#"{"b":1}"#, false),
        (r#"{"a":1}"#, r#"{"a":1,"b":1}"#, false),
        (r#"{"a":"1"}"#, r#"{"a":1}"#, false),
        (r#"{"a":null}"#, r#"{"a":false}"#, false),
        (r#"{"a":{}}"#, r#"{"a":[]}"#, false),
        (r#"{"a":12345678901234567890}"#, r#"{"a":12345678901234567000}"#, false),
        ("{", "{", true),
        ("{", "{ ", false),
    ] {
        assert_eq!(is_same(a, b), expected, "{a} {b}");
        assert_eq!(is_same(b, a), expected, "{b} {a}");
    }
}

#[test]
fn what_is_nested_too_deep_or_is_no_object_is_the_edit_and_a_conflict() {
    let nested =
        |levels: usize, n: u8| format!("{}{n}{}", r#"{"a":"#.repeat(levels), "}".repeat(levels));
    let (base, deep) = (nested(DEPTH_MAX, 1), nested(DEPTH_MAX, 2));
    assert_eq!(merge3(Some(&base), &deep, &base).text, deep);
    assert_eq!(
        merge3(Some(&base), &deep, &nested(DEPTH_MAX, 3)).conflicts,
        ["/a".repeat(DEPTH_MAX)]
    );
    let abyss = nested(200_000, 1);
    for other in [&abyss, "", "[1]", "{\"a\":1", "}", "{\"a\"}}", "{}{}"] {
        for (base, ours, theirs) in
            [(None, other, "{}"), (None, "{}", other), (Some(other), "{}", "{}")]
        {
            let merged = merge3(base, ours, theirs);
            assert_eq!((merged.text.as_str(), merged.conflicts), (theirs, vec![String::new()]));
        }
    }
}
