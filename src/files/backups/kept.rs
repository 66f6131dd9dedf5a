//! The backups of an open store: which of them the log's cut may rely on, which go.
//!
//! A backup is relied on, or removed, only once it is proved to be an intact snapshot of this store.
//! What was proved in this process is not read again while its stat stays the same. One that is not
//! intact, since a person wrote into it or since it rotted, is moved to `conflicts/` when that is
//! found: from then on it neither goes nor counts.
//!
//! Invariant: the *previous* snapshot, the intact backup with the highest LSN below the present
//! snapshot's, is never removed, and no backup at or above the present snapshot either; so the log
//! and what stays hold the whole state, also without `state.json`.

use std::collections::{HashMap, HashSet};

use super::{Backup, Retention, list, named_lsn};
use crate::base::{Lsn, Problem, ProblemKind, Result, StoreId, Timestamp};
use crate::files::conflicts::{is_open_for_writing, keep_open, sync_dir};
use crate::files::snapshot::{Defect, Saved, prove};
use crate::files::stat;
use crate::fs::replace::remove_if_any;
use crate::fs::{Fs, Stat};

/// The backups of one store, and what is known of them.
#[derive(Debug)]
pub struct Backups {
    store: StoreId,
    /// By name: the stat with which a backup was proved, and its LSN.
    proved: HashMap<String, (Stat, Lsn)>,
    /// Names of those that cannot be read, which is told once.
    told: HashSet<String>,
    /// The LSN of one that an edit may be made of, and that is kept for it.
    spared: Option<Lsn>,
}

/// A backup that names this store, proved or not.
#[derive(Clone, Debug)]
struct Own {
    name: String,
    time: Timestamp,
    stat: Stat,
    lsn: Lsn,
}

impl Backups {
    /// Of this store, nothing proved yet.
    pub fn new(store: StoreId) -> Backups {
        Backups { store, proved: HashMap::new(), told: HashSet::new(), spared: None }
    }

    /// Keeps the backups of this LSN until another is named.
    pub fn spare(&mut self, lsn: Option<Lsn>) {
        self.spared = lsn;
    }

    /// Takes over what a save knows of the backup that it made. One that is not taken over is proved
    /// when it matters, and then it is told if it cannot be read.
    pub fn admit(&mut self, fs: &dyn Fs, saved: &Saved) {
        if let (Some(name), Some(stat)) = (&saved.backup, saved.backup_stat)
            && let Ok(Some(lsn)) = named_lsn(fs, name, self.store)
        {
            self.proved.insert(name.clone(), (stat, lsn));
        }
    }

    /// The LSN of the previous snapshot: the highest below `present` of all backups that are proved
    /// intact. The log may be cut up to there. What is wrong with others is added to `problems`.
    pub fn previous(
        &mut self,
        fs: &dyn Fs,
        present: Lsn,
        problems: &mut Vec<Problem>,
    ) -> Result<Option<Lsn>> {
        let own = self.own(fs, problems)?;
        Ok(self.find_previous(fs, &own, present, problems)?.map(|own| own.lsn))
    }

    /// Removes what `retention` does not keep beside the previous snapshot, and says which.
    ///
    /// To stay cheap, the backups that are kept are counted by the store that they name; what goes is
    /// proved.
    pub fn prune(
        &mut self,
        fs: &dyn Fs,
        retention: &Retention,
        present: Lsn,
        problems: &mut Vec<Problem>,
    ) -> Result<Vec<String>> {
        let own = self.own(fs, problems)?;
        let sizes: Vec<_> = own.iter().map(|own| (own.time, own.stat.size_bytes)).collect();
        let surplus = retention.surplus(&sizes);
        if surplus.is_empty() {
            return Ok(Vec::new());
        }
        let Some(previous) = self.find_previous(fs, &own, present, problems)? else {
            return Ok(Vec::new());
        };
        let mut removed = Vec::new();
        for candidate in surplus.into_iter().filter_map(|place| own.get(place)) {
            if self.is_surplus(fs, candidate, &previous, present, problems)? {
                self.remove(fs, candidate)?;
                removed.push(candidate.name.clone());
            }
        }
        if !removed.is_empty() {
            sync_dir(fs, "")?;
        }
        Ok(removed)
    }

    /// Removes the oldest backup but for the previous snapshot, to make room; `false` if there is
    /// none that would make any.
    pub fn free_one(
        &mut self,
        fs: &dyn Fs,
        present: Lsn,
        problems: &mut Vec<Problem>,
    ) -> Result<bool> {
        let own = self.own(fs, problems)?;
        let Some(previous) = self.find_previous(fs, &own, present, problems)? else {
            return Ok(false);
        };
        for candidate in own.iter().filter(|own| own.stat.links == 1) {
            if self.is_surplus(fs, candidate, &previous, present, problems)? {
                self.remove(fs, candidate)?;
                sync_dir(fs, "")?;
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The backups that name this store, oldest first.
    fn own(&mut self, fs: &dyn Fs, problems: &mut Vec<Problem>) -> Result<Vec<Own>> {
        let mut own = Vec::new();
        for Backup { name, time } in list(fs)? {
            let Some(stat) = stat(fs, &name)? else { continue };
            let known = self.proved.get(&name).filter(|(proved, _)| *proved == stat);
            let lsn = match known {
                Some((_, lsn)) => Some(*lsn),
                None => match named_lsn(fs, &name, self.store) {
                    Ok(lsn) => lsn,
                    Err(error) => {
                        self.tell(&name, error.to_string(), problems);
                        None
                    }
                },
            };
            own.extend(lsn.map(|lsn| Own { name, time, stat, lsn }));
        }
        self.proved.retain(|name, _| own.iter().any(|own| own.name == *name));
        Ok(own)
    }

    fn find_previous(
        &mut self,
        fs: &dyn Fs,
        own: &[Own],
        present: Lsn,
        problems: &mut Vec<Problem>,
    ) -> Result<Option<Own>> {
        let mut below: Vec<&Own> = own.iter().filter(|own| own.lsn < present).collect();
        below.sort_unstable_by_key(|own| std::cmp::Reverse((own.lsn, &own.name)));
        for candidate in below {
            if self.is_proved(fs, candidate, problems)? {
                return Ok(Some(candidate.clone()));
            }
        }
        Ok(None)
    }

    /// Whether a backup may be removed.
    fn is_surplus(
        &mut self,
        fs: &dyn Fs,
        own: &Own,
        previous: &Own,
        present: Lsn,
        problems: &mut Vec<Problem>,
    ) -> Result<bool> {
        let is_needed = own.name == previous.name || Some(own.lsn) == self.spared;
        let may_go = !is_needed && own.lsn < present;
        Ok(may_go && self.is_proved(fs, own, problems)?)
    }

    /// Whether a backup is an intact snapshot of this store, with the LSN that it names. One that is
    /// damaged is moved away, unless somebody is still writing it.
    fn is_proved(&mut self, fs: &dyn Fs, own: &Own, problems: &mut Vec<Problem>) -> Result<bool> {
        let Own { name, stat, lsn, .. } = own;
        if self.proved.get(name).is_some_and(|(proved, _)| proved == stat) {
            return Ok(true);
        }
        let proved = match prove(fs, name) {
            Ok(proved) => proved,
            Err(error) => {
                self.tell(name, error.to_string(), problems);
                return Ok(false);
            }
        };
        match proved {
            Some(Ok(base)) if base == (self.store, *lsn) => {
                self.proved.insert(name.clone(), (*stat, *lsn));
                Ok(true)
            }
            // It is gone, or another one has its name by now: the next look takes it as it is.
            None | Some(Ok(_)) => Ok(false),
            Some(Err(defect @ (Defect::Unreadable { .. } | Defect::Unsupported { .. }))) => {
                self.tell(name, defect.to_string(), problems);
                Ok(false)
            }
            Some(Err(_)) if is_open_for_writing(fs, name)? => Ok(false),
            Some(Err(defect)) => {
                let kept = keep_open(fs, name, name)?;
                remove_if_any(fs, name)?;
                let detail = format!("{defect}; it is no backup any more and is kept as {kept}");
                problems.push(Problem::new(defect.kind(), name, 0, detail));
                Ok(false)
            }
        }
    }

    fn remove(&mut self, fs: &dyn Fs, own: &Own) -> Result<()> {
        remove_if_any(fs, &own.name)?;
        self.proved.remove(&own.name);
        Ok(())
    }

    fn tell(&mut self, name: &str, why: String, problems: &mut Vec<Problem>) {
        if self.told.insert(name.to_owned()) {
            problems.push(Problem::new(ProblemKind::Unreadable, name, 0, why));
        }
    }
}

#[cfg(test)]
#[path = "kept_tests.rs"]
mod tests;
