//! Any bytes as a record of the log: a typed refusal, or a mutation that has these very bytes; and
//! which of the two is told by a second reading of the format that shares no code with the codec.
//!
//! What was decoded is applied, to a document and after a hole, though its text was never checked.

use walden::state::{Collection, Op, Table};
use walden::{DocumentId, Lsn};

use super::input::Input;

/// Runs one input: the record's kind, and its bytes. With bit 7 of the kind, the rest chooses the
/// fields instead, so that lengths fit.
pub fn run(data: &[u8]) {
    let mut input = Input(data);
    let first = input.u8();
    let kind = first & 0x0f;
    let payload = if first & 0x80 == 0 { input.0.to_vec() } else { written(kind, &mut input) };
    let decoded = Op::decode(kind, &payload);
    let is_one = is_record(kind, &payload);
    assert_eq!(decoded.is_ok(), is_one, "{decoded:?} of kind {kind}: {payload:02x?}");
    let Ok(op) = decoded else { return };
    assert_eq!(op.encode(), (kind, payload.clone()), "{op:?}");
    assert_eq!(Op::decode(kind, &payload).as_ref(), Ok(&op));
    assert_eq!(op.is_document_change(), Op::is_document_kind(kind));
    apply(&op);
}

/// The fields of each kind: `c` a collection, `i` an id, `t` text, `b` bytes, a digit so many bytes.
fn layout(kind: u8) -> Option<&'static str> {
    Some(match kind {
        1 | 2 => "cit",
        3 => "it",
        4 => "ci",
        5 => "t988",
        6 => "t8",
        7 => "8",
        8 => "t8b",
        9 => "t88b",
        // A boolean is like a collection: 0 or 1.
        10 => "t988c",
        11 => "",
        12 => "t988t",
        _ => return None,
    })
}

/// Bytes that a `9` stands for: a hash.
const HASH_BYTES: usize = 16;

/// Whether these bytes are a record of this kind and nothing else.
fn is_record(kind: u8, mut rest: &[u8]) -> bool {
    let Some(layout) = layout(kind) else { return false };
    layout.chars().all(|field| is_field(field, &mut rest)) && rest.is_empty()
}

fn is_field(field: char, rest: &mut &[u8]) -> bool {
    let mut take = |count: usize| {
        let (taken, left) = rest.split_at_checked(count)?;
        *rest = left;
        Some(taken)
    };
    match field {
        'c' => matches!(take(1), Some([0 | 1])),
        '8' => take(8).is_some(),
        '9' => take(HASH_BYTES).is_some(),
        _ => {
            let length = take(8).map(|length| u64::from_le_bytes(length.try_into().unwrap()));
            let length = length.and_then(|length| usize::try_from(length).ok());
            let Some(bytes) = length.and_then(take) else { return false };
            match (field, std::str::from_utf8(bytes)) {
                ('b', _) => true,
                ('i', Ok(id)) => DocumentId::check(id).is_ok(),
                (_, text) => text.is_ok(),
            }
        }
    }
}

/// A record of this kind with fields from the input, and then perhaps a change of one byte.
fn written(kind: u8, input: &mut Input<'_>) -> Vec<u8> {
    const IDS: [&str; 6] = ["t", "s", "", "a\nb", "../x", "\u{e9}"];
    const TEXTS: [&str; 8] = [
        "{}",
        "{\"id\":\"t\",\"logs\":[1 ]}",
        "{\"logs\":{}}",
        "{\"status\":\"completed\",\"started_at\":\"2025-01-01T00:00:00Z\"}",
        "{\"a\":null,\"b\":{\"c\":null}}",
        "no JSON",
        "[[[[",
        "tasks/t.json",
    ];
    let mut bytes = Vec::new();
    for field in layout(kind).unwrap_or("t").chars() {
        let contents = match field {
            'c' => {
                bytes.push(input.u8() & 3);
                continue;
            }
            '8' | '9' => {
                let count = if field == '8' { 8 } else { HASH_BYTES };
                bytes.extend((0..count).map(|_| input.u8()));
                continue;
            }
            'i' => input.one_of(&IDS).as_bytes(),
            _ if input.u8() & 1 == 0 => input.one_of(&TEXTS).as_bytes(),
            _ => {
                let count = usize::from(input.u8());
                input.bytes(count)
            }
        };
        bytes.extend((contents.len() as u64).to_le_bytes());
        bytes.extend(contents);
    }
    if !input.is_empty() {
        let at = input.below(bytes.len().max(1));
        let mask = input.u8();
        if let Some(byte) = bytes.get_mut(at) {
            *byte ^= mask;
        }
    }
    bytes
}

/// Applied to a document, twice, and with ordinary mutations behind it.
fn apply(op: &Op) {
    let task = |text: &str| Op::put(Collection::Task, text, 1000).unwrap();
    let mut table = Table::new();
    let before = [
        task("{\"id\":\"t\",\"status\":\"pending\",\"logs\":[{\"message\":\"x\"}]}"),
        Op::put(Collection::Session, "{\"id\":\"s\"}", 1000).unwrap(),
    ];
    let after = [
        Op::patch(Collection::Task, "t", "{\"a\":{\"b\":null},\"logs\":null}", 1000).unwrap(),
        Op::append_log("t", "{\"message\":\"y\"}", 1000).unwrap(),
    ];
    for (lsn, op) in (1..).zip(before.iter().chain([op, op]).chain(&after)) {
        // A refusal changes nothing, and is an answer.
        let _ = table.apply(&[(Lsn(lsn), op.clone())]);
    }
    table.apply_after_hole(&[(Lsn(20), op.clone())], Lsn(10));
    for collection in Collection::ALL {
        for (id, _) in table.sorted(collection) {
            assert!(table.get(collection, id.as_str()).is_some());
        }
    }
    assert_eq!(table.metrics().total_tasks, table.len(Collection::Task) as u64);
}
