//! The log's writer: builds groups, writes, flushes, rotates, cuts. One thread at a time uses it.
//!
//! It never writes a block twice, never retries a failed write or flush (the first one poisons it for
//! good), and never says that something is durable which is not: `durable_lsn` moves only after a
//! flush that succeeded. It knows records as bytes and makes no threads; group commit is built on top.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use crate::base::{Error, Lsn, Result, Timestamp};
use crate::fs::replace::remove_if_any;
use crate::fs::{self, File, Fs, join};
use crate::wal::format::{
    BLOCK_BYTES, ENTRY_BYTES, GroupKind, Identity, SEGMENT_HEADER_BYTES, SegmentHeader,
    SegmentNumber, padded,
};
use crate::wal::group::{Draft, group_length};
use crate::wal::options::{LogOptions, LogStats};
use crate::wal::record::{RECORD_BYTES_MAX, Record};
use crate::wal::scan::{Join, Older, Scan};
use crate::wal::segment::{PreparedSegment, prepare_segment};

/// Every group of records leaves room behind it for a witness and a seal or close.
const RESERVED_BYTES: u64 = 2 * BLOCK_BYTES;
/// A buffer that a big group made larger is given back.
const BUFFER_BYTES_KEPT: usize = 4 << 20;
/// A reader may see the first group of a segment just before its flush, with LSNs above the ceiling
/// of the segment before; this keeps those from being given out again if the flush never comes.
const CEILING_SLACK: u64 = 1 << 16;

#[derive(Debug)]
struct Active {
    number: SegmentNumber,
    size_bytes: u64,
    file: Arc<dyn File>,
    offset: u64,
}

/// The log, open for writing.
///
/// ```
/// use std::sync::Arc;
/// use walden::fs::real::RealFs;
/// use walden::wal::{self, Hints, Identity, Log, LogOptions, Origin, Record};
/// use walden::{Lsn, StoreId, Timestamp};
///
/// let dir = tempfile::tempdir()?;
/// let fs: Arc<dyn walden::fs::Fs> = Arc::new(RealFs::open(dir.path())?);
/// let identity = Identity { store: StoreId(7), incarnation: 1, nonce: 42 };
///
/// let scan = wal::scan(&*fs, "", &Hints::default())?;
/// let mut log = Log::begin(fs.clone(), "", &scan, identity, LogOptions::default(), Timestamp(0))?;
/// log.append(&[Record::new(1, Origin::Api, b"hello".to_vec())], Timestamp(0))?;
/// assert_eq!(log.sync()?, Lsn(1), "now it is on the medium");
/// drop(log);
///
/// let scan = wal::scan(&*fs, "", &Hints::default())?;
/// let mut found = Vec::new();
/// scan.replay(&*fs, "", Lsn::ZERO, &mut |group| {
///     found.extend(group.records().iter().map(|record| record.payload.to_vec()));
///     Ok(())
/// })?;
/// assert_eq!(found, [b"hello"]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Log {
    fs: Arc<dyn Fs>,
    dir: String,
    identity: Identity,
    options: LogOptions,
    active: Active,
    older: VecDeque<Older>,
    prepared: Option<PreparedSegment>,
    next_number: SegmentNumber,
    preparing: bool,
    next_lsn: Lsn,
    last_lsn: Lsn,
    durable_lsn: Lsn,
    /// The last group of records, which the next segment's header names.
    join: Join,
    /// The checksum field of the last group of any kind.
    chain: u32,
    unflushed_bytes: u64,
    /// Whether the last group has records, so that a witness would vouch for something.
    unwitnessed: bool,
    unflushed_seals: Vec<Arc<dyn File>>,
    poison: Option<Error>,
    stats: LogStats,
    buffer: Vec<u8>,
}

impl Log {
    /// Begins a new incarnation behind what `scan` found: restates the unvouched tail in a new
    /// segment and flushes it. From then on everything else above the vouched LSN is void.
    ///
    /// # Errors
    /// `DiskFull` and `Io` leave the log as it was. `Invalid` if `identity` is not newer than every
    /// incarnation in the directory.
    pub fn begin(
        fs: Arc<dyn Fs>,
        dir: &str,
        scan: &Scan,
        identity: Identity,
        options: LogOptions,
        now: Timestamp,
    ) -> Result<Log> {
        if identity.incarnation <= scan.incarnation_max {
            let what = format!("incarnation {}", identity.incarnation);
            let why = format!("the log has seen incarnation {}", scan.incarnation_max);
            return Err(Error::invalid(what, why));
        }
        let tail = scan.read_tail(&*fs, dir)?;
        let number = scan.next_number;
        let need = SEGMENT_HEADER_BYTES + padded(group_length(&tail)) + RESERVED_BYTES;
        let segment = prepare_segment(&*fs, dir, number, options.segment_bytes_min.max(need))?;
        let PreparedSegment { size_bytes, file, .. } = segment;
        let mut log = Log {
            active: Active { number, size_bytes, file, offset: SEGMENT_HEADER_BYTES },
            older: scan.older().collect(),
            prepared: None,
            next_number: SegmentNumber(number.0 + 1),
            preparing: false,
            next_lsn: scan.next_lsn,
            last_lsn: scan.join.lsn,
            durable_lsn: scan.join.lsn,
            join: scan.join,
            chain: scan.join.crc,
            unflushed_bytes: 0,
            unwitnessed: false,
            unflushed_seals: Vec::new(),
            poison: None,
            stats: LogStats::default(),
            buffer: Vec::new(),
            fs,
            dir: dir.to_owned(),
            identity,
            options,
        };
        let mut header = log.header(true);
        header.restated_lsn = scan.join.lsn.plus(tail.len() as u64);
        log.write_group(GroupKind::Start, &tail, Some(&header), now)?;
        log.sync()?;
        // What is restated must not be restated again by an opening that finds nothing behind it.
        log.witness(now)?;
        Ok(log)
    }

    /// The LSN that the next record gets.
    pub fn next_lsn(&self) -> Lsn {
        self.next_lsn
    }

    /// The last LSN written, durable or not; of a log without records, the one before the first.
    pub fn last_lsn(&self) -> Lsn {
        self.last_lsn
    }

    /// The highest LSN known to be on the medium.
    pub fn durable_lsn(&self) -> Lsn {
        self.durable_lsn
    }

    /// Bytes written and not yet flushed.
    pub fn unflushed_bytes(&self) -> u64 {
        self.unflushed_bytes
    }

    /// Bytes of all segments, the active one with its whole size.
    pub fn size_bytes(&self) -> u64 {
        let older: u64 = self.older.iter().map(|segment| segment.size_bytes).sum();
        older + self.active.size_bytes + self.prepared.as_ref().map_or(0, |p| p.size_bytes)
    }

    /// The failure that closed the log to writes, if one did.
    pub fn poison(&self) -> Option<&Error> {
        self.poison.as_ref()
    }

    /// Whether a witness would vouch for something.
    pub fn wants_witness(&self) -> bool {
        self.poison.is_none() && self.unwitnessed && self.fits(RESERVED_BYTES)
    }

    /// What was done so far.
    pub fn stats(&self) -> LogStats {
        self.stats
    }

    /// Writes `records` as one group: all of them are there after a crash, or none. Durable after
    /// the next [`Log::sync`]; the first group of a segment is durable at once.
    ///
    /// # Errors
    /// `DiskFull` or `Io` from preparing a segment leave the log usable and the records unwritten.
    /// After any other failure the outcome is not known before the next opening, and every later
    /// call is answered `Poisoned`.
    pub fn append(&mut self, records: &[Record], now: Timestamp) -> Result<Lsn> {
        self.check()?;
        if let Some(record) = records.iter().find(|record| record.len() > RECORD_BYTES_MAX) {
            let why = format!("a record has at most {RECORD_BYTES_MAX} bytes");
            return Err(Error::invalid(format!("record of {} bytes", record.len()), why));
        }
        if u32::try_from(records.len()).is_err() {
            return Err(Error::invalid("group", format!("{} records are too many", records.len())));
        }
        let need = padded(group_length(records));
        if self.fits(need + RESERVED_BYTES) {
            self.write_group(GroupKind::Data, records, None, now)?;
        } else {
            self.rotate(records, need, now)?;
        }
        Ok(self.last_lsn)
    }

    /// Flushes what was written; gives the durable LSN.
    pub fn sync(&mut self) -> Result<Lsn> {
        self.check()?;
        if self.unflushed_bytes > 0 {
            if let Err(source) = self.active.file.sync_data() {
                return Err(self.poisoned_by("flush", source));
            }
            self.stats.flushes += 1;
            self.unflushed_bytes = 0;
        }
        self.durable_lsn = self.last_lsn;
        Ok(self.durable_lsn)
    }

    /// Writes and flushes a witness if the last group has records that nothing vouches for yet and
    /// there is room; says whether it did.
    pub fn witness(&mut self, now: Timestamp) -> Result<bool> {
        self.check()?;
        if !self.wants_witness() {
            return Ok(false);
        }
        self.sync()?;
        self.write_group(GroupKind::Witness, &[], None, now)?;
        self.sync()?;
        Ok(true)
    }

    /// Ends the log cleanly: a later scan knows that nothing is missing at its end.
    pub fn close(mut self, now: Timestamp) -> Result<()> {
        self.sync()?;
        self.sync_seals()?;
        if self.fits(BLOCK_BYTES) {
            self.write_group(GroupKind::Close, &[], None, now)?;
            self.sync()?;
        }
        match self.prepared.take() {
            Some(segment) => self.discard(&segment),
            None => Ok(()),
        }
    }

    /// The segment to be prepared now, beside the writer, with [`prepare_segment`]: its number and
    /// size. The caller owes an [`Log::install`] for it.
    pub fn begin_preparing(&mut self) -> Option<(SegmentNumber, u64)> {
        let half_full = self.active.offset >= self.active.size_bytes / 2;
        let wanted = half_full && !self.preparing && self.prepared.is_none();
        if !wanted || self.poison.is_some() {
            return None;
        }
        self.preparing = true;
        let number = self.next_number;
        self.next_number = SegmentNumber(number.0 + 1);
        Some((number, self.next_size_bytes()))
    }

    /// Takes the segment that [`Log::begin_preparing`] asked for, or the news that there is none;
    /// one that comes too late is removed.
    pub fn install(&mut self, segment: Option<PreparedSegment>) -> Result<()> {
        self.preparing = false;
        self.check()?;
        self.sync_seals()?;
        match segment {
            Some(late) if late.number < self.active.number => self.discard(&late),
            segment => {
                self.prepared = segment;
                Ok(())
            }
        }
    }

    /// Removes the segments all of whose records are at or below `lsn`, oldest first, but never the
    /// active one. Gives the number of bytes freed.
    pub fn remove_below(&mut self, lsn: Lsn) -> Result<u64> {
        self.check()?;
        let mut freed = 0;
        while let Some(oldest) = self.older.front().filter(|oldest| oldest.last_lsn <= lsn) {
            let path = join(&self.dir, &oldest.number.file_name());
            remove_if_any(&*self.fs, &path)?;
            freed += oldest.size_bytes;
            self.older.pop_front();
        }
        if freed > 0 {
            let synced = self.fs.sync_dir(&self.dir);
            synced.map_err(|source| Error::io("flush", self.fs.display(&self.dir), source))?;
        }
        Ok(freed)
    }

    fn check(&self) -> Result<()> {
        match &self.poison {
            Some(cause) => Err(Error::Poisoned { cause: Arc::new(cause.clone()) }),
            None => Ok(()),
        }
    }

    /// Latches the first failure; the only place that does.
    fn poisoned_by(&mut self, action: &'static str, source: io::Error) -> Error {
        let path = join(&self.dir, &self.active.number.file_name());
        let error = Error::io(action, self.fs.display(&path), source);
        self.poison.get_or_insert_with(|| error.clone());
        error
    }

    fn fits(&self, need: u64) -> bool {
        need <= self.active.size_bytes.saturating_sub(self.active.offset)
    }

    fn next_size_bytes(&self) -> u64 {
        let doubled = self.active.size_bytes.saturating_mul(2);
        doubled.min(self.options.segment_bytes_max).max(self.options.segment_bytes_min)
    }

    fn discard(&self, segment: &PreparedSegment) -> Result<()> {
        remove_if_any(&*self.fs, &join(&self.dir, &segment.number.file_name())).map(|_| ())
    }

    /// The header of the active segment, which follows the last group of records.
    fn header(&self, begins_incarnation: bool) -> SegmentHeader {
        SegmentHeader {
            identity: self.identity,
            begins_incarnation,
            number: self.active.number,
            size_bytes: self.active.size_bytes,
            next_lsn: self.next_lsn,
            // A record takes at least its entry in a table.
            ceiling: self
                .next_lsn
                .plus(self.active.size_bytes / ENTRY_BYTES as u64 + CEILING_SLACK),
            previous: self.join.segment,
            previous_end: self.join.end,
            previous_lsn: self.last_lsn,
            restated_lsn: self.last_lsn,
            chain: self.join.crc,
        }
    }

    /// Goes on in the next segment with `records` as its first group, durable when it returns.
    fn rotate(&mut self, records: &[Record], need: u64, now: Timestamp) -> Result<()> {
        self.sync()?;
        let need = SEGMENT_HEADER_BYTES + need + RESERVED_BYTES;
        let segment = match self.prepared.take() {
            Some(prepared) if prepared.size_bytes >= need => prepared,
            small => {
                if let Some(small) = small {
                    self.discard(&small)?;
                }
                let number = self.next_number;
                self.next_number = SegmentNumber(number.0 + 1);
                let size_bytes = self.next_size_bytes().max(need);
                prepare_segment(&*self.fs, &self.dir, number, size_bytes)?
            }
        };
        let PreparedSegment { number, size_bytes, file } = segment;
        let active = Active { number, size_bytes, file, offset: SEGMENT_HEADER_BYTES };
        let old = std::mem::replace(&mut self.active, active);
        let last_lsn = self.last_lsn;
        self.older.push_back(Older { number: old.number, size_bytes: old.size_bytes, last_lsn });
        let header = self.header(false);
        self.chain = header.chain;
        self.write_group(GroupKind::Data, records, Some(&header), now)?;
        self.sync()?;
        self.stats.rotations += 1;
        self.seal(old, now);
        Ok(())
    }

    /// Seals the segment before the active one, which is durable by now. A seal is not flushed here,
    /// and a failure to write it is the next caller's: the group that rotated is safe.
    fn seal(&mut self, old: Active, now: Timestamp) {
        let mut bytes = Vec::new();
        let mut draft = self.draft(GroupKind::Seal, &[], now);
        draft.next_segment = self.active.number;
        draft.encode(&self.identity, old.number, old.offset, &mut bytes);
        match fs::write_all_at(&*old.file, &bytes, old.offset) {
            Ok(()) => {
                self.stats.bytes += bytes.len() as u64;
                self.unflushed_seals.push(old.file);
            }
            Err(source) => {
                self.poisoned_by("seal the segment before", source);
            }
        }
    }

    fn sync_seals(&mut self) -> Result<()> {
        while let Some(file) = self.unflushed_seals.pop() {
            if let Err(source) = file.sync_data() {
                return Err(self.poisoned_by("flush the segment before", source));
            }
            self.stats.flushes += 1;
        }
        Ok(())
    }

    /// Writes one group to the active segment, behind the segment's header if that is given too.
    fn write_group(
        &mut self,
        kind: GroupKind,
        records: &[Record],
        header: Option<&SegmentHeader>,
        now: Timestamp,
    ) -> Result<()> {
        let mut bytes = std::mem::take(&mut self.buffer);
        bytes.clear();
        let mut write_at = self.active.offset;
        if let Some(header) = header {
            bytes.extend_from_slice(&header.encode());
            write_at = 0;
        }
        let Active { number, offset, .. } = self.active;
        let draft = self.draft(kind, records, now);
        let first_lsn = draft.first_lsn;
        self.chain = draft.encode(&self.identity, number, offset, &mut bytes);
        if let Err(source) = fs::write_all_at(&*self.active.file, &bytes, write_at) {
            return Err(self.poisoned_by("write to", source));
        }
        self.active.offset = write_at + bytes.len() as u64;
        self.unflushed_bytes += bytes.len() as u64;
        self.unwitnessed = !records.is_empty();
        self.stats.bytes += bytes.len() as u64;
        if !records.is_empty() {
            self.last_lsn = Lsn(first_lsn.plus(records.len() as u64).0 - 1);
            self.next_lsn = self.next_lsn.max(self.last_lsn.next());
            let end = self.active.offset;
            self.join = Join { segment: number, end, crc: self.chain, lsn: self.last_lsn };
            self.stats.groups += 1;
            self.stats.records += records.len() as u64;
        }
        bytes.shrink_to(BUFFER_BYTES_KEPT);
        self.buffer = bytes;
        Ok(())
    }

    fn draft<'a>(&self, kind: GroupKind, records: &'a [Record], now: Timestamp) -> Draft<'a> {
        // Only a start has records from before: they follow the last LSN that stands.
        let restates = kind == GroupKind::Start && !records.is_empty();
        Draft {
            kind,
            records,
            first_lsn: if restates { self.last_lsn.next() } else { self.next_lsn },
            durable_lsn: self.durable_lsn,
            chain: self.chain,
            next_segment: SegmentNumber(0),
            now,
        }
    }
}
