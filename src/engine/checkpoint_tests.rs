//! When a checkpoint is wanted, each reason alone; and what one that has little to do leaves out.

use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::base::ProblemKind;
use crate::engine::{Options, Store};
use crate::files::mirror::Source;
use crate::fs::Kind;
use crate::fs::sim::{Fault, SimFs};
use crate::testing::{SteppedClock, builder, small};

struct World {
    disk: SimFs,
    clock: Arc<SteppedClock>,
    store: Store,
}

impl World {
    fn new() -> World {
        let (disk, clock) = (SimFs::new(), Arc::new(SteppedClock::default()));
        let options = Options { checkpoint_log_bytes: 64 << 10, ..small() };
        let builder = builder(Arc::new(disk.clone()), clock.clone(), 1).options(options);
        World { disk, clock, store: builder.open().unwrap() }
    }

    fn save(&self, version: u64) {
        let text = format!(r#"{{"id": "a", "v": {version}}}"#);
        self.store.save_task_json(&text).unwrap();
    }

    fn wants(&self) -> bool {
        self.store.core().wants_checkpoint()
    }

    fn make(&self, reason: Reason) -> Checkpoint {
        self.store.core().checkpoint(reason).unwrap()
    }

    /// A pass of the mirror, which is due by then.
    fn pass(&self) {
        self.clock.advance(Duration::from_secs(60));
        self.store.core().refresh_mirror();
    }

    /// Makes the log's limit so many bytes more than it has.
    fn limit_the_log(&self, bytes_more: u64) {
        let mut writer = self.store.core().writer.lock();
        writer.checkpoint_at_bytes = writer.log().unwrap().stats().bytes + bytes_more;
    }

    /// The calls since `before` that write the index of `state.json`.
    fn index_writes(&self, before: usize) -> usize {
        let calls = self.disk.trace().split_off(before);
        calls.iter().filter(|call| call.starts_with("write wal/index.part")).count()
    }
}

#[test]
fn a_new_store_and_one_that_was_just_saved_want_no_checkpoint() {
    let world = World::new();
    assert!(!world.wants());
    for version in 0..3 {
        world.save(version);
        assert!(world.wants());
        let made = world.make(Reason::Request);
        assert!(made.written && made.took > Duration::ZERO, "{made:?}");
        assert!(!world.wants(), "all of it was saved and shown");
    }
}

#[test]
fn a_change_that_only_the_mirror_shows_is_to_be_saved() {
    let world = World::new();
    for version in 0..3 {
        world.save(version);
        world.pass();
        world.limit_the_log(1 << 20);
        assert!(world.store.core().writer.lock().dirty.is_empty());
        assert_eq!(world.store.core().checkpointer.lock().mirror.behind(), 0);
        assert!(world.wants());
        let made = world.make(Reason::Interval);
        assert!(made.written && made.files_changed == 0, "{made:?}");
        assert!(!world.wants());
    }
}

#[test]
fn a_change_that_was_saved_for_the_logs_growth_is_to_be_shown() {
    let world = World::new();
    world.save(0);
    assert_eq!(world.make(Reason::Growth).files_changed, 0);
    assert!(world.wants());
    assert!(world.disk.read_now("tasks/a.json").is_none());
    let before = world.disk.trace().len();
    let made = world.make(Reason::Interval);
    assert!(!made.written && made.files_changed == 1, "{made:?}");
    assert!(!world.wants());
    assert_eq!(world.index_writes(before), 1, "it tells what the file shows");
    let index = snapshot::load(&world.disk).unwrap().index.unwrap();
    let entry = index.mirror.iter().find(|entry| entry.file == "tasks/a.json").unwrap();
    assert_eq!(entry.length, world.disk.read_now("tasks/a.json").unwrap().len() as u64);
    let before = world.disk.trace().len();
    assert_eq!(world.make(Reason::Request).files_changed, 0);
    assert_eq!(world.index_writes(before), 0, "nothing changed");
}

#[test]
fn a_file_that_cannot_be_shown_is_tried_again() {
    let world = World::new();
    world.disk.plant_now("tasks/a.json", Kind::Other).unwrap();
    world.save(0);
    world.make(Reason::Interval);
    assert_eq!(world.store.core().checkpointer.lock().mirror.behind(), 1);
    assert!(world.wants(), "it may be gone by now");
    world.disk.remove_now("tasks/a.json").unwrap();
    assert_eq!(world.make(Reason::Interval).files_changed, 1);
    assert!(!world.wants());
}

#[test]
fn outputs_that_were_not_flushed_want_a_checkpoint() {
    let world = World::new();
    world.store.append_session_log("a", "one\n").unwrap();
    assert!(world.wants());
    assert!(!world.make(Reason::Interval).written, "the state is as it was");
    assert!(!world.wants());
}

#[test]
fn a_log_that_has_grown_to_its_limit_wants_a_checkpoint_which_saves_the_state_anew() {
    let world = World::new();
    world.save(0);
    let lsn = world.make(Reason::Request).lsn;
    world.limit_the_log(1);
    assert!(!world.wants());
    assert!(!world.make(Reason::Growth).written);
    world.limit_the_log(0);
    assert!(world.wants());
    let made = world.make(Reason::Growth);
    assert!(made.written && made.lsn > lsn, "{made:?} after {lsn}");
    assert!(!world.wants(), "the limit is behind the log's end again");
}

#[test]
fn a_log_that_has_grown_by_nothing_new_is_not_saved_twice() {
    let world = World::new();
    // What cannot be replaced has no record in the log either, of the snapshot that is a backup then.
    world.disk.plant_now("state.json", Kind::Directory).unwrap();
    world.save(0);
    assert!(world.make(Reason::Growth).written);
    world.limit_the_log(0);
    assert!(!world.make(Reason::Growth).written);
}

#[test]
fn a_store_whose_only_document_was_deleted_is_saved() {
    let world = World::new();
    assert!(!world.make(Reason::Request).written, "there is nothing yet");
    world.save(0);
    world.store.delete_task("a").unwrap();
    assert!(world.make(Reason::Request).written);
}

#[test]
fn a_checkpoint_for_the_logs_growth_leaves_what_was_noticed_in_the_mirror_to_the_next() {
    let world = World::new();
    world.save(0);
    world.make(Reason::Interval);
    let noticed = ("tasks/a.json".to_owned(), Source::File);
    world.store.core().checkpointer.lock().mirror.notice([noticed].into_iter());
    world.disk.save_now("tasks/a.json", br#"{"id": "a", "v": 0, "by": "a person"}"#).unwrap();
    let text = || world.store.task_json("a").unwrap().to_string();
    world.make(Reason::Growth);
    assert!(!text().contains("a person"));
    world.make(Reason::Interval);
    assert!(text().contains("a person"));
}

#[test]
fn a_file_that_a_cut_off_checkpoint_left_behind_is_no_persons_though_index_and_record_are_gone() {
    let mut left_behind = 0;
    for call in 1.. {
        let world = World::new();
        world.save(0);
        // The log is cut behind the record of its file.
        for other in 0..40 {
            let text = format!(r#"{{"id": "b", "v": {other}}}"#);
            world.store.save_task_json(&text).unwrap();
            if other % 3 == 0 {
                world.make(Reason::Request);
            }
        }
        world.save(1);
        world.disk.fail_at(call, Fault::Crash);
        if world.store.core().checkpoint(Reason::Request).is_ok() {
            break;
        }
        let left = world.disk.if_killed();
        if left.read_now("wal/state.index").is_some() {
            left.remove_now("wal/state.index").unwrap();
        }
        let shown = left.read_now("tasks/a.json").unwrap();
        left_behind += u64::from(!String::from_utf8(shown).unwrap().contains("\"v\": 1"));
        let again = builder(Arc::new(left), Arc::default(), 2).options(small()).open().unwrap();
        assert_eq!(&*again.task_json("a").unwrap(), r#"{"id": "a", "v": 1}"#, "{call}");
        let edits = again.recovery().problems.iter().any(|found| found.kind == ProblemKind::Edited);
        assert!(!edits, "{call}: {:#?}", again.recovery());
    }
    assert!(left_behind > 20, "{left_behind}");
}
