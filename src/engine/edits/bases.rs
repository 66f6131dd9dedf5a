//! The versions that edited files showed: an edit is made of one of them.

use std::sync::Arc;

use super::Earlier;
use super::merge::Bases;
use crate::engine::checkpoint::Checkpointer;
use crate::engine::core::Writer;
use crate::files::mirror::{Edit, Now, Source};
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
        let is_shown = |doc: &&Arc<Doc>| checkpointer.mirror.shows(&edit.file, doc.lsn());
        // What took the place of a displaced one was not there when that was made.
        let is_displaced = matches!(edit.source(), Source::Displaced(_));
        let is_shown = |doc: &&Arc<Doc>| !is_displaced && is_shown(doc);
        let present = present.filter(is_shown);
        let former = writer.dirty.former(edit.collection, &edit.id).filter(is_shown);
        let former = former.filter(|_| present.is_none());
        let past = checkpointer.past.of(&key);
        let versions = present.into_iter().chain(former).chain(past);
        Bases {
            versions: versions.map(|doc| doc.text().clone()).collect(),
            shows_present: present.is_some(),
        }
    };
    edits.iter().map(of).collect()
}

/// The versions that the file of an edit showed, where the store was closed when it was made.
pub(super) fn closed_bases(table: &Table, edit: &Edit, earlier: Option<&Earlier>) -> Bases {
    let key = (edit.collection, edit.id.clone());
    let versions = earlier.and_then(|earlier| earlier.get(&key)).cloned().unwrap_or_default();
    let present = table.get(edit.collection, edit.id.as_str());
    // A file is known to have been removed only where it showed the document as it is.
    let shows_present = matches!(edit.now, Now::Gone)
        || present.is_some_and(|doc| versions.first().is_some_and(|text| text == doc.text()));
    Bases { versions, shows_present }
}
