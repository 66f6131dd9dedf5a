//! Of two ways to the medium the log takes the quicker one.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::sync::Mutex;
use std::time::Duration;

use super::oracle::{DIR, Oracle, disk, wal_file};
use crate::base::{Clock, Error, SystemClock, Timestamp};
use crate::fs::real::RealFs;
use crate::fs::sim::{CallKind, Fault, SimFs};
use crate::wal::format::SegmentNumber;
use crate::wal::way::{ROUNDS, is_direct_quicker};
use crate::wal::{Log, Preparation, PreparedSegment, prepare_segment};

/// By it, what is measured took so many microseconds, the direct way and the plain one in turn.
#[derive(Debug)]
struct Scripted(Mutex<(VecDeque<u64>, u64)>);

impl Scripted {
    fn new(rounds: [(u64, u64); ROUNDS]) -> Scripted {
        let steps = rounds.into_iter().flat_map(|(direct, plain)| [0, direct, plain]);
        Scripted(Mutex::new((steps.collect(), 0)))
    }
}

impl Clock for Scripted {
    fn now(&self) -> Timestamp {
        Timestamp(0)
    }

    fn monotonic(&self) -> Duration {
        let mut script = self.0.lock().unwrap();
        script.1 += script.0.pop_front().expect("it is looked at three times a round");
        Duration::from_micros(script.1)
    }
}

const QUICK_DIRECT: [(u64, u64); ROUNDS] = [(100, 120); ROUNDS];
const QUICK_PLAIN: [(u64, u64); ROUNDS] = [(200, 120); ROUNDS];

/// A log that wants its second segment, and that segment.
fn wanted() -> (SimFs, Oracle, Log, Preparation, PreparedSegment) {
    let (fs, mut oracle) = (disk(), Oracle::default());
    let mut log = oracle.begin(&fs).unwrap();
    let mut wanted = loop {
        match log.begin_preparing() {
            Some(wanted) => break wanted,
            None => oracle.commit(&mut log, &[3000]).unwrap(),
        }
    };
    let segment = wanted.prepare(&fs, DIR).unwrap();
    assert!(segment.through.is_some());
    (fs, oracle, log, wanted, segment)
}

#[test]
fn the_way_that_is_mostly_quicker_is_taken_and_the_direct_one_where_there_is_little_between_them() {
    let cases = [
        (QUICK_DIRECT, true),
        (QUICK_PLAIN, false),
        ([(100, 100); ROUNDS], true),
        ([(100, 80); ROUNDS], true),
        ([(100, 79); ROUNDS], false),
        ([(0, 0); ROUNDS], true),
        ([(100, 120), (9000, 120), (100, 120), (9000, 120), (100, 120)], true),
        ([(200, 120), (200, 9000), (200, 120), (200, 9000), (200, 120)], false),
        ([(100, 20), (100, 120), (100, 20), (100, 120), (100, 120)], true),
        ([(20, 120), (200, 120), (20, 120), (200, 120), (200, 120)], false),
    ];
    for (rounds, is_direct) in cases {
        let (fs, _, _, wanted, segment) = wanted();
        let (name, before) = (wal_file(2), fs.read_now(&wal_file(2)));
        let clock = Scripted::new(rounds);
        let measured = wanted.measure(segment, &fs, DIR, &clock).unwrap();
        assert_eq!(measured.through.is_some(), is_direct, "{rounds:?}");
        assert!(clock.0.lock().unwrap().0.is_empty());
        assert_eq!(fs.read_now(&name), before, "nothing but zeroes over zeroes");
    }
}

#[test]
fn a_log_keeps_to_the_way_that_was_measured_and_measures_once() {
    for (rounds, is_direct) in [(QUICK_DIRECT, true), (QUICK_PLAIN, false)] {
        let (fs, mut oracle, mut log, wanted, segment) = wanted();
        let segment = wanted.measure(segment, &fs, DIR, &Scripted::new(rounds)).unwrap();
        log.install(Some(segment)).unwrap();
        for number in 2..=3 {
            while log.stats().rotations < number - 1 {
                oracle.commit(&mut log, &[3000]).unwrap();
                if let Some(mut next) = log.begin_preparing() {
                    let segment = next.prepare(&fs, DIR).unwrap();
                    // This clock would panic.
                    let idle = Scripted(Mutex::default());
                    log.install(Some(next.measure(segment, &fs, DIR, &idle).unwrap())).unwrap();
                }
            }
        }
        fs.fail_path(DIR, CallKind::Sync, 1, Fault::Error(ErrorKind::Other));
        let error = oracle.commit(&mut log, &[3000]).unwrap_err();
        let verb = if is_direct { "write to" } else { "flush" };
        assert!(matches!(&error, Error::Io { action, .. } if *action == verb), "{error:?}");
    }
}

#[test]
fn a_direct_way_that_fails_is_not_taken_and_a_segment_that_cannot_be_written_is_removed() {
    let attempts =
        [(CallKind::Write, 1), (CallKind::Sync, 1), (CallKind::Write, 2), (CallKind::Sync, 2)];
    for (at, (kind, nth)) in attempts.into_iter().enumerate() {
        let (fs, _, _, wanted, segment) = wanted();
        fs.fail_path(DIR, kind, nth, Fault::Error(ErrorKind::Other));
        let clock = Scripted::new(QUICK_DIRECT);
        let measured = wanted.measure(segment, &fs, DIR, &clock);
        assert_eq!(fs.faults_fired(), 1);
        if at < 2 {
            assert!(measured.unwrap().through.is_none());
            assert!(fs.names().contains(&wal_file(2)));
        } else {
            assert!(matches!(measured, Err(Error::Io { .. })), "{measured:?}");
            assert!(!fs.names().contains(&wal_file(2)));
        }
    }
}

#[test]
fn a_segment_that_can_be_neither_written_nor_removed_is_told_by_the_first() {
    let (fs, _, _, wanted, segment) = wanted();
    fs.fail_path(DIR, CallKind::Write, 2, Fault::Error(ErrorKind::Other));
    fs.fail_path(DIR, CallKind::Remove, 1, Fault::Error(ErrorKind::PermissionDenied));
    let told = wanted.measure(segment, &fs, DIR, &Scripted::new(QUICK_DIRECT)).unwrap_err();
    assert!(matches!(&told, Error::Io { action, .. } if *action == "try"), "{told:?}");
    assert_eq!(fs.faults_fired(), 2);
}

#[test]
fn it_is_measured_on_a_real_disk() {
    let dir = tempfile::tempdir().unwrap();
    let fs = RealFs::open(dir.path()).unwrap();
    let segment = prepare_segment(&fs, "", SegmentNumber(1), 0).unwrap();
    let Some(through) = segment.through.as_deref() else {
        println!("skipped: this file system has no direct way");
        return;
    };
    let clock = SystemClock::default();
    let is_direct = is_direct_quicker(&*segment.file, through, &clock).unwrap();
    println!("direct is quicker: {is_direct}");
    let bytes = std::fs::read(dir.path().join("00000000000000000001.wal")).unwrap();
    assert!(bytes.len() as u64 == segment.size_bytes && bytes.iter().all(|byte| *byte == 0));
}
