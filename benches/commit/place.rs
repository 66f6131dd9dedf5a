//! Where the measurements are made: a directory of this run's own, removed at its end.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

/// The directory of a run.
pub(crate) struct Place {
    dir: TempDir,
}

impl Place {
    pub(crate) fn new() -> Place {
        let parent = std::env::var_os("WALDEN_BENCH_DIR")
            .map_or_else(|| PathBuf::from(env!("CARGO_TARGET_TMPDIR")), PathBuf::from);
        fs::create_dir_all(&parent).expect("the directory to measure in can be made");
        let dir = tempfile::Builder::new().prefix("bench-commit-").tempdir_in(parent);
        Place { dir: dir.expect("a directory can be made to measure in") }
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// A directory or file of this name in it, not made yet.
    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
}
