//! The verdict on one damaged store: what was acknowledged is there, or its loss is told; and if nothing
//! is told, the damaged bytes say nothing, by a reading of the formats that the engine has no part in.

use std::collections::BTreeMap;

use serde_json::Value;
use walden::fs::sim::SimFs;
use walden::{Error, Problem, ProblemKind, Store};

use super::cases::{Family, Kind};
use super::format::{END_MARK, Meaning, is_end};
use super::store::{Key, Reference, open};
use super::tally::Class;
use crate::support::{Documents, at, documents, files};

type Files = BTreeMap<String, Option<Vec<u8>>>;
type Judged<T> = Result<T, String>;

/// One damaged store.
struct Case<'a> {
    reference: &'a Reference,
    name: &'a str,
    kind: Kind,
    /// The names that a finding may bear.
    named: Vec<String>,
    disk: SimFs,
    before: Files,
    /// The worst that the damage can have done to the log.
    meaning: Option<Meaning>,
}

/// Does damage `number` of the family to a copy of its store, and judges what comes of it; `None` if it
/// changes nothing. `goes_on`: also what comes of it later.
pub(super) fn judge(family: &Family<'_>, number: usize, goes_on: bool) -> Option<Judged<Class>> {
    let disk = family.reference.disk.if_killed();
    let named = family.inflict(&disk, number)?;
    let before = files(&disk);
    let reference = family.reference;
    let is_same =
        |(name, bytes): (&String, &Vec<u8>)| before.get(name) == Some(&Some(bytes.clone()));
    if before.len() == reference.files.len() && reference.files.iter().all(is_same) {
        return None;
    }
    let segments = reference.segments.iter();
    let meaning = segments
        .filter_map(|(name, segment)| {
            let now = before.get(name).and_then(Option::as_deref);
            segment.meaning(&reference.files[name], now)
        })
        .max();
    let case =
        Case { reference, name: &family.name, kind: family.kind, named, disk, before, meaning };
    Some(case.judge(goes_on))
}

fn ensure(holds: bool, why: impl FnOnce() -> String) -> Judged<()> {
    if holds { Ok(()) } else { Err(why()) }
}

impl Case<'_> {
    fn is_log(&self) -> bool {
        self.name.ends_with(".wal")
    }

    fn is_mirror(&self) -> bool {
        ["tasks/", "sessions/"].iter().any(|dir| self.name.starts_with(dir))
    }

    /// Outputs and what is kept for people: not the engine's to judge.
    fn is_peoples(&self) -> bool {
        let dirs = ["logs/", "reports/", "conflicts/", "state.pre-migration", "state.migration"];
        dirs.iter().any(|dir| self.name.starts_with(dir))
    }

    fn is_named(&self, problem: &Problem) -> bool {
        let whole_log = matches!(
            self.kind,
            Kind::SegmentMissing
                | Kind::SegmentStale
                | Kind::SegmentForeign
                | Kind::AllSegmentsGone
                | Kind::SegmentsSwapped
        );
        self.named.contains(&problem.file) || whole_log && problem.file.starts_with("wal")
    }

    fn judge(&self, goes_on: bool) -> Judged<Class> {
        let verified = at(&self.disk, 89).verify();
        let view = at(&self.disk, 90).open_read_only();
        ensure(files(&self.disk) == self.before, || "reading changed a byte".to_owned())?;
        let store = match open(&self.disk, 91) {
            Ok(store) => store,
            Err(error) => return self.refused(&error),
        };
        let found = documents(&store.view());
        let view = view.map_err(|error| format!("a reader is refused: {error}"))?;
        ensure(documents(&view) == found, || "a reader sees something else".to_owned())?;
        let verified = verified.map_err(|error| format!("verify is refused: {error}"))?.problems;
        let problems = store.recovery().problems.clone();
        let what =
            |why| format!("{why}; verify: {}; opening: {}", text(&verified), text(&problems));
        let lost = self.lost(&found, &problems).map_err(what)?;
        let class = self.class(&lost, &verified, &problems).map_err(what)?;
        self.torn_is_torn(&verified).map_err(what)?;
        self.torn_is_torn(&problems).map_err(what)?;
        if self.is_log() {
            self.kept_aside(&problems).map_err(what)?;
        }
        if goes_on {
            self.later(&store, found, &problems).map_err(what)?;
        }
        Ok(class)
    }

    /// Another opening finds the same, and so does one after more work and a shutdown.
    fn later(&self, store: &Store, found: Documents, problems: &[Problem]) -> Judged<()> {
        let again = open(&self.disk.if_killed(), 92).map_err(|error| format!("again: {error}"))?;
        ensure(documents(&again.view()) == found, || "another opening differs".to_owned())?;
        store.save_task_json(r#"{"id": "new"}"#).map_err(|error| error.to_string())?;
        store.shutdown().map_err(|error| format!("shutdown: {error}"))?;
        if self.is_mirror() {
            self.kept_aside(problems)?;
        }
        let after = open(&self.disk, 93).map_err(|error| format!("later: {error}"))?;
        let mut wanted = found;
        wanted.insert(("tasks", "new".to_owned()), serde_json::json!({"id": "new"}));
        ensure(documents(&after.view()) == wanted, || "later work differs".to_owned())
    }

    /// Only what a damaged log header says can refuse an opening; and then nothing has changed.
    fn refused(&self, error: &Error) -> Judged<Class> {
        let is_typed = matches!(error, Error::Corrupt { .. } | Error::Unsupported { .. });
        ensure(is_typed && self.is_log(), || format!("refused: {error}"))?;
        let is_same = files(&self.disk) == self.before;
        ensure(is_same, || format!("a refusal changed a byte: {error}"))?;
        Ok(Class::Refused)
    }

    /// Whether the group that holds a record is as it was written.
    fn is_whole(&self, lsn: u64) -> bool {
        self.reference.segments.iter().any(|(name, segment)| {
            segment.group_of(lsn).is_some_and(|group| {
                let now = self.before.get(name).and_then(Option::as_deref);
                let now = now.and_then(|bytes| bytes.get(group.range.clone()));
                now == Some(&self.reference.files[name][group.range.clone()])
            })
        })
    }

    /// The documents that are not at their acknowledged value. Each is at a version that once was; and
    /// if its last change is still there, that was a delta, and it is suspect.
    fn lost(&self, found: &Documents, problems: &[Problem]) -> Judged<Vec<Key>> {
        let state = &self.reference.state;
        let mut lost = Vec::new();
        for key in state.keys().chain(found.keys().filter(|key| !state.contains_key(*key))) {
            if found.get(key) == state.get(key) {
                continue;
            }
            let now = found.get(key).unwrap_or(&Value::Null).to_string();
            let is_known = self.reference.ever.get(key).is_some_and(|ever| ever.contains(&now));
            ensure(is_known, || format!("{key:?} never was {now}"))?;
            let change = self.reference.last[key];
            let name = format!("{}/{}", key.0, key.1);
            let is_suspect =
                problems.iter().any(|one| one.kind == ProblemKind::Suspect && one.file == name);
            let is_explained = !self.is_whole(change.lsn) || change.is_delta && is_suspect;
            ensure(is_explained, || format!("{key:?} is {now}, though {change:?} is there"))?;
            lost.push(key.clone());
        }
        Ok(lost)
    }

    /// What the case comes to.
    fn class(&self, lost: &[Key], verified: &[Problem], problems: &[Problem]) -> Judged<Class> {
        let told = |problems: &[Problem]| {
            let named = problems.iter().filter(|one| self.is_named(one));
            named.map(|one| one.kind).max_by_key(|kind| weight(*kind))
        };
        let (by_verify, by_opening) = (told(verified), told(problems));
        if self.meaning == Some(Meaning::EndMark) && self.is_log() {
            return self.end_mark(lost, by_opening);
        }
        if self.meaning == Some(Meaning::LastGroup) && self.is_log() {
            return self.undecidable(lost, by_opening);
        }
        if !lost.is_empty() && self.hides_its_end() {
            return match by_opening {
                Some(ProblemKind::Torn) => Ok(Class::Undecidable),
                None => Ok(Class::Traceless),
                Some(_) => Ok(Class::Lost),
            };
        }
        if !lost.is_empty() {
            let is_told = matches!(
                by_opening,
                Some(ProblemKind::Corrupt | ProblemKind::Missing | ProblemKind::Foreign)
            );
            ensure(self.is_log() && !self.reference.is_clean() && is_told, || {
                format!("a loss that is not told, of {lost:?}")
            })?;
            return Ok(Class::Lost);
        }
        // What the log holds of an output is compared with it by an opening alone.
        let by_verify = by_verify.or(by_opening.filter(|_| self.is_peoples()));
        let Some(kind) = by_verify else {
            ensure(by_opening.is_none(), || "verify did not tell what opening tells".to_owned())?;
            return self.harmless();
        };
        let is_noticed = by_opening.is_some() || !self.must_be_noticed();
        ensure(is_noticed, || "opening did not tell what verify tells".to_owned())?;
        Ok(Class::Told(kind))
    }

    /// Whether it took what vouches for the last groups of a killed store together with them: two
    /// blocks swapped, or all replaced by what was there before.
    fn hides_its_end(&self) -> bool {
        matches!(self.kind, Kind::BlocksSwapped | Kind::SegmentStale) && self.is_head()
    }

    /// Whether it is the last segment of a store that was killed.
    fn is_head(&self) -> bool {
        let mut segments = self.reference.segments.iter();
        let last = segments.rfind(|(_, segment)| !segment.groups.is_empty());
        !self.reference.is_clean() && last.is_some_and(|(name, _)| name == self.name)
    }

    /// What opening must read, and so must tell of. A name that cannot be a segment's is not.
    fn must_be_noticed(&self) -> bool {
        let largest = format!("wal/{}.wal", u64::MAX);
        self.is_log() && !self.named.contains(&largest)
            || ["state.json", ".walden", "wal/state.index"].contains(&self.name)
    }

    /// Damage in the last group before an unclean stop: torn, or nothing is left of it.
    fn undecidable(&self, lost: &[Key], told: Option<ProblemKind>) -> Judged<Class> {
        let group = self.reference.segments[self.name].groups.last().unwrap();
        if told == Some(ProblemKind::Corrupt) && lost.is_empty() {
            return Ok(Class::Told(ProblemKind::Corrupt));
        }
        let now = self.before.get(self.name).and_then(Option::as_deref);
        let now = now.and_then(|bytes| bytes.get(group.range.clone())).unwrap_or_default();
        let is_traceless = is_end(now);
        match told {
            Some(ProblemKind::Torn) => Ok(Class::Undecidable),
            None if is_traceless => Ok(Class::Traceless),
            Some(ProblemKind::Corrupt) if self.kind != Kind::BitFlipped => Ok(Class::Lost),
            told => Err(format!("the last group is damaged, and it is told as {told:?}")),
        }
    }

    /// Damage where nothing was written: it may be what is left of a write that was never acknowledged.
    fn end_mark(&self, lost: &[Key], told: Option<ProblemKind>) -> Judged<Class> {
        let at = self.reference.segments[self.name].groups.last().unwrap().range.end;
        let now = self.before.get(self.name).and_then(Option::as_deref);
        let now = now.and_then(|bytes| bytes.get(at..at + END_MARK)).unwrap_or_default();
        match told {
            Some(ProblemKind::Torn) if lost.is_empty() => Ok(Class::Undecidable),
            Some(ProblemKind::Corrupt) if lost.is_empty() => Ok(Class::Told(ProblemKind::Corrupt)),
            None if lost.is_empty() && is_end(now) => Ok(Class::Harmless),
            told => {
                Err(format!("an end mark is damaged, {lost:?} lost, and it is told as {told:?}"))
            }
        }
    }

    /// Proves that what nobody tells of does no harm.
    fn harmless(&self) -> Judged<Class> {
        let whole = &self.reference.files[self.name];
        let now = self.before.get(self.name).and_then(Option::as_deref);
        if self.is_log() {
            let segment = &self.reference.segments[self.name];
            let is_spare = segment.is_below_snapshot && self.kind == Kind::SegmentMissing
                || self.reference.is_clean() && self.kind == Kind::AllSegmentsGone;
            let says_nothing = self.meaning.is_none_or(|meaning| meaning == Meaning::Nothing);
            ensure(is_spare || says_nothing, || format!("nothing is told: {:?}", self.meaning))?;
        } else if self.is_mirror() {
            let now = now.unwrap_or_default();
            let value = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).ok();
            let is_same = value(now).is_some() && value(now) == value(whole);
            let earlier = self.reference.earlier.get(self.name);
            let was = earlier.is_some_and(|all| all.iter().any(|bytes| bytes == now));
            let is_explained = is_same || was && !self.reference.is_clean();
            ensure(is_explained, || "nothing is told of a mirror file".to_owned())?;
        } else {
            ensure(self.is_peoples(), || "nothing is told".to_owned())?;
            return Ok(Class::Peoples);
        }
        Ok(Class::Harmless)
    }

    /// Nothing that is known to have been durable is called torn.
    fn torn_is_torn(&self, problems: &[Problem]) -> Judged<()> {
        for problem in problems.iter().filter(|problem| problem.kind == ProblemKind::Torn) {
            if let Some(segment) = self.reference.segments.get(&problem.file) {
                let at = usize::try_from(problem.offset).unwrap();
                let region = segment.regions.iter().find(|(range, _)| range.contains(&at));
                let is_durable = region.is_some_and(|(_, what)| *what == Meaning::Durable);
                let is_named = problem.file == self.name && self.hides_its_end();
                ensure(!is_durable || is_named, || format!("called torn: {problem}"))?;
            } else {
                let is_lagging = self.is_mirror() && !self.reference.is_clean();
                ensure(is_lagging || self.is_log(), || format!("called torn: {problem}"))?;
            }
        }
        Ok(())
    }

    /// Damaged regions of the log, and damaged mirror files, are in `quarantine/`, byte by byte.
    fn kept_aside(&self, problems: &[Problem]) -> Judged<()> {
        let kept = files(&self.disk);
        let kept: Vec<(&str, &[u8])> = kept
            .iter()
            .filter_map(|(name, bytes)| {
                Some((name.strip_prefix("quarantine/")?, bytes.as_deref()?))
            })
            .collect();
        for problem in problems.iter().filter(|problem| self.named.contains(&problem.file)) {
            let Some(now) = self.before.get(&problem.file).and_then(Option::as_deref) else {
                continue;
            };
            let is_rot = [ProblemKind::Corrupt, ProblemKind::Torn].contains(&problem.kind);
            let says_something = now.iter().any(|byte| *byte != 0);
            if !is_rot || !says_something {
                continue;
            }
            if self.is_mirror() {
                let is_kept = kept.iter().any(|(_, bytes)| *bytes == now);
                ensure(is_kept, || "the damaged file is not kept".to_owned())?;
            } else if let Some(whole) = self.reference.files.get(&problem.file) {
                let is_kept = self.is_region_kept(&problem.file, whole, now, &kept);
                ensure(is_kept, || "the damaged region is not kept".to_owned())?;
            }
        }
        Ok(())
    }

    fn is_region_kept(&self, file: &str, whole: &[u8], now: &[u8], kept: &[(&str, &[u8])]) -> bool {
        let regions = &self.reference.segments[file].regions;
        let says_something = |at: &usize| {
            let region = regions.iter().find(|(range, _)| range.contains(at));
            now[*at] != 0 && region.is_some_and(|(_, what)| *what > Meaning::EndMark)
        };
        let differing = (0..whole.len().min(now.len())).filter(|at| whole[*at] != now[*at]);
        let mut damaged = differing.filter(says_something);
        let ends = [damaged.next(), damaged.next_back()];
        let file = file.strip_prefix("wal/").unwrap();
        ends.into_iter().flatten().all(|at| {
            kept.iter().any(|(name, bytes)| {
                let Some(rest) = name.strip_prefix(file) else { return false };
                let offset = rest.strip_prefix('@').and_then(|rest| rest.split_once('~'));
                let offset = offset.map_or(Some(0), |(offset, _)| offset.parse().ok());
                offset.is_some_and(|offset: usize| {
                    let end = offset + bytes.len();
                    now.get(offset..end) == Some(*bytes) && (offset..end).contains(&at)
                })
            })
        })
    }
}

fn text(problems: &[Problem]) -> String {
    let lines: Vec<String> = problems.iter().map(Problem::to_string).collect();
    lines.join(" | ")
}

/// Of several findings about one file, the one that it counts as.
fn weight(kind: ProblemKind) -> u8 {
    match kind {
        ProblemKind::Corrupt => 7,
        ProblemKind::Foreign => 6,
        ProblemKind::Missing => 5,
        ProblemKind::Torn => 4,
        ProblemKind::Stale => 3,
        ProblemKind::Unreadable => 2,
        ProblemKind::Edited => 1,
        _ => 0,
    }
}
