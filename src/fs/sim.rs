//! A simulated disk in memory, which forgets at a power cut what a real one may forget.
//!
//! It keeps apart what calls see and what is on the medium: writes change only the former, a sync
//! of a file its contents and length, a sync of a directory the names in it. A power cut gives a
//! new disk from the latter and, as the mode says, some of what was under way; a process kill keeps
//! all that calls see. Any call can be made to fail.
//!
//! Invariants: deterministic, so that one seed gives one run; a handle of a disk that has crashed
//! or was killed never gets through; no durability without a sync, and no name without a sync of
//! its directory.

use std::io;
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};

use super::{Entry, File, Fs, Kind, Lock, LockMode, Mode, Space, Stat};

mod by_hand;
#[cfg(test)]
mod call_tests;
mod clock;
mod crash;
mod data;
mod disk;
mod fault;
#[cfg(test)]
mod tests;

pub use by_hand::Held;
pub use crash::CrashMode;
pub use fault::{CallKind, Fault};

use disk::{Disk, Taken};
use fault::{Gate, Pass};

/// A simulated disk; clones are handles to the same one.
///
/// ```
/// use walden::fs::sim::{CrashMode, SimFs};
/// use walden::fs::{Fs, Mode, write_all_at};
///
/// let disk = SimFs::new();
/// let file = disk.open("a", Mode::CreateNew).unwrap();
/// write_all_at(&*file, b"hello", 0).unwrap();
/// file.sync_data().unwrap();
/// let lost = disk.crash_with(CrashMode::Nothing);
/// assert_eq!(lost.read_now("a"), None, "the contents were synced, the name was not");
/// ```
#[derive(Clone, Debug)]
pub struct SimFs {
    machine: Arc<Mutex<Machine>>,
}

#[derive(Debug)]
struct Machine {
    disk: Disk,
    gate: Gate,
    is_locked: bool,
    probes: u32,
    /// The inode of each handle for writing.
    writers: Vec<u64>,
}

impl Default for SimFs {
    fn default() -> Self {
        SimFs::new()
    }
}

impl SimFs {
    /// An empty disk with much free space and no faults.
    pub fn new() -> SimFs {
        SimFs::from_disk(Disk::new())
    }

    fn from_disk(disk: Disk) -> SimFs {
        let gate = Gate::default();
        let machine = Machine { disk, gate, is_locked: false, probes: 0, writers: Vec::new() };
        SimFs { machine: Arc::new(Mutex::new(machine)) }
    }

    /// Cuts the power, and gives the disk as it is found afterwards, drawn from `seed`: see
    /// [`CrashMode::Random`]. This disk stops for good, but can be cut again for another outcome.
    #[must_use]
    pub fn crash(&self, seed: u64) -> SimFs {
        self.crash_with(CrashMode::Random(seed))
    }

    /// Cuts the power as [`SimFs::crash`] does, and says what survives.
    #[must_use]
    pub fn crash_with(&self, mode: CrashMode) -> SimFs {
        SimFs::from_disk(self.stop().disk.after_crash(mode))
    }

    /// Kills the process: everything that calls saw is kept, durable or not, and locks are free.
    /// This disk stops for good.
    #[must_use]
    pub fn kill(&self) -> SimFs {
        SimFs::from_disk(self.stop().disk.clone())
    }

    /// The disk as a power cut now would leave it; this one goes on, so that one run shows the
    /// outcomes of a crash at each of its calls.
    #[must_use]
    pub fn if_crashed(&self, mode: CrashMode) -> SimFs {
        SimFs::from_disk(self.machine.lock().disk.after_crash(mode))
    }

    /// The disk as a kill of the process now would leave it; this one goes on.
    #[must_use]
    pub fn if_killed(&self) -> SimFs {
        SimFs::from_disk(self.machine.lock().disk.clone())
    }

    fn stop(&self) -> MutexGuard<'_, Machine> {
        let mut machine = self.machine.lock();
        machine.gate.stopped = true;
        machine
    }

    /// Whether it has stopped: by a fault, a power cut or a kill.
    pub fn has_stopped(&self) -> bool {
        self.machine.lock().gate.stopped
    }

    /// How many calls were made on this disk, failed ones included.
    pub fn calls(&self) -> u64 {
        self.machine.lock().gate.trace.len() as u64
    }

    /// The calls so far, one text each, as in `write a.json 0+512`.
    pub fn trace(&self) -> Vec<String> {
        self.machine.lock().gate.trace.clone()
    }

    /// How many faults have struck.
    pub fn faults_fired(&self) -> u64 {
        self.machine.lock().gate.fired
    }

    /// Makes the `n`-th call from now fail; 1 is the next one.
    pub fn fail_at(&self, n: u64, fault: Fault) {
        self.machine.lock().gate.plan(None, n, fault);
    }

    /// Makes the `nth` call of one kind from now fail; 1 is the next one.
    pub fn fail_when(&self, kind: CallKind, nth: u64, fault: Fault) {
        self.machine.lock().gate.plan(Some(kind), nth, fault);
    }

    /// Takes back every fault that was planned, sticky ones included.
    pub fn clear_faults(&self) {
        self.machine.lock().gate.clear();
    }

    /// Sets the room that is left. Growing a file takes from it, removing its last name gives back.
    pub fn set_free_bytes(&self, bytes: u64) {
        self.machine.lock().disk.free_bytes = bytes;
    }

    /// Sets whether the file system can make two files share their blocks; a new disk cannot.
    pub fn set_reflinks(&self, can: bool) {
        self.machine.lock().disk.reflinks = can;
    }

    /// A handle that is already let through.
    fn handle(&self, inode: u64, path: &str, mode: Mode) -> SimFile {
        let writes = mode != Mode::Read;
        if writes {
            self.machine.lock().writers.push(inode);
        }
        SimFile { fs: self.clone(), inode, path: path.to_owned(), writes }
    }

    /// Lets a call pass the gate, and holds the machine for it.
    fn enter(&self, kind: CallKind, text: String) -> io::Result<MutexGuard<'_, Machine>> {
        let mut machine = self.machine.lock();
        machine.gate.pass(kind, text)?;
        Ok(machine)
    }
}

impl Fs for SimFs {
    fn open(&self, path: &str, mode: Mode) -> io::Result<Arc<dyn File>> {
        let inode = if mode == Mode::CreateNew {
            let mut machine = self.enter(CallKind::Create, format!("create {path}"))?;
            machine.disk.create(path, Kind::File)?
        } else {
            self.enter(CallKind::Open, format!("open {path}"))?.disk.file(path)?
        };
        Ok(Arc::new(self.handle(inode, path, mode)))
    }

    fn stat(&self, path: &str) -> io::Result<Option<Stat>> {
        let machine = self.enter(CallKind::Stat, format!("stat {path}"))?;
        Ok(machine.disk.find(path)?.and_then(|inode| machine.disk.stat(inode)))
    }

    fn list(&self, dir: &str) -> io::Result<Vec<Entry>> {
        self.enter(CallKind::List, format!("list {dir}/"))?.disk.list(dir)
    }

    fn create_dir(&self, dir: &str) -> io::Result<bool> {
        let mut machine = self.enter(CallKind::CreateDir, format!("create {dir}/"))?;
        super::check_dir(dir)?;
        match machine.disk.find(dir)?.and_then(|inode| machine.disk.stat(inode)) {
            Some(Stat { kind: Kind::Directory, .. }) => Ok(false),
            _ => machine.disk.create(dir, Kind::Directory).map(|_| true),
        }
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut machine = self.enter(CallKind::Rename, format!("rename {from} {to}"))?;
        machine.disk.rename(from, to, Taken::Replace)
    }

    fn rename_new(&self, from: &str, to: &str) -> io::Result<()> {
        let mut machine = self.enter(CallKind::Rename, format!("rename_new {from} {to}"))?;
        machine.disk.rename(from, to, Taken::Refuse)
    }

    fn exchange(&self, a: &str, b: &str) -> io::Result<()> {
        let mut machine = self.enter(CallKind::Rename, format!("exchange {a} {b}"))?;
        machine.disk.rename(a, b, Taken::Exchange)
    }

    fn link(&self, from: &str, to: &str) -> io::Result<()> {
        self.enter(CallKind::Link, format!("link {from} {to}"))?.disk.link(from, to)
    }

    fn reflink(&self, from: &str, to: &str) -> io::Result<()> {
        self.enter(CallKind::Link, format!("reflink {from} {to}"))?.disk.reflink(from, to)
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        self.enter(CallKind::Remove, format!("remove {path}"))?.disk.remove(path)
    }

    fn sync_dir(&self, dir: &str) -> io::Result<()> {
        self.enter(CallKind::SyncDir, format!("sync {dir}/"))?.disk.sync_dir(dir)
    }

    fn sync_all(&self) -> io::Result<()> {
        let mut machine = self.machine.lock();
        let passed = machine.gate.pass(CallKind::SyncAll, "sync everything".to_owned());
        match passed {
            Ok(_) => machine.disk.sync_all(),
            Err(_) if machine.gate.stopped => {}
            Err(_) => {
                for inode in machine.disk.inode_numbers() {
                    machine.disk.lose(inode);
                }
            }
        }
        passed.map(drop)
    }

    fn lock(&self, mode: LockMode) -> io::Result<Option<Box<dyn Lock>>> {
        let mut machine = self.enter(CallKind::Lock, format!("lock {mode:?}"))?;
        let is_free = !machine.is_locked && (mode == LockMode::Probe || machine.probes == 0);
        if !is_free {
            return Ok(None);
        }
        match mode {
            LockMode::Exclusive => machine.is_locked = true,
            LockMode::Probe => machine.probes += 1,
        }
        Ok(Some(Box::new(SimLock { machine: Arc::clone(&self.machine), mode })))
    }

    fn space(&self) -> io::Result<Space> {
        let machine = self.enter(CallKind::Space, "space".to_owned())?;
        let free_bytes = machine.disk.free_bytes;
        let total_bytes = free_bytes.saturating_add(machine.disk.used_bytes());
        Ok(Space { free_bytes, total_bytes })
    }

    fn is_writable(&self) -> bool {
        !self.has_stopped()
    }

    fn display(&self, path: &str) -> String {
        format!("sim:/{path}")
    }
}

#[derive(Debug)]
struct SimLock {
    machine: Arc<Mutex<Machine>>,
    mode: LockMode,
}

impl Lock for SimLock {}

impl Drop for SimLock {
    fn drop(&mut self) {
        let mut machine = self.machine.lock();
        match self.mode {
            LockMode::Exclusive => machine.is_locked = false,
            LockMode::Probe => machine.probes = machine.probes.saturating_sub(1),
        }
    }
}

#[derive(Debug)]
struct SimFile {
    fs: SimFs,
    inode: u64,
    /// The name it was opened by, for the trace.
    path: String,
    writes: bool,
}

impl SimFile {
    fn text(&self, verb: &str, offset: u64, length: usize) -> String {
        format!("{verb} {} {offset}+{length}", self.path)
    }

    /// Flushes in one way or another; a failure loses what was unsynced.
    fn flush(&self, kind: CallKind, verb: &str, done: fn(&mut Disk, u64)) -> io::Result<()> {
        let mut machine = self.fs.machine.lock();
        let passed = machine.gate.pass(kind, format!("{verb} {}", self.path));
        match passed {
            Ok(_) => done(&mut machine.disk, self.inode),
            // Before a crash the call never began.
            Err(_) if machine.gate.stopped => {}
            Err(_) => machine.disk.lose(self.inode),
        }
        passed.map(drop)
    }
}

impl File for SimFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut machine = self.fs.machine.lock();
        let pass = machine.gate.pass(CallKind::Read, self.text("read", offset, buf.len()))?;
        machine.disk.give(self.inode)?;
        let contents = machine.disk.read(self.inode);
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(contents.len());
        let rest = contents.get(start..).unwrap_or_default();
        let count = shortened(pass, rest.len().min(buf.len()));
        for (place, byte) in buf.iter_mut().zip(rest).take(count) {
            *place = *byte;
        }
        Ok(count)
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        let mut machine = self.fs.machine.lock();
        let pass = machine.gate.pass(CallKind::Write, self.text("write", offset, buf.len()))?;
        if !self.writes {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        let buf = buf.get(..shortened(pass, buf.len())).unwrap_or(buf);
        if buf.is_empty() { Ok(0) } else { machine.disk.write(self.inode, buf, offset) }
    }

    fn sync_data(&self) -> io::Result<()> {
        self.flush(CallKind::Sync, "sync", Disk::sync)
    }

    fn write_back(&self) -> io::Result<()> {
        self.flush(CallKind::WriteBack, "write_back", Disk::write_back)
    }

    fn set_modified(&self, modified_ns: i64) -> io::Result<()> {
        let text = format!("set_modified {}", self.path);
        self.fs.enter(CallKind::SetModified, text)?.disk.set_modified(self.inode, modified_ns);
        Ok(())
    }

    fn stat(&self) -> io::Result<Stat> {
        let machine = self.fs.enter(CallKind::Stat, format!("stat {}", self.path))?;
        machine.disk.stat(self.inode).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn has_writer(&self) -> io::Result<bool> {
        let machine = self.fs.enter(CallKind::Lease, format!("lease {}", self.path))?;
        Ok(machine.writers.contains(&self.inode))
    }
}

impl Drop for SimFile {
    fn drop(&mut self) {
        let mut machine = self.fs.machine.lock();
        let mine = machine.writers.iter().position(|inode| self.writes && *inode == self.inode);
        if let Some(mine) = mine {
            machine.writers.swap_remove(mine);
        }
    }
}

/// How much of `count` bytes a call handles; a short one at least one, if there is any.
fn shortened(pass: Pass, count: usize) -> usize {
    match pass {
        Pass::Whole => count,
        Pass::Short => count.div_ceil(2),
    }
}
