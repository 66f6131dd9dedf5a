//! What the figures mean, in words: what was odd about the place, and what to do.
//!
//! Invariant: a difference is spoken of only if it is larger than what differs from round to round, and
//! large enough to matter; where the figures say nothing, that is what is said.

use indicatif::HumanBytes;

use super::load::{Spread, float};
use super::report::{Report, Row, Variant};
use super::session::whole;
use super::tuning::{INTERVAL, SEGMENT, VALUE};
use crate::output::thousands;

/// A smaller difference is not worth a setting.
const GAIN_MIN: f64 = 1.1;
/// No medium with a volatile cache flushes faster than this, in microseconds.
const FLUSH_BELIEVED_US: f64 = 15.0;
/// A flush that takes longer than this is most of what a writer waits for.
const FLUSH_SLOW_US: f64 = 2000.0;

/// From fewer rounds it cannot be told how much they differ.
const ROUNDS_MIN: usize = 3;
/// Rounds of the limit that differ by this factor tell more about the machine than about the disk.
const UNEVEN: f64 = 2.0;

/// What a reader must know of the machine before believing the figures.
pub(crate) fn notes(report: &Report) -> Vec<String> {
    let mut notes = Vec::new();
    let machine = &report.machine;
    let kind = machine.file_system.as_deref().unwrap_or_default();
    match kind {
        "" => notes.push("What file system this is could not be found out.".to_owned()),
        "tmpfs" | "ramfs" | "devtmpfs" => notes.push(format!(
            "This is {kind}: memory. A flush reaches no disk, and nothing here survives a power cut."
        )),
        "overlay" => notes.push(
            "This is an overlay: what is measured is the file system of its upper layer; stores \
             belong on a volume."
                .to_owned(),
        ),
        _ if kind.starts_with("fuse") || kind.starts_with("nfs") || kind == "cifs" || kind == "9p" => {
            notes.push(format!(
                "This is {kind}: another process or machine keeps the files. Whether a flush reaches \
                 its disk is up to that one."
            ));
        }
        _ => {}
    }
    if report.plan.limit != "direct" {
        notes.push(
            "Aligned O_DIRECT writes are refused here; the limit is a write and fdatasync."
                .to_owned(),
        );
    }
    if machine.cores == 1 {
        notes.push("There is one core: writers and the commit thread take turns on it.".to_owned());
    }
    if cfg!(debug_assertions) {
        notes.push(
            "This build is not optimised: build with --release before you believe a ratio."
                .to_owned(),
        );
    }
    let uneven = |row: &&Row| row.limit.most > row.limit.least * UNEVEN;
    let rows = rows(report, "sync");
    if rows.iter().filter(|row| uneven(row)).count() * 2 > rows.len() {
        notes.push(
            "From round to round the limit itself differs much: the machine or the disk is busy with \
             something else. Measure again when it is at rest."
                .to_owned(),
        );
    }
    if report.throughput.iter().any(|row| row.rounds.len() < report.plan.rounds) {
        notes.push("Rounds were left out, since everything took longer than planned.".to_owned());
    }
    if let Some(flush) = p50(report, "flush").filter(|us| *us < FLUSH_BELIEVED_US)
        && !matches!(kind, "tmpfs" | "ramfs" | "devtmpfs")
    {
        notes.push(format!(
            "A flush takes {flush:.0} µs. Either the cache survives a power cut, or nothing to write \
             was nothing to flush, or something below ignores flushes: find out which."
        ));
    }
    notes
}

/// What to do, most important first.
pub(crate) fn recommend(report: &Report) -> Vec<String> {
    let mut advice = Vec::new();
    advice.extend(of_threads(report));
    advice.extend(of_buffered(report));
    for (setting, name, fine) in [
        (SEGMENT, "log.segment_bytes_max", "The largest segment"),
        (INTERVAL, "checkpoint_interval", "The interval of checkpoints"),
    ] {
        advice.extend(of_setting(report, setting, name, fine));
    }
    advice.extend(of_values(report));
    advice.extend(of_checkpoints(report));
    advice.extend(of_recovery(report));
    advice
}

fn p50(report: &Report, name: &str) -> Option<f64> {
    report.disk.iter().find(|probe| probe.name == name).map(|probe| probe.latency.p50_us)
}

fn rows<'a>(report: &'a Report, durability: &str) -> Vec<&'a Row> {
    report.throughput.iter().filter(|row| row.durability == durability).collect()
}

fn rate(spread: &Spread) -> String {
    thousands(whole(spread.median))
}

/// How many should write at the same time.
fn of_threads(report: &Report) -> Option<String> {
    let rows = rows(report, "sync");
    let one = rows.iter().min_by_key(|row| row.threads)?;
    let best = rows.iter().max_by(|a, b| a.walden.median.total_cmp(&b.walden.median))?;
    // The fewest that nearly reach the most.
    let enough = rows
        .iter()
        .filter(|row| row.walden.median * GAIN_MIN >= best.walden.median)
        .min_by_key(|row| row.threads)?;
    let share = format!("{:.0} % of the limit", 100.0 * enough.ratio.median);
    let slow = p50(report, "prewritten").is_some_and(|us| us > FLUSH_SLOW_US);
    let slow =
        if slow { " A flush is slow here, so sharing flushes is all that counts." } else { "" };
    Some(if one.threads == enough.threads {
        let more = if rows.len() > 1 { "; more threads gain nothing" } else { "" };
        format!(
            "Durable writes: {} a second with {}, {share}{more}.{slow}",
            rate(&one.walden),
            threads(one.threads),
        )
    } else {
        format!(
            "Durable writes: let {} write at the same time ({} a second, {share}; {} alone has {}). \
             Where one thread has many writes at hand, use transactions, or `submit` and wait later.{slow}",
            threads(enough.threads),
            rate(&enough.walden),
            threads(one.threads),
            rate(&one.walden),
        )
    })
}

fn threads(count: usize) -> String {
    crate::output::count(count, "thread")
}

/// Whether giving up on power cuts would gain anything.
fn of_buffered(report: &Report) -> Option<String> {
    let (sync, buffered) = (rows(report, "sync"), rows(report, "buffered"));
    let first = sync.iter().find_map(|row| {
        let other = buffered.iter().find(|other| other.threads == row.threads)?;
        Some((row, other))
    });
    let (sync, buffered) = first?;
    let gain = buffered.walden.median / sync.walden.median.max(1e-9);
    let apart = buffered.walden.is_apart_from(&sync.walden);
    Some(if gain >= 2.0 && apart {
        format!(
            "`Buffered` is {gain:.0} times as fast with {}. It survives a kill, but a power cut takes \
             up to the last second: for what can be done again.",
            threads(sync.threads)
        )
    } else {
        "`Buffered` gains little here: stay with `Sync`.".to_owned()
    })
}

fn variants<'a>(report: &'a Report, setting: &str) -> Vec<&'a Variant> {
    report.tuning.iter().filter(|variant| variant.setting == setting).collect()
}

/// The value of a setting that is better than the one that everything was measured with.
fn of_setting(report: &Report, setting: &str, name: &str, fine: &str) -> Option<String> {
    let variants = variants(report, setting);
    let base = variants.iter().find(|variant| variant.is_base)?;
    let best = variants.iter().max_by(|a, b| a.writes.median.total_cmp(&b.writes.median))?;
    let gain = best.writes.median / base.writes.median.max(1e-9);
    let is_sure = base.rounds >= ROUNDS_MIN;
    Some(if is_sure && gain >= GAIN_MIN && best.writes.is_apart_from(&base.writes) {
        let warning = match (setting, best.value.as_str()) {
            (INTERVAL, "none") => " But without checkpoints the log grows, and openings with it.",
            _ => "",
        };
        format!(
            "`{name}`: {} gives {:.0} % more writes than {}.{warning}",
            shown(best),
            (gain - 1.0) * 100.0,
            shown(base)
        )
    } else {
        format!("{fine} may stay at {}: nothing measured is clearly better.", shown(base))
    })
}

/// A value with its unit.
fn shown(variant: &Variant) -> String {
    match (variant.setting, variant.value.parse()) {
        (VALUE | SEGMENT, Ok(bytes)) => HumanBytes(bytes).to_string(),
        (INTERVAL, Ok(_)) => format!("{} s", variant.value),
        _ => variant.value.clone(),
    }
}

/// Whether the disk or the processor is short, by the size of documents.
fn of_values(report: &Report) -> Option<String> {
    let variants = variants(report, VALUE);
    let bytes = |variant: &&&Variant| variant.document_bytes_per_second;
    let most = variants.iter().max_by(|a, b| bytes(a).total_cmp(&bytes(b)))?;
    Some(format!(
        "Most bytes of documents go through at {} a document: {} a second. Patches and log entries \
         write only what changed.",
        shown(most),
        HumanBytes(whole(most.document_bytes_per_second)),
    ))
}

fn of_checkpoints(report: &Report) -> Option<String> {
    let found = &report.checkpoints;
    if found.during.count == 0 || found.idle.count == 0 {
        return None;
    }
    let ratio = found.during.p99_us / found.idle.p99_us.max(1e-9);
    let judged =
        if ratio > 2.5 { "Writers feel checkpoints" } else { "Writers hardly feel checkpoints" };
    Some(format!(
        "{judged} of {} documents: p99 is {:.2} ms during one and {:.2} ms else, the longest wait \
         {:.1} ms.",
        thousands(found.documents as u64),
        found.during.p99_us / 1e3,
        found.idle.p99_us / 1e3,
        found.during.max_us / 1e3,
    ))
}

/// How long an opening takes after the largest log that a store gets by default. What an opening takes in
/// any case is told from what grows with the log.
fn of_recovery(report: &Report) -> Option<String> {
    let least = report.recovery.iter().min_by_key(|opening| opening.log_bytes)?;
    let most = report.recovery.iter().max_by_key(|opening| opening.log_bytes)?;
    let bytes = float(most.log_bytes - least.log_bytes);
    let ms = most.open_ms.median - least.open_ms.median;
    if bytes <= 0.0 || ms <= 0.0 {
        return None;
    }
    let full = walden::Options::default().checkpoint_log_bytes;
    let in_all = most.open_ms.median + (float(full) - float(most.log_bytes)) * ms / bytes;
    Some(format!(
        "After a crash an opening reads about {} of the log a second: with a log of {}, at which a \
         checkpoint is made, it takes about {:.0} ms. A lower `checkpoint_log_bytes` makes it shorter.",
        HumanBytes(whole(bytes / ms * 1e3)),
        HumanBytes(full),
        in_all.max(least.open_ms.median),
    ))
}

#[cfg(test)]
#[path = "advice_tests.rs"]
mod tests;
