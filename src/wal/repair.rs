//! Keeping what a recovery cuts: torn and damaged bytes are copied aside before anything is changed.
//!
//! It never touches the log's own files but to move whole segments that are no part of the log any
//! more. The scan decides; this only carries it out, and can be repeated after a crash.

use std::io;

use crate::base::{ContentHash, Error, Result};
use crate::fs::replace::{remove_if_any, write_temporary};
use crate::fs::{self, Fs, Mode, join};
use crate::wal::format::{SegmentNumber, usize_of};
use crate::wal::scan::{Finding, Scan};

/// The most bytes of one finding that are copied; a region of the log is not larger in practice.
const COPY_BYTES_MAX: u64 = 512 << 20;

/// What [`set_aside`] did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SetAside {
    /// Files written to the quarantine.
    pub kept: Vec<String>,
    /// Bytes in them.
    pub bytes: u64,
}

/// Copies the bytes of every finding to `quarantine`, durably. Call it before [`Log::begin`].
///
/// [`Log::begin`]: crate::wal::Log::begin
pub fn set_aside(fs: &dyn Fs, dir: &str, scan: &Scan, quarantine: &str) -> Result<SetAside> {
    let mut done = SetAside::default();
    // A whole segment that is to be moved is safe where it is until then.
    let stays = |file: &str| !scan.leftovers.iter().any(|leftover| leftover.file == file);
    let cut = scan.findings.iter().filter(|finding| finding.length > 0 && stays(&finding.file));
    for finding in cut {
        if let Some((name, bytes)) = copy(fs, dir, finding, quarantine)? {
            done.kept.push(name);
            done.bytes += bytes;
        }
    }
    if !done.kept.is_empty() {
        let synced = fs.sync_dir(quarantine);
        synced.map_err(|source| Error::io("flush", fs.display(quarantine), source))?;
    }
    Ok(done)
}

fn copy(
    fs: &dyn Fs,
    dir: &str,
    finding: &Finding,
    quarantine: &str,
) -> Result<Option<(String, u64)>> {
    let path = join(dir, &finding.file);
    let failed = |source: io::Error| Error::io("read", fs.display(&path), source);
    let file = fs.open(&path, Mode::Read).map_err(failed)?;
    let mut bytes = vec![0; usize_of(finding.length.min(COPY_BYTES_MAX))];
    let read = fs::read_full_at(&*file, &mut bytes, finding.offset).map_err(failed)?;
    bytes.truncate(read);
    // What follows the damage is zeroes as a rule, and says nothing.
    let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    bytes.truncate(used);
    if bytes.is_empty() {
        return Ok(None);
    }
    let hash = ContentHash::of(&bytes);
    let kept = join(quarantine, &format!("{}@{}~{hash}", finding.file, finding.offset));
    let temporary = join(quarantine, "part");
    write_temporary(fs, &temporary, &bytes, true)?;
    match fs.rename_new(&temporary, &kept) {
        Ok(()) => {}
        // The same bytes were kept before.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            remove_if_any(fs, &temporary)?;
        }
        Err(source) => return Err(Error::io("keep", fs.display(&kept), source)),
    }
    Ok(Some((kept, bytes.len() as u64)))
}

/// Removes the segments that the new incarnation passed over: it restated what stood in them. Call it
/// after [`Log::begin`], and only if [`set_aside`] kept what did not stand. One that stays is a leftover
/// of the next opening.
///
/// [`Log::begin`]: crate::wal::Log::begin
pub fn clear_passed_over(fs: &dyn Fs, dir: &str, scan: &Scan) -> Result<()> {
    scan.passed_over().try_for_each(|segment| {
        remove_if_any(fs, &join(dir, &segment.number.file_name())).map(drop)
    })
}

/// Removes the segment files that are no part of the log any more, moving those with anything in
/// them to `quarantine`. Call it after [`Log::begin`], which made them so.
///
/// [`Log::begin`]: crate::wal::Log::begin
pub fn clear_leftovers(fs: &dyn Fs, dir: &str, scan: &Scan, quarantine: &str) -> Result<()> {
    for leftover in &scan.leftovers {
        let path = join(dir, &leftover.file);
        if leftover.is_worthless {
            remove_if_any(fs, &path)?;
            continue;
        }
        move_aside(fs, &path, quarantine, &leftover.file)?;
    }
    Ok(())
}

/// Removes segments that were being prepared, or kept to be reused: nothing in them is worth anything.
pub fn clear_temporaries(fs: &dyn Fs, dir: &str, scan: &Scan) -> Result<()> {
    let is_temporary = |name: &&String| SegmentNumber::parse_temporary(name).is_some();
    let mut names = scan.other_files.iter().filter(is_temporary);
    names.try_for_each(|name| remove_if_any(fs, &join(dir, name)).map(drop))
}

/// Moves a file to the quarantine under a name that is free there.
fn move_aside(fs: &dyn Fs, path: &str, quarantine: &str, file: &str) -> Result<()> {
    let mut copies = 0_u32;
    loop {
        match fs.rename_new(path, &join(quarantine, &format!("{file}~{copies}"))) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => copies += 1,
            Err(source) => return Err(Error::io("move aside", fs.display(path), source)),
        }
    }
}
