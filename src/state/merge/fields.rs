//! In which fields two versions of a document differ, for people and programs to look at.
//!
//! By what values mean, as the merge compares them. Objects are gone through member by member; arrays
//! item by item where they are equally long, or one begins the other; what else differs is told whole.
//!
//! Invariant: no difference is told if and only if the versions mean the same.

use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use super::push_escaped;
use super::tape::{Numbers, Tape, Value};

/// One field in which two versions of a document differ.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FieldChange {
    /// The field's JSON pointer (RFC 6901); empty for the whole document, where there was or is none.
    pub path: String,
    /// Its former value as JSON text; `None` if it was not there.
    #[serde(serialize_with = "as_json", skip_serializing_if = "Option::is_none")]
    pub old: Option<String>,
    /// Its new value as JSON text; `None` if it is gone.
    #[serde(serialize_with = "as_json", skip_serializing_if = "Option::is_none")]
    pub new: Option<String>,
}

/// The text as the JSON that it is, to the last digit.
#[expect(clippy::ref_option, reason = "serde's signature")]
fn as_json<S: Serializer>(text: &Option<String>, serializer: S) -> Result<S::Ok, S::Error> {
    let raw = text.clone().map(RawValue::from_string).transpose();
    raw.map_err(serde::ser::Error::custom)?.serialize(serializer)
}

/// In which fields `new` differs from `old`, in the order of `new`, what is gone last; `None` stands for
/// no document.
///
/// ```
/// use walden::state::field_changes;
/// let old = r#"{"id": "a", "status": "pending", "at": {"x": 1, "y": 1}}"#;
/// let new = r#"{"id": "a", "status": "done", "at": {"y": 1.0, "x": 2}}"#;
/// let changes = field_changes(Some(old), Some(new));
/// assert_eq!(changes.len(), 2);
/// assert_eq!(changes[0].path, "/status");
/// assert_eq!(changes[1].path, "/at/x");
/// assert_eq!((changes[1].old.as_deref(), changes[1].new.as_deref()), (Some("1"), Some("2")));
/// ```
pub fn field_changes(old: Option<&str>, new: Option<&str>) -> Vec<FieldChange> {
    let mut found = Changes { path: String::new(), found: Vec::new() };
    let tapes = [old, new].map(|text| text.map(Tape::new));
    match &tapes {
        [Some(Some(old)), Some(Some(new))] => found.values(old.root(), new.root()),
        _ if old == new => {}
        _ => found.found.push(FieldChange {
            path: String::new(),
            old: old.map(str::to_owned),
            new: new.map(str::to_owned),
        }),
    }
    found.found
}

struct Changes {
    /// The JSON pointer of what is at hand.
    path: String,
    found: Vec<FieldChange>,
}

impl Changes {
    fn values(&mut self, old: Value<'_>, new: Value<'_>) {
        if old.is_same(new, Numbers::Exact) {
            return;
        }
        if old.is_object() && new.is_object() {
            self.objects(old, new);
        } else if old.is_array() && new.is_array() {
            self.arrays(old, new);
        } else {
            self.tell(Some(old), Some(new));
        }
    }

    fn objects(&mut self, old: Value<'_>, new: Value<'_>) {
        let mut former = old.by_key();
        for member in new.members() {
            let before = former.remove(&member.key);
            self.within(&member.key, |this| match before {
                Some(before) => this.values(before, member.value),
                None => this.tell(None, Some(member.value)),
            });
        }
        for member in old.members() {
            if former.contains_key(&member.key) {
                self.within(&member.key, |this| this.tell(Some(member.value), None));
            }
        }
    }

    fn arrays(&mut self, old: Value<'_>, new: Value<'_>) {
        let is_equally_long = old.items().count() == new.items().count();
        let mut pairs = old.items().zip(new.items());
        if !is_equally_long && !pairs.all(|(old, new)| old.is_same(new, Numbers::Exact)) {
            self.tell(Some(old), Some(new));
            return;
        }
        let (mut olds, mut news) = (old.items(), new.items());
        for place in 0.. {
            let pair = (olds.next(), news.next());
            self.within(&place.to_string(), |this| match pair {
                (Some(old), Some(new)) => this.values(old, new),
                (old, new) => this.tell(old, new),
            });
            if matches!(pair, (None, None)) {
                return;
            }
        }
    }

    /// Goes on with a member or an item.
    fn within(&mut self, key: &str, go_on: impl FnOnce(&mut Self)) {
        let length = self.path.len();
        push_escaped(&mut self.path, key);
        go_on(self);
        self.path.truncate(length);
    }

    fn tell(&mut self, old: Option<Value<'_>>, new: Option<Value<'_>>) {
        if old.is_some() || new.is_some() {
            let text = |value: Value<'_>| value.text().to_owned();
            let path = self.path.clone();
            self.found.push(FieldChange { path, old: old.map(text), new: new.map(text) });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `path: old → new`, one a line.
    fn told(old: &str, new: &str) -> Vec<String> {
        let show = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
        field_changes(Some(old), Some(new))
            .into_iter()
            .map(|change| format!("{}: {} → {}", change.path, show(change.old), show(change.new)))
            .collect()
    }

    #[test]
    fn each_field_that_means_something_else_is_told_once_with_both_values_as_written() {
        let old = r#"{"id":"a","same":"x","n":1.50,"gone":{"x":1},"in":{"b":1,"c/~":2},"t":1}"#;
        let new = r#"{"in":{"c/~":3,"b":1e0},"id":"\u0061","n":2,"same":"x","new":null,"t":"1"}"#;
        assert_eq!(
            told(old, new),
            [
                "/in/c~1~0: 2 → 3",
                "/n: 1.50 → 2",
                "/new: - → null",
                "/t: 1 → \"1\"",
                "/gone: {\"x\":1} → -"
            ]
        );
        assert_eq!(told(old, old), [""; 0]);
    }

    #[test]
    fn arrays_are_told_by_item_where_it_is_plain_which_is_which() {
        let check = |old: &str, new: &str, expected: &[&str]| {
            let in_field = |items: &str| format!("{{\"l\":{items}}}");
            assert_eq!(told(&in_field(old), &in_field(new)), expected, "{old} {new}");
        };
        check("[1,2]", "[1,2.0,{\"x\":1}]", &["/l/2: - → {\"x\":1}"]);
        check("[1,2,3]", "[1]", &["/l/1: 2 → -", "/l/2: 3 → -"]);
        check("[1,{\"x\":1}]", "[1,{\"x\":2}]", &["/l/1/x: 1 → 2"]);
        check("[1,2,3]", "[2,3]", &["/l: [1,2,3] → [2,3]"]);
        check("[]", "[1]", &["/l/0: - → 1"]);
    }

    #[test]
    fn a_document_that_comes_or_goes_is_one_change_and_json_keeps_every_digit() {
        let made = field_changes(None, Some("{\"id\":\"a\",\"n\":1.00}"));
        let json = serde_json::to_string(&made).unwrap();
        assert_eq!(json, r#"[{"path":"","new":{"id":"a","n":1.00}}]"#);
        assert_eq!(field_changes(None, None), []);
    }
}
