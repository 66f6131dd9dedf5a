//! `torture --sim`: random lives of a store on simulated disks, stopped at every call.
//!
//! Each life is drawn from a seed, so a violation is told as the one command that shows it again, after
//! the life and the crash were shrunk.

use std::process::ExitCode;
use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use walden::fs::sim::Rules;
use walden::testing::{CrashPath, Explorer, Known, Life, Report, Step, Violation, random_steps};

use crate::args::{Format, Torture};
use crate::failure::{Failure, Outcome};
use crate::output::{self, thousands};
use crate::progress;

/// Steps of a life.
const STEPS: usize = 24;
/// One of so many lives begins with a migration.
const MIGRATED_ONE_IN: u64 = 8;
/// One of so many lives is led on a disk that keeps no order among what was not flushed.
const UNORDERED_ONE_IN: u64 = 4;
/// States that are tried for one step fewer, when a violation is shrunk.
const STATES_TRIED: u64 = 20_000;

/// One life, as the command line can name it.
#[derive(Clone, Debug)]
struct Case {
    seed: u64,
    /// Which of the seed's steps.
    steps: Vec<usize>,
}

impl Case {
    fn of(seed: u64) -> Case {
        Case { seed, steps: (0..STEPS).collect() }
    }

    fn life(&self) -> Life {
        let all = random_steps(self.seed, STEPS);
        let steps: Vec<Step> = self.steps.iter().filter_map(|at| all.get(*at).cloned()).collect();
        if self.seed.is_multiple_of(MIGRATED_ONE_IN) {
            Life::migrated(steps)
        } else {
            Life::new(steps)
        }
    }

    fn explorer(&self, threads: u64) -> Explorer {
        let is_ordered = self.seed % UNORDERED_ONE_IN != 1;
        Explorer {
            seed: self.seed,
            rules: if is_ordered { Rules::Ordered } else { Rules::Unordered },
            random: 6,
            depth: 3,
            nested_every: 8,
            threads,
            ..Explorer::default()
        }
    }

    /// The command that shows a crash of it again.
    fn command(&self, path: &CrashPath) -> String {
        let steps = if self.steps.len() == STEPS {
            String::new()
        } else {
            let list: Vec<String> = self.steps.iter().map(usize::to_string).collect();
            format!(" --steps {}", list.join(","))
        };
        format!("walden torture --sim --seed {}{steps} --crash {path}", self.seed)
    }
}

/// Explores, until the time is over, one life after the other; or replays one crash.
pub(super) fn torture(format: Format, wanted: &Torture) -> Outcome {
    if let Some(path) = &wanted.crash {
        return replay(format, wanted, path);
    }
    let begun = Instant::now();
    let time = Duration::from_secs(wanted.seconds.unwrap_or(SECONDS));
    let cores = available_parallelism().map_or(1, |cores| cores.get() as u64);
    let bar = progress::seconds_bar(time, "exploring");
    let known = Known::default();
    let mut run = Run { lives: 0, sum: Report::default() };
    let mut found = None;
    for seed in wanted.seed.. {
        if begun.elapsed() >= time {
            break;
        }
        let case = Case::of(seed);
        let sum = run.sum.clone();
        let shown = bar.clone();
        let on_progress = move |now: &Report| {
            shown.set_position(begun.elapsed().as_secs());
            shown.set_message(rate(sum.states + now.states, begun.elapsed()));
        };
        let known = known.clone();
        let explorer =
            Explorer { known, on_progress: Some(Arc::new(on_progress)), ..case.explorer(cores) };
        run.lives += 1;
        match explorer.explore(case.life()) {
            Ok(report) => run.sum += report,
            Err(violation) => {
                bar.set_message("a promise was broken; looking for the simplest case".to_owned());
                found = Some(shrink(case, *violation));
                break;
            }
        }
    }
    bar.finish_and_clear();
    run.sum.elapsed = begun.elapsed();
    run.print(format, wanted.seed, found.as_ref())?;
    match found {
        Some((case, violation)) => Err(broken(&case, &violation)),
        None if run.sum.states < STATES_FLOOR => {
            Err(Failure::Check(format!("only {} states prove nothing", run.sum.states)))
        }
        None => Ok(ExitCode::SUCCESS),
    }
}

/// Time for a run of which none is said.
const SECONDS: u64 = 60;
/// A run with fewer states is no evidence.
const STATES_FLOOR: u64 = 100;

fn replay(format: Format, wanted: &Torture, path: &str) -> Outcome {
    let path: CrashPath = path.parse()?;
    let mut case = Case::of(wanted.seed);
    if let Some(steps) = &wanted.steps {
        case.steps.clone_from(steps);
    }
    let explorer = Explorer { only: Some(path), ..case.explorer(1) };
    match explorer.explore(case.life()) {
        Err(violation) => Err(broken(&case, &violation)),
        Ok(report) if report.states == 0 => {
            Err(Failure::Usage("that life has no such crash".to_owned()))
        }
        Ok(_) => {
            let line = "nothing is wrong after that crash";
            match format {
                Format::Human => output::line(line)?,
                Format::Json => output::json_line(&json!({"ok": true}))?,
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn broken(case: &Case, violation: &Violation) -> Failure {
    let Violation { why, path, calls, .. } = violation;
    let command = case.command(path);
    let calls = calls.join("\n  ");
    Failure::Violation(format!(
        "{why}\nafter the crash {path}; the calls before it:\n  {calls}\nto see it again: {command}"
    ))
}

/// Leaves out steps for as long as something is still wrong.
fn shrink(case: Case, violation: Violation) -> (Case, Violation) {
    let mut simplest = (case, violation);
    for at in (0..STEPS).rev() {
        let mut fewer = simplest.0.clone();
        fewer.steps.retain(|step| *step != at);
        // The same crash may show it still, which is cheap to try.
        let only = Some(simplest.1.path.clone());
        let same = Explorer { only, ..fewer.explorer(1) }.explore(fewer.life());
        let found = same.err().or_else(|| {
            let tries = Explorer { states_max: STATES_TRIED, depth: 1, ..fewer.explorer(1) };
            tries.explore(fewer.life()).err()
        });
        if let Some(violation) = found {
            simplest = (fewer, *violation);
        }
    }
    simplest
}

fn rate(states: u64, elapsed: Duration) -> String {
    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    let rate = states as f64 / elapsed.as_secs_f64().max(1e-3);
    format!("{} states, {rate:.0}/s", thousands(states))
}

/// What a run did.
struct Run {
    lives: u64,
    sum: Report,
}

impl Run {
    fn print(
        &self,
        format: Format,
        seed: u64,
        found: Option<&(Case, Violation)>,
    ) -> std::io::Result<()> {
        match format {
            Format::Json => output::json_line(&self.as_json(seed, found)),
            Format::Human => self.lines(seed).iter().try_for_each(|line| output::line(line)),
        }
    }

    fn as_json(&self, seed: u64, found: Option<&(Case, Violation)>) -> Value {
        let Report {
            calls,
            calls_all,
            places,
            states,
            disks,
            power_cuts,
            nested,
            repeated,
            elapsed,
        } = &self.sum;
        json!({
            "ok": found.is_none(),
            "lives": self.lives,
            "calls": calls_all,
            "changing_calls": calls,
            "places": places,
            "states": states,
            "distinct_disks": disks,
            "power_cuts": power_cuts,
            "nested": nested,
            "repeated": repeated,
            "seed": seed,
            "seconds": elapsed.as_secs_f64(),
            "violation": found.map(|(case, violation)| json!({
                "why": violation.why,
                "command": case.command(&violation.path),
            })),
        })
    }

    fn lines(&self, seed: u64) -> Vec<String> {
        let Report { calls, places, states, disks, power_cuts, nested, repeated, elapsed, .. } =
            &self.sum;
        vec![
            format!(
                "{} lives with {} changing calls, stopped at {} places.",
                thousands(self.lives),
                thousands(*calls),
                thousands(*places)
            ),
            format!(
                "{} recovered and checked in {:.0} s: {} of a power cut, {} of a crash in a recovery, \
                 {} with contents of their own; {} more were the same again.",
                rate(*states, *elapsed),
                elapsed.as_secs_f64(),
                thousands(*power_cuts),
                thousands(*nested),
                thousands(*disks),
                thousands(*repeated)
            ),
            format!("Seeds from {seed} on."),
        ]
    }
}
