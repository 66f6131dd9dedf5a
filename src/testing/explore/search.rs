//! The search itself: levels of runs, each of whose calls is a place to crash at.

use std::any::Any;
use std::collections::{BTreeMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;

use super::{
    Crash, CrashPath, Explorer, Outcome, Program, Report, Stop, Verdict, Violation, World,
};
use crate::base::{Clock, SystemClock};
use crate::fs::sim::{CrashMode, SimFs};
use crate::testing::{Shared, Watched, mix};

/// So many calls before a crash are told with a violation.
const CALLS_TOLD: usize = 24;

/// How often progress is told, in milliseconds.
const PROGRESS_INTERVAL_MS: u64 = 500;

pub(super) struct Search<P: Program> {
    explorer: Explorer,
    program: Arc<P>,
    tally: Tally,
    seen: Mutex<HashSet<u128>>,
    found: Mutex<Option<Violation>>,
    /// Of a replay: what each power cut drew, by the number of crashes before it.
    draws: Mutex<BTreeMap<usize, Vec<u32>>>,
    is_over: AtomicBool,
    clock: SystemClock,
    begun: Duration,
    /// When progress was told last, in milliseconds since it began.
    told_ms: AtomicU64,
}

#[derive(Default)]
struct Tally {
    calls: AtomicU64,
    calls_all: AtomicU64,
    places: AtomicU64,
    states: AtomicU64,
    disks: AtomicU64,
    power_cuts: AtomicU64,
    nested: AtomicU64,
    repeated: AtomicU64,
}

/// One run, of the program or of a recovery.
struct Level<P: Program> {
    path: CrashPath,
    /// The worst that happened before it.
    stop: Stop,
    promise: Shared<P::Promise>,
    calls: AtomicU64,
    /// Which calls are looked at: those with this rest by that number.
    stride: (u64, u64),
}

impl<P: Program> Search<P> {
    pub(super) fn new(explorer: Explorer, program: Arc<P>) -> Arc<Search<P>> {
        let clock = SystemClock::default();
        Arc::new(Search {
            explorer,
            program,
            tally: Tally::default(),
            seen: Mutex::default(),
            found: Mutex::default(),
            draws: Mutex::default(),
            is_over: AtomicBool::new(false),
            begun: clock.monotonic(),
            clock,
            told_ms: AtomicU64::new(0),
        })
    }

    /// Of a replay: what the power cut after so many other crashes drew.
    pub(super) fn draws(&self, depth: usize) -> Vec<u32> {
        self.draws.lock().get(&depth).cloned().unwrap_or_default()
    }

    pub(super) fn run(self: &Arc<Self>) -> Result<Report, Box<Violation>> {
        let threads = if self.explorer.only.is_some() { 1 } else { self.explorer.threads.max(1) };
        thread::scope(|scope| {
            for thread in 0..threads {
                scope.spawn(move || self.run_program(thread, threads));
            }
        });
        match self.found.lock().take() {
            Some(violation) => Err(Box::new(violation)),
            None => Ok(self.report()),
        }
    }

    /// Runs the program once, and looks at its share of the calls.
    fn run_program(self: &Arc<Self>, thread: u64, threads: u64) {
        let stride = self.explorer.stride.max(1);
        let level = Arc::new(Level {
            path: CrashPath::default(),
            stop: Stop::Kill,
            promise: Shared::new(self.program.promise()),
            calls: AtomicU64::new(0),
            stride: (thread * stride, threads * stride),
        });
        let disk = SimFs::new();
        disk.set_rules(self.explorer.rules);
        disk.set_traced(self.explorer.only.is_some());
        let (world, ended) =
            self.at_each_call(&level, &disk, |world| self.program.run(world, &level.promise));
        if let Err(why) = ended {
            self.violated(CrashPath::default(), why, &disk);
        }
        drop(world);
        if thread == 0 {
            self.tally.calls.store(level.calls.load(Relaxed).saturating_sub(1), Relaxed);
            self.tally.calls_all.store(disk.calls(), Relaxed);
        }
    }

    /// Runs something in a world whose every call is a place to crash at, and so is the end.
    fn at_each_call(
        self: &Arc<Self>,
        level: &Arc<Level<P>>,
        disk: &SimFs,
        run: impl FnOnce(&World) -> Verdict,
    ) -> (World, Result<(), String>) {
        let (search, at) = (self.clone(), level.clone());
        let watched = Watched::new(disk, move |disk| search.crash(&at, disk));
        let rules = self.explorer.rules;
        let world = World::new(disk.clone(), Arc::new(watched), rules, &level.path);
        let ended = guarded(|| run(&world));
        if ended.is_ok() {
            self.crash(level, disk);
        }
        (world, ended)
    }

    /// What would be, if the machine stopped now?
    fn crash(self: &Arc<Self>, level: &Level<P>, disk: &SimFs) {
        let call = level.calls.fetch_add(1, Relaxed) + 1;
        if self.is_over.load(Relaxed) {
            return;
        }
        let depth = level.path.0.len();
        let outcomes = match &self.explorer.only {
            Some(only) => match only.0.get(depth) {
                Some(crash) if crash.call == call => vec![crash.outcome.clone()],
                _ => return,
            },
            None if call % level.stride.1 != level.stride.0 % level.stride.1 => return,
            None => self.outcomes(level, call),
        };
        self.tally.places.fetch_add(1, Relaxed);
        for outcome in outcomes {
            let left = match &outcome {
                Outcome::Kill => disk.if_killed(),
                Outcome::PowerCut(mode) if self.explorer.only.is_some() => {
                    let (left, draws) = disk.if_crashed_traced(mode);
                    self.draws.lock().insert(depth, draws);
                    left
                }
                Outcome::PowerCut(mode) => disk.if_crashed(mode),
            };
            let path = level.path.with(Crash { call, outcome });
            self.recover(level, path, &left, disk);
            if self.is_over.load(Relaxed) {
                return;
            }
        }
    }

    fn outcomes(&self, level: &Level<P>, call: u64) -> Vec<Outcome> {
        let seed = level.path.seed() ^ mix(call) ^ mix(self.explorer.seed);
        // A small seed is easier to type again.
        let random = |n: u64| CrashMode::Random(mix(seed ^ n) % 1_000_000_000);
        let modes = [CrashMode::Nothing, CrashMode::Everything].into_iter();
        let modes = modes.chain((0..self.explorer.random).map(random));
        [Outcome::Kill].into_iter().chain(modes.map(Outcome::PowerCut)).collect()
    }

    /// Starts the program on what a crash left, and has it check.
    fn recover(self: &Arc<Self>, level: &Level<P>, path: CrashPath, left: &SimFs, before: &SimFs) {
        let last = path.0.last().map_or(Stop::Kill, |crash| crash.outcome.stop());
        let stop = level.stop.max(last);
        if !self.is_new(left, level, stop) {
            self.tally.repeated.fetch_add(1, Relaxed);
            return;
        }
        let states = self.tally.states.fetch_add(1, Relaxed) + 1;
        self.tally.power_cuts.fetch_add(u64::from(last == Stop::PowerCut), Relaxed);
        self.tally.nested.fetch_add(u64::from(path.0.len() > 1), Relaxed);
        let promise = Shared::new(level.promise.get());
        let ended = if self.goes_deeper(&path) {
            let stride = self.explorer.nested_stride.max(1);
            let level = Arc::new(Level {
                stride: (path.seed() % stride, stride),
                path: path.clone(),
                stop,
                promise,
                calls: AtomicU64::new(0),
            });
            let recover = |world: &World| self.program.recover(world, stop, &level.promise);
            self.at_each_call(&level, left, recover).1
        } else {
            let fs = Arc::new(left.clone());
            let world = World::new(left.clone(), fs, self.explorer.rules, &path);
            guarded(|| self.program.recover(&world, stop, &promise))
        };
        if let Err(why) = ended {
            self.violated(path, why, before);
        }
        if states >= self.explorer.states_max {
            self.is_over.store(true, Relaxed);
        }
        self.tell_progress();
    }

    /// Whether this disk was not recovered from yet with the same promises. Beside a kill much of it
    /// may not be durable yet, which matters for what a crash of the recovery leaves.
    fn is_new(&self, left: &SimFs, level: &Level<P>, stop: Stop) -> bool {
        if self.explorer.only.is_some() {
            return true;
        }
        let promised = mix(level.path.seed()) ^ mix(level.promise.changes());
        let disk = left.fingerprint();
        if self.explorer.known.insert(disk) {
            self.tally.disks.fetch_add(1, Relaxed);
        }
        let key = disk ^ u128::from(promised ^ mix(stop as u64));
        self.seen.lock().insert(key)
    }

    fn goes_deeper(&self, path: &CrashPath) -> bool {
        match &self.explorer.only {
            Some(only) => only.0.len() > path.0.len(),
            None => {
                path.0.len() < self.explorer.depth
                    && path.seed().is_multiple_of(self.explorer.nested_every.max(1))
            }
        }
    }

    /// Keeps the first violation, and ends the search.
    fn violated(&self, path: CrashPath, why: String, before: &SimFs) {
        let mut calls = before.trace();
        calls.drain(..calls.len().saturating_sub(CALLS_TOLD));
        self.found.lock().get_or_insert(Violation { why, path, calls, found: None, replays: true });
        self.is_over.store(true, Relaxed);
    }

    fn report(&self) -> Report {
        let Tally { calls, calls_all, places, states, disks, power_cuts, nested, repeated } =
            &self.tally;
        Report {
            calls: calls.load(Relaxed),
            calls_all: calls_all.load(Relaxed),
            places: places.load(Relaxed),
            states: states.load(Relaxed),
            disks: disks.load(Relaxed),
            power_cuts: power_cuts.load(Relaxed),
            nested: nested.load(Relaxed),
            repeated: repeated.load(Relaxed),
            elapsed: self.clock.monotonic().saturating_sub(self.begun),
        }
    }

    fn tell_progress(&self) {
        let Some(tell) = &self.explorer.on_progress else { return };
        let elapsed = self.clock.monotonic().saturating_sub(self.begun);
        let now_ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
        let told_ms = self.told_ms.load(Relaxed);
        let is_due = now_ms.saturating_sub(told_ms) >= PROGRESS_INTERVAL_MS;
        if is_due && self.told_ms.compare_exchange(told_ms, now_ms, Relaxed, Relaxed).is_ok() {
            tell(&self.report());
        }
    }
}

/// Runs a piece of the program; a panic is why not.
fn guarded(run: impl FnOnce() -> Verdict) -> Result<(), String> {
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(verdict) => verdict.map_err(|error| error.to_string()),
        Err(panic) => Err(text_of(panic.as_ref())),
    }
}

fn text_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    format!("panicked: {}", text.unwrap_or("with something else than a text"))
}
