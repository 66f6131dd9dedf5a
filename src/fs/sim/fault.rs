//! The gate that every call to the simulated disk passes: it counts and records calls, and makes
//! the chosen ones fail.
//!
//! Invariant: after a crash no call gets through, and none is counted.

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

/// What happens at a chosen call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The machine stops before the call: it and every later one fail and change nothing.
    Crash,
    /// The call fails, once. Only a failing sync changes something: what was unsynced stays
    /// readable and is never made durable, unless it is written again.
    Error(io::ErrorKind),
    /// As `Error`, with the operating system's number (`5` is an I/O error on Linux).
    Errno(i32),
    /// The call, and every later one that is counted with it, fails.
    Sticky(io::ErrorKind),
    /// A read or write handles half of the bytes, and at least one; other calls are not affected.
    Short,
}

#[derive(Clone, Debug)]
struct Planned {
    /// `None`: every call counts.
    kind: Option<CallKind>,
    /// Calls until it strikes; 0 once a sticky one has struck.
    left: u64,
    fault: Fault,
}

/// How a call goes on that was let through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pass {
    Whole,
    Short,
}

/// Counts calls, keeps their trace, and decides which fail.
#[derive(Debug, Default)]
pub(super) struct Gate {
    pub(super) trace: Vec<String>,
    pub(super) fired: u64,
    pub(super) stopped: bool,
    planned: Vec<Planned>,
}

impl Gate {
    /// Plans a fault for the `nth` call of that kind (or of any) from now; 1 is the next one.
    pub(super) fn plan(&mut self, kind: Option<CallKind>, nth: u64, fault: Fault) {
        self.planned.push(Planned { kind, left: nth.max(1), fault });
    }

    pub(super) fn clear(&mut self) {
        self.planned.clear();
    }

    /// Lets a call through, or says how it fails.
    pub(super) fn pass(&mut self, kind: CallKind, text: String) -> io::Result<Pass> {
        if self.stopped {
            return Err(stopped());
        }
        self.trace.push(text);
        let Some(fault) = self.due(kind) else {
            return Ok(Pass::Whole);
        };
        self.fired += 1;
        match fault {
            Fault::Crash => {
                self.stopped = true;
                Err(stopped())
            }
            Fault::Error(error) | Fault::Sticky(error) => Err(error.into()),
            Fault::Errno(number) => Err(io::Error::from_raw_os_error(number)),
            Fault::Short => Ok(Pass::Short),
        }
    }

    /// Counts the call against every plan, and returns the first fault that is due.
    fn due(&mut self, kind: CallKind) -> Option<Fault> {
        let mut due = None;
        self.planned.retain_mut(|planned| {
            if planned.kind.is_some_and(|wanted| wanted != kind) {
                return true;
            }
            planned.left = planned.left.saturating_sub(1);
            if planned.left > 0 {
                return true;
            }
            due = due.or(Some(planned.fault));
            matches!(planned.fault, Fault::Sticky(_))
        });
        due
    }
}

fn stopped() -> io::Error {
    io::Error::other("the simulated machine has stopped")
}
