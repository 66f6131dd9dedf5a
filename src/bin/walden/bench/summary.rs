//! What the terminal is told at the end.

use std::io::{self, Write};

use indicatif::HumanBytes;

use super::load::Spread;
use super::report::Report;
use super::session::whole;
use crate::machine::Machine;
use crate::output::{self, thousands};

/// Prints everything that was measured, and the recommendation.
pub(crate) fn print(report: &Report) -> io::Result<()> {
    let mut out = output::stdout();
    for line in about(&report.dir, &report.machine, report.free_bytes) {
        writeln!(out, "{}", output::escape(&line))?;
    }
    out.flush()?;
    let width = output::terminal_width();
    section("The disk, one thread (microseconds)")?;
    print_table(["P50", "P99", "MAX", "WHAT"], width, &report.disk, |probe| {
        let found = &probe.latency;
        let [p50, p99, max] =
            [found.p50_us, found.p99_us, found.max_us].map(|us| format!("{us:.0}"));
        [p50, p99, max, probe.what.clone()]
    })?;
    section(&format!(
        "Writes of {} a second, medians of {} rounds of {:.0} ms (least-most)",
        HumanBytes(report.plan.value_bytes as u64),
        report.plan.rounds,
        report.plan.turn_ms
    ))?;
    let heading = ["", "THREADS", "LIMIT", "WALDEN", "RATIO", "GROUP", "P50 US", "P99 US"];
    print_table(heading, width, &report.throughput, |row| {
        let ratio = &row.ratio;
        [
            row.durability.to_owned(),
            row.threads.to_string(),
            rates(&row.limit),
            rates(&row.walden),
            format!("{:.2} ({:.2}-{:.2})", ratio.median, ratio.least, ratio.most),
            format!("{:.1}", row.group_size),
            format!("{:.0}", row.latency.p50_us),
            format!("{:.0}", row.latency.p99_us),
        ]
    })?;
    print_settings(report, width)?;
    print_openings(report, width)?;
    for (heading, lines) in [("Notes", &report.notes), ("Recommendation", &report.recommendation)] {
        if !lines.is_empty() {
            section(heading)?;
            lines.iter().try_for_each(|line| output::line(&format!("- {line}")))?;
        }
    }
    Ok(())
}

fn section(heading: &str) -> io::Result<()> {
    let mut out = output::stdout();
    writeln!(out, "\n{heading}")?;
    out.flush()
}

fn print_settings(report: &Report, width: Option<usize>) -> io::Result<()> {
    if let Some(first) = report.tuning.first() {
        section(&format!("Settings, {} threads", first.threads))?;
        let heading = ["SETTING", "VALUE", "WRITES/S", "BYTES/S", "CHECKPOINTS", "P99 US"];
        print_table(heading, width, &report.tuning, |variant| {
            [
                variant.setting.to_owned(),
                variant.value.clone(),
                rates(&variant.writes),
                HumanBytes(whole(variant.document_bytes_per_second)).to_string(),
                variant.checkpoints.to_string(),
                format!("{:.0}", variant.p99_us),
            ]
        })?;
    }
    Ok(())
}

fn print_openings(report: &Report, width: Option<usize>) -> io::Result<()> {
    section("Opening after a crash (milliseconds)")?;
    let heading = ["RECORDS", "LOG", "OPEN", "READ AND CHECK"];
    print_table(heading, width, &report.recovery, |opening| {
        let ms = |spread: &Spread| {
            format!("{:.1} ({:.1}-{:.1})", spread.median, spread.least, spread.most)
        };
        [
            thousands(opening.records),
            HumanBytes(opening.log_bytes).to_string(),
            ms(&opening.open_ms),
            ms(&opening.read_ms),
        ]
    })
}

/// Where it was measured.
pub(crate) fn about(dir: &str, machine: &Machine, free_bytes: u64) -> Vec<String> {
    let or_unknown = |value: &Option<String>| value.clone().unwrap_or_else(|| "unknown".to_owned());
    let mut device = vec![or_unknown(&machine.source)];
    device.extend(machine.device_model.clone());
    device.extend(machine.rotational.map(|is| if is { "rotational" } else { "solid" }.to_owned()));
    device.extend(machine.write_cache.as_ref().map(|cache| format!("{cache} cache")));
    let blocks = machine.logical_block_bytes.zip(machine.physical_block_bytes);
    device
        .extend(blocks.map(|(logical, physical)| format!("blocks of {logical}/{physical} bytes")));
    vec![
        format!("Measured in {dir}, {} free", HumanBytes(free_bytes)),
        format!(
            "File system: {} ({})",
            or_unknown(&machine.file_system),
            or_unknown(&machine.mount_options)
        ),
        format!("Device: {}", device.join(", ")),
        format!(
            "Machine: {} of {}, {}, {} of memory",
            output::count(machine.cores, "core"),
            or_unknown(&machine.processor),
            or_unknown(&machine.kernel),
            machine.memory_bytes.map_or_else(|| "?".to_owned(), |n| HumanBytes(n).to_string()),
        ),
    ]
}

fn rates(spread: &Spread) -> String {
    let [median, least, most] =
        [spread.median, spread.least, spread.most].map(|rate| thousands(whole(rate)));
    format!("{median} ({least}-{most})")
}

fn print_table<T, const N: usize>(
    heading: [&str; N],
    width: Option<usize>,
    of: &[T],
    row: impl Fn(&T) -> [String; N],
) -> io::Result<()> {
    let rows: Vec<_> =
        std::iter::once(heading.map(str::to_owned)).chain(of.iter().map(row)).collect();
    let mut out = output::stdout();
    output::table(&mut out, &rows, width)?;
    out.flush()
}
