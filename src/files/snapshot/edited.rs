//! `state.json` as a person left it: what it says, document by document, or why it cannot be understood.
//!
//! Its digest vouches for nothing, so nothing in it is believed but for what a person may have written: the
//! documents, and members of other names. Which snapshot it was made of, it only names. It never
//! changes a file, and never takes half of one: what cannot be understood as a whole is *held*, with
//! line and column.

use std::collections::HashSet;

use serde_json::value::RawValue;

use super::parse::{Engine, offset_in};
use super::{MAJOR, others_of};
use crate::base::{ContentHash, DocumentId, Error, Lsn, ProblemKind, StoreId};
use crate::state::json::{JsonError, Object, check_object};
use crate::state::{Collection, Op};

/// No document is larger, whatever the options say.
const DOCUMENT_BYTES_MAX: usize = 256 << 20;

/// What a person left in the place of `state.json`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edited {
    /// The snapshot that it names as the one it was made of; `None` if its `engine` is lost or changed.
    pub base: Option<Lsn>,
    /// The documents in it, in its order, with their texts.
    pub documents: Vec<(Collection, DocumentId, String)>,
    /// Members of other names, as [`Contents::others`](super::Contents::others) has them.
    pub others: String,
    /// Its `metrics`, as they stand there.
    pub metrics: Option<String>,
    /// Its `last_saved`, likewise.
    pub last_saved: Option<String>,
    /// The hash of its bytes.
    pub hash: ContentHash,
    /// Their number.
    pub length: u64,
}

/// Why a file is left as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// What kind of finding this is.
    pub kind: ProblemKind,
    /// What is wrong, where, and what to do.
    pub why: String,
}

impl Held {
    /// Because it cannot be understood.
    pub fn unreadable(why: impl Into<String>) -> Held {
        Held { kind: ProblemKind::Unreadable, why: why.into() }
    }

    /// Because it is another store's.
    pub fn foreign(store: StoreId) -> Held {
        let why = format!(
            "it is of another store, {store}; move it away, or open it in a directory of its own"
        );
        Held { kind: ProblemKind::Foreign, why }
    }
}

/// What the bytes of an edited `state.json` of this store say.
pub fn understand(bytes: &[u8], store: StoreId) -> Result<Edited, Held> {
    let whole = std::str::from_utf8(bytes).map_err(|error| {
        let valid = bytes.get(..error.valid_up_to()).unwrap_or_default();
        let before = String::from_utf8_lossy(valid);
        held(&JsonError::at(&before, before.len(), "it is not UTF-8; save it as UTF-8"))
    })?;
    let text = whole.strip_prefix('\u{feff}').unwrap_or(whole);
    if text.trim_ascii().is_empty() {
        return Err(Held::unreadable("it is empty"));
    }
    let object = Object::parse(text).map_err(|error| held(&error))?;
    check_members(text, &object)?;
    let named = object.get("engine").and_then(Engine::parse).and_then(|engine| engine.base());
    if let Some((of, _)) = named.filter(|(of, _)| *of != store) {
        return Err(Held::foreign(of));
    }
    let version = object.get("version").map(|raw| raw.trim_matches('"'));
    let major = version.and_then(|version| version.split('.').next());
    let is_earlier = object.get("engine").is_none() && matches!(major, None | Some("1"));
    if let Some(version) = version.filter(|_| major != Some(MAJOR) && !is_earlier) {
        let why = format!(
            "it is of version {version}, which this version cannot read; use the newer Walden, or mend it"
        );
        return Err(Held::unreadable(why));
    }
    let mut documents = Vec::new();
    for collection in Collection::ALL {
        read_documents(text, &object, collection, &mut documents)?;
    }
    Ok(Edited {
        base: named.map(|(_, lsn)| lsn),
        documents,
        others: others_of(&object),
        metrics: object.get("metrics").map(str::to_owned),
        last_saved: object.get("last_saved").map(str::to_owned),
        hash: ContentHash::of(bytes),
        length: bytes.len() as u64,
    })
}

fn held(error: &JsonError) -> Held {
    Held::unreadable(error.to_string())
}

/// Refuses what two readers could understand differently, outside the documents.
fn check_members(text: &str, object: &Object<'_>) -> Result<(), Held> {
    let mut seen = HashSet::new();
    for member in object {
        let at = offset_in(text, member.raw_key);
        if !seen.insert(&member.key) {
            let why = format!("the key {:?} appears twice in one object", &*member.key);
            return Err(held(&JsonError::at(text, at, why)));
        }
        let is_documents = Collection::ALL.iter().any(|of| of.dir() == member.key);
        if is_documents || member.key == "engine" {
            continue;
        }
        let alone = format!("{{{}:{}}}", member.raw_key, member.value);
        check_object(&alone).map_err(|error| {
            let inside = error.offset.saturating_sub(member.raw_key.len().saturating_add(2));
            let at = offset_in(text, member.value).saturating_add(inside);
            held(&JsonError::at(text, at, error.why))
        })?;
    }
    Ok(())
}

fn read_documents(
    text: &str,
    object: &Object<'_>,
    collection: Collection,
    documents: &mut Vec<(Collection, DocumentId, String)>,
) -> Result<(), Held> {
    let Some(array) = object.get(collection.dir()) else { return Ok(()) };
    let at = offset_in(text, array);
    let texts: Vec<&RawValue> = serde_json::from_str(array).map_err(|_| {
        let why = format!("{:?} must be an array of objects", collection.dir());
        held(&JsonError::at(text, at, why))
    })?;
    let mut seen = HashSet::with_capacity(texts.len());
    for raw in texts {
        let at = offset_in(text, raw.get());
        let here = |offset: usize, why: &str| {
            held(&JsonError::at(text, at.saturating_add(offset), format!("{collection}: {why}")))
        };
        check_object(raw.get()).map_err(|error| here(error.offset, &error.why))?;
        let id = match Op::put(collection, raw.get(), DOCUMENT_BYTES_MAX) {
            Ok(Op::Put { id, .. }) => id,
            Ok(_) => return Err(here(0, "it is no document")),
            Err(Error::Invalid { why, .. }) => return Err(here(0, &why)),
            Err(error) => return Err(here(0, &error.to_string())),
        };
        if !seen.insert(id.clone()) {
            let why =
                format!("the id {:?} appears twice; rename or remove one of them", id.as_str());
            return Err(here(0, &why));
        }
        documents.push((collection, id, raw.get().to_owned()));
    }
    Ok(())
}

#[cfg(test)]
#[path = "edited_tests.rs"]
mod tests;
