//! One life of a working process after the other on the same directory: started, listened to, broken at
//! an instant that is drawn, and what it left held against the ledger by the next.
//!
//! How it is broken (a kill, a power cut) is the caller's. What the process had said by then is read to
//! the end. Invariant: what one life left in doubt stays in doubt until another opens the store and says
//! what it found, however many are broken before that.

use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use walden::Lsn;

use super::judge::{Seen, look};
use crate::ledger::check::Found;
use crate::ledger::{Ledger, Settled, read_lines};
use crate::random::Random;

/// Longest time between two stages of a life; more is a hang.
const STAGE_MAX: Duration = Duration::from_secs(60);
/// Longest time that a process works before it is broken.
const WORK_MAX: Duration = Duration::from_millis(50);

/// Where a life is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Moment {
    Opening,
    Work,
    Shutdown,
}

/// How far a life has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    #[default]
    Started,
    Opening,
    Found,
    Closing,
    Closed,
}

/// What came of one life.
#[derive(Debug, Default)]
pub(crate) struct Life {
    /// Where it was broken; nothing if it had ended before.
    pub(crate) broken: Option<Moment>,
    /// The check of what it found, if it came to that.
    pub(crate) settled: Option<Settled>,
    /// The look at its directory right after that.
    pub(crate) seen: Seen,
    /// What must never happen, in any kind of life.
    pub(crate) problems: Vec<String>,
    /// The failure that ended it before it was broken, or that it told when it was: kind, and words.
    pub(crate) failure: Option<String>,
    stage: Stage,
    opening_took: Option<Duration>,
    closing_took: Option<Duration>,
}

/// A directory, and what is known of it.
pub(crate) struct Subject {
    pub(crate) exe: PathBuf,
    pub(crate) dir: PathBuf,
    pub(crate) threads: u16,
    /// Whether what is broken forgets what was not flushed, as a disk does and a kernel does not.
    pub(crate) forgets: bool,
    /// Whether flushes do nothing.
    pub(crate) lies: bool,
    pub(crate) random: Random,
    ledger: Ledger,
    opening: Duration,
    closing: Duration,
}

impl Subject {
    pub(crate) fn new(exe: PathBuf, dir: PathBuf, threads: u16, seed: u64) -> Self {
        Subject {
            exe,
            dir,
            threads,
            forgets: false,
            lies: false,
            random: Random::new(seed),
            ledger: Ledger::default(),
            opening: Duration::from_millis(20),
            closing: Duration::from_millis(20),
        }
    }

    /// Goes on with a directory that is not there yet.
    pub(crate) fn begin_anew(&mut self, dir: PathBuf) {
        self.dir = dir;
        self.ledger = Ledger::default();
    }

    /// A life that ends by itself, so that what the one before left is checked.
    pub(crate) fn live_in_peace(&mut self) -> Result<Life, String> {
        let life = self.live_until(None, Duration::ZERO, 0, || Ok(()))?;
        match &life.failure {
            None if life.stage != Stage::Closed => Err("it was not to be broken".to_owned()),
            _ => Ok(life),
        }
    }

    /// A life that is broken by `strike`, mostly while it works.
    pub(crate) fn live(
        &mut self,
        strike: impl FnOnce() -> Result<(), String>,
    ) -> Result<Life, String> {
        let at = match self.random.below(20) {
            0..5 => Moment::Opening,
            5..8 => Moment::Shutdown,
            _ => Moment::Work,
        };
        let longest = match at {
            Moment::Opening => self.opening,
            Moment::Work => WORK_MAX,
            Moment::Shutdown => self.closing,
        };
        let micros = u64::try_from(longest.as_micros()).unwrap_or(u64::MAX);
        let delay = Duration::from_micros(self.random.below(micros.saturating_add(1)));
        let steps = match at {
            Moment::Shutdown => 1 + self.random.below(100),
            _ => u64::MAX,
        };
        self.live_until(Some(at), delay, steps, strike)
    }

    fn live_until(
        &mut self,
        at: Option<Moment>,
        delay: Duration,
        steps: u64,
        strike: impl FnOnce() -> Result<(), String>,
    ) -> Result<Life, String> {
        let lost = |error: std::io::Error| format!("the working process: {error}");
        let mut child = self.start(steps).map_err(lost)?;
        let pipe = child.stdout.take().ok_or("the working process has no pipe")?;
        let (sender, receiver) = channel();
        let (ledger, dir, forgets) = (&mut self.ledger, &self.dir, self.forgets);
        let (mut life, struck) = thread::scope(|scope| {
            let listener =
                scope.spawn(move || Listener::listen(pipe, ledger, dir, forgets, sender));
            let struck = match wait(&receiver, at, delay) {
                Ok(true) => strike().map(|()| true),
                other => other,
            };
            // It may have ended by itself; that is told by the stage that it reached.
            let ended = child.kill().and_then(|()| child.wait()).map_err(lost);
            let life = listener.join().map_err(|_| "the listener panicked".to_owned());
            let status = ended?;
            let mut life = life?;
            let at_ease = life.stage == Stage::Closed || life.failure.is_some();
            if struck == Ok(false) && !at_ease {
                life.problems.push(format!("the process ended by itself: {status}"));
            }
            Ok::<_, String>((life, struck))
        })?;
        match struck {
            Ok(true) => {
                life.broken = match life.stage {
                    Stage::Started | Stage::Opening => Some(Moment::Opening),
                    Stage::Found => Some(Moment::Work),
                    Stage::Closing => Some(Moment::Shutdown),
                    Stage::Closed => None,
                }
            }
            Ok(false) => {}
            Err(why) => life.problems.push(why),
        }
        for (typical, took) in
            [(&mut self.opening, life.opening_took), (&mut self.closing, life.closing_took)]
        {
            *typical = took.map_or(*typical, |took| (*typical * 7 + took) / 8);
        }
        Ok(life)
    }

    fn start(&mut self, steps: u64) -> std::io::Result<Child> {
        let mut command = Command::new(&self.exe);
        command.arg("torture-worker").arg(&self.dir);
        let seed = self.random.next() >> 32;
        command.args([self.threads.to_string(), seed.to_string(), steps.to_string()]);
        // What an opening finds after a crash is no news here; a panic is told all the same.
        command.env("WALDEN_LOG", "off");
        if self.lies {
            command.env("WALDEN_TORTURE_LIAR", "flushes");
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()
    }
}

/// Waits for the instant; `false` if the life ended before.
fn wait(stages: &Receiver<Stage>, at: Option<Moment>, delay: Duration) -> Result<bool, String> {
    let wanted = match at {
        Some(Moment::Opening) => Stage::Opening,
        Some(Moment::Work) => Stage::Found,
        Some(Moment::Shutdown) => Stage::Closing,
        // Nothing comes after it but the end.
        None => Stage::Closed,
    };
    let mut reached = Stage::Started;
    while reached < wanted || at.is_none() {
        match stages.recv_timeout(STAGE_MAX) {
            Ok(stage) => reached = stage,
            Err(RecvTimeoutError::Disconnected) => return Ok(false),
            Err(RecvTimeoutError::Timeout) => {
                let most = STAGE_MAX.as_secs();
                return Err(format!("nothing happens after {reached:?}, for {most} s"));
            }
        }
    }
    let instant = Instant::now() + delay;
    loop {
        match stages.recv_timeout(instant.saturating_duration_since(Instant::now())) {
            Ok(_) => {}
            Err(RecvTimeoutError::Timeout) => return Ok(true),
            Err(RecvTimeoutError::Disconnected) => return Ok(false),
        }
    }
}

/// Hears what one process says.
struct Listener<'a> {
    ledger: &'a mut Ledger,
    dir: &'a Path,
    forgets: bool,
    stages: Sender<Stage>,
    stage_began: Instant,
    life: Life,
}

impl<'a> Listener<'a> {
    fn listen(
        pipe: ChildStdout,
        ledger: &'a mut Ledger,
        dir: &'a Path,
        forgets: bool,
        stages: Sender<Stage>,
    ) -> Life {
        let (stage_began, life) = (Instant::now(), Life::default());
        let mut listener = Listener { ledger, dir, forgets, stages, stage_began, life };
        read_lines(pipe, |line| {
            if let Err(why) = listener.hear(line) {
                listener.life.problems.push(why);
            }
        });
        listener.life
    }

    fn hear(&mut self, line: &str) -> Result<(), String> {
        if self.ledger.hear(line)? {
            return Ok(());
        }
        match line.split_once(' ').unwrap_or((line, "")) {
            ("opening", _) => {
                self.reach(Stage::Opening);
            }
            ("found", rest) => {
                self.life.opening_took = Some(self.reach(Stage::Found));
                self.settle(rest)?;
                self.life.seen = look(self.dir);
            }
            ("closing", _) => {
                self.reach(Stage::Closing);
            }
            ("closed", _) => {
                self.life.closing_took = Some(self.reach(Stage::Closed));
                self.ledger.all_is_durable();
            }
            ("fail", why) => self.life.failure = Some(why.to_owned()),
            _ => return Err(format!("it said {line:?}")),
        }
        Ok(())
    }

    /// Gives the time since the stage before.
    fn reach(&mut self, stage: Stage) -> Duration {
        self.life.stage = stage;
        // The one who waits for the instant may have given up.
        let _ = self.stages.send(stage);
        let took = self.stage_began.elapsed();
        self.stage_began = Instant::now();
        took
    }

    fn settle(&mut self, found: &str) -> Result<(), String> {
        let strange = || "what it found cannot be read".to_owned();
        let (lsn, documents) = found.split_once(' ').ok_or_else(strange)?;
        let lsn = Lsn(lsn.parse().map_err(|_| strange())?);
        let found: Found = serde_json::from_str(documents).map_err(|_| strange())?;
        let settled = if self.forgets {
            self.ledger.settle_after_loss(&found, lsn)?
        } else {
            self.ledger.settle_after_kill(&found, lsn)?
        };
        self.life.problems.extend(settled.checked.problems.iter().cloned());
        self.life.settled = Some(settled);
        Ok(())
    }
}
