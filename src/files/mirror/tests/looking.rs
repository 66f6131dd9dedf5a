//! Looks at the files of an open store: what is an edit, whose it is, and when it is believed.

use super::*;

#[test]
fn what_the_engine_left_is_not_read_again_and_costs_one_call_a_file() {
    let (disk, mut world, mut mirror) = with_a();
    let changed = [world.put("b", 1)];
    world.pass(&mut mirror, &disk, &changed).unwrap();
    let before = disk.trace().len();
    let seen = world.look(&mut mirror, &disk, 0);
    assert_eq!((seen.edits.len(), seen.problems.len(), mirror.looks_again().len()), (0, 0, 0));
    let trace = disk.trace().split_off(before);
    assert_eq!(trace.len(), 5, "wal/, two directories, two files: {trace:#?}");
}

#[test]
fn an_edit_counts_when_its_stat_has_been_the_same_for_fifty_milliseconds() {
    for in_place in [false, true] {
        let (disk, world, mut mirror) = with_a();
        let save = if in_place { SimFs::write_now } else { SimFs::save_now };
        save(&disk, A, b"{\"id\": \"a\", \"mine").unwrap();
        for ms in [0, 49] {
            let seen = world.look(&mut mirror, &disk, ms);
            assert_eq!((seen.edits.len(), seen.problems.len()), (0, 0), "at {ms}");
            assert_eq!(mirror.looks_again(), BTreeSet::from([A.to_owned()]));
        }
        save(&disk, A, MINE).unwrap();
        assert_eq!(world.look_at(&mut mirror, &disk, 60, Some(A)).edits.len(), 0, "it changed");
        assert_eq!(world.look_at(&mut mirror, &disk, 109, Some(A)).edits.len(), 0);
        let seen = world.look_at(&mut mirror, &disk, 110, Some(A));
        assert_eq!(texts(&seen.edits), [(A, Some(MINE_TEXT))]);
        assert_eq!(seen.problems, vec![]);
        let Now::Text(theirs) = &seen.edits[0].now else { panic!("{seen:?}") };
        assert_eq!(theirs.put_back, PutBack::IfEarlier);
        assert_eq!((theirs.hash, theirs.length), (ContentHash::of(MINE), MINE.len() as u64));
        assert_eq!(theirs.stat, disk.stat(A).unwrap());
        assert!(theirs.source == Source::File && mirror.looks_again().is_empty());
    }
}

#[test]
fn what_somebody_has_open_for_writing_counts_after_a_second_or_when_it_is_closed() {
    for closes in [false, true] {
        let (disk, world, mut mirror) = with_a();
        disk.save_now(A, MINE).unwrap();
        let editor = disk.hold_now(A).unwrap();
        assert_eq!(world.look(&mut mirror, &disk, 0).edits.len(), 0);
        assert_eq!(world.look(&mut mirror, &disk, 60).edits.len(), 0);
        assert_eq!(world.look(&mut mirror, &disk, 999).edits.len(), 0);
        let _still_open = (!closes).then_some(editor);
        let at = if closes { 999 } else { 1000 };
        assert_eq!(world.look(&mut mirror, &disk, at).edits.len(), 1, "{closes}");
    }
}

#[test]
fn a_look_that_is_not_patient_takes_what_is_there() {
    let (disk, world, mut mirror) = with_a();
    disk.save_now(A, MINE).unwrap();
    let _editor = disk.hold_now(A).unwrap();
    let (table, now) = (&world.table, Duration::ZERO);
    let look = Look { fs: &disk, table, files: None, now, is_patient: false };
    assert_eq!(texts(&mirror.look(&look).unwrap().edits), [(A, Some(MINE_TEXT))]);
}

#[test]
fn a_touched_file_is_no_edit_and_is_known_by_its_new_stat() {
    for by_rename in [false, true] {
        let (disk, world, mut mirror) = with_a();
        let save = if by_rename { SimFs::save_now } else { SimFs::write_now };
        save(&disk, A, &shown("a", 1)).unwrap();
        // A later time of the file system's clock.
        disk.write_now("wal/later", b"").unwrap();
        assert_ne!(mirror.entries()[0].stat, disk.stat(A).unwrap());
        let seen = world.look(&mut mirror, &disk, 0);
        assert_eq!((seen.edits.len(), seen.problems.len(), mirror.looks_again().len()), (0, 0, 0));
        assert_eq!(mirror.entries()[0].stat, disk.stat(A).unwrap());
        let before = disk.trace().len();
        world.look(&mut mirror, &disk, 10);
        let trace = disk.trace().split_off(before);
        assert!(!super::cache::reads(&trace, A), "it need not be read again: {trace:#?}");
    }
}

#[test]
fn a_touch_in_the_present_tick_is_not_known_by_its_stat() {
    let (disk, world, mut mirror) = with_a();
    disk.write_now("wal/later", b"").unwrap();
    disk.set_clock_stands_still(true);
    disk.save_now(A, &shown("a", 1)).unwrap();
    world.look(&mut mirror, &disk, 0);
    assert_eq!(mirror.entries()[0].stat, None, "a write in this tick would leave the same");
    disk.write_now(A, MINE).unwrap();
    assert_eq!(world.find(&mut mirror, &disk).edits.len(), 1);
}

#[test]
fn a_byte_order_mark_and_other_line_ends_and_a_trailing_newline_are_no_part_of_the_text() {
    for edited in [
        format!("\u{feff}{MINE_TEXT}"),
        format!("{MINE_TEXT}\r\n"),
        format!("\u{feff}\r\n {MINE_TEXT}\n\n"),
    ] {
        let (disk, world, mut mirror) = with_a();
        disk.save_now(A, edited.as_bytes()).unwrap();
        let seen = world.find(&mut mirror, &disk);
        assert_eq!(texts(&seen.edits), [(A, Some(MINE_TEXT))], "{edited:?}");
        let Now::Text(theirs) = &seen.edits[0].now else { panic!("{seen:?}") };
        assert_eq!(theirs.hash, ContentHash::of(edited.as_bytes()), "of the file as it is");
    }
}

#[test]
fn an_edit_that_is_taken_in_is_the_engines_as_it_is_until_its_document_changes() {
    let (disk, mut world, mut mirror) = with_a();
    disk.save_now(A, MINE).unwrap();
    disk.write_now("wal/later", b"").unwrap();
    disk.remove_now("wal/later").unwrap();
    let seen = world.find(&mut mirror, &disk);
    world.take_in(&mut mirror, &seen.edits[0]);
    let entries = mirror.entries();
    assert_eq!((entries[0].hash, entries[0].lsn), (ContentHash::of(MINE), Lsn(20)));
    assert_eq!(entries[0].stat, disk.stat(A).unwrap());
    let changed = [(TASK, id("a"))];
    assert_eq!(world.pass(&mut mirror, &disk, &changed).unwrap(), vec![]);
    assert_eq!(disk.read_now(A).unwrap(), MINE, "it is not laid out anew");
    assert_eq!(world.find(&mut mirror, &disk).edits.len(), 0);
    mirror.sync(&disk).unwrap();
    let doc = Doc::new(Document::new(text("a", 3)), Lsn(21), false);
    world.table.load(TASK, &id("a"), doc);
    assert_eq!(world.pass(&mut mirror, &disk, &changed).unwrap(), vec![]);
    world.assert_shown(&mirror, &disk);
    assert_eq!(below(&disk, "conflicts/"), [""; 0]);
}

#[test]
fn the_id_inside_decides_whose_any_other_file_is_while_that_document_has_none() {
    let rows: [(&str, &str, Option<&str>); 6] = [
        ("tasks/new.json", "new", Some("new")),
        ("tasks/any name.json", "new", Some("new")),
        ("tasks/copy.json", "a", None),
        ("tasks/b.json", "new", None),
        ("tasks/new.json~", "new", None),
        ("tasks/new.txt", "new", None),
    ];
    for (file, inside, taken) in rows {
        let (disk, mut world, mut mirror) = with_a();
        let changed = [world.put("b", 1)];
        world.pass(&mut mirror, &disk, &changed).unwrap();
        let contents = format!("{{\"id\": \"{inside}\"}}");
        disk.save_now(file, contents.as_bytes()).unwrap();
        let seen = world.find(&mut mirror, &disk);
        let ids: Vec<_> = seen.edits.iter().map(|edit| edit.id.as_str()).collect();
        assert_eq!(ids, taken.into_iter().collect::<Vec<_>>(), "{file}");
        let found = match file {
            "tasks/copy.json" => vec![ProblemKind::Edited],
            "tasks/b.json" => vec![ProblemKind::Unreadable],
            _ => vec![],
        };
        assert_eq!(kinds(&seen.problems), found, "{file}");
        assert_eq!(mirror.held().count(), usize::from(file == "tasks/b.json"));
        assert_eq!(world.find(&mut mirror, &disk).problems, vec![], "{file}: told once");
        assert_eq!(disk.read_now(file).unwrap(), contents.as_bytes());
    }
}

#[test]
fn of_two_files_of_one_id_the_first_by_name_counts() {
    let (disk, world, mut mirror) = with_a();
    for file in ["tasks/y.json", "tasks/x.json"] {
        disk.save_now(file, b"{\"id\": \"new\"}").unwrap();
    }
    let seen = world.find(&mut mirror, &disk);
    assert_eq!(texts(&seen.edits), [("tasks/x.json", Some("{\"id\": \"new\"}"))]);
    assert_eq!(kinds(&seen.problems), [ProblemKind::Edited]);
    assert_eq!(seen.problems[0].file, "tasks/y.json");
}

#[test]
fn what_is_taken_in_from_another_file_is_shown_in_its_own_and_that_goes() {
    let (disk, mut world, mut mirror) = with_a();
    disk.save_now("tasks/mine.json", b"{\"id\": \"new\"}").unwrap();
    let seen = world.find(&mut mirror, &disk);
    world.take_in(&mut mirror, &seen.edits[0]);
    assert_eq!(world.pass(&mut mirror, &disk, &[(TASK, id("new"))]).unwrap(), vec![]);
    world.assert_shown(&mirror, &disk);
    assert_eq!(below(&disk, "tasks/"), [A, "tasks/new.json"]);
}

#[test]
fn a_second_file_of_an_id_where_the_engine_removes_its_own_is_held() {
    let (disk, mut world, mut mirror) = with_a();
    disk.save_now(A, b"{\"id\": \"b\"}").unwrap();
    let changed = [world.delete("a"), world.put("b", 1)];
    world.pass(&mut mirror, &disk, &changed).unwrap();
    assert_eq!(kinds(&world.find(&mut mirror, &disk).problems), [ProblemKind::Edited]);
    assert_eq!((mirror.held().collect::<Vec<_>>(), mirror.can_go_on()), (vec![A], false));
    disk.remove_now(A).unwrap();
    world.find(&mut mirror, &disk);
    assert_eq!(world.pass(&mut mirror, &disk, &[]).unwrap(), vec![]);
    world.assert_shown(&mirror, &disk);
}

#[test]
fn an_edit_of_a_file_whose_document_got_another_name_is_that_documents() {
    let (disk, mut world, mut mirror) = with_a();
    disk.save_now(A, MINE).unwrap();
    let changed = [world.put("A", 1)];
    assert_eq!(world.pass(&mut mirror, &disk, &changed).unwrap(), vec![]);
    let own = join("tasks", &mirror.tasks.file_name(&id("a")));
    disk.save_now(&own, b"{\"id\": \"a\", \"n\": 2}").unwrap();
    // One at a time: the second is merged with what the first made of the document.
    let first = world.find(&mut mirror, &disk);
    assert_eq!((first.edits.len(), first.problems.len()), (1, 0));
    world.take_in(&mut mirror, &first.edits[0]);
    let second = world.find(&mut mirror, &disk);
    assert_eq!((second.edits.len(), second.problems.len()), (1, 0));
    let files = BTreeSet::from([first.edits[0].file.clone(), second.edits[0].file.clone()]);
    assert_eq!(files, BTreeSet::from([A.to_owned(), own]));
}
