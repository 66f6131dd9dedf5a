//! The log behind the base: what of it is there, and what is missing between the two.

use crate::base::{Lsn, Problem, ProblemKind, Result, StoreId};
use crate::engine::recovery::doubt::Hole;
use crate::engine::recovery::{Rung, hints, problem_of};
use crate::files::names::{OWNER, WAL};
use crate::files::owner::{Owner, Stage};
use crate::fs::Fs;
use crate::wal::{self, Hints, Scan, Verdict};

/// The log as it was found.
pub(super) struct Tail {
    pub(super) scan: Scan,
    /// What is missing between the base and the log's first record.
    pub(super) gap: Option<Hole>,
    /// The LSN of the clean stop, if the last opening came to one.
    pub(super) clean: Option<Lsn>,
    /// Whether there is no log at all.
    pub(super) is_gone: bool,
    /// Whether it should be there.
    is_lost: bool,
}

/// What the log follows.
#[derive(Clone, Copy)]
pub(super) struct Behind {
    pub(super) lsn: Lsn,
    pub(super) rung: Rung,
    /// `state.json` may have been put back, so that it is not known to hold everything.
    pub(super) state_is_a_backup: bool,
    /// What else tells that records up to here were durable.
    pub(super) durable: Lsn,
}

impl Tail {
    /// Scans the log behind a base. An owner file of an opening before the log's last one is not
    /// believed: it is written before its opening's first segment is.
    pub(super) fn read_current(
        fs: &dyn Fs,
        owner: Option<Owner>,
        store: Option<StoreId>,
        base: Behind,
        problems: &mut Vec<Problem>,
    ) -> Result<(Option<Owner>, Tail)> {
        let tail = Tail::read(fs, owner.as_ref(), store, base)?;
        if owner.is_none_or(|owner| owner.incarnation >= tail.scan.incarnation_max) {
            return Ok((owner, tail));
        }
        let detail =
            "it is of an earlier opening than the log; the store is taken as not shut down";
        problems.push(Problem::new(ProblemKind::Stale, OWNER, 0, detail));
        Ok((None, Tail::read(fs, None, store, base)?))
    }

    /// Scans the log behind a base.
    fn read(
        fs: &dyn Fs,
        owner: Option<&Owner>,
        store: Option<StoreId>,
        base: Behind,
    ) -> Result<Tail> {
        let base_lsn = base.lsn;
        let hints = hints(store, owner, base_lsn);
        let durable = hints.durable.max(base.durable);
        let hints = Hints { durable, ..hints };
        let scan = wal::scan(fs, WAL, &hints)?;
        let clean = match owner.map(|owner| owner.stage) {
            Some(Stage::Clean { lsn, .. }) => Some(lsn),
            _ => None,
        };
        let is_gone = scan.size_bytes == 0;
        // A segment that was emptied tells of a log, too.
        let is_damaged = scan.verdict() == Verdict::Corrupt;
        let is_lost = is_gone && clean.is_none() && (had_log(owner, store) || is_damaged);
        let tail = |scan, gap| Tail { scan, gap, clean, is_gone, is_lost };
        match clean {
            Some(clean) if is_gone && base.rung == Rung::Snapshot && !base.state_is_a_backup => {
                // A clean shutdown left nothing in the log that the snapshot has not: it can be deleted.
                // The new log begins at the snapshot, so that nothing is missing before it later.
                let given_out = clean.max(base_lsn);
                let hints = Hints { store, base: base_lsn, given_out, ..Hints::default() };
                return Ok(tail(wal::scan(fs, WAL, &hints)?, None));
            }
            None if !is_gone && scan.end_in_doubt => {
                let durable = scan.last_lsn.next();
                return Ok(
                    tail(wal::scan(fs, WAL, &Hints { durable, ..hints })?, None).behind(base_lsn)
                );
            }
            _ => {}
        }
        let last = match (is_gone, clean) {
            (false, _) => return Ok(tail(scan, None).behind(base_lsn)),
            (true, Some(clean)) => clean,
            (true, None) if is_lost => base_lsn.next().max(durable),
            (true, None) => base_lsn,
        };
        let hole = Hole { after: base_lsn, last, log_is_gone: true };
        if last <= base_lsn {
            return Ok(tail(scan, None));
        }
        // New records follow the hole, so that a later opening takes no older snapshot for enough.
        let hints = Hints { base: last, durable: last, ..hints };
        Ok(tail(wal::scan(fs, WAL, &hints)?, Some(hole)))
    }

    /// With what is missing between the base and the log.
    fn behind(self, base_lsn: Lsn) -> Tail {
        let hole = Hole { after: base_lsn, last: self.scan.first_base, log_is_gone: false };
        Tail { gap: (hole.last > base_lsn).then_some(hole), ..self }
    }

    pub(super) fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut missing = |detail: String| {
            problems.push(Problem::new(ProblemKind::Missing, WAL, 0, detail));
        };
        if self.is_lost {
            missing(
                "the log is gone although the store was not shut down; what was written since the \
                 last snapshot is lost, but for what the mirror's files show"
                    .to_owned(),
            );
        } else if self.gap.is_some_and(|gap| gap.log_is_gone) {
            missing(
                "the log is gone, and no snapshot is as new as the last shutdown; what was written \
                 since is lost, but for what the mirror's files show"
                    .to_owned(),
            );
        } else if let Some(Hole { after, last, .. }) = self.gap {
            missing(format!(
                "LSN {} to {last} are missing, and no snapshot is new enough to do without them; of \
                 each document the newest version that is left was taken",
                after.next()
            ));
        }
        problems.extend(self.scan.findings.iter().map(problem_of));
        problems
    }
}

/// Whether there was a log, as far as the rest of the store tells. The very first opening of a store
/// may have been cut off before it made one.
fn had_log(owner: Option<&Owner>, store: Option<StoreId>) -> bool {
    match owner.map(|owner| owner.stage) {
        Some(Stage::Opening { former }) => former.is_some(),
        Some(Stage::Open | Stage::Clean { .. }) => true,
        None => store.is_some(),
    }
}
