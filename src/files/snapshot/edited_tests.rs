//! What is read of an edited snapshot; the whole of it is tested in `tests/guarantees/state_edits.rs`.

use super::*;
use crate::files::snapshot::fixture::snapshot_bytes;
use crate::files::snapshot::{Contents, Parsed, parse, render};

const STORE: StoreId = StoreId(7);

fn understood(text: &str) -> Edited {
    understand(text.as_bytes(), STORE).unwrap()
}

fn refused(text: &str) -> String {
    understand(text.as_bytes(), STORE).unwrap_err().why
}

#[test]
fn what_an_intact_snapshot_says_is_read_of_an_edited_one() {
    let bytes = snapshot_bytes(STORE, 9, 3);
    let edited = understand(&bytes, STORE).unwrap();
    assert_eq!((edited.base, edited.documents.len()), (Some(Lsn(9)), 1));
    assert_eq!(edited.documents[0].2, r#"{"id":"a","n":9,"pad":"xxx"}"#);
    assert_eq!((edited.hash, edited.length), (ContentHash::of(&bytes), bytes.len() as u64));
    let with_mark = format!("\u{feff}{}", String::from_utf8(bytes).unwrap().replace('\n', "\r\n"));
    assert_eq!(understood(&with_mark).documents, edited.documents);
    assert_eq!(understood("{}").documents, []);
}

#[test]
fn what_two_readers_could_understand_differently_is_refused_with_its_place() {
    for (text, why) in [
        ("{\"tasks\": [],\n \"t\\u0061sks\": []}", "line 2, column 2: the key \"tasks\" appears"),
        ("{\"x\":\n  {\"a\": 1, \"a\": 2}}", "line 2, column 12: the key \"a\" appears twice"),
        ("{\"x\": \"\\ud800\"}", "line 1, column"),
        ("{\"tasks\": {}}", "line 1, column 11: \"tasks\" must be an array"),
        ("{\"tasks\": [1]}", "line 1, column 12: task: expected a JSON object"),
        ("{\"sessions\": [{}]}", "line 1, column 15: session: it has no member \"id\""),
        ("{\"version\": \"1.0\", \"engine\": {}}", "version 1.0"),
        ("[]", "line 1, column"),
        ("\u{feff} \n", "empty"),
    ] {
        let found = refused(text);
        assert!(found.contains(why), "{text}: {found}");
    }
}

#[test]
fn members_of_other_names_come_back_as_they_were_saved() {
    for others in
        ["", "\"a b\": {\"x\": 1.50}", "\"\\u0061\": \"\\n  \\\"metrics\\\": \",\n  \"k\": null"]
    {
        let rendered = render(Contents {
            store: STORE,
            lsn: Lsn(1),
            tasks: Vec::new(),
            sessions: Vec::new(),
            metrics: "{}",
            last_saved: crate::base::Timestamp(0),
            others,
        });
        let Parsed::Intact(snapshot) = parse(&rendered.bytes()) else { panic!("not intact") };
        assert_eq!(snapshot.others, others);
        assert_eq!(understand(&rendered.bytes(), STORE).unwrap().others, others);
    }
}
