//! The files outside the store that a command is given or makes: the only place of the command that
//! touches the file system by itself, but for `torture`, which looks at a store from outside.
//!
//! Invariants: input is bounded before memory is taken for it, and is text; a file that is written
//! appears as a whole or not at all; nothing is removed but what its caller made.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use walden::{Error, Result};

/// Most bytes of a file of many documents.
pub(crate) const LINES_BYTES_MAX: usize = 1 << 30;

/// What a command was given to read.
#[derive(Debug)]
pub(crate) struct Input {
    /// For messages.
    pub(crate) name: String,
    pub(crate) text: String,
}

/// Reads a file, or standard input for `-`.
pub(crate) fn read_input(file: &Path, bytes_max: usize) -> Result<Input> {
    let from_stdin = file == Path::new("-");
    let name = if from_stdin { "<stdin>".to_owned() } else { file.display().to_string() };
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => Error::not_found(&name),
        _ => Error::io("read", &name, error),
    };
    let mut reader: Box<dyn Read> = if from_stdin {
        Box::new(io::stdin().lock())
    } else {
        Box::new(File::open(file).map_err(failed)?)
    };
    let mut bytes = Vec::new();
    let limit = u64::try_from(bytes_max).unwrap_or(u64::MAX).saturating_add(1);
    reader.by_ref().take(limit).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() > bytes_max {
        return Err(Error::invalid(name, format!("it has more than {bytes_max} bytes")));
    }
    match String::from_utf8(bytes) {
        Ok(text) => Ok(Input { name, text }),
        Err(error) => Err(not_text(&name, &error)),
    }
}

fn not_text(name: &str, error: &std::string::FromUtf8Error) -> Error {
    let good = error.as_bytes().get(..error.utf8_error().valid_up_to()).unwrap_or_default();
    let good = String::from_utf8_lossy(good);
    let line = good.split('\n').count();
    let column = good.rsplit('\n').next().unwrap_or_default().chars().count().saturating_add(1);
    Error::invalid(format!("{name}, line {line}, column {column}"), "the bytes here are not UTF-8")
}

/// Whether there is anything at `path`.
pub(crate) fn is_there(path: &Path) -> Result<bool> {
    path.try_exists().map_err(|error| Error::io("look at", path.display().to_string(), error))
}

/// Whether both lead to the same directory, which is there.
pub(crate) fn is_same_dir(one: &Path, other: &Path) -> bool {
    let [one, other] = [one, other].map(|path| fs::canonicalize(path).ok());
    one.is_some() && one == other
}

/// Writes a file through a temporary one beside it, synced before it takes the name. What is no
/// plain file (a pipe, a device) is written to as it is.
pub(crate) fn replace(
    file: &Path,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<()> {
    replace_with(file, None, write)
}

/// The same of a file in a store's directory, for its owner alone as the engine makes them.
pub(crate) fn replace_in_store(file: &Path, text: &str) -> Result<()> {
    replace_with(file, Some(0o600), |out| out.write_all(text.as_bytes()))
}

fn replace_with(
    file: &Path,
    mode: Option<u32>,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<()> {
    // A link keeps its place, and what it points to is replaced.
    let target = fs::canonicalize(file).unwrap_or_else(|_| file.to_owned());
    let shown = file.display().to_string();
    if fs::metadata(&target).is_ok_and(|found| !found.is_file()) {
        let write_through = || {
            let mut out = BufWriter::new(OpenOptions::new().write(true).open(&target)?);
            write(&mut out)?;
            out.flush()
        };
        return write_through().map_err(|error| Error::io("write", shown, error));
    }
    let name = target.file_name().unwrap_or_default().to_string_lossy();
    let temporary = target.with_file_name(format!(".{name}.{}.tmp", std::process::id()));
    let written = write_and_sync(&temporary, mode, write)
        .and_then(|()| fs::rename(&temporary, &target))
        .and_then(|()| sync_parent(&target));
    written.map_err(|error| {
        // It may not have been made; the error that is reported is the first one.
        let _ = fs::remove_file(&temporary);
        Error::io("write", shown, error)
    })
}

fn write_and_sync(
    path: &Path,
    mode: Option<u32>,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    if let Some(mode) = mode {
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, mode);
    }
    #[cfg(not(unix))]
    let _ = mode;
    let file = options.open(path)?;
    let mut out = BufWriter::new(file);
    write(&mut out)?;
    out.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()
}

fn sync_parent(path: &Path) -> io::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    if cfg!(unix) { File::open(parent.unwrap_or(Path::new(".")))?.sync_all() } else { Ok(()) }
}

/// Makes the directory of a verb that needs its own, empty but for its marker, or finds it as an
/// earlier run left it. A directory without the marker is somebody else's.
pub(crate) fn claim_dir(dir: &Path, marker: &str, text: &str, made: &[PathBuf]) -> Result<()> {
    let failed = |action, path: &Path, error| Error::io(action, path.display().to_string(), error);
    let marker = dir.join(marker);
    match fs::create_dir(dir) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let is_dir = fs::symlink_metadata(dir).is_ok_and(|found| found.is_dir());
            let first_line = |text: &str| text.lines().next().map(str::to_owned);
            let found = fs::read_to_string(&marker).ok().and_then(|found| first_line(&found));
            if !is_dir || found != first_line(text) {
                let why = "it exists and was not made by this command; move it away first";
                let what = dir.display().to_string();
                return Err(Error::Conflict { what, why: why.to_owned() });
            }
        }
        Err(error) => return Err(failed("create", dir, error)),
    }
    fs::write(&marker, text).map_err(|error| failed("write", &marker, error))?;
    for old in made {
        match fs::remove_dir_all(old) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(failed("remove", old, error));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Copies a directory of plain files and directories.
pub(crate) fn copy_dir(from: &Path, to: &Path) -> Result<()> {
    let failed = |path: &Path, error| Error::io("copy", path.display().to_string(), error);
    fs::create_dir(to).map_err(|error| failed(to, error))?;
    for entry in fs::read_dir(from).map_err(|error| failed(from, error))? {
        let entry = entry.map_err(|error| failed(from, error))?;
        let (path, copy) = (entry.path(), to.join(entry.file_name()));
        if entry.file_type().map_err(|error| failed(&path, error))?.is_dir() {
            copy_dir(&path, &copy)?;
        } else {
            fs::copy(&path, &copy).map_err(|error| failed(&path, error))?;
        }
    }
    Ok(())
}

/// A copy of a text in a directory of its own, for somebody to edit. It stays until it is discarded.
#[derive(Debug)]
pub(crate) struct Draft {
    dir: PathBuf,
    pub(crate) file: PathBuf,
}

impl Draft {
    /// Makes the copy where temporary files go, for its owner's eyes alone.
    pub(crate) fn new(name: &str, text: &str) -> Result<Draft> {
        let dir = make_draft_dir()?;
        let file = dir.join(name);
        let failed = |error| Error::io("write", file.display().to_string(), error);
        fs::write(&file, text).map_err(failed)?;
        Ok(Draft { dir, file })
    }

    /// Removes the copy, and what an editor left beside it.
    pub(crate) fn discard(self) -> Result<()> {
        let failed = |error| Error::io("remove", self.dir.display().to_string(), error);
        fs::remove_dir_all(&self.dir).map_err(failed)
    }
}

fn make_draft_dir() -> Result<PathBuf> {
    let mut attempt: u32 = 0;
    loop {
        let name = format!("walden-edit.{}.{attempt}", std::process::id());
        let dir = std::env::temp_dir().join(name);
        if make_private_dir(&dir)? {
            return Ok(dir);
        }
        attempt += 1;
        if attempt == 1000 {
            let why = "every name for a temporary directory is taken".to_owned();
            return Err(Error::Conflict { what: dir.display().to_string(), why });
        }
    }
}

/// Makes a directory for its owner alone; `false` if the name is taken.
pub(crate) fn make_private_dir(dir: &Path) -> Result<bool> {
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    match builder.create(dir) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(Error::io("create", dir.display().to_string(), error)),
    }
}
