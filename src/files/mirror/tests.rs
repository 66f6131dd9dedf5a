//! The mirror: it shows the state; and what its tests share.

use std::collections::HashMap;
use std::sync::Arc;

use super::*;
use crate::base::{Lsn, ProblemKind};
use crate::files::meddler::Meddler;
use crate::fs::sim::{CallKind, CrashMode, Fault, SimFs};
use crate::state::{Doc, Document, Op};

mod cache;
mod crash;
mod gone;
mod held;
mod judging;
mod looking;
mod matching;
mod stamps;
mod theirs;
mod window;

const TASK: Collection = Collection::Task;
const A: &str = "tasks/a.json";
/// What a person makes of document `a`.
const MINE: &[u8] = MINE_TEXT.as_bytes();
const MINE_TEXT: &str = "{\"id\": \"a\", \"mine\": true}";

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
    versions: HashMap<String, Recorded>,
    texts: HashMap<DocumentId, Vec<Arc<str>>>,
    entries: HashMap<String, Entry>,
    mentions: HashMap<String, Mentions>,
    synced: Lsn,
    is_damaged: bool,
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
        self.open_listed(fs, unclean, None)
    }

    fn open_listed(
        &self,
        fs: &dyn Fs,
        unclean: bool,
        listing: Option<Listing>,
    ) -> (Mirror, Vec<Problem>) {
        let earlier = |_, id: &DocumentId| self.texts.get(id).cloned().unwrap_or_default();
        let known = Known {
            versions: &self.versions,
            mentions: &self.mentions,
            is_sound: !self.is_damaged,
            shut_down: None,
            synced: self.synced,
            earlier: &earlier,
            entries: &self.entries.iter().map(|(file, entry)| (file.as_str(), entry)).collect(),
            reads_all: self.reads_all,
        };
        Mirror::open_listed(fs, &self.table, &known, unclean, listing).unwrap()
    }

    /// One pass, recording each change before it is made, as the engine does.
    fn pass(
        &mut self,
        mirror: &mut Mirror,
        fs: &dyn Fs,
        changed: &[(Collection, DocumentId)],
    ) -> Result<Vec<Problem>> {
        mirror.settle_leftovers(fs)?;
        let plan = mirror.plan(fs, changed.iter().cloned(), &self.table, Lsn(9), u64::MAX)?;
        for change in &plan {
            self.versions.entry(change.file.clone()).or_default().insert(change.hash, change.lsn);
        }
        let mut problems = Vec::new();
        for change in &plan {
            problems.extend(mirror.apply(fs, change)?);
        }
        problems.extend(mirror.take_found());
        Ok(problems)
    }

    /// A look at all files, `ms` after the first.
    fn look(&self, mirror: &mut Mirror, fs: &dyn Fs, ms: u64) -> Seen {
        self.look_at(mirror, fs, ms, None)
    }

    /// A look at one file, or at all.
    fn look_at(&self, mirror: &mut Mirror, fs: &dyn Fs, ms: u64, file: Option<&str>) -> Seen {
        let files = file.map(|file| BTreeSet::from([file.to_owned()]));
        let now = Duration::from_millis(ms);
        let files = files.as_ref();
        mirror.look(&Look { fs, table: &self.table, files, now, is_patient: true }).unwrap()
    }

    /// What two looks find, of which the second is late enough to believe everything.
    fn find(&self, mirror: &mut Mirror, fs: &dyn Fs) -> Seen {
        let first = self.look(mirror, fs, 10_000);
        assert!(first.edits.is_empty(), "{:?}", first.edits);
        let mut second = self.look(mirror, fs, 12_000);
        second.problems.splice(0..0, first.problems);
        second
    }

    /// The state takes this text, and the mirror shows it.
    fn take_in(&mut self, mirror: &mut Mirror, edit: &Edit) {
        if let Now::Text(theirs) = &edit.now {
            let doc = Doc::new(Document::new(theirs.text.as_str()), Lsn(20), false);
            self.table.load(TASK, &edit.id, doc);
        } else {
            self.table.unload(TASK, &edit.id);
        }
        mirror.adopted(edit, Some(Lsn(20)));
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

/// Of each edit: the file, and the text in it; none if it is gone.
fn texts(edits: &[Edit]) -> Vec<(&str, Option<&str>)> {
    let text = |edit: &Edit| match &edit.now {
        Now::Text(theirs) => Some(theirs.text.clone()),
        Now::Gone => None,
    };
    edits.iter().map(|edit| (edit.file.as_str(), text(edit).map(|text| &*text.leak()))).collect()
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
fn the_mirror_works_on_the_real_disk() {
    let dir = tempfile::tempdir().unwrap();
    let disk = crate::fs::real::RealFs::create(dir.path()).unwrap();
    disk.create_dir("wal").unwrap();
    let (mut world, mut mirror) = (World::default(), Mirror::default());
    let changed = [world.put("a", 1), world.put("b", 1)];
    assert_eq!(world.pass(&mut mirror, &disk, &changed).unwrap(), vec![]);
    std::fs::write(dir.path().join(A), MINE).unwrap();
    let changed = [world.put("a", 2), world.put("A", 1), world.delete("b")];
    assert_eq!(world.pass(&mut mirror, &disk, &changed).unwrap(), vec![]);
    assert_eq!(std::fs::read(dir.path().join(A)).unwrap(), MINE, "left in its place");
    let seen = world.find(&mut mirror, &disk);
    assert_eq!(texts(&seen.edits), [(A, Some(MINE_TEXT))], "of a file whose name is another now");
    mirror.adopted(&seen.edits[0], None);
    assert_eq!(world.pass(&mut mirror, &disk, &[]).unwrap(), vec![]);
    assert_eq!(mirror.behind(), 0);
    mirror.sync(&disk).unwrap();
    let (_, problems) = world.open(&disk, false);
    assert_eq!(problems, vec![]);
    assert_eq!(disk.list("tasks").unwrap().len(), 2);
    assert_eq!(disk.list("wal").unwrap(), vec![]);
    for entry in mirror.entries() {
        assert!(entry.stat.is_some() && entry.stat == disk.stat(&entry.file).unwrap(), "{entry:?}");
    }
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
