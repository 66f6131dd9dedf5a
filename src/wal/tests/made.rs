//! Logs made up group by group, for what no writer leaves in a few calls: strays, lies and losses.
//!
//! Everything in them is sealed with right checksums, so that only the rule under test can object.

use super::guarantee_tests::{START, look};
use super::oracle::{STORE, disk, wal_file};
use crate::base::{Lsn, Timestamp};
use crate::fs::sim::SimFs;
use crate::wal::format::{GroupKind, SegmentHeader, usize_of};
use crate::wal::group::Draft;
use crate::wal::scan::Join;
use crate::wal::{Hints, Identity, Origin, Record, Scan, SegmentNumber};

const ROOM: usize = 64 << 10;

/// A group: kind, first LSN, how many records, durable LSN, next segment.
#[derive(Clone, Copy)]
pub(super) struct Group(GroupKind, u64, u64, u64, u64);

pub(super) fn start(first: u64, count: u64, durable: u64) -> Group {
    Group(GroupKind::Start, first, count, durable, 0)
}

pub(super) fn data(first: u64, count: u64, durable: u64) -> Group {
    Group(GroupKind::Data, first, count, durable, 0)
}

/// Of a log whose records up to `durable` are on the medium.
pub(super) fn witness(durable: u64) -> Group {
    Group(GroupKind::Witness, durable + 1, 0, durable, 0)
}

/// Of a log that went on in segment `next` with records up to `durable`.
pub(super) fn seal(durable: u64, next: u64) -> Group {
    Group(GroupKind::Seal, durable + 1, 0, durable, next)
}

/// Where a log begins that follows none, with the state up to `lsn` at hand.
pub(super) fn nowhere(lsn: u64) -> Join {
    Join { lsn: Lsn(lsn), ..Join::default() }
}

pub(super) fn identity(incarnation: u64) -> Identity {
    Identity { store: STORE, incarnation, nonce: incarnation }
}

/// What an opening knows that remembers two incarnations.
pub(super) fn hints() -> Hints {
    Hints { store: Some(STORE), identities: vec![identity(1), identity(2)], ..Hints::default() }
}

/// A log in the making.
pub(super) struct Made(pub(super) SimFs);

impl Made {
    pub(super) fn new() -> Made {
        Made(disk())
    }

    /// Writes a segment of 64 KiB, one block for each group, which goes on from `join`; gives for each
    /// group where another segment can join behind it. Its header is as the writer's, but for `lie`.
    pub(super) fn segment_with(
        &self,
        (number, incarnation): (u64, u64),
        join: Join,
        groups: &[Group],
        lie: impl FnOnce(&mut SegmentHeader),
    ) -> Vec<Join> {
        let Group(kind, first, count, ..) = groups[0];
        let begins_incarnation = kind == GroupKind::Start;
        let restates = begins_incarnation && count > 0;
        let restated_lsn = if restates { Lsn(first + count - 1) } else { join.lsn };
        let next_lsn = if restates { restated_lsn.plus(100) } else { Lsn(first) };
        let mut header = SegmentHeader {
            identity: identity(incarnation),
            begins_incarnation,
            number: SegmentNumber(number),
            size_bytes: ROOM as u64,
            next_lsn,
            ceiling: next_lsn.plus(10_000),
            previous: join.segment,
            previous_end: join.end,
            previous_lsn: join.lsn,
            restated_lsn,
            chain: join.crc,
            former: SegmentNumber(0),
        };
        lie(&mut header);
        let mut bytes = header.encode();
        let (mut joins, mut chain) = (Vec::new(), header.chain);
        for Group(kind, first, count, durable, next) in groups.iter().copied() {
            let record = |lsn: u64| Record::new(1, Origin::Api, lsn.to_le_bytes().to_vec());
            let records: Vec<Record> = (first..first + count).map(record).collect();
            let draft = Draft {
                kind,
                records: &records.iter().collect::<Vec<_>>(),
                first_lsn: Lsn(first),
                durable_lsn: Lsn(durable),
                chain,
                next_segment: SegmentNumber(next),
                now: Timestamp(0),
            };
            let offset = bytes.len() as u64;
            chain = draft.encode(&header.identity, header.number, offset, &mut bytes);
            let end = bytes.len() as u64;
            let lsn = Lsn((first + count).saturating_sub(1));
            joins.push(Join { segment: header.number, end, crc: chain, lsn });
        }
        bytes.resize(ROOM, 0);
        self.0.write_now(&wal_file(number), &bytes).unwrap();
        joins
    }

    pub(super) fn segment(&self, at: (u64, u64), join: Join, groups: &[Group]) -> Vec<Join> {
        self.segment_with(at, join, groups, |_| ())
    }

    /// A segment of noise.
    pub(super) fn noise(&self, number: u64) {
        let mut bytes = vec![0; ROOM];
        bytes[usize_of(START) + 7] = 1;
        self.0.write_now(&wal_file(number), &bytes).unwrap();
    }

    pub(super) fn look(&self) -> Scan {
        look(&self.0, &hints())
    }
}
