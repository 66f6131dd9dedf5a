//! Traces: JSON Lines of operations, each `{"op": …}` with the members that its operation needs.
//!
//! Other members (`at`) are ignored. The whole file is checked before anything of it is applied, and
//! documents, patches and entries keep the text that they have in their line.

use walden::state::Op;
use walden::state::json::Object;
use walden::{Collection, Options, Result};

use crate::host::Input;
use crate::lines::{Line, lines};

/// An operation, and the line that it came from.
#[derive(Debug)]
pub(crate) struct Entry<'a> {
    pub(crate) line: Line<'a>,
    pub(crate) op: Op,
}

/// All operations of a trace; the first bad line is the error.
pub(crate) fn read(input: &Input) -> Result<Vec<Entry<'_>>> {
    lines(input).map(|line| Ok(Entry { line, op: parse(&line)? })).collect()
}

fn parse(line: &Line<'_>) -> Result<Op> {
    use Collection::{Session, Task};
    let max = Options::default().document_bytes_max;
    let object = Object::parse(line.text).map_err(|error| line.refuse_json(line.text, error))?;
    for (index, member) in object.iter().enumerate() {
        if object.iter().take(index).any(|earlier| earlier.key == member.key) {
            let why = format!("the key {:?} appears twice in one object", member.key);
            return Err(line.refuse(member.raw_key, why));
        }
    }
    let name = text_of(line, &object, "op")?;
    let member = |key: &str| {
        let missing = || line.refuse(line.text, format!("{name} needs a member {key:?}"));
        object.get(key).ok_or_else(missing)
    };
    let put = |collection, key| {
        let text = member(key)?;
        line.make(text, || Op::put(collection, text, max))
    };
    let patch = |collection| {
        let (id, text) = (text_of(line, &object, "id")?, member("patch")?);
        line.make(text, || Op::patch(collection, &id, text, max))
    };
    let delete = |collection| {
        let id = text_of(line, &object, "id")?;
        line.make(line.text, || Op::delete(collection, &id))
    };
    match name.as_str() {
        "save_task" => put(Task, "task"),
        "patch_task" => patch(Task),
        "delete_task" => delete(Task),
        "append_task_log" => {
            let (id, text) = (text_of(line, &object, "id")?, member("entry")?);
            line.make(text, || Op::append_log(&id, text, max))
        }
        "save_session" => put(Session, "session"),
        "patch_session" => patch(Session),
        "delete_session" => delete(Session),
        _ => Err(line.refuse(
            object.get("op").unwrap_or_default(),
            format!("there is no operation {name:?}"),
        )),
    }
}

/// The string under `key`.
fn text_of(line: &Line<'_>, object: &Object<'_>, key: &str) -> Result<String> {
    let Some(raw) = object.get(key) else {
        return Err(line.refuse(line.text, format!("an operation needs a member {key:?}")));
    };
    serde_json::from_str(raw)
        .map_err(|_| line.refuse(raw, format!("the member {key:?} must be a string")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_all(text: &str) -> Result<Vec<(usize, Op)>> {
        let input = Input { name: "t.jsonl".into(), text: text.into() };
        read(&input).map(|all| all.into_iter().map(|entry| (entry.line.number, entry.op)).collect())
    }

    fn refusal(text: &str) -> String {
        parse_all(text).unwrap_err().to_string()
    }

    #[test]
    fn every_operation_is_read_with_its_text_untouched_and_its_line() {
        let text = concat!(
            "\n{\"at\": 1, \"op\": \"save_task\", \"task\": {\"n\": 1.00,  \"id\": \"t\"}}\r\n",
            "   \n",
            "{\"op\":\"patch_task\",\"id\":\"t\",\"patch\":{\"a\" : null}}\n",
            "{\"op\":\"append_task_log\",\"id\":\"t\",\"entry\":{ }}\n",
            "{\"op\":\"delete_task\",\"id\":\"t\"}\n",
            "{\"op\":\"save_session\",\"session\":{\"id\":\"s\"}}\n",
            "{\"op\":\"patch_session\",\"id\":\"s\",\"patch\":{}}\n",
            "{\"op\":\"delete_session\",\"id\":\"s\"}",
        );
        let ops = parse_all(text).unwrap();
        assert_eq!(ops.iter().map(|(line, _)| *line).collect::<Vec<_>>(), [2, 4, 5, 6, 7, 8, 9]);
        let Op::Put { document, .. } = &ops[0].1 else { panic!("{:?}", ops[0]) };
        assert_eq!(&**document.text(), "{\"n\": 1.00,  \"id\": \"t\"}");
        let Op::Patch { patch, .. } = &ops[1].1 else { panic!("{:?}", ops[1]) };
        assert_eq!(&**patch, "{\"a\" : null}");
        assert_eq!(ops[6].1, Op::delete(Collection::Session, "s").unwrap());
    }

    #[test]
    fn a_bad_line_is_refused_with_its_place_in_the_whole_line() {
        let table = [
            ("\n{", "t.jsonl, line 2, column 1: EOF while parsing an object"),
            ("{\"op\":\"rm\"}", "t.jsonl, line 1, column 7: there is no operation \"rm\""),
            ("{}", "t.jsonl, line 1, column 1: an operation needs a member \"op\""),
            ("{\"op\":7}", "t.jsonl, line 1, column 7: the member \"op\" must be a string"),
            (
                "{\"op\":\"patch_task\",\"id\":\"t\"}",
                "t.jsonl, line 1, column 1: patch_task needs a member \"patch\"",
            ),
            (
                "{\"op\":\"save_task\",\"task\":{\"id\":\"\"}}",
                "t.jsonl, line 1, column 32: id \"\": an id must not be empty",
            ),
            (
                "{\"op\":\"save_task\",\"task\":{\"é\":1,\"é\":2}}",
                "t.jsonl, line 1, column 33: the key \"é\" appears twice in one object",
            ),
            (
                "{\"op\":\"delete_task\",\"op\":\"save_task\"}",
                "t.jsonl, line 1, column 21: the key \"op\" appears twice in one object",
            ),
        ];
        for (text, why) in table {
            assert_eq!(refusal(text), why, "{text}");
        }
    }
}
