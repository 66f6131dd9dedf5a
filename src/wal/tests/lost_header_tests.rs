//! A header tells nothing that its segment's groups and the other segments do not tell too: whichever
//! segment loses both copies of it, the same records stand, and the log goes on at the same place.

use std::iter;

use super::oracle::{DIR, Oracle, ROOMY, disk, rot, wal_file, zero};
use crate::base::{Lsn, Timestamp};
use crate::fs::sim::{CrashMode, SimFs};
use crate::wal::scan::Standing;
use crate::wal::{self, Hints, Scan, SegmentNumber, Verdict};

const START: u64 = 8192;

/// A log, and what an opening knows of it: every incarnation.
struct Case {
    name: &'static str,
    fs: SimFs,
    hints: Hints,
}

/// What of a scan must not depend on a header: what stands, and where the log goes on.
fn judged(scan: &Scan) -> (Vec<(u64, u64)>, Lsn, Lsn, wal::Join, bool) {
    let group = |standing: &Standing| match standing {
        Standing::Group { segment, group } => Some((segment.0, group.offset)),
        Standing::Hole { .. } => None,
    };
    let standing = scan.standing.iter().filter_map(group).collect();
    (standing, scan.last_lsn, scan.vouched, scan.join, scan.closed)
}

fn case(name: &'static str, fs: &SimFs, oracle: &Oracle) -> Case {
    let numbers = segments(fs);
    let identity = |number: &u64| {
        let bytes = fs.read_now(&wal_file(*number)).unwrap();
        match wal::format::SegmentHeader::decode(&bytes[..8192], SegmentNumber(*number)) {
            wal::format::HeaderBlock::Read { header, .. } => Some(header.identity),
            _ => None,
        }
    };
    let mut identities: Vec<_> = numbers.iter().filter_map(identity).collect();
    identities.dedup();
    Case { name, fs: fs.if_killed(), hints: Hints { identities, ..oracle.hints() } }
}

fn segments(fs: &SimFs) -> Vec<u64> {
    let names = fs.names();
    let number = |path: &String| SegmentNumber::parse(path.strip_prefix("wal/")?);
    names.iter().filter_map(number).map(|number| number.0).collect()
}

/// Logs of one and of several incarnations; rotated, restated, closed, with a void tail.
fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let (fs, mut oracle) = (disk(), Oracle::default());
    let mut log = oracle.begin(&fs).unwrap();
    for size in [12_000, 8, 9000, 40, 12_000] {
        oracle.append(&mut log, &[size, 8]).unwrap();
    }
    oracle.sync(&mut log).unwrap();
    cases.push(case("rotated", &fs, &oracle));
    oracle.close(log).unwrap();
    cases.push(case("closed", &fs, &oracle));
    let mut log = oracle.begin(&fs).unwrap();
    oracle.append(&mut log, &[8]).unwrap();
    oracle.sync(&mut log).unwrap();
    log.witness(Timestamp(0)).unwrap();
    cases.push(case("behind a clean stop", &fs, &oracle));
    let (fs, mut oracle) = (disk(), Oracle::default());
    oracle.options = Some(ROOMY);
    for size in [8, 30, 100] {
        let mut log = oracle.begin(&fs).unwrap();
        oracle.append(&mut log, &[size, 8]).unwrap();
        oracle.append(&mut log, &[size]).unwrap();
        oracle.sync(&mut log).unwrap();
    }
    cases.push(case("restated", &fs, &oracle));
    let fs = fs.crash_with(CrashMode::Nothing);
    let mut log = oracle.begin(&fs).unwrap();
    cases.push(case("restated, and nothing else", &fs, &oracle));
    oracle.append(&mut log, &[8]).unwrap();
    oracle.sync(&mut log).unwrap();
    cases.push(case("restated, and one group", &fs, &oracle));
    cases
}

#[test]
fn whichever_segment_loses_its_header_the_same_groups_stand() {
    let mut tried = 0;
    for Case { name, fs, hints } in cases() {
        let whole = wal::scan(&fs, DIR, &hints).unwrap();
        assert_eq!(whole.verdict(), Verdict::Clean, "{name}: {:?}", whole.findings);
        let groups: Vec<_> =
            iter::once(None).chain(judged(&whole).0.into_iter().map(Some)).collect();
        // With nothing else damaged, and with each group in turn.
        for (number, group) in
            segments(&fs).into_iter().flat_map(|n| groups.iter().map(move |g| (n, *g)))
        {
            let damaged = fs.if_killed();
            if let Some((segment, offset)) = group {
                rot(&damaged, segment, offset);
            }
            let headed = wal::scan(&damaged, DIR, &hints).unwrap();
            zero(&damaged, number, 0, 8192);
            let found = wal::scan(&damaged, DIR, &hints).unwrap();
            let what = format!("{name}: segment {number}, group {group:?}");
            let stands = judged(&whole).0.iter().any(|(segment, _)| *segment == number);
            let told = found.verdict();
            assert!(told == Verdict::Corrupt || (told == Verdict::Torn && !stands), "{what}");
            // Header and start together are all that tells where an opening's LSNs begin.
            if group != Some((number, START)) {
                assert_eq!(judged(&found), judged(&headed), "{what}: {:#?}", found.findings);
                assert!(found.next_lsn >= headed.last_lsn.next(), "{what}");
                tried += 1;
            }
        }
    }
    assert!(tried > 100, "{tried}");
}
