//! People at the files: each action is one of those that editors, tools and hands do. What they read they
//! keep in a buffer, and may save much later, whatever the file shows by then.

use std::collections::BTreeMap;

use walden::fs::sim::SimFs;
use walden::testing::{Shared, mix};

use super::oracle::{Change, Changed, Fields, Made, Moment, Oracle, parse};

/// Documents of the beginning; more are made by people.
pub(super) const IDS: [&str; 5] = ["a", "b", "c", "d", "s"];
/// An id that is put into the file of another.
const STRANGER: &str = "somebody else";
const FIELDS: [&str; 4] = ["f0", "f1", "f2", "f3"];

/// Numbers from a seed.
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Random {
        Random(seed)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = mix(self.0);
        self.0
    }

    pub(super) fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound.max(1) as u64).unwrap()
    }

    /// Happens once in so many times.
    pub(super) fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    pub(super) fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }

    pub(super) fn field(&mut self) -> String {
        (*self.pick(&FIELDS)).to_owned()
    }

    /// All fields with new numbers.
    pub(super) fn fields(oracle: &mut Oracle) -> Fields {
        FIELDS.iter().map(|field| ((*field).to_owned(), oracle.token())).collect()
    }
}

/// The engine's file of a document.
pub(super) fn file_of(id: &str) -> String {
    let dir = if id.starts_with('s') { "sessions" } else { "tasks" };
    format!("{dir}/{id}.json")
}

/// Whether a path is that of a mirror file.
pub(super) fn is_mirror(path: &str) -> bool {
    path.starts_with("tasks/") || path.starts_with("sessions/")
}

/// What an editor shows.
#[derive(Clone, Debug)]
struct Buffer {
    id: String,
    fields: Fields,
    /// What was changed and not saved yet.
    unsaved: Changed,
    /// The last save of it, or the save that it was read from.
    save: Option<usize>,
    is_loose: bool,
    /// What it began with, or was saved as.
    began: Fields,
    /// When it was last seen to be what the file shows and what is in force.
    seen: Moment,
}

impl Buffer {
    /// Whether what it began with may be forgotten. A person's own text is in memory alone.
    fn is_old(&self, oracle: &Oracle) -> bool {
        oracle.is_forgotten(self.seen)
    }
}

/// Half a save in place.
#[derive(Clone, Debug)]
struct Half {
    file: String,
    id: String,
    /// The whole.
    bytes: Vec<u8>,
    changed: Changed,
    /// The save that it began with.
    save: Option<usize>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Person {
    buffers: BTreeMap<String, Buffer>,
    /// Half a save in place: what is still to come.
    half: Option<Half>,
    commit: BTreeMap<String, Vec<u8>>,
    made: usize,
}

impl Person {
    /// Does something to the files.
    pub(super) fn act(
        &mut self,
        random: &mut Random,
        disk: &SimFs,
        oracle: &Shared<Oracle>,
        in_call: bool,
    ) {
        oracle.change(|oracle| {
            see_all(disk, oracle);
            let mut at = At { random, disk, oracle, in_call };
            match at.random.below(48) {
                0..=4 => drop(self.open(&mut at)),
                5..=15 => self.edit(&mut at),
                16..=22 => self.save_stale(&mut at),
                23..=25 => self.half(&mut at),
                26..=30 => self.finish(&mut at),
                31..=33 => at.break_one(),
                34..=37 => Self::mend(&mut at),
                38 | 39 => self.create(&mut at),
                40 => at.remove(),
                41 | 42 => at.put_back(),
                43 => at.touch(),
                44 => self.commit = at.all(),
                45 | 46 => self.check_out(&mut at),
                _ => self.edit_all(&mut at),
            }
        });
    }

    /// Looks which buffers are still what the files show.
    pub(super) fn look(&mut self, disk: &SimFs, oracle: &Oracle) {
        for (file, buffer) in &mut self.buffers {
            let shown = disk.read_now(file).and_then(|bytes| parse(&bytes));
            let is_shown = shown.is_some_and(|(_, fields)| fields == buffer.began);
            if is_shown && oracle.is_in_force_as(&buffer.id, &buffer.began) {
                buffer.seen = oracle.moment();
            }
        }
    }

    fn open(&mut self, at: &mut At<'_>) -> Option<String> {
        let file = at.any_file()?;
        self.load(at, &file).then_some(file)
    }

    /// Reads a file into its buffer.
    fn load(&mut self, at: &mut At<'_>, file: &str) -> bool {
        let Some((id, fields)) = at.disk.read_now(file).and_then(|bytes| parse(&bytes)) else {
            return false;
        };
        if id == STRANGER {
            return false;
        }
        let last = at.oracle.last_save(file);
        let is_loose = last.is_some_and(|(_, put_back)| put_back);
        let (save, seen) = (last.map(|(save, _)| save), at.oracle.last_in_force(&id, &fields));
        let (began, unsaved) = (fields.clone(), Changed::new());
        let buffer = Buffer { id, fields, unsaved, save, is_loose, began, seen };
        self.buffers.insert(file.to_owned(), buffer);
        true
    }

    /// Changes a field or two of a buffer, and gives what is to be saved.
    fn change(&mut self, at: &mut At<'_>, file: &str) -> Option<(String, Vec<u8>, Made)> {
        let buffer = self.buffers.get_mut(file)?;
        for _ in 0..if at.random.once_in(4) { 2 } else { 1 } {
            let field = at.random.field();
            let change = if at.random.once_in(8) {
                Change::Removed(buffer.fields.remove(&field))
            } else {
                let value = at.oracle.token();
                buffer.fields.insert(field.clone(), value);
                Change::Set(value)
            };
            buffer.unsaved.insert(field, change);
        }
        let mut changed = buffer.save.map(|save| at.oracle.pending(save)).unwrap_or_default();
        // The file may have shown something else when it was read.
        changed.retain(|field, change| change.is_in_force(buffer.fields.get(field), false));
        changed.extend(buffer.unsaved.clone());
        let mut unmet = buffer.save.map(|save| at.oracle.unmet(save)).unwrap_or_default();
        unmet.retain(|field, change| change.is_in_force(buffer.fields.get(field), false));
        let is_old = buffer.is_old(at.oracle);
        let is_loose = buffer.is_loose || is_old;
        let made = Made { changed, unmet, is_loose, in_call: at.in_call, of: buffer.seen };
        Some((buffer.id.clone(), at.text(&buffer.id, &buffer.fields), made))
    }

    fn save_buffer(&mut self, at: &mut At<'_>, file: &str) {
        let Some((id, bytes, made)) = self.change(at, file) else { return };
        let save = at.save(file, &id, &bytes, &made);
        if let Some(buffer) = self.buffers.get_mut(file) {
            buffer.save = Some(save);
            buffer.unsaved.clear();
            // What was not taken in may be of older contents still.
            if at.oracle.pending(save).is_empty() {
                buffer.seen = at.oracle.moment();
            }
            buffer.began = buffer.fields.clone();
        }
    }

    fn edit(&mut self, at: &mut At<'_>) {
        if let Some(file) = self.open(at) {
            self.save_buffer(at, &file);
        }
    }

    /// `sed -i` over everything.
    fn edit_all(&mut self, at: &mut At<'_>) {
        for file in at.all().into_keys() {
            if self.load(at, &file) {
                self.save_buffer(at, &file);
            }
        }
    }

    fn save_stale(&mut self, at: &mut At<'_>) {
        let files: Vec<String> = self.buffers.keys().cloned().collect();
        if files.is_empty() {
            return;
        }
        let file = at.random.pick(&files).clone();
        at.oracle.tally.count("saves of a buffer");
        self.save_buffer(at, &file);
    }

    /// The first of two writes in place.
    fn half(&mut self, at: &mut At<'_>) {
        let Some(file) = self.open(at) else { return };
        let Some((id, bytes, _)) = self.change(at, &file) else { return };
        let end = bytes.iter().rposition(|byte| *byte == b'}').unwrap_or(0);
        let part = bytes[..at.random.below(end)].to_vec();
        let none = at.made();
        at.disk.write_now(&file, &part).unwrap();
        at.oracle.saved((&file, &id), Some(&part), &none);
        if let Some(Buffer { unsaved: changed, save, .. }) = self.buffers.remove(&file) {
            self.half = Some(Half { file, id, bytes, changed, save });
        }
    }

    fn finish(&mut self, at: &mut At<'_>) {
        let Some(Half { file, id, bytes, changed: own, save }) = self.half.take() else { return };
        at.disk.write_now(&file, &bytes).unwrap();
        at.oracle.tally.count("saves in two writes");
        let mut changed = save.map(|save| at.oracle.pending(save)).unwrap_or_default();
        changed.extend(own);
        let made = Made { changed, is_loose: true, ..at.made() };
        at.oracle.saved((&file, &id), Some(&bytes), &made);
    }

    /// Makes a broken file whole: the last that could be understood, and a change.
    fn mend(at: &mut At<'_>) {
        let broken = at.all().into_keys().filter(|file| at.oracle.is_broken(file));
        let broken: Vec<String> = broken.collect();
        let Some(file) = broken.first().cloned() else { return };
        let good = at.oracle.seen(&file).filter_map(|bytes| parse(bytes)).last();
        let Some((id, mut fields)) = good.filter(|(id, _)| file_of(id) == file) else { return };
        let (field, value) = (at.random.field(), at.oracle.token());
        fields.insert(field.clone(), value);
        let changed = Changed::from([(field, Change::Set(value))]);
        let made = Made { changed, is_loose: true, ..at.made() };
        let bytes = at.text(&id, &fields);
        at.oracle.tally.count("mended");
        at.save(&file, &id, &bytes, &made);
    }

    /// A new file of a document, under its own name or another.
    fn create(&mut self, at: &mut At<'_>) {
        self.made += 1;
        let new = format!("n{}", self.made);
        let gone = IDS.iter().find(|id| at.disk.read_now(&file_of(id)).is_none());
        let (id, file) = match (at.random.below(3), gone) {
            (0, _) => (new.clone(), format!("tasks/my {new}.json")),
            (1, Some(id)) => ((*id).to_owned(), file_of(id)),
            _ => (new.clone(), file_of(&new)),
        };
        let fields = Random::fields(at.oracle);
        let changed =
            fields.iter().map(|(field, value)| (field.clone(), Change::Set(*value))).collect();
        let made = Made { changed, is_loose: true, ..at.made() };
        let bytes = at.text(&id, &fields);
        at.oracle.tally.count("created");
        at.save(&file, &id, &bytes, &made);
    }

    /// `git checkout` of what was committed: every file that differs is another.
    fn check_out(&mut self, at: &mut At<'_>) {
        for (file, bytes) in self.commit.clone() {
            if at.disk.read_now(&file).as_ref() != Some(&bytes) {
                at.disk.save_now(&file, &bytes).unwrap();
                at.note(&file, &bytes);
                at.oracle.tally.count("files of a checkout");
            }
        }
    }
}

/// The surroundings of one action.
struct At<'a> {
    random: &'a mut Random,
    disk: &'a SimFs,
    oracle: &'a mut Oracle,
    in_call: bool,
}

impl At<'_> {
    fn all(&self) -> BTreeMap<String, Vec<u8>> {
        all_files(self.disk)
    }

    /// What is saved now, and nothing known of it.
    fn made(&self) -> Made {
        Made { in_call: self.in_call, of: self.oracle.moment(), ..Made::default() }
    }

    fn any_file(&mut self) -> Option<String> {
        let files: Vec<String> = self.all().into_keys().collect();
        (!files.is_empty()).then(|| self.random.pick(&files).clone())
    }

    /// A document's text in one of the layouts that editors and tools leave.
    fn text(&mut self, id: &str, fields: &Fields) -> Vec<u8> {
        let mut members = vec![format!("\"id\": \"{id}\"")];
        members.extend(fields.iter().map(|(field, value)| format!("\"{field}\": {value}")));
        let layout = self.random.below(8);
        if layout % 3 == 1 {
            members.reverse();
        }
        let text = match layout {
            0..=3 => format!("{{\n  {}\n}}", members.join(",\n  ")),
            4 => format!("{{\n    {}\n}}\n\n", members.join(",\n    ")),
            5 => format!("{{\r\n  {}\r\n}}\r\n", members.join(",\r\n  ")),
            6 => format!("\u{feff}{{\n  {}\n}}\n", members.join(",\n  ")),
            _ => format!("{{{}}}", members.join(",")),
        };
        text.into_bytes()
    }

    /// Saves as editors do: in place, by renaming a new file, or with a backup beside it.
    fn save(&mut self, file: &str, id: &str, bytes: &[u8], made: &Made) -> usize {
        match self.random.below(5) {
            0 | 1 => self.disk.write_now(file, bytes).unwrap(),
            2 | 3 => self.disk.save_now(file, bytes).unwrap(),
            _ => {
                let former = self.disk.read_now(file).unwrap_or_default();
                self.disk.write_now(&format!("{file}~"), &former).unwrap();
                self.disk.save_now(file, bytes).unwrap();
            }
        }
        self.oracle.saved((file, id), Some(bytes), made)
    }

    /// Notes contents that were written without knowing what is in them.
    fn note(&mut self, file: &str, bytes: &[u8]) {
        let id = id_of(file, bytes);
        let made = self.made();
        self.oracle.saved((file, &id), Some(bytes), &made);
    }

    fn break_one(&mut self) {
        let Some(file) = self.any_file() else { return };
        let text = self.disk.read_now(&file).unwrap_or_default();
        let Some((id, _)) = parse(&text) else { return };
        let twice = format!("{{\"id\": \"{id}\", \"f0\": 1, \"f0\": 2, \"x\": \"\\ud800\"}}");
        let bytes = match self.random.below(7) {
            0 => text[..self.random.below(text.len())].to_vec(),
            1 => Vec::new(),
            2 => twice.into_bytes(),
            3 => format!("{{\"id\": \"{id}\", \"x\": \"\u{1}\"}}").into_bytes(),
            4 => [format!("{{\"id\": \"{id}\", \"x\": \"").as_bytes(), b"\xff\"}"].concat(),
            // Of a document that no program deletes: else the file would be that of the id inside.
            5 if self.oracle.is_in_force(&id) && id.starts_with('n') && file_of(&id) == file => {
                format!("{{\"id\": \"{STRANGER}\", \"f0\": 1}}").into_bytes()
            }
            _ => b"<<<<<<< HEAD\n{\"id\": 1}\n=======\n".to_vec(),
        };
        if bytes == text {
            return;
        }
        if self.random.once_in(2) {
            self.disk.write_now(&file, &bytes).unwrap();
        } else {
            self.disk.save_now(&file, &bytes).unwrap();
        }
        let made = self.made();
        self.oracle.saved((&file, &id), Some(&bytes), &made);
    }

    fn remove(&mut self) {
        let Some(file) = self.any_file() else { return };
        let id = id_of(&file, &self.disk.read_now(&file).unwrap_or_default());
        self.disk.remove_now(&file).unwrap();
        // An editor's backup beside it would say that it is being saved.
        let _ = self.disk.remove_now(&format!("{file}~"));
        let made = self.made();
        self.oracle.saved((&file, &id), None, &made);
    }

    fn put_back(&mut self) {
        let Some(file) = self.any_file() else { return };
        let now = self.disk.read_now(&file);
        let seen: Vec<Vec<u8>> = self.oracle.seen(&file).cloned().collect();
        let bytes = self.random.pick(&seen).clone();
        if Some(&bytes) != now.as_ref() {
            self.disk.write_now(&file, &bytes).unwrap();
            self.note(&file, &bytes);
        }
    }

    fn touch(&mut self) {
        let Some(file) = self.any_file() else { return };
        let bytes = self.disk.read_now(&file).unwrap_or_default();
        self.disk.write_now(&file, &bytes).unwrap();
        self.oracle.tally.count("touched");
    }
}

/// Whose a file is: by what is in it, else by its name.
fn id_of(file: &str, bytes: &[u8]) -> String {
    let (_, name) = file.split_once('/').unwrap();
    let name = name.trim_end_matches(".json").trim_start_matches("my ");
    let inside = parse(bytes).map(|(id, _)| id).filter(|id| id != STRANGER);
    inside.unwrap_or_else(|| name.to_owned())
}

/// All mirror files but those of editors.
pub(super) fn all_files(disk: &SimFs) -> BTreeMap<String, Vec<u8>> {
    let names = disk.names().into_iter();
    let names = names.filter(|name| is_mirror(name) && name.ends_with(".json"));
    names.map(|name| (name.clone(), disk.read_now(&name).unwrap_or_default())).collect()
}

/// Notes what every file shows now.
pub(super) fn see_all(disk: &SimFs, oracle: &mut Oracle) {
    for (file, bytes) in all_files(disk) {
        oracle.see(&file, &bytes);
    }
}
