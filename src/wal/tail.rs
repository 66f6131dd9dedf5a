//! Reading on in a log that grows: a cursor that goes from group to group behind the writer.
//!
//! It keeps a place (segment, offset, checksum of the group before), so that what is new is all that it
//! reads; only at the end of a segment does it look for the one in which the log goes on, by their
//! headers, as the scan does: from the head back by "previous segment". It holds no file open and no
//! memory between two calls, so nothing is pinned, and a segment that was cut meanwhile is a gap.
//!
//! Invariants: it reads only; it gives nothing above the LSN that the caller knows to be durable; every
//! LSN is given at most once, also where a new incarnation restates it; of all others up to the durable
//! one that there were, it says that they are missing. It does not judge: that is the scan's part.

use std::fmt;
use std::io;
use std::sync::Arc;

use crate::base::{Error, Lsn, Result, StoreId};
use crate::fs::{Fs, Kind, join};
use crate::wal::format::{
    BLOCK_BYTES, GroupKind, HeaderBlock, SEGMENT_HEADER_BYTES, SegmentHeader, SegmentNumber,
};
use crate::wal::reader::{GroupRef, SegmentReader};
use crate::wal::record::RecordView;

/// What is new is mostly one small group.
const WINDOW_BYTES: u64 = 64 << 10;
/// A search through damaged bytes gives up once it has verified this many times the segment in vain.
const VAIN_MAX: u64 = 4;

/// What a [`Tail`] comes upon.
#[derive(Debug)]
pub enum Tailed<'a> {
    /// Records of one group, in order: whole transactions, but for what lies at or below the LSN from
    /// which the tail began.
    Group(&'a [RecordView<'a>]),
    /// What there was of these LSNs, both included, is not in the log any more. Some of them may never
    /// have been given out.
    Missing {
        /// The first.
        first: Lsn,
        /// The last.
        last: Lsn,
    },
}

/// A cursor in a log that somebody else writes, in this process or another.
///
/// ```
/// use std::sync::Arc;
/// use walden::fs::real::RealFs;
/// use walden::wal::{self, Hints, Identity, Log, LogOptions, Origin, Record, Tail, Tailed};
/// use walden::{Lsn, StoreId, Timestamp};
///
/// let dir = tempfile::tempdir()?;
/// let fs: Arc<dyn walden::fs::Fs> = Arc::new(RealFs::open(dir.path())?);
/// let identity = Identity { store: StoreId(7), incarnation: 1, nonce: 42 };
/// let scan = wal::scan(&*fs, "", &Hints::default())?;
/// let mut log = Log::begin(fs.clone(), "", &scan, identity, LogOptions::default(), Timestamp(0))?;
///
/// let mut tail = Tail::new(fs, "", Some(StoreId(7)), Lsn::ZERO);
/// log.append(&[Record::new(1, Origin::Api, b"hello".to_vec())], Timestamp(0))?;
/// let durable = log.sync()?;
/// let mut found = Vec::new();
/// tail.read(durable, u64::MAX, &mut |tailed| {
///     if let Tailed::Group(records) = tailed {
///         found.extend(records.iter().map(|record| record.payload.to_vec()));
///     }
///     Ok(())
/// })?;
/// assert_eq!((found, tail.passed()), (vec![b"hello".to_vec()], Lsn(1)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Tail {
    fs: Arc<dyn Fs>,
    dir: String,
    store: Option<StoreId>,
    passed: Lsn,
    place: Option<Place>,
}

/// Where the next group is expected.
#[derive(Clone, Copy, Debug)]
struct Place {
    header: SegmentHeader,
    offset: u64,
    /// Its first LSN.
    expected: Lsn,
    /// The checksum field of the group before it; `None` behind damage.
    chain: Option<u32>,
}

/// A place that can be read on from, and the LSN up to which there is nothing before it.
type Onward = (Place, Lsn);

impl Place {
    fn at_start(header: SegmentHeader) -> Self {
        let expected = if header.restates() { header.previous_lsn.next() } else { header.next_lsn };
        Place { header, offset: SEGMENT_HEADER_BYTES, expected, chain: Some(header.chain) }
    }

    fn is_next(&self, group: &GroupRef) -> bool {
        let is_restating = self.offset == SEGMENT_HEADER_BYTES && self.header.restates();
        let first = group.header.first_lsn;
        self.chain.is_none_or(|crc| crc == group.header.chain)
            && (first == self.expected || (is_restating && first > self.expected))
    }

    fn pass(&mut self, group: &GroupRef) {
        self.offset = group.end;
        self.chain = Some(group.crc);
        self.expected = match group.header.kind {
            GroupKind::Start => self.header.next_lsn,
            _ => group.last_lsn.next(),
        };
    }
}

impl Tail {
    /// A tail of the log in `dir` that gives what lies above `after`. Without `store`, the log is that of
    /// the newest segment.
    pub fn new(fs: Arc<dyn Fs>, dir: &str, store: Option<StoreId>, after: Lsn) -> Tail {
        Tail { fs, dir: dir.to_owned(), store, passed: after, place: None }
    }

    /// The LSN up to which everything was given, or told to be missing.
    pub fn passed(&self) -> Lsn {
        self.passed
    }

    /// Calls `visit` with what is new up to `durable`, which must be known to be on the medium, in
    /// order; it stops behind the group with which it has read `bytes_max`.
    ///
    /// # Errors
    /// What the operating system refuses, and what `visit` answers; the same is tried again by the next
    /// call. Damage is no error: see [`Tailed::Missing`].
    pub fn read(
        &mut self,
        durable: Lsn,
        bytes_max: u64,
        visit: &mut dyn FnMut(Tailed<'_>) -> Result<()>,
    ) -> Result<()> {
        let mut bytes = 0;
        while self.passed < durable && bytes < bytes_max {
            let Some((reader, place)) = self.open()? else {
                match self.onward(true)? {
                    Some(onward) => self.go_on(onward, durable, visit)?,
                    None => return self.miss(durable, visit),
                }
                continue;
            };
            if !self.groups((reader, place), durable, bytes_max, &mut bytes, visit)? {
                return Ok(());
            }
            if self.passed >= durable || bytes >= bytes_max {
                return Ok(());
            }
            match self.onward(true)? {
                Some(onward) => self.go_on(onward, durable, visit)?,
                None => return self.miss(durable, visit),
            }
        }
        Ok(())
    }

    /// The highest LSN that what is in the log from here on says to be on the medium: for a reader whom
    /// the writer does not tell. It lags behind the writer by one group, until that rests.
    pub fn vouched(&self) -> Result<Lsn> {
        let mut scout = self.clone();
        let mut vouched = Lsn::ZERO;
        loop {
            if let Some((mut reader, mut place)) = scout.open()? {
                while let Some(group) = scout.group(&mut reader, &place)? {
                    vouched = vouched.max(group.header.durable_lsn);
                    if !place.is_next(&group) {
                        break;
                    }
                    place.pass(&group);
                    scout.passed = scout.passed.max(group.last_lsn);
                }
                scout.place = Some(place);
            }
            match scout.onward(false)? {
                Some((place, before)) => {
                    vouched = vouched.max(place.header.previous_lsn);
                    scout.passed = scout.passed.max(before);
                    scout.place = Some(place);
                }
                None => return Ok(vouched),
            }
        }
    }

    /// Gives the groups that follow each other from a place; says whether it stopped where none follows,
    /// and not at one that is not durable.
    fn groups(
        &mut self,
        (mut reader, mut place): (SegmentReader, Place),
        durable: Lsn,
        bytes_max: u64,
        bytes: &mut u64,
        visit: &mut dyn FnMut(Tailed<'_>) -> Result<()>,
    ) -> Result<bool> {
        while *bytes < bytes_max && self.passed < durable {
            let group = self.group(&mut reader, &place)?;
            let Some(group) = group.filter(|group| place.is_next(group)) else { return Ok(true) };
            if group.has_records() && group.last_lsn > durable {
                return Ok(false);
            }
            if group.has_records() && group.last_lsn > self.passed {
                self.give(&mut reader, &place, &group, visit)?;
                self.passed = group.last_lsn;
                *bytes = bytes.saturating_add(group.header.length);
            }
            place.pass(&group);
            self.place = Some(place);
        }
        Ok(true)
    }

    fn give(
        &self,
        reader: &mut SegmentReader,
        place: &Place,
        group: &GroupRef,
        visit: &mut dyn FnMut(Tailed<'_>) -> Result<()>,
    ) -> Result<()> {
        let read = reader.records(group, |records| {
            let known = records.partition_point(|record| record.lsn <= self.passed);
            visit(Tailed::Group(records.get(known..).unwrap_or_default()))
        });
        let path = self.path(place.header.number);
        read.map_err(|source| Error::io("read", self.fs.display(&path), source))?
            .map_err(|why| Error::corrupt(self.fs.display(&path), group.offset, why))?
    }

    fn miss(&mut self, last: Lsn, visit: &mut dyn FnMut(Tailed<'_>) -> Result<()>) -> Result<()> {
        if last > self.passed {
            visit(Tailed::Missing { first: self.passed.next(), last })?;
            self.passed = last;
        }
        Ok(())
    }

    /// Goes on at a place; what there is not before it is missing, as far as it was durable.
    fn go_on(
        &mut self,
        (place, before): Onward,
        durable: Lsn,
        visit: &mut dyn FnMut(Tailed<'_>) -> Result<()>,
    ) -> Result<()> {
        self.miss(before.min(durable), visit)?;
        self.place = Some(place);
        Ok(())
    }

    /// The segment of the present place, if it is still there and the same.
    fn open(&self) -> Result<Option<(SegmentReader, Place)>> {
        let Some(place) = self.place else { return Ok(None) };
        let number = place.header.number;
        let opened = self.open_segment(number)?;
        Ok(opened.filter(|(_, header)| *header == place.header).map(|(reader, _)| (reader, place)))
    }

    /// A segment with a header of this log; `None` if there is none, or it says nothing.
    fn open_segment(
        &self,
        number: SegmentNumber,
    ) -> Result<Option<(SegmentReader, SegmentHeader)>> {
        let path = self.path(number);
        let opened = SegmentReader::with_window(&*self.fs, &path, WINDOW_BYTES)
            .and_then(|mut reader| reader.header_block(number).map(|block| (reader, block)));
        match opened {
            Ok((reader, HeaderBlock::Read { header, .. })) => {
                let is_ours = self.store.is_none_or(|store| store == header.identity.store);
                Ok((header.number == number && is_ours).then_some((reader, header)))
            }
            Ok((_, HeaderBlock::Newer(why))) => {
                let why = format!("{why}; use the newer Walden that wrote it");
                Err(Error::Unsupported { what: self.fs.display(&path), why })
            }
            Ok((_, HeaderBlock::Zero(_) | HeaderBlock::Marked(_) | HeaderBlock::Unreadable(_))) => {
                Ok(None)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(Error::io("read", self.fs.display(&path), source)),
        }
    }

    fn path(&self, number: SegmentNumber) -> String {
        join(&self.dir, &number.file_name())
    }

    /// The intact group at a place.
    fn group(&self, reader: &mut SegmentReader, place: &Place) -> Result<Option<GroupRef>> {
        self.group_at(reader, &place.header, place.offset)
    }

    fn group_at(
        &self,
        reader: &mut SegmentReader,
        header: &SegmentHeader,
        offset: u64,
    ) -> Result<Option<GroupRef>> {
        let group = reader.group(offset, header.number, &header.identity);
        let failed = |source| Error::io("read", self.fs.display(&self.path(header.number)), source);
        Ok(group.map_err(failed)?.ok())
    }

    /// The first intact group from `from` on that begins before `end`.
    fn find(
        &self,
        reader: &mut SegmentReader,
        header: &SegmentHeader,
        from: u64,
        end: u64,
    ) -> Result<Option<GroupRef>> {
        let most = header.size_bytes.saturating_mul(VAIN_MAX);
        let mut offset = from;
        while offset < end.min(header.size_bytes) && reader.verified_bytes() < most {
            if let Some(group) = self.group_at(reader, header, offset)? {
                return Ok(Some(group));
            }
            offset += BLOCK_BYTES;
        }
        Ok(None)
    }

    /// Where the log goes on behind the present place, at which no group follows. `searches_head`: also
    /// behind damage in the segment that is written, which costs a search to its end.
    fn onward(&self, searches_head: bool) -> Result<Option<Onward>> {
        let chain = self.chain()?;
        let mut newer_last = chain.iter().rev();
        let Some(header) = newer_last.next() else { return Ok(None) };
        let own = self.place.filter(|place| place.header == *header);
        let Some(place) = own else {
            return Ok(Some((Place::at_start(*header), header.previous_lsn)));
        };
        let follower = newer_last.next();
        if (follower.is_some() || searches_head)
            && let Some((mut reader, header)) = self.open_segment(header.number)?
        {
            let end = follower.map_or(u64::MAX, |follower| follower.previous_end);
            if let Some(group) = self.find(&mut reader, &header, place.offset + BLOCK_BYTES, end)? {
                let first = group.header.first_lsn;
                let behind_start =
                    place.expected <= header.restated_lsn && first == header.next_lsn;
                let below =
                    if behind_start { header.restated_lsn } else { Lsn(first.0.saturating_sub(1)) };
                let found = Place { header, offset: group.offset, expected: first, chain: None };
                return Ok(Some((found, below)));
            }
        }
        Ok(follower.map(|header| (Place::at_start(*header), header.previous_lsn)))
    }

    /// The headers of the log from its head, newest first, back to the segment that holds what follows the
    /// last LSN passed, or to the oldest that is there.
    fn chain(&self) -> Result<Vec<SegmentHeader>> {
        let entries = match self.fs.list(&self.dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(source) => return Err(Error::io("list", self.fs.display(&self.dir), source)),
        };
        let files = entries.into_iter().filter(|entry| entry.kind == Kind::File);
        let mut numbers: Vec<SegmentNumber> = files
            .filter_map(|entry| SegmentNumber::parse(&entry.name))
            .filter(|number| number.is_usable())
            .collect();
        numbers.sort_unstable_by(|a, b| b.cmp(a));
        let mut chain = Vec::new();
        for number in numbers {
            let Some((mut reader, header)) = self.open_segment(number)? else { continue };
            if self.find(&mut reader, &header, SEGMENT_HEADER_BYTES, u64::MAX)?.is_some() {
                chain.push(header);
                break;
            }
        }
        let goes_on = |last: &&SegmentHeader| last.is_joined() && last.previous_lsn > self.passed;
        while let Some(newest) = chain.last().filter(goes_on) {
            let previous = newest.previous;
            match self.open_segment(previous)? {
                Some((_, header)) => chain.push(header),
                None => break,
            }
        }
        Ok(chain)
    }
}

impl fmt::Debug for Tail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Tail { dir, passed, place, .. } = self;
        f.debug_struct("Tail")
            .field("dir", dir)
            .field("passed", passed)
            .field("place", place)
            .finish_non_exhaustive()
    }
}
