//! The store itself as a program under exploration: a workload, and what must be found after any crash
//! of it, told by an oracle that shares no code with recovery.
//!
//! After each crash: every snapshot and backup is whole and of a state that was; the opening succeeds
//! and finds what was acknowledged, up to some transaction; it calls no crash a damage; a person's edit
//! is kept; what is written then is kept too; a checkpoint shows everything; and after a shutdown
//! nothing is left to say.
//!
//! On a disk that keeps no order ([`Rules::Unordered`]) the mirror, of which nothing is flushed but at
//! shutdowns, may be torn in versions that nothing tells any more; then its files are told and kept as a
//! person's. There everything is checked but what is said of the mirror.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::base::{Problem, ProblemKind};
use crate::engine::Store;
use crate::fs::sim::{Rules, SimFs};
use crate::testing::oracle::id_of;
use crate::testing::steps::earlier;
use crate::testing::workload::outputs;
use crate::testing::{
    Documents, Oracle, Program, Run, Shared, Step, Stop, Verdict, World, documents, fill, put,
    snapshot_documents,
};

/// A recovery makes fewer calls than this, whatever it finds.
const CALLS_MAX: u64 = 20_000;

/// What the crashes of an exploration met, to tell whether it showed anything.
#[derive(Debug, Default)]
pub struct Met {
    /// Recoveries that found something submitted but not acknowledged.
    pub ahead: AtomicU64,
    /// Recoveries that lost something (which nobody had been promised).
    pub behind: AtomicU64,
    /// Recoveries that found a torn end of the log.
    pub torn: AtomicU64,
    /// Disks with a person's edit on them.
    pub edited: AtomicU64,
    /// Recoveries after which the store was written to.
    pub written: AtomicU64,
    /// Recoveries after which the store was saved, shut down and compared file by file.
    pub settled: AtomicU64,
    /// Of these, opened and verified again.
    pub verified: AtomicU64,
}

/// A life of a store.
#[derive(Debug)]
pub struct Life {
    steps: Vec<Step>,
    is_migrated: bool,
    met: Arc<Met>,
}

impl Life {
    /// A store that begins in an empty directory.
    pub fn new(steps: Vec<Step>) -> Life {
        Life { steps, is_migrated: false, met: Arc::default() }
    }

    /// A store that begins by taking over the directory of an earlier implementation.
    pub fn migrated(steps: Vec<Step>) -> Life {
        Life { is_migrated: true, ..Life::new(steps) }
    }

    /// What the crashes met.
    pub fn met(&self) -> Arc<Met> {
        self.met.clone()
    }
}

impl Program for Life {
    type Promise = Oracle;

    fn promise(&self) -> Oracle {
        if !self.is_migrated {
            return Oracle::new();
        }
        let mut all = Documents::new();
        for (file, value) in earlier() {
            if file.starts_with("tasks/") {
                all.insert(("tasks", id_of(&value)), value);
            } else {
                all.extend(snapshot_documents(value.to_string().as_bytes()));
            }
        }
        Oracle::after(all)
    }

    fn run(&self, world: &World, promise: &Shared<Oracle>) -> Verdict {
        if self.is_migrated {
            for (file, value) in earlier() {
                world.disk().write_now(file, value.to_string().as_bytes())?;
            }
        }
        let mut run = Run::in_world(world, promise.clone());
        run.open()?;
        for step in &self.steps {
            run.step(step).map_err(|error| format!("{step:?}: {error}"))?;
        }
        run.shutdown()?;
        Ok(())
    }

    fn recover(&self, world: &World, stop: Stop, promise: &Shared<Oracle>) -> Verdict {
        let disk = world.disk();
        let calls = disk.calls();
        let before = promise.get();
        count(&self.met.edited, before.is_edited);
        self.files_are_whole(world, &before)?;
        let store = world.builder().open()?;
        self.compare(&store, world, stop, promise)?;
        if disk.calls() - calls > CALLS_MAX {
            return Err(format!("the opening made {} calls", disk.calls() - calls).into());
        }
        if world.seed().is_multiple_of(3) {
            self.write(&store, world, promise)?;
        }
        if world.seed().is_multiple_of(4) {
            self.settle(&store, world, &promise.get())?;
        }
        Ok(())
    }
}

impl Life {
    /// Whatever the instant, a file of JSON that must be whole is whole, and no edit is gone.
    fn files_are_whole(&self, world: &World, oracle: &Oracle) -> Verdict {
        let disk = world.disk();
        for name in disk.names() {
            let bytes = disk.read_now(&name).unwrap_or_default();
            let is_snapshot = name == "state.json" || name.starts_with("state.backup.");
            let is_earlier = || {
                let mut left = earlier().into_iter().filter(|_| self.is_migrated);
                left.any(|(file, value)| file == name && value.to_string().as_bytes() == bytes)
            };
            if is_snapshot && !is_earlier() {
                oracle
                    .was(&snapshot_documents(&bytes))
                    .map_err(|why| format!("{name} is of no state that was: {why}"))?;
            }
            let is_conflict = name.starts_with("conflicts/") && is_strict(world);
            if is_conflict && !oracle.is_edited {
                return Err(format!("nobody edited anything: {name}").into());
            }
        }
        edits_are_kept(disk, oracle)
    }

    /// Holds what was found against what was promised.
    fn compare(
        &self,
        store: &Store,
        world: &World,
        stop: Stop,
        promise: &Shared<Oracle>,
    ) -> Verdict {
        let disk = world.disk();
        let mut found = documents(&store.view());
        found.extend(outputs(disk));
        let oracle = promise.get();
        let place = oracle.place(&found, stop == Stop::PowerCut)?;
        count(&self.met.ahead, place > oracle.acked);
        count(&self.met.behind, place < oracle.submitted());
        promise.change(|oracle| oracle.found(place));
        let recovery = store.recovery();
        count(&self.met.torn, recovery.torn_bytes > 0);
        let is_explained = |problem: &Problem| {
            match problem.kind {
                _ if !is_strict(world) && is_of_mirror(&problem.file) => true,
                ProblemKind::Torn | ProblemKind::Stale => true,
                ProblemKind::Edited => oracle.is_edited,
                ProblemKind::Unreadable => {
                    oracle.edits.iter().any(|(file, _)| *file == problem.file)
                }
                // Not every task of the earlier directory has a file.
                ProblemKind::Missing => self.is_migrated && oracle.submitted() == 0,
                _ => false,
            }
        };
        match recovery.problems.iter().find(|problem| !is_explained(problem)) {
            Some(problem) => Err(format!("a crash is no damage: {problem}").into()),
            None => edits_are_kept(disk, &oracle),
        }
    }

    /// A later acknowledged write must not be lost with what came before it.
    fn write(&self, store: &Store, world: &World, promise: &Shared<Oracle>) -> Verdict {
        count(&self.met.written, true);
        let round = u32::try_from(world.seed() % 1_000_000)?;
        let changes = [put("later", 100, round), put("later too", 900, round)];
        if promise.look(|oracle| oracle.suits(&changes)) {
            promise.change(|oracle| oracle.submit(&changes));
            store.transaction(|tx| fill(tx, &changes))?;
            promise.change(|oracle| oracle.ack(true));
        }
        Ok(())
    }

    /// After the next checkpoint all files show the state; after a shutdown nothing is left to say.
    fn settle(&self, store: &Store, world: &World, oracle: &Oracle) -> Verdict {
        count(&self.met.settled, true);
        store.checkpoint()?;
        store.shutdown()?;
        let disk = world.disk();
        if is_strict(world) {
            shows(disk, oracle)?;
        }
        edits_are_kept(disk, oracle)?;
        if world.seed().is_multiple_of(16) {
            count(&self.met.verified, true);
            let verified = world.builder().verify()?;
            let mut problems = verified.problems.iter();
            let told = problems.find(|problem| {
                let is_edit = oracle.edits.iter().any(|(file, _)| *file == problem.file);
                let counts = !is_edit && (is_strict(world) || !is_of_mirror(&problem.file));
                !problem.kind.is_harmless() && counts
            });
            if told.is_some() {
                return Err(format!("after a shutdown: {:#?}", verified.problems).into());
            }
            let again = world.builder().open()?;
            if !again.recovery().clean {
                return Err(format!("after a shutdown: {:#?}", again.recovery()).into());
            }
            let mut found = documents(&again.view());
            found.extend(outputs(disk));
            if &found != oracle.present() {
                return Err(format!("after a shutdown: {found:#?}").into());
            }
        }
        Ok(())
    }
}

/// Whether what is said of the mirror can be checked too.
fn is_strict(world: &World) -> bool {
    world.rules() == Rules::Ordered
}

fn is_of_mirror(file: &str) -> bool {
    ["tasks/", "sessions/", "wal/swap."].iter().any(|dir| file.starts_with(dir))
}

fn count(counter: &AtomicU64, counts: bool) {
    counter.fetch_add(u64::from(counts), Relaxed);
}

fn edits_are_kept(disk: &SimFs, oracle: &Oracle) -> Verdict {
    for (file, contents) in &oracle.edits {
        let holds = |name: &String| {
            let place = name == file || name.starts_with("conflicts/") || name.starts_with("wal/");
            place && disk.read_now(name).as_ref() == Some(contents)
        };
        if !disk.names().iter().any(holds) {
            return Err(format!("the edit of {file} is gone").into());
        }
    }
    Ok(())
}

/// Checks that snapshot and mirror show exactly the present documents, but for a person's files.
pub fn shows(disk: &SimFs, oracle: &Oracle) -> Verdict {
    let mut present = oracle.present().clone();
    present.retain(|(dir, _), _| matches!(*dir, "tasks" | "sessions"));
    match disk.read_now("state.json") {
        Some(bytes) if snapshot_documents(&bytes) != present => {
            return Err("state.json does not show the state".into());
        }
        None if !present.is_empty() => return Err("there is no state.json".into()),
        _ => {}
    }
    let mut shown = BTreeSet::new();
    for name in disk.names() {
        let Some(dir) = ["tasks", "sessions"].into_iter().find(|dir| name.starts_with(*dir)) else {
            continue;
        };
        let bytes = disk.read_now(&name).unwrap_or_default();
        if oracle.edits.iter().any(|(file, edit)| *file == name && *edit == bytes) {
            continue;
        }
        let value: serde_json::Value =
            serde_json::from_slice(&bytes).map_err(|error| format!("{name}: {error}"))?;
        let key = (dir, id_of(&value));
        if present.get(&key) != Some(&value) || !shown.insert(key) {
            return Err(format!("{name} shows what is not there, or once more").into());
        }
    }
    let is_in_place =
        |(file, edit): &&(String, Vec<u8>)| disk.read_now(file).as_ref() == Some(edit);
    let edited = oracle.edits.iter().filter(is_in_place).count();
    if shown.len() + edited < present.len() {
        return Err(format!("only {shown:?} of {} documents have files", present.len()).into());
    }
    Ok(())
}
