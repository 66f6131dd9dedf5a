//! The limit: what a group commit can do that does nothing but write and flush.
//!
//! The file is written with zeroes and flushed beforehand, as the store's segments are, so that a flush
//! writes no metadata. A group is laid out in whole blocks with the room that a header and a record table
//! would take, written once, and durable with that one call where the file system takes aligned
//! `O_DIRECT | O_DSYNC` writes, else with one `fdatasync` more. No checksum, no documents, no bounds.
//! One thread commits by itself; of several, each queues its bytes and parks, and a commit thread takes
//! all that is queued.
//!
//! It must stay the simplest thing that is durable: every engine is held against it. The benchmarks of the
//! crate and of its peers take this very file in by its path, so it imports nothing of this command.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::{self, JoinHandle, Thread};

use parking_lot::Mutex;

/// Alignment of direct writes: no device of today has larger sectors.
const BLOCK_BYTES: usize = 4096;
const HEADER_BYTES: usize = 64;
const ENTRY_BYTES: usize = 16;
const ZEROES_BYTES: usize = 1 << 20;
/// So often the commit thread steps back after a group; with many threads that gives larger groups.
const YIELDS: usize = 3;

/// How a group is made durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// One aligned write with `O_DIRECT | O_DSYNC`.
    Direct,
    /// One write and one `fdatasync`.
    Flush,
    /// One write, which is not made durable.
    Write,
}

/// What groups are committed to.
pub(crate) trait Sink: Send + 'static {
    /// Durable when it returns, if it is one that makes durable.
    fn commit(&mut self, group: &[Arc<[u8]>]) -> io::Result<()>;
}

/// A file that is written from its beginning to its end, again and again.
#[derive(Debug)]
pub(crate) struct Groups {
    file: File,
    way: Way,
    offset: usize,
    size_bytes: usize,
    group: Aligned,
}

impl Groups {
    /// A file of zeroes, written directly; plainly where the file system or the device refuses that.
    pub(crate) fn prewritten(path: &Path, size_bytes: usize) -> io::Result<Groups> {
        fill(path, size_bytes)?;
        match Groups::direct(path, size_bytes) {
            Some(groups) => Ok(groups),
            None => Groups::reopen(path, size_bytes, Way::Flush),
        }
    }

    /// A file of zeroes, written in the way that is named.
    pub(crate) fn plain(path: &Path, size_bytes: usize, way: Way) -> io::Result<Groups> {
        fill(path, size_bytes)?;
        Groups::reopen(path, size_bytes, way)
    }

    /// A new file, which grows with every group.
    pub(crate) fn growing(path: &Path) -> io::Result<Groups> {
        fill(path, 0)?;
        Groups::reopen(path, usize::MAX, Way::Flush)
    }

    pub(crate) fn way(&self) -> Way {
        self.way
    }

    fn reopen(path: &Path, size_bytes: usize, way: Way) -> io::Result<Groups> {
        let file = OpenOptions::new().write(true).open(path)?;
        Ok(Groups { file, way, offset: 0, size_bytes, group: Aligned::default() })
    }

    /// Whether it goes is found out by doing it: some refuse at opening, some at the first write.
    fn direct(path: &Path, size_bytes: usize) -> Option<Groups> {
        let file = open_direct(path).ok()?;
        let group = Aligned::default();
        let mut groups = Groups { file, way: Way::Direct, offset: 0, size_bytes, group };
        groups.commit(&[[0; 1]]).ok().map(|()| groups)
    }

    /// One write and what makes it durable.
    pub(crate) fn commit(&mut self, records: &[impl AsRef<[u8]>]) -> io::Result<()> {
        let records = records.iter().map(AsRef::as_ref);
        let length = self.group.lay_out(records, self.way != Way::Write);
        if self.offset + length > self.size_bytes {
            self.file.seek(SeekFrom::Start(0))?;
            self.offset = 0;
        }
        self.file.write_all(self.group.bytes())?;
        self.offset += length;
        if self.way == Way::Flush { self.file.sync_data() } else { Ok(()) }
    }

    /// A flush with nothing to write.
    pub(crate) fn flush(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}

impl Sink for Groups {
    fn commit(&mut self, group: &[Arc<[u8]>]) -> io::Result<()> {
        Groups::commit(self, group)
    }
}

/// Makes a file of zeroes, durable.
fn fill(path: &Path, size_bytes: usize) -> io::Result<()> {
    let mut file = OpenOptions::new().create_new(true).write(true).open(path)?;
    let zeroes = vec![0; ZEROES_BYTES];
    for _ in 0..size_bytes.div_ceil(zeroes.len()) {
        file.write_all(&zeroes)?;
    }
    file.sync_all()
}

#[cfg(target_os = "linux")]
fn open_direct(path: &Path) -> io::Result<File> {
    use rustix::fs::OFlags;
    use std::os::unix::fs::OpenOptionsExt;
    let flags = i32::try_from((OFlags::DIRECT | OFlags::DSYNC).bits()).map_err(io::Error::other)?;
    OpenOptions::new().write(true).custom_flags(flags).open(path)
}

#[cfg(not(target_os = "linux"))]
fn open_direct(_: &Path) -> io::Result<File> {
    Err(io::ErrorKind::Unsupported.into())
}

/// A buffer whose bytes begin on a block boundary of memory, as direct writes want it.
#[derive(Debug, Default)]
struct Aligned {
    memory: Vec<u8>,
    start: usize,
    length: usize,
}

impl Aligned {
    /// Header, table and records; filled up to whole blocks if `padded`. Gives its length.
    fn lay_out<'a>(
        &mut self,
        records: impl ExactSizeIterator<Item = &'a [u8]> + Clone,
        padded: bool,
    ) -> usize {
        let head = HEADER_BYTES + records.len() * ENTRY_BYTES;
        let bytes = head + records.clone().map(<[u8]>::len).sum::<usize>();
        self.length = if padded { bytes.next_multiple_of(BLOCK_BYTES) } else { bytes };
        if self.memory.len() < self.length + BLOCK_BYTES {
            self.memory = vec![0; (self.length + BLOCK_BYTES).next_power_of_two()];
            self.start = self.memory.as_ptr().align_offset(BLOCK_BYTES);
        }
        // The table's room is left as it was: what is in it does not matter to the disk.
        let mut rest = self.memory.get_mut(self.start + head..).unwrap_or_default();
        for record in records {
            let (place, behind) = rest.split_at_mut(record.len());
            place.copy_from_slice(record);
            rest = behind;
        }
        self.length
    }

    fn bytes(&self) -> &[u8] {
        self.memory.get(self.start..self.start + self.length).unwrap_or_default()
    }
}

/// One caller's place in the queue, kept from put to put.
#[derive(Debug)]
struct Slot {
    answered: AtomicBool,
    caller: Thread,
}

#[derive(Debug, Default)]
struct Waiting {
    records: Vec<Arc<[u8]>>,
    slots: Vec<Arc<Slot>>,
}

#[derive(Debug)]
struct Shared<S> {
    sink: Mutex<S>,
    waiting: Mutex<Waiting>,
    stopped: AtomicBool,
    failed: OnceLock<io::Error>,
}

/// Group commit, and nothing else: as plain in front of an engine as in front of a file.
#[derive(Debug)]
pub(crate) struct Limit<S = Groups> {
    shared: Arc<Shared<S>>,
    writer: Option<JoinHandle<()>>,
}

impl Limit<Groups> {
    pub(crate) fn way(&self) -> Way {
        self.shared.sink.lock().way()
    }
}

impl<S: Sink> Limit<S> {
    pub(crate) fn start(sink: S) -> Self {
        let shared = Arc::new(Shared {
            sink: Mutex::new(sink),
            waiting: Mutex::default(),
            stopped: AtomicBool::new(false),
            failed: OnceLock::new(),
        });
        let of_writer = shared.clone();
        let writer = Some(thread::spawn(move || run_writer(&of_writer)));
        Limit { shared, writer }
    }

    /// For the thread that calls it, and only for that one. One that is `alone` commits by itself.
    pub(crate) fn client(&self, alone: bool) -> Client<'_, S> {
        let slot = Slot { answered: AtomicBool::new(false), caller: thread::current() };
        Client { limit: self, slot: (!alone).then(|| Arc::new(slot)) }
    }
}

impl<S> Limit<S> {
    fn wake_writer(&self) {
        if let Some(writer) = &self.writer {
            writer.thread().unpark();
        }
    }
}

impl<S> Drop for Limit<S> {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::Release);
        self.wake_writer();
        if let Some(writer) = self.writer.take() {
            // A panic of that thread was told on stderr already.
            let _ = writer.join();
        }
    }
}

/// One thread's way to the limit.
#[derive(Debug)]
pub(crate) struct Client<'a, S = Groups> {
    limit: &'a Limit<S>,
    slot: Option<Arc<Slot>>,
}

impl<S: Sink> Client<'_, S> {
    /// Durable when it returns, if the way is one that makes durable.
    pub(crate) fn put(&self, record: &Arc<[u8]>) -> io::Result<()> {
        let shared = &self.limit.shared;
        let Some(slot) = &self.slot else {
            return shared.sink.lock().commit(std::slice::from_ref(record));
        };
        slot.answered.store(false, Ordering::Relaxed);
        let was_empty = {
            let mut waiting = shared.waiting.lock();
            waiting.records.push(record.clone());
            waiting.slots.push(slot.clone());
            waiting.slots.len() == 1
        };
        if was_empty {
            self.limit.wake_writer();
        }
        while !slot.answered.load(Ordering::Acquire) {
            thread::park();
        }
        match shared.failed.get() {
            Some(error) => Err(io::Error::new(error.kind(), error.to_string())),
            None => Ok(()),
        }
    }
}

fn run_writer<S: Sink>(shared: &Shared<S>) {
    let mut group = Waiting::default();
    loop {
        std::mem::swap(&mut group, &mut *shared.waiting.lock());
        if group.slots.is_empty() {
            if shared.stopped.load(Ordering::Acquire) {
                return;
            }
            thread::park();
            continue;
        }
        if let Err(error) = shared.sink.lock().commit(&group.records) {
            // The first one is told to all from now on.
            let _ = shared.failed.set(error);
        }
        group.records.clear();
        let count = group.slots.len();
        for slot in group.slots.drain(..) {
            slot.answered.store(true, Ordering::Release);
            slot.caller.unpark();
        }
        // Those who were woken get the chance to queue again: else they come in two halves, of which each
        // waits for the other's flush.
        for _ in 0..YIELDS {
            if shared.waiting.lock().slots.len() >= count {
                break;
            }
            thread::yield_now();
        }
    }
}
