//! The whole state as one value, in the shape that the reference saves and loads it.
//!
//! Like a task's, the typed form is a view and no storage: the engine keeps documents as text. Reading
//! a whole state refuses what two readers could understand differently (two documents with one id, a
//! key given twice); nothing of a text that is refused may be used.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::base::{Error, Result};
use crate::state::json::{self, JsonError, Object};
use crate::state::{Collection, Metrics, Op, Session, Task};

/// All tasks and sessions, with the figures that go with them.
///
/// `metrics` and `last_saved` are derived: when a state is saved, they are ignored. Other members of a
/// parsed state are kept in `extra`, and are not stored.
///
/// ```
/// use walden::State;
/// let state: State = serde_json::from_str(r#"{"tasks": [{"id": "a"}], "mood": "fine"}"#)?;
/// assert_eq!(state.tasks.len(), 1);
/// assert_eq!(state.extra["mood"], "fine");
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// All tasks.
    #[serde(default)]
    pub tasks: Vec<Task>,
    /// All sessions.
    #[serde(default)]
    pub sessions: Vec<Session>,
    /// Counts over the tasks.
    #[serde(default)]
    pub metrics: Metrics,
    /// When `state.json` was last saved (RFC 3339), if it ever was.
    #[serde(default)]
    pub last_saved: Option<String>,
    /// All other members.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// The documents of a whole state's text, as mutations that put them, each of at most
/// `document_bytes_max` bytes.
///
/// [`Invalid`](Error::Invalid), with the place, if the text is no JSON object, if `tasks` or `sessions`
/// is there and no array of acceptable documents, or if two documents of a collection have one id.
pub fn puts(text: &str, document_bytes_max: usize) -> Result<Vec<Op>> {
    const WHAT: &str = "the state";
    let object = Object::parse(text).map_err(|error| error.into_error(WHAT))?;
    let mut keys = HashSet::new();
    for member in &object {
        if !keys.insert(&*member.key) {
            let why = format!("the key {:?} appears twice in one object", member.key);
            let at = json::offset_in(text, member.raw_key);
            return Err(JsonError::at(text, at, why).into_error(WHAT));
        }
    }
    let mut puts = Vec::new();
    for collection in Collection::ALL {
        let Some(array) = object.get(collection.dir()) else { continue };
        let start = json::offset_in(text, array);
        let documents: Vec<&RawValue> = serde_json::from_str(array).map_err(|_| {
            let found = json::name_of(array);
            let why = format!("`{}` must be an array, it is {found}", collection.dir());
            JsonError::at(text, start, why).into_error(WHAT)
        })?;
        let mut ids = HashSet::new();
        for document in documents {
            let at = json::offset_in(text, document.get());
            let put = Op::put(collection, document.get(), document_bytes_max)
                .map_err(|error| placed(text, at, error))?;
            if let Some((_, id)) = put.target()
                && !ids.insert(id.clone())
            {
                let why = format!("a second {collection} has the id {:?}", id.as_str());
                return Err(JsonError::at(text, at, why).into_error(WHAT));
            }
            puts.push(put);
        }
    }
    Ok(puts)
}

/// An error within a document, with the document's place in the whole.
fn placed(text: &str, at: usize, error: Error) -> Error {
    let Error::Invalid { what, why } = error else { return error };
    let why = format!("in the document that begins here: {what}: {why}");
    JsonError::at(text, at, why).into_error("the state")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> String {
        let error = puts(text, 1000).unwrap_err();
        assert!(matches!(error, Error::Invalid { .. }), "{error:?}");
        error.to_string()
    }

    #[test]
    fn documents_keep_their_text_and_unknown_members_are_passed_over() {
        let text = "{\"tasks\": [ {\"n\": 1.00, \"id\":\"a\"}\n], \"x\": {\"tasks\": 1},
                     \"sessions\": [{\"id\": \"a\"}]}";
        let puts = puts(text, 1000).unwrap();
        let texts: Vec<_> = puts
            .iter()
            .map(|op| match op {
                Op::Put { collection, document, .. } => (*collection, document.text().to_string()),
                _ => panic!("{op:?}"),
            })
            .collect();
        let task = (Collection::Task, "{\"n\": 1.00, \"id\":\"a\"}".to_owned());
        assert_eq!(texts, [task, (Collection::Session, "{\"id\": \"a\"}".to_owned())]);
        assert_eq!(super::puts("{}", 1000).unwrap(), []);
    }

    #[test]
    fn what_is_no_state_is_refused_with_its_place() {
        assert!(refusal("[]").starts_with("the state, line 1, column 1: "));
        assert_eq!(
            refusal("{\n \"tasks\": {}}"),
            "the state, line 2, column 11: `tasks` must be an array, it is an object"
        );
        assert_eq!(
            refusal("{\"tasks\": [{\"id\": \"a\"},\n {\"id\": \"\\u0061\"}]}"),
            "the state, line 2, column 2: a second task has the id \"a\""
        );
        assert_eq!(
            refusal("{\"sessions\": [\n1]}"),
            "the state, line 2, column 1: in the document that begins here: the session, line 1, \
             column 1: expected a JSON object, found a number"
        );
        assert!(refusal("{\"tasks\": [{}]}").contains("no member \"id\""));
        assert!(refusal("{\"tasks\": [], \"tasks\": []}").contains("column 15: the key \"tasks\""));
        let large = format!("{{\"tasks\": [{{\"id\": \"{}\"}}]}}", "x".repeat(1000));
        assert!(refusal(&large).contains("at most 1000"));
    }
}
