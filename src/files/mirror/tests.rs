//! The mirror: it shows the state, and no person's file is ever lost to it.

use std::collections::HashMap;
use std::sync::Arc;

use super::*;
use crate::base::{Lsn, ProblemKind};
use crate::files::meddler::Meddler;
use crate::fs::sim::{CallKind, CrashMode, Fault, SimFs};
use crate::state::{Doc, Document, Op};

mod cache;
mod crash;
mod judging;
mod stamps;

const TASK: Collection = Collection::Task;
const A: &str = "tasks/a.json";

fn id(text: &str) -> DocumentId {
    DocumentId::new(text).unwrap()
}

/// A document of about three sectors.
fn text(name: &str, version: u32) -> String {
    let pad = format!("{version}").repeat(700);
    format!("{{\"id\": \"{name}\", \"version\": {version}, \"pad\": [\"{pad}\", \"{pad}\"]}}")
}

fn shown(name: &str, version: u32) -> Vec<u8> {
    pretty(&text(name, version)).into_bytes()
}

/// What the engine would know beside the mirror: the state, and what its log records.
#[derive(Clone, Default)]
struct World {
    table: Table,
    versions: HashMap<String, Vec<ContentHash>>,
    texts: HashMap<DocumentId, Vec<Arc<str>>>,
    entries: HashMap<String, Entry>,
    reads_all: bool,
}

impl World {
    fn put(&mut self, name: &str, version: u32) -> (Collection, DocumentId) {
        let doc = Doc::new(Document::new(text(name, version)), Lsn(1), false);
        self.texts.entry(id(name)).or_default().push(Arc::clone(doc.text()));
        self.table.load(TASK, &id(name), doc);
        (TASK, id(name))
    }

    fn delete(&mut self, name: &str) -> (Collection, DocumentId) {
        let op = Op::Delete { collection: TASK, id: id(name) };
        self.table.apply(&[(Lsn(2), op)]).unwrap();
        (TASK, id(name))
    }

    fn open(&self, fs: &dyn Fs, unclean: bool) -> (Mirror, Vec<Problem>) {
        let earlier = |_, id: &DocumentId| self.texts.get(id).cloned().unwrap_or_default();
        let known = Known {
            versions: &self.versions,
            mentions: &HashMap::new(),
            is_sound: true,
            synced: Lsn::ZERO,
            entries_are_current: false,
            earlier: &earlier,
            entries: &self.entries.iter().map(|(file, entry)| (file.as_str(), entry)).collect(),
            reads_all: self.reads_all,
        };
        Mirror::open(fs, &self.table, &known, unclean).unwrap()
    }

    /// One pass, recording each change before it is made, as the engine does.
    fn pass(
        &mut self,
        mirror: &mut Mirror,
        fs: &dyn Fs,
        changed: &[(Collection, DocumentId)],
    ) -> Result<Vec<Problem>> {
        let mut problems = mirror.settle_leftovers(fs)?;
        let plan = mirror.plan(fs, changed.iter().cloned(), &self.table, Lsn(9), u64::MAX)?;
        for change in &plan {
            self.versions.entry(change.file.clone()).or_default().push(change.hash);
        }
        for change in &plan {
            problems.extend(mirror.apply(fs, change)?);
        }
        Ok(problems)
    }

    /// That the mirror shows the state, and nothing of the engine's is left beside it.
    fn assert_shown(&self, mirror: &Mirror, disk: &SimFs) {
        assert_eq!(mirror.behind(), 0);
        for (id, doc) in self.table.iter(TASK) {
            let file = join("tasks", &mirror.tasks.file_name(id));
            let found = disk.read_now(&file).unwrap_or_else(|| panic!("{file} is missing"));
            assert!(found == pretty(doc.text()).into_bytes(), "{file} is another");
        }
        assert_eq!(below(disk, "wal/"), Vec::<String>::new());
    }
}

fn disk() -> SimFs {
    let disk = SimFs::new();
    disk.create_dir("wal").unwrap();
    disk.sync_dir("").unwrap();
    disk
}

fn below(disk: &SimFs, dir: &str) -> Vec<String> {
    disk.names().into_iter().filter(|name| name.starts_with(dir)).collect()
}

fn kinds(problems: &[Problem]) -> Vec<ProblemKind> {
    problems.iter().map(|problem| problem.kind).collect()
}

/// A synced mirror of document `a`, version 1.
fn with_a() -> (SimFs, World, Mirror) {
    let (disk, mut world, mut mirror) = (disk(), World::default(), Mirror::default());
    let changed = [world.put("a", 1)];
    assert_eq!(world.pass(&mut mirror, &disk, &changed).unwrap(), vec![]);
    mirror.sync(&disk).unwrap();
    (disk, world, mirror)
}

/// That exactly this was kept in `conflicts/`.
fn assert_kept(disk: &SimFs, bytes: &[u8]) {
    let kept = below(disk, "conflicts/");
    assert_eq!(kept.len(), 1, "{kept:?}");
    assert_eq!(disk.read_now(&kept[0]).unwrap(), bytes);
    assert!(kept[0].starts_with("conflicts/a~"));
}

#[test]
fn the_mirror_shows_every_document_and_follows_its_changes() {
    let (disk, mut world, mut mirror) = with_a();
    let changed = [world.put("a", 2), world.put("../b", 1), world.put("c", 1)];
    world.pass(&mut mirror, &disk, &changed).unwrap();
    world.assert_shown(&mirror, &disk);
    let changed = [world.delete("a"), world.delete("../b")];
    assert_eq!(world.pass(&mut mirror, &disk, &changed).unwrap(), vec![]);
    world.assert_shown(&mirror, &disk);
    assert_eq!(below(&disk, ""), ["tasks/c.json"]);
}

#[test]
fn a_document_that_shows_the_same_is_not_written_again() {
    let (disk, mut world, mut mirror) = with_a();
    let changed = [world.put("a", 1)];
    assert_eq!(mirror.plan(&disk, changed, &world.table, Lsn(9), u64::MAX).unwrap(), vec![]);
    let changed = [world.put("b", 1), world.delete("b")];
    assert_eq!(mirror.plan(&disk, changed, &world.table, Lsn(9), u64::MAX).unwrap(), vec![]);
    assert_eq!(mirror.behind(), 0);
}

#[test]
fn a_plan_is_bounded_in_bytes_and_the_rest_is_planned_next() {
    let (disk, mut world, mut mirror) = (disk(), World::default(), Mirror::default());
    let changed: Vec<_> = (0..5).map(|n| world.put(&format!("t{n}"), 1)).collect();
    let mut passes = 0;
    let mut changed = changed.into_iter();
    loop {
        let plan = mirror.plan(&disk, changed.by_ref(), &world.table, Lsn(9), 2000).unwrap();
        if plan.is_empty() {
            break;
        }
        assert!(plan.len() <= 2);
        passes += 1;
        for change in plan {
            mirror.apply(&disk, &change).unwrap();
        }
    }
    assert!(passes > 2);
    world.assert_shown(&mirror, &disk);
}

#[test]
fn documents_equal_but_for_case_change_their_names_together() {
    let (disk, mut world, mut mirror) = with_a();
    let changed = [world.put("A", 1)];
    let plan = mirror.plan(&disk, changed.clone(), &world.table, Lsn(9), u64::MAX).unwrap();
    assert_eq!(plan[0].file, A);
    assert!(plan[0].write.is_none() && plan.len() == 3, "removals come first");
    assert_eq!(world.pass(&mut mirror, &disk, &[]).unwrap(), vec![]);
    world.assert_shown(&mirror, &disk);
    assert!(below(&disk, "tasks/").iter().all(|file| file.contains('~')));
    let changed = [world.delete("a")];
    world.pass(&mut mirror, &disk, &changed).unwrap();
    world.assert_shown(&mirror, &disk);
    assert_eq!(below(&disk, "tasks/"), ["tasks/A.json"]);
}

#[test]
fn what_a_person_wrote_between_two_passes_is_kept_before_it_is_replaced_or_removed() {
    for by_rename in [false, true] {
        for delete in [false, true] {
            let (disk, mut world, mut mirror) = with_a();
            if by_rename {
                disk.save_now(A, b"mine").unwrap();
            } else {
                disk.write_now(A, b"mine").unwrap();
            }
            let changed = [if delete { world.delete("a") } else { world.put("a", 2) }];
            let problems = world.pass(&mut mirror, &disk, &changed).unwrap();
            assert_eq!(kinds(&problems), [ProblemKind::Edited]);
            assert_kept(&disk, b"mine");
            world.assert_shown(&mirror, &disk);
            assert_eq!(disk.read_now(A).is_none(), delete);
        }
    }
}

#[test]
fn a_person_who_is_quicker_than_the_exchange_loses_nothing() {
    for no_exchange in [false, true] {
        for no_link in [false, true] {
            for saved in [false, true] {
                let (disk, mut world, mut mirror) = with_a();
                let edit = move |disk: &SimFs| {
                    let saves = if saved { SimFs::save_now } else { SimFs::write_now };
                    saves(disk, A, b"mine").unwrap();
                };
                let fs = Meddler { no_exchange, no_link, ..Meddler::editing(&disk, edit) };
                let changed = [world.put("a", 2)];
                let problems = world.pass(&mut mirror, &fs, &changed).unwrap();
                assert_eq!(kinds(&problems), [ProblemKind::Edited]);
                assert_kept(&disk, b"mine");
                world.assert_shown(&mirror, &disk);
            }
        }
    }
}

#[test]
fn a_person_who_creates_the_file_of_a_new_document_first_loses_nothing() {
    let (disk, mut world, mut mirror) = (disk(), World::default(), Mirror::default());
    let fs = Meddler::editing(&disk, |disk| disk.save_now(A, b"mine").unwrap());
    let changed = [world.put("a", 1)];
    let problems = world.pass(&mut mirror, &fs, &changed).unwrap();
    assert_eq!(kinds(&problems), [ProblemKind::Edited]);
    assert_kept(&disk, b"mine");
    world.assert_shown(&mirror, &disk);
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
fn what_was_found_by_a_change_that_failed_afterwards_is_reported_with_the_next() {
    let (disk, mut world, mut mirror) = with_a();
    disk.save_now(A, b"mine").unwrap();
    let changed = [world.put("a", 2)];
    disk.fail_when(CallKind::Write, 1, Fault::Error(std::io::ErrorKind::StorageFull));
    assert!(world.pass(&mut mirror, &disk, &changed).is_err());
    let problems = world.pass(&mut mirror, &disk, &[]).unwrap();
    assert!(kinds(&problems).contains(&ProblemKind::Edited), "{problems:?}");
    assert_kept(&disk, b"mine");
    world.assert_shown(&mirror, &disk);
}

#[test]
fn the_mirror_works_on_the_real_disk() {
    let dir = tempfile::tempdir().unwrap();
    let disk = crate::fs::real::RealFs::create(dir.path()).unwrap();
    disk.create_dir("wal").unwrap();
    let (mut world, mut mirror) = (World::default(), Mirror::default());
    let changed = [world.put("a", 1), world.put("b", 1)];
    assert_eq!(world.pass(&mut mirror, &disk, &changed).unwrap(), vec![]);
    std::fs::write(dir.path().join(A), "mine").unwrap();
    let changed = [world.put("a", 2), world.put("A", 1), world.delete("b")];
    let problems = world.pass(&mut mirror, &disk, &changed).unwrap();
    assert_eq!(kinds(&problems), [ProblemKind::Edited]);
    mirror.sync(&disk).unwrap();
    let (_, problems) = world.open(&disk, false);
    assert_eq!(problems, vec![]);
    assert_eq!(disk.list("tasks").unwrap().len(), 2);
    assert_eq!(disk.list("wal").unwrap(), vec![]);
    for entry in mirror.entries() {
        assert!(entry.stat.is_some() && entry.stat == disk.stat(&entry.file).unwrap(), "{entry:?}");
    }
    let kept = disk.list("conflicts").unwrap();
    let kept = std::fs::read(dir.path().join("conflicts").join(&kept[0].name)).unwrap();
    assert_eq!(kept, b"mine");
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
fn the_same_conflict_is_kept_once_and_nothing_in_conflicts_is_replaced() {
    let (disk, mut world, mut mirror) = with_a();
    for version in 2..4 {
        disk.save_now(A, b"mine").unwrap();
        let changed = [world.put("a", version)];
        world.pass(&mut mirror, &disk, &changed).unwrap();
        assert_kept(&disk, b"mine");
    }
    let kept = below(&disk, "conflicts/").remove(0);
    disk.save_now(&kept, b"edited there").unwrap();
    disk.save_now(A, b"mine").unwrap();
    let changed = [world.put("a", 4)];
    world.pass(&mut mirror, &disk, &changed).unwrap();
    assert_eq!(disk.read_now(&kept).unwrap(), b"edited there");
    assert_eq!(below(&disk, "conflicts/").len(), 2);
}

#[test]
fn after_a_sync_the_mirror_survives_a_power_cut_whatever_the_number_of_files() {
    for count in [3, SYNC_EACH_MAX + 1] {
        for no_sync_all in [false, true] {
            let (disk, mut world, mut mirror) = (disk(), World::default(), Mirror::default());
            let changed: Vec<_> = (0..count).map(|n| world.put(&format!("t{n}"), 1)).collect();
            world.pass(&mut mirror, &disk, &changed).unwrap();
            mirror.sync(&Meddler { no_sync_all, ..Meddler::on(&disk) }).unwrap();
            let after = disk.crash_with(CrashMode::Nothing);
            let (mirror, problems) = world.open(&after, false);
            assert_eq!(problems, vec![]);
            world.assert_shown(&mirror, &after);
        }
    }
}

#[test]
fn a_file_whose_flush_failed_is_written_anew_and_not_flushed_again() {
    let (disk, mut world, mut mirror) = with_a();
    let fs = Meddler { no_write_back: true, ..Meddler::on(&disk) };
    let changed = [world.put("a", 2)];
    world.pass(&mut mirror, &fs, &changed).unwrap();
    disk.fail_when(CallKind::Sync, 1, Fault::Errno(5));
    assert!(mirror.sync(&fs).is_err());
    assert_eq!(world.pass(&mut mirror, &fs, &[]).unwrap(), vec![]);
    mirror.sync(&fs).unwrap();
    let after = disk.crash_with(CrashMode::Nothing);
    assert_eq!(world.open(&after, false).1, vec![]);
    world.assert_shown(&mirror, &after);
    assert_eq!(below(&after, "conflicts/"), Vec::<String>::new());
}

#[test]
fn what_a_person_wrote_is_durable_in_conflicts_before_its_place_is_taken() {
    let (disk, mut world, mut mirror) = with_a();
    disk.save_now(A, b"mine").unwrap();
    let before = disk.trace().len();
    let changed = [world.put("a", 2)];
    world.pass(&mut mirror, &disk, &changed).unwrap();
    let trace = disk.trace().split_off(before);
    let place = |call: &str| {
        let found = trace.iter().position(|made| made.starts_with(call));
        found.unwrap_or_else(|| panic!("{call}: {trace:#?}"))
    };
    let order = [
        place("sync tasks/a.json"),
        place("link tasks/a.json conflicts/"),
        place("sync conflicts/"),
        place("write_back wal/mirror.part"),
        place("exchange"),
    ];
    assert!(order.is_sorted(), "{trace:#?}");
}
