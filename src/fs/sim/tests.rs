//! What becomes durable on the simulated disk, and what a power cut leaves: each rule as a test.

use std::collections::BTreeSet;

use super::*;
use crate::fs::write_all_at;

pub(super) fn put(fs: &SimFs, path: &str, bytes: &[u8]) -> Arc<dyn File> {
    let file = fs.open(path, Mode::CreateNew).unwrap();
    write_all_at(&*file, bytes, 0).unwrap();
    file
}

/// A disk on which `path` holds `bytes`, all durable.
pub(super) fn with(path: &str, bytes: &[u8]) -> SimFs {
    let fs = SimFs::new();
    fs.write_now(path, bytes).unwrap();
    fs
}

pub(super) fn outcomes(fs: &SimFs, path: &str) -> BTreeSet<Option<Vec<u8>>> {
    (0..400).map(|seed| fs.crash(seed).read_now(path)).collect()
}

#[track_caller]
pub(super) fn assert_kind<T>(result: io::Result<T>, kind: io::ErrorKind) {
    let error = result.err().expect("the call must fail");
    assert_eq!(error.kind(), kind, "{error}");
}

#[test]
fn a_write_is_durable_only_after_a_sync_of_the_file() {
    let fs = with("a", b"old");
    let file = fs.open("a", Mode::Write).unwrap();
    write_all_at(&*file, b"newer", 0).unwrap();
    assert_eq!(fs.crash_with(CrashMode::Nothing).read_now("a").unwrap(), b"old");
    assert_eq!(fs.crash_with(CrashMode::Everything).read_now("a").unwrap(), b"newer");

    let fs = with("a", b"old");
    let file = fs.open("a", Mode::Write).unwrap();
    write_all_at(&*file, b"newer", 0).unwrap();
    file.sync_data().unwrap();
    assert_eq!(outcomes(&fs, "a"), BTreeSet::from([Some(b"newer".to_vec())]));
}

#[test]
fn a_power_cut_keeps_any_subset_of_unsynced_sectors_and_tears_none() {
    let fs = with("a", &[1; 1536]);
    fs.set_tearing(Tearing::Sector);
    let file = fs.open("a", Mode::Write).unwrap();
    write_all_at(&*file, &[2; 1536], 0).unwrap();
    let mut seen = BTreeSet::new();
    for bytes in outcomes(&fs, "a") {
        let bytes = bytes.unwrap();
        let sectors: Vec<u8> = bytes.chunks(512).map(|sector| sector[0]).collect();
        assert!(bytes.chunks(512).all(|sector| sector.iter().all(|byte| *byte == sector[0])));
        seen.insert(sectors);
    }
    assert_eq!(seen.len(), 8, "every subset of three sectors: {seen:?}");
}

#[test]
fn a_grown_file_may_come_back_shorter_or_with_zeroes() {
    let fs = with("a", b"");
    fs.set_tearing(Tearing::Sector);
    let file = fs.open("a", Mode::Write).unwrap();
    write_all_at(&*file, &[7; 1000], 0).unwrap();
    let all: BTreeSet<_> = outcomes(&fs, "a").into_iter().map(Option::unwrap).collect();
    let zeroes_then = |bytes: u8| [vec![0; 512], vec![bytes; 488]].concat();
    let then_zeroes = [vec![7; 512], vec![0; 488]].concat();
    let expected =
        [vec![], vec![0; 1000], vec![7; 512], then_zeroes, zeroes_then(7), vec![7; 1000]];
    assert_eq!(all, BTreeSet::from(expected));
}

#[test]
fn a_name_is_durable_only_after_a_sync_of_its_directory() {
    let fs = SimFs::new();
    fs.create_dir("d").unwrap();
    fs.sync_dir("").unwrap();
    put(&fs, "d/a", b"a").sync_data().unwrap();
    fs.sync_dir("").unwrap();
    assert!(fs.crash_with(CrashMode::Nothing).names().is_empty());

    let fs = SimFs::new();
    fs.create_dir("d").unwrap();
    put(&fs, "d/a", b"a").sync_data().unwrap();
    fs.sync_dir("d").unwrap();
    assert!(fs.crash_with(CrashMode::Nothing).names().is_empty(), "its directory has no name");
    let fs = fs.kill();
    fs.sync_dir("").unwrap();
    assert_eq!(fs.crash_with(CrashMode::Nothing).read_now("d/a").unwrap(), b"a");
}

#[test]
fn a_removal_may_be_undone_until_the_directory_is_synced() {
    let fs = with("a", b"a");
    fs.remove("a").unwrap();
    assert_eq!(fs.read_now("a"), None);
    assert_eq!(outcomes(&fs, "a"), BTreeSet::from([None, Some(b"a".to_vec())]));
    let fs = fs.kill();
    fs.sync_dir("").unwrap();
    assert_eq!(outcomes(&fs, "a"), BTreeSet::from([None]));
}

#[test]
fn a_rename_across_directories_is_never_half_done() {
    let start = || {
        let fs = with("d/a", b"a");
        fs.rename("d/a", "b").unwrap();
        fs
    };
    let fs = start();
    let seen: BTreeSet<_> = (0..50).map(|seed| fs.crash(seed).names()).collect();
    assert_eq!(seen, BTreeSet::from([vec!["b".to_owned()], vec!["d/a".to_owned()]]));
    for dir in ["", "d"] {
        let fs = start();
        fs.sync_dir(dir).unwrap();
        assert_eq!(fs.crash_with(CrashMode::Nothing).names(), ["b"], "a sync of either will do");
    }
}

#[test]
fn an_exchange_is_never_half_done() {
    let fs = with("a", b"a");
    fs.write_now("d/b", b"b").unwrap();
    fs.exchange("a", "d/b").unwrap();
    for seed in 0..50 {
        let cut = fs.crash(seed);
        let both = (cut.read_now("a").unwrap(), cut.read_now("d/b").unwrap());
        assert!(both == (b"a".into(), b"b".into()) || both == (b"b".into(), b"a".into()));
    }
}

#[test]
fn a_file_that_was_moved_step_by_step_is_never_lost() {
    let fs = with("a", b"a");
    fs.link("a", "b").unwrap();
    fs.remove("a").unwrap();
    fs.rename("b", "c").unwrap();
    let mut seen = BTreeSet::new();
    for seed in 0..400 {
        seen.insert(fs.crash(seed).names());
    }
    let states: [&[&str]; 4] = [&["a"], &["a", "b"], &["b"], &["c"]];
    let unordered: &[&str] = &["a", "c"];
    let named = |state: &&[&str]| state.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    for state in states.iter().chain([&unordered]) {
        assert!(seen.remove(&named(state)), "{state:?} is possible");
    }
    assert_eq!(seen, BTreeSet::new(), "and nothing else is");

    let fs = with("d/other", b"");
    fs.write_now("a", b"a").unwrap();
    fs.link("a", "d/b").unwrap();
    fs.remove("a").unwrap();
    fs.sync_dir("").unwrap();
    assert_eq!(fs.crash_with(CrashMode::Nothing).names(), ["d/b", "d/other"], "nor by a sync");
}

#[test]
fn changes_of_unrelated_names_may_survive_in_any_order() {
    let fs = SimFs::new();
    put(&fs, "a", b"");
    put(&fs, "b", b"");
    let seen: BTreeSet<_> = (0..100).map(|seed| fs.crash(seed).names().concat()).collect();
    assert_eq!(seen, ["", "a", "ab", "b"].map(str::to_owned).into());
}

#[test]
fn a_rename_may_be_durable_while_the_contents_are_not() {
    let fs = with("a", b"old");
    put(&fs, "new", b"new");
    fs.rename("new", "a").unwrap();
    fs.sync_dir("").unwrap();
    assert_eq!(fs.crash_with(CrashMode::Nothing).read_now("a").unwrap(), b"");
}

#[test]
fn what_is_written_back_before_a_rename_survives_if_the_rename_does() {
    let fs = with("a", b"old");
    let file = put(&fs, "new", &[1; 700]);
    file.write_back().unwrap();
    assert_eq!(outcomes(&fs, "a"), BTreeSet::from([Some(b"old".to_vec())]));
    let fs = fs.kill();
    fs.rename("new", "a").unwrap();
    let expected = BTreeSet::from([Some(b"old".to_vec()), Some(vec![1; 700])]);
    assert_eq!(outcomes(&fs, "a"), expected);
    // What is written after it is as uncertain as ever.
    let fs = fs.kill();
    let file = fs.open("a", Mode::Write).unwrap();
    write_all_at(&*file, &[2; 700], 0).unwrap();
    fs.sync_dir("").unwrap();
    assert_eq!(fs.crash_with(CrashMode::Nothing).read_now("a").unwrap(), [1; 700]);
}

#[test]
fn what_is_written_again_after_its_write_back_is_as_uncertain_as_before() {
    let fs = SimFs::new();
    let file = put(&fs, "new", &[1; 1024]);
    file.write_back().unwrap();
    write_all_at(&*file, &[2; 512], 512).unwrap();
    fs.rename("new", "a").unwrap();
    fs.sync_dir("").unwrap();
    assert_eq!(fs.crash_with(CrashMode::Nothing).read_now("a").unwrap(), [1; 512]);
}

#[test]
fn write_back_alone_makes_nothing_durable() {
    let fs = with("a", b"old");
    let file = fs.open("a", Mode::Write).unwrap();
    write_all_at(&*file, b"new", 0).unwrap();
    file.write_back().unwrap();
    assert_eq!(fs.crash_with(CrashMode::Nothing).read_now("a").unwrap(), b"old");
}

#[test]
fn a_later_sync_is_not_undone_by_what_an_older_rename_carried() {
    let fs = SimFs::new();
    let file = put(&fs, "new", b"old");
    file.write_back().unwrap();
    fs.rename("new", "a").unwrap();
    write_all_at(&*file, b"NEW", 0).unwrap();
    file.sync_data().unwrap();
    fs.sync_dir("").unwrap();
    assert_eq!(fs.crash_with(CrashMode::Nothing).read_now("a").unwrap(), b"NEW");
}

#[test]
fn what_a_failed_sync_lost_is_read_but_never_made_durable_by_a_later_one() {
    let fs = with("a", &[1; 1024]);
    fs.set_tearing(Tearing::Sector);
    let file = fs.open("a", Mode::Write).unwrap();
    write_all_at(&*file, &[2; 1024], 0).unwrap();
    fs.fail_when(CallKind::Sync, 1, Fault::Errno(5));
    assert_eq!(file.sync_data().unwrap_err().raw_os_error(), Some(5));
    file.sync_data().unwrap();
    assert_eq!(fs.read_now("a").unwrap(), [2; 1024], "the cache still shows it");
    write_all_at(&*file, &[3; 512], 512).unwrap();
    file.sync_data().unwrap();
    let kept = [[1; 512], [3; 512]].concat();
    for mode in [CrashMode::Nothing, CrashMode::Everything] {
        assert_eq!(fs.crash_with(&mode).read_now("a").unwrap(), kept, "{mode:?}");
    }
    let got_through = [[2; 512], [3; 512]].concat();
    assert_eq!(outcomes(&fs, "a"), BTreeSet::from([Some(kept), Some(got_through)]));
}

#[test]
fn the_same_seed_gives_the_same_disk() {
    let fs = SimFs::new();
    for at in 0..20 {
        put(&fs, &format!("f{at}"), &[at; 5000]);
    }
    let look = |fs: SimFs| fs.names().iter().map(|name| fs.read_now(name)).collect::<Vec<_>>();
    for seed in 0..20 {
        assert_eq!(look(fs.crash(seed)), look(fs.crash(seed)));
    }
    let distinct: BTreeSet<_> = (0..20).map(|seed| look(fs.crash(seed))).collect();
    assert!(distinct.len() > 10, "different seeds give different disks: {}", distinct.len());
}

#[test]
fn a_write_past_the_page_cache_makes_itself_durable_and_nothing_else() {
    let fs = SimFs::new();
    let plain = fs.open("a", Mode::CreateNew).unwrap();
    write_all_at(&*plain, &[1; 3 * 4096], 0).unwrap();
    plain.sync_data().unwrap();
    fs.sync_dir("").unwrap();
    write_all_at(&*plain, &[2; 4096], 0).unwrap();
    let memory = vec![3; 2 * 4096];
    let start = memory.as_ptr().align_offset(4096);
    let through = fs.open("a", Mode::Through).unwrap();
    write_all_at(&*through, &memory[start..start + 4096], 8192).unwrap();
    let left = fs.if_crashed(CrashMode::Nothing).read_now("a").unwrap();
    assert_eq!(left, [[1; 8192].as_slice(), &[3; 4096]].concat());
    let crooked = through.write_at(&memory[start + 1..start + 4097], 8192).unwrap_err();
    assert_eq!(crooked.kind(), io::ErrorKind::InvalidInput);
}
