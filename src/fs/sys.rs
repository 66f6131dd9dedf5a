//! The one system call that has no safe wrapper: `sync_file_range`.
//!
//! Architecture invariant: this is the only module of the crate with unsafe code. It keeps no
//! state, takes no pointers and knows no path.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

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
