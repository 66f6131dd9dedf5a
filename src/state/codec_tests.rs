//! The records' bytes: each kind has them for ever, and nothing else is taken for one.

use proptest::prelude::*;

use super::*;

fn id() -> DocumentId {
    DocumentId::new("t1").unwrap()
}

/// One of each kind, with its bytes as an earlier version would have written them.
fn golden() -> Vec<(Op, u8, &'static [u8])> {
    let (task, session) = (Collection::Task, Collection::Session);
    vec![
        (
            Op::Put { collection: task, id: id(), document: Document::new("{\"id\":\"t1\"}") },
            1,
            b"\0\x02\0\0\0\0\0\0\0t1\x0b\0\0\0\0\0\0\0{\"id\":\"t1\"}",
        ),
        (
            Op::Patch { collection: session, id: id(), patch: "{}".into() },
            2,
            b"\x01\x02\0\0\0\0\0\0\0t1\x02\0\0\0\0\0\0\0{}",
        ),
        (
            Op::AppendLog { id: id(), entry: "{}".into() },
            3,
            b"\x02\0\0\0\0\0\0\0t1\x02\0\0\0\0\0\0\0{}",
        ),
        (
            Op::Delete { collection: session, id: id() },
            4,
            b"\x01\x02\0\0\0\0\0\0\0t1",
        ),
        (
            Op::Wrote {
                file: "tasks/a".into(),
                hash: ContentHash(0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10),
                length: 258,
                lsn: Lsn(3),
            },
            5,
            b"\x07\0\0\0\0\0\0\0tasks/a\x10\x0f\x0e\x0d\x0c\x0b\x0a\x09\x08\x07\x06\x05\x04\x03\x02\x01\x02\x01\0\0\0\0\0\0\x03\0\0\0\0\0\0\0",
        ),
        (
            Op::Removed { file: "tasks/a".into(), lsn: Lsn(4) },
            6,
            b"\x07\0\0\0\0\0\0\0tasks/a\x04\0\0\0\0\0\0\0",
        ),
        (Op::Saved { lsn: Lsn(5) }, 7, b"\x05\0\0\0\0\0\0\0"),
        (
            Op::WriteOutput {
                file: "reports/a".into(),
                generation: 5,
                bytes: b"{}\xff"[..].into(),
            },
            8,
            b"\x09\0\0\0\0\0\0\0reports/a\x05\0\0\0\0\0\0\0\x03\0\0\0\0\0\0\0{}\xff",
        ),
        (
            Op::AppendOutput {
                file: "logs/a".into(),
                generation: 6,
                offset: 256,
                bytes: b"x\n"[..].into(),
            },
            9,
            b"\x06\0\0\0\0\0\0\0logs/a\x06\0\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\x02\0\0\0\0\0\0\0x\n",
        ),
    ]
}

/// Those of edits.
fn golden_edits() -> Vec<(Op, u8, &'static [u8])> {
    vec![
        (
            Op::Edited {
                file: "tasks/a".into(),
                hash: ContentHash(0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10),
                length: 258,
                modified_ns: -2,
                is_whole: true,
                text: None,
            },
            10,
            b"\x07\0\0\0\0\0\0\0tasks/a\x10\x0f\x0e\x0d\x0c\x0b\x0a\x09\x08\x07\x06\x05\x04\x03\x02\x01\x02\x01\0\0\0\0\0\0\xfe\xff\xff\xff\xff\xff\xff\xff\x01",
        ),
        (Op::Synced, 11, b""),
        (
            Op::Edited {
                file: "tasks/a".into(),
                hash: ContentHash(0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10),
                length: 258,
                modified_ns: 3,
                is_whole: false,
                text: Some("{}".into()),
            },
            12,
            b"\x07\0\0\0\0\0\0\0tasks/a\x10\x0f\x0e\x0d\x0c\x0b\x0a\x09\x08\x07\x06\x05\x04\x03\x02\x01\x02\x01\0\0\0\0\0\0\x03\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0{}",
        ),
    ]
}

#[test]
fn the_bytes_of_every_kind_never_change() {
    for (op, kind, payload) in golden().into_iter().chain(golden_edits()) {
        assert_eq!(op.encode(), (kind, payload.to_vec()), "{op:?}");
        assert_eq!(decode(kind, payload).unwrap(), op);
        assert_eq!(is_about_document(kind), op.is_document_change());
    }
}

#[test]
fn bytes_that_are_cut_or_left_over_are_refused() {
    for (_, kind, payload) in golden().into_iter().chain(golden_edits()) {
        for end in 0..payload.len() {
            assert!(decode(kind, &payload[..end]).is_err(), "kind {kind} cut at {end}");
        }
        let why = decode(kind, &[payload, b"\0"].concat()).unwrap_err();
        assert_eq!(why, "1 bytes too many in a record");
    }
}

#[test]
fn a_length_beyond_the_limit_takes_no_memory_and_is_refused() {
    for length in [u64::MAX, 1 << 40, 1 << 30] {
        let payload = [&length.to_le_bytes()[..], b"t1"].concat();
        let why = decode(APPEND_LOG, &payload).unwrap_err();
        assert!(why.contains("Limit"), "{length}: {why}");
    }
}

#[test]
fn unknown_kinds_collections_and_impossible_ids_are_refused() {
    assert!(decode(0, b"").is_err());
    assert!(decode(100, b"").is_err());
    assert!(decode(DELETE, b"\x02\x02\0\0\0\0\0\0\0t1").unwrap_err().contains("collection 2"));
    assert!(decode(DELETE, b"\0\0\0\0\0\0\0\0\0").unwrap_err().contains("empty"));
    assert!(decode(DELETE, b"\0\x01\0\0\0\0\0\0\0\n").unwrap_err().contains("control"));
    assert!(decode(DELETE, b"\0\x01\0\0\0\0\0\0\0\xff").is_err(), "not UTF-8");
}

proptest! {
    #[test]
    fn no_bytes_make_decoding_panic(
        kind in 0..12_u8, payload in prop::collection::vec(any::<u8>(), 0..64),
    ) {
        if let Ok(op) = decode(kind, &payload) {
            prop_assert_eq!(op.encode(), (kind, payload));
        }
    }
}
