//! The log's segments: preparing the next, going on in it, sealing the one before, cutting the oldest, which
//! may be reused.
//!
//! A segment is left only once everything in it is durable, and sealed only once the first group of
//! the next is; so a seal never promises what is not there.

use std::io::ErrorKind;

use super::{Active, CEILING_SLACK, Log, segment_for};
use crate::base::{Error, Lsn, Result, Timestamp};
use crate::fs::replace::remove_if_any;
use crate::fs::{self, join};
use crate::wal::format::{ENTRY_BYTES, GroupKind, SegmentHeader, SegmentNumber, usize_of};
use crate::wal::record::Record;
use crate::wal::scan::Older;
use crate::wal::segment::{Preparation, PreparedSegment, Spare};

/// So many segments in a row may bear numbers of the log and be somebody else's.
const ATTEMPTS_MAX: u32 = 100;
/// At most so many cut segments are kept.
const SPARES_MAX: usize = 4;

impl Log {
    /// Prepares a segment on the writer's own thread, passing over numbers that are taken by files
    /// which are not the log's.
    fn prepare_now(&mut self, size_bytes: u64) -> Result<PreparedSegment> {
        let mut attempts = 0;
        loop {
            let number = self.next_number;
            self.next_number = SegmentNumber(number.0.saturating_add(1));
            attempts += 1;
            let spare = self.take_spare(number, size_bytes);
            let mut preparation = Preparation { number, size_bytes, spare, is_measured: false };
            match preparation.prepare(&*self.fs, &self.dir) {
                Err(Error::Io { source, .. })
                    if source.kind() == ErrorKind::AlreadyExists && attempts < ATTEMPTS_MAX => {}
                made => return made,
            }
        }
    }

    /// The segment to be prepared now, beside the writer. The caller owes an [`Log::install`] for it.
    pub fn begin_preparing(&mut self) -> Option<Preparation> {
        let half_full = self.active.offset >= self.active.size_bytes / 2;
        let wanted = half_full && !self.preparing && self.prepared.is_none();
        if !wanted || self.poison.is_some() {
            return None;
        }
        self.preparing = true;
        let number = self.next_number;
        self.next_number = SegmentNumber(number.0 + 1);
        let size_bytes = self.next_size_bytes();
        self.lent = self.take_spare(number, size_bytes);
        let is_measured = self.direct.is_none();
        Some(Preparation { number, size_bytes, spare: self.lent, is_measured })
    }

    /// A segment of so many bytes, or more, to be reused as `number`. Numbers that differ in more than 32
    /// bits could give equal seeds.
    fn take_spare(&mut self, number: SegmentNumber, size_bytes: u64) -> Option<Spare> {
        let is_fit = |spare: &Spare| {
            spare.size_bytes >= size_bytes && (spare.number.0 ^ number.0) >> 32 == 0
        };
        let fits = self.spares.iter().position(is_fit)?;
        Some(self.spares.remove(fits))
    }

    /// Takes the segment that [`Log::begin_preparing`] asked for, or the news that there is none;
    /// one that comes too late is removed.
    pub fn install(&mut self, segment: Option<PreparedSegment>) -> Result<()> {
        self.preparing = false;
        self.lent = None;
        self.check()?;
        self.sync_seals()?;
        match segment {
            Some(late) if late.number < self.active.number => self.discard(&late),
            segment => {
                if let (None, Some(segment)) = (self.direct, &segment) {
                    self.direct = Some(segment.through.is_some());
                }
                self.prepared = segment;
                Ok(())
            }
        }
    }

    /// Whether [`Log::remove_below`] would remove anything.
    pub fn can_remove_below(&self, lsn: Lsn) -> bool {
        self.older.front().is_some_and(|oldest| oldest.last_lsn <= lsn)
    }

    /// Removes the segments all of whose records are at or below `lsn`, oldest first, but never the
    /// active one; or keeps them to be reused, as many as were begun since the cut before, if that pays.
    /// Gives the number of bytes that the log has less.
    pub fn remove_below(&mut self, lsn: Lsn) -> Result<u64> {
        self.check()?;
        if !self.can_remove_below(lsn) {
            return Ok(0);
        }
        let size_before = self.size_bytes();
        let wanted = self.spares_wanted();
        self.drop_spares(wanted)?;
        let mut kept = Vec::new();
        if let Err(error) = self.cut(lsn, wanted, &mut kept) {
            // A crash could bring an old name back: nothing may be written over such a file.
            for spare in kept {
                if let Err(error) = spare.remove(&*self.fs, &self.dir) {
                    tracing::warn!(%error, "a segment that was cut stays until the next opening");
                }
            }
            return Err(error);
        }
        self.spares.append(&mut kept);
        self.at_cut = self.stats;
        Ok(size_before.saturating_sub(self.size_bytes()))
    }

    /// Takes the names of the segments below `lsn`, durably; those that join the `wanted` spares are
    /// added to `kept`.
    fn cut(&mut self, lsn: Lsn, wanted: usize, kept: &mut Vec<Spare>) -> Result<()> {
        let sizes = self.next_size_bytes()..=self.options.segment_bytes_max;
        while let Some(oldest) = self.older.front().filter(|oldest| oldest.last_lsn <= lsn) {
            let Older { number, size_bytes, .. } = *oldest;
            let path = join(&self.dir, &number.file_name());
            let is_fit = number >= self.first_number && sizes.contains(&size_bytes);
            let spare = Spare { identity: self.identity, number, size_bytes };
            let may_stay = is_fit && self.spares.len() + kept.len() < wanted;
            if may_stay && self.fs.rename_new(&path, &join(&self.dir, &spare.name())).is_ok() {
                kept.push(spare);
            } else {
                remove_if_any(&*self.fs, &path)?;
            }
            self.older.pop_front();
        }
        let synced = self.fs.sync_dir(&self.dir);
        synced.map_err(|source| Error::io("flush", self.fs.display(&self.dir), source))
    }

    /// How many segments are worth keeping: what was used since the last cut, if its groups were large.
    fn spares_wanted(&self) -> usize {
        let groups = self.stats.groups - self.at_cut.groups;
        let bytes = self.stats.bytes - self.at_cut.bytes;
        let pays = bytes >= groups.saturating_mul(self.options.reuse_group_bytes);
        let begun = usize_of(self.stats.rotations - self.at_cut.rotations);
        if pays { begun.min(SPARES_MAX) } else { 0 }
    }

    /// Removes segments kept to be reused, but for so many.
    fn drop_spares(&mut self, but: usize) -> Result<()> {
        while self.spares.len() > but
            && let Some(spare) = self.spares.pop()
        {
            spare.remove(&*self.fs, &self.dir)?;
        }
        Ok(())
    }

    pub(super) fn fits(&self, need: u64) -> bool {
        need <= self.active.size_bytes.saturating_sub(self.active.offset)
    }

    fn next_size_bytes(&self) -> u64 {
        let doubled = self.active.size_bytes.saturating_mul(2);
        doubled.min(self.options.segment_bytes_max).max(self.options.segment_bytes_min)
    }

    /// Gives back the room of all segments that are kept to be reused; says whether there were any.
    pub(crate) fn free_spares(&mut self) -> Result<bool> {
        let any = !self.spares.is_empty();
        self.drop_spares(0).map(|()| any)
    }

    pub(super) fn discard(&self, segment: &PreparedSegment) -> Result<()> {
        remove_if_any(&*self.fs, &join(&self.dir, &segment.number.file_name())).map(|_| ())
    }

    /// The header of the active segment, which follows the last group of records.
    pub(super) fn header(&self, begins_incarnation: bool) -> SegmentHeader {
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
            former: self.active.former,
        }
    }

    /// Goes on in the next segment with `records` as its first group, durable when it returns.
    pub(super) fn rotate(&mut self, records: &[&Record], need: u64, now: Timestamp) -> Result<()> {
        self.sync()?;
        let last = self.chain;
        let need = segment_for(need);
        let segment = match self.prepared.take() {
            Some(prepared) if prepared.size_bytes >= need => prepared,
            small => {
                if let Some(small) = small {
                    self.discard(&small)?;
                }
                self.prepare_now(self.next_size_bytes().max(need))?
            }
        };
        let active = Active::new(segment, self.direct);
        let old = std::mem::replace(&mut self.active, active);
        let last_lsn = self.last_lsn;
        self.older.push_back(Older { number: old.number, size_bytes: old.size_bytes, last_lsn });
        let header = self.header(false);
        self.chain = header.chain;
        self.write_group(&self.draft(GroupKind::Data, records, now), Some(&header), true)?;
        self.sync()?;
        self.stats.rotations += 1;
        self.stats.reused += u64::from(self.active.former.0 > 0);
        self.seal(old, last, now);
        Ok(())
    }

    /// Seals the segment before the active one, which is durable by now. A seal is not flushed here,
    /// and a failure to write it is the next caller's: the group that rotated is safe.
    fn seal(&mut self, old: Active, chain: u32, now: Timestamp) {
        let mut bytes = Vec::new();
        let mut draft = self.draft(GroupKind::Seal, &[], now);
        draft.chain = chain;
        draft.next_segment = self.active.number;
        draft.encode(&self.identity, old.number, old.offset, &mut bytes);
        let end = old.offset + bytes.len() as u64;
        self.end_mark(&old, end, &mut bytes);
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

    pub(super) fn sync_seals(&mut self) -> Result<()> {
        while let Some(file) = self.unflushed_seals.pop() {
            if let Err(source) = file.sync_data() {
                return Err(self.poisoned_by("flush the segment before", source));
            }
            self.stats.flushes += 1;
        }
        Ok(())
    }
}
