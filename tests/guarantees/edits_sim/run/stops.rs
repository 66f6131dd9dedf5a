//! How a run's store ends, by a shutdown, a kill or a power cut, and what must hold when it is opened again.

use std::time::Duration;

use walden::ProblemKind;
use walden::fs::sim::{CrashMode, Fault};
use walden::testing::mix;

use super::super::oracle::{Oracle, saved};
use super::super::person::Random;
use super::{Run, Verdict};

impl Run {
    /// What a shutdown took in.
    fn look_at_closed(&mut self) -> Verdict {
        let found = saved(&self.disk);
        let kept = self.kept();
        self.oracle.change(|oracle| oracle.check(&found, &kept))
    }

    /// People at the files of a closed store.
    fn meanwhile(&self, random: &mut Random, most: usize) {
        for _ in 0..random.below(most + 1) {
            self.tally("acts while closed");
            self.person.lock().act(random, &self.disk, &self.oracle, false);
        }
    }

    pub(super) fn restart(&mut self, random: &mut Random, mode: u64) -> Verdict {
        let Some(store) = self.store.take() else { return Ok(()) };
        let ended = store.shutdown();
        drop(store);
        if self.disk.has_stopped() {
            return Ok(());
        }
        ended.map_err(|error| format!("shutdown: {error}"))?;
        self.tally("restarts");
        self.oracle.change(|oracle| oracle.ack(true));
        self.look_at_closed()?;
        self.meanwhile(random, 3);
        let until = self.oracle.look(Oracle::now);
        match self.open() {
            Ok(()) => self.opened(until),
            Err(_) if self.disk.has_stopped() => Ok(()),
            Err(error) => Err(format!("opening, mode {mode}: {error}")),
        }
    }

    /// The machine has stopped; it is started again, and may stop again.
    pub(super) fn crash(&mut self, random: &mut Random, mode: u64) -> Verdict {
        let mut power_cut = false;
        for attempt in 0.. {
            let is_cut = mix(mode ^ attempt).is_multiple_of(2);
            power_cut |= is_cut;
            self.tally(if is_cut { "power cuts" } else { "kills" });
            let left = if is_cut {
                let modes = [CrashMode::Nothing, CrashMode::Everything, CrashMode::Random(mode)];
                self.disk.crash_with(random.pick(&modes))
            } else {
                self.disk.kill()
            };
            self.store = None;
            self.disk = left;
            self.clock.advance(Duration::from_secs(100));
            self.meanwhile(random, 2);
            self.oracle.change(Oracle::stopped);
            if attempt < 3 && random.once_in(4) {
                self.disk.fail_at(1 + random.next() % 200, Fault::Crash);
            }
            let until = self.oracle.look(Oracle::now);
            match self.open() {
                Ok(()) if !self.disk.has_stopped() => {
                    self.disk.clear_faults();
                    let (found, kept) = (self.found(), self.kept());
                    self.oracle.change(|oracle| oracle.crashed(power_cut, &found, &kept));
                    return self.opened(until);
                }
                Ok(()) => {}
                Err(_) if self.disk.has_stopped() => {}
                Err(error) => return Err(format!("opening after a crash: {error}")),
            }
        }
        Ok(())
    }

    /// What must hold when an opening returns.
    fn opened(&mut self, until: u64) -> Verdict {
        let recovery = self.store().recovery();
        let has_saves = self.oracle.look(Oracle::has_saves);
        let is_right = |kind: ProblemKind| match kind {
            ProblemKind::Torn | ProblemKind::Stale => true,
            ProblemKind::Edited | ProblemKind::Unreadable | ProblemKind::Missing => has_saves,
            _ => false,
        };
        let wrong = recovery.problems.iter().find(|problem| !is_right(problem.kind));
        wrong.map_or(Ok(()), |wrong| Err(format!("P: an opening tells: {wrong}")))?;
        let (found, kept) = (self.found(), self.kept());
        self.oracle.change(|oracle| {
            oracle.check(&found, &kept)?;
            oracle.check_edits(&found, &kept, until)
        })
    }

    /// A clean end, after which nothing is left to say.
    pub(in super::super) fn end(&mut self) -> Verdict {
        self.calm()?;
        let before = self.found();
        self.store().shutdown().map_err(|error| format!("shutdown: {error}"))?;
        self.store = None;
        self.open().map_err(|error| format!("opening: {error}"))?;
        let until = self.oracle.look(Oracle::now);
        self.opened(until)?;
        if self.found() != before {
            return Err(format!("a restart made {:?} of {before:?}", self.found()));
        }
        self.observe()
    }
}
