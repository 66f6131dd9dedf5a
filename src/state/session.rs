//! The typed view of a session: an id, and anything.
//!
//! Like a task's, it is a view of the text that the engine keeps, and no storage format.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::base::Result;
use crate::state::document;

/// A session as programs handle it.
///
/// ```
/// use walden::state::Session;
/// let session = Session::from_json(r#"{"id": "s1", "agent": "a7"}"#)?;
/// assert_eq!(session.extra["agent"], "a7");
/// # Ok::<(), walden::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Session {
    /// Which session this is; see [`DocumentId`](crate::DocumentId) for what an id may be.
    pub id: String,
    /// All other fields.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl Session {
    /// A session with nothing but an id.
    pub fn new(id: impl Into<String>) -> Self {
        Session { id: id.into(), extra: Map::new() }
    }

    /// Reads a session from a document's text; it fails as [`Task::from_json`] does.
    ///
    /// [`Task::from_json`]: crate::state::Task::from_json
    pub fn from_json(text: &str) -> Result<Self> {
        document::read(text, "the session")
    }
}
