//! `edit`: a document in somebody's editor, merged with what programs changed meanwhile.
//!
//! While the editor is open, the store is not. Where another process has it open afterwards, this does what
//! a person would do: it puts the text in the document's file, and leaves the rest to the owner.
//!
//! Invariant: what was typed is never lost: whatever fails after the editor was closed, the text stays in
//! a file that is named.

use std::env;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;
use walden::files::names::{CONFLICTS, Names, conflict, forms};
use walden::state::json::pretty;
use walden::state::{Op, field_changes, is_same, merge3};
use walden::{Collection, ContentHash, DocumentId, EditTaken, Error, Options, Result, Task, View};

use crate::args::Format;
use crate::diff::tell_changes;
use crate::failure::{Failure, Outcome};
use crate::host::{self, Draft};
use crate::output;
use crate::shell::Shell;

/// So long it is waited for a process that has the store open to take the edit in.
const PATIENCE: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(50);

/// What is edited.
struct Subject {
    collection: Collection,
    id: DocumentId,
    /// Its text as it was given to the editor; `None` if it is new.
    base: Option<String>,
}

/// Edits a document.
pub(crate) fn edit(shell: &Shell, collection: Collection, id: &str, create: bool) -> Outcome {
    let id = DocumentId::new(id)?;
    let base = match shell.read_quietly() {
        Ok(view) => text_in(&view, collection, &id),
        Err(Error::NotFound { .. }) if create => None,
        Err(error) => return Err(error.into()),
    };
    if base.is_none() && !create && !asks(&format!("There is no {collection} {id}. Make it?")) {
        output::tell("hint", "--create makes a new one");
        return Err(Error::not_found(format!("{collection} {id}")).into());
    }
    let subject = Subject { collection, id, base };
    let text = match &subject.base {
        Some(text) => pretty(text),
        None => template(&subject)?,
    };
    let name = forms(&subject.id).into_iter().next().unwrap_or_default();
    let draft = Draft::new(&name, &text)?;
    match work_on(shell, &subject, &text, &draft) {
        Ok(code) => {
            draft.discard()?;
            Ok(code)
        }
        Err(failure) => {
            let is_unchanged = host::read_input(&draft.file, document_bytes_max())
                .is_ok_and(|left| left.text == text);
            if is_unchanged {
                draft.discard()?;
            } else {
                output::tell("note", &format!("what you wrote is in {}", draft.file.display()));
            }
            Err(failure)
        }
    }
}

fn document_bytes_max() -> usize {
    Options::default().document_bytes_max
}

fn text_in(view: &View, collection: Collection, id: &DocumentId) -> Option<String> {
    let text = match collection {
        Collection::Task => view.task_json(id.as_str()),
        Collection::Session => view.session_json(id.as_str()),
    };
    text.map(|text| text.to_string())
}

fn template(subject: &Subject) -> Result<String, Failure> {
    let text = match subject.collection {
        Collection::Task => serde_json::to_string(&Task::new(subject.id.as_str(), "")),
        Collection::Session => serde_json::to_string(&json!({"id": subject.id.as_str()})),
    };
    Ok(pretty(&text.map_err(std::io::Error::from)?))
}

/// Asks on the terminal; where there is none, the answer is no.
fn asks(question: &str) -> bool {
    if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
        return false;
    }
    let asked = write!(std::io::stderr(), "{} [y/N] ", output::escape(question));
    let mut answer = String::new();
    let read = asked.and_then(|()| std::io::stdin().read_line(&mut answer));
    read.is_ok() && matches!(answer.trim(), "y" | "Y" | "yes")
}

fn work_on(shell: &Shell, subject: &Subject, text: &str, draft: &Draft) -> Outcome {
    let edited = loop {
        open_editor(&draft.file)?;
        let checked = host::read_input(&draft.file, document_bytes_max())
            .and_then(|input| check(subject, &input.text, &draft.file));
        match checked {
            Ok(edited) => break edited,
            Err(error) => {
                if !asks(&format!("{error}. Edit again?")) {
                    return Err(error.into());
                }
            }
        }
    };
    if is_same(text, &edited) {
        return nothing_changed(shell, subject);
    }
    match shell.open() {
        Ok(store) => {
            let taken = store.edit_json(subject.collection, subject.base.as_deref(), &edited);
            store.shutdown()?;
            tell(shell, subject, &taken?)
        }
        Err(Error::Locked { .. }) => hand_over(shell, subject, &edited),
        Err(error) => Err(error.into()),
    }
}

/// Opens the editor that people chose, and waits until it is closed. Its command is split as a shell does.
fn open_editor(file: &Path) -> Result<(), Failure> {
    let chosen = ["VISUAL", "EDITOR"].into_iter().filter_map(env::var_os);
    let editor = chosen.into_iter().find(|value| !value.is_empty()).unwrap_or_else(|| "vi".into());
    let mut line = editor.clone();
    line.push(" \"$@\"");
    let ended = Command::new("sh").arg("-c").arg(line).arg("sh").arg(file).status();
    let editor = editor.to_string_lossy();
    match ended {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(Failure::Check(format!(
            "the editor ({editor}) ended with {status}; nothing is changed"
        ))),
        Err(error) => Err(Error::io("start", format!("the editor ({editor})"), error).into()),
    }
}

/// The text as a document of that id.
fn check(subject: &Subject, text: &str, file: &Path) -> Result<String> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let op =
        Op::put(subject.collection, text, document_bytes_max()).map_err(|error| match error {
            Error::Invalid { what, why } => {
                let place = what.split_once(", ").map(|(_, place)| format!(", {place}"));
                Error::invalid(format!("{}{}", file.display(), place.unwrap_or_default()), why)
            }
            other => other,
        })?;
    let id = op.target().map(|(_, id)| id.as_str()).unwrap_or_default();
    if id != subject.id.as_str() {
        let why = format!("the id is {id:?}; it must stay {:?}", subject.id.as_str());
        return Err(Error::invalid(file.display().to_string(), why));
    }
    Ok(text.to_owned())
}

fn nothing_changed(shell: &Shell, subject: &Subject) -> Outcome {
    match shell.format {
        Format::Human => output::line("nothing was changed")?,
        Format::Json => output::json_line(&json!({"id": subject.id.as_str(), "changes": []}))?,
    }
    Ok(ExitCode::SUCCESS)
}

fn tell(shell: &Shell, subject: &Subject, taken: &EditTaken) -> Outcome {
    let EditTaken { lsn, changes, conflicts, kept } = taken;
    let Subject { collection, id, .. } = subject;
    match (shell.format, lsn) {
        (Format::Json, _) => {
            output::json_line(&json!({
                "id": id.as_str(),
                "lsn": lsn,
                "changes": changes,
                "conflicts": conflicts,
                "kept": kept,
            }))?;
        }
        (Format::Human, None) => output::line("nothing was changed: the document is that already")?,
        (Format::Human, Some(lsn)) => {
            output::line(&format!("edited {collection} {id} (LSN {lsn})"))?;
            tell_changes(changes, conflicts)?;
            tell_kept(kept.as_deref())?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Leaves the edit in the document's file to the process that has the store open.
fn hand_over(shell: &Shell, subject: &Subject, edited: &str) -> Outcome {
    let give_up = Instant::now() + PATIENCE;
    // A program may have just written, and another person may have just edited.
    let (file, before) = loop {
        let view = shell.read_quietly()?;
        let file = file_of(&view, shell, subject);
        let present = text_in(&view, subject.collection, &subject.id);
        let found = match host::read_input(&file, document_bytes_max()) {
            Ok(found) => Some(found.text),
            Err(Error::NotFound { .. }) => None,
            Err(error) => return Err(error.into()),
        };
        let is_settled = match (&found, &present) {
            (None, None) => true,
            (Some(found), Some(present)) => is_same(found, present),
            _ => false,
        };
        if is_settled {
            break (file, present);
        }
        if Instant::now() > give_up {
            let what = file.display().to_string();
            let why =
                "it is not what its document is, and that has not been taken in yet; try again";
            return Err(Error::Conflict { what, why: why.to_owned() }.into());
        }
        thread::sleep(PAUSE);
    };
    // It becomes an edit of what the file shows: with what a program changed since is merged here.
    let (merged, conflicts) = match &before {
        Some(before) => {
            let merged = merge3(subject.base.as_deref(), before, edited);
            (merged.text, merged.conflicts)
        }
        None => (edited.to_owned(), Vec::new()),
    };
    let loser = before.as_ref().filter(|_| !conflicts.is_empty());
    let kept = loser.map(|loser| keep(shell, &file, &pretty(loser))).transpose()?;
    host::replace_in_store(&file, &merged)?;
    let changes = field_changes(before.as_deref(), Some(&merged));
    let taken = EditTaken { lsn: None, changes, conflicts, kept };
    let is_taken_in = wait_for(shell, subject, before.as_deref(), &merged)?;
    tell_handed_over(shell, subject, &taken, is_taken_in)
}

/// Keeps what loses where the engine would, under the name that it would have.
fn keep(shell: &Shell, file: &Path, text: &str) -> Result<String> {
    let of = file.file_name().unwrap_or_default().to_string_lossy();
    let kept = conflict(&of, ContentHash::of(text.as_bytes()), 0);
    host::make_private_dir(&shell.dir.join(CONFLICTS))?;
    host::replace_in_store(&shell.dir.join(&kept), text)?;
    Ok(kept)
}

/// The name that the engine has, or will have, for the document's file.
fn file_of(view: &View, shell: &Shell, subject: &Subject) -> PathBuf {
    let mut names = Names::default();
    for (id, _) in view.docs(subject.collection) {
        names.insert(&id);
    }
    names.insert(&subject.id);
    shell.dir.join(subject.collection.dir()).join(names.file_name(&subject.id))
}

/// Waits until the document has the edit in it: until taking it in again would change nothing.
fn wait_for(shell: &Shell, subject: &Subject, base: Option<&str>, edited: &str) -> Result<bool> {
    let give_up = Instant::now() + PATIENCE;
    loop {
        let view = shell.read_quietly()?;
        if let Some(now) = text_in(&view, subject.collection, &subject.id)
            && is_same(&now, &merge3(base, &now, edited).text)
        {
            return Ok(true);
        }
        if Instant::now() > give_up {
            return Ok(false);
        }
        thread::sleep(PAUSE);
    }
}

fn tell_handed_over(
    shell: &Shell,
    subject: &Subject,
    taken: &EditTaken,
    is_taken_in: bool,
) -> Outcome {
    let Subject { collection, id, .. } = subject;
    let EditTaken { changes, conflicts, kept, .. } = taken;
    match shell.format {
        Format::Json => output::json_line(&json!({
            "id": id.as_str(),
            "changes": changes,
            "conflicts": conflicts,
            "kept": kept,
            "handed_over": true,
            "taken_in": is_taken_in,
        }))?,
        Format::Human => {
            output::line(&format!(
                "edited {collection} {id}, by way of its file: another process has the store open"
            ))?;
            tell_changes(changes, conflicts)?;
            tell_kept(kept.as_deref())?;
            if !is_taken_in {
                let text =
                    "it has not been taken in yet; that process looks at its files now and then";
                output::tell("note", text);
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn tell_kept(kept: Option<&str>) -> Result<(), Failure> {
    match kept {
        Some(kept) => Ok(output::line(&format!("the program's version is kept as {kept}"))?),
        None => Ok(()),
    }
}
