//! Recovery, the planning half: from what is on disk to the state. It only reads; a failure here has
//! changed nothing.
//!
//! The base is the intact snapshot with the highest LSN (`base`); on it the log's standing records are
//! applied in order (`replay`). Where records are missing, each document in doubt is the newest
//! intact version that is left (`doubt`). What a person put back, or an earlier implementation left,
//! is to be taken in by the acting half (`intake`).

mod base;
mod doubt;
mod edited;
mod history;
mod intake;
mod replay;
mod tail;

use std::cell::OnceCell;
use std::collections::HashMap;

use serde::Serialize;

use crate::base::{ContentHash, DocumentId, Lsn, Problem, ProblemKind, Result, StoreId};
use crate::files::backups::Fallback;
use crate::files::mirror::{Known, Mentions, Mirror};
use crate::files::names::{STATE, WAL};
use crate::files::outputs::Logged;
use crate::files::owner::{Owner, Stage};
use crate::files::snapshot::{self, Index, Loaded, Snapshot};
use crate::files::{self, backups, mirror};
use crate::fs::{Fs, Stat, join};
use crate::state::{Collection, Table};
use crate::wal::{self, Finding, Hints, Identity, Scan, Verdict};
use base::Base;
use doubt::{AsOf, Doubt};
use edited::Clues;
pub(crate) use edited::{StateEdit, Strange, What, file_of};
pub(crate) use intake::{Intake, diff};
use replay::Outcome;
pub(crate) use replay::decode;
use tail::{Behind, Tail};

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
    versions: HashMap<String, Vec<ContentHash>>,
    /// What else it says of each of them.
    mentions: HashMap<String, Mentions>,
    /// The LSN of its last record that all their names are durable.
    synced: Lsn,
    /// Whether nothing of log and snapshot is damaged or missing.
    is_sound: bool,
}

/// What was found before the log is read.
struct Found {
    owner: Option<Owner>,
    store: Option<StoreId>,
    snapshot_lsn: Option<Lsn>,
    state_stat: Option<Stat>,
    is_indexed: bool,
    index: Option<Index>,
    problems: Vec<Problem>,
}

/// Reads the directory and rebuilds the state; changes nothing.
pub(crate) fn plan(fs: &dyn Fs) -> Result<Plan> {
    let mut problems = Vec::new();
    let owner = base::read_owner(fs, &mut problems)?;
    let stat_before = files::stat(fs, STATE)?;
    let Loaded { state, is_indexed, index, problem } = snapshot::load(fs)?;
    problems.extend(problem);
    let state_stat = stat_before.filter(|_| files::stat(fs, STATE).is_ok_and(|s| s == stat_before));
    let (store, owner) = base::whose(fs, owner, state.as_ref(), &mut problems)?;
    if let Some(intake) =
        intake::migration(fs, owner.as_ref(), store, state.as_ref(), &mut problems)?
    {
        return Ok(Plan::migrating(
            owner,
            intake,
            problems,
            wal::scan(fs, WAL, &hints(store, owner.as_ref(), Lsn::ZERO))?,
        ));
    }
    let snapshot = base::usable_snapshot(fs, state, store, &mut problems)?;
    let snapshot_lsn = snapshot.as_ref().map(|snapshot| snapshot.lsn);
    let base = base::choose(fs, snapshot, store, owner.as_ref(), &mut problems)?;
    let found = Found { owner, store, snapshot_lsn, state_stat, is_indexed, index, problems };
    Plan::from_base(fs, found, base)
}

impl Plan {
    fn from_base(fs: &dyn Fs, found: Found, base: Base) -> Result<Plan> {
        let Found { owner, store, snapshot_lsn, state_stat, is_indexed, index, mut problems } =
            found;
        let Base { rung, snapshot, older_state, backup_lsn, state_is_a_backup } = base;
        let base_lsn = snapshot.as_ref().map_or(Lsn::ZERO, |base| base.lsn);
        let last_saved = snapshot.as_ref().and_then(|base| base.last_saved.clone());
        let mut others = snapshot.as_ref().map(|base| base.others.clone()).unwrap_or_default();
        let base = snapshot.map(table_of).unwrap_or_default();
        let index = index.filter(|index| store.is_none_or(|store| index.head.store == store));
        let durable = index.as_ref().map_or(Lsn::ZERO, |index| index.head.lsn);
        let behind = Behind { lsn: base_lsn, rung, state_is_a_backup, durable };
        let (owner, tail) = Tail::read_current(fs, owner, store, behind, &mut problems)?;
        problems.extend(tail.problems());
        let Tail { scan, gap, clean, is_gone, .. } = tail;
        let index = index.filter(|index| Some(index.head.store) == store.or(scan.store));
        let doubt = || doubt(fs, &scan, owner.as_ref(), index.as_ref());
        let outcome = replay::replay(fs, &scan, base.clone(), base_lsn, gap, doubt)?;
        let Outcome {
            table,
            records,
            problems: found,
            versions,
            mentions,
            synced,
            saved,
            all_saved,
            state_taken_in: taken_in,
            doubt,
            outputs,
        } = outcome;
        problems.extend(found);
        let has_hole = doubt.is_some();
        let (losers, from_mirror) =
            doubt.map(|doubt| (doubt.losers, doubt.from_mirror)).unwrap_or_default();
        let stopped_at = clean.filter(|_| is_gone).unwrap_or_default();
        let lsn = scan.last_lsn.max(base_lsn).max(stopped_at);
        let rung = match rung {
            Rung::Log if from_mirror > 0 => Rung::Mirror,
            Rung::Log if is_gone && lsn == Lsn::ZERO => Rung::Empty,
            rung => rung,
        };
        let is_equal_to_a_backup = is_gone && clean.is_some() && state_is_a_backup;
        let is_older = snapshot_lsn < saved.max(backup_lsn) && snapshot_lsn != saved;
        let put_back = snapshot_lsn.filter(|_| is_older || is_equal_to_a_backup);
        let intake = put_back.map(|lsn| {
            let detail =
                format!("somebody put the snapshot of LSN {lsn} back; all documents follow");
            problems.push(Problem::new(ProblemKind::Edited, STATE, 0, detail));
            // With every backup above it gone, it is the base of what there was before, too.
            let table = older_state.map_or_else(|| base.clone(), table_of);
            Intake::Restore { table, lsn }
        });
        let clean = gap.is_none() && is_clean(owner.as_ref(), &scan, is_gone);
        let recorded = index.as_ref().and_then(Index::state_stat);
        let strange = match store.or(scan.store).filter(|_| snapshot_lsn.is_none()) {
            Some(store) => {
                edited::judge(fs, &Clues { store, recorded, taken_in, is_clean: clean })?
            }
            None => None,
        };
        if let Some(strange) = &strange {
            strange.tell(&mut problems);
            if let What::Edit(edited) | What::TakenIn(edited) = &strange.what {
                others.clone_from(&edited.others);
            }
        }
        let is_harmless = |problem: &Problem| problem.kind.is_harmless();
        let is_sound = !has_hole && !is_gone && problems.iter().all(is_harmless);
        let recovery = Recovery {
            clean,
            rung,
            base_lsn,
            snapshot_indexed: is_indexed,
            records_replayed: records,
            from_mirror,
            torn_bytes: torn_bytes(&scan),
            lsn,
            took_ms: 0,
            problems,
        };
        Ok(Plan {
            store: store.or(scan.store),
            snapshot_lsn,
            state_stat: state_stat.filter(|_| snapshot_lsn.is_some()),
            last_saved,
            index,
            recovery,
            has_hole,
            intake,
            strange,
            others,
            losers,
            saved,
            all_saved,
            outputs,
            base,
            versions,
            mentions,
            synced,
            is_sound,
            owner,
            table,
            scan,
        })
    }

    fn migrating(owner: Option<Owner>, intake: Intake, problems: Vec<Problem>, scan: Scan) -> Plan {
        Plan {
            owner,
            store: scan.store,
            table: Table::new(),
            snapshot_lsn: None,
            state_stat: None,
            last_saved: None,
            index: None,
            recovery: Recovery {
                clean: true,
                rung: Rung::Migration,
                base_lsn: Lsn::ZERO,
                snapshot_indexed: false,
                records_replayed: 0,
                from_mirror: 0,
                torn_bytes: 0,
                lsn: Lsn::ZERO,
                took_ms: 0,
                problems,
            },
            has_hole: false,
            intake: Some(intake),
            strange: None,
            others: String::new(),
            losers: Vec::new(),
            saved: None,
            all_saved: Vec::new(),
            outputs: Logged::default(),
            base: Table::new(),
            versions: HashMap::new(),
            mentions: HashMap::new(),
            synced: Lsn::ZERO,
            is_sound: false,
            scan,
        }
    }

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

    /// Holds the mirror against the recovered state; reads only. `reads_all`: also the files that nobody
    /// can have touched, which is the only way to find rot in them.
    pub(crate) fn mirror(&self, fs: &dyn Fs, reads_all: bool) -> Result<(Mirror, Vec<Problem>)> {
        let previous = OnceCell::new();
        let earlier = |collection: Collection, id: &DocumentId| {
            let previous = previous.get_or_init(|| self.previous(fs));
            let docs = [&self.base, previous].map(|table| table.get(collection, id.as_str()));
            docs.into_iter().flatten().map(|doc| doc.text().clone()).collect()
        };
        let entries = self.index.iter().flat_map(|index| &index.mirror);
        let entries = entries.map(|entry| (entry.file.as_str(), entry)).collect();
        let snapshot = self.index.as_ref().map(|index| index.head.lsn);
        let known = Known {
            versions: &self.versions,
            mentions: &self.mentions,
            is_sound: self.is_sound,
            earlier: &earlier,
            entries: &entries,
            synced: self.synced,
            entries_are_current: snapshot.is_some() && snapshot == self.snapshot_lsn,
            reads_all,
        };
        Mirror::open(fs, self.shown(), &known, !self.recovery.clean)
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
    let mut hints = Hints { store, base, durable: base, ..Hints::default() };
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
