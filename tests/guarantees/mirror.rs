//! The mirror follows the state (G3, G6): within a second under moderate load, for a tenth of the time
//! under heavy load, showing durable records only; and a crash in one of its passes is no person's
//! edit.

use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use walden::fs::sim::{CallKind, CrashMode, Fault, Rules, SimFs};
use walden::wal::LogOptions;
use walden::{Clock, Durability, Event, Options, Store};

use crate::checkpoint::finds_no_edit;
use crate::support::{PATIENCE, TestClock, at, builder, documents, open, small, within};
use crate::watched::Watched;

const MS: Duration = Duration::from_millis(1);

/// A store on `disk` and its clock, whose every call that changes something takes `call`.
fn timed(disk: &SimFs, call: Duration, options: Options) -> (Store, Arc<TestClock>) {
    let clock = Arc::new(TestClock::default());
    let hand = clock.clone();
    let fs = Watched::new(disk, move |_| hand.advance(call));
    (builder(Arc::new(fs), clock.clone(), 1).options(options).open().unwrap(), clock)
}

fn save(store: &Store, task: usize, round: usize) {
    store.save_task_json(&format!(r#"{{"id": "t{task}", "round": {round}}}"#)).unwrap();
}

fn shows(disk: &SimFs, task: usize, round: usize) -> bool {
    let text = disk.read_now(&format!("tasks/t{task}.json")).unwrap_or_default();
    String::from_utf8(text).unwrap().contains(&format!("\"round\": {round}\n"))
}

#[test]
fn under_moderate_load_a_change_is_shown_within_a_second() {
    let disk = SimFs::new();
    let (store, clock) = timed(&disk, MS / 10, small());
    let mut waiting = Vec::new();
    let (mut shown, mut slowest) = (0, Duration::ZERO);
    for round in 0..1000 {
        save(&store, round % 40, round);
        waiting.push((round, clock.monotonic()));
        clock.advance(20 * MS);
        store.step();
        let status = store.status().unwrap();
        assert!(status.mirror_lag_ms.unwrap() <= 1000, "{status:?}");
        waiting.retain(|(round, since)| {
            let newer_or_shown = shows(&disk, round % 40, *round);
            if newer_or_shown {
                shown += 1;
                slowest = slowest.max(clock.monotonic().saturating_sub(*since));
            }
            !newer_or_shown
        });
        assert!(waiting.len() as u64 >= status.mirror_behind.unwrap() as u64);
    }
    println!("{shown} changes shown, the slowest after {slowest:?}");
    assert!(shown > 900 && slowest <= Duration::from_secs(1), "{shown} shown, {slowest:?}");
    for _ in 0..2 {
        clock.advance(1000 * MS);
        store.step();
    }
    let status = store.status().unwrap();
    assert_eq!((status.mirror_behind, status.mirror_lag_ms), (Some(0), Some(0)));
    let synced = disk.trace().iter().any(|call| call.starts_with("sync tasks/"));
    assert!(!synced, "a pass flushes no file and no directory");
}

/// Three parts of what a pass shows.
const TASKS: usize = 380;

#[test]
fn under_heavy_load_the_mirror_takes_a_tenth_of_the_time_and_its_lag_is_bounded() {
    let disk = SimFs::new();
    let log =
        LogOptions { segment_bytes_min: 64 << 20, segment_bytes_max: 64 << 20, ..small().log };
    let options = Options { checkpoint_log_bytes: 1 << 30, log, ..small() };
    let (store, clock) = timed(&disk, MS, options);
    let (mut passing, mut longest, mut passes) = (Duration::ZERO, Duration::ZERO, 0);
    let (mut told, mut lag) = (Duration::ZERO, Duration::ZERO);
    let begun = clock.monotonic();
    // When each round was, and the last of each task that its file shows.
    let (mut rounds, mut shown) = (Vec::new(), [None; TASKS]);
    for round in 0..4000 {
        rounds.push(clock.monotonic());
        let twenty = store.transaction(|tx| {
            (0..20).try_for_each(|task| {
                let id = (round * 20 + task) % TASKS;
                tx.save_task_json(&format!(r#"{{"id": "t{id}", "round": {round}}}"#))
            })
        });
        twenty.unwrap();
        clock.advance(40 * MS);
        let before = clock.monotonic();
        told = told.max(Duration::from_millis(store.status().unwrap().mirror_lag_ms.unwrap()));
        for (id, shown) in shown.iter().enumerate() {
            // Each task is changed once in so many rounds.
            let next = shown.map_or(id / 20, |shown| shown + TASKS / 20);
            let since = rounds.get(next).copied().unwrap_or(before);
            lag = lag.max(before.saturating_sub(since));
        }
        store.step();
        let took = clock.monotonic().saturating_sub(before);
        if took > 5 * MS {
            let elapsed = before.saturating_sub(begun);
            assert!(passing * 9 <= elapsed, "{passing:?} in passes by {elapsed:?}");
            (passing, longest, passes) = (passing + took, longest.max(took), passes + 1);
            for (id, shown) in shown.iter_mut().enumerate() {
                *shown = round_in(&disk, id);
            }
        }
    }
    // A pass shows a part of what changed; all there is to show takes so long.
    let before = clock.monotonic();
    store.checkpoint().unwrap();
    let whole = clock.monotonic().saturating_sub(before);
    println!("{passes} passes took {passing:?}, one at most {longest:?}, all files {whole:?}");
    println!("greatest lag {lag:?}, told {told:?}");
    assert!(passes >= 5, "{passes} passes");
    assert!(
        longest <= whole / 2,
        "{longest:?} of {whole:?}: others wait no longer than for a part"
    );
    assert!(lag <= 12 * whole, "{lag:?} at {whole:?} for all");
    assert!(lag <= told && told <= 24 * whole, "{lag:?} is told as {told:?}, at {whole:?} for all");
}

/// The last round of a task that its file shows.
fn round_in(disk: &SimFs, task: usize) -> Option<usize> {
    let text = String::from_utf8(disk.read_now(&format!("tasks/t{task}.json"))?).unwrap();
    let document: serde_json::Value = serde_json::from_str(&text).unwrap();
    document["round"].as_u64().map(|round| usize::try_from(round).unwrap())
}

#[test]
fn a_pass_shows_nothing_that_a_power_cut_could_still_take() {
    let disk = SimFs::new();
    let (store, clock) = timed(&disk, Duration::ZERO, small());
    let commit = store.submit(Durability::Buffered, |tx| tx.save_task_json(r#"{"id": "a"}"#));
    commit.unwrap().wait().unwrap();
    clock.advance(300 * MS);
    store.step();
    assert!(disk.read_now("tasks/a.json").is_some());
    let cut = open(&disk.if_crashed(CrashMode::Nothing), 2).unwrap();
    assert_eq!(documents(&cut.view()).len(), 1);
}

#[test]
fn after_a_shutdown_nothing_lags_and_files_and_names_are_durable() {
    let disk = SimFs::new();
    let store = open(&disk, 1).unwrap();
    (0..20).for_each(|task| save(&store, task, 1));
    store.shutdown().unwrap();
    let cut = disk.if_crashed(CrashMode::Nothing);
    assert!((0..20).all(|task| shows(&cut, task, 1)));
    let store = open(&cut, 2).unwrap();
    assert!(store.recovery().clean);
    // Where nothing but a flush makes contents durable, also of more files than are flushed one by one.
    for tasks in [20, 100] {
        let disk = SimFs::new();
        disk.set_rules(Rules::Unordered);
        let store = open(&disk, 1).unwrap();
        (0..tasks).for_each(|task| save(&store, task, 1));
        store.shutdown().unwrap();
        let cut = disk.if_crashed(CrashMode::Nothing);
        assert!((0..tasks).all(|task| shows(&cut, task, 1)));
    }
    let status = store.status().unwrap();
    assert_eq!((status.mirror_behind, status.mirror_lag_ms), (Some(0), Some(0)));
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    save(&store, 1, 1);
    store.shutdown().unwrap();
    let status = walden::status(dir.path()).unwrap();
    assert_eq!((status.mirror_behind, status.mirror_lag_ms), (Some(0), Some(0)));
}

#[test]
fn a_store_with_threads_shows_a_change_without_being_asked() {
    within(PATIENCE, || {
        let disk = SimFs::new();
        let store = Store::builder("sim").fs(Arc::new(disk.clone())).open().unwrap();
        for round in 0..3 {
            save(&store, 0, round);
            let begun = Instant::now();
            while !shows(&disk, 0, round) {
                assert!(begun.elapsed() < Duration::from_secs(30), "round {round} is not shown");
                std::thread::sleep(5 * MS);
            }
        }
        assert_eq!(disk.read_now("state.json"), None, "no checkpoint was needed");
    });
}

#[test]
fn a_pass_that_fails_is_told_once_and_made_up_for() {
    let disk = SimFs::new();
    let (store, clock) = timed(&disk, Duration::ZERO, small());
    let told = Arc::new(Mutex::new(Vec::new()));
    let heard = told.clone();
    store.on_event(move |event| {
        if let Event::SaveError { error } = event {
            heard.lock().unwrap().push(error.to_string());
        }
    });
    for failures in 1..3 {
        save(&store, 0, failures);
        disk.fail_when(CallKind::WriteBack, 1, Fault::Sticky(std::io::ErrorKind::StorageFull));
        let calls = disk.calls();
        for _ in 0..400 {
            clock.advance(250 * MS);
            store.step();
        }
        let heard = told.lock().unwrap().clone();
        assert_eq!(heard.len(), failures, "{heard:?}");
        assert!(disk.calls() - calls < 1000, "it is tried ever less often");
        let status = store.status().unwrap();
        assert_eq!(status.mirror_behind, Some(1));
        assert!(status.mirror_lag_ms.unwrap() >= 100_000, "{status:?}");
        disk.clear_faults();
        clock.advance(60_000 * MS);
        store.step();
        assert!(shows(&disk, 0, failures));
        assert_eq!(store.status().unwrap().mirror_lag_ms, Some(0));
    }
    assert!(!disk.names().iter().any(|name| name.starts_with("conflicts/")));
}

#[test]
fn a_crash_at_any_call_of_a_pass_or_of_a_cut_between_passes_is_no_persons_edit() {
    let disk = SimFs::new();
    let (watched, switch) = Watched::while_on(&disk, |disk, call| {
        let nothing = disk.if_crashed(CrashMode::Nothing);
        for after in [disk.if_killed(), disk.if_crashed(CrashMode::Random(call)), nothing] {
            finds_no_edit(&after, call);
        }
    });
    let clock = Arc::new(TestClock::default());
    let cuts = Arc::new(AtomicU64::new(0));
    let counted = cuts.clone();
    let store = builder(Arc::new(watched), clock.clone(), 1)
        .options(Options { checkpoint_log_bytes: 64 << 10, ..small() })
        .on_event(move |event| {
            counted.fetch_add(u64::from(matches!(event, Event::StateSaved { .. })), SeqCst);
        })
        .open()
        .unwrap();
    for round in 0..120 {
        save(&store, round % 5, round);
        if round % 11 == 0 {
            store.delete_task(&format!("t{}", round % 5)).unwrap();
        }
        switch.set(round > 60);
        clock.advance(60 * MS);
        store.step();
    }
    switch.set(false);
    let (tried, cuts) = (switch.calls(), cuts.load(SeqCst));
    println!("{tried} places, a kill and two power cuts at each; {cuts} snapshots");
    assert!(tried > 300 && cuts >= 6, "{tried} places, {cuts} snapshots");
}

#[test]
fn a_kill_in_a_pass_that_a_newer_change_overtook_is_no_persons_edit() {
    let disk = SimFs::new();
    let writer: Arc<Mutex<Option<Store>>> = Arc::default();
    let (others, tried) = (writer.clone(), Arc::new(AtomicU64::new(0)));
    let (count, seen) = (tried.clone(), AtomicU64::new(0));
    let watched = Watched::new(&disk, move |disk| {
        let calls = disk.trace();
        let seen = usize::try_from(seen.swap(calls.len() as u64, SeqCst)).unwrap();
        let is_shown = calls[seen..].iter().any(|call| call.starts_with("exchange wal/swap."));
        // Not again for the calls of this change.
        let Some(store) = is_shown.then(|| others.lock().unwrap().take()).flatten() else { return };
        let tried = count.fetch_add(1, SeqCst);
        save(&store, 0, 1000 + usize::try_from(tried).unwrap());
        *others.lock().unwrap() = Some(store);
        finds_no_edit(&disk.if_killed(), tried);
    });
    let clock = Arc::new(TestClock::default());
    let store = builder(Arc::new(watched), clock.clone(), 1).options(small()).open().unwrap();
    *writer.lock().unwrap() = Some(store.clone());
    for round in 0..5 {
        save(&store, 0, round);
        clock.advance(300 * MS);
        store.step();
    }
    writer.lock().unwrap().take();
    assert!(tried.load(SeqCst) >= 4, "the file was exchanged so often: {tried:?}");
}

#[test]
fn what_passes_wrote_is_durable_before_the_log_that_knows_it_is_cut() {
    let disk = SimFs::new();
    let clock = Arc::new(TestClock::default());
    let store = builder(Arc::new(disk.clone()), clock.clone(), 1)
        .options(Options { checkpoint_log_bytes: 64 << 10, ..small() })
        .open()
        .unwrap();
    // Shown by passes alone later, and overtaken by checkpoints that only the log's growth asks for.
    for round in 0..300 {
        save(&store, round % 3, round);
        if round % 100 == 50 {
            clock.advance(300 * MS);
        }
        store.step();
        if round == 10 {
            // What a power cut would bring back.
            store.checkpoint().unwrap();
        }
        let cut = open(&disk.if_crashed(CrashMode::Nothing), 2).unwrap();
        assert_eq!(cut.recovery().problems, [], "after round {round}");
    }
    let (mut unsynced, mut passed, mut cuts) = (false, 0, 0);
    for call in disk.trace() {
        if call.starts_with("exchange wal/swap.tasks.") {
            (unsynced, passed) = (true, passed + 1);
        } else if call == "sync tasks/" {
            unsynced = false;
        } else if call.starts_with("remove wal/") && call.ends_with(".wal")
            || call.starts_with("rename_new wal/") && call.ends_with(".tmp")
        {
            assert!(!unsynced, "the log is cut, and the names are not durable");
            cuts += 1;
        }
    }
    assert!(passed >= 6 && cuts >= 3, "{passed} files passed, {cuts} segments cut");
    assert!(at(&disk.if_killed(), 3).verify().unwrap().ok);
}
