//! Recovery, the planning half: from what is on disk to the state. It only reads; a failure here has
//! changed nothing.
//!
//! | base | when |
//! |---|---|
//! | `state.json` | its digest is intact and it is this store's |
//! | the newest intact backup | else, if there is one |
//! | nothing | else: the log must reach back to the beginning |
//!
//! On the base, the log's standing records above its LSN are applied in order. If the log begins
//! above the base's next record, opening is refused: what is missing must not be papered over.

use std::cell::OnceCell;
use std::collections::HashMap;

use serde::Serialize;

use crate::base::{ContentHash, DocumentId, Error, Lsn, Problem, ProblemKind, Result, StoreId};
use crate::files::backups::Fallback;
use crate::files::mirror::{Known, Mirror};
use crate::files::names::{STATE, WAL};
use crate::files::owner::{self, Owner, OwnerFile, Stage};
use crate::files::snapshot::{self, Defect, Parsed, Snapshot};
use crate::files::{self, backups, names};
use crate::fs::{Fs, Stat, join};
use crate::state::{Collection, Doc, Document, Op, Table};
use crate::wal::{self, Finding, Hints, Identity, RecordView, Replayed, Scan, Verdict};

/// What recovery built the state on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
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
    Log,
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
    /// Records of the log that were applied to it.
    pub records_replayed: u64,
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
    pub(crate) recovery: Recovery,
    /// Whether records are missing, so that a snapshot should cover the hole soon.
    pub(crate) has_hole: bool,
    base: Table,
    /// Hashes that the log records as written to each mirror file.
    versions: HashMap<String, Vec<ContentHash>>,
}

/// Reads the directory and rebuilds the state; changes nothing.
pub(crate) fn plan(fs: &dyn Fs) -> Result<Plan> {
    let mut problems = Vec::new();
    let owner = read_owner(fs, &mut problems)?;
    let stat_before = files::stat(fs, STATE)?;
    let state = snapshot::read(fs, STATE)?;
    let state_stat = stat_before.filter(|_| files::stat(fs, STATE).is_ok_and(|s| s == stat_before));
    let (store, owner) = whose(fs, owner, state.as_ref(), &mut problems)?;
    let snapshot = usable_snapshot(fs, state, store, owner.is_some(), &mut problems)?;
    let snapshot_lsn = snapshot.as_ref().map(|snapshot| snapshot.lsn);
    let (rung, base) = choose_base(fs, snapshot, store, &mut problems)?;
    let base_lsn = base.as_ref().map_or(Lsn::ZERO, |base| base.lsn);
    let last_saved = base.as_ref().and_then(|base| base.last_saved.clone());
    let mut reach = base_lsn;
    let mut scan = wal::scan(fs, WAL, &hints(store, owner.as_ref(), reach))?;
    if let Some(Owner { stage: Stage::Clean(last), .. }) = owner
        && scan.size_bytes == 0
        && rung == Rung::Snapshot
    {
        // A clean shutdown left nothing in the log that the snapshot has not: it can be deleted.
        reach = base_lsn.max(last);
        scan = wal::scan(fs, WAL, &hints(store, owner.as_ref(), reach))?;
    }
    let nothing_logged = scan.size_bytes == 0 && scan.last_lsn <= base_lsn;
    if scan.first_base > reach {
        let (first, last) = (base_lsn.next(), scan.first_base);
        return Err(Error::Hole { dir: fs.display(""), first, last });
    }
    let rung = if rung == Rung::Log && nothing_logged { Rung::Empty } else { rung };
    if owner.is_some_and(|owner| owner.stage == Stage::Open) && scan.size_bytes == 0 {
        let detail = "the log is gone although the store was not shut down; what was written since \
                      the last snapshot is lost";
        problems.push(Problem::new(ProblemKind::Missing, WAL, 0, detail));
    }
    let mut plan = Plan {
        owner,
        store: store.or(scan.store),
        table: Table::new(),
        snapshot_lsn,
        state_stat: state_stat.filter(|_| snapshot_lsn.is_some()),
        last_saved,
        recovery: Recovery {
            clean: is_clean(owner.as_ref(), &scan),
            rung,
            base_lsn,
            records_replayed: 0,
            torn_bytes: torn_bytes(&scan),
            lsn: scan.last_lsn.max(base_lsn),
            took_ms: 0,
            problems,
        },
        has_hole: false,
        base: Table::new(),
        versions: HashMap::new(),
        scan,
    };
    plan.recovery.problems.extend(plan.scan.findings.iter().map(problem_of));
    plan.replay(fs, base)?;
    Ok(plan)
}

impl Plan {
    /// Loads the base and applies the log to it.
    fn replay(&mut self, fs: &dyn Fs, base: Option<Snapshot>) -> Result<()> {
        if let Some(base) = base {
            self.base = table_of(base);
        }
        self.table = self.base.clone();
        let Plan { scan, table, recovery, versions, has_hole, .. } = self;
        let base_lsn = recovery.base_lsn;
        let mut hole = None;
        scan.replay(fs, WAL, Lsn::ZERO, &mut |replayed| {
            let records = match replayed {
                Replayed::Group(records) => records,
                Replayed::Hole(last) => {
                    if last > base_lsn {
                        hole = Some(last);
                        *has_hole = true;
                    }
                    return Ok(());
                }
            };
            for transaction in records.chunk_by(|record, _| record.continues()) {
                let changes = decode(fs, transaction)?;
                for (_, op) in &changes {
                    if let Op::Wrote { file, hash, .. } = op {
                        versions.entry(file.clone()).or_default().push(*hash);
                    }
                }
                let is_new = changes.last().is_some_and(|(lsn, _)| *lsn > base_lsn);
                if !is_new {
                    continue;
                }
                let applied = changes.iter().filter(|(_, op)| op.is_document_change());
                recovery.records_replayed += applied.count() as u64;
                match hole {
                    None => {
                        if let Err(refused) = table.apply(&changes) {
                            // It was refused in the same way when it was made, and its caller told.
                            tracing::debug!(error = %refused.error, "replayed a refused change");
                        }
                    }
                    Some(hole) => {
                        let after = table.apply_after_hole(&changes, hole);
                        for (collection, id) in after.suspect.iter().chain(&after.missing) {
                            let file = format!("{}/{id}", collection.dir());
                            let detail = "a change to it could not be applied, since records before \
                                          that change are missing";
                            let kind = ProblemKind::Suspect;
                            recovery.problems.push(Problem::new(kind, file, 0, detail));
                        }
                    }
                }
            }
            Ok(())
        })
    }

    /// Holds the mirror against the recovered state; reads only.
    pub(crate) fn mirror(&self, fs: &dyn Fs) -> Result<(Mirror, Vec<Problem>)> {
        let previous = OnceCell::new();
        let earlier = |collection: Collection, id: &DocumentId| {
            let previous = previous.get_or_init(|| self.previous(fs));
            let docs = [&self.base, previous].map(|table| table.get(collection, id.as_str()));
            docs.into_iter().flatten().map(|doc| doc.text().clone()).collect()
        };
        let (versions, entries) = (&self.versions, &HashMap::new());
        let own = Known { versions, earlier: &earlier, entries, recorded_ns: 0, reads_all: false };
        Mirror::open(fs, &self.table, &own, !self.recovery.clean)
    }

    /// The state at the newest backup, which a mirror file may still show.
    fn previous(&self, fs: &dyn Fs) -> Table {
        let Some(store) = self.store else { return Table::new() };
        match backups::newest_intact(fs, store) {
            Ok(Fallback { newest: Some((_, snapshot)), .. }) => table_of(snapshot),
            Ok(Fallback { newest: None, .. }) => Table::new(),
            Err(error) => {
                tracing::warn!(%error, "no backup can be read to know older mirror files by");
                Table::new()
            }
        }
    }
}

fn read_owner(fs: &dyn Fs, problems: &mut Vec<Problem>) -> Result<Option<Owner>> {
    Ok(match owner::read(fs)? {
        OwnerFile::Intact(owner) => Some(owner),
        OwnerFile::Missing => None,
        OwnerFile::Damaged { why } => {
            let detail = format!("{why}; the store is taken as not shut down");
            problems.push(Problem::new(ProblemKind::Corrupt, names::OWNER, 0, detail));
            None
        }
    })
}

/// Whose directory this is, where `.walden`, `state.json` and the log may disagree: what two of them
/// say. An owner file that is outvoted is not believed.
fn whose(
    fs: &dyn Fs,
    owner: Option<Owner>,
    state: Option<&Parsed>,
    problems: &mut Vec<Problem>,
) -> Result<(Option<StoreId>, Option<Owner>)> {
    let by_owner = owner.map(|owner| owner.store);
    let by_state = match state {
        Some(Parsed::Intact(snapshot)) => Some(snapshot.store),
        _ => None,
    };
    if by_owner.is_some() && by_owner == by_state {
        return Ok((by_owner, owner));
    }
    let by_log = wal::scan(fs, WAL, &Hints::default())?.store;
    let votes = [by_owner, by_log, by_state];
    let twice = votes
        .into_iter()
        .flatten()
        .find(|id| votes.iter().filter(|vote| **vote == Some(*id)).count() > 1);
    let store = twice.or(by_owner).or(by_log).or(by_state);
    if by_owner.is_some() && by_owner != store {
        let detail = "it is of another store and not believed";
        problems.push(Problem::new(ProblemKind::Foreign, names::OWNER, 0, detail));
        return Ok((store, None));
    }
    Ok((store, owner))
}

/// `state.json`, if it can be the base; else what is wrong with it.
fn usable_snapshot(
    fs: &dyn Fs,
    state: Option<Parsed>,
    store: Option<StoreId>,
    is_owned: bool,
    problems: &mut Vec<Problem>,
) -> Result<Option<Snapshot>> {
    let (kind, detail) = match state {
        None => return Ok(None),
        Some(Parsed::Intact(snapshot)) if Some(snapshot.store) == store => {
            return Ok(Some(snapshot));
        }
        Some(Parsed::Intact(snapshot)) => {
            (ProblemKind::Foreign, format!("it is of another store, {}", snapshot.store))
        }
        Some(Parsed::NotIntact(defect @ Defect::Unsupported { .. })) => {
            let why = format!("{defect}; use the newer Walden that wrote it");
            return Err(Error::Unsupported { what: fs.display(STATE), why });
        }
        Some(Parsed::NotIntact(Defect::Earlier)) if !is_owned && store.is_none() => {
            let why = "it is of the earlier format without a digest, which this version cannot take \
                       over yet; nothing was changed";
            return Err(Error::Unsupported { what: fs.display(STATE), why: why.to_owned() });
        }
        Some(Parsed::NotIntact(defect)) => (defect.kind(), defect.to_string()),
    };
    let detail = format!("{detail}; it is kept in conflicts/ when the next snapshot is saved");
    problems.push(Problem::new(kind, STATE, 0, detail));
    Ok(None)
}

fn choose_base(
    fs: &dyn Fs,
    snapshot: Option<Snapshot>,
    store: Option<StoreId>,
    problems: &mut Vec<Problem>,
) -> Result<(Rung, Option<Snapshot>)> {
    if snapshot.is_some() {
        return Ok((Rung::Snapshot, snapshot));
    }
    let Some(store) = store else { return Ok((Rung::Log, None)) };
    let found = backups::newest_intact(fs, store)?;
    problems.extend(found.problems);
    let Some((name, backup)) = found.newest else { return Ok((Rung::Log, None)) };
    let detail = format!("there is no usable snapshot; {name} and the log were used instead");
    problems.push(Problem::new(ProblemKind::Missing, STATE, 0, detail));
    Ok((Rung::Backup, Some(backup)))
}

fn hints(store: Option<StoreId>, owner: Option<&Owner>, base: Lsn) -> Hints {
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
        Stage::Clean(lsn) => {
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

fn is_clean(owner: Option<&Owner>, scan: &Scan) -> bool {
    let shut_down = match owner.map(|owner| owner.stage) {
        Some(Stage::Clean(lsn)) => lsn == scan.last_lsn,
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

fn table_of(snapshot: Snapshot) -> Table {
    let Snapshot { lsn, tasks, sessions, .. } = snapshot;
    let mut table = Table::new();
    for (collection, documents) in [(Collection::Task, tasks), (Collection::Session, sessions)] {
        for (id, text) in documents {
            table.load(collection, &id, Doc::new(Document::new(text), lsn, false));
        }
    }
    table
}

fn decode(fs: &dyn Fs, transaction: &[RecordView<'_>]) -> Result<Vec<(Lsn, Op)>> {
    let mut changes = Vec::with_capacity(transaction.len());
    for record in transaction {
        match Op::decode(record.kind, record.payload) {
            Ok(op) => changes.push((record.lsn, op)),
            Err(why) if record.may_be_skipped() => {
                tracing::debug!(lsn = %record.lsn, why, "skipped a record of an unknown kind");
            }
            Err(why) => {
                let what = format!("{}, record {}", fs.display(WAL), record.lsn);
                let why = format!("{why}; was it written by a newer Walden?");
                return Err(Error::Unsupported { what, why });
            }
        }
    }
    Ok(changes)
}
