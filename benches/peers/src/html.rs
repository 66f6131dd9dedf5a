//! A report as one page of HTML that needs nothing else: no network, no script, no font.
//!
//! A table is drawn as bars, a line through each showing the least and the most of all rounds, with what
//! the first row of the table is as a rule across them. Tables that differ only in their number of threads are drawn
//! over each other as lines too. The page's style and its line charts are those of `walden bench`.

use std::fmt::Write;

use crate::chart::{Chart, Point, Series, escape, linear, places, short};
use crate::load::Spread;
use crate::report::{Report, Row, Table, ratio};

const STYLE: &str = include_str!("../../../src/bin/walden/bench/page.css");
/// The drawing is as wide as a phone, so that its letters stay readable there.
const WIDTH: f64 = 400.0;
/// Where bars begin, and where they end at most.
const LEFT: f64 = 8.0;
const RIGHT: f64 = 392.0;
const ROW: f64 = 36.0;
/// More lines would hide each other.
const LINES_MAX: usize = 4;

pub(crate) fn page(report: &Report) -> String {
    let machine = &report.machine;
    let told = |fact: &Option<String>| fact.clone().unwrap_or_else(|| "unknown".to_owned());
    let about = [
        format!("{} on {}", told(&machine.file_system), told(&machine.source)),
        format!("{}, {} cores, {}", told(&machine.processor), machine.cores, told(&machine.kernel)),
        format!(
            "{} interleaved rounds, turns of {} ms, documents of {} bytes, seed {}",
            report.rounds, report.turn_ms, report.value_bytes, report.seed
        ),
    ];
    let list = |lines: &[String]| {
        lines.iter().map(|line| format!("<li>{}</li>\n", escape(line))).collect::<String>()
    };
    let lines = lines(&report.tables).map_or_else(String::new, |chart| chart.figure());
    let bars: String = report.tables.iter().map(bars).collect();
    let tables: String = report.tables.iter().map(table).collect();
    let name = escape(report.workload);
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src \
         'unsafe-inline'\">\n<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>peers {name}</title>\n\
         <style>\n{STYLE}svg rect.bar {{ fill: var(--colour); opacity: 0.6; }}\n</style>\n</head>\n\
         <body>\n<main>\n<h1>peers {name}</h1>\n<ul class=\"about\">\n{}</ul>\n\
         <ul class=\"notes\">\n{}</ul>\n<h2>Plots</h2>\n<div class=\"plots\">\n{lines}{bars}</div>\n\
         <h2>Figures</h2>\n{tables}</main>\n</body>\n</html>\n",
        list(&about),
        list(&report.notes),
    )
}

/// Bars of one table, in its unit.
fn bars(of: &Table) -> String {
    let most = of.rows.iter().map(|row| row.found.most).fold(0.0, f64::max);
    let most = if most > 0.0 { most } else { 1.0 };
    let at = |value: f64| LEFT + (value / most).clamp(0.0, 1.0) * (RIGHT - LEFT);
    let height = ROW * f64::from(u32::try_from(of.rows.len()).unwrap_or(1)) + 4.0;
    let title = escape(&of.title);
    let mut html = format!(
        "<figure>\n<h3>{title}</h3>\n<svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" \
         aria-label=\"{title}\">\n"
    );
    let rule = of.rows.first().map_or(LEFT, |row| at(row.found.median));
    for (top, row) in (0_u32..).map(|n| f64::from(n) * ROW).zip(&of.rows) {
        let Spread { median, least, most } = row.found;
        let [x, low, high] = [median, least, most].map(at);
        let (tip, name, figure) = (escape(&figures(row, of.unit)), escape(&row.name), label(row));
        let (colour, text, bar) = (colour(row), top + 14.0, top + 19.0);
        add(
            &mut html,
            format_args!(
                "<g class=\"c{colour}\"><title>{tip}</title><text class=\"label\" x=\"{LEFT}\" \
                 y=\"{text:.1}\">{name}</text><text class=\"end\" x=\"{RIGHT}\" y=\"{text:.1}\">\
                 {figure}</text><rect class=\"bar\" x=\"{LEFT}\" y=\"{bar:.1}\" width=\"{:.1}\" \
                 height=\"12\"/><line x1=\"{low:.1}\" y1=\"{y:.1}\" x2=\"{high:.1}\" y2=\"{y:.1}\"/>\
                 </g>\n<line class=\"axis\" x1=\"{rule:.1}\" y1=\"{bar:.1}\" x2=\"{rule:.1}\" \
                 y2=\"{end:.1}\"/>\n",
                x - LEFT,
                y = bar + 6.0,
                end = bar + 12.0
            ),
        );
    }
    let unit = escape(of.unit);
    let is_aimed_at = of.rows.iter().any(|row| row.target.is_some());
    let key = if is_aimed_at { "; green: target met, brown: missed" } else { "" };
    add(
        &mut html,
        format_args!("</svg>\n<figcaption>{unit}, medians{key}</figcaption>\n</figure>\n"),
    );
    html
}

/// What is measured stands out from what it is held against.
fn colour(row: &Row) -> usize {
    match &row.target {
        Some(verdict) if verdict.met => 3,
        Some(_) => 2,
        None if row.name == "walden" => 1,
        None => 0,
    }
}

fn label(row: &Row) -> String {
    format!("{}, {:.2} ×", short(row.found.median), row.ratio.median)
}

fn figures(row: &Row, unit: &str) -> String {
    let [median, least, most] = [row.found.median, row.found.least, row.found.most].map(short);
    format!("{}: {median} ({least} to {most}) {unit}, {}", row.name, ratio(&row.ratio))
}

/// The ratios by threads, if there are tables that differ in those: what is aimed at, and the best others.
fn lines(tables: &[Table]) -> Option<Chart> {
    let by_threads: Vec<&Table> = tables.iter().filter(|table| table.threads.is_some()).collect();
    let first = by_threads.first().filter(|_| by_threads.len() > 1)?;
    let last = by_threads.last()?;
    // In the order of the last table, which has the most threads.
    let mut rows: Vec<&Row> = last.rows.iter().skip(1).collect();
    rows.sort_by(|a, b| b.ratio.median.total_cmp(&a.ratio.median));
    rows.sort_by_key(|row| row.name != "walden");
    let series = |(colour, name): (usize, &str)| Series {
        name: name.to_owned(),
        colour: (colour + 1) % LINES_MAX,
        is_dashed: colour > 0,
        has_line: true,
        points: (0_u32..)
            .zip(&by_threads)
            .filter_map(|(x, table)| {
                let row = table.rows.iter().find(|row| row.name == name)?;
                let Spread { median, least, most } = row.ratio;
                Some(Point {
                    x: f64::from(x),
                    y: median,
                    range: Some([least, most]),
                    tip: Some(format!("{}: {}", table.title, figures(row, table.unit))),
                })
            })
            .collect(),
    };
    let names = rows.iter().take(LINES_MAX).map(|row| row.name.as_str());
    let series: Vec<Series> = names.enumerate().map(series).collect();
    let most = series.iter().flat_map(|series| &series.points);
    let most = most.filter_map(|point| point.range).map(|[_, most]| most).fold(1.0, f64::max);
    let threads = by_threads.iter().filter_map(|table| table.threads).map(|n| n.to_string());
    Some(Chart {
        title: format!("By threads, against {}", first.rows.first()?.name),
        text: "Ratios within the rounds: medians, with the least and the most.".to_owned(),
        x: places("threads", threads),
        y: linear("ratio", most, short),
        series,
        bands: Vec::new(),
    })
}

fn table(of: &Table) -> String {
    let mut html =
        format!("<div class=\"table\"><table>\n<caption>{}</caption>\n", escape(&of.title));
    let unit = escape(of.unit);
    add(&mut html, format_args!("<tr><th></th><th>{unit}</th><th>ratio</th><th></th></tr>\n"));
    for row in &of.rows {
        let also = row.also.iter().map(|(name, value)| format!("{name} {}", short(*value)));
        let target = row.target.as_ref().map(|verdict| {
            format!("{}: {}", verdict.target, if verdict.met { "met" } else { "missed" })
        });
        let more = also.chain(target).collect::<Vec<_>>().join(", ");
        let [median, least, most] = [row.found.median, row.found.least, row.found.most].map(short);
        let (name, more) = (escape(&row.name), escape(&more));
        add(
            &mut html,
            format_args!(
                "<tr><td>{name}</td><td>{median} ({least}–{most})</td><td>{}</td><td>{more}</td></tr>\n",
                ratio(&row.ratio)
            ),
        );
    }
    html + "</table></div>\n"
}

fn add(html: &mut String, text: std::fmt::Arguments<'_>) {
    html.write_fmt(text).expect("a String takes any text");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Target;

    fn by_threads(threads: usize, name: &str) -> Table {
        let mut table = Table::new(format!("{threads} threads <b>"), "puts/s");
        table.threads = Some(threads);
        table.add("limit", vec![100.0, 110.0]);
        table.add(name, vec![50.0, 1e9]).unwrap().aim(Target::RatioAtLeast(0.9));
        table
    }

    #[test]
    fn texts_are_escaped_and_bars_stay_in_the_drawing() {
        let html = bars(&by_threads(1, "<i>&"));
        assert!(!html.contains("<b>") && !html.contains("<i>") && html.contains("&lt;i&gt;&amp;"));
        for part in html.split("width=\"").skip(1) {
            let width: f64 = part.split('"').next().unwrap().parse().unwrap();
            assert!((0.0..=RIGHT - LEFT).contains(&width), "{html}");
        }
        assert!(!table(&by_threads(1, "<i>")).contains("<i>"));
    }

    #[test]
    fn tables_by_threads_become_lines_and_a_single_one_does_not() {
        assert!(lines(&[by_threads(1, "walden")]).is_none());
        let chart = lines(&[by_threads(1, "walden"), by_threads(4, "walden")]).unwrap();
        assert_eq!(chart.series.len(), 1);
        let places: Vec<f64> = chart.series[0].points.iter().map(|point| point.x).collect();
        assert_eq!(places, [0.0, 1.0]);
    }
}
