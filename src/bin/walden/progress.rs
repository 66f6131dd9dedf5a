//! Progress bars on stderr, for what may take long; nothing is drawn where stderr is no terminal.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A bar over `total` steps. It vanishes when it is finished or dropped.
pub(crate) fn bar(total: usize, what: &'static str) -> ProgressBar {
    let total = u64::try_from(total).unwrap_or(u64::MAX);
    styled(total, what, "{msg} {wide_bar} {human_pos}/{human_len} {eta}")
}

/// A bar over bytes whose total is to be set when it is known.
pub(crate) fn bytes_bar(what: &'static str) -> ProgressBar {
    styled(0, what, "{msg} {wide_bar} {bytes}/{total_bytes} {eta}")
}

/// A bar over the seconds of a run that ends after so many.
pub(crate) fn seconds_bar(time: Duration, what: &'static str) -> ProgressBar {
    styled(time.as_secs(), what, "{wide_bar} {pos}/{len} s, {msg}")
}

fn styled(total: u64, what: &'static str, template: &'static str) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr_with_hz(10));
    let style = ProgressStyle::with_template(template);
    bar.set_style(style.expect("the template is constant and well-formed"));
    bar.set_message(what);
    bar
}
