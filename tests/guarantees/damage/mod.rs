//! Damage, complete (G4): in a reference store, shut down or killed, every bit of every file is flipped,
//! every length cut to, every sector zeroed or taken back to an earlier write, every pair of blocks
//! swapped, every segment missing, copied, swapped, stale or another store's.
//!
//! Each case is told, or the damaged bytes are proven to say nothing; none is left out of the count. By
//! default a sample of all is judged, `WALDEN_SIM_SEEDS` scales it, `WALDEN_EXHAUSTIVE=1` judges all.

mod cases;
mod format;
mod judge;
mod store;
mod tally;

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use cases::{Family, Kind};
use format::{Meaning, Segment};
use store::{Reference, Stop, reference};
use tally::{Class, Tally};

use crate::support::seeds;

/// Cases that a default run judges of each family: a kind of damage to a file.
const SAMPLE: usize = 7;
const STOPS: [Stop; 3] = [Stop::Clean, Stop::Killed, Stop::KilledReusing];
/// So many wrong verdicts are enough to go on with.
const WRONG_MAX: usize = 12;

fn type_of(reference: &Reference, name: &str) -> &'static str {
    if let Some(segment) = reference.segments.get(name) {
        let head = reference.segments.iter().rfind(|(_, segment)| !segment.is_prepared);
        return match segment {
            _ if segment.is_prepared && segment.is_reused => "segment, marked",
            _ if segment.is_prepared => "segment, new",
            _ if head.is_some_and(|(head, _)| head == name) => "segment, last",
            _ if segment.is_reused => "segment, reused",
            _ if segment.is_below_snapshot => "segment, old",
            _ => "segment, sealed",
        };
    }
    let beginnings = [
        ("state.json", "state.json"),
        ("state.backup", "backup"),
        (".walden", ".walden"),
        ("wal/state.index", "index"),
        ("tasks/", "mirror file"),
        ("sessions/", "mirror file"),
        ("logs/", "session log"),
        ("reports/", "report"),
        ("conflicts/", "conflict"),
        ("state.pre-migration", "pre-migration"),
        ("state.migration", "migration log"),
    ];
    let found = beginnings.iter().find(|(beginning, _)| name.starts_with(beginning));
    found.map_or_else(|| panic!("{name} is of no known type"), |(_, name)| *name)
}

/// The numbers of a family that are judged: all, or some at a stride that meets every bit of a byte and
/// every place in a sector.
fn numbers(family: &Family<'_>, sample: Option<usize>) -> impl Iterator<Item = usize> {
    let stride = sample.map_or(1, |sample| (family.numbers / sample).max(1) | 1);
    let begin = family.name.len() % stride;
    (begin..family.numbers).step_by(stride)
}

fn judge_one(family: &Family<'_>, number: usize, goes_on: bool, tally: &mut Tally) {
    let judged = catch_unwind(AssertUnwindSafe(|| judge::judge(family, number, goes_on)));
    let judged = judged.unwrap_or_else(|_| Some(Err("a panic".to_owned())));
    match judged {
        None => {}
        Some(Ok(class)) => tally.add(type_of(family.reference, &family.name), family.kind, class),
        Some(Err(why)) => tally.wrong.push(format!(
            "{} ({}), {:?}, {:?} {number}: {why}",
            family.name,
            type_of(family.reference, &family.name),
            family.reference.stop,
            family.kind
        )),
    }
}

/// Judges the cases on as many threads as there are cores.
fn judge_all(families: &[Family<'_>], sample: Option<usize>) -> Tally {
    let cases: Vec<(usize, usize)> = families
        .iter()
        .enumerate()
        .flat_map(|(at, family)| numbers(family, sample).map(move |number| (at, number)))
        .collect();
    let (next, all) = (AtomicUsize::new(0), Mutex::new(Tally::default()));
    let (begun, told) = (Instant::now(), Mutex::new(Instant::now()));
    let work = || {
        let mut tally = Tally::default();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let Some((at, case)) = cases.get(number) else { break };
            let family = &families[*at];
            // What comes later depends on the place, not on the bit: of all bits, one of each byte.
            let is_one_of_eight = family.kind != Kind::BitFlipped || case % 8 == case / 8 % 8;
            judge_one(family, *case, sample.is_some() || is_one_of_eight, &mut tally);
            if tally.wrong.len() > WRONG_MAX {
                break;
            }
            let mut told = told.lock().unwrap();
            if told.elapsed() > Duration::from_secs(20) {
                *told = Instant::now();
                let seconds = begun.elapsed().as_secs();
                eprintln!("{number} of {} cases in {seconds} s", cases.len());
            }
        }
        all.lock().unwrap().merge(tally);
    };
    let cores = thread::available_parallelism().map_or(1, std::num::NonZero::get);
    thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(work);
        }
    });
    all.into_inner().unwrap()
}

/// The stores that are damaged, each with another one of the same history.
fn references() -> [(Reference, Reference); 3] {
    STOPS.map(|stop| (reference(1, stop), reference(50, stop)))
}

/// All damage to the files of the stores; of the one that reuses segments, to those segments. Bits of a
/// segment that two stores have are flipped in the first.
fn families(references: &[(Reference, Reference)]) -> Vec<Family<'_>> {
    let all = references.iter().flat_map(|(own, other)| Family::all(own, other));
    all.filter(|family| {
        let reference = family.reference;
        let Some(segment) = reference.segments.get(&family.name) else {
            return reference.stop != Stop::KilledReusing;
        };
        let first = &references[0].0;
        let is_seen = reference.stop != first.stop
            && first.files.get(&family.name) == reference.files.get(&family.name);
        (segment.is_reused || reference.stop != Stop::KilledReusing)
            && !(is_seen && family.kind == Kind::BitFlipped)
    })
    .collect()
}

fn is_right(tally: &Tally) {
    println!("{tally}");
    let traceless = tally.count(|class| class == Class::Traceless);
    println!("of the undecidable ones {traceless} left no trace of the last group");
    assert!(tally.wrong.is_empty(), "{} wrong:\n{}", tally.wrong.len(), tally.wrong.join("\n"));
    assert_eq!(tally.accounted_for(), tally.cases, "each case is in one column");
}

#[test]
fn the_reference_store_has_every_kind_of_file() {
    for stop in STOPS {
        let reference = reference(1, stop);
        for (name, segment) in &reference.segments {
            println!("{name}: {}", segment.describe());
        }
        let types: BTreeSet<&str> =
            reference.files.keys().map(|name| type_of(&reference, name)).collect();
        println!("{types:?}");
        let count = match stop {
            Stop::Clean => 13,
            Stop::Killed => 14,
            Stop::KilledReusing => 15,
        };
        assert_eq!(types.len(), count, "{types:?}");
        let is_undecidable = |segment: &&Segment| {
            segment.regions.iter().any(|(_, what)| *what == Meaning::LastGroup)
        };
        let undecidable = reference.segments.values().filter(is_undecidable).count();
        assert_eq!(undecidable, usize::from(stop != Stop::Clean));
        let names = reference.files.keys();
        assert_eq!(names.filter(|name| name.starts_with("state.backup.")).count(), 2);
        assert!(reference.files.keys().any(|name| name.starts_with("tasks/oddname~")));
    }
}

#[test]
fn every_damage_to_every_file_is_told_or_does_no_harm() {
    let references = references();
    let is_exhaustive = crate::support::is_exhaustive();
    let sample = SAMPLE * usize::try_from(seeds()).unwrap();
    let tally = judge_all(&families(&references), (!is_exhaustive).then_some(sample));
    is_right(&tally);
    let told = tally.count(|class| matches!(class, Class::Told(_) | Class::Lost));
    let undecidable = tally.count(|class| matches!(class, Class::Undecidable | Class::Traceless));
    assert!(
        tally.cases > 900 && told * 2 > tally.cases && undecidable > 0,
        "{} cases, {told} told, {undecidable} undecidable",
        tally.cases
    );
}

#[test]
fn whatever_of_the_last_segment_or_the_owner_file_was_durable_is_not_called_torn() {
    let references = references();
    let mut families = families(&references);
    let whole = [Kind::SectorLost, Kind::BlocksSwapped, Kind::SegmentStale, Kind::SegmentMissing];
    families.retain(|family| {
        let of = type_of(family.reference, &family.name);
        whole.contains(&family.kind) && ["segment, last", ".walden"].contains(&of)
    });
    let tally = judge_all(&families, None);
    is_right(&tally);
    assert!(tally.cases > 50, "{} cases", tally.cases);
}
