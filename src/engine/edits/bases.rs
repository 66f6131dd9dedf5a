//! The versions that edited files showed: an edit is made of one of them.

use std::sync::Arc;

use super::Earlier;
use super::merge::{Bases, bases_of};
use crate::base::Result;
use crate::engine::checkpoint::Checkpointer;
use crate::engine::core::{Core, Writer};
use crate::engine::recovery::{Former, Plan, Wanted};
use crate::engine::view::read_plan;
use crate::files::mirror::{Displaced, Edit, Mirror, Now, Source};
use crate::files::names;
use crate::fs::{Fs, join};
use crate::state::merge::difference;
use crate::state::{Doc, Table};

/// What is in memory of the versions that the files of `edits` showed.
pub(super) fn open_bases(
    checkpointer: &Checkpointer,
    table: &Table,
    edits: &[Edit],
    writer: &Writer,
) -> Vec<Bases> {
    let of = |edit: &Edit| {
        let key = (edit.collection, edit.id.clone());
        let present = table.get(edit.collection, edit.id.as_str());
        let Checkpointer { mirror, past, .. } = checkpointer;
        let displaced = displaced(edit);
        // What took the place of a displaced one was not there when that was made.
        let is_shown = |doc: &&Arc<Doc>| match &displaced {
            Some(displaced) => displaced.shown.is_some_and(|shown| doc.lsn() <= shown),
            None => mirror.shows(&edit.file, doc.lsn()),
        };
        let present = present.filter(is_shown);
        let former = writer.dirty.former(edit.collection, &edit.id).filter(is_shown);
        let former = former.filter(|_| present.is_none());
        let shown = displaced.as_ref().and_then(|displaced| displaced.shown);
        let past = past.of(&key).into_iter();
        let past = past.filter(|doc| shown.is_none_or(|shown| doc.lsn() <= shown));
        let versions = present.into_iter().chain(former).chain(past);
        Bases {
            versions: versions.map(|doc| doc.text().clone()).collect(),
            shows_present: present.is_some(),
            is_doubtful: displaced.as_ref().is_some_and(|displaced| displaced.is_doubtful)
                || mirror.is_doubtful(&edit.file),
        }
    };
    edits.iter().map(of).collect()
}

/// The versions that the file of an edit showed, where the store was closed when it was made.
pub(super) fn closed_bases(table: &Table, edit: &Edit, earlier: Option<&Earlier>) -> Bases {
    let key = (edit.collection, edit.id.clone());
    let former = earlier.and_then(|earlier| earlier.get(&key)).cloned().unwrap_or_default();
    let Former { versions, is_doubtful } = former;
    let present = table.get(edit.collection, edit.id.as_str());
    // A file is known to have been removed only where it showed the document as it is.
    let shows_present = matches!(edit.now, Now::Gone)
        || present.is_some_and(|doc| versions.first().is_some_and(|text| text == doc.text()));
    Bases { versions, shows_present, is_doubtful }
}

fn displaced(edit: &Edit) -> Option<Displaced> {
    match edit.source() {
        Source::Displaced(displaced) => Some(displaced),
        Source::File | Source::State => None,
    }
}

/// Whether an edit is of a file that the engine gives to its document.
fn is_own(edit: &Edit) -> bool {
    let is_it = |name: String| join(edit.collection.dir(), &name) == edit.file;
    names::forms(&edit.id).into_iter().any(is_it)
}

/// The earlier versions of the documents of edits, by what is on the disk; `mirror` is that of an open store.
pub(crate) fn earlier_versions<'a>(
    plan: &Plan,
    fs: &dyn Fs,
    edits: impl IntoIterator<Item = &'a Edit>,
    mirror: Option<&Mirror>,
) -> Result<Earlier> {
    let wanted = |edit: &Edit| Wanted {
        key: (edit.collection, edit.id.clone()),
        // What somebody made under a name of their own may be a copy of any.
        file: is_own(edit).then(|| edit.file.clone()),
        last: match displaced(edit) {
            Some(displaced) => displaced.shown,
            None => mirror.and_then(|mirror| mirror.shown_as_of(&edit.file)),
        },
    };
    plan.history(fs, edits.into_iter().map(wanted))
}

impl Core {
    /// Adds what snapshots and log tell of earlier versions, where memory may lack the right one: an edit of
    /// one member of a version in memory cannot be nearer to any other.
    pub(super) fn add_rebuilt(
        &self,
        checkpointer: &Checkpointer,
        edits: &[Edit],
        bases: &mut [Bases],
    ) {
        let now = self.around.clock.monotonic();
        if !checkpointer.past.may_lack(now) {
            return;
        }
        let is_far = |edit: &Edit, bases: &Bases| match &edit.now {
            Now::Gone => false,
            Now::Text(_) if !checkpointer.mirror.knows(&edit.file) => false,
            Now::Text(theirs) => {
                let base = bases_of(bases, theirs).into_iter().next();
                base.is_none_or(|base| difference(base, &theirs.text) > 1)
            }
        };
        let far: Vec<&Edit> = edits
            .iter()
            .zip(bases.iter())
            .filter(|(edit, bases)| is_far(edit, bases))
            .map(|(edit, _)| edit)
            .collect();
        if far.is_empty() {
            return;
        }
        let fs = &*self.around.fs;
        let rebuilt = read_plan(fs)
            .and_then(|(plan, _)| earlier_versions(&plan, fs, far, Some(&checkpointer.mirror)));
        let mut rebuilt = match rebuilt {
            Ok(rebuilt) => rebuilt,
            Err(error) => {
                tracing::warn!(%error, "edits are merged with what is in memory");
                return;
            }
        };
        for (edit, bases) in edits.iter().zip(bases) {
            let key = (edit.collection, edit.id.clone());
            bases.versions.extend(rebuilt.remove(&key).unwrap_or_default().versions);
        }
    }
}
