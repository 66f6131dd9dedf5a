//! The tables of judging at opening, row by row.

use super::*;

/// A version that is known by its hash only.
const VERSION_0: &[u8] = b"{\"id\": \"a\", \"version\": 0}\n";

/// What the log says of a file that was written with these contents, one does not know of which LSN.
fn recorded(contents: &[u8]) -> Recorded {
    let mut recorded = Recorded::default();
    recorded.insert(ContentHash::of(contents), Lsn::ZERO);
    recorded
}

/// A disk whose mirror of `a`, at version 2, holds `contents`; version 1 is known by its text, 0 by
/// its hash only.
fn holding(contents: Option<&[u8]>) -> (SimFs, World) {
    let (disk, mut world) = (disk(), World::default());
    world.versions.insert(A.to_owned(), recorded(VERSION_0));
    world.put("a", 1);
    world.put("a", 2);
    disk.create_dir("tasks").unwrap();
    // So that not all files of the directory are missing.
    world.put("b", 1);
    disk.write_now("tasks/b.json", &shown("b", 1)).unwrap();
    if let Some(contents) = contents {
        disk.write_now(A, contents).unwrap();
    }
    (disk, world)
}

fn newline_left_out() -> Option<Vec<u8>> {
    VERSION_0.strip_suffix(b"\n").map(<[u8]>::to_vec)
}

/// What becomes of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// It is the engine's, and as it should be.
    InPlace,
    /// It is written anew.
    Due,
    /// It is taken in.
    Edit(PutBack),
    /// It is left until it changes.
    Held,
}

/// What opening finds, and what becomes of the file.
fn judged(contents: Option<&[u8]>, unclean: bool) -> (Vec<ProblemKind>, Fate) {
    let (disk, mut world) = holding(contents);
    let before = disk.names();
    let (mut mirror, problems) = world.open(&disk, unclean);
    assert_eq!(disk.names(), before, "opening changes nothing");
    assert_eq!(disk.read_now(A).as_deref(), contents);
    let edits = mirror.take_edits();
    let is_held = mirror.held().any(|file| file == A);
    let fate = match &edits[..] {
        [] if is_held => Fate::Held,
        [] if mirror.behind() > 0 => Fate::Due,
        [] => Fate::InPlace,
        [Edit { now: Now::Text(theirs), file, .. }] => {
            assert_eq!(file, A);
            assert_eq!(theirs.text.trim().as_bytes(), contents.unwrap().trim_ascii());
            Fate::Edit(theirs.put_back)
        }
        others => panic!("{others:?}"),
    };
    let changed = if fate == Fate::Due { vec![] } else { vec![world.put("a", 3)] };
    assert_eq!(world.pass(&mut mirror, &disk, &changed).unwrap(), vec![]);
    if matches!(fate, Fate::Due | Fate::InPlace) {
        world.assert_shown(&mirror, &disk);
    } else {
        assert_eq!(disk.read_now(A).as_deref(), contents, "left as it is");
    }
    assert_eq!(below(&disk, "conflicts/"), Vec::<String>::new());
    let quarantined = below(&disk, "quarantine/");
    match contents {
        Some(bytes) if kinds(&problems) == [ProblemKind::Torn] && bytes.iter().any(|b| *b != 0) => {
            assert_eq!(disk.read_now(&quarantined[0]).as_deref(), contents);
        }
        _ => assert_eq!(quarantined, Vec::<String>::new()),
    }
    (kinds(&problems), fate)
}

fn with_zeroes(mut bytes: Vec<u8>, sector: usize) -> Vec<u8> {
    bytes[sector * 512..(sector + 1) * 512].fill(0);
    bytes
}

/// A name, contents, and what is found after a clean and after an unclean stop.
type Row<'a> = (&'a str, Option<Vec<u8>>, Judged, Judged);
type Judged = (Vec<ProblemKind>, Fate);

/// What a crash can leave of a version of the engine's.
fn torn_rows() -> Vec<(&'static str, Vec<u8>)> {
    let mut torn = shown("a", 2);
    torn[700..1024].fill(0);
    vec![
        ("empty", vec![]),
        ("zeroes", vec![0; 9000]),
        ("cut", shown("a", 2)[..700].to_vec()),
        ("a zero sector", with_zeroes(shown("a", 2), 1)),
        ("a zero sector in an earlier version", with_zeroes(shown("a", 1), 0)),
        ("a torn sector", torn),
    ]
}

#[test]
fn a_documents_file_is_judged_as_the_table_says() {
    use ProblemKind::{Edited, Missing, Torn, Unreadable};
    let mixed = [&shown("a", 2)[..512], &shown("a", 1)[512..]].concat();
    let other_layout = text("a", 2).into_bytes();
    let held = || (vec![Unreadable], Fate::Held);
    let edit = |put_back| (vec![Edited], Fate::Edit(put_back));
    let (in_place, due) = (|| (vec![], Fate::InPlace), || (vec![], Fate::Due));
    let edits = (edit(PutBack::IfEarlier), edit(PutBack::No));
    let mut rows: Vec<Row<'_>> = vec![
        ("current", Some(shown("a", 2)), in_place(), in_place()),
        ("other white space", Some(other_layout), in_place(), in_place()),
        ("earlier by text", Some(shown("a", 1)), edit(PutBack::Yes), due()),
        ("earlier by hash", Some(VERSION_0.to_vec()), edit(PutBack::Yes), due()),
        ("the same without its last newline", newline_left_out(), edit(PutBack::Yes), due()),
        ("missing", None, (vec![Missing], Fate::Due), due()),
        ("two versions mixed", Some(mixed), edits.0.clone(), edits.1.clone()),
        ("longer than ours", Some([shown("a", 2), vec![0]].concat()), held(), held()),
        ("another document", Some(MINE.to_vec()), edits.0, edits.1),
        ("another id", Some(b"{\"id\": \"z\"}".to_vec()), held(), held()),
        ("no id", Some(b"{}".to_vec()), held(), held()),
        ("no JSON", Some(b"{\"id\": ".to_vec()), held(), held()),
        ("no UTF-8", Some(b"{\xff}".to_vec()), held(), held()),
    ];
    let torn = torn_rows().into_iter();
    rows.extend(torn.map(|(name, bytes)| (name, Some(bytes), held(), (vec![Torn], Fate::Due))));
    for (name, contents, clean, unclean) in rows {
        assert_eq!(judged(contents.as_deref(), false), clean, "{name}, clean");
        assert_eq!(judged(contents.as_deref(), true), unclean, "{name}, unclean");
    }
}

#[test]
fn a_file_that_opening_cannot_read_is_held_and_told_once() {
    for unclean in [false, true] {
        let (disk, world) = holding(Some(&shown("a", 2)));
        disk.spoil_now(A, ErrorKind::PermissionDenied).unwrap();
        let (mut mirror, problems) = world.open(&disk, unclean);
        assert_eq!(kinds(&problems), [ProblemKind::Unreadable]);
        assert_eq!(mirror.held().collect::<Vec<_>>(), [A]);
        assert_eq!(world.find(&mut mirror, &disk).problems, vec![]);
        assert_eq!(disk.read_now(A).unwrap(), shown("a", 2));
        disk.save_now(A, MINE).unwrap();
        let seen = world.find(&mut mirror, &disk);
        assert_eq!((texts(&seen.edits), seen.problems), (vec![(A, Some(MINE_TEXT))], vec![]));
        assert_eq!(mirror.held().count(), 0);
    }
}

#[test]
fn a_removed_file_deletes_its_document_only_if_it_was_there_durably_and_showed_it() {
    type Doubt = fn(&mut World, &SimFs);
    let doubts: [(&str, bool, Doubt); 6] = [
        ("none", true, |_, _| {}),
        ("no entry", false, |world, _| drop(world.entries.remove(A))),
        ("an older state", false, |world, _| world.entries.get_mut(A).unwrap().lsn = Lsn(0)),
        ("written after the sync", false, |world, _| {
            let changed = Mentions { changed: Lsn(40), ..Mentions::default() };
            world.mentions.insert(A.to_owned(), changed);
        }),
        ("an editor", false, |_, disk| disk.write_now("tasks/.a.json.swp", b"vim").unwrap()),
        ("a damaged store", false, |world, _| world.is_damaged = true),
    ];
    for (name, is_deleted, doubt) in doubts {
        for unclean in [false, true] {
            let (disk, mut world, mut mirror) = with_a();
            let changed = [world.put("b", 1)];
            world.pass(&mut mirror, &disk, &changed).unwrap();
            super::cache::record(&mut world, &mirror);
            world.synced = Lsn(30);
            disk.remove_now(A).unwrap();
            doubt(&mut world, &disk);
            let (mut mirror, problems) = world.open(&disk, unclean);
            let edits = mirror.take_edits();
            assert_eq!(texts(&edits), if is_deleted { vec![(A, None)] } else { vec![] }, "{name}");
            let found = if is_deleted { ProblemKind::Edited } else { ProblemKind::Missing };
            let is_told = is_deleted || !unclean;
            assert_eq!(kinds(&problems), [found][..usize::from(is_told)], "{name}");
            if !is_deleted {
                assert_eq!(world.pass(&mut mirror, &disk, &[]).unwrap(), vec![]);
                world.assert_shown(&mirror, &disk);
            }
        }
    }
}

#[test]
fn a_link_in_a_files_place_is_left_until_it_is_gone() {
    let (disk, mut world) = holding(None);
    disk.plant_now(A, Kind::Other).unwrap();
    let (mut mirror, problems) = world.open(&disk, true);
    assert_eq!(kinds(&problems), [ProblemKind::Unreadable]);
    world.pass(&mut mirror, &disk, &[]).unwrap();
    assert_eq!(disk.stat(A).unwrap().unwrap().kind, Kind::Other);
    disk.remove_now(A).unwrap();
    world.pass(&mut mirror, &disk, &[]).unwrap();
    world.assert_shown(&mirror, &disk);
}

#[test]
fn a_directory_that_is_gone_is_one_finding_and_is_restored() {
    for unclean in [false, true] {
        let (disk, mut world) = holding(None);
        disk.remove_now("tasks/b.json").unwrap();
        let (mut mirror, problems) = world.open(&disk, unclean);
        assert_eq!(problems.len(), usize::from(!unclean), "{problems:?}");
        world.pass(&mut mirror, &disk, &[]).unwrap();
        world.assert_shown(&mirror, &disk);
    }
}

/// A file, what is in it, what is told, and two answers.
type OrphanRow = (&'static str, Vec<u8>, Vec<ProblemKind>, bool, bool);

#[test]
fn a_file_of_no_document_is_removed_only_if_it_is_known_to_be_the_engines() {
    use ProblemKind::{Edited, Torn, Unreadable};
    let (gone, new) = ("tasks/gone.json", b"{\"id\": \"new\"}");
    // Of each: file, contents; findings, whether it is taken in and whether it stays, after an unclean stop.
    let rows: [OrphanRow; 13] = [
        (gone, shown("gone", 1), vec![], false, false),
        (gone, VERSION_0.to_vec(), vec![], false, false),
        (gone, newline_left_out().unwrap(), vec![], false, false),
        (gone, with_zeroes(shown("gone", 1), 1), vec![Torn], false, false),
        (gone, vec![], vec![Torn], false, false),
        (gone, b"{}".to_vec(), vec![Unreadable], false, true),
        (gone, b"{\"id\": \"gone\"}".to_vec(), vec![Edited], true, true),
        ("tasks/copy.json", shown("gone", 1), vec![Edited], true, true),
        ("tasks/copy of a.json", shown("a", 2), vec![Edited], false, true),
        ("tasks/any.json", new.to_vec(), vec![Edited], true, true),
        ("tasks/.a.json.swp", b"vim".to_vec(), vec![], false, true),
        ("tasks/new.json~", new.to_vec(), vec![], false, true),
        ("tasks/README.md", vec![], vec![Edited], false, true),
    ];
    for (file, contents, found, is_taken_in, stays) in rows {
        for unclean in [false, true] {
            let (disk, mut world) = holding(Some(&shown("a", 2)));
            world.put("gone", 1);
            world.delete("gone");
            world.versions.insert(gone.to_owned(), recorded(VERSION_0));
            disk.write_now(file, &contents).unwrap();
            let (mut mirror, problems) = world.open(&disk, unclean);
            assert_eq!(world.pass(&mut mirror, &disk, &[]).unwrap(), vec![]);
            let edits = mirror.take_edits();
            if unclean {
                assert_eq!(
                    (kinds(&problems), edits.len()),
                    (found.clone(), usize::from(is_taken_in))
                );
            }
            assert!(edits.iter().all(|edit| edit.file == file), "{edits:?}");
            assert_eq!(disk.read_now(file).is_some(), stays || !unclean, "{file}");
            assert_eq!(below(&disk, "conflicts/"), Vec::<String>::new());
        }
    }
}

#[test]
fn a_document_whose_file_got_another_name_is_written_under_its_own() {
    for unclean in [false, true] {
        let (disk, mut world) = holding(None);
        disk.write_now("tasks/mine.json", &shown("a", 2)).unwrap();
        let (mut mirror, problems) = world.open(&disk, unclean);
        assert_eq!(kinds(&problems), [ProblemKind::Edited]);
        let edits = mirror.take_edits();
        assert_eq!((edits.len(), edits[0].file.as_str()), (1, "tasks/mine.json"));
        mirror.adopted(&edits[0], Some(Lsn(1)));
        assert_eq!(world.pass(&mut mirror, &disk, &[]).unwrap(), vec![]);
        world.assert_shown(&mirror, &disk);
        assert_eq!(below(&disk, "tasks/"), [A, "tasks/b.json"]);
    }
}

#[test]
fn a_leftover_is_removed_if_it_is_the_engines_and_kept_if_it_is_a_persons() {
    let rows: [(Vec<u8>, bool); 6] = [
        (shown("a", 1), true),
        (shown("a", 2), true),
        (VERSION_0.to_vec(), true),
        (with_zeroes(shown("a", 1), 1), true),
        (b"mine".to_vec(), false),
        (MINE.to_vec(), false),
    ];
    for (contents, ours) in rows {
        let (disk, mut world) = holding(Some(&shown("a", 2)));
        disk.write_now(names::MIRROR_PART, b"half").unwrap();
        disk.write_now(&names::swap(A), &contents).unwrap();
        let (mut mirror, problems) = world.open(&disk, true);
        assert_eq!(problems.is_empty(), ours, "{problems:?}");
        let problems = world.pass(&mut mirror, &disk, &[]).unwrap();
        assert_eq!(problems.is_empty(), ours, "{problems:?}");
        world.assert_shown(&mirror, &disk);
        if ours {
            assert_eq!(below(&disk, "conflicts/"), Vec::<String>::new());
        } else {
            assert_kept(&disk, &contents);
            let edits = mirror.take_displaced(&disk, &mut Vec::new());
            assert_eq!(edits.len(), usize::from(contents == MINE), "it is taken in from there");
        }
    }
}

#[test]
fn what_a_leftover_held_is_an_edit_when_a_person_puts_it_into_the_file() {
    let (disk, mut world) = holding(Some(&shown("a", 2)));
    disk.write_now(&names::swap(A), &shown("a", 1)).unwrap();
    let (mut mirror, _) = world.open(&disk, true);
    assert_eq!(world.pass(&mut mirror, &disk, &[]).unwrap(), vec![]);
    disk.write_now(A, &shown("a", 1)).unwrap();
    let text = String::from_utf8(shown("a", 1)).unwrap();
    assert_eq!(texts(&world.find(&mut mirror, &disk).edits), [(A, Some(text.trim()))]);
}

#[test]
fn of_two_files_of_an_id_that_has_no_document_that_of_the_engines_name_counts() {
    for unclean in [false, true] {
        let (disk, world) = holding(Some(&shown("a", 2)));
        for file in ["tasks/copy.json", "tasks/my new.json", "tasks/new.json"] {
            disk.write_now(file, b"{\"id\": \"new\"}").unwrap();
        }
        let (mut mirror, problems) = world.open(&disk, unclean);
        assert_eq!(kinds(&problems), [ProblemKind::Edited; 3]);
        assert_eq!(texts(&mirror.take_edits()), [("tasks/new.json", Some("{\"id\": \"new\"}"))]);
    }
}

#[test]
fn a_listing_that_was_taken_ahead_makes_no_difference() {
    let mut found = BTreeSet::new();
    for contents in [None, Some(&b""[..]), Some(MINE), Some(VERSION_0), Some(&b"{"[..])] {
        for unclean in [false, true] {
            let (disk, mut world) = holding(contents);
            world.put("C/d", 1);
            world.put("e", 1);
            world.put("E", 1);
            for name in ["C/d", "e"] {
                let mut names = crate::files::names::Names::default();
                for id in ["a", "b", "C/d", "e", "E"].map(id) {
                    names.insert(&id);
                }
                disk.write_now(&join("tasks", &names.file_name(&id(name))), &shown(name, 1))
                    .unwrap();
            }
            disk.write_now("tasks/new.json", b"{\"id\": \"new\"}").unwrap();
            disk.write_now("tasks/note.txt", b"mine").unwrap();
            disk.create_dir("tasks/f.json").unwrap_or_default();
            let opened = |listing| {
                let (mut mirror, problems) = world.open_listed(&disk, unclean, listing);
                let edits = format!("{:?}", mirror.take_edits());
                let held: Vec<_> = mirror.held().map(str::to_owned).collect();
                let pending = format!("{:?}", mirror.pending);
                let strangers: BTreeSet<_> = mirror.strangers.keys().cloned().collect();
                (mirror.entries(), problems, edits, held, pending, strangers, mirror.past_ns)
            };
            let (now, ahead) = (opened(None), opened(Some(Listing::take(&disk).unwrap())));
            assert_eq!(now, ahead, "{contents:?}, unclean: {unclean}");
            found.insert(now.4);
        }
    }
    assert!(found.len() > 1);
}
