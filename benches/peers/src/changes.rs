//! P7: many threads change one field of a task, or append an entry to its log, durably.
//!
//! The limit writes records with the same bytes: the id, and the change as JSON. Bytes that were written
//! are those until everything is out of the system's memory, mirror and checkpoints of the store included.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use walden::{Options, Result, Store};

use crate::documents;
use crate::load::{self, Load, Target as Writes, Writer, float};
use crate::peer::{Contender, Grouped};
use crate::puts::limit_file;
use crate::report::{Report, Table, Target};
use crate::session::Session;
use crate::system::{Counters, write_out};

/// Numbers in the changes begin here, so that all have as many digits.
const FIRST: u64 = 1_000_000_000;
const ENTRY_BYTES: usize = 100;

#[derive(Clone, Copy)]
enum Change {
    Patch,
    LogEntry,
}

impl Change {
    fn text(self, number: u64) -> String {
        match self {
            Change::Patch => format!(r#"{{"attempt":{number}}}"#),
            Change::LogEntry => {
                let head = r#"{"timestamp":"2026-01-01T00:00:00Z","level":"info","message":"step "#;
                let text = format!("{head}{number}");
                format!("{text:.<width$}\"}}", width = ENTRY_BYTES - 2)
            }
        }
    }
}

struct Changed<'a> {
    store: &'a Store,
    change: Change,
    ids: Vec<String>,
    next: AtomicU64,
}

impl Writes for Changed<'_> {
    fn writer(&self, _: bool) -> Writer<'_> {
        Box::new(|number| {
            let id = self.ids.get(number).map_or("", String::as_str);
            let text = self.change.text(self.next.fetch_add(1, Ordering::Relaxed));
            match self.change {
                Change::Patch => self.store.patch_task_json(id, &text).map(drop),
                Change::LogEntry => self.store.append_task_log_json(id, &text).map(drop),
            }
        })
    }
}

/// What one turn found; bytes are those of one change.
struct Found {
    rate: f64,
    device: Option<f64>,
    own: Option<f64>,
    log: Option<f64>,
}

pub(crate) fn run(session: &Session, report: &mut Report) -> Result<()> {
    let counters = Counters::of(session.dir());
    report.note(counters.note());
    let count = session.plan.documents();
    for (name, change) in [("patch", Change::Patch), ("log entry", Change::LogEntry)] {
        session.step(&format!("{name}: a store of {count} documents"));
        let store =
            documents::saved(&session.path("changes"), Options::default(), count, &session.plan)?;
        measure(session, name, change, &store, &counters, report)?;
        store.shutdown()?;
        session.remove("changes")?;
    }
    Ok(())
}

fn measure(
    session: &Session,
    name: &str,
    change: Change,
    store: &Store,
    counters: &Counters,
    report: &mut Report,
) -> Result<()> {
    let (plan, threads) = (&session.plan, session.plan.threads());
    let ids: Vec<String> = (0..plan.documents()).map(documents::id).collect();
    let record = |id: &String| Arc::from(format!("{id}{}", change.text(FIRST)).into_bytes());
    let records: Arc<[Arc<[u8]>]> = ids.iter().map(record).collect();
    let payload = records.first().map_or(0, |record| record.len());
    let limit = Grouped::limit(limit_file(session, name, true, report)?, records);
    let changed = Changed { store, change, ids, next: AtomicU64::new(FIRST) };
    let load = Load { threads, time: plan.turn, documents: plan.documents() };
    let names = ["limit", "walden"];
    let found = session.rounds(&format!("{name}, {threads} threads"), &names, |at| {
        let contender: &dyn Writes = if at == 0 { &limit } else { &changed };
        limit.settle()?;
        store.checkpoint()?;
        write_out(session.dir())?;
        let (before, logged) = (counters.read(), store.commit_stats().bytes);
        let turn = load::run(contender, load, &mut |_| ControlFlow::Continue(()))?;
        let log = (at == 1).then(|| store.commit_stats().bytes.saturating_sub(logged));
        write_out(session.dir())?;
        let written = counters.read().since(before);
        let each = |bytes: Option<u64>| Some(float(bytes?) / float(turn.writes.max(1)));
        let rate = turn.per_second();
        Ok(Found { rate, device: each(written.device), own: each(written.own), log: each(log) })
    })?;
    let mut rates = Table::new(format!("One {name}, {threads} threads"), "changes/s");
    let mut bytes = Table::new(format!("Bytes written for one {name}"), "bytes");
    let payload = float(payload as u64);
    bytes.add("payload", vec![payload; plan.rounds]);
    let most = Target::AtMost(1.5 * payload + 64.0);
    for (name, found) in names.into_iter().zip(&found) {
        let row = rates.add(name, found.iter().map(|found| found.rate).collect());
        if let Some(row) = row.filter(|_| name == "walden") {
            row.aim(Target::RatioAtLeast(0.9));
        }
        let kinds: [(&str, fn(&Found) -> Option<f64>); 3] = [
            ("device", |found| found.device),
            ("own", |found| found.own),
            ("log", |found| found.log),
        ];
        for (kind, of) in kinds {
            let row = bytes.add(format!("{name}, {kind}"), found.iter().filter_map(of).collect());
            if let Some(row) = row.filter(|_| name == "walden" && kind != "log") {
                row.aim(most);
            }
        }
    }
    report.add(rates);
    report.add(bytes);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_of_a_kind_have_the_same_bytes_and_are_json() {
        for (change, bytes) in [(Change::Patch, 22), (Change::LogEntry, ENTRY_BYTES)] {
            for number in [FIRST, FIRST * 9] {
                let text = change.text(number);
                assert_eq!(text.len(), bytes, "{text}");
                serde_json::from_str::<serde_json::Value>(&text).unwrap();
            }
        }
    }
}
