//! The report as one page of HTML that needs nothing else: no network, no script, no font.
//!
//! It forbids itself to load anything. It follows the reader's choice of light or dark, and is readable
//! from the width of a phone on. What was measured stands in tables too, for those who cannot see plots.

use super::chart::{escape, short};
use super::load::Spread;
use super::plots::charts;
use super::report::Report;
use super::summary::about;

const STYLE: &str = include_str!("page.css");

pub(crate) fn page(report: &Report) -> String {
    let list = |lines: &[String]| {
        let lines = lines.iter().map(|line| format!("<li>{}</li>\n", escape(line)));
        lines.collect::<String>()
    };
    let about = list(&about(&report.dir, &report.machine, report.free_bytes));
    let quick = if report.plan.quick {
        " This was a quick run: its figures are a first impression."
    } else {
        ""
    };
    let notes = match report.notes.as_slice() {
        [] => String::new(),
        notes => format!("<h2>Notes</h2>\n<ul class=\"notes\">\n{}</ul>\n", list(notes)),
    };
    let figures: String = charts(report).iter().map(super::chart::Chart::figure).collect();
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src \
         'unsafe-inline'\">\n<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>walden bench</title>\n\
         <style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n<h1>walden bench</h1>\n\
         <ul class=\"about\">\n{about}</ul>\n\
         <p>Version {version}, {rounds} interleaved rounds of {turn:.0} ms each, documents of \
         {bytes} bytes, {seconds:.0} s in all.{quick}</p>\n\
         <h2>Recommendation</h2>\n<ul class=\"advice\">\n{advice}</ul>\n{notes}\
         <h2>Plots</h2>\n<div class=\"plots\">\n{figures}</div>\n<h2>Figures</h2>\n{tables}\
         </main>\n</body>\n</html>\n",
        version = escape(report.version),
        rounds = report.plan.rounds,
        turn = report.plan.turn_ms,
        bytes = report.plan.value_bytes,
        seconds = report.seconds,
        advice = list(&report.recommendation),
        tables = tables(report),
    )
}

fn tables(report: &Report) -> String {
    let disk = report.disk.iter().map(|probe| {
        let found = &probe.latency;
        let times = [found.p50_us, found.p99_us, found.p999_us, found.max_us];
        let [p50, p99, p999, max] = times.map(|us| format!("{us:.0}"));
        [probe.what.clone(), p50, p99, p999, max]
    });
    let throughput = report.throughput.iter().map(|row| {
        [
            format!("{}, {}", row.durability, row.threads),
            spread(&row.limit),
            spread(&row.walden),
            format!("{:.2} ({:.2}–{:.2})", row.ratio.median, row.ratio.least, row.ratio.most),
            format!("{:.1}", row.group_size),
            format!("{:.0}", row.log_bytes_per_write),
            format!("{:.0}", row.latency.p50_us),
            format!("{:.0}", row.latency.p99_us),
        ]
    });
    let tuning = report.tuning.iter().map(|variant| {
        [
            format!("{} {}", variant.setting, variant.value),
            spread(&variant.writes),
            short(variant.document_bytes_per_second),
            variant.checkpoints.to_string(),
            format!("{:.0}", variant.p99_us),
        ]
    });
    let recovery = report.recovery.iter().map(|opening| {
        [
            opening.records.to_string(),
            opening.log_bytes.to_string(),
            spread(&opening.open_ms),
            spread(&opening.read_ms),
        ]
    });
    [
        table("The disk, µs", ["", "p50", "p99", "p99.9", "max"], disk),
        table(
            "Writes a second",
            ["threads", "limit", "walden", "ratio", "group", "B/write", "p50 µs", "p99 µs"],
            throughput,
        ),
        table("Settings", ["", "writes/s", "bytes/s", "checkpoints", "p99 µs"], tuning),
        table(
            "Opening after a crash, ms",
            ["records", "log bytes", "open", "read and check"],
            recovery,
        ),
    ]
    .concat()
}

fn spread(found: &Spread) -> String {
    let [median, least, most] = [found.median, found.least, found.most].map(short);
    format!("{median} ({least}–{most})")
}

fn table<const N: usize>(
    caption: &str,
    heading: [&str; N],
    rows: impl Iterator<Item = [String; N]>,
) -> String {
    let cells = |name: &str, cells: &[String; N]| {
        let cells = cells.iter().map(|cell| format!("<{name}>{}</{name}>", escape(cell)));
        format!("<tr>{}</tr>\n", cells.collect::<String>())
    };
    let heading = cells("th", &heading.map(str::to_owned));
    let rows: String = rows.map(|row| cells("td", &row)).collect();
    let caption = escape(caption);
    format!(
        "<div class=\"table\"><table>\n<caption>{caption}</caption>\n{heading}{rows}</table></div>\n"
    )
}
