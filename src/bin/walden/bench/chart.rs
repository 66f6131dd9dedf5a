//! Line charts as inline SVG.
//!
//! A chart knows nothing of what it shows: its points lie in the plane of its axes, whoever makes it has
//! scaled them and named the ticks. The drawing is as wide as a phone, so that its letters stay readable
//! there; colours are classes, which the page gives values for light and dark. Every text is escaped.

use std::fmt::Write;

const WIDTH: f64 = 400.0;
const HEIGHT: f64 = 264.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 24.0;
const TOP: f64 = 26.0;
const BOTTOM: f64 = 42.0;

/// From where to where, and what stands at which place.
#[derive(Debug)]
pub(crate) struct Axis {
    pub(crate) label: String,
    pub(crate) low: f64,
    pub(crate) high: f64,
    pub(crate) ticks: Vec<(f64, String)>,
}

#[derive(Debug)]
pub(crate) struct Point {
    pub(crate) x: f64,
    pub(crate) y: f64,
    /// The least and the most, where there were several.
    pub(crate) range: Option<[f64; 2]>,
    /// What is shown of it on demand; without, the point is only part of its line.
    pub(crate) tip: Option<String>,
}

#[derive(Debug)]
pub(crate) struct Series {
    pub(crate) name: String,
    /// Which of the page's colours.
    pub(crate) colour: usize,
    pub(crate) is_dashed: bool,
    pub(crate) has_line: bool,
    pub(crate) points: Vec<Point>,
}

#[derive(Debug)]
pub(crate) struct Chart {
    pub(crate) title: String,
    /// What it says, for those who cannot see it too.
    pub(crate) text: String,
    pub(crate) x: Axis,
    pub(crate) y: Axis,
    pub(crate) series: Vec<Series>,
    /// Shaded from where to where on the first axis.
    pub(crate) bands: Vec<[f64; 2]>,
}

impl Chart {
    /// A figure with heading, legend and drawing.
    pub(crate) fn figure(&self) -> String {
        let mut html = String::from("<figure>\n");
        let legend = self.series.iter().map(|series| {
            let dash = if series.is_dashed { " dash" } else { "" };
            format!("<li class=\"c{}{dash}\">{}</li>", series.colour, escape(&series.name))
        });
        let (title, legend) = (escape(&self.title), legend.collect::<String>());
        add(&mut html, format_args!("<h3>{title}</h3>\n<ul class=\"legend\">{legend}</ul>\n"));
        add(
            &mut html,
            format_args!(
                "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{title}\">\n"
            ),
        );
        self.draw_bands(&mut html);
        self.draw_axes(&mut html);
        for series in &self.series {
            self.draw(series, &mut html);
        }
        add(&mut html, format_args!("</svg>\n<figcaption>{}</figcaption>\n", escape(&self.text)));
        html + "</figure>\n"
    }

    fn x(&self, x: f64) -> f64 {
        LEFT + place(x, &self.x) * (WIDTH - LEFT - RIGHT)
    }

    fn y(&self, y: f64) -> f64 {
        HEIGHT - BOTTOM - place(y, &self.y) * (HEIGHT - TOP - BOTTOM)
    }

    fn draw_bands(&self, html: &mut String) {
        let height = HEIGHT - TOP - BOTTOM;
        for [from, to] in &self.bands {
            let (x, width) = (self.x(*from), (self.x(*to) - self.x(*from)).max(1.0));
            add(
                html,
                format_args!(
                    "<rect class=\"band\" x=\"{x:.1}\" y=\"{TOP}\" width=\"{width:.1}\" \
                     height=\"{height}\"/>\n"
                ),
            );
        }
    }

    fn draw_axes(&self, html: &mut String) {
        let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
        for (at, name) in &self.y.ticks {
            let y = self.y(*at);
            let (text, under) = (escape(name), y + 4.0);
            add(
                html,
                format_args!(
                    "<line class=\"grid\" x1=\"{LEFT}\" y1=\"{y:.1}\" x2=\"{right}\" y2=\"{y:.1}\"/>\
                     <text class=\"end\" x=\"{}\" y=\"{under:.1}\">{text}</text>\n",
                    LEFT - 6.0
                ),
            );
        }
        for (at, name) in &self.x.ticks {
            let x = self.x(*at);
            let text = escape(name);
            add(
                html,
                format_args!(
                    "<line class=\"grid\" x1=\"{x:.1}\" y1=\"{TOP}\" x2=\"{x:.1}\" y2=\"{bottom}\"/>\
                     <text class=\"middle\" x=\"{x:.1}\" y=\"{}\">{text}</text>\n",
                    bottom + 16.0
                ),
            );
        }
        let (of_x, of_y) = (escape(&self.x.label), escape(&self.y.label));
        add(
            html,
            format_args!(
                "<line class=\"axis\" x1=\"{LEFT}\" y1=\"{bottom}\" x2=\"{right}\" y2=\"{bottom}\"/>\
                 <text class=\"label\" x=\"2\" y=\"12\">{of_y}</text>\
                 <text class=\"label end\" x=\"{right}\" y=\"{}\">{of_x}</text>\n",
                HEIGHT - 6.0
            ),
        );
    }

    fn draw(&self, series: &Series, html: &mut String) {
        let dash = if series.is_dashed { " dash" } else { "" };
        add(html, format_args!("<g class=\"c{}{dash}\">", series.colour));
        if series.has_line {
            let points =
                series.points.iter().map(|at| format!("{:.1},{:.1} ", self.x(at.x), self.y(at.y)));
            let points = points.collect::<String>();
            add(html, format_args!("<polyline points=\"{}\"/>", points.trim_end()));
        }
        for point in &series.points {
            let x = self.x(point.x);
            if let Some([low, high]) = point.range {
                let (low, high) = (self.y(low), self.y(high));
                add(
                    html,
                    format_args!(
                        "<line x1=\"{x:.1}\" y1=\"{low:.1}\" x2=\"{x:.1}\" y2=\"{high:.1}\"/>"
                    ),
                );
            }
            if let Some(tip) = &point.tip {
                let (y, tip) = (self.y(point.y), escape(tip));
                add(
                    html,
                    format_args!(
                        "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4\"><title>{tip}</title></circle>"
                    ),
                );
            }
        }
        html.push_str("</g>\n");
    }
}

/// Where on an axis, from 0 to 1.
fn place(value: f64, axis: &Axis) -> f64 {
    let width = axis.high - axis.low;
    if width > 0.0 { ((value - axis.low) / width).clamp(0.0, 1.0) } else { 0.5 }
}

fn add(html: &mut String, text: std::fmt::Arguments<'_>) {
    html.write_fmt(text).expect("a String takes any text");
}

/// An axis from 0 to a bit more than `most`, with a few round ticks.
pub(crate) fn linear(label: &str, most: f64, name: impl Fn(f64) -> String) -> Axis {
    let most = if most > 0.0 { most } else { 1.0 };
    let power = 10_f64.powf((most / 4.0).log10().floor());
    let step = [1.0, 2.0, 2.5, 5.0, 10.0].map(|factor| factor * power);
    let step = step.into_iter().find(|step| most / step <= 5.0).unwrap_or(most);
    let mut ticks = vec![(0.0, name(0.0))];
    let mut at = step;
    while ticks.last().is_some_and(|(last, _)| *last < most) {
        ticks.push((at, name(at)));
        at += step;
    }
    let high = ticks.last().map_or(most, |(last, _)| *last);
    Axis { label: label.to_owned(), low: 0.0, high, ticks }
}

/// An axis of decimal logarithms over the decades of `least` to `most`.
pub(crate) fn logarithmic(
    label: &str,
    least: f64,
    most: f64,
    name: impl Fn(f64) -> String,
) -> Axis {
    let low = least.max(1e-3).log10().floor();
    let high = most.max(1e-3).log10().ceil().max(low + 1.0);
    let mut ticks = Vec::new();
    let mut at = low;
    while at <= high {
        ticks.push((at, name(10_f64.powf(at))));
        at += 1.0;
    }
    Axis { label: label.to_owned(), low, high, ticks }
}

/// An axis of things that are no numbers, or unevenly spread ones: each its own place.
pub(crate) fn places(label: &str, names: impl Iterator<Item = String>) -> Axis {
    let ticks: Vec<(f64, String)> = (0_u32..).map(f64::from).zip(names).collect();
    let high = ticks.last().map_or(0.0, |(last, _)| *last) + 0.35;
    Axis { label: label.to_owned(), low: -0.35, high, ticks }
}

/// The text for HTML, in elements and in quoted attributes.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            _ => escaped.push(c),
        }
    }
    escaped
}

/// A number in as few letters as it takes.
pub(crate) fn short(value: f64) -> String {
    let (scaled, unit) = match value.abs() {
        1e9.. => (value / 1e9, "G"),
        1e6.. => (value / 1e6, "M"),
        1e3.. => (value / 1e3, "k"),
        _ => (value, ""),
    };
    let digits = match scaled.abs() {
        100.0.. => 0,
        10.0.. => 1,
        _ => 2,
    };
    let text = format!("{scaled:.digits$}");
    let text =
        if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text}{unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_is_escaped_and_every_point_lies_in_the_drawing() {
        let text = "<b>\"'&";
        let point = |x, y| Point { x, y, range: Some([-1e9, 1e9]), tip: Some(text.into()) };
        let chart = Chart {
            title: text.into(),
            text: text.into(),
            x: places(text, [text.to_owned()].into_iter()),
            y: linear(text, 7.0, |_| text.to_owned()),
            series: vec![Series {
                name: text.into(),
                colour: 1,
                is_dashed: true,
                has_line: true,
                points: vec![point(0.0, 3.0), point(-1e9, 1e9), point(1e9, -1e9)],
            }],
            bands: vec![[-5.0, 5.0]],
        };
        let html = chart.figure();
        assert!(!html.contains("<b>") && html.contains("&lt;b&gt;&quot;&#39;&amp;"), "{html}");
        for name in ["cx=\"", "cy=\"", "x1=\"", "y1=\"", "x2=\"", "y2=\""] {
            for part in html.split(name).skip(1) {
                let at: f64 = part.split('"').next().unwrap().parse().unwrap();
                let most = if name.contains('x') { WIDTH } else { HEIGHT };
                assert!((0.0..=most).contains(&at), "{name}{at}");
            }
        }
    }

    #[test]
    fn an_axis_has_a_few_round_ticks_and_room_for_the_most() {
        for most in [0.0, 1e-7, 0.9, 3.0, 7.0, 10.0, 99.0, 249_000.0, 1e12] {
            let axis = linear("", most, |at| at.to_string());
            assert!(
                axis.high >= most && axis.ticks.len() >= 3 && axis.ticks.len() <= 8,
                "{axis:?}"
            );
        }
        let axis = logarithmic("", 12.0, 4000.0, |at| format!("{at:.0}"));
        let names: Vec<_> = axis.ticks.iter().map(|(_, name)| name.as_str()).collect();
        assert_eq!(names, ["10", "100", "1000", "10000"]);
        assert_eq!(logarithmic("", 0.0, 0.0, |_| String::new()).ticks.len(), 2);
    }
}
