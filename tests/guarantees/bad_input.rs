//! Bad input (G4, G5, G7): a store in which any one file or directory is cut, emptied, doubled, renamed,
//! swapped with another store's, blocked, unreadable or gone. It opens to the same documents wherever an
//! intact copy is left, says what it found, and loses nobody's bytes.

use std::io::ErrorKind;

use walden::fs::Kind;
use walden::fs::sim::SimFs;
use walden::{Error, Recovery, Store};

use crate::support::{Documents, at, documents, files, open};

/// What is done to one file at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Damage {
    Cut,
    OneByte,
    Emptied,
    Doubled,
    Renamed,
    Swapped,
    Directory,
    Special,
    IoError,
    Forbidden,
    Removed,
}

use Damage::{
    Cut, Directory, Doubled, Emptied, Forbidden, IoError, OneByte, Removed, Renamed, Special, Swapped,
};

const DAMAGES: [Damage; 11] = [
    Cut, OneByte, Emptied, Doubled, Renamed, Swapped, Directory, Special, IoError, Forbidden, Removed,
];

/// A store with every kind of file: tasks and sessions over several snapshots, a deletion, outputs, and a
/// tail that only the log holds if it was not shut down.
fn reference(seed: u64, is_clean: bool) -> (SimFs, Documents) {
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
        store.append_session_log("s", &format!("line {round}\n")).unwrap();
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
        _ if name.starts_with("state.backup.") => "state.backup.20250101T000000.000000000Z.json".to_owned(),
        Some(("wal", segment)) if segment.ends_with(".wal") => "wal/00000000000000000099.wal".to_owned(),
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
        Cut => bytes[..bytes.len() / 2].to_vec(),
        OneByte => bytes[..1.min(bytes.len())].to_vec(),
        Emptied => Vec::new(),
        Doubled => [bytes.as_slice(), &bytes].concat(),
        Swapped => like(other, name)?,
        IoError | Forbidden => {
            let error = if damage == IoError { ErrorKind::Other } else { ErrorKind::PermissionDenied };
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

fn try_one(whole: &SimFs, state: &Documents, disk: &SimFs, name: &str, damage: Damage, left: &[u8], is_clean: bool) -> Vec<String> {
    let mut wrong = Vec::new();
    let before = files(disk);
    let view = at(disk, 90).open_read_only();
    if files(disk) != before { wrong.push("reading changes bytes".into()); }
    let store = match open(disk, 91) { Ok(store) => store, Err(error) => { wrong.push(format!("refused: {error:?}; view {:?}", view.err())); return wrong } };
    let recovery = store.recovery();
    let found = documents(&store.view());
    match view { Err(error) => wrong.push(format!("view: {error}")), Ok(view) => if documents(&view) != found { wrong.push("view differs".into()) } }
    if found != *state { 
        let d: Vec<_> = state.iter().filter(|(k, v)| found.get(*k) != Some(v)).map(|(k,v)| (k.clone(), v.clone(), found.get(k).cloned())).collect();
        let more: Vec<_> = found.keys().filter(|k| !state.contains_key(*k)).collect();
        wrong.push(format!("documents differ: {d:?} more {more:?}"));
    }
    let about = |one: &str| one == name || one == new_name(name);
    if !recovery.problems.iter().any(|p| about(&p.file)) { wrong.push(format!("not told: {:?}", recovery.problems)); }
    if let Err(error) = store.save_task_json(r#"{"id": "new"}"#) { wrong.push(format!("save: {error}")); }
    let _ = store.delete_task("new");
    if let Err(error) = store.shutdown() { wrong.push(format!("shutdown: {error}")); }
    let own = files(whole);
    if !left.is_empty() && !own.values().flatten().any(|b| b == left) && !files(disk).values().flatten().any(|b| b == left) { wrong.push("bytes lost".into()); }
    match open(disk, 92) { Err(error) => wrong.push(format!("again: {error}")), Ok(again) => {
        if !again.recovery().clean { wrong.push(format!("again unclean: {:?}", again.recovery())); }
        if documents(&again.view()) != found { wrong.push("again differs".into()); }
    }}
    let _ = is_clean;
    wrong
}

#[test]
fn explore() {
    for is_clean in [true, false] {
        let (whole, state) = reference(1, is_clean);
        let (other, _) = reference(50, is_clean);
        println!("{:?}", whole.names());
        for name in whole.names() {
            for damage in DAMAGES {
                let disk = whole.if_killed();
                let Some(left) = inflict(&disk, &other, &name, damage) else { println!("SKIP {name} {damage:?}"); continue };
                for wrong in try_one(&whole, &state, &disk, &name, damage, &left, is_clean) {
                    println!("clean={is_clean} {name} {damage:?}: {}", wrong.chars().take(400).collect::<String>());
                }
            }
        }
    }
}
