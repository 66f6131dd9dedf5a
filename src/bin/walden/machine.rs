//! What machine and disk a directory is on, as far as the system tells: for whoever reads figures later.
//!
//! Nothing here fails: what cannot be found out is left open. The benchmarks of the crate and of its peers
//! take this very file in by its path, so it imports nothing of this command.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;

/// A directory's machine and disk.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Machine {
    /// As the kernel calls it: `ext4`, `tmpfs`, `fuse.sshfs`.
    pub(crate) file_system: Option<String>,
    /// What it is on, as mounted.
    pub(crate) source: Option<String>,
    /// Its options.
    pub(crate) mount_options: Option<String>,
    /// The device's name for itself.
    pub(crate) device_model: Option<String>,
    pub(crate) rotational: Option<bool>,
    /// `write back` if the device has a volatile cache that flushes empty, else `write through`.
    pub(crate) write_cache: Option<String>,
    pub(crate) logical_block_bytes: Option<u64>,
    pub(crate) physical_block_bytes: Option<u64>,
    pub(crate) kernel: Option<String>,
    pub(crate) processor: Option<String>,
    /// How many threads run at the same time.
    pub(crate) cores: usize,
    pub(crate) memory_bytes: Option<u64>,
}

/// Looks at the machine and at the disk of a directory.
pub(crate) fn look_at(dir: &Path) -> Machine {
    let mut machine = Machine {
        kernel: kernel(),
        processor: after_colon("/proc/cpuinfo", "model name"),
        cores: std::thread::available_parallelism().map_or(1, usize::from),
        memory_bytes: memory_bytes(),
        ..Machine::default()
    };
    let Some(mount) = mount_of(dir) else { return machine };
    if let Some(device) = device_dir(&mount.device) {
        let queue = |name: &str| read(&device.join("queue").join(name));
        machine.device_model = read(&device.join("device/model"));
        machine.rotational = queue("rotational").map(|flag| flag == "1");
        machine.write_cache = queue("write_cache");
        machine.logical_block_bytes = queue("logical_block_size").and_then(|n| n.parse().ok());
        machine.physical_block_bytes = queue("physical_block_size").and_then(|n| n.parse().ok());
    }
    machine.file_system = Some(mount.kind);
    machine.source = Some(mount.source);
    machine.mount_options = Some(mount.options);
    machine
}

/// The file system and the device of a directory, in a few words.
pub(crate) fn disk_of(dir: &Path) -> String {
    match mount_of(dir) {
        Some(mount) => format!("{} on {}", mount.kind, mount.source),
        None => "unknown".to_owned(),
    }
}

struct Mount {
    /// Major and minor number, with a colon.
    device: String,
    kind: String,
    source: String,
    options: String,
}

fn mount_of(dir: &Path) -> Option<Mount> {
    let dir = fs::canonicalize(dir).ok()?;
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    let mounts = mounts.lines().filter_map(|line| {
        let (place, disk) = line.split_once(" - ")?;
        let mut place = place.split(' ').skip(2);
        let (device, point, options) = (place.next()?, place.nth(1)?, place.next()?);
        let mut disk = disk.split(' ');
        let (kind, source) = (disk.next()?, disk.next()?);
        let mount = Mount {
            device: device.to_owned(),
            kind: kind.to_owned(),
            source: source.to_owned(),
            options: disk.next().map_or_else(|| options.to_owned(), |more| join(options, more)),
        };
        dir.starts_with(point).then_some((point.len(), mount))
    });
    // Of mounts over each other, the last one counts.
    mounts.max_by_key(|(length, _)| *length).map(|(_, mount)| mount)
}

/// Options of the mount and of the file system, each once.
fn join(options: &str, more: &str) -> String {
    let new = more.split(',').filter(|option| !options.split(',').any(|known| known == *option));
    std::iter::once(options).chain(new).collect::<Vec<_>>().join(",")
}

/// Where the system tells of a block device; of a partition, where it tells of the whole device.
fn device_dir(device: &str) -> Option<PathBuf> {
    let dir = fs::canonicalize(Path::new("/sys/dev/block").join(device)).ok()?;
    if dir.join("partition").exists() { dir.parent().map(Path::to_owned) } else { Some(dir) }
}

fn kernel() -> Option<String> {
    let [kind, release] = ["ostype", "osrelease"]
        .map(|name| read(&Path::new("/proc/sys/kernel").join(name)).unwrap_or_default());
    let kernel = format!("{kind} {release} {}", std::env::consts::ARCH);
    (!kind.is_empty()).then_some(kernel)
}

fn memory_bytes() -> Option<u64> {
    let told = after_colon("/proc/meminfo", "MemTotal")?;
    let kib: u64 = told.strip_suffix(" kB")?.parse().ok()?;
    Some(kib << 10)
}

/// What stands behind the colon of the first line that begins so.
fn after_colon(file: &str, beginning: &str) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    let line = text.lines().find(|line| line.starts_with(beginning))?;
    line.split_once(':').map(|(_, value)| value.trim().to_owned())
}

fn read(file: &Path) -> Option<String> {
    let text = fs::read_to_string(file).ok()?.trim().to_owned();
    (!text.is_empty()).then_some(text)
}
