//! What a group's checksums say of it, and its records one by one.
//!
//! It reads bytes in memory alone, and gives no record whose checksum is wrong.

use crate::base::{Lsn, Timestamp};
use crate::wal::format::{
    ENTRY_BYTES, Entry, GROUP_HEADER_BYTES, GroupHeader, GroupKind, seeded_crc, usize_of,
};
use crate::wal::record::RecordView;

/// The checksum of a group, given its header and table with the checksum's own field.
pub(super) fn crc_of(seed: u32, head: &[u8]) -> u32 {
    seeded_crc(seed, head.get(4..).unwrap_or_default())
}

/// Checks the records of a group against its table; gives the last LSN.
pub(super) fn verify_records(header: &GroupHeader, group: &[u8]) -> Result<Lsn, &'static str> {
    walk_records(header, group, |_| ())
}

pub(super) fn walk_records<'a>(
    header: &GroupHeader,
    group: &'a [u8],
    mut visit: impl FnMut(RecordView<'a>),
) -> Result<Lsn, &'static str> {
    const CUT: &str = "the group's record table is inconsistent";
    let body = group.get(GROUP_HEADER_BYTES..).ok_or(CUT)?;
    let (table, mut records) =
        body.split_at_checked(usize_of(u64::from(header.count)) * ENTRY_BYTES).ok_or(CUT)?;
    let last_lsn = header.first_lsn.0.checked_add(u64::from(header.count));
    let last_lsn = last_lsn.and_then(|end| end.checked_sub(1)).ok_or(CUT)?;
    for (lsn, entry) in (header.first_lsn.0..).zip(table.chunks_exact(ENTRY_BYTES)) {
        let entry = Entry::decode(entry).ok_or(CUT)?;
        let length = usize_of(u64::from(entry.length));
        let (payload, rest) = records.split_at_checked(length).ok_or(CUT)?;
        if crc32fast::hash(payload) != entry.crc {
            return Err("a record's checksum is wrong");
        }
        records = rest;
        let Entry { kind, flags, origin, .. } = entry;
        let time = Timestamp(header.time_ns);
        visit(RecordView { lsn: Lsn(lsn), time, kind, flags, origin, payload });
    }
    let may_have_records = matches!(header.kind, GroupKind::Data | GroupKind::Start);
    let consistent = records.is_empty() && (header.count == 0 || may_have_records);
    consistent.then_some(Lsn(last_lsn)).ok_or(CUT)
}
