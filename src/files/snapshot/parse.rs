//! Reading `state.json`: intact, or why not.
//!
//! The digest decides, nothing else: a file whose digest does not match is never loaded, however
//! well it parses. Why it does not match is told apart as far as the bytes tell. Nothing here
//! changes a file or reports contents as an error.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;
use std::io::ErrorKind;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::error::Category;
use serde_json::value::RawValue;

use super::{BYTES_MAX, MAJOR, NO_DIGEST, Snapshot, others_behind};
use crate::base::{
    ContentHash, ContentHasher, DocumentId, Error, Lsn, ProblemKind, Result, StoreId,
};
use crate::fs::{Fs, Mode, read_file, read_full_at};
use crate::state::{Doc, Document};

/// What a file in the place of a snapshot is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// The engine wrote it, byte for byte.
    Intact(Snapshot),
    /// It cannot vouch for itself.
    NotIntact(Defect),
}

/// Why a file is no snapshot that can be loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Defect {
    /// Nothing is in it.
    Empty,
    /// It ends in the middle.
    Cut,
    /// It is no JSON of the right shape.
    Invalid {
        /// The line, counted from 1.
        line: usize,
        /// The column in bytes, counted from 1.
        column: usize,
        /// What is wrong there.
        why: String,
    },
    /// JSON whose digest does not match: changed since the engine wrote it.
    Edited {
        /// The store and LSN that it still names, which are not to be relied upon.
        base: Option<(StoreId, Lsn)>,
    },
    /// A file of the earlier format, which has no digest.
    Earlier,
    /// Intact, but of a version that this one cannot read.
    Unsupported {
        /// The version it names.
        version: String,
    },
    /// Something that is not a regular file, or is too large.
    Unreadable {
        /// Which of them.
        why: String,
    },
}

impl Defect {
    /// The kind of problem that this is.
    pub fn kind(&self) -> ProblemKind {
        match self {
            Defect::Edited { .. } => ProblemKind::Edited,
            Defect::Earlier => ProblemKind::Stale,
            Defect::Empty | Defect::Cut => ProblemKind::Corrupt,
            Defect::Invalid { .. } | Defect::Unsupported { .. } | Defect::Unreadable { .. } => {
                ProblemKind::Unreadable
            }
        }
    }
}

impl fmt::Display for Defect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Defect::Empty => f.write_str("it is empty"),
            Defect::Cut => f.write_str("it ends in the middle"),
            Defect::Invalid { line, column, why } => {
                write!(f, "line {line}, column {column}: {why}")
            }
            Defect::Edited { .. } => f.write_str("it was changed since the engine wrote it"),
            Defect::Earlier => f.write_str("it is of the earlier format, which has no digest"),
            Defect::Unsupported { version } => {
                write!(f, "it is of version {version}, which this version cannot read")
            }
            Defect::Unreadable { why } => f.write_str(why),
        }
    }
}

/// Reads and parses a snapshot or backup; `None` if there is no such file.
pub fn read(fs: &dyn Fs, file: &str) -> Result<Option<Parsed>> {
    read_with(fs, file, parse)
}

/// The same with another way to tell what the bytes are.
pub(super) fn read_with(
    fs: &dyn Fs,
    file: &str,
    parse: impl FnOnce(&[u8]) -> Parsed,
) -> Result<Option<Parsed>> {
    let unreadable =
        |why: &str| Ok(Some(Parsed::NotIntact(Defect::Unreadable { why: why.to_owned() })));
    match read_file(fs, file, BYTES_MAX) {
        Ok(bytes) => Ok(Some(parse(&bytes))),
        Err(error) => match error.kind() {
            ErrorKind::NotFound => Ok(None),
            ErrorKind::InvalidInput => unreadable("it is not a regular file"),
            ErrorKind::FileTooLarge => unreadable("it is too large to be a snapshot"),
            _ => Err(Error::io("read", fs.display(file), error)),
        },
    }
}

/// The store and LSN that a snapshot names at its beginning, without proof; `None` where it names
/// none, or is not laid out as the engine does.
pub fn peek(fs: &dyn Fs, file: &str) -> Result<Option<(StoreId, Lsn)>> {
    let mut head = [0; 512];
    let read = fs.open(file, Mode::Read).and_then(|file| read_full_at(&*file, &mut head, 0));
    let length = match read {
        Ok(length) => length,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::InvalidInput) => {
            return Ok(None);
        }
        Err(error) => return Err(Error::io("read", fs.display(file), error)),
    };
    let head = String::from_utf8_lossy(head.get(..length).unwrap_or_default());
    let engine = head
        .lines()
        .find_map(|line| line.strip_prefix("  \"engine\": "))
        .and_then(|line| line.strip_suffix(','));
    Ok(engine.and_then(|text| Engine::parse(text)?.base()))
}

#[derive(Deserialize)]
struct File<'a> {
    #[serde(borrow, default)]
    version: Option<&'a RawValue>,
    #[serde(borrow, default)]
    engine: Option<&'a RawValue>,
    #[serde(borrow, default)]
    tasks: Option<&'a RawValue>,
    #[serde(borrow, default)]
    sessions: Option<&'a RawValue>,
    #[serde(borrow, default)]
    last_saved: Option<&'a RawValue>,
}

#[derive(Deserialize)]
pub(super) struct Engine<'a> {
    store: &'a str,
    lsn: u64,
    documents: u64,
    pub(super) digest: &'a str,
}

impl<'a> Engine<'a> {
    pub(super) fn parse(text: &'a str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    pub(super) fn base(&self) -> Option<(StoreId, Lsn)> {
        Some((StoreId::parse(self.store)?, Lsn(self.lsn)))
    }

    /// Whether the digest is that of `text`, of which it is itself a part.
    fn vouches_for(&self, text: &str) -> bool {
        let at = offset_in(text, self.digest);
        let end = at.saturating_add(self.digest.len());
        let (Some(before), Some(after)) = (text.get(..at), text.get(end..)) else { return false };
        let mut hasher = ContentHasher::default();
        for part in [before, NO_DIGEST, after] {
            hasher.write(part.as_bytes());
        }
        ContentHash::parse(self.digest) == Some(hasher.finish())
    }
}

/// Tells what the bytes of a snapshot are.
pub fn parse(bytes: &[u8]) -> Parsed {
    match classify(bytes) {
        Ok(snapshot) => Parsed::Intact(snapshot),
        Err(defect) => Parsed::NotIntact(defect),
    }
}

fn classify(bytes: &[u8]) -> Result<Snapshot, Defect> {
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Err(Defect::Empty);
    }
    let text = std::str::from_utf8(bytes)
        .map_err(|error| invalid_at(bytes, error.valid_up_to(), "it is not UTF-8"))?;
    let start = text.trim_ascii_start();
    if !start.starts_with('{') {
        return Err(invalid_at(bytes, text.len() - start.len(), "it is no JSON object"));
    }
    let file: File<'_> = serde_json::from_str(text).map_err(|error| not_json(text, &error))?;
    let version: Option<Cow<'_, str>> = file.version.map(|raw| {
        serde_json::from_str(raw.get()).map_or(Cow::Borrowed(raw.get()), Cow::Owned::<str>)
    });
    let major = version.as_deref().and_then(|version| version.split('.').next());
    let engine = file.engine.and_then(|raw| Engine::parse(raw.get()));
    let base = engine.as_ref().and_then(Engine::base);
    let intact = engine.as_ref().filter(|engine| engine.vouches_for(text));
    match (file.engine, intact, base, major) {
        (Some(_), Some(engine), Some(base), Some(MAJOR)) => load(text, &file, engine, base),
        (Some(_), Some(_), _, _) => {
            Err(Defect::Unsupported { version: version.unwrap_or("none".into()).into_owned() })
        }
        (Some(_), None, base, _) => Err(Defect::Edited { base }),
        (None, _, _, None | Some("1")) => Err(Defect::Earlier),
        (None, _, _, Some(_)) => Err(Defect::Edited { base: None }),
    }
}

/// Loads what the digest vouches for. That it has another shape nonetheless is only thinkable of a
/// file that somebody made by hand, digest included; it is refused all the same.
fn load(
    text: &str,
    file: &File<'_>,
    engine: &Engine<'_>,
    (store, lsn): (StoreId, Lsn),
) -> Result<Snapshot, Defect> {
    let tasks = documents(file.tasks, "tasks", lsn)?;
    let sessions = documents(file.sessions, "sessions", lsn)?;
    let found = tasks.len().saturating_add(sessions.len()) as u64;
    if found != engine.documents {
        let why = format!("it holds {found} documents and names {}", engine.documents);
        return Err(Defect::Invalid { line: 1, column: 1, why });
    }
    let last_saved = file.last_saved.and_then(|raw| serde_json::from_str(raw.get()).ok());
    let end = file.sessions.map(|raw| offset_in(text, raw.get()).saturating_add(raw.get().len()));
    let tail = end.and_then(|end| text.get(end..));
    let others = tail.map(others_behind).unwrap_or_default();
    Ok(Snapshot { store, lsn, tasks, sessions, last_saved, others })
}

fn documents(
    array: Option<&RawValue>,
    key: &str,
    lsn: Lsn,
) -> Result<Vec<(DocumentId, Arc<Doc>)>, Defect> {
    #[derive(Deserialize)]
    struct Named<'a> {
        #[serde(borrow)]
        id: Cow<'a, str>,
    }
    let wrong = |why: String| Defect::Invalid { line: 1, column: 1, why: format!("{key}: {why}") };
    let array = array.ok_or_else(|| wrong("there is no such key".to_owned()))?;
    let texts: Vec<&RawValue> =
        serde_json::from_str(array.get()).map_err(|error| wrong(error.to_string()))?;
    let mut documents = Vec::with_capacity(texts.len());
    let mut seen = HashSet::with_capacity(texts.len());
    let mut from = 1;
    for text in texts {
        if !text.get().starts_with('{') {
            return Err(wrong(format!("{} is no object", text.get())));
        }
        let Named { id } =
            serde_json::from_str(text.get()).map_err(|error| wrong(error.to_string()))?;
        let id = DocumentId::new(&id).map_err(|error| wrong(error.to_string()))?;
        if !seen.insert(id.clone()) {
            return Err(wrong(format!("the id {:?} appears twice", id.as_str())));
        }
        let whole = with_space_around(array.get(), text.get(), &mut from);
        documents.push((id, Arc::new(Doc::new(Document::new(whole), lsn, false))));
    }
    Ok(documents)
}

/// An element of an array with the white space that it was saved with: what is there beside the
/// engine's own layout. `from` is the place behind the bracket or comma before it, and moves on.
fn with_space_around<'a>(array: &'a str, element: &'a str, from: &mut usize) -> &'a str {
    let start = offset_in(array, element);
    let end = start.saturating_add(element.len());
    let before = array.get(*from..start).unwrap_or_default();
    let after = array.get(end..).unwrap_or_default();
    let after = after.split([',', ']']).next().unwrap_or_default();
    let next = end.saturating_add(after.len()).saturating_add(1);
    *from = next;
    let is_last = next >= array.len();
    let after = if is_last { after.strip_suffix("\n  ").unwrap_or_default() } else { after };
    let before = before.strip_prefix("\n    ").unwrap_or_default();
    let whole = start.saturating_sub(before.len())..end.saturating_add(after.len());
    array.get(whole).unwrap_or(element)
}

/// Where `part`, a piece of `text`, begins in it.
pub(super) fn offset_in(text: &str, part: &str) -> usize {
    part.as_ptr().addr().saturating_sub(text.as_ptr().addr())
}

fn not_json(text: &str, error: &serde_json::Error) -> Defect {
    let why = error.to_string();
    let why = why.split(" at line ").next().unwrap_or(&why).to_owned();
    let last_line = text.rsplit('\n').next().unwrap_or(text);
    let is_last_line = text.bytes().filter(|byte| *byte == b'\n').count() < error.line();
    // The library calls a number that ends with the file in the middle invalid.
    let in_a_number = why == "invalid number" && is_last_line && error.column() >= last_line.len();
    match error.classify() {
        Category::Eof => Defect::Cut,
        Category::Syntax if in_a_number => Defect::Cut,
        Category::Syntax | Category::Data | Category::Io => {
            Defect::Invalid { line: error.line(), column: error.column(), why }
        }
    }
}

fn invalid_at(bytes: &[u8], offset: usize, why: &str) -> Defect {
    let before = bytes.get(..offset).unwrap_or_default();
    let line = before.split(|byte| *byte == b'\n').count();
    let line_bytes = before.iter().rev().take_while(|byte| **byte != b'\n').count();
    Defect::Invalid { line, column: line_bytes.saturating_add(1), why: why.to_owned() }
}
