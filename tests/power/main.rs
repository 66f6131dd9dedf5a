//! Power cuts on real file systems: a process works on a store on a loop-mounted image, the file system
//! is shut down at a random instant, mounted again, and the next process opens what is left.
//!
//! What was acknowledged at `Sync` is there; of `Buffered` only the end of the order may be lost.
//! `WALDEN_POWER_CUTS` sets the number of cuts for each file system (default 8), `WALDEN_POWER_SEED`
//! the seed. Without root, or without the tools, a test says why it is skipped.

#![cfg(all(feature = "cli", target_os = "linux"))]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "helpers of tests fail by panicking, and say on stdout what was done"
)]
#![allow(dead_code, reason = "the shared files have more than is used here")]

#[path = "../../src/bin/walden/torture/child.rs"]
mod child;
mod disk;
#[path = "../../src/bin/walden/torture/judge.rs"]
mod judge;
#[path = "../../src/bin/walden/ledger/mod.rs"]
mod ledger;
#[path = "../../src/bin/walden/random.rs"]
mod random;

use std::time::{Duration, Instant};

use child::{Life, Moment, Subject};
use disk::{Cut, Disk};
use random::Random;

/// One of so many cuts is followed by a new directory, or by a verification of every byte.
const ANEW_ONE_IN: u64 = 30;
const VERIFY_ONE_IN: u64 = 3;
/// Longest time between the cut and the death of the process, in which it must acknowledge nothing.
const AGONY_MAX_US: u64 = 3000;

/// A disk of this kind, if this machine can have one.
fn disk(kind: &str) -> Option<Disk> {
    // Newer tools refuse an xfs below 300 MiB; the image is sparse.
    let bytes = if kind == "xfs" { 320 << 20 } else { 64 << 20 };
    Disk::new(kind, bytes).map_err(|why| println!("skipped on {kind}: {why}")).ok()
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().map_or(default, |text| text.parse().expect(name))
}

fn subject(disk: &Disk, seed: u64) -> Subject {
    let mut subject =
        Subject::new(env!("CARGO_BIN_EXE_walden").into(), disk.place().join("store-0"), 8, seed);
    subject.forgets = true;
    subject
}

#[derive(Debug, Default)]
struct Done {
    opening: u64,
    work: u64,
    shutdown: u64,
    openings: u64,
    acknowledged: u64,
    lost: u64,
    lossy: u64,
    landed: u64,
    in_flight: u64,
    files: u64,
    verified: u64,
}

impl Done {
    /// Counts a life, and fails if it broke a promise.
    fn add(&mut self, life: &Life) -> Result<(), String> {
        match life.broken {
            Some(Moment::Opening) => self.opening += 1,
            Some(Moment::Work) => self.work += 1,
            Some(Moment::Shutdown) => self.shutdown += 1,
            None => {}
        }
        self.files += life.seen.files;
        if let Some(settled) = &life.settled {
            self.openings += 1;
            self.acknowledged += settled.acknowledged;
            self.lost += settled.lost;
            self.lossy += u64::from(settled.lost > 0);
            self.in_flight += settled.checked.in_flight as u64;
            self.landed += settled.checked.landed.len() as u64;
        }
        let mut problems: Vec<&str> =
            life.problems.iter().chain(&life.seen.problems).map(String::as_str).collect();
        // Once the disk is gone the process must fail; before that it must not.
        if let (Some(why), None) = (&life.failure, life.broken) {
            problems.push(why);
        }
        if problems.is_empty() { Ok(()) } else { Err(problems.join("\n")) }
    }

    fn cuts(&self) -> u64 {
        self.opening + self.work + self.shutdown
    }
}

/// One life that a cut ends, on a disk that is mounted for it.
fn cut_one(disk: &Disk, subject: &mut Subject, random: &mut Random) -> Result<Life, String> {
    let cut = match random.below(10) {
        0 => Cut::Flushed,
        1..4 => Cut::JournalFlushed,
        _ => Cut::Sudden,
    };
    let agony = Duration::from_micros(random.below(AGONY_MAX_US));
    let life = subject.live(|| {
        disk.cut(cut)?;
        std::thread::sleep(agony);
        Ok(())
    });
    disk.unmount()?;
    life.map_err(|why| format!("{cut:?}: {why}"))
}

fn verify(subject: &Subject, done: &mut Done) -> Result<(), String> {
    done.verified += 1;
    match walden::verify(&subject.dir) {
        Ok(verified) if verified.ok => Ok(()),
        Ok(verified) => Err(format!("verify: {:#?}", verified.problems)),
        Err(walden::Error::NotFound { .. }) if !subject.dir.exists() => Ok(()),
        Err(error) => Err(format!("verify: {error}")),
    }
}

fn run(disk: &Disk, cuts: u64, seed: u64, done: &mut Done) -> Result<(), String> {
    let mut subject = subject(disk, seed);
    let mut random = Random::new(seed.wrapping_add(1 << 40));
    while done.cuts() < cuts {
        disk.mount()?;
        if random.below(VERIFY_ONE_IN) == 0 {
            verify(&subject, done)?;
        }
        if random.below(ANEW_ONE_IN) == 0 {
            done.add(&subject.live_in_peace()?)?;
            verify(&subject, done)?;
            std::fs::remove_dir_all(&subject.dir).map_err(|error| error.to_string())?;
            subject.begin_anew(disk.place().join(format!("store-{}", done.cuts())));
        }
        done.add(&cut_one(disk, &mut subject, &mut random)?)?;
    }
    disk.mount()?;
    done.add(&subject.live_in_peace()?)?;
    verify(&subject, done)?;
    disk.unmount()
}

fn cut_again_and_again(kind: &str) {
    let Some(disk) = disk(kind) else { return };
    let (cuts, seed) = (number("WALDEN_POWER_CUTS", 8), number("WALDEN_POWER_SEED", 1));
    let (mut done, began) = (Done::default(), Instant::now());
    let ran = run(&disk, cuts, seed, &mut done);
    let Done { opening, work, shutdown, openings, acknowledged, lost, lossy, .. } = done;
    println!(
        "{kind}: {} cuts in {:.0} s: {opening} while it opened, {work} in the work, {shutdown} while it \
         shut down; {acknowledged} acknowledged operations checked in {openings} openings, of which \
         {lossy} had lost {lost} buffered ones; {} of {} in flight landed; {} JSON files parsed, {} \
         verifications",
        done.cuts(),
        began.elapsed().as_secs_f64(),
        done.landed,
        done.in_flight,
        done.files,
        done.verified,
    );
    if let Err(why) = ran {
        let cut = done.cuts();
        panic!("{kind}, seed {seed}, after {cut} cuts: {why}");
    }
    assert!(work * 3 >= cuts, "only {work} cuts fell into the work");
    assert!(cuts < 50 || (opening > 0 && shutdown > 0), "no cut of an opening, or of a shutdown");
    assert!(acknowledged > cuts, "only {acknowledged} operations were acknowledged");
}

#[test]
fn what_was_acknowledged_survives_a_power_cut_at_any_instant_on_ext4() {
    cut_again_and_again("ext4");
}

#[test]
fn what_was_acknowledged_survives_a_power_cut_at_any_instant_on_xfs() {
    cut_again_and_again("xfs");
}

/// Where flushes do nothing, the same run loses what was acknowledged, and says so.
#[test]
fn a_disk_whose_flushes_lie_is_seen_to_lose_acknowledged_writes() {
    let Some(disk) = disk("ext4") else { return };
    let mut subject = subject(&disk, 1);
    subject.lies = true;
    let mut acknowledged_and_lost = Vec::new();
    for attempt in 0..5 {
        subject.begin_anew(disk.place().join(format!("store-{attempt}")));
        disk.mount().unwrap();
        let life = subject.live(|| disk.cut(Cut::Sudden)).unwrap();
        assert_eq!(life.problems, [""; 0], "nothing was lost yet");
        disk.unmount().unwrap();
        disk.mount().unwrap();
        // The disk is as it is; who looks at it now does not matter.
        acknowledged_and_lost.extend(subject.live_in_peace().unwrap().problems);
        disk.unmount().unwrap();
    }
    println!("{} problems were told", acknowledged_and_lost.len());
    let lsn = acknowledged_and_lost.iter().any(|told| told.starts_with("the store ends at LSN"));
    let gone = acknowledged_and_lost.iter().any(|told| told.contains("acknowledged writes"));
    assert!(lsn && gone, "{acknowledged_and_lost:#?}");
}
