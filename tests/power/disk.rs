//! A disk whose power can be cut: a file system of its own in an image behind a loop device.
//!
//! A cut is the file system's own shutdown call: from then on nothing reaches the image, and every call
//! fails; what was only in memory is gone with the next mount. It needs root.

use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// `FS_IOC_SHUTDOWN`, the same on ext4 and xfs.
const SHUTDOWN: libc::c_ulong = 0x8004_587d;

/// So often a busy place is tried again, 5 ms apart.
const UNMOUNT_TRIES_MAX: u32 = 1000;

/// What the file system still may do when the power goes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Cut {
    /// Everything is written first.
    Flushed = 0,
    /// The journal is written first: names may be durable whose contents are not.
    JournalFlushed = 1,
    /// Nothing.
    Sudden = 2,
}

pub(crate) struct Disk {
    scratch: tempfile::TempDir,
    device: String,
}

impl Disk {
    /// Makes one, or says why this machine cannot.
    pub(crate) fn new(kind: &str, bytes: u64) -> Result<Disk, String> {
        // The owner of what this process makes tells who it is.
        let scratch = tempfile::tempdir().map_err(|error| error.to_string())?;
        let owner = fs::metadata(scratch.path()).map(|found| found.uid());
        if owner.map_err(|error| error.to_string())? != 0 {
            return Err("mounting an image needs root".to_owned());
        }
        let image = scratch.path().join("image");
        let made = File::create(&image).and_then(|file| file.set_len(bytes));
        made.map_err(|error| error.to_string())?;
        let force = if kind == "xfs" { "-f" } else { "-F" };
        let image = image.to_str().ok_or("a path that is no text")?;
        run(&format!("mkfs.{kind}"), &["-q", force, image])?;
        let device = run("losetup", &["--find", "--show", image])?.trim().to_owned();
        let disk = Disk { scratch, device };
        fs::create_dir(disk.place()).map_err(|error| error.to_string())?;
        disk.mount()?;
        disk.unmount()?;
        Ok(disk)
    }

    /// Where it is mounted.
    pub(crate) fn place(&self) -> PathBuf {
        self.scratch.path().join("mounted")
    }

    pub(crate) fn mount(&self) -> Result<(), String> {
        run("mount", &[&self.device, path_text(&self.place())?]).map(|_| ())
    }

    /// A process that another test is just starting has all descriptors of this one until it is the
    /// program that it is to be; so a busy place is tried again.
    pub(crate) fn unmount(&self) -> Result<(), String> {
        let place = self.place();
        let mut tries = 0;
        loop {
            match run("umount", &[path_text(&place)?]) {
                Err(why) if why.contains("busy") && tries < UNMOUNT_TRIES_MAX => tries += 1,
                other => return other.map(|_| ()),
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    #[allow(unsafe_code, reason = "the call has no safe wrapper")]
    pub(crate) fn cut(&self, cut: Cut) -> Result<(), String> {
        let root = File::open(self.place()).map_err(|error| error.to_string())?;
        let flag = cut as u32;
        // SAFETY: the descriptor is open, and the call reads four bytes from the pointer.
        let result = unsafe { libc::ioctl(root.as_raw_fd(), SHUTDOWN, &raw const flag) };
        match result {
            0 => Ok(()),
            _ => Err(format!("the shutdown call: {}", std::io::Error::last_os_error())),
        }
    }
}

fn path_text(path: &Path) -> Result<&str, String> {
    path.to_str().ok_or_else(|| "a path that is no text".to_owned())
}

fn run(program: &str, args: &[&str]) -> Result<String, String> {
    let output = Command::new(program).args(args).output();
    let output = output.map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(format!("{program} {args:?}: {}", String::from_utf8_lossy(&output.stderr).trim()))
}

impl Drop for Disk {
    fn drop(&mut self) {
        // A failing test must leave neither a mount nor a device; what is not there cannot be removed.
        let _ = self.unmount();
        let _ = run("losetup", &["--detach", &self.device]);
    }
}
