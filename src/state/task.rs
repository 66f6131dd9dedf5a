//! The typed view of a task: the fields that every tool agrees on, and any others beside them.
//!
//! A view, not the storage: the engine keeps a task as the JSON text it was given. Reading is
//! tolerant (only `id` is required); whatever a field cannot hold exactly (key order, 30-digit
//! integers, an explicit `null`) is lost when a task is read and saved again through this type,
//! which is why every call that takes one has a twin that takes text.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

use crate::base::Result;
use crate::state::document;

/// A task as programs handle it.
///
/// The engine changes none of its fields by itself and has no clock here: `created_at`,
/// `updated_at` and the others are whatever the program sets, usually RFC 3339.
///
/// ```
/// use walden::state::{Status, Task};
/// let task = Task::from_json(r#"{"id": "t1", "status": "in_progress", "retries": 3}"#)?;
/// assert_eq!(task.status, Status::InProgress);
/// assert_eq!(task.extra["retries"], 3);
/// # Ok::<(), walden::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Task {
    /// Which task this is; see [`DocumentId`](crate::DocumentId) for what an id may be.
    pub id: String,
    /// What is to be done.
    #[serde(default)]
    pub description: String,
    /// How far it is; `pending` where a document has none.
    #[serde(default)]
    pub status: Status,
    /// The tool or agent kind that does it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool: Option<String>,
    /// When it was created.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_at: Option<String>,
    /// When the program last changed it; the engine never touches this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub updated_at: Option<String>,
    /// When work began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<String>,
    /// When work ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completed_at: Option<String>,
    /// Who works on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assigned_to: Option<String>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// What happened to it, oldest first.
    #[serde(default, deserialize_with = "null_is_default")]
    pub logs: Vec<LogEntry>,
    /// What came of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<Value>,
    /// All other fields.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl Task {
    /// A pending task without timestamps; set those that you want.
    pub fn new(id: impl Into<String>, description: impl Into<String>) -> Self {
        Task {
            id: id.into(),
            description: description.into(),
            status: Status::Pending,
            tool: None,
            created_at: None,
            updated_at: None,
            started_at: None,
            completed_at: None,
            assigned_to: None,
            error: None,
            logs: Vec::new(),
            result: None,
            extra: Map::new(),
        }
    }

    /// Reads a task from a document's text.
    ///
    /// Any document that the store accepts can be read, unless a field of this type holds something
    /// else there, or a number is beyond a double: then it is [`Invalid`](crate::Error::Invalid),
    /// and the text is the way to it.
    pub fn from_json(text: &str) -> Result<Self> {
        document::read(text, "the task")
    }

    /// The same task with another status.
    #[must_use]
    pub fn with_status(mut self, status: Status) -> Self {
        self.status = status;
        self
    }
}

/// How far a task is. Any string is a status; these are the ones with a meaning here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Status {
    /// `pending`
    #[default]
    Pending,
    /// `in_progress`
    InProgress,
    /// `completed_active`: completed, its session still open.
    CompletedActive,
    /// `completed`
    Completed,
    /// `failed`
    Failed,
    /// `cancelled`
    Cancelled,
    /// Any other, as it is written.
    Other(String),
}

impl Status {
    /// The status as documents have it.
    pub fn as_str(&self) -> &str {
        match self {
            Status::Pending => "pending",
            Status::InProgress => "in_progress",
            Status::CompletedActive => "completed_active",
            Status::Completed => "completed",
            Status::Failed => "failed",
            Status::Cancelled => "cancelled",
            Status::Other(other) => other,
        }
    }

    /// Whether it counts as completed: `completed` and `completed_active` do.
    pub fn is_completed(&self) -> bool {
        matches!(self, Status::Completed | Status::CompletedActive)
    }
}

impl From<&str> for Status {
    fn from(text: &str) -> Self {
        match text {
            "pending" => Status::Pending,
            "in_progress" => Status::InProgress,
            "completed_active" => Status::CompletedActive,
            "completed" => Status::Completed,
            "failed" => Status::Failed,
            "cancelled" => Status::Cancelled,
            other => Status::Other(other.to_owned()),
        }
    }
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Status {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Status {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|text| Status::from(text.as_str()))
    }
}

/// One line of a task's `logs`.
///
/// ```
/// use walden::state::LogEntry;
/// let entry = LogEntry { prefix: Some("agent-7".into()), ..LogEntry::warn("low on tokens") };
/// assert_eq!(
///     serde_json::to_string(&entry).unwrap(),
///     r#"{"level":"warn","prefix":"agent-7","message":"low on tokens"}"#
/// );
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LogEntry {
    /// When it happened, usually RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<String>,
    /// `info`, `warn`, `error`, `debug`, or any other.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub level: String,
    /// The field `type`: who speaks, as in `system`.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// What to show before the message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// What happened.
    #[serde(default)]
    pub message: String,
    /// Anything that belongs to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Value>,
    /// All other fields.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl LogEntry {
    /// An entry of level `info`, without a timestamp.
    pub fn info(message: impl Into<String>) -> Self {
        Self::of("info", message)
    }

    /// An entry of level `warn`, without a timestamp.
    pub fn warn(message: impl Into<String>) -> Self {
        Self::of("warn", message)
    }

    /// An entry of level `error`, without a timestamp.
    pub fn error(message: impl Into<String>) -> Self {
        Self::of("error", message)
    }

    /// An entry of level `debug`, without a timestamp.
    pub fn debug(message: impl Into<String>) -> Self {
        Self::of("debug", message)
    }

    fn of(level: &str, message: impl Into<String>) -> Self {
        LogEntry { level: level.to_owned(), message: message.into(), ..LogEntry::default() }
    }
}

fn null_is_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_id_is_required_and_absent_fields_are_not_written() {
        let task = Task::from_json(r#"{"id": "t", "logs": null}"#).unwrap();
        assert_eq!(task, Task::new("t", ""));
        assert_eq!(
            serde_json::to_string(&Task::new("t", "d")).unwrap(),
            r#"{"id":"t","description":"d","status":"pending","logs":[]}"#
        );
        assert!(Task::from_json(r#"{"description": "d"}"#).is_err());
    }

    #[test]
    fn a_task_with_every_field_and_unknown_ones_comes_back_equal() {
        let text = r#"{"id":"t","description":"d","status":"on_hold","tool":"CLAUDECODE",
            "created_at":"a","updated_at":"b","started_at":"c","completed_at":"d",
            "assigned_to":"e","error":"f","logs":[{"timestamp":"g","level":"info","type":"system",
            "prefix":"p","message":"m","metadata":{"k":[1]},"seq":7}],"result":{"ok":true},
            "metadata":{"priority":2},"big":18446744073709551615}"#;
        let task = Task::from_json(text).unwrap();
        assert_eq!(task.status, Status::Other("on_hold".into()));
        assert_eq!(task.logs[0].kind.as_deref(), Some("system"));
        assert_eq!(task.logs[0].extra["seq"], 7);
        let back: Value = serde_json::to_value(&task).unwrap();
        assert_eq!(back, serde_json::from_str::<Value>(text).unwrap());
    }

    #[test]
    fn every_status_is_written_as_it_is_read() {
        for name in
            ["pending", "in_progress", "completed_active", "completed", "failed", "cancelled", "x"]
        {
            let status = Status::from(name);
            assert_eq!(status.to_string(), name);
            assert_eq!(matches!(status, Status::Other(_)), name == "x");
            assert_eq!(status.is_completed(), name.starts_with("completed"));
        }
    }

    #[test]
    fn the_deepest_document_that_is_accepted_can_be_read() {
        use crate::state::json::{DEPTH_MAX, check_object};
        let inner = DEPTH_MAX - 1;
        let text = format!(r#"{{"id":"t","x":{}{}}}"#, "[".repeat(inner), "]".repeat(inner));
        check_object(&text).unwrap();
        assert!(Task::from_json(&text).unwrap().extra["x"].is_array());
        let huge = Task::from_json(r#"{"id":"t","x":1e400}"#).unwrap_err();
        assert!(huge.to_string().starts_with("the task, line 1, column"), "{huge}");
    }
}
