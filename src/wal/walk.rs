//! The walk along the chain: the table of DESIGN.md, "Which bytes stand", row by row.
//!
//! The place decides: before the end that a follower names, or at or below the vouched LSN, bytes were
//! durable, and what is not intact there is corrupt. Elsewhere it is a torn end, and nothing behind it
//! stands, intact or not.

use crate::base::Lsn;
use crate::wal::chain::{Directory, Link, incarnation_of};
use crate::wal::format::{GroupKind, NUMBER_MAX, SEGMENT_HEADER_BYTES, SegmentNumber};
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
    let first_base = chain.first().map_or(hints.base, |link| link.header.previous_lsn);
    let mut walk = Walk {
        vouched: directory.vouched(&chain, hints),
        expected: Lsn::ZERO,
        last_lsn: first_base,
        chain_crc: None,
        closed: false,
        doubtful: !directory.misnamed.is_empty(),
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
        // Only where a header had to be guessed can the segment before reach above it.
        let is_void = |standing: &mut Standing| match standing {
            Standing::Group { group, .. } => group.last_lsn > header.previous_lsn,
            Standing::Hole { .. } => false,
        };
        while self.standing.pop_if(is_void).is_some() {}
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
            self.judge_end(link, (gap.offset, gap.end), gap.why, gap.zero);
        }
    }

    /// What the header itself has to say.
    fn header(&mut self, link: &Link<'_>) {
        let index = link.index;
        let is_head = link.end.is_none();
        if let Err(why) = index.header {
            // Nobody knows how high its LSNs may have gone.
            self.doubtful |= is_head;
            self.found(Verdict::Corrupt, link, (0, 0), format!("{why}; its groups are used"));
        } else if !index.header_intact {
            // The one flush that makes the header durable may not have succeeded.
            let flushed = !is_head || index.groups().nth(1).is_some();
            let verdict = if flushed { Verdict::Corrupt } else { Verdict::Torn };
            self.found(verdict, link, (0, 0), "the segment header is damaged; one copy will do");
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
    let leftovers = leftovers(directory, chain, hints, &mut walk);
    let last_lsn = walk.last_lsn.max(walk.vouched).max(first_base);
    let known = directory.segments.values().filter(|index| index.identity.is_some());
    let above = known.map(|index| index.number.0 + 1).max().unwrap_or(1);
    let is_free = |number: &u64| !directory.taken_numbers.contains(&SegmentNumber(*number));
    let next_number = (above..NUMBER_MAX).find(is_free).unwrap_or(NUMBER_MAX);
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
    let unused = segments().all(|index| index.zero && index.is_whole());
    let untouched = unused && last_lsn == Lsn::ZERO && hints.begun.is_none();
    if clean || untouched {
        return last_lsn.next();
    }
    let ceilings = segments().filter_map(|index| index.header.ok()).map(|header| header.ceiling);
    let groups = segments().flat_map(SegmentIndex::groups).map(|group| group.last_lsn);
    let highest = ceilings.chain(groups).fold(last_lsn.max(hints.given_out), Ord::max);
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
fn leftovers(
    directory: &Directory,
    chain: &[Link<'_>],
    hints: &Hints,
    walk: &mut Walk,
) -> Vec<Leftover> {
    let misnamed = directory.misnamed.iter().map(|number| number.file_name());
    let mut leftovers: Vec<Leftover> =
        misnamed.map(|file| Leftover { file, is_worthless: false }).collect();
    let number_of = |link: Option<&Link<'_>>| link.map_or(SegmentNumber(0), |l| l.index.number);
    let (oldest, head) = (number_of(chain.first()), number_of(chain.last()));
    for index in directory.segments.values() {
        if chain.iter().any(|link| link.index.number == index.number) {
            continue;
        }
        let file = index.number.file_name();
        let is_cut = index.number < oldest && index.header.is_ok() && ends_at(index, hints.base);
        let is_restated = index.number < head
            && is_undamaged(index)
            && ends_at(index, walk.last_lsn)
            && (index.header.is_ok_and(|header| header.begins_incarnation)
                || chain.iter().any(|link| passes_over(link, index)));
        let is_worthless = index.is_whole() && (index.zero || is_cut || is_restated);
        if !is_worthless {
            let (verdict, why) = if !index.is_whole() {
                (Verdict::Corrupt, "the segment was cut short")
            } else if index.number > head && directory.counts(index) {
                (Verdict::Corrupt, "the segment does not follow the one that it names")
            } else {
                (Verdict::Torn, "a segment whose beginning was never completed")
            };
            walk.doubtful |= verdict == Verdict::Corrupt && index.number > head;
            let (file, why, length) = (file.clone(), why.to_owned(), index.size_bytes);
            walk.findings.push(Finding { verdict, file, offset: 0, length, missing: None, why });
        }
        leftovers.push(Leftover { file, is_worthless });
    }
    leftovers
}

/// Whether a segment has no records above `lsn`.
fn ends_at(index: &SegmentIndex, lsn: Lsn) -> bool {
    index.groups().all(|group| !group.has_records() || group.last_lsn <= lsn)
}

/// Whether a segment is undamaged. One that begins an incarnation and is out of the chain is left of
/// an opening that did not come to its end; a later one restated what it has.
fn is_undamaged(index: &SegmentIndex) -> bool {
    let is_sound = |piece: &Piece| !matches!(piece, Piece::Gap(gap) if !gap.zero);
    index.header.is_ok() && index.pieces.iter().all(is_sound)
}

/// Whether `link` begins an incarnation that joined below a segment, which a crash had left without
/// anything to vouch for it, and restated all its records.
fn passes_over(link: &Link<'_>, index: &SegmentIndex) -> bool {
    let header = &link.header;
    header.begins_incarnation
        && header.previous < index.number
        && index.number < header.number
        && ends_at(index, header.restated_lsn)
}
