//! What cannot be understood is held: left byte for byte, told once, and taken in when it is mended.

use super::*;

/// That a file with these contents is held, and why.
fn assert_held(mine: &[u8], why: &str) {
    let (disk, mut world, mut mirror) = with_a();
    disk.save_now(A, mine).unwrap();
    let seen = world.find(&mut mirror, &disk);
    assert_eq!(kinds(&seen.problems), [ProblemKind::Unreadable], "{why}");
    let Problem { file, detail, .. } = &seen.problems[0];
    assert_eq!(file, A);
    assert!(detail.starts_with(why), "{detail}");
    assert!(detail.contains("last good version of its task stays in force"), "{detail}");
    assert_eq!(mirror.held().collect::<Vec<_>>(), [A]);
    // Its document may change, and go.
    for changed in [world.put("a", 2), world.delete("a"), world.put("a", 3)] {
        assert_eq!(world.pass(&mut mirror, &disk, &[changed]).unwrap(), vec![]);
        assert_eq!(disk.read_now(A).unwrap(), mine, "{why}: not touched");
        assert!(!mirror.can_go_on());
        let again = world.find(&mut mirror, &disk);
        assert_eq!((again.edits.len(), again.problems.len()), (0, 0), "{why}: told once");
    }
    disk.save_now(A, MINE).unwrap();
    let seen = world.find(&mut mirror, &disk);
    assert_eq!((texts(&seen.edits), seen.problems), (vec![(A, Some(MINE_TEXT))], vec![]));
    assert_eq!(mirror.held().count(), 0, "{why}: taken in when it is mended");
}

#[test]
fn what_is_no_document_is_held_and_told_by_line_and_column() {
    let rows: [(&[u8], &str); 13] = [
        (b"", "line 1, column 1: "),
        (b"{\n  \"id\": \"a\",\n  \"n\": }", "line 3, column 8: "),
        (b"{\n  \"id\": \"a\",\n  \"n\": 1", "line 3, column "),
        (b"{\"id\": \"a\"} {}", "line 1, column 13: "),
        (b"[\n1]", "line 1, column 1: "),
        (
            b"{\"id\": \"a\",\n \"n\": 1, \"n\": 2}",
            "line 2, column 10: the key \"n\" appears twice",
        ),
        (b"{\"id\": \"a\",\n \"n\": \"x\0y\"}", "line 2, column "),
        (b"{\"id\": \"a\",\n \"n\": \"\\ud800\"}", "line 2, column "),
        (b"{\"id\": \"a\",\n \"n\": \"\\u0000\"}\0", "line 2, column "),
        (b"{\"id\": \"a\",\n \"n\": \"\xff\"}", "line 2, byte 8: it is not UTF-8"),
        (b"{\"n\": 1}", "it has no member \"id\""),
        (b"{\n\"id\": 7}", "line 2, column 7: the member \"id\" must be a string"),
        (b"{\n\"id\": \"\"}", "line 2, column 7: id \"\""),
    ];
    for (mine, why) in rows {
        assert_held(mine, why);
    }
    let deep = format!("{{\"id\": \"a\", \"n\": {}1{}}}", "[".repeat(200), "]".repeat(200));
    assert_held(deep.as_bytes(), "line 1, column ");
}

#[test]
fn a_byte_order_mark_does_not_move_the_column_that_is_told() {
    assert_held("\u{feff}{\"id\": 7}".as_bytes(), "line 1, column 8: ");
    assert_held("{\r\n\"id\": 7}".as_bytes(), "line 2, column 7: ");
}

#[test]
fn another_id_in_a_documents_file_is_held_and_both_documents_stay() {
    for inside in ["b", "new"] {
        let (disk, mut world, mut mirror) = with_a();
        let changed = [world.put("b", 1)];
        world.pass(&mut mirror, &disk, &changed).unwrap();
        disk.save_now(A, format!("{{\"id\": \"{inside}\"}}").as_bytes()).unwrap();
        let seen = world.find(&mut mirror, &disk);
        assert_eq!((kinds(&seen.problems), seen.edits.len()), (vec![ProblemKind::Unreadable], 0));
        assert!(seen.problems[0].detail.contains("restore its id"), "{:?}", seen.problems);
        assert_eq!(world.find(&mut mirror, &disk).problems, vec![]);
        disk.save_now(A, &shown("a", 1)).unwrap();
        assert_eq!(world.find(&mut mirror, &disk).edits.len(), 0, "it is as the engine left it");
        assert_eq!(mirror.held().count(), 0);
    }
}

#[test]
fn what_cannot_be_read_is_held_until_it_can_be() {
    let (disk, world, mut mirror) = with_a();
    disk.save_now(A, MINE).unwrap();
    disk.spoil_now(A, ErrorKind::PermissionDenied).unwrap();
    let seen = world.find(&mut mirror, &disk);
    assert_eq!(kinds(&seen.problems), [ProblemKind::Unreadable]);
    assert!(seen.problems[0].detail.starts_with("it cannot be read ("), "{:?}", seen.problems);
    assert_eq!(world.find(&mut mirror, &disk).problems, vec![]);
    disk.save_now(A, MINE).unwrap();
    assert_eq!(texts(&world.find(&mut mirror, &disk).edits), [(A, Some(MINE_TEXT))]);
}

#[test]
fn what_is_no_regular_file_is_told_once_and_the_document_is_shown_when_it_is_gone() {
    for kind in [Kind::Directory, Kind::Other] {
        for is_met_by_a_pass in [false, true] {
            let (disk, mut world, mut mirror) = with_a();
            disk.remove_now(A).unwrap();
            disk.plant_now(A, kind).unwrap();
            let mut problems = Vec::new();
            if is_met_by_a_pass {
                let changed = [world.put("a", 2)];
                problems.extend(world.pass(&mut mirror, &disk, &changed).unwrap());
            }
            for _ in 0..2 {
                let seen = world.find(&mut mirror, &disk);
                assert_eq!(seen.edits.len(), 0);
                problems.extend(seen.problems);
                problems.extend(world.pass(&mut mirror, &disk, &[]).unwrap());
            }
            assert_eq!(kinds(&problems), [ProblemKind::Unreadable], "{kind:?}: told once");
            assert_eq!(disk.stat(A).unwrap().unwrap().kind, kind);
            if kind == Kind::Directory {
                continue;
            }
            assert!(!mirror.can_go_on());
            disk.remove_now(A).unwrap();
            assert_eq!(world.look(&mut mirror, &disk, 20_000).edits.len(), 0);
            assert!(mirror.can_go_on(), "a pass is due, though nothing else changes");
            assert_eq!(world.pass(&mut mirror, &disk, &[]).unwrap(), vec![]);
            world.assert_shown(&mirror, &disk);
        }
    }
}
