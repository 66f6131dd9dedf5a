//! `replay`: applies a trace, each operation durable before the next one of its document begins.
//!
//! Invariants: operations of one document keep their order; an acknowledgement is printed after its
//! operation is durable, as one line in one write; after the first operation that fails none begins.
//! The trace is checked to its last line before the store is opened.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Write};
use std::panic::resume_unwind;
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Instant;

use indicatif::ProgressBar;
use parking_lot::Mutex;
use serde_json::json;
use walden::state::Op;
use walden::{Collection, Durability, Lsn, Result, Store};

use crate::args::Format;
use crate::failure::{Failure, Outcome};
use crate::shell::Shell;
use crate::trace::{self, Entry};
use crate::{host, output, progress};

/// Applies the operations of `file` with `threads` threads.
pub(crate) fn replay(shell: &Shell, file: &Path, threads: u16, acks: bool, hold: bool) -> Outcome {
    let input = host::read_input(file, host::LINES_BYTES_MAX)?;
    let entries = trace::read(&input)?;
    let store = shell.open()?;
    note_existing_state(shell, &store)?;
    let started = Instant::now();
    let run = Run {
        store: &store,
        acks,
        reader_gone: AtomicBool::new(false),
        failure: Mutex::new(None),
        stop: AtomicBool::new(false),
        bar: progress::bar(entries.len(), "replaying"),
    };
    let last = run.all(&entries, threads);
    run.bar.finish_and_clear();
    let failure = run.failure.into_inner();
    if let Some((_, failure)) = failure {
        // What was applied stays; of the two errors the first one tells more.
        let _ = store.shutdown();
        return Err(failure);
    }
    if hold {
        hold_on();
    }
    store.shutdown()?;
    let (count, took) = (entries.len(), started.elapsed());
    match shell.format {
        _ if acks => {}
        Format::Human => {
            let seconds = took.as_secs_f64();
            output::line(&format!(
                "applied {count} operations up to LSN {last} in {seconds:.2} s"
            ))?;
        }
        Format::Json => output::json_line(&json!({
            "applied": count,
            "last_lsn": last,
            "seconds": took.as_secs_f64(),
        }))?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Keeps the store open until the process is killed.
fn hold_on() -> ! {
    loop {
        thread::park();
    }
}

fn note_existing_state(shell: &Shell, store: &Store) -> Result<()> {
    let status = store.status()?;
    let (tasks, sessions) = (status.tasks, status.sessions);
    if tasks > 0 || sessions > 0 {
        let dir = shell.dir.display();
        let held = format!("{dir} holds {tasks} tasks and {sessions} sessions already");
        output::tell("note", &format!("{held}; the trace is applied to them again"));
    }
    Ok(())
}

/// One replay under way.
struct Run<'a> {
    store: &'a Store,
    acks: bool,
    /// Nobody reads the acknowledgements any more; the work goes on.
    reader_gone: AtomicBool,
    /// The failure at the lowest line so far.
    failure: Mutex<Option<(usize, Failure)>>,
    stop: AtomicBool,
    bar: ProgressBar,
}

impl Run<'_> {
    /// Shares the documents out among threads; gives the highest LSN.
    fn all(&self, entries: &[Entry<'_>], threads: u16) -> Lsn {
        let mut lanes = vec![Vec::new(); usize::from(threads.max(1))];
        let count = u64::from(threads.max(1));
        for entry in entries {
            let mut hasher = DefaultHasher::new();
            entry.op.target().hash(&mut hasher);
            let lane = usize::try_from(hasher.finish() % count).unwrap_or(0);
            if let Some(lane) = lanes.get_mut(lane) {
                lane.push(entry);
            }
        }
        thread::scope(|scope| {
            let running: Vec<_> =
                lanes.into_iter().map(|lane| scope.spawn(move || self.lane(lane))).collect();
            let done = running
                .into_iter()
                .map(|lane| lane.join().unwrap_or_else(|panic| resume_unwind(panic)));
            done.max().unwrap_or(Lsn::ZERO)
        })
    }

    fn lane(&self, entries: Vec<&Entry<'_>>) -> Lsn {
        let mut last = Lsn::ZERO;
        for entry in entries {
            if self.stop.load(Ordering::Acquire) {
                break;
            }
            let applied = apply(self.store, &entry.op)
                .map_err(|error| Failure::At(entry.line.place(), error))
                .and_then(|lsn| self.acknowledge(entry.line.number, lsn).map(|()| lsn));
            match applied {
                Ok(lsn) => last = last.max(lsn),
                Err(failure) => {
                    self.fail(entry.line.number, failure);
                    break;
                }
            }
            self.bar.inc(1);
        }
        last
    }

    fn acknowledge(&self, line: usize, lsn: Lsn) -> Result<(), Failure> {
        if !self.acks || self.reader_gone.load(Ordering::Relaxed) {
            return Ok(());
        }
        let ack = format!("{{\"line\":{line},\"lsn\":{lsn}}}\n");
        // Stdout is line-buffered, and empty before each line: the line goes out in one write.
        let mut out = io::stdout().lock();
        match out.write_all(ack.as_bytes()).and_then(|()| out.flush()) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.reader_gone.store(true, Ordering::Relaxed);
                Ok(())
            }
            other => other.map_err(Failure::Output),
        }
    }

    fn fail(&self, line: usize, failure: Failure) {
        self.stop.store(true, Ordering::Release);
        let mut first = self.failure.lock();
        if first.as_ref().is_none_or(|(earlier, _)| line < *earlier) {
            *first = Some((line, failure));
        }
    }
}

/// Applies one operation, durably.
fn apply(store: &Store, op: &Op) -> Result<Lsn> {
    let commit = store.submit(Durability::Sync, |tx| match op {
        Op::Put { collection: Collection::Task, document, .. } => {
            tx.save_task_json(document.text())
        }
        Op::Put { collection: Collection::Session, document, .. } => {
            tx.save_session_json(document.text())
        }
        Op::Patch { collection: Collection::Task, id, patch } => {
            tx.patch_task_json(id.as_str(), patch)
        }
        Op::Patch { collection: Collection::Session, id, patch } => {
            tx.patch_session_json(id.as_str(), patch)
        }
        Op::AppendLog { id, entry } => tx.append_task_log_json(id.as_str(), entry),
        Op::Delete { collection: Collection::Task, id } => tx.delete_task(id.as_str()),
        Op::Delete { collection: Collection::Session, id } => tx.delete_session(id.as_str()),
        // Traces have no such operations: these are the engine's own.
        Op::Wrote { .. }
        | Op::Removed { .. }
        | Op::Edited { .. }
        | Op::Synced
        | Op::Saved { .. }
        | Op::WriteOutput { .. }
        | Op::AppendOutput { .. } => Ok(()),
    })?;
    commit.wait()
}
