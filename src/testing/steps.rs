//! Workloads: the reference, which does everything that a store does at least once, and random ones.

use std::time::Duration;

use serde_json::{Value, json};

use crate::engine::Durability;
use crate::testing::{Change, Step, mix};

/// Saves a task with a text of about so many bytes; the round tells versions apart.
pub fn put(id: &str, bytes: usize, round: u32) -> Change {
    let text = "walden ".repeat(bytes / 7);
    Change::Put("tasks", json!({"id": id, "round": round, "description": text}))
}

fn session(id: &str, round: u32) -> Change {
    Change::Put("sessions", json!({"id": id, "round": round, "agent": {"name": "a7"}}))
}

fn patch(id: &str, round: u32) -> Change {
    let patch = json!({"round": round, "status": "in_progress", "meta": {"a": round, "b": null}});
    Change::Patch("tasks", id.to_owned(), patch)
}

fn append(id: &str, round: u32) -> Change {
    let entry = json!({"level": "info", "message": format!("step {round}")});
    Change::Append(id.to_owned(), entry)
}

fn delete(id: &str) -> Change {
    Change::Delete("tasks", id.to_owned())
}

fn sync(changes: impl Into<Vec<Change>>) -> Step {
    Step::Commit(Durability::Sync, changes.into())
}

fn buffered(changes: impl Into<Vec<Change>>) -> Step {
    Step::Commit(Durability::Buffered, changes.into())
}

fn rest(ms: u64) -> Step {
    Step::Rest(Duration::from_millis(ms))
}

/// The core of the reference: documents only, from the first opening to the last shutdown.
pub fn reference() -> Vec<Step> {
    vec![
        sync([put("a", 40, 1)]),
        sync([session("s", 2)]),
        sync([patch("a", 3)]),
        Step::Refused,
        sync([append("a", 4), append("a", 5), put("b", 600, 6)]),
        buffered([put("c", 40, 7)]),
        buffered([patch("b", 8)]),
        Step::Checkpoint,
        sync([delete("c"), put("A", 30, 9)]),
        buffered([append("b", 10)]),
        Step::Burst(vec![vec![put("d", 1500, 11)], vec![patch("d", 12), patch("a", 13)]]),
        rest(1500),
        rest(1500),
        Step::Edit("tasks/b.json", false),
        sync([put("b", 100, 14)]),
        Step::Checkpoint,
        sync([put("e", 5000, 15), put("big", 9000, 16)]),
        sync([put("e", 5000, 17)]),
        sync([delete("big"), session("s", 18)]),
        Step::Checkpoint,
        buffered([delete("e")]),
        Step::Sync,
        buffered([patch("a", 19)]),
        Step::Restart,
        sync([append("a", 20), put("f", 20, 21)]),
        Step::Edit("tasks/f.json", true),
        buffered([delete("A")]),
        Step::Checkpoint,
        sync([put("f", 20, 22)]),
    ]
}

/// The whole reference: its core, and then everything else: outputs, whole states, restores, more
/// documents than a segment holds, more openings.
pub fn whole_reference() -> Vec<Step> {
    let mut steps = reference();
    steps.extend([
        log("s", true, 30, 30),
        log("s", true, 31, 700),
        Step::Report("r", json!({"round": 32, "files": ["x", "y"]})),
        sync([put("g", 3000, 33), session("t", 34)]),
        Step::Checkpoint,
        log("t", true, 35, 1500),
        log("s", false, 36, 90),
        Step::Replace(&["f"], vec![json!({"id": "h", "round": 37})]),
        Step::Checkpoint,
        sync([delete("a"), put("h", 10, 38)]),
        Step::Restore,
        buffered([put("i", 200, 39)]),
        Step::Report("r", json!({"round": 40})),
        Step::Restart,
        log("t", true, 41, 10),
    ]);
    for round in 50..74 {
        let id = ["p", "q", "r", "ü/x"].map(|id| format!("{id}{}", round % 7));
        let changes = id.iter().map(|id| put(id, 900, round));
        steps.push(sync(changes.collect::<Vec<_>>()));
        if round % 6 == 1 {
            steps.push(buffered([delete(&format!("q{}", round % 7))]));
            steps.push(rest(400));
            steps.push(Step::Checkpoint);
        }
        if round % 8 == 3 {
            steps.push(Step::Restart);
        }
    }
    steps
}

fn log(id: &'static str, appends: bool, round: u32, bytes: usize) -> Step {
    Step::SessionLog(id, appends, format!("{round} {}\n", "line ".repeat(bytes / 5)))
}

/// So many steps, drawn from a seed.
pub fn random_steps(seed: u64, count: usize) -> Vec<Step> {
    let mut random = Random(mix(seed));
    (0..count).map(|round| random.step(u32::try_from(round).unwrap_or(u32::MAX))).collect()
}

struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = mix(self.0);
        (self.0 >> 16) % limit
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        let at = self.below(of.len() as u64);
        let at = usize::try_from(at).unwrap_or_default();
        *of.get(at).expect("one below the length")
    }

    fn id(&mut self) -> &'static str {
        self.pick(&["a", "A", "b", "c", "d.1", "ü/x", "con", "e"])
    }

    fn change(&mut self, round: u32) -> Change {
        let id = self.id();
        let bytes = self.pick(&[20, 20, 100, 600, 4000, 9000]);
        match self.below(9) {
            0..=2 => put(id, bytes, round),
            3 | 4 => patch(id, round),
            5 => append(id, round),
            6 => delete(id),
            7 => session(id, round),
            _ => Change::Delete("sessions", id.to_owned()),
        }
    }

    fn step(&mut self, round: u32) -> Step {
        let changes = |random: &mut Random, count: u64| -> Vec<Change> {
            (0..=random.below(count)).map(|_| random.change(round)).collect()
        };
        match self.below(40) {
            0..=13 => Step::Commit(Durability::Sync, changes(self, 3)),
            14..=20 => Step::Commit(Durability::Buffered, changes(self, 2)),
            21 | 22 => Step::Burst((0..3).map(|_| changes(self, 2)).collect()),
            23 => Step::Refused,
            24..=27 => Step::Checkpoint,
            28 => Step::Sync,
            29..=31 => rest(self.pick(&[1, 300, 1500, 40_000])),
            32 => Step::Edit(self.pick(&["tasks/a.json", "tasks/b.json"]), self.below(2) == 0),
            33 => {
                let (id, appends) = (self.pick(&["s", "t"]), self.below(3) > 0);
                log(id, appends, round, self.pick(&[10, 500, 3000]))
            }
            34 => Step::Report(self.pick(&["r", "q"]), json!({"round": round})),
            35 => Step::Replace(&["a", "c"], vec![json!({"id": "b", "round": round})]),
            36 => Step::Restore,
            _ => Step::Restart,
        }
    }
}

/// Documents in the directory of an earlier implementation, and what is in it.
pub(super) fn earlier() -> Vec<(&'static str, Value)> {
    let task = |id: &str, n: u32| json!({"id": id, "n": n, "updated_at": "2024-01-02T00:00:00Z"});
    let state = json!({
        "tasks": [task("old-a", 1), task("a", 2)],
        "sessions": [{"id": "old-s"}],
        "metrics": {"total_tasks": 2},
        "last_saved": "2024-01-02T00:00:00Z",
    });
    vec![
        ("state.json", state),
        ("tasks/a.json", task("a", 2)),
        ("tasks/old-b.json", task("old-b", 3)),
    ]
}
