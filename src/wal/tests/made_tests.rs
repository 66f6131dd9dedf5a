//! The rules for what only several losses, or bytes that lie, can bring about: segments out of the
//! chain, a join that has to be guessed, a header made up from groups, an intact group out of place.

use std::sync::Arc;

use super::guarantee_tests::{BLOCK, START, look, lsns, missing};
use super::made::{Made, data, hints, identity, nowhere, seal, start, witness};
use super::oracle::{DIR, ROOMY, rot, wal_file, zero};
use crate::base::{Lsn, Timestamp};
use crate::wal::scan::Join;
use crate::wal::{self, Hints, Log, Origin, Record, Replayed, Scan, SegmentNumber, Verdict};

/// Segment 1 of incarnation 1: LSN 1 and 2 are vouched for, 3 and 4 are not.
fn first(made: &Made) -> Vec<Join> {
    made.segment((1, 1), nowhere(0), &[start(1, 0, 0), data(1, 2, 0), witness(2), data(3, 2, 2)])
}

/// What is said of a segment's file: whether it is worthless, if it is out of the chain, and findings.
fn told(scan: &Scan, number: u64) -> (Option<bool>, Vec<Verdict>) {
    let file = SegmentNumber(number).file_name();
    let leftover = scan.leftovers.iter().find(|one| one.file == file);
    let findings = scan.findings.iter().filter(|one| one.file == file);
    (leftover.map(|one| one.is_worthless), findings.map(|one| one.verdict).collect())
}

const WORTHLESS: (Option<bool>, Vec<Verdict>) = (Some(true), Vec::new());

fn kept(verdict: Verdict) -> (Option<bool>, Vec<Verdict>) {
    (Some(false), vec![verdict])
}

#[test]
fn what_came_back_after_a_cut_is_worthless_only_if_the_base_has_all_of_it() {
    for (count, expected) in [(2, WORTHLESS), (5, kept(Verdict::Torn))] {
        let made = Made::new();
        made.segment((2, 1), nowhere(2), &[data(3, count, 2)]);
        let gone = Join { segment: SegmentNumber(3), end: START + BLOCK, ..nowhere(6) };
        made.segment((4, 1), gone, &[data(7, 1, 6)]);
        let found = look(&made.0, &Hints { base: Lsn(6), ..hints() });
        assert_eq!((told(&found, 2), lsns(&made.0, &found)), (expected, vec![7]), "{count}");
    }
}

#[test]
fn what_an_opening_passed_over_is_worthless_if_it_restated_all_of_it() {
    for (count, expected) in [(2, WORTHLESS), (3, kept(Verdict::Torn))] {
        let made = Made::new();
        let joins = first(&made);
        made.segment((2, 2), joins[1], &[start(3, count, 2)]);
        made.segment((3, 3), joins[1], &[start(3, 2, 2), witness(4)]);
        let found = made.look();
        assert_eq!((told(&found, 2), lsns(&made.0, &found)), (expected, vec![1, 2, 3, 4]));
        zero(&made.0, 2, 0, 8192);
        assert_eq!(told(&made.look(), 2), kept(Verdict::Torn), "nobody knows what it was");
    }
}

#[test]
fn an_opening_removes_what_it_passes_over_and_a_cut_removes_what_it_went_on_from() {
    let made = Made::new();
    let joins = first(&made);
    made.segment((2, 2), joins[1], &[start(3, 2, 2)]);
    let found = made.look();
    let fs = Arc::new(made.0.clone());
    let mut log = Log::begin(fs, DIR, &found, identity(3), ROOMY, Timestamp(0)).unwrap();
    wal::clear_passed_over(&made.0, DIR, &found).unwrap();
    assert_eq!(made.0.names(), [wal_file(1), wal_file(3)]);
    assert_eq!(lsns(&made.0, &made.look()), [1, 2, 3, 4], "it restated what stood there");
    assert_eq!(log.remove_below(Lsn(1)).unwrap(), 0);
    assert_eq!(log.remove_below(Lsn(2)).unwrap(), 64 << 10);
    assert_eq!(made.0.names(), [wal_file(3)]);
}

#[test]
fn only_an_opening_passes_a_segment_over() {
    let made = Made::new();
    let joins = first(&made);
    made.segment((2, 1), joins[1], &[data(3, 2, 2)]);
    made.segment((3, 1), joins[3], &[data(5, 1, 4)]);
    let found = made.look();
    assert_eq!(told(&found, 2), kept(Verdict::Torn), "nothing says that it was restated");
    assert_eq!(lsns(&made.0, &found), [1, 2, 3, 4, 5]);
}

#[test]
fn the_segment_that_an_opening_joined_was_not_passed_over() {
    let made = Made::new();
    let other = Join { crc: 7, ..made.segment((2, 1), nowhere(2), &[data(3, 2, 2)])[0] };
    let joins = made.segment((3, 2), Join { lsn: Lsn(2), ..other }, &[start(3, 2, 2)]);
    made.segment((4, 2), joins[0], &[data(104, 1, 4)]);
    let found = look(&made.0, &Hints { base: Lsn(2), ..hints() });
    assert_eq!((told(&found, 2), lsns(&made.0, &found)), (kept(Verdict::Torn), vec![3, 4, 104]));
}

#[test]
fn a_lost_beginning_is_damage_if_the_seal_names_its_segment_and_torn_otherwise() {
    let made = Made::new();
    made.segment((1, 1), nowhere(0), &[start(1, 0, 0), data(1, 2, 0), seal(4, 2)]);
    made.noise(2);
    made.noise(3);
    let found = made.look();
    assert_eq!(told(&found, 2), kept(Verdict::Corrupt));
    assert_eq!(told(&found, 3), kept(Verdict::Torn));
    assert_eq!(missing(&found), [(3, 4)]);
    let whys = || found.findings.iter().map(|one| one.why.as_str());
    assert!(whys().any(|why| why == "the segment in which the log goes on is missing"));
}

#[test]
fn the_end_is_in_doubt_if_what_is_damaged_may_have_been_behind_it() {
    let cut = |made: &Made, number| {
        let bytes = made.0.read_now(&wal_file(number)).unwrap();
        made.0.write_now(&wal_file(number), &bytes[..100]).unwrap();
    };
    let made = Made::new();
    let joins = first(&made);
    made.noise(2);
    let found = made.look();
    assert_eq!((told(&found, 2), found.end_in_doubt), (kept(Verdict::Torn), false));
    cut(&made, 2);
    let found = made.look();
    assert_eq!((told(&found, 2), found.end_in_doubt), (kept(Verdict::Corrupt), true));
    assert!(found.next_lsn > Lsn(1 << 31));
    // A clean stop tells what LSNs were given out.
    let found = look(&made.0, &Hints { clean: Some((1, Lsn(4))), ..hints() });
    assert_eq!((told(&found, 2), found.end_in_doubt), (kept(Verdict::Corrupt), false));
    // Behind the log's going on, damage says nothing of the end.
    made.segment((3, 2), joins[1], &[start(3, 2, 2), witness(4)]);
    let found = made.look();
    assert_eq!((told(&found, 2), found.end_in_doubt), (kept(Verdict::Corrupt), false));
}

#[test]
fn a_first_group_without_its_header_counts_only_if_a_seal_of_its_incarnation_names_it() {
    for (incarnation, is_sealed, stands) in [(1, true, 4), (1, false, 2), (2, true, 2)] {
        let made = Made::new();
        let end = if is_sealed { seal(4, 2) } else { witness(2) };
        let joins = made.segment((1, 1), nowhere(0), &[start(1, 0, 0), data(1, 2, 0), end]);
        made.segment((2, incarnation), joins[1], &[data(3, 2, 2)]);
        zero(&made.0, 2, 0, 8192);
        let found = made.look();
        let expected: Vec<u64> = (1..=stands).collect();
        assert_eq!(lsns(&made.0, &found), expected, "{incarnation} {is_sealed}: {found:#?}");
    }
}

#[test]
fn a_segment_that_says_it_follows_none_is_joined_to_none() {
    let made = Made::new();
    first(&made);
    made.segment((2, 2), nowhere(100), &[start(101, 0, 100), data(101, 1, 100)]);
    let found = made.look();
    assert_eq!((lsns(&made.0, &found), missing(&found)), (vec![101], vec![(1, 100)]));
}

#[test]
fn behind_a_lost_segment_stands_what_its_own_incarnation_vouches_for() {
    let lost = Join { segment: SegmentNumber(2), end: START + BLOCK, ..nowhere(100) };
    // A later incarnation may have made the rest void; the same one went on behind a flush.
    for (incarnation, stands) in [(1, vec![1, 2, 3, 4, 101]), (2, vec![1, 2, 101])] {
        let made = Made::new();
        first(&made);
        made.segment((3, incarnation), lost, &[data(101, 1, 100), witness(101)]);
        let found = made.look();
        let behind = stands[stands.len() - 2] + 1;
        assert_eq!((lsns(&made.0, &found), missing(&found)), (stands, vec![(behind, 100)]));
    }
    // A header vouches too, where no group of its segment is left.
    let made = Made::new();
    first(&made);
    let joins = made.segment((3, 1), lost, &[data(101, 1, 100)]);
    made.segment((4, 2), joins[0], &[start(500, 0, 101), data(500, 1, 101)]);
    rot(&made.0, 3, START);
    assert_eq!(lsns(&made.0, &made.look()), [1, 2, 3, 4, 500]);
}

#[test]
fn a_lost_link_is_not_mended_with_a_segment_that_could_not_be_the_head() {
    let made = Made::new();
    let joins = first(&made);
    // Of a copy of the directory that went another way: what it names is another group.
    let elsewhere = Join { crc: 7, ..joins[1] };
    made.segment((2, 2), elsewhere, &[start(3, 2, 2), witness(4)]);
    assert_eq!(lsns(&made.0, &made.look()), [1, 2, 3, 4], "those of segment 1");
    let lost = Join { segment: SegmentNumber(3), end: START + BLOCK, ..nowhere(100) };
    made.segment((4, 3), lost, &[data(101, 1, 100), witness(101)]);
    let found = made.look();
    assert_eq!((lsns(&made.0, &found), missing(&found)), (vec![1, 2, 101], vec![(3, 100)]));
    assert_eq!(told(&found, 2), kept(Verdict::Torn));
}

/// Opens the log, commits a record of so many bytes, and looks again: what stood stands, and the record.
fn found_after_an_opening(made: &Made, hints: &Hints, bytes: usize) -> Scan {
    let found = look(&made.0, hints);
    let mut expected = lsns(&made.0, &found);
    let (fs, identity) = (Arc::new(made.0.clone()), identity(9));
    let mut log = Log::begin(fs, DIR, &found, identity, ROOMY, Timestamp(0)).unwrap();
    let record = Record::new(1, Origin::Api, vec![0; bytes]);
    expected.push(log.commit(&[record], Timestamp(0)).unwrap().0);
    let found = look(&made.0, hints);
    assert_eq!(lsns(&made.0, &found), expected, "{found:#?}");
    found
}

#[test]
fn what_is_synced_after_an_opening_is_found_by_the_next_whatever_was_in_the_directory_before() {
    // The oldest segment of the chain names what is there; another segment, number, group, place; nothing.
    let lies: [fn(&mut Join); 5] = [
        |_| (),
        |join| join.segment = SegmentNumber(2),
        |join| join.crc ^= 1,
        |join| join.end += 1,
        |join| join.end = 0,
    ];
    for (lie, case) in lies.iter().flat_map(|lie| (0..8).map(move |case| (lie, case))) {
        let (has_records, durable) = (case & 1 != 0, if case & 2 != 0 { 7 } else { 0 });
        // The opening's own segment takes it, or only the next one does.
        let bytes = if case & 4 != 0 { 8 } else { 70_000 };
        let made = Made::new();
        let mut named = first(&made)[1];
        lie(&mut named);
        let join = made.segment((3, 2), named, &[start(3, 0, 2)])[0];
        if has_records {
            made.segment((4, 2), join, &[data(103, 2, 2)]);
        }
        let hints = Hints { base: Lsn(2), durable: Lsn(durable), ..hints() };
        let found = found_after_an_opening(&made, &hints, bytes);
        assert_ne!(told(&found, 1).0, Some(true), "nothing restated what it holds: {named:?}");
        assert!(
            durable > 0 || missing(&found).is_empty(),
            "no group of it is believed: {found:#?}"
        );
    }
}

#[test]
fn without_any_header_the_known_identities_tell_whose_log_it_is() {
    let made = Made::new();
    made.segment((2, 1), nowhere(0), &[start(1, 0, 0), data(1, 2, 0), witness(2)]);
    zero(&made.0, 2, 0, 8192);
    let hints = Hints { store: None, ..hints() };
    assert_eq!(lsns(&made.0, &look(&made.0, &hints)), [1, 2]);
    found_after_an_opening(&made, &hints, 8);
}

#[test]
fn a_lost_header_does_not_hide_that_the_first_group_is_lost_too() {
    let made = Made::new();
    let joins = made.segment((1, 1), nowhere(0), &[start(1, 0, 0), data(1, 2, 0), seal(4, 2)]);
    made.segment((2, 1), joins[1], &[data(3, 2, 2), data(5, 2, 4), data(7, 1, 6)]);
    zero(&made.0, 2, 0, 8192);
    rot(&made.0, 2, START);
    let found = made.look();
    assert_eq!((lsns(&made.0, &found), missing(&found)), (vec![1, 2, 5, 6, 7], vec![(3, 4)]));
}

#[test]
fn without_a_header_lsns_that_an_opening_leapt_over_are_not_missed() {
    let made = Made::new();
    let joins = made.segment((1, 1), nowhere(0), &[start(1, 0, 0), data(1, 2, 0), witness(2)]);
    made.segment((2, 2), joins[1], &[start(1000, 0, 2), data(1000, 1, 2)]);
    zero(&made.0, 2, 0, 8192);
    let found = made.look();
    assert_eq!((lsns(&made.0, &found), missing(&found)), (vec![1, 2, 1000], vec![]));
    assert!(found.end_in_doubt && found.next_lsn > Lsn(1 << 31), "how high LSNs went is lost");
}

#[test]
fn one_damaged_header_copy_is_damage_if_anything_lies_behind_the_first_group() {
    for (groups, verdict) in [(1, Verdict::Torn), (2, Verdict::Corrupt)] {
        let made = Made::new();
        made.segment((1, 1), nowhere(0), &[start(1, 0, 0), data(1, 2, 0)][..groups]);
        zero(&made.0, 1, 4096, 512);
        assert_eq!(made.look().verdict(), verdict, "{groups}");
        let stopped = Hints { clean: Some((1, Lsn::ZERO)), ..hints() };
        assert_eq!(look(&made.0, &stopped).verdict(), Verdict::Corrupt, "a stop flushed it");
    }
}

#[test]
fn one_damaged_header_copy_is_damage_where_its_flush_is_known_to_have_succeeded() {
    let made = Made::new();
    let joins = first(&made);
    let rotated = made.segment((2, 1), joins[3], &[data(5, 1, 4)]);
    zero(&made.0, 2, 4096, 512);
    let verdict = |hints| look(&made.0, &hints).verdict();
    assert_eq!(verdict(hints()), Verdict::Torn);
    assert_eq!(verdict(Hints { durable: Lsn(5), ..hints() }), Verdict::Corrupt);
    assert_eq!(verdict(Hints { clean: Some((1, Lsn(5))), ..hints() }), Verdict::Corrupt);
    made.segment((3, 2), rotated[0], &[start(500, 0, 5)]);
    assert_eq!(verdict(hints()), Verdict::Corrupt, "the log went on");
}

#[test]
fn above_the_lsn_at_which_a_segment_joins_neither_record_nor_hole_is_left() {
    // Where the join says it is, whether LSN 2 to 4 are damaged; what stands, what holes are left.
    let cases: [(u64, bool, &[u64], &[u64]); 4] = [
        (1, false, &[1, 1000], &[]),
        (3, false, &[1, 1000], &[]),
        (1, true, &[1, 1000], &[]),
        (3, true, &[1, 1000], &[3]),
    ];
    for (joins_at, is_damaged, stands, holes) in cases {
        let made = Made::new();
        let groups = [start(1, 0, 0), data(1, 1, 0), data(2, 3, 1), witness(4)];
        let join = made.segment((1, 1), nowhere(0), &groups)[3];
        let join = Join { lsn: Lsn(joins_at), ..join };
        made.segment((2, 2), join, &[start(1000, 0, joins_at), data(1000, 1, joins_at)]);
        if is_damaged {
            rot(&made.0, 1, START + 2 * BLOCK);
        }
        let found = made.look();
        let left: Vec<u64> = holes_above(&made, &found, 0);
        assert_eq!((&*lsns(&made.0, &found), &*left), (stands, holes), "{joins_at} {is_damaged}");
    }
}

#[test]
fn a_first_group_that_is_not_what_its_header_restates_does_not_stand() {
    let firsts = [
        (start(3, 2, 2), true, "as it should be"),
        (start(4, 1, 2), true, "behind LSNs never used"),
        (data(3, 2, 2), false, "no start"),
        (start(2, 3, 2), false, "it goes back"),
        (start(3, 1, 2), false, "it ends too early"),
        (start(3, 3, 2), false, "it ends too late"),
    ];
    for (group, stands, what) in firsts {
        let made = Made::new();
        let joins = first(&made);
        made.segment_with((2, 2), joins[1], &[group], |header| {
            header.begins_incarnation = true;
            header.restated_lsn = Lsn(4);
            header.next_lsn = Lsn(1000);
        });
        let found = made.look();
        assert_eq!(lsns(&made.0, &found).len() > 2, stands, "{what}: {found:#?}");
        assert_eq!(found.verdict() == Verdict::Clean, stands, "{what}");
    }
}

#[test]
fn of_a_damaged_start_and_what_follows_it_everything_is_missing() {
    let made = Made::new();
    let joins = first(&made);
    made.segment((2, 2), joins[1], &[start(3, 2, 2), data(104, 1, 4), data(105, 1, 104)]);
    rot(&made.0, 2, START);
    rot(&made.0, 2, START + BLOCK);
    let found = made.look();
    assert_eq!((lsns(&made.0, &found), missing(&found)), (vec![1, 2, 105], vec![(3, 104)]));
}

#[test]
fn a_clean_stop_that_is_not_the_last_opening_does_not_say_what_lsns_were_given_out() {
    let made = Made::new();
    let joins = first(&made);
    made.segment((2, 2), joins[3], &[start(70, 0, 4)]);
    let next = |clean| look(&made.0, &Hints { clean: Some(clean), ..hints() }).next_lsn;
    assert_eq!(next((2, Lsn(4))), Lsn(5));
    assert_eq!(next((1, Lsn(4))), Lsn(10_071), "of an earlier opening");
    assert_eq!(next((2, Lsn(3))), Lsn(10_071), "with another end");
    made.0.write_now(&wal_file(9), &made.0.read_now(&wal_file(1)).unwrap()).unwrap();
    assert!(next((2, Lsn(4))) > Lsn(1 << 31), "the end may be under another name");
}

#[test]
fn lsns_begin_at_one_only_where_there_is_nothing_but_whole_prepared_segments() {
    let next = |bytes: &[u8]| {
        let made = Made::new();
        made.0.write_now(&wal_file(1), bytes).unwrap();
        look(&made.0, &Hints::default()).next_lsn
    };
    assert_eq!(next(&vec![0; 1 << 16]), Lsn(1));
    assert!(next(&vec![0; 512]) >= Lsn(1 << 31), "it was cut");
    assert!(next(&vec![1; 1 << 16]) >= Lsn(1 << 31), "it held something");
}

fn holes_above(made: &Made, scan: &Scan, from: u64) -> Vec<u64> {
    let mut holes = Vec::new();
    let visit = &mut |replayed: Replayed<'_>| {
        if let Replayed::Hole(last) = replayed {
            holes.push(last.0);
        }
        Ok(())
    };
    scan.replay(&made.0, DIR, Lsn(from), visit).unwrap();
    holes
}

#[test]
fn a_replay_above_a_hole_is_not_told_of_it() {
    let made = Made::new();
    made.segment((1, 1), nowhere(0), &[start(1, 0, 0), data(1, 2, 0), data(3, 1, 2), witness(3)]);
    rot(&made.0, 1, START + BLOCK);
    let found = made.look();
    let told: Vec<_> = (0..4).map(|from| holes_above(&made, &found, from)).collect();
    assert_eq!(told, [vec![2], vec![2], vec![], vec![]]);
}
