//! Planning, step by step: what lies there, the base, the log replayed on it, and what people did to
//! `state.json`.

use std::collections::HashMap;

use crate::base::{ContentHash, Lsn, Problem, ProblemKind, Result, StoreId};
use crate::engine::recovery::ahead;
use crate::engine::recovery::base::{self, Base};
use crate::engine::recovery::edited::{self, Clues, What};
use crate::engine::recovery::replay::{self, Outcome};
use crate::engine::recovery::tail::{Behind, Tail};
use crate::engine::recovery::{
    Intake, Plan, Recovery, Rung, doubt, hints, intake, is_clean, table_of, torn_bytes,
};
use crate::files;
use crate::files::mirror::{Listing, Mirror};
use crate::files::names::{STATE, WAL};
use crate::files::outputs::Logged;
use crate::files::owner::{Evidence, Owner};
use crate::files::snapshot::{self, Index, Loaded};
use crate::fs::{Fs, Stat};
use crate::state::Table;
use crate::wal::{self, Scan};

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
    plan_by(fs, false)
}

/// The plan of an opening and its mirror; with `threads` on several, which gives the same.
pub(crate) fn plan_with_mirror(fs: &dyn Fs, threads: bool) -> Result<(Plan, Mirror, Vec<Problem>)> {
    let (plan, listing) = if threads {
        ahead::beside(|| Listing::take(fs), || plan_by(fs, true))
    } else {
        (plan_by(fs, false), None)
    };
    let (plan, listing) = (plan?, listing.transpose()?);
    let (mirror, problems) = plan.mirror_listed(fs, false, listing)?;
    Ok((plan, mirror, problems))
}

/// The plan; with `threads` the log is read on several.
pub(crate) fn plan_by(fs: &dyn Fs, threads: bool) -> Result<Plan> {
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
    Plan::from_base(fs, found, base, threads)
}

impl Plan {
    fn from_base(fs: &dyn Fs, found: Found, base: Base, threads: bool) -> Result<Plan> {
        let Found { owner, store, snapshot_lsn, state_stat, is_indexed, index, mut problems } =
            found;
        let Base { rung, snapshot, older_state, backup_lsn, state_is_a_backup } = base;
        let base_lsn = snapshot.as_ref().map_or(Lsn::ZERO, |base| base.lsn);
        let last_saved = snapshot.as_ref().and_then(|base| base.last_saved.clone());
        let others = snapshot.as_ref().map(|base| base.others.clone()).unwrap_or_default();
        let base = snapshot.map(table_of).unwrap_or_default();
        let index = index.filter(|index| store.is_none_or(|store| index.head.store == store));
        let durable = index.as_ref().map_or(Lsn::ZERO, |index| index.head.lsn);
        let behind = Behind { lsn: base_lsn, rung, state_is_a_backup, durable };
        let (owner, tail) = Tail::read_current(fs, owner, store, behind, &mut problems)?;
        problems.extend(tail.problems());
        let Tail { scan, gap, clean, is_gone, .. } = tail;
        let store = store.or(scan.store);
        let index = index.filter(|index| Some(index.head.store) == store);
        let doubt = || doubt(fs, &scan, owner.as_ref(), index.as_ref());
        let mut outcome = replay::replay(fs, &scan, (base.clone(), base_lsn), gap, doubt, threads)?;
        problems.append(&mut outcome.problems);
        // Only a hole asks which documents there were. What is read next takes their room.
        let index = index.map(|index| Index { documents: Vec::new(), ..index });
        let stopped_at = clean.filter(|_| is_gone).unwrap_or_default();
        let lsn = scan.last_lsn.max(base_lsn).max(stopped_at);
        let is_equal_to_a_backup = is_gone && clean.is_some() && state_is_a_backup;
        let saved = outcome.saved;
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
        let recovery = Recovery {
            snapshot_indexed: is_indexed,
            torn_bytes: torn_bytes(&scan),
            ..Recovery::of(clean, rung, base_lsn, lsn, problems)
        };
        let state_stat = state_stat.filter(|_| snapshot_lsn.is_some());
        let mut plan = Plan {
            snapshot_lsn,
            state_stat,
            last_saved,
            index,
            intake,
            others,
            base,
            ..Plan::new(owner, store, scan, recovery)
        };
        let taken_in = plan.replayed(outcome);
        if is_gone && plan.recovery.rung == Rung::Log && lsn == Lsn::ZERO {
            plan.recovery.rung = Rung::Empty;
        }
        plan.look_at_state(fs, taken_in)?;
        let mut problems = plan.recovery.problems.iter();
        plan.is_sound = !plan.has_hole
            && !is_gone
            && !plan.owner.is_some_and(|owner| owner.evidence.in_doubt)
            && problems.all(|problem| problem.kind.is_harmless());
        Ok(plan)
    }

    /// Takes over what replaying gave, and gives the hash of the `state.json` that was taken in already.
    fn replayed(&mut self, outcome: Outcome) -> Option<ContentHash> {
        self.has_hole = outcome.doubt.is_some();
        if let Some(doubt) = outcome.doubt {
            (self.losers, self.recovery.from_mirror) = (doubt.losers, doubt.from_mirror);
        }
        if self.recovery.rung == Rung::Log && self.recovery.from_mirror > 0 {
            self.recovery.rung = Rung::Mirror;
        }
        self.recovery.records_replayed = outcome.records;
        (self.table, self.outputs) = (outcome.table, outcome.outputs);
        (self.versions, self.mentions) = (outcome.versions, outcome.mentions);
        (self.saved, self.all_saved, self.synced) =
            (outcome.saved, outcome.all_saved, outcome.synced);
        outcome.state_taken_in
    }

    /// What lies in the place of `state.json`, if it is no snapshot of ours.
    fn look_at_state(&mut self, fs: &dyn Fs, taken_in: Option<ContentHash>) -> Result<()> {
        if self.snapshot_lsn.is_some() {
            return Ok(());
        }
        // Where nothing says which store it is, an opening makes it a new one, whose id nobody else has.
        let store = self.store.unwrap_or(StoreId(0));
        let recorded = self.index.as_ref().and_then(Index::state_stat);
        let clues = Clues { store, recorded, taken_in, is_clean: self.recovery.clean };
        self.strange = edited::judge(fs, &clues)?;
        if let Some(strange) = &self.strange {
            strange.tell(&mut self.recovery.problems);
            if let What::Edit(edited) | What::TakenIn(edited) = &strange.what {
                self.others.clone_from(&edited.others);
            }
        }
        Ok(())
    }

    fn migrating(owner: Option<Owner>, intake: Intake, problems: Vec<Problem>, scan: Scan) -> Plan {
        let recovery = Recovery::of(true, Rung::Migration, Lsn::ZERO, Lsn::ZERO, problems);
        let store = scan.store;
        Plan { intake: Some(intake), ..Plan::new(owner, store, scan, recovery) }
    }

    /// A plan that knows no more than this.
    fn new(owner: Option<Owner>, store: Option<StoreId>, scan: Scan, recovery: Recovery) -> Plan {
        Plan {
            owner,
            store,
            scan,
            recovery,
            table: Table::new(),
            snapshot_lsn: None,
            state_stat: None,
            last_saved: None,
            index: None,
            has_hole: false,
            intake: None,
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
            evidence: Evidence::default(),
        }
    }
}

impl Recovery {
    fn of(clean: bool, rung: Rung, base_lsn: Lsn, lsn: Lsn, problems: Vec<Problem>) -> Recovery {
        Recovery {
            clean,
            rung,
            base_lsn,
            snapshot_indexed: false,
            records_replayed: 0,
            from_mirror: 0,
            torn_bytes: 0,
            lsn,
            took_ms: 0,
            problems,
        }
    }
}

#[cfg(test)]
#[path = "planning_tests.rs"]
mod tests;
