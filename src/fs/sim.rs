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
mod cut;
#[cfg(test)]
mod cut_tests;
mod data;
mod disk;
mod fault;
#[cfg(test)]
mod fault_tests;
mod file;
mod image;
mod rules;
#[cfg(test)]
mod rules_tests;
#[cfg(test)]
mod speed_tests;
#[cfg(test)]
mod tests;

pub use by_hand::Held;
pub use crash::{CrashMode, NoCrashMode};
pub use fault::{CallKind, Fault, Plan};
pub use rules::{AfterFailedSync, Rules, Tearing};

use disk::{Disk, Taken};
use fault::{Call, Gate, Pass, Path};
pub(crate) use file::SimFile;

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
        SimFs::from_disk(Disk::new(), true)
    }

    fn from_disk(disk: Disk, is_traced: bool) -> SimFs {
        let gate = Gate::new(is_traced);
        let machine = Machine { disk, gate, is_locked: false, probes: 0, writers: Vec::new() };
        SimFs { machine: Arc::new(Mutex::new(machine)) }
    }

    /// Whether it has stopped: by a fault, a power cut or a kill.
    pub fn has_stopped(&self) -> bool {
        self.machine.lock().gate.stopped
    }

    /// How many calls were made on this disk, failed ones included.
    pub fn calls(&self) -> u64 {
        self.machine.lock().gate.calls
    }

    /// The calls so far, one text each, as in `write a.json 0+512`; a disk that a crash or a kill
    /// made begins with none.
    pub fn trace(&self) -> Vec<String> {
        self.machine.lock().gate.trace.clone()
    }

    /// Sets whether calls are kept for `trace` from now on; a new disk does, and one that a crash or
    /// a kill makes does what this one does.
    pub fn set_traced(&self, is_traced: bool) {
        self.machine.lock().gate.is_traced = is_traced;
    }

    /// How many faults have struck.
    pub fn faults_fired(&self) -> u64 {
        self.machine.lock().gate.fired
    }

    /// Makes calls fail as the plan says.
    pub fn fail(&self, plan: Plan) {
        self.machine.lock().gate.plan(plan);
    }

    /// Makes the `n`-th call from now fail; 1 is the next one.
    pub fn fail_at(&self, n: u64, fault: Fault) {
        self.fail(Plan::new(fault).nth(n));
    }

    /// Makes the `nth` call of one kind from now fail; 1 is the next one.
    pub fn fail_when(&self, kind: CallKind, nth: u64, fault: Fault) {
        self.fail(Plan::new(fault).kind(kind).nth(nth));
    }

    /// Makes the `nth` call of one kind on a path from now fail, as [`Plan::path`] says; 1 is the
    /// next one.
    pub fn fail_path(&self, prefix: &str, kind: CallKind, nth: u64, fault: Fault) {
        self.fail(Plan::new(fault).path(prefix).kind(kind).nth(nth));
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
        let is_through = mode == Mode::Through;
        SimFile { fs: self.clone(), inode, path: path.to_owned(), writes, is_through }
    }

    /// Lets a call pass the gate, and holds the machine for it.
    fn enter(
        &self,
        kind: CallKind,
        verb: &str,
        paths: &[Path<'_>],
    ) -> io::Result<MutexGuard<'_, Machine>> {
        let mut machine = self.machine.lock();
        machine.gate.pass(Call { kind, verb, paths, range: None })?;
        Ok(machine)
    }
}

impl SimFs {
    /// Opens a file, as [`Fs::open`] does.
    pub(crate) fn open_file(&self, path: &str, mode: Mode) -> io::Result<SimFile> {
        let inode = if mode == Mode::CreateNew {
            let mut machine = self.enter(CallKind::Create, "create", &[Path::File(path)])?;
            machine.disk.create(path, Kind::File)?
        } else {
            self.enter(CallKind::Open, "open", &[Path::File(path)])?.disk.file(path)?
        };
        Ok(self.handle(inode, path, mode))
    }
}

impl Fs for SimFs {
    fn open(&self, path: &str, mode: Mode) -> io::Result<Arc<dyn File>> {
        Ok(Arc::new(self.open_file(path, mode)?))
    }

    fn stat(&self, path: &str) -> io::Result<Option<Stat>> {
        let machine = self.enter(CallKind::Stat, "stat", &[Path::File(path)])?;
        Ok(machine.disk.find(path)?.and_then(|inode| machine.disk.stat(inode)))
    }

    fn list(&self, dir: &str) -> io::Result<Vec<Entry>> {
        self.enter(CallKind::List, "list", &[Path::Directory(dir)])?.disk.list(dir)
    }

    fn create_dir(&self, dir: &str) -> io::Result<bool> {
        let mut machine = self.enter(CallKind::CreateDir, "create", &[Path::Directory(dir)])?;
        super::check_dir(dir)?;
        match machine.disk.find(dir)?.and_then(|inode| machine.disk.stat(inode)) {
            Some(Stat { kind: Kind::Directory, .. }) => Ok(false),
            _ => machine.disk.create(dir, Kind::Directory).map(|_| true),
        }
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut machine =
            self.enter(CallKind::Rename, "rename", &[Path::File(from), Path::File(to)])?;
        machine.disk.rename(from, to, Taken::Replace)
    }

    fn rename_new(&self, from: &str, to: &str) -> io::Result<()> {
        let mut machine =
            self.enter(CallKind::Rename, "rename_new", &[Path::File(from), Path::File(to)])?;
        machine.disk.rename(from, to, Taken::Refuse)
    }

    fn exchange(&self, a: &str, b: &str) -> io::Result<()> {
        let mut machine =
            self.enter(CallKind::Rename, "exchange", &[Path::File(a), Path::File(b)])?;
        machine.disk.rename(a, b, Taken::Exchange)
    }

    fn link(&self, from: &str, to: &str) -> io::Result<()> {
        self.enter(CallKind::Link, "link", &[Path::File(from), Path::File(to)])?.disk.link(from, to)
    }

    fn reflink(&self, from: &str, to: &str) -> io::Result<()> {
        self.enter(CallKind::Link, "reflink", &[Path::File(from), Path::File(to)])?
            .disk
            .reflink(from, to)
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        self.enter(CallKind::Remove, "remove", &[Path::File(path)])?.disk.remove(path)
    }

    fn sync_dir(&self, dir: &str) -> io::Result<()> {
        let mut machine = self.machine.lock();
        let paths = &[Path::Directory(dir)];
        let call = Call { kind: CallKind::SyncDir, verb: "sync", paths, range: None };
        match machine.gate.pass(call)? {
            Pass::Lie => Ok(()),
            _ => machine.disk.sync_dir(dir),
        }
    }

    fn sync_all(&self) -> io::Result<()> {
        let mut machine = self.machine.lock();
        let call =
            Call { kind: CallKind::SyncAll, verb: "sync everything", paths: &[], range: None };
        let passed = machine.gate.pass(call);
        match passed {
            Ok(Pass::Lie) => {}
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
        let mut machine = self.enter(CallKind::Lock, &format!("lock {mode:?}"), &[])?;
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
        let machine = self.enter(CallKind::Space, "space", &[])?;
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
