//! `torture --kill`: kills on the user's own disk, each at another instant, most of them on a directory
//! that was killed before.
//!
//! It ends at the first broken promise, and leaves the directory for whoever wants to know; else it
//! removes what it made.

use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use super::child::{Life, Subject};
use super::report::Report;
use crate::args::{Format, Torture};
use crate::failure::{Failure, Outcome};
use crate::host;
use crate::progress;
use walden::Error;

const DIR: &str = "walden-torture";
const MARKER: &str = "README.txt";
const MARKER_TEXT: &str = "\
This directory was made by `walden torture`, which removes it unless a promise was broken.

store-*/   what was left when the last process was killed
";
/// One of so many kills is followed by a new directory: `quarantine/` grows with every torn end.
const ANEW_ONE_IN: u64 = 40;
/// One of so many is followed by a verification of every byte.
const VERIFY_ONE_IN: u64 = 4;

/// Kills, and checks, so many times.
pub(super) fn torture(format: Format, kills: u32, wanted: &Torture) -> Outcome {
    let dir = Path::new(DIR);
    let store = |number: u64| dir.join(format!("store-{number}"));
    host::claim_dir(dir, MARKER, MARKER_TEXT, &[])?;
    remove_stores(dir)?;
    let exe = std::env::current_exe().map_err(Failure::Output)?;
    let mut subject = Subject::new(exe, store(1), wanted.threads, wanted.seed);
    let mut report = Report::new(dir, wanted);
    let bar = progress::bar(kills as usize, "kills");
    let began = Instant::now();
    let time = wanted.seconds.map_or(Duration::MAX, Duration::from_secs);
    report.directories = 1;
    while report.kills() < u64::from(kills) && began.elapsed() < time && report.is_whole() {
        let life = subject.live(|| Ok(())).map_err(Failure::Check)?;
        let anew = subject.random.below(ANEW_ONE_IN) == 0;
        take_in(&mut report, &life)?;
        if report.is_whole() && (anew || subject.random.below(VERIFY_ONE_IN) == 0) {
            report.verify(&subject.dir);
        }
        if report.is_whole() && anew {
            end(&mut report, &mut subject)?;
            if report.is_whole() {
                fs::remove_dir_all(&subject.dir).map_err(Failure::Output)?;
                report.directories += 1;
                subject.begin_anew(store(report.directories));
            }
        }
        report.seconds = began.elapsed().as_secs_f64();
        bar.set_position(report.kills());
        bar.set_message(report.progress());
    }
    if report.is_whole() {
        end(&mut report, &mut subject)?;
    }
    bar.finish_and_clear();
    report.seconds = began.elapsed().as_secs_f64();
    report.print(format)?;
    if !report.is_whole() {
        return Err(Failure::Violation(report.verdict(&subject.dir)));
    }
    fs::remove_dir_all(dir).map_err(Failure::Output)?;
    match report.too_little(kills) {
        Some(why) => Err(Failure::Check(why)),
        None => Ok(ExitCode::SUCCESS),
    }
}

/// Checks what the last kill left, and that a store which was shut down is sound.
fn end(report: &mut Report, subject: &mut Subject) -> Result<(), Failure> {
    let life = subject.live_in_peace().map_err(Failure::Check)?;
    take_in(report, &life)?;
    report.verify(&subject.dir);
    Ok(())
}

/// A disk that is full or fails is no broken promise, but ends the run.
fn take_in(report: &mut Report, life: &Life) -> Result<(), Failure> {
    report.add(life);
    match &life.failure {
        Some(why) if why.starts_with("io ") || why.starts_with("disk_full ") => {
            Err(Failure::Check(format!("the working process failed: {why}")))
        }
        Some(why) => {
            report.violations.push(format!("the working process failed: {why}"));
            Ok(())
        }
        None => Ok(()),
    }
}

/// Removes what an earlier run left.
fn remove_stores(dir: &Path) -> Result<(), Failure> {
    let failed = |error| Failure::Store(Error::io("remove", dir.display().to_string(), error));
    for entry in fs::read_dir(dir).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if entry.file_name().to_string_lossy().starts_with("store-") {
            fs::remove_dir_all(entry.path()).map_err(failed)?;
        }
    }
    Ok(())
}
