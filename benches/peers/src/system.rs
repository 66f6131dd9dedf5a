//! What the system counts: bytes that went to a device, bytes that this process caused to be written, and
//! the memory of this process.
//!
//! Where the system does not tell, there is no figure. A device's counter has everybody's writes, so it is
//! right on a machine with nothing else to do only; this process's own has no metadata of the file system.

use std::fs;
use std::path::{Path, PathBuf};

use walden::Result;

use crate::peer::failed;

const SECTOR_BYTES: u64 = 512;
/// Which number of a device's `stat` tells of sectors written.
const SECTORS_WRITTEN: usize = 6;

/// Bytes written since the system, or the process, began.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Written {
    pub(crate) device: Option<u64>,
    pub(crate) own: Option<u64>,
}

impl Written {
    pub(crate) fn since(self, earlier: Written) -> Written {
        let difference = |now: Option<u64>, then: Option<u64>| Some(now?.saturating_sub(then?));
        Written {
            device: difference(self.device, earlier.device),
            own: difference(self.own, earlier.own),
        }
    }
}

/// Where the counters of a directory's device are.
pub(crate) struct Counters {
    device: Option<PathBuf>,
}

impl Counters {
    pub(crate) fn of(dir: &Path) -> Counters {
        let device = rustix::fs::stat(dir).ok().map(|stat| {
            let (major, minor) = (rustix::fs::major(stat.st_dev), rustix::fs::minor(stat.st_dev));
            PathBuf::from(format!("/sys/dev/block/{major}:{minor}/stat"))
        });
        Counters { device: device.filter(|file| file.exists()) }
    }

    /// What can be said of the figures.
    pub(crate) fn note(&self) -> &'static str {
        match self.device {
            Some(_) => {
                "device bytes are of the whole device: whatever else wrote to it is in them. Own bytes \
                 are those of this process, without the file system's metadata"
            }
            None => "the device of the directory was not found: only own bytes are told",
        }
    }

    pub(crate) fn read(&self) -> Written {
        let read = |file: &Path| fs::read_to_string(file).unwrap_or_default();
        Written {
            device: self.device.as_deref().and_then(|file| of_device(&read(file))),
            own: of_process(&read(Path::new("/proc/self/io"))),
        }
    }
}

fn of_device(stat: &str) -> Option<u64> {
    let sectors: u64 = stat.split_whitespace().nth(SECTORS_WRITTEN)?.parse().ok()?;
    sectors.checked_mul(SECTOR_BYTES)
}

fn of_process(io: &str) -> Option<u64> {
    let count = |name: &str| -> Option<u64> {
        io.lines().find_map(|line| line.strip_prefix(name))?.trim().parse().ok()
    };
    // What was truncated or removed before it was written never went out.
    Some(count("write_bytes:")?.saturating_sub(count("cancelled_write_bytes:")?))
}

/// Writes out everything that the directory's file system still has in memory.
pub(crate) fn write_out(dir: &Path) -> Result<()> {
    let flushed = fs::File::open(dir).and_then(|dir| Ok(rustix::fs::syncfs(dir)?));
    flushed.map_err(|error| failed("the file system", error))
}

/// Memory of this process, in bytes: what it has, and the most it had.
pub(crate) fn memory() -> Option<[u64; 2]> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    Some([of_status(&status, "VmRSS:")?, of_status(&status, "VmHWM:")?])
}

fn of_status(status: &str, name: &str) -> Option<u64> {
    let told = status.lines().find_map(|line| line.strip_prefix(name))?;
    let kib: u64 = told.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_systems_counters_are_read_in_bytes() {
        assert_eq!(of_device("   5  6 7 8 9 10 11 12 0 0"), Some(11 * 512));
        assert_eq!(of_device("1 2 3"), None);
        let io = "wchar: 9\nwrite_bytes: 8192\ncancelled_write_bytes: 4096\n";
        assert_eq!(of_process(io), Some(4096));
        assert_eq!(of_process("wchar: 9\n"), None);
        let status = "Name:\tx\nVmHWM:\t  20 kB\nVmRSS:\t  12 kB\n";
        assert_eq!(of_status(status, "VmRSS:"), Some(12 << 10));
        assert_eq!(of_status(status, "VmHWM:"), Some(20 << 10));
        assert_eq!(of_status("", "VmHWM:"), None);
    }

    #[test]
    fn a_difference_needs_both_figures() {
        let then = Written { device: Some(5), own: None };
        let now = Written { device: Some(7), own: Some(1) };
        let since = now.since(then);
        assert_eq!((since.device, since.own), (Some(2), None));
    }
}
