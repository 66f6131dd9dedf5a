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
use crate::wal::format::{
    GroupKind, HeaderBlock, Identity, SEGMENT_HEADER_BYTES, SegmentHeader, SegmentNumber,
};
use crate::wal::reader::{GroupRef, Piece, SegmentIndex, index_segment, read_header};
use crate::wal::scan::{Finding, Hints, Join, Verdict};

/// All segment files of a directory, read.
pub(crate) struct Directory {
    pub(crate) store: Option<StoreId>,
    pub(crate) segments: BTreeMap<SegmentNumber, SegmentIndex>,
    pub(crate) other_files: Vec<String>,
    pub(crate) findings: Vec<Finding>,
    /// Every number that a name bears, also one that cannot be a segment of this log.
    pub(crate) taken_numbers: Vec<SegmentNumber>,
    /// Segments under the name of another one.
    pub(crate) misnamed: Vec<SegmentNumber>,
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
            misnamed: Vec::new(),
        };
        let mut numbers = Vec::new();
        for entry in entries {
            let number = SegmentNumber::parse(&entry.name);
            directory.taken_numbers.extend(number);
            match number {
                Some(number) if entry.kind == Kind::File && number.is_usable() => {
                    numbers.push(number);
                }
                _ => directory.other_files.push(entry.name),
            }
        }
        numbers.sort_unstable_by(|a, b| b.cmp(a));
        let identities = directory.read_headers(fs, dir, &numbers, hints)?;
        for number in numbers {
            let path = join(dir, &number.file_name());
            match index_segment(fs, &path, number, &identities) {
                Ok(index) => directory.admit(index),
                // Cut or moved aside by a writer that is alive.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(source) => return Err(Error::io("read", fs.display(&path), source)),
            }
        }
        Ok(directory)
    }

    /// Learns whose log it is and who wrote to it, before any group is looked for.
    fn read_headers(
        &mut self,
        fs: &dyn Fs,
        dir: &str,
        numbers: &[SegmentNumber],
        hints: &Hints,
    ) -> Result<Vec<Identity>> {
        let (mut identities, mut marked) = (hints.identities.clone(), Vec::new());
        for number in numbers {
            let path = join(dir, &number.file_name());
            match read_header(fs, &path, *number) {
                Ok(HeaderBlock::Newer(why)) => {
                    let why = format!("{why}; use the newer Walden that wrote it");
                    return Err(Error::Unsupported { what: fs.display(&path), why });
                }
                Ok(HeaderBlock::Read { header, .. }) => {
                    self.store.get_or_insert(header.identity.store);
                    if !identities.contains(&header.identity) {
                        identities.push(header.identity);
                    }
                }
                Ok(HeaderBlock::Marked(identity)) => marked.push(identity),
                Ok(HeaderBlock::Zero(_) | HeaderBlock::Unreadable(_)) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(source) => return Err(Error::io("read", fs.display(&path), source)),
            }
        }
        marked.retain(|identity| !identities.contains(identity));
        identities.append(&mut marked);
        self.store = self.store.or(identities.first().map(|identity| identity.store));
        identities.retain(|identity| Some(identity.store) == self.store);
        Ok(identities)
    }

    /// Takes a segment in, unless it is another store's or bears a wrong name.
    fn admit(&mut self, index: SegmentIndex) {
        let file = index.number.file_name();
        let others = index.identity.filter(|identity| Some(identity.store) != self.store);
        let foreign = match (others, index.header) {
            (Some(Identity { store, .. }), _) => {
                Some((Verdict::Clean, format!("a segment of store {store}")))
            }
            (None, Err(why)) if index.is_renamed => {
                self.misnamed.push(index.number);
                Some((Verdict::Corrupt, why.to_owned()))
            }
            _ => None,
        };
        let length = index.size_bytes;
        if let Some((verdict, why)) = foreign {
            self.findings.push(Finding { verdict, file, offset: 0, length, missing: None, why });
        } else {
            self.segments.insert(index.number, index);
        }
    }

    /// The chain, oldest first; and what is wrong with it. Every step goes to a lower number.
    pub(crate) fn chain(&self, hints: &Hints) -> (Vec<Link<'_>>, Vec<Finding>) {
        let mut findings = Vec::new();
        let mut chain: Vec<Link<'_>> = Vec::new();
        let head = self.segments.values().rev().find(|index| self.can_be_head(index));
        let mut next = head.and_then(|index| self.link(index, None));
        while let Some(link) = next.take() {
            let header = link.header;
            chain.push(link);
            next = self.previous(&header);
            if next.is_some() || header.previous_lsn <= hints.base {
                continue;
            }
            if header.previous.0 > 0 {
                next = self
                    .nearest(header.number)
                    .and_then(|join| self.link(self.segments.get(&join.segment)?, Some(join.end)));
            }
            // Behind another segment it is the walk that sees what is missing.
            let missing = (hints.base.next(), header.previous_lsn);
            let why = "the segment that it follows is missing or not the one that it followed";
            findings.push(Finding {
                verdict: Verdict::Corrupt,
                file: header.number.file_name(),
                offset: 0,
                length: 0,
                missing: next.is_none().then_some(missing),
                why: why.to_owned(),
            });
        }
        chain.reverse();
        (chain, findings)
    }

    fn link<'a>(&'a self, index: &'a SegmentIndex, end: Option<u64>) -> Option<Link<'a>> {
        let header = index.header.ok().or_else(|| self.header_from_groups(index))?;
        Some(Link { index, header, end })
    }

    /// The segment that a header names, if it is there and the one that it named.
    fn previous(&self, follower: &SegmentHeader) -> Option<Link<'_>> {
        let index = self.segments.get(&follower.previous)?;
        let linked = follower.is_joined() && !contradicts(follower, index);
        linked.then(|| self.link(index, Some(follower.previous_end))).flatten()
    }

    /// Whether a segment can be the head: its first group was durable, or is there all the same; and
    /// what it claims to follow is not something else.
    fn can_be_head(&self, index: &SegmentIndex) -> bool {
        let previous = index.header.ok().and_then(|header| {
            let previous = self.segments.get(&header.previous)?;
            Some(contradicts(&header, previous))
        });
        self.counts(index) && previous != Some(true)
    }

    pub(crate) fn counts(&self, index: &SegmentIndex) -> bool {
        let behind_first = index.groups().any(|group| group.offset > SEGMENT_HEADER_BYTES);
        let first = index.groups().next().is_some();
        behind_first || (first && index.header.is_ok()) || (first && self.is_sealed_into(index))
    }

    /// Whether a seal, written only once the segment's first group was durable, names it.
    fn is_sealed_into(&self, index: &SegmentIndex) -> bool {
        let mut groups = self.segments.values().flat_map(SegmentIndex::groups);
        groups.any(|group| {
            let header = &group.header;
            header.next_segment == index.number && header.incarnation == incarnation_of(index)
        })
    }

    /// Where the link to the segment before is lost: what would be the head of the lower ones alone, up
    /// to what is known of it to have stood. What only a later incarnation vouches for may have been void.
    fn nearest(&self, number: SegmentNumber) -> Option<Join> {
        let mut below = self.segments.range(..number).rev().map(|(_, index)| index);
        let index = below.find(|index| self.can_be_head(index))?;
        let own = incarnation_of(index);
        let same = self.segments.values().filter(|other| incarnation_of(other) == own);
        let vouched = same.map(SegmentIndex::vouches).max().unwrap_or_default();
        let stood = |group: &&GroupRef| group.has_records() && group.header.first_lsn <= vouched;
        let last = index.groups().rfind(stood);
        let before = index.header.map_or(Lsn::ZERO, |header| header.previous_lsn);
        Some(Join {
            segment: index.number,
            end: last.map_or(SEGMENT_HEADER_BYTES, |group| group.end),
            crc: last.map_or(0, |group| group.crc),
            lsn: last.map_or(before, |group| group.last_lsn),
        })
    }

    /// What can be said of a segment whose header is lost, from its groups and its neighbours.
    fn header_from_groups(&self, index: &SegmentIndex) -> Option<SegmentHeader> {
        let identity = index.identity?;
        let mut groups = index.groups();
        let first = groups.next()?;
        let second = groups.next().map(|group| group.header.first_lsn);
        let before = self.nearest(index.number).unwrap_or_default();
        let is_first = first.offset == SEGMENT_HEADER_BYTES;
        let restates = first.has_records() && first.header.kind == GroupKind::Start;
        let below_first = Lsn(first.header.first_lsn.0.saturating_sub(1));
        let previous_lsn = match (is_first, first.has_records()) {
            (true, true) => below_first,
            (true, false) => before.lsn.min(below_first),
            (false, _) => before.lsn,
        };
        let restated_lsn = if restates { first.last_lsn } else { previous_lsn };
        let next_lsn = if restates {
            second.unwrap_or(restated_lsn.next())
        } else if is_first {
            first.header.first_lsn
        } else {
            before.lsn.next()
        };
        Some(SegmentHeader {
            identity,
            // So it passes over nothing: that takes a header that was read.
            begins_incarnation: false,
            number: index.number,
            size_bytes: index.size_bytes,
            next_lsn,
            ceiling: index.groups().map(|group| group.last_lsn).max()?,
            previous: before.segment,
            previous_end: before.end,
            previous_lsn,
            restated_lsn,
            chain: before.crc,
            former: SegmentNumber(0),
        })
    }

    /// The highest LSN that the medium is known to have held. Void groups may speak too: what they
    /// say was true, and known to the recovery that made them void.
    pub(crate) fn vouched(&self, chain: &[Link<'_>], hints: &Hints) -> Lsn {
        let clean = hints.clean.map_or(Lsn::ZERO, |(_, lsn)| lsn);
        let mut vouched = hints.durable.max(hints.base).max(clean);
        for link in chain {
            vouched = vouched.max(link.header.previous_lsn);
            for group in link.index.groups() {
                vouched = vouched.max(group.header.durable_lsn);
            }
        }
        // Also a segment that does not count was written only after what it follows was flushed.
        for header in self.segments.values().filter_map(|index| index.header.ok()) {
            let previous = chain.iter().find(|link| link.index.number == header.previous);
            if previous.is_some_and(|link| !contradicts(&header, link.index)) {
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

/// Whether an intact group ends where the follower says its predecessor ends, but is another one.
fn contradicts(follower: &SegmentHeader, previous: &SegmentIndex) -> bool {
    let named = previous.groups().find(|group| group.end == follower.previous_end);
    named.is_some_and(|group| group.crc != follower.chain)
}

/// The incarnation that wrote a segment; 0 if nobody knows.
pub(crate) fn incarnation_of(index: &SegmentIndex) -> u64 {
    index.identity.map_or(0, |identity| identity.incarnation)
}
