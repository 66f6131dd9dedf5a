//! What an edit comes to: merged with its document as it is now. Changes nothing.

use std::sync::Arc;

use crate::base::{ContentHash, Error, Lsn};
use crate::files::mirror::{Edit, Now, PutBack, Source, Theirs};
use crate::state::json::pretty;
use crate::state::merge::{difference, is_same, merge3};
use crate::state::{Doc, Op, Table};

/// An edit, and what it comes to.
#[derive(Clone, Debug)]
pub(crate) struct Merged {
    pub(crate) edit: Edit,
    /// The LSN of the document it was merged with; `None` if there is none.
    pub(crate) against: Option<Lsn>,
    pub(crate) outcome: Outcome,
}

impl Merged {
    /// Whether something loses, and is to be kept.
    pub(crate) fn must_keep(&self) -> bool {
        matches!(
            &self.outcome,
            Outcome::Change { conflict: Some(Conflict { keep: Some(_), .. }), .. }
        )
    }
}

#[derive(Clone, Debug)]
pub(crate) enum Outcome {
    /// The document changes to this, or is deleted.
    Change {
        op: Op,
        /// Whether the file means what the document will be.
        is_whole: bool,
        conflict: Option<Conflict>,
    },
    /// The document is that already; `is_whole`: the file means it, too.
    Nothing { is_whole: bool },
    /// It was removed, but its document has changed since: that wins.
    Restored,
    /// It cannot be taken in.
    Held(String),
}

/// What loses.
#[derive(Clone, Debug)]
pub(crate) struct Conflict {
    /// JSON pointers of what both sides changed; empty if one of them deleted the document.
    pub(crate) fields: Vec<String>,
    /// What goes to `conflicts/`, if there is anything: the engine's version.
    pub(crate) keep: Option<String>,
}

/// The versions that an edited file may have been made of.
pub(crate) struct Bases {
    /// Newest first; the first is what the file showed last.
    pub(crate) versions: Vec<Arc<str>>,
    /// Whether the first is the document as it is.
    pub(crate) shows_present: bool,
}

impl Bases {
    /// What took the place of an edit that was displaced is none of them: nobody had seen it.
    pub(crate) fn forget_displacing(&mut self, edit: &Edit) {
        let Source::Displaced(displaced) = edit.source() else { return };
        let is_by =
            |text: &Arc<str>| displaced.by == Some(ContentHash::of(pretty(text).as_bytes()));
        self.versions.retain(|text| !is_by(text));
    }
}

/// The one that an edit was made of: the one with the fewest differing members, the newest on ties.
/// Contents that were put back are an edit of what was there last.
pub(crate) fn base_of<'a>(bases: &'a Bases, theirs: &Theirs) -> Option<&'a Arc<str>> {
    let (last, earlier) = bases.versions.split_first()?;
    let is_earlier = || earlier.iter().any(|text| is_same(text, &theirs.text));
    let is_put_back = match theirs.put_back {
        PutBack::Yes => true,
        PutBack::IfEarlier => !is_same(last, &theirs.text) && is_earlier(),
        PutBack::No => false,
    };
    if is_put_back {
        return Some(last);
    }
    bases.versions.iter().min_by_key(|text| difference(text, &theirs.text))
}

/// What `edit` comes to in `table`.
pub(crate) fn merge(table: &Table, edit: Edit, bases: &Bases, document_bytes_max: usize) -> Merged {
    let present = table.get(edit.collection, edit.id.as_str());
    let against = present.map(|doc| doc.lsn());
    let outcome = match (&edit.now, present) {
        (Now::Gone, None) => Outcome::Nothing { is_whole: true },
        (Now::Gone, Some(_)) if !bases.shows_present => Outcome::Restored,
        (Now::Gone, Some(doc)) => Outcome::Change {
            op: Op::Delete { collection: edit.collection, id: edit.id.clone() },
            is_whole: true,
            conflict: Some(Conflict { fields: Vec::new(), keep: Some(pretty(doc.text())) }),
        },
        (Now::Text(theirs), present) => {
            of_text(&edit, theirs, present.map(|doc| &**doc), bases, document_bytes_max)
        }
    };
    Merged { edit, against, outcome }
}

fn of_text(
    edit: &Edit,
    theirs: &Theirs,
    present: Option<&Doc>,
    bases: &Bases,
    document_bytes_max: usize,
) -> Outcome {
    let put = |text: &str| match Op::put(edit.collection, text, document_bytes_max) {
        Ok(op) => Ok(op),
        Err(Error::Invalid { why, .. }) => Err(why),
        Err(error) => Err(error.to_string()),
    };
    let Some(doc) = present else {
        // What was deleted here and changed there lives on.
        let was_deleted = !bases.versions.is_empty();
        let conflict = was_deleted.then(|| Conflict { fields: Vec::new(), keep: None });
        return match put(&theirs.text) {
            Ok(op) => Outcome::Change { op, is_whole: theirs.source == Source::File, conflict },
            Err(why) => Outcome::Held(why),
        };
    };
    let ours = doc.text();
    if is_same(ours, &theirs.text) {
        return Outcome::Nothing { is_whole: true };
    }
    let merged = merge3(base_of(bases, theirs).map(|text| &**text), ours, &theirs.text);
    if is_same(ours, &merged.text) {
        return Outcome::Nothing { is_whole: false };
    }
    let is_whole = theirs.source == Source::File && is_same(&merged.text, &theirs.text);
    let conflict = (!merged.conflicts.is_empty())
        .then(|| Conflict { fields: merged.conflicts, keep: Some(pretty(ours)) });
    match put(&merged.text) {
        Ok(op) => Outcome::Change { op, is_whole, conflict },
        Err(why) => Outcome::Held(why),
    }
}
