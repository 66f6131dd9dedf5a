//! The mirror as a cache: what need not be read, what has rotted, what is only laid out otherwise.

use super::*;
use crate::files::mirror::Entry;

/// A mirror of `a` (and of `b`), closed cleanly and recorded.
fn recorded() -> (SimFs, World) {
    let (disk, mut world, mut mirror) = with_a();
    let changed = [world.put("b", 1)];
    world.pass(&mut mirror, &disk, &changed).unwrap();
    mirror.sync(&disk).unwrap();
    record(&mut world, &mirror);
    (disk, world)
}

pub(super) fn record(world: &mut World, mirror: &Mirror) {
    world.entries = mirror.entries().into_iter().map(|entry| (entry.file.clone(), entry)).collect();
}

/// The calls that `act` makes.
pub(super) fn calls<T>(disk: &SimFs, act: impl FnOnce() -> T) -> (T, Vec<String>) {
    let before = disk.trace().len();
    let done = act();
    (done, disk.trace().split_off(before))
}

pub(super) fn reads(trace: &[String], file: &str) -> bool {
    trace.iter().any(|call| call.starts_with(&format!("read {file}")))
}

#[test]
fn an_entry_says_what_was_written_as_of_when_and_how_it_looks() {
    let (disk, world) = recorded();
    let entry = &world.entries[A];
    let stat = disk.stat(A).unwrap();
    let (hash, length) = (ContentHash::of(&shown("a", 1)), shown("a", 1).len() as u64);
    assert_eq!(*entry, Entry { file: A.to_owned(), hash, length, lsn: Lsn(9), stat });
    let mut world = world;
    let (mut mirror, _) = world.open(&disk, false);
    let changed = [world.put("a", 2), world.delete("b")];
    world.pass(&mut mirror, &disk, &changed).unwrap();
    let entries = mirror.entries();
    assert_eq!(entries.len(), 1, "what was removed has no entry");
    assert_eq!(entries[0].hash, ContentHash::of(&shown("a", 2)));
    assert_eq!(entries[0].stat, disk.stat(A).unwrap(), "an exchanged file's own");
}

#[test]
fn a_document_saved_again_as_it_was_is_shown_as_of_then_without_being_written() {
    let (disk, mut world) = recorded();
    let (mut mirror, _) = world.open(&disk, false);
    let changed = [world.put("a", 1)];
    assert_eq!(mirror.plan(&disk, changed, &world.table, Lsn(12), u64::MAX).unwrap(), vec![]);
    let lsns: Vec<_> = mirror.entries().iter().map(|entry| entry.lsn).collect();
    assert_eq!(lsns, [Lsn(12), Lsn(9)]);
}

#[test]
fn a_file_that_somebody_wrote_to_as_it_got_its_name_is_not_taken_for_untouched() {
    let (disk, mut world, mut mirror) = (disk(), World::default(), Mirror::default());
    let fs = Meddler::editing(&disk, |disk| {
        let mine = vec![b' '; shown("a", 1).len()];
        disk.write_now(names::MIRROR_PART, &mine).unwrap();
    });
    let changed = [world.put("a", 1)];
    world.pass(&mut mirror, &fs, &changed).unwrap();
    record(&mut world, &mirror);
    assert_eq!(world.entries[A].stat, None);
    assert_eq!(kinds(&world.open(&disk, false).1), [ProblemKind::Unreadable]);
}

#[test]
fn opening_a_hundred_thousand_files_after_a_clean_stop_reads_none() {
    const COUNT: usize = 100_000;
    let (disk, mut world) = (disk(), World::default());
    for n in 0..COUNT {
        let text = format!("{{\"id\": \"t{n}\"}}");
        disk.write_now(&format!("tasks/t{n}.json"), pretty(&text).as_bytes()).unwrap();
        let doc = Doc::new(Document::new(text), Lsn(1), false);
        world.table.load(TASK, &id(&format!("t{n}")), doc);
    }
    disk.write_now("wal/later", b"").unwrap();
    let (mirror, problems) = world.open(&disk, false);
    assert_eq!(problems, vec![]);
    record(&mut world, &mirror);
    let ((mut mirror, problems), trace) = calls(&disk, || world.open(&disk, false));
    assert_eq!(problems, vec![]);
    let stats = trace.iter().filter(|call| call.starts_with("stat tasks/")).count();
    let lists = trace.iter().filter(|call| call.starts_with("list ")).count();
    assert_eq!((stats, lists, trace.len()), (COUNT, 3, COUNT + 4), "one of them is of wal/");
    let changed: Vec<_> = (0..10).map(|n| world.put(&format!("t{}", n * 777), 2)).collect();
    let (problems, trace) = calls(&disk, || world.pass(&mut mirror, &disk, &changed).unwrap());
    assert_eq!(problems, vec![]);
    let exchanged = trace.iter().filter(|call| call.starts_with("exchange ")).count();
    assert_eq!(exchanged, 10);
    assert!(trace.len() <= 10 * 22, "{} calls for ten files", trace.len());
}

#[test]
fn a_stat_that_proves_nothing_is_settled_by_reading() {
    type Doubt = fn(&SimFs, &mut World);
    let doubts: [(&str, bool, bool, Doubt); 6] = [
        ("none", false, false, |_, _| {}),
        ("after an unclean stop", true, true, |_, _| {}),
        ("all is to be read", false, true, |_, world| world.reads_all = true),
        ("another file", false, true, |disk, _| disk.save_now(A, &shown("a", 1)).unwrap()),
        ("no stat", false, true, |_, world| world.entries.get_mut(A).unwrap().stat = None),
        ("an older state of the document", false, true, |_, world| {
            world.entries.get_mut(A).unwrap().lsn = Lsn(0);
        }),
    ];
    for (name, unclean, is_read, doubt) in doubts {
        let (disk, mut world) = recorded();
        doubt(&disk, &mut world);
        let ((mirror, problems), trace) = calls(&disk, || world.open(&disk, unclean));
        assert_eq!(problems, vec![], "{name}");
        assert_eq!(reads(&trace, A), is_read, "{name}");
        world.assert_shown(&mirror, &disk);
    }
}

#[test]
fn rot_is_quarantined_and_mended_and_never_an_edit() {
    for unclean in [false, true] {
        for at in [0, 5, 700] {
            let (disk, mut world) = recorded();
            world.reads_all = true;
            disk.corrupt(A, at, 0x10).unwrap();
            let rotten = disk.read_now(A).unwrap();
            let (mut mirror, problems) = world.open(&disk, unclean);
            assert_eq!(kinds(&problems), [ProblemKind::Corrupt]);
            let is_damage = |entry: &Entry| entry.hash == ContentHash::of(&rotten);
            assert!(!mirror.entries().iter().any(is_damage), "it is no version of the engine's");
            assert_eq!(mirror.lagging([(TASK, &id("a"))]), vec![]);
            assert_eq!(world.pass(&mut mirror, &disk, &[]).unwrap(), vec![]);
            world.assert_shown(&mirror, &disk);
            let kept = below(&disk, "quarantine/");
            assert_eq!(disk.read_now(&kept[0]).unwrap(), rotten);
            assert_eq!((kept.len(), below(&disk, "conflicts/").len()), (1, 0));
        }
    }
}

#[test]
fn rot_that_is_met_while_the_store_is_open_is_quarantined_too() {
    for delete in [false, true] {
        let (disk, mut world) = recorded();
        let (mut mirror, problems) = world.open(&disk, false);
        assert_eq!(problems, vec![]);
        disk.corrupt(A, 700, 1).unwrap();
        let changed = [if delete { world.delete("a") } else { world.put("a", 2) }];
        let problems = world.pass(&mut mirror, &disk, &changed).unwrap();
        assert_eq!(kinds(&problems), [ProblemKind::Corrupt]);
        world.assert_shown(&mirror, &disk);
        let kept = (below(&disk, "quarantine/").len(), below(&disk, "conflicts/").len());
        assert_eq!(kept, (1, 0));
    }
}

#[test]
fn a_crash_at_any_call_of_mending_rot_makes_no_edit_of_it() {
    let mut crashes = 0;
    for mode in [CrashMode::Nothing, CrashMode::Everything, CrashMode::Random(7)] {
        for call in 1.. {
            let (disk, mut world) = recorded();
            world.reads_all = true;
            disk.corrupt(A, 700, 1).unwrap();
            let rotten = disk.read_now(A).unwrap();
            let (mut mirror, _) = world.open(&disk, false);
            disk.fail_at(call, Fault::Crash);
            let _ = world.pass(&mut mirror, &disk, &[]);
            if !disk.has_stopped() {
                break;
            }
            crashes += 1;
            let after = disk.crash_with(&mode);
            let (mut mirror, problems) = world.open(&after, true);
            let may_be = |problem: &Problem| problem.kind == ProblemKind::Corrupt;
            assert!(problems.iter().all(may_be), "{mode:?} at {call}: {problems:?}");
            assert_eq!(world.pass(&mut mirror, &after, &[]).unwrap(), vec![]);
            world.assert_shown(&mirror, &after);
            assert_eq!(below(&after, "conflicts/"), Vec::<String>::new());
            let kept = below(&after, "quarantine/");
            assert_eq!(kept.len(), 1, "{mode:?} at {call}: {:?}", after.names());
            assert_eq!(after.read_now(&kept[0]).unwrap(), rotten);
        }
    }
    assert!(crashes > 30, "{crashes}");
}

#[test]
fn a_file_that_is_only_laid_out_otherwise_is_in_place_until_its_document_changes() {
    let compact = text("a", 1).replace(": ", ":").into_bytes();
    let crlf = String::from_utf8(shown("a", 1)).unwrap().replace('\n', "\r\n").into_bytes();
    for contents in [compact, crlf] {
        for unclean in [false, true] {
            let (disk, mut world) = recorded();
            disk.save_now(A, &contents).unwrap();
            // Known by its recorded contents, at the second opening.
            for _ in 0..2 {
                let (mut mirror, problems) = world.open(&disk, unclean);
                assert_eq!((problems, mirror.behind()), (vec![], 0));
                assert_eq!(world.pass(&mut mirror, &disk, &[]).unwrap(), vec![]);
                assert_eq!(disk.read_now(A).unwrap(), contents);
                record(&mut world, &mirror);
            }
            let (mut mirror, _) = world.open(&disk, unclean);
            let changed = [world.put("a", 2)];
            assert_eq!(world.pass(&mut mirror, &disk, &changed).unwrap(), vec![]);
            world.assert_shown(&mirror, &disk);
            assert_eq!(below(&disk, "conflicts/"), Vec::<String>::new());
        }
    }
}

#[test]
fn white_space_within_a_string_is_an_edit() {
    let (disk, mut world) = recorded();
    let edited = "{\"id\": \"a\", \"version\": 1 }".to_owned();
    let doc = Doc::new(Document::new("{\"id\": \"a\", \"note\": \"x y\"}"), Lsn(1), false);
    world.table.load(TASK, &id("a"), doc);
    for text in [edited.as_str(), "{\"id\": \"a\", \"note\": \"x  y\"}"] {
        disk.save_now(A, text.as_bytes()).unwrap();
        assert_eq!(kinds(&world.open(&disk, false).1), [ProblemKind::Edited]);
    }
}

#[test]
fn a_hundred_thousand_foreign_files_cost_few_calls_each_and_are_reported_briefly() {
    const COUNT: usize = 100_000;
    let (disk, world) = recorded();
    for n in 0..COUNT {
        // No document, and one whose id has its file.
        let contents: &[u8] = if n % 2 == 0 { b"{}" } else { b"{\"id\": \"a\"}" };
        disk.write_now(&format!("tasks/foreign{n:06}.json"), contents).unwrap();
    }
    for unclean in [false, true] {
        let ((mut mirror, problems), trace) = calls(&disk, || world.open(&disk, unclean));
        assert!(trace.len() < COUNT * 5, "{} calls", trace.len());
        assert_eq!((problems.len(), mirror.behind(), mirror.edits.len()), (101, 0, 0));
        let found = [ProblemKind::Unreadable, ProblemKind::Edited].repeat(50);
        assert_eq!(kinds(&problems[..100]), found);
        assert_eq!(problems[99].file, "tasks/foreign000099.json");
        assert_eq!(problems[100].file, "tasks");
        assert!(problems[100].detail.starts_with("99900 more"), "{}", problems[100]);
        let (seen, trace) = calls(&disk, || world.look(&mut mirror, &disk, 0));
        assert_eq!((seen.problems.len(), seen.edits.len()), (0, 0), "told once");
        assert!(trace.len() < COUNT + 20, "only looked at: {} calls", trace.len());
    }
    let (mut mirror, _) = world.open(&disk, false);
    mirror.strangers.clear();
    let (mut seen, trace) = calls(&disk, || world.look(&mut mirror, &disk, 0));
    assert!(trace.len() < COUNT * 5, "{} calls", trace.len());
    seen.problems.extend(world.look(&mut mirror, &disk, 60).problems);
    assert_eq!((seen.problems.len(), seen.edits.len()), (101, 0), "while the store is open too");
}

#[test]
fn a_deleted_documents_file_that_a_person_brought_back_creates_it_again() {
    for unclean in [false, true] {
        let (disk, mut world) = recorded();
        world.delete("a");
        let (mut mirror, problems) = world.open(&disk, unclean);
        let edits = mirror.take_edits();
        if unclean {
            // The crash may have come before the engine removed it.
            assert_eq!((problems, edits.len()), (vec![], 0));
            world.pass(&mut mirror, &disk, &[]).unwrap();
            assert_eq!(disk.read_now(A), None);
        } else {
            assert_eq!(kinds(&problems), [ProblemKind::Edited]);
            let text = String::from_utf8(shown("a", 1)).unwrap();
            assert_eq!(texts(&edits), [(A, Some(text.trim()))]);
        }
    }
}

#[test]
fn an_empty_file_that_the_engine_never_made_is_left() {
    let (disk, mut world) = recorded();
    disk.write_now("tasks/todo.json", b"").unwrap();
    let (mut mirror, problems) = world.open(&disk, true);
    assert_eq!(kinds(&problems), [ProblemKind::Unreadable]);
    world.pass(&mut mirror, &disk, &[]).unwrap();
    assert_eq!(disk.read_now("tasks/todo.json").unwrap(), b"");
    disk.write_now("tasks/todo.json", b"{\"id\": \"todo\"}").unwrap();
    let seen = world.find(&mut mirror, &disk);
    assert_eq!(texts(&seen.edits), [("tasks/todo.json", Some("{\"id\": \"todo\"}"))]);
}

#[test]
fn what_somebody_writes_is_no_rot_though_the_same_bytes_are_in_quarantine() {
    let (disk, mut world) = recorded();
    world.put("a", 2);
    disk.write_now(&names::quarantine(A, ContentHash::of(MINE), 0), MINE).unwrap();
    disk.write_now(A, MINE).unwrap();
    let (mut mirror, problems) = world.open(&disk, true);
    assert_eq!(kinds(&problems), [ProblemKind::Edited]);
    assert_eq!(texts(&mirror.take_edits()), [(A, Some(MINE_TEXT))]);
}

#[test]
fn what_the_file_of_a_deleted_document_shows_is_remembered_before_it_goes() {
    let (disk, mut world) = recorded();
    world.delete("a");
    let (mut mirror, _) = world.open(&disk, true);
    let text = String::from_utf8(shown("a", 1)).unwrap();
    assert_eq!(mirror.take_former(), [(TASK, id("a"), text.trim().to_owned())]);
}
