//! The gate that every call to the simulated disk passes: it counts and records calls, and makes
//! the chosen ones fail.
//!
//! Invariants: after a crash no call gets through, and none is counted; a call that fails changes
//! nothing, but for a flush.

use std::fmt;
use std::io;

/// The kind of a call, to choose which one fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CallKind {
    /// Opening an existing file.
    Open,
    /// Creating a file.
    Create,
    /// Creating a directory.
    CreateDir,
    /// Reading from a file.
    Read,
    /// Writing to a file.
    Write,
    /// Making a file's contents durable.
    Sync,
    /// Handing a file's contents to the device.
    WriteBack,
    /// Making a directory's names durable.
    SyncDir,
    /// Making everything durable.
    SyncAll,
    /// Renaming or exchanging.
    Rename,
    /// Giving a second name, or making a file that shares another's blocks.
    Link,
    /// Removing a name.
    Remove,
    /// Listing a directory.
    List,
    /// Asking for a `stat`, by name or by handle.
    Stat,
    /// Setting a file's time of modification.
    SetModified,
    /// Asking whether a file is open for writing.
    Lease,
    /// Locking.
    Lock,
    /// Asking for free space.
    Space,
}

impl CallKind {
    /// Every kind.
    pub const ALL: [CallKind; 18] = [
        CallKind::Open,
        CallKind::Create,
        CallKind::CreateDir,
        CallKind::Read,
        CallKind::Write,
        CallKind::Sync,
        CallKind::WriteBack,
        CallKind::SyncDir,
        CallKind::SyncAll,
        CallKind::Rename,
        CallKind::Link,
        CallKind::Remove,
        CallKind::List,
        CallKind::Stat,
        CallKind::SetModified,
        CallKind::Lease,
        CallKind::Lock,
        CallKind::Space,
    ];
}

/// What happens at a chosen call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The machine stops before the call: it and every later one fail and change nothing.
    Crash,
    /// The call fails, once. Only a failing flush changes something: see
    /// [`AfterFailedSync`](super::AfterFailedSync).
    Error(io::ErrorKind),
    /// As `Error`, with the operating system's number (`5` is an I/O error on Linux).
    Errno(i32),
    /// The call, and every later one that is counted with it, fails.
    Sticky(io::ErrorKind),
    /// As `Sticky`, with the operating system's number.
    StickyErrno(i32),
    /// A read or write handles half of the bytes, and at least one; other calls are not affected.
    Short,
    /// A read or write handles at most so many bytes; 0 is a write that takes nothing, or a read
    /// that finds the end. Other calls are not affected.
    AtMost(usize),
    /// A flush answers that all is well, and makes nothing durable: what was unsynced stays so, and
    /// a later honest flush gets it. Other calls are not affected.
    Lie,
}

/// Which calls meet a fault: of one kind or of any, on one path or on any, from the nth on, so many
/// times.
///
/// ```
/// use walden::fs::sim::{CallKind, Fault, Plan, SimFs};
/// let disk = SimFs::new();
/// // From the second on, the next three writes to files in `wal/` take nothing.
/// disk.fail(Plan::new(Fault::AtMost(0)).kind(CallKind::Write).path("wal/").nth(2).times(3));
/// ```
#[derive(Clone, Debug)]
pub struct Plan {
    fault: Fault,
    kind: Option<CallKind>,
    path: Option<String>,
    /// Calls until it strikes; 1 is the next one, and so it stays while it strikes.
    left: u64,
    /// How often it still strikes; `None` is for ever.
    times: Option<u64>,
}

impl Plan {
    /// The fault strikes at the next call, whatever it is: for ever if it is a sticky one, else once.
    pub fn new(fault: Fault) -> Plan {
        let is_sticky = matches!(fault, Fault::Sticky(_) | Fault::StickyErrno(_));
        Plan { fault, kind: None, path: None, left: 1, times: (!is_sticky).then_some(1) }
    }

    /// Only calls of this kind are counted and struck.
    #[must_use]
    pub fn kind(mut self, kind: CallKind) -> Plan {
        self.kind = Some(kind);
        self
    }

    /// Only calls are counted and struck one of whose paths begins so: `wal/` means that directory
    /// and all in it, `/` the store's own directory alone. A handle's path is that by which it was
    /// opened. Locking, free space and the flush of everything have none.
    #[must_use]
    pub fn path(mut self, prefix: &str) -> Plan {
        self.path = Some(prefix.to_owned());
        self
    }

    /// It strikes first at the `nth` of these calls; 1 is the next one.
    #[must_use]
    pub fn nth(mut self, nth: u64) -> Plan {
        self.left = nth.max(1);
        self
    }

    /// It strikes at so many of these calls in a row; at least one.
    #[must_use]
    pub fn times(mut self, times: u64) -> Plan {
        self.times = Some(times.max(1));
        self
    }

    /// It never ceases to strike.
    #[must_use]
    pub fn for_ever(mut self) -> Plan {
        self.times = None;
        self
    }

    fn counts(&self, call: &Call<'_>) -> bool {
        let is_there = |prefix: &String| call.paths.iter().any(|path| path.is_under(prefix));
        self.kind.is_none_or(|kind| kind == call.kind) && self.path.as_ref().is_none_or(is_there)
    }

    /// Counts a call, and says whether it is struck.
    fn strikes(&mut self) -> bool {
        if self.left > 1 {
            self.left -= 1;
            return false;
        }
        self.times = self.times.map(|times| times.saturating_sub(1));
        true
    }
}

/// What a call is about.
#[derive(Clone, Copy, Debug)]
pub(super) enum Path<'a> {
    File(&'a str),
    Directory(&'a str),
}

impl Path<'_> {
    fn is_under(self, prefix: &str) -> bool {
        match self {
            Path::File(path) => path.starts_with(prefix),
            Path::Directory(dir) => match prefix.strip_suffix('/') {
                Some(prefix) => dir == prefix,
                None => dir.starts_with(prefix),
            },
        }
    }
}

/// A call, as it is told to the gate.
#[derive(Clone, Copy, Debug)]
pub(super) struct Call<'a> {
    pub(super) kind: CallKind,
    pub(super) verb: &'a str,
    pub(super) paths: &'a [Path<'a>],
    /// Offset and length of what is read or written.
    pub(super) range: Option<(u64, usize)>,
}

impl fmt::Display for Call<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.verb)?;
        for path in self.paths {
            match path {
                Path::File(path) => write!(f, " {path}")?,
                Path::Directory(dir) => write!(f, " {dir}/")?,
            }
        }
        self.range.map_or(Ok(()), |(offset, length)| write!(f, " {offset}+{length}"))
    }
}

/// How a call goes on that was let through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pass {
    Whole,
    Half,
    AtMost(usize),
    Lie,
}

impl Pass {
    /// How much of `count` bytes the call handles.
    pub(super) fn shortened(self, count: usize) -> usize {
        match self {
            Pass::Whole | Pass::Lie => count,
            Pass::Half => count.div_ceil(2),
            Pass::AtMost(most) => count.min(most),
        }
    }
}

/// Counts calls, keeps their trace, and decides which fail.
#[derive(Debug)]
pub(super) struct Gate {
    pub(super) calls: u64,
    pub(super) trace: Vec<String>,
    pub(super) is_traced: bool,
    pub(super) fired: u64,
    pub(super) stopped: bool,
    plans: Vec<Plan>,
}

impl Gate {
    pub(super) fn new(is_traced: bool) -> Gate {
        let (trace, plans) = (Vec::new(), Vec::new());
        Gate { calls: 0, trace, is_traced, fired: 0, stopped: false, plans }
    }

    pub(super) fn plan(&mut self, plan: Plan) {
        self.plans.push(plan);
    }

    pub(super) fn clear(&mut self) {
        self.plans.clear();
    }

    /// Lets a call through, or says how it fails.
    pub(super) fn pass(&mut self, call: Call<'_>) -> io::Result<Pass> {
        if self.stopped {
            return Err(stopped());
        }
        self.calls += 1;
        if self.is_traced {
            self.trace.push(call.to_string());
        }
        let Some(fault) = self.due(&call) else {
            return Ok(Pass::Whole);
        };
        self.fired += 1;
        match fault {
            Fault::Crash => {
                self.stopped = true;
                Err(stopped())
            }
            Fault::Error(error) | Fault::Sticky(error) => Err(error.into()),
            Fault::Errno(number) | Fault::StickyErrno(number) => {
                Err(io::Error::from_raw_os_error(number))
            }
            Fault::Short => Ok(Pass::Half),
            Fault::AtMost(bytes) => Ok(Pass::AtMost(bytes)),
            Fault::Lie => Ok(Pass::Lie),
        }
    }

    /// Counts the call against every plan, and returns the first fault that is due.
    fn due(&mut self, call: &Call<'_>) -> Option<Fault> {
        let mut due = None;
        self.plans.retain_mut(|plan| {
            if plan.counts(call) && plan.strikes() {
                due = due.or(Some(plan.fault));
            }
            plan.times != Some(0)
        });
        due
    }
}

fn stopped() -> io::Error {
    io::Error::other("the simulated machine has stopped")
}
