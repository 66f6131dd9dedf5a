//! Process kills: `walden replay --acks` is killed at random instants, again and again on the same
//! directory. No acknowledged operation is ever missing, and no task is ever in a state it did not have.
//!
//! `WALDEN_KILLS` sets the number of kills for each trace (default 12), `WALDEN_KILL_SEED` the seed. The
//! oracle applies the trace to `serde_json` values and shares no code with the store.

#![cfg(feature = "cli")]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "helpers of tests fail by panicking, and say on stdout what was done"
)]

mod support;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use serde_json::Value;
use support::Random;
use support::merge::merge;

/// A task's states, after each operation on it; and the line of each.
type History = Vec<(usize, Value)>;

/// Every state that every task goes through.
fn histories(lines: &[String]) -> HashMap<String, History> {
    let mut histories: HashMap<String, History> = HashMap::new();
    for (number, line) in (1..).zip(lines) {
        if line.trim().is_empty() {
            continue;
        }
        let op: Value = serde_json::from_str(line).unwrap();
        let id = op["id"].as_str().or(op["task"]["id"].as_str()).unwrap().to_owned();
        let history = histories.entry(id).or_default();
        let mut state = history.last().map_or(Value::Null, |(_, state)| state.clone());
        match op["op"].as_str().unwrap() {
            "save_task" => state = op["task"].clone(),
            "patch_task" => merge(&mut state, &op["patch"]),
            "append_task_log" => {
                let logs = state.as_object_mut().unwrap().entry("logs").or_insert(Value::Null);
                if logs.is_null() {
                    *logs = Value::Array(Vec::new());
                }
                logs.as_array_mut().unwrap().push(op["entry"].clone());
            }
            other => panic!("an operation that the oracle does not know: {other}"),
        }
        history.push((number, state));
    }
    histories
}

fn walden(dir: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_walden"));
    command.arg("--dir").arg(dir).args(words).stdin(Stdio::null()).env_remove("STATE_PATH");
    command
}

fn stored(dir: &Path) -> BTreeMap<String, Value> {
    if !dir.exists() {
        return BTreeMap::new();
    }
    let output = walden(dir, &["list", "--format", "json"]).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "list after a kill: {errors}");
    let parse = |line: &[u8]| serde_json::from_slice::<Value>(line).unwrap();
    let lines = output.stdout.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines.map(parse).map(|task| (task["id"].as_str().unwrap().to_owned(), task)).collect()
}

/// When to pull the trigger.
#[derive(Debug)]
enum Trigger {
    /// After so many acknowledgements and so long.
    Acks(usize, Duration),
    /// After so long from the start, so also while it opens.
    Time(Duration),
}

/// Runs `replay` until the trigger; gives the acknowledged lines, and whether it was still at work.
fn run_and_kill(dir: &Path, trace: &Path, threads: usize, trigger: &Trigger) -> (Vec<usize>, bool) {
    let threads = threads.to_string();
    let words = ["replay", trace.to_str().unwrap(), "--acks", "--threads", &threads];
    let mut child =
        walden(dir, &words).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let stdout = child.stdout.take().unwrap();
    let (sender, receiver) = channel();
    let reader = std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            let ack: Value = serde_json::from_str(&line).expect("nothing but whole acks on stdout");
            assert!(ack["lsn"].as_u64().unwrap() > 0);
            let _ = sender.send(usize::try_from(ack["line"].as_u64().unwrap()).unwrap());
        }
    });
    let begun = Instant::now();
    let mut acked = Vec::new();
    let deadline = match trigger {
        Trigger::Acks(..) => Duration::from_secs(60),
        Trigger::Time(time) => *time,
    };
    loop {
        if matches!(trigger, Trigger::Acks(count, _) if acked.len() >= *count) {
            break;
        }
        match receiver.recv_timeout(deadline.saturating_sub(begun.elapsed())) {
            Ok(line) => acked.push(line),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
        }
    }
    if let Trigger::Acks(_, more) = trigger {
        std::thread::sleep(*more);
    }
    let at_work = child.try_wait().unwrap().is_none();
    // A process that has ended meanwhile cannot be killed; then it is not counted either.
    let _ = child.kill();
    let status = child.wait().unwrap();
    reader.join().unwrap();
    acked.extend(receiver.try_iter());
    let killed = at_work && !status.success();
    assert!(killed || status.success(), "replay failed by itself: {status}");
    (acked, killed)
}

/// Holds what is stored against what was acknowledged in this run and what was stored before it.
fn check(
    histories: &HashMap<String, History>,
    acked: &[usize],
    before: &BTreeMap<String, Value>,
    after: &BTreeMap<String, Value>,
) -> Result<(), String> {
    let acked: HashSet<usize> = acked.iter().copied().collect();
    if let Some(id) = after.keys().find(|id| !histories.contains_key(*id)) {
        return Err(format!("a task that nobody saved: {id}"));
    }
    for (id, history) in histories {
        let done = history.iter().take_while(|(line, _)| acked.contains(line)).count();
        if let Some((line, _)) = history.iter().skip(done).find(|(line, _)| acked.contains(line)) {
            return Err(format!("{id}: line {line} was acknowledged out of order"));
        }
        let found = after.get(id);
        // Nothing of this run was acknowledged for the task: it may also be as it was before.
        let untouched = done == 0 && found == before.get(id);
        let states = &history[done.saturating_sub(1)..];
        if !untouched && !states.iter().any(|(_, state)| Some(state) == found) {
            let all = history.len();
            let seen = format!("{done} of {all} operations were acknowledged");
            return Err(format!("{id}: {seen}, and it is stored as {found:#?}"));
        }
    }
    Ok(())
}

fn kill_loop(name: &str, lines: &[String]) {
    let number = |name: &str, default| {
        std::env::var(name).ok().map_or(default, |text| text.parse::<u64>().expect(name))
    };
    let (kills, seed) = (number("WALDEN_KILLS", 12), number("WALDEN_KILL_SEED", 1));
    let scratch = tempfile::tempdir().unwrap();
    let trace: PathBuf = scratch.path().join("trace.jsonl");
    std::fs::write(&trace, lines.join("\n")).unwrap();
    let histories = histories(lines);
    let mut random = Random::new(seed);
    let mut dir = scratch.path().join("store");
    let (mut at_work, mut acks, mut longest) = (0, 0, Duration::from_millis(300));
    for round in 0..kills {
        if random.below(4) == 0 {
            dir = scratch.path().join(format!("store-{round}"));
        }
        let before = stored(&dir);
        let trigger = if random.below(3) == 0 {
            Trigger::Time(longest * u32::try_from(random.below(1000)).unwrap() / 1000)
        } else {
            let micros = random.below(3000) as u64;
            Trigger::Acks(random.below(lines.len()), Duration::from_micros(micros))
        };
        let threads = [1, 4, 16][random.below(3)];
        let begun = Instant::now();
        let (acked, killed) = run_and_kill(&dir, &trace, threads, &trigger);
        longest = longest.max(begun.elapsed().min(Duration::from_secs(5)));
        let after = stored(&dir);
        if let Err(why) = check(&histories, &acked, &before, &after) {
            panic!("round {round} of seed {seed}, {threads} threads, {trigger:?}: {why}");
        }
        at_work += u64::from(killed);
        acks += acked.len();
    }
    let verified = walden(&dir, &["verify", "--format", "json"]).output().unwrap();
    if dir.exists() {
        assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stdout));
    }
    println!(
        "{name}: {kills} kills, {at_work} of them into the work, {acks} acknowledged operations checked"
    );
    assert!(at_work * 2 >= kills, "too few kills fell into the work to prove anything");
    assert!(acks > 0, "nothing was acknowledged");
}

#[test]
fn an_acknowledged_operation_survives_a_kill_at_any_instant() {
    kill_loop("generated trace", &support::trace(7, 150));
}

#[test]
fn an_acknowledged_operation_of_the_real_trace_survives_a_kill_at_any_instant() {
    let Some(folder) = std::env::var_os("WALDEN_REAL_DATA") else {
        println!("skipped: WALDEN_REAL_DATA does not name the folder of the real trace");
        return;
    };
    let text = std::fs::read_to_string(Path::new(&folder).join("agent-trace.jsonl")).unwrap();
    kill_loop("real trace", &text.lines().map(str::to_owned).collect::<Vec<_>>());
}

#[test]
fn the_check_rejects_a_lost_acknowledgement_and_a_state_that_never_was() {
    let lines = support::trace(3, 5);
    let histories = histories(&lines);
    let all: Vec<usize> = (1..=lines.len()).collect();
    let last = |history: &History| history.last().unwrap().1.clone();
    let whole: BTreeMap<String, Value> =
        histories.iter().map(|(id, history)| (id.clone(), last(history))).collect();
    let nothing = BTreeMap::new();
    assert_eq!(check(&histories, &all, &nothing, &whole), Ok(()));
    let rejects =
        |after: &BTreeMap<String, Value>| check(&histories, &all, &nothing, after).is_err();
    let (id, history) = histories.iter().find(|(_, history)| history.len() > 2).unwrap();
    let mut behind = whole.clone();
    behind.insert(id.clone(), history[history.len() - 2].1.clone());
    assert!(rejects(&behind), "one acknowledged operation is missing");
    let mut gone = whole.clone();
    gone.remove(id);
    assert!(rejects(&gone), "a task is missing");
    let mut strange = whole.clone();
    strange.get_mut(id).unwrap()["status"] = "never".into();
    assert!(rejects(&strange), "a state that never was");
}
