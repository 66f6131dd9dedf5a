//! Snapshots: what is rendered is read back verbatim, and nothing else vouches for itself.

use std::sync::Arc;

use super::*;
use crate::state::Document;

const STORE: StoreId = StoreId(7);

fn id(text: &str) -> DocumentId {
    DocumentId::new(text).unwrap()
}

const TASKS: [(&str, &str); 3] = [
    ("b", "{\"z\": 1.00, \"id\": \"b\",\"n\":123456789012345678901234567890, \"e\":1e400}"),
    ("a", "{\n  \"id\": \"a\",\n  \"logs\": [\n    \"x\"\n  ]\n}"),
    ("é\"", r#"{"id":"\u00e9\"","s":"\ud83d\ude00 é"}"#),
];

fn rendered() -> Vec<u8> {
    let tasks: Vec<(DocumentId, &str)> =
        TASKS.iter().map(|(name, text)| (id(name), *text)).collect();
    let session = id("s");
    render(Contents {
        store: STORE,
        lsn: Lsn(41),
        tasks: tasks.iter().map(|(id, text)| (id, *text)).collect(),
        sessions: vec![(&session, " {\"id\":\"s\"}\n")],
        metrics: "{\"total_tasks\":3}",
        last_saved: Timestamp(1),
        others: "",
    })
    .bytes()
}

fn intact(bytes: &[u8]) -> Snapshot {
    match parse(bytes) {
        Parsed::Intact(snapshot) => snapshot,
        Parsed::NotIntact(defect) => panic!("{defect:?}"),
    }
}

fn defect(bytes: impl AsRef<[u8]>) -> Defect {
    match parse(bytes.as_ref()) {
        Parsed::Intact(snapshot) => panic!("{snapshot:?}"),
        Parsed::NotIntact(defect) => defect,
    }
}

/// Puts the right digest into a file that a test made up.
fn signed(text: &str) -> String {
    let zeroed = text.replace("DIGEST", NO_DIGEST);
    text.replace("DIGEST", &ContentHash::of(zeroed.as_bytes()).to_string())
}

#[test]
fn documents_come_back_verbatim_and_sorted() {
    let snapshot = intact(&rendered());
    let tasks: Vec<(&str, &str)> =
        snapshot.tasks.iter().map(|(id, doc)| (id.as_str(), &**doc.text())).collect();
    assert_eq!(tasks, [TASKS[1], TASKS[0], TASKS[2]]);
    let session = Doc::new(Document::new(" {\"id\":\"s\"}\n"), Lsn(41), false);
    assert_eq!(snapshot.sessions, [(id("s"), Arc::new(session))]);
    assert_eq!((snapshot.store, snapshot.lsn), (STORE, Lsn(41)));
    assert_eq!(snapshot.last_saved.as_deref(), Some("1970-01-01T00:00:00.000000001Z"));
}

#[test]
fn white_space_around_a_document_comes_back_too() {
    let spaces = ["", " ", "\n", "\n    ", "\n  ", "\t\r\n "];
    for before in spaces {
        for after in spaces {
            let texts: Vec<(DocumentId, String)> = (0..3)
                .map(|n| (id(&n.to_string()), format!("{before}{{\"id\":\"{n}\"}}{after}")))
                .collect();
            for count in 0..=texts.len() {
                let bytes = render(Contents {
                    store: STORE,
                    lsn: Lsn(1),
                    tasks: texts[..count].iter().map(|(id, text)| (id, text.as_str())).collect(),
                    sessions: Vec::new(),
                    metrics: "{}",
                    last_saved: Timestamp(0),
                    others: "",
                })
                .bytes();
                let tasks = intact(&bytes).tasks;
                let found: Vec<&str> = tasks.iter().map(|(_, doc)| &**doc.text()).collect();
                let saved: Vec<&str> =
                    texts[..count].iter().map(|(_, text)| text.as_str()).collect();
                assert_eq!(found, saved);
            }
        }
    }
}

#[test]
fn a_document_may_be_nested_as_deep_as_any() {
    let deep = format!("{{\"id\":\"a\",\"x\":{}{}}}", "[".repeat(127), "]".repeat(127));
    let task = id("a");
    let bytes = render(Contents {
        store: STORE,
        lsn: Lsn(1),
        tasks: vec![(&task, &deep)],
        sessions: Vec::new(),
        metrics: "{}",
        last_saved: Timestamp(0),
        others: "",
    })
    .bytes();
    assert_eq!(&**intact(&bytes).tasks[0].1.text(), deep);
}

#[test]
fn the_format_stays_as_it_is() {
    let task = id("a");
    let bytes = render(Contents {
        store: STORE,
        lsn: Lsn(7),
        tasks: vec![(&task, "{\"id\": \"a\"}")],
        sessions: Vec::new(),
        metrics: "{}",
        last_saved: Timestamp(0),
        others: "",
    })
    .bytes();
    let golden = "{\n  \"version\": \"2.0.0\",\n  \"engine\": {\"store\": \
                  \"00000000000000000000000000000007\", \"lsn\": 7, \"documents\": 1, \"digest\": \
                  \"DIGEST\"},\n  \"tasks\": [\n    {\"id\": \"a\"}\n  ],\n  \"sessions\": [],\n  \
                  \"metrics\": {},\n  \"last_saved\": \"1970-01-01T00:00:00Z\"\n}\n";
    assert_eq!(String::from_utf8(bytes).unwrap(), signed(golden));
}

#[test]
fn an_empty_store_has_a_snapshot_too() {
    let bytes = render(Contents {
        store: STORE,
        lsn: Lsn::ZERO,
        tasks: Vec::new(),
        sessions: Vec::new(),
        metrics: "{}",
        last_saved: Timestamp(0),
        others: "",
    })
    .bytes();
    assert!(intact(&bytes).tasks.is_empty());
}

#[test]
fn every_flipped_bit_is_detected() {
    let bytes = rendered();
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let found = defect(&flipped);
        assert!(!matches!(found, Defect::Earlier | Defect::Unsupported { .. }), "bit {bit}");
    }
}

#[test]
fn every_truncation_and_addition_is_detected() {
    let bytes = rendered();
    assert_eq!(defect(b""), Defect::Empty);
    for length in 1..bytes.len() - 2 {
        let found = defect(&bytes[..length]);
        let in_a_character = matches!(&found, Defect::Invalid { why, .. } if why.contains("UTF-8"));
        let blank = bytes[..length].iter().all(u8::is_ascii_whitespace);
        assert!(found == Defect::Cut || in_a_character || blank, "length {length}: {found:?}");
    }
    let base = Some((STORE, Lsn(41)));
    assert_eq!(defect(&bytes[..bytes.len() - 1]), Defect::Edited { base });
    assert_eq!(defect([&bytes[..], b"\n"].concat()), Defect::Edited { base });
    assert!(matches!(defect([&bytes[..], &[0; 512]].concat()), Defect::Invalid { .. }));
    assert!(matches!(defect([0; 4096]), Defect::Invalid { line: 1, column: 1, .. }));
}

#[test]
fn what_is_not_intact_is_told_apart() {
    assert_eq!(defect(" \n"), Defect::Empty);
    assert!(matches!(defect("{\n  nonsense"), Defect::Invalid { line: 2, column: 3, .. }));
    assert!(matches!(defect("[]"), Defect::Invalid { .. }));
    assert!(matches!(defect(b"{\n\"a\xff"), Defect::Invalid { line: 2, column: 3, .. }));
    assert_eq!(defect(r#"{"tasks": []}"#), Defect::Earlier);
    assert_eq!(defect(r#"{"version": "1.4.0", "tasks": []}"#), Defect::Earlier);
    assert_eq!(defect(r#"{"version": "2.0.0", "tasks": []}"#), Defect::Edited { base: None });
    assert_eq!(defect(r#"{"version": 2, "tasks": []}"#), Defect::Edited { base: None });
    assert_eq!(defect(r#"{"engine": 5}"#), Defect::Edited { base: None });
}

#[test]
fn an_intact_file_of_another_major_version_is_unsupported_and_an_edited_one_is_edited() {
    let later = r#"{"version": "3.1.0", "engine": {"store": "00000000000000000000000000000007",
        "lsn": 1, "documents": 0, "new": 1, "digest": "DIGEST"}, "tasks": {}}"#;
    let version = "3.1.0".to_owned();
    assert_eq!(defect(signed(later)), Defect::Unsupported { version });
    let edited = signed(later).replace("3.1.0", "3.2.0");
    assert_eq!(defect(edited), Defect::Edited { base: Some((STORE, Lsn(1))) });
}

#[test]
fn a_file_that_vouches_for_nonsense_is_refused() {
    let file = |documents: u32, tasks: &str| {
        signed(&format!(
            "{{\"version\": \"2.0.0\", \"engine\": {{\"store\": \"{STORE}\", \"lsn\": 1, \
             \"documents\": {documents}, \"digest\": \"DIGEST\"}}, \"tasks\": {tasks}, \
             \"sessions\": []}}"
        ))
    };
    assert!(matches!(parse(file(1, "[{\"id\":\"a\"}]").as_bytes()), Parsed::Intact(_)));
    for (documents, tasks, expected) in [
        (2, "[{\"id\":\"a\"},{\"id\":\"\\u0061\"}]", "twice"),
        (2, "[{\"id\":\"a\"}]", "1 documents"),
        (1, "[{\"id\":\"\"}]", "empty"),
        (1, "[{\"di\":\"a\"}]", "missing field"),
        (1, "[7]", "no object"),
        (1, "[[\"a\"]]", "no object"),
        (1, "{}", "tasks"),
    ] {
        let found = defect(file(documents, tasks));
        assert!(
            matches!(&found, Defect::Invalid { why, .. } if why.contains(expected)),
            "{tasks}: {found:?}"
        );
    }
}

#[test]
fn what_is_written_in_pieces_is_the_whole_and_they_end_with_an_error() {
    let ids: Vec<_> = (0..40).map(|n| DocumentId::new(&format!("t{n:02}")).unwrap()).collect();
    let pad = "x".repeat(100_000);
    let texts: Vec<_> =
        ids.iter().map(|id| format!("{{\"id\": \"{id}\", \"pad\": \"{pad}\"}}")).collect();
    let tasks: Vec<_> = ids.iter().zip(&texts).map(|(id, text)| (id, &**text)).collect();
    let (lsn, metrics, last_saved, others) = (Lsn(9), "{}", Timestamp(0), "");
    let sessions = tasks[..3].to_vec();
    let rendered =
        render(Contents { store: STORE, lsn, tasks, sessions, metrics, last_saved, others });
    let mut pieces = Vec::new();
    let all = rendered.each(&mut |piece| {
        pieces.push(piece.to_vec());
        Ok(())
    });
    all.unwrap();
    assert!(pieces.len() > 3 && pieces.iter().all(|piece| piece.len() < PIECE_BYTES + 200_000));
    let bytes = pieces.concat();
    assert!(bytes == rendered.bytes());
    assert_eq!(bytes.len() as u64, rendered.head.length);
    for (span, text) in rendered.spans.iter().zip(texts.iter().chain(&texts[..3])) {
        let span = usize::try_from(span.start).unwrap()..usize::try_from(span.end).unwrap();
        assert!(bytes[span] == *text.as_bytes());
    }
    assert!(matches!(parse(&bytes), Parsed::Intact(snapshot) if snapshot.tasks.len() == 40));
    let mut taken = 0;
    let ended = rendered.each(&mut |_| {
        taken += 1;
        if taken == 2 { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    });
    assert!(ended.is_err() && taken == 2);
}
