//! An open file of the operating system: reading, writing, flushing, and who else has it open.
//!
//! It is made from a descriptor that its directory has checked to be a regular file. Nothing here
//! retries a failed flush, and nothing here knows a name.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::time::{Duration, SystemTime};

use rustix::fs as os;

use crate::fs::{File, Stat};

#[derive(Debug)]
pub(super) struct RealFile(std::fs::File);

impl From<OwnedFd> for RealFile {
    fn from(opened: OwnedFd) -> Self {
        RealFile(opened.into())
    }
}

impl RealFile {
    /// Gives this empty file the contents of `source`, in the same blocks until one of the two is
    /// written to.
    #[cfg(target_os = "linux")]
    pub(super) fn share_blocks(&self, source: &RealFile) -> io::Result<()> {
        use rustix::io::Errno;

        match os::ioctl_ficlone(&self.0, &source.0) {
            Err(Errno::INVAL | Errno::NOSYS | Errno::NOTTY | Errno::OPNOTSUPP | Errno::XDEV) => {
                Err(io::ErrorKind::Unsupported.into())
            }
            shared => Ok(shared?),
        }
    }

    #[cfg(not(target_os = "linux"))]
    pub(super) fn share_blocks(&self, _: &RealFile) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// How a file is opened whose writes go past the page cache and are durable at once.
#[cfg(target_os = "linux")]
pub(super) const THROUGH: Option<os::OFlags> =
    Some(os::OFlags::WRONLY.union(os::OFlags::DIRECT).union(os::OFlags::DSYNC));
#[cfg(not(target_os = "linux"))]
pub(super) const THROUGH: Option<os::OFlags> = None;

impl File for RealFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(buf, offset)
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        self.0.write_at(buf, offset)
    }

    #[cfg(not(target_vendor = "apple"))]
    fn sync_data(&self) -> io::Result<()> {
        Ok(os::fdatasync(&self.0)?)
    }

    /// There, only this call empties the device's cache.
    #[cfg(target_vendor = "apple")]
    fn sync_data(&self) -> io::Result<()> {
        Ok(os::fcntl_fullfsync(&self.0)?)
    }

    #[cfg(target_os = "linux")]
    fn write_back(&self) -> io::Result<()> {
        crate::fs::sys::write_back(self.0.as_fd())
    }

    #[cfg(not(target_os = "linux"))]
    fn write_back(&self) -> io::Result<()> {
        Ok(())
    }

    fn set_modified(&self, modified_ns: i64) -> io::Result<()> {
        let since = Duration::from_nanos(modified_ns.unsigned_abs());
        let time = if modified_ns < 0 {
            SystemTime::UNIX_EPOCH.checked_sub(since)
        } else {
            SystemTime::UNIX_EPOCH.checked_add(since)
        };
        self.0.set_modified(time.ok_or(io::ErrorKind::InvalidInput)?)
    }

    #[cfg(target_os = "linux")]
    fn read_gently(&self) {
        // It is no more than advice: without it, the same is read.
        let _ = os::fadvise(&self.0, 0, None, os::Advice::Random);
    }

    fn stat(&self) -> io::Result<Stat> {
        Ok(super::stat_of(&os::fstat(&self.0)?))
    }

    #[cfg(target_os = "linux")]
    fn has_writer(&self) -> io::Result<bool> {
        crate::fs::sys::has_writer(self.0.as_fd())
    }

    #[cfg(not(target_os = "linux"))]
    fn has_writer(&self) -> io::Result<bool> {
        Err(io::ErrorKind::Unsupported.into())
    }
}
