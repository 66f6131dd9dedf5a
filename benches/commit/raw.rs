//! The limit: what a group commit can do that does nothing but write and flush.
//!
//! The file is written with zeroes and flushed beforehand, as the store's segments are, so that a
//! flush writes no metadata. Callers queue their bytes and wait, each in a slot of its own; a writer
//! thread takes all that is queued, lays it out in whole blocks with the room that a header and a
//! record table would take, writes once, flushes once, and wakes the callers. No checksum, no table
//! of documents, no limits, no errors handled.

use std::fs::{File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use parking_lot::{Condvar, Mutex};

const BLOCK_BYTES: usize = 4096;
const HEADER_BYTES: usize = 64;
const ENTRY_BYTES: usize = 16;

/// A file of zeroes that is overwritten from the beginning to the end, again and again.
pub(crate) struct Prewritten {
    file: File,
    offset: usize,
    size_bytes: usize,
    group: Vec<u8>,
}

impl Prewritten {
    pub(crate) fn new(path: &Path, size_bytes: usize) -> Prewritten {
        let mut file = OpenOptions::new().create_new(true).write(true).open(path).expect("a file");
        let zeroes = vec![0; 1 << 20];
        for _ in 0..size_bytes.div_ceil(zeroes.len()) {
            file.write_all(&zeroes).expect("room for the file");
        }
        file.sync_all().expect("the file can be flushed");
        file.rewind().expect("a file has a beginning");
        Prewritten { file, offset: 0, size_bytes, group: Vec::new() }
    }

    /// One write and one flush.
    pub(crate) fn commit<'a>(&mut self, records: impl ExactSizeIterator<Item = &'a [u8]>) {
        self.group.clear();
        self.group.resize(HEADER_BYTES + records.len() * ENTRY_BYTES, 1);
        for record in records {
            self.group.extend_from_slice(record);
        }
        self.group.resize(self.group.len().next_multiple_of(BLOCK_BYTES), 0);
        if self.offset + self.group.len() > self.size_bytes {
            self.file.seek(SeekFrom::Start(0)).expect("a file has a beginning");
            self.offset = 0;
        }
        self.file.write_all(&self.group).expect("the file can be written");
        self.file.sync_data().expect("the file can be flushed");
        self.offset += self.group.len();
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

#[derive(Default)]
struct Queue {
    waiting: Mutex<Waiting>,
    work: Condvar,
}

/// Group commit by a writer thread, and nothing else.
pub(crate) struct Raw {
    queue: Arc<Queue>,
    writer: Option<JoinHandle<()>>,
}

impl Raw {
    pub(crate) fn start(file: Prewritten) -> Raw {
        let queue = Arc::new(Queue::default());
        let writer = thread::spawn({
            let queue = queue.clone();
            move || run_writer(&queue, file)
        });
        Raw { queue, writer: Some(writer) }
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

fn run_writer(queue: &Queue, mut file: Prewritten) {
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
        file.commit(group.iter().map(|(record, _)| &**record));
        for (_, slot) in group {
            *slot.done.lock() = true;
            slot.changed.notify_one();
        }
    }
}
