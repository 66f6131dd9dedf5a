//! P9: bytes that reach the disk for the bytes that were put: the log, the snapshots with their backups,
//! and the mirror, at default settings, by threads that put the same documents again and again.

use walden::{Options, Result, Store};

use crate::documents;
use crate::load::{Target as Writes, Writer};
use crate::report::{Report, Target};
use crate::session::Session;
use crate::written::{Compared, compare};

struct Puts<'a> {
    store: &'a Store,
    texts: &'a [String],
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
    session.step(&format!("write amplification: a store of {count} documents"));
    let store = documents::saved(&session.path("puts"), Options::default(), count, plan)?;
    let texts: Vec<String> = (0..count).map(|number| documents::text(number, plan)).collect();
    let compared = Compared {
        what: "put",
        store: &store,
        writes: &Puts { store: &store, texts: &texts },
        records: texts.iter().map(|text| text.as_bytes().into()).collect(),
        rate: None,
        bytes: |_| Target::RatioAtMost(3.0),
    };
    compare(session, &compared, report)?;
    store.shutdown()
}
