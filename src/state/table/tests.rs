//! A map of parsed values is the oracle: transactions over values, applied to a copy and kept only
//! if every mutation was possible.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::state::json::check_object;

const MAX: usize = 1 << 20;

type Model = BTreeMap<(Collection, String), Value>;

fn collection() -> impl Strategy<Value = Collection> {
    prop_oneof![4 => Just(Collection::Task), 1 => Just(Collection::Session)]
}

/// Members that matter to the metrics, or fail to by their type.
fn members() -> impl Strategy<Value = Value> {
    let status = prop_oneof![
        2 => prop::sample::select(vec!["completed", "completed_active", "failed", "pending"])
            .prop_map(|status| json!({ "status": status })),
        1 => Just(json!({"status": 1})),
        1 => Just(json!({"status": null})),
    ];
    let time = |key: &'static str| {
        (0..90_u32).prop_map(move |second| match second {
            0..60 => json!({ key: format!("2024-01-01T10:00:{second:02}.{second:03}Z") }),
            60..75 => json!({ key: null }),
            _ => json!({ key: "soon" }),
        })
    };
    let logs = prop::sample::select(vec![json!({"logs": []}), json!({"logs": 3}), json!({})]);
    (status, time("started_at"), time("completed_at"), logs).prop_map(|(a, b, c, d)| {
        let mut all = a;
        for part in [b, c, d] {
            all.as_object_mut().unwrap().extend(part.as_object().unwrap().clone());
        }
        all
    })
}

fn op() -> impl Strategy<Value = Op> {
    let id = || prop::sample::select(vec!["a", "b", "c"]);
    prop_oneof![
        4 => (collection(), id(), members()).prop_map(|(collection, id, mut document)| {
            document["id"] = id.into();
            Op::put(collection, &document.to_string(), MAX).unwrap()
        }),
        3 => (collection(), id(), members()).prop_map(|(collection, id, patch)| {
            Op::patch(collection, id, &patch.to_string(), MAX).unwrap()
        }),
        2 => (id(), 0..9).prop_map(|(id, n)| {
            Op::append_log(id, &format!(" {{\"n\": {n}}} "), MAX).unwrap()
        }),
        2 => (collection(), id()).prop_map(|(collection, id)| Op::delete(collection, id).unwrap()),
        1 => Just(Op::Removed { file: "tasks/a.json".into(), lsn: Lsn(1) }),
    ]
}

fn transactions() -> impl Strategy<Value = Vec<Vec<Op>>> {
    prop::collection::vec(prop::collection::vec(op(), 1..4), 0..40)
}

/// The transactions with LSNs, consecutive from 1.
fn numbered(transactions: Vec<Vec<Op>>) -> Vec<Vec<(Lsn, Op)>> {
    let mut last = Lsn::ZERO;
    let mut number = |op| {
        last = last.next();
        (last, op)
    };
    transactions.into_iter().map(|ops| ops.into_iter().map(&mut number).collect()).collect()
}

/// Applies one mutation to the oracle: whether it deleted nothing, or that it is impossible.
fn apply_to_model(model: &mut Model, op: &Op) -> Result<bool, ()> {
    let Some((collection, id)) = op.target() else { return Ok(false) };
    let key = (collection, id.as_str().to_owned());
    match op {
        Op::Put { document, .. } => {
            model.insert(key, serde_json::from_str(document.text()).unwrap());
        }
        Op::Patch { patch, .. } => {
            let old = model.get(&key).ok_or(())?.to_string();
            let merged = crate::state::json::merge_patch(&old, patch);
            model.insert(key, serde_json::from_str(&merged).unwrap());
        }
        Op::AppendLog { entry, .. } => {
            let task = model.get_mut(&key).ok_or(())?.as_object_mut().unwrap();
            let logs = task.entry("logs").or_insert(json!([]));
            logs.as_array_mut().ok_or(())?.push(serde_json::from_str(entry).unwrap());
        }
        _ => return Ok(model.remove(&key).is_none()),
    }
    Ok(false)
}

fn contents(table: &Table) -> Model {
    let all = Collection::ALL.into_iter().flat_map(|collection| {
        let docs = table.sorted(collection);
        assert_eq!(docs.len(), table.len(collection));
        docs.into_iter().map(move |(id, doc)| {
            check_object(doc.text()).unwrap();
            ((collection, id.to_string()), serde_json::from_str(doc.text()).unwrap())
        })
    });
    all.collect()
}

fn recount(table: &Table) -> Sums {
    let mut sums = Sums::default();
    for (_, doc) in table.iter(Collection::Task) {
        sums.add(&Document::new(Arc::clone(doc.text())));
    }
    sums
}

fn docs(table: &Table) -> Vec<(DocumentId, Arc<Doc>)> {
    Collection::ALL.into_iter().flat_map(|collection| table.sorted(collection)).collect()
}

proptest! {
    #[test]
    fn a_transaction_is_applied_whole_or_not_at_all(transactions in transactions()) {
        let (mut table, mut model) = (Table::new(), Model::new());
        for changes in numbered(transactions) {
            let before = table.clone();
            let mut tried = model.clone();
            let outcome: Result<Vec<bool>, usize> = changes
                .iter()
                .enumerate()
                .map(|(index, (_, op))| apply_to_model(&mut tried, op).map_err(|()| index))
                .collect();
            match (table.apply(&changes), outcome) {
                (Ok(applied), Ok(missing)) => {
                    model = tried;
                    prop_assert_eq!(applied.missing, missing.iter().filter(|gone| **gone).count());
                }
                (Err(refused), Err(index)) => {
                    prop_assert_eq!(refused.index, index);
                    prop_assert_eq!(docs(&table), docs(&before));
                    prop_assert_eq!(table.last_changed(), before.last_changed());
                }
                (got, expected) => prop_assert!(false, "{:?} for {:?}", got, expected),
            }
            prop_assert_eq!(contents(&table), model.clone());
            prop_assert_eq!(table.sums, recount(&table));
        }
    }

    #[test]
    fn replaying_the_encoded_log_gives_the_same_table_byte_for_byte(
        transactions in transactions(),
    ) {
        let (mut table, mut replayed) = (Table::new(), Table::new());
        for changes in numbered(transactions) {
            if table.apply(&changes).is_err() {
                continue;
            }
            let read: Vec<_> = changes
                .iter()
                .map(|(lsn, op)| {
                    let (kind, payload) = op.encode();
                    (*lsn, Op::decode(kind, &payload).unwrap())
                })
                .collect();
            replayed.apply(&read).unwrap();
        }
        prop_assert_eq!(docs(&replayed), docs(&table));
        prop_assert_eq!(replayed.last_changed(), table.last_changed());
        prop_assert_eq!(replayed.metrics(), table.metrics());

        // A table loaded document by document, as from a snapshot, goes on the same way.
        let mut loaded = Table::new();
        for collection in Collection::ALL {
            for (id, doc) in table.sorted(collection) {
                let document = Document::new(Arc::clone(doc.text()));
                loaded.load(collection, &id, Doc::new(document, doc.lsn(), doc.is_suspect()));
            }
        }
        prop_assert_eq!(docs(&loaded), docs(&table));
        prop_assert_eq!(loaded.sums, table.sums);
    }

    #[test]
    fn a_clone_never_changes(transactions in transactions(), at in 0..20_usize) {
        let mut table = Table::new();
        let mut copy = None;
        for (index, changes) in numbered(transactions).into_iter().enumerate() {
            if index == at {
                copy = Some((table.clone(), contents(&table)));
            }
            let _ = table.apply(&changes);
        }
        if let Some((copy, expected)) = copy {
            prop_assert_eq!(contents(&copy), expected);
            prop_assert_eq!(copy.sums, recount(&copy));
        }
    }
}

fn put(text: &str) -> Op {
    Op::put(Collection::Task, text, MAX).unwrap()
}

fn patch(id: &str) -> Op {
    Op::patch(Collection::Task, id, r#"{"patched": true}"#, MAX).unwrap()
}

/// A table where every mutation was a transaction of its own, at LSNs 1, 2, 3 …
fn table_of(ops: impl IntoIterator<Item = Op>) -> Table {
    let mut table = Table::new();
    for change in numbered(vec![ops.into_iter().collect()]).concat() {
        table.apply(&[change]).unwrap();
    }
    table
}

fn text<'t>(table: &'t Table, id: &str) -> &'t str {
    table.get(Collection::Task, id).unwrap().text()
}

#[test]
fn a_refusal_says_which_mutation_and_why() {
    let mut table = table_of([put(r#"{"id":"a","logs":{}}"#)]);
    let refused = table.apply(&[(Lsn(2), put(r#"{"id":"b"}"#)), (Lsn(3), patch("c"))]).unwrap_err();
    assert_eq!(refused.index, 1);
    assert!(matches!(&refused.error, Error::NotFound { what } if what == "task c"), "{refused}");
    assert!(table.get(Collection::Task, "b").is_none());

    let log = Op::append_log("a", "{}", MAX).unwrap();
    let refused = table.apply(&[(Lsn(2), log)]).unwrap_err();
    assert_eq!(refused.to_string(), "task a: `logs` is an object, not an array");
    assert_eq!(table.last_changed(), Lsn(1));
}

#[test]
fn only_what_changes_a_document_moves_the_last_change() {
    let mut table = table_of([put(r#"{"id":"a"}"#), patch("a")]);
    assert_eq!(table.get(Collection::Task, "a").unwrap().lsn(), Lsn(2));
    let delete = Op::delete(Collection::Task, "x").unwrap();
    assert_eq!(table.apply(&[(Lsn(3), delete)]).unwrap().missing, 1);
    let file = Op::Removed { file: "tasks/x.json".into(), lsn: Lsn(3) };
    assert_eq!(table.apply(&[(Lsn(4), file)]).unwrap().missing, 0);
    assert_eq!(table.last_changed(), Lsn(2));
    let delete = Op::delete(Collection::Task, "a").unwrap();
    assert_eq!(table.apply(&[(Lsn(5), delete)]).unwrap().missing, 0);
    assert_eq!(table.last_changed(), Lsn(5));
    assert!(table.is_empty());
}

#[test]
fn a_session_and_a_task_of_one_id_are_two_documents() {
    let session = Op::put(Collection::Session, r#"{"id":"a","status":"failed"}"#, MAX).unwrap();
    let table = table_of([put(r#"{"id":"a"}"#), session]);
    assert_eq!((table.len(Collection::Task), table.len(Collection::Session)), (1, 1));
    assert_eq!(table.metrics().failed_tasks, 0);
    assert_eq!(table.metrics().total_tasks, 1);
}

#[test]
fn the_average_is_in_seconds_over_completed_tasks_that_have_both_times() {
    let task = |id: &str, status: &str, end: &str| {
        put(&format!(
            r#"{{"id":"{id}","status":"{status}","started_at":"2024-01-01T10:00:00Z",
                "completed_at":"2024-01-01T{end}"}}"#
        ))
    };
    let table = table_of([
        task("a", "completed", "10:00:01Z"),
        task("b", "completed_active", "10:00:00.5Z"),
        task("c", "failed", "11:00:00Z"),
        task("d", "completed", "late"),
    ]);
    let expected = Metrics {
        total_tasks: 4,
        completed_tasks: 3,
        failed_tasks: 1,
        average_completion_time: 0.75,
    };
    assert_eq!(table.metrics(), expected);
    assert_eq!(Table::new().metrics(), Metrics::default());
}

#[test]
fn after_a_hole_a_delta_applies_only_to_a_document_newer_than_it() {
    let mut table = table_of([put(r#"{"id":"old"}"#), put(r#"{"id":"gone"}"#)]);
    let hole = Lsn(9);
    let left = table.apply_after_hole(
        &[
            (Lsn(10), patch("old")),
            (Lsn(11), put(r#"{"id":"new"}"#)),
            (Lsn(12), patch("new")),
            (Lsn(13), patch("never-seen")),
            (Lsn(14), Op::delete(Collection::Task, "gone").unwrap()),
        ],
        hole,
    );
    let task = |id: &str| (Collection::Task, DocumentId::new(id).unwrap());
    assert_eq!(left.suspect, [task("old")]);
    assert_eq!(left.missing, [task("never-seen")]);
    assert_eq!(text(&table, "old"), r#"{"id":"old"}"#);
    assert_eq!(table.get(Collection::Task, "old").unwrap().lsn(), Lsn(1));
    assert_eq!(text(&table, "new"), r#"{"id":"new","patched":true}"#);
    assert!(table.get(Collection::Task, "gone").is_none());

    // It stays suspect through further deltas, and is reported once.
    let log = Op::append_log("old", "{}", MAX).unwrap();
    assert_eq!(table.apply_after_hole(&[(Lsn(15), log)], hole), AfterHole::default());
    assert_eq!(text(&table, "old"), r#"{"id":"old"}"#);
    table.apply(&[(Lsn(16), patch("old"))]).unwrap();
    assert!(table.get(Collection::Task, "old").unwrap().is_suspect());

    // A whole version is the remedy.
    table.apply(&[(Lsn(17), put(r#"{"id":"old","v":2}"#))]).unwrap();
    assert!(!table.get(Collection::Task, "old").unwrap().is_suspect());
    assert_eq!(table.sums, recount(&table));
}
