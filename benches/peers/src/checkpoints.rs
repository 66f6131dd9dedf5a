//! P8: what writers feel of a checkpoint, and what one change rewrites.
//!
//! Each round lets threads write for a turn with nothing else going on, and then asks for a checkpoint
//! beside them. Until `state.json` is another file, the snapshot is being made; from then until the
//! checkpoint returns, the mirror's files are. A write counts for the latest of those that it met.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use std::{fs, io, thread};

use hdrhistogram::Histogram;
use parking_lot::Mutex;
use walden::files::names::{STATE, WAL};
use walden::{Options, Result, Store};

use crate::documents;
use crate::load::{self, Load, Target as Writes, Writer, float, latencies, nanoseconds};
use crate::peer::failed;
use crate::report::{Report, Table, Target};
use crate::session::Session;

const PHASES: [&str; 3] = ["nothing else", "snapshot", "mirror files"];
/// How many of the documents are written to between two checkpoints, and their files by each.
const CHANGED: usize = 10_000;
const ONE_AMONG: usize = 10_000;
const STALL_MS: f64 = 20.0;
const LOOK_EVERY: Duration = Duration::from_millis(1);
const FOREVER: Duration = Duration::from_secs(86_400);

/// One histogram a phase.
type Phases = [Histogram<u64>; 3];

/// Writers that sort what they see by what is going on.
struct Watched<'a> {
    store: &'a Store,
    texts: &'a [String],
    phase: AtomicUsize,
    seen: Mutex<Phases>,
}

/// What one thread saw; handed over when it is done.
struct Seen<'a> {
    all: &'a Mutex<Phases>,
    own: Phases,
}

impl Drop for Seen<'_> {
    fn drop(&mut self) {
        for (all, own) in self.all.lock().iter_mut().zip(&self.own) {
            all.add(own).expect("both have the same bounds");
        }
    }
}

impl Writes for Watched<'_> {
    fn writer(&self, _: bool) -> Writer<'_> {
        let mut seen = Seen { all: &self.seen, own: [(); 3].map(|()| latencies()) };
        Box::new(move |number| {
            let before = self.phase.load(Ordering::Relaxed);
            let begun = Instant::now();
            let text = self.texts.get(number).map_or("", String::as_str);
            self.store.save_task_json(text)?;
            let phase = before.max(self.phase.load(Ordering::Relaxed));
            if let Some(histogram) = seen.own.get_mut(phase) {
                histogram.saturating_record(nanoseconds(begun.elapsed()).max(1));
            }
            Ok(())
        })
    }
}

pub(crate) fn run(session: &Session, report: &mut Report) -> Result<()> {
    let (plan, count) = (&session.plan, session.plan.documents());
    session.step(&format!("checkpoints: a store of {count} documents"));
    let store = documents::saved(&session.path("quiet"), documents::quiet(), count, plan)?;
    let written = count.min(CHANGED);
    report.note(format!("{written} of {count} documents are written to"));
    let mut round = 0;
    let found = session.rounds("checkpoint", &["walden"], |_| {
        // Texts that no file shows yet.
        round += 1;
        let with = format!(r#""description":"{round} "#);
        let text = |number| documents::text(number, plan).replacen(r#""description":""#, &with, 1);
        let texts: Vec<String> = (0..written).map(text).collect();
        store.checkpoint()?;
        beside(session, &store, &texts)
    })?;
    let found: Vec<Phases> = found.into_iter().flatten().collect();
    documents::abandon(store);
    let us =
        |histogram: &Histogram<u64>, quantile| float(histogram.value_at_quantile(quantile)) / 1e3;
    let mut p99 = Table::new(format!("p99 of a write, {} threads", plan.threads()), "us");
    let mut stall = Table::new("Longest write", "ms");
    for (at, name) in PHASES.into_iter().enumerate() {
        let of = || found.iter().filter_map(move |phases| phases.get(at));
        if let Some(row) = p99.add(name, of().map(|seen| us(seen, 0.99)).collect()) {
            row.also("p50 us", of().map(|seen| us(seen, 0.5)));
            row.also("writes", of().map(|seen| float(seen.len())));
            match at {
                1 => row.aim(Target::RatioAtMost(1.5)),
                2 => row.aim(Target::RatioAtMost(2.5)),
                _ => {}
            }
        }
        if let Some(row) = stall.add(name, of().map(|seen| float(seen.max()) / 1e6).collect())
            && at > 0
        {
            row.aim(Target::AtMost(STALL_MS));
        }
    }
    report.add(p99);
    report.add(stall);
    one_change(session, report)
}

/// Lets threads write, first alone and then beside a checkpoint.
fn beside(session: &Session, store: &Store, texts: &[String]) -> Result<Phases> {
    let seen = Mutex::new([(); 3].map(|()| latencies()));
    let watched = Watched { store, texts, phase: AtomicUsize::new(0), seen };
    let state = session.path("quiet").join(STATE);
    let load = Load { threads: session.plan.threads(), time: FOREVER, documents: texts.len() };
    thread::scope(|scope| {
        let driver = scope.spawn(|| {
            thread::sleep(session.plan.turn);
            let before = inode(&state);
            watched.phase.store(1, Ordering::Relaxed);
            thread::scope(|scope| {
                let saving = scope.spawn(|| store.checkpoint().map(drop));
                while !saving.is_finished() && inode(&state) == before {
                    thread::sleep(LOOK_EVERY);
                }
                watched.phase.store(2, Ordering::Relaxed);
                let saved = saving.join();
                watched.phase.store(0, Ordering::Relaxed);
                saved.unwrap_or_else(|_| Err(failed("a checkpoint", io::Error::other("a panic"))))
            })
        });
        load::run(&watched, load, &mut |_| {
            if driver.is_finished() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        driver.join().unwrap_or_else(|_| Err(failed("a checkpoint", io::Error::other("a panic"))))
    })?;
    Ok(watched.seen.into_inner())
}

fn inode(file: &Path) -> Option<u64> {
    fs::metadata(file).ok().map(|of| of.ino())
}

/// How many files a checkpoint of one change makes or writes to, those of the log apart.
fn one_change(session: &Session, report: &mut Report) -> Result<()> {
    let (plan, path) = (&session.plan, session.path("one"));
    let count = plan.documents().min(ONE_AMONG);
    session.step(&format!("one change: a store of {count} documents"));
    let store: Store = documents::saved(&path, Options::default(), count, plan)?;
    let look = || files(&path).map_err(|error| failed("the files", error));
    let found = session.rounds("one change", &["walden"], |_| {
        store.checkpoint()?;
        let before = look()?;
        store
            .patch_task_json(&documents::id(count / 2), &format!("{{\"at\":{}}}", before.len()))?;
        store.checkpoint()?;
        Ok(float(look()?.difference(&before).count() as u64))
    })?;
    let mut table = Table::new(format!("Files rewritten by one change among {count}"), "files");
    if let Some(row) = table.add("walden", found.into_iter().flatten().collect()) {
        row.aim(Target::AtMost(2.0));
    }
    report.add(table);
    store.shutdown()
}

/// Inode, length and time of every file. One that only got another name is the same.
fn files(dir: &Path) -> io::Result<BTreeSet<[i128; 4]>> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let of = entry.metadata()?;
        if of.is_dir() {
            if entry.file_name() != WAL {
                found.append(&mut files(&entry.path())?);
            }
        } else {
            let (length, inode) = (of.len().into(), of.ino().into());
            found.insert([inode, length, of.mtime().into(), of.mtime_nsec().into()]);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_name_is_no_rewriting_and_a_new_file_is_one() {
        let dir = std::env::temp_dir().join(format!("walden-peers-test.{}", std::process::id()));
        fs::create_dir_all(dir.join(WAL)).unwrap();
        fs::create_dir_all(dir.join("tasks")).unwrap();
        fs::write(dir.join("tasks/a"), "a").unwrap();
        let before = files(&dir).unwrap();
        fs::rename(dir.join("tasks/a"), dir.join("b")).unwrap();
        fs::write(dir.join(WAL).join("x"), "x").unwrap();
        assert_eq!(files(&dir).unwrap(), before);
        fs::write(dir.join("tasks/a"), "ab").unwrap();
        assert_eq!(files(&dir).unwrap().difference(&before).count(), 1);
        fs::remove_dir_all(&dir).unwrap();
    }
}
