//! The emergency save: the whole state in a directory elsewhere, when the store's own disk is full or
//! fails.
//!
//! It takes what is in memory, whatever became of the log, and touches nothing of the store: neither
//! log nor snapshot, nor the disk they are on. The file is a snapshot under a backup's name, so it
//! vouches for itself and a restore takes it. It appears whole and durable or not at all, and never in
//! the place of another.

use std::path::{Path, PathBuf};

use crate::base::{Error, Event, Result};
use crate::engine::checkpoint::Sorted;
use crate::engine::core::Core;
use crate::engine::store::Store;
use crate::files::names::{self, OWNER};
use crate::files::snapshot::save_elsewhere;
use crate::files::stat;
use crate::fs::Fs;
use crate::fs::real::RealFs;

impl Store {
    /// Saves every task and session, as reading shows them now, to a directory outside the store: a new
    /// file `state.backup.<time>.json`, which is durable when this returns. Gives its path. The directory
    /// is made if it is not there.
    ///
    /// For when the store's own disk is full or fails: it works while the log is `Poisoned` and writes
    /// nothing to the store. A poisoned store's dump holds what was acknowledged, and not what is
    /// indeterminate until [`Store::reopen`]. To go back to it, copy the file into the store's directory
    /// and [`Store::restore`] it by its name; alone as `state.json` in an empty directory, it opens as a
    /// store. Session logs and reports are not in it.
    ///
    /// # Errors
    /// `Invalid` if it is a store's own directory; `DiskFull` or `Io` if the file cannot be made there.
    /// Then there is none, unless flushing the directory was what failed: in that case it is whole, and
    /// whether its name is durable is not known.
    ///
    /// ```
    /// # let (here, elsewhere) = (tempfile::tempdir()?, tempfile::tempdir()?);
    /// let store = walden::Store::open(here.path())?;
    /// store.save_task_json(r#"{"id": "a"}"#)?;
    /// let file = store.dump(elsewhere.path())?;
    /// std::fs::copy(&file, here.path().join(file.file_name().unwrap()))?;
    /// store.delete_task("a")?;
    /// store.restore(file.file_name().unwrap().to_str().unwrap())?;
    /// assert!(store.task("a")?.is_some());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn dump(&self, dir: impl AsRef<Path>) -> Result<PathBuf> {
        self.core().dump(dir.as_ref())
    }
}

impl Core {
    /// Saves the state to a directory of the real file system.
    pub(crate) fn dump(&self, dir: &Path) -> Result<PathBuf> {
        let fs = RealFs::create(dir);
        let fs = fs.map_err(|source| Error::io("open", dir.display().to_string(), source))?;
        Ok(dir.join(self.dump_to(&fs)?))
    }

    /// Saves the state to a disk that is no store's; gives the name of the file.
    pub(crate) fn dump_to(&self, fs: &dyn Fs) -> Result<String> {
        if stat(fs, OWNER)?.is_some() {
            let why = "it is a store's directory; choose another to save the state to";
            return Err(Error::invalid(fs.display(""), why));
        }
        let token = self.around.entropy.next_u64();
        let token = token.map_err(|source| Error::io("draw", "a random number", source))?;
        let table = self.table.read().clone();
        let now = self.around.clock.now();
        // What the log gave out beyond it is not in the table.
        let sorted = Sorted::of(&table);
        let rendered = self.render(&sorted, table.last_changed(), now);
        save_elsewhere(fs, &rendered, now, &names::dump_part(token))
    }

    /// What the last save does when it fails, if it is to: it saves to the emergency directory.
    pub(crate) fn dump_in_emergency(&self) {
        let Some(dir) = &self.options.emergency_dir else { return };
        let event = match self.dump(dir) {
            Ok(file) => {
                tracing::error!(file = %file.display(), "the store could not be saved; this file has it");
                Event::StateDumped { file }
            }
            Err(error) => Event::SaveError { error },
        };
        self.listeners.emit(&event);
    }
}

#[cfg(test)]
#[path = "dump_tests.rs"]
mod tests;
