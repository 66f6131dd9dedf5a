//! The checks of the oracle: each says what is wrong, and changes nothing but what it counts.

use std::collections::{BTreeMap, BTreeSet};

use super::super::person::file_of;
use super::{Change, Claim, Found, Oracle, Save, Stage, What, parse};

impl Oracle {
    /// What holds at every instant: W and D. `kept` are the numbers in `conflicts/`.
    pub(in crate::edits_sim) fn check(
        &mut self,
        found: &Found,
        kept: &BTreeSet<u64>,
    ) -> Result<(), String> {
        self.adopt(found);
        for (id, fields) in found {
            if self.last.get(id) != Some(fields) {
                self.trace(|| format!("in force: {id} {:?}", fields.values().collect::<Vec<_>>()));
            }
        }
        self.met.extend(found.values().flat_map(|fields| fields.values()));
        let gone = self.last.iter().filter(|(id, fields)| found.get(*id) != Some(fields));
        let gone = gone.map(|(id, fields)| ((id.clone(), fields.clone()), self.last_at));
        self.former.extend(gone);
        (self.last, self.last_at) = (found.clone(), self.moment());
        for (at, claim) in self.claims.iter().enumerate() {
            if claim.stage < Stage::Acked {
                continue;
            }
            match &claim.field {
                Some((field, value)) => self.check_value(at, field, *value, found, kept)?,
                None => self.check_deletion(claim, found)?,
            }
        }
        let ids: BTreeSet<&String> = self.claims.iter().map(|claim| &claim.id).collect();
        ids.into_iter().try_for_each(|id| self.check_gone(id, found))
    }

    fn check_value(
        &self,
        at: usize,
        field: &str,
        value: u64,
        found: &Found,
        kept: &BTreeSet<u64>,
    ) -> Result<(), String> {
        let claim = &self.claims[at];
        let in_force = found.get(&claim.id).and_then(|fields| fields.get(field));
        let is_later = |later: &Claim| {
            let is_same = later.field.as_ref().is_none_or(|(of, _)| of == field);
            later.id == claim.id && later.at > claim.at && is_same && later.stage > Stage::Void
        };
        let is_overwritten = || self.claims.iter().any(|later| !later.is_edit && is_later(later));
        if in_force == Some(&value) || kept.contains(&value) || is_overwritten() {
            return Ok(());
        }
        let mut saves = self.saves.iter().filter(|save| save.id == claim.id);
        let is_knowing = |save: &Save| {
            let is_changed = match &save.what {
                What::Edit { .. } => save.is_loose || save.perhaps.contains_key(field),
                What::PutBack => true,
                What::Broken(_) | What::Removed => false,
            };
            // After a crash nobody can tell whether a file came to show what it was recorded to show.
            let is_in_doubt = save.is_crashed || save.what == What::PutBack && self.has_crashed;
            is_changed && (is_in_doubt || self.showed(&save.file, field, value, save.at))
        };
        if saves.any(is_knowing) {
            return Ok(());
        }
        Err(format!("W: {field} of {} was {value} ({claim:?}), and is {in_force:?}", claim.id))
    }

    /// Whether a file showed a number in a field before a time.
    fn showed(&self, file: &str, field: &str, value: u64, before: u64) -> bool {
        let shown = self.shown.get(file).into_iter().flatten();
        shown.filter(|(at, _)| *at < before).any(|(_, bytes)| {
            parse(bytes).is_some_and(|(_, fields)| fields.get(field) == Some(&value))
        })
    }

    /// D: what a program deleted is back only by a write or a person's save.
    fn check_deletion(&self, deletion: &Claim, found: &Found) -> Result<(), String> {
        let is_back = found.contains_key(&deletion.id);
        let written = self.claims.iter().any(|claim| {
            let is_later = claim.at > deletion.at && claim.stage > Stage::Void;
            claim.id == deletion.id && claim.field.is_some() && is_later
        });
        let saved = self.saves.iter().any(|save| {
            let is_save = save.what != What::Removed && save.id == deletion.id;
            is_save && save.adopted.is_none_or(|adopted| adopted > deletion.at)
        });
        if is_back && !written && !saved {
            return Err(format!("D: {} was deleted and is back: {deletion:?}", deletion.id));
        }
        Ok(())
    }

    /// D: a document is gone only if somebody deleted it after the last write of it.
    fn check_gone(&self, id: &str, found: &Found) -> Result<(), String> {
        if found.contains_key(id) {
            return Ok(());
        }
        let of_id = || self.claims.iter().filter(|claim| claim.id == id);
        let promised = of_id().filter(|claim| claim.stage >= Stage::Acked && claim.field.is_some());
        let Some(last) = promised.map(|claim| claim.made).max() else { return Ok(()) };
        let deleted = of_id()
            .any(|claim| claim.field.is_none() && claim.at > last && claim.stage > Stage::Void);
        let removed = |save: &Save| save.id == id && save.what == What::Removed && save.at > last;
        if deleted || self.saves.iter().any(removed) {
            return Ok(());
        }
        Err(format!("D: {id} is gone, and nobody deleted it since {last}"))
    }

    /// E: what people left in files before `until` has been taken in.
    pub(in crate::edits_sim) fn check_edits(
        &mut self,
        found: &Found,
        kept: &BTreeSet<u64>,
        until: u64,
    ) -> Result<(), String> {
        let mut last: BTreeMap<&str, &Save> = BTreeMap::new();
        last.extend(self.saves.iter().map(|save| (save.id.as_str(), save)));
        let (mut only_kept, claimed) = (0, self.claimed());
        for save in last.into_values().filter(|save| save.adopted.is_none() && save.at <= until) {
            let What::Edit { changed } = &save.what else { continue };
            let fields = found.get(&save.id);
            for (field, change) in changed {
                let now = fields.and_then(|fields| fields.get(field));
                match change {
                    _ if change.is_of(&claimed) || change.is_of(&self.met) => {}
                    _ if fields.is_some()
                        && change.is_in_force(now, save.is_loose || save.is_crashed) => {}
                    Change::Set(value) if kept.contains(value) && save.in_call => only_kept += 1,
                    // A change of the program's won over it, and then a deletion.
                    Change::Removed(_) if fields.is_none() && self.was_deleted(&save.id) => {}
                    // Nothing tells that they did not begin with contents that lacked it.
                    Change::Removed(_) if self.lacked(save, field) => {}
                    // It is in the file still, which counts no more.
                    Change::Removed(_) if save.file.contains("/my ") => {}
                    _ => {
                        return Err(format!(
                            "E: {field} = {change:?} is lost: {save:?}; {fields:?}"
                        ));
                    }
                }
            }
        }
        for _ in 0..only_kept {
            self.tally.count("edits that are in conflicts/ alone");
        }
        Ok(())
    }

    /// Whether contents are the beginning of what a file showed: nothing is lost with them.
    fn is_part(&self, file: &str, bytes: &[u8]) -> bool {
        let mut shown = self.shown.get(file).into_iter().flatten();
        shown.any(|(_, known)| known != bytes && known.starts_with(bytes))
    }

    /// Whether a file showed its document without a field before a save.
    fn lacked(&self, save: &Save, field: &str) -> bool {
        let shown = self.shown.get(&save.file).into_iter().flatten();
        let mut before = shown.filter(|(at, _)| *at < save.at);
        before.any(|(_, bytes)| parse(bytes).is_some_and(|(_, fields)| !fields.contains_key(field)))
    }

    /// Whether a program has deleted a document.
    fn was_deleted(&self, id: &str) -> bool {
        self.claims.iter().any(|claim| claim.id == id && claim.field.is_none())
    }

    /// The time, to be given to [`Oracle::check_edits`].
    pub(in crate::edits_sim) fn now(&self) -> u64 {
        self.now
    }

    /// H: what is not to be understood is as it was left. `holds` says whether a file holds such bytes, or
    /// any file of a directory does.
    pub(in crate::edits_sim) fn check_held(
        &mut self,
        holds: impl Fn(&str, &[u8]) -> bool,
    ) -> Result<(), String> {
        let mut last: BTreeMap<&str, &Save> = BTreeMap::new();
        last.extend(self.saves.iter().map(|save| (save.file.as_str(), save)));
        let mut held = 0;
        for (file, save) in last {
            let What::Broken(bytes) = &save.what else { continue };
            held += 1;
            let is_aside = save.in_call && (bytes.is_empty() || holds("conflicts/", bytes));
            // What a crash may have left of the engine's own work is set aside, or is nothing.
            let is_torn = save.is_crashed && holds("quarantine/", bytes)
                || self.has_crashed && self.is_part(file, bytes);
            if !holds(file, bytes) && !is_aside && !is_torn {
                let text = String::from_utf8_lossy(bytes);
                return Err(format!("H: {file} does not hold {text:?} any more: {save:?}"));
            }
        }
        if held > 0 {
            self.tally.count("looks at held files");
        }
        Ok(())
    }

    /// M: every file that can be understood shows its document.
    pub(in crate::edits_sim) fn check_mirror(
        &self,
        found: &Found,
        files: &BTreeMap<String, Vec<u8>>,
    ) -> Result<(), String> {
        for (id, fields) in found {
            let file = file_of(id);
            let shown = files.get(&file).and_then(|bytes| parse(bytes));
            if !self.is_broken(&file) && shown.as_ref() != Some(&(id.clone(), fields.clone())) {
                return Err(format!("M: {file} shows {shown:?}, and not {fields:?}"));
            }
        }
        for file in files.keys() {
            let (_, name) = file.split_once('/').expect("a mirror file");
            let is_own = found.contains_key(name.trim_end_matches(".json"));
            if !is_own && !self.is_broken(file) && !name.starts_with("my ") {
                return Err(format!("M: {file} is of no document"));
            }
        }
        Ok(())
    }
}
