//! What the oracle knows of saves: which were told, and which of them may still be to come.

use std::collections::BTreeMap;

use super::{Change, Changed, Oracle, Save, What};

impl Oracle {
    /// An edit was told. P: no more than were made.
    pub(in crate::edits_sim) fn told(&mut self, id: &str) -> Result<(), String> {
        self.tally.count("edits told");
        let told = self.told.entry(id.to_owned()).or_default();
        *told += 1;
        let made = self.saves.iter_mut().filter(|save| save.id == id);
        let made = made.map(|save| save.is_told = true).count();
        let told = *told;
        if told > made {
            return Err(format!("P: {told} edits of {id} were told, but people made {made}"));
        }
        Ok(())
    }

    /// Whether people ever did anything.
    pub(in crate::edits_sim) fn has_saves(&self) -> bool {
        !self.saves.is_empty()
    }

    /// What a person changed by a save that was not taken in yet.
    pub(in crate::edits_sim) fn pending(&self, save: usize) -> Changed {
        match self.saves.get(save) {
            Some(Save { what: What::Edit { changed }, adopted: None, is_told: false, .. }) => {
                // A later save of the same file may have brought it in.
                let changed = changed.iter().filter(|(_, change)| !change.is_of(&self.met));
                changed.map(|(field, change)| (field.clone(), *change)).collect()
            }
            _ => BTreeMap::new(),
        }
    }

    /// What a person changed by a save, or before it, and was never seen in force: whether it was taken in
    /// before somebody else changed that, nobody knows.
    pub(in crate::edits_sim) fn unmet(&self, save: usize) -> Changed {
        let Some(Save { perhaps, adopted, .. }) = self.saves.get(save) else {
            return Changed::new();
        };
        let is_unmet = |change: &Change| match change {
            Change::Set(_) => !change.is_of(&self.met),
            Change::Removed(_) => adopted.is_none(),
        };
        let unmet = perhaps.iter().filter(|(_, change)| is_unmet(change));
        unmet.map(|(field, change)| (field.clone(), *change)).collect()
    }

    /// The last save of a file, and whether it put something back.
    pub(in crate::edits_sim) fn last_save(&self, file: &str) -> Option<(usize, bool)> {
        let at = self.saves.iter().rposition(|save| save.file == file)?;
        Some((at, self.saves[at].what == What::PutBack))
    }

    /// Whether the last that a person did to a file makes it one that is not to be understood.
    pub(in crate::edits_sim) fn is_broken(&self, file: &str) -> bool {
        let last = self.saves.iter().rfind(|save| save.file == file);
        last.is_some_and(|save| matches!(save.what, What::Broken(_)))
    }
}
