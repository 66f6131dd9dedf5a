//! P1 to P3: puts by threads, the limit and all engines in the same rounds. In P1 also Walden whose callers do
//! not wait for each put.

use std::ops::ControlFlow;
use std::sync::Arc;

use walden::{Error, Result};

use crate::ahead;
use crate::documents;
use crate::limit::{Groups, Way};
use crate::load::{self, Load, Turn, float};
use crate::peer::{Alone, Contender, Grouped, failed, grouped};
use crate::peers::ALL;
use crate::report::{Report, Table, Target};
use crate::session::Session;

const LIMIT_BYTES: usize = 256 << 20;
const LIMIT: &str = "limit";

/// Measures durable puts, or buffered ones.
pub(crate) fn run(session: &Session, durable: bool, report: &mut Report) -> Result<()> {
    let contenders = contenders(session, durable, report)?;
    let names: Vec<&str> = contenders.iter().map(|(name, _)| name.as_str()).collect();
    for threads in session.plan.threads.iter().copied() {
        let load = Load { threads, time: session.plan.turn, documents: session.plan.documents() };
        let what = format!("{threads} threads");
        let turns = session.rounds(&what, &names, |at| {
            let (_, contender) = contenders.get(at).expect("a place of one of them");
            contender.settle()?;
            load::run(&**contender, load, &mut |_| ControlFlow::Continue(()))
        })?;
        let mut table = Table::new(what, "puts/s");
        table.threads = Some(threads);
        for ((name, contender), turns) in contenders.iter().zip(turns) {
            let rates = turns.iter().map(Turn::per_second).collect();
            let Some(row) = table.add(name, rates) else { continue };
            if !contender.waits() {
                // More than who waits for each can have.
                row.aim(Target::RatioAtLeast(1.0));
                continue;
            }
            let us = |quantile: f64| {
                turns.iter().map(move |turn| float(turn.latency.value_at_quantile(quantile)) / 1e3)
            };
            row.also("p50 us", us(0.5));
            row.also("p99 us", us(0.99));
            if name == "walden" && durable {
                row.aim(Target::RatioAtLeast(if threads > 64 { 0.8 } else { 0.9 }));
            }
        }
        report.add(table);
    }
    Ok(())
}

/// The file that the limit writes to.
pub(crate) fn limit_file(
    session: &Session,
    name: &str,
    durable: bool,
    report: &mut Report,
) -> Result<Groups> {
    let path = session.path(name);
    let groups = if durable {
        Groups::prewritten(&path, LIMIT_BYTES)
    } else {
        Groups::plain(&path, LIMIT_BYTES, Way::Write)
    };
    let groups = groups.map_err(|error| failed(LIMIT, error))?;
    let way = match groups.way() {
        Way::Direct => "limit: aligned O_DIRECT and O_DSYNC",
        Way::Flush => "limit: write and fdatasync, since direct writes are refused here",
        Way::Write => "limit: write",
    };
    report.note(way);
    Ok(groups)
}

type Named = (String, Box<dyn Contender>);

fn contenders(session: &Session, durable: bool, report: &mut Report) -> Result<Vec<Named>> {
    let plan = &session.plan;
    let documents: Arc<[Arc<[u8]>]> = (0..plan.documents())
        .map(|number| Arc::from(documents::text(number, plan).into_bytes()))
        .collect();
    let groups = limit_file(session, LIMIT, durable, report)?;
    let front = Grouped::limit(groups, documents.clone());
    let mut all: Vec<Named> = vec![(LIMIT.to_owned(), Box::new(front))];
    for entry in ALL.iter().filter(|entry| plan.wants(entry.name)) {
        let open = |name: &str| (entry.open)(&session.path(name), durable);
        match open(entry.name) {
            Ok(peer) => {
                let alone = Alone { peer, documents: documents.clone() };
                all.push((entry.name.to_owned(), Box::new(alone)));
            }
            Err(Error::Unsupported { what, why }) => {
                report.note(format!("{what} is left out: {why}"));
                continue;
            }
            Err(error) => return Err(error),
        }
        if entry.is_grouped_too && durable {
            let name = format!("{} + group commit", entry.name);
            let peer = open(&format!("{}-grouped", entry.name))?;
            all.push((name, Box::new(grouped(peer, documents.clone()))));
        }
    }
    if plan.workload == "p1" && plan.wants("walden") {
        all.extend(ahead::contenders(session, &documents)?);
    }
    Ok(all)
}
