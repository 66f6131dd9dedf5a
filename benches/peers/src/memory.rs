//! P10: the memory of a process that has a store and nothing else: after putting its documents, and after
//! opening them from what a clean shutdown left.

use walden::Result;

use crate::child::{self, Act, Told};
use crate::load::float;
use crate::report::{Report, Table, Target};
use crate::session::Session;

const FREE_BYTES: f64 = 64.0 * 1048576.0;

pub(crate) fn run(session: &Session, report: &mut Report) -> Result<()> {
    let (plan, path) = (&session.plan, session.path("held"));
    let found = session.rounds("memory", &["walden"], |_| {
        let put = child::run(plan, Act::Hold, "walden", &path)?;
        let opened = child::run(plan, Act::Open, "walden", &path)?;
        session.remove("held")?;
        Ok((put, opened))
    })?;
    let (put, opened): (Vec<Told>, Vec<Told>) = found.into_iter().flatten().unzip();
    let bytes = |told: &[Told], of: fn(&Told) -> Option<u64>| -> Vec<f64> {
        told.iter().filter_map(of).map(float).collect()
    };
    let json = bytes(&put, |told| Some(told.bytes));
    let target = Target::AtMost(1.5 * json.first().copied().unwrap_or_default() + FREE_BYTES);
    let mut table = Table::new(format!("Memory with {} documents", plan.documents()), "bytes");
    table.add("JSON", json);
    let rows = [
        ("after puts", bytes(&put, |told| told.resident), true),
        ("after puts, most", bytes(&put, |told| told.peak), false),
        ("after opening", bytes(&opened, |told| told.resident), true),
        ("after opening, most", bytes(&opened, |told| told.peak), false),
    ];
    for (name, values, is_aimed_at) in rows {
        if let Some(row) = table.add(name, values)
            && is_aimed_at
        {
            row.aim(target);
        }
    }
    report.add(table);
    Ok(())
}
