//! A reference workload, cut before every call, with several outcomes each, also during the opening
//! that follows and after appending to what was recovered.

use super::oracle::{DIR, Oracle, disk};
use crate::base::{Error, Result, Timestamp};
use crate::fs::sim::{CrashMode, Fault, SimFs};
use crate::wal::{Log, scan};

/// Begins, appends, syncs, buffers, witnesses, rotates with and without a prepared segment, writes a
/// group that needs a segment of its own, cuts, closes, and begins again.
pub(super) fn workload(fs: &SimFs, oracle: &mut Oracle) -> Result<()> {
    let mut log = oracle.begin(fs)?;
    oracle.append(&mut log, &[10])?;
    oracle.sync(&mut log)?;
    oracle.append(&mut log, &[8, 3000, 2000])?;
    oracle.append(&mut log, &[9])?;
    oracle.sync(&mut log)?;
    log.witness(Timestamp(0))?;
    prepare(fs, &mut log)?;
    oracle.append(&mut log, &[100, 100])?;
    oracle.append(&mut log, &[200])?;
    oracle.append(&mut log, &[300])?;
    oracle.append(&mut log, &[60_000])?;
    oracle.sync(&mut log)?;
    oracle.append(&mut log, &[11])?;
    oracle.cut(&mut log, 4)?;
    prepare(fs, &mut log)?;
    for _ in 0..3 {
        oracle.append(&mut log, &[5000])?;
    }
    oracle.close(log)?;
    let mut log = oracle.begin(fs)?;
    continuation(&mut log, oracle)
}

/// What is done to every log that was recovered.
pub(super) fn continuation(log: &mut Log, oracle: &mut Oracle) -> Result<()> {
    oracle.append(log, &[20, 30])?;
    oracle.append(log, &[40])?;
    oracle.sync(log)?;
    oracle.commit(log, &[45])?;
    oracle.append(log, &[50])?;
    oracle.append(log, &[60])
}

pub(super) fn prepare(fs: &SimFs, log: &mut Log) -> Result<()> {
    let Some(mut wanted) = log.begin_preparing() else {
        return Ok(());
    };
    match wanted.prepare(fs, DIR) {
        Ok(segment) => log.install(Some(segment)),
        Err(error) => log.install(None).and(Err(error)),
    }
}

fn reopen(fs: &SimFs, oracle: &mut Oracle) -> Result<()> {
    let mut log = oracle.begin(fs)?;
    continuation(&mut log, oracle)
}

fn contents(fs: &SimFs) -> Vec<(String, Option<Vec<u8>>)> {
    fs.names().into_iter().map(|name| (name.clone(), fs.read_now(&name))).collect()
}

/// Checks one disk as it is found: twice the same, and not a byte changed.
pub(super) fn check(fs: &SimFs, oracle: &mut Oracle) {
    let before = contents(fs);
    let (first, found) = oracle.scan(fs).unwrap();
    let (second, again) = oracle.scan(fs).unwrap();
    assert_eq!(found, again);
    assert_eq!(first.findings, second.findings);
    assert_eq!(contents(fs), before, "a scan changed something");
    let blind = scan(fs, DIR, &crate::wal::Hints { base: oracle.base, ..Default::default() });
    let corrupt = blind.unwrap().verdict() == crate::wal::Verdict::Corrupt;
    assert!(!corrupt, "corrupt without hints");
}

/// The modes that are tried at every call.
fn modes(at: u64) -> impl Iterator<Item = CrashMode> {
    let drawn = (0..2).map(move |seed| CrashMode::Random(at * 1000 + seed));
    [CrashMode::Nothing, CrashMode::Everything].into_iter().chain(drawn)
}

/// Cuts the power in what follows a cut, at every call; gives the number of states seen.
fn nested(cut: &SimFs, oracle: &Oracle, seed: u64) -> u64 {
    let mut states = 0;
    for at in 1.. {
        let mut oracle = oracle.clone();
        let fs = cut.kill();
        fs.fail_at(at, Fault::Crash);
        let done = reopen(&fs, &mut oracle);
        for mode in [CrashMode::Nothing, CrashMode::Random(seed + at)] {
            let (fs, mut oracle) = (fs.crash_with(mode), oracle.clone());
            oracle.scan(&fs).unwrap();
            states += 1;
            if at % 4 == seed % 4 {
                reopen(&fs, &mut oracle).unwrap();
                check(&fs, &mut oracle);
            }
        }
        if done.is_ok() {
            return states;
        }
    }
    states
}

#[test]
fn a_power_cut_at_any_call_loses_nothing_acknowledged_and_makes_nothing_up() {
    let (calls, states) = explore(&Oracle::default(), workload);
    assert!(calls > 120 && states > 1500, "{states} crash states, {calls} places");
}

/// Cuts the power at every call of a workload; gives how many places that were, and states.
pub(super) fn explore(
    oracle: &Oracle,
    workload: impl Fn(&SimFs, &mut Oracle) -> Result<()>,
) -> (u64, u64) {
    let (mut calls, mut states) = (0, 0);
    for at in 1.. {
        let mut oracle = oracle.clone();
        let fs = disk();
        fs.fail_at(at, Fault::Crash);
        let done = workload(&fs, &mut oracle);
        assert!(!matches!(done, Err(Error::Corrupt { .. } | Error::Invalid { .. })), "{done:?}");
        for (place, mode) in (0..).zip(modes(at)) {
            let (cut, mut oracle) = (fs.crash_with(mode), oracle.clone());
            check(&cut, &mut oracle);
            states += 1;
            if (at + place).is_multiple_of(48) {
                states += nested(&cut, &oracle, at);
            } else {
                reopen(&cut, &mut oracle).unwrap();
                let again = cut.crash(at);
                check(&again, &mut oracle);
                reopen(&again, &mut oracle).unwrap();
                states += 1;
            }
        }
        calls = at;
        if done.is_ok() {
            break;
        }
    }
    println!("{states} crash states, {calls} places in the workload");
    (calls, states)
}
