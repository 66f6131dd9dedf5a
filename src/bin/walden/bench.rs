//! `bench`: measures this disk, and the engine on it, for people who tune.
//!
//! It works in a directory of its own, which it removes. Only the public interface of the crate is
//! measured; what is measured against, the limit, is in one place, which the crate's own benchmarks use
//! too.

mod advice;
pub(crate) mod args;
mod chart;
mod disk;
mod limit;
mod load;
mod page;
mod plots;
mod recovery;
mod report;
mod session;
mod summary;
mod target;
mod throughput;
mod tuning;
mod watched;

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use indicatif::HumanBytes;
use walden::Error;
use walden::fs::Fs;
use walden::fs::real::RealFs;

use crate::args::Format;
use crate::failure::{Failure, Outcome};
use crate::machine::{self, Machine};
use crate::{host, output};
use args::{Bench, Plan};
use report::{Planned, Report};
use session::Session;
use target::Setup;

/// Measures, and tells what was found.
pub(crate) fn bench(format: Format, dir: Option<PathBuf>, wanted: &Bench) -> Outcome {
    let plan = Plan::of(wanted)?;
    let dir = dir.unwrap_or_else(|| PathBuf::from("."));
    let of_page = wanted.html.as_deref().map(|file| match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    });
    for needed in [Some(dir.as_path()), of_page].into_iter().flatten() {
        if !needed.is_dir() {
            return Err(Error::not_found(format!("the directory {}", needed.display())).into());
        }
    }
    let session = Session::begin(&plan, &dir)?;
    let measured = measure(&session, &dir);
    // The first failure is told; the directory is removed in any case.
    let (report, ended) = (measured?, session.end());
    ended?;
    if let Some(file) = &wanted.html {
        host::replace(file, |out| out.write_all(page::page(&report).as_bytes()))?;
    }
    match format {
        Format::Json => output::json_line(&report)?,
        Format::Human => {
            summary::print(&report)?;
            if let Some(file) = &wanted.html {
                output::line(&format!("The page: {}", file.display()))?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn measure(session: &Session<'_>, dir: &Path) -> Result<Report, Failure> {
    let plan = session.plan;
    let machine = machine::look_at(dir);
    let free_bytes = check_room(session, &machine)?;
    let first = |what: &str| Failure::Usage(format!("{what} needs a value"));
    let base = Setup {
        durability: plan.durabilities.first().copied().ok_or_else(|| first("--durability"))?,
        value_bytes: plan.base_bytes(),
        segment_bytes: plan
            .segment_bytes
            .first()
            .copied()
            .ok_or_else(|| first("--segment-bytes"))?,
        interval: plan.intervals.first().copied().ok_or_else(|| first("--checkpoint-interval"))?,
    };
    let disk = disk::measure(session)?;
    let limit = if disk.iter().any(|probe| probe.name == "direct") { "direct" } else { "flush" };
    let mut throughput = Vec::new();
    for durability in &plan.durabilities {
        throughput.extend(throughput::measure(session, base, *durability)?);
    }
    let mut report = Report {
        version: env!("CARGO_PKG_VERSION"),
        dir: dir.display().to_string(),
        machine,
        free_bytes,
        plan: Planned {
            quick: plan.quick,
            rounds: plan.rounds,
            turn_ms: plan.turn.as_secs_f64() * 1e3,
            value_bytes: base.value_bytes,
            documents: plan.documents(base.value_bytes),
            limit,
        },
        disk,
        throughput,
        tuning: tuning::measure(session, base)?,
        recovery: recovery::measure(session, base)?,
        checkpoints: watched::measure(session, base)?,
        seconds: 0.0,
        notes: Vec::new(),
        recommendation: Vec::new(),
    };
    report.seconds = session.elapsed().as_secs_f64();
    report.notes = advice::notes(&report);
    report.recommendation = advice::recommend(&report);
    Ok(report)
}

/// Refuses a disk that the measurements would fill, and documents that would fill the memory.
fn check_room(session: &Session<'_>, machine: &Machine) -> Result<u64, Failure> {
    let plan = session.plan;
    let (memory, documents) = (machine.memory_bytes, plan.memory_needed());
    if memory.is_some_and(|memory| memory < documents) {
        let why = format!(
            "--documents of --value-bytes would take {} of memory; lower one of them",
            HumanBytes(documents)
        );
        return Err(Failure::Usage(why));
    }
    let dir = session.path("");
    let failed = |error| Error::io("measure in", dir.display().to_string(), error);
    let free = RealFs::open(&dir).and_then(|fs| fs.space()).map_err(failed)?.free_bytes;
    let needed = plan.bytes_needed();
    if free < needed {
        let why = format!("{} are free, up to {} are needed", HumanBytes(free), HumanBytes(needed));
        return Err(failed(io::Error::new(io::ErrorKind::StorageFull, why)).into());
    }
    Ok(free)
}
