//! The limit: what a group commit can do that does nothing but write and flush.
//!
//! The file is written with zeroes and flushed beforehand, as the store's segments are, so that a
//! flush writes no metadata. One thread writes by itself. Of several, callers queue their bytes and wait,
//! each in a slot of its own; a writer thread takes all that is queued, lays it out in whole blocks with
//! the room that a header and a record table would take, makes it durable, and wakes the callers. No
//! checksum, no table of documents, no limits, no errors handled.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use parking_lot::{Condvar, Mutex};

const BLOCK_BYTES: usize = 4096;
const HEADER_BYTES: usize = 64;
const ENTRY_BYTES: usize = 16;

/// How a group is made durable.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// A write and a flush.
    Flush,
    /// One write past the page cache that is durable when it returns; where the file system refuses
    /// that, a write and a flush.
    Direct,
}

/// A file of zeroes that is overwritten from the beginning to the end, again and again.
pub(crate) struct Prewritten {
    file: File,
    way: Way,
    offset: usize,
    size_bytes: usize,
    group: Vec<u8>,
}

impl Prewritten {
    pub(crate) fn new(path: &Path, size_bytes: usize, way: Way) -> Prewritten {
        let mut file = OpenOptions::new().create_new(true).write(true).open(path).expect("a file");
        let zeroes = vec![0; 1 << 20];
        for _ in 0..size_bytes.div_ceil(zeroes.len()) {
            file.write_all(&zeroes).expect("room for the file");
        }
        file.sync_all().expect("the file can be flushed");
        let plain = Prewritten { file, way: Way::Flush, offset: 0, size_bytes, group: Vec::new() };
        if way == Way::Flush { plain } else { plain.direct(path) }
    }

    #[cfg(target_os = "linux")]
    fn direct(self, path: &Path) -> Prewritten {
        let flags = libc::O_DIRECT | libc::O_DSYNC;
        match OpenOptions::new().write(true).custom_flags(flags).open(path) {
            Ok(file) => Prewritten { file, way: Way::Direct, ..self },
            Err(_) => self,
        }
    }

    #[cfg(not(target_os = "linux"))]
    fn direct(self, _: &Path) -> Prewritten {
        self
    }

    /// Durable when it returns.
    pub(crate) fn commit<'a>(&mut self, records: impl ExactSizeIterator<Item = &'a [u8]>) {
        self.group.clear();
        // Such a write needs memory that lies on a block's boundary. Enough for any group is taken at once.
        self.group.reserve(1 << 20);
        let start = self.group.as_ptr().align_offset(BLOCK_BYTES);
        self.group.resize(start + HEADER_BYTES + records.len() * ENTRY_BYTES, 1);
        for record in records {
            self.group.extend_from_slice(record);
        }
        let length = (self.group.len() - start).next_multiple_of(BLOCK_BYTES);
        self.group.resize(start + length, 0);
        assert!(
            self.group[start..].as_ptr().align_offset(BLOCK_BYTES) == 0,
            "a group grew too large"
        );
        if self.offset + length > self.size_bytes {
            self.offset = 0;
        }
        let written = self.file.write_all_at(&self.group[start..], self.offset as u64);
        written.expect("the file can be written");
        if self.way == Way::Flush {
            self.file.sync_data().expect("the file can be flushed");
        }
        self.offset += length;
    }
}

#[derive(Default)]
struct Slot {
    done: Mutex<bool>,
    changed: Condvar,
}

#[derive(Default)]
struct Waiting {
    records: Vec<(Arc<[u8]>, Arc<Slot>)>,
    stopped: bool,
}

struct Queue {
    file: Mutex<Prewritten>,
    waiting: Mutex<Waiting>,
    work: Condvar,
}

/// Group commit, and nothing else.
pub(crate) struct Raw {
    queue: Arc<Queue>,
    writer: Option<JoinHandle<()>>,
}

impl Raw {
    pub(crate) fn start(file: Prewritten) -> Raw {
        let (waiting, work) = (Mutex::default(), Condvar::new());
        let queue = Arc::new(Queue { file: Mutex::new(file), waiting, work });
        let writer = thread::spawn({
            let queue = queue.clone();
            move || run_writer(&queue)
        });
        Raw { queue, writer: Some(writer) }
    }

    /// Durable when it returns, by the caller's own write; others must not put meanwhile.
    pub(crate) fn put_alone(&self, record: &Arc<[u8]>) {
        self.queue.file.lock().commit([&**record].into_iter());
    }

    /// Durable when it returns.
    pub(crate) fn put(&self, record: &Arc<[u8]>) {
        let slot = Arc::new(Slot::default());
        let was_empty = {
            let mut waiting = self.queue.waiting.lock();
            waiting.records.push((record.clone(), slot.clone()));
            waiting.records.len() == 1
        };
        if was_empty {
            self.queue.work.notify_one();
        }
        let mut done = slot.done.lock();
        while !*done {
            slot.changed.wait(&mut done);
        }
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        self.queue.waiting.lock().stopped = true;
        self.queue.work.notify_one();
        if let Some(writer) = self.writer.take() {
            writer.join().expect("the raw writer does not panic");
        }
    }
}

fn run_writer(queue: &Queue) {
    loop {
        let group = {
            let mut waiting = queue.waiting.lock();
            while waiting.records.is_empty() {
                if waiting.stopped {
                    return;
                }
                queue.work.wait(&mut waiting);
            }
            std::mem::take(&mut waiting.records)
        };
        queue.file.lock().commit(group.iter().map(|(record, _)| &**record));
        for (_, slot) in group {
            *slot.done.lock() = true;
            slot.changed.notify_one();
        }
    }
}
