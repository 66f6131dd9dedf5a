//! What an input does to a directory: each change takes a name, of a file that is there or any that
//! the engine knows, and a kind of damage.

use std::io::ErrorKind;

use serde_json::Value;
use walden::fs::sim::SimFs;
use walden::fs::{Fs, Kind};

use super::reference::{REFERENCES, Reference};
use super::{Input, reseal};

/// Names that the engine gives a meaning, besides those of the files that are there.
const NAMES: [&str; 34] = [
    "state.json",
    ".walden",
    "tasks",
    "sessions",
    "wal",
    "logs",
    "reports",
    "conflicts",
    "quarantine",
    "wal/state.index",
    "wal/state.swap",
    "wal/state.part",
    "wal/owner.part",
    "wal/mirror.part",
    "wal/index.part",
    "wal/conflict.part",
    "wal/swap.tasks.a.json",
    "wal/swap.tasks.z.json",
    "wal/output.00000000000000000000.logs.session_s.log",
    "wal/output.00000000000000000031.reports.report_r.json",
    "wal/00000000000000000001.wal",
    "wal/00000000000000000004.wal",
    "wal/00000000000000000099.wal",
    "wal/00000000000000000005.tmp",
    "tasks/a.json",
    "tasks/new.json",
    "tasks/.a.json.swp",
    "sessions/s.json",
    "state.backup.1700000000000.json",
    "state.backup.20990101T000000.000000000Z.json",
    "state.pre-migration.backup.json",
    "state.migration-v1-to-v2.log",
    "archive/2026-01.jsonl",
    "notes.txt",
];
const SECTOR: usize = 512;
const FILE_BYTES_MAX: usize = 128 << 10;

/// A disk that is being damaged, and what can be said of the damage.
pub(super) struct Damaged<'a> {
    disk: &'a SimFs,
    /// What was done, one line a change.
    pub(super) files: Vec<String>,
    /// Files that the disk does not give.
    spoiled: Vec<String>,
    /// Something else than a file has a name, or the disk does not give a file.
    pub(super) is_blocked: bool,
    /// Nothing was written that anybody could believe, nor, but by rot, into a mirror file.
    pub(super) is_only_damage: bool,
}

impl<'a> Damaged<'a> {
    pub(super) fn new(disk: &'a SimFs) -> Self {
        Damaged {
            disk,
            files: Vec::new(),
            spoiled: Vec::new(),
            is_blocked: false,
            is_only_damage: true,
        }
    }

    /// Does what the input says next; what is impossible is not done.
    pub(super) fn change(&mut self, input: &mut Input<'_>, reference: &Reference) {
        let mut names = self.disk.names();
        let there = names.len();
        names.extend(NAMES.map(str::to_owned));
        let name = names[input.below(names.len())].clone();
        let kind = input.u8();
        let other = &REFERENCES[input.below(REFERENCES.len())];
        self.files.push(format!("{name}: {}", kind % 16));
        let is_rot = kind & 64 != 0 && matches!(kind % 16, 0 | 2 | 3);
        let is_there = reference.disk.read_now(&name).is_some();
        self.is_only_damage &= is_there && (is_rot || !is_mirror(&name));
        let bytes = self.disk.read_now(&name).unwrap_or_default();
        let place = usize::from(input.u16()) % bytes.len().max(1);
        let changed = match kind % 16 {
            0..=3 => spoilt(kind % 16, bytes, place, input),
            4 | 5 => {
                self.is_only_damage = false;
                let from = names[input.below(there.max(1))].clone();
                let from = if kind.is_multiple_of(2) { &from } else { &name };
                let theirs = other.disk.read_now(from).unwrap_or_default();
                spliced(&bytes[..place], &theirs, kind & 16 == 0)
            }
            6 => return self.remove(&name),
            7 | 8 => return self.plant(&name, kind.is_multiple_of(2)),
            9 => {
                self.is_only_damage = false;
                let count = usize::from(input.u8());
                input.bytes(count).to_vec()
            }
            10 => {
                let count = usize::from(input.u8() % 64);
                [&bytes[..], input.bytes(count)].concat()
            }
            11 | 12 => {
                self.is_only_damage = false;
                let mut bytes = bytes;
                let count = usize::from(input.u8() % 24);
                for (place, byte) in bytes[place..].iter_mut().zip(input.bytes(count)) {
                    *place = *byte;
                }
                reseal::file(&name, &mut bytes);
                bytes
            }
            13 => {
                self.is_only_damage = false;
                let to = names[input.below(names.len())].clone();
                self.files.push(format!("to {to}"));
                self.write(&to, &bytes, kind);
                return;
            }
            14 => {
                // A disk fails where there is something to read.
                if !bytes.is_empty() && self.disk.spoil_now(&name, ErrorKind::Other).is_ok() {
                    self.is_blocked = true;
                    self.spoiled.push(name);
                }
                return;
            }
            _ => [&bytes[..], &bytes[..]].concat(),
        };
        if is_rot {
            return self.rot(&name, &changed);
        }
        // What can be read as a state may be somebody's edit of it.
        let is_json = || serde_json::from_slice::<Value>(&changed).is_ok();
        self.is_only_damage &= name != "state.json" || !is_json();
        self.write(&name, &changed, kind);
    }

    /// The medium forgets what it held, which leaves no trace in the file's `stat`.
    fn rot(&mut self, name: &str, bytes: &[u8]) {
        let before = self.disk.read_now(name).unwrap_or_default();
        for (place, (old, new)) in before.iter().zip(bytes).enumerate() {
            if old != new {
                self.disk.corrupt(name, place as u64, old ^ new).unwrap();
            }
        }
    }

    /// Gives a file these contents: in place, or as another inode.
    fn write(&mut self, name: &str, bytes: &[u8], kind: u8) {
        let bytes = bytes.get(..FILE_BYTES_MAX).unwrap_or(bytes);
        let is_other_inode = kind & 32 != 0 || self.spoiled.iter().any(|spoiled| spoiled == name);
        let written = if is_other_inode {
            self.disk.save_now(name, bytes)
        } else {
            self.disk.write_now(name, bytes)
        };
        // A file where a directory should be blocks it.
        let is_directory = !name.contains('/') && !name.contains('.');
        self.is_blocked |= written.is_ok() && is_directory;
    }

    /// A directory is moved away with all that is in it.
    fn remove(&mut self, name: &str) {
        if self.disk.remove_now(name).is_err() {
            let moved = format!("moved{}", self.files.len());
            if self.disk.rename(name, &moved).is_ok() {
                self.is_only_damage &= !["tasks", "sessions"].contains(&name);
                self.disk.sync_dir("").unwrap();
            }
        }
    }

    fn plant(&mut self, name: &str, is_directory: bool) {
        self.remove(name);
        let kind = if is_directory { Kind::Directory } else { Kind::Other };
        self.is_blocked |= self.disk.plant_now(name, kind).is_ok();
    }
}

fn is_mirror(name: &str) -> bool {
    name.starts_with("tasks") || name.starts_with("sessions")
}

/// The beginning of one and all of another, or what that has from there on.
fn spliced(begin: &[u8], other: &[u8], is_rest: bool) -> Vec<u8> {
    let from = if is_rest { begin.len() } else { 0 };
    [begin, other.get(from..).unwrap_or_default()].concat()
}

/// What a bad medium makes of a file.
fn spoilt(kind: u8, bytes: Vec<u8>, place: usize, input: &mut Input<'_>) -> Vec<u8> {
    match kind {
        0 => flipped(bytes, place, input.u8()),
        1 => bytes[..place].to_vec(),
        2 => sector(bytes, place, |_| 0),
        _ => {
            let add = input.u8();
            sector(bytes, place, |byte| byte.wrapping_add(add))
        }
    }
}

fn flipped(mut bytes: Vec<u8>, place: usize, mask: u8) -> Vec<u8> {
    if let Some(byte) = bytes.get_mut(place) {
        *byte ^= mask;
    }
    bytes
}

fn sector(mut bytes: Vec<u8>, place: usize, of: impl Fn(u8) -> u8) -> Vec<u8> {
    let from = place / SECTOR * SECTOR;
    for byte in bytes.iter_mut().skip(from).take(SECTOR) {
        *byte = of(*byte);
    }
    bytes
}
