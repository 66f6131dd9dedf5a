//! A store and the limit in turns, and the bytes that each write of theirs made the disk take.
//!
//! Both begin with everything saved and written out, and the bytes are counted once everything of the turn
//! is written out, so that what the system holds back is counted too. What a store saves later is not.

use std::ops::ControlFlow;
use std::sync::Arc;

use walden::{Result, Store};

use crate::load::{self, Load, Target as Writes, Turn, float};
use crate::peer::Grouped;
use crate::puts::limit_file;
use crate::report::{Report, Table, Target};
use crate::session::Session;
use crate::system::{Counters, Written, write_out};

/// What is compared.
pub(crate) struct Compared<'a> {
    /// One write, in a word or two.
    pub(crate) what: &'static str,
    pub(crate) store: &'a Store,
    /// Writes to the store.
    pub(crate) writes: &'a dyn Writes,
    /// What the limit writes: as many bytes as the store is given.
    pub(crate) records: Arc<[Arc<[u8]>]>,
    pub(crate) rate: Option<Target>,
    /// Gets the bytes of the payload.
    pub(crate) bytes: fn(f64) -> Target,
}

struct Found {
    turn: Turn,
    written: Written,
    log: u64,
}

impl Found {
    fn each(&self, bytes: u64) -> f64 {
        float(bytes) / float(self.turn.writes.max(1))
    }
}

pub(crate) fn compare(session: &Session, of: &Compared<'_>, report: &mut Report) -> Result<()> {
    let (plan, threads) = (&session.plan, session.plan.threads());
    let counters = Counters::of(session.dir());
    report.note(counters.note());
    let bytes: u64 = of.records.iter().map(|record| record.len() as u64).sum();
    let payload = float(bytes) / float(of.records.len().max(1) as u64);
    let file = limit_file(session, &format!("limit of {}", of.what), true, report)?;
    let limit = Grouped::limit(file, of.records.clone());
    let load = Load { threads, time: plan.turn, documents: of.records.len() };
    let names = ["limit", "walden"];
    let found = session.rounds(&format!("{}, {threads} threads", of.what), &names, |at| {
        of.store.checkpoint()?;
        write_out(session.dir())?;
        let writes: &dyn Writes = if at == 0 { &limit } else { of.writes };
        let (before, logged) = (counters.read(), of.store.commit_stats().bytes);
        let turn = load::run(writes, load, &mut |_| ControlFlow::Continue(()))?;
        let log = of.store.commit_stats().bytes.saturating_sub(logged);
        write_out(session.dir())?;
        Ok(Found { turn, written: counters.read().since(before), log })
    })?;
    let mut rates = Table::new(format!("{}, {threads} threads", of.what), "writes/s");
    let mut bytes = Table::new(format!("Bytes written for one {}", of.what), "bytes");
    bytes.add("payload", vec![payload; plan.rounds]);
    for (name, found) in names.into_iter().zip(&found) {
        let is_walden = name == "walden";
        let row = rates.add(name, found.iter().map(|found| found.turn.per_second()).collect());
        if let Some((row, target)) = row.filter(|_| is_walden).zip(of.rate) {
            row.aim(target);
        }
        let device = found.iter().filter_map(|of| Some(of.each(of.written.device?)));
        let own = found.iter().filter_map(|of| Some(of.each(of.written.own?)));
        for (kind, each) in [("device", device.collect()), ("own", own.collect())] {
            let row = bytes.add(format!("{name}, {kind}"), each);
            if let Some(row) = row.filter(|_| is_walden) {
                row.aim((of.bytes)(payload));
            }
        }
        if is_walden {
            bytes.add("walden, log", found.iter().map(|of| of.each(of.log)).collect());
        }
    }
    report.add(rates);
    report.add(bytes);
    Ok(())
}
