//! Which files are to be looked at, and when: what was seen or heard of them and not judged yet.
//!
//! It decides nothing about a file but that it is as the engine knows it, by its `stat` alone; only such a
//! one is left out of a look.

use std::collections::BTreeSet;
use std::time::Duration;

use super::look::BELIEVED_AFTER;
use super::{Mirror, Target};
use crate::files::names;
use crate::fs::{Fs, Stat};

impl Mirror {
    /// The files that are to be looked at again soon.
    pub fn looks_again(&self) -> BTreeSet<String> {
        let displaced = self.displaced.iter().map(|displaced| &displaced.file);
        self.noticed.iter().chain(self.unsettled.keys()).chain(displaced).cloned().collect()
    }

    /// Those of them for which it is time at `now`: whether a file is gone is not asked over and over.
    pub fn looks_again_at(&self, now: Duration) -> BTreeSet<String> {
        let is_time = self.gone_by().is_none_or(|due| due <= now);
        let unsettled = self.unsettled.iter().filter(|(_, (stat, _))| stat.is_some() || is_time);
        let lingering = self.lingering.values().filter(|one| one.due <= now);
        let unsettled = unsettled.map(|(file, _)| file);
        let files = self.noticed.iter().chain(unsettled).chain(lingering.map(|one| &one.file));
        files.cloned().collect()
    }

    /// When the first of them is to be looked at again: at once, or by when a file must be gone.
    pub fn next_look(&self) -> Option<Duration> {
        let is_there = self.unsettled.values().any(|(stat, _)| stat.is_some());
        if is_there || !self.noticed.is_empty() {
            return Some(Duration::ZERO);
        }
        let lingering = self.lingering.values().map(|one| one.due);
        lingering.chain(self.gone_by()).min()
    }

    /// When it is to be believed that the files that are not there are gone: some time after the last went.
    fn gone_by(&self) -> Option<Duration> {
        let gone = self.unsettled.values().filter(|(stat, _)| stat.is_none());
        gone.map(|(_, since)| since.saturating_add(BELIEVED_AFTER)).max()
    }

    /// Leaves out the files that are as the engine knows them: most of what happens is its own doing.
    pub fn drop_known(&self, fs: &dyn Fs, files: &mut BTreeSet<String>) {
        files.retain(|file| {
            let Some((_, name)) = file.split_once('/') else { return true };
            let is_noted = self.noticed.contains(file) || self.unsettled.contains_key(file);
            if !is_noted && (name.strip_suffix(".json").is_none() || names::is_editor_file(name)) {
                return false;
            }
            match fs.stat(file) {
                Ok(Some(stat)) => is_noted || !self.is_as_known(file, stat),
                Ok(None) => is_noted || self.is_expected(file),
                Err(_) => true,
            }
        });
    }

    /// Whether a file with this `stat` is as the engine left it, or as it was when it was last judged.
    pub(super) fn is_as_known(&self, file: &str, stat: Stat) -> bool {
        let is_judged = |known: Option<&Option<Stat>>| known == Some(&Some(stat));
        let placed = self.placed.get(file).filter(|_| !self.held.contains_key(file));
        placed.is_some_and(|placed| placed.is_untouched(Some(&stat)))
            || is_judged(self.held.get(file))
            || self.strangers.get(file).is_some_and(|stranger| stranger.stat == Some(stat))
    }

    /// Whether the engine left something in this file.
    pub(super) fn is_expected(&self, file: &str) -> bool {
        let is_known = self.placed.contains_key(file) || self.held.contains_key(file);
        is_known && self.pending.get(file) != Some(&Target::Nothing)
    }

    /// Nothing in this file needs another look.
    pub(super) fn forget_doubt(&mut self, file: &str) {
        self.noticed.remove(file);
        self.unsettled.remove(file);
    }
}
