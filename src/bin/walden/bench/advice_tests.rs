//! What is advised of made-up figures, and what is not.

use super::super::report::{Latency, Opening, Planned, Probe, Watched};
use super::*;
use crate::machine::Machine;

fn spread(least: f64, median: f64, most: f64) -> Spread {
    Spread { median, least, most }
}

fn row(durability: &'static str, threads: usize, walden: Spread) -> Row {
    Row {
        durability,
        threads,
        limit: spread(900.0, 1000.0, 1100.0),
        walden,
        ratio: spread(0.8, 0.9, 1.0),
        rounds: vec![[1000.0, walden.median]; 3],
        group_size: 1.0,
        flushes_per_second: 1.0,
        log_bytes_per_write: 1.0,
        limit_latency: Latency::default(),
        latency: Latency::default(),
    }
}

fn variant(setting: &'static str, value: &str, is_base: bool, writes: Spread) -> Variant {
    Variant {
        setting,
        value: value.to_owned(),
        is_base,
        threads: 1,
        rounds: ROUNDS_MIN,
        document_bytes_per_second: writes.median,
        writes,
        checkpoints: 0,
        p99_us: 1.0,
    }
}

fn report() -> Report {
    let latency = Latency { p50_us: 100.0, ..Latency::default() };
    Report {
        version: "0",
        dir: ".".to_owned(),
        machine: Machine { file_system: Some("ext4".into()), cores: 4, ..Machine::default() },
        free_bytes: 1,
        plan: Planned {
            quick: false,
            rounds: 3,
            turn_ms: 1.0,
            value_bytes: 1,
            documents: 1,
            limit: "direct",
        },
        disk: vec![Probe { name: "flush", what: String::new(), latency }],
        throughput: Vec::new(),
        tuning: Vec::new(),
        recovery: Vec::new(),
        checkpoints: Watched {
            threads: 1,
            documents: 1,
            slice_ms: 1.0,
            slices: Vec::new(),
            spans_ms: Vec::new(),
            idle: Latency::default(),
            during: Latency::default(),
        },
        seconds: 1.0,
        notes: Vec::new(),
        recommendation: Vec::new(),
    }
}

fn notes_without_build(report: &Report) -> Vec<String> {
    notes(report).into_iter().filter(|note| !note.contains("build")).collect()
}

/// Something odd about a machine.
type Oddity = fn(&mut Report);

#[test]
fn a_plain_machine_gets_no_note_and_each_oddity_gets_its_own() {
    assert_eq!(notes_without_build(&report()), Vec::<String>::new());
    let oddities: [(Oddity, &str); 8] = [
        (|r| r.machine.file_system = None, "could not be found out"),
        (|r| r.machine.file_system = Some("tmpfs".into()), "memory"),
        (|r| r.machine.file_system = Some("overlay".into()), "upper layer"),
        (|r| r.machine.file_system = Some("fuse.sshfs".into()), "fuse.sshfs"),
        (|r| r.machine.cores = 1, "one core"),
        (|r| r.plan.limit = "flush", "O_DIRECT"),
        (|r| r.disk.iter_mut().for_each(|probe| probe.latency.p50_us = 3.0), "3 µs"),
        (|r| r.plan.rounds = 4, "left out"),
    ];
    for (change, word) in oddities {
        let mut report = report();
        report.throughput.push(row("sync", 1, spread(1.0, 2.0, 3.0)));
        change(&mut report);
        let notes = notes_without_build(&report);
        assert!(notes.len() == 1 && notes[0].contains(word), "{word}: {notes:?}");
    }
}

#[test]
fn the_fewest_threads_that_nearly_reach_the_most_are_recommended() {
    let mut report = report();
    for (threads, rate) in [(1, 100.0), (16, 960.0), (64, 1000.0), (256, 400.0)] {
        report.throughput.push(row("sync", threads, spread(rate, rate, rate)));
    }
    let advice = of_threads(&report).unwrap();
    assert!(advice.contains("let 16 threads") && advice.contains("90 % of the limit"), "{advice}");
    report.throughput.retain(|row| row.threads == 1);
    assert!(!of_threads(&report).unwrap().contains("gain nothing"), "only one was measured");
    report.throughput.push(row("sync", 4, spread(90.0, 90.0, 90.0)));
    assert!(of_threads(&report).unwrap().contains("gain nothing"));
}

#[test]
fn a_setting_is_recommended_only_if_it_is_clearly_better_than_the_rounds_differ() {
    let base = variant(SEGMENT, "67108864", true, spread(90.0, 100.0, 110.0));
    let table = [
        (spread(111.0, 130.0, 140.0), "8.00 MiB gives 30 % more writes than 64.00 MiB"),
        (spread(100.0, 130.0, 140.0), "may stay at 64.00 MiB"),
        (spread(104.0, 105.0, 106.0), "may stay at 64.00 MiB"),
        (spread(10.0, 20.0, 30.0), "may stay at 64.00 MiB"),
    ];
    for (writes, expected) in table {
        let mut report = report();
        report.tuning = vec![
            variant(base.setting, &base.value, true, base.writes),
            variant(SEGMENT, "8388608", false, writes),
        ];
        let advice = of_setting(&report, SEGMENT, "log.segment_bytes_max", "The largest segment");
        assert!(advice.as_ref().unwrap().contains(expected), "{advice:?}");
        report.tuning.iter_mut().for_each(|variant| variant.rounds = ROUNDS_MIN - 1);
        let advice = of_setting(&report, SEGMENT, "log.segment_bytes_max", "The largest segment");
        assert!(advice.unwrap().contains("may stay"), "too few rounds");
    }
}

#[test]
fn buffered_is_recommended_only_where_it_gains_much() {
    for (rate, expected) in [(900.0, "9 times as fast"), (150.0, "gains little")] {
        let mut report = report();
        report.throughput.push(row("sync", 4, spread(99.0, 100.0, 101.0)));
        report.throughput.push(row("buffered", 4, spread(rate, rate, rate)));
        assert!(of_buffered(&report).unwrap().contains(expected));
    }
}

#[test]
fn what_every_opening_takes_is_told_from_what_grows_with_the_log() {
    let mut report = report();
    assert_eq!(of_recovery(&report), None);
    for (log_mib, ms) in [(4, 300.0), (36, 460.0)] {
        report.recovery.push(Opening {
            records: 1,
            log_bytes: log_mib << 20,
            open_ms: spread(ms, ms, ms),
            read_ms: spread(1.0, 1.0, 1.0),
        });
    }
    // 32 MiB more take 160 ms more: 200 MiB/s; the rest up to 64 MiB takes 140 ms more.
    let advice = of_recovery(&report).unwrap();
    assert!(
        advice.contains("200.00 MiB of the log") && advice.contains("about 600 ms"),
        "{advice}"
    );
}
