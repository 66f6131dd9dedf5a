//! `status` and `verify`: what is known of the store, without changing a byte of it.

use std::process::ExitCode;

use serde_json::Value;
use walden::Status;

use crate::args::Format;
use crate::failure::{Failure, Outcome};
use crate::output;
use crate::shell::Shell;

/// `verify` found damage.
const NOT_OK: u8 = 5;

/// How the store is.
pub(crate) fn status(shell: &Shell) -> Outcome {
    let status = walden::status(&shell.dir)?;
    output::warn_of(&status.recovery.problems);
    match shell.format {
        Format::Json => output::json_line(&status)?,
        Format::Human => print_status(&status)?,
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

/// Compares log, snapshot and mirror.
pub(crate) fn verify(shell: &Shell) -> Outcome {
    let found = walden::verify(&shell.dir)?;
    match shell.format {
        Format::Json => output::json_line(&found)?,
        Format::Human => {
            for problem in &found.problems {
                output::line(&problem.to_string())?;
            }
            let verdict = match (found.ok, found.problems.len()) {
                (true, 0) => "ok".to_owned(),
                (true, harmless) => format!("ok; {harmless} harmless findings"),
                (false, findings) => format!("NOT OK: {findings} findings"),
            };
            output::line(&verdict)?;
        }
    }
    Ok(if found.ok { ExitCode::SUCCESS } else { ExitCode::from(NOT_OK) })
}
