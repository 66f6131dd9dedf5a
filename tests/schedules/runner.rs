//! Runs a scenario under many schedules, and gives it a store on a disk where every call that changes
//! something is a place to switch.
//!
//! Nothing here may depend on anything but the schedule and the random numbers that shuttle hands out, or a
//! failure could not be replayed.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use shuttle::rand::{Rng, thread_rng};
use shuttle::scheduler::{PctScheduler, RandomScheduler, ReplayScheduler, Scheduler};
use shuttle::thread::JoinHandle;
use shuttle::{Config, FailurePersistence, MaxSteps, Runner};
use walden::fs::sim::{CrashMode, SimFs};
use walden::testing::{Seeded, Switch, Watched, small};
use walden::{Clock, Options, Store, Timestamp, View};

/// So many preemptions at chosen places a PCT schedule has.
const PCT_DEPTH: usize = 3;

/// Runs `scenario` under as many schedules as each has, or under the one to be replayed.
pub(crate) fn explore(name: &str, scenario: fn()) {
    explore_more(name, 1, scenario);
}

/// The same under so many times as many schedules: for what only few of them meet.
pub(crate) fn explore_more(name: &str, times: usize, scenario: fn()) {
    if let Ok(file) = std::env::var("WALDEN_REPLAY") {
        run(ReplayScheduler::new_from_file(file).unwrap(), scenario);
        return;
    }
    let count = match std::env::var("WALDEN_SCHEDULES") {
        Ok(count) => count.parse().expect("WALDEN_SCHEDULES is a number"),
        Err(_) => 600,
    } * times;
    let begun = Instant::now();
    let ran = catch_unwind(AssertUnwindSafe(|| {
        run(RandomScheduler::new_from_seed(1, count / 2), scenario)
            + run(PctScheduler::new_from_seed(2, PCT_DEPTH, count - count / 2), scenario)
    }));
    match ran {
        Ok(done) => {
            println!("{name}: {done} schedules in {:.1} s", begun.elapsed().as_secs_f64());
            assert!(done >= count, "{done} of {count} schedules were run");
        }
        Err(panic) => {
            eprintln!("to replay: the command of this test's head comment, followed by");
            eprintln!("  {name}, with WALDEN_REPLAY=<the file named above>");
            resume_unwind(panic);
        }
    }
}

fn run(scheduler: impl Scheduler + 'static, scenario: fn()) -> usize {
    let mut config = Config::new();
    config.stack_size = 1 << 20;
    config.max_steps = MaxSteps::FailAfter(200_000);
    let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    config.failure_persistence = FailurePersistence::File(Some(dir));
    // It warns of weak memory orders, which it does not model; the thread sanitizer looks at those.
    config.silence_warnings = true;
    config.ungraceful_shutdown_config.immediately_return_on_panic = true;
    Runner::new(scheduler, config).run(scenario)
}

/// A queue with room for three transactions, and groups with room for a large and a small one: so what is
/// left of a full queue forms groups with what comes later.
pub(crate) fn tight() -> Options {
    Options {
        queue_entries_max: 3,
        group_bytes_max: 350,
        buffered_age_max: Duration::from_millis(10),
        mirror_interval: Duration::from_millis(50),
        ..small()
    }
}

/// A clock that moves by a millisecond whenever it is looked at, so that everything falls due some day.
#[derive(Debug, Default)]
struct Hasty(AtomicU64);

impl Clock for Hasty {
    fn now(&self) -> Timestamp {
        Timestamp(i64::try_from(self.monotonic().as_nanos()).unwrap())
    }

    fn monotonic(&self) -> Duration {
        Duration::from_millis(self.0.fetch_add(1, Relaxed))
    }
}

/// An open store, and the disk below it.
pub(crate) struct Opened {
    pub(crate) disk: SimFs,
    pub(crate) store: Store,
    switch: Arc<Switch>,
    calls: Arc<[AtomicU64; 2]>,
}

impl Opened {
    /// How many calls that change the disk the writer thread has made.
    pub(crate) fn calls_of_writer(&self) -> u64 {
        self.calls[0].load(Relaxed)
    }

    /// The same of all threads that are not the store's.
    pub(crate) fn calls_of_callers(&self) -> u64 {
        self.calls[1].load(Relaxed)
    }
}

/// Counts a call for the thread that makes it.
fn count(calls: &[AtomicU64; 2]) {
    match shuttle::thread::current().name() {
        Some("walden-keeper") => {}
        Some("walden-writer") => drop(calls[0].fetch_add(1, Relaxed)),
        _ => drop(calls[1].fetch_add(1, Relaxed)),
    }
}

pub(crate) fn open(options: Options) -> Opened {
    let opened = open_quick(options);
    opened.switch.set(true);
    opened
}

/// The same, but only locks and waits are places to switch: schedules are shorter, and rare orders of them
/// more likely.
pub(crate) fn open_quick(options: Options) -> Opened {
    let disk = SimFs::new();
    let calls = Arc::<[AtomicU64; 2]>::default();
    let counted = calls.clone();
    let (watched, switch) = Watched::while_on(&disk, move |_, _| {
        count(&counted);
        pause();
    });
    let store = Store::builder("sim")
        .options(options)
        .fs(Arc::new(watched))
        .clock(Arc::new(Hasty::default()))
        .entropy(Arc::new(Seeded::new(7)))
        .open()
        .unwrap();
    Opened { disk, store, switch, calls }
}

pub(crate) fn join_all(threads: Vec<JoinHandle<()>>) {
    for thread in threads {
        thread.join().unwrap();
    }
}

/// A place where the scheduler may switch.
pub(crate) fn pause() {
    shuttle::thread::sleep(Duration::ZERO);
}

pub(crate) fn random(below: u64) -> u64 {
    thread_rng().gen_range(0..below)
}

/// Lets others go on for a while.
pub(crate) fn dawdle(steps_max: u64) {
    (0..random(steps_max)).for_each(|_| pause());
}

pub(crate) fn task(id: &str, round: u64) -> String {
    format!(r#"{{"id": "{id}", "round": {round}, "description": "some text to fill the log"}}"#)
}

pub(crate) fn round_in(view: &View, id: &str) -> u64 {
    let task = view.task(id).unwrap();
    task.map_or(0, |task| task.extra["round"].as_u64().unwrap())
}

/// The state as a power cut would leave it now; no other thread goes on meanwhile.
pub(crate) fn after_power_cut(disk: &SimFs, mode: CrashMode) -> View {
    read(disk.if_crashed(mode))
}

/// The state as a kill of the process would leave it now.
pub(crate) fn after_kill(disk: &SimFs) -> View {
    read(disk.if_killed())
}

fn read(disk: SimFs) -> View {
    Store::builder("sim").fs(Arc::new(disk)).open_read_only().unwrap()
}

/// The last round of each document that its writer was told of.
#[derive(Clone, Default)]
pub(crate) struct Acked(Arc<Mutex<BTreeMap<String, u64>>>);

impl Acked {
    pub(crate) fn note(&self, id: &str, round: u64) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(id.to_owned(), round);
    }

    pub(crate) fn all(&self) -> BTreeMap<String, u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Checks that a state has all of it.
    pub(crate) fn are_in(&self, view: &View, when: &str) {
        for (id, acked) in self.all() {
            let found = round_in(view, &id);
            assert!(found >= acked, "{when}: {id} is at {found}, {acked} was acknowledged");
        }
    }
}

/// How many schedules of a test met what it is about.
pub(crate) struct Met(AtomicU64);

impl Met {
    pub(crate) const fn new() -> Met {
        Met(AtomicU64::new(0))
    }

    pub(crate) fn one(&self) {
        self.0.fetch_add(1, Relaxed);
    }

    pub(crate) fn at_least(&self, least: u64, what: &str) {
        let met = self.0.load(Relaxed);
        println!("    {met} of them: {what}");
        let is_replay = std::env::var("WALDEN_REPLAY").is_ok();
        assert!(is_replay || met >= least, "{met} schedules met it: {what}");
    }
}
