//! Every committed seed of every fuzz target, run as the fuzzer runs it: what fuzzing found once stays
//! found, without a fuzzer.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::case_sensitive_file_extension_comparisons,
    unreachable_pub,
    reason = "a test that meets the unexpected is to fail, and says what it exercised"
)]

use std::fs;
use std::panic::catch_unwind;
use std::path::Path;

#[path = "../fuzz/src/lib.rs"]
mod targets;

const SEEDS_MAX: usize = 40;
const BYTES_MAX: usize = 200 << 10;

/// The seeds of a target, by name.
fn seeds(target: &str) -> Vec<(String, Vec<u8>)> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut seeds: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.display().to_string(), fs::read(&path).unwrap()))
        .collect();
    seeds.sort();
    seeds
}

#[test]
fn no_seed_of_a_fuzz_target_breaks_what_the_target_checks() {
    let mut failed = Vec::new();
    for (target, run) in targets::TARGETS {
        let seeds = seeds(target);
        let bytes: usize = seeds.iter().map(|(_, bytes)| bytes.len()).sum();
        println!("{target}: {} seeds of {bytes} bytes", seeds.len());
        assert!((5..=SEEDS_MAX).contains(&seeds.len()), "{target} has {} seeds", seeds.len());
        assert!(bytes <= BYTES_MAX, "{target} has {bytes} bytes of seeds");
        for (name, bytes) in &seeds {
            if catch_unwind(|| run(bytes)).is_err() {
                failed.push(name.clone());
            }
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
}

#[test]
fn every_target_has_its_own_program_and_takes_no_input_and_any_byte() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/fuzz_targets");
    let mut programs: Vec<_> = fs::read_dir(root)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    programs.sort();
    let known: Vec<_> = targets::TARGETS.iter().map(|(name, _)| format!("{name}.rs")).collect();
    assert_eq!(programs, known);
    for (_, run) in targets::TARGETS {
        run(&[]);
        (0..=255).for_each(|byte| run(&[byte]));
    }
}
