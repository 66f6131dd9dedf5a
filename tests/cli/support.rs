//! Running the command in a directory of its own, with nothing of the caller's environment.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// A working directory, in which `state` is the store unless a test says otherwise.
pub(crate) struct Place {
    dir: tempfile::TempDir,
}

/// How a command ended.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Place {
    pub(crate) fn new() -> Self {
        Place { dir: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, text).unwrap();
        path
    }

    /// The command without arguments, on the default directory.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_walden"));
        command.current_dir(self.dir.path()).stdin(Stdio::null());
        for name in ["STATE_PATH", "WALDEN_LOG", "NO_COLOR", "CLICOLOR_FORCE"] {
            command.env_remove(name);
        }
        command
    }

    /// Runs a command line on `state`; words are parted by blanks.
    pub(crate) fn run(&self, line: &str) -> Ran {
        self.run_args(&line.split_whitespace().collect::<Vec<_>>())
    }

    pub(crate) fn run_args(&self, args: &[&str]) -> Ran {
        ended(&self.command().env("STATE_PATH", "state").args(args).output().unwrap())
    }

    pub(crate) fn run_with_input(&self, line: &str, input: &str) -> Ran {
        let mut command = self.command();
        command.env("STATE_PATH", "state").args(line.split_whitespace()).stdin(Stdio::piped());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        ended(&child.wait_with_output().unwrap())
    }

    /// Runs what must succeed, and gives its stdout.
    pub(crate) fn ok(&self, line: &str) -> String {
        self.run(line).ok()
    }

    /// All tasks, parsed.
    pub(crate) fn tasks(&self) -> Vec<Value> {
        json_lines(&self.ok("list --format json"))
    }

    /// Every file and directory of the store with its permissions and bytes.
    pub(crate) fn bytes_of(&self, name: &str) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut found = BTreeMap::new();
        walk(&self.path(name), &mut found);
        found
    }
}

impl Ran {
    /// Its stdout, where it succeeded without a word on stderr.
    pub(crate) fn ok(self) -> String {
        assert_eq!((self.code, self.err.as_str()), (0, ""), "{self:?}");
        self.out
    }

    /// Its stderr, where it failed with this code and printed nothing.
    pub(crate) fn failed(self, code: i32) -> String {
        assert_eq!((self.code, self.out.as_str()), (code, ""), "{self:?}");
        self.err
    }
}

pub(crate) fn ended(output: &Output) -> Ran {
    Ran {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8(output.stdout.clone()).unwrap(),
        err: String::from_utf8(output.stderr.clone()).unwrap(),
    }
}

pub(crate) fn json_lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn walk(path: &Path, found: &mut BTreeMap<PathBuf, Vec<u8>>) {
    let meta = fs::symlink_metadata(path).unwrap();
    let stat = format!("{:?} {:?} ", meta.permissions(), meta.modified().unwrap());
    let mut bytes = stat.into_bytes();
    if meta.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            walk(&entry.unwrap().path(), found);
        }
    } else {
        bytes.extend(fs::read(path).unwrap());
    }
    found.insert(path.to_owned(), bytes);
}
