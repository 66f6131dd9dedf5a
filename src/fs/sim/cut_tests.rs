//! Forked disks: draws that can be replayed, texts, fingerprints, independence.

use std::collections::BTreeSet;

use super::tests::{assert_kind, put, with};
use super::*;
use crate::fs::write_all_at;

/// A disk on which much is open: contents, lengths, names, times, and what a failed sync lost.
fn open_questions() -> SimFs {
    let fs = with("d/a", &[1; 5000]);
    for at in 0..4 {
        put(&fs, &format!("f{at}"), &[at; 3000]).write_back().unwrap();
        fs.rename(&format!("f{at}"), &format!("d/{at}")).unwrap();
    }
    fs.sync_dir("d").unwrap();
    let file = fs.open("d/a", Mode::Write).unwrap();
    write_all_at(&*file, &[2; 2000], 0).unwrap();
    fs.fail_when(CallKind::Sync, 1, Fault::Errno(5));
    file.sync_data().unwrap_err();
    write_all_at(&*file, &[3; 9000], 1000).unwrap();
    put(&fs, "b", &[4; 600]);
    fs.remove("d/1").unwrap();
    fs
}

fn look(fs: &SimFs) -> Vec<(String, Option<Vec<u8>>)> {
    fs.names().into_iter().map(|name| (name.clone(), fs.read_now(&name))).collect()
}

fn times(fs: &SimFs) -> Vec<i64> {
    fs.names().iter().map(|name| fs.stat(name).unwrap().unwrap().modified_ns).collect()
}

#[test]
fn the_draws_of_any_cut_give_the_same_disk_again() {
    let fs = open_questions();
    let mut distinct = BTreeSet::new();
    for mode in [CrashMode::Nothing, CrashMode::Everything]
        .into_iter()
        .chain((0..300).map(CrashMode::Random))
    {
        let (cut, draws) = fs.if_crashed_traced(&mode);
        assert_eq!(draws.is_empty(), mode == CrashMode::Nothing, "{mode}");
        let choices = CrashMode::Choices(draws.into());
        let text = choices.to_string();
        let (again, same) = fs.if_crashed_traced(text.parse::<CrashMode>().unwrap());
        assert!(look(&again) == look(&cut) && times(&again) == times(&cut), "{mode}");
        assert_eq!(CrashMode::Choices(same.into()), choices);
        distinct.insert(cut.fingerprint());
    }
    assert!(distinct.len() > 100, "{}", distinct.len());
}

#[test]
fn any_list_of_draws_is_an_outcome_and_shorter_ones_come_down_to_nothing() {
    let fs = open_questions();
    let nothing = fs.if_crashed(CrashMode::Nothing).fingerprint();
    let mut seen = BTreeSet::new();
    for seed in 0..20 {
        let (_, mut draws) = fs.if_crashed_traced(CrashMode::Random(seed));
        for draw in &mut draws {
            *draw = draw.wrapping_mul(2_654_435_761).wrapping_add(1);
        }
        for length in 0..=draws.len() {
            let list = CrashMode::Choices(draws[..length].into());
            let (cut, used) = fs.if_crashed_traced(list);
            let bounded = CrashMode::Choices(used.into());
            assert_eq!(fs.if_crashed(bounded).fingerprint(), cut.fingerprint());
            seen.insert(cut.fingerprint());
        }
    }
    assert!(seen.contains(&nothing) && seen.len() > 20, "{}", seen.len());
    assert_eq!(fs.if_crashed(CrashMode::Choices([0; 99].into())).fingerprint(), nothing);
    let most = fs.if_crashed(CrashMode::Choices([u32::MAX; 99].into()));
    assert_ne!(most.fingerprint(), nothing);
}

#[test]
fn a_crash_mode_is_a_text_and_only_that_text() {
    let modes = [
        CrashMode::Nothing,
        CrashMode::Everything,
        CrashMode::Random(u64::MAX),
        CrashMode::Choices([].into()),
        CrashMode::Choices([0, 7, u32::MAX].into()),
    ];
    for mode in modes {
        assert_eq!(mode.to_string().parse(), Ok(mode));
    }
    assert_eq!(CrashMode::Choices([0, 0, 3].into()).to_string(), "c0.0.3");
    for text in ["", "x", "r", "r-1", "c1.", "c.1", "c4294967296", "Nothing", "nothing "] {
        assert!(text.parse::<CrashMode>().is_err(), "{text:?}");
    }
}

#[test]
fn a_fingerprint_tells_what_an_opening_can_see_and_nothing_else() {
    let fs = with("a", &[1; 5000]);
    fs.write_now("d/b", b"b").unwrap();
    fs.link("a", "d/c").unwrap();
    let first = fs.fingerprint();

    let other = SimFs::new();
    other.write_now("d/b", b"b").unwrap();
    other.write_now("gone", b"").unwrap();
    other.write_now("d/c", &[1; 5000]).unwrap();
    other.remove("gone").unwrap();
    other.link("d/c", "a").unwrap();
    assert_eq!(other.fingerprint(), first, "neither times nor inode numbers nor the way to it");

    let changes: [&dyn Fn(&SimFs); 8] = [
        &|fs| fs.corrupt("a", 4999, 1).unwrap(),
        &|fs| fs.write_now("a", &[1; 4999]).unwrap(),
        &|fs| fs.save_now("a", &[1; 5000]).unwrap(),
        &|fs| fs.rename("d/b", "d/B").unwrap(),
        &|fs| fs.plant_now("e", Kind::Directory).unwrap(),
        &|fs| fs.plant_now("e", Kind::Other).unwrap(),
        &|fs| fs.plant_now("e", Kind::File).unwrap(),
        &|fs| fs.spoil_now("a", io::ErrorKind::Other).unwrap(),
    ];
    let mut seen = BTreeSet::from([first]);
    for change in changes {
        let changed = fs.if_killed();
        assert_eq!(changed.fingerprint(), first);
        change(&changed);
        seen.insert(changed.fingerprint());
    }
    assert_eq!(seen.len(), 9, "each change gives another one");
}

#[test]
fn what_happens_on_one_disk_is_not_seen_on_another_that_came_of_it() {
    let fs = open_questions();
    let forks =
        [fs.if_killed(), fs.if_crashed(CrashMode::Nothing), fs.if_crashed(CrashMode::Everything)];
    let before: Vec<_> = forks.iter().chain([&fs]).map(look).collect();
    for (at, fork) in forks.iter().enumerate() {
        let fork = fork.if_killed();
        write_all_at(&*fork.open("d/a", Mode::Write).unwrap(), &[9; 99], 100).unwrap();
        fork.sync_all().unwrap();
        fork.corrupt("d/0", 0, 1).unwrap();
        fork.remove("d/a").unwrap();
        put(&fork, "new", b"new");
        fork.sync_all().unwrap();
        assert!(look(&fork) != before[at]);
        let after: Vec<_> = forks.iter().chain([&fs]).map(look).collect();
        assert!(after == before);
    }
}

#[test]
fn a_kill_forgets_the_files_that_no_name_leads_to_and_no_others() {
    let fs = with("a", b"a");
    put(&fs, "b", b"b");
    fs.remove("b").unwrap();
    let count = |fs: &SimFs| fs.machine.lock().disk.inode_numbers().len();
    assert_eq!(count(&fs.if_killed()), 3, "a cut may still bring it back");
    fs.sync_dir("").unwrap();
    let killed = fs.if_killed();
    assert_eq!((count(&fs), count(&killed)), (3, 2));
    fs.remove("a").unwrap();
    let killed = fs.if_killed();
    assert_eq!(killed.crash_with(CrashMode::Nothing).read_now("a").unwrap(), b"a");
}

#[test]
fn a_disk_that_keeps_no_trace_still_counts() {
    let fs = with("a", b"a");
    fs.stat("a").unwrap();
    fs.set_traced(false);
    fs.stat("a").unwrap();
    assert_eq!((fs.calls(), fs.trace().len()), (2, 1));
    let fork = fs.if_crashed(CrashMode::Nothing);
    assert_kind(fork.open("none", Mode::Read), io::ErrorKind::NotFound);
    assert_eq!((fork.calls(), fork.trace().len()), (1, 0));
    fork.set_traced(true);
    fork.stat("a").unwrap();
    assert_eq!((fork.calls(), fork.trace()), (2, vec!["stat a".to_owned()]));
}
