//! `status` and `verify`: what is known of the store, without changing a byte of it; and `repair`,
//! which changes what `verify` does not find sound.

use std::process::ExitCode;

use serde_json::Value;
use walden::{Action, RepairOptions, Status, Step, Store, Verification};

use crate::args::Format;
use crate::failure::{Failure, Outcome};
use crate::shell::{Shell, remind_of};
use crate::{output, progress};

/// `verify` found damage.
const NOT_OK: u8 = 5;

/// How the store is.
pub(crate) fn status(shell: &Shell) -> Outcome {
    let status = walden::status(&shell.dir)?;
    output::warn_of(&status.recovery.problems);
    remind_of(status.conflicts_open);
    match shell.format {
        Format::Json => output::json_line(&status)?,
        Format::Human => {
            warn(&status.warnings);
            print_status(&status)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The members of the JSON form, one a line, but for what the warnings have said already.
fn print_status(status: &Status) -> Result<(), Failure> {
    let Value::Object(members) = serde_json::to_value(status).map_err(std::io::Error::from)? else {
        return Ok(());
    };
    print_members("", &members)
}

fn print_members(prefix: &str, members: &serde_json::Map<String, Value>) -> Result<(), Failure> {
    for (key, value) in members {
        let key = format!("{prefix}{}", key.replace('_', " "));
        match value {
            Value::Object(inner) => print_members(&format!("{key}, "), inner)?,
            Value::Array(items) => output::line(&format!("{key}: {}", items.len()))?,
            Value::Null => output::line(&format!("{key}: none"))?,
            Value::Bool(yes) => {
                output::line(&format!("{key}: {}", if *yes { "yes" } else { "no" }))?;
            }
            Value::String(text) => output::line(&format!("{key}: {text}"))?,
            Value::Number(number) => output::line(&format!("{key}: {number}"))?,
        }
    }
    Ok(())
}

fn warn(warnings: &[String]) {
    for warning in warnings {
        output::tell("warning", warning);
    }
}

/// Checks every file.
pub(crate) fn verify(shell: &Shell) -> Outcome {
    let bar = progress::bytes_bar("verifying");
    let found = Store::builder(&shell.dir).verify_with(&|progress| {
        bar.set_length(progress.bytes_total);
        bar.set_position(progress.bytes);
    });
    bar.finish_and_clear();
    let found = found?;
    match shell.format {
        Format::Json => output::json_line(&found)?,
        Format::Human => {
            warn(&found.warnings);
            print_verification(&found)?;
            if !found.ok {
                output::tell("hint", "`walden repair --dry-run` lists what would be done about it");
            }
        }
    }
    Ok(exit_code(found.ok))
}

fn print_verification(found: &Verification) -> Result<(), Failure> {
    for problem in &found.problems {
        output::line(&problem.to_string())?;
    }
    let verdict = match (found.ok, found.problems.len()) {
        (true, 0) => "ok".to_owned(),
        (true, harmless) => format!("ok; {} harmless", output::count(harmless, "finding")),
        (false, findings) => format!("NOT OK: {}", output::count(findings, "finding")),
    };
    Ok(output::line(&verdict)?)
}

fn exit_code(is_sound: bool) -> ExitCode {
    if is_sound { ExitCode::SUCCESS } else { ExitCode::from(NOT_OK) }
}

/// Repairs the store, or says how it would.
pub(crate) fn repair(shell: &Shell, dry_run: bool) -> Outcome {
    let repaired = walden::repair(&shell.dir, RepairOptions { dry_run })?;
    match shell.format {
        Format::Json => output::json_line(&repaired)?,
        Format::Human => {
            for step in &repaired.actions {
                output::line(&describe(step))?;
            }
            if let Some(why) = &repaired.failure {
                output::line(&format!("it cannot be opened: {why}"))?;
            }
            match &repaired.after {
                Some(after) => print_verification(after)?,
                None if repaired.actions.is_empty() => output::line("nothing is to be done")?,
                None => {}
            }
        }
    }
    Ok(exit_code(dry_run || repaired.is_sound()))
}

fn describe(step: &Step) -> String {
    let Step { problem, action, kept } = step;
    let name = serde_json::to_value(action).ok();
    let name = name.as_ref().and_then(Value::as_str).unwrap_or_default();
    match (action, kept) {
        (Action::Quarantine, Some(kept)) => format!("{name}: {problem}; moved to {kept}"),
        (Action::Keep, Some(kept)) => format!("{name}: {problem}; kept as {kept} too"),
        _ => format!("{name}: {problem}"),
    }
}
