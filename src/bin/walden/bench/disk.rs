//! The disk alone, by one thread: a flush, and one block written and flushed in three ways.

use std::time::Instant;

use walden::Durability;

use super::limit::{Groups, Way};
use super::load::{latencies, nanoseconds};
use super::report::{Latency, Probe};
use super::session::Session;
use super::target::{failed, texts};
use crate::failure::Failure;

const NAMES: [&str; 4] = ["flush", "growing", "prewritten", "direct"];
/// One probe is made so often at least, however slow the disk is.
const SAMPLES_MIN: u64 = 3;

/// The file that the limit of a durability is measured with, under this name.
pub(crate) fn limit_file(
    session: &Session<'_>,
    name: &str,
    durability: Durability,
) -> Result<Groups, Failure> {
    let (path, bytes) = (session.path(name), session.plan.limit_bytes);
    let made = match durability {
        Durability::Sync => Groups::prewritten(&path, bytes),
        Durability::Buffered => Groups::plain(&path, bytes, Way::Write),
    };
    made.map_err(|error| failed(error).into())
}

/// Measures each way in interleaved rounds. The last one is left out where it is refused.
pub(crate) fn measure(session: &Session<'_>) -> Result<Vec<Probe>, Failure> {
    session.step("disk: preparing")?;
    let bytes = session.plan.limit_bytes / 4;
    let record = texts(1, session.plan.base_bytes());
    let plain = |name| Groups::plain(&session.path(name), bytes, Way::Flush).map_err(failed);
    let direct = Groups::prewritten(&session.path("direct"), bytes).map_err(failed)?;
    let growing = Groups::growing(&session.path("growing")).map_err(failed)?;
    let mut files = vec![plain("flush")?, growing, plain("prewritten")?];
    files.extend((direct.way() == Way::Direct).then_some(direct));
    let mut found: Vec<_> = files.iter().map(|_| latencies()).collect();
    for round in 1..=session.plan.rounds {
        for ((file, found), name) in files.iter_mut().zip(&mut found).zip(NAMES) {
            session.step(&format!("disk: {name}, round {round} of {}", session.plan.rounds))?;
            let begun = Instant::now();
            let mut count = 0;
            while count < SAMPLES_MIN || begun.elapsed() < session.plan.probe {
                let before = Instant::now();
                let done = if name == "flush" { file.flush() } else { file.commit(&record) };
                found.saturating_record(nanoseconds(before.elapsed()).max(1));
                done.map_err(failed)?;
                count += 1;
            }
            session.passed(begun.elapsed());
        }
    }
    drop(files);
    for name in NAMES {
        session.remove(name)?;
    }
    let size = session.plan.base_bytes();
    let probes = NAMES.into_iter().zip(&found).map(|(name, found)| {
        let what = match name {
            "flush" => "fdatasync of a file with nothing to write".to_owned(),
            "growing" => format!("{size} bytes to a file that grows, and fdatasync"),
            "prewritten" => format!("{size} bytes to a prewritten file, and fdatasync"),
            _ => format!("{size} bytes to a prewritten file, aligned, O_DIRECT and O_DSYNC"),
        };
        Probe { name, what, latency: Latency::of(found) }
    });
    Ok(probes.collect())
}
