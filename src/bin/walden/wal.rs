//! `wal`: the log's segments and groups, as tables for people and as lines for programs.
//!
//! Nothing is judged here: every verdict is the library's, and the fields of the JSON forms are those
//! of its types, which the help text of the verb names.

use std::io::Write;
use std::process::ExitCode;

use serde::Serialize;
use serde_json::{Value, json};
use walden::Store;
use walden::wal::{DamageListing, GroupListing, PieceListing, SegmentListing};

use crate::args::Format;
use crate::failure::{Failure, Outcome};
use crate::output;
use crate::shell::Shell;

const SEGMENTS: [&str; 9] =
    ["NUMBER", "BYTES", "USED", "INCARNATION", "LSN", "GROUPS", "RECORDS", "STATE", "VERDICT"];
const GROUPS: [&str; 9] =
    ["SEGMENT", "OFFSET", "KIND", "LSN", "RECORDS", "BYTES", "DURABLE", "TIME", "VERDICT"];

/// Lists the log; with `groups`, also what is in each segment. At most `limit` lines.
pub(crate) fn wal(shell: &Shell, groups: bool, limit: Option<usize>) -> Outcome {
    let listed = Store::builder(&shell.dir).list_log()?;
    let limit = limit.unwrap_or(usize::MAX);
    match shell.format {
        Format::Json => print_lines(&listed, groups, limit)?,
        Format::Human if groups => {
            let pieces = listed.iter().flat_map(|segment| &segment.pieces);
            print_table(GROUPS, pieces.take(limit).map(piece_row))?;
        }
        Format::Human => print_table(SEGMENTS, listed.iter().take(limit).map(segment_row))?,
    }
    Ok(ExitCode::SUCCESS)
}

/// One object a line, each with its `type`: a segment, and what is in it behind it.
fn print_lines(listed: &[SegmentListing], groups: bool, limit: usize) -> Result<(), Failure> {
    let mut lines: Vec<Value> = Vec::new();
    for segment in listed {
        let mut line = json!({"type": "segment"});
        if let (Value::Object(line), Value::Object(fields)) = (&mut line, value(segment)?) {
            line.extend(fields);
        }
        lines.push(line);
        for piece in segment.pieces.iter().filter(|_| groups) {
            lines.push(value(piece)?);
        }
    }
    let mut out = output::stdout();
    for line in lines.iter().take(limit) {
        writeln!(out, "{line}")?;
    }
    out.flush()?;
    Ok(())
}

fn value(of: &impl Serialize) -> Result<Value, Failure> {
    Ok(serde_json::to_value(of).map_err(std::io::Error::from)?)
}

/// The word that stands for a value in the JSON form.
pub(crate) fn word(of: impl Serialize) -> String {
    serde_json::to_value(of)
        .ok()
        .and_then(|value| value.as_str().map(str::to_owned))
        .unwrap_or_default()
}

fn print_table<const N: usize>(
    heading: [&str; N],
    rows: impl Iterator<Item = [String; N]>,
) -> Result<(), Failure> {
    let rows: Vec<[String; N]> = std::iter::once(heading.map(str::to_owned)).chain(rows).collect();
    if rows.len() > 1 {
        let mut out = output::stdout();
        output::table(&mut out, &rows, output::terminal_width())?;
        out.flush()?;
    }
    Ok(())
}

fn segment_row(segment: &SegmentListing) -> [String; 9] {
    let damages = segment.pieces.iter().filter_map(|piece| match piece {
        PieceListing::Damage(damage) => Some(damage.why.as_str()),
        PieceListing::Group(_) => None,
    });
    let why: Vec<&str> = damages.collect();
    let verdict = word(segment.verdict);
    [
        segment.number.to_string(),
        segment.bytes.to_string(),
        segment.used_bytes.to_string(),
        segment.incarnation.map_or_else(String::new, |number| number.to_string()),
        match (segment.first_lsn, segment.last_lsn) {
            (Some(first), Some(last)) => format!("{first} to {last}"),
            _ => String::new(),
        },
        segment.groups.to_string(),
        segment.records.to_string(),
        word(segment.state),
        if why.is_empty() {
            verdict
        } else {
            output::escape(&format!("{verdict}: {}", why.join("; ")))
        },
    ]
}

fn piece_row(piece: &PieceListing) -> [String; 9] {
    match piece {
        PieceListing::Group(group) => group_row(group),
        PieceListing::Damage(damage) => damage_row(damage),
    }
}

fn group_row(group: &GroupListing) -> [String; 9] {
    [
        group.segment.to_string(),
        group.offset.to_string(),
        word(group.kind),
        group.first_lsn.to_string(),
        group.records.to_string(),
        group.bytes.to_string(),
        group.durable_lsn.to_string(),
        group.time.clone(),
        word(group.verdict),
    ]
}

fn damage_row(damage: &DamageListing) -> [String; 9] {
    let none = String::new;
    [
        damage.segment.to_string(),
        damage.offset.to_string(),
        "damage".to_owned(),
        none(),
        none(),
        damage.bytes.to_string(),
        none(),
        none(),
        output::escape(&format!("{}: {}", word(damage.verdict), damage.why)),
    ]
}
