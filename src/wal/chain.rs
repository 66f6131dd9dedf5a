//! The steps of a scan that need all segments at once: which of them count, which is the head, which
//! are in the chain, and up to where the medium is known to hold the log.
//!
//! They lean on the writer being serial: a write is issued only after the flush before it succeeded,
//! and the first group of a segment, starts, witnesses and closes are always flushed. So an intact
//! group behind another place of its segment proves that the header and the first group were durable.

use std::collections::BTreeMap;
use std::io;

use crate::base::{Error, Lsn, Result, StoreId};
use crate::fs::{Fs, Kind, join};
use crate::wal::format::{HeaderBlock, SEGMENT_HEADER_BYTES, SegmentHeader, SegmentNumber};
use crate::wal::reader::{GroupRef, Piece, SegmentIndex, index_segment, read_header};
use crate::wal::scan::{Finding, Hints, Verdict};

/// All segment files of a directory, read.
pub(crate) struct Directory {
    pub(crate) store: Option<StoreId>,
    pub(crate) segments: BTreeMap<SegmentNumber, SegmentIndex>,
    pub(crate) other_files: Vec<String>,
    pub(crate) findings: Vec<Finding>,
    /// Names that bear a segment's number but cannot be a segment of this log.
    pub(crate) taken_numbers: Vec<SegmentNumber>,
}

/// One segment of the chain.
pub(crate) struct Link<'a> {
    pub(crate) index: &'a SegmentIndex,
    /// Its header, or what can be said without one.
    pub(crate) header: SegmentHeader,
    /// What lies behind this is void; `None` for the head.
    pub(crate) end: Option<u64>,
}

impl Link<'_> {
    /// The pieces before its end.
    pub(crate) fn pieces(&self) -> impl Iterator<Item = &Piece> {
        let end = self.end.unwrap_or(u64::MAX);
        self.index.pieces.iter().filter(move |piece| match piece {
            Piece::Group(group) => group.offset < end,
            Piece::Gap(gap) => gap.offset < end,
        })
    }

    fn groups(&self) -> impl Iterator<Item = &GroupRef> {
        self.pieces().filter_map(|piece| match piece {
            Piece::Group(group) => Some(group),
            Piece::Gap(_) => None,
        })
    }
}

impl Directory {
    /// Reads every segment, newest first: so an older one is never read in an older state than what
    /// names it, also beside a writer.
    pub(crate) fn read(fs: &dyn Fs, dir: &str, hints: &Hints) -> Result<Directory> {
        let entries = match fs.list(dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(source) => return Err(Error::io("list", fs.display(dir), source)),
        };
        let mut directory = Directory {
            store: hints.store,
            segments: BTreeMap::new(),
            other_files: Vec::new(),
            findings: Vec::new(),
            taken_numbers: Vec::new(),
        };
        let mut numbers = Vec::new();
        for entry in entries {
            match SegmentNumber::parse(&entry.name) {
                Some(number) if entry.kind == Kind::File => numbers.push(number),
                Some(number) => {
                    directory.taken_numbers.push(number);
                    directory.other_files.push(entry.name);
                }
                None => directory.other_files.push(entry.name),
            }
        }
        let mut identities = hints.identities.clone();
        for number in numbers.iter().rev() {
            let path = join(dir, &number.file_name());
            let header = read_header(fs, &path)
                .map_err(|source| Error::io("read", fs.display(&path), source))?;
            if let HeaderBlock::Newer(why) = header {
                let why = format!("{why}; use the newer Walden that wrote it");
                return Err(Error::Unsupported { what: fs.display(&path), why });
            }
            if let HeaderBlock::Read { header, .. } = header {
                directory.store.get_or_insert(header.identity.store);
                if !identities.contains(&header.identity) {
                    identities.push(header.identity);
                }
            }
        }
        identities.retain(|identity| Some(identity.store) == directory.store);
        for number in numbers.iter().rev() {
            let path = join(dir, &number.file_name());
            let index = index_segment(fs, &path, *number, &identities)
                .map_err(|source| Error::io("read", fs.display(&path), source))?;
            directory.admit(index);
        }
        Ok(directory)
    }

    /// Takes a segment in, unless it is another store's or bears a wrong name.
    fn admit(&mut self, index: SegmentIndex) {
        let file = index.number.file_name();
        let foreign = match index.header {
            Ok(header) if Some(header.identity.store) != self.store => {
                Some((Verdict::Clean, format!("a segment of store {}", header.identity.store)))
            }
            Err(why) if index.is_renamed => Some((Verdict::Corrupt, why.to_owned())),
            _ => None,
        };
        let length = index.size_bytes;
        if let Some((verdict, why)) = foreign {
            self.taken_numbers.push(index.number);
            self.findings.push(Finding { verdict, file, offset: 0, length, missing: None, why });
        } else {
            self.segments.insert(index.number, index);
        }
    }

    /// The chain, oldest first; and what is wrong with it.
    pub(crate) fn chain(&self, hints: &Hints) -> (Vec<Link<'_>>, Vec<Finding>) {
        let mut findings = Vec::new();
        let mut chain: Vec<Link<'_>> = Vec::new();
        let mut next = self.segments.values().rev().find_map(|index| self.link(index, None));
        while let Some(link) = next.take() {
            let header = link.header;
            chain.push(link);
            if header.previous.0 == 0 && header.previous_lsn <= hints.base {
                break;
            }
            let found = self.segments.get(&header.previous);
            let linked = found.and_then(|index| self.link(index, Some(&header)));
            if linked.is_none() && header.previous_lsn > hints.base {
                let missing = Some((hints.base.next(), header.previous_lsn));
                let why = "the segment that it follows is missing or not the one that it followed";
                findings.push(Finding {
                    verdict: Verdict::Corrupt,
                    file: header.number.file_name(),
                    offset: 0,
                    length: 0,
                    missing,
                    why: why.to_owned(),
                });
            }
            next = linked;
        }
        chain.reverse();
        (chain, findings)
    }

    /// A segment as a link of the chain, if it counts and (where it is not the head) its follower
    /// really followed it.
    fn link<'a>(
        &'a self,
        index: &'a SegmentIndex,
        follower: Option<&SegmentHeader>,
    ) -> Option<Link<'a>> {
        let header = match index.header {
            Ok(header) => header,
            Err(_) => self.header_from_groups(index)?,
        };
        let Some(follower) = follower else {
            return counts(index).then_some(Link { index, header, end: None });
        };
        let end = follower.previous_end;
        let named = index.groups().find(|group| group.end == end);
        let continues = named.is_none_or(|group| group.crc == follower.chain);
        continues.then_some(Link { index, header, end: Some(end) })
    }

    /// What can be said of a segment whose header is lost, from its groups and its neighbours.
    fn header_from_groups(&self, index: &SegmentIndex) -> Option<SegmentHeader> {
        let first = index.groups().next()?;
        let below = self.segments.range(..index.number).rev();
        let previous = below.map(|(_, index)| index).find(|index| index.groups().next().is_some());
        let last = previous.and_then(|index| index.groups().rfind(|group| group.has_records()));
        let previous_lsn = Lsn(first.header.first_lsn.0.saturating_sub(1));
        Some(SegmentHeader {
            identity: index.identity?,
            begins_incarnation: false,
            number: index.number,
            size_bytes: index.size_bytes,
            next_lsn: first.header.first_lsn,
            ceiling: index.groups().map(|group| group.last_lsn).max()?,
            previous: previous.map_or(SegmentNumber(0), |index| index.number),
            previous_end: last.map_or(0, |group| group.end),
            previous_lsn: last.map_or(previous_lsn, |group| group.last_lsn.min(previous_lsn)),
            restated_lsn: previous_lsn,
            chain: last.map_or(0, |group| group.crc),
        })
    }

    /// The highest LSN that the medium is known to have held.
    pub(crate) fn vouched(&self, chain: &[Link<'_>], hints: &Hints) -> Lsn {
        let clean = hints.clean.map_or(Lsn::ZERO, |(_, lsn)| lsn);
        let mut vouched = hints.durable.max(hints.base).max(clean);
        for link in chain {
            vouched = vouched.max(link.header.previous_lsn);
            for group in link.groups() {
                vouched = vouched.max(group.header.durable_lsn);
            }
        }
        // Also a segment that does not count was written only after what it follows was flushed.
        for header in self.segments.values().filter_map(|index| index.header.ok()) {
            let mut links = chain.iter().filter(|link| link.index.number == header.previous);
            let follows = links.any(|link| {
                let named = link.groups().find(|group| group.end == header.previous_end);
                named.is_some_and(|group| group.crc == header.chain)
            });
            if follows {
                vouched = vouched.max(header.previous_lsn);
            }
        }
        // A group is durable whole.
        let groups = chain.iter().flat_map(Link::groups).filter(|group| group.has_records());
        let holding =
            |group: &GroupRef| group.header.first_lsn <= vouched && vouched < group.last_lsn;
        groups.filter(|group| holding(group)).map(|group| group.last_lsn).max().unwrap_or(vouched)
    }
}

/// Whether a segment can be the head: its first group was durable, or is there all the same.
fn counts(index: &SegmentIndex) -> bool {
    let behind_first = index.groups().any(|group| group.offset > SEGMENT_HEADER_BYTES);
    let first = index.groups().any(|group| group.offset == SEGMENT_HEADER_BYTES);
    behind_first || (first && index.header.is_ok())
}

/// The incarnation that wrote a segment; 0 if nobody knows.
pub(crate) fn incarnation_of(index: &SegmentIndex) -> u64 {
    index.identity.map_or(0, |identity| identity.incarnation)
}
