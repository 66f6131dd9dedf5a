//! The charts of a report: what is drawn over what.

use super::chart::{Axis, Chart, Point, Series, linear, logarithmic, places, short};
use super::load::{Spread, float};
use super::report::{Latency, Report, Row, Variant};

/// All charts that the report has figures for.
pub(crate) fn charts(report: &Report) -> Vec<Chart> {
    let mut charts = Vec::new();
    for durability in ["sync", "buffered"] {
        let rows: Vec<&Row> =
            report.throughput.iter().filter(|row| row.durability == durability).collect();
        if !rows.is_empty() {
            charts.push(throughput(durability, &rows));
            charts.push(latency(durability, &rows));
            charts.push(groups(durability, &rows));
        }
    }
    charts.push(disk(report));
    let mut settings: Vec<&str> = report.tuning.iter().map(|variant| variant.setting).collect();
    settings.dedup();
    for setting in settings {
        let variants = report.tuning.iter().filter(|variant| variant.setting == setting);
        charts.push(variants_of(setting, &variants.collect::<Vec<_>>()));
    }
    charts.push(recovery(report));
    charts.extend(checkpoints(report));
    charts
}

fn throughput(durability: &str, rows: &[&Row]) -> Chart {
    let most = rows.iter().map(|row| row.limit.most.max(row.walden.most)).fold(0.0, f64::max);
    let series = |name: &str, colour, is_dashed, of: fn(&Row) -> Spread| Series {
        name: name.to_owned(),
        colour,
        is_dashed,
        has_line: true,
        points: indexed(rows)
            .map(|(x, row)| spread_point(x, of(row), &format!("{name}, {} threads", row.threads)))
            .collect(),
    };
    Chart {
        title: format!("Throughput by threads, {durability}"),
        text:
            "Medians, with the least and the most of all rounds. The limit does nothing but write \
               and flush."
                .to_owned(),
        x: places("threads", rows.iter().map(|row| row.threads.to_string())),
        y: linear("writes a second", most, short),
        series: vec![
            series("limit", 0, true, |row| row.limit),
            series("walden", 1, false, |row| row.walden),
        ],
        bands: Vec::new(),
    }
}

/// The fewest and the most threads, for both contenders.
fn latency(durability: &str, rows: &[&Row]) -> Chart {
    let mut shown: Vec<&Row> = rows.first().into_iter().chain(rows.last()).copied().collect();
    shown.dedup_by_key(|row| row.threads);
    let mut found = Vec::new();
    for (number, row) in shown.into_iter().enumerate() {
        let threads = crate::output::count(row.threads, "thread");
        found.push((format!("limit, {threads}"), number * 2, true, &row.limit_latency));
        found.push((format!("walden, {threads}"), number * 2 + 1, false, &row.latency));
    }
    let text = "Which share of the writes took no longer. Each step up holds a tenth of what the step \
                before left.";
    distribution(format!("Latency, {durability}"), text, &found)
}

fn disk(report: &Report) -> Chart {
    let probes = report.disk.iter().enumerate();
    let found = probes.map(|(n, probe)| (probe.name.to_owned(), n, n == 0, &probe.latency));
    let text = "One thread: a flush of nothing; and one write that is flushed, to a file that grows, to \
                one that is prewritten, and directly (O_DIRECT, O_DSYNC).";
    distribution("Latency of the disk".to_owned(), text, &found.collect::<Vec<_>>())
}

fn distribution(title: String, text: &str, found: &[(String, usize, bool, &Latency)]) -> Chart {
    let all = || found.iter().flat_map(|(.., latency)| &latency.cdf).map(|[us, _]| *us);
    let (least, most) = (all().fold(f64::MAX, f64::min), all().fold(0.0, f64::max));
    let x = logarithmic("time", if most > 0.0 { least } else { 1.0 }, most, of_us);
    let shares = [0.0, 0.9, 0.99, 0.999, 0.9999];
    let ticks = shares.map(|share| (nines(share), format!("{} %", share * 100.0)));
    let y = Axis { label: "share".to_owned(), low: 0.0, high: 4.3, ticks: ticks.to_vec() };
    let series = found.iter().map(|(name, colour, is_dashed, latency)| {
        let line = latency.cdf.iter().map(|[us, share]| plain(us.max(1e-3).log10(), nines(*share)));
        let tips = [(0.5, latency.p50_us), (0.99, latency.p99_us)];
        let tips = tips.into_iter().map(|(share, us)| Point {
            tip: Some(format!("{name}: {} % within {}", share * 100.0, of_us(us))),
            ..plain(us.max(1e-3).log10(), nines(share))
        });
        let mut points: Vec<Point> = line.chain(tips).collect();
        points.sort_by(|a, b| a.y.total_cmp(&b.y).then(a.x.total_cmp(&b.x)));
        Series {
            name: name.clone(),
            colour: *colour,
            is_dashed: *is_dashed,
            has_line: true,
            points,
        }
    });
    let series = series.collect();
    Chart { title, text: text.to_owned(), x, y, series, bands: Vec::new() }
}

/// How many nines a share has: 0.99 has two.
fn nines(share: f64) -> f64 {
    -(1.0 - share).max(1e-5).log10()
}

fn groups(durability: &str, rows: &[&Row]) -> Chart {
    let most = rows.iter().map(|row| row.group_size.max(float(row.threads as u64)));
    let point = |(x, row): (f64, &&Row), size: f64, what: &str| Point {
        tip: Some(format!("{} threads: {size:.1} {what}", row.threads)),
        ..plain(x, size.max(1.0).log10())
    };
    let series = |name: &str, colour, is_dashed, points| Series {
        name: name.to_owned(),
        colour,
        is_dashed,
        has_line: true,
        points,
    };
    let all = indexed(rows).map(|at| point(at, float(at.1.threads as u64), "waiting at most"));
    let found = indexed(rows).map(|at| point(at, at.1.group_size, "records a group"));
    Chart {
        title: format!("Group size, {durability}"),
        text: "How many records share one write to the log, beside how many threads there are."
            .to_owned(),
        x: places("threads", rows.iter().map(|row| row.threads.to_string())),
        y: logarithmic("records a group", 1.0, most.fold(1.0, f64::max), short),
        series: vec![
            series("all threads", 0, true, all.collect()),
            series("walden", 1, false, found.collect()),
        ],
        bands: Vec::new(),
    }
}

fn variants_of(setting: &str, variants: &[&Variant]) -> Chart {
    let most = variants.iter().map(|variant| variant.writes.most).fold(0.0, f64::max);
    let threads = variants.first().map_or(0, |variant| variant.threads);
    let points =
        indexed(variants).map(|(x, variant)| spread_point(x, variant.writes, &variant.value));
    Chart {
        title: format!("Setting {setting}"),
        text: format!("Stores that differ only in this, in turn, with {threads} threads."),
        x: places(setting, variants.iter().map(|variant| variant.value.clone())),
        y: linear("writes a second", most, short),
        series: vec![Series {
            name: "walden".to_owned(),
            colour: 1,
            is_dashed: false,
            has_line: false,
            points: points.collect(),
        }],
        bands: Vec::new(),
    }
}

fn recovery(report: &Report) -> Chart {
    let openings = &report.recovery;
    let mib = |bytes: u64| float(bytes) / f64::from(1 << 20);
    let widest = openings.iter().map(|opening| mib(opening.log_bytes)).fold(0.0, f64::max);
    let most = openings.iter().map(|opening| opening.open_ms.most.max(opening.read_ms.most));
    let series =
        |name: &str, colour, is_dashed, of: fn(&super::report::Opening) -> Spread| Series {
            name: name.to_owned(),
            colour,
            is_dashed,
            has_line: true,
            points: openings
                .iter()
                .map(|opening| {
                    let what = format!("{name}, {} records", opening.records);
                    spread_point(mib(opening.log_bytes), of(opening), &what)
                })
                .collect(),
        };
    Chart {
        title: "Recovery by the size of the log".to_owned(),
        text: "Opening after a crash, beside reading the log's files and checking their bytes."
            .to_owned(),
        x: linear("MiB of log", widest, short),
        y: linear("milliseconds", most.fold(0.0, f64::max), short),
        series: vec![
            series("read and check", 0, true, |opening| opening.read_ms),
            series("open", 1, false, |opening| opening.open_ms),
        ],
        bands: Vec::new(),
    }
}

/// Throughput and the longest wait over time, with the checkpoints shaded.
fn checkpoints(report: &Report) -> [Chart; 2] {
    let found = &report.checkpoints;
    let slices = || (0_u32..).map(f64::from).zip(&found.slices);
    let at = |slice: f64| (slice + 0.5) * found.slice_ms;
    let rate = |writes| float(writes) * 1e3 / found.slice_ms.max(1e-9);
    let rates: Vec<Point> = slices().map(|(n, slice)| plain(at(n), rate(slice.writes))).collect();
    let waits: Vec<Point> = slices().map(|(n, slice)| plain(at(n), slice.max_us / 1e3)).collect();
    let whole = float(found.slices.len() as u64) * found.slice_ms;
    let chart = |title: &str, label: &str, points: Vec<Point>| Chart {
        title: title.to_owned(),
        text: format!(
            "{} threads replace documents of a store of {}; a checkpoint is made where it is shaded.",
            found.threads, found.documents
        ),
        x: linear("milliseconds", whole, short),
        y: linear(label, points.iter().map(|point| point.y).fold(0.0, f64::max), short),
        series: vec![Series {
            name: "walden".to_owned(),
            colour: 1,
            is_dashed: false,
            has_line: true,
            points,
        }],
        bands: found.spans_ms.clone(),
    };
    [
        chart("Checkpoints: throughput", "writes a second", rates),
        chart("Checkpoints: the longest wait", "milliseconds", waits),
    ]
}

fn plain(x: f64, y: f64) -> Point {
    Point { x, y, range: None, tip: None }
}

fn spread_point(x: f64, found: Spread, what: &str) -> Point {
    let [median, least, most] = [found.median, found.least, found.most].map(short);
    Point {
        x,
        y: found.median,
        range: Some([found.least, found.most]),
        tip: Some(format!("{what}: {median} ({least} to {most})")),
    }
}

/// Each with its place on an axis of places.
fn indexed<T>(of: &[T]) -> impl Iterator<Item = (f64, &T)> {
    (0_u32..).map(f64::from).zip(of)
}

/// Microseconds, in the unit that suits.
fn of_us(us: f64) -> String {
    match us {
        1e6.. => format!("{} s", short(us / 1e6)),
        1e3.. => format!("{} ms", short(us / 1e3)),
        1.0.. => format!("{} µs", short(us)),
        _ => format!("{} ns", short(us * 1e3)),
    }
}
