//! What an opening remembers, tells and leaves alone.

use std::io::ErrorKind;
use std::time::Duration;

use super::*;
use crate::base::{Event, Timestamp};
use crate::engine::Store;
use crate::engine::recovery::plan;
use crate::fs::sim::{CallKind, Fault, SimFs};
use crate::testing::{SteppedClock, builder};
use crate::wal::Record;

const SAVED: &str = r#"{"id": "a"}"#;

fn open(disk: &SimFs, seed: u64) -> Result<Store> {
    let clock = Arc::new(SteppedClock::default());
    clock.advance(Duration::from_secs(seed * 100));
    builder(Arc::new(disk.clone()), clock, seed).open()
}

/// The disk after an opening that is cut off before its `call`th call; `None` if it makes fewer.
fn cut_off(disk: &SimFs, seed: u64, call: u64) -> Option<SimFs> {
    let disk = disk.if_killed();
    disk.fail_at(call, Fault::Crash);
    let opened = open(&disk, seed);
    disk.has_stopped().then(|| {
        drop(opened);
        disk.if_killed()
    })
}

fn has_log(disk: &SimFs) -> bool {
    disk.names().iter().any(|name| name.strip_suffix(".wal").is_some())
}

fn tells_of_the_log(store: &Store) -> bool {
    store.recovery().problems.iter().any(|problem| problem.file == WAL)
}

#[test]
fn the_id_of_a_store_is_random_in_both_halves() {
    let ids = [1, 2].map(|seed| open(&SimFs::new(), seed).unwrap().core().store.0);
    let [one, two] = ids.map(|id| [id >> 64, id & u128::from(u64::MAX)]);
    assert!(one.into_iter().chain(two).all(|half| half != 0));
    assert!(one[0] != two[0] && one[1] != two[1] && one[0] != one[1]);
}

#[test]
fn openings_that_were_cut_off_before_there_was_a_log_are_no_loss() {
    let mut tried = 0;
    for call in 1.. {
        let Some(first) = cut_off(&SimFs::new(), 1, call) else { break };
        let Some(second) = cut_off(&first, 2, call).filter(|left| !has_log(left)) else { continue };
        tried += 1;
        let store = open(&second, 3).unwrap();
        assert_eq!(store.recovery().problems, [], "cut off before call {call}");
    }
    assert!(tried > 10, "{tried}");
}

#[test]
fn an_opening_that_was_cut_off_remembers_that_there_was_a_log() {
    let new = SimFs::new();
    let begun = (1..).map_while(|call| cut_off(&new, 1, call)).find(has_log).unwrap();
    let mut tried = 0;
    for left in (1..).map_while(|call| cut_off(&begun, 2, call)) {
        if !matches!(owner::read(&left), Ok(owner::OwnerFile::Intact(Owner { incarnation: 2, .. })))
        {
            continue;
        }
        tried += 1;
        for name in left.names().iter().filter(|name| name.starts_with(WAL)) {
            left.remove_now(name).unwrap();
        }
        assert!(tells_of_the_log(&open(&left, 3).unwrap()), "it was there");
    }
    assert!(tried > 3, "{tried}");
}

#[test]
fn an_opening_goes_on_without_a_copy_of_what_it_cuts_where_there_is_no_room_for_it() {
    let disk = SimFs::new();
    let store = open(&disk, 1).unwrap();
    store.save_task_json(SAVED).unwrap();
    store.save_task_json(r#"{"id": "b"}"#).unwrap();
    let killed = disk.if_killed();
    let segment = killed.names().into_iter().rfind(|name| name.starts_with("wal/0")).unwrap();
    let groups = killed.read_now(&segment).unwrap();
    let last = groups.iter().rposition(|byte| *byte != 0).unwrap();
    killed.corrupt(&segment, u64::try_from(last).unwrap(), 1).unwrap();
    for (kind, path) in [(CallKind::CreateDir, QUARANTINE), (CallKind::Write, "quarantine/")] {
        let left = killed.if_killed();
        left.fail_path(path, kind, 1, Fault::Sticky(ErrorKind::StorageFull));
        let opened = open(&left, 2).unwrap();
        assert!(left.faults_fired() > 0, "{kind:?}");
        assert!(opened.recovery().torn_bytes > 0);
        assert_eq!(opened.load_tasks().unwrap().len(), 1);
    }
}

#[test]
fn an_opening_tells_what_it_loaded() {
    let disk = SimFs::new();
    let store = open(&disk, 1).unwrap();
    store.save_task_json(SAVED).unwrap();
    let lsn = store.save_session_json(r#"{"id": "s"}"#).unwrap();
    let (told, heard) = std::sync::mpsc::channel();
    let left = Arc::new(disk.if_killed());
    let listening = builder(left, Arc::default(), 2).on_event(move |event| {
        if let Event::StateLoaded { lsn, documents, .. } = event {
            told.send((*lsn, *documents)).unwrap();
        }
    });
    let again = listening.open().unwrap();
    assert_eq!(heard.try_iter().collect::<Vec<_>>(), [(again.recovery().lsn, 2)]);
    assert!(again.recovery().lsn >= lsn);
}

#[test]
fn after_an_opening_the_mirror_is_as_of_the_state_or_of_the_snapshot() {
    let disk = SimFs::new();
    let store = open(&disk, 1).unwrap();
    store.save_task_json(SAVED).unwrap();
    let saved = store.checkpoint().unwrap().lsn;
    let shown = open(&disk.if_killed(), 2).unwrap();
    assert_eq!(shown.status().unwrap().mirror_lsn, shown.recovery().lsn);
    assert_eq!(shown.recovery().torn_bytes, 0);
    store.save_task_json(r#"{"id": "a", "v": 2}"#).unwrap();
    let behind = open(&disk.if_killed(), 2).unwrap();
    assert_eq!(behind.status().unwrap().mirror_lsn, saved);
    assert!(behind.recovery().lsn > saved);
}

#[test]
fn a_directory_that_is_made_again_is_told_of_beside_other_findings() {
    let disk = SimFs::new();
    open(&disk, 1).unwrap().shutdown().unwrap();
    // As a copy by names of files leaves it: without directories that hold nothing.
    let copy = SimFs::new();
    for name in disk.names().iter().filter(|name| *name != names::OWNER) {
        copy.write_now(name, &disk.read_now(name).unwrap()).unwrap();
    }
    let store = open(&copy, 2).unwrap();
    let problems = &store.recovery().problems;
    for gone in [names::OWNER, "tasks", "sessions"] {
        let told = problems.iter().filter(|found| found.file == gone);
        let kinds: Vec<_> = told.map(|found| found.kind).collect();
        assert_eq!(kinds, [ProblemKind::Missing], "{gone}: {problems:?}");
    }
}

#[test]
fn reopening_a_sound_store_asks_nothing_of_its_disk() {
    let disk = SimFs::new();
    let store = open(&disk, 1).unwrap();
    store.save_task_json(SAVED).unwrap();
    let calls = disk.calls();
    store.reopen().unwrap();
    assert_eq!(disk.calls(), calls);
}

#[test]
fn a_store_without_an_owner_file_was_not_shut_down() {
    for (with_log, with_document) in [(true, false), (false, true)] {
        let disk = SimFs::new();
        let store = open(&disk, 1).unwrap();
        if with_document {
            store.save_task_json(SAVED).unwrap();
            store.checkpoint().unwrap();
        }
        let left = disk.if_killed();
        for name in left.names() {
            if name == names::OWNER || !with_log && name.starts_with(WAL) {
                left.remove_now(&name).unwrap();
            }
        }
        assert!(!open(&left, 2).unwrap().recovery().clean, "{with_log}, {with_document}");
    }
    assert!(open(&SimFs::new(), 1).unwrap().recovery().clean, "but nothing was ever written here");
}

#[test]
fn a_record_of_an_unknown_kind_refuses_the_log_unless_it_may_be_skipped() {
    for may_be_skipped in [false, true] {
        let disk = SimFs::new();
        let store = open(&disk, 1).unwrap();
        store.save_task_json(SAVED).unwrap();
        let mut record = Record::new(200, crate::wal::Origin::Engine, b"of later".to_vec());
        if may_be_skipped {
            record.flags = 0;
        }
        {
            let mut writer = store.core().writer.lock();
            let log = writer.log().unwrap();
            log.append(&[record], Timestamp(1)).unwrap();
            log.sync().unwrap();
        }
        store.save_task_json(r#"{"id": "b"}"#).unwrap();
        match open(&disk.if_killed(), 2) {
            Ok(store) => {
                assert!(may_be_skipped);
                assert_eq!(store.view().len(Collection::Task), 2);
            }
            Err(error) => assert!(matches!(error, Error::Unsupported { .. }) && !may_be_skipped),
        }
    }
}

#[test]
fn an_opening_without_a_snapshot_waits_for_no_mirror_file_and_takes_none_for_an_edit() {
    let disk = SimFs::new();
    let store = open(&disk, 1).unwrap();
    for number in 0..20 {
        store.save_task_json(&format!("{{\"id\": \"t{number}\"}}")).unwrap();
    }
    let killed = disk.if_killed();
    drop(store);
    let shown =
        |disk: &SimFs| disk.names().iter().filter(|name| name.starts_with("tasks/")).count();
    for steps in 0..4 {
        let disk = killed.if_killed();
        let store = open(&disk, 2).unwrap();
        assert_eq!((store.recovery().records_replayed, shown(&disk)), (20, 0));
        assert!(disk.read_now("state.json").is_some(), "the snapshot is there");
        for _ in 0..steps {
            store.step();
        }
        let left = disk.if_killed();
        drop(store);
        let store = open(&left, 3).unwrap();
        assert_eq!(store.recovery().problems, [], "after {steps} steps");
        assert_eq!(store.load_tasks().unwrap().len(), 20);
        store.checkpoint().unwrap();
        assert_eq!(shown(&left), 20);
    }
}

#[test]
fn what_a_clean_stop_said_is_remembered_until_what_people_did_is_taken_in() {
    let disk = SimFs::new();
    let store = open(&disk, 1).unwrap();
    store.save_task_json(SAVED).unwrap();
    store.shutdown().unwrap();
    let stopped = plan(&disk).unwrap().recovery.lsn;
    let said = |disk: &SimFs, has_edits| {
        let plan = plan(disk).unwrap();
        let (mirror, _) = plan.mirror(disk, false).unwrap();
        plan.evidence(&mirror, has_edits).shut_down
    };
    assert_eq!((said(&disk, true), said(&disk, false)), (Some(stopped), None));
    let held = disk.if_killed();
    held.write_now("tasks/a.json", b"{").unwrap();
    assert_eq!(said(&held, false), Some(stopped), "a file that is held is taken in later");
    let damaged = disk.if_killed();
    for name in damaged.names().iter().filter(|name| name.starts_with(WAL) || *name == "state.json")
    {
        damaged.remove_now(name).unwrap();
    }
    assert_eq!(said(&damaged, true), None, "what is missing now may have been lost before");
    for (text, wanted) in
        [(SAVED.to_owned(), None), (SAVED.replace('}', ", \"n\": 1}"), Some(stopped))]
    {
        let edited = disk.if_killed();
        if wanted.is_some() {
            edited.save_now("tasks/a.json", text.as_bytes()).unwrap();
        }
        let mut tried = 0;
        for left in (1..).map_while(|call| cut_off(&edited, 2, call)) {
            let Ok(owner::OwnerFile::Intact(owner)) = owner::read(&left) else { continue };
            if owner.incarnation == 2 && matches!(owner.stage, Stage::Opening { .. }) {
                assert_eq!(owner.evidence.shut_down, wanted);
                assert_eq!(said(&left, true), wanted, "nor does a second opening forget it");
                tried += 1;
            }
        }
        assert!(tried > 3, "{tried}");
    }
}

#[test]
fn the_records_that_an_opening_applied_are_counted() {
    let disk = SimFs::new();
    let store = open(&disk, 1).unwrap();
    store.save_task_json(SAVED).unwrap();
    store.checkpoint().unwrap();
    for id in ["b", "c", "d"] {
        store.save_task_json(&format!(r#"{{"id": "{id}"}}"#)).unwrap();
    }
    assert_eq!(open(&disk.if_killed(), 2).unwrap().recovery().records_replayed, 3);
}

/// What is other in a plan, what checkpoint is due then, and how it comes to be, also from another plan.
type PlanRow = (&'static str, Option<Reason>, fn(&mut Plan, Plan));

#[test]
fn only_a_store_that_never_had_a_snapshot_and_lost_nothing_leaves_its_first_to_the_keeper() {
    let disk = SimFs::new();
    let store = open(&disk, 1).unwrap();
    store.save_task_json(SAVED).unwrap();
    let killed = disk.if_killed();
    store.shutdown().unwrap();
    // It has an index, and something else in the place of its snapshot.
    disk.write_now("state.json", b"{").unwrap();
    let (urgent, lazy) = (Some(Reason::Interval), Some(Reason::Growth));
    let rows: [PlanRow; 10] = [
        ("as it is", lazy, |_, _| ()),
        ("it was saved", urgent, |plan, _| plan.saved = Some(Lsn(1))),
        ("it has an index", urgent, |plan, other| plan.index = other.index),
        ("state.json is strange", urgent, |plan, other| plan.strange = other.strange),
        ("damaged", urgent, |plan, _| plan.is_sound = false),
        ("records are missing", urgent, |plan, _| plan.has_hole = true),
        ("built on a backup", urgent, |plan, _| plan.recovery.rung = Rung::Backup),
        ("built on state.json", None, |plan, _| plan.recovery.rung = Rung::Snapshot),
        ("a restore is to be taken in", urgent, |plan, _| {
            plan.recovery.rung = Rung::Snapshot;
            plan.intake = Some(Intake::Restore { table: Table::new(), lsn: Lsn(1) });
        }),
        ("records are missing behind it", urgent, |plan, _| {
            plan.recovery.rung = Rung::Snapshot;
            plan.has_hole = true;
        }),
    ];
    for (what, due, change) in rows {
        let (mut own, other) = (plan(&killed).unwrap(), plan(&disk).unwrap());
        assert!(other.index.is_some() && other.strange.is_some());
        change(&mut own, other);
        assert_eq!(checkpoint_due(&own), due, "{what}");
    }
}
