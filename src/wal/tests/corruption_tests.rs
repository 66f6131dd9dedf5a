//! A small log of four segments and two incarnations, damaged in every small way. It is either whole
//! or called corrupt; nothing is made up, and nothing moves.

use std::collections::BTreeMap;

use super::oracle::{DIR, Found, Oracle, STORE, disk, read, wal_file};
use crate::base::{Lsn, Timestamp};
use crate::fs::sim::{CrashMode, SimFs};
use crate::wal::{self, Hints, Verdict};

pub(super) struct Reference {
    pub(super) fs: SimFs,
    records: Vec<Found>,
    pub(super) hints: Hints,
    pub(super) files: BTreeMap<u64, Vec<u8>>,
    /// Copies of the same files from before.
    older: Vec<(u64, Vec<u8>)>,
}

pub(super) fn reference() -> Reference {
    let mut oracle = Oracle::default();
    let fs = disk();
    let mut log = oracle.begin(&fs).unwrap();
    let mut older = vec![(1, fs.read_now(&wal_file(1)).unwrap())];
    oracle.append(&mut log, &[8, 100]).unwrap();
    oracle.append(&mut log, &[30]).unwrap();
    older.push((2, fs.read_now(&wal_file(2)).unwrap()));
    oracle.append(&mut log, &[40]).unwrap();
    oracle.sync(&mut log).unwrap();
    let fs = fs.crash_with(CrashMode::Nothing);
    let mut log = oracle.begin(&fs).unwrap();
    older.push((3, fs.read_now(&wal_file(3)).unwrap()));
    oracle.append(&mut log, &[50, 8]).unwrap();
    oracle.sync(&mut log).unwrap();
    older.push((4, fs.read_now(&wal_file(3)).unwrap()));
    log.witness(Timestamp(0)).unwrap();
    oracle.close(log).unwrap();
    let (scan, records) = oracle.scan(&fs).unwrap();
    assert_eq!((scan.verdict(), records.len(), fs.names().len()), (Verdict::Clean, 6, 4));
    let files = (1..=4).map(|at| (at, fs.read_now(&wal_file(at)).unwrap())).collect();
    Reference { fs, records, hints: oracle.hints(), files, older }
}

impl Reference {
    /// Classifies the damaged disk: with and without what is known from elsewhere.
    fn judge(&self, what: &str, counts: &mut BTreeMap<String, u64>) {
        for (hints, knowing) in [(&self.hints, true), (&Hints::default(), false)] {
            let scan = wal::scan(&self.fs, DIR, hints).unwrap();
            let found = read(&self.fs, &scan, Lsn::ZERO).unwrap();
            let mut rest = self.records.iter();
            let ordered = found.iter().all(|record| rest.any(|written| written == record));
            assert!(ordered, "{what}: made up {found:?}");
            let whole = found.len() == self.records.len();
            let verdict = scan.verdict();
            assert!(
                !knowing || whole || verdict == Verdict::Corrupt,
                "{what}: {verdict:?} {found:?}"
            );
            let kind = what.split(' ').next().unwrap();
            let hinted = if knowing { "hints" } else { "blind" };
            let whole = if whole { "whole" } else { "part" };
            *counts.entry(format!("{kind} {hinted} {verdict:?} {whole}")).or_default() += 1;
        }
    }

    /// Puts every file back.
    fn restore(&self) {
        for (number, bytes) in &self.files {
            self.fs.write_now(&wal_file(*number), bytes).unwrap();
        }
    }
}

/// One bit of every byte near one that says something, and of every other sector; all bits of all
/// bytes if `WALDEN_EXHAUSTIVE` is set.
#[test]
fn no_flipped_bit_passes_unseen() {
    let reference = reference();
    let step = if std::env::var_os("WALDEN_EXHAUSTIVE").is_some() { 1 } else { 64 };
    let mut counts = BTreeMap::new();
    for (number, bytes) in &reference.files {
        let path = wal_file(*number);
        for (at, byte) in bytes.iter().enumerate() {
            let told = bytes[at / 64 * 64..].iter().take(64).any(|byte| *byte != 0);
            for bit in 0..8 {
                let sampled = (told && (bit + at) % 8 == 0) || (at % 512 == 0 && bit == 3);
                if !sampled && step > 1 {
                    continue;
                }
                let what = format!("flip of bit {bit} of {byte:#x} at {at} of {number}");
                reference.fs.corrupt(&path, at as u64, 1 << bit).unwrap();
                reference.judge(&what, &mut counts);
                reference.fs.corrupt(&path, at as u64, 1 << bit).unwrap();
            }
        }
    }
    println!("{counts:#?}");
    assert!(counts.values().sum::<u64>() > 2500, "{counts:?}");
}

#[test]
fn no_zeroed_sector_and_no_truncation_passes_unseen() {
    let reference = reference();
    let mut counts = BTreeMap::new();
    for (number, bytes) in &reference.files {
        for at in (0..bytes.len()).step_by(512) {
            let mut damaged = bytes.clone();
            damaged[at..at + 512].fill(0);
            reference.fs.write_now(&wal_file(*number), &damaged).unwrap();
            reference.judge(&format!("sector {at} of {number}"), &mut counts);
        }
        for length in (0..bytes.len()).step_by(256) {
            reference.fs.write_now(&wal_file(*number), &bytes[..length]).unwrap();
            reference.judge(&format!("truncation to {length} of {number}"), &mut counts);
        }
        reference.restore();
    }
    println!("{counts:#?}");
    assert!(counts.values().sum::<u64>() > 700, "{counts:?}");
}

#[test]
fn no_missing_copied_swapped_stale_or_foreign_segment_passes_unseen() {
    let reference = reference();
    let fs = &reference.fs;
    let mut counts = BTreeMap::new();
    let foreign = disk();
    Oracle::default().begin(&foreign).unwrap();
    let mut foreign = foreign.read_now(&wal_file(1)).unwrap();
    foreign[16] ^= 0xff;
    for copy in [0, 4096] {
        let crc = crc32fast::hash(&foreign[..124]).to_le_bytes();
        foreign.copy_within(0..124, copy);
        foreign[copy + 124..copy + 128].copy_from_slice(&crc);
    }
    for (number, bytes) in &reference.files {
        fs.remove_now(&wal_file(*number)).unwrap();
        reference.judge(&format!("missing {number}"), &mut counts);
        fs.write_now(&wal_file(*number), &foreign).unwrap();
        reference.judge(&format!("foreign {number}"), &mut counts);
        reference.restore();
        for other in 1..=9 {
            fs.write_now(&wal_file(other), bytes).unwrap();
            if other > 4 {
                reference.judge(&format!("duplicate {number} as {other}"), &mut counts);
                fs.remove_now(&wal_file(other)).unwrap();
            } else {
                reference.judge(&format!("replaced {other} by {number}"), &mut counts);
                fs.write_now(&wal_file(*number), &reference.files[&other]).unwrap();
                reference.judge(&format!("swapped {number} and {other}"), &mut counts);
                reference.restore();
            }
        }
    }
    for (number, bytes) in &reference.older {
        fs.write_now(&wal_file(*number), bytes).unwrap();
        reference.judge(&format!("stale {number}"), &mut counts);
        reference.restore();
    }
    println!("{counts:#?}");
    assert_eq!(counts.keys().filter(|kind| kind.contains("hints Torn part")).count(), 0);
}

#[test]
fn of_a_log_that_is_gone_whole_after_a_clean_stop_nothing_is_missing() {
    let clean = Some((1, Lsn(5)));
    let hints = Hints { store: Some(STORE), base: Lsn(5), clean, ..Hints::default() };
    let scan = wal::scan(&disk(), DIR, &hints).unwrap();
    assert_eq!((scan.verdict(), scan.findings), (Verdict::Clean, vec![]));
}
