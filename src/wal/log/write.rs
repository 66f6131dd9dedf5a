//! How a group gets into the active segment.
//!
//! One group is one write, behind all that was written before, of whole blocks that hold nothing; in a segment
//! that is reused, with an end mark behind it. Nothing is retried: a write that fails poisons the log,
//! since nobody knows how much of it arrived.

use std::borrow::Borrow;

use super::{Active, Log, RESERVED_BYTES, kept_back};
use crate::base::{Error, Lsn, Result, Timestamp};
use crate::fs;
use crate::wal::format::{
    GroupKind, SEGMENT_HEADER_BYTES, SegmentHeader, SegmentNumber, padded, usize_of,
};
use crate::wal::group::{Draft, group_length};
use crate::wal::record::{RECORD_BYTES_MAX, Record};
use crate::wal::scan::Join;

impl Log {
    /// Writes `records` as one group, going on in another segment where it does not fit.
    pub(super) fn write<R: Borrow<Record>>(
        &mut self,
        records: &[R],
        now: Timestamp,
        is_durable: bool,
    ) -> Result<Lsn> {
        self.check()?;
        let records: &[&Record] = &records.iter().map(Borrow::borrow).collect::<Vec<_>>();
        if let Some(record) = records.iter().find(|record| record.len() > RECORD_BYTES_MAX) {
            let why = format!("a record has at most {RECORD_BYTES_MAX} bytes");
            return Err(Error::invalid(format!("record of {} bytes", record.len()), why));
        }
        if u32::try_from(records.len()).is_err() {
            return Err(Error::invalid("group", format!("{} records are too many", records.len())));
        }
        if records.is_empty() {
            return Ok(self.last_lsn);
        }
        let need = padded(group_length(records));
        if self.fits(need + RESERVED_BYTES + kept_back(self.active.size_bytes)) {
            self.write_group(&self.draft(GroupKind::Data, records, now), None, is_durable)?;
        } else {
            self.rotate(records, need, now)?;
        }
        Ok(self.last_lsn)
    }

    /// Writes one group to the active segment, behind the segment's header if that is given too. If it is
    /// to be durable, the next [`Log::sync`] may find that it is. A write past the page cache flushes
    /// nothing that was written before it, so there must be nothing.
    pub(super) fn write_group(
        &mut self,
        draft: &Draft<'_>,
        header: Option<&SegmentHeader>,
        is_durable: bool,
    ) -> Result<()> {
        let mut buffer = std::mem::take(&mut self.buffer);
        let head_bytes = header.map_or(0, |_| SEGMENT_HEADER_BYTES);
        let group_bytes = padded(group_length(draft.records));
        let end = self.active.offset + group_bytes;
        let mark_bytes = self.active.end_mark_bytes(end);
        let bytes = buffer.begin(usize_of(head_bytes + group_bytes + mark_bytes));
        let mut write_at = self.active.offset;
        if let Some(header) = header {
            bytes.extend_from_slice(&header.encode());
            write_at = 0;
        }
        let Active { number, offset, .. } = self.active;
        self.chain = draft.encode(&self.identity, number, offset, bytes);
        self.end_mark(&self.active, end, bytes);
        let through = self.active.through.as_ref();
        let through = through.filter(|_| is_durable && self.unflushed_bytes == 0);
        let through = through.filter(|_| buffer.is_aligned());
        let file = through.unwrap_or(&self.active.file);
        let is_through = through.is_some();
        if let Err(source) = fs::write_all_at(&**file, buffer.bytes(), write_at) {
            return Err(self.poisoned_by("write to", source));
        }
        let (count, written) = (draft.records.len() as u64, buffer.bytes().len() as u64);
        self.buffer = buffer;
        self.active.offset = end;
        self.unwitnessed = count > 0;
        self.stats.bytes += written;
        if is_through {
            self.stats.flushes += 1;
        } else {
            self.unflushed_bytes += written;
        }
        if count > 0 {
            self.last_lsn = draft.first_lsn.plus(count - 1);
            self.next_lsn = self.next_lsn.max(self.last_lsn.next());
            let end = self.active.offset;
            self.join = Join { segment: number, end, crc: self.chain, lsn: self.last_lsn };
            self.stats.groups += 1;
            self.stats.records += count;
        }
        Ok(())
    }

    /// Appends the end mark at `offset`, where one is to be.
    pub(super) fn end_mark(&self, segment: &Active, offset: u64, bytes: &mut Vec<u8>) {
        if segment.end_mark_bytes(offset) > 0 {
            let draft = self.draft(GroupKind::End, &[], Timestamp(0));
            draft.encode(&self.identity, segment.number, offset, bytes);
        }
    }

    pub(super) fn draft<'a>(
        &self,
        kind: GroupKind,
        records: &'a [&'a Record],
        now: Timestamp,
    ) -> Draft<'a> {
        Draft {
            kind,
            records,
            first_lsn: self.next_lsn,
            durable_lsn: self.durable_lsn,
            chain: self.chain,
            next_segment: SegmentNumber(0),
            now,
        }
    }
}
