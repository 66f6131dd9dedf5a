//! The log's writer: builds groups, writes, flushes, rotates, cuts. One thread at a time uses it.
//!
//! It never writes a block twice, never retries a failed write or flush (the first one poisons it for
//! good), and never says that something is durable which is not: `durable_lsn` moves only after a
//! flush that succeeded. It knows records as bytes and makes no threads; group commit is built on top.

use std::borrow::Borrow;
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use crate::base::{Error, Lsn, Result, Timestamp};
use crate::fs::{File, Fs, join};
use crate::wal::buffer::Buffer;
use crate::wal::format::{
    BLOCK_BYTES, GroupKind, Identity, NUMBER_MAX, SEGMENT_HEADER_BYTES, SegmentNumber, padded,
};
use crate::wal::group::group_length;
use crate::wal::options::{LogOptions, LogStats};
use crate::wal::record::Record;
use crate::wal::scan::{Join, Older, Scan};
use crate::wal::segment::{PreparedSegment, Spare, prepare_segment};

/// Every group of records leaves room behind it for a witness and a seal or close.
const RESERVED_BYTES: u64 = 2 * BLOCK_BYTES;
/// Of each segment so much, at most, is kept back for records that make room elsewhere.
const DELETES_BYTES_MAX: u64 = 256 << 10;
/// The part of a segment that is, below that.
const DELETES_PART: u64 = 8;
/// A reader may see the first group of a segment just before its flush, with LSNs above the ceiling
/// of the segment before; this keeps those from being given out again if the flush never comes.
const CEILING_SLACK: u64 = 1 << 16;

mod segments;
mod write;

#[derive(Debug)]
struct Active {
    number: SegmentNumber,
    size_bytes: u64,
    file: Arc<dyn File>,
    /// The same file past the page cache, where that can and may be.
    through: Option<Arc<dyn File>>,
    /// The segment that its file was before; 0 if none.
    former: SegmentNumber,
    offset: u64,
}

impl Active {
    fn new(prepared: PreparedSegment, direct: Option<bool>) -> Active {
        let PreparedSegment { number, size_bytes, former, file, through } = prepared;
        let through = through.filter(|_| direct != Some(false));
        Active { number, size_bytes, file, through, former, offset: SEGMENT_HEADER_BYTES }
    }

    /// The bytes that an end mark at `offset` takes: none where it has no use, or no room.
    fn end_mark_bytes(&self, offset: u64) -> u64 {
        let room = self.size_bytes.saturating_sub(offset);
        if self.former.0 > 0 { room.min(BLOCK_BYTES) } else { 0 }
    }
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
    /// Whether durable groups go past the page cache; not measured yet: they do, where they can.
    direct: Option<bool>,
    older: VecDeque<Older>,
    prepared: Option<PreparedSegment>,
    /// Cut segments, to be reused, and the one that is being made another.
    spares: Vec<Spare>,
    lent: Option<Spare>,
    /// The first segment of this opening, and what was done when the log was cut last.
    first_number: SegmentNumber,
    at_cut: LogStats,
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
    buffer: Buffer,
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
        if scan.store.is_some_and(|store| store != identity.store) {
            return Err(Error::invalid(
                format!("store {}", identity.store),
                "the log is another's",
            ));
        }
        let numbers = [scan.next_lsn.0, scan.next_number.0, identity.incarnation];
        if numbers.iter().any(|number| *number >= NUMBER_MAX / 2) {
            return Err(Error::invalid(fs.display(dir), "its numbers are used up, or were forged"));
        }
        let (first_lsn, tail) = scan.read_tail(&*fs, dir)?;
        let number = scan.next_number;
        let tail: Vec<&Record> = tail.iter().collect();
        let need = segment_for(padded(group_length(&tail)));
        let segment = prepare_segment(&*fs, dir, number, options.segment_bytes_min.max(need))?;
        let direct = (!options.direct).then_some(false);
        let mut log = Log {
            active: Active::new(segment, direct),
            direct,
            older: scan.older().collect(),
            prepared: None,
            spares: Vec::new(),
            lent: None,
            first_number: number,
            at_cut: LogStats::default(),
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
            buffer: Buffer::default(),
            fs,
            dir: dir.to_owned(),
            identity,
            options,
        };
        let mut header = log.header(true);
        let mut start = log.draft(GroupKind::Start, &tail, now);
        if !tail.is_empty() {
            // It keeps its LSNs, which may lie above some that were never used.
            start.first_lsn = first_lsn;
            header.restated_lsn = first_lsn.plus(tail.len() as u64 - 1);
        }
        log.write_group(&start, Some(&header), true)?;
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

    /// Bytes of all segments, the active one with its whole size, and of those kept to be reused.
    pub fn size_bytes(&self) -> u64 {
        let older: u64 = self.older.iter().map(|segment| segment.size_bytes).sum();
        let spares: u64 = self.spares.iter().map(|segment| segment.size_bytes).sum();
        older + spares + self.active.size_bytes + self.prepared.as_ref().map_or(0, |p| p.size_bytes)
    }

    /// The failure that closed the log to writes, if one did.
    pub fn poison(&self) -> Option<&Error> {
        self.poison.as_ref()
    }

    /// Closes the log to writes because of a failure elsewhere.
    pub(crate) fn give_up(&mut self, why: Error) {
        self.poison.get_or_insert(why);
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
    pub fn append<R: Borrow<Record>>(&mut self, records: &[R], now: Timestamp) -> Result<Lsn> {
        self.write(records, now, false)
    }

    /// Writes `records` as [`Log::append`] does, and flushes everything written: with one call to the disk
    /// where nothing else is to be flushed and [`LogOptions::direct`] has its way. Gives the durable LSN.
    ///
    /// # Errors
    /// As those of [`Log::append`].
    pub fn commit<R: Borrow<Record>>(&mut self, records: &[R], now: Timestamp) -> Result<Lsn> {
        self.write(records, now, true)?;
        self.sync()
    }

    /// Writes `records` as [`Log::append`] does, but into the part of the active segment that every
    /// other group leaves free: for records that make room elsewhere, once there was none for another
    /// segment. `None` if that part is used up; nothing was written then.
    pub fn append_to_reserve<R: Borrow<Record>>(
        &mut self,
        records: &[R],
        now: Timestamp,
    ) -> Result<Option<Lsn>> {
        self.check()?;
        let records: &[&Record] = &records.iter().map(Borrow::borrow).collect::<Vec<_>>();
        if !self.fits(padded(group_length(records)) + RESERVED_BYTES) {
            return Ok(None);
        }
        self.write_group(&self.draft(GroupKind::Data, records, now), None, false)?;
        Ok(Some(self.last_lsn))
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
        self.write_group(&self.draft(GroupKind::Witness, &[], now), None, true)?;
        self.sync()?;
        Ok(true)
    }

    /// Ends the log cleanly: a later scan knows that nothing is missing at its end.
    pub fn close(mut self, now: Timestamp) -> Result<()> {
        self.sync()?;
        self.sync_seals()?;
        if self.fits(BLOCK_BYTES) {
            self.write_group(&self.draft(GroupKind::Close, &[], now), None, true)?;
            self.sync()?;
        }
        self.free_spares()?;
        if let Some(spare) = self.lent.take() {
            spare.remove(&*self.fs, &self.dir)?;
        }
        match self.prepared.take() {
            Some(segment) => self.discard(&segment),
            None => Ok(()),
        }
    }

    fn check(&self) -> Result<()> {
        match &self.poison {
            Some(cause) => Err(Error::Poisoned { cause: Arc::new(cause.clone()) }),
            None => Ok(()),
        }
    }

    /// Latches the first failure; the only place that does. A full disk is no `DiskFull` here, which
    /// would say that nothing was written.
    fn poisoned_by(&mut self, action: &'static str, source: io::Error) -> Error {
        let path = join(&self.dir, &self.active.number.file_name());
        let path = self.fs.display(&path);
        let error = Error::Io { action, path, source: Arc::new(source) };
        self.poison.get_or_insert_with(|| error.clone());
        error
    }
}

/// What of a segment of this size is kept back for records that make room elsewhere.
fn kept_back(size_bytes: u64) -> u64 {
    let part = (size_bytes / DELETES_PART).min(DELETES_BYTES_MAX);
    part - part % BLOCK_BYTES
}

/// The size of a segment in which a group of so many bytes leaves free what every group must.
fn segment_for(group_bytes: u64) -> u64 {
    let used = SEGMENT_HEADER_BYTES + group_bytes + RESERVED_BYTES;
    used + (used / (DELETES_PART - 1)).min(DELETES_BYTES_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_made_for_a_group_leaves_free_what_every_group_must_and_no_block_more() {
        for group in (1..3000).map(|blocks| blocks * BLOCK_BYTES) {
            let used = SEGMENT_HEADER_BYTES + group + RESERVED_BYTES;
            let is_enough = |size_bytes| used + kept_back(size_bytes) <= size_bytes;
            let made = padded(segment_for(group));
            assert!(is_enough(made), "{group} bytes");
            assert!(!is_enough(made - 2 * BLOCK_BYTES), "{group} bytes in {made}");
        }
    }
}
