//! A run of a store with its model: steps, failures that are healed, crashes that are recovered from.

use std::sync::Arc;

use walden::fs::sim::{CallKind, CrashMode, Fault, SimFs};
use walden::testing::{
    Oracle, Run, Shared, Step, SteppedClock, builder, documents, snapshot_documents,
};
use walden::{Error, Store};

use super::super::input::Input;
use super::outputs::Outputs;

/// Crashes in the middle of recoveries, one after the other.
const NESTED_MAX: usize = 3;

/// A store, the disk it lies on, and what it must hold.
pub(super) struct Game {
    run: Run,
    outputs: Outputs,
    /// Faults that had struck when nothing was left to be made up for.
    calm_at: u64,
}

impl Game {
    /// A new store on an empty disk.
    pub(super) fn begin() -> Game {
        let disk = SimFs::new();
        let run = Run::new(&disk, Arc::new(disk.clone()), Shared::new(Oracle::new()));
        let mut game = Game { run, outputs: Outputs::default(), calm_at: 0 };
        game.open();
        game
    }

    fn disk(&self) -> &SimFs {
        &self.run.disk
    }

    fn open(&mut self) {
        self.run.open().unwrap_or_else(|error| panic!("{error}: {:#?}", self.tail()));
    }

    /// The last calls, for messages.
    fn tail(&self) -> Vec<String> {
        let trace = self.disk().trace();
        trace[trace.len().saturating_sub(40)..].to_vec()
    }

    /// Does a step of the workload; what fails is healed.
    pub(super) fn step(&mut self, step: &Step, input: &mut Input<'_>) {
        if let Step::Edit(file, _) = step {
            self.forget_edit_in(file);
        }
        match self.run.step(step) {
            Ok(()) => self.same(),
            Err(error) => self.failed(&error, input),
        }
    }

    /// A person who writes over their own text has it no more.
    fn forget_edit_in(&mut self, file: &str) {
        let there = self.disk().read_now(file);
        self.run
            .oracle
            .change(|oracle| oracle.edits.retain(|(_, text)| Some(text) != there.as_ref()));
    }

    /// The store reads as the model does, and outputs as well, if none is to be made up for.
    fn same(&mut self) {
        let found = documents(&self.run.store().view());
        self.run.oracle.look(|oracle| assert_eq!(&found, oracle.present()));
        if self.disk().faults_fired() == self.calm_at {
            self.outputs.check(&self.run.disk);
        }
    }

    /// A session log or a report, with a short text from the input.
    pub(super) fn output(
        &mut self,
        input: &mut Input<'_>,
        of: fn(&mut Outputs, &Store, &str) -> Result<(), Error>,
    ) {
        let text = "0123456789".repeat(input.below(120) + 1);
        match of(&mut self.outputs, self.run.store(), &text) {
            Ok(()) => self.same(),
            Err(error) => self.failed(&error, input),
        }
    }

    /// A fault is to come.
    pub(super) fn plan(&mut self, kind: CallKind, nth: u64, fault: Fault) {
        self.disk().fail_when(kind, nth, fault);
    }

    /// A reader without the lock sees all that is durable, and a whole number of transactions.
    pub(super) fn read_beside(&mut self) {
        let builder = builder(self.run.fs.clone(), Arc::new(SteppedClock::default()), 77);
        match builder.open_read_only() {
            Ok(view) => {
                let found = documents(&view);
                let place = self.run.oracle.look(|oracle| oracle.place(&found, true));
                place.unwrap_or_else(|why| panic!("{why}"));
            }
            Err(error) => self.typed(&error),
        }
    }

    /// An error says what happened, and comes of a fault.
    fn typed(&self, error: &Error) {
        let is_typed =
            matches!(error, Error::Io { .. } | Error::DiskFull { .. } | Error::Poisoned { .. });
        assert!(is_typed && self.disk().faults_fired() > 0, "{error:?}: {:#?}", self.tail());
    }

    /// Something failed: reads go on, and the store is healed in one of three ways.
    fn failed(&mut self, error: &Error, input: &mut Input<'_>) {
        self.typed(error);
        if let Some(store) = &self.run.store {
            let found = documents(&store.view());
            let seen = self.run.oracle.look(|oracle| oracle.place(&found, false));
            seen.unwrap_or_else(|why| panic!("after {error}, reads go on: {why}"));
        }
        match input.u8() % 4 {
            0 => {
                let left = self.disk().crash_with(CrashMode::Random(u64::from(input.u8())));
                self.go_on_with(left, true, input);
            }
            1 => {
                let left = self.disk().kill();
                self.go_on_with(left, true, input);
            }
            _ => self.heal(),
        }
    }

    /// The disk works again, and the store goes on in the same process.
    fn heal(&mut self) {
        self.disk().clear_faults();
        match &self.run.store {
            Some(store) => store.reopen().and_then(|()| store.sync()).unwrap(),
            None => self.open(),
        }
        self.found(true);
    }

    /// Takes what is there for what is durable, if it is what it may be.
    fn found(&mut self, is_power_cut: bool) {
        let found = documents(&self.run.store().view());
        self.run.oracle.change(|oracle| {
            let place = oracle.place(&found, is_power_cut);
            oracle.found(place.unwrap_or_else(|why| panic!("{why}")));
        });
        if self.outputs.is_open() || self.disk().faults_fired() != self.calm_at {
            self.run.store().checkpoint().unwrap();
            self.calm_at = self.disk().faults_fired();
        }
        self.same();
    }

    /// The power goes.
    pub(super) fn power_cut(&mut self, mode: CrashMode, input: &mut Input<'_>) {
        let left = self.disk().crash_with(mode);
        self.go_on_with(left, true, input);
    }

    /// The process goes.
    pub(super) fn kill(&mut self, input: &mut Input<'_>) {
        let left = self.disk().kill();
        self.go_on_with(left, false, input);
    }

    /// Recovers from what a crash left, in the middle of which other crashes may come.
    fn go_on_with(&mut self, left: SimFs, mut is_power_cut: bool, input: &mut Input<'_>) {
        self.put(left);
        for _ in 0..NESTED_MAX {
            let choice = input.u8();
            if choice & 1 == 0 {
                break;
            }
            self.disk().fail_at(u64::from(input.u8()) * 2 + 1, Fault::Crash);
            let opened = self.run.open();
            assert!(opened.is_ok() || self.disk().has_stopped(), "{opened:?}");
            if !self.disk().has_stopped() {
                break;
            }
            let is_kill = choice & 2 != 0;
            is_power_cut |= !is_kill;
            let left = if is_kill {
                self.disk().kill()
            } else {
                self.disk().crash_with(CrashMode::Random(u64::from(choice)))
            };
            self.put(left);
        }
        self.disk().clear_faults();
        if self.run.store.is_none() {
            self.open();
        }
        self.found(is_power_cut);
    }

    fn put(&mut self, disk: SimFs) {
        self.run.store = None;
        self.run.fs = Arc::new(disk.clone());
        self.run.disk = disk;
        self.calm_at = 0;
    }

    /// Whatever came before, a checkpoint and a shutdown leave everything in order.
    pub(super) fn end(mut self) {
        self.disk().clear_faults();
        if self.run.store().sync().is_err() {
            self.heal();
        }
        self.run.step(&Step::Checkpoint).unwrap();
        self.calm_at = self.disk().faults_fired();
        self.same();
        self.run.shutdown().unwrap();
        let oracle = self.run.oracle.get();
        if let Some(bytes) = self.disk().read_now("state.json") {
            assert_eq!(&snapshot_documents(&bytes), oracle.present());
        }
        self.edits_are_kept(&oracle);
        let disk = self.run.disk.clone();
        let again = || builder(Arc::new(disk.clone()), self.run.clock.clone(), 78);
        let verified = again().verify().unwrap();
        // What a person left half-saved is told for as long as it is so.
        let is_edit = |file: &str| oracle.edits.iter().any(|(edited, _)| edited == file);
        let mut problems = verified.problems.iter();
        let is_fine = problems.all(|found| found.kind.is_harmless() || is_edit(&found.file));
        assert!(is_fine, "{:#?}", verified.problems);
        let store = again().open().unwrap();
        let recovery = store.recovery();
        assert!(recovery.clean, "{recovery:#?}");
        assert_eq!(&documents(&store.view()), oracle.present());
        self.outputs.check(&disk);
    }

    fn edits_are_kept(&self, oracle: &Oracle) {
        let names = self.disk().names();
        for (file, text) in &oracle.edits {
            let is_kept = names.iter().any(|name| {
                (name == file || name.starts_with("conflicts/"))
                    && self.disk().read_now(name).as_ref() == Some(text)
            });
            assert!(is_kept, "the edit of {file} is gone: {names:?}");
        }
    }
}
