//! The process that is killed: many agents, each working through tasks with the store.
//!
//! Before a transaction is submitted its agent says `try AGENT [writes]`, and only after its commit
//! has returned `ack AGENT LSN`; each saying is one write to the pipe, so that a kill leaves whole
//! lines. Agents never share a task. A pipe that nobody reads any more ends the process.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, Write};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use walden::{Durability, Lsn, Result, Store, Task, TaskStatus};

use super::tasks::Author;
use crate::failure::{Failure, Outcome};

/// How often figures are told.
const FIGURES_EVERY: Duration = Duration::from_millis(100);

/// Works until it is killed.
pub(crate) fn work(dir: &Path, agents: u16, seed: u64) -> Outcome {
    let store = Store::open(dir)?;
    let tasks = store.load_tasks()?;
    let number_of = |task: &Task| task.id.strip_prefix("task_")?.parse::<u64>().ok();
    let next_number = AtomicU64::new(tasks.iter().filter_map(number_of).max().unwrap_or(0) + 1);
    let mut desks: BTreeMap<String, VecDeque<String>> = BTreeMap::new();
    for task in tasks {
        if let (TaskStatus::Pending | TaskStatus::InProgress, Some(agent)) =
            (task.status, task.assigned_to)
        {
            desks.entry(agent).or_default().push_back(task.id);
        }
    }
    thread::scope(|scope| {
        scope.spawn(|| tell_figures(&store));
        let running: Vec<_> = (0..agents)
            .map(|number| {
                let name = format!("agent-{number:02}");
                let author = Author::new(seed.wrapping_mul(1 << 20).wrapping_add(number.into()));
                let unfinished = desks.remove(&name).unwrap_or_default();
                let (store, next_number) = (&store, &next_number);
                let agent =
                    Agent { number, name, author, store, next_number, unfinished, current: None };
                scope.spawn(move || agent.run())
            })
            .collect();
        // An agent ends only when its store or its pipe fails, and then all is over.
        let ended = running.into_iter().filter_map(|agent| agent.join().ok()).find_map(Result::err);
        if let Some(failure) = &ended {
            // Where nobody listens any more, nobody needs to be told.
            let _ = say(&format!("fail {failure}\n"));
        }
        std::process::exit(1)
    })
}

fn say(lines: &str) -> io::Result<()> {
    // Stdout is line-buffered, and empty before each saying: it goes out in one write.
    let mut out = io::stdout().lock();
    out.write_all(lines.as_bytes())?;
    out.flush()
}

fn tell_figures(store: &Store) {
    let started = Instant::now();
    loop {
        let stats = store.commit_stats();
        let figures = json!({
            "micros": u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX),
            "groups": stats.groups,
            "records": stats.records,
            "flushes": stats.flushes,
            "tasks": store.view().metrics().total_tasks,
        });
        if say(&format!("figures {figures}\n")).is_err() {
            return;
        }
        thread::sleep(FIGURES_EVERY);
    }
}

/// One write of a transaction.
enum Change {
    Save(Task),
    Patch(String, Value),
    Log(String, walden::LogEntry),
    Delete(String),
}

impl Change {
    /// As in a trace.
    fn in_words(&self) -> Value {
        match self {
            Change::Save(task) => json!({"op": "save_task", "task": task}),
            Change::Patch(id, patch) => json!({"op": "patch_task", "id": id, "patch": patch}),
            Change::Log(id, entry) => json!({"op": "append_task_log", "id": id, "entry": entry}),
            Change::Delete(id) => json!({"op": "delete_task", "id": id}),
        }
    }
}

/// A task on an agent's desk.
struct Current {
    id: String,
    begun: bool,
    writes_left: u64,
}

/// One of many that work at the same time.
struct Agent<'a> {
    number: u16,
    name: String,
    author: Author,
    store: &'a Store,
    next_number: &'a AtomicU64,
    /// Left over by the process before this one.
    unfinished: VecDeque<String>,
    current: Option<Current>,
}

impl Agent<'_> {
    fn run(mut self) -> Result<(), Failure> {
        let mut changes = self.next_changes();
        self.announce("", &changes)?;
        loop {
            let lsn = self.submit(&changes)?;
            changes = self.next_changes();
            // One write tells of the commit that returned and of the one that follows.
            self.announce(&format!("ack {} {lsn}\n", self.number), &changes)?;
        }
    }

    fn announce(&self, before: &str, changes: &[Change]) -> io::Result<()> {
        let words: Vec<Value> = changes.iter().map(Change::in_words).collect();
        say(&format!("{before}try {} {}\n", self.number, Value::Array(words)))
    }

    fn submit(&self, changes: &[Change]) -> Result<Lsn> {
        let commit = self.store.submit(Durability::Sync, |tx| {
            changes.iter().try_for_each(|change| match change {
                Change::Save(task) => tx.save_task(task),
                Change::Patch(id, patch) => tx.patch_task(id, patch),
                Change::Log(id, entry) => tx.append_task_log(id, entry.clone()),
                Change::Delete(id) => tx.delete_task(id),
            })
        })?;
        commit.wait()
    }

    /// What the agent does next: take a task, begin it, work on it, end it in one of many ways.
    fn next_changes(&mut self) -> Vec<Change> {
        let Some(mut current) = self.current.take() else {
            let Some(id) = self.unfinished.pop_front() else { return vec![self.new_task(None)] };
            self.take_up(id);
            return self.next_changes();
        };
        let id = current.id.clone();
        if !current.begun {
            current.begun = true;
            self.current = Some(current);
            return vec![Change::Patch(id, self.author.begin())];
        }
        if current.writes_left > 0 {
            current.writes_left -= 1;
            self.current = Some(current);
            return vec![match self.author.below(3) {
                0 => Change::Patch(id, self.author.progress()),
                _ => Change::Log(id, self.author.entry(&self.name)),
            }];
        }
        match self.author.below(20) {
            0..13 => vec![Change::Patch(id, self.author.end(true))],
            13..16 => vec![Change::Patch(id, self.author.end(false))],
            16..19 => {
                let end = Change::Patch(id.clone(), self.author.end(true));
                vec![end, self.new_task(Some(&id))]
            }
            _ => vec![Change::Delete(id)],
        }
    }

    fn new_task(&mut self, follows: Option<&str>) -> Change {
        let id = format!("task_{:04}", self.next_number.fetch_add(1, Ordering::Relaxed));
        let task = self.author.task(&id, &self.name, follows);
        self.take_up(id);
        Change::Save(task)
    }

    fn take_up(&mut self, id: String) {
        let writes_left = 16 + self.author.below(32);
        self.current = Some(Current { id, begun: false, writes_left });
    }
}
