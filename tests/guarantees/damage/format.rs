//! The log's bytes, read once more from the description of the format, without the engine: which of them
//! hold durable records, which the one group that nothing vouches for, and which say nothing.
//!
//! It reads undamaged references only, so it checks no checksum, and it need not be robust.

use std::collections::BTreeMap;
use std::ops::Range;

use serde_json::Value;

const BLOCK: u64 = 4096;
const FIRST_GROUP: u64 = 8192;
/// The kind of a group, and the kind that says that nothing was written there.
const KIND_AT: usize = 52;
const KIND_END: u8 = 6;
/// How long an end mark is.
pub(super) const END_MARK: usize = 64;

/// What is lost with a byte of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Meaning {
    /// Nothing: prepared, void behind where the log goes on, or behind its end.
    Nothing,
    /// The end mark behind the last group: that nothing was written there.
    EndMark,
    /// The last group before an unclean stop, which nothing vouches for.
    LastGroup,
    /// Something that was durable, and is known to have been.
    Durable,
}

#[derive(Clone, Debug)]
pub(super) struct Group {
    /// Its bytes, padding included.
    pub(super) range: Range<usize>,
    pub(super) first_lsn: u64,
    pub(super) count: u64,
    /// The highest LSN that it knows to be durable.
    durable_lsn: u64,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Segment {
    /// All zeroes, or marked to be used again.
    pub(super) is_prepared: bool,
    /// It was another segment before.
    pub(super) is_reused: bool,
    pub(super) groups: Vec<Group>,
    /// Every byte, in order.
    pub(super) regions: Vec<(Range<usize>, Meaning)>,
    /// Everything in it is in `state.json` as well.
    pub(super) is_below_snapshot: bool,
    previous: u64,
    previous_end: u64,
    previous_lsn: u64,
}

fn word(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
}

fn segment(bytes: &[u8]) -> Segment {
    if bytes.iter().all(|byte| *byte == 0) {
        return Segment { is_prepared: true, ..Segment::default() };
    }
    if bytes.starts_with(b"WALDENPR") {
        return Segment { is_prepared: true, is_reused: true, ..Segment::default() };
    }
    assert_eq!(&bytes[..8], b"WALDENLG", "a segment has a header");
    let mut groups = Vec::new();
    let mut at = FIRST_GROUP;
    while at < bytes.len() as u64 {
        let start = usize::try_from(at).unwrap();
        let length = word(bytes, start + 8);
        if is_end(&bytes[start..start + END_MARK]) {
            break;
        }
        let end = at + length.next_multiple_of(BLOCK);
        let count = u64::from(u32::from_le_bytes(bytes[start + 4..start + 8].try_into().unwrap()));
        let range = start..usize::try_from(end).unwrap();
        let (first_lsn, durable_lsn) = (word(bytes, start + 16), word(bytes, start + 24));
        groups.push(Group { range, first_lsn, count, durable_lsn });
        at = end;
    }
    Segment {
        groups,
        is_reused: word(bytes, 116) != 0,
        previous: word(bytes, 80),
        previous_end: word(bytes, 88),
        previous_lsn: word(bytes, 96),
        ..Segment::default()
    }
}

/// Whether nothing was written in the place of a group: zeroes, or an end mark.
pub(super) fn is_end(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0) || bytes[KIND_AT] == KIND_END
}

/// Reads all segments of a store, and says what their bytes mean.
pub(super) fn read(files: &BTreeMap<String, Vec<u8>>, is_clean: bool) -> BTreeMap<String, Segment> {
    let state: Value = serde_json::from_slice(&files["state.json"]).unwrap();
    let snapshot = state["engine"]["lsn"].as_u64().unwrap();
    let names = files.keys().filter(|name| name.ends_with(".wal"));
    let mut segments: BTreeMap<String, Segment> =
        names.map(|name| (name.clone(), segment(&files[name]))).collect();
    let used: Vec<String> =
        segments.keys().filter(|name| !segments[*name].is_prepared).cloned().collect();
    let ends: Vec<(u64, u64, u64)> = used
        .iter()
        .map(|name| {
            (segments[name].previous, segments[name].previous_end, segments[name].previous_lsn)
        })
        .collect();
    let groups = segments.values().flat_map(|segment| &segment.groups);
    let vouched = groups.map(|group| group.durable_lsn).max().unwrap_or_default();
    for (name, segment) in &mut segments {
        let length = files[name].len();
        let number: u64 = name[4..24].parse().unwrap();
        let follower = ends.iter().find(|(previous, ..)| *previous == number);
        segment.is_below_snapshot = follower.is_some_and(|(.., lsn)| *lsn <= snapshot);
        segment.regions = match (segment.is_prepared, follower, segment.groups.last()) {
            (true, ..) => vec![(0..length, Meaning::Nothing)],
            (false, Some((_, end, _)), _) => {
                let end = usize::try_from(*end).unwrap();
                vec![(0..end, Meaning::Durable), (end..length, Meaning::Nothing)]
            }
            (false, None, Some(last)) => {
                let is_vouched = is_clean || last.first_lsn + last.count <= vouched + 1;
                let meaning = if is_vouched { Meaning::Durable } else { Meaning::LastGroup };
                let Range { start, end } = last.range;
                let mark = if segment.is_reused { END_MARK } else { 0 };
                let behind = (end + mark).min(length);
                let mut regions = vec![
                    (0..start, Meaning::Durable),
                    (start..end, meaning),
                    (end..behind, Meaning::EndMark),
                    (behind..length, Meaning::Nothing),
                ];
                regions.retain(|(range, _)| !range.is_empty());
                regions
            }
            (false, None, None) => panic!("{name} has a header and no group"),
        };
    }
    segments
}

impl Segment {
    /// What is lost at most where `damaged` is in the place of `whole`; `None` if no byte differs.
    pub(super) fn meaning(&self, whole: &[u8], damaged: Option<&[u8]>) -> Option<Meaning> {
        let differs = |range: &Range<usize>| {
            let now = damaged.and_then(|bytes| bytes.get(range.clone()));
            now.is_none_or(|now| now != &whole[range.clone()])
        };
        let worst = self.regions.iter().filter(|(range, _)| differs(range)).map(|(_, what)| *what);
        let longer = damaged.is_some_and(|bytes| bytes.len() > whole.len());
        worst.max().or_else(|| longer.then_some(Meaning::Nothing))
    }

    /// The group that holds the record.
    pub(super) fn group_of(&self, lsn: u64) -> Option<&Group> {
        let mut groups = self.groups.iter();
        groups.find(|group| group.first_lsn <= lsn && lsn < group.first_lsn + group.count)
    }

    /// One line for people who read the test's output.
    pub(super) fn describe(&self) -> String {
        let groups: Vec<String> = self
            .groups
            .iter()
            .map(|group| format!("{}+{}@{}", group.first_lsn, group.count, group.range.start))
            .collect();
        let (prepared, reused) = (self.is_prepared, self.is_reused);
        format!("prepared: {prepared}, reused: {reused}, groups {groups:?}, {:?}", self.regions)
    }
}
