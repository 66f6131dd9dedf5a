//! The tables of judging at opening, row by row.

use super::*;

/// A disk whose mirror of `a`, at version 2, holds `contents`; version 1 is known by its text, 0 by
/// its hash only.
fn holding(contents: Option<&[u8]>) -> (SimFs, World) {
    let (disk, mut world) = (disk(), World::default());
    world.versions.insert(A.to_owned(), vec![ContentHash::of(b"version 0")]);
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

/// What opening finds, and whether it wants the file written.
fn judged(contents: Option<&[u8]>, unclean: bool) -> (Vec<ProblemKind>, bool) {
    let (disk, mut world) = holding(contents);
    let before = disk.names();
    let (mut mirror, problems) = world.open(&disk, unclean);
    assert_eq!(disk.names(), before, "opening changes nothing");
    assert_eq!(disk.read_now(A).as_deref(), contents);
    let due = mirror.behind() > 0;
    assert_eq!(world.pass(&mut mirror, &disk, &[]).unwrap(), vec![]);
    if due {
        world.assert_shown(&mirror, &disk);
    } else {
        assert_eq!(disk.read_now(A).as_deref(), contents, "left as it is");
        let changed = [world.put("a", 3)];
        world.pass(&mut mirror, &disk, &changed).unwrap();
        world.assert_shown(&mirror, &disk);
    }
    match (due, contents) {
        (false, Some(contents)) if contents != shown("a", 2) => assert_kept(&disk, contents),
        _ => assert_eq!(below(&disk, "conflicts/"), Vec::<String>::new()),
    }
    let quarantined = below(&disk, "quarantine/");
    match contents {
        Some(contents) if due && problems.len() == 1 && contents.iter().any(|byte| *byte != 0) => {
            assert_eq!(disk.read_now(&quarantined[0]).as_deref(), Some(contents));
        }
        _ => assert_eq!(quarantined, Vec::<String>::new()),
    }
    (kinds(&problems), due)
}

fn with_zeroes(mut bytes: Vec<u8>, sector: usize) -> Vec<u8> {
    bytes[sector * 512..(sector + 1) * 512].fill(0);
    bytes
}

/// A name, contents, and what is found after a clean and after an unclean stop.
type Row<'a> = (&'a str, Option<Vec<u8>>, (Vec<ProblemKind>, bool), (Vec<ProblemKind>, bool));

#[test]
fn a_documents_file_is_judged_as_the_table_says() {
    use ProblemKind::{Edited, Missing, Torn, Unreadable};
    let cut = shown("a", 2)[..700].to_vec();
    let mixed = [&shown("a", 2)[..512], &shown("a", 1)[512..]].concat();
    let mut torn = shown("a", 2);
    torn[700..1024].fill(0);
    let rows: [Row<'_>; 15] = [
        ("current", Some(shown("a", 2)), (vec![], false), (vec![], false)),
        ("earlier by text", Some(shown("a", 1)), (vec![Edited], false), (vec![], true)),
        ("earlier by hash", Some(b"version 0".to_vec()), (vec![Edited], false), (vec![], true)),
        ("missing", None, (vec![Missing], true), (vec![], true)),
        ("empty", Some(vec![]), (vec![Unreadable], false), (vec![Torn], true)),
        ("zeroes", Some(vec![0; 9000]), (vec![Unreadable], false), (vec![Torn], true)),
        ("cut", Some(cut), (vec![Unreadable], false), (vec![Torn], true)),
        (
            "a zero sector",
            Some(with_zeroes(shown("a", 2), 1)),
            (vec![Unreadable], false),
            (vec![Torn], true),
        ),
        (
            "a zero sector in an earlier version",
            Some(with_zeroes(shown("a", 1), 0)),
            (vec![Unreadable], false),
            (vec![Torn], true),
        ),
        ("a torn sector", Some(torn), (vec![Unreadable], false), (vec![Torn], true)),
        ("two versions mixed", Some(mixed), (vec![Edited], false), (vec![Edited], false)),
        (
            "longer than ours",
            Some([shown("a", 2), vec![0]].concat()),
            (vec![Unreadable], false),
            (vec![Unreadable], false),
        ),
        (
            "another object",
            Some(b"{\"id\": \"a\"}".to_vec()),
            (vec![Edited], false),
            (vec![Edited], false),
        ),
        (
            "no JSON",
            Some(b"{\"id\": ".to_vec()),
            (vec![Unreadable], false),
            (vec![Unreadable], false),
        ),
        (
            "no UTF-8",
            Some(b"{\xff}".to_vec()),
            (vec![Unreadable], false),
            (vec![Unreadable], false),
        ),
    ];
    for (name, contents, clean, unclean) in rows {
        assert_eq!(judged(contents.as_deref(), false), clean, "{name}, clean");
        assert_eq!(judged(contents.as_deref(), true), unclean, "{name}, unclean");
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

#[test]
fn a_file_of_no_document_is_removed_only_if_it_is_known_to_be_the_engines() {
    use ProblemKind::{Edited, Torn};
    let gone = "tasks/gone.json";
    // Of each: file, contents, findings and whether it stays, after an unclean stop.
    let rows: [(&str, Vec<u8>, Vec<ProblemKind>, bool); 9] = [
        (gone, shown("gone", 1), vec![], false),
        (gone, b"version 0".to_vec(), vec![], false),
        (gone, with_zeroes(shown("gone", 1), 1), vec![Torn], false),
        (gone, vec![], vec![Torn], false),
        (gone, b"{}".to_vec(), vec![Edited], true),
        ("tasks/copy.json", shown("gone", 1), vec![Edited], true),
        ("tasks/copy of a.json", shown("a", 2), vec![Edited], true),
        ("tasks/.a.json.swp", b"vim".to_vec(), vec![], true),
        ("tasks/README.md", vec![], vec![Edited], true),
    ];
    for (file, contents, found, stays) in rows {
        for unclean in [false, true] {
            let (disk, mut world) = holding(Some(&shown("a", 2)));
            world.put("gone", 1);
            world.delete("gone");
            world.versions.insert(gone.to_owned(), vec![ContentHash::of(b"version 0")]);
            disk.write_now(file, &contents).unwrap();
            let (mut mirror, problems) = world.open(&disk, unclean);
            assert_eq!(world.pass(&mut mirror, &disk, &[]).unwrap(), vec![]);
            if unclean {
                assert_eq!(kinds(&problems), found, "{file}");
            }
            assert_eq!(disk.read_now(file).is_some(), stays || !unclean, "{file}");
            assert_eq!(below(&disk, "conflicts/"), Vec::<String>::new());
        }
    }
}

#[test]
fn a_leftover_is_removed_if_it_is_the_engines_and_kept_if_it_is_a_persons() {
    let rows: [(Vec<u8>, bool); 6] = [
        (shown("a", 1), true),
        (shown("a", 2), true),
        (b"version 0".to_vec(), true),
        (with_zeroes(shown("a", 1), 1), true),
        (b"mine".to_vec(), false),
        (b"{\"id\": \"a\"}".to_vec(), false),
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
        }
    }
}
