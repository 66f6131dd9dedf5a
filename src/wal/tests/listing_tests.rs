//! The listing says of every place what a recovery makes of it, on whole, damaged and foreign logs.

use std::collections::BTreeSet;

use super::corruption_tests::reference;
use super::oracle::{DIR, Oracle, disk, read, wal_file};
use crate::base::{Lsn, StoreId};
use crate::fs::sim::SimFs;
use crate::wal::{
    self, GroupListing, Hints, PieceListing, SegmentListing, SegmentNumber, SegmentState, Worth,
};

fn groups(listed: &[SegmentListing]) -> impl Iterator<Item = &GroupListing> {
    listed.iter().flat_map(|segment| &segment.pieces).filter_map(|piece| match piece {
        PieceListing::Group(group) => Some(group),
        PieceListing::Damage(_) => None,
    })
}

/// Lists, and holds the listing against what the scan says.
fn checked(fs: &SimFs, hints: &Hints, what: &str) -> Vec<SegmentListing> {
    let calls = fs.calls();
    let listed = wal::list(fs, DIR, hints).unwrap();
    for call in fs.trace().iter().skip(usize::try_from(calls).unwrap()) {
        let reads = ["open ", "stat ", "read ", "list "];
        assert!(reads.iter().any(|verb| call.starts_with(verb)), "{what}: {call}");
    }
    let scan = wal::scan(fs, DIR, hints).unwrap();
    let recovered: BTreeSet<Lsn> =
        read(fs, &scan, Lsn::ZERO).unwrap().into_iter().map(|(lsn, _)| lsn).collect();
    let standing = groups(&listed).filter(|group| group.verdict == Worth::Stands);
    let standing: BTreeSet<Lsn> = standing
        .flat_map(|group| (0..group.records).map(|at| group.first_lsn.plus(u64::from(at))))
        .collect();
    assert_eq!(standing, recovered, "{what}");
    for finding in scan.findings.iter().filter(|found| SegmentNumber::parse(&found.file).is_some())
    {
        let Some(segment) = listed.iter().find(|segment| segment.file == finding.file) else {
            panic!("{what}: {finding:?} is about no segment");
        };
        let told = segment.pieces.iter().any(|piece| {
            matches!(piece, PieceListing::Damage(damage)
                if damage.offset == finding.offset && damage.why == finding.to_string())
        });
        assert!(told, "{what}: {finding:?} is missing in {segment:#?}");
        assert!(segment.verdict > Worth::Void, "{what}: {segment:#?}");
    }
    for segment in &listed {
        let ends = segment.pieces.iter().map(|piece| match piece {
            PieceListing::Group(group) => group.offset + group.bytes,
            PieceListing::Damage(damage) => damage.offset,
        });
        assert!(ends.max().unwrap_or(0) <= segment.used_bytes.max(segment.bytes), "{segment:?}");
    }
    listed
}

#[test]
fn a_whole_log_is_listed_as_it_was_written() {
    let reference = reference();
    let listed = checked(&reference.fs, &reference.hints, "whole");
    let numbers: Vec<u64> = listed.iter().map(|segment| segment.number).collect();
    assert_eq!(numbers, [1, 2, 3, 4]);
    assert!(listed.iter().all(|segment| segment.verdict <= Worth::Void), "{listed:#?}");
    assert!(listed.iter().any(|segment| segment.state == SegmentState::Closed), "{listed:#?}");
    let standing = groups(&listed).filter(|group| group.verdict == Worth::Stands);
    assert_eq!(standing.map(|group| group.records).sum::<u32>(), 6);
    for segment in &listed {
        let own = || groups(std::slice::from_ref(segment));
        assert_eq!(segment.groups, own().count() as u64);
        assert_eq!(segment.records, own().map(|group| u64::from(group.records)).sum::<u64>());
        let lsns = own().filter(|group| group.records > 0).map(|group| group.first_lsn);
        assert_eq!(segment.first_lsn, lsns.min());
    }
    assert!(wal::list(&reference.fs, "nothing", &Hints::default()).unwrap().is_empty());
}

#[test]
fn every_damage_is_listed_where_the_scan_finds_it_and_nothing_else_is_said() {
    let reference = reference();
    let mut damaged = 0;
    for (at, bytes) in &reference.files {
        for offset in (0..bytes.len() as u64).step_by(509) {
            let fs = reference.fs.if_killed();
            fs.corrupt(&wal_file(*at), offset, 1 << (offset % 8)).unwrap();
            for hints in [&reference.hints, &Hints::default()] {
                let listed = checked(&fs, hints, &format!("flip in {at} at {offset}"));
                damaged += usize::from(listed.iter().any(|one| one.verdict > Worth::Void));
            }
            if offset % 4 == 0 {
                let cut = reference.fs.if_killed();
                let kept = &bytes[..usize::try_from(offset).unwrap()];
                cut.write_now(&wal_file(*at), kept).unwrap();
                checked(&cut, &reference.hints, &format!("{at} cut at {offset}"));
            }
        }
        let removed = reference.fs.if_killed();
        removed.remove_now(&wal_file(*at)).unwrap();
        checked(&removed, &reference.hints, &format!("{at} removed"));
    }
    assert!(damaged > 50, "{damaged}");
}

#[test]
fn segments_of_others_and_under_wrong_names_are_listed_as_such() {
    let reference = reference();
    let mut hints = reference.hints.clone();
    hints.store = Some(StoreId(99));
    let listed = checked(&reference.fs, &hints, "another store's");
    assert!(listed.iter().filter(|one| one.groups > 0).all(|one| one.verdict == Worth::Foreign));
    assert!(groups(&listed).all(|group| group.verdict == Worth::Foreign), "{listed:#?}");
    let renamed = reference.fs.if_killed();
    renamed.write_now(&wal_file(77), &reference.files[&1]).unwrap();
    let listed = checked(&renamed, &reference.hints, "renamed");
    assert_eq!(listed.last().unwrap().verdict, Worth::Corrupt);
}

#[test]
fn a_torn_end_is_listed_as_torn() {
    let mut oracle = Oracle::default();
    let fs = disk();
    let mut log = oracle.begin(&fs).unwrap();
    oracle.append(&mut log, &[30, 40]).unwrap();
    oracle.sync(&mut log).unwrap();
    let end = wal::list(&fs, DIR, &oracle.hints()).unwrap()[0].used_bytes;
    fs.corrupt(&wal_file(1), end - 4096 + 70, 1).unwrap();
    let listed = checked(&fs, &oracle.hints(), "torn");
    assert_eq!(listed[0].verdict, Worth::Torn, "{listed:#?}");
}

#[test]
fn a_segment_is_prepared_then_open_then_sealed_or_closed() {
    let mut oracle = Oracle::default();
    let fs = disk();
    let mut log = oracle.begin(&fs).unwrap();
    wal::prepare_segment(&fs, DIR, SegmentNumber(9), 0).unwrap();
    let states = |oracle: &Oracle| {
        let listed = checked(&fs, &oracle.hints(), "living");
        listed.iter().map(|one| one.state).collect::<Vec<_>>()
    };
    assert_eq!(states(&oracle), [SegmentState::Open, SegmentState::Prepared]);
    for _ in 0..4 {
        oracle.append(&mut log, &[3000]).unwrap();
    }
    oracle.close(log).unwrap();
    let states = states(&oracle);
    assert_eq!(states[0], SegmentState::Sealed, "{states:?}");
    assert_eq!(states.iter().filter(|one| **one == SegmentState::Closed).count(), 1, "{states:?}");
}
