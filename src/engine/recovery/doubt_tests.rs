//! Each row of DESIGN.md, "Where records are missing", at its edges: the hole is LSN 11 to 20, and the
//! base is as of 10.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::*;
use crate::base::{StoreId, Timestamp};
use crate::files::mirror::Entry;
use crate::files::snapshot::{Contents, render};
use crate::fs::Fs;
use crate::fs::sim::SimFs;
use crate::state::Op;
use crate::wal::{self, Hints, Identity, Log, LogOptions, Origin, Record};

const HOLE: Hole = Hole { after: Lsn(10), last: Lsn(20), log_is_gone: false };
const FILE: &str = "tasks/a.json";

fn id(id: &str) -> DocumentId {
    DocumentId::new(id).unwrap()
}

fn text(id: &str, version: u64) -> String {
    format!(r#"{{"id":"{id}","v":{version}}}"#)
}

fn hash(id: &str, version: u64) -> ContentHash {
    ContentHash::of(text(id, version).as_bytes())
}

fn file(name: &str, version: u64) -> Shown {
    Shown {
        collection: Collection::Task,
        id: id(name),
        file: format!("tasks/{name}.json"),
        is_engines: true,
        hash: hash(name, version),
        text: text(name, version),
    }
}

#[allow(clippy::unnecessary_wraps, reason = "as the tests hand it on")]
fn clean(lsn: u64, tasks: u64) -> Option<Stage> {
    Some(Stage::Clean { lsn: Lsn(lsn), documents: Some((tasks, 0)) })
}

/// A document by its text, its LSN, and whether it is suspect.
type Served = (String, u64, bool);

/// What the crossing makes of the base's documents, each at version 1 as of LSN 5.
fn crossed(doubt: &mut Doubt, base: &[&str]) -> (BTreeMap<String, Served>, Vec<Problem>) {
    let mut table = Table::new();
    for name in base {
        let doc = Doc::new(Document::new(text(name, 1).as_str()), Lsn(5), false);
        table.load(Collection::Task, &id(name), doc);
    }
    table.advance(Lsn(10));
    let problems = doubt.cross(HOLE, &mut table);
    assert!(table.last_changed() >= HOLE.last, "the next snapshot covers the hole");
    let docs = table.iter(Collection::Task);
    let served = docs
        .map(|(id, doc)| (id.to_string(), (doc.text().to_string(), doc.lsn().0, doc.is_suspect())));
    (served.collect(), problems)
}

#[allow(clippy::unnecessary_wraps, reason = "as the tests compare it")]
fn base_version(name: &str) -> Option<Served> {
    Some((text(name, 1), 5, false))
}

#[test]
fn a_dated_file_counts_above_the_base_and_is_suspect_below_the_holes_end() {
    for (lsn, wanted) in [
        (9, base_version("a")),
        (10, base_version("a")),
        (11, Some((text("a", 2), 11, true))),
        (19, Some((text("a", 2), 19, true))),
        (20, Some((text("a", 2), 20, false))),
        (21, Some((text("a", 2), 21, false))),
    ] {
        let mut as_of = AsOf::default();
        as_of.wrote(FILE, hash("a", 2), Lsn(lsn));
        as_of.wrote(FILE, hash("a", 3), Lsn(25));
        let mut doubt = Doubt::new(vec![file("a", 2)], as_of, None, None);
        let (found, problems) = crossed(&mut doubt, &["a"]);
        assert_eq!(found.get("a").cloned(), wanted, "as of {lsn}");
        assert!(problems.is_empty() && doubt.losers.is_empty(), "as of {lsn}");
        assert_eq!(doubt.from_mirror, u64::from(lsn > 10));
        assert_eq!(doubt.knows((Collection::Task, &id("a")), Lsn(lsn)), lsn > 10);
        assert!(!doubt.knows((Collection::Task, &id("a")), Lsn(lsn + 1)), "what follows counts");
    }
}

#[test]
fn a_file_of_unknown_age_counts_where_it_differs_and_what_it_displaces_is_kept() {
    for version in [1, 2] {
        let mut doubt = Doubt::new(vec![file("a", version)], AsOf::default(), None, None);
        let (found, problems) = crossed(&mut doubt, &["a"]);
        let differs = version == 2;
        let wanted = if differs { Some((text("a", 2), 20, true)) } else { base_version("a") };
        assert_eq!(found.get("a").cloned(), wanted);
        assert_eq!(problems.len(), usize::from(differs), "{problems:?}");
        let losers = if differs { vec![(Collection::Task, id("a"), text("a", 1))] } else { vec![] };
        assert_eq!(doubt.losers, losers);
    }
    let mut doubt = Doubt::new(vec![file("a", 2)], AsOf::default(), clean(20, 1), None);
    let (found, problems) = crossed(&mut doubt, &["a"]);
    assert_eq!(found.get("a"), Some(&(text("a", 2), 20, false)), "of a clean stop all are known");
    assert!(problems.is_empty() && doubt.losers.is_empty());
}

#[test]
fn a_file_that_shows_the_last_change_before_a_snapshot_is_as_of_that_and_another_as_of_its_own() {
    let (a, text) = (id("a"), text("a", 2));
    let contents = Contents {
        store: StoreId(7),
        lsn: Lsn(15),
        tasks: vec![(&a, &text)],
        sessions: Vec::new(),
        metrics: "{}",
        last_saved: Timestamp(0),
        others: "",
    };
    let doc = Arc::new(Doc::new(Document::new(&*text), Lsn(12), false));
    let index = Index::new(&render(contents), &[(a.clone(), doc)], &[]);
    for (shown, as_of) in [(11, 11), (12, 15), (14, 15), (15, 15), (16, 16)] {
        let entry = |file: &str| Entry {
            file: file.to_owned(),
            hash: hash("a", 2),
            length: 1,
            lsn: Lsn(shown),
            stat: None,
        };
        let index = index.clone().with_mirror(vec![entry(FILE), entry("tasks/b.json")]);
        let mut known = AsOf::default();
        let (lsn, listed) = known.read(&index);
        assert_eq!((lsn, listed), (Lsn(15), HashSet::from([(Collection::Task, a.clone())])));
        assert_eq!(known.of(&file("a", 2)), Some(Lsn(as_of)), "shown as of {shown}");
        let b = Shown { file: "tasks/b.json".into(), ..file("a", 2) };
        assert_eq!(known.of(&b), Some(Lsn(shown)), "of a document that the snapshot lacks");
    }
}

#[test]
fn a_document_without_a_file_is_gone_if_its_removal_is_recorded_above_the_base() {
    for (removed, is_gone) in [(10, false), (11, true), (20, true), (25, true)] {
        let mut as_of = AsOf::default();
        as_of.wrote(FILE, hash("a", 1), Lsn(5));
        as_of.removed(FILE, Lsn(removed));
        let mut doubt = Doubt::new(vec![], as_of, None, None);
        let (found, _) = crossed(&mut doubt, &["a", "b"]);
        assert_eq!(found.contains_key("a"), !is_gone, "removed as of {removed}");
        assert_eq!(doubt.knows((Collection::Task, &id("a")), Lsn(removed)), is_gone);
        assert_eq!(found.get("b").cloned(), base_version("b"), "of it nothing is said");
    }
}

#[test]
fn a_file_that_gives_way_to_another_of_the_same_document_is_no_deletion() {
    let [plain, encoded] = <[String; 2]>::try_from(names::forms(&id("a"))).unwrap();
    let mut as_of = AsOf::default();
    // One pass, as of one LSN, writes the one and removes the other.
    as_of.wrote(&join("tasks", &plain), hash("a", 1), Lsn(15));
    as_of.removed(&join("tasks", &encoded), Lsn(15));
    let (found, _) = crossed(&mut Doubt::new(vec![], as_of, None, None), &["a"]);
    assert_eq!(found.get("a").cloned(), base_version("a"));
}

#[test]
fn a_file_of_before_a_recorded_removal_neither_counts_nor_keeps_its_document() {
    for wrote in [None, Some(4), Some(10), Some(12), Some(20)] {
        for base in [&["a"][..], &[]] {
            let mut as_of = AsOf::default();
            if let Some(lsn) = wrote {
                as_of.wrote(FILE, hash("a", 2), Lsn(lsn));
            }
            as_of.removed(FILE, Lsn(21));
            let mut doubt = Doubt::new(vec![file("a", 2)], as_of, None, None);
            let (found, problems) = crossed(&mut doubt, base);
            assert!(found.is_empty(), "of {wrote:?}: {found:?}");
            assert!(problems.is_empty() && doubt.losers.is_empty());
        }
    }
}

#[test]
fn a_file_that_was_written_after_a_removal_counts() {
    for (wrote, stage) in [(Some(Lsn(15)), None), (None, clean(20, 1))] {
        let mut as_of = AsOf::default();
        as_of.removed(FILE, Lsn(12));
        if let Some(lsn) = wrote {
            as_of.wrote(FILE, hash("a", 2), lsn);
        }
        let (found, _) = crossed(&mut Doubt::new(vec![file("a", 2)], as_of, stage, None), &[]);
        assert_eq!(found.get("a").map(|(text, ..)| text), Some(&text("a", 2)));
    }
}

#[test]
fn a_document_without_a_file_is_gone_if_a_later_snapshot_lacked_it() {
    for (lsn, listed, is_gone) in [(10, "b", false), (11, "b", true), (11, "a", false)] {
        let keys = HashSet::from([(Collection::Task, id(listed))]);
        let listed = Some((Lsn(lsn), keys));
        let mut doubt = Doubt::new(vec![], AsOf::default(), None, listed);
        let (found, _) = crossed(&mut doubt, &["a"]);
        assert_eq!(found.is_empty(), is_gone, "listed as of {lsn}");
    }
}

#[test]
fn a_document_without_a_file_is_gone_after_a_clean_stop_with_as_many_files() {
    for (lsn, count, is_gone) in
        [(20, 1, true), (25, 1, true), (19, 1, false), (20, 2, false), (20, 0, false)]
    {
        let mut doubt = Doubt::new(vec![file("b", 1)], AsOf::default(), clean(lsn, count), None);
        let (found, _) = crossed(&mut doubt, &["a", "b"]);
        assert_eq!(!found.contains_key("a"), is_gone, "stopped at {lsn} with {count}");
        assert!(found.contains_key("b"));
    }
    let (found, _) = crossed(&mut Doubt::new(vec![], AsOf::default(), None, None), &["a"]);
    assert_eq!(found.len(), 1, "nothing was said of how many there were");
}

#[test]
fn a_file_of_a_removed_document_does_not_stand_for_one_that_is_missing() {
    let mut as_of = AsOf::default();
    as_of.wrote("tasks/b.json", hash("b", 1), Lsn(5));
    as_of.removed("tasks/b.json", Lsn(15));
    // One document was left at the clean stop: `a`, whose file is lost since; somebody put back `b`.
    let mut doubt = Doubt::new(vec![file("b", 1)], as_of, clean(20, 1), None);
    let (found, _) = crossed(&mut doubt, &["a", "b"]);
    assert_eq!(found.keys().collect::<Vec<_>>(), ["a"]);
}

#[test]
fn the_log_tells_as_of_when_files_were_written_taken_in_and_removed() {
    let disk = SimFs::new();
    disk.create_dir(names::WAL).unwrap();
    let scan = wal::scan(&disk, names::WAL, &Hints::default()).unwrap();
    let identity = Identity { store: StoreId(7), incarnation: 1, nonce: 1 };
    let (fs, options) = (Arc::new(disk.clone()), LogOptions::default());
    let mut log = Log::begin(fs, names::WAL, &scan, identity, options, Timestamp(0)).unwrap();
    let edited = |version: u64, length, is_whole| Op::Edited {
        file: FILE.to_owned(),
        hash: hash("a", version),
        length,
        modified_ns: 0,
        is_whole,
        text: None,
    };
    let change = Op::delete(Collection::Task, "b").unwrap();
    // Each is a transaction: what is edited is as of its last record.
    let wrote = |version| Op::Wrote {
        file: FILE.to_owned(),
        hash: hash("a", version),
        length: 9,
        lsn: Lsn(version),
    };
    for ops in [
        vec![wrote(1)],
        vec![edited(2, 9, true), change.clone()],
        vec![edited(3, 9, false), change.clone()],
        vec![edited(4, 0, false), change],
    ] {
        let mut records: Vec<Record> = Vec::new();
        for op in ops {
            let (kind, payload) = op.encode();
            let record = Record::new(kind, Origin::Api, payload);
            records = records.into_iter().map(Record::continued).chain([record]).collect();
        }
        log.append(&records, Timestamp(0)).unwrap();
    }
    log.witness(Timestamp(0)).unwrap();
    let scan = wal::scan(&disk, names::WAL, &Hints::default()).unwrap();
    let mut as_of = AsOf::default();
    crate::engine::recovery::replay::evidence(&disk, &scan, &mut as_of).unwrap();
    let found = [1, 2, 3].map(|version| as_of.of(&file("a", version)));
    assert_eq!(found, [Some(Lsn(1)), Some(Lsn(3)), None], "an edit that was merged shows nothing");
    assert_eq!(as_of.gone(Collection::Task, &id("a")), Some(Lsn(7)));
}
