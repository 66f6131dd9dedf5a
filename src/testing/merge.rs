//! The merge patch of the oracles, over `serde_json` values: it shares no code with the engine's.

use serde_json::{Map, Value};

/// Applies a JSON merge patch (RFC 7396) to `target`.
///
/// ```
/// use serde_json::json;
/// let mut task = json!({"status": "pending", "result": 1});
/// walden::testing::merge(&mut task, &json!({"status": "completed", "result": null}));
/// assert_eq!(task, json!({"status": "completed"}));
/// ```
pub fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Value::Object(fields) = target else { return };
    for (key, value) in patch {
        if value.is_null() {
            fields.remove(key);
        } else {
            merge(fields.entry(key.as_str()).or_insert(Value::Null), value);
        }
    }
}
