//! People who are at the files while an opening looks at them: between the listing that it took ahead and its
//! judgement, and between any two of its calls.

use super::cache::record;
use super::*;

const MINE_FILE: &str = "tasks/mine.json";
type Act = fn(&SimFs);
/// What documents become: their text, or `None` for one that is deleted.
type Wanted = Vec<(&'static str, Option<&'static str>)>;

/// A mirror of `a`, `b` and `c`, as a clean stop recorded it.
fn recorded() -> (SimFs, World) {
    let (disk, mut world, mut mirror) = with_a();
    let changed = [world.put("b", 1), world.put("c", 1)];
    world.pass(&mut mirror, &disk, &changed).unwrap();
    mirror.sync(&disk).unwrap();
    disk.write_now("wal/later", b"").unwrap();
    let (mirror, _) = world.open(&disk, false);
    record(&mut world, &mirror);
    (disk, world)
}

/// Takes in what an opening found, lets the engine write what it wants to, then takes in what looks find, as
/// the keeper does. Gives what all of these say of documents.
fn followed(world: &mut World, disk: &SimFs, mirror: &mut Mirror) -> Vec<(String, Option<String>)> {
    let mut all = Vec::new();
    let mut take_in = |world: &mut World, mirror: &mut Mirror, edits: Vec<Edit>| {
        for edit in &edits {
            let text = texts(std::slice::from_ref(edit))[0].1.map(str::to_owned);
            all.push((edit.id.to_string(), text));
            world.take_in(mirror, edit);
        }
        let changed: Vec<_> = edits.iter().map(|edit| (TASK, edit.id.clone())).collect();
        assert_eq!(world.pass(mirror, disk, &changed).unwrap(), vec![]);
    };
    let edits = mirror.take_edits();
    take_in(world, mirror, edits);
    for ms in [10_000, 10_100, 12_000] {
        let edits = world.look(mirror, disk, ms).edits;
        take_in(world, mirror, edits);
    }
    all
}

/// What people may do to the file of `a`, and what the engine must make of it.
fn acts() -> Vec<(&'static str, Act, Wanted)> {
    let mine = || vec![("a", Some(MINE_TEXT))];
    vec![
        ("written to", |disk| disk.write_now(A, MINE).unwrap(), mine()),
        ("saved", |disk| disk.save_now(A, MINE).unwrap(), mine()),
        ("removed", |disk| disk.remove_now(A).unwrap(), vec![("a", None)]),
        (
            "renamed",
            |disk| {
                disk.remove_now(A).unwrap();
                disk.save_now(MINE_FILE, MINE).unwrap();
            },
            mine(),
        ),
        (
            "removed and saved",
            |disk| {
                disk.remove_now(A).unwrap();
                disk.save_now(A, MINE).unwrap();
            },
            mine(),
        ),
        ("saved as it was", |disk| disk.save_now(A, &disk.read_now(A).unwrap()).unwrap(), vec![]),
        (
            "another one made",
            |disk| disk.save_now("tasks/new.json", b"{\"id\": \"new\"}").unwrap(),
            vec![("new", Some("{\"id\": \"new\"}"))],
        ),
    ]
}

/// Checks that exactly `wanted` was taken in, and that nothing was lost or set aside.
fn assert_taken(
    why: &str,
    world: &World,
    (disk, mirror): (&SimFs, &Mirror),
    found: &[(String, Option<String>)],
    wanted: &[(&str, Option<&str>)],
) {
    let found: Vec<_> = found.iter().map(|(id, text)| (id.as_str(), text.as_deref())).collect();
    assert_eq!(found, wanted, "{why}");
    assert_eq!(below(disk, "quarantine/"), [""; 0], "{why}");
    assert_eq!(mirror.behind(), 0, "{why}");
    for (name, text) in wanted {
        let in_force = world.table.get(TASK, name).map(|doc| doc.text().to_string());
        assert_eq!(in_force.as_deref(), *text, "{why}");
    }
}

#[test]
fn what_people_do_between_the_listing_and_the_judging_is_neither_lost_nor_reverted() {
    for unclean in [false, true] {
        for (name, act, wanted) in acts() {
            let (disk, mut world) = recorded();
            let listing = Listing::take(&disk).unwrap();
            act(&disk);
            let (mut mirror, problems) = world.open_listed(&disk, unclean, Some(listing));
            let why = format!("{name}, unclean: {unclean}: {problems:?}");
            let found = followed(&mut world, &disk, &mut mirror);
            assert_taken(&why, &world, (&disk, &mirror), &found, &wanted);
        }
    }
}

#[test]
fn a_file_that_is_back_when_it_is_judged_deletes_nothing() {
    for unclean in [false, true] {
        for contents in [MINE, &shown("a", 1)] {
            let (disk, mut world) = recorded();
            disk.remove_now(A).unwrap();
            let listing = Listing::take(&disk).unwrap();
            disk.save_now(A, contents).unwrap();
            let (mut mirror, problems) = world.open_listed(&disk, unclean, Some(listing));
            let why = format!("unclean: {unclean}: {problems:?}");
            let wanted = if contents == MINE { vec![("a", Some(MINE_TEXT))] } else { vec![] };
            let found = followed(&mut world, &disk, &mut mirror);
            assert_taken(&why, &world, (&disk, &mirror), &found, &wanted);
        }
    }
}

#[test]
#[cfg(feature = "testing")]
fn what_people_do_at_any_call_of_an_opening_is_neither_lost_nor_reverted() {
    use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
    for unclean in [false, true] {
        for (name, act, wanted) in acts() {
            for place in 1.. {
                let (disk, mut world) = recorded();
                let calls = Arc::new(AtomicU64::new(0));
                let counted = calls.clone();
                let watched = crate::testing::Watched::at_all(&disk, move |disk| {
                    if counted.fetch_add(1, Relaxed) + 1 == place {
                        act(disk);
                    }
                });
                let (mut mirror, problems) = world.open(&watched, unclean);
                if calls.load(Relaxed) < place {
                    assert!(place > 6, "{place}");
                    break;
                }
                let why = format!("{name} at {place}, unclean: {unclean}: {problems:?}");
                let found = followed(&mut world, &disk, &mut mirror);
                assert_taken(&why, &world, (&disk, &mirror), &found, &wanted);
            }
        }
    }
}

#[test]
fn a_listing_of_an_unchanged_directory_is_used_and_any_other_is_not() {
    let disk_calls = |disk: &SimFs, world: &World, listing: Listing| {
        let (_, trace) =
            super::cache::calls(disk, || world.open_listed(disk, false, Some(listing)));
        trace.iter().filter(|call| call.starts_with("list tasks")).count()
    };
    let (disk, world) = recorded();
    let listing = Listing::take(&disk).unwrap();
    assert_eq!(disk_calls(&disk, &world, listing), 0);
    let listing = Listing::take(&disk).unwrap();
    disk.save_now("tasks/z.json", b"{}").unwrap();
    assert_eq!(disk_calls(&disk, &world, listing), 1);
    // In the same tick a change would not show.
    disk.set_clock_stands_still(true);
    disk.save_now("tasks/y.json", b"{}").unwrap();
    disk.write_now("wal/latest", b"").unwrap();
    let listing = Listing::take(&disk).unwrap();
    assert_eq!(disk_calls(&disk, &world, listing), 1);
}

#[test]
fn a_name_that_a_listing_gives_twice_hides_no_file_that_is_missing() {
    for listed_ahead in [false, true] {
        let (disk, mut world) = recorded();
        world.synced = Lsn(9);
        disk.remove_now("tasks/b.json").unwrap();
        let fs = Meddler { lists_twice: true, ..Meddler::on(&disk) };
        let listing = listed_ahead.then(|| Listing::take(&fs).unwrap());
        let (mut mirror, _) = world.open_listed(&fs, false, listing);
        assert_eq!(texts(&mirror.take_edits()), [("tasks/b.json", None)]);
        assert_eq!(mirror.strangers.len(), 0);
    }
}

#[test]
#[cfg(feature = "testing")]
fn a_file_that_is_back_at_any_call_before_its_document_is_deleted_deletes_nothing() {
    use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
    // Before the call of this number it is back; gives how many calls there were, and after which one it was last
    // looked for.
    let opened = |place: u64| {
        let (disk, mut world) = recorded();
        disk.remove_now(A).unwrap();
        let counts = Arc::new((AtomicU64::new(0), AtomicU64::new(0)));
        let counted = counts.clone();
        let watched = crate::testing::Watched::at_all(&disk, move |disk| {
            let call = counted.0.fetch_add(1, Relaxed) + 1;
            if disk.trace().last().is_some_and(|last| last.starts_with("stat tasks/a.json")) {
                counted.1.store(call - 1, Relaxed);
            }
            if call == place {
                disk.save_now(A, MINE).unwrap();
            }
        });
        let (mut mirror, _) = world.open(&watched, false);
        let found = followed(&mut world, &disk, &mut mirror);
        (found, counts.0.load(Relaxed), counts.1.load(Relaxed))
    };
    let (found, calls, looked_for) = opened(u64::MAX);
    assert_eq!(found, [("a".to_owned(), None)]);
    assert!(looked_for > 3 && looked_for < calls, "at {looked_for} of {calls}");
    for place in 1..=looked_for {
        assert_eq!(opened(place).0, [("a".to_owned(), Some(MINE_TEXT.to_owned()))], "at {place}");
    }
}

/// How an opening finds the store.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg(feature = "testing")]
enum Stopped {
    Cleanly,
    Killed,
    /// Before the file of `a` came to show it.
    Behind,
    /// Before the file of `a`, which was deleted, was removed.
    Deleted,
}

#[cfg(feature = "testing")]
const STOPS: [Stopped; 4] = [Stopped::Cleanly, Stopped::Killed, Stopped::Behind, Stopped::Deleted];

/// Opens while the `nth` `stat` of the file of `a`, by its name or as it is read, fails, and `act` comes before the
/// call of a number; `None` if there were fewer of either.
#[cfg(feature = "testing")]
fn opened_where_a_stat_fails(
    (nth, place): (u64, u64),
    stopped: Stopped,
    act: Act,
) -> Option<(SimFs, World, (Mirror, Vec<Problem>))> {
    use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
    let (disk, mut world) = recorded();
    world.reads_all = true;
    match stopped {
        Stopped::Cleanly | Stopped::Killed => {}
        Stopped::Behind => {
            let doc = Doc::new(Document::new(text("a", 2)), Lsn(12), false);
            world.table.load(TASK, &id("a"), doc);
        }
        Stopped::Deleted => drop(world.delete("a")),
    }
    disk.fail_path(A, CallKind::Stat, nth, Fault::Errno(5));
    let calls = Arc::new(AtomicU64::new(0));
    let counted = calls.clone();
    let watched = crate::testing::Watched::at_all(&disk, move |disk| {
        if counted.fetch_add(1, Relaxed) + 1 == place {
            act(disk);
        }
    });
    let opened = world.open(&watched, stopped != Stopped::Cleanly);
    let is_there = disk.faults_fired() > 0 && calls.load(Relaxed) >= place;
    disk.clear_faults();
    is_there.then_some((disk, world, opened))
}

#[test]
#[cfg(feature = "testing")]
fn what_somebody_wrote_as_a_stat_failed_is_no_rot() {
    let mut tried = 0;
    for (stop, nth, place) in STOPS
        .into_iter()
        .flat_map(|stop| (1..=4).flat_map(move |nth| (1..40).map(move |place| (stop, nth, place))))
    {
        for (name, act, wanted) in acts().into_iter().take(2) {
            let opened = opened_where_a_stat_fails((nth, place), stop, act);
            let Some((disk, mut world, (mut mirror, problems))) = opened else { continue };
            let is_unread =
                problems.iter().any(|problem| problem.detail.contains("cannot be read"));
            if is_unread && stop == Stopped::Deleted {
                // What belongs to no document and cannot be read is told, and left until it changes.
                continue;
            }
            let why = format!("{name} at {place}, stat {nth} failed, {stop:?}");
            let found = followed(&mut world, &disk, &mut mirror);
            assert_taken(&why, &world, (&disk, &mirror), &found, &wanted);
            tried += 1;
        }
    }
    assert!(tried > 100, "{tried}");
}

#[test]
#[cfg(feature = "testing")]
fn rot_is_no_edit_though_a_stat_failed() {
    let (mut tried, mut undecided) = (0, 0);
    for (stop, nth) in STOPS.into_iter().flat_map(|stop| (1..=4).map(move |nth| (stop, nth))) {
        let why = format!("stat {nth} failed, {stop:?}");
        let rot: Act = |disk| disk.corrupt(A, 700, 1).unwrap();
        let opened = opened_where_a_stat_fails((nth, 1), stop, rot);
        let Some((disk, mut world, (mut mirror, problems))) = opened else { continue };
        if problems.iter().any(|problem| problem.detail.contains("cannot be read")) {
            continue;
        }
        assert_eq!(texts(&mirror.take_edits()), [], "{why}");
        let is_undecided = mirror.looks_again().contains(A);
        for ms in [10_000, 12_000] {
            assert_eq!(texts(&world.look(&mut mirror, &disk, ms).edits), [], "{why}");
        }
        // At the latest when its document changes it is mended.
        let changed = [world.put("a", 3)];
        let told = world.pass(&mut mirror, &disk, &changed).unwrap();
        assert_eq!((disk.read_now(A).unwrap(), mirror.behind()), (shown("a", 3), 0), "{why}");
        let kept = (below(&disk, "quarantine/").len(), below(&disk, "conflicts/").len());
        assert_eq!(kept, (1, 0), "{why}");
        assert_eq!(kinds(&told) == [ProblemKind::Corrupt], is_undecided, "{why}");
        undecided += usize::from(is_undecided);
        tried += 1;
    }
    assert!(tried > undecided && undecided == 8, "{undecided} of {tried}");
}
