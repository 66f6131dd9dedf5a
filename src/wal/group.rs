//! Building a group: header, record table, records, padding.

use crate::base::{Lsn, Timestamp};
use crate::wal::format::{
    ENTRY_BYTES, Entry, GROUP_HEADER_BYTES, GroupHeader, GroupKind, Identity, SegmentNumber,
    encode_group_head, group_crc, padded, usize_of,
};
use crate::wal::record::Record;

/// A group that is about to be written.
pub(crate) struct Draft<'a> {
    pub(crate) kind: GroupKind,
    /// Records, with consecutive LSNs.
    pub(crate) records: &'a [&'a Record],
    /// LSN of the first record; without records, the LSN that the next one gets.
    pub(crate) first_lsn: Lsn,
    pub(crate) durable_lsn: Lsn,
    pub(crate) chain: u32,
    pub(crate) next_segment: SegmentNumber,
    pub(crate) now: Timestamp,
}

impl Draft<'_> {
    /// Appends the whole group, as it stands at `offset` of segment `number`, with its padding to
    /// `bytes`; gives its checksum field.
    pub(crate) fn encode(
        &self,
        identity: &Identity,
        number: SegmentNumber,
        offset: u64,
        bytes: &mut Vec<u8>,
    ) -> u32 {
        let begin = bytes.len();
        let header = GroupHeader {
            kind: self.kind,
            count: u32::try_from(self.records.len()).expect("the log bounds the number of records"),
            length: group_length(self.records),
            first_lsn: self.first_lsn,
            durable_lsn: self.durable_lsn,
            incarnation: identity.incarnation,
            time_ns: self.now.0,
            chain: self.chain,
            next_segment: self.next_segment,
        };
        let table = self.table();
        let crc_of = |covered: &[u8]| group_crc(identity, number, offset, covered);
        let crc = encode_group_head(&header, &table, crc_of, bytes);
        for record in self.records {
            record.parts().for_each(|part| bytes.extend_from_slice(part));
        }
        bytes.resize(begin + usize_of(padded(header.length)), 0);
        crc
    }

    fn table(&self) -> Vec<u8> {
        let mut table = Vec::with_capacity(self.records.len() * ENTRY_BYTES);
        for record in self.records {
            let entry = Entry {
                length: u32::try_from(record.len()).expect("the log bounds a record's length"),
                crc: record.crc,
                kind: record.kind,
                flags: record.flags,
                origin: record.origin,
            };
            entry.encode(&mut table);
        }
        table
    }
}

/// Bytes of a group of these records, without padding.
pub(crate) fn group_length(records: &[&Record]) -> u64 {
    let payloads: u64 = records.iter().map(|record| record.len() as u64).sum();
    (GROUP_HEADER_BYTES + records.len() * ENTRY_BYTES) as u64 + payloads
}
