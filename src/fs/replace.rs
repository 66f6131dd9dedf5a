//! Replacing a file atomically: temporary file, contents durable, rename, directory durable.
//!
//! A crash at any instant leaves the old file or the new one, whole, and at most a leftover
//! temporary file. On failure the old file stands, unless the very last step failed: then the new
//! one is in place and its durability unknown.
//!
//! Every file written here is *marked*: its time of modification is set a nanosecond before the one
//! that the file system's clock gave it. Any later write gives it a time of that clock, which is the
//! given one or a later one, within the same tick too: so a `stat` taken at any time afterwards, that
//! still shows an earlier one, stays the same if and only if nobody writes to the file.
//!
//! Architecture invariant: no other module knows this order of steps.

use std::io;
use std::sync::Arc;

use super::{File, Fs, Mode, Stat, split, write_all_at};
use crate::base::{Error, Result};

/// Replaces (or creates) `path` by a file of `bytes`, by way of `temporary` on the same file system;
/// a leftover of that name is removed first. The new file is durable when this returns.
pub fn replace(fs: &dyn Fs, path: &str, temporary: &str, bytes: &[u8]) -> Result<()> {
    write_temporary(fs, temporary, bytes, true)?;
    if let Err(error) = fs.rename(temporary, path) {
        discard(fs, temporary);
        return Err(Error::io("replace", fs.display(path), error));
    }
    let dir = dir_of(fs, path)?;
    sync_dir(fs, dir)?;
    let temporary_dir = dir_of(fs, temporary)?;
    if temporary_dir == dir { Ok(()) } else { sync_dir(fs, temporary_dir) }
}

/// A temporary file with its contents.
#[derive(Debug)]
pub struct Written {
    /// It, open for writing.
    pub file: Arc<dyn File>,
    /// What it is known by from now on.
    pub mark: Mark,
}

/// What a file is known by that the engine wrote, under whatever name: which file it is, and that
/// nobody else has written to it. The default knows none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mark {
    /// Its `stat` with the first time of modification that is *not* the mark's.
    given: Option<Stat>,
}

impl Mark {
    /// Marks a file of which all is written. Where the file system does not let times be set, there is
    /// no mark, and the file is known by its contents only.
    pub fn set(file: &dyn File) -> io::Result<Mark> {
        let given = file.stat()?;
        match file.set_modified(given.modified_ns.saturating_sub(1)) {
            Ok(()) => Ok(Mark { given: Some(given) }),
            Err(error) => match error.kind() {
                io::ErrorKind::PermissionDenied
                | io::ErrorKind::Unsupported
                | io::ErrorKind::InvalidInput => Ok(Mark::default()),
                _ => Err(error),
            },
        }
    }

    /// The mark of a file that is known to bear one, by a look at it: what [`Mark::untouched`] gave.
    pub fn of(untouched: &Stat) -> Mark {
        let modified_ns = untouched.modified_ns.saturating_add(1);
        Mark { given: Some(Stat { modified_ns, ..*untouched }) }
    }

    /// What a look at some name `found`, if that is the marked file and nobody has written to it. This
    /// `stat` will then be the same until somebody does, or the engine gives or takes a name.
    pub fn untouched(&self, found: Option<Stat>) -> Option<Stat> {
        let given = self.given?;
        found.filter(|found| {
            found.modified_ns < given.modified_ns
                && (found.kind, found.device, found.inode, found.size_bytes)
                    == (given.kind, given.device, given.inode, given.size_bytes)
        })
    }
}

/// Bytes that come in pieces, and come again if asked again.
pub trait Pieces {
    /// Gives each piece in turn to `take`, until that fails.
    fn each(&self, take: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<()>;
}

impl<T: AsRef<[u8]> + ?Sized> Pieces for T {
    fn each(&self, take: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        take(self.as_ref())
    }
}

/// So much of a long file is handed to the device at once. A write of the log that meets it waits for so much,
/// not for the whole file.
const WRITE_BACK_BYTES: usize = 256 << 10;

/// The first half, for callers who rename in their own way: creates `temporary` (a leftover of that
/// name is removed first) writes `bytes` into it and marks it. With `durable` its contents are on the medium
/// when this returns; without, they are only ordered before a later rename. Its name is not durable
/// either way. On failure there is no such file, as far as that can be helped.
pub fn write_temporary<B: Pieces + ?Sized>(
    fs: &dyn Fs,
    temporary: &str,
    bytes: &B,
    durable: bool,
) -> Result<Written> {
    remove_if_any(fs, temporary)?;
    let wrap = |action, error| Error::io(action, fs.display(temporary), error);
    let file = fs.open(temporary, Mode::CreateNew).map_err(|error| wrap("create", error))?;
    let written = write_pieces(&*file, bytes).map_err(|error| wrap("write", error));
    // Before the flush, which then takes the mark with it.
    let marked = written.and_then(|()| Mark::set(&*file).map_err(|error| wrap("mark", error)));
    let flushed = marked.and_then(|mark| {
        let flushed = if durable { file.sync_data() } else { file.write_back() };
        flushed.map(|()| mark).map_err(|error| wrap("flush", error))
    });
    match flushed {
        Ok(mark) => Ok(Written { file, mark }),
        Err(error) => {
            discard(fs, temporary);
            Err(error)
        }
    }
}

fn write_pieces<B: Pieces + ?Sized>(file: &dyn File, bytes: &B) -> io::Result<()> {
    let (mut offset, mut handed) = (0_u64, 0_u64);
    let mut write = |part: &[u8]| {
        if offset.saturating_sub(handed) >= WRITE_BACK_BYTES as u64 {
            file.write_back()?;
            handed = offset;
        }
        write_all_at(file, part, offset)?;
        offset = offset.saturating_add(part.len() as u64);
        Ok(())
    };
    bytes.each(&mut |piece| piece.chunks(WRITE_BACK_BYTES).try_for_each(&mut write))
}

/// Removes a file; `false` if there was none. Not yet durable.
pub fn remove_if_any(fs: &dyn Fs, path: &str) -> Result<bool> {
    match fs.remove(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(Error::io("remove", fs.display(path), error)),
    }
}

/// Removes a temporary file after a failure. What went wrong first is what the caller must know, and
/// the next replacement removes a leftover anyway, so a second failure is not reported.
fn discard(fs: &dyn Fs, temporary: &str) {
    let _ = fs.remove(temporary);
}

fn dir_of<'a>(fs: &dyn Fs, path: &'a str) -> Result<&'a str> {
    let (dir, _) = split(path).map_err(|error| Error::io("open", fs.display(path), error))?;
    Ok(dir)
}

fn sync_dir(fs: &dyn Fs, dir: &str) -> Result<()> {
    fs.sync_dir(dir).map_err(|error| Error::io("flush", fs.display(dir), error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::sim::{CallKind, CrashMode, Fault, SimFs};

    const OLD: &[u8] = &[1; 1300];
    const NEW: &[u8] = &[2; 1700];

    fn disk() -> SimFs {
        let fs = SimFs::new();
        fs.write_now("a.json", OLD).unwrap();
        fs.write_now("wal/a.tmp", b"a leftover").unwrap();
        fs
    }

    /// Runs a replacement on a machine that stops at each of its calls in turn, and once on one
    /// that does not, and hands every disk that a power cut or a kill can leave to `check`.
    fn at_every_crash(replace: impl Fn(&SimFs) -> Result<()>, check: impl Fn(&SimFs, bool)) {
        for call in 1.. {
            let fs = disk();
            fs.fail_at(call, Fault::Crash);
            let is_done = replace(&fs).is_ok();
            assert_eq!(is_done, fs.faults_fired() == 0);
            check(&fs.crash_with(CrashMode::Nothing), is_done);
            check(&fs.crash_with(CrashMode::Everything), is_done);
            (0..200).for_each(|seed| check(&fs.crash(seed), is_done));
            check(&fs.kill(), is_done);
            if is_done {
                assert!(call > 5, "there are more calls to crash at than {call}");
                return;
            }
        }
    }

    #[test]
    fn a_crash_at_any_call_leaves_the_old_or_the_new_file_whole() {
        for temporary in ["wal/a.tmp", "a.tmp"] {
            at_every_crash(
                |fs| replace(fs, "a.json", temporary, NEW),
                |left, is_done| {
                    let found = left.read_now("a.json").expect("there is always a file");
                    assert!(found == NEW || (!is_done && found == OLD), "{} bytes", found.len());
                    assert!(!is_done || left.read_now(temporary).is_none());
                },
            );
        }
    }

    #[test]
    fn both_directories_are_flushed() {
        let fs = disk();
        replace(&fs, "a.json", "wal/a.tmp", NEW).unwrap();
        assert!(fs.trace().ends_with(&["sync /".to_owned(), "sync wal/".to_owned()]));
    }

    #[test]
    fn a_file_that_was_only_written_back_is_whole_after_a_crash_too() {
        let replace = |fs: &SimFs| {
            write_temporary(fs, "wal/a.tmp", NEW, false)?;
            fs.rename("wal/a.tmp", "a.json").map_err(|error| Error::io("rename", "", error))
        };
        at_every_crash(replace, |left, _| {
            let found = left.read_now("a.json").expect("there is always a file");
            assert!(found == NEW || found == OLD, "{} bytes", found.len());
        });
    }

    #[test]
    fn a_failure_at_any_call_is_told_and_leaves_no_temporary_file() {
        for call in 1.. {
            let fs = disk();
            fs.fail_at(call, Fault::Errno(5));
            let Err(error) = replace(&fs, "a.json", "wal/a.tmp", NEW) else {
                assert_eq!(fs.faults_fired(), 0);
                return;
            };
            assert!(matches!(error, Error::Io { .. }), "{error}");
            let found = fs.read_now("a.json").unwrap();
            let is_last_step = fs.trace().iter().any(|call| call.starts_with("rename"))
                && fs.trace().last().unwrap().starts_with("sync");
            assert_eq!(found, if is_last_step { NEW } else { OLD }, "{error}");
            if call > 1 {
                assert_eq!(fs.names(), ["a.json"], "{error}");
            }
        }
    }

    #[test]
    fn a_full_disk_is_told_as_such_and_changes_nothing() {
        let fs = disk();
        fs.set_free_bytes(100);
        let error = replace(&fs, "a.json", "wal/a.tmp", NEW).unwrap_err();
        assert!(
            matches!(&error, Error::DiskFull { action: "write", path, .. } if path.ends_with("wal/a.tmp"))
        );
        assert_eq!(fs.names(), ["a.json"]);
        fs.set_free_bytes(2000);
        replace(&fs, "a.json", "wal/a.tmp", NEW).unwrap();
        assert_eq!(fs.read_now("a.json").unwrap(), NEW);
    }

    #[test]
    fn short_and_interrupted_writes_are_continued() {
        let fs = disk();
        fs.fail_when(CallKind::Write, 1, Fault::Short);
        fs.fail_when(CallKind::Write, 2, Fault::Error(io::ErrorKind::Interrupted));
        replace(&fs, "a.json", "wal/a.tmp", NEW).unwrap();
        assert_eq!((fs.faults_fired(), fs.read_now("a.json").unwrap()), (2, NEW.to_vec()));
    }

    #[test]
    fn a_second_failure_does_not_hide_the_first() {
        let fs = disk();
        fs.fail_when(CallKind::Sync, 1, Fault::Errno(5));
        fs.fail_when(CallKind::Remove, 2, Fault::Error(io::ErrorKind::PermissionDenied));
        let error = replace(&fs, "a.json", "wal/a.tmp", NEW).unwrap_err();
        assert!(matches!(error, Error::Io { action: "flush", .. }), "{error}");
        assert_eq!(fs.faults_fired(), 2);
        assert_eq!(fs.read_now("a.json").unwrap(), OLD);
    }

    #[test]
    fn removing_tells_whether_there_was_a_file() {
        let fs = disk();
        assert!(remove_if_any(&fs, "a.json").unwrap());
        assert!(!remove_if_any(&fs, "a.json").unwrap());
        fs.fail_when(CallKind::Remove, 1, Fault::Errno(13));
        assert!(remove_if_any(&fs, "a.json").is_err());
    }

    #[test]
    fn a_mark_tells_a_file_from_one_that_was_written_to_since_in_the_same_tick_too() {
        for step_ns in [1, 100, 2_000_000_000] {
            let fs = disk();
            fs.set_time_step(step_ns);
            fs.set_clock_stands_still(true);
            let written = write_temporary(&fs, "wal/a.tmp", NEW, true).unwrap();
            let seen = written.mark.untouched(fs.stat("wal/a.tmp").unwrap());
            assert_eq!(seen, fs.stat("wal/a.tmp").unwrap(), "{step_ns}");
            fs.rename("wal/a.tmp", "b.json").unwrap();
            let seen = written.mark.untouched(fs.stat("b.json").unwrap());
            assert!(seen.is_some_and(|seen| Mark::of(&seen).untouched(Some(seen)) == Some(seen)));
            assert_eq!(written.mark.untouched(fs.stat("a.json").unwrap()), None, "another file");
            fs.write_now("b.json", NEW).unwrap();
            assert_eq!(written.mark.untouched(fs.stat("b.json").unwrap()), None, "{step_ns}");
            assert_eq!(Mark::of(&seen.unwrap()).untouched(fs.stat("b.json").unwrap()), None);
        }
    }

    #[test]
    fn a_long_file_is_handed_to_the_device_bit_by_bit_whether_it_comes_in_pieces_or_whole() {
        struct Long;
        impl Pieces for Long {
            fn each(&self, take: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
                (0..8_u8).try_for_each(|n| take(&vec![n; 300 << 10]))
            }
        }
        let whole: Vec<u8> = (0..8_u8).flat_map(|n| vec![n; 300 << 10]).collect();
        let written = |bytes: &dyn Fn(&SimFs)| {
            let fs = SimFs::new();
            bytes(&fs);
            assert_eq!(fs.crash_with(CrashMode::Everything).read_now("a.tmp").unwrap(), whole);
            let trace = fs.trace().into_iter();
            trace.filter(|call| call.starts_with("write_back a.tmp")).count()
        };
        let in_pieces = written(&|fs| drop(write_temporary(fs, "a.tmp", &Long, true).unwrap()));
        let at_once = written(&|fs| drop(write_temporary(fs, "a.tmp", &whole, true).unwrap()));
        // Of 2,400 KiB, what is left over is the flush's.
        assert_eq!((in_pieces, at_once), (8, 9));
    }
}
