//! Passes meet what a person wrote: it stays in its place and is noticed; what came in the very instant of an
//! exchange goes to `conflicts/`, and is taken in from there.

use super::*;

/// That a pass left a person's file where it is, and goes on only when it was looked at.
fn assert_left(world: &mut World, mirror: &mut Mirror, disk: &SimFs, bytes: &[u8]) {
    for _ in 0..2 {
        assert_eq!(disk.read_now(A).unwrap(), bytes, "left in its place");
        assert_eq!(below(disk, "conflicts/"), [""; 0]);
        assert_eq!((mirror.behind(), mirror.can_go_on()), (1, false));
        assert_eq!(mirror.looks_again(), BTreeSet::from([A.to_owned()]));
        let trace = disk.trace().len();
        assert_eq!(world.pass(mirror, disk, &[]).unwrap(), vec![]);
        let made = disk.trace().split_off(trace);
        assert!(made.iter().all(|call| !call.contains(A)), "not planned again: {made:?}");
    }
}

#[test]
fn what_a_person_wrote_between_two_passes_is_left_in_its_place_until_it_was_looked_at() {
    for by_rename in [false, true] {
        for delete in [false, true] {
            let (disk, mut world, mut mirror) = with_a();
            let saves = if by_rename { SimFs::save_now } else { SimFs::write_now };
            saves(&disk, A, MINE).unwrap();
            let changed = [if delete { world.delete("a") } else { world.put("a", 2) }];
            assert_eq!(world.pass(&mut mirror, &disk, &changed).unwrap(), vec![]);
            assert_left(&mut world, &mut mirror, &disk, MINE);
            let seen = world.find(&mut mirror, &disk);
            assert_eq!(texts(&seen.edits), [(A, Some(MINE_TEXT))]);
            assert_eq!(seen.problems, vec![]);
            if delete {
                world.take_in(&mut mirror, &seen.edits[0]);
                assert_eq!(world.pass(&mut mirror, &disk, &[(TASK, id("a"))]).unwrap(), vec![]);
                assert_eq!(disk.read_now(A).unwrap(), MINE, "its document is there again");
                assert_eq!(mirror.behind(), 0);
            } else {
                // It was merged: the document is neither.
                mirror.adopted(&seen.edits[0], None);
                assert_eq!(world.pass(&mut mirror, &disk, &[]).unwrap(), vec![]);
                world.assert_shown(&mirror, &disk);
            }
            assert_eq!(mirror.looks_again(), BTreeSet::new());
        }
    }
}

#[test]
fn a_person_who_is_quicker_than_the_exchange_is_taken_in_from_conflicts() {
    for no_link in [false, true] {
        for saved in [false, true] {
            let (disk, mut world, mut mirror) = with_a();
            let edit = move |disk: &SimFs| {
                let saves = if saved { SimFs::save_now } else { SimFs::write_now };
                saves(disk, A, MINE).unwrap();
            };
            let fs = Meddler { no_link, ..Meddler::editing(&disk, edit) };
            let changed = [world.put("a", 2)];
            let mut problems = world.pass(&mut mirror, &fs, &changed).unwrap();
            assert_eq!(kinds(&problems), [ProblemKind::Edited]);
            assert_kept(&disk, MINE);
            world.assert_shown(&mirror, &disk);
            let edits = mirror.take_displaced(&disk, &mut problems);
            assert_eq!((texts(&edits), problems.len()), (vec![(A, Some(MINE_TEXT))], 1));
            let Now::Text(theirs) = &edits[0].now else { panic!("{edits:?}") };
            let Source::Displaced(displaced) = &theirs.source else { panic!("{theirs:?}") };
            assert_eq!(displaced.shown, Some(Lsn(9)), "the pass that it was made after");
            assert!(theirs.stat.is_none());
            // The file does not hold it.
            mirror.adopted(&edits[0], Some(Lsn(20)));
            assert_eq!(mirror.entries()[0].hash, ContentHash::of(&shown("a", 2)));
            assert_eq!(mirror.take_displaced(&disk, &mut problems).len(), 0, "once");
        }
    }
}

#[test]
fn what_was_displaced_and_cannot_be_taken_in_is_reported_where_it_is_kept() {
    for mine in [&b"no JSON"[..], b"{\"id\": \"b\"}"] {
        let (disk, mut world, mut mirror) = with_a();
        let fs = Meddler::editing(&disk, move |disk| disk.save_now(A, mine).unwrap());
        let changed = [world.put("a", 2), world.put("b", 1)];
        world.pass(&mut mirror, &fs, &changed).unwrap();
        assert_kept(&disk, mine);
        let mut problems = Vec::new();
        assert_eq!(mirror.take_displaced(&disk, &mut problems).len(), 0, "b is not of that file");
        assert_eq!(kinds(&problems), [ProblemKind::Unreadable]);
        assert_eq!(problems[0].file, below(&disk, "conflicts/")[0]);
    }
}

#[test]
fn where_files_cannot_be_exchanged_or_the_place_was_free_the_quicker_person_keeps_it() {
    for is_new in [false, true] {
        let (disk, mut world, mut mirror) =
            if is_new { (disk(), World::default(), Mirror::default()) } else { with_a() };
        let fs = Meddler {
            no_exchange: true,
            ..Meddler::editing(&disk, |disk| disk.save_now(A, MINE).unwrap())
        };
        let changed = [world.put("a", 2)];
        assert_eq!(world.pass(&mut mirror, &fs, &changed).unwrap(), vec![]);
        assert_left(&mut world, &mut mirror, &disk, MINE);
        assert_eq!(texts(&world.find(&mut mirror, &disk).edits), [(A, Some(MINE_TEXT))]);
    }
}

#[test]
fn what_was_found_by_a_change_that_failed_afterwards_is_reported_with_the_next() {
    let (disk, mut world, mut mirror) = with_a();
    let fs = Meddler::editing(&disk, |disk| disk.save_now(A, MINE).unwrap());
    disk.fail_when(CallKind::Link, 1, Fault::Error(std::io::ErrorKind::StorageFull));
    let changed = [world.put("a", 2)];
    assert!(world.pass(&mut mirror, &fs, &changed).is_err(), "what was displaced is not kept yet");
    disk.fail_when(CallKind::Write, 1, Fault::Error(std::io::ErrorKind::StorageFull));
    let changed = [world.put("a", 3)];
    assert!(world.pass(&mut mirror, &disk, &changed).is_err(), "now it is");
    assert_kept(&disk, MINE);
    let problems = world.pass(&mut mirror, &disk, &[]).unwrap();
    assert_eq!(kinds(&problems), [ProblemKind::Edited]);
    world.assert_shown(&mirror, &disk);
    assert_eq!(mirror.take_displaced(&disk, &mut Vec::new()).len(), 1);
}

#[test]
fn the_same_conflict_is_kept_once_and_nothing_in_conflicts_is_replaced() {
    let (disk, mut world, mut mirror) = with_a();
    let displace = |world: &mut World, mirror: &mut Mirror, version| {
        let fs = Meddler::editing(&disk, |disk| disk.save_now(A, MINE).unwrap());
        let changed = [world.put("a", version)];
        world.pass(mirror, &fs, &changed).unwrap();
    };
    for version in 2..4 {
        displace(&mut world, &mut mirror, version);
        assert_kept(&disk, MINE);
    }
    let kept = below(&disk, "conflicts/").remove(0);
    disk.save_now(&kept, b"edited there").unwrap();
    displace(&mut world, &mut mirror, 4);
    assert_eq!(disk.read_now(&kept).unwrap(), b"edited there");
    assert_eq!(below(&disk, "conflicts/").len(), 2);
}

#[test]
fn what_was_displaced_is_durable_in_conflicts_before_its_last_name_goes() {
    let (disk, mut world, mut mirror) = with_a();
    let fs = Meddler::editing(&disk, |disk| disk.save_now(A, MINE).unwrap());
    let before = disk.trace().len();
    let changed = [world.put("a", 2)];
    world.pass(&mut mirror, &fs, &changed).unwrap();
    let trace = disk.trace().split_off(before);
    let place = |call: &str| {
        let found = trace.iter().position(|made| made.starts_with(call));
        found.unwrap_or_else(|| panic!("{call}: {trace:#?}"))
    };
    let order = [
        place("write_back wal/mirror.part"),
        place("exchange"),
        place("sync wal/swap.tasks.a.json"),
        place("link wal/swap.tasks.a.json conflicts/"),
        place("sync conflicts/"),
        place("remove wal/swap.tasks.a.json"),
    ];
    assert!(order.is_sorted(), "{trace:#?}");
}

#[test]
fn a_person_who_removes_the_file_meanwhile_is_coped_with() {
    let (disk, mut world, mut mirror) = with_a();
    let fs = Meddler::editing(&disk, |disk| disk.remove_now(A).unwrap());
    let changed = [world.put("a", 2)];
    assert_eq!(world.pass(&mut mirror, &fs, &changed).unwrap(), vec![]);
    world.assert_shown(&mirror, &disk);
    disk.remove_now(A).unwrap();
    let changed = [world.delete("a")];
    assert_eq!(world.pass(&mut mirror, &disk, &changed).unwrap(), vec![]);
    world.assert_shown(&mirror, &disk);
}

#[test]
fn what_is_no_regular_file_is_left_alone_until_it_is_gone() {
    for kind in [Kind::Directory, Kind::Other] {
        for delete in [false, true] {
            let (disk, mut world, mut mirror) = with_a();
            disk.remove_now(A).unwrap();
            disk.plant_now(A, kind).unwrap();
            let changed = [if delete { world.delete("a") } else { world.put("a", 2) }];
            let problems = world.pass(&mut mirror, &disk, &changed).unwrap();
            assert_eq!(kinds(&problems), [ProblemKind::Unreadable]);
            assert_eq!(disk.stat(A).unwrap().unwrap().kind, kind);
            assert_eq!(mirror.behind(), 1);
            assert_eq!(world.pass(&mut mirror, &disk, &[]).unwrap(), vec![], "told once");
            if kind == Kind::Directory {
                continue;
            }
            disk.remove_now(A).unwrap();
            assert_eq!(world.pass(&mut mirror, &disk, &[]).unwrap(), vec![]);
            world.assert_shown(&mirror, &disk);
        }
    }
}

#[test]
#[cfg(feature = "testing")]
fn damage_that_a_person_removes_at_any_call_of_a_pass_is_coped_with() {
    use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
    for place in 1.. {
        let (disk, mut world, mut mirror) = with_a();
        disk.corrupt(A, 700, 1).unwrap();
        let calls = Arc::new(AtomicU64::new(0));
        let counted = calls.clone();
        let watched = crate::testing::Watched::at_all(&disk, move |disk| {
            if counted.fetch_add(1, Relaxed) + 1 == place {
                // It may be the new one that goes.
                let _ = disk.remove_now(A);
            }
        });
        let changed = [world.put("a", 2)];
        world.pass(&mut mirror, &watched, &changed).unwrap();
        assert!(below(&disk, "quarantine/").len() <= 1);
        if calls.load(Relaxed) < place {
            assert!(place > 20, "{place}");
            break;
        }
    }
}
