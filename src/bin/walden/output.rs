//! Printing: messages on stderr, JSON and tables on stdout.
//!
//! Invariant: no control character of a document, an id or a file name reaches a terminal; JSON is
//! escaped by its own rules, everything else by [`escape`].

use std::io::{self, BufWriter, Write};

use console::{Alignment, measure_text_width, pad_str, truncate_str};
use serde::Serialize;
use walden::Problem;

/// Narrowest a shortened last column gets.
const LAST_COLUMN_MIN: usize = 20;
/// Widest that any but the last column of a table gets on a terminal.
const COLUMN_MAX: usize = 36;

/// One line on stderr: `error: …`, `warning: …`, `note: …`.
pub(crate) fn tell(kind: &str, text: &str) {
    // Where stderr is gone there is nobody left to tell.
    let _ = writeln!(io::stderr(), "{kind}: {}", escape(text));
}

/// The same in several lines, of a text that has only our own.
pub(crate) fn tell_lines(kind: &str, text: &str) {
    let (first, rest) = text.split_once('\n').unwrap_or((text, ""));
    tell(kind, first);
    for line in rest.lines() {
        let _ = writeln!(io::stderr(), "{}", escape(line));
    }
}

/// One line of JSON on stderr.
pub(crate) fn tell_raw(value: &serde_json::Value) {
    let _ = writeln!(io::stderr(), "{value}");
}

/// What was found in the directory, as warnings.
pub(crate) fn warn_of(problems: &[Problem]) {
    for problem in problems {
        tell("warning", &problem.to_string());
    }
}

/// Standard output, buffered; to be flushed by the caller, so that failures are seen.
pub(crate) fn stdout() -> BufWriter<io::StdoutLock<'static>> {
    BufWriter::with_capacity(64 << 10, io::stdout().lock())
}

/// One line on stdout.
pub(crate) fn line(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{}", escape(text))?;
    out.flush()
}

/// One object on a line of stdout.
pub(crate) fn json_line(value: &impl Serialize) -> io::Result<()> {
    let mut text = serde_json::to_vec(value)?;
    text.push(b'\n');
    let mut out = io::stdout().lock();
    out.write_all(&text)?;
    out.flush()
}

/// The text with control characters, and those that change the direction of what follows, shown as
/// escapes.
pub(crate) fn escape(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        let steers = matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if c.is_control() || steers {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    shown
}

/// Rows with aligned columns, the first row being the heading; shortened to `width`, if there is one.
pub(crate) fn table<const N: usize>(
    out: &mut impl Write,
    rows: &[[String; N]],
    width: Option<usize>,
) -> io::Result<()> {
    let widest = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| measure_text_width(cell)).max().unwrap_or(0)
    };
    let mut widths: Vec<usize> = (0..N).map(widest).collect();
    if let (Some(width), Some((last, others))) = (width, widths.split_last_mut()) {
        for other in others.iter_mut() {
            *other = (*other).min(COLUMN_MAX);
        }
        let taken: usize = others.iter().map(|other| other + 2).sum();
        *last = (*last).min(width.saturating_sub(taken).max(LAST_COLUMN_MIN));
    }
    for row in rows {
        let cells: Vec<String> = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| {
                let cell = truncate_str(cell, *width, "…");
                pad_str(&cell, *width, Alignment::Left, None).into_owned()
            })
            .collect();
        writeln!(out, "{}", cells.join("  ").trim_end())?;
    }
    Ok(())
}

/// The terminal's width in columns, where stdout is one.
pub(crate) fn terminal_width() -> Option<usize> {
    let terminal = console::Term::stdout();
    let (_, columns) = terminal.size_checked().filter(|_| terminal.is_term())?;
    Some(usize::from(columns))
}

/// A count with its thousands apart: `12,345`.
pub(crate) fn thousands(count: u64) -> String {
    indicatif::HumanCount(count).to_string()
}

/// So many things: `1 finding`, `2 findings`.
pub(crate) fn count(number: usize, thing: &str) -> String {
    format!("{number} {thing}{}", if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_control_character_reaches_a_terminal() {
        assert_eq!(escape("a\x1b[31mb\nc\u{9b}d\u{202e}é"), "a\\u{1b}[31mb\\nc\\u{9b}d\\u{202e}é");
    }

    #[test]
    fn a_table_is_aligned_and_shortened_only_where_a_width_is_given() {
        let rows = [
            ["ID".to_owned(), "DESCRIPTION".to_owned()],
            ["日本".to_owned(), "one two three four five six seven".to_owned()],
        ];
        let print = |width| {
            let mut out = Vec::new();
            table(&mut out, &rows, width).unwrap();
            String::from_utf8(out).unwrap()
        };
        assert_eq!(print(None), "ID    DESCRIPTION\n日本  one two three four five six seven\n");
        assert_eq!(print(Some(26)), "ID    DESCRIPTION\n日本  one two three four …\n");
        assert_eq!(print(Some(1)), print(Some(26)), "the last column keeps a readable width");
    }
}
