//! `restore`: takes the store back to a backup, also while another process has it open.
//!
//! Where another process has it open, this does what a person would do with `cp`: it puts the backup in
//! the place of `state.json`, and waits until the owner has taken it in.

use std::path::Path;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;
use walden::files::names::STATE;
use walden::files::snapshot::{Parsed, parse};
use walden::{Error, Restored};

use crate::args::Format;
use crate::failure::{Failure, Outcome};
use crate::shell::Shell;
use crate::{host, output};

/// The owner looks every second, and then has everything to write.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(50);

/// Takes every document back to a backup in the store's directory.
pub(crate) fn restore(shell: &Shell, backup: &Path) -> Outcome {
    let name = backup.file_name().unwrap_or_default().to_string_lossy();
    refuse_from_elsewhere(shell, backup)?;
    match shell.open_existing() {
        Ok(store) => {
            let restored = store.restore(&name);
            store.shutdown()?;
            tell(shell, &restored?)
        }
        Err(Error::Locked { .. }) => hand_over(shell, &name),
        Err(error) => Err(error.into()),
    }
}

/// A file elsewhere may have the name of one of the store's own, which must not be taken instead.
fn refuse_from_elsewhere(shell: &Shell, backup: &Path) -> Result<(), Failure> {
    let dir = backup.parent().filter(|dir| !dir.as_os_str().is_empty());
    if dir.is_none_or(|dir| host::is_same_dir(dir, &shell.dir)) || !host::is_there(&shell.dir)? {
        return Ok(());
    }
    let (backup, dir) = (backup.display(), shell.dir.display());
    Err(Failure::Usage(format!("{backup} is not in {dir}: copy it there, and name the copy")))
}

fn tell(shell: &Shell, restored: &Restored) -> Outcome {
    let Restored { from_lsn, lsn, documents_changed, saved_as } = restored;
    match shell.format {
        Format::Json => output::json_line(&restored)?,
        Format::Human => {
            output::line(&format!(
                "restored the state of LSN {from_lsn} (now LSN {lsn}): {} changed",
                output::count(*documents_changed, "document")
            ))?;
            if let Some(name) = saved_as {
                output::line(&format!("the state before is {name}"))?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Leaves the work to the process that has the store open.
fn hand_over(shell: &Shell, name: &str) -> Outcome {
    let path = shell.dir.join(name);
    let backup = host::read_input(&path, host::LINES_BYTES_MAX)?;
    let Parsed::Intact(snapshot) = parse(backup.text.as_bytes()) else {
        return Err(Error::corrupt(backup.name, 0, "it is no intact backup").into());
    };
    let state = shell.dir.join(STATE);
    host::replace_in_store(&state, &backup.text)?;
    let give_up = Instant::now() + PATIENCE;
    while is_still(&state, &backup.text)? {
        if Instant::now() > give_up {
            let why = "state.json is the backup now, but the process that has the store open has not \
                       taken it in yet";
            return Err(Failure::Check(why.to_owned()));
        }
        thread::sleep(PAUSE);
    }
    match shell.format {
        Format::Json => output::json_line(&json!({"from_lsn": snapshot.lsn}))?,
        Format::Human => output::line(&format!(
            "restored the state of LSN {}, by the process that has the store open",
            snapshot.lsn
        ))?,
    }
    Ok(ExitCode::SUCCESS)
}

fn is_still(state: &Path, text: &str) -> Result<bool, Error> {
    match host::read_input(state, host::LINES_BYTES_MAX) {
        Ok(found) => Ok(found.text == text),
        // Between two looks it may be anything.
        Err(Error::NotFound { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}
