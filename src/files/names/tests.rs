//! File names: inside the directory, unique on every system, parsed as they were built.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

fn id(text: &str) -> DocumentId {
    DocumentId::new(text).unwrap()
}

fn name_alone(text: &str) -> String {
    let mut names = Names::default();
    names.insert(&id(text));
    names.file_name(&id(text))
}

#[test]
fn an_ordinary_id_is_its_own_file_name() {
    for text in ["task_123", "a", "A-b.c_d", "a.json", "COM", "CON1", "com10", "a..b", "-"] {
        assert_eq!(name_alone(text), format!("{text}.json"));
    }
    assert_eq!(name_alone(&"a".repeat(180)), format!("{}.json", "a".repeat(180)));
}

#[test]
fn an_id_that_some_system_cannot_have_as_a_name_is_encoded() {
    let long = "a".repeat(181);
    let bad = [
        "../x",
        "/etc/passwd",
        ".",
        "..",
        ".hidden",
        "end.",
        "end ",
        "a b",
        "CON",
        "con",
        "nul.txt",
        "Com1",
        "LPT9.tar.gz",
        "lpt0",
        "é",
        "日本",
        "a~b",
        "a:b",
        "#a#",
        &long,
    ];
    for text in bad {
        let name = name_alone(text);
        let stem = name.strip_suffix(".json").unwrap();
        let (prefix, digits) = stem.rsplit_once('~').unwrap();
        assert!(prefix.len() <= 60 && digits.len() == 20, "{text} {name}");
        assert!(is_document_file(&name) && !is_reserved(stem), "{text} {name}");
    }
    assert!(name_alone("../../etc/passwd").starts_with("etcpasswd~"));
    assert!(name_alone("日本").starts_with("id~"));
}

#[test]
fn ids_equal_but_for_case_are_both_encoded_and_plain_again_when_alone() {
    let [lower, upper, mixed] = ["task", "TASK", "Task"].map(id);
    let mut names = Names::default();
    assert_eq!(names.insert(&lower), vec![]);
    assert_eq!(names.insert(&lower), vec![], "again");
    assert_eq!(names.file_name(&lower), "task.json");
    assert_eq!(names.insert(&upper), vec![lower.clone()]);
    assert_eq!(names.insert(&mixed), vec![], "both have the encoded form already");
    for twin in [&lower, &upper, &mixed] {
        assert!(names.file_name(twin).contains('~'));
    }
    assert_eq!(names.remove(&lower), vec![]);
    assert_eq!(names.remove(&lower), vec![], "again");
    assert_eq!(names.remove(&upper), vec![mixed.clone()]);
    assert_eq!(names.file_name(&mixed), "Task.json");
    assert_eq!(names.remove(&mixed), vec![]);
    assert!(names.groups.is_empty());
}

#[test]
fn names_of_backups_sort_in_the_order_in_which_they_were_made_when_the_clock_goes_back() {
    let mut made: Vec<String> = Vec::new();
    for now in [5, 5, 3, -7, 1_000_000_000, 999, i64::MAX, i64::MAX, 17] {
        let newest = made.last().and_then(|name| parse_backup(name));
        let name = backup(backup_time(Timestamp(now), newest));
        assert!(made.last().is_none_or(|last| *last < name), "{made:?} {name}");
        made.push(name);
    }
}

#[test]
fn backups_of_the_earlier_format_are_read_and_other_names_are_not_backups() {
    let earlier = parse_backup("state.backup.1704103200000.json");
    assert_eq!(earlier, Some(Timestamp(1_704_103_200_000_000_000)));
    for name in [
        "state.json",
        "state.backup.json",
        "state.backup..json",
        "state.backup.x.json",
        "state.backup.20260102T030405.123456789Z.json~",
        "state.backup.20260102T030405.12345678Z.json",
        "state.backup.20261302T030405.123456789Z.json",
        "state.backup.2026010éT030405.123456789Z.json",
        "state.backup.99999999999999999999.json",
        PRE_MIGRATION_BACKUP,
    ] {
        assert_eq!(parse_backup(name), None, "{name}");
    }
}

#[test]
fn what_editors_leave_is_known_and_documents_are_not_taken_for_it() {
    for name in [
        ".a.json.swp",
        "a.json~",
        "#a.json#",
        ".#a.json",
        "a.json.bak",
        "a.json.tmp",
        "4913",
        "5036",
        ".goutputstream-X",
        "a.json___jb_tmp___",
        "~$a.json",
    ] {
        assert!(is_editor_file(name) && !is_document_file(name), "{name}");
    }
    for name in ["a.json", "4913.json", "a.bak.json", "tmp.json", "README.md", ""] {
        assert!(!is_editor_file(name), "{name}");
    }
}

#[test]
fn a_swap_file_leads_back_to_the_mirror_file_it_is_of() {
    for file in ["tasks/a.json", "sessions/a.b.c~d.json"] {
        let path = swap(file);
        assert_eq!(parse_swap(path.strip_prefix("wal/").unwrap()).as_deref(), Some(file));
    }
    for name in ["swap.other.a.json", "swap.tasks", "mirror.part", "swap./a"] {
        assert_eq!(parse_swap(name), None);
    }
}

#[test]
fn a_conflict_keeps_the_stem_and_stays_within_a_file_name() {
    let hash = ContentHash(1);
    let name = conflict("tasks/a.json", hash, 0);
    assert_eq!(name, "conflicts/a~00000000000000000000000000000001.json");
    let long = conflict(&format!("{}.json", "é".repeat(120)), hash, u32::MAX);
    assert!(long.len() <= "conflicts/".len() + 255);
}

fn any_id() -> impl Strategy<Value = DocumentId> {
    let text = prop_oneof![
        "[aAbB.]{1,3}",
        "[a-zA-Z0-9._-]{1,200}",
        "(?i)(con|nul|com1)(\\.[a-z]{0,2})?",
        "[^\\p{Cc}]{1,40}",
        "[~#./ a]{1,6}",
    ];
    text.prop_filter_map("an id", |text| DocumentId::new(&text).ok())
}

proptest! {
    #[test]
    fn distinct_ids_have_distinct_safe_names_also_in_lower_case(
        ids in prop::collection::btree_set(any_id(), 1..40),
    ) {
        let mut names = Names::default();
        for id in &ids {
            names.insert(id);
        }
        let mut seen = BTreeSet::new();
        for id in &ids {
            let name = names.file_name(id);
            prop_assert!(!name.contains('/') && !name.starts_with('.') && name.len() <= 190);
            prop_assert!(is_document_file(&name) && !is_editor_file(&name), "{}", name);
            let path = swap(&format!("sessions/{name}"));
            prop_assert!(path.len() <= "wal/".len() + 255);
            prop_assert!(seen.insert(name.to_ascii_lowercase()), "{} twice", name);
        }
    }

    #[test]
    fn names_are_a_function_of_the_set_of_ids_and_every_change_is_told(
        steps in prop::collection::vec((any::<bool>(), "[aAbB]{1,2}".prop_map(|text| id(&text))), 1..60),
    ) {
        let mut names = Names::default();
        let mut told: BTreeMap<DocumentId, String> = BTreeMap::new();
        for (insert, id) in steps {
            let others = if insert { names.insert(&id) } else { names.remove(&id) };
            if insert {
                told.insert(id.clone(), names.file_name(&id));
            } else {
                told.remove(&id);
            }
            for other in others {
                prop_assert!(other != id && told.contains_key(&other));
                told.insert(other.clone(), names.file_name(&other));
            }
            let mut fresh = Names::default();
            for id in told.keys() {
                fresh.insert(id);
            }
            for (id, name) in &told {
                prop_assert_eq!(&fresh.file_name(id), name);
            }
        }
    }

    #[test]
    fn every_time_of_a_backup_is_read_back_from_its_name(nanos in any::<i64>()) {
        prop_assert_eq!(parse_backup(&backup(Timestamp(nanos))), Some(Timestamp(nanos)));
    }

    #[test]
    fn any_text_can_be_parsed_as_a_name(text in "\\PC{0,60}") {
        let _ = (parse_backup(&text), parse_swap(&text), is_document_file(&text));
        let _ = parse_backup(&format!("state.backup.{text}.json"));
    }
}

#[test]
fn ids_that_are_added_at_once_have_the_names_of_those_added_one_by_one() {
    let ids: Vec<DocumentId> =
        ["a", "b", "B", "b.c", "C/d", "con", "Com1.x", "é", "x.", "A-", "AUXI"].map(id).into();
    let mut single = Names::default();
    for id in &ids {
        single.insert(id);
    }
    let mut all = Names::default();
    let mut encoded = all.insert_all(ids.len(), ids.iter());
    encoded.sort();
    for id in &ids {
        let name = single.file_name(id);
        assert_eq!(all.file_name(id), name);
        let is_plain = name == format!("{id}.json");
        assert_eq!(encoded.binary_search(id).is_err(), is_plain, "{id}");
        assert_eq!(all.of_plain(&format!("{id}.json")), is_plain.then_some(id), "{id}");
        assert!(is_plain || all.of_plain(&name).is_none(), "{id}");
    }
    let plain: Vec<_> = ids.iter().filter(|id| encoded.binary_search(id).is_err()).collect();
    assert_eq!(plain, ["a", "b.c", "A-", "AUXI"].map(id).iter().collect::<Vec<_>>());
}
