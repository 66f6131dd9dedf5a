//! What the mirror's files show, for a recovery that has nothing better. Reads only.

use std::io::ErrorKind;

use super::contents::id_inside;
use super::dir::list;
use super::{Mirror, Placed, Target};
use crate::base::{ContentHash, DocumentId, Error, Lsn, Result};
use crate::files::names;
use crate::fs::{Fs, Kind, join, read_file};
use crate::state::Collection;
use crate::state::json::{check_object, compact};

/// A larger file is not taken for a document.
const BYTES_MAX: u64 = 256 << 20;

/// A document as one of the mirror's files shows it.
#[derive(Clone, Debug)]
pub struct Shown {
    /// Where it belongs.
    pub collection: Collection,
    /// The id inside.
    pub id: DocumentId,
    /// The file, as in `tasks/a.json`.
    pub file: String,
    /// Whether the name is one that the engine gives to this id.
    pub is_engines: bool,
    /// The hash of the file's bytes.
    pub hash: ContentHash,
    /// The text of the document.
    pub text: String,
}

impl Shown {
    /// Whether it is the same text but for white space between its tokens.
    pub fn shows(&self, text: &str) -> bool {
        compact(&self.text) == compact(text)
    }
}

impl Mirror {
    /// Notes that what lies in a file was taken in and is shown in another: it is removed with the
    /// next changes, if it still holds this.
    pub fn taken_in(&mut self, file: String, hash: ContentHash, length: u64) {
        let placed = Placed { hash, length, lsn: Lsn::ZERO, stat: None };
        self.placed.insert(file.as_str().into(), placed);
        self.pending.insert(file, Target::Nothing);
    }
}

/// Every file of the mirror that holds an acceptable document, by directory and name. What cannot be
/// read, or holds none, is passed over: judging the mirror reports it. Of a file that the disk fails to
/// give, `failed` says whether that is passed over too.
pub fn read_shown(fs: &dyn Fs, failed: impl Fn(Error) -> Result<()>) -> Result<Vec<Shown>> {
    let mut all = Vec::new();
    for collection in Collection::ALL {
        for entry in list(fs, collection.dir())? {
            if entry.kind != Kind::File || names::is_editor_file(&entry.name) {
                continue;
            }
            let file = join(collection.dir(), &entry.name);
            let bytes = match read_file(fs, &file, BYTES_MAX) {
                Ok(bytes) => bytes,
                Err(error) => {
                    if !is_no_document(error.kind()) {
                        failed(Error::io("read", fs.display(&file), error))?;
                    }
                    continue;
                }
            };
            let Some(id) = id_inside(&bytes) else { continue };
            let hash = ContentHash::of(&bytes);
            let Ok(text) = String::from_utf8(bytes) else { continue };
            if check_object(&text).is_err() {
                continue;
            }
            let is_engines = names::forms(&id).contains(&entry.name);
            let text = text.trim().to_owned();
            all.push(Shown { collection, id, file, is_engines, hash, text });
        }
    }
    Ok(all)
}

/// Whether an error says what the file is, rather than that the disk failed.
fn is_no_document(kind: ErrorKind) -> bool {
    use ErrorKind::{FileTooLarge, InvalidInput, NotFound, PermissionDenied};
    matches!(kind, FileTooLarge | InvalidInput | NotFound | PermissionDenied)
}
