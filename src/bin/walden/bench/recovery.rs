//! How long an opening takes after a crash, by how much of the log there is to apply.
//!
//! A store is copied while it is open and at rest, which is what a kill would leave, and the copy is
//! opened. Beside it, the least that anybody could do: to read the files of the log and check the bytes.
//! All of it comes from memory where the system has kept it there. The records replace few documents, so
//! that saving those afterwards is not what takes the time.

use std::path::Path;
use std::time::{Duration, Instant};
use std::{fs, io, thread};

use walden::{Error, Options, Store};

use super::args::Interval;
use super::load::Spread;
use super::report::Opening;
use super::session::Session;
use super::target::{Setup, texts};
use crate::failure::Failure;
use crate::host;

/// Openings of one log; more would hardly tell more.
const ROUNDS_MAX: usize = 3;
/// So often is a copy tried: there is one segment in the making at most.
const COPIES_MAX: usize = 20;
/// Records that are submitted before the first of them is waited for.
const SUBMITTED: usize = 1000;

pub(crate) fn measure(session: &Session<'_>, base: Setup) -> Result<Vec<Opening>, Failure> {
    let setup = Setup { interval: Interval(None), ..base };
    let logs = session.plan.log_records.iter();
    logs.map(|records| measure_log(session, setup, *records)).collect()
}

fn measure_log(session: &Session<'_>, setup: Setup, records: usize) -> Result<Opening, Failure> {
    let what = format!("recovery: writing {records} records");
    session.step(&what)?;
    let (path, copy) = (session.path("log"), session.path("copy"));
    let mut options = setup.options();
    // The files of the documents are not what is measured; without them, only the log has them.
    options.mirror_interval = options.checkpoint_interval;
    let store = Store::builder(&path).options(options.clone()).open()?;
    let texts = texts(session.plan.documents(setup.value_bytes), setup.value_bytes);
    let mut texts = texts.iter().cycle().take(records).peekable();
    while texts.peek().is_some() {
        session.step(&what)?;
        let mut commits = Vec::with_capacity(SUBMITTED);
        for text in texts.by_ref().take(SUBMITTED) {
            commits.push(store.submit(setup.durability, |tx| tx.save_task_json(text))?);
        }
        commits.into_iter().try_for_each(|commit| commit.wait().map(drop))?;
    }
    store.sync()?;
    let (mut to_open, mut to_read) = (Vec::new(), Vec::new());
    let mut log_bytes = 0;
    for round in 1..=session.plan.rounds.min(ROUNDS_MAX) {
        if round > 1 && session.is_late() {
            break;
        }
        session.step(&format!("recovery: {records} records, round {round}"))?;
        copy_store(session, &path, &copy)?;
        let begun = Instant::now();
        log_bytes = read_and_check(&copy.join(walden::files::names::WAL))?;
        to_read.push(begun.elapsed().as_secs_f64() * 1e3);
        to_open.push(open(&copy, &options, records)?);
        session.remove("copy")?;
    }
    store.shutdown()?;
    drop(store);
    session.remove("log")?;
    let (open_ms, read_ms) = (Spread::of(to_open), Spread::of(to_read));
    Ok(Opening { records: records as u64, log_bytes, open_ms, read_ms })
}

/// Copies a store to which nobody writes. Its next segment may still be in the making, and get its name
/// while it is copied: then it is copied once more.
fn copy_store(session: &Session<'_>, from: &Path, to: &Path) -> Result<(), Failure> {
    for _ in 1..COPIES_MAX {
        match host::copy_dir(from, to) {
            Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                session.remove("copy")?;
                thread::sleep(Duration::from_millis(10));
            }
            copied => return Ok(copied?),
        }
    }
    Ok(host::copy_dir(from, to)?)
}

/// Milliseconds until the store can be used, all of its records being there.
fn open(path: &Path, options: &Options, records: usize) -> Result<f64, Failure> {
    let begun = Instant::now();
    let store = Store::builder(path).options(options.clone()).open()?;
    let took = begun.elapsed();
    let replayed = store.recovery().records_replayed;
    if replayed != records as u64 {
        let why = format!("{records} records were written, and an opening found {replayed}");
        return Err(Failure::Violation(why));
    }
    store.shutdown()?;
    Ok(took.as_secs_f64() * 1e3)
}

/// Reads every file of a directory and makes its crc32; gives their bytes.
fn read_and_check(dir: &Path) -> Result<u64, Failure> {
    let failed = |error| Failure::from(Error::io("read", dir.display().to_string(), error));
    let mut bytes = 0;
    for entry in fs::read_dir(dir).map_err(failed)? {
        let read = fs::read(entry.map_err(failed)?.path()).map_err(failed)?;
        std::hint::black_box(crc32fast::hash(&read));
        bytes += read.len() as u64;
    }
    Ok(bytes)
}
