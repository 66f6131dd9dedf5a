//! The choices that a test has of what a power cut and a failed flush leave: each as a test.

use std::collections::BTreeSet;

use super::tests::{outcomes, put, with};
use super::*;
use crate::fs::write_all_at;

fn rewritten(old: &[u8], new: &[u8], tearing: Tearing) -> BTreeSet<Vec<u8>> {
    let fs = with("a", old);
    fs.set_tearing(tearing);
    let file = fs.open("a", Mode::Write).unwrap();
    write_all_at(&*file, new, 0).unwrap();
    outcomes(&fs, "a").into_iter().map(Option::unwrap).collect()
}

/// Whether each sector is a run of new bytes with old ones behind it; how long the runs are.
fn runs(bytes: &[u8], length: usize) -> Vec<usize> {
    let run = |part: &[u8]| part.iter().take_while(|byte| **byte == 2).count();
    let cut = bytes.chunks(length).map(|part| (part, run(part)));
    cut.inspect(|(part, run)| assert!(part[*run..].iter().all(|byte| *byte == 1)))
        .map(|(_, run)| run)
        .collect()
}

#[test]
fn a_sector_torn_at_any_byte_keeps_new_bytes_before_old_ones() {
    let seen = rewritten(&[1; 1536], &[2; 1536], Tearing::Byte);
    let torn: BTreeSet<usize> = seen.iter().flat_map(|bytes| runs(bytes, 512)).collect();
    assert!(torn.len() > 100 && torn.contains(&0) && torn.contains(&512), "{torn:?}");

    let seen = rewritten(b"", &[2; 300], Tearing::Byte);
    let is_grown = |bytes: &Vec<u8>| bytes.len() == 300 && bytes[299] == 0 && bytes[0] == 2;
    assert!(seen.iter().any(is_grown), "zeroes behind a tear where there was nothing before");
    assert!(
        seen.iter().any(|bytes| (1..300).contains(&bytes.len()) && bytes.iter().all(|b| *b == 2))
    );
}

#[test]
fn a_page_of_4_kib_survives_whole() {
    let seen = rewritten(&[1; 3 * 4096], &[2; 3 * 4096], Tearing::Page);
    let runs: BTreeSet<_> = seen.iter().map(|bytes| runs(bytes, 4096)).collect();
    assert!(runs.iter().flatten().all(|run| [0, 4096].contains(run)));
    assert_eq!(runs.len(), 8, "every subset of three pages");
}

#[test]
fn a_cut_draws_its_tearing_unless_one_is_set() {
    let drawn = rewritten(&[1; 8192], &[2; 8192], Tearing::Drawn);
    let (mut by_bytes, mut by_sectors, mut by_pages) = (0, 0, 0);
    for bytes in &drawn {
        let runs = runs_of_any(bytes);
        if runs.iter().any(|run| run % 512 != 0) {
            by_bytes += 1;
        } else if runs.iter().any(|run| run % 4096 != 0) {
            by_sectors += 1;
        } else {
            by_pages += 1;
        }
    }
    assert!(by_bytes > 20 && by_sectors > 20 && by_pages > 2, "{by_bytes} {by_sectors} {by_pages}");
}

fn runs_of_any(bytes: &[u8]) -> Vec<usize> {
    bytes.chunk_by(|a, b| a == b).map(<[u8]>::len).collect()
}

/// A file gets a second name in another directory, and loses the first.
fn moved_by_link(rules: Rules) -> SimFs {
    let fs = with("d/other", b"");
    fs.write_now("a", b"a").unwrap();
    fs.set_rules(rules);
    fs.link("a", "d/b").unwrap();
    fs.remove("a").unwrap();
    fs
}

fn lost(fs: &SimFs) -> usize {
    let names = (0..200).map(|seed| fs.if_crashed(CrashMode::Random(seed)).names());
    names.filter(|names| names == &["d/other"]).count()
}

#[test]
fn a_removal_may_survive_without_the_link_before_it_where_nothing_is_ordered() {
    assert_eq!(lost(&moved_by_link(Rules::Ordered)), 0);
    assert!(lost(&moved_by_link(Rules::Unordered)) > 0);

    for (rules, count) in [(Rules::Ordered, 0), (Rules::Unordered, 1)] {
        let fs = moved_by_link(rules);
        fs.sync_dir("").unwrap();
        let left = fs.if_crashed(CrashMode::Nothing);
        assert_eq!(
            usize::from(left.names() == ["d/other"]),
            count,
            "only one directory is flushed"
        );
    }
    let fs = moved_by_link(Rules::Unordered);
    fs.sync_dir("d").unwrap();
    assert_eq!(lost(&fs), 0, "the flush of the other directory is what keeps the file");
}

#[test]
fn contents_written_back_before_a_rename_are_promised_nothing_where_nothing_is_ordered() {
    let fs = with("a", b"old");
    fs.set_rules(Rules::Unordered);
    fs.set_tearing(Tearing::Sector);
    put(&fs, "new", &[2; 700]).write_back().unwrap();
    fs.rename("new", "a").unwrap();
    fs.sync_dir("").unwrap();
    let seen = outcomes(&fs, "a");
    for expected in [vec![], vec![0; 700], vec![2; 512], vec![2; 700]] {
        assert!(seen.contains(&Some(expected)));
    }
    assert!(!seen.contains(&Some(b"old".to_vec())), "the name was flushed");
}

#[test]
fn one_operation_is_atomic_and_one_name_is_in_order_where_nothing_is_ordered() {
    let fs = with("d/a", b"a");
    fs.set_rules(Rules::Unordered);
    fs.rename("d/a", "b").unwrap();
    fs.rename("b", "c").unwrap();
    let seen: BTreeSet<_> = (0..100).map(|seed| fs.crash(seed).names().concat()).collect();
    assert_eq!(seen, ["d/a", "b", "c"].map(str::to_owned).into());

    let fs = with("a", b"");
    fs.set_rules(Rules::Unordered);
    fs.link("a", "b").unwrap();
    fs.remove("b").unwrap();
    put(&fs, "b", b"").sync_data().unwrap();
    fs.sync_dir("").unwrap();
    assert_eq!(fs.crash_with(CrashMode::Nothing).stat("a").unwrap().unwrap().links, 1);
}

#[test]
fn contents_whose_sync_failed_stay_unsynced_where_the_file_system_keeps_them_dirty() {
    for (outcome, kept) in [(AfterFailedSync::Clean, b"old"), (AfterFailedSync::Dirty, b"new")] {
        let fs = with("a", b"old");
        fs.set_after_failed_sync(outcome);
        let file = fs.open("a", Mode::Write).unwrap();
        write_all_at(&*file, b"new", 0).unwrap();
        fs.fail_when(CallKind::Sync, 1, Fault::Errno(5));
        fs.fail_when(CallKind::SyncAll, 1, Fault::Errno(5));
        file.sync_data().unwrap_err();
        fs.sync_all().unwrap_err();
        assert_eq!(fs.if_crashed(CrashMode::Nothing).read_now("a").unwrap(), b"old");
        let same_boot = fs.if_killed();
        for fs in [fs, same_boot] {
            fs.open("a", Mode::Write).unwrap().sync_data().unwrap();
            assert_eq!(fs.crash_with(CrashMode::Nothing).read_now("a").unwrap(), kept);
        }
    }
}

#[test]
fn rules_hold_for_the_disks_that_come_of_a_disk() {
    let fs = SimFs::new();
    fs.set_rules(Rules::Unordered);
    for fs in
        [fs.if_killed(), fs.if_crashed(CrashMode::Nothing), fs.if_crashed(CrashMode::Random(1))]
    {
        put(&fs, "new", b"new").write_back().unwrap();
        fs.rename("new", "a").unwrap();
        fs.sync_dir("").unwrap();
        assert_eq!(fs.if_crashed(CrashMode::Nothing).read_now("a").unwrap(), b"");
    }
}
