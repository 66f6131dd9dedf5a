//! Recovery, the planning half: from what is on disk to the state. It only reads; a failure here has
//! changed nothing.
//!
//! The base is the intact snapshot with the highest LSN (`base`); on it the log's standing records are
//! applied in order (`replay`). Where records are missing, each document in doubt is the newest
//! intact version that is left (`doubt`). What a person put back, or an earlier implementation left,
//! is to be taken in by the acting half (`intake`).

mod ahead;
mod base;
mod doubt;
mod edited;
mod history;
mod intake;
mod planning;
mod replay;
mod tail;

use std::cell::OnceCell;
use std::collections::HashMap;

use serde::Serialize;

use crate::base::{DocumentId, Lsn, Problem, ProblemKind, Result, StoreId};
use crate::files::backups::Fallback;
use crate::files::mirror::{Known, Listing, Mentions, Mirror, Recorded};
use crate::files::names::WAL;
use crate::files::outputs::Logged;
use crate::files::owner::{Evidence, Owner, Stage};
use crate::files::snapshot::{Index, Snapshot};
use crate::files::{backups, mirror};
use crate::fs::{Fs, Stat, join};
use crate::state::{Collection, Table};
use crate::wal::{Finding, Hints, Identity, Scan, Verdict};
use doubt::{AsOf, Doubt};
pub(crate) use edited::{StateEdit, Strange, What, file_of};
pub(crate) use history::{Former, Wanted};
pub(crate) use intake::{Intake, diff};
pub(crate) use planning::{plan, plan_by, plan_with_mirror};
pub(crate) use replay::decode;

/// What recovery built the state on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Rung {
    /// Nothing was there: a new store.
    Empty,
    /// `state.json`, and the log's tail.
    Snapshot,
    /// The newest intact backup, and the log from there on.
    Backup,
    /// The log alone, from the first record.
    #[default]
    Log,
    /// The files in `tasks/` and `sessions/`, where no snapshot is left and the log was cut.
    Mirror,
    /// What an earlier implementation left.
    Migration,
}

/// How an opening found the store, and what it did about it.
#[derive(Clone, Debug, Serialize)]
pub struct Recovery {
    /// Whether the last opening was shut down, and everything is as it left it.
    pub clean: bool,
    /// What the state was built on.
    pub rung: Rung,
    /// LSN of that base.
    pub base_lsn: Lsn,
    /// Whether `state.json` was loaded by its index, without parsing it.
    pub snapshot_indexed: bool,
    /// Records of the log that were applied to it.
    pub records_replayed: u64,
    /// Documents for which a mirror file had the newest version that is left.
    pub from_mirror: u64,
    /// Bytes of a torn end of the log, which no acknowledged write was in.
    pub torn_bytes: u64,
    /// The last LSN recovered.
    pub lsn: Lsn,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
    /// What was found that is not as the engine left it.
    pub problems: Vec<Problem>,
}

/// What was read: all that is needed to serve the state, and to open it for writing.
pub(crate) struct Plan {
    pub(crate) owner: Option<Owner>,
    /// The store's id; `None` if nothing says one.
    pub(crate) store: Option<StoreId>,
    pub(crate) scan: Scan,
    pub(crate) table: Table,
    /// LSN of `state.json`, if that is this store's and intact.
    pub(crate) snapshot_lsn: Option<Lsn>,
    /// Its stat, if nobody changed it while it was read.
    pub(crate) state_stat: Option<Stat>,
    pub(crate) last_saved: Option<String>,
    /// The index of some snapshot of this store, with what it knows of the mirror.
    pub(crate) index: Option<Index>,
    pub(crate) recovery: Recovery,
    /// Whether records are missing, so that a snapshot should cover the hole soon.
    pub(crate) has_hole: bool,
    /// What is to be taken in: a restore or a migration.
    pub(crate) intake: Option<Intake>,
    /// What lies in the place of `state.json`, if it is no snapshot of this store.
    pub(crate) strange: Option<Strange>,
    /// The members of `state.json` that a person added.
    pub(crate) others: String,
    /// Versions that were displaced without proof of being older.
    pub(crate) losers: Vec<(Collection, DocumentId, String)>,
    /// What the log says of `state.json`: the LSN of its last `saved` record.
    pub(crate) saved: Option<Lsn>,
    /// The LSNs of all its `saved` records.
    all_saved: Vec<Lsn>,
    /// What the log holds of session logs and reports.
    pub(crate) outputs: Logged,
    base: Table,
    /// Hashes that the log records as written to each mirror file.
    versions: HashMap<String, Recorded>,
    /// What else it says of each of them.
    mentions: HashMap<String, Mentions>,
    /// The LSN of its last record that all their names are durable.
    synced: Lsn,
    /// Whether nothing of log and snapshot is damaged or missing, nor was when it was last opened.
    pub(crate) is_sound: bool,
    /// What `.walden` is to say of this until it is acted upon.
    pub(crate) evidence: Evidence,
}

impl Plan {
    /// The state that the mirror is held against.
    pub(crate) fn shown(&self) -> &Table {
        match &self.intake {
            Some(Intake::Migration(migration)) => &migration.table,
            Some(Intake::Restore { .. }) | None => &self.table,
        }
    }

    /// The state that an opening will serve: with what is to be taken in.
    pub(crate) fn state(&self) -> Table {
        match &self.intake {
            Some(intake) => intake.target(),
            None => self.table.clone(),
        }
    }

    /// What a later opening must know of this one, if it does not come to take in what people did.
    pub(crate) fn evidence(&self, mirror: &Mirror, has_edits: bool) -> Evidence {
        let shut_down = match self.owner.map(|owner| owner.stage) {
            Some(Stage::Clean { lsn, .. }) if self.recovery.clean => Some(lsn),
            _ => self.owner.and_then(|owner| owner.evidence.shut_down),
        };
        let shut_down = shut_down.filter(|_| has_edits || mirror.holds_any());
        Evidence { in_doubt: mirror.is_in_doubt(), shut_down }
    }

    /// Holds the mirror against the recovered state; reads only. `reads_all`: also the files that nobody
    /// can have touched, which is the only way to find rot in them.
    pub(crate) fn mirror(&self, fs: &dyn Fs, reads_all: bool) -> Result<(Mirror, Vec<Problem>)> {
        self.mirror_listed(fs, reads_all, None)
    }

    /// The same with a listing that was taken since the store was locked.
    fn mirror_listed(
        &self,
        fs: &dyn Fs,
        reads_all: bool,
        listing: Option<Listing>,
    ) -> Result<(Mirror, Vec<Problem>)> {
        let previous = OnceCell::new();
        let earlier = |collection: Collection, id: &DocumentId| {
            let previous = previous.get_or_init(|| self.previous(fs));
            let docs = [&self.base, previous].map(|table| table.get(collection, id.as_str()));
            docs.into_iter().flatten().map(|doc| doc.text().clone()).collect()
        };
        let entries = self.index.iter().flat_map(|index| &index.mirror);
        let entries = entries.map(|entry| (entry.file.as_str(), entry)).collect();
        let known = Known {
            versions: &self.versions,
            mentions: &self.mentions,
            is_sound: self.is_sound,
            shut_down: self.owner.and_then(|owner| owner.evidence.shut_down),
            earlier: &earlier,
            entries: &entries,
            synced: self.synced,
            reads_all,
        };
        Mirror::open_listed(fs, self.shown(), &known, !self.recovery.clean, listing)
    }

    /// The state at the newest backup, which a mirror file may still show.
    fn previous(&self, fs: &dyn Fs) -> Table {
        let Some(store) = self.store else { return Table::new() };
        match backups::newest_intact(fs, store, Lsn::MAX) {
            Ok(Fallback { newest: Some((_, snapshot)), .. }) => table_of(snapshot),
            Ok(Fallback { newest: None, .. }) => Table::new(),
            Err(error) => {
                tracing::warn!(%error, "no backup can be read to know older mirror files by");
                Table::new()
            }
        }
    }
}

/// What is left beside log and base.
fn doubt(fs: &dyn Fs, scan: &Scan, owner: Option<&Owner>, index: Option<&Index>) -> Result<Doubt> {
    let mut as_of = AsOf::default();
    replay::evidence(fs, scan, &mut as_of)?;
    let listed = index.map(|index| as_of.read(index));
    // A store that has lost records is served with what the disk still gives.
    let shown = mirror::read_shown(fs, |error| {
        tracing::warn!(%error, "a file of the mirror is passed over");
        Ok(())
    })?;
    Ok(Doubt::new(shown, as_of, owner.map(|owner| owner.stage), listed))
}

pub(crate) fn hints(store: Option<StoreId>, owner: Option<&Owner>, base: Lsn) -> Hints {
    let mut hints = Hints { store, base, ..Hints::default() };
    let Some(owner) = owner else { return hints };
    hints.identities.push(identity_of(owner));
    match owner.stage {
        Stage::Opening { former } => {
            hints.identities.extend(former.map(|(incarnation, nonce)| Identity {
                store: owner.store,
                incarnation,
                nonce,
            }));
        }
        Stage::Open => hints.begun = Some(owner.incarnation),
        Stage::Clean { lsn, .. } => {
            hints.durable = hints.durable.max(lsn);
            hints.clean = Some((owner.incarnation, lsn));
        }
    }
    hints
}

fn identity_of(owner: &Owner) -> Identity {
    let Owner { store, incarnation, nonce, .. } = *owner;
    Identity { store, incarnation, nonce }
}

/// Where nothing is missing between the base and the log, which may be gone because of that.
fn is_clean(owner: Option<&Owner>, scan: &Scan, is_gone: bool) -> bool {
    let shut_down = match owner.map(|owner| owner.stage) {
        Some(Stage::Clean { lsn, .. }) => is_gone || lsn == scan.last_lsn,
        // Nothing was ever written here.
        None => scan.size_bytes == 0 && scan.last_lsn == Lsn::ZERO,
        Some(Stage::Open | Stage::Opening { .. }) => false,
    };
    shut_down && scan.verdict() == Verdict::Clean
}

fn torn_bytes(scan: &Scan) -> u64 {
    let torn = scan.findings.iter().filter(|finding| finding.verdict == Verdict::Torn);
    torn.map(|finding| finding.length).sum()
}

pub(crate) fn problem_of(finding: &Finding) -> Problem {
    let kind = match finding.verdict {
        Verdict::Torn => ProblemKind::Torn,
        Verdict::Corrupt => ProblemKind::Corrupt,
        Verdict::Clean => ProblemKind::Foreign,
    };
    Problem::new(kind, join(WAL, &finding.file), finding.offset, finding.to_string())
}

pub(crate) fn table_of(snapshot: Snapshot) -> Table {
    let Snapshot { lsn, tasks, sessions, .. } = snapshot;
    let mut table = Table::new();
    for (collection, documents) in [(Collection::Task, tasks), (Collection::Session, sessions)] {
        for (id, doc) in documents {
            table.load(collection, &id, doc);
        }
    }
    table.advance(lsn);
    table
}
