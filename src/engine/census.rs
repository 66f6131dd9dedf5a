//! Every name in the store's directory, and whose it is: known with contents to be checked, known
//! and opaque, or nobody's. It looks only at names, kinds and sizes, and changes nothing.
//!
//! Directories are one level deep, as the engine makes them; what lies deeper is a person's, and is
//! told as the one entry that leads there. Nothing is followed: a link is never more than a name.

use std::io::ErrorKind;

use crate::base::{Error, Problem, ProblemKind, Result};
use crate::files::names::{
    self, ARCHIVE, CONFLICTS, LOGS, MIGRATION_LOG, OWNER, PRE_MIGRATION_BACKUP, QUARANTINE,
    REPORTS, STATE, STATE_SWAP, WAL,
};
use crate::fs::{Entry, Fs, Kind, join};
use crate::state::Collection;
use crate::wal::SegmentNumber;

/// The directories that the engine makes.
pub(crate) const DIRECTORIES: [&str; 8] = [
    WAL,
    Collection::Task.dir(),
    Collection::Session.dir(),
    LOGS,
    REPORTS,
    ARCHIVE,
    CONFLICTS,
    QUARANTINE,
];

/// What is to be done to check a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Check {
    /// Recovery reads it whole and judges it: `state.json`, `.walden`, segments.
    Recovery,
    /// A backup: its digest vouches for it.
    Backup,
    /// A file in the mirror: held against its document.
    Mirror,
    /// A snapshot that a save left behind.
    Swap,
    /// It can be read to its end.
    Readable,
}

/// A regular file.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) path: String,
    pub(crate) bytes: u64,
    pub(crate) check: Check,
}

/// What is in the directory.
#[derive(Debug, Default)]
pub(crate) struct Census {
    /// The regular files, by path.
    pub(crate) places: Vec<Place>,
    /// Names that are nobody's, and what has taken a known name.
    pub(crate) problems: Vec<Problem>,
    /// Directories whose name is taken by something else.
    pub(crate) blocked: Vec<String>,
    exposed: Exposed,
}

/// Files and directories of the engine's that others than their owner may read or write.
#[derive(Debug, Default)]
struct Exposed {
    count: usize,
    first: Option<(String, u32)>,
}

impl Exposed {
    fn note(&mut self, path: &str, permissions: u32) {
        if permissions & 0o077 != 0 {
            self.count += 1;
            self.first.get_or_insert_with(|| (path.to_owned(), permissions & 0o777));
        }
    }

    fn warning(&self) -> Option<String> {
        let (path, permissions) = self.first.as_ref()?;
        let others = match self.count {
            1 => String::new(),
            count => format!(" and {} more files or directories", count - 1),
        };
        Some(format!(
            "{path} (mode {permissions:03o}){others} can be used by others; the engine makes files \
             0600 and directories 0700, and leaves wider ones as they are"
        ))
    }
}

/// Takes the census of a directory.
pub(crate) fn census(fs: &dyn Fs) -> Result<Census> {
    let mut census = Census::default();
    for entry in list(fs, "")? {
        match entry.kind {
            Kind::Directory => census.directory(fs, &entry.name)?,
            kind => census.at_root(fs, &entry.name, kind)?,
        }
    }
    census.places.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(census)
}

/// A warning if what lies directly in the store's directory can be used by others. That is cheap,
/// unlike a census.
pub(crate) fn warnings(fs: &dyn Fs) -> Result<Vec<String>> {
    let mut exposed = Exposed::default();
    for entry in list(fs, "")? {
        let is_ours = match entry.kind {
            Kind::File => at_root(&entry.name).is_some(),
            Kind::Directory => DIRECTORIES.contains(&entry.name.as_str()),
            Kind::Other => false,
        };
        if is_ours && let Some(stat) = crate::files::stat(fs, &entry.name)? {
            exposed.note(&entry.name, stat.permissions);
        }
    }
    Ok(exposed.warning().into_iter().collect())
}

impl Census {
    /// A warning if something of the engine's can be used by others.
    pub(crate) fn warnings(&self) -> Vec<String> {
        self.exposed.warning().into_iter().collect()
    }

    fn found(&mut self, kind: ProblemKind, path: &str, detail: &str) {
        self.problems.push(Problem::new(kind, path, 0, detail));
    }

    /// A file, link, FIFO or device in the store's directory itself.
    fn at_root(&mut self, fs: &dyn Fs, name: &str, kind: Kind) -> Result<()> {
        if DIRECTORIES.contains(&name) {
            self.found(ProblemKind::Unreadable, name, "it is no directory, which it must be");
            self.blocked.push(name.to_owned());
        }
        let known = at_root(name);
        match kind {
            Kind::File => {
                if known.is_none() && !DIRECTORIES.contains(&name) {
                    self.found(ProblemKind::Edited, name, "somebody put it here; it is left alone");
                }
                self.file(fs, name.to_owned(), known)
            }
            Kind::Directory | Kind::Other if DIRECTORIES.contains(&name) => Ok(()),
            Kind::Directory | Kind::Other => {
                self.no_file(name, known.is_some(), ProblemKind::Edited);
                Ok(())
            }
        }
    }

    /// Something that is no regular file.
    fn no_file(&mut self, path: &str, is_known: bool, nobodys: ProblemKind) {
        if is_known {
            self.found(ProblemKind::Unreadable, path, "it is no regular file; it is left alone");
        } else {
            self.found(nobodys, path, "it is nobody's, no regular file, and left alone unread");
        }
    }

    fn file(&mut self, fs: &dyn Fs, path: String, known: Option<Check>) -> Result<()> {
        // Beside a writer it may be gone by now.
        let Some(stat) = crate::files::stat(fs, &path)? else { return Ok(()) };
        if known.is_some() {
            self.exposed.note(&path, stat.permissions);
        }
        let check = known.unwrap_or(Check::Readable);
        self.places.push(Place { path, bytes: stat.size_bytes, check });
        Ok(())
    }

    fn directory(&mut self, fs: &dyn Fs, dir: &str) -> Result<()> {
        if !DIRECTORIES.contains(&dir) {
            if at_root(dir).is_some() {
                self.no_file(dir, true, ProblemKind::Edited);
            } else {
                self.found(ProblemKind::Edited, dir, "somebody made it; it is left alone");
            }
        } else if let Some(stat) = crate::files::stat(fs, dir)? {
            self.exposed.note(dir, stat.permissions);
        }
        for entry in list(fs, dir)? {
            self.within(fs, dir, &entry)?;
        }
        Ok(())
    }

    fn within(&mut self, fs: &dyn Fs, dir: &str, entry: &Entry) -> Result<()> {
        let path = join(dir, &entry.name);
        let known = in_directory(dir, &entry.name);
        let nobodys = if dir == WAL { ProblemKind::Foreign } else { ProblemKind::Edited };
        // What lies in a person's own directory is told as that; the mirror judges its own; and what
        // was set aside may be anything.
        let is_told = matches!(dir, WAL | LOGS | REPORTS | ARCHIVE);
        if entry.kind != Kind::File {
            if is_told {
                self.no_file(&path, known.is_some(), nobodys);
            }
            return Ok(());
        }
        if known.is_none() && is_told {
            let detail = match dir {
                WAL => "it is no file of the log and is left alone",
                _ => "somebody put it here; it is left alone",
            };
            self.found(nobodys, &path, detail);
        }
        self.file(fs, path, known)
    }
}

/// How a file of this name directly in the store's directory is checked; `None` if it is nobody's.
fn at_root(name: &str) -> Option<Check> {
    match name {
        STATE | OWNER => Some(Check::Recovery),
        PRE_MIGRATION_BACKUP | MIGRATION_LOG => Some(Check::Readable),
        _ => names::parse_backup(name).map(|_| Check::Backup),
    }
}

/// The same of a file in one of the engine's directories.
fn in_directory(dir: &str, name: &str) -> Option<Check> {
    let is_like = |prefix: &str, suffix: &str| {
        let stem = name.strip_prefix(prefix).and_then(|rest| rest.strip_suffix(suffix));
        stem.filter(|stem| !stem.is_empty()).map(|_| Check::Readable)
    };
    match dir {
        WAL if join(WAL, name) == STATE_SWAP => Some(Check::Swap),
        WAL if SegmentNumber::parse(name).is_some_and(SegmentNumber::is_usable) => {
            Some(Check::Recovery)
        }
        WAL => {
            let is_ours = names::is_engine_temporary(name)
                || join(WAL, name) == names::STATE_INDEX
                || SegmentNumber::parse_temporary(name).is_some();
            is_ours.then_some(Check::Readable)
        }
        LOGS => is_like("session_", ".log"),
        REPORTS => is_like("report_", ".json"),
        ARCHIVE => is_like("", ".jsonl"),
        _ if Collection::ALL.iter().any(|collection| collection.dir() == dir) => {
            Some(Check::Mirror)
        }
        _ => None,
    }
}

fn list(fs: &dyn Fs, dir: &str) -> Result<Vec<Entry>> {
    match fs.list(dir) {
        Ok(entries) => Ok(entries),
        Err(error) if error.kind() == ErrorKind::NotFound && !dir.is_empty() => Ok(Vec::new()),
        Err(error) => Err(Error::io("list", fs.display(dir), error)),
    }
}
