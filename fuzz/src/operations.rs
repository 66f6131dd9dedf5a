//! A sequence of operations with faults, power cuts and kills, against a model that knows only what
//! was submitted and acknowledged.
//!
//! After each step the store reads as the model does; after each failure and each crash nothing
//! acknowledged is lost, nothing is there by half, and errors say what happened. At the end, whatever
//! came before, the files show the state, verify finds nothing, and no person's bytes are gone.

use std::time::Duration;

use serde_json::json;
use walden::Durability;
use walden::fs::sim::{CallKind, CrashMode, Fault};
use walden::testing::{Change, Step, put};

use super::input::Input;
use game::Game;
use outputs::Outputs;

mod game;
mod outputs;

const STEPS_MAX: usize = 40;
const TASKS: [&str; 5] = ["a", "A", "b", "c d", "e"];
const SIZES: [usize; 5] = [7, 100, 700, 4000, 9000];
const FILES: [&str; 4] = ["tasks/a.json", "tasks/b.json", "tasks/e.json", "sessions/s.json"];
const KINDS: [CallKind; 15] = [
    CallKind::Open,
    CallKind::Create,
    CallKind::CreateDir,
    CallKind::Read,
    CallKind::Write,
    CallKind::Sync,
    CallKind::WriteBack,
    CallKind::SyncDir,
    CallKind::SyncAll,
    CallKind::Rename,
    CallKind::Link,
    CallKind::Remove,
    CallKind::List,
    CallKind::Stat,
    CallKind::SetModified,
];

/// Runs one input.
pub fn run(data: &[u8]) {
    let mut input = Input(data);
    let mut game = Game::begin();
    let mut round = 0;
    for _ in 0..STEPS_MAX {
        if input.is_empty() {
            break;
        }
        round += 1;
        turn(&mut game, &mut input, round);
    }
    game.end();
}

fn turn(game: &mut Game, input: &mut Input<'_>, round: u32) {
    let step = match input.u8() % 20 {
        0..=3 => Step::Commit(Durability::Sync, changes(input, round)),
        4 | 5 => Step::Commit(Durability::Buffered, changes(input, round)),
        6 => Step::Burst(vec![changes(input, round), changes(input, round + 1000)]),
        7 => Step::Refused,
        8 => Step::Checkpoint,
        9 => Step::Sync,
        10 => Step::Rest(Duration::from_millis(u64::from(input.u8()) * 150)),
        11 => Step::Edit(input.one_of(&FILES), input.u8() & 1 == 0),
        12 => Step::Restart,
        13 => return game.read_beside(),
        14 => return game.output(input, Outputs::append),
        15 => return game.output(input, Outputs::replace),
        16 => return game.output(input, Outputs::report),
        17 => {
            let kind = input.one_of(&KINDS);
            return game.plan(kind, u64::from(input.u8() % 64) + 1, fault(kind, input));
        }
        18 => {
            let mode = crash_mode(input);
            return game.power_cut(mode, input);
        }
        _ => return game.kill(input),
    };
    game.step(&step, input);
}

/// One to three changes, told from all others by the round.
fn changes(input: &mut Input<'_>, round: u32) -> Vec<Change> {
    let count = input.below(3) + 1;
    (0..count).map(|_| change(input, round)).collect()
}

fn change(input: &mut Input<'_>, round: u32) -> Change {
    let what = input.u8();
    let id = TASKS[usize::from(what / 8) % TASKS.len()];
    match what % 8 {
        0..=2 => put(id, input.one_of(&SIZES), round),
        3 => Change::Put("sessions", json!({"id": "s", "round": round})),
        4 => {
            let patch = json!({"round": round, "status": "x", "meta": {"a": round, "b": null}});
            Change::Patch("tasks", id.to_owned(), patch)
        }
        5 => Change::Append(id.to_owned(), json!({"message": format!("step {round}")})),
        6 => Change::Delete("tasks", id.to_owned()),
        _ => Change::Delete("sessions", "s".to_owned()),
    }
}

/// What can come of a call of this kind.
fn fault(kind: CallKind, input: &mut Input<'_>) -> Fault {
    let is_transfer = matches!(kind, CallKind::Read | CallKind::Write);
    match input.u8() % 6 {
        0 => Fault::Sticky(std::io::ErrorKind::Other),
        1 => Fault::Error(std::io::ErrorKind::StorageFull),
        2 => Fault::Sticky(std::io::ErrorKind::StorageFull),
        3 if is_transfer => Fault::Short,
        4 if is_transfer => Fault::Error(std::io::ErrorKind::Interrupted),
        _ => Fault::Errno(5),
    }
}

fn crash_mode(input: &mut Input<'_>) -> CrashMode {
    match input.u8() % 4 {
        0 => CrashMode::Nothing,
        1 => CrashMode::Everything,
        _ => CrashMode::Random(u64::from(input.u16())),
    }
}
