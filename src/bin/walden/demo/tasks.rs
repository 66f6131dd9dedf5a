//! What the simulated agents write: tasks, patches and log entries that look like a day's work.
//!
//! Deterministic from a seed but for the times. Every write leaves a mark of its own in its task (a
//! key of `activity`, an entry of `logs`), so that each can be looked for after a crash.

use serde_json::{Value, json};
use walden::{Clock, LogEntry, SystemClock, Task, TaskStatus};

use crate::random::Random;

const VERBS: [&str; 8] = [
    "Add retries to",
    "Fix the flaky test of",
    "Document",
    "Speed up",
    "Split",
    "Write a fuzz target for",
    "Remove dead code from",
    "Handle timeouts in",
];
const PARTS: [&str; 10] = [
    "the session manager",
    "the webhook endpoint",
    "the token refresh",
    "the CSV importer",
    "the rate limiter",
    "the file watcher",
    "the search index",
    "the billing report",
    "the WebSocket reconnect",
    "the schema migration",
];
const WHY: [&str; 5] = [
    "Users see it about once a day, mostly after a deployment.",
    "The last incident review asks for it; keep the public interface as it is.",
    "It blocks the next release. Start from a failing test.",
    "Measured at 340 ms for 10k entries; the target is below 50 ms.",
    "See the discussion of last week: small steps, each with its own commit.",
];
const TOOLS: [&str; 4] = ["CLAUDECODE", "CODEX", "AIDER", "GEMINI"];
const DONE: [&str; 8] = [
    "read the code concerned",
    "wrote a failing test",
    "found the cause",
    "changed the implementation",
    "all unit tests pass",
    "ran the linter",
    "asked for a review",
    "answered the review",
];
const SAID: [&str; 8] = [
    "Running cargo test --workspace",
    "3 tests failed, looking at the first one",
    "Applied patch to src/session/manager.rs (+24 −7)",
    "Context window at 61 %, compacting",
    "Searching for callers of refresh_token()",
    "Benchmark: 41.8 ms ± 0.9 ms (n = 50)",
    "git commit -m \"Retry idempotent requests only\"",
    "Waiting for CI – run № 4711",
];
const ERRORS: [&str; 3] = [
    "the test environment was not reachable for 10 minutes",
    "two attempts gave different results; a person should look at it",
    "the dependency has no release with the fix yet",
];

#[derive(Debug)]
pub(super) struct Author {
    random: Random,
    clock: SystemClock,
}

impl Author {
    pub(super) fn new(seed: u64) -> Self {
        Author { random: Random::new(seed), clock: SystemClock::default() }
    }

    /// A number below `limit`, which must not be 0.
    pub(super) fn below(&mut self, limit: u64) -> u64 {
        self.random.below(limit)
    }

    fn one_of(&mut self, texts: &[&'static str]) -> &'static str {
        let count = u64::try_from(texts.len()).unwrap_or(1);
        let index = usize::try_from(self.below(count)).unwrap_or(0);
        texts.get(index).copied().unwrap_or_default()
    }

    fn now(&self) -> String {
        self.clock.now().to_string()
    }

    /// A new task; of another one's making, if it follows from one.
    pub(super) fn task(&mut self, id: &str, agent: &str, follows: Option<&str>) -> Task {
        let (verb, part, why) = (self.one_of(&VERBS), self.one_of(&PARTS), self.one_of(&WHY));
        let now = Some(self.now());
        let mut task = Task::new(id, format!("{verb} {part}\n\n{why}"));
        task.tool = Some(self.one_of(&TOOLS).to_owned());
        task.assigned_to = Some(agent.to_owned());
        task.created_at.clone_from(&now);
        task.updated_at = now;
        let metadata = json!({
            "priority": self.below(4),
            "estimated_minutes": 15 * (1 + self.below(8)),
            "follows": follows,
        });
        task.extra.insert("activity".to_owned(), json!({}));
        task.extra.insert("metadata".to_owned(), metadata);
        task
    }

    /// The beginning of work.
    pub(super) fn begin(&mut self) -> Value {
        let now = self.now();
        json!({
            "status": TaskStatus::InProgress,
            "started_at": now,
            "updated_at": now,
            "activity": {now: "started"},
        })
    }

    /// Some progress.
    pub(super) fn progress(&mut self) -> Value {
        let (now, done) = (self.now(), self.one_of(&DONE));
        json!({"updated_at": now, "activity": {now: done}})
    }

    /// The end of work, well or badly.
    pub(super) fn end(&mut self, well: bool) -> Value {
        let now = self.now();
        if !well {
            let error = self.one_of(&ERRORS);
            return json!({
                "status": TaskStatus::Failed,
                "updated_at": now,
                "error": error,
                "activity": {now: "gave up"},
            });
        }
        json!({
            "status": TaskStatus::Completed,
            "completed_at": now,
            "updated_at": now,
            "result": {
                "files_changed": 1 + self.below(9),
                "lines_added": self.below(400),
                "tests_passed": true,
            },
            "activity": {now: "completed"},
        })
    }

    /// Something to log.
    pub(super) fn entry(&mut self, agent: &str) -> LogEntry {
        let said = self.one_of(&SAID);
        let mut entry = match self.below(10) {
            0 => LogEntry::warn(said),
            1 | 2 => LogEntry::debug(said),
            _ => LogEntry::info(said),
        };
        entry.timestamp = Some(self.now());
        entry.kind = Some("agent".to_owned());
        entry.prefix = Some(agent.to_owned());
        if self.below(4) == 0 {
            entry.metadata = Some(json!({"tokens": 200 + self.below(9000)}));
        }
        entry
    }
}
