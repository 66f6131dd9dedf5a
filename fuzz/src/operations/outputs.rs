//! The model of session logs and reports: each call is durable when it returns; one that fails leaves
//! the old contents or the new ones.

use std::collections::BTreeMap;

use walden::fs::sim::SimFs;
use walden::{Error, Store};

const LOG: &str = "logs/session_s.log";
const REPORT: &str = "reports/report_r.json";

/// What each file must hold, and what it may hold besides, after a call that failed.
#[derive(Debug, Default)]
pub(super) struct Outputs {
    files: BTreeMap<&'static str, String>,
    perhaps: BTreeMap<&'static str, String>,
}

impl Outputs {
    pub(super) fn append(&mut self, store: &Store, text: &str) -> Result<(), Error> {
        let next = self.files.get(LOG).cloned().unwrap_or_default() + text;
        let done = store.append_session_log("s", text).map(drop);
        self.note(LOG, next, done)
    }

    pub(super) fn replace(&mut self, store: &Store, text: &str) -> Result<(), Error> {
        let done = store.save_session_log("s", text).map(drop);
        self.note(LOG, text.to_owned(), done)
    }

    pub(super) fn report(&mut self, store: &Store, text: &str) -> Result<(), Error> {
        let next = format!("{{\n  \"text\": \"{text}\"\n}}\n");
        let done = store.save_report_json("r", &format!("{{\"text\":\"{text}\"}}")).map(drop);
        self.note(REPORT, next, done)
    }

    fn note(
        &mut self,
        file: &'static str,
        next: String,
        done: Result<(), Error>,
    ) -> Result<(), Error> {
        let of = if done.is_ok() { &mut self.files } else { &mut self.perhaps };
        of.insert(file, next);
        done
    }

    /// Whether a call failed, and nobody has looked yet at what came of it.
    pub(super) fn is_open(&self) -> bool {
        !self.perhaps.is_empty()
    }

    /// Compares, when nothing is left to be written.
    pub(super) fn check(&mut self, disk: &SimFs) {
        for file in [LOG, REPORT] {
            let found = disk.read_now(file).map(|bytes| String::from_utf8(bytes).unwrap());
            let perhaps = self.perhaps.remove(file);
            if perhaps.is_some() && found == perhaps {
                self.files.extend(perhaps.map(|text| (file, text)));
            }
            // An append that fails may have made the file.
            let is_begun = found.as_deref() == Some("") && !self.files.contains_key(file);
            assert!(
                is_begun || found.as_ref() == self.files.get(file),
                "{file}: {found:?}: {self:?}"
            );
        }
    }
}
