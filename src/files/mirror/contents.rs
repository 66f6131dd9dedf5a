//! What the bytes of a mirror file say by themselves, whoever left them.

use crate::base::{DocumentId, Error};
use crate::state::json::{Object, check_object, pretty};
use crate::state::merge::is_same;
use crate::state::{Collection, Op};

/// No document is larger, whatever the options say.
pub(super) const DOCUMENT_BYTES_MAX: usize = 256 << 20;
const SECTOR_BYTES: usize = 512;

/// Why a file is held.
pub(super) type Held = String;

/// The document in a file of a collection, and its id.
pub(super) fn document_in(
    collection: Collection,
    bytes: &[u8],
) -> Result<(DocumentId, String), Held> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let before = bytes.get(..error.valid_up_to()).unwrap_or_default();
        let line = before.split(|byte| *byte == b'\n').count();
        let column = before.rsplit(|byte| *byte == b'\n').next().map_or(0, <[u8]>::len) + 1;
        format!("line {line}, byte {column}: it is not UTF-8; save it as UTF-8")
    })?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    match Op::put(collection, text, DOCUMENT_BYTES_MAX) {
        Ok(Op::Put { id, .. }) => {
            Ok((id, text.trim_matches(|c: char| matches!(c, ' ' | '\t' | '\r' | '\n')).to_owned()))
        }
        Ok(_) => Err("it holds no document".to_owned()),
        Err(Error::Invalid { what, why }) => {
            let place = what.split_once(", ").map(|(_, place)| format!("{place}: "));
            Err(format!("{}{why}", place.unwrap_or_default()))
        }
        Err(error) => Err(error.to_string()),
    }
}

/// Whether a file holds a document that is the same as `text`, whoever laid it out.
pub fn means(bytes: &[u8], text: &str) -> bool {
    let theirs = std::str::from_utf8(bytes).ok();
    let theirs = theirs.map(|text| text.strip_prefix('\u{feff}').unwrap_or(text));
    theirs.is_some_and(|theirs| check_object(theirs).is_ok() && is_same(text, theirs))
}

/// Whether a file holds what the engine would write, but for white space and a byte order mark.
pub(super) fn is_laid_out_otherwise(bytes: &[u8], current: &str) -> bool {
    let text = std::str::from_utf8(bytes).ok();
    let text = text.map(|text| text.strip_prefix('\u{feff}').unwrap_or(text));
    let text = text.filter(|text| check_object(text).is_ok());
    text.is_some_and(|text| pretty(text) == current)
}

/// Whether each sector is as in `whole` up to some byte and zero from there, up to an early end: what a
/// crash can leave of a file that was written once and never overwritten. No text of ours has a zero.
pub(super) fn is_part_of(bytes: &[u8], whole: &[u8]) -> bool {
    let mut wholes = whole.chunks(SECTOR_BYTES);
    bytes.len() <= whole.len()
        && bytes.chunks(SECTOR_BYTES).all(|sector| {
            let end = sector.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
            let whole = wholes.next().unwrap_or_default();
            sector.get(..end).is_some_and(|written| whole.starts_with(written))
        })
}

pub(super) fn id_inside(bytes: &[u8]) -> Option<DocumentId> {
    let object = Object::parse(std::str::from_utf8(bytes).ok()?).ok()?;
    let id: String = serde_json::from_str(object.get("id")?).ok()?;
    DocumentId::new(&id).ok()
}

/// The id that a file is of by its name, unless that is encoded.
pub(super) fn id_of_plain(name: &str) -> Option<DocumentId> {
    DocumentId::new(name.strip_suffix(".json")?).ok()
}
