//! What a store does, in phases that can be run each on its own: what is there before, and what is
//! done while a fault is waiting.
//!
//! Deterministic: the same phase makes the same calls each time, so that the nth of a class is the
//! same call until the fault strikes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use serde_json::json;
use walden::fs::sim::{CrashMode, SimFs};
use walden::testing::{Change, Oracle, Run, Shared, Step, builder, documents, put};
use walden::{Durability, Event, ProblemKind, Result};

use super::faulty::Faulty;
use crate::support::open;

/// What a person saved half-way.
pub(super) const BROKEN: &[u8] = br#"{"id": "b", "x": "#;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    FirstOpen,
    Commit,
    Rotation,
    Checkpoint,
    Mirror,
    Recovery,
    Shutdown,
}

impl Phase {
    pub(crate) const ALL: [Phase; 7] = [
        Phase::FirstOpen,
        Phase::Commit,
        Phase::Rotation,
        Phase::Checkpoint,
        Phase::Mirror,
        Phase::Recovery,
        Phase::Shutdown,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Phase::FirstOpen => "first open",
            Phase::Commit => "commit, output",
            Phase::Rotation => "rotation",
            Phase::Checkpoint => "checkpoint",
            Phase::Mirror => "mirror pass",
            Phase::Recovery => "recovery",
            Phase::Shutdown => "shutdown",
        }
    }
}

/// What a phase begins with: a disk, and what must be on it.
#[derive(Clone)]
pub(crate) struct Start {
    phase: Phase,
    disk: SimFs,
    oracle: Oracle,
    outputs: Vec<String>,
}

/// A store in a phase, on a disk of its own.
pub(crate) struct World {
    pub(crate) faulty: Faulty,
    pub(crate) run: Run,
    /// Outputs that were acknowledged.
    pub(crate) outputs: Vec<String>,
    /// Failures, and findings, that listeners were told of.
    pub(crate) failures: Arc<AtomicU64>,
    pub(crate) findings: Shared<Vec<(ProblemKind, String)>>,
}

fn commit(durability: Durability, change: Change) -> Step {
    Step::Commit(durability, vec![change])
}

fn sync(change: Change) -> Step {
    commit(Durability::Sync, change)
}

fn delete(id: &str) -> Change {
    Change::Delete("tasks", id.to_owned())
}

impl Start {
    pub(crate) fn new(phase: Phase) -> Start {
        let disk = SimFs::new();
        let start = Start { phase, disk, oracle: Oracle::new(), outputs: Vec::new() };
        if phase == Phase::FirstOpen {
            return start;
        }
        let mut world = start.world();
        world.open().unwrap();
        let run = &mut world.run;
        for round in 1..4 {
            for id in ["a", "b", "gone"] {
                run.step(&sync(put(id, 700, round))).unwrap();
            }
            run.step(&Step::Checkpoint).unwrap();
        }
        if phase == Phase::Recovery {
            world.output("before");
            return world.killed();
        }
        world.run.shutdown().unwrap();
        let (disk, oracle) = (world.faulty.disk.if_killed(), world.run.oracle.get());
        Start { phase, disk, oracle, outputs: Vec::new() }
    }

    /// The store in front of the phase, with everything that it will find.
    pub(crate) fn prepared(&self) -> World {
        let mut world = self.world();
        if !matches!(self.phase, Phase::FirstOpen | Phase::Recovery) {
            world.open().unwrap();
            world.prepare(self.phase);
        }
        world
    }

    fn world(&self) -> World {
        let faulty = Faulty::new(&self.disk.if_killed());
        let oracle = Shared::new(self.oracle.clone());
        let mut run = Run::new(&faulty.disk, Arc::new(faulty.clone()), oracle);
        run.openings = 100 * self.phase as u64;
        run.clock.advance(Duration::from_secs(1000 * (1 + self.phase as u64)));
        let (failures, findings) = (Arc::default(), Shared::default());
        World { faulty, run, outputs: self.outputs.clone(), failures, findings }
    }
}

impl World {
    pub(crate) fn open(&mut self) -> Result<()> {
        let run = &mut self.run;
        run.openings += 1;
        let (failures, findings) = (self.failures.clone(), self.findings.clone());
        let builder = builder(run.fs.clone(), run.clock.clone(), run.openings);
        let told = move |event: &Event| match event {
            Event::SaveError { .. } => drop(failures.fetch_add(1, SeqCst)),
            Event::Found(of) => findings.change(|all| all.push((of.kind, of.file.clone()))),
            _ => {}
        };
        run.store = Some(builder.on_event(told).open()?);
        // What is recovered is durable: no later crash takes it back.
        let found = documents(&run.store().view());
        run.oracle.change(|oracle| {
            let place = oracle.place(&found, true);
            oracle.found(place.unwrap_or_else(|why| panic!("opened: {why}")));
        });
        Ok(())
    }

    fn prepare(&mut self, phase: Phase) {
        let steps = match phase {
            Phase::Checkpoint => vec![
                sync(put("big", 9000, 10)),
                sync(put("big", 9000, 11)),
                sync(put("big", 9000, 12)),
                sync(put("big", 9000, 13)),
                Step::Checkpoint,
                sync(put("b", 60, 14)),
                sync(put("new", 60, 15)),
                sync(delete("gone")),
            ],
            Phase::Mirror | Phase::Shutdown => {
                vec![sync(put("b", 60, 14)), sync(put("new", 60, 15)), sync(delete("gone"))]
            }
            _ => Vec::new(),
        };
        for step in steps {
            self.run.step(&step).unwrap();
        }
        match phase {
            Phase::Checkpoint | Phase::Shutdown => self.output("before"),
            // A person's, which is kept before its document's next version takes its place.
            Phase::Mirror => {
                self.run.disk.save_now("tasks/b.json", BROKEN).unwrap();
            }
            _ => {}
        }
    }

    fn output(&mut self, line: &str) {
        self.append(line).unwrap();
    }

    fn append(&mut self, line: &str) -> Result<()> {
        self.run.store().append_session_log("s", line)?;
        self.outputs.push(line.to_owned());
        Ok(())
    }

    /// A disk as a power cut leaves it that needs everything that a recovery can do.
    fn killed(mut self) -> Start {
        let run = &mut self.run;
        run.step(&sync(put("b", 60, 14))).unwrap();
        run.step(&sync(delete("gone"))).unwrap();
        for round in 15..18 {
            run.step(&commit(Durability::Buffered, put("late", 5000, round))).unwrap();
        }
        let torn = (0..200).map(|seed| run.disk.if_crashed(CrashMode::Random(seed))).find(|disk| {
            let found = open(&disk.if_killed(), 77).map(|store| store.recovery().torn_bytes);
            found.is_ok_and(|torn_bytes| torn_bytes > 0)
        });
        let disk = torn.expect("an end of the log that is torn");
        let mut half = disk.read_now("tasks/a.json").unwrap();
        half[512..].fill(0);
        disk.write_now("tasks/a.json", &half).unwrap();
        disk.save_now("wal/swap.tasks.b.json", BROKEN).unwrap();
        let mut oracle = run.oracle.get();
        oracle.acked = oracle.durable;
        Start { phase: Phase::Recovery, disk, oracle, outputs: self.outputs }
    }

    /// What is done while the fault waits; the first error that a caller sees.
    pub(crate) fn act(&mut self, phase: Phase) -> Result<()> {
        match phase {
            Phase::FirstOpen | Phase::Recovery => self.open(),
            Phase::Commit => {
                self.run.step(&sync(put("c", 300, 20)))?;
                self.run.step(&commit(Durability::Buffered, put("c", 300, 21)))?;
                self.run.step(&Step::Sync)?;
                self.append("one line\n")?;
                self.append("another\n")?;
                self.run.store().save_report_json("r", &json!({"ok": true}).to_string())?;
                self.run.store().save_session_log("t", "all of it").map(drop)
            }
            Phase::Rotation => {
                for round in 20..24 {
                    self.run.step(&sync(put("c", 9000, round)))?;
                }
                // One that is prepared in the background, and is taken.
                self.run.store().step();
                (24..28).try_for_each(|round| self.run.step(&sync(put("c", 9000, round))))
            }
            Phase::Checkpoint => self.run.step(&Step::Checkpoint),
            Phase::Mirror => {
                (0..2).try_for_each(|_| self.run.step(&Step::Rest(Duration::from_millis(1500))))
            }
            Phase::Shutdown => self.run.shutdown(),
        }
    }
}
