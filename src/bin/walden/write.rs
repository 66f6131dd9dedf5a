//! `put`, `patch`, `log`, `rm` and `checkpoint`: open, do one thing durably, shut down.
//!
//! Input is checked before the store is opened, so that bad input does not even create one.

use std::path::Path;
use std::process::ExitCode;

use serde_json::json;
use walden::state::{LogEntry, Op};
use walden::{Clock, Collection, Error, Lsn, Options, Result, SystemClock};

use crate::args::Format;
use crate::failure::Outcome;
use crate::shell::Shell;
use crate::{host, output};

fn document_bytes_max() -> usize {
    Options::default().document_bytes_max
}

/// Saves the document in `file`.
pub(crate) fn put(shell: &Shell, collection: Collection, file: &Path) -> Outcome {
    let input = host::read_input(file, document_bytes_max())?;
    let op = Op::put(collection, &input.text, document_bytes_max())
        .map_err(|error| of_input(&input.name, error))?;
    let id = op.target().map(|(_, id)| id.to_string()).unwrap_or_default();
    let store = shell.open()?;
    let lsn = match collection {
        Collection::Task => store.save_task_json(&input.text),
        Collection::Session => store.save_session_json(&input.text),
    }?;
    store.shutdown()?;
    done(shell, "saved", collection, &id, lsn)
}

/// Merges a patch, given as an argument or on standard input, into a document.
pub(crate) fn patch(shell: &Shell, collection: Collection, id: &str, json: &str) -> Outcome {
    let input = match json {
        "-" => host::read_input(Path::new("-"), document_bytes_max())?,
        text => host::Input { name: "the argument".to_owned(), text: text.to_owned() },
    };
    Op::patch(collection, id, &input.text, document_bytes_max())
        .map_err(|error| of_input(&input.name, error))?;
    let store = shell.open_existing()?;
    let lsn = match collection {
        Collection::Task => store.patch_task_json(id, &input.text),
        Collection::Session => store.patch_session_json(id, &input.text),
    };
    // What could not be changed is no reason not to shut down cleanly.
    store.shutdown()?;
    done(shell, "patched", collection, id, lsn?)
}

/// Names the input in an error about its content.
fn of_input(name: &str, error: Error) -> Error {
    match error {
        Error::Invalid { what, why } => Error::Invalid { what: format!("{name}: {what}"), why },
        other => other,
    }
}

/// Appends to a task's logs.
pub(crate) fn log(shell: &Shell, id: &str, message: String, level: String) -> Outcome {
    walden::DocumentId::check(id)?;
    let entry = LogEntry {
        timestamp: Some(SystemClock::default().now().to_string()),
        level,
        message,
        ..LogEntry::default()
    };
    let store = shell.open_existing()?;
    let lsn = store.append_task_log(id, entry);
    store.shutdown()?;
    done(shell, "logged to", Collection::Task, id, lsn?)
}

/// Deletes a document.
pub(crate) fn remove(shell: &Shell, collection: Collection, id: &str) -> Outcome {
    walden::DocumentId::check(id)?;
    let store = shell.open_existing()?;
    let was_there: Result<bool> = match collection {
        Collection::Task => store.delete_task(id),
        Collection::Session => store.delete_session(id),
    };
    store.shutdown()?;
    if !was_there? {
        return Err(Error::not_found(format!("{collection} {id}")).into());
    }
    match shell.format {
        Format::Human => output::line(&format!("deleted {collection} {id}"))?,
        Format::Json => output::json_line(&json!({"id": id}))?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Makes a snapshot and brings the files up to date.
pub(crate) fn checkpoint(shell: &Shell) -> Outcome {
    let store = shell.open_existing()?;
    let made = store.checkpoint();
    store.shutdown()?;
    let made = made?;
    let (lsn, documents) = (made.lsn, made.documents);
    match shell.format {
        Format::Json => output::json_line(&json!({
            "lsn": lsn,
            "documents": documents,
            "written": made.written,
            "files_changed": made.files_changed,
        }))?,
        Format::Human if made.written => output::line(&format!(
            "saved {documents} documents up to LSN {lsn}; {} files changed",
            made.files_changed
        ))?,
        Format::Human => output::line(&format!("nothing to save since LSN {lsn}"))?,
    }
    Ok(ExitCode::SUCCESS)
}

fn done(shell: &Shell, what: &str, collection: Collection, id: &str, lsn: Lsn) -> Outcome {
    match shell.format {
        Format::Human => output::line(&format!("{what} {collection} {id} (LSN {lsn})"))?,
        Format::Json => output::json_line(&json!({"id": id, "lsn": lsn}))?,
    }
    Ok(ExitCode::SUCCESS)
}
