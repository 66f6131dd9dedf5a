//! A disk of which calls of one class fail in one way. A class is a kind of call and what it is aimed
//! at, told by the name: so a fault hits the log and not the mirror, whatever the order of calls.
//!
//! Every call holds one lock, so that a fault strikes the call that was chosen also where several
//! threads use the disk. Temporary files belong to what they become.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::io;
use std::sync::Arc;

use parking_lot::Mutex;
use walden::fs::sim::{Fault, SimFs};
use walden::fs::{Entry, File, Fs, Lock, LockMode, Mode, Space, Stat, split};

/// A way of failing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Ill {
    IoOnce,
    IoKept,
    FullOnce,
    FullKept,
    Quota,
    Interrupted,
    Short,
    Zero,
}

impl Ill {
    pub(crate) const ALL: [Ill; 8] = [
        Ill::IoOnce,
        Ill::IoKept,
        Ill::FullOnce,
        Ill::FullKept,
        Ill::Quota,
        Ill::Interrupted,
        Ill::Short,
        Ill::Zero,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Ill::IoOnce => "EIO once",
            Ill::IoKept => "EIO kept",
            Ill::FullOnce => "ENOSPC once",
            Ill::FullKept => "ENOSPC kept",
            Ill::Quota => "EDQUOT",
            Ill::Interrupted => "EINTR",
            Ill::Short => "short",
            Ill::Zero => "zero",
        }
    }

    /// Whether a call can fail so.
    pub(crate) fn suits(self, class: Class) -> bool {
        match self {
            Ill::Short => matches!(class.verb, "read" | "write"),
            Ill::Zero => class.verb == "write",
            _ => true,
        }
    }

    /// Whether all later calls of the class fail too.
    fn stays(self) -> bool {
        matches!(self, Ill::IoKept | Ill::FullKept)
    }

    /// The type of error that it is to a caller.
    pub(crate) fn error(self) -> &'static str {
        match self {
            Ill::FullOnce | Ill::FullKept | Ill::Quota => "DiskFull",
            _ => "Io",
        }
    }

    /// What the simulated disk does; a write of nothing it is not asked for.
    fn fault(self) -> Option<Fault> {
        match self {
            Ill::IoOnce | Ill::IoKept => Some(Fault::Errno(5)),
            Ill::FullOnce | Ill::FullKept => Some(Fault::Errno(28)),
            Ill::Quota => Some(Fault::Errno(122)),
            Ill::Interrupted => Some(Fault::Errno(4)),
            Ill::Short => Some(Fault::Short),
            Ill::Zero => None,
        }
    }
}

/// A kind of call, and what it is aimed at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Class {
    pub(crate) target: &'static str,
    pub(crate) verb: &'static str,
}

#[derive(Debug, Default)]
struct Plan {
    /// Calls are counted, and the fault strikes, only while it is on.
    is_on: bool,
    /// The class, its call from 1, and how it fails.
    fault: Option<(Class, u64, Ill)>,
    seen: BTreeMap<Class, u64>,
    fired: u64,
    /// Segments that have their name, by the one that they were made under.
    named: HashSet<String>,
}

/// A handle to a simulated disk with one fault; clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Faulty {
    pub(crate) disk: SimFs,
    plan: Arc<Mutex<Plan>>,
}

impl Faulty {
    pub(crate) fn new(disk: &SimFs) -> Faulty {
        Faulty { disk: disk.clone(), plan: Arc::default() }
    }

    /// From now on the `nth` call of the class fails so; `None` only counts.
    pub(crate) fn arm(&self, fault: Option<(Class, u64, Ill)>) {
        let mut plan = self.plan.lock();
        plan.is_on = true;
        plan.fault = fault;
        plan.seen.clear();
    }

    /// Whether it has struck since it was armed.
    pub(crate) fn has_struck(&self) -> bool {
        self.plan.lock().fired > 0
    }

    /// Ends it; says how often it struck, and what calls there were.
    pub(crate) fn disarm(&self) -> (u64, BTreeMap<Class, u64>) {
        let mut plan = self.plan.lock();
        plan.is_on = false;
        (std::mem::take(&mut plan.fired), std::mem::take(&mut plan.seen))
    }

    fn call<T>(
        &self,
        verb: &'static str,
        path: &str,
        nothing: Option<T>,
        call: impl FnOnce(&SimFs) -> io::Result<T>,
    ) -> io::Result<T> {
        let mut plan = self.plan.lock();
        let target = target_of(path, &plan.named);
        let Some(ill) = plan.due(Class { target, verb }) else { return call(&self.disk) };
        match (ill.fault(), nothing) {
            (None, Some(nothing)) => return Ok(nothing),
            (fault, _) => self.disk.fail_at(1, fault.expect("only a write can do nothing")),
        }
        let outcome = call(&self.disk);
        self.disk.clear_faults();
        outcome
    }

    fn file(&self, path: &str, file: Arc<dyn File>) -> Arc<dyn File> {
        Arc::new(FaultyFile { of: self.clone(), path: path.to_owned(), file })
    }
}

impl Plan {
    /// Counts a call, and says how it fails, if it does.
    fn due(&mut self, class: Class) -> Option<Ill> {
        if !self.is_on {
            return None;
        }
        let seen = self.seen.entry(class).or_default();
        *seen += 1;
        let (chosen, nth, ill) = self.fault?;
        let is_due = chosen == class && (*seen == nth || (ill.stays() && *seen > nth));
        self.fired += u64::from(is_due);
        is_due.then_some(ill)
    }
}

/// What a file, or a directory by its bare name, is for.
fn target_of(path: &str, named: &HashSet<String>) -> &'static str {
    match path {
        "" => "the store's directory",
        "wal" => "`wal/`",
        "tasks" | "sessions" => "`tasks/`, `sessions/`",
        "logs" | "reports" => "`logs/`, `reports/`",
        "conflicts" => "`conflicts/`",
        "quarantine" => "`quarantine/`",
        "state.json" | "wal/state.part" | "wal/state.swap" => "`state.json`",
        ".walden" | "wal/owner.part" => "`.walden`",
        "wal/state.index" | "wal/index.part" => "index",
        "wal/mirror.part" => "mirror file",
        "wal/conflict.part" => "file in `conflicts/`",
        "everything" => "everything",
        "lock" => "lock",
        _ => {
            let (dir, name) = split(path).expect("the engine's paths are whole");
            match dir {
                "tasks" | "sessions" => "mirror file",
                "logs" | "reports" => "output",
                "conflicts" => "file in `conflicts/`",
                "quarantine" => "file in `quarantine/`",
                "wal" if name.starts_with("swap.") => "mirror file",
                "wal" if name.starts_with("output.") => "output",
                "wal" if name.ends_with(".tmp") && !named.contains(path) => "prepared segment",
                "wal" if name.ends_with(".wal") || name.ends_with(".tmp") => "log segment",
                "" if name.starts_with("state.backup.") => "backup",
                "" if name.starts_with("state.") => "migration's files",
                _ => panic!("{path} is for nothing that is known"),
            }
        }
    }
}

impl Fs for Faulty {
    fn open(&self, path: &str, mode: Mode) -> io::Result<Arc<dyn File>> {
        let verb = if mode == Mode::CreateNew { "create" } else { "open" };
        if mode == Mode::CreateNew {
            self.plan.lock().named.remove(path);
        }
        let file = self.call(verb, path, None, |disk| disk.open(path, mode))?;
        Ok(self.file(path, file))
    }
    fn stat(&self, path: &str) -> io::Result<Option<Stat>> {
        self.call("stat", path, None, |disk| disk.stat(path))
    }
    fn list(&self, dir: &str) -> io::Result<Vec<Entry>> {
        self.call("list", dir, None, |disk| disk.list(dir))
    }
    fn create_dir(&self, dir: &str) -> io::Result<bool> {
        self.call("make", dir, None, |disk| disk.create_dir(dir))
    }
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.call("rename", to, None, |disk| disk.rename(from, to))
    }
    fn rename_new(&self, from: &str, to: &str) -> io::Result<()> {
        let is_segment = from.ends_with(".tmp");
        let of = if is_segment { from } else { to };
        self.call("rename", of, None, |disk| disk.rename_new(from, to))?;
        if is_segment {
            self.plan.lock().named.insert(from.to_owned());
        }
        Ok(())
    }
    fn exchange(&self, a: &str, b: &str) -> io::Result<()> {
        self.call("exchange", b, None, |disk| disk.exchange(a, b))
    }
    fn link(&self, from: &str, to: &str) -> io::Result<()> {
        self.call("link", to, None, |disk| disk.link(from, to))
    }
    fn reflink(&self, from: &str, to: &str) -> io::Result<()> {
        self.call("link", to, None, |disk| disk.reflink(from, to))
    }
    fn remove(&self, path: &str) -> io::Result<()> {
        self.call("remove", path, None, |disk| disk.remove(path))
    }
    fn sync_dir(&self, dir: &str) -> io::Result<()> {
        self.call("flush", dir, None, |disk| disk.sync_dir(dir))
    }
    fn sync_all(&self) -> io::Result<()> {
        self.call("flush", "everything", None, Fs::sync_all)
    }
    fn lock(&self, mode: LockMode) -> io::Result<Option<Box<dyn Lock>>> {
        self.call("take", "lock", None, |disk| disk.lock(mode))
    }
    fn space(&self) -> io::Result<Space> {
        self.call("ask for room", "", None, Fs::space)
    }
    fn is_writable(&self) -> bool {
        self.disk.is_writable()
    }
    fn display(&self, path: &str) -> String {
        self.disk.display(path)
    }
}

struct FaultyFile {
    of: Faulty,
    path: String,
    file: Arc<dyn File>,
}

impl fmt::Debug for FaultyFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.file.fmt(f)
    }
}

impl FaultyFile {
    fn call<T>(
        &self,
        verb: &'static str,
        nothing: Option<T>,
        call: impl FnOnce(&dyn File) -> io::Result<T>,
    ) -> io::Result<T> {
        self.of.call(verb, &self.path, nothing, |_| call(&*self.file))
    }
}

impl File for FaultyFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.call("read", None, |file| file.read_at(buf, offset))
    }
    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        self.call("write", Some(0), |file| file.write_at(buf, offset))
    }
    fn sync_data(&self) -> io::Result<()> {
        self.call("flush", None, |file| file.sync_data())
    }
    fn write_back(&self) -> io::Result<()> {
        self.call("write back", None, |file| file.write_back())
    }
    fn set_modified(&self, modified_ns: i64) -> io::Result<()> {
        self.call("set time of", None, |file| file.set_modified(modified_ns))
    }
    fn stat(&self) -> io::Result<Stat> {
        self.call("stat", None, |file| file.stat())
    }
    fn has_writer(&self) -> io::Result<bool> {
        self.call("ask who writes to", None, |file| file.has_writer())
    }
}
