//! `list` and `get`: documents as they are, read without changing a byte of the directory.

use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;

use walden::state::json::{Object, compact, pretty};
use walden::{Collection, Doc, DocumentId, Error, Timestamp, View};

use crate::args::Format;
use crate::failure::Outcome;
use crate::output;
use crate::shell::Shell;

/// Which documents to list.
#[derive(Debug)]
pub(crate) struct Filter {
    pub(crate) status: Option<String>,
    pub(crate) assignee: Option<String>,
    pub(crate) limit: Option<usize>,
}

impl Filter {
    /// The documents that it lets through, sorted by id.
    fn find(&self, view: &View, collection: Collection) -> Vec<(DocumentId, Arc<Doc>)> {
        let mut found = match &self.status {
            Some(status) => view.docs_with_status(collection, status),
            None => view.docs(collection),
        };
        if let Some(assignee) = &self.assignee {
            found.retain(|(_, doc)| doc.assigned_to() == Some(assignee));
        }
        found.truncate(self.limit.unwrap_or(usize::MAX));
        found
    }
}

/// Lists documents, sorted by id.
pub(crate) fn list(shell: &Shell, collection: Collection, filter: &Filter) -> Outcome {
    let view = shell.read()?;
    let chosen = filter.find(&view, collection);
    let mut out = output::stdout();
    match shell.format {
        Format::Json => {
            for (_, doc) in &chosen {
                writeln!(out, "{}", compact(doc.text()))?;
            }
        }
        Format::Human => {
            let heading = ["ID", "STATUS", "ASSIGNEE", "UPDATED", "DESCRIPTION"].map(str::to_owned);
            let rows: Vec<_> = chosen.iter().map(|(id, doc)| row(id, doc)).collect();
            if !rows.is_empty() {
                let rows: Vec<_> = std::iter::once(heading).chain(rows).collect();
                output::table(&mut out, &rows, output::terminal_width())?;
            }
        }
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

fn row(id: &DocumentId, doc: &Doc) -> [String; 5] {
    let object = Object::parse(doc.text()).unwrap_or_default();
    let text_of = |key: &str| -> String {
        object.get(key).and_then(|raw| serde_json::from_str(raw).ok()).unwrap_or_default()
    };
    let description = text_of("description");
    let first_line = description.lines().next().unwrap_or_default();
    [
        output::escape(id.as_str()),
        output::escape(doc.status().unwrap_or_default()),
        output::escape(doc.assigned_to().unwrap_or_default()),
        output::escape(&to_the_second(text_of("updated_at"))),
        output::escape(first_line),
    ]
}

/// A time without the fraction of its second; anything else as it is.
fn to_the_second(time: String) -> String {
    const SECOND: i64 = 1_000_000_000;
    match Timestamp::parse(&time) {
        Some(Timestamp(nanos)) => Timestamp(nanos.div_euclid(SECOND) * SECOND).to_string(),
        None => time,
    }
}

/// Prints one document.
pub(crate) fn get(shell: &Shell, collection: Collection, id: &str) -> Outcome {
    DocumentId::check(id)?;
    let view = shell.read()?;
    let text = match collection {
        Collection::Task => view.task_json(id),
        Collection::Session => view.session_json(id),
    };
    let text = text.ok_or_else(|| Error::not_found(format!("{collection} {id}")))?;
    let mut out = output::stdout();
    match shell.format {
        // Laid out with a newline at its end.
        Format::Human => out.write_all(pretty(&text).as_bytes())?,
        Format::Json => writeln!(out, "{}", compact(&text))?,
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}
