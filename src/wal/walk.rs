//! The walk along the chain: the table of DESIGN.md, "Which bytes stand", row by row.
//!
//! The place decides: before the end that a follower names, or at or below the vouched LSN, bytes were
//! durable, and what is not intact there is corrupt. Elsewhere it is a torn end, and nothing behind it
//! stands, intact or not.

use crate::base::Lsn;
use crate::wal::chain::{Directory, Link, incarnation_of};
use crate::wal::format::{GroupKind, SegmentNumber};
use crate::wal::reader::{Gap, GroupRef, Piece, SegmentIndex};
use crate::wal::scan::{Finding, Hints, Join, Leftover, Older, Scan, Standing, Verdict};

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
    standing: Vec<Standing>,
    findings: Vec<Finding>,
}

/// Judges the segments of a directory.
pub(crate) fn walk(directory: &Directory, hints: &Hints) -> Scan {
    let (chain, chain_findings) = directory.chain(hints);
    let mut walk = Walk {
        vouched: directory.vouched(&chain, hints),
        expected: Lsn::ZERO,
        last_lsn: chain.first().map_or(Lsn::ZERO, |link| link.header.previous_lsn),
        chain_crc: None,
        closed: false,
        doubtful: false,
        standing: Vec::new(),
        findings: directory.findings.iter().cloned().chain(chain_findings).collect(),
    };
    let first_base = chain.first().map_or(hints.base, |link| link.header.previous_lsn);
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
        let index = link.index;
        if let Err(why) = index.header {
            self.found(Verdict::Corrupt, link, (0, 0), format!("{why}; its groups are used"));
        } else if !index.header_intact {
            self.found(Verdict::Corrupt, link, (0, 0), "one copy of the segment header is damaged");
        }
        if !index.is_whole() {
            let why = "the file has not the length that the segment was made with";
            self.found(Verdict::Corrupt, link, (index.size_bytes, index.size_bytes), why);
        }
        if self.last_lsn < link.header.previous_lsn {
            let missing = Some((self.last_lsn.next(), link.header.previous_lsn));
            let why = "the end of the segment before is missing";
            self.missing(Verdict::Corrupt, link, (0, 0), missing, why);
        }
        self.last_lsn = link.header.previous_lsn;
        self.expected = link.header.first_lsn();
        self.chain_crc = Some(link.header.chain);
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
            self.judge_end(link, (gap.offset, gap.end), gap.why, gap.zero);
        }
    }

    /// Whether an intact group is the one that comes next; if not, the log ends before it.
    fn follows(&mut self, link: &Link<'_>, group: &GroupRef) -> bool {
        let unknown = link.index.header.is_err();
        let chained = unknown || self.chain_crc.is_none_or(|crc| crc == group.header.chain);
        let follows = chained && group.header.first_lsn == self.expected;
        if !follows {
            let why = "an intact group that does not continue the log";
            self.judge_end(link, (group.offset, link.index.size_bytes), why, false);
        }
        follows
    }

    fn group(&mut self, link: &Link<'_>, group: &GroupRef) {
        if !group.padding_intact {
            let place = (group.offset + group.header.length, group.end);
            self.found(Verdict::Corrupt, link, place, "the padding of a group is damaged");
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
        if next_lsn == self.expected {
            let why = format!("a group without records is damaged: {}", gap.why);
            self.found(Verdict::Corrupt, link, place, why);
        } else if next_lsn > self.expected && durable {
            let missing = Some((self.expected, last));
            self.missing(Verdict::Corrupt, link, place, missing, gap.why);
        } else {
            self.judge_end(link, (gap.offset, link.index.size_bytes), gap.why, false);
            return false;
        }
        true
    }

    /// A place behind which nothing of this segment stands.
    fn judge_end(&mut self, link: &Link<'_>, place: (u64, u64), why: &str, zero: bool) {
        if link.end.is_some() {
            // What is missing is told at the follower, whose header says what came before it.
            self.found(Verdict::Corrupt, link, place, why);
        } else if self.expected <= self.vouched {
            let missing = Some((self.expected, self.vouched));
            self.doubtful = true;
            self.missing(Verdict::Corrupt, link, place, missing, why);
        } else if self.closed && !zero {
            self.found(Verdict::Corrupt, link, place, format!("behind a clean stop: {why}"));
        } else if !zero {
            self.found(Verdict::Torn, link, place, why);
        }
    }

    /// What can only be said of the log as a whole.
    fn end(&mut self, chain: &[Link<'_>], hints: &Hints) {
        let head = chain.last();
        let head_incarnation = head.map_or(0, |link| link.header.identity.incarnation);
        if hints.begun.is_some_and(|begun| head_incarnation < begun) {
            self.doubtful = true;
            self.findings.push(Finding {
                verdict: Verdict::Corrupt,
                file: head.map_or_else(String::new, |link| link.index.number.file_name()),
                offset: 0,
                length: 0,
                missing: None,
                why: "the segments of the last opening are missing".to_owned(),
            });
        } else if let Some(link) = head.filter(|_| self.last_lsn < self.vouched) {
            let size = link.index.size_bytes;
            let missing = Some((self.last_lsn.next(), self.vouched));
            let why = "records that were durable are missing at the end";
            self.doubtful = true;
            self.missing(Verdict::Corrupt, link, (size, size), missing, why);
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
    let leftovers = leftovers(directory, chain, &mut walk);
    let last_lsn = walk.last_lsn.max(walk.vouched).max(first_base);
    let mut next_number = directory.segments.keys().max().map_or(1, |number| number.0 + 1);
    while directory.taken_numbers.contains(&SegmentNumber(next_number)) {
        next_number += 1;
    }
    Scan {
        store: directory.store,
        closed: walk.closed,
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
    let untouched = segments().next().is_none() && last_lsn == Lsn::ZERO && hints.begun.is_none();
    if clean || untouched {
        return last_lsn.next();
    }
    let ceilings = segments().filter_map(|index| index.header.ok()).map(|header| header.ceiling);
    let groups = segments().flat_map(SegmentIndex::groups).map(|group| group.last_lsn);
    let highest = ceilings.chain(groups).max().unwrap_or_default().max(last_lsn);
    highest.plus(if walk.doubtful || chain.is_empty() { DOUBT_LEAP } else { 1 })
}

/// The last vouched group of records; where there is none, what the oldest segment names.
fn join(chain: &[Link<'_>], walk: &Walk) -> Join {
    let vouched = walk.standing.iter().rev().find_map(|standing| match standing {
        Standing::Group { segment, group } if group.header.first_lsn <= walk.vouched => {
            Some(Join { segment: *segment, end: group.end, crc: group.crc, lsn: group.last_lsn })
        }
        _ => None,
    });
    let oldest = chain.first().map(|link| Join {
        segment: link.header.previous,
        end: link.header.previous_end,
        crc: link.header.chain,
        lsn: link.header.previous_lsn,
    });
    let mut join = vouched.or(oldest).unwrap_or_default();
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

/// The segment files that are not in the chain, and what is to be said of them.
fn leftovers(directory: &Directory, chain: &[Link<'_>], walk: &mut Walk) -> Vec<Leftover> {
    let oldest = chain.first().map_or(SegmentNumber(0), |link| link.index.number);
    let mut leftovers = Vec::new();
    for index in directory.segments.values() {
        if chain.iter().any(|link| link.index.number == index.number) {
            continue;
        }
        let restated = index.pieces.iter().all(|piece| match piece {
            Piece::Gap(gap) => gap.zero,
            Piece::Group(group) => !group.has_records() || group.last_lsn <= walk.last_lsn,
        });
        let file = index.number.file_name();
        let cut = index.number < oldest;
        let is_worthless = index.is_whole() && (index.zero || cut || restated);
        if !is_worthless {
            let (verdict, why) = if index.is_whole() {
                (Verdict::Torn, "a segment whose beginning was never completed")
            } else {
                walk.doubtful = true;
                (Verdict::Corrupt, "the segment was cut short")
            };
            let (file, why, length) = (file.clone(), why.to_owned(), index.size_bytes);
            walk.findings.push(Finding { verdict, file, offset: 0, length, missing: None, why });
        }
        leftovers.push(Leftover { file, is_worthless });
    }
    leftovers
}
