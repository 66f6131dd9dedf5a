//! What an edit comes to: merged with its document as it is now. Changes nothing.

use std::sync::Arc;

use crate::base::{Error, Lsn};
use crate::files::mirror::{Edit, Now, PutBack, Source, Theirs};
use crate::state::json::pretty;
use crate::state::merge::{difference, field_changes, is_same, merge3};
use crate::state::{self, Doc, Op, Table};

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
    /// Whether it may have been made of none of them.
    pub(crate) is_doubtful: bool,
}

/// Those that an edit may have been made of: those with the fewest differing members, newest first.
/// Contents that were put back are an edit of what was there last.
pub(crate) fn bases_of<'a>(bases: &'a Bases, theirs: &Theirs) -> Vec<&'a Arc<str>> {
    let Some((last, earlier)) = bases.versions.split_first() else { return Vec::new() };
    let is_earlier = || earlier.iter().any(|text| is_same(text, &theirs.text));
    let is_put_back = match theirs.put_back {
        PutBack::Yes => true,
        PutBack::IfEarlier => !is_same(last, &theirs.text) && is_earlier(),
        PutBack::No => false,
    };
    if is_put_back {
        return vec![last];
    }
    let distances = bases.versions.iter().map(|text| difference(text, &theirs.text));
    let distances: Vec<usize> = distances.collect();
    let shortest = distances.iter().min().copied();
    let nearest = bases.versions.iter().zip(&distances);
    nearest.filter(|(_, distance)| Some(**distance) == shortest).map(|(text, _)| text).collect()
}

/// An edit merged with the document. Where it makes a difference which version it was made of, the edit counts,
/// and that is a conflict.
fn merge_with_any(bases: &Bases, ours: &str, theirs: &Theirs) -> state::Merged {
    let nearest = bases_of(bases, theirs);
    // What the file shows now is the likeliest of all.
    let shown = bases.versions.first().filter(|_| bases.shows_present && !bases.is_doubtful);
    let is_sure = shown.is_some_and(|shown| nearest.first().is_some_and(|text| *text == shown));
    let count = if is_sure { 1 } else { nearest.len() };
    let nearest = nearest.into_iter().take(count).map(|text| Some(&**text));
    let any = nearest.chain(bases.is_doubtful.then_some(None));
    let mut all: Vec<_> = any.map(|base| merge3(base, ours, &theirs.text)).collect();
    all.sort_by_cached_key(|merged| difference(&merged.text, &theirs.text));
    let mut all = all.into_iter();
    let Some(mut merged) = all.next() else { return merge3(None, ours, &theirs.text) };
    for other in all {
        let differing = field_changes(Some(&merged.text), Some(&other.text)).into_iter();
        for path in differing.map(|change| change.path).chain(other.conflicts) {
            if !merged.conflicts.contains(&path) {
                merged.conflicts.push(path);
            }
        }
    }
    merged
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
    let merged = merge_with_any(bases, ours, theirs);
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
