//! P6: reading documents by their ids, and listing those of a status.
//!
//! The limit of the one is a `HashMap` behind a lock. The other is held against itself: of a result of ten
//! documents, the time should not depend on how many others there are.

use std::collections::HashMap;
use std::hint::black_box;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;
use walden::{Collection, Error, Result, Store};

use crate::documents;
use crate::load::{self, Load, Target as Reads, Writer, float};
use crate::report::{Report, Table, Target};
use crate::session::Session;

/// Documents that are read between two looks at the clock, which would count for much otherwise.
const BATCH: usize = 64;
/// How many documents have the status that is listed.
const LISTED: usize = 10;
const STATUS: &str = "failed";
/// Listings of one turn; the shortest counts, since nothing but other work makes it longer.
const LISTINGS: usize = 5;

type Map = Mutex<HashMap<String, Arc<str>>>;

struct ById<F> {
    ids: Vec<String>,
    get: F,
}

impl<F: Fn(&str) -> Option<Arc<str>> + Sync> Reads for ById<F> {
    fn writer(&self, _: bool) -> Writer<'_> {
        Box::new(|number| {
            for at in 0..BATCH {
                let id = self.ids.get((number + at * 7919) % self.ids.len()).map(String::as_str);
                let text = id.and_then(&self.get);
                let text = text.ok_or_else(|| Error::not_found("a document"))?;
                black_box(text.as_bytes().last());
            }
            Ok(())
        })
    }
}

pub(crate) fn run(session: &Session, report: &mut Report) -> Result<()> {
    let plan = &session.plan;
    let [few, many] = [plan.documents(), plan.documents() * 10];
    let (small, large) = (store(session, "small", few)?, store(session, "large", many)?);
    report.note(format!("{many} documents by id; {BATCH} reads between two looks at the clock"));
    by_id(session, &large, many, report)?;
    let names = [format!("{LISTED} of {few}"), format!("{LISTED} of {many}")];
    let found = session.rounds("list by status", &names, |at| {
        let store = if at == 0 { &small } else { &large };
        let times = (0..LISTINGS).map(|_| listing(store)).collect::<Result<Vec<_>>>()?;
        Ok(times.into_iter().fold(f64::MAX, f64::min) * 1e6)
    })?;
    let mut table = Table::new("Listing the documents of a status", "us");
    for (at, (name, us)) in names.into_iter().zip(found).enumerate() {
        if let Some(row) = table.add(name, us)
            && at == 1
        {
            row.aim(Target::RatioAtMost(1.5));
        }
    }
    report.add(table);
    documents::abandon(small);
    documents::abandon(large);
    Ok(())
}

fn by_id(session: &Session, store: &Store, count: usize, report: &mut Report) -> Result<()> {
    let plan = &session.plan;
    let ids = || (0..count).map(documents::id).collect::<Vec<_>>();
    let map: Map = Mutex::new(
        (0..count).map(|n| (documents::id(n), Arc::from(documents::text(n, plan)))).collect(),
    );
    let limit = ById { ids: ids(), get: |id: &str| map.lock().get(id).cloned() };
    let walden = ById { ids: ids(), get: |id: &str| store.task_json(id) };
    let contenders: [(&str, &dyn Reads); 2] =
        [("HashMap behind a lock", &limit), ("walden", &walden)];
    let names = contenders.map(|(name, _)| name);
    for threads in plan.threads.iter().copied() {
        let load = Load { threads, time: plan.turn, documents: count };
        let what = format!("Reading by id, {threads} threads");
        let found = session.rounds(&what, &names, |at| {
            let (_, contender) = contenders.get(at).expect("a place of one of them");
            let turn = load::run(*contender, load, &mut |_| ControlFlow::Continue(()))?;
            Ok(turn.per_second() * float(BATCH as u64))
        })?;
        let mut table = Table::new(what, "reads/s");
        table.threads = Some(threads);
        for (name, rates) in names.into_iter().zip(found) {
            if let Some(row) = table.add(name, rates)
                && name == "walden"
            {
                row.aim(Target::RatioAtLeast(1.0));
            }
        }
        report.add(table);
    }
    Ok(())
}

/// A store of which ten documents, spread over all, have the status that is listed.
fn store(session: &Session, name: &str, count: usize) -> Result<Store> {
    session.step(&format!("reads: a store of {count} documents"));
    let store = Store::builder(session.path(name)).options(documents::quiet()).open()?;
    let every = (count / LISTED).max(1);
    let texts = (0..count).map(|number| {
        let is_listed = number % every == 0 && number / every < LISTED;
        let status = if is_listed { STATUS } else { "pending" };
        documents::with_status(number, status, &session.plan)
    });
    documents::fill(&store, texts)?;
    Ok(store)
}

/// Seconds that one listing takes.
fn listing(store: &Store) -> Result<f64> {
    let begun = Instant::now();
    let found = store.docs_with_status(Collection::Task, STATUS).len();
    let took = begun.elapsed().as_secs_f64();
    if found == LISTED {
        Ok(took)
    } else {
        Err(Error::not_found(format!("{LISTED} documents, but {found}")))
    }
}
