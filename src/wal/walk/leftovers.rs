//! Segment files out of the chain: worthless, or torn, or damaged.
//!
//! It judges what the walk left over, and changes nothing. Invariant: a segment with a record that
//! nothing else holds is never called worthless.

use crate::base::Lsn;
use crate::wal::chain::{Directory, Link};
use crate::wal::format::SegmentNumber;
use crate::wal::reader::SegmentIndex;
use crate::wal::scan::{Finding, Hints, Leftover, Verdict};
use crate::wal::walk::Walk;

/// The segment files that are not in the chain, and what is to be said of them.
pub(super) fn leftovers(
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
        let is_above = index.number > head;
        let is_cut = index.number < oldest && index.header.is_ok() && ends_at(index, hints.base);
        let is_restated = chain.iter().any(|link| passes_over(link, index));
        let is_worthless = index.is_whole() && (index.prepared.is_some() || is_cut || is_restated);
        if !is_worthless {
            let (verdict, why) = if !index.is_whole() {
                (Verdict::Corrupt, "the segment was cut short")
            } else if is_above && directory.counts(index) {
                (Verdict::Corrupt, "the segment does not follow the one that it names")
            } else if chain.last().is_some_and(|link| goes_on_in(link, index)) {
                (Verdict::Corrupt, "a segment in which the log went on has lost its beginning")
            } else if is_above {
                (walk.torn(), "a segment whose beginning was never completed")
            } else {
                (Verdict::Torn, "a segment whose beginning was never completed")
            };
            walk.doubtful |= verdict == Verdict::Corrupt && is_above && !walk.is_stopped;
            let (file, why, length) = (file.clone(), why.to_owned(), index.size_bytes);
            walk.findings.push(Finding { verdict, file, offset: 0, length, missing: None, why });
        }
        leftovers.push(Leftover { file, is_worthless });
    }
    leftovers
}

/// Whether the log is known to have gone on in a segment: a seal is written only behind the flush of
/// the first group of the segment that it names.
fn goes_on_in(link: &Link<'_>, index: &SegmentIndex) -> bool {
    link.index.groups().any(|group| group.header.next_segment == index.number)
}

/// Whether a segment has no records above `lsn`.
fn ends_at(index: &SegmentIndex, lsn: Lsn) -> bool {
    index.groups().all(|group| !group.has_records() || group.last_lsn <= lsn)
}

/// Whether `link` begins an incarnation that joined below a segment, which a crash had left without
/// anything to vouch for it, and restated all its records. What else is in the segment, a torn end, did
/// not stand then, and was set aside before that incarnation began.
fn passes_over(link: &Link<'_>, index: &SegmentIndex) -> bool {
    let header = &link.header;
    index.header.is_ok()
        && header.begins_incarnation
        && (header.previous.0 + 1..header.number.0).contains(&index.number.0)
        && ends_at(index, header.restated_lsn)
}
