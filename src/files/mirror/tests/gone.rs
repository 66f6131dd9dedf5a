//! Files that are gone while the store is open: which deletions are believed.

use super::*;

/// A mirror of `count` documents, `t0` and so on.
fn with_many(count: usize) -> (SimFs, World, Mirror) {
    let (disk, mut world, mut mirror) = (disk(), World::default(), Mirror::default());
    let changed: Vec<_> = (0..count).map(|n| world.put(&format!("t{n}"), 1)).collect();
    world.pass(&mut mirror, &disk, &changed).unwrap();
    (disk, world, mirror)
}

#[test]
fn a_removed_file_deletes_its_document_when_it_has_been_gone_for_a_second() {
    for is_named in [false, true] {
        let (disk, mut world, mut mirror) = with_many(2);
        let file = is_named.then_some("tasks/t0.json");
        disk.remove_now("tasks/t0.json").unwrap();
        for ms in [0, 500, 999] {
            assert_eq!(world.look_at(&mut mirror, &disk, ms, file).edits.len(), 0, "at {ms}");
            assert_eq!(mirror.looks_again(), BTreeSet::from(["tasks/t0.json".to_owned()]));
        }
        let seen = world.look_at(&mut mirror, &disk, 1000, file);
        assert_eq!((texts(&seen.edits), seen.problems), (vec![("tasks/t0.json", None)], vec![]));
        world.take_in(&mut mirror, &seen.edits[0]);
        assert_eq!(world.pass(&mut mirror, &disk, &[(TASK, id("t0"))]).unwrap(), vec![]);
        world.assert_shown(&mirror, &disk);
        assert_eq!((mirror.entries().len(), mirror.looks_again().len()), (1, 0));
        assert_eq!(world.find(&mut mirror, &disk).edits.len(), 0);
    }
}

#[test]
fn a_file_that_is_missing_while_an_editor_replaces_it_is_not_deleted() {
    let (disk, world, mut mirror) = with_many(2);
    let file = "tasks/t0.json";
    disk.remove_now(file).unwrap();
    assert_eq!(world.look(&mut mirror, &disk, 0).edits.len(), 0);
    disk.save_now(file, &shown("t0", 1)).unwrap();
    assert_eq!(world.look(&mut mirror, &disk, 900).edits.len(), 0);
    assert_eq!(mirror.looks_again(), BTreeSet::new());
    disk.remove_now(file).unwrap();
    assert_eq!(world.look(&mut mirror, &disk, 1500).edits.len(), 0, "gone anew");
    assert_eq!(world.look(&mut mirror, &disk, 2500).edits.len(), 1);
}

#[test]
fn while_a_file_is_awaited_back_the_others_are_not_looked_at_over_and_over() {
    let (disk, world, mut mirror) = with_many(50);
    disk.remove_now("tasks/t0.json").unwrap();
    world.look(&mut mirror, &disk, 0);
    let before = disk.trace().len();
    for ms in (50..1000).step_by(50) {
        world.look_at(&mut mirror, &disk, ms, Some("tasks/t0.json"));
    }
    assert!(disk.trace().len() - before < 50, "{}", disk.trace().len() - before);
    assert_eq!(world.look_at(&mut mirror, &disk, 1000, Some("tasks/t0.json")).edits.len(), 1);
}

#[test]
fn too_many_removals_at_once_are_restored_and_told_as_one() {
    // Of documents, removed: believed?
    for (count, removed, is_believed) in
        [(1, 1, false), (50, 50, false), (150, 100, true), (150, 101, false), (1200, 120, true)]
    {
        let (disk, mut world, mut mirror) = with_many(count);
        for n in 0..removed {
            disk.remove_now(&format!("tasks/t{n}.json")).unwrap();
        }
        let seen = world.find(&mut mirror, &disk);
        assert_eq!(seen.edits.len(), if is_believed { removed } else { 0 }, "{removed} of {count}");
        if !is_believed {
            assert_eq!(kinds(&seen.problems), [ProblemKind::Missing]);
            assert_eq!(seen.problems[0].file, "tasks");
            assert_eq!(world.pass(&mut mirror, &disk, &[]).unwrap(), vec![]);
            world.assert_shown(&mirror, &disk);
            assert_eq!(world.find(&mut mirror, &disk).problems, vec![]);
        }
    }
}

#[test]
fn a_file_beside_which_an_editors_lies_is_restored() {
    for editor in ["tasks/.t0.json.swp", "tasks/t0.json~", "tasks/#t0.json#", "tasks/t0.json.bak"] {
        let (disk, world, mut mirror) = with_many(2);
        disk.write_now(editor, b"an editor's").unwrap();
        disk.remove_now("tasks/t0.json").unwrap();
        let seen = world.find(&mut mirror, &disk);
        assert_eq!((seen.edits.len(), kinds(&seen.problems)), (0, vec![ProblemKind::Missing]));
        assert_eq!(mirror.behind(), 1, "{editor}");
    }
}

#[test]
fn a_document_whose_file_got_another_name_is_not_deleted_and_is_shown_in_its_own_again() {
    let (disk, mut world, mut mirror) = with_many(3);
    let mine = disk.read_now("tasks/t0.json").unwrap();
    disk.save_now("tasks/mine.json", &mine).unwrap();
    disk.remove_now("tasks/t0.json").unwrap();
    let seen = world.find(&mut mirror, &disk);
    assert_eq!((seen.edits.len(), seen.edits[0].file.as_str()), (1, "tasks/mine.json"));
    mirror.adopted(&seen.edits[0], Some(Lsn(1)));
    for _ in 0..2 {
        assert_eq!(world.pass(&mut mirror, &disk, &[]).unwrap(), vec![]);
        world.assert_shown(&mirror, &disk);
        assert_eq!(below(&disk, "tasks/").len(), 3);
        assert_eq!(world.find(&mut mirror, &disk).edits.len(), 0);
    }
}

#[test]
fn a_copy_that_was_left_alone_counts_when_the_file_of_its_id_is_removed() {
    let (disk, mut world, mut mirror) = with_many(3);
    disk.save_now("tasks/copy.json", b"{\"id\": \"t0\", \"copy\": true}").unwrap();
    assert_eq!(kinds(&world.find(&mut mirror, &disk).problems), [ProblemKind::Edited]);
    disk.remove_now("tasks/t0.json").unwrap();
    let mut edits = Vec::new();
    for ms in [20_000, 20_060, 21_100] {
        edits.extend(world.look(&mut mirror, &disk, ms).edits);
        for edit in &edits {
            world.take_in(&mut mirror, edit);
        }
    }
    assert_eq!(texts(&edits), [("tasks/copy.json", Some("{\"id\": \"t0\", \"copy\": true}"))]);
    assert_eq!(world.pass(&mut mirror, &disk, &[(TASK, id("t0"))]).unwrap(), vec![]);
    world.assert_shown(&mirror, &disk);
    assert_eq!(below(&disk, "tasks/").len(), 3);
}

#[test]
fn a_held_file_that_is_removed_is_written_anew() {
    let (disk, mut world, mut mirror) = with_many(2);
    let file = "tasks/t0.json";
    disk.save_now(file, b"{").unwrap();
    world.find(&mut mirror, &disk);
    disk.remove_now(file).unwrap();
    let seen = world.look(&mut mirror, &disk, 20_000);
    assert_eq!((seen.edits.len(), kinds(&seen.problems)), (0, vec![ProblemKind::Missing]));
    assert_eq!(world.pass(&mut mirror, &disk, &[]).unwrap(), vec![]);
    world.assert_shown(&mirror, &disk);
}

#[test]
fn a_held_file_of_a_deleted_document_that_is_removed_is_forgotten() {
    for is_named in [false, true] {
        let (disk, mut world, mut mirror) = with_many(2);
        let file = "tasks/t0.json";
        disk.save_now(file, b"{").unwrap();
        world.find(&mut mirror, &disk);
        let changed = [world.delete("t0")];
        assert_eq!(world.pass(&mut mirror, &disk, &changed).unwrap(), vec![]);
        disk.remove_now(file).unwrap();
        let seen = world.look_at(&mut mirror, &disk, 20_000, is_named.then_some(file));
        assert_eq!((seen.edits.len(), seen.problems.len(), mirror.held().count()), (0, 0, 0));
        assert_eq!(world.pass(&mut mirror, &disk, &[]).unwrap(), vec![]);
        world.assert_shown(&mirror, &disk);
    }
}
