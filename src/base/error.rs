//! The one error type, split by what the caller can do about it.
//!
//! It is `Clone`, because one failed flush is the answer to every waiter of its group; the original
//! cause is kept behind an `Arc`.

use std::fmt;
use std::io;
use std::sync::Arc;

/// The result of everything fallible in this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, to which file, and (in its text) what to do.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused or failed a call. Nothing was acknowledged because of it.
    #[error("cannot {action} {path}: {source}")]
    Io {
        /// What was being done, as a verb: `read`, `flush`.
        action: &'static str,
        /// The file or directory concerned.
        path: String,
        /// The operating system's answer.
        source: Arc<io::Error>,
    },
    /// There is no room (or no quota) for what had to be written, and nothing of it was. Writes work
    /// again when there is. (A full disk that fails a write to the log itself is `Io`, since what
    /// became of that write is not known.)
    #[error("no space left to {action} {path}: {source}; free some and try again")]
    DiskFull {
        /// What was being done, as a verb.
        action: &'static str,
        /// The file concerned.
        path: String,
        /// The operating system's answer.
        source: Arc<io::Error>,
    },
    /// Stored bytes are not what was written.
    #[error("{file} is damaged at byte {offset}: {why}")]
    Corrupt {
        /// The damaged file.
        file: String,
        /// Where the damage begins, in bytes.
        offset: u64,
        /// What was found.
        why: String,
    },
    /// The caller's input cannot be accepted; nothing was changed.
    #[error("{what}: {why}")]
    Invalid {
        /// The input concerned: a file with line and column, an id, an option.
        what: String,
        /// What is wrong with it, and what would be right.
        why: String,
    },
    /// Somebody else's change stands in the way; nothing was changed.
    #[error("{what}: {why}")]
    Conflict {
        /// What is contended.
        what: String,
        /// How.
        why: String,
    },
    /// There is no such document, file or directory; nothing was changed.
    #[error("{what} does not exist")]
    NotFound {
        /// What was looked for.
        what: String,
    },
    /// Another opener holds the store for writing.
    #[error("{dir} is locked by {}; close that one first, or open read-only", owner(*.pid))]
    Locked {
        /// The store's directory.
        dir: String,
        /// The owner's process id, where it could be read.
        pid: Option<u32>,
    },
    /// An earlier write or flush failed, so nothing is accepted until the store is reopened. Whether
    /// the writes that failed with it are durable is not known before that.
    #[error("the log is closed to writes since an earlier failure ({cause}); call reopen()")]
    Poisoned {
        /// The failure that closed the log.
        cause: Arc<Error>,
    },
    /// The store was shut down; open it again.
    #[error("the store is shut down; open it again")]
    Closed,
    /// This version, platform or file system cannot do it.
    #[error("{what} is not supported: {why}")]
    Unsupported {
        /// What was asked for.
        what: String,
        /// Why it cannot be done.
        why: String,
    },
}

fn owner(pid: Option<u32>) -> String {
    pid.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"))
}

impl Error {
    /// Wraps an operating-system error, telling a full disk from other failures.
    pub fn io(action: &'static str, path: impl Into<String>, source: io::Error) -> Self {
        let path = path.into();
        let full = matches!(
            source.kind(),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
        );
        let source = Arc::new(source);
        if full {
            Error::DiskFull { action, path, source }
        } else {
            Error::Io { action, path, source }
        }
    }

    /// Damage at `offset` of `file`.
    pub fn corrupt(file: impl Into<String>, offset: u64, why: impl fmt::Display) -> Self {
        Error::Corrupt { file: file.into(), offset, why: why.to_string() }
    }

    /// Input that cannot be accepted.
    pub fn invalid(what: impl Into<String>, why: impl fmt::Display) -> Self {
        Error::Invalid { what: what.into(), why: why.to_string() }
    }

    /// Something that is not there.
    pub fn not_found(what: impl Into<String>) -> Self {
        Error::NotFound { what: what.into() }
    }
}
