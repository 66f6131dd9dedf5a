//! `conflicts`: what was kept in `conflicts/`, side by side with the state, and the decision about it.

use std::process::ExitCode;
use std::time::Duration;

use serde::Serialize;
use serde_json::value::RawValue;
use walden::state::field_changes;
use walden::state::json::{Object, compact};
use walden::{
    Collection, Error, FieldChange, KeptStatus, KeptVersion, Resolution, Result, Store, View,
};

use crate::args::{ConflictsVerb, Format, Side};
use crate::failure::{Failure, Outcome};
use crate::output;
use crate::shell::Shell;

pub(crate) fn conflicts(shell: &Shell, verb: Option<ConflictsVerb>) -> Outcome {
    match verb {
        None => list(shell),
        Some(ConflictsVerb::Show { name, which }) => show(shell, &name, which.chosen()),
        Some(ConflictsVerb::Resolve { name, side, which }) => {
            resolve(shell, &name, side, which.chosen())
        }
        Some(ConflictsVerb::Prune { older_than }) => prune(shell, older_than),
    }
}

/// The name in the directory, with or without that before it.
fn bare(name: &str) -> &str {
    name.strip_prefix("conflicts/").unwrap_or(name)
}

fn list(shell: &Shell) -> Outcome {
    let view = shell.read_quietly()?;
    let all = Store::builder(&shell.dir).conflicts(&view)?;
    match shell.format {
        Format::Json => {
            for kept in &all {
                output::json_line(kept)?;
            }
        }
        Format::Human if all.is_empty() => {}
        Format::Human => {
            let heading = ["STATUS", "DOCUMENT", "KEPT", "BYTES", "NAME"].map(str::to_owned);
            let rows = all.iter().map(|kept| {
                [
                    status(kept.status).to_owned(),
                    document(kept),
                    time(kept),
                    kept.bytes.to_string(),
                    output::escape(&kept.name),
                ]
            });
            let rows: Vec<_> = std::iter::once(heading).chain(rows).collect();
            // A name that is cut cannot be given to `show`.
            let mut out = output::stdout();
            output::table(&mut out, &rows, None)?;
            std::io::Write::flush(&mut out)?;
            let unexplained =
                all.iter().filter_map(|kept| Some((&kept.name, kept.detail.as_ref()?)));
            for (name, why) in unexplained {
                output::tell("note", &format!("conflicts/{name}: {why}"));
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn status(status: KeptStatus) -> &'static str {
    match status {
        KeptStatus::Open => "open",
        KeptStatus::Same => "same",
        KeptStatus::Gone => "gone",
        KeptStatus::NoDocument => "no document",
        KeptStatus::Resolved => "resolved",
        _ => "other",
    }
}

fn document(kept: &KeptVersion) -> String {
    let id = kept.id.as_ref().map(ToString::to_string).unwrap_or_default();
    let shown = match kept.collection {
        Some(collection) => format!("{collection} {id}"),
        None => id,
    };
    output::escape(&shown)
}

fn time(kept: &KeptVersion) -> String {
    let text = kept.modified.map(|time| time.to_string()).unwrap_or_default();
    text.split_once('.').map_or(text.clone(), |(seconds, _)| format!("{seconds}Z"))
}

/// A kept version beside its document.
#[derive(Serialize)]
struct SideBySide<'a> {
    #[serde(flatten)]
    version: &'a KeptVersion,
    kept: Box<RawValue>,
    state: Option<Box<RawValue>>,
    /// In which fields: `old` is kept, `new` in the state.
    differs: Vec<FieldChange>,
}

fn text_in(view: &View, collection: Collection, id: &str) -> Option<String> {
    let text = match collection {
        Collection::Task => view.task_json(id),
        Collection::Session => view.session_json(id),
    };
    text.map(|text| text.to_string())
}

fn show(shell: &Shell, name: &str, collection: Option<Collection>) -> Outcome {
    let view = shell.read_quietly()?;
    let builder = Store::builder(&shell.dir);
    let name = bare(name);
    let text = builder.kept_text(name)?;
    let all = builder.conflicts(&view)?;
    let version = all.iter().find(|kept| kept.name == name);
    let version = version.ok_or_else(|| Error::not_found(format!("conflicts/{name}")))?;
    if let Some(why) = &version.detail {
        return Err(Error::invalid(format!("conflicts/{name}"), why).into());
    }
    let text = text.trim_start_matches('\u{feff}');
    let id = version.id.as_ref().map(ToString::to_string).unwrap_or_default();
    let state = collection.or(version.collection).and_then(|each| text_in(&view, each, &id));
    let differs = match &state {
        Some(state) => field_changes(Some(text), Some(state)),
        None => Vec::new(),
    };
    match shell.format {
        Format::Json => {
            let raw = |text: &str| RawValue::from_string(compact(text).into_owned());
            let kept = raw(text).map_err(std::io::Error::from)?;
            let state = state.as_deref().map(raw).transpose().map_err(std::io::Error::from)?;
            output::json_line(&SideBySide { version, kept, state, differs })?;
        }
        Format::Human => side_by_side(&document(version), text, state.as_deref(), &differs)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Field by field, what differs marked and, within objects, told by its own path.
fn side_by_side(
    title: &str,
    kept: &str,
    state: Option<&str>,
    differs: &[FieldChange],
) -> Result<(), Failure> {
    let heading = ["", "FIELD", "KEPT", "STATE"].map(str::to_owned);
    let mut rows = vec![heading];
    let show = |value: &Option<String>| {
        value.as_deref().map_or_else(|| "-".to_owned(), |text| output::escape(&compact(text)))
    };
    let members = Object::parse(kept).unwrap_or_default();
    let now = Object::parse(state.unwrap_or("{}")).unwrap_or_default();
    for member in &members {
        let there = now.get(&member.key).is_some();
        let path = format!("/{}", member.key.replace('~', "~0").replace('/', "~1"));
        let is_of = |change: &FieldChange| {
            change
                .path
                .strip_prefix(&path)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        if state.is_none() || !differs.iter().any(is_of) {
            let text = Some(member.value.to_owned());
            let now = if there { show(&text) } else { "-".to_owned() };
            rows.push([String::new(), output::escape(&path), show(&text), now]);
        }
    }
    for FieldChange { path, old, new } in differs {
        rows.push(["*".to_owned(), output::escape(path), show(old), show(new)]);
    }
    output::line(title)?;
    let mut out = output::stdout();
    output::table(&mut out, &rows, output::terminal_width())?;
    std::io::Write::flush(&mut out)?;
    if state.is_none() {
        output::tell("note", "there is no such document any more");
    }
    Ok(())
}

fn resolve(shell: &Shell, name: &str, side: Side, collection: Option<Collection>) -> Outcome {
    let resolution =
        if side.takes_kept() { Resolution::TakeKept { collection } } else { Resolution::KeepState };
    let store = shell.open_existing_quietly()?;
    let resolved = store.resolve_conflict(bare(name), resolution);
    store.shutdown()?;
    let resolved = resolved?;
    match shell.format {
        Format::Json => output::json_line(&resolved)?,
        Format::Human => {
            let (name, what) = (
                &resolved.name,
                match (resolution, resolved.lsn) {
                    (_, Some(lsn)) => format!("the kept version is in force (LSN {lsn})"),
                    (Resolution::KeepState, None) => "the state stays as it is".to_owned(),
                    (Resolution::TakeKept { .. }, None) => "the state is that already".to_owned(),
                },
            );
            output::line(&format!("{what}; the file is conflicts/{name} now"))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn prune(shell: &Shell, older_than_days: Option<u32>) -> Outcome {
    let older_than = older_than_days.map(|days| Duration::from_secs(u64::from(days) * 86_400));
    let store = shell.open_existing_quietly()?;
    let removed = store.prune_conflicts(older_than);
    store.shutdown()?;
    let removed = removed?;
    match shell.format {
        Format::Json => output::json_line(&serde_json::json!({"removed": removed}))?,
        Format::Human => {
            output::line(&format!("removed {}", output::count(removed, "resolved file")))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
