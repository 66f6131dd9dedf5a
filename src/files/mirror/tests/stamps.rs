//! A stat that is as recorded means that nobody wrote to the file, in the same tick of the clock too.

use super::cache::{calls, reads, record};
use super::*;

/// As long as what the engine wrote.
fn same_size_edit(version: u32) -> Vec<u8> {
    String::from_utf8(shown("a", version)).unwrap().replace("pad", "PAD").into_bytes()
}

#[test]
fn an_edit_of_the_same_size_in_the_same_tick_is_found_at_the_next_opening() {
    for step_ns in [1, 100, 2_000_000_000] {
        for versions in [1, 2] {
            let (disk, mut world, mut mirror) = (disk(), World::default(), Mirror::default());
            disk.set_time_step(step_ns);
            disk.set_clock_stands_still(true);
            for version in 1..=versions {
                let changed = [world.put("a", version)];
                assert_eq!(world.pass(&mut mirror, &disk, &changed).unwrap(), vec![]);
            }
            mirror.sync(&disk).unwrap();
            record(&mut world, &mirror);
            let ((_, problems), trace) = calls(&disk, || world.open(&disk, false));
            assert_eq!((problems, reads(&trace, A)), (vec![], false), "{step_ns}");
            disk.write_now(A, &same_size_edit(versions)).unwrap();
            let (_, problems) = world.open(&disk, false);
            assert_eq!(kinds(&problems), [ProblemKind::Edited], "{step_ns}");
        }
    }
}

#[test]
fn an_edit_in_the_same_tick_is_not_taken_for_rot_while_the_store_is_open() {
    let (disk, mut world, mut mirror) = (disk(), World::default(), Mirror::default());
    disk.set_clock_stands_still(true);
    let changed = [world.put("a", 1)];
    world.pass(&mut mirror, &disk, &changed).unwrap();
    disk.write_now(A, &same_size_edit(1)).unwrap();
    let changed = [world.put("a", 2)];
    assert_eq!(world.pass(&mut mirror, &disk, &changed).unwrap(), vec![]);
    assert_eq!(disk.read_now(A).unwrap(), same_size_edit(1), "left in its place");
    assert_eq!(below(&disk, "quarantine/"), [""; 0]);
    let seen = world.find(&mut mirror, &disk);
    assert_eq!((seen.edits.len(), seen.problems.len()), (1, 0));
}

#[test]
fn where_times_cannot_be_set_the_contents_decide() {
    for kind in [std::io::ErrorKind::PermissionDenied, std::io::ErrorKind::Unsupported] {
        let (disk, mut world, mut mirror) = (disk(), World::default(), Mirror::default());
        disk.fail_when(CallKind::SetModified, 1, Fault::Sticky(kind));
        let changed = [world.put("a", 1)];
        assert_eq!(world.pass(&mut mirror, &disk, &changed).unwrap(), vec![]);
        record(&mut world, &mirror);
        assert_eq!(world.entries[A].stat, None);
        let ((_, problems), trace) = calls(&disk, || world.open(&disk, false));
        assert_eq!((problems, reads(&trace, A)), (vec![], true));
        disk.corrupt(A, 5, 0x10).unwrap();
        let (_, problems) = world.open(&disk, false);
        assert!(problems.len() == 1 && problems[0].kind != ProblemKind::Corrupt, "{problems:?}");
    }
}

#[test]
fn a_mark_costs_one_call_a_file() {
    let (disk, mut world, mut mirror) = with_a();
    let changed = [world.put("b", 1), world.put("a", 2)];
    let (problems, trace) = calls(&disk, || world.pass(&mut mirror, &disk, &changed).unwrap());
    assert_eq!(problems, vec![]);
    let marks = trace.iter().filter(|call| call.starts_with("set_modified wal/mirror.part"));
    assert_eq!(marks.count(), 2, "{trace:#?}");
    let looks = trace.iter().filter(|call| call.starts_with("stat wal/mirror.part"));
    assert_eq!(looks.count(), 4, "before and after: {trace:#?}");
}

#[test]
fn a_file_that_was_read_at_opening_is_known_by_its_stat_only_if_that_was_past() {
    for is_past in [false, true] {
        let (disk, mut world) = (disk(), World::default());
        world.put("a", 1);
        disk.set_clock_stands_still(true);
        disk.write_now(A, &shown("a", 1)).unwrap();
        if is_past {
            disk.set_clock_stands_still(false);
            disk.write_now("wal/later", b"").unwrap();
            disk.set_clock_stands_still(true);
        }
        let (mirror, problems) = world.open(&disk, true);
        assert_eq!(problems, vec![]);
        record(&mut world, &mirror);
        assert_eq!(world.entries[A].stat.is_some(), is_past);
        disk.write_now(A, &same_size_edit(1)).unwrap();
        assert_eq!(kinds(&world.open(&disk, false).1), [ProblemKind::Edited]);
    }
}

#[test]
fn what_the_engine_wrote_is_known_by_its_stat_after_a_crash_too_once_it_was_read() {
    let (disk, mut world, mut mirror) = (disk(), World::default(), Mirror::default());
    disk.set_clock_stands_still(true);
    let changed = [world.put("a", 1)];
    world.pass(&mut mirror, &disk, &changed).unwrap();
    let disk = disk.kill();
    let (mirror, problems) = world.open(&disk, true);
    assert_eq!(problems, vec![]);
    record(&mut world, &mirror);
    let ((_, problems), trace) = calls(&disk, || world.open(&disk, false));
    assert_eq!((problems, reads(&trace, A)), (vec![], false));
}

#[test]
fn an_edit_on_the_real_disk_right_after_a_pass_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let disk = crate::fs::real::RealFs::create(dir.path()).unwrap();
    disk.create_dir("wal").unwrap();
    let mut cached = 0;
    for version in 1..=300 {
        let (mut world, mut mirror) = (World::default(), Mirror::default());
        let changed = [world.put("a", version)];
        assert_eq!(world.pass(&mut mirror, &disk, &changed).unwrap(), vec![]);
        let edited = same_size_edit(version);
        if version % 2 == 0 {
            std::fs::write(dir.path().join(A), &edited).unwrap();
        }
        record(&mut world, &mirror);
        cached += usize::from(world.entries[A].stat.is_some());
        let (_, problems) = world.open(&disk, false);
        let expected = if version % 2 == 0 { vec![ProblemKind::Edited] } else { vec![] };
        assert_eq!(kinds(&problems), expected, "version {version}");
        std::fs::remove_file(dir.path().join(A)).unwrap();
    }
    assert_eq!(cached, 300, "this file system keeps a mark");
}
