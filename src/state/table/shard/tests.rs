//! The index is held against a scan of all documents, after whatever a table can go through.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::base::Lsn;
use crate::state::{Collection, Document, Op, Table};

const STATUSES: [&str; 4] = ["pending", "completed", "failed", ""];
/// So many ids are used, half of them of one shard.
const IDS: usize = 8;

/// A document's status: one of the strings, a number, or none.
fn document(id: &str, status: usize) -> String {
    match STATUSES.get(status) {
        Some(status) => format!(r#"{{"id":"{id}","status":"{status}"}}"#),
        None if status == STATUSES.len() => format!(r#"{{"id":"{id}","status":7}}"#),
        None => format!(r#"{{"id":"{id}"}}"#),
    }
}

#[derive(Clone, Copy, Debug)]
enum Change {
    Put(usize),
    Patch(usize),
    Log,
    Delete,
}

#[derive(Clone, Debug)]
enum Step {
    Apply(Vec<(Collection, usize, Change)>),
    ApplyAfterHole(Vec<(Collection, usize, Change)>),
    Load(Collection, usize, usize),
    Unload(Collection, usize),
    Copy,
    BackToCopy,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let of = || prop_oneof![3 => Just(Collection::Task), 1 => Just(Collection::Session)];
    let status = || 0..STATUSES.len() + 2;
    let change = prop_oneof![
        4 => status().prop_map(Change::Put),
        3 => status().prop_map(Change::Patch),
        1 => Just(Change::Log),
        2 => Just(Change::Delete),
    ];
    let changes = || prop::collection::vec((of(), 0..IDS, change.clone()), 1..5);
    let step = prop_oneof![
        8 => changes().prop_map(Step::Apply),
        2 => changes().prop_map(Step::ApplyAfterHole),
        2 => (of(), 0..IDS, status()).prop_map(|(of, id, status)| Step::Load(of, id, status)),
        1 => (of(), 0..IDS).prop_map(|(of, id)| Step::Unload(of, id)),
        2 => Just(Step::Copy),
        1 => Just(Step::BackToCopy),
    ];
    prop::collection::vec(step, 0..50)
}

/// Ids of which half fall into one shard of each collection of their own.
fn ids_for(table: &Table) -> [Vec<DocumentId>; 2] {
    [&table.tasks, &table.sessions].map(|shards| {
        let all = || (0..).map(|n| DocumentId::new(&format!("{}{n}", "t".repeat(24))).unwrap());
        let place = shards.place("t0");
        let together = all().filter(|id| shards.place(id.as_str()) == place).take(IDS / 2);
        let apart = all().filter(|id| shards.place(id.as_str()) != place).take(IDS / 2);
        together.chain(apart).collect()
    })
}

fn op((collection, at, change): (Collection, usize, Change), ids: &[Vec<DocumentId>; 2]) -> Op {
    let id = ids[usize::from(collection == Collection::Session)][at].as_str();
    match change {
        Change::Put(status) => Op::put(collection, &document(id, status), 1 << 20).unwrap(),
        Change::Patch(status) => {
            let patch = document(id, status);
            let patch = if patch.contains("status") { patch } else { r#"{"status":null}"#.into() };
            Op::patch(collection, id, &patch, 1 << 20).unwrap()
        }
        Change::Log => Op::append_log(id, "{}", 1 << 20).unwrap(),
        Change::Delete => Op::delete(collection, id).unwrap(),
    }
}

/// All documents by their status, read from their texts.
fn scan(table: &Table, collection: Collection) -> BTreeMap<String, Vec<(DocumentId, Arc<Doc>)>> {
    let mut found: BTreeMap<String, Vec<_>> = BTreeMap::new();
    for (id, doc) in table.sorted(collection) {
        let value: serde_json::Value = serde_json::from_str(doc.text()).unwrap();
        if let Some(status) = value["status"].as_str() {
            found.entry(status.to_owned()).or_default().push((id, doc));
        }
    }
    found
}

fn check(table: &Table) {
    for collection in Collection::ALL {
        let expected = scan(table, collection);
        for status in STATUSES.into_iter().chain(["7", "other"]) {
            let of_status = table.of_status(collection, status);
            let found = of_status.sorted();
            assert_eq!(found, expected.get(status).cloned().unwrap_or_default(), "{status:?}");
            assert!(of_status.shards.len() <= found.len(), "shards without any are held");
        }
        for shard in &table.shards(collection).shards {
            assert!(shard.statuses.values().all(|ids| !ids.is_empty()), "a status without ids");
            for id in shard.statuses.values().flatten() {
                let (own, _) = shard.docs.get_key_value(id).unwrap();
                let is_shared = own.as_str().as_ptr() == id.as_str().as_ptr();
                assert!(is_shared || own.as_str().len() <= 23, "a text of its own");
            }
        }
    }
}

proptest! {
    #[test]
    fn who_has_which_status_is_what_a_scan_finds(steps in steps()) {
        let mut table = Table::new();
        let ids = ids_for(&table);
        let mut copies = vec![table.clone()];
        let mut lsn = Lsn::ZERO;
        let mut numbered = |changes: Vec<(Collection, usize, Change)>| -> Vec<(Lsn, Op)> {
            let number = |change| {
                lsn = lsn.next();
                (lsn, op(change, &ids))
            };
            changes.into_iter().map(number).collect()
        };
        for step in steps {
            let of = |collection, at: usize| &ids[usize::from(collection == Collection::Session)][at];
            match step {
                Step::Apply(changes) => {
                    // Some are refused, and taken back.
                    let _ = table.apply(&numbered(changes));
                }
                Step::ApplyAfterHole(changes) => {
                    let hole = Lsn(table.last_changed().0 / 2);
                    table.apply_after_hole(&numbered(changes), hole);
                }
                Step::Load(collection, at, status) => {
                    let id = of(collection, at);
                    let document = Document::new(document(id.as_str(), status));
                    table.load(collection, id, Doc::new(document, table.last_changed(), false));
                }
                Step::Unload(collection, at) => table.unload(collection, of(collection, at)),
                Step::Copy => copies.push(table.clone()),
                Step::BackToCopy => table.clone_from(copies.last().unwrap()),
            }
            check(&table);
        }
        copies.iter().for_each(check);
    }
}

fn set(shards: &mut Shards, n: usize, status: usize) {
    let id = DocumentId::new(&format!("t{n}")).unwrap();
    let doc = Doc::new(Document::new(document(id.as_str(), status)), Lsn(1), false);
    shards.set(&id, Some(&Arc::new(doc)));
}

/// How many shards share their documents, and how many what is indexed of them.
fn shared(a: &Shards, b: &Shards) -> (usize, usize) {
    let pairs = || a.shards.iter().zip(&b.shards);
    let docs = pairs().filter(|(a, b)| Arc::ptr_eq(a, b)).count();
    (docs, pairs().filter(|(a, b)| Arc::ptr_eq(&a.statuses, &b.statuses)).count())
}

#[test]
fn a_clone_shares_all_shards_and_a_write_copies_one() {
    let mut shards = Shards::default();
    (0..1000).for_each(|n| set(&mut shards, n, 0));
    let copy = shards.clone();
    shards.set(&DocumentId::new("x").unwrap(), None);
    assert_eq!(shared(&shards, &copy), (SHARDS, SHARDS));
    set(&mut shards, 7, 0);
    assert_eq!(shared(&shards, &copy), (SHARDS - 1, SHARDS), "its status is the same");
    set(&mut shards, 7, 1);
    assert_eq!(shared(&shards, &copy), (SHARDS - 1, SHARDS - 1));
    assert_eq!(copy.get("t7").unwrap().status(), Some(STATUSES[0]));
    assert_eq!(copy.of_status(STATUSES[0]).sorted().len(), 1000);
    assert_eq!(shards.of_status(STATUSES[0]).sorted().len(), 999);
    let used = shards.shards.iter().filter(|shard| !shard.docs.is_empty()).count();
    assert!(used > SHARDS / 2, "1000 ids fall into only {used} shards");
}

#[test]
fn a_status_that_few_are_left_of_keeps_no_room_for_many() {
    let mut shards = Shards::default();
    (0..20_000).for_each(|n| set(&mut shards, n, 0));
    (0..19_990).for_each(|n| set(&mut shards, n, 1));
    let rooms = shards.shards.iter().filter_map(|shard| shard.statuses.get(STATUSES[0]));
    let rooms: Vec<usize> = rooms.map(HashSet::capacity).collect();
    assert!(rooms.len() <= 10, "{rooms:?}");
    assert!(rooms.iter().all(|room| *room <= 4 * SMALL), "{rooms:?}");
    assert_eq!(shards.of_status(STATUSES[0]).sorted().len(), 10);
}
