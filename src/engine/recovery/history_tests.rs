//! Which earlier versions of a document count as shown by its file: versions are named by the LSNs that made
//! them, and what else is known is set by hand.

use super::*;
use crate::base::{ContentHash, StoreId, Timestamp};
use crate::engine::recovery::plan;
use crate::files::mirror::Entry;
use crate::files::names::{self, STATE};
use crate::files::snapshot::Index;
use crate::files::snapshot::fixture::{empty_index, snapshot_bytes};
use crate::fs::sim::SimFs;
use crate::state::{Doc, Document};
use crate::wal::{self, Hints, Identity, Log, LogOptions, Origin, Record};

const STORE: StoreId = StoreId(7);
const FILE: &str = "tasks/a.json";

fn id() -> DocumentId {
    DocumentId::new("a").unwrap()
}

fn text(version: u64) -> String {
    format!(r#"{{"id":"a","n":{version}}}"#)
}

fn put(version: u64) -> Op {
    Op::put(Collection::Task, &text(version), 1 << 20).unwrap()
}

fn wrote(lsn: u64) -> Op {
    let hash = ContentHash::of(text(lsn).as_bytes());
    Op::Wrote { file: FILE.to_owned(), hash, length: 1, lsn: Lsn(lsn) }
}

fn other() -> Op {
    Op::put(Collection::Task, r#"{"id":"b"}"#, 1 << 20).unwrap()
}

fn record(op: &Op) -> Record {
    let (kind, payload) = op.encode();
    Record::new(kind, Origin::Api, payload)
}

/// A log of these groups, from LSN 1 on, and nothing else.
fn log(groups: &[Vec<Record>]) -> SimFs {
    let disk = SimFs::new();
    disk.create_dir(WAL).unwrap();
    let hints = Hints { store: Some(STORE), ..Hints::default() };
    let scan = wal::scan(&disk, WAL, &hints).unwrap();
    let identity = Identity { store: STORE, incarnation: 1, nonce: 1 };
    let (fs, options) = (Arc::new(disk.clone()), LogOptions::default());
    let mut log = Log::begin(fs, WAL, &scan, identity, options, Timestamp(0)).unwrap();
    for group in groups {
        log.append(group, Timestamp(0)).unwrap();
    }
    log.witness(Timestamp(0)).unwrap();
    disk
}

fn log_of(ops: &[Op]) -> SimFs {
    log(&ops.iter().map(|op| vec![record(op)]).collect::<Vec<_>>())
}

#[allow(clippy::unnecessary_wraps, reason = "as the tests hand it on")]
fn index(lsn: u64, entry: Option<u64>) -> Option<Index> {
    let entry = entry.map(|lsn| Entry {
        file: FILE.to_owned(),
        hash: ContentHash(1),
        length: 1,
        lsn: Lsn(lsn),
        stat: None,
    });
    Some(empty_index(STORE, lsn).with_mirror(entry.into_iter().collect()))
}

/// What recovery knows of a disk, of a store that was not shut down; sound, or not.
fn known(disk: &SimFs, is_sound: bool) -> Plan {
    let mut plan = plan(disk).unwrap();
    (plan.is_sound, plan.recovery.clean) = (is_sound, false);
    plan
}

fn former(plan: &Plan, disk: &SimFs, file: Option<&str>, last: Option<u64>) -> Former {
    let (file, last) = (file.map(str::to_owned), last.map(Lsn));
    let wanted = Wanted { key: (Collection::Task, id()), file, last };
    plan.history(disk, [wanted]).unwrap().remove(&(Collection::Task, id())).unwrap()
}

/// The versions that the file may have shown, newest first.
fn shown(plan: &Plan, disk: &SimFs) -> Vec<u64> {
    versions(&former(plan, disk, Some(FILE), None))
}

fn versions(former: &Former) -> Vec<u64> {
    let number = |text: &Arc<str>| {
        let value: serde_json::Value = serde_json::from_str(text).unwrap();
        value["n"].as_u64().unwrap()
    };
    former.versions.iter().map(number).collect()
}

#[test]
fn a_version_counts_if_a_record_says_that_the_file_showed_it() {
    let disk = log_of(&[put(1), put(2), wrote(2), put(4), put(5), wrote(5), put(7)]);
    for is_sound in [true, false] {
        let plan = known(&disk, is_sound);
        assert_eq!(shown(&plan, &disk), [5, 2], "1, which no file showed, is none");
        let of = |file, last| versions(&former(&plan, &disk, file, last));
        assert_eq!(of(None, None), [7, 5, 4, 2, 1], "any may have been copied");
        assert_eq!(of(Some(FILE), Some(4)), [2], "it is known to have shown nothing later");
        assert_eq!(of(Some(FILE), Some(0)), [5, 2], "nor is it known");
    }
}

#[test]
fn where_nothing_tells_what_the_file_showed_it_may_have_been_any_version() {
    let disk = log_of(&[put(1), put(2)]);
    let case = |is_sound, index, first_base| {
        let mut plan = known(&disk, is_sound);
        (plan.index, plan.scan.first_base) = (index, Lsn(first_base));
        let former = former(&plan, &disk, Some(FILE), None);
        (versions(&former), former.is_doubtful)
    };
    // Every change of a file is recorded before it is made.
    assert_eq!(case(true, None, 0), (vec![], false), "the log is whole");
    assert_eq!(case(true, index(0, None), 9), (vec![], false), "the index says what was before it");
    assert_eq!(case(true, None, 9), (vec![2, 1], false));
    assert_eq!(case(false, None, 0), (vec![2, 1], false));
    assert_eq!(case(false, index(0, None), 0), (vec![2, 1], false));
    assert_eq!(case(false, index(0, Some(0)), 0), (vec![2, 1], true), "the entry says the same");
}

#[test]
fn after_a_clean_stop_the_index_of_the_snapshot_says_what_the_file_showed_last() {
    let disk = log_of(&[put(1), wrote(1), put(3), wrote(3), put(5)]);
    let case = |is_clean, index, snapshot_lsn: Option<u64>| {
        let mut plan = known(&disk, true);
        plan.recovery.clean = is_clean;
        (plan.index, plan.snapshot_lsn) = (index, snapshot_lsn.map(Lsn));
        plan
    };
    let shown_of = |is_clean, index, lsn| shown(&case(is_clean, index, lsn), &disk);
    assert_eq!(shown_of(true, index(5, Some(3)), Some(5)), [3, 1]);
    assert_eq!(shown_of(true, index(5, Some(1)), Some(5)), [1], "what was to be written was not");
    assert_eq!(shown_of(false, index(5, Some(1)), Some(5)), [3, 1]);
    assert_eq!(shown_of(true, index(4, Some(1)), Some(5)), [3, 1], "it is of an older snapshot");
    assert_eq!(shown_of(true, None, None), [3, 1]);
    let plan = case(true, index(5, Some(1)), Some(5));
    assert_eq!(versions(&former(&plan, &disk, Some(FILE), Some(3))), [3, 1], "it was seen since");
    assert_eq!(shown_of(true, index(5, None), Some(5)), [0; 0], "it never showed any");
    let mut plan = case(true, index(5, None), Some(5));
    plan.table.unload(Collection::Task, &id());
    assert_eq!(shown(&plan, &disk), [3, 1], "its document is gone, and its entry with it");
}

#[test]
fn the_version_in_the_snapshot_was_shown_unless_the_file_was_behind_or_the_index_is_older() {
    let changed = log_of(&[put(1), put(2), put(3), put(4), put(5), put(6), put(7), wrote(7)]);
    let case = |disk: &SimFs, version: u64, index: Option<Index>| {
        let mut plan = known(disk, false);
        let doc = Doc::new(Document::new(&*text(version)), Lsn(version), false);
        plan.base.load(Collection::Task, &id(), doc);
        plan.recovery.base_lsn = Lsn(5);
        plan.index = index;
        let former = former(&plan, disk, Some(FILE), None);
        (versions(&former), former.is_doubtful)
    };
    let of = |index| case(&changed, 5, index).0;
    assert_eq!(of(None), [7, 5], "its checkpoint showed it");
    assert_eq!(of(index(5, Some(5))), [7, 5]);
    assert_eq!(of(index(5, Some(6))), [7, 6, 5]);
    for behind in [2, 4] {
        assert_eq!(of(index(5, Some(behind))), [7], "the file was as of {behind}");
    }
    assert_eq!(of(index(5, None)), [7], "somebody had its place");
    assert_eq!(case(&changed, 5, index(5, Some(0))), (vec![7, 5], true));
    for older in [3, 4] {
        assert_eq!(of(index(older, Some(older))), [7], "it was changed after {older}");
    }
    let unchanged = log_of(&[put(1), wrote(1), other(), other(), other()]);
    assert_eq!(case(&unchanged, 1, index(5, Some(1))).0, [1], "shown once, it is shown still");
    let changed_later =
        log_of(&[put(1), wrote(1), other(), other(), other(), put(6), put(7), wrote(7)]);
    assert_eq!(case(&changed_later, 1, index(5, Some(1))).0, [7, 1], "until it was changed");
}

#[test]
fn a_change_up_to_the_indexs_snapshot_is_none_since_though_it_shares_its_group_with_a_later_one() {
    let together = vec![record(&put(4)), record(&other())];
    let mut groups: Vec<_> = [put(1), put(2), put(3)].iter().map(|op| vec![record(op)]).collect();
    groups.extend([
        together,
        vec![record(&put(6))],
        vec![record(&put(7))],
        vec![record(&wrote(7))],
    ]);
    let disk = log(&groups);
    let mut plan = known(&disk, false);
    plan.base.load(Collection::Task, &id(), Doc::new(Document::new(&*text(4)), Lsn(4), false));
    (plan.recovery.base_lsn, plan.index) = (Lsn(5), index(4, Some(0)));
    assert_eq!(shown(&plan, &disk), [7, 4]);
}

#[test]
fn what_somebody_left_in_the_file_before_it_was_merged_counts_too() {
    let edited = Op::Edited {
        file: FILE.to_owned(),
        hash: ContentHash(1),
        length: 1,
        modified_ns: 0,
        is_whole: false,
        text: Some(text(50).into()),
    };
    let transaction = vec![record(&edited).continued(), record(&put(4))];
    let group = |op: &Op| vec![record(op)];
    let disk = log(&[group(&put(1)), group(&wrote(1)), transaction, group(&wrote(4))]);
    assert_eq!(shown(&known(&disk, true), &disk), [4, 50, 1]);
}

#[test]
fn versions_are_told_from_the_oldest_snapshot_on_that_leads_to_the_present() {
    let backup = |lsn: u64| names::backup(Timestamp(i64::try_from(lsn).unwrap() * 1_000_000_000));
    let case = |state: u64, backups: &[(u64, usize)]| {
        let disk = log_of(&[1, 2, 3, 4, 5, 6, 7].map(put));
        disk.write_now(STATE, &snapshot_bytes(STORE, state, 1)).unwrap();
        for (lsn, bytes) in backups {
            disk.write_now(&backup(*lsn), &snapshot_bytes(STORE, *lsn, *bytes)).unwrap();
        }
        versions(&former(&known(&disk, false), &disk, None, None))
    };
    assert_eq!(case(5, &[]), [7, 6, 5]);
    assert_eq!(case(5, &[(3, 1)]), [7, 6, 5, 4, 3]);
    assert_eq!(case(5, &[(2, 1), (3, 1)]), [7, 6, 5, 4, 3, 2]);
    assert_eq!(case(3, &[(5, 1)]), [7, 6, 5, 4, 3], "that is above what was put back");
}
