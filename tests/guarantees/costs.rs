//! The cost model of DESIGN.md, held against the calls that the engine makes: what they grow with, and
//! with what they do not.

use std::time::Duration;

use walden::fs::sim::SimFs;
use walden::{Options, Store};

use crate::support::at;

fn open(disk: &SimFs, seed: u64) -> Store {
    let rare = Duration::from_secs(100_000);
    let options = Options {
        mirror_interval: rare,
        checkpoint_interval: rare,
        checkpoint_log_bytes: u64::MAX,
        ..Options::default()
    };
    at(disk, seed).options(options).open().unwrap()
}

/// A store with so many documents that are all saved.
fn saved(documents: usize) -> (SimFs, Store) {
    let disk = SimFs::new();
    disk.set_traced(true);
    let store = open(&disk, 1);
    (0..documents).for_each(|id| put(&store, id, 0));
    store.checkpoint().unwrap();
    (disk, store)
}

fn put(store: &Store, id: usize, n: usize) {
    store.save_task_json(&format!(r#"{{"id": "t{id:03}", "n": {n}}}"#)).unwrap();
}

/// The calls that `act` makes.
fn calls(disk: &SimFs, act: impl FnOnce()) -> Vec<String> {
    let before = disk.trace().len();
    act();
    disk.trace().split_off(before)
}

fn count(calls: &[String], beginning: &str) -> usize {
    calls.iter().filter(|call| call.starts_with(beginning)).count()
}

/// The bytes that are written to files of this beginning.
fn written(calls: &[String], file: &str) -> u64 {
    let writes = calls.iter().filter_map(|call| call.strip_prefix("write "));
    let bytes = writes.filter(|write| write.starts_with(file)).map(|write| {
        let (_, bytes) = write.rsplit_once('+').unwrap();
        bytes.parse::<u64>().unwrap()
    });
    bytes.sum()
}

#[test]
fn a_checkpoint_costs_nine_flushes_and_three_groups_and_then_by_the_files_that_changed_alone() {
    let mut found = Vec::new();
    for (documents, changed) in [(10, 1), (10, 2), (10, 9), (100, 1), (100, 90)] {
        let (disk, store) = saved(documents);
        (0..changed).for_each(|id| put(&store, id, 1));
        let calls = calls(&disk, || assert!(store.checkpoint().unwrap().written));
        // Three groups of the log, or more if a segment is full.
        let measured = calls.iter().filter(|call| call.ends_with(".tmp 8192+4096")).count();
        assert!([0, 10].contains(&measured), "once in an opening, five times each way");
        let log = count(&calls, "write wal/0") - measured;
        assert!((3..=5).contains(&log), "{calls:#?}");
        // The names of the log's segments are flushed when one is prepared, and when some are cut.
        let names =
            count(&calls, "rename_new wal/0") + usize::from(count(&calls, "remove wal/00") > 0);
        let beside: Vec<_> = calls.into_iter().filter(|call| !call.contains(" wal/0")).collect();
        assert_eq!(count(&beside, "sync "), 9 + names, "{beside:#?}");
        let calls = beside;
        assert_eq!(count(&calls, "write_back wal/mirror.part"), changed);
        assert_eq!(count(&calls, "exchange wal/"), 1 + changed);
        let state = disk.read_now("state.json").unwrap().len() as u64;
        assert_eq!(written(&calls, "wal/state.part"), state, "it is written once");
        found.push((documents, changed, calls.len() - names));
    }
    println!("{found:?}");
    let (fixed, each) = (2 * found[0].2 - found[1].2, found[1].2 - found[0].2);
    println!("{fixed} calls, and {each} for each file that changed");
    for (documents, changed, calls) in found {
        assert_eq!(calls, fixed + each * changed, "{changed} of {documents}");
    }
    assert!(fixed <= 48 && each <= 21, "{fixed} {each}");
}

#[test]
fn which_way_to_the_medium_is_quicker_is_measured_once_in_an_opening() {
    let (disk, store) = saved(1);
    for n in 0..300 {
        put(&store, 0, n);
        store.step();
    }
    let trace = disk.trace();
    assert!(count(&trace, "rename_new wal/0") >= 3, "segments were prepared");
    assert_eq!(trace.iter().filter(|call| call.ends_with(".tmp 8192+4096")).count(), 10);
}

#[test]
fn an_opening_after_a_clean_stop_costs_one_stat_a_file_and_reads_no_other_document() {
    let mut found = Vec::new();
    for documents in [10, 20, 200] {
        let (disk, store) = saved(documents);
        store.shutdown().unwrap();
        let mut again = None;
        let calls = calls(&disk, || again = Some(open(&disk, 2)));
        assert_eq!(count(&calls, "stat tasks/"), documents);
        assert_eq!(count(&calls, "open tasks/") + count(&calls, "read tasks/"), 0, "{calls:#?}");
        assert_eq!(count(&calls, "read state.json"), 1);
        let flushes = count(&calls, "sync ");
        // What the log costs goes by its length.
        let log = calls.iter().filter(|call| call.contains(".wal")).count();
        found.push((documents, flushes, calls.len() - log));
        drop(again);
    }
    println!("{found:?}");
    let (flushes, fixed) = (found[0].1, found[0].2 - found[0].0);
    assert!(flushes <= 10 && fixed <= 49, "{flushes} flushes, {fixed} calls");
    for (documents, found_flushes, calls) in found {
        assert_eq!((found_flushes, calls), (flushes, fixed + documents), "{documents} documents");
    }
}

#[test]
fn an_opening_after_a_kill_reads_each_file_whatever_changed() {
    let mut found = Vec::new();
    for (documents, changed) in [(10, 1), (10, 5), (200, 1), (200, 90)] {
        let (disk, store) = saved(documents);
        (0..changed).for_each(|id| put(&store, id, 1));
        let disk = disk.if_killed();
        drop(store);
        disk.set_traced(true);
        let mut again = None;
        let calls = calls(&disk, || again = Some(open(&disk, 2)));
        assert_eq!(count(&calls, "read tasks/"), documents, "{calls:#?}");
        assert_eq!(count(&calls, "read state.json"), 1);
        let written = calls.iter().filter(|call| call.contains("wal/mirror")).count();
        assert!(written <= 1, "what is behind is written later: {calls:#?}");
        let flushes = count(&calls, "sync ");
        let log = calls.iter().filter(|call| call.contains(".wal")).count();
        found.push((documents, flushes, calls.len() - log));
        drop(again);
    }
    println!("{found:?}");
    let fixed = found[0].2 - 4 * found[0].0;
    assert!(found[0].1 <= 11 && fixed <= 52, "{found:?}");
    for (documents, flushes, calls) in &found {
        assert_eq!(
            (*flushes, *calls),
            (found[0].1, fixed + 4 * documents),
            "{documents} documents"
        );
    }
}

#[test]
fn an_opening_after_a_kill_opens_its_log_as_often_however_many_groups_it_replays() {
    let opened = |groups: usize| {
        let (disk, store) = saved(1);
        (1..=groups).for_each(|n| put(&store, 0, n));
        let disk = disk.if_killed();
        drop(store);
        disk.set_traced(true);
        let mut again = None;
        let calls = calls(&disk, || again = Some(open(&disk, 2)));
        let opens = calls.iter().filter(|call| call.starts_with("open wal/0"));
        (again.unwrap().recovery().records_replayed, opens.count())
    };
    let ((one, often), (many, as_often)) = (opened(1), opened(40));
    assert_eq!((one, many), (1, 40));
    assert!(often > 0 && as_often == often, "{often} times for one group, {as_often} for 40");
}

#[test]
fn a_record_takes_its_bytes_and_little_more_and_a_group_is_filled_up_to_a_block() {
    let (disk, store) = saved(1);
    for length in [10, 1000, 3900, 4100, 20_000] {
        let text = format!(r#"{{"id": "t001", "s": "{}"}}"#, "x".repeat(length));
        let calls = calls(&disk, || assert!(store.save_task_json(&text).is_ok()));
        let record = 16 + text.len() as u64 + "t001".len() as u64 + 5;
        let least = (64 + record).next_multiple_of(4096);
        let most = (64 + record + 8).next_multiple_of(4096);
        let found = written(&calls, "wal/");
        assert!((least..=most).contains(&found), "{length}: {found} of {least} to {most}");
    }
    store.shutdown().unwrap();
}
