//! The two threads of an open store: the writer, and the keeper, which prepares segments, saves, and
//! keeps the mirror fresh.
//!
//! They are the only threads the crate makes, and they outlive a panic: one in the writer poisons the
//! log, as a failed write does, so that nobody waits for ever and `reopen` can heal it.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use crate::base::{Error, Event, Result};
use crate::engine::checkpoint::Reason;
use crate::engine::core::Core;
use crate::engine::queue::Taken;
use crate::engine::sync::thread::{self, JoinHandle};
use crate::engine::watch::Ears;
use crate::files::names::WAL;
use crate::wal::Log;

/// So often it is looked whether a person put an earlier snapshot back: one `stat`.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(crate) struct Threads {
    writer: JoinHandle<()>,
    maintenance: JoinHandle<()>,
}

impl Threads {
    pub(crate) fn start(core: &Arc<Core>) -> Result<Threads> {
        let failed = |source| Error::io("start", "a thread", source);
        let (a, b) = (core.clone(), core.clone());
        let writer = thread::Builder::new().name("walden-writer".into());
        let writer = writer.spawn(move || run_writer(&a)).map_err(failed)?;
        let maintenance = thread::Builder::new().name("walden-keeper".into());
        let maintenance = maintenance.spawn(move || run_maintenance(&b)).map_err(|source| {
            core.queue.stop();
            failed(source)
        })?;
        Ok(Threads { writer, maintenance })
    }

    /// Lets both finish what they have, and waits for them.
    pub(crate) fn stop(self, core: &Core) {
        core.queue.stop();
        core.wishes.lock().stop = true;
        core.wished.notify_all();
        for thread in [self.writer, self.maintenance] {
            // A listener may drop the last handle on the engine's own thread.
            if thread.thread().id() != thread::current().id() && thread.join().is_err() {
                tracing::error!("a thread of the store had panicked");
            }
        }
    }
}

fn run_writer(core: &Core) {
    loop {
        let ran = catch_unwind(AssertUnwindSafe(|| {
            loop {
                match core.queue.take(core.duties()) {
                    Taken::Group(group) => core.commit(group),
                    Taken::Idle => {}
                    Taken::Stopped => break,
                }
            }
        }));
        if ran.is_ok() {
            return;
        }
        // What it was doing is unknown, as after a failed write: nothing more may be acknowledged.
        let panicked = io::Error::other("the writer thread panicked");
        let error = Error::io("commit to", core.around.fs.display(WAL), panicked);
        if let Some(log) = core.writer.lock().log.as_mut() {
            log.give_up(error.clone());
        }
        core.failed(&error);
    }
}

fn run_maintenance(core: &Arc<Core>) {
    let mut ears = Ears::open(core);
    let clock = &core.around.clock;
    let mut next = clock.monotonic().saturating_add(core.pace().1);
    loop {
        let due = core.mirror_due().map_or(next, |due| due.min(next)).min(core.look_due());
        let wake = due.min(clock.monotonic().saturating_add(LOOK_INTERVAL));
        let mut reason = {
            let mut wishes = core.wishes.lock();
            while !wishes.are_there() {
                let patience = wake.saturating_sub(clock.monotonic());
                if patience.is_zero() || core.wished.wait_for(&mut wishes, patience).timed_out() {
                    break;
                }
            }
            if wishes.stop {
                return;
            }
            wishes.unshown = false;
            wishes.heard = false;
            wishes.checkpoint.take()
        };
        if clock.monotonic() >= next {
            reason = Some(Reason::Interval);
        }
        let ran = catch_unwind(AssertUnwindSafe(|| {
            core.prepare_wanted();
            core.look();
            ears.renew(core);
            core.look_for_edits();
            if let Some(reason) = reason {
                autosave(core, reason);
            }
            core.refresh_mirror();
        }));
        if ran.is_err() {
            let panicked = io::Error::other("the keeper thread panicked");
            let error = Error::io("save", core.around.fs.display(""), panicked);
            core.listeners.emit(&Event::SaveError { error });
        }
        if reason == Some(Reason::Interval) {
            next = clock.monotonic().saturating_add(core.pace().1);
        }
    }
}

/// A checkpoint if something changed; listeners are told of a failure, and it is tried again.
pub(crate) fn autosave(core: &Core, reason: Reason) {
    if !core.wants_checkpoint() {
        return;
    }
    let lsn = core.writer.lock().log.as_ref().map(Log::durable_lsn).unwrap_or_default();
    core.listeners.emit(&Event::AutosaveTriggered { lsn });
    if let Err(error) = core.checkpoint(reason) {
        tracing::debug!(%error, "the next interval tries again");
    }
}
