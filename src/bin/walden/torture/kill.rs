//! `torture --kill`: kills on the user's own disk, each at another instant, most of them on a directory
//! that was killed before.
//!
//! It ends at the first broken promise, and leaves the directory for whoever wants to know; else it
//! removes what it made.

use std::fs;
use std::io;
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use indicatif::ProgressBar;
use parking_lot::Mutex;
use walden::Error;

use super::child::{Life, Subject};
use super::report::{self, Report};
use crate::args::{Format, Torture};
use crate::failure::{Failure, Outcome};
use crate::host;
use crate::progress;

const DIR: &str = "walden-torture";
const MARKER: &str = "README.txt";
const MARKER_TEXT: &str = "\
This directory was made by `walden torture`, which removes it unless a promise was broken. The next
`walden torture` begins it anew: move it away if you want to keep it.

store-*/   what was left when the last process was killed
";
/// One of so many kills is followed by a new directory: `quarantine/` grows with every torn end.
const ANEW_ONE_IN: u64 = 40;
/// One of so many is followed by a verification of every byte.
const VERIFY_ONE_IN: u64 = 4;

/// So many processes work at the same time, each on a directory of its own: what takes the time is
/// waiting for the disk.
const LANES: u64 = 4;

/// Kills, and checks, so many times.
pub(super) fn torture(format: Format, kills: u32, wanted: &Torture) -> Outcome {
    let dir = Path::new(DIR);
    host::claim_dir(dir, MARKER, MARKER_TEXT, &[])?;
    remove_stores(dir)?;
    let exe = std::env::current_exe()
        .map_err(|error| failed("find", Path::new("this program"), error))?;
    let bar = progress::bar(kills as usize, "kills");
    let run = Run {
        dir,
        kills: kills.into(),
        time: wanted.seconds.map_or(Duration::MAX, Duration::from_secs),
        report: Mutex::new(Report::new(dir, wanted)),
        stopped: AtomicBool::new(false),
        bar: &bar,
    };
    let ended = thread::scope(|scope| {
        let lanes: Vec<_> = (0..LANES.min(kills.into()))
            .map(|lane| {
                let seed = wanted.seed.wrapping_mul(LANES).wrapping_add(lane);
                let subject = Subject::new(exe.clone(), dir.join("none"), wanted.threads, seed);
                let run = &run;
                scope.spawn(move || run.lane(lane, subject))
            })
            .collect();
        let panicked = || Err(Failure::Check("a thread of this command panicked".to_owned()));
        let ended = lanes.into_iter().map(|lane| lane.join().unwrap_or_else(|_| panicked()));
        // All are waited for; the first failure is told.
        ended.collect::<Vec<_>>().into_iter().collect::<Result<(), Failure>>()
    });
    bar.finish_and_clear();
    let report = run.report.into_inner();
    if report.is_whole() {
        ended?;
    }
    report.print(format)?;
    if !report.is_whole() {
        return Err(Failure::Violation(report.verdict()));
    }
    remove(dir)?;
    match report.too_little(kills) {
        Some(why) => Err(Failure::Check(why)),
        None => Ok(ExitCode::SUCCESS),
    }
}

/// What the lanes share.
struct Run<'a> {
    dir: &'a Path,
    kills: u64,
    time: Duration,
    report: Mutex<Report>,
    /// Set by the lane that failed.
    stopped: AtomicBool,
    bar: &'a ProgressBar,
}

impl Run<'_> {
    /// Kills on one directory after the other, until there were enough kills of all lanes.
    fn lane(&self, lane: u64, mut subject: Subject) -> Result<(), Failure> {
        let mut number = 0;
        while !self.is_over() {
            number += 1;
            subject.begin_anew(self.dir.join(format!("store-{lane}-{number}")));
            let worked = self.on_one_directory(&mut subject);
            worked.inspect_err(|_| self.stopped.store(true, Ordering::Relaxed))?;
        }
        Ok(())
    }

    fn on_one_directory(&self, subject: &mut Subject) -> Result<(), Failure> {
        self.report.lock().directories += 1;
        while !self.is_over() && subject.random.below(ANEW_ONE_IN) > 0 {
            // The process is killed at its instant in any case; here nothing else breaks.
            let life = subject.live(|| Ok(())).map_err(Failure::Check)?;
            let verify = subject.random.below(VERIFY_ONE_IN) == 0;
            self.take_in(subject, &life, verify)?;
        }
        if !self.report.lock().is_whole() {
            return Ok(());
        }
        // What the last kill left is checked too, and a store that was shut down is sound.
        let life = subject.live_in_peace().map_err(Failure::Check)?;
        self.take_in(subject, &life, true)?;
        if self.report.lock().is_whole() {
            remove(&subject.dir)?;
        }
        Ok(())
    }

    fn is_over(&self) -> bool {
        let report = self.report.lock();
        let is_over = report.kills() >= self.kills || report.began.elapsed() >= self.time;
        is_over || !report.is_whole() || self.stopped.load(Ordering::Relaxed)
    }

    /// A disk that is full or fails is no broken promise, but ends the run.
    fn take_in(&self, subject: &Subject, life: &Life, verify: bool) -> Result<(), Failure> {
        let mut problems: Vec<String> =
            life.problems.iter().chain(&life.seen.problems).cloned().collect();
        match &life.failure {
            Some(why) if why.starts_with("io ") || why.starts_with("disk_full ") => {
                return Err(Failure::Check(format!("the working process failed: {why}")));
            }
            Some(why) => problems.push(format!("the working process failed: {why}")),
            None => {}
        }
        if verify && problems.is_empty() {
            problems.extend(report::verify(&subject.dir));
        }
        let mut report = self.report.lock();
        report.add(life);
        report.verified += u64::from(verify);
        report.violated(&subject.dir, &problems);
        self.bar.set_position(report.kills());
        self.bar.set_message(report.progress());
        Ok(())
    }
}

/// Removes what an earlier run left.
fn remove_stores(dir: &Path) -> Result<(), Failure> {
    for entry in fs::read_dir(dir).map_err(|error| failed("list", dir, error))? {
        let entry = entry.map_err(|error| failed("list", dir, error))?;
        if entry.file_name().to_string_lossy().starts_with("store-") {
            remove(&entry.path())?;
        }
    }
    Ok(())
}

fn remove(dir: &Path) -> Result<(), Failure> {
    fs::remove_dir_all(dir).map_err(|error| failed("remove", dir, error))
}

fn failed(action: &'static str, path: &Path, error: io::Error) -> Failure {
    Failure::Store(Error::io(action, path.display().to_string(), error))
}
