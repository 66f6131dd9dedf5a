//! Bad input (G4, G5, G7): a store in which any one file or directory is doubled, renamed, swapped with
//! another store's, blocked, unreadable or gone. It opens to the same documents wherever an intact copy is
//! left, says what it found, and loses nobody's bytes.

use std::io::ErrorKind;

use walden::fs::Kind;
use walden::fs::sim::SimFs;
use walden::{Error, Problem, ProblemKind, Store};

use crate::support::{Documents, at, documents, files, open};

/// What is done to one file at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Damage {
    Doubled,
    Renamed,
    Swapped,
    Directory,
    Special,
    IoError,
    Forbidden,
    Removed,
}

use Damage::{Directory, Doubled, Forbidden, IoError, Removed, Renamed, Special, Swapped};

const DAMAGES: [Damage; 8] =
    [Doubled, Renamed, Swapped, Directory, Special, IoError, Forbidden, Removed];

/// A store with every kind of file: tasks and sessions over several snapshots, a deletion, outputs, and a
/// tail that only the log holds if it was not shut down.
pub(crate) fn reference(seed: u64, is_clean: bool) -> (SimFs, Documents) {
    let disk = SimFs::new();
    let store = open(&disk, seed).unwrap();
    for round in 0..4 {
        for id in ["a", "b", "c", "d"] {
            let text = format!(r#"{{"id": "{id}", "round": {round}, "by": {seed}, "logs": []}}"#);
            store.save_task_json(&text).unwrap();
        }
        for id in ["s", "u"] {
            let text = format!(r#"{{"id": "{id}", "round": {round}, "by": {seed}}}"#);
            store.save_session_json(&text).unwrap();
        }
        store.append_session_log("s", format!("line {round}\n")).unwrap();
        if round == 1 {
            store.save_task_json(r#"{"id": "gone"}"#).unwrap();
        }
        store.checkpoint().unwrap();
        if round == 2 {
            store.delete_task("gone").unwrap();
        }
    }
    store.save_report_json("r", &format!(r#"{{"by": {seed}}}"#)).unwrap();
    store.append_task_log_json("a", r#"{"message": "in the log alone"}"#).unwrap();
    let state = documents(&store.view());
    if is_clean {
        store.shutdown().unwrap();
        return (disk, state);
    }
    let left = disk.if_killed();
    (left, state)
}

/// What holds the place of a damaged file: for a renamed one, its new name.
fn new_name(name: &str) -> String {
    match name.split_once('/') {
        _ if name == "state.json" => "state.backup.20990101T000000.000000000Z.json".to_owned(),
        _ if name.starts_with("state.backup.") => {
            "state.backup.20250101T000000.000000000Z.json".to_owned()
        }
        Some(("wal", segment)) if segment.ends_with(".wal") => {
            "wal/00000000000000000099.wal".to_owned()
        }
        Some((dir, _)) if name.ends_with(".json") => format!("{dir}/report_z.json"),
        Some(("logs", _)) => "logs/session_z.log".to_owned(),
        _ => format!("{name}.old"),
    }
}

/// The file of another store that is most like this one.
fn like(other: &SimFs, name: &str) -> Option<Vec<u8>> {
    other.read_now(name).or_else(|| {
        let stem = name.get(..8).unwrap_or(name);
        let names = other.names();
        other.read_now(names.iter().find(|one| one.starts_with(stem))?)
    })
}

/// Does it, and gives what is then to be read under the name; `None` where it would change nothing.
fn inflict(disk: &SimFs, other: &SimFs, name: &str, damage: Damage) -> Option<Vec<u8>> {
    let bytes = disk.read_now(name)?;
    let contents = match damage {
        Doubled => [bytes.as_slice(), &bytes].concat(),
        Swapped => like(other, name)?,
        IoError | Forbidden => {
            let error =
                if damage == IoError { ErrorKind::Other } else { ErrorKind::PermissionDenied };
            disk.spoil_now(name, error).unwrap();
            return Some(bytes);
        }
        Renamed | Removed | Directory | Special => {
            disk.remove_now(name).unwrap();
            match damage {
                Renamed => disk.write_now(&new_name(name), &bytes).unwrap(),
                Directory => disk.plant_now(name, Kind::Directory).unwrap(),
                Special => disk.plant_now(name, Kind::Other).unwrap(),
                _ => {}
            }
            return Some(Vec::new());
        }
    };
    (contents != bytes).then(|| disk.write_now(name, &contents).unwrap())?;
    Some(contents)
}

/// One file of a reference store, and what was done to it.
struct Case<'a> {
    disk: &'a SimFs,
    name: &'a str,
    damage: Damage,
    is_clean: bool,
    /// Whether it is the segment of the log that has the last write, or the one before it.
    is_head: bool,
}

impl Case<'_> {
    /// The disk fails to read what may be the one copy, or a directory has the place that the lock's
    /// owner must be written to: an opening that went on could lose what is there.
    fn is_refused(&self) -> bool {
        let is_needed =
            [".walden", "state.json"].contains(&self.name) || self.name.ends_with(".wal");
        match self.damage {
            IoError | Forbidden => is_needed,
            Directory => self.name == ".walden",
            _ => false,
        }
    }

    /// The only copy of the last write is gone.
    fn loses_the_tail(&self) -> bool {
        self.is_head && !self.is_clean && self.damage != Doubled
    }

    /// Nobody misses it: outputs are people's after a clean stop and made again after another; a backup,
    /// the index, a mirror file after a crash and a segment below the snapshot can go.
    fn is_harmless(&self) -> bool {
        let is_gone = [Renamed, Removed].contains(&self.damage);
        let is_output = ["logs/", "reports/"].iter().any(|dir| self.name.starts_with(dir));
        let is_spare = self.name.starts_with("state.backup.") || self.name == "wal/state.index";
        let is_mirror = ["tasks/", "sessions/"].iter().any(|dir| self.name.starts_with(dir));
        let is_log = self.name.ends_with(".wal");
        let is_old = is_log && !self.is_head;
        // The whole log can go after a clean stop.
        let was_log = is_log && !self.disk.names().iter().any(|name| name.ends_with(".wal"));
        // A segment that is kept to be reused says nothing.
        let is_temporary = self.name.ends_with(".tmp");
        is_output && !self.keeps_an_output_out()
            || is_temporary
            || is_gone
                && (is_spare || is_old || self.is_clean && was_log || !self.is_clean && is_mirror)
            || self.damage == Swapped && self.name == "wal/state.index"
    }

    /// What somebody did to a mirror file, as far as anybody can tell: it is gone, or says something else.
    fn is_edit(&self) -> bool {
        let is_mirror = ["tasks/", "sessions/"].iter().any(|dir| self.name.starts_with(dir));
        is_mirror && [Removed, Swapped].contains(&self.damage)
    }

    fn is_about(&self, problem: &Problem) -> bool {
        let is_log = self.name.ends_with(".wal") && problem.file.starts_with("wal");
        is_log || [self.name, &new_name(self.name)].contains(&problem.file.as_str())
    }

    fn what(&self) -> String {
        format!("{} {:?}, clean: {}", self.name, self.damage, self.is_clean)
    }

    /// Opens what must open, twice, and gives what both found.
    fn open(&self, state: &Documents) -> Documents {
        let what = self.what();
        let before = files(self.disk);
        let verified = at(self.disk, 89).verify().unwrap_or_else(|error| panic!("{what}: {error}"));
        let view = at(self.disk, 90).open_read_only();
        let view = documents(&view.unwrap_or_else(|error| panic!("{what}: {error}")));
        assert_eq!(files(self.disk), before, "{what}: reading changes no byte");
        let store = open(self.disk, 91).unwrap_or_else(|error| panic!("{what}: {error}"));
        let found = documents(&store.view());
        assert_eq!(view, found, "{what}: a reader sees what an opener sees");
        let problems = store.recovery().problems.clone();
        let is_told =
            verified.problems.iter().chain(&problems).any(|problem| self.is_about(problem));
        assert!(is_told || self.is_harmless(), "{what}: {problems:#?}");
        let is_opening_told = problems.iter().any(|problem| self.is_about(problem));
        assert!(is_opening_told || !self.keeps_an_output_out(), "{what}: {problems:#?}");
        if found != *state && !self.is_edit() {
            assert!(self.loses_the_tail(), "{what}: {problems:#?}");
            let is_told = problems.iter().any(|one| one.kind == ProblemKind::Corrupt);
            assert!(is_told, "{what}: a loss is told: {problems:#?}");
            assert_eq!(found, without_the_tail(state), "{what}");
        }
        self.goes_on(&store, &found);
        found
    }

    /// Some rounds of work later, nothing of the damage is left to stumble over.
    fn goes_on(&self, store: &Store, found: &Documents) {
        let what = self.what();
        for round in 0..3 {
            store.save_task_json(&format!(r#"{{"id": "new", "round": {round}}}"#)).unwrap();
            let saved = store.checkpoint();
            assert!(saved.is_ok() || self.keeps_an_output_out(), "{what}: {saved:?}");
        }
        store.delete_task("new").unwrap();
        let is_shut = store.shutdown();
        assert!(is_shut.is_ok() || self.keeps_an_output_out(), "{what}: {is_shut:?}");
        let again = open(self.disk, 92).unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(documents(&again.view()), *found, "{what}");
        let recovery = again.recovery();
        assert!(recovery.clean || self.keeps_an_output_out(), "{what}: {recovery:#?}");
    }

    /// The log holds more of an output than its file, which cannot be read, is known to: the log is kept
    /// and a shutdown says so.
    fn keeps_an_output_out(&self) -> bool {
        let is_output = ["logs/", "reports/"].iter().any(|dir| self.name.starts_with(dir));
        is_output && !self.is_clean && [IoError, Forbidden].contains(&self.damage)
    }

    /// Refuses, changes nothing, and opens when the file was taken away.
    fn refuses(&self, state: &Documents) {
        let what = self.what();
        let before = files(self.disk);
        let reading = at(self.disk, 90).open_read_only();
        assert_eq!(reading.is_ok(), self.damage == Directory, "{what}");
        for refused in [reading.err(), open(self.disk, 91).err()].into_iter().flatten() {
            assert!(matches!(refused, Error::Io { .. }), "{what}: {refused:?}");
            assert!(refused.to_string().contains(self.name), "{what}: {refused}");
        }
        if self.damage == Directory {
            return;
        }
        assert_eq!(files(self.disk), before, "{what}: a refusal changes nothing");
        self.disk.remove_now(self.name).unwrap();
        Case { damage: Removed, ..*self }.open(state);
    }
}

/// The documents as the last snapshot has them.
pub(crate) fn without_the_tail(state: &Documents) -> Documents {
    let mut documents = state.clone();
    documents.get_mut(&("tasks", "a".to_owned())).unwrap()["logs"] = serde_json::json!([]);
    documents
}

/// Whether a person could miss these bytes: they are not the engine's own, nor the beginning of them.
fn is_somebodys(whole: &SimFs, name: &str, bytes: &[u8]) -> bool {
    let is_engines = name.starts_with("wal/") || name == ".walden";
    !is_engines && !files(whole).into_values().flatten().any(|own| own.starts_with(bytes))
}

#[test]
fn any_one_file_damaged_opens_to_the_same_documents_is_told_and_costs_nobody_a_byte() {
    let (mut cases, mut refused) = (0, 0);
    for is_clean in [true, false] {
        let (whole, state) = reference(1, is_clean);
        let (other, _) = reference(50, is_clean);
        let names = whole.names();
        let has_tail = |name: &&String| {
            let bytes = whole.read_now(name).unwrap_or_default();
            name.ends_with(".wal") && bytes.windows(16).any(|text| text == b"in the log alone")
        };
        // Without a snapshot of them, the last write builds on those in the segment before.
        let head = names.iter().rposition(|name| has_tail(&name)).unwrap();
        let heads = &names[head - usize::from(!is_clean)..=head];
        for name in &names {
            for damage in DAMAGES {
                let disk = whole.if_killed();
                let Some(left) = inflict(&disk, &other, name, damage) else { continue };
                let case =
                    Case { disk: &disk, name, damage, is_clean, is_head: heads.contains(name) };
                cases += 1;
                if case.is_refused() {
                    refused += 1;
                    case.refuses(&state);
                    continue;
                }
                case.open(&state);
                let is_kept = || files(&disk).into_values().flatten().any(|bytes| bytes == left);
                // An edit is merged into its document.
                let must_be_kept = is_somebodys(&whole, name, &left) && !case.is_edit();
                assert!(!must_be_kept || is_kept(), "{}", case.what());
            }
        }
    }
    println!("{cases} cases, {refused} of them refused");
    assert!(cases > 230 && refused < 30, "{cases} cases, {refused} refused");
}
