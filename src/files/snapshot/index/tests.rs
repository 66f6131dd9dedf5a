//! The index: what is loaded by it is what parsing gives, and nothing but an intact index of these
//! very bytes is believed.

use proptest::prelude::*;

use super::format::{decode, encode};
use super::*;
use crate::base::{ContentHash, Timestamp};
use crate::files::snapshot::{Contents, render};
use crate::fs::sim::{CallKind, CrashMode, Fault, SimFs};
use crate::fs::{Kind, Stat};

const STORE: StoreId = StoreId(7);

type Documents = Vec<(DocumentId, Arc<Doc>)>;

fn id(text: &str) -> DocumentId {
    DocumentId::new(text).unwrap()
}

fn doc(id_text: &str, text: &str, lsn: u64) -> (DocumentId, Arc<Doc>) {
    let suspect = lsn.is_multiple_of(2);
    (id(id_text), Arc::new(Doc::new(Document::new(text), Lsn(lsn), suspect)))
}

/// Tasks and sessions with all that is indexed, and with nothing of it.
fn documents() -> [Documents; 2] {
    let tasks = vec![
        doc("a", "{\n  \"id\": \"a\", \"status\": \"done\", \"logs\": [1, 2 ]\n}", 3),
        doc(
            "b",
            r#" {"id":"b","assigned_to":"é","started_at":"2024-01-01T10:00:00Z","completed_at":"2024-01-01T11:00:00Z"}"#,
            4,
        ),
        doc("é\"", r#"{"id":"\u00e9\"","s":"😀"}"#, 5),
    ];
    [tasks, vec![doc("s", "{\"id\":\"s\"}\n", 6)]]
}

fn rendered(lsn: u64, [tasks, sessions]: &[Documents; 2]) -> (Vec<u8>, Index) {
    let texts = |docs: &'_ Documents| -> Vec<(DocumentId, String)> {
        docs.iter().map(|(id, doc)| (id.clone(), doc.text().to_string())).collect()
    };
    let (task_texts, session_texts) = (texts(tasks), texts(sessions));
    let rendered = render(Contents {
        store: STORE,
        lsn: Lsn(lsn),
        tasks: task_texts.iter().map(|(id, text)| (id, text.as_str())).collect(),
        sessions: session_texts.iter().map(|(id, text)| (id, text.as_str())).collect(),
        metrics: "{}",
        last_saved: Timestamp(1),
        others: "",
    });
    let index = Index::new(&rendered, tasks, sessions);
    (rendered.bytes(), index)
}

fn entry(file: &str, stat: Option<Stat>) -> Entry {
    Entry { file: file.to_owned(), hash: ContentHash(0xabc), length: 9, lsn: Lsn(4), stat }
}

fn entries() -> Vec<Entry> {
    let stat = Stat {
        kind: Kind::File,
        size_bytes: 9,
        device: 1,
        inode: 2,
        links: 1,
        modified_ns: -3,
        changed_ns: 4,
        permissions: 0o600,
    };
    vec![entry("tasks/b.json", None), entry("tasks/a.json", Some(stat))]
}

/// A disk with `state.json` and its index.
fn disk(lsn: u64) -> (SimFs, Index) {
    let disk = SimFs::new();
    let (rendered, index) = rendered(lsn, &documents());
    let index = index.with_mirror(entries());
    disk.write_now(STATE, &rendered).unwrap();
    disk.create_dir(crate::files::names::WAL).unwrap();
    index.save(&disk).unwrap();
    (disk, index)
}

/// A file with these bytes in the place of the index, the hash put right.
fn signed(body: &[u8]) -> Vec<u8> {
    [body, &ContentHash::of(body).0.to_le_bytes()].concat()
}

fn parsed(disk: &SimFs) -> Option<Parsed> {
    disk.read_now(STATE).map(|bytes| parse(&bytes))
}

#[test]
fn what_is_loaded_by_the_index_is_what_was_saved_lsns_and_suspicion_included() {
    let (disk, index) = disk(9);
    let loaded = load(&disk).unwrap();
    assert!(loaded.is_indexed && loaded.problem.is_none());
    assert_eq!(loaded.index, Some(index));
    let Some(Parsed::Intact(snapshot)) = loaded.state else { panic!("it is intact") };
    let [tasks, sessions] = documents();
    assert_eq!((snapshot.tasks, snapshot.sessions), (tasks, sessions));
    assert_eq!((snapshot.store, snapshot.lsn), (STORE, Lsn(9)));
    let Some(Parsed::Intact(by_text)) = parsed(&disk) else { panic!("it is intact") };
    assert_eq!(snapshot.last_saved, by_text.last_saved);
}

#[test]
fn without_an_index_documents_are_as_of_the_snapshot() {
    let (disk, _) = disk(9);
    disk.remove_now(STATE_INDEX).unwrap();
    let loaded = load(&disk).unwrap();
    assert!(!loaded.is_indexed && loaded.index.is_none() && loaded.problem.is_none());
    let Some(Parsed::Intact(snapshot)) = loaded.state else { panic!("it is intact") };
    assert!(snapshot.tasks.iter().all(|(_, doc)| doc.lsn() == Lsn(9) && !doc.is_suspect()));
    let with = rendered(9, &documents()).1;
    let members = snapshot.tasks.iter().map(|(_, doc)| doc.document().members());
    assert!(members.eq(with.documents[..3].iter().map(|place| &place.members)));
}

#[test]
fn every_flipped_bit_and_every_truncation_of_the_index_is_told_and_it_is_done_without() {
    let (disk, index) = disk(9);
    let bytes = encode(&index);
    let check = |damaged: &[u8], what: &str| {
        disk.write_now(STATE_INDEX, damaged).unwrap();
        let loaded = load(&disk).unwrap();
        assert!(!loaded.is_indexed && loaded.index.is_none(), "{what}");
        assert_eq!(loaded.problem.unwrap().kind, ProblemKind::Corrupt, "{what}");
        assert_eq!(loaded.state, parsed(&disk));
    };
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        check(&flipped, &format!("bit {bit}"));
    }
    for length in 0..bytes.len() {
        check(&bytes[..length], &format!("length {length}"));
    }
    check(&[&bytes[..], &[0]].concat(), "one byte more");
}

#[test]
fn every_flipped_bit_of_the_snapshot_is_judged_as_without_an_index() {
    let (disk, index) = disk(9);
    let bytes = disk.read_now(STATE).unwrap();
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        disk.write_now(STATE, &flipped).unwrap();
        let loaded = load(&disk).unwrap();
        assert!(!loaded.is_indexed, "bit {bit}");
        assert_eq!(loaded.state, parsed(&disk), "bit {bit}");
        assert_eq!(loaded.index.as_ref(), Some(&index), "it is of use all the same");
    }
}

#[test]
fn an_index_of_another_snapshot_of_the_store_is_not_applied() {
    let (disk, index) = disk(8);
    let mut other = documents();
    other[0][0] = doc("a", "{\n  \"id\": \"a\", \"status\": \"dune\", \"logs\": [1, 2 ]\n}", 3);
    for (lsn, documents) in [(9, &documents()), (8, &other)] {
        let (rendered, _) = rendered(lsn, documents);
        assert_eq!(rendered.len() as u64, index.head.length, "only the digest differs");
        disk.write_now(STATE, &rendered).unwrap();
        let loaded = load(&disk).unwrap();
        assert!(!loaded.is_indexed);
        assert_eq!((loaded.index.as_ref(), loaded.state), (Some(&index), parsed(&disk)));
    }
    disk.remove_now(STATE).unwrap();
    let loaded = load(&disk).unwrap();
    assert_eq!((loaded.index, loaded.state), (Some(index), None));
}

#[test]
fn digits_that_are_not_the_digest_are_not_taken_for_it() {
    let (disk, index) = disk(9);
    let mut bytes = disk.read_now(STATE).unwrap();
    let at = usize::try_from(index.head.digest_at).unwrap();
    bytes[at..at + 32].copy_from_slice(NO_DIGEST.as_bytes());
    disk.write_now(STATE, &bytes).unwrap();
    assert!(!load(&disk).unwrap().is_indexed);
}

#[test]
fn an_index_of_another_version_is_done_without_and_nothing_is_told() {
    let (disk, index) = disk(9);
    let bytes = encode(&index);
    let mut body = bytes[..bytes.len() - 16].to_vec();
    body[8] = 2;
    disk.write_now(STATE_INDEX, &signed(&body)).unwrap();
    let loaded = load(&disk).unwrap();
    assert!(!loaded.is_indexed && loaded.index.is_none() && loaded.problem.is_none());
    assert!(matches!(loaded.state, Some(Parsed::Intact(_))));
}

#[test]
fn what_is_no_file_or_cannot_be_read_is_told_and_done_without() {
    let (disk, _) = disk(9);
    disk.fail_when(CallKind::Read, 1, Fault::Errno(5));
    let failed = load(&disk).unwrap();
    assert_eq!(disk.faults_fired(), 1);
    disk.remove_now(STATE_INDEX).unwrap();
    disk.plant_now(STATE_INDEX, Kind::Other).unwrap();
    for loaded in [failed, load(&disk).unwrap()] {
        assert_eq!(loaded.problem.unwrap().kind, ProblemKind::Unreadable);
        assert!(!loaded.is_indexed && matches!(loaded.state, Some(Parsed::Intact(_))));
    }
}

#[test]
fn renewing_changes_the_mirrors_entries_and_nothing_else_and_only_of_this_store() {
    let (disk, index) = disk(9);
    let written = disk.trace().len();
    renew(&disk, STORE, entries()).unwrap();
    assert!(!disk.trace()[written..].iter().any(|call| call.starts_with("rename")));
    renew(&disk, StoreId(8), Vec::new()).unwrap();
    assert_eq!(load(&disk).unwrap().index, Some(index.clone()));
    renew(&disk, STORE, vec![entry("tasks/c.json", None)]).unwrap();
    let loaded = load(&disk).unwrap();
    assert!(loaded.is_indexed);
    let renewed = Index { mirror: vec![entry("tasks/c.json", None)], ..index };
    assert_eq!(loaded.index, Some(renewed));
    disk.corrupt(STATE_INDEX, 50, 1).unwrap();
    assert!(renew(&disk, STORE, Vec::new()).is_err());
    disk.remove_now(STATE_INDEX).unwrap();
    renew(&disk, STORE, Vec::new()).unwrap();
    assert_eq!(disk.read_now(STATE_INDEX), None);
}

#[test]
fn a_crash_at_any_call_leaves_the_old_or_the_new_index_and_the_new_one_is_durable() {
    for call in 1.. {
        let (disk, old) = disk(9);
        disk.sync_dir("").unwrap();
        let new = old.clone().with_mirror(Vec::new());
        disk.fail_at(call, Fault::Crash);
        let is_done = new.save(&disk).is_ok();
        let modes = [CrashMode::Nothing, CrashMode::Everything];
        for mode in modes.into_iter().chain((0..20).map(CrashMode::Random)) {
            let found = decode(&disk.crash_with(&mode).read_now(STATE_INDEX).unwrap()).unwrap();
            let found = found.unwrap();
            assert!(found == new || (found == old && !is_done), "{mode:?} {call}");
        }
        if is_done {
            assert!(call > 4, "there are more calls to crash at than {call}");
            return;
        }
    }
}

#[test]
fn the_format_stays_as_it_is() {
    let head = Head {
        store: STORE,
        lsn: Lsn(0x11),
        last_saved: Timestamp(-2),
        length: 0x22,
        digest: ContentHash(0x33),
        digest_at: 0x44,
    };
    let members = Indexed {
        status: Some("st".into()),
        assigned_to: Some("to".into()),
        started_at: Some(Timestamp(5)),
        completed_at: Some(Timestamp(6)),
        logs_end: Some(7),
    };
    let (collection, span, lsn) = (Collection::Session, 1..2, Lsn(3));
    let place = Place { collection, id: id("x"), span, lsn, suspect: true, members };
    let documents = vec![place];
    let mut mirror = entries();
    mirror[0].file = "m".to_owned();
    let bytes = encode(&Index { head, documents, mirror });
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    let hex: String = digits.filter_map(|digit| char::from_digit(u32::from(digit), 16)).collect();
    let zeros = |count: usize| "00".repeat(count);
    let number = |number: u8| format!("{number:02x}{}", zeros(7));
    let golden = [
        "57414c44454e4958".into(), // magic
        format!("01{}", zeros(3)),
        format!("07{}", zeros(15)),
        number(0x11),
        format!("fe{}", "ff".repeat(7)),
        number(0x22),
        format!("33{}", zeros(15)),
        number(0x44),
        number(1),
        number(2),
        "7f".into(), // the document's flags
        [1, 2, 3, 1].map(number).concat(),
        "78".into(),
        [5, 6, 7, 2].map(number).concat(),
        "7374".into(),
        number(2),
        "746f".into(),
        number(1), // the first file
        "6d".into(),
        format!("bc0a{}", zeros(14)),
        [9, 4].map(number).concat(),
        "00".into(),
        number(12), // the second
        "7461736b732f612e6a736f6e".into(),
        format!("bc0a{}", zeros(14)),
        [9, 4].map(number).concat(),
        "0100".into(),
        [9, 1, 2, 1].map(number).concat(),
        format!("fd{}", "ff".repeat(7)),
        number(4),
        format!("8001{}", zeros(2)),
    ]
    .concat();
    let (body, hash) = hex.split_at(hex.len() - 32);
    assert_eq!(body, golden);
    assert_eq!(hash, "69803fd689d5a543e2010c53f77517c2");
}

proptest! {
    #[test]
    fn no_bytes_make_the_reader_panic_and_there_is_one_spelling(
        bytes in proptest::collection::vec(any::<u8>(), 0..400),
        flips in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        end in any::<prop::sample::Index>(),
    ) {
        let (_, index) = rendered(9, &documents());
        let mut changed = encode(&index.with_mirror(entries()));
        changed.truncate(changed.len() - 16);
        let head = changed[..92].to_vec();
        for (at, byte) in &flips {
            let at = at.index(changed.len());
            changed[at] ^= byte;
        }
        let cut = changed[..end.index(changed.len())].to_vec();
        for body in [bytes.clone(), [head, bytes].concat(), changed, cut] {
            let file = signed(&body);
            if let Ok(Some(index)) = decode(&file) {
                prop_assert_eq!(encode(&index), file);
                let state = rendered(9, &documents()).0;
                index.snapshot(&state);
            }
            let _ = decode(&body);
        }
    }
}
