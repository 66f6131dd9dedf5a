//! A directory of arbitrary files: whatever lies under whichever name, reading changes nothing and
//! agrees with opening, opening gives a store or refuses without changing a byte, the store keeps what
//! is written to it, and all of it asks the disk for little.
//!
//! The first byte chooses a directory to begin with, the rest what is done to it, one file at a time
//! (`damage`). Where files were only damaged, no checksum was made right and no mirror file was
//! touched, every document found must be one that was saved.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use walden::fs::sim::{CrashMode, SimFs};
use walden::fs::{Fs, Kind};
use walden::testing::{Documents, SteppedClock, builder, documents};
use walden::{Builder, Error, Store};

use super::input::Input;
use super::reseal;
use damage::Damaged;
use reference::REFERENCES;

mod damage;
mod reference;

/// Changes of one input.
const CHANGES_MAX: usize = 12;
/// Calls for one opening: a reference store takes some hundred.
const CALLS_MAX: u64 = 6000;

/// Runs one input.
pub fn run(data: &[u8]) {
    let mut input = Input(data);
    let choice = usize::from(input.u8());
    let reference = &REFERENCES[choice % REFERENCES.len()];
    let disk = reference.disk.if_killed();
    let mut damaged = Damaged::new(&disk);
    for _ in 0..CHANGES_MAX {
        if input.is_empty() {
            break;
        }
        damaged.change(&mut input, reference);
    }
    // A verification takes as long as all the rest.
    let verifies = (choice / REFERENCES.len()).is_multiple_of(4);
    let case = Case { disk: &disk, damaged: &damaged, verifies };
    let Some(found) = case.open() else { return };
    if damaged.is_only_damage && !reference.versions.is_empty() {
        for (name, document) in &found {
            let known = reference.versions.get(name).is_some_and(|all| all.contains(document));
            assert!(known, "{name:?} never was {document}: {:?}", damaged.files);
        }
    }
}

/// A builder with a seed of its own and a clock later than those of lower seeds.
fn at(disk: &SimFs, seed: u64) -> Builder {
    let clock = Arc::new(SteppedClock::default());
    clock.advance(Duration::from_secs(seed * 100));
    builder(Arc::new(disk.clone()), clock, seed)
}

/// All that lies in a directory: contents of files, and of everything else what it is.
fn contents(disk: &SimFs) -> BTreeMap<String, (Kind, Option<Vec<u8>>)> {
    let mut all = BTreeMap::new();
    let snapshot = disk.if_killed();
    for entry in snapshot.list("").unwrap() {
        if entry.kind == Kind::Directory {
            for below in snapshot.list(&entry.name).unwrap() {
                let path = format!("{}/{}", entry.name, below.name);
                let bytes = disk.read_now(&path);
                all.insert(path, (below.kind, bytes));
            }
        }
        let bytes = disk.read_now(&entry.name);
        all.insert(entry.name, (entry.kind, bytes));
    }
    all
}

struct Case<'a> {
    disk: &'a SimFs,
    damaged: &'a Damaged<'a>,
    /// Whether it is verified, too.
    verifies: bool,
}

impl Case<'_> {
    fn what(&self) -> &Vec<String> {
        &self.damaged.files
    }

    /// Opens it in every way, and gives what was found, if it can be opened.
    fn open(&self) -> Option<Documents> {
        let before = contents(self.disk);
        let verified = self.verifies.then(|| at(self.disk, 200).verify()).transpose();
        let view = at(self.disk, 201).open_read_only();
        let view = view.as_ref().map(documents);
        assert_eq!(contents(self.disk), before, "reading changes nothing: {:?}", self.what());
        let refused = [verified.err(), view.as_ref().err().map(|error| (*error).clone())];
        for error in refused.iter().flatten() {
            self.may_be_refused(error);
        }
        let calls = self.disk.calls();
        match at(self.disk, 202).open() {
            Ok(store) => {
                assert!(
                    self.disk.calls() - calls < CALLS_MAX,
                    "{} calls",
                    self.disk.calls() - calls
                );
                let found = documents(&store.view());
                // An edit that a crash left in `wal/` is taken in by an opening alone.
                let is_swapped = before.keys().any(|name| name.starts_with("wal/swap."));
                let is_seen = view.ok().as_ref() == Some(&found);
                assert!(is_seen || is_swapped, "a reader sees {found:#?}: {:?}", self.what());
                self.goes_on(&store, &found);
                Some(found)
            }
            Err(error) => {
                self.may_be_refused(&error);
                match view {
                    Err(_) => assert_eq!(contents(self.disk), before, "{:?}", self.what()),
                    // It planned, and failed while it acted: nothing of the state is lost.
                    Ok(view) => {
                        let after = documents(&at(self.disk, 203).open_read_only().unwrap());
                        assert_eq!(after, view, "{error}: {:?}", self.what());
                    }
                }
                None
            }
        }
    }

    /// Refused is only what a newer version wrote, and a disk or a name that gives no file.
    fn may_be_refused(&self, error: &Error) {
        match error {
            Error::Unsupported { .. } => {}
            Error::Io { .. } if self.damaged.is_blocked => {}
            // Of a log with checksums that were made right, whatever its numbers are.
            Error::Invalid { .. } if !self.damaged.is_only_damage => {}
            _ => panic!("{error}: {:?}", self.what()),
        }
    }

    /// What is written now survives a power cut, and so does what was found.
    fn goes_on(&self, store: &Store, found: &Documents) {
        let text = r#"{"id": "after"}"#;
        if let Err(error) = store.save_task_json(text) {
            panic!("{error}: {:?}", self.what());
        }
        let mut wanted = found.clone();
        wanted.insert(("tasks", "after".to_owned()), serde_json::json!({"id": "after"}));
        let cut = self.disk.if_crashed(CrashMode::Nothing);
        self.same(&cut, &wanted, "after a power cut");
        let shut = store.shutdown();
        assert!(shut.is_ok() || self.damaged.is_blocked, "{shut:?}: {:?}", self.what());
        self.same(self.disk, &wanted, "after a shutdown");
        let bytes: usize =
            contents(self.disk).values().flat_map(|(_, bytes)| bytes).map(Vec::len).sum();
        assert!(bytes < 4 << 20, "{bytes} bytes: {:?}", self.what());
    }

    fn same(&self, disk: &SimFs, wanted: &Documents, when: &str) {
        let store = at(disk, 204).open();
        let store = match store {
            // What is in the way may be met only by what this opening has to do.
            Err(Error::Io { .. }) if self.damaged.is_blocked => return,
            Err(error) => panic!("{when}: {error}: {:?}", self.what()),
            Ok(store) => store,
        };
        assert_eq!(&documents(&store.view()), wanted, "{when}: {:?}", self.what());
    }
}
