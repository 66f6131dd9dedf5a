//! What is shown while the agents work: a bar on a terminal, else a line a second, and nothing for
//! programs.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::round::Figures;
use crate::args::Format;
use crate::failure::Failure;
use crate::output::{self, thousands};

pub(super) struct Live {
    agents: u16,
    bar: ProgressBar,
    plain: bool,
    started: Instant,
    since_line: Duration,
}

impl Live {
    pub(super) fn new(format: Format, agents: u16, time: Duration) -> Self {
        let total = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let bar =
            ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr_with_hz(10));
        let style = ProgressStyle::with_template("{spinner} {bar:24} {msg}");
        bar.set_style(style.expect("the template is constant and well-formed"));
        let plain = format == Format::Human;
        Live { agents, bar, plain, started: Instant::now(), since_line: Duration::ZERO }
    }

    /// Shows the figures, `passed` after the last time.
    pub(super) fn show(&mut self, passed: Duration, figures: &Figures) -> Result<(), Failure> {
        let position = self.started.elapsed().as_millis();
        self.bar.set_position(u64::try_from(position).unwrap_or(u64::MAX));
        let text = format!(
            "{} agents, {} tasks, {} writes/s, {} flushes/s, {:.1} writes a group",
            self.agents,
            thousands(figures.tasks),
            thousands(whole(figures.per_second(figures.records))),
            thousands(whole(figures.per_second(figures.flushes))),
            figures.group_size(),
        );
        if self.bar.is_hidden() {
            self.since_line += passed;
            if self.plain && self.since_line >= Duration::from_secs(1) {
                self.since_line = Duration::ZERO;
                output::line(&text)?;
            }
        } else {
            self.bar.set_message(text);
        }
        Ok(())
    }

    /// A line that stays.
    pub(super) fn say(&self, text: &str) -> Result<(), Failure> {
        if self.plain {
            self.bar.suspend(|| output::line(text))?;
        }
        Ok(())
    }

    pub(super) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

/// A rate without its fraction.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "rates are small and positive"
)]
pub(super) fn whole(rate: f64) -> u64 {
    rate.round() as u64
}
