//! What lies in the log, segment by segment and group by group, for people who look into it.
//!
//! It shows what the scan has judged and reads with the scan's own reader, so that it can never say
//! something else of a byte than a recovery does; there is no second parser of the format. It reads
//! only, and of damaged, foreign and crashed logs too.

use std::collections::HashSet;
use std::io;

use serde::Serialize;

use crate::base::{Error, Lsn, Result, Timestamp};
use crate::fs::{Fs, join};
use crate::wal::chain::Directory;
use crate::wal::format::{GroupKind, SEGMENT_HEADER_BYTES, SegmentNumber};
use crate::wal::reader::{Gap, GroupRef, Piece, SegmentIndex, index_segment};
use crate::wal::scan::{Finding, Hints, Scan, Standing, Verdict};
use crate::wal::walk::walk;

/// What a recovery makes of a segment, a group or a damaged region.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Worth {
    /// Part of the log, as it was written.
    Stands,
    /// Says nothing, or nothing any more: prepared, cut off, or superseded.
    Void,
    /// Of another store.
    Foreign,
    /// The end was cut by a crash; nothing durable is missing.
    Torn,
    /// Bytes that were durable are damaged or gone.
    Corrupt,
}

/// How far a segment has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SegmentState {
    /// Only zeroes: made beforehand, never used.
    Prepared,
    /// Its last intact group is neither a seal nor a close.
    Open,
    /// It says in which segment the log goes on.
    Sealed,
    /// It ends with the mark of a clean stop.
    Closed,
}

/// One segment file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SegmentListing {
    /// Its number, from its name.
    pub number: u64,
    /// Its file name in the log's directory.
    pub file: String,
    /// Its length in bytes.
    pub bytes: u64,
    /// Up to where it holds anything but zeroes, in whole blocks.
    pub used_bytes: u64,
    /// The opening that wrote it; `None` if nothing tells.
    pub incarnation: Option<u64>,
    /// LSN of the first record in it; `None` if it has none.
    pub first_lsn: Option<Lsn>,
    /// LSN of the last record in it; `None` if it has none.
    pub last_lsn: Option<Lsn>,
    /// Intact groups.
    pub groups: u64,
    /// Records in them.
    pub records: u64,
    /// How far it has come.
    pub state: SegmentState,
    /// The worst that is to be said of it.
    pub verdict: Worth,
    /// What is in it, by offset. Not part of the JSON form of a segment.
    #[serde(skip)]
    pub pieces: Vec<PieceListing>,
}

/// A place in a segment that holds something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum PieceListing {
    /// An intact group.
    Group(GroupListing),
    /// A region that is not as it was written, or that nothing is known of.
    Damage(DamageListing),
}

/// An intact group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GroupListing {
    /// Number of its segment.
    pub segment: u64,
    /// Where it begins, in bytes.
    pub offset: u64,
    /// What it is.
    pub kind: GroupKind,
    /// LSN of its first record; of a group without records, the next LSN.
    pub first_lsn: Lsn,
    /// How many records it has.
    pub records: u32,
    /// Its length in bytes, without padding.
    pub bytes: u64,
    /// The highest LSN known to be on the medium when it was written.
    pub durable_lsn: Lsn,
    /// When it was written, by the clock of that time (RFC 3339).
    pub time: String,
    /// What a recovery makes of it.
    pub verdict: Worth,
}

/// A damaged region.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DamageListing {
    /// Number of its segment.
    pub segment: u64,
    /// Where it begins, in bytes.
    pub offset: u64,
    /// Its length in bytes; 0 if it is the whole that is wrong, or something is missing there.
    pub bytes: u64,
    /// What a recovery makes of it.
    pub verdict: Worth,
    /// What is wrong.
    pub why: String,
}

impl PieceListing {
    fn offset(&self) -> u64 {
        match self {
            PieceListing::Group(group) => group.offset,
            PieceListing::Damage(damage) => damage.offset,
        }
    }
}

/// Lists the log in `dir`, oldest segment first. Reads only; beside a writer its last group may look
/// torn, since it may be half-written.
///
/// # Errors
/// Only what the operating system refuses, and segments of a newer version. A directory that is not
/// there is an empty log.
pub fn list(fs: &dyn Fs, dir: &str, hints: &Hints) -> Result<Vec<SegmentListing>> {
    let directory = Directory::read(fs, dir, hints)?;
    let scan = walk(&directory, hints);
    let judged = Judged::new(&scan);
    let mut listed: Vec<SegmentListing> =
        directory.segments.values().map(|index| judged.segment(index)).collect();
    // Segments that the scan did not admit: another store's, and those under a wrong name.
    for finding in &scan.findings {
        let number = SegmentNumber::parse(&finding.file);
        let Some(number) = number.filter(|n| !listed.iter().any(|one| one.number == n.0)) else {
            continue;
        };
        let path = join(dir, &finding.file);
        match index_segment(fs, &path, number, &[]) {
            Ok(index) => listed.push(judged.segment(&index)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(Error::io("read", fs.display(&path), source)),
        }
    }
    listed.sort_by_key(|segment| segment.number);
    Ok(listed)
}

/// What the scan has said, by place.
struct Judged<'a> {
    scan: &'a Scan,
    standing: HashSet<(SegmentNumber, u64)>,
    chain: HashSet<SegmentNumber>,
}

impl<'a> Judged<'a> {
    fn new(scan: &'a Scan) -> Self {
        let place = |standing: &Standing| match standing {
            Standing::Group { segment, group } => Some((*segment, group.offset)),
            Standing::Hole { .. } => None,
        };
        Judged {
            scan,
            standing: scan.standing.iter().filter_map(place).collect(),
            chain: scan.segments.iter().map(|older| older.number).collect(),
        }
    }

    fn segment(&self, index: &SegmentIndex) -> SegmentListing {
        let with_records = || index.groups().filter(|group| group.has_records());
        let pieces = self.pieces(index);
        let beyond = if self.chain.contains(&index.number) { Worth::Stands } else { Worth::Void };
        let damages = pieces.iter().filter_map(|piece| match piece {
            PieceListing::Damage(damage) => Some(damage.verdict),
            PieceListing::Group(_) => None,
        });
        let verdict = damages.filter(|worth| *worth > Worth::Void).fold(beyond, Worth::max);
        SegmentListing {
            number: index.number.0,
            file: index.number.file_name(),
            bytes: index.size_bytes,
            used_bytes: used_bytes(index),
            incarnation: index.identity.map(|identity| identity.incarnation),
            first_lsn: with_records().next().map(|group| group.header.first_lsn),
            last_lsn: with_records().next_back().map(|group| group.last_lsn),
            groups: index.groups().count() as u64,
            records: index.groups().map(|group| u64::from(group.header.count)).sum(),
            state: state(index),
            verdict,
            pieces,
        }
    }

    fn pieces(&self, index: &SegmentIndex) -> Vec<PieceListing> {
        let file = index.number.file_name();
        let findings: Vec<&Finding> =
            self.scan.findings.iter().filter(|finding| finding.file == file).collect();
        let is_within = |offset: u64| {
            let holds = |finding: &&Finding| {
                finding.offset <= offset && offset - finding.offset < finding.length
            };
            findings.iter().any(holds)
        };
        let segment = index.number.0;
        let mut pieces: Vec<PieceListing> = findings
            .iter()
            .map(|finding| PieceListing::Damage(of_finding(segment, finding)))
            .collect();
        let is_foreign = findings.iter().any(|finding| finding.verdict == Verdict::Clean);
        // Behind a group of records that does not stand, nothing of its segment does.
        let mut stands = self.chain.contains(&index.number);
        for piece in &index.pieces {
            match piece {
                Piece::Group(group) => {
                    let is_next = if group.has_records() {
                        self.standing.contains(&(index.number, group.offset))
                    } else {
                        !is_within(group.offset)
                    };
                    stands &= is_next;
                    let otherwise = if is_foreign { Worth::Foreign } else { Worth::Void };
                    let verdict = if stands { Worth::Stands } else { otherwise };
                    pieces.push(PieceListing::Group(of_group(segment, group, verdict)));
                }
                Piece::Gap(gap) if !gap.blank && !is_within(gap.offset) => {
                    pieces.push(PieceListing::Damage(of_gap(segment, gap)));
                }
                Piece::Gap(_) => {}
            }
        }
        pieces.sort_by_key(PieceListing::offset);
        pieces
    }
}

fn of_finding(segment: u64, finding: &Finding) -> DamageListing {
    let verdict = match finding.verdict {
        Verdict::Clean => Worth::Foreign,
        Verdict::Torn => Worth::Torn,
        Verdict::Corrupt => Worth::Corrupt,
    };
    let Finding { offset, length, .. } = *finding;
    DamageListing { segment, offset, bytes: length, verdict, why: finding.to_string() }
}

fn of_gap(segment: u64, gap: &Gap) -> DamageListing {
    let (bytes, why) = (gap.end.saturating_sub(gap.offset), gap.why.to_owned());
    DamageListing { segment, offset: gap.offset, bytes, verdict: Worth::Void, why }
}

fn of_group(segment: u64, group: &GroupRef, verdict: Worth) -> GroupListing {
    let header = &group.header;
    GroupListing {
        segment,
        offset: group.offset,
        kind: header.kind,
        first_lsn: header.first_lsn,
        records: header.count,
        bytes: header.length,
        durable_lsn: header.durable_lsn,
        time: Timestamp(header.time_ns).to_string(),
        verdict,
    }
}

fn used_bytes(index: &SegmentIndex) -> u64 {
    let header = if index.prepared.is_some() { 0 } else { SEGMENT_HEADER_BYTES };
    let ends = index.pieces.iter().map(|piece| match piece {
        Piece::Group(group) => group.end,
        Piece::Gap(gap) if gap.blank => 0,
        Piece::Gap(gap) => gap.end,
    });
    ends.max().unwrap_or(0).max(header).min(index.size_bytes)
}

fn state(index: &SegmentIndex) -> SegmentState {
    match index.groups().next_back().map(|group| group.header.kind) {
        None if index.prepared.is_some() => SegmentState::Prepared,
        Some(GroupKind::Seal) => SegmentState::Sealed,
        Some(GroupKind::Close) => SegmentState::Closed,
        _ => SegmentState::Open,
    }
}
