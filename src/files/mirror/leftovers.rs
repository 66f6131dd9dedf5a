//! What a crash, or a call that failed, left in `wal/` of half-done changes of mirror files.
//!
//! Opening judges what each holds, and changes nothing. They are settled before the first change, and what an
//! open store left so before its next pass: what is the engine's goes, what is a person's is moved to
//! `conflicts/`. What is known of a leftover says nothing of the file itself: the same contents there may have
//! been put back by a person.

use std::collections::BTreeMap;

use super::Mirror;
use super::contents::{id_inside, id_of_plain, is_laid_out_otherwise};
use super::dir::list;
use super::judge::{BYTES_MAX, Contents, Judge, Stop, placed};
use crate::base::{ContentHash, Problem, ProblemKind, Result};
use crate::files::names::{self, MIRROR_PART, WAL};
use crate::fs::replace::remove_if_any;
use crate::fs::{Fs, Kind, join};
use crate::state::Collection;

/// By file, as in `tasks/a.json`: what may be removed under its swap name in `wal/`, which is the engine's own, or
/// damage of which there is a copy.
pub(super) type Leftovers = BTreeMap<String, Vec<ContentHash>>;

impl Mirror {
    /// Files in `wal/` in which a crash left what came out of a mirror file's place, or was to go
    /// there.
    pub(super) fn judge_leftovers(&mut self, judge: &mut Judge<'_>) -> Result<()> {
        for entry in list(judge.fs, WAL)? {
            let Some(file) = names::parse_swap(&entry.name) else { continue };
            let path = join(WAL, &entry.name);
            let ours = match (judge.of_leftover(&path, &file, entry.kind, self), judge.stop) {
                (Some(Contents::Rotten(found) | Contents::Earlier(found)), _)
                | (Some(Contents::Torn(found) | Contents::Blank(found)), Stop::Unclean) => {
                    vec![found.hash]
                }
                _ => {
                    let detail = format!(
                        "it was taken out of the place of {file}, and somebody had changed it; it belongs in \
                         conflicts/"
                    );
                    judge.report(ProblemKind::Edited, &path, detail);
                    Vec::new()
                }
            };
            self.remember(file, ours);
        }
        Ok(())
    }

    /// Notes that a change of a file failed, perhaps half-way: what is in `wal/` of it, and is of these contents,
    /// may go.
    pub(super) fn left_half_way(&mut self, fs: &dyn Fs, file: &str, ours: Vec<ContentHash>) {
        if !matches!(fs.stat(&names::swap(file)), Ok(None)) {
            self.remember(file.to_owned(), ours);
        }
    }

    fn remember(&mut self, file: String, ours: Vec<ContentHash>) {
        let known = self.leftovers.entry(file).or_default();
        for hash in ours {
            if !known.contains(&hash) {
                known.push(hash);
            }
        }
    }

    /// What may be in `wal/` of changes that failed half-way, by the hashes of what is the engine's.
    pub(super) fn half_done(&self) -> impl Iterator<Item = (&str, ContentHash)> {
        let each = self.leftovers.iter();
        each.flat_map(|(file, ours)| ours.iter().map(|hash| (file.as_str(), *hash)))
    }

    /// Removes what a crash left of half-done changes, after [`Mirror::open`] has judged it; what
    /// of it was a person's is moved to `conflicts/` and reported. To be done before any change.
    pub fn settle_leftovers(&mut self, fs: &dyn Fs) -> Result<()> {
        remove_if_any(fs, MIRROR_PART)?;
        self.settle_half_done(fs)
    }

    /// What was found and is not reported yet: [`Mirror::apply`] gives it with the next change.
    pub fn take_found(&mut self) -> Vec<Problem> {
        std::mem::take(&mut self.unreported)
    }

    /// The same of changes that failed. One that cannot be settled stays, and does not keep others from it; the
    /// first failure is given.
    pub(super) fn settle_half_done(&mut self, fs: &dyn Fs) -> Result<()> {
        let mut settled = Ok(());
        for (file, known) in std::mem::take(&mut self.leftovers) {
            let ours: Vec<ContentHash> = self.ours(&file).into_iter().chain(known).collect();
            let before = self.displaced.len();
            let mut problems = Vec::new();
            if let Err(error) = self.settle(fs, &file, &ours, &mut problems) {
                self.remember(file, ours);
                settled = settled.and(Err(error));
            }
            // What the file shows now may be what took their place.
            for displaced in self.displaced.iter_mut().skip(before) {
                (displaced.shown, displaced.is_doubtful) = (None, false);
            }
            self.unreported.extend(problems);
        }
        settled
    }
}

impl Judge<'_> {
    fn of_leftover(&self, path: &str, file: &str, kind: Kind, mirror: &Mirror) -> Option<Contents> {
        let bytes = self.read(path, kind, BYTES_MAX).ok()?;
        let found = placed(&bytes);
        if self.is_quarantined(path, file, found.hash) {
            return Some(Contents::Rotten(found));
        }
        let (dir, name) = file.split_once('/')?;
        let collection = Collection::ALL.into_iter().find(|each| each.dir() == dir)?;
        let id = id_inside(&bytes)
            .filter(|id| names::forms(id).iter().any(|form| form == name))
            .or_else(|| id_of_plain(name))
            .or_else(|| {
                let mut ids = self.table.iter(collection).map(|(id, _)| id);
                ids.find(|id| mirror.names(collection).file_name(id) == name).cloned()
            });
        let renditions = id.map(|id| self.renditions(collection, &id)).unwrap_or_default();
        if renditions.iter().any(|text| is_laid_out_otherwise(&bytes, text)) {
            return Some(Contents::Earlier(found));
        }
        self.engines_own(file, &bytes, &renditions)
    }
}
