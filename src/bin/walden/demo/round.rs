//! One life of the working process: started, listened to, killed in full flight.
//!
//! The process is killed from outside while it works; what it had said by then is read to the end,
//! and a last line without its end counts as not said.

use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde::Deserialize;

use super::live::Live;
use crate::failure::Failure;
use crate::ledger::{Ledger, read_lines};

const TICK: Duration = Duration::from_millis(100);
/// Longest time until a worker that was started says something.
const START_MAX: Duration = Duration::from_secs(30);

/// What a working process counts.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub(super) struct Figures {
    pub(super) micros: u64,
    pub(super) groups: u64,
    pub(super) records: u64,
    pub(super) flushes: u64,
    pub(super) tasks: u64,
    /// Transactions acknowledged; counted by who listens.
    #[serde(skip)]
    pub(super) commits: u64,
}

impl Figures {
    /// Adds those of another process, which ran after this one.
    pub(super) fn add(&mut self, other: &Figures) {
        self.micros += other.micros;
        self.groups += other.groups;
        self.records += other.records;
        self.flushes += other.flushes;
        self.commits += other.commits;
        self.tasks = other.tasks;
    }

    /// `count` a second.
    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    pub(super) fn per_second(&self, count: u64) -> f64 {
        count as f64 / (self.micros.max(1) as f64 / 1e6)
    }

    /// Records that a group made durable, on average.
    #[expect(clippy::cast_precision_loss, reason = "an average for people")]
    pub(super) fn group_size(&self) -> f64 {
        self.records as f64 / self.groups.max(1) as f64
    }
}

/// What a listener has heard.
struct Heard<'a> {
    ledger: &'a mut Ledger,
    figures: Figures,
    failure: Option<String>,
}

/// Lets a process work for `time`, and kills it.
pub(super) fn run(
    dir: &Path,
    agents: u16,
    number: u16,
    time: Duration,
    ledger: &mut Ledger,
    live: &mut Live,
) -> Result<Figures, Failure> {
    let lost = |error: std::io::Error| Failure::Check(format!("the working process: {error}"));
    let mut child = Command::new(std::env::current_exe().map_err(lost)?)
        .arg("demo-worker")
        .arg(dir)
        .args([agents.to_string(), number.to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(lost)?;
    let Some(pipe) = child.stdout.take() else {
        return Err(Failure::Check("the working process has no pipe".to_owned()));
    };
    let heard = Mutex::new(Heard { ledger, figures: Figures::default(), failure: None });
    let watched = thread::scope(|scope| {
        scope.spawn(|| listen(pipe, &heard));
        let watched = watch(&mut child, time, live, &heard);
        // It may have ended by itself; that is told below.
        let killed = child.kill().and_then(|()| child.wait());
        watched.and_then(|()| killed.map(|_| ()).map_err(lost))
    });
    let Heard { figures, failure, .. } = heard.into_inner();
    match failure {
        Some(failure) => Err(Failure::Check(format!("the working process: {failure}"))),
        None => watched.map(|()| figures),
    }
}

/// Waits until the process has worked long enough.
fn watch(
    child: &mut Child,
    time: Duration,
    live: &mut Live,
    heard: &Mutex<Heard<'_>>,
) -> Result<(), Failure> {
    let begun = Instant::now();
    let mut working_since = None;
    loop {
        thread::sleep(TICK);
        let figures = heard.lock().figures;
        if child.try_wait().is_ok_and(|ended| ended.is_some()) {
            return Err(Failure::Check("the working process ended by itself".to_owned()));
        }
        let since = match working_since {
            Some(since) => since,
            None if figures.commits > 0 => *working_since.insert(Instant::now()),
            None if begun.elapsed() > START_MAX => {
                return Err(Failure::Check("the working process does not start".to_owned()));
            }
            None => continue,
        };
        live.show(TICK, &figures)?;
        if since.elapsed() + TICK > time {
            thread::sleep(time.saturating_sub(since.elapsed()));
            return Ok(());
        }
    }
}

/// Reads what the process says, to the end.
fn listen(pipe: ChildStdout, heard: &Mutex<Heard<'_>>) {
    read_lines(pipe, |line| {
        let mut heard = heard.lock();
        if let Err(why) = hear(&mut heard, line) {
            heard.failure.get_or_insert(why);
        }
    });
}

fn hear(heard: &mut Heard<'_>, line: &str) -> Result<(), String> {
    if heard.ledger.hear(line)? {
        heard.figures.commits += u64::from(line.starts_with("ack "));
        return Ok(());
    }
    let strange = || format!("it said {line:?}");
    match line.split_once(' ') {
        Some(("figures", rest)) => {
            let commits = heard.figures.commits;
            heard.figures = serde_json::from_str(rest).map_err(|_| strange())?;
            heard.figures.commits = commits;
            Ok(())
        }
        Some(("fail", why)) => Err(why.to_owned()),
        _ => Err(strange()),
    }
}
