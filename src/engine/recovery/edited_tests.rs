//! What is made of a file in the place of `state.json`, and of the snapshot that an edit was made of: the log
//! has a record for each LSN, each in a block of its own.

use std::io::ErrorKind;
use std::sync::Arc;

use super::*;
use crate::base::Timestamp;
use crate::engine::recovery::plan;
use crate::files::names;
use crate::files::snapshot::fixture::snapshot_bytes;
use crate::fs::sim::SimFs;
use crate::state::Op;
use crate::wal::{self, Hints, Identity, Log, LogOptions, Origin, Record};

const STORE: StoreId = StoreId(7);
const EDIT: &[u8] = b"{\"tasks\": [{\"id\": \"a\"}]}";

fn clues() -> Clues {
    Clues { store: STORE, recorded: None, taken_in: None, is_clean: true }
}

/// What is judged, as a word.
fn judged(disk: &SimFs, clues: &Clues) -> &'static str {
    match judge(disk, clues).unwrap().map(|strange| strange.what) {
        None => "nothing",
        Some(What::Edit(_)) => "edit",
        Some(What::TakenIn(_)) => "taken in",
        Some(What::TakenOver) => "taken over",
        Some(What::Held(Held { kind: ProblemKind::Foreign, .. })) => "foreign",
        Some(What::Held(_)) => "held",
        Some(What::Damaged) => "damaged",
    }
}

fn judged_bytes(bytes: &[u8], clues: &Clues) -> &'static str {
    let disk = SimFs::new();
    disk.write_now(STATE, bytes).unwrap();
    judged(&disk, clues)
}

#[test]
fn what_lies_in_the_place_of_the_snapshot_is_told_apart() {
    assert_eq!(judged(&SimFs::new(), &clues()), "nothing");
    let disk = SimFs::new();
    disk.plant_now(STATE, Kind::Directory).unwrap();
    assert_eq!(judged(&disk, &clues()), "nothing");
    let taken_in = Clues { taken_in: Some(ContentHash::of(EDIT)), ..clues() };
    let newer = b"{\"version\": \"3.0\", \"engine\": {}}";
    for (bytes, wanted) in [
        (&snapshot_bytes(STORE, 9, 3)[..], "nothing"),
        (&snapshot_bytes(StoreId(8), 9, 3), "foreign"),
        (EDIT, "edit"),
        (newer, "held"),
        (b"{\"tasks\":", "held"),
    ] {
        assert_eq!(judged_bytes(bytes, &clues()), wanted, "{}", String::from_utf8_lossy(bytes));
    }
    assert_eq!(judged_bytes(EDIT, &taken_in), "taken in");
    assert_eq!(judged_bytes(b"{\"tasks\": [{\"id\": \"b\"}]}", &taken_in), "edit", "another one");
}

#[test]
fn a_file_of_blanks_is_damage_after_an_unclean_stop_alone() {
    for bytes in [&b""[..], b" \n", b"\0\0", b"\0 \0"] {
        assert_eq!(judged_bytes(bytes, &clues()), "held", "{bytes:?}");
        let unclean = Clues { is_clean: false, ..clues() };
        assert_eq!(judged_bytes(bytes, &unclean), "damaged", "{bytes:?}");
        assert_eq!(judged_bytes(EDIT, &unclean), "edit");
    }
}

#[test]
fn other_bytes_under_the_stat_that_was_recorded_are_damage() {
    let disk = SimFs::new();
    disk.write_now(STATE, EDIT).unwrap();
    let stat = files::stat(&disk, STATE).unwrap().unwrap();
    let with = |recorded: Stat| judged(&disk, &Clues { recorded: Some(recorded), ..clues() });
    assert_eq!(with(stat), "damaged");
    assert_eq!(with(Stat { size_bytes: 1, ..stat }), "damaged", "a file that was cut short");
    assert_eq!(with(Stat { modified_ns: stat.modified_ns + 1, ..stat }), "edit");
    assert_eq!(with(Stat { inode: stat.inode + 1, ..stat }), "edit");
    assert_eq!(with(Stat { device: stat.device + 1, ..stat }), "edit");
}

#[test]
fn what_cannot_be_read_is_held_or_gone_or_an_error() {
    for (error, wanted) in [
        (ErrorKind::NotFound, Some("nothing")),
        (ErrorKind::InvalidInput, Some("nothing")),
        (ErrorKind::FileTooLarge, Some("held")),
        (ErrorKind::PermissionDenied, None),
    ] {
        let disk = SimFs::new();
        disk.write_now(STATE, EDIT).unwrap();
        disk.spoil_now(STATE, error).unwrap();
        match wanted {
            Some(wanted) => assert_eq!(judged(&disk, &clues()), wanted, "{error}"),
            None => assert!(matches!(judge(&disk, &clues()), Err(Error::Io { .. })), "{error}"),
        }
    }
}

#[test]
fn an_edit_is_told_once_and_says_whether_it_is_known_what_it_was_made_of() {
    let named = format!("{{\"engine\": {}}}", engine(9));
    for (text, wanted) in
        [("{}", "what is missing in it stays"), (&*named, "somebody changed it; that is taken in")]
    {
        let disk = SimFs::new();
        disk.write_now(STATE, text.as_bytes()).unwrap();
        let strange = judge(&disk, &clues()).unwrap().unwrap();
        let before = |file| Problem::new(ProblemKind::Corrupt, file, 0, "told before");
        let mut problems = vec![before(STATE), before(WAL)];
        strange.tell(&mut problems);
        let told: Vec<_> = problems.iter().map(|problem| (&*problem.file, problem.kind)).collect();
        assert_eq!(told, [(WAL, ProblemKind::Corrupt), (STATE, ProblemKind::Edited)]);
        assert!(problems[1].detail.contains(wanted), "{}", problems[1].detail);
    }
}

/// The `engine` of a snapshot of this LSN.
fn engine(lsn: u64) -> String {
    let text = String::from_utf8(snapshot_bytes(STORE, lsn, 0)).unwrap();
    let (_, behind) = text.split_once("\"engine\": ").unwrap();
    behind.split_once(",\n").unwrap().0.to_owned()
}

fn text(n: u64) -> String {
    format!(r#"{{"id":"a","n":{n},"pad":"x"}}"#)
}

/// The record of an LSN: each third says that the snapshot of the one before was saved.
fn record(lsn: u64) -> Record {
    let op = if lsn.is_multiple_of(3) {
        Op::Saved { lsn: Lsn(lsn - 1) }
    } else {
        Op::put(Collection::Task, &text(lsn), 1 << 20).unwrap()
    };
    let (kind, payload) = op.encode();
    Record::new(kind, Origin::Api, payload)
}

/// A log that begins behind `base`; its first record is the next but for the LSNs that a new log spares.
fn begin(disk: &SimFs, base: u64) -> Log {
    let hints = Hints { store: Some(STORE), base: Lsn(base), ..Hints::default() };
    let scan = wal::scan(disk, WAL, &hints).unwrap();
    let identity = Identity { store: STORE, incarnation: 1, nonce: 1 };
    let (fs, options) = (Arc::new(disk.clone()), LogOptions::default());
    Log::begin(fs, WAL, &scan, identity, options, Timestamp(0)).unwrap()
}

fn backup(lsn: u64) -> String {
    names::backup(Timestamp(i64::try_from(lsn).unwrap() * 1_000_000_000))
}

/// A store without a `state.json`: these backups, and a log of the LSNs 1 to 11.
fn disk(backups: &[u64]) -> SimFs {
    let disk = SimFs::new();
    disk.create_dir(WAL).unwrap();
    for lsn in backups {
        disk.write_now(&backup(*lsn), &snapshot_bytes(STORE, *lsn, 1)).unwrap();
    }
    let mut log = begin(&disk, 0);
    for lsn in 1..=11 {
        log.append(&[record(lsn)], Timestamp(0)).unwrap();
    }
    log.witness(Timestamp(0)).unwrap();
    disk
}

/// Damages the record of an LSN of a log that begins with record 1: behind the header and the start.
fn damage(disk: &SimFs, lsn: u64) {
    disk.corrupt("wal/00000000000000000001.wal", (lsn + 2) * 4096 + 8, 1).unwrap();
}

/// The document in the snapshot of each LSN up to 21 that can be had.
fn had(disk: &SimFs) -> Vec<(u64, String)> {
    let plan = plan(disk).unwrap();
    let had = (0..22).filter_map(|lsn| {
        let table = plan.snapshot_as_of(disk, Lsn(lsn)).unwrap()?;
        assert_eq!(table.last_changed(), Lsn(lsn));
        Some((lsn, table.get(Collection::Task, "a").unwrap().text().to_string()))
    });
    had.collect()
}

/// At each of these LSNs, the document as it was.
fn at(lsns: &[u64]) -> Vec<(u64, String)> {
    lsns.iter()
        .map(|lsn| (*lsn, text(if lsn.is_multiple_of(3) { lsn - 1 } else { *lsn })))
        .collect()
}

#[test]
fn every_snapshot_that_there_was_can_be_had_and_no_state_that_never_was_one() {
    // Behind the last that is known to have been saved, any may have been saved before the crash.
    let all = at(&[2, 5, 8, 9, 10, 11]);
    for backups in [&[][..], &[2], &[2, 5], &[2, 5, 8]] {
        assert_eq!(had(&disk(backups)), all, "beside backups of {backups:?}");
    }
}

#[test]
fn a_snapshot_that_the_log_does_not_lead_to_cannot_be_had() {
    let cut = SimFs::new();
    cut.create_dir(WAL).unwrap();
    for lsn in [2, 5] {
        cut.write_now(&backup(lsn), &snapshot_bytes(STORE, lsn, 1)).unwrap();
    }
    let mut log = begin(&cut, 5);
    log.append(&[record(8)], Timestamp(0)).unwrap();
    log.witness(Timestamp(0)).unwrap();
    let (lsn, plan_of) = (log.last_lsn(), |disk| plan(disk).unwrap());
    let table = plan_of(&cut).snapshot_as_of(&cut, lsn).unwrap().unwrap();
    assert_eq!(
        &**table.get(Collection::Task, "a").unwrap().text(),
        text(8),
        "from the backup of 5"
    );
    cut.remove_now(&backup(5)).unwrap();
    assert!(plan_of(&cut).snapshot_as_of(&cut, lsn).unwrap().is_none(), "the log begins behind 2");
    let damaged = disk(&[5]);
    let mut bytes = snapshot_bytes(STORE, 20, 1);
    let last = bytes.len() - 5;
    bytes[last] ^= 1;
    damaged.write_now(&backup(20), &bytes).unwrap();
    assert_eq!(had(&damaged), at(&[2, 5, 8]), "the log ends before it");
}

#[test]
fn a_snapshot_behind_a_hole_cannot_be_had_but_by_a_backup_of_what_was_lost() {
    let behind = disk(&[2, 5]);
    damage(&behind, 4);
    assert_eq!(had(&behind), at(&[2, 5, 8, 9, 10, 11]), "the backup of 5 crosses it");
    behind.remove_now(&backup(5)).unwrap();
    assert_eq!(had(&behind), at(&[2]));
    let before = disk(&[2]);
    damage(&before, 7);
    assert_eq!(had(&before), at(&[2, 5]), "a later hole takes nothing");
}

#[test]
fn a_record_that_the_snapshot_holds_is_not_applied_to_it_again() {
    let disk = SimFs::new();
    disk.create_dir(WAL).unwrap();
    let mut log = begin(&disk, 0);
    let entry = Op::append_log("a", r#"{"m":1}"#, 1 << 20).unwrap();
    let (kind, payload) = entry.encode();
    let records = [(); 2].map(|()| Record::new(kind, Origin::Api, payload.clone()));
    log.append(&records, Timestamp(0)).unwrap();
    log.witness(Timestamp(0)).unwrap();
    // Of the two records of one group, the snapshot holds the first.
    disk.write_now(&backup(1), &snapshot_bytes(STORE, 1, 1)).unwrap();
    let table = plan(&disk).unwrap().snapshot_as_of(&disk, Lsn(2)).unwrap().unwrap();
    let text = table.get(Collection::Task, "a").unwrap().text().to_string();
    assert_eq!(text.matches(r#"{"m":1}"#).count(), 1, "{text}");
}

#[test]
fn what_loses_is_kept_under_the_name_of_its_documents_file() {
    let id = DocumentId::new("a").unwrap();
    assert_eq!(file_of(Collection::Task, &id), "tasks/a.json");
    assert_eq!(file_of(Collection::Session, &id), "sessions/a.json");
}
