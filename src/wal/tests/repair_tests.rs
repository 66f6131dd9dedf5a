//! What a recovery cuts is kept byte for byte, durably, once; and what is moved aside replaces nothing.

use std::io::ErrorKind;

use super::oracle::{DIR, QUARANTINE, disk, wal_file};
use crate::base::Lsn;
use crate::fs::sim::{CallKind, CrashMode, Fault, SimFs};
use crate::wal::{
    self, Finding, Hints, Leftover, Scan, SegmentNumber, Verdict, clear_leftovers,
    clear_temporaries, set_aside,
};

/// A file of 10,000 bytes as segment 1, and a scan that found 5000 of them damaged and says that of
/// segment 2 nothing is part of the log.
fn found() -> (SimFs, Scan, Vec<u8>) {
    let fs = disk();
    let mut bytes: Vec<u8> = (0..10_000_u32).map(|at| (at % 251) as u8).collect();
    bytes[6000..].fill(0);
    fs.write_now(&wal_file(1), &bytes).unwrap();
    fs.write_now(&wal_file(2), b"out of the log").unwrap();
    let mut scan = wal::scan(&disk(), DIR, &Hints::default()).unwrap();
    let finding = |number: u64, offset, length| Finding {
        verdict: Verdict::Torn,
        file: SegmentNumber(number).file_name(),
        offset,
        length,
        missing: None,
        why: "torn".to_owned(),
    };
    // What is said of the log as a whole has no bytes, and may name no file.
    let whole = Finding { file: String::new(), ..finding(1, 0, 0) };
    scan.findings = vec![finding(1, 3000, 5000), finding(1, 100, 0), finding(2, 0, 14), whole];
    let file = SegmentNumber(2).file_name();
    scan.leftovers = vec![Leftover { file, is_worthless: false }];
    (fs, scan, bytes)
}

fn kept(fs: &SimFs) -> Vec<String> {
    fs.names().into_iter().filter(|name| name.starts_with(QUARANTINE)).collect()
}

#[test]
fn what_is_cut_is_kept_once_durably_and_without_the_zeroes_behind_it() {
    let (fs, scan, bytes) = found();
    let done = set_aside(&fs, DIR, &scan, QUARANTINE).unwrap();
    let cut = &bytes[3000..6000];
    let last = cut.iter().rposition(|byte| *byte != 0).unwrap();
    assert_eq!((done.kept.len(), done.bytes), (1, last as u64 + 1), "{done:?}");
    assert_eq!(fs.read_now(&done.kept[0]).unwrap(), cut[..=last]);
    assert_eq!(kept(&fs), done.kept, "no segment that is moved whole, nothing half made");
    assert_eq!(kept(&fs.if_crashed(CrashMode::Nothing)), done.kept, "durable");
    assert_eq!(set_aside(&fs, DIR, &scan, QUARANTINE).unwrap(), done, "the same again");
    assert_eq!(kept(&fs), done.kept);
    let mut scan = scan;
    scan.findings.truncate(1);
    scan.findings[0].offset = 7000;
    assert_eq!(set_aside(&fs, DIR, &scan, QUARANTINE).unwrap().kept.len(), 0, "zeroes");
}

#[test]
fn a_copy_that_fails_is_an_error_wherever_it_fails() {
    for kind in
        [CallKind::Open, CallKind::Write, CallKind::Sync, CallKind::SyncDir, CallKind::Rename]
    {
        let (fs, scan, _) = found();
        fs.fail_when(kind, 1, Fault::Error(ErrorKind::PermissionDenied));
        set_aside(&fs, DIR, &scan, QUARANTINE).unwrap_err();
        assert_eq!(fs.faults_fired(), 1);
        assert_eq!(set_aside(&fs, DIR, &scan, QUARANTINE).unwrap().kept.len(), 1, "{kind:?}");
    }
}

#[test]
fn what_is_moved_aside_takes_a_free_name_and_only_what_is_worthless_goes() {
    let (fs, mut scan, _) = found();
    let file = SegmentNumber(2).file_name();
    for name in ["notes.txt", &SegmentNumber(9).temporary_name()] {
        fs.write_now(&format!("{DIR}/{name}"), b"half").unwrap();
        scan.other_files.push(name.to_owned());
    }
    clear_temporaries(&fs, DIR, &scan).unwrap();
    for times in 1..=3 {
        fs.write_now(&wal_file(2), &[times; 9]).unwrap();
        clear_leftovers(&fs, DIR, &scan, QUARANTINE).unwrap();
        let name = format!("{QUARANTINE}/{file}~{}", times - 1);
        assert_eq!(fs.read_now(&name), Some(vec![times; 9]), "{:?}", fs.names());
    }
    clear_leftovers(&fs, DIR, &scan, QUARANTINE).unwrap();
    assert_eq!(kept(&fs).len(), 3, "what is gone already hinders nothing");
    let rest = [wal_file(1), format!("{DIR}/notes.txt")];
    assert_eq!(fs.names().iter().filter(|name| name.starts_with(DIR)).count(), 2);
    assert!(rest.iter().all(|name| fs.names().contains(name)), "{:?}", fs.names());
    fs.write_now(&wal_file(2), b"again").unwrap();
    fs.fail_when(CallKind::Rename, 1, Fault::Error(ErrorKind::PermissionDenied));
    clear_leftovers(&fs, DIR, &scan, QUARANTINE).unwrap_err();
    scan.leftovers[0].is_worthless = true;
    clear_leftovers(&fs, DIR, &scan, QUARANTINE).unwrap();
    assert_eq!((kept(&fs).len(), fs.read_now(&wal_file(2))), (3, None));
}

#[test]
fn a_finding_says_what_is_missing() {
    let mut finding = found().1.findings.remove(0);
    assert_eq!(finding.to_string(), "torn");
    finding.missing = Some((Lsn(3), Lsn(5)));
    assert_eq!(finding.to_string(), "torn; LSN 3 to 5 are missing");
}
