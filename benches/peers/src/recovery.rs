//! P4: opening after a kill, by how long it takes and how much memory it needs.
//!
//! Each contender is filled by a process that ends without closing anything; every round opens a copy of
//! what that left, in a process of its own. The limit reads the very files of the store's log, on one core,
//! and makes their crc32. All of it comes from memory where the system has kept it there.

use std::path::Path;
use std::{fs, io};

use walden::files::names::WAL;
use walden::{Error, Result};

use crate::child::{self, Act, Told};
use crate::load::float;
use crate::peer::failed;
use crate::peers::ALL;
use crate::report::{Report, Table, Target};
use crate::session::Session;

const LIMIT: &str = "read and crc32, one core";
const STORE: &str = "walden";
const TO_READ: &str = "walden, to read";

pub(crate) fn run(session: &Session, report: &mut Report) -> Result<()> {
    let plan = &session.plan;
    let mut names = vec![LIMIT];
    let mut live = 0;
    // The limit reads the store's own log, so the store is always there.
    let wants = |name| name == STORE || plan.wants(name);
    for entry in ALL.iter().filter(|entry| entry.recovers && wants(entry.name)) {
        session.step(&format!("{} puts {} records", entry.name, plan.records));
        let told = child::run(plan, Act::FillLog, entry.name, &session.path(entry.name))?;
        live = told.bytes * plan.documents().min(plan.records) as u64 / plan.records as u64;
        names.push(entry.name);
        if entry.name == STORE {
            names.push(TO_READ);
        }
    }
    let found = session.rounds("recovery", &names, |at| {
        let name = names.get(at).copied().expect("a place of one of them");
        if name == LIMIT {
            return child::run(plan, Act::Read, name, &session.path(STORE).join(WAL));
        }
        let copy = session.path("copy");
        let (act, from) =
            if name == TO_READ { (Act::OpenToRead, STORE) } else { (Act::Open, name) };
        copy_dir(&session.path(from), &copy).map_err(|error| failed("the copy", error))?;
        let told = child::run(plan, act, from, &copy)?;
        session.remove("copy")?;
        match told.replayed {
            Some(replayed) if replayed != plan.records as u64 => {
                let why = format!("{} records were put, {replayed} were found", plan.records);
                Err(Error::invalid(name, why))
            }
            _ => Ok(told),
        }
    })?;
    let log_bytes = found.first().and_then(|all| all.first()).map_or(0, |told| told.bytes);
    report.note(format!("{} records, {log_bytes} bytes of log", plan.records));
    let mut time = Table::new("Opening after a kill", "ms");
    let mut memory = Table::new("Most memory while opening", "bytes");
    memory.add("live data", vec![float(live); plan.rounds]);
    for (name, told) in names.iter().zip(&found) {
        let target = *name == STORE;
        if let Some(row) = time.add(*name, told.iter().map(|told| told.seconds * 1e3).collect())
            && target
        {
            row.aim(Target::RatioAtMost(1.0));
        }
        if let Some(row) = memory.add(*name, all(told, |told| told.peak))
            && target
        {
            row.aim(Target::RatioAtMost(1.3));
        }
    }
    report.add(time);
    report.add(memory);
    Ok(())
}

/// The figures of all rounds; none if the system does not tell them.
fn all(told: &[Told], of: impl Fn(&Told) -> Option<u64>) -> Vec<f64> {
    told.iter().filter_map(of).map(float).collect()
}

fn copy_dir(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_dir(&entry.path(), &to)?;
        } else {
            fs::copy(entry.path(), &to)?;
        }
    }
    Ok(())
}
