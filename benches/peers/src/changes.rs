//! P7: many threads change one field of a task, or append an entry to its log, durably.
//!
//! The limit writes records with the same bytes: the id, and the change as JSON.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use walden::{Options, Result, Store};

use crate::documents;
use crate::load::{Target as Writes, Writer};
use crate::report::{Report, Target};
use crate::session::Session;
use crate::written::{Compared, compare};

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

pub(crate) fn run(session: &Session, report: &mut Report) -> Result<()> {
    let (plan, count) = (&session.plan, session.plan.documents());
    for (what, change) in [("patch", Change::Patch), ("log entry", Change::LogEntry)] {
        session.step(&format!("{what}: a store of {count} documents"));
        let store = documents::saved(&session.path(what), Options::default(), count, plan)?;
        let ids: Vec<String> = (0..count).map(documents::id).collect();
        let record = |id: &String| Arc::from(format!("{id}{}", change.text(FIRST)).into_bytes());
        let records = ids.iter().map(record).collect();
        let compared = Compared {
            what,
            store: &store,
            writes: &Changed { store: &store, change, ids, next: AtomicU64::new(FIRST) },
            records,
            rate: Some(Target::RatioAtLeast(0.9)),
            bytes: |payload| Target::AtMost(1.5 * payload + 64.0),
        };
        compare(session, &compared, report)?;
        store.shutdown()?;
        drop(store);
        session.remove(what)?;
    }
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
