//! One run: its directory, its progress, and how it is interrupted.
//!
//! Invariants: the directory is this run's own and is removed however the run ends, short of being killed;
//! nothing beside it is touched. After Ctrl-C whatever is measured just then is stopped and all that
//! follows is refused; a second Ctrl-C ends the process at once.

use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use walden::{Error, Result};

use super::args::Plan;
use super::load::{self, Load, Target, Turn, float};
use crate::failure::Failure;
use crate::host;
use crate::output::{self, thousands};

/// So much longer than planned, and so long besides, may everything take without rounds being left out.
const LATE_FACTOR: f64 = 1.3;
const LATE_AT_LEAST: Duration = Duration::from_secs(2);

/// What a run has at hand.
pub(crate) struct Session<'a> {
    pub(crate) plan: &'a Plan,
    dir: Directory,
    bar: ProgressBar,
    interrupted: Arc<AtomicBool>,
    begun: Instant,
}

impl<'a> Session<'a> {
    /// Makes the run's directory inside `parent`, which is there.
    pub(crate) fn begin(plan: &'a Plan, parent: &Path) -> Result<Session<'a>, Failure> {
        let interrupted = Arc::new(AtomicBool::new(false));
        let dir = Directory::make(parent)?;
        let (flag, shown) = (interrupted.clone(), dir.path.clone());
        let set = ctrlc::set_handler(move || {
            if flag.swap(true, Ordering::Relaxed) {
                output::tell("note", &format!("{} is left behind", shown.display()));
                std::process::exit(130);
            }
        });
        if let Err(error) = set {
            let error = std::io::Error::other(error);
            return Err(Error::io("handle", "interrupts", error).into());
        }
        let target = ProgressDrawTarget::stderr_with_hz(10);
        let length = u64::try_from(plan.time().as_millis()).unwrap_or(u64::MAX);
        let bar = ProgressBar::with_draw_target(Some(length), target);
        let style = ProgressStyle::with_template("{bar:20} {wide_msg} {eta} left");
        bar.set_style(style.expect("the template is constant and well-formed"));
        Ok(Session { plan, dir, bar, interrupted, begun: Instant::now() })
    }

    /// A directory or file of this name, not made yet.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path.join(name)
    }

    /// Removes what was made under this name.
    pub(crate) fn remove(&self, name: &str) -> Result<()> {
        let path = self.path(name);
        let removed =
            if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        removed.map_err(|error| Error::io("remove", path.display().to_string(), error))
    }

    /// Says what is done now; refuses it after an interrupt.
    pub(crate) fn step(&self, what: &str) -> Result<(), Failure> {
        self.bar.set_message(what.to_owned());
        self.bar.tick();
        self.go_on().map_or_else(|| Err(interrupted()), Ok)
    }

    fn go_on(&self) -> Option<()> {
        (!self.interrupted.load(Ordering::Relaxed)).then_some(())
    }

    /// Whether what was done so far took so much longer than planned that further rounds are left out:
    /// on a busy machine or a slow disk, preparing and saving takes more than measuring.
    pub(crate) fn is_late(&self) -> bool {
        let planned = Duration::from_millis(self.bar.position());
        self.begun.elapsed() > planned.mul_f64(LATE_FACTOR) + LATE_AT_LEAST
    }

    /// So much of the planned time is over.
    pub(crate) fn passed(&self, time: Duration) {
        self.bar.inc(u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
    }

    /// Lets threads write to a target.
    pub(crate) fn load(
        &self,
        target: &dyn Target,
        load: Load,
        what: &str,
    ) -> Result<Turn, Failure> {
        self.step(what)?;
        let begun = Instant::now();
        let mut shown = Duration::ZERO;
        let mut watch = |writes: u64| {
            let passed = begun.elapsed();
            let rate = thousands(whole(float(writes) / passed.as_secs_f64().max(1e-9)));
            self.bar.set_message(format!("{what}: {rate} writes/s"));
            self.passed(passed.saturating_sub(shown));
            shown = passed;
            self.go_on().map_or(ControlFlow::Break(()), ControlFlow::Continue)
        };
        let turn = load::run(target, load, &mut watch)?;
        self.step(what)?;
        Ok(turn)
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.begun.elapsed()
    }

    /// Removes the directory, and says so if that fails.
    pub(crate) fn end(mut self) -> Result<()> {
        self.bar.finish_and_clear();
        self.dir.remove()
    }
}

fn interrupted() -> Failure {
    Failure::Check("it was interrupted; what it had made is removed".to_owned())
}

/// A rate without its fraction.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "rates are small and positive"
)]
pub(crate) fn whole(rate: f64) -> u64 {
    rate.round() as u64
}

struct Directory {
    path: PathBuf,
    is_removed: bool,
}

impl Directory {
    fn make(parent: &Path) -> Result<Directory> {
        for attempt in 0..1000 {
            let path = parent.join(format!("walden-bench.{}.{attempt}", std::process::id()));
            if host::make_private_dir(&path)? {
                return Ok(Directory { path, is_removed: false });
            }
        }
        let why = "every name for a temporary directory is taken".to_owned();
        Err(Error::Conflict { what: parent.display().to_string(), why })
    }

    fn remove(&mut self) -> Result<()> {
        self.is_removed = true;
        fs::remove_dir_all(&self.path)
            .map_err(|error| Error::io("remove", self.path.display().to_string(), error))
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        if !self.is_removed
            && let Err(error) = self.remove()
        {
            output::tell("warning", &error.to_string());
        }
    }
}
