//! `import` and `export`: all tasks, from and to JSON Lines.
//!
//! Invariants: an import is one transaction, and its file is checked to the last line before the
//! store is opened; what is exported can be imported, text for text.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use serde_json::json;
use walden::state::Op;
use walden::state::json::compact;
use walden::{Collection, Options, Result};

use crate::args::Format;
use crate::failure::Outcome;
use crate::lines::lines;
use crate::shell::Shell;
use crate::{host, output, progress};

/// Saves the tasks of a file, all or none.
pub(crate) fn import(shell: &Shell, file: &Path) -> Outcome {
    let input = host::read_input(file, host::LINES_BYTES_MAX)?;
    let max = Options::default().document_bytes_max;
    let bar = progress::bar(input.text.lines().count(), "checking");
    let texts: Vec<&str> = lines(&input)
        .map(|line| {
            line.make(line.text, || Op::put(Collection::Task, line.text, max))?;
            bar.inc(1);
            Ok(line.text)
        })
        .collect::<Result<_>>()?;
    bar.finish_and_clear();
    let store = shell.open()?;
    let saved = store.transaction(|tx| {
        let bar = progress::bar(texts.len(), "importing");
        for text in &texts {
            tx.save_task_json(text)?;
            bar.inc(1);
        }
        Ok(())
    });
    store.shutdown()?;
    saved?;
    let count = texts.len();
    match shell.format {
        Format::Human => output::line(&format!("imported {count} tasks from {}", input.name))?,
        Format::Json => output::json_line(&json!({"imported": count}))?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Writes all tasks, sorted by id.
pub(crate) fn export(shell: &Shell, file: Option<&Path>) -> Outcome {
    let view = shell.read()?;
    let docs = view.docs(Collection::Task);
    let write = |out: &mut dyn Write| -> io::Result<()> {
        let bar = progress::bar(docs.len(), "exporting");
        for (_, doc) in &docs {
            writeln!(out, "{}", compact(doc.text()))?;
            bar.inc(1);
        }
        Ok(())
    };
    let Some(file) = file.filter(|file| *file != Path::new("-")) else {
        let mut out = output::stdout();
        write(&mut out)?;
        out.flush()?;
        return Ok(ExitCode::SUCCESS);
    };
    host::replace(file, write)?;
    let count = docs.len();
    match shell.format {
        Format::Human => output::line(&format!("exported {count} tasks to {}", file.display()))?,
        Format::Json => output::json_line(&json!({"exported": count}))?,
    }
    Ok(ExitCode::SUCCESS)
}
