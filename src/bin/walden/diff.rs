//! `diff`: what people did to the files and is not taken in yet, against the state; reads only.

use std::process::ExitCode;

use walden::state::json::compact;
use walden::{DocumentId, Effect, FieldChange, PendingEdit, Problem, Result, Store};

use crate::args::Format;
use crate::failure::{Failure, Outcome};
use crate::output;
use crate::shell::Shell;

/// Tells the edits of some documents, or all.
pub(crate) fn diff(shell: &Shell, ids: &[String]) -> Outcome {
    ids.iter().map(|id| DocumentId::check(id)).collect::<Result<Vec<_>>>()?;
    let mut pending = Store::builder(&shell.dir).pending_edits()?;
    if !ids.is_empty() {
        pending.edits.retain(|edit| ids.iter().any(|id| id == edit.id.as_str()));
        // Whose a file is that cannot be understood, its name tells.
        pending.left.retain(|problem| ids.iter().any(|id| is_file_of(problem, id)));
    }
    match shell.format {
        Format::Json => output::json_line(&pending)?,
        Format::Human => {
            if pending.writer_pid.is_some()
                && !(pending.edits.is_empty() && pending.left.is_empty())
            {
                let who = pending.writer_pid.filter(|pid| *pid > 0);
                let who = who
                    .map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"));
                output::tell(
                    "note",
                    &format!("{who} has the store open and takes edits in by itself"),
                );
            }
            pending.edits.iter().try_for_each(tell)?;
            for Problem { file, detail, .. } in &pending.left {
                output::line(&format!("{file}: left as it is: {detail}"))?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn is_file_of(problem: &Problem, id: &str) -> bool {
    let Ok(id) = DocumentId::new(id) else { return false };
    let name = problem.file.rsplit('/').next().unwrap_or_default();
    walden::files::names::forms(&id).iter().any(|form| form == name)
}

fn tell(edit: &PendingEdit) -> Result<(), Failure> {
    let PendingEdit { file, collection, id, effect, changes, conflicts, detail } = edit;
    let document = format!("{collection} {id}");
    let what = match effect {
        Effect::Create => format!("{document} is created"),
        Effect::Change => format!("{document} changes"),
        Effect::Delete => format!("{document} is deleted; its last version goes to conflicts/"),
        Effect::Restore => {
            format!("it was removed, but {document} has changed since; it is restored")
        }
        Effect::Held => format!("left as it is: {}", detail.as_deref().unwrap_or_default()),
        _ => format!("{document} stays as it is"),
    };
    output::line(&format!("{file}: {what}"))?;
    tell_changes(changes, conflicts)
}

/// Field by field: `path: old → new`, what is there on one side only with a sign.
pub(crate) fn tell_changes(changes: &[FieldChange], conflicts: &[String]) -> Result<(), Failure> {
    for change in changes {
        let is_conflict = conflicts.contains(&change.path);
        let mark = if is_conflict { "  (a program changed it, too)" } else { "" };
        let path =
            if change.path.is_empty() { String::new() } else { format!("{}: ", change.path) };
        let [old, new] = [&change.old, &change.new].map(|text| text.as_deref().map(compact));
        let line = match (old, new) {
            (Some(old), Some(new)) => format!("  {path}{old} → {new}{mark}"),
            (None, Some(new)) => format!("+ {path}{new}{mark}"),
            (Some(old), None) => format!("- {path}{old}{mark}"),
            (None, None) => continue,
        };
        output::line(&line)?;
    }
    let is_told = |path: &&String| changes.iter().any(|change| change.path == **path);
    for path in conflicts.iter().filter(|path| !is_told(path)) {
        output::line(&format!("  {path}: changed by a program, too"))?;
    }
    Ok(())
}
