//! `changes` and `history`: what happened to documents, read without changing a byte of the directory.
//!
//! Invariant: the texts of documents are printed digit for digit, on one line each.

use std::io::Write;
use std::process::ExitCode;

use serde_json::{Value, json};
use walden::state::json::compact;
use walden::{Change, Collection, DocumentId, Error, History, Lsn, News, Source, Store, Version};

use crate::args::Format;
use crate::failure::Outcome;
use crate::output;
use crate::shell::Shell;
use crate::wal::word;

/// Prints the changes behind an LSN, one a line; with `follows`, for ever.
pub(crate) fn changes(shell: &Shell, from: u64, follows: bool) -> Outcome {
    let mut changes = Store::builder(&shell.dir).changes(Lsn(from))?;
    let mut out = output::stdout();
    loop {
        while let Some(news) = changes.try_recv()? {
            writeln!(out, "{}", news_line(&news, shell.format))?;
        }
        out.flush()?;
        if !follows {
            return Ok(ExitCode::SUCCESS);
        }
        let news = changes.recv()?;
        writeln!(out, "{}", news_line(&news, shell.format))?;
    }
}

fn news_line(news: &News, format: Format) -> String {
    match (news, format) {
        (News::Change(change), Format::Json) => {
            with_text(&object_of(change, "change"), change.text.as_deref())
        }
        (News::Missed { first, last }, Format::Json) => {
            json!({"type": "missed", "first": first, "last": last}).to_string()
        }
        (News::Change(change), Format::Human) => {
            let Change { lsn, time, collection, id, text, .. } = change;
            let text = text.as_deref().map(compact).unwrap_or_default();
            let (kind, dir) = (word(change.kind), collection.dir());
            let line = format!("{lsn}  {time}  {}  {kind}  {dir}/{id}  {text}", made_by(change));
            output::escape(line.trim_end())
        }
        (News::Missed { first, last }, Format::Human) => {
            format!("{first} to {last} are no longer in the log")
        }
    }
}

fn made_by(change: &Change) -> String {
    let origin = word(change.origin);
    change.file.as_ref().map_or(origin.clone(), |file| format!("{origin} of {file}"))
}

fn object_of(change: &Change, name: &str) -> Value {
    let Change { lsn, time, origin, collection, id, kind, file, continues, .. } = change;
    json!({
        "type": name, "lsn": lsn, "time": time.to_string(), "origin": origin, "file": file,
        "kind": kind, "collection": collection.dir(), "id": id.as_str(), "continues": continues,
    })
}

/// The object's text with a member `text` at its end, as it is.
fn with_text(object: &Value, text: Option<&str>) -> String {
    let object = object.to_string();
    let members = object.strip_suffix('}').unwrap_or(&object);
    format!("{members},\"text\":{}}}", text.map_or("null".into(), compact))
}

/// Prints the versions of a document that are still known, oldest first.
pub(crate) fn history(shell: &Shell, collection: Collection, id: &str) -> Outcome {
    DocumentId::check(id)?;
    let history = Store::builder(&shell.dir).history(collection, id)?;
    if history.versions.is_empty() {
        return Err(Error::not_found(format!("{collection} {id}")).into());
    }
    let mut out = output::stdout();
    for version in &history.versions {
        match shell.format {
            Format::Json => writeln!(out, "{}", json_version(&history, version))?,
            Format::Human => writeln!(out, "{}", output::escape(&human_version(version)))?,
        }
    }
    out.flush()?;
    if shell.format == Format::Human && history.complete_after > Lsn::ZERO {
        let lsn = history.complete_after;
        output::tell("note", &format!("up to LSN {lsn} only what snapshots show is known"));
    }
    Ok(ExitCode::SUCCESS)
}

fn json_version(history: &History, version: &Version) -> String {
    let mut object = json!({
        "type": "version", "lsn": version.lsn, "time": version.time.map(|time| time.to_string()),
        "origin": null, "file": null, "kind": null, "snapshot": null,
        "complete": version.lsn > history.complete_after,
    });
    match (&version.source, object.as_object_mut()) {
        (Source::Log(change), Some(object)) => {
            object.insert("origin".to_owned(), json!(change.origin));
            object.insert("kind".to_owned(), json!(change.kind));
            object.insert("file".to_owned(), json!(change.file));
        }
        (Source::Snapshot { file }, Some(object)) => {
            object.insert("snapshot".to_owned(), json!(file));
        }
        (_, None) => {}
    }
    with_text(&object, version.text.as_deref())
}

fn human_version(version: &Version) -> String {
    let time = version.time.map(|time| time.to_string()).unwrap_or_default();
    let text = version.text.as_deref().map_or("deleted".into(), compact);
    let how = match &version.source {
        Source::Log(change) => format!("{}  {}", made_by(change), word(change.kind)),
        Source::Snapshot { file } => format!("as in {file}"),
    };
    format!("{}  {time}  {how}  {text}", version.lsn)
}
