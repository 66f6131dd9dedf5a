//! Readers beside a writer that uses its segments again: what a reader has open may be another segment
//! before it has read to the end. It never gives what that one holds for what the first one held.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

use walden::fs::sim::{Fault, SimFs};
use walden::{Builder, Collection, Error, Source, Store};

use crate::support::{at, open};
use crate::watched::Watched;

/// By LSN, what the one document was from then on.
type Said = Arc<Mutex<BTreeMap<u64, String>>>;

/// Versions of one length, each in a block of its own, over two segments; then a checkpoint, which cuts
/// what the one before left.
fn go_on(store: &Store, said: &Said) {
    for _ in 0..15 {
        let mut said = said.lock().unwrap();
        let text = format!(r#"{{"id":"t","round":{}}}"#, 100_000 + said.len());
        store.save_task_json(&text).unwrap();
        said.insert(store.view().lsn().0, text);
        store.step();
    }
    store.checkpoint().unwrap();
}

/// A store with two checkpoints behind it, what was said, and the LSN of the last of it.
fn gone_on(disk: &SimFs) -> (Store, Said, u64) {
    let (store, said) = (open(disk, 1).unwrap(), Said::default());
    (0..2).for_each(|_| go_on(&store, &said));
    let acknowledged = *said.lock().unwrap().last_key_value().unwrap().0;
    (store, said, acknowledged)
}

/// How many segments bear the number of one that they were before.
fn reused(disk: &SimFs) -> usize {
    let names = disk.names();
    let segments = names.iter().filter(|name| name.starts_with("wal/") && name.ends_with(".wal"));
    let has_former = |bytes: &Vec<u8>| bytes.starts_with(b"WALDENLG") && bytes[116..124] != [0; 8];
    segments.filter_map(|name| disk.read_now(name)).filter(has_former).count()
}

/// Lets a writer use up its log, several times over, between any two calls of a reader; gives how many
/// calls that were. `read` gets what was said when it is done, and the last LSN that the
/// document got before it began.
fn between_any_two_calls<T>(
    read: impl Fn(&Builder) -> T,
    check: impl Fn(T, &BTreeMap<u64, String>, u64),
) -> u64 {
    let mut nth = 0;
    loop {
        nth += 1;
        let disk = SimFs::new();
        let (store, said, acknowledged) = gone_on(&disk);
        let calls = Arc::new(AtomicU64::new(0));
        let (seen, writes) = (calls.clone(), said.clone());
        let hook = move |_: &SimFs| {
            if seen.fetch_add(1, SeqCst) + 1 == nth {
                (0..4).for_each(|_| go_on(&store, &writes));
            }
        };
        let found = read(&Store::builder("sim").fs(Arc::new(Watched::at_all(&disk, hook))));
        check(found, &said.lock().unwrap(), acknowledged);
        if calls.load(SeqCst) < nth {
            return nth - 1;
        }
        assert!(reused(&disk) > 0, "call {nth}: {:?}", disk.names());
    }
}

#[test]
fn a_history_beside_a_writer_that_reuses_segments_says_only_what_was() {
    let read = |reader: &Builder| reader.history(Collection::Task, "t").unwrap();
    let calls = between_any_two_calls(read, |history, said, acknowledged| {
        let last = history.versions.last().unwrap();
        assert!(last.lsn.0 >= acknowledged, "{last:?}");
        for version in &history.versions {
            let text = version.text.as_deref().unwrap();
            match &version.source {
                Source::Log(_) => assert_eq!(said.get(&version.lsn.0).unwrap(), text),
                Source::Snapshot { .. } => assert!(said.values().any(|known| known == text)),
            }
        }
    });
    println!("{calls} calls");
    assert!(calls > 20, "{calls}");
}

#[test]
fn a_view_beside_a_writer_that_reuses_segments_is_a_state_that_was() {
    let read = |reader: &Builder| {
        let view = reader.clone().open_read_only().unwrap();
        assert_eq!(view.recovery().problems, []);
        (view.lsn().0, view.task_json("t").unwrap().to_string())
    };
    let calls = between_any_two_calls(read, |(lsn, text), said, acknowledged| {
        assert!(lsn >= acknowledged, "{lsn} of {acknowledged}");
        assert_eq!(said.range(..=lsn).next_back().unwrap().1, &text);
    });
    println!("{calls} calls");
    assert!(calls > 20, "{calls}");
}

/// So many calls of a reader, more than the looks have after which what stays is believed.
const DISTURBED: u64 = 2_500;

#[test]
fn a_reader_that_is_disturbed_many_times_shows_a_state_that_was_and_tells_of_no_damage() {
    let disk = SimFs::new();
    let (store, said, acknowledged) = gone_on(&disk);
    let calls = Arc::new(AtomicU64::new(0));
    let (seen, writes) = (calls.clone(), said.clone());
    let hook = move |_: &SimFs| {
        let call = seen.fetch_add(1, SeqCst);
        if call < DISTURBED && call % 5 == 0 {
            (0..2).for_each(|_| go_on(&store, &writes));
        }
    };
    let reader = Store::builder("sim").fs(Arc::new(Watched::at_all(&disk, hook)));
    let view = reader.open_read_only().unwrap();
    assert_eq!(view.recovery().problems, []);
    let (lsn, text) = (view.lsn().0, view.task_json("t").unwrap().to_string());
    assert!(lsn >= acknowledged, "{lsn} of {acknowledged}");
    assert_eq!(said.lock().unwrap().range(..=lsn).next_back().unwrap().1, &text);
    assert!(calls.load(SeqCst) > DISTURBED, "{calls:?}");
}

#[test]
fn a_reader_any_of_whose_calls_fails_beside_a_writer_gets_an_error_or_the_state() {
    let disk = SimFs::new();
    let (_store, said, acknowledged) = gone_on(&disk);
    let last = said.lock().unwrap()[&acknowledged].clone();
    let (mut refused, mut shown) = (0, 0);
    for nth in 1_u64.. {
        let fired = disk.faults_fired();
        disk.fail_at(nth, Fault::Errno(5));
        let read = at(&disk, 2).open_read_only();
        disk.clear_faults();
        match read {
            Ok(view) => {
                assert_eq!(view.recovery().problems, [], "call {nth}");
                assert!(view.lsn().0 >= acknowledged, "call {nth}: {}", view.lsn());
                assert_eq!(view.task_json("t").unwrap().to_string(), last, "call {nth}");
                shown += 1;
            }
            Err(error) => {
                assert!(matches!(error, Error::Io { .. }), "call {nth}: {error:?}");
                refused += 1;
            }
        }
        if disk.faults_fired() == fired {
            break;
        }
    }
    println!("{refused} refused, {shown} shown");
    assert!(refused > 2 && shown > 10, "{refused} refused, {shown} shown");
}
