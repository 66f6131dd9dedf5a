//! P5: opening after a clean shutdown, everything being in the system's memory.
//!
//! The limit reads and hashes `state.json` and takes the `stat` of every file of the mirror, on all cores:
//! one thread begins with the hash, and all share the files, whose names the directory tells.

use std::hint::black_box;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;
use std::{fs, io, thread};

use rustix::fs::AtFlags;
use walden::files::names::STATE;
use walden::{ContentHash, Options, Result, Store};

use crate::documents;
use crate::peer::failed;
use crate::report::{Report, Table, Target};
use crate::session::Session;

/// So many files a thread takes at once.
const BATCH: usize = 256;
/// So often a store has been opened and changed before. The log that it was filled through is cut by then,
/// and nothing is left that only the first opening has to look at again.
const OPENINGS: usize = 3;
const NAMES: [&str; 3] = ["hash and stat, all cores", "walden", "walden, to read"];

pub(crate) fn run(session: &Session, report: &mut Report) -> Result<()> {
    for count in session.plan.documents.iter().copied() {
        let path = session.path("opening");
        session.step(&format!("opening: a store of {count} documents"));
        documents::saved(&path, Options::default(), count, &session.plan)?.shutdown()?;
        for _ in 0..OPENINGS {
            let store = Store::open(&path)?;
            store.save_task_json(&documents::text(0, &session.plan))?;
            store.shutdown()?;
        }
        let log_bytes = walden::status(&path)?.wal_bytes;
        report.note(format!("{count} documents: {log_bytes} bytes of log are left"));
        let found = session.rounds(&format!("{count} documents"), &NAMES, |at| {
            let begun = Instant::now();
            let took = || begun.elapsed().as_secs_f64() * 1e3;
            match at {
                0 => {
                    look(&path, count).map_err(|error| failed("the mirror", error))?;
                    Ok(took())
                }
                1 => {
                    let store = Store::open(&path)?;
                    let took = took();
                    store.shutdown().map(|()| took)
                }
                _ => Store::builder(&path).open_read_only().map(|_view| took()),
            }
        })?;
        let mut table =
            Table::new(format!("Opening {count} documents after a clean shutdown"), "ms");
        for (at, (name, seconds)) in NAMES.iter().zip(found).enumerate() {
            if let Some(row) = table.add(*name, seconds)
                && at == 1
            {
                row.aim(Target::RatioAtMost(1.5));
            }
        }
        report.add(table);
        session.remove("opening")?;
    }
    Ok(())
}

/// The least that an opening could do.
fn look(path: &Path, count: usize) -> io::Result<()> {
    let tasks = path.join("tasks");
    let dir = fs::File::open(&tasks)?;
    let names: Vec<_> = fs::read_dir(&tasks)?
        .map(|entry| entry.map(|entry| entry.file_name()))
        .collect::<io::Result<_>>()?;
    let next = AtomicUsize::new(0);
    let work = |hashes: bool| -> io::Result<usize> {
        if hashes {
            let state = fs::read(path.join(STATE))?;
            black_box(ContentHash::of(&state));
        }
        let mut seen = 0;
        loop {
            let from = next.fetch_add(BATCH, Ordering::Relaxed);
            let Some(names) = names.get(from..names.len().min(from.saturating_add(BATCH))) else {
                return Ok(seen);
            };
            if names.is_empty() {
                return Ok(seen);
            }
            for name in names {
                black_box(rustix::fs::statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW)?);
            }
            seen += names.len();
        }
    };
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let seen = thread::scope(|scope| {
        let workers: Vec<_> = (0..cores).map(|core| scope.spawn(move || work(core == 0))).collect();
        workers
            .into_iter()
            .map(|worker| worker.join().unwrap_or_else(|_| Err(io::Error::other("a panic"))))
            .sum::<io::Result<usize>>()
    })?;
    if seen == count { Ok(()) } else { Err(io::Error::other(format!("{seen} of {count} files"))) }
}
