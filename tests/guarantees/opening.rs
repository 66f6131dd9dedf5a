//! What an opening leaves to the keeper, and what it does before it serves (G1, G5, G7).

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use walden::fs::sim::{CrashMode, SimFs};
use walden::{Rung, Store};

use crate::support::{PATIENCE, at, documents, open, small, within};
use crate::watched::Watched;

const DOCUMENTS: usize = 20;

fn fill(store: &Store) {
    for number in 0..DOCUMENTS {
        store.save_task_json(&format!("{{\"id\": \"t{number}\"}}")).unwrap();
    }
}

/// A store that was killed before its first snapshot.
fn killed() -> SimFs {
    let disk = SimFs::new();
    let store = open(&disk, 1).unwrap();
    fill(&store);
    disk.if_killed()
}

/// A disk on which the keeper waits before it changes anything, until it is let go.
struct Gate {
    disk: SimFs,
    is_open: Arc<(Mutex<bool>, Condvar)>,
}

impl Gate {
    fn before(disk: &SimFs) -> (Store, Gate) {
        let is_open = Arc::<(Mutex<bool>, Condvar)>::default();
        let waited = is_open.clone();
        let watched = Watched::new(disk, move |_| {
            if thread::current().name() == Some("walden-keeper") {
                let mut is_open = waited.0.lock();
                waited.1.wait_while(&mut is_open, |is_open| !*is_open);
            }
        });
        let store = Store::builder("sim").options(small()).fs(Arc::new(watched)).open().unwrap();
        (store, Gate { disk: disk.clone(), is_open })
    }

    fn open(&self) {
        *self.is_open.0.lock() = true;
        self.is_open.1.notify_all();
    }

    fn is_saved(&self) -> bool {
        self.disk.read_now("state.json").is_some()
    }

    fn shown(&self) -> usize {
        self.disk.names().iter().filter(|name| name.starts_with("tasks/")).count()
    }
}

impl Drop for Gate {
    /// The store, which is dropped after it, waits for the keeper.
    fn drop(&mut self) {
        self.open();
    }
}

#[test]
fn a_store_that_was_killed_before_its_first_snapshot_serves_before_it_is_saved_and_is_saved_soon() {
    within(PATIENCE, || {
        let (store, gate) = Gate::before(&killed());
        assert!(!gate.is_saved(), "nobody waited for that");
        assert_eq!(store.load_tasks().unwrap().len(), DOCUMENTS);
        store.save_task_json(r#"{"id": "new"}"#).unwrap();
        let state = documents(&store.view());
        for left in [gate.disk.if_killed(), gate.disk.if_crashed(CrashMode::Nothing)] {
            let view = at(&left, 8).open_read_only().unwrap();
            assert_eq!(documents(&view), state, "a reader does without");
            assert!(at(&left, 8).verify().unwrap().ok);
            let store = open(&left, 9).unwrap();
            assert_eq!(
                (store.recovery().rung, documents(&store.view())),
                (Rung::Log, state.clone())
            );
        }
        gate.open();
        let begun = Instant::now();
        while !gate.is_saved() || gate.shown() <= DOCUMENTS {
            assert!(begun.elapsed() < PATIENCE / 2, "{} of the files are there", gate.shown());
            thread::sleep(Duration::from_millis(10));
        }
        store.shutdown().unwrap();
    });
}

#[test]
fn a_shutdown_or_a_checkpoint_right_after_such_an_opening_leaves_everything_saved() {
    for is_shutdown in [false, true] {
        within(PATIENCE, move || {
            let (store, gate) = Gate::before(&killed());
            gate.open();
            if is_shutdown {
                store.shutdown().unwrap();
            } else {
                store.checkpoint().unwrap();
            }
            assert!(gate.is_saved());
            assert_eq!(gate.shown(), DOCUMENTS);
            if is_shutdown {
                let store = open(&gate.disk, 9).unwrap();
                assert!(store.recovery().clean && store.recovery().records_replayed == 0);
            }
        });
    }
}

#[test]
fn a_store_that_lost_its_snapshot_is_saved_again_before_it_serves() {
    type Loss = fn(&SimFs);
    let losses: [(&str, Loss); 4] = [
        ("gone", |disk| disk.remove_now("state.json").unwrap()),
        ("flipped", |disk| disk.corrupt("state.json", 40, 1).unwrap()),
        ("blank", |disk| disk.write_now("state.json", b"").unwrap()),
        ("gone, its index too", |disk| {
            disk.remove_now("state.json").unwrap();
            disk.remove_now("wal/state.index").unwrap();
        }),
    ];
    for (name, lose) in losses {
        for snapshots in [1, 3] {
            within(PATIENCE, move || {
                let disk = SimFs::new();
                let store = open(&disk, 1).unwrap();
                for number in 0..snapshots {
                    fill(&store);
                    store.save_task_json(&format!("{{\"id\": \"n\", \"n\": {number}}}")).unwrap();
                    store.checkpoint().unwrap();
                }
                let state = documents(&store.view());
                let disk = disk.if_killed();
                lose(&disk);
                let (store, gate) = Gate::before(&disk);
                assert_ne!(store.recovery().rung, Rung::Snapshot, "{name}");
                let left = open(&gate.disk.if_killed(), 9).unwrap();
                assert_eq!(left.recovery().rung, Rung::Snapshot, "{name}, {snapshots} snapshots");
                assert_eq!(documents(&left.view()), state);
            });
        }
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

/// What people do to a closed store's files.
fn meddle(tasks: &Path) {
    fs::write(tasks.join("t1.json"), r#"{"id": "t1", "mine": 1}"#).unwrap();
    fs::write(tasks.join("t2.json"), "{\"id\": ").unwrap();
    fs::remove_file(tasks.join("t3.json")).unwrap();
    fs::rename(tasks.join("t4.json"), tasks.join("mine.json")).unwrap();
    fs::remove_file(tasks.join("t5.json")).unwrap();
    fs::create_dir(tasks.join("t5.json")).unwrap();
    fs::write(tasks.join("new.json"), r#"{"id": "new"}"#).unwrap();
    fs::write(tasks.join(".t6.json.swp"), "an editor's").unwrap();
    fs::write(tasks.join("note.txt"), "mine").unwrap();
}

#[test]
fn a_store_on_a_real_disk_opens_the_same_with_helpers_and_without() {
    for (is_clean, is_saved, is_damaged) in
        [(true, true, false), (false, true, false), (false, false, false), (false, true, true)]
    {
        let dir = tempfile::tempdir().unwrap();
        let [still, helped, alone] = ["still", "helped", "alone"].map(|name| dir.path().join(name));
        // Without a keeper, so that nothing changes while it is copied.
        let store = Store::builder(&still).options(small()).single_threaded().open().unwrap();
        let pad = "x".repeat(4000);
        for round in 0..13 {
            let save =
                |number| format!("{{\"id\": \"t{number}\", \"n\": {round}, \"pad\": \"{pad}\"}}");
            store.transaction(|tx| (0..100).try_for_each(|n| tx.save_task_json(&save(n)))).unwrap();
            if round == 3 && is_saved {
                store.checkpoint().unwrap();
            }
        }
        let large = "y".repeat(3 << 20);
        let large = |id| format!("{{\"id\": \"{id}\", \"pad\": \"{large}\"}}");
        store
            .transaction(|tx| {
                tx.save_task_json(&large("T1"))?;
                tx.save_task_json(&large("../odd"))
            })
            .unwrap();
        store.save_task_json(r#"{"id": "last"}"#).unwrap();
        if is_clean {
            store.shutdown().unwrap();
        }
        for to in [&helped, &alone] {
            copy(&still, to);
            if is_saved {
                meddle(&to.join("tasks"));
            }
            if is_damaged {
                let mut segments: Vec<_> = fs::read_dir(to.join("wal"))
                    .unwrap()
                    .map(|entry| entry.unwrap().path())
                    .collect();
                segments.retain(|path| path.extension().is_some_and(|end| end == "wal"));
                segments.sort();
                fs::remove_file(&segments[segments.len() / 2]).unwrap();
            }
        }
        let one = Store::builder(&alone).single_threaded().open().unwrap();
        let several = Store::builder(&helped).open().unwrap();
        assert_eq!(documents(&one.view()), documents(&several.view()));
        let told = |store: &Store| {
            let recovery = store.recovery();
            let mut problems: Vec<String> =
                recovery.problems.iter().map(ToString::to_string).collect();
            problems.sort();
            let known = (recovery.clean, recovery.rung, recovery.base_lsn, recovery.lsn);
            (known, recovery.records_replayed, recovery.from_mirror, recovery.torn_bytes, problems)
        };
        assert_eq!(
            told(&one),
            told(&several),
            "clean: {is_clean}, saved: {is_saved}, damaged: {is_damaged}"
        );
        assert!(told(&one).4.len() > 5 || !is_saved, "{:#?}", told(&one));
        assert_eq!(one.recovery().clean, is_clean);
    }
}
