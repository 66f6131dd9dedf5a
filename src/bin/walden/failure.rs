//! How a command ends: the exit codes, in one place, and the message on stderr.
//!
//! A reader of stdout that went away (`walden list | head`) is no failure: the command ends quietly.

use std::fmt;
use std::io;
use std::process::ExitCode;

use serde_json::json;
use walden::Error;

use crate::args::Format;
use crate::output;

/// What a verb returns: the exit code where it is not a failure to report.
pub(crate) type Outcome = Result<ExitCode, Failure>;

/// Why a command could not do what it was asked to.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The store refused or failed.
    Store(Error),
    /// The store refused or failed at this place of an input file.
    At(String, Error),
    /// Writing the result failed.
    Output(io::Error),
    /// The command was used wrongly, in a way that the argument parser cannot see.
    Usage(String),
    /// Something was found not to be as it must be.
    Check(String),
    /// The store broke a promise.
    Violation(String),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure::Store(error)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Failure::Output(error)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Store(error) => error.fmt(f),
            Failure::At(place, error) => write!(f, "{place}: {error}"),
            Failure::Output(error) => write!(f, "cannot write the output: {error}"),
            Failure::Usage(why) | Failure::Check(why) | Failure::Violation(why) => f.write_str(why),
        }
    }
}

impl Failure {
    /// Tells stderr, and gives the exit code.
    pub(crate) fn report(&self, format: Format) -> ExitCode {
        if let Failure::Output(error) = self
            && error.kind() == io::ErrorKind::BrokenPipe
        {
            return ExitCode::SUCCESS;
        }
        let (kind, code) = self.kind_and_code();
        match (format, self) {
            (Format::Human, Failure::Violation(why)) => output::tell_lines("error", why),
            (Format::Human, _) => output::tell("error", &self.to_string()),
            (Format::Json, _) => {
                output::tell_raw(&json!({"error": {"kind": kind, "message": self.to_string()}}));
            }
        }
        ExitCode::from(code)
    }

    /// The name that programs are told, and the exit code.
    pub(crate) fn kind_and_code(&self) -> (&'static str, u8) {
        match self {
            Failure::Store(error) | Failure::At(_, error) => of_store(error),
            Failure::Output(_) => ("output", 1),
            Failure::Usage(_) => ("usage", 2),
            Failure::Check(_) => ("check", 1),
            Failure::Violation(_) => ("violation", 5),
        }
    }
}

/// The exit codes: 1 failure, 3 not found, 4 conflict, 5 corruption, 6 locked, 7 disk.
fn of_store(error: &Error) -> (&'static str, u8) {
    match error {
        Error::Invalid { .. } => ("invalid", 1),
        Error::Closed => ("closed", 1),
        Error::Unsupported { .. } => ("unsupported", 5),
        Error::NotFound { .. } => ("not_found", 3),
        Error::Conflict { .. } => ("conflict", 4),
        Error::Corrupt { .. } => ("corrupt", 5),
        Error::Locked { .. } => ("locked", 6),
        Error::Io { .. } => ("io", 7),
        Error::DiskFull { .. } => ("disk_full", 7),
        Error::Poisoned { .. } => ("poisoned", 7),
        // The type may grow; what is new is a failure until it has its own code.
        _ => ("failure", 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_error_has_the_exit_code_that_scripts_rely_on() {
        let disk = || io::Error::from(io::ErrorKind::StorageFull);
        let table = [
            (Error::invalid("x", "y"), 1),
            (Error::Closed, 1),
            (Error::not_found("x"), 3),
            (Error::Conflict { what: "x".into(), why: "y".into() }, 4),
            (Error::corrupt("x", 0, "y"), 5),
            (Error::Locked { dir: "x".into(), pid: None }, 6),
            (Error::io("write", "x", disk()), 7),
            (Error::io("read", "x", io::Error::from(io::ErrorKind::PermissionDenied)), 7),
            (Error::Poisoned { cause: Error::io("flush", "x", disk()).into() }, 7),
        ];
        for (error, code) in table {
            assert_eq!(of_store(&error).1, code, "{error}");
            assert_eq!(Failure::At("f".into(), error.clone()).kind_and_code().1, code, "{error}");
        }
        assert_eq!(Failure::Usage(String::new()).kind_and_code().1, 2);
    }
}
