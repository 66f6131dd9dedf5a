//! The walk along the chain: the table of DESIGN.md, "Which bytes stand", row by row.
//!
//! The place decides: before the end that a follower names, or at or below the vouched LSN, bytes were
//! durable, and what is not intact there is corrupt. Elsewhere it is a torn end, and nothing behind it
//! stands, intact or not.

mod leftovers;

use std::cmp::Ordering;

use crate::base::Lsn;
use crate::wal::chain::{Directory, Link, incarnation_of};
use crate::wal::format::{GroupKind, NUMBER_MAX, SEGMENT_HEADER_BYTES, SegmentNumber};
use crate::wal::reader::{Gap, GroupRef, Piece, Prepared, SegmentIndex};
use crate::wal::scan::{Finding, Hints, Join, Older, Scan, Standing, Verdict};

/// Where there is no log, or its end is in doubt, new LSNs keep this far away from any that may have
/// been given out.
const DOUBT_LEAP: u64 = 1 << 31;

struct Walk {
    vouched: Lsn,
    /// The LSN expected next.
    expected: Lsn,
    last_lsn: Lsn,
    chain_crc: Option<u32>,
    closed: bool,
    /// Whether durable bytes at the very end are gone, and with them what LSNs were given out.
    doubtful: bool,
    /// Whether the last incarnation is known to have stopped cleanly: the log was flushed to its last
    /// byte, and nothing of it can be torn.
    is_stopped: bool,
    standing: Vec<Standing>,
    findings: Vec<Finding>,
}

/// Judges the segments of a directory.
pub(crate) fn walk(directory: &Directory, hints: &Hints) -> Scan {
    let (chain, chain_findings) = directory.chain(hints);
    let first_base = chain.first().map_or(hints.base, |link| link.header.previous_lsn);
    let newest = directory.segments.values().map(incarnation_of).max().unwrap_or(0);
    let mut walk = Walk {
        vouched: directory.vouched(&chain, hints),
        expected: Lsn::ZERO,
        last_lsn: first_base,
        chain_crc: None,
        closed: false,
        doubtful: !directory.misnamed.is_empty(),
        is_stopped: hints.clean.is_some_and(|(incarnation, _)| newest <= incarnation),
        standing: Vec::new(),
        findings: directory.findings.iter().cloned().chain(chain_findings).collect(),
    };
    for link in &chain {
        walk.segment(link);
    }
    walk.end(&chain, hints);
    finish(directory, &chain, hints, walk, first_base)
}

impl Walk {
    fn found(
        &mut self,
        verdict: Verdict,
        link: &Link<'_>,
        gap: (u64, u64),
        why: impl Into<String>,
    ) {
        self.missing(verdict, link, gap, None, why);
    }

    fn missing(
        &mut self,
        verdict: Verdict,
        link: &Link<'_>,
        (offset, end): (u64, u64),
        missing: Option<(Lsn, Lsn)>,
        why: impl Into<String>,
    ) {
        if let Some((_, last)) = missing {
            self.standing.push(Standing::Hole { last });
            self.last_lsn = self.last_lsn.max(last);
        }
        let file = link.index.number.file_name();
        let length = end.saturating_sub(offset);
        self.findings.push(Finding { verdict, file, offset, length, missing, why: why.into() });
    }

    fn segment(&mut self, link: &Link<'_>) {
        self.header(link);
        let header = &link.header;
        if self.last_lsn < header.previous_lsn {
            let missing = Some((self.last_lsn.next(), header.previous_lsn));
            let why = "the end of the segment before is missing";
            self.missing(Verdict::Corrupt, link, (0, 0), missing, why);
        }
        self.last_lsn = header.previous_lsn;
        self.void_above(header.previous_lsn);
        self.expected =
            if header.restates() { header.previous_lsn.next() } else { header.next_lsn };
        self.chain_crc = link.index.header.is_ok().then_some(header.chain);
        self.closed = false;
        let mut gap: Option<Gap> = None;
        for piece in link.pieces() {
            let group = match piece {
                Piece::Gap(found) => {
                    gap = Some(*found);
                    continue;
                }
                Piece::Group(group) => group,
            };
            let stands = match gap.take() {
                Some(gap) => self.stands_behind(link, gap, group),
                None => self.follows(link, group),
            };
            if !stands {
                return;
            }
            self.group(link, group);
        }
        if let Some(gap) = gap {
            self.judge_end(link, (gap.offset, gap.end), gap.why, gap.blank);
        }
    }

    /// What stood above the LSN at which a segment joins does not stand. There is such a thing only
    /// where a header had to be guessed, or lies. Invariant: LSNs rise along `standing`.
    fn void_above(&mut self, joins_at: Lsn) {
        let last = |standing: &Standing| match standing {
            Standing::Group { group, .. } => group.last_lsn,
            Standing::Hole { last } => *last,
        };
        let mut cuts_hole = false;
        while let Some(void) = self.standing.pop_if(|standing| last(standing) > joins_at) {
            cuts_hole |= matches!(void, Standing::Hole { .. });
        }
        // Of a hole that began below it, that much is left.
        if cuts_hole && self.standing.last().is_some_and(|standing| last(standing) < joins_at) {
            self.standing.push(Standing::Hole { last: joins_at });
        }
    }

    /// What the header itself has to say.
    fn header(&mut self, link: &Link<'_>) {
        let index = link.index;
        let is_head = link.end.is_none();
        let header = (0, SEGMENT_HEADER_BYTES.min(index.size_bytes));
        if let Err(why) = index.header {
            // Nobody knows how high its LSNs may have gone.
            self.doubtful |= is_head;
            self.found(Verdict::Corrupt, link, header, format!("{why}; its groups are used"));
        } else if !index.header_intact {
            // The one flush that makes header and first group durable may not have succeeded; then no
            // byte of the log is lost by it.
            let is_behind_flush = |group: &GroupRef| {
                let is_vouched = group.has_records() && group.last_lsn <= self.vouched;
                group.offset > SEGMENT_HEADER_BYTES || is_vouched
            };
            let flushed = self.is_stopped || !is_head || index.groups().any(is_behind_flush);
            let (verdict, place) =
                if flushed { (Verdict::Corrupt, header) } else { (Verdict::Torn, (0, 0)) };
            self.found(verdict, link, place, "the segment header is damaged; one copy will do");
        }
        if !index.is_whole() {
            let why = "the file has not the length that the segment was made with";
            self.found(Verdict::Corrupt, link, (index.size_bytes, index.size_bytes), why);
        }
    }

    /// Whether an intact group is the one that comes next; if not, the log ends before it.
    fn follows(&mut self, link: &Link<'_>, group: &GroupRef) -> bool {
        let header = &link.header;
        let chained = self.chain_crc.is_none_or(|crc| crc == group.header.chain);
        // What a start restates may begin behind LSNs that were never used.
        let is_next = if header.restates() && group.offset == SEGMENT_HEADER_BYTES {
            group.header.kind == GroupKind::Start
                && group.header.first_lsn >= self.expected
                && group.last_lsn == header.restated_lsn
        } else {
            group.header.first_lsn == self.expected
        };
        let follows = chained && is_next;
        if !follows {
            let why = match group.header.kind {
                GroupKind::Seal => "the segment in which the log goes on is missing",
                _ => "an intact group that does not continue the log",
            };
            self.judge_end(link, (group.offset, link.index.size_bytes), why, false);
        }
        follows
    }

    fn group(&mut self, link: &Link<'_>, group: &GroupRef) {
        if !group.padding_intact {
            let place = (group.offset + group.header.length, group.end);
            // A torn write of a group leaves there what the file had before.
            let is_vouched = group.has_records() && group.last_lsn <= self.vouched;
            let is_durable = link.end.is_some() || is_vouched || link.header.former.0 == 0;
            let verdict = if is_durable { Verdict::Corrupt } else { self.torn() };
            self.found(verdict, link, place, "the padding of a group is damaged");
        }
        self.chain_crc = Some(group.crc);
        self.closed = group.header.kind == GroupKind::Close;
        self.expected = group.last_lsn.next();
        if group.header.kind == GroupKind::Start {
            self.expected = link.header.next_lsn;
        }
        if group.has_records() {
            self.last_lsn = group.last_lsn;
            let segment = link.index.number;
            self.standing.push(Standing::Group { segment, group: *group });
        }
    }

    /// Whether the intact group behind a gap stands; if not, the log ends at the gap.
    fn stands_behind(&mut self, link: &Link<'_>, gap: Gap, next: &GroupRef) -> bool {
        let next_lsn = next.header.first_lsn;
        let restated = link.header.restated_lsn;
        let behind_start = self.expected <= restated && next_lsn == link.header.next_lsn;
        let last = if behind_start { restated } else { Lsn(next_lsn.0.saturating_sub(1)) };
        let durable = link.end.is_some() || last <= self.vouched;
        let place = (gap.offset, gap.end);
        match next_lsn.cmp(&self.expected) {
            Ordering::Equal => {
                let why = format!("a group without records is damaged: {}", gap.why);
                self.found(Verdict::Corrupt, link, place, why);
            }
            Ordering::Greater if durable => {
                let missing = Some((self.expected, last));
                self.missing(Verdict::Corrupt, link, place, missing, gap.why);
            }
            _ => {
                self.judge_end(link, (gap.offset, link.index.size_bytes), gap.why, false);
                return false;
            }
        }
        true
    }

    /// A place behind which nothing of this segment stands.
    fn judge_end(&mut self, link: &Link<'_>, place: (u64, u64), why: &str, blank: bool) {
        if link.end.is_some() {
            // What is missing is told at the follower, whose header says what came before it.
            self.found(Verdict::Corrupt, link, place, why);
        } else if self.expected <= self.vouched {
            let missing = Some((self.expected, self.vouched));
            self.doubtful = true;
            self.missing(Verdict::Corrupt, link, place, missing, why);
        } else if self.closed && !blank && link.header.former.0 == 0 {
            self.found(Verdict::Corrupt, link, place, format!("behind a clean stop: {why}"));
        } else if !blank {
            self.found(self.torn(), link, place, why);
        }
    }

    /// What an end that nothing vouches for is.
    fn torn(&self) -> Verdict {
        if self.is_stopped { Verdict::Corrupt } else { Verdict::Torn }
    }

    /// What can only be said of the log as a whole.
    fn end(&mut self, chain: &[Link<'_>], hints: &Hints) {
        let head = chain.last();
        let head_incarnation = head.map_or(0, |link| link.header.identity.incarnation);
        // After a clean stop the whole log may be deleted, but not its end alone.
        let stopped = hints.clean.filter(|_| head.is_some()).map(|(incarnation, _)| incarnation);
        let lacks = if hints.begun.or(stopped).is_some_and(|begun| head_incarnation < begun) {
            // A clean stop tells what LSNs were given out.
            self.doubtful |= stopped.is_none();
            Some("the segments of the last opening are missing")
        } else if self.is_stopped && stopped.is_some() && !self.closed && self.findings.is_empty() {
            Some("the mark of the clean stop is missing")
        } else {
            None
        };
        if let Some(why) = lacks {
            self.findings.push(Finding {
                verdict: Verdict::Corrupt,
                file: head.map_or_else(String::new, |link| link.index.number.file_name()),
                offset: 0,
                length: 0,
                missing: None,
                why: why.to_owned(),
            });
        }
        if self.last_lsn < self.vouched {
            self.doubtful = true;
            let missing = (self.last_lsn.next(), self.vouched);
            self.standing.push(Standing::Hole { last: self.vouched });
            self.last_lsn = self.vouched;
            self.findings.push(Finding {
                verdict: Verdict::Corrupt,
                file: head.map_or_else(String::new, |link| link.index.number.file_name()),
                offset: head.map_or(0, |link| link.index.size_bytes),
                length: 0,
                missing: Some(missing),
                why: "records that were durable are missing at the end".to_owned(),
            });
        }
    }
}

fn finish(
    directory: &Directory,
    chain: &[Link<'_>],
    hints: &Hints,
    mut walk: Walk,
    first_base: Lsn,
) -> Scan {
    let leftovers = leftovers::leftovers(directory, chain, hints, &mut walk);
    let last_lsn = walk.last_lsn.max(walk.vouched).max(first_base);
    let known = directory.segments.values().filter(|index| index.identity.is_some());
    let highest = known.map(|index| index.number.0).max().unwrap_or(1);
    let is_free = |number: &u64| !directory.taken_numbers.contains(&SegmentNumber(*number));
    let next_number = (highest..NUMBER_MAX).find(is_free).unwrap_or(NUMBER_MAX);
    Scan {
        store: directory.store,
        closed: walk.closed,
        end_in_doubt: walk.doubtful,
        first_base,
        last_lsn,
        vouched: walk.vouched,
        incarnation_max: directory.segments.values().map(incarnation_of).max().unwrap_or(0),
        leftovers,
        other_files: directory.other_files.clone(),
        size_bytes: directory.segments.values().map(|index| index.size_bytes).sum(),
        join: join(chain, &walk),
        next_number: SegmentNumber(next_number),
        next_lsn: next_lsn(directory, chain, hints, &walk, last_lsn),
        segments: needed(chain, walk.last_lsn),
        standing: walk.standing,
        findings: walk.findings,
    }
}

/// The first LSN that nobody can have been told of.
fn next_lsn(
    directory: &Directory,
    chain: &[Link<'_>],
    hints: &Hints,
    walk: &Walk,
    last_lsn: Lsn,
) -> Lsn {
    let segments = || directory.segments.values();
    let newest = segments().map(incarnation_of).max().unwrap_or(0);
    let clean = hints.clean.is_some_and(|(incarnation, lsn)| {
        lsn >= last_lsn && newest <= incarnation && !walk.doubtful
    });
    let unused =
        segments().all(|index| index.prepared == Some(Prepared::Zeroes) && index.is_whole());
    let untouched = unused && last_lsn == Lsn::ZERO && hints.begun.is_none();
    if clean || untouched {
        return last_lsn.next();
    }
    let ceilings = segments().filter_map(|index| index.header.ok()).map(|header| header.ceiling);
    let groups = segments().flat_map(SegmentIndex::groups).map(|group| group.last_lsn);
    let highest = ceilings.chain(groups).fold(last_lsn.max(hints.given_out), Ord::max);
    highest.plus(if walk.doubtful || chain.is_empty() { DOUBT_LEAP } else { 1 })
}

/// The last vouched group of records. Where there is none, no group is named, so that no segment that is
/// there or comes back can contradict the next header: a head that is contradicted is none. The segment
/// that the oldest one names still tells what was not passed over.
fn join(chain: &[Link<'_>], walk: &Walk) -> Join {
    let vouched = walk.standing.iter().rev().find_map(|standing| match standing {
        Standing::Group { segment, group } if group.header.first_lsn <= walk.vouched => {
            Some(Join { segment: *segment, end: group.end, crc: group.crc, lsn: group.last_lsn })
        }
        _ => None,
    });
    let before = chain.first().map_or(SegmentNumber(0), |link| link.header.previous);
    let mut join = vouched.unwrap_or(Join { segment: before, ..Join::default() });
    join.lsn = join.lsn.max(walk.vouched);
    join
}

/// Each segment of the chain with the last LSN for which it is needed.
fn needed(chain: &[Link<'_>], last_lsn: Lsn) -> Vec<Older> {
    let followers = chain.iter().skip(1).map(|link| link.header.previous_lsn);
    let ends = followers.chain(std::iter::once(last_lsn));
    let older = |(link, last_lsn): (&Link<'_>, Lsn)| Older {
        number: link.index.number,
        size_bytes: link.index.size_bytes,
        last_lsn,
    };
    chain.iter().zip(ends).map(older).collect()
}
