//! Builds the copy, once for each kind of test program that is needed, proves that it passes with nothing switched on, and runs each bug's tests.
//!
//! A test program runs at most [`TIME_MAX`]; one that is still running then hangs, which counts as
//! caught and is told as such. Two run at a time.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use crate::source::{REACHED, SWITCH, make_tree, root};
use crate::{Bug, By, list};

const TIME_MAX: Duration = Duration::from_secs(900);
const AT_ONCE: usize = 2;
const SIGABRT: i32 = 6;

/// The built test programs, by their names.
struct Programs {
    tree: PathBuf,
    paths: BTreeMap<&'static str, PathBuf>,
}

/// How a run of tests ended.
#[derive(Debug)]
enum Ended {
    Passed {
        tests: usize,
    },
    /// The names of the tests that failed.
    Failed(Vec<String>),
    Hung,
    /// No verdict of the test program: it could not run, or was killed.
    Broken(String),
}

/// Runs the tests of each bug; panics if one of them lets its bug pass.
pub(crate) fn all(bugs: &[Bug]) {
    let begun = Instant::now();
    let programs = build(bugs);
    println!("built in {:.0} s", begun.elapsed().as_secs_f64());
    let commands: BTreeSet<By> = bugs.iter().map(|bug| bug.by).collect();
    let commands: Vec<By> = commands.into_iter().collect();
    let unsound = Mutex::new(Vec::new());
    side_by_side(&commands, |by| match programs.run(*by, None) {
        (Ended::Passed { tests }, _) if tests > 0 => {}
        (ended, _) => unsound.lock().unwrap().push(format!("{by:?}: {ended:?}")),
    });
    let unsound = unsound.into_inner().unwrap();
    assert!(unsound.is_empty(), "with no bug switched on:\n{}", unsound.join("\n"));
    let passed = begun.elapsed().as_secs_f64();
    println!("{} commands pass with no bug switched on ({passed:.0} s)", commands.len());

    let (done, missed) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    side_by_side(bugs, |bug| {
        let started = Instant::now();
        let (ended, is_reached) = programs.run(bug.by, Some(bug.name));
        let verdict = match &ended {
            Ended::Failed(tests) if is_reached => Ok(format!("caught by {}", tests.join(", "))),
            Ended::Hung if is_reached => Ok("caught: it hangs".to_owned()),
            Ended::Passed { tests } if is_reached => Err(format!("NOT CAUGHT by {tests} tests")),
            Ended::Passed { tests } => Err(format!("NOT REACHED by {tests} tests")),
            Ended::Broken(why) => Err(format!("NOT PROVEN: {why}")),
            Ended::Failed(_) | Ended::Hung => Err("NOT PROVEN: fails without it".to_owned()),
        };
        let number = done.fetch_add(1, Relaxed) + 1;
        let seconds = started.elapsed().as_secs_f64();
        let text = verdict.as_ref().unwrap_or_else(|why| why);
        println!("{number:3}/{} {:45} {seconds:6.1} s  {text}", bugs.len(), bug.name);
        if let Err(why) = verdict {
            missed
                .lock()
                .unwrap()
                .push(format!("{} ({}): {why}; {:?}", bug.name, bug.what, bug.by));
        }
    });
    let missed = missed.into_inner().unwrap();
    let caught = bugs.len() - missed.len();
    let minutes = begun.elapsed().as_secs_f64() / 60.0;
    println!("{} bugs planted, {caught} caught, {minutes:.1} min", bugs.len());
    assert!(missed.is_empty(), "{} bugs pass:\n{}", missed.len(), missed.join("\n"));
}

fn side_by_side<T: Sync>(items: &[T], each: impl Fn(&T) + Sync) {
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(item) = items.get(next.fetch_add(1, Relaxed)) {
                    each(item);
                }
            });
        }
    });
}

/// Builds all bugs, whichever are to be run: so nothing is built anew for another choice.
fn build(bugs: &[Bug]) -> Programs {
    let place = root().join("target/planted");
    let tree = place.join("tree");
    make_tree(&tree, &list::all());
    let is_scheduled = |bug: &Bug| matches!(bug.by, By::Schedules(_));
    let mut paths = BTreeMap::new();
    if !bugs.iter().all(is_scheduled) {
        let args = ["--lib", "--test", "guarantees"];
        compile(&tree, &place.join("build"), "", &args, &["walden", "guarantees"], &mut paths);
    }
    if bugs.iter().any(is_scheduled) {
        let (dir, flags) = (place.join("schedules"), "--cfg walden_shuttle");
        compile(&tree, &dir, flags, &["--test", "schedules"], &["schedules"], &mut paths);
    }
    Programs { tree, paths }
}

/// Compiles the test programs of these names, and notes where they are.
fn compile(
    tree: &Path,
    dir: &Path,
    flags: &str,
    args: &[&str],
    names: &[&'static str],
    paths: &mut BTreeMap<&'static str, PathBuf>,
) {
    let mut command = Command::new(env!("CARGO"));
    command
        .args(["test", "--no-run", "--no-default-features", "--features", "testing"])
        .args(args)
        .arg("--message-format=json")
        .env("CARGO_TARGET_DIR", dir)
        .env("CARGO_INCREMENTAL", "1")
        .current_dir(tree);
    if !flags.is_empty() {
        command.env("RUSTFLAGS", flags);
    }
    let built = command.stderr(Stdio::inherit()).output().unwrap();
    let messages = String::from_utf8_lossy(&built.stdout);
    let messages = || {
        let lines = messages.lines();
        lines.filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
    };
    let errors: Vec<String> = messages()
        .filter(|message| message["message"]["level"] == "error")
        .filter_map(|message| Some(message["message"]["rendered"].as_str()?.to_owned()))
        .collect();
    assert!(built.status.success(), "a bug does not compile:\n{}", errors.join("\n"));
    for name in names {
        let mut found = messages().filter(|message| {
            message["target"]["name"] == *name && message["profile"]["test"] == true
        });
        let program = found.find_map(|message| Some(message["executable"].as_str()?.to_owned()));
        let program = program.unwrap_or_else(|| panic!("no test program {name}"));
        paths.insert(name, PathBuf::from(program));
    }
}

impl Programs {
    /// Runs some tests, with a bug switched on or none; says how it ended, and whether the bug's code
    /// was reached.
    fn run(&self, by: By, bug: Option<&str>) -> (Ended, bool) {
        let program = match by {
            By::Lib(_) => "walden",
            By::Guarantees(_) => "guarantees",
            By::Schedules(_) => "schedules",
        };
        let of = bug
            .map_or_else(|| format!("{by:?}").replace(['"', ' ', '(', ')', ':'], "_"), Into::into);
        let marks = self.tree.with_file_name("marks");
        fs::create_dir_all(&marks).unwrap();
        let (mark, told) = (marks.join(format!("{of}.reached")), marks.join(format!("{of}.out")));
        let _ = fs::remove_file(&mark);
        let mut command = Command::new(&self.paths[program]);
        command
            .args(by.filter().split_whitespace())
            .env_remove("WALDEN_PLANTED")
            // Some bugs show in few of the random schedules.
            .env("WALDEN_SCHEDULES", "6000")
            .current_dir(&self.tree);
        if let Some(bug) = bug {
            command.env(SWITCH, bug).env(REACHED, &mark);
        }
        let out = fs::File::create(&told).unwrap();
        command.stdin(Stdio::null()).stderr(out.try_clone().unwrap()).stdout(out);
        let ended = wait(command, &told);
        (ended, mark.exists())
    }
}

fn wait(mut command: Command, told: &Path) -> Ended {
    let begun = Instant::now();
    let mut child = command.spawn().unwrap();
    let status = loop {
        match child.try_wait().unwrap() {
            Some(status) => break status,
            None if begun.elapsed() > TIME_MAX => {
                child.kill().unwrap();
                child.wait().unwrap();
                return Ended::Hung;
            }
            // One that failed is enough; the others may take long, or hang.
            None if !failed_in(told).is_empty() => {
                child.kill().unwrap();
                child.wait().unwrap();
                return Ended::Failed(failed_in(told));
            }
            None => thread::sleep(Duration::from_millis(50)),
        }
    };
    let failed = failed_in(told);
    match status.code() {
        Some(0) => Ended::Passed { tests: tests_that(" ... ok", told).len() },
        Some(101) if !failed.is_empty() => Ended::Failed(failed),
        // The tests' own watchdog ends them so; what it says is lost with what libtest captured.
        None if status.signal() == Some(SIGABRT) => Ended::Hung,
        _ => Ended::Broken(format!("{status}; see {}", told.display())),
    }
}

fn failed_in(told: &Path) -> Vec<String> {
    tests_that(" ... FAILED", told)
}

/// The tests whose lines end so.
fn tests_that(end: &str, told: &Path) -> Vec<String> {
    let text = String::from_utf8_lossy(&fs::read(told).unwrap()).into_owned();
    let lines = text.lines().filter_map(|line| line.strip_prefix("test "));
    lines.filter_map(|line| Some(line.strip_suffix(end)?.to_owned())).collect()
}
