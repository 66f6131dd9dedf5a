//! What an opening must take in as new mutations: a snapshot that a person put back, or what the
//! earlier implementation left. Reads only.
//!
//! The earlier implementation wrote `state.json` without `engine` and one file a task, in no common
//! order, so both are read: of two versions of a document the one with the newer `updated_at`
//! counts, and the other is kept.

use std::collections::BTreeMap;
use std::io::ErrorKind;

use serde_json::value::RawValue;

use crate::base::{
    ContentHash, DocumentId, Error, Lsn, Problem, ProblemKind, Result, StoreId, Timestamp,
    sanitize_id,
};
use crate::engine::recovery::hints;
use crate::files::names::{self, STATE, WAL};
use crate::files::owner::{Owner, Stage};
use crate::files::snapshot::{Defect, Parsed};
use crate::files::{self, backups, mirror, snapshot};
use crate::fs::{Fs, read_file_if_any};
use crate::state::json::{Object, compact};
use crate::state::{Collection, Doc, Op, Table};
use crate::wal::{self, Verdict};

const DOCUMENT_BYTES_MAX: usize = 256 << 20;

/// Something to take in.
#[derive(Debug)]
pub(crate) enum Intake {
    /// A person put an earlier snapshot of this store in the place of `state.json`.
    Restore { table: Table, lsn: Lsn },
    /// The directory is the earlier implementation's.
    Migration(Migration),
}

/// What the earlier implementation left.
#[derive(Debug, Default)]
pub(crate) struct Migration {
    /// The union of what is there.
    pub(crate) table: Table,
    /// Texts that are not in it, with a name to keep them by.
    pub(crate) losers: Vec<(String, String)>,
    /// The files of documents that it is made of.
    pub(crate) files: Vec<(String, ContentHash, u64)>,
    /// Those of them under names that are not ours.
    pub(crate) old_names: Vec<(String, ContentHash, u64)>,
    /// What was found and decided, a line each.
    pub(crate) report: Vec<String>,
}

impl Intake {
    /// The state once it is taken in.
    pub(crate) fn target(&self) -> Table {
        match self {
            Intake::Restore { table, .. } => table.clone(),
            Intake::Migration(migration) => migration.table.clone(),
        }
    }
}

/// The mutations that lead from one state to another.
pub(crate) fn diff(from: &Table, to: &Table) -> Vec<Op> {
    let mut ops = Vec::new();
    for collection in Collection::ALL {
        for (id, doc) in to.sorted(collection) {
            let same = from.get(collection, id.as_str()).is_some_and(|f| f.text() == doc.text());
            if !same {
                let document = doc.document().clone();
                ops.push(Op::Put { collection, id, document });
            }
        }
        for (id, _) in from.sorted(collection) {
            if to.get(collection, id.as_str()).is_none() {
                ops.push(Op::Delete { collection, id });
            }
        }
    }
    ops
}

/// The migration that is due, if this is a directory without a store: nothing was ever logged here,
/// there is no snapshot of ours, and there is something of the earlier implementation's.
pub(super) fn migration(
    fs: &dyn Fs,
    owner: Option<&Owner>,
    store: Option<StoreId>,
    state: Option<&Parsed>,
    problems: &mut Vec<Problem>,
) -> Result<Option<Intake>> {
    let strange = match state {
        Some(Parsed::Intact(_) | Parsed::NotIntact(Defect::Unsupported { .. })) => {
            return Ok(None);
        }
        Some(Parsed::NotIntact(defect)) => Some(defect),
        None => None,
    };
    let scan = wal::scan(fs, WAL, &hints(store, owner, Lsn::ZERO))?;
    // An opening may have begun it, and not come far.
    let begun = owner.is_some_and(|owner| !matches!(owner.stage, Stage::Opening { .. }));
    let is_damaged = scan.verdict() == Verdict::Corrupt;
    let is_store = scan.last_lsn > Lsn::ZERO || begun && scan.size_bytes == 0 || is_damaged;
    if is_store || snapshot_exists(fs, store)? {
        return Ok(None);
    }
    // Taking over without a file that the disk fails to give would leave its document behind.
    let shown = mirror::read_shown(fs, Err)?;
    if strange.is_none() && shown.is_empty() {
        return Ok(None);
    }
    problems.extend(doubts(fs, owner, strange)?);
    let mut union = Union::default();
    union.read_state(fs, strange)?;
    for shown in shown {
        union.add(shown.collection, &shown.text, &shown.file);
        let is_its_name = sanitize_id(shown.id.as_str())
            .is_ok_and(|name| shown.file.ends_with(&format!("/{name}.json")));
        let length = files::stat(fs, &shown.file)?.map_or(0, |stat| stat.size_bytes);
        let file = (shown.file, shown.hash, length);
        if !shown.is_engines && is_its_name {
            union.migration.old_names.push(file.clone());
        }
        union.migration.files.push(file);
    }
    Ok(Some(Intake::Migration(union.finish())))
}

/// What speaks against the earlier implementation: it may be a store of which nothing else is left, and
/// then what its files do not show is lost.
fn doubts(fs: &dyn Fs, owner: Option<&Owner>, strange: Option<&Defect>) -> Result<Vec<Problem>> {
    let mut problems = Vec::new();
    if let Some(defect) = strange.filter(|defect| defect.kind() != ProblemKind::Stale) {
        let detail = format!("{defect}; what can be read of it is taken over");
        problems.push(Problem::new(defect.kind(), STATE, 0, detail));
    }
    let had_log = match fs.list(WAL) {
        Ok(_) => owner.is_none() && !files::migration::has_begun(fs)?,
        Err(_) => false,
    };
    if had_log {
        let detail = "there is no log in it and no snapshot beside it; if there was a store, the state is \
                      what its files show";
        problems.push(Problem::new(ProblemKind::Missing, WAL, 0, detail));
    }
    Ok(problems)
}

fn snapshot_exists(fs: &dyn Fs, store: Option<StoreId>) -> Result<bool> {
    let Some(store) = store else { return Ok(false) };
    Ok(backups::newest_intact(fs, store, Lsn::MAX)?.newest.is_some())
}

#[derive(Default)]
struct Union {
    found: BTreeMap<(Collection, DocumentId), (String, String)>,
    migration: Migration,
}

impl Union {
    /// Takes in `state.json`, or, if it cannot be read, the newest of its backups that can.
    fn read_state(&mut self, fs: &dyn Fs, strange: Option<&Defect>) -> Result<()> {
        let why = match (strange, self.read_file(fs, STATE)?) {
            (None, _) | (Some(_), Ok(())) => return Ok(()),
            (Some(_), Err(why)) => why,
        };
        self.note(format!("{STATE} cannot be read: {why}"));
        for backup in backups::list(fs)?.into_iter().rev() {
            match self.read_file(fs, &backup.name)? {
                Ok(()) => return Ok(()),
                Err(why) => self.note(format!("{} cannot be read: {why}", backup.name)),
            }
        }
        Ok(())
    }

    /// Takes in what a snapshot of the earlier format holds, or says why it holds nothing.
    fn read_file(&mut self, fs: &dyn Fs, file: &str) -> Result<Result<(), String>> {
        let bytes = match read_file_if_any(fs, file, snapshot::BYTES_MAX) {
            Ok(Some(bytes)) => bytes,
            Ok(None) => return Ok(Err("there is no such file".to_owned())),
            Err(error) if error.kind() == ErrorKind::InvalidInput => {
                return Ok(Err(error.to_string()));
            }
            Err(error) => return Err(Error::io("read", fs.display(file), error)),
        };
        let Ok(text) = std::str::from_utf8(&bytes) else {
            return Ok(Err("it is not UTF-8".to_owned()));
        };
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let object = match Object::parse(text) {
            Ok(object) => object,
            Err(error) => return Ok(Err(error.to_string())),
        };
        let version = object.get("version").map(|raw| raw.trim_matches('"'));
        if let Some(version) = version.filter(|v| !matches!(v.split('.').next(), Some("1" | "2"))) {
            let why = format!("it is of version {version}, which this version cannot read");
            return Err(Error::Unsupported { what: fs.display(file), why });
        }
        for (collection, key) in [(Collection::Task, "tasks"), (Collection::Session, "sessions")] {
            let Some(raw) = object.get(key) else { continue };
            match serde_json::from_str::<Vec<&RawValue>>(raw) {
                Ok(all) => all.iter().for_each(|raw| self.add(collection, raw.get(), file)),
                Err(error) => self.note(format!("{key:?} in {file} is no array: {error}")),
            }
        }
        let others = object.iter().map(|member| member.key.as_ref()).filter(|key| {
            !matches!(*key, "version" | "engine" | "tasks" | "sessions" | "metrics" | "last_saved")
        });
        for key in others.map(str::to_owned).collect::<Vec<_>>() {
            self.note(format!("{key:?} in {file} is in the copy made before the migration only"));
        }
        Ok(Ok(()))
    }

    fn add(&mut self, collection: Collection, text: &str, from: &str) {
        let (id, text) = match Op::put(collection, text, DOCUMENT_BYTES_MAX) {
            Ok(Op::Put { id, .. }) => (id, text.to_owned()),
            Ok(_) => return,
            Err(error) => {
                self.note(format!("{from}: {error}; it is kept in conflicts/"));
                self.migration.losers.push((from.to_owned(), text.to_owned()));
                return;
            }
        };
        let key = (collection, id);
        let Some((present, present_from)) = self.found.get(&key) else {
            self.found.insert(key, (text, from.to_owned()));
            return;
        };
        if compact(present) == compact(&text) {
            return;
        }
        let stays = updated_at(present) > updated_at(&text);
        let (winner, loser) =
            if stays { (present_from.as_str(), from) } else { (from, present_from.as_str()) };
        let line = format!(
            "{collection} {} differs between {present_from} and {from}: {winner} counts, the version of \
             {loser} is kept in conflicts/",
            key.1
        );
        let file = names::forms(&key.1).into_iter().next().unwrap_or_default();
        let lost = match self.found.get_mut(&key) {
            Some(present) if !stays => std::mem::replace(present, (text, from.to_owned())).0,
            _ => text,
        };
        self.migration.losers.push((file, lost));
        self.note(line);
    }

    fn note(&mut self, line: String) {
        self.migration.report.push(line);
    }

    fn finish(mut self) -> Migration {
        let mut lsn = Lsn::ZERO;
        for ((collection, id), (text, _)) in self.found {
            lsn = lsn.next();
            if let Ok(Op::Put { document, .. }) = Op::put(collection, &text, DOCUMENT_BYTES_MAX) {
                self.migration.table.load(collection, &id, Doc::new(document, lsn, false));
            }
        }
        self.migration
    }
}

/// When a document says that it was last changed; a document that says nothing is the oldest.
fn updated_at(text: &str) -> Option<Timestamp> {
    let object = Object::parse(text).ok()?;
    let time: String = serde_json::from_str(object.get("updated_at")?).ok()?;
    Timestamp::parse(&time)
}
