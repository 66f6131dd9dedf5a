//! Ids: of documents, given by callers; of stores, drawn once.

use std::borrow::Borrow;
use std::fmt;

use smol_str::SmolStr;

use crate::base::hash::parse_hex;
use crate::base::{Error, Result};

/// The id of a task or a session: 1 to 200 bytes of UTF-8 without control characters. Up to 23 bytes take no
/// memory of their own.
///
/// ```
/// use walden::DocumentId;
/// assert!(DocumentId::new("task_123").is_ok());
/// assert!(DocumentId::new("../../etc/passwd").is_ok(), "any text: its file name is encoded");
/// assert!(DocumentId::new("").is_err());
/// assert!(DocumentId::new("a\nb").is_err());
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DocumentId(SmolStr);

impl DocumentId {
    /// The longest id, in bytes.
    pub const BYTES_MAX: usize = 200;

    /// Checks and takes an id.
    pub fn new(id: &str) -> Result<Self> {
        Self::check(id)?;
        Ok(DocumentId(id.into()))
    }

    /// Says why `id` cannot be an id, if it cannot.
    pub fn check(id: &str) -> Result<()> {
        let why = if id.is_empty() {
            "an id must not be empty".to_owned()
        } else if id.len() > Self::BYTES_MAX {
            format!("an id has at most {} bytes, this has {}", Self::BYTES_MAX, id.len())
        } else if id.chars().any(char::is_control) {
            "an id must not contain control characters".to_owned()
        } else {
            return Ok(());
        };
        let shown: String = id.chars().take(40).collect();
        Err(Error::invalid(format!("id {shown:?}"), why))
    }

    /// The id's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for DocumentId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for DocumentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Makes an id out of any text, as the reference's `validateTaskId` does: it removes
/// `/ \ : * ? " < > |`, and beyond that control characters and all past the longest length.
///
/// ```
/// use walden::sanitize_id;
/// assert_eq!(sanitize_id("a/b:c").unwrap().as_str(), "abc");
/// assert!(sanitize_id("???").is_err(), "nothing is left");
/// ```
pub fn sanitize_id(text: &str) -> Result<DocumentId> {
    let mut id: String =
        text.chars().filter(|c| !c.is_control() && !r#"/\:*?"<>|"#.contains(*c)).collect();
    let end = (0..=DocumentId::BYTES_MAX.min(id.len()))
        .rev()
        .find(|at| id.is_char_boundary(*at))
        .unwrap_or(0);
    id.truncate(end);
    DocumentId::new(&id)
}

/// The id of a store: drawn once, carried by every file that must not be taken for another's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StoreId(pub u128);

impl StoreId {
    /// Reads 32 lower-case hexadecimal digits; `None` where they are not that.
    pub fn parse(text: &str) -> Option<Self> {
        parse_hex(text).map(StoreId)
    }
}

impl fmt::Display for StoreId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}
