//! The system calls that have no safe wrapper: `sync_file_range` and read leases.
//!
//! Architecture invariant: this is the only module of the crate with unsafe code. It keeps no
//! state, takes no pointers and knows no path.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// `F_SETSIG` of `asm-generic/fcntl.h`, which the `libc` crate does not name on every target.
const SET_SIGNAL: libc::c_int = 10;

/// Starts writing every dirty page of the file to its device and waits until the device has taken
/// them. Flushes neither the device's cache nor any metadata.
pub(super) fn write_back(file: BorrowedFd<'_>) -> io::Result<()> {
    let flags = libc::SYNC_FILE_RANGE_WAIT_BEFORE
        | libc::SYNC_FILE_RANGE_WRITE
        | libc::SYNC_FILE_RANGE_WAIT_AFTER;
    // SAFETY: the call takes a descriptor and three numbers, and touches no memory of this process.
    // The borrow keeps the descriptor open for as long as the call lasts. A count of 0 means up to
    // the end of the file.
    let result = unsafe { libc::sync_file_range(file.as_raw_fd(), 0, 0, flags) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Whether some descriptor, of whatever process, has the file open for writing, which is when the
/// kernel refuses a read lease. The lease is given back at once. Somebody who opens the file for
/// writing just meanwhile waits for that, and the signal that tells of it is one that is ignored by
/// default; the usual one would end the process.
pub(super) fn has_writer(file: BorrowedFd<'_>) -> io::Result<bool> {
    set(file, SET_SIGNAL, libc::SIGURG)?;
    match set(file, libc::F_SETLEASE, libc::F_RDLCK) {
        Ok(()) => set(file, libc::F_SETLEASE, libc::F_UNLCK).map(|()| false),
        Err(error) => match error.raw_os_error() {
            Some(libc::EAGAIN) => Ok(true),
            Some(libc::EACCES | libc::EINVAL | libc::ENOLCK) => {
                Err(io::Error::new(io::ErrorKind::Unsupported, error))
            }
            _ => Err(error),
        },
    }
}

/// `fcntl` with a number for its argument.
fn set(file: BorrowedFd<'_>, command: libc::c_int, argument: libc::c_int) -> io::Result<()> {
    // SAFETY: the commands given to this function take a number and touch no memory of this
    // process. The borrow keeps the descriptor open for as long as the call lasts.
    let result = unsafe { libc::fcntl(file.as_raw_fd(), command, argument) };
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
