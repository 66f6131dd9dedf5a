//! The process that is broken: opens the store, says what it found, and works on it with many threads.
//!
//! It says `opening`, then `found LSN {documents}`, then of each transaction `try AGENT [writes]`
//! before it is submitted, and after it has returned `ack AGENT LSN` or, if it was buffered, `buf AGENT
//! LSN`; after so many of them `closing`, and `closed` when the shutdown has returned. `fail KIND WHY`
//! ends it. Each saying is one write to the pipe, so that a kill leaves whole lines.
//!
//! Documents are few and small, and the options such that rotations, checkpoints, backups and passes of
//! the mirror happen all the time: what is sought is the instant, not the load. Agents share nothing.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::{Map, Value, json};
use walden::fs::real::RealFs;
use walden::wal::LogOptions;
use walden::{Collection, Durability, Error, Lsn, Options, Result, Store};

use super::liar::LyingFs;
use crate::failure::Failure;
use crate::random::Random;

/// Tasks of each agent; it has one session besides, and that session's log.
const TASKS: u64 = 3;
/// Of a hundred transactions, how many wait for the disk. Where others wait at the same time, a buffered
/// one is flushed with them; so that some are not, this differs between processes.
const SYNC_PERCENT: [u64; 3] = [67, 1, 95];
/// One of so many acknowledgements is a lie, of an agent that lies.
const LIES_ONE_IN: u64 = 20;
/// Entries of a task's logs, and lines of a session's, after which they begin anew.
const ENTRIES_MAX: usize = 8;

/// Works until it is broken, or until so many transactions were made.
pub(crate) fn work(dir: &Path, threads: u16, seed: u64, steps: u64) -> ExitCode {
    let worked = say("opening\n").map_err(Failure::from).and_then(|()| {
        let store = open(dir)?;
        let found = found(dir, &store)?;
        say(&format!("found {} {}\n", store.view().lsn(), Value::Object(found.clone())))?;
        agents(dir, &store, threads, seed, steps, &found)?;
        say("closing\n")?;
        store.shutdown()?;
        Ok(say("closed\n")?)
    });
    if let Err(failure) = &worked {
        // Where nobody listens any more, nobody needs to be told.
        let _ = say(&format!("fail {} {failure}\n", failure.kind_and_code().0));
        std::process::exit(1);
    }
    ExitCode::SUCCESS
}

fn open(dir: &Path) -> Result<Store> {
    let options = Options {
        checkpoint_interval: Duration::from_millis(25),
        mirror_interval: Duration::from_millis(10),
        checkpoint_log_bytes: 64 << 10,
        backups: 2,
        backups_hourly: 0,
        backups_daily: 0,
        buffered_bytes_max: 64 << 10,
        buffered_age_max: Duration::from_millis(100),
        witness_after: Duration::from_millis(5),
        log: LogOptions {
            segment_bytes_min: 32 << 10,
            segment_bytes_max: 128 << 10,
            direct: true,
            reuse_group_bytes: 0,
        },
        ..Options::default()
    };
    let builder = Store::builder(dir).options(options);
    if !lies_about("flushes") {
        return builder.open();
    }
    let shown = dir.display().to_string();
    let fs = RealFs::create(dir).map_err(|error| Error::io("open", shown, error))?;
    builder.fs(Arc::new(LyingFs(fs))).open()
}

/// Whether this process is to break a promise on purpose, so that it can be seen that it is noticed.
fn lies_about(what: &str) -> bool {
    std::env::var_os("WALDEN_TORTURE_LIAR").is_some_and(|about| about == what)
}

fn say(lines: &str) -> io::Result<()> {
    // Stdout is line-buffered, and empty before each saying: it goes out in one write.
    let mut out = io::stdout().lock();
    out.write_all(lines.as_bytes())?;
    out.flush()
}

/// Every document by its id, and every session's log by its path.
fn found(dir: &Path, store: &Store) -> std::result::Result<Map<String, Value>, Failure> {
    let view = store.view();
    let mut found = Map::new();
    for collection in Collection::ALL {
        for (id, doc) in view.docs(collection) {
            let document = serde_json::from_str(doc.text());
            let document = document.map_err(|error| Error::corrupt(id.as_str(), 0, error))?;
            found.insert(id.to_string(), document);
        }
    }
    let logs = match fs::read_dir(dir.join("logs")) {
        Ok(logs) => logs,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
        Err(error) => return Err(Error::io("read", "logs", error).into()),
    };
    for log in logs {
        let failed = |error| Error::io("read", "logs", error);
        let path = log.map_err(failed)?.path();
        let text = fs::read_to_string(&path).map_err(failed)?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        found.insert(format!("logs/{name}"), Value::String(text));
    }
    Ok(found)
}

fn agents(
    dir: &Path,
    store: &Store,
    threads: u16,
    seed: u64,
    steps: u64,
    found: &Map<String, Value>,
) -> std::result::Result<(), Failure> {
    let left = AtomicU64::new(steps);
    let drawn = Random::new(seed).below(SYNC_PERCENT.len() as u64);
    let sync_percent =
        SYNC_PERCENT.get(usize::try_from(drawn).unwrap_or(0)).copied().unwrap_or(100);
    thread::scope(|scope| {
        let running: Vec<_> = (0..threads)
            .map(|number| {
                let mut agent = Agent {
                    number,
                    store,
                    random: Random::new(seed.wrapping_mul(1 << 20).wrapping_add(number.into())),
                    mark: format!("{seed}.{number}"),
                    marks: 0,
                    sync_percent,
                    lies: lies_about("acknowledgements"),
                    lengths: lengths(number, found),
                };
                let left = &left;
                scope.spawn(move || agent.run(left))
            })
            .collect();
        for agent in running {
            match agent.join() {
                Ok(ended) => ended?,
                Err(_) => return Err(Failure::Check(format!("{}: a panic", dir.display()))),
            }
        }
        Ok(())
    })
}

/// Of each document of an agent that is there, how many entries it has.
fn lengths(agent: u16, found: &Map<String, Value>) -> BTreeMap<String, usize> {
    let is_own = |name: &String| {
        let stem = name.trim_start_matches("logs/session_").trim_end_matches(".log");
        stem.split('-').nth(1) == Some(agent.to_string().as_str())
    };
    let length = |value: &Value| match value {
        Value::String(text) => text.lines().count(),
        other => other.get("logs").and_then(Value::as_array).map_or(0, Vec::len),
    };
    let own = found.iter().filter(|(name, _)| is_own(name));
    own.map(|(name, value)| (name.clone(), length(value))).collect()
}

/// One of many that work at the same time.
struct Agent<'a> {
    number: u16,
    store: &'a Store,
    random: Random,
    /// What no other agent of any process writes.
    mark: String,
    marks: u64,
    sync_percent: u64,
    /// Whether it acknowledges now and then what it did not write.
    lies: bool,
    lengths: BTreeMap<String, usize>,
}

impl Agent<'_> {
    fn run(&mut self, left: &AtomicU64) -> std::result::Result<(), Failure> {
        let take = |left: u64| left.checked_sub(1);
        while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok() {
            let is_sync = self.random.below(100) < self.sync_percent;
            // Outputs are always flushed.
            let is_output = is_sync && self.random.below(8) == 0;
            let step = if is_output { self.output() } else { self.writes() };
            say(&format!("try {} {}\n", self.number, Value::Array(step.clone())))?;
            let durability = if is_sync { Durability::Sync } else { Durability::Buffered };
            // What is built upon must be there, or the liar stumbles over its own lie.
            let makes = |op: &Value| op["op"].as_str().is_none_or(|op| op.starts_with("save_"));
            let can_lie = self.lies && !is_output && !step.iter().any(makes);
            let lsn = if can_lie && self.random.below(LIES_ONE_IN) == 0 {
                self.store.view().lsn()
            } else {
                submit(self.store, durability, &step)?
            };
            let word = if is_sync { "ack" } else { "buf" };
            say(&format!("{word} {} {lsn}\n", self.number))?;
        }
        Ok(())
    }

    fn next_mark(&mut self) -> String {
        self.marks += 1;
        format!("{}.{}", self.mark, self.marks)
    }

    /// One write, or several of them as a transaction, of different documents.
    fn writes(&mut self) -> Vec<Value> {
        let first = self.random.below(TASKS + 1);
        let count = if self.random.below(3) == 0 { 2 + self.random.below(TASKS) } else { 1 };
        (first..first + count).map(|document| self.write(document % (TASKS + 1))).collect()
    }

    fn write(&mut self, document: u64) -> Value {
        let is_task = document < TASKS;
        let (kind, what) =
            if is_task { ("task", document.to_string()) } else { ("session", "s".to_owned()) };
        let id = format!("{kind}-{}-{what}", self.number);
        let mark = self.next_mark();
        let drawn = self.random.below(10);
        match self.lengths.get(&id).copied() {
            Some(_) if drawn == 0 => {
                self.lengths.remove(&id);
                json!({"op": format!("delete_{kind}"), "id": id})
            }
            Some(_) if drawn < 5 => {
                let key = format!("key{}", self.random.below(5));
                let value = if drawn == 1 { Value::Null } else { json!(mark) };
                let patch = json!({"mark": mark, "status": "in_progress", key: value});
                json!({"op": format!("patch_{kind}"), "id": id, "patch": patch})
            }
            Some(length) if is_task && length < ENTRIES_MAX => {
                self.lengths.insert(id.clone(), length + 1);
                json!({"op": "append_task_log", "id": id, "entry": {"message": mark}})
            }
            _ => {
                self.lengths.insert(id.clone(), 0);
                let length = usize::try_from(self.random.below(600)).unwrap_or(0);
                let saved = json!({
                    "id": id, "description": "x".repeat(length), "mark": mark, "logs": [],
                });
                json!({"op": format!("save_{kind}"), kind: saved})
            }
        }
    }

    /// A line of the session's log, or the log anew.
    fn output(&mut self) -> Vec<Value> {
        let name = format!("logs/session_session-{}-s.log", self.number);
        let text = format!("{}\n", self.next_mark());
        let length = self.lengths.entry(name.clone()).or_default();
        *length += 1;
        let op = if *length > ENTRIES_MAX {
            *length = 1;
            "save_output"
        } else {
            "append_output"
        };
        vec![json!({"op": op, "name": name, "text": text})]
    }
}

/// Makes the writes that were announced, and no others.
fn submit(store: &Store, durability: Durability, step: &[Value]) -> Result<Lsn> {
    let text = |write: &Value, key: &str| {
        write.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    let op = |write: &Value| text(write, "op");
    if let [write] = step
        && op(write).ends_with("_output")
    {
        let name = text(write, "name");
        let id = name.trim_start_matches("logs/session_").trim_end_matches(".log");
        let lines = text(write, "text");
        return match op(write).as_str() {
            "save_output" => store.save_session_log(id, lines),
            _ => store.append_session_log(id, lines),
        };
    }
    let of = |write: &Value, key: &str| write.get(key).cloned().unwrap_or_default();
    let commit = store.submit(durability, |tx| {
        step.iter().try_for_each(|write| {
            let id = text(write, "id");
            match op(write).as_str() {
                "save_task" => tx.save_task_json(&of(write, "task").to_string()),
                "save_session" => tx.save_session_json(&of(write, "session").to_string()),
                "patch_task" => tx.patch_task(&id, &of(write, "patch")),
                "patch_session" => tx.patch_session(&id, &of(write, "patch")),
                "append_task_log" => tx.append_task_log_json(&id, &of(write, "entry").to_string()),
                "delete_task" => tx.delete_task(&id),
                "delete_session" => tx.delete_session(&id),
                other => Err(Error::invalid(other, "nothing that agents do")),
            }
        })
    })?;
    commit.wait()
}
