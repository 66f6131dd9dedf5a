//! The read-only scan: which bytes of the log stand. It judges; it never changes a byte.
//!
//! It follows DESIGN.md, "Which bytes stand". The steps that need all segments at once (which one is
//! the head, which are in the chain, what is vouched for) are in `chain`, the walk along the chain in
//! `walk`; here are their words, and the reading of what they found to stand.

use std::fmt;
use std::io;

use crate::base::{Error, Lsn, Result, StoreId};
use crate::fs::{Fs, join};
use crate::wal::format::{Identity, SegmentNumber};
use crate::wal::reader::{GroupRef, SegmentReader};
use crate::wal::record::{Record, RecordView};

/// What is known of the log from elsewhere. The default knows nothing.
#[derive(Clone, Debug, Default)]
pub struct Hints {
    /// Whose log it is; unknown: the newest segment's, or if no header tells, the first identity's.
    pub store: Option<StoreId>,
    /// Identities under which segments may have been written, for those whose header is lost.
    pub identities: Vec<Identity>,
    /// An incarnation that is known to have begun: its segment must be there.
    pub begun: Option<u64>,
    /// The state up to here is at hand from elsewhere: the log may begin anywhere up to its next.
    pub base: Lsn,
    /// Everything up to here is known to have been durable.
    pub durable: Lsn,
    /// The last opening is known to have stopped cleanly: its incarnation and its last LSN.
    pub clean: Option<(u64, Lsn)>,
    /// LSNs up to here were given out, whether or not anything of them is left.
    pub given_out: Lsn,
}

/// What a scan says of the whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Everything is as written.
    Clean,
    /// The end was cut by a crash; nothing that is known to have been durable is missing.
    Torn,
    /// Bytes that were durable are damaged or gone.
    Corrupt,
}

/// One place that is not as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Torn or corrupt; `Clean` for what is merely foreign.
    pub verdict: Verdict,
    /// The segment's file name.
    pub file: String,
    /// Where in it.
    pub offset: u64,
    /// How many bytes.
    pub length: u64,
    /// First and last LSN that are missing because of it, if any.
    pub missing: Option<(Lsn, Lsn)>,
    /// What is wrong.
    pub why: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)?;
        match self.missing {
            Some((first, last)) => write!(f, "; LSN {first} to {last} are missing"),
            None => Ok(()),
        }
    }
}

/// The last vouched group of records that stands: what the header of the next segment names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Join {
    /// Its segment. If there is no such group: the one before the log, 0 if there is none.
    pub segment: SegmentNumber,
    /// The offset behind it; 0 if there is none.
    pub end: u64,
    /// Its checksum field; 0 if there is none.
    pub crc: u32,
    /// The last LSN that stands.
    pub lsn: Lsn,
}

/// A segment that a cut may remove one day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Older {
    pub(crate) number: SegmentNumber,
    pub(crate) size_bytes: u64,
    /// The last LSN for which it is needed.
    pub(crate) last_lsn: Lsn,
}

/// A file in the log's directory that is not part of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leftover {
    /// Its name.
    pub file: String,
    /// Whether nothing in it is worth keeping: prepared, cut off, or restated elsewhere.
    pub is_worthless: bool,
}

/// A piece of the log that stands, or is missing, in order.
#[derive(Clone, Debug)]
pub(crate) enum Standing {
    Group { segment: SegmentNumber, group: GroupRef },
    Hole { last: Lsn },
}

/// What a scan found.
#[derive(Clone, Debug)]
pub struct Scan {
    /// Whose log it is, if there is one.
    pub store: Option<StoreId>,
    /// Everything that is not as it was written.
    pub findings: Vec<Finding>,
    /// Whether the log ends with the mark of a clean stop.
    pub closed: bool,
    /// Whether there may have been durable records behind the end.
    pub end_in_doubt: bool,
    /// The last LSN before the log; what comes before must be at hand from elsewhere.
    pub first_base: Lsn,
    /// The last LSN that stands.
    pub last_lsn: Lsn,
    /// The highest LSN known to be on the medium.
    pub vouched: Lsn,
    /// The highest incarnation seen.
    pub incarnation_max: u64,
    /// Segment files that are no part of the log any more.
    pub leftovers: Vec<Leftover>,
    /// Names in the directory that are not segments.
    pub other_files: Vec<String>,
    /// Bytes of all segment files.
    pub size_bytes: u64,
    pub(crate) join: Join,
    pub(crate) next_number: SegmentNumber,
    pub(crate) next_lsn: Lsn,
    pub(crate) standing: Vec<Standing>,
    pub(crate) segments: Vec<Older>,
}

/// A stretch of what stands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run<'a> {
    standing: &'a [Standing],
    size_bytes: u64,
}

/// A group read back: a whole number of transactions.
#[derive(Debug)]
pub enum Replayed<'a> {
    /// Records, in order.
    Group(&'a [RecordView<'a>]),
    /// Records up to and with this LSN are missing before what follows.
    Hole(Lsn),
}

impl<'a> Replayed<'a> {
    /// The records; none for a hole.
    pub fn records(&self) -> &'a [RecordView<'a>] {
        match self {
            Replayed::Group(records) => records,
            Replayed::Hole(_) => &[],
        }
    }
}

/// Scans the log in `dir`. Reads only.
///
/// # Errors
/// Only what the operating system refuses; damage is a finding. A directory that is not there is an
/// empty log.
pub fn scan(fs: &dyn Fs, dir: &str, hints: &Hints) -> Result<Scan> {
    let directory = crate::wal::chain::Directory::read(fs, dir, hints)?;
    Ok(crate::wal::walk::walk(&directory, hints))
}

impl Run<'_> {
    /// [`Scan::replay`] of this stretch alone.
    pub(crate) fn replay(
        &self,
        fs: &dyn Fs,
        dir: &str,
        from: Lsn,
        visit: &mut dyn FnMut(Replayed<'_>) -> Result<()>,
    ) -> Result<()> {
        let mut open: Option<(SegmentNumber, SegmentReader)> = None;
        for standing in self.standing {
            let (segment, group) = match standing {
                Standing::Hole { last } => {
                    if *last > from {
                        visit(Replayed::Hole(*last))?;
                    }
                    continue;
                }
                Standing::Group { segment, group } => (*segment, group),
            };
            if group.last_lsn <= from || !group.has_records() {
                continue;
            }
            let path = join(dir, &segment.file_name());
            let failed = |source: io::Error| Error::io("read", fs.display(&path), source);
            let mut reader = match open.take().filter(|(number, _)| *number == segment) {
                Some((_, reader)) => reader,
                None => SegmentReader::open(fs, &path).map_err(failed)?,
            };
            reader
                .records(group, |records| visit(Replayed::Group(records)))
                .map_err(failed)?
                .map_err(|why| Error::corrupt(fs.display(&path), group.offset, why))??;
            open = Some((segment, reader));
        }
        Ok(())
    }

    /// The length of its groups together.
    pub(crate) fn size_bytes(&self) -> u64 {
        self.size_bytes
    }
}

impl Scan {
    /// The verdict on the whole: the worst of the findings.
    pub fn verdict(&self) -> Verdict {
        let any = |verdict| self.findings.iter().any(|finding| finding.verdict == verdict);
        if any(Verdict::Corrupt) {
            Verdict::Corrupt
        } else if any(Verdict::Torn) {
            Verdict::Torn
        } else {
            Verdict::Clean
        }
    }

    /// Calls `visit` with every group that stands and has a record above `from`, in order, and with
    /// holes that reach above it.
    pub fn replay(
        &self,
        fs: &dyn Fs,
        dir: &str,
        from: Lsn,
        visit: &mut dyn FnMut(Replayed<'_>) -> Result<()>,
    ) -> Result<()> {
        Run { standing: &self.standing, size_bytes: 0 }.replay(fs, dir, from, visit)
    }

    /// What stands, in order, in runs of at most so many bytes, each of which can be read by itself; a longer
    /// group is a run of its own.
    pub(crate) fn runs(&self, bytes_max: u64) -> Vec<Run<'_>> {
        let mut runs = Vec::new();
        let mut rest = self.standing.as_slice();
        while !rest.is_empty() {
            let mut size_bytes = 0_u64;
            let fits = |standing: &&Standing| {
                let length = match standing {
                    Standing::Group { group, .. } => group.header.length,
                    Standing::Hole { .. } => 0,
                };
                let all = size_bytes.saturating_add(length);
                let fits = size_bytes == 0 || all <= bytes_max;
                size_bytes = if fits { all } else { size_bytes };
                fits
            };
            let (standing, behind) = rest.split_at(rest.iter().take_while(fits).count());
            runs.push(Run { standing, size_bytes });
            rest = behind;
        }
        runs
    }

    /// The records above the vouched LSN, which a new incarnation restates, with the first one's LSN.
    pub(crate) fn read_tail(&self, fs: &dyn Fs, dir: &str) -> Result<(Lsn, Vec<Record>)> {
        let mut first = None;
        let mut tail = Vec::new();
        self.replay(fs, dir, self.join.lsn, &mut |replayed| {
            for record in replayed.records() {
                let first = *first.get_or_insert(record.lsn);
                if record.lsn != first.plus(tail.len() as u64) {
                    let why = format!("LSN {} does not follow the one before", record.lsn);
                    return Err(Error::corrupt(fs.display(dir), 0, why));
                }
                tail.push(Record::of_view(record));
            }
            Ok(())
        })?;
        Ok((first.unwrap_or(self.join.lsn.next()), tail))
    }

    /// The segments of the log as it stands that a new incarnation goes on from, oldest first.
    pub(crate) fn older(&self) -> impl Iterator<Item = Older> {
        self.segments.iter().copied().filter(|segment| segment.number <= self.join.segment)
    }

    /// The others: nothing vouches for anything in them. A new incarnation restates what stands there.
    pub(crate) fn passed_over(&self) -> impl Iterator<Item = Older> {
        self.segments.iter().copied().filter(|segment| segment.number > self.join.segment)
    }
}
