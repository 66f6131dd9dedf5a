//! What an edited `state.json` comes to, document by document. Changes nothing.
//!
//! | of a document, the snapshot it was made of | and the file | then |
//! |---|---|---|
//! | has it | has it, meaning the same | nothing, whatever became of it since |
//! | has it | has it, changed | merged with it as it is now |
//! | has it | has it not | deleted if it has not changed since; not, if too many are gone to believe |
//! | has it not | has it | created, or merged without a base |
//! | is not known | has it | merged with the nearest earlier version that is left |
//! | is not known | has it not | nothing |

use std::collections::HashSet;

use super::load;
use super::merge::{Bases, Merged, Outcome, merge};
use crate::base::{DocumentId, Lsn};
use crate::engine::recovery::{StateEdit, file_of};
use crate::files::mirror::{Edit, Now, PutBack, Source, Theirs, deletions_max};
use crate::state::merge::is_same;
use crate::state::{Collection, Doc, Table};

/// What changes, and what else is to be told; or why the file cannot be taken in.
pub(super) fn merge_state(
    table: &Table,
    edit: &StateEdit,
    document_bytes_max: usize,
) -> Result<(Vec<Merged>, Vec<String>), String> {
    let mut merged = Vec::new();
    for (collection, id, text) in &edit.edited.documents {
        let base = edit.base.as_ref().and_then(|base| base.get(*collection, id.as_str()));
        if base.is_some_and(|doc| **doc.text() == **text || is_same(doc.text(), text)) {
            continue;
        }
        let versions = match base {
            Some(doc) => vec![doc.text().clone()],
            None => {
                edit.earlier.get(&(*collection, id.clone())).cloned().unwrap_or_default().versions
            }
        };
        let bases = Bases { versions, shows_present: false, is_doubtful: false };
        let now = Now::Text(Theirs {
            text: text.clone(),
            hash: edit.edited.hash,
            length: edit.edited.length,
            stat: None,
            put_back: PutBack::No,
            source: Source::State,
        });
        let one = merge(table, edit_of(*collection, id, now), &bases, document_bytes_max);
        if let Outcome::Held(why) = &one.outcome {
            return Err(format!("{collection} {:?}: {why}", id.as_str()));
        }
        merged.push(one);
    }
    let mut notes = ignored(edit);
    for collection in Collection::ALL {
        merge_absent(table, edit, collection, &mut merged, &mut notes);
    }
    Ok((merged, notes))
}

fn edit_of(collection: Collection, id: &DocumentId, now: Now) -> Edit {
    Edit { collection, id: id.clone(), file: file_of(collection, id), now }
}

/// The documents of the snapshot that are not in the file any more.
fn merge_absent(
    table: &Table,
    edit: &StateEdit,
    collection: Collection,
    merged: &mut Vec<Merged>,
    notes: &mut Vec<String>,
) {
    let Some(base) = &edit.base else { return };
    let there: HashSet<&DocumentId> = edit
        .edited
        .documents
        .iter()
        .filter(|(of, ..)| *of == collection)
        .map(|(_, id, _)| id)
        .collect();
    let all = base.sorted(collection);
    let absent: Vec<_> = all.iter().filter(|(id, _)| !there.contains(id)).collect();
    let gone: Vec<_> =
        absent.iter().filter(|(id, _)| table.get(collection, id.as_str()).is_some()).collect();
    let are_all_gone = absent.len() == all.len();
    if !gone.is_empty() && (are_all_gone || absent.len() > deletions_max(all.len())) {
        notes.push(format!(
            "{} of its {} {} were removed, which is too many to believe; they stay; to delete documents, use \
             `walden delete`",
            absent.len(),
            all.len(),
            collection.dir()
        ));
        return;
    }
    for (id, doc) in gone {
        let is_as_was = |now: &Doc| now.text() == doc.text() || is_same(now.text(), doc.text());
        let shows_present = table.get(collection, id.as_str()).is_some_and(|now| is_as_was(now));
        let bases = Bases { versions: vec![doc.text().clone()], shows_present, is_doubtful: false };
        merged.push(merge(table, edit_of(collection, id, Now::Gone), &bases, usize::MAX));
    }
}

/// What of the engine's own was changed, to no effect.
fn ignored(edit: &StateEdit) -> Vec<String> {
    let StateEdit { edited, base, last_saved, .. } = edit;
    let mut names = Vec::new();
    let computed = base.as_ref().and_then(|base| serde_json::to_string(&base.metrics()).ok());
    if computed.is_some_and(|computed| {
        edited.metrics.as_ref().is_none_or(|metrics| !is_same(&computed, metrics))
    }) {
        names.push("metrics");
    }
    let is_saved =
        |text: &String| edited.last_saved.as_ref().is_some_and(|raw| raw.trim_matches('"') == text);
    if last_saved.as_ref().is_some_and(|text| !is_saved(text)) {
        names.push("last_saved");
    }
    if edited.base.is_none() {
        names.push("engine");
    }
    let note =
        |name| format!("what was changed in its {name:?} is ignored: that is the engine's own");
    names.into_iter().map(note).collect()
}

/// What a state becomes by an edited `state.json` of a closed store, in memory alone.
pub(crate) fn preview_state(
    table: &mut Table,
    edit: &StateEdit,
    lsn: Lsn,
    document_bytes_max: usize,
) -> Vec<Merged> {
    // What cannot be merged is left.
    let merged = merge_state(table, edit, document_bytes_max);
    let merged = merged.map(|(merged, _)| merged).unwrap_or_default();
    for merged in &merged {
        load(table, merged, lsn);
    }
    merged
}
