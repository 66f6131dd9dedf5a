//! Crashes and errors at every call of a pass.

use super::*;

fn modes() -> impl Iterator<Item = CrashMode> {
    [CrashMode::Nothing, CrashMode::Everything].into_iter().chain((0..8).map(CrashMode::Random))
}

/// A synced mirror of a, b and t; then a changes twice, b goes, T and c come.
fn pass_with_everything(
    disk: &SimFs,
    no_write_back: bool,
    edit: impl Fn(&SimFs),
) -> (World, Result<Vec<Problem>>) {
    let fs = &Meddler { no_write_back, ..Meddler::on(disk) };
    let (mut world, mut mirror) = (World::default(), Mirror::default());
    let changed = [world.put("a", 1), world.put("b", 1), world.put("t", 1)];
    world.pass(&mut mirror, fs, &changed).unwrap();
    mirror.sync(fs).unwrap();
    edit(disk);
    let changed = [world.put("a", 2), world.delete("b"), world.put("T", 1), world.put("c", 1)];
    let first = world.pass(&mut mirror, fs, &changed);
    let changed = [world.put("a", 3)];
    let second = world.pass(&mut mirror, fs, &changed);
    let synced = mirror.sync(fs).map(|()| Vec::new());
    (world, first.and(second).and(synced))
}

/// How many calls come before the passes that are tested.
fn calls_before(no_write_back: bool) -> u64 {
    let disk = disk();
    let calls = std::cell::Cell::new(0);
    pass_with_everything(&disk, no_write_back, |disk| calls.set(disk.calls())).1.unwrap();
    calls.get()
}

/// Crashes everywhere; says how many crashes there were and how many files they tore.
fn crash_everywhere(no_write_back: bool) -> (usize, usize) {
    let (before, mut crashes, mut torn) = (calls_before(no_write_back), 0, 0);
    for mode in modes() {
        for call in 1.. {
            let disk = disk();
            disk.fail_at(before + call - disk.calls(), Fault::Crash);
            let (mut world, _) = pass_with_everything(&disk, no_write_back, |_| {});
            if !disk.has_stopped() {
                break;
            }
            crashes += 1;
            let after = disk.crash_with(&mode);
            let (mut mirror, problems) = world.open(&after, true);
            let found = kinds(&problems);
            torn += found.len();
            assert!(found.iter().all(|kind| *kind == ProblemKind::Torn), "{mode:?} {problems:?}");
            let problems = world.pass(&mut mirror, &after, &[]).unwrap();
            assert_eq!(problems, vec![], "{mode:?} at {call}");
            world.assert_shown(&mirror, &after);
            assert_eq!(below(&after, "conflicts/"), Vec::<String>::new());
            assert_eq!(below(&after, "tasks/").len(), 4, "{:?}", after.names());
        }
    }
    (crashes, torn)
}

#[test]
fn after_a_crash_at_any_call_nothing_of_the_engines_is_taken_for_a_persons() {
    let (crashes, _) = crash_everywhere(false);
    assert!(crashes > 10 * 40, "{crashes}");
}

#[test]
fn the_same_holds_where_contents_reach_the_medium_after_their_names() {
    let (crashes, torn) = crash_everywhere(true);
    assert!(crashes > 10 * 40 && torn > 50, "{crashes} crashes, {torn} torn");
}

#[test]
fn after_a_crash_at_any_call_what_people_wrote_is_there_whole() {
    let before = calls_before(false);
    let edits = [
        (A, "{\"id\": \"a\", \"mine\": 1}"),
        ("tasks/b.json", "{\"id\": \"b\", \"mine\": 2}"),
        ("tasks/c.json", "no JSON"),
    ];
    let mut crashes = 0;
    for mode in modes() {
        for call in 1.. {
            let disk = disk();
            disk.fail_at(before + call - disk.calls(), Fault::Crash);
            let (mut world, _) = pass_with_everything(&disk, false, |disk| {
                for (file, text) in edits {
                    disk.save_now(file, text.as_bytes()).unwrap();
                }
                disk.save_now("tasks/note.json", b"mine alone").unwrap();
            });
            if !disk.has_stopped() {
                break;
            }
            crashes += 1;
            let after = disk.crash_with(&mode);
            let (mut mirror, _) = world.open(&after, true);
            world.pass(&mut mirror, &after, &[]).unwrap();
            for (file, text) in edits {
                let stem = file.strip_prefix("tasks/").and_then(|name| name.strip_suffix(".json"));
                let kept = below(&after, &format!("conflicts/{}~", stem.unwrap()));
                let whole = |file: &str| after.read_now(file).as_deref() == Some(text.as_bytes());
                assert!(
                    whole(file) || kept.iter().any(|kept| whole(kept)),
                    "{mode:?} at {call}: {file} {:?}",
                    after.names()
                );
            }
            assert_eq!(after.read_now("tasks/note.json").unwrap(), b"mine alone");
            assert_eq!(below(&after, "wal/"), Vec::<String>::new());
            assert!(below(&after, "conflicts/").len() <= 3);
        }
    }
    assert!(crashes > 10 * 40, "{crashes}");
}

#[test]
fn after_an_error_at_any_call_the_next_pass_completes_it() {
    let before = calls_before(false);
    for call in 1.. {
        let disk = disk();
        let (mut world, mut mirror) = (World::default(), Mirror::default());
        let changed = [world.put("a", 1), world.put("b", 1), world.put("t", 1)];
        world.pass(&mut mirror, &disk, &changed).unwrap();
        mirror.sync(&disk).unwrap();
        assert_eq!(disk.calls(), before);
        disk.fail_at(call, Fault::Error(std::io::ErrorKind::StorageFull));
        let changed = [world.put("a", 2), world.delete("b"), world.put("T", 1), world.put("c", 1)];
        let _ = world.pass(&mut mirror, &disk, &changed);
        if disk.faults_fired() == 0 {
            break;
        }
        // The error may have come before the plan took the changes in.
        assert_eq!(world.pass(&mut mirror, &disk, &changed).unwrap(), vec![], "call {call}");
        world.assert_shown(&mirror, &disk);
        assert_eq!(below(&disk, "conflicts/"), Vec::<String>::new());
    }
}
