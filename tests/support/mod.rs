//! A generator of traces of the shapes that coding agents make: the same operations, ids with dots and
//! dashes, text that is not ASCII, nanosecond timestamps, nested metadata, results of many sizes.

pub(crate) mod merge;

use serde_json::{Value, json};

/// A small deterministic generator (`SplitMix64`, Steele, Lea and Flood 2014).
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Random(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound.max(1) as u64).unwrap()
    }

    pub(crate) fn pick<'a, T: ?Sized>(&mut self, of: &[&'a T]) -> &'a T {
        of[self.below(of.len())]
    }
}

const VERBS: [&str; 6] = ["Implement", "Fix", "Audit", "Überprüfe", "Refactor", "Describe"];
const THINGS: [&str; 6] = [
    "the merge driver",
    "«resume» after a crash",
    "schema 迁移",
    "retry → backoff",
    "ids",
    "JSON I/O",
];

fn time(at: u64) -> String {
    let (minutes, nanos) = (at / 60, at * 7_919 % 1_000_000_000);
    format!(
        "2026-01-{:02}T{:02}:{:02}:{:02}.{nanos:09}Z",
        1 + minutes / 1440 % 28,
        minutes / 60 % 24,
        minutes % 60,
        at % 60
    )
}

fn text(random: &mut Random, words: usize) -> String {
    let sentence =
        |random: &mut Random| format!("{} {}", random.pick(&VERBS), random.pick(&THINGS));
    (0..=words).map(|_| sentence(random)).collect::<Vec<_>>().join(".\n\n")
}

/// The lines of a trace over `tasks` tasks, each created, worked on and (mostly) completed, in a
/// random interleaving that keeps the order of each task.
pub(crate) fn trace(seed: u64, tasks: usize) -> Vec<String> {
    let mut random = Random::new(seed);
    let mut waiting: Vec<Vec<Value>> = (0..tasks).map(|n| history(&mut random, n)).collect();
    let mut lines = Vec::new();
    let mut clock = 0;
    while !waiting.is_empty() {
        let at = random.below(waiting.len().min(12));
        let mut op = waiting[at].remove(0);
        clock += 1 + random.below(90) as u64;
        op["at"] = json!(time(clock));
        lines.push(op.to_string());
        if waiting[at].is_empty() {
            waiting.remove(at);
        }
    }
    lines
}

fn history(random: &mut Random, n: usize) -> Vec<Value> {
    let id = format!("agent_rust-{}.{n:03x}", random.pick(&["q", "Zz", "b-7"]));
    let length = if random.below(20) == 0 { 400 } else { random.below(12) };
    let mut task = json!({
        "op": "save_task",
        "task": {
            "id": id, "description": text(random, length), "status": "pending",
            "tool": "CLAUDECODE", "created_at": time(n as u64), "updated_at": time(n as u64),
            "metadata": {"priority": random.below(5), "labels": ["x", "ü"], "estimate": null},
            "logs": [],
        },
    });
    if random.below(2) == 0 {
        task["task"]["assigned_to"] = json!(format!("agent-{}", random.below(9)));
    }
    let mut ops = vec![task];
    let started = json!({"status": "in_progress", "started_at": time(n as u64 + 60)});
    ops.push(json!({"op": "patch_task", "id": id, "patch": started}));
    for step in 0..random.below(4) {
        let entry = json!({"timestamp": time(step as u64), "level": "debug", "type": "output",
                           "message": text(random, 1)});
        ops.push(json!({"op": "append_task_log", "id": id, "entry": entry}));
    }
    if random.below(10) > 0 {
        let patch = json!({"status": "completed", "completed_at": time(n as u64 + 600),
                           "metadata": {"estimate": 3, "labels": null},
                           "result": {"summary": text(random, 2), "tests_passed": true}});
        ops.push(json!({"op": "patch_task", "id": id, "patch": patch}));
    }
    ops
}
