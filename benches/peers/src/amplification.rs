//! P9: bytes that reach the disk for the bytes that were put: the log, the snapshots with their backups,
//! and the mirror, at default settings, by threads that put the same documents again and again.

use std::ops::ControlFlow;
use std::sync::Arc;

use walden::{Durability, Options, Result, Store};

use crate::documents;
use crate::load::{self, Load, Target as Writes, Writer, float};
use crate::peer::Grouped;
use crate::puts::limit_file;
use crate::report::{Report, Table, Target};
use crate::session::Session;
use crate::system::{Counters, Written, write_out};

struct Puts<'a> {
    store: &'a Store,
    texts: Vec<String>,
}

impl Writes for Puts<'_> {
    fn writer(&self, _: bool) -> Writer<'_> {
        Box::new(|number| {
            let text = self.texts.get(number).map_or("", String::as_str);
            self.store.save_task_json(text).map(drop)
        })
    }
}

pub(crate) fn run(session: &Session, report: &mut Report) -> Result<()> {
    let (plan, count) = (&session.plan, session.plan.documents());
    let counters = Counters::of(session.dir());
    report.note(counters.note());
    session.step(&format!("write amplification: a store of {count} documents"));
    let options = Options { durability: Durability::Sync, ..Options::default() };
    let store = documents::saved(&session.path("amplified"), options, count, plan)?;
    let texts: Vec<String> = (0..count).map(|number| documents::text(number, plan)).collect();
    let payload = float(texts.iter().map(|text| text.len() as u64).sum()) / float(count as u64);
    let records = texts.iter().map(|text| Arc::from(text.as_bytes())).collect();
    let limit = Grouped::limit(limit_file(session, "limit", true, report)?, records);
    let puts = Puts { store: &store, texts };
    let load = Load { threads: plan.threads(), time: plan.turn, documents: count };
    let names = ["limit", "walden"];
    let found = session.rounds("write amplification", &names, |at| {
        store.checkpoint()?;
        write_out(session.dir())?;
        let contender: &dyn Writes = if at == 0 { &limit } else { &puts };
        let (before, logged) = (counters.read(), store.commit_stats().bytes);
        let turn = load::run(contender, load, &mut |_| ControlFlow::Continue(()))?;
        let log = store.commit_stats().bytes.saturating_sub(logged);
        write_out(session.dir())?;
        Ok((turn, counters.read().since(before), log))
    })?;
    let mut rates = Table::new(format!("Puts, {} threads", plan.threads()), "puts/s");
    let mut bytes = Table::new("Bytes written for one put", "bytes");
    bytes.add("payload", vec![payload; plan.rounds]);
    for (name, found) in names.into_iter().zip(&found) {
        rates.add(name, found.iter().map(|(turn, ..)| turn.per_second()).collect());
        let kinds: [(&str, fn(&Written) -> Option<u64>); 2] =
            [("device", |written| written.device), ("own", |written| written.own)];
        for (kind, of) in kinds {
            let each = found.iter().filter_map(|(turn, written, _)| {
                Some(float(of(written)?) / float(turn.writes.max(1)))
            });
            let row = bytes.add(format!("{name}, {kind}"), each.collect());
            if let Some(row) = row.filter(|_| name == "walden") {
                row.aim(Target::RatioAtMost(3.0));
            }
        }
        if name == "walden" {
            let each = found.iter().map(|(turn, _, log)| float(*log) / float(turn.writes.max(1)));
            bytes.add("walden, log", each.collect());
        }
    }
    report.add(rates);
    report.add(bytes);
    store.shutdown()
}
