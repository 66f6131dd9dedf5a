//! Directories of the earlier implementation (G5, G7): taken over whole, after a byte-exact copy, and
//! resumable at every step.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use walden::fs::Kind;
use walden::fs::sim::{CrashMode, Fault, SimFs};
use walden::{Error, Rung};

use crate::support::{Documents, at, builder, documents, files, open};
use crate::watched::Watched;

const PRE_MIGRATION: &str = "state.pre-migration.backup.json";

const STATE: &str = r#"{
  "tasks": [
    {"id": "same", "description": "é", "cost": 1.10, "updated_at": "2024-01-01T10:00:00Z"},
    {"id": "newer here", "n": 2, "updated_at": "2024-01-02T00:00:00Z"},
    {"id": "newer there", "n": 1, "updated_at": "2024-01-01T00:00:00Z"},
    {"id": "only here", "n": 1}
  ],
  "sessions": [{"id": "s1", "agent": "x"}],
  "metrics": {"total_tasks": 4},
  "last_saved": "2024-01-02T00:00:00Z",
  "theme": "dark"
}"#;

const LOSERS: [&str; 2] = [
    r#"{"id": "newer here", "n": 1, "updated_at": "2024-01-01T00:00:00Z"}"#,
    r#"{"id": "newer there", "n": 1, "updated_at": "2024-01-01T00:00:00Z"}"#,
];

/// What the earlier implementation leaves, with `state` as its `state.json`.
fn left(state: Option<&[u8]>) -> SimFs {
    let disk = SimFs::new();
    if let Some(state) = state {
        disk.write_now("state.json", state).unwrap();
    }
    for (file, text) in [
        (
            "state.backup.1704103200000.json",
            r#"{"tasks": [{"id": "from a backup"}], "sessions": []}"#,
        ),
        ("state.backup.1704103300000.json", "{\"tasks\": ["),
        (
            "tasks/same.json",
            "{\n  \"id\": \"same\",\n  \"description\": \"é\",\n  \"cost\": 1.10,\n  \
             \"updated_at\": \"2024-01-01T10:00:00Z\"\n}",
        ),
        ("tasks/newer here.json", LOSERS[0]),
        (
            "tasks/newer there.json",
            r#"{"id": "newer there", "n": 2, "updated_at": "2024-01-02T00:00:00Z"}"#,
        ),
        ("tasks/only there.json", r#"{"id": "only there", "big": 123456789012345678901234567890}"#),
        ("tasks/ab.json", r#"{"id": "a:b", "n": 1}"#),
        ("tasks/broken.json", "{\"id\": \"bro"),
        ("logs/session_s1_1704103200000.log", "line\n"),
        ("reports/report_r1_1704103200000.json", "{}"),
    ] {
        disk.write_now(file, text.as_bytes()).unwrap();
    }
    disk
}

fn taken_over() -> Documents {
    let tasks = [
        r#"{"id": "same", "description": "é", "cost": 1.10, "updated_at": "2024-01-01T10:00:00Z"}"#,
        r#"{"id": "newer here", "n": 2, "updated_at": "2024-01-02T00:00:00Z"}"#,
        r#"{"id": "newer there", "n": 2, "updated_at": "2024-01-02T00:00:00Z"}"#,
        r#"{"id": "only here", "n": 1}"#,
        r#"{"id": "only there", "big": 123456789012345678901234567890}"#,
        r#"{"id": "a:b", "n": 1}"#,
    ];
    let mut all = Documents::new();
    for text in tasks {
        let value: serde_json::Value = serde_json::from_str(text).unwrap();
        all.insert(("tasks", value["id"].as_str().unwrap().to_owned()), value);
    }
    all.insert(("sessions", "s1".into()), serde_json::json!({"id": "s1", "agent": "x"}));
    all
}

fn conflicts(disk: &SimFs) -> Vec<Vec<u8>> {
    let all = files(disk).into_iter().filter(|(name, _)| name.starts_with("conflicts/"));
    all.filter_map(|(_, bytes)| bytes).collect()
}

fn check(disk: &SimFs, original: &[u8]) {
    assert_eq!(disk.read_now(PRE_MIGRATION).as_deref(), Some(original));
    let kept = conflicts(disk);
    for loser in LOSERS {
        assert!(kept.iter().any(|bytes| bytes == loser.as_bytes()), "{loser} is kept");
    }
    let log = disk.read_now("state.migration-v1-to-v2.log").expect("there is a log");
    let log = String::from_utf8(log).unwrap();
    assert!(log.contains("6 tasks, 1 sessions") && log.contains("theme"), "{log}");
    assert_eq!(log.matches("completed").count(), 1, "{log}");
}

#[test]
fn an_earlier_directory_is_taken_over_whole_after_a_byte_exact_copy() {
    for version in ["", "\"version\": \"1.0.0\",", "\"version\": \"1.2\","] {
        let state = STATE.replacen('{', &format!("{{{version}"), 1);
        let disk = left(Some(state.as_bytes()));
        let before = files(&disk);
        let view = documents(&at(&disk, 1).open_read_only().unwrap());
        assert_eq!(view, taken_over(), "a reader sees it too");
        assert_eq!(files(&disk), before, "and changes nothing");
        let store = open(&disk, 2).unwrap();
        assert_eq!(documents(&store.view()), taken_over());
        assert_eq!(store.recovery().rung, Rung::Migration);
        let json = store.task_json("only there").unwrap();
        assert!(json.contains("123456789012345678901234567890"));
        assert!(store.task_json("same").unwrap().contains("1.10"));
        store.shutdown().unwrap();
        check(&disk, state.as_bytes());
        assert!(disk.read_now("tasks/ab.json").is_none(), "its document has a file of our name");
        assert_eq!(disk.read_now("tasks/broken.json").unwrap(), b"{\"id\": \"bro");
        assert_eq!(disk.read_now("logs/session_s1_1704103200000.log").unwrap(), b"line\n");
        let verified = at(&disk, 4).verify().unwrap();
        assert!(
            verified.problems.iter().all(|p| p.kind.is_harmless()
                || p.file.ends_with("3300000.json")
                || p.file == "tasks/broken.json"),
            "{verified:#?}"
        );
        let again = open(&disk, 3).unwrap();
        assert_eq!(documents(&again.view()), taken_over());
        assert_eq!(again.recovery().rung, Rung::Snapshot);
        assert!(again.recovery().clean);
    }
}

#[test]
fn a_damaged_earlier_state_is_replaced_by_its_newest_backup_that_can_be_read() {
    for damaged in [&b""[..], b"{\"tasks\": [", b"\xff\xfe", b"[]"] {
        let disk = left(Some(damaged));
        let store = open(&disk, 1).unwrap();
        assert!(store.task_json("from a backup").is_some(), "{:#?}", store.recovery());
        assert!(store.task_json("only there").is_some());
        store.shutdown().unwrap();
        assert_eq!(disk.read_now("state.pre-migration.backup.json").as_deref(), Some(damaged));
    }
}

#[test]
fn files_without_any_state_json_are_taken_over() {
    let disk = left(None);
    let store = open(&disk, 1).unwrap();
    assert!(store.task_json("only there").is_some());
    assert!(store.task_json("a:b").is_some());
    assert!(store.task_json("from a backup").is_none(), "nothing says that it is to be used");
}

#[test]
fn only_what_is_wrong_with_the_earlier_state_is_told_and_files_of_other_names_stay() {
    for (state, is_damaged) in [(STATE, false), ("{\"tasks\": [", true)] {
        let disk = left(Some(state.as_bytes()));
        let strange = br#"{"id": "in a file of another name"}"#;
        disk.write_now("tasks/notes.json", strange).unwrap();
        let store = open(&disk, 1).unwrap();
        let recovery = store.recovery();
        let tells = |problem: &walden::Problem| {
            problem.file == "state.json" && problem.detail.contains("what can be read of it")
        };
        assert_eq!(recovery.problems.iter().any(tells), is_damaged, "{recovery:#?}");
        store.shutdown().unwrap();
        assert_eq!(disk.read_now("tasks/notes.json").as_deref(), Some(&strange[..]));
    }
}

#[test]
fn a_version_that_is_not_known_is_refused_and_nothing_is_changed() {
    let disk = left(Some(br#"{"version": "3.0.0", "tasks": []}"#));
    let before = files(&disk);
    assert!(matches!(open(&disk, 1), Err(Error::Unsupported { .. })));
    assert_eq!(files(&disk), before);
}

#[test]
fn what_cannot_be_a_document_is_kept_and_told() {
    let state = br#"{"tasks": [{"n": 1}, {"id": ""}, {"id": "a", "id": "b"}, 7, {"id": "ok"}],
                     "sessions": {"not": "an array"}}"#;
    let disk = left(Some(state));
    let store = open(&disk, 1).unwrap();
    assert!(store.task_json("ok").is_some());
    let kept = conflicts(&disk);
    for text in [&b"{\"n\": 1}"[..], b"{\"id\": \"\"}", b"{\"id\": \"a\", \"id\": \"b\"}", b"7"] {
        assert!(kept.iter().any(|bytes| bytes == text), "{}", String::from_utf8_lossy(text));
    }
}

/// Crashes before each call of a migration of this directory; says how many there were.
fn crash_at_each_call(disk: &SimFs, check: impl Fn(&SimFs) + Send + Sync + 'static) -> u64 {
    let places = Arc::new(AtomicU64::new(0));
    let count = places.clone();
    let watched = Watched::new(disk, move |disk| {
        let place = count.fetch_add(1, Relaxed);
        let mode = &[CrashMode::Nothing, CrashMode::Random(place)][(place % 2) as usize];
        for crashed in [disk.if_killed(), disk.if_crashed(mode)] {
            let store = open(&crashed, 60 + place).unwrap();
            let found = documents(&store.view());
            assert_eq!(found, taken_over(), "at {place}: {:#?}", store.recovery());
            store.shutdown().unwrap();
            check(&crashed);
            let again = open(&crashed, 900 + place).unwrap();
            assert_eq!(documents(&again.view()), taken_over(), "at {place}");
        }
    });
    let store = builder(Arc::new(watched), Arc::default(), 7).open().unwrap();
    assert_eq!(documents(&store.view()), taken_over());
    store.shutdown().unwrap();
    let places = places.load(Relaxed);
    println!("migration: crashed before {places} calls");
    places
}

#[test]
fn a_crash_at_any_call_of_a_migration_loses_nothing_and_the_next_opening_completes_it() {
    let disk = left(Some(STATE.as_bytes()));
    let places = crash_at_each_call(&disk, |left| check(left, STATE.as_bytes()));
    assert!(places > 100);
}

/// A directory to migrate beside another original.
fn beside_another(is_file: bool) -> SimFs {
    let disk = left(Some(STATE.as_bytes()));
    if is_file {
        disk.write_now(PRE_MIGRATION, b"{\"tasks\": []}").unwrap();
    } else {
        disk.plant_now(PRE_MIGRATION, Kind::Directory).unwrap();
    }
    disk
}

/// Checks that the other original is what it was, and what was migrated is kept once.
fn check_beside(left: &SimFs, former: Option<&[u8]>) {
    assert_eq!(left.read_now(PRE_MIGRATION).as_deref(), former);
    let kept = conflicts(left);
    let originals = kept.iter().filter(|bytes| *bytes == STATE.as_bytes()).count();
    assert_eq!((originals, kept.len()), (1, 1 + LOSERS.len()), "{:?}", left.names());
}

#[test]
fn where_another_original_is_kept_already_a_migration_is_none_the_worse() {
    for is_file in [true, false] {
        let disk = beside_another(is_file);
        let former = disk.read_now(PRE_MIGRATION);
        let places = crash_at_each_call(&disk, move |left| check_beside(left, former.as_deref()));
        assert!(places > 100);
    }
}

/// Lets one call of a migration fail, each in turn; gives the number of openings that failed as a whole.
fn fail_at_each_call(made: impl Fn() -> SimFs, check: impl Fn(&SimFs)) -> u64 {
    let mut failed = 0;
    for call in 1.. {
        let disk = made();
        disk.fail_at(call, Fault::Errno(5));
        // Whatever it says: an error may be one that costs nothing.
        let first = open(&disk, 1);
        failed += u64::from(first.is_err());
        if disk.faults_fired() == 0 {
            break;
        }
        drop(first);
        disk.clear_faults();
        let store = open(&disk, 2).unwrap();
        assert_eq!(documents(&store.view()), taken_over(), "at {call}: {:#?}", store.recovery());
        store.shutdown().unwrap();
        check(&disk);
    }
    println!("migration: {failed} openings failed");
    failed
}

#[test]
fn an_error_at_any_call_of_a_migration_loses_nothing_and_the_next_opening_completes_it() {
    let made = || left(Some(STATE.as_bytes()));
    assert!(fail_at_each_call(made, |disk| check(disk, STATE.as_bytes())) > 40);
}

#[test]
fn nor_does_one_beside_another_original() {
    for is_file in [true, false] {
        let former = beside_another(is_file).read_now(PRE_MIGRATION);
        let check = |disk: &SimFs| check_beside(disk, former.as_deref());
        assert!(fail_at_each_call(|| beside_another(is_file), check) > 40);
    }
}
