//! Replaying: what holes cast doubt on, and that threads make no difference.

use std::sync::Arc;

use super::*;
use crate::base::{StoreId, Timestamp};
use crate::fs::sim::SimFs;
use crate::wal::{self, Hints, Identity, Log, LogOptions, Origin, Record};

/// A log without records, and its disk.
fn begun() -> (SimFs, Log) {
    let fs = SimFs::new();
    fs.create_dir(WAL).unwrap();
    let disk = Arc::new(fs.clone());
    let scan = wal::scan(&fs, WAL, &Hints::default()).unwrap();
    let identity = Identity { store: StoreId(7), incarnation: 1, nonce: 1 };
    let log = Log::begin(disk, WAL, &scan, identity, LogOptions::default(), Timestamp(0)).unwrap();
    (fs, log)
}

/// Appends one record, durably.
fn append(log: &mut Log, record: Record) {
    log.append(&[record], Timestamp(0)).unwrap();
    log.sync().unwrap();
}

#[test]
fn a_hole_that_ends_at_the_base_or_below_it_casts_no_doubt() {
    let (fs, mut log) = begun();
    let saved = Op::Saved { lsn: Lsn::ZERO };
    for _ in 0..5 {
        let (kind, payload) = saved.encode();
        append(&mut log, Record::new(kind, Origin::Engine, payload));
    }
    // Behind the header and the start, a block for each record: those of LSN 2 and 4 are lost.
    for block in [4, 6] {
        fs.corrupt("wal/00000000000000000001.wal", block * 4096 + 8, 1).unwrap();
    }
    let scan = wal::scan(&fs, WAL, &Hints::default()).unwrap();
    for (base, is_doubtful) in [(1, true), (2, true), (3, true), (4, false), (5, false)] {
        let doubt = || Ok(Doubt::new(Vec::new(), AsOf::default(), None, None));
        let outcome = replay(&fs, &scan, (Table::new(), Lsn(base)), None, doubt, false).unwrap();
        assert_eq!(outcome.doubt.is_some(), is_doubtful, "{base}");
    }
}

/// A number from a sequence that looks random.
fn drawn(state: &mut u64, below: u64) -> u64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*state >> 33) % below
}

/// One of the mutations that a log may hold.
fn change(state: &mut u64) -> Op {
    let (collection, number) = (Collection::Task, drawn(state, 40));
    let id = DocumentId::new(&format!("task {number}")).unwrap();
    let file = format!("tasks/{number}.json");
    let text = "x".repeat(drawn(state, 600).try_into().unwrap());
    match drawn(state, 10) {
        0..5 => {
            let text = format!("{{\"id\": \"{id}\", \"status\": \"pending\", \"x\": \"{text}\"}}");
            Op::put(collection, &text, 4096).unwrap()
        }
        5..7 => {
            Op::patch(collection, id.as_str(), &format!("{{\"y\": \"{text}\"}}"), 4096).unwrap()
        }
        7 => Op::Delete { collection, id },
        8 => Op::Removed { file, lsn: Lsn(drawn(state, 90)) },
        _ => Op::Wrote { file, hash: ContentHash::of(b""), length: 7, lsn: Lsn(drawn(state, 90)) },
    }
}

/// A log of random transactions.
fn random_log(state: &mut u64) -> SimFs {
    let (fs, mut log) = begun();
    for _ in 0..60 {
        let count = 1 + drawn(state, 4);
        let records = (1..=count).map(|number| {
            let (kind, payload) = change(state).encode();
            let record = Record::new(kind, Origin::Api, payload);
            if number < count && count > 2 { record.continued() } else { record }
        });
        let records: Vec<Record> = records.collect();
        log.append(&records, Timestamp(0)).unwrap();
        log.sync().unwrap();
    }
    fs
}

#[test]
fn what_several_threads_replay_is_what_one_does_with_holes_and_without() {
    let mut state = 1;
    let (mut runs, mut holes) = (0, 0);
    for round in 0..24 {
        let fs = random_log(&mut state);
        for _ in 0..round % 3 {
            let at = 4096 * (3 + drawn(&mut state, 50)) + 100;
            fs.corrupt("wal/00000000000000000001.wal", at, 1).unwrap();
        }
        let scan = wal::scan(&fs, WAL, &Hints::default()).unwrap();
        runs += scan.runs(RUN_BYTES).len();
        let base = Lsn(drawn(&mut state, 30));
        let replayed = |threads: bool| {
            let doubt = || Ok(Doubt::new(Vec::new(), AsOf::default(), None, None));
            replay(&fs, &scan, (Table::new(), base), None, doubt, threads).unwrap()
        };
        let [one, several] = [false, true].map(replayed);
        assert_eq!(one.doubt.is_some(), several.doubt.is_some());
        holes += usize::from(one.doubt.is_some());
        let docs = |outcome: &Outcome| outcome.table.sorted(Collection::Task);
        assert!(!docs(&one).is_empty());
        assert_eq!(docs(&one), docs(&several), "round {round}");
        let sums = |outcome: &Outcome| {
            let table = &outcome.table;
            (format!("{:?}", table.metrics()), table.last_changed(), outcome.records)
        };
        assert_eq!(sums(&one), sums(&several));
        assert_eq!((&one.versions, &one.problems), (&several.versions, &several.problems));
        let said = |outcome: &Outcome| {
            let all =
                outcome.mentions.iter().map(|(file, said)| (file.clone(), format!("{said:?}")));
            all.collect::<std::collections::BTreeMap<_, _>>()
        };
        assert_eq!(said(&one), said(&several));
        // Nothing between two runs is left out, nor read twice.
        let mut changed = 0;
        scan.replay(&fs, WAL, Lsn::ZERO, &mut |replayed| {
            for transaction in replayed.records().chunk_by(|record, _| record.continues()) {
                if transaction.last().is_some_and(|record| record.lsn > base) {
                    let all = decode(&fs, transaction, true)?;
                    changed += all.iter().filter(|(_, op)| op.is_document_change()).count() as u64;
                }
            }
            Ok(())
        })
        .unwrap();
        assert_eq!(several.records, changed);
    }
    assert!(runs > 24 * 2 && holes > 5, "{runs} runs, {holes} logs with holes");
}

#[test]
fn of_two_errors_the_first_in_the_log_counts_on_one_thread_and_on_several() {
    let (fs, mut log) = begun();
    for is_known in [true, true, true, false, true, true] {
        let put = Op::put(Collection::Task, "{\"id\": \"a\"}", 4096).unwrap().encode();
        let kind = if is_known { put.0 } else { 200 };
        append(&mut log, Record::new(kind, Origin::Api, put.1));
    }
    let scan = wal::scan(&fs, WAL, &Hints::default()).unwrap();
    let error = |scan: &Scan, threads| {
        let doubt = || Err(Error::Closed);
        replay(&fs, scan, (Table::new(), Lsn::ZERO), None, doubt, threads).err()
    };
    for threads in [false, true] {
        assert!(matches!(error(&scan, threads), Some(Error::Unsupported { .. })));
    }
    // The record of LSN 2 is lost, and what there is in doubt cannot be told.
    fs.corrupt("wal/00000000000000000001.wal", 4 * 4096 + 8, 1).unwrap();
    let scan = wal::scan(&fs, WAL, &Hints::default()).unwrap();
    for threads in [false, true] {
        assert!(matches!(error(&scan, threads), Some(Error::Closed)));
    }
}

#[test]
fn no_run_but_a_single_group_is_longer_than_runs_may_be() {
    let (fs, mut log) = begun();
    for length in [10, 6000, 6000, 40_000, 10, 15_000, 3000, 90_000, 10] {
        let text = format!("{{\"id\": \"a\", \"x\": \"{}\"}}", "x".repeat(length));
        let (kind, payload) = Op::put(Collection::Task, &text, 1 << 20).unwrap().encode();
        append(&mut log, Record::new(kind, Origin::Api, payload));
    }
    let scan = wal::scan(&fs, WAL, &Hints::default()).unwrap();
    let (mut single, mut records) = (0, 0);
    for run in scan.runs(RUN_BYTES) {
        let mut groups = 0;
        let mut count = |replayed: Replayed<'_>| {
            groups += usize::from(!replayed.records().is_empty());
            records += replayed.records().len();
            Ok(())
        };
        run.replay(&fs, WAL, Lsn::ZERO, &mut count).unwrap();
        assert!(run.size_bytes() <= RUN_BYTES || groups == 1, "{} bytes", run.size_bytes());
        single += usize::from(run.size_bytes() > RUN_BYTES);
    }
    assert_eq!((single, records), (2, 9));
}

#[test]
#[cfg(feature = "testing")]
fn helpers_read_what_is_light_and_the_thread_that_applies_it_the_rest() {
    use std::collections::HashSet;
    use std::thread::{self, ThreadId};
    let readers = |length: usize| {
        let (fs, mut log) = begun();
        let text = format!("{{\"id\": \"a\", \"x\": \"{}\"}}", "x".repeat(length));
        for _ in 0..8 {
            let (kind, payload) = Op::put(Collection::Task, &text, 1 << 20).unwrap().encode();
            append(&mut log, Record::new(kind, Origin::Api, payload));
        }
        let scan = wal::scan(&fs, WAL, &Hints::default()).unwrap();
        let readers = Arc::new(parking_lot::Mutex::new(HashSet::<ThreadId>::new()));
        let seen = readers.clone();
        let watched = crate::testing::Watched::at_all(&fs, move |_| {
            seen.lock().insert(thread::current().id());
        });
        let doubt = || Err(Error::Closed);
        let outcome = replay(&watched, &scan, (Table::new(), Lsn::ZERO), None, doubt, true);
        assert_eq!(outcome.unwrap().records, 8);
        let readers = readers.lock();
        readers.clone()
    };
    let here = thread::current().id();
    let long = usize::try_from(RUN_BYTES).unwrap();
    assert_eq!(readers(long), HashSet::from([here]));
    if thread::available_parallelism().unwrap().get() > 1 {
        assert!(!readers(long / 3).contains(&here));
    }
}

#[test]
fn a_state_json_that_was_taken_in_is_known_until_the_next_snapshot_is_saved() {
    let edited = |file: &str| Op::Edited {
        file: file.to_owned(),
        hash: ContentHash::of(b"x"),
        length: 1,
        modified_ns: 0,
        is_whole: true,
        text: None,
    };
    let mut outcome = Outcome::default();
    outcome.note(&[(Lsn(1), edited(STATE)), (Lsn(2), edited("tasks/a.json"))], Lsn(2));
    assert_eq!(outcome.state_taken_in, Some(ContentHash::of(b"x")));
    assert_eq!(outcome.versions.keys().collect::<Vec<_>>(), ["tasks/a.json"]);
    outcome.note(&[(Lsn(3), Op::Saved { lsn: Lsn(2) })], Lsn(3));
    assert_eq!(outcome.state_taken_in, None);
}
