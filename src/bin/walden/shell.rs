//! Which directory, which format, and how a verb opens the store.
//!
//! Invariants: verbs that read never create anything; verbs that need an existing store do not
//! create one either; whatever an opening found goes to stderr as warnings.

use std::env;
use std::io;
use std::path::{Path, PathBuf};

use walden::{Error, Event, KeptStatus, KeptVersion, Result, Store, View};

use crate::args::Format;
use crate::{host, output};

const DIR_DEFAULT: &str = "coding-agent-state";
const DIR_VARIABLE: &str = "STATE_PATH";

/// What every verb needs.
#[derive(Debug)]
pub(crate) struct Shell {
    pub(crate) dir: PathBuf,
    pub(crate) format: Format,
}

impl Shell {
    pub(crate) fn new(dir: Option<PathBuf>, format: Format) -> Result<Self> {
        let dir = match dir {
            Some(dir) => dir,
            None => match env::var_os(DIR_VARIABLE).filter(|value| !value.is_empty()) {
                Some(dir) => PathBuf::from(dir),
                None => from_env_file(Path::new(".env"))?.unwrap_or_else(|| DIR_DEFAULT.into()),
            },
        };
        Ok(Shell { dir, format })
    }

    /// Opens for reading: takes no lock, writes nothing, and a missing directory is `NotFound`.
    pub(crate) fn read(&self) -> Result<View> {
        let view = self.read_quietly()?;
        output::warn_of(&view.recovery().problems);
        remind(Store::builder(&self.dir).conflicts(&view));
        Ok(view)
    }

    /// The same without a word about what was found.
    pub(crate) fn read_quietly(&self) -> Result<View> {
        Store::builder(&self.dir).open_read_only()
    }

    /// Opens for writing, creating the store if there is none.
    pub(crate) fn open(&self) -> Result<Store> {
        let store = self.open_quietly()?;
        remind(store.conflicts());
        Ok(store)
    }

    /// The same without a word about conflicts.
    fn open_quietly(&self) -> Result<Store> {
        let store = Store::open(&self.dir)?;
        output::warn_of(&store.recovery().problems);
        store.on_event(|event| match event {
            Event::Found(problem) => output::tell("warning", &problem.to_string()),
            Event::SaveError { error } => output::tell("warning", &error.to_string()),
            _ => {}
        });
        Ok(store)
    }

    /// Opens for writing what must be there already.
    pub(crate) fn open_existing(&self) -> Result<Store> {
        self.check_there()?;
        self.open()
    }

    /// The same without a word about conflicts.
    pub(crate) fn open_existing_quietly(&self) -> Result<Store> {
        self.check_there()?;
        self.open_quietly()
    }

    fn check_there(&self) -> Result<()> {
        if host::is_there(&self.dir)? {
            Ok(())
        } else {
            Err(Error::not_found(self.dir.display().to_string()))
        }
    }
}

/// Says how many conflicts wait for somebody to decide, if any do.
fn remind(found: Result<Vec<KeptVersion>>) {
    match found {
        Ok(found) => {
            let is_open = |kept: &&KeptVersion| kept.status == KeptStatus::Open;
            remind_of(found.iter().filter(is_open).count());
        }
        Err(error) => output::tell("warning", &error.to_string()),
    }
}

/// The same of so many.
pub(crate) fn remind_of(conflicts_open: usize) {
    if conflicts_open > 0 {
        let conflicts = output::count(conflicts_open, "unresolved conflict");
        output::tell("walden", &format!("{conflicts}; see `walden conflicts`"));
    }
}

/// The directory that an `.env` file names. Lines that are about something else may look as they
/// like; one that tries to name it and cannot be read must not lead to another directory.
fn from_env_file(file: &Path) -> Result<Option<PathBuf>> {
    let refuse = |why: String| Error::invalid(file.display().to_string(), why);
    let lines = match dotenvy::from_path_iter(file) {
        Ok(lines) => lines,
        Err(dotenvy::Error::Io(error)) if error.kind() == io::ErrorKind::NotFound => {
            return Ok(None);
        }
        Err(error) => return Err(refuse(error.to_string())),
    };
    let mut found = None;
    for line in lines {
        match line {
            Ok((name, value)) if name == DIR_VARIABLE && !value.is_empty() => {
                found.get_or_insert_with(|| PathBuf::from(value));
            }
            Ok(_) => {}
            Err(dotenvy::Error::LineParse(line, _)) if !line.contains(DIR_VARIABLE) => {
                tracing::debug!(line, "a line of .env that is no assignment");
            }
            Err(error) => return Err(refuse(error.to_string())),
        }
    }
    Ok(found)
}
