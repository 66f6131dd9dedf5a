//! Planned faults: which calls they meet, how often, and what each does; and rot.

use super::tests::{assert_kind, put, with};
use super::*;
use crate::fs::write_all_at;

#[test]
#[cfg(target_os = "linux")]
fn a_number_of_the_system_is_the_error_that_the_system_would_give() {
    let fs = with("a", b"a");
    let kinds = [
        (28, io::ErrorKind::StorageFull),
        (122, io::ErrorKind::QuotaExceeded),
        (27, io::ErrorKind::FileTooLarge),
        (4, io::ErrorKind::Interrupted),
        (5, io::Error::from_raw_os_error(5).kind()),
    ];
    for (number, kind) in kinds {
        fs.fail_at(1, Fault::Errno(number));
        let error = fs.stat("a").unwrap_err();
        assert_eq!((error.raw_os_error(), error.kind()), (Some(number), kind));
    }
    fs.fail_at(2, Fault::StickyErrno(28));
    fs.stat("a").unwrap();
    for _ in 0..3 {
        assert_kind(fs.stat("a"), io::ErrorKind::StorageFull);
        assert_kind(fs.list(""), io::ErrorKind::StorageFull);
    }
    fs.clear_faults();
    fs.stat("a").unwrap();
}

#[test]
fn a_fault_strikes_as_often_as_it_is_planned_to() {
    let fs = with("a", b"a");
    fs.fail(Plan::new(Fault::Errno(5)).kind(CallKind::Stat).nth(2).times(3));
    let failed: Vec<bool> = (0..6).map(|_| fs.stat("a").is_err()).collect();
    assert_eq!(failed, [false, true, true, true, false, false]);
    fs.fail(Plan::new(Fault::Errno(5)).nth(2).for_ever());
    let failed: Vec<bool> = (0..4).map(|_| fs.list("").is_err()).collect();
    assert_eq!(failed, [false, true, true, true]);
    assert_eq!(fs.faults_fired(), 6);
}

#[test]
fn a_fault_on_a_path_meets_the_calls_on_it_and_no_others() {
    let fs = with("d/a", b"a");
    fs.write_now("b", b"b").unwrap();
    fs.fail(Plan::new(Fault::Errno(5)).path("d/").for_ever());
    let (inside, outside) = (fs.open("d/a", Mode::Write), fs.open("b", Mode::Write).unwrap());
    assert!(inside.is_err() && fs.sync_dir("d").is_err() && fs.list("d").is_err());
    assert!(fs.rename("b", "d/b").is_err() && fs.link("d/a", "c").is_err());
    outside.sync_data().unwrap();
    fs.sync_dir("").unwrap();
    fs.space().unwrap();
    fs.sync_all().unwrap();
    fs.clear_faults();

    fs.fail_path("/", CallKind::SyncDir, 2, Fault::Errno(5));
    fs.sync_dir("d").unwrap();
    fs.sync_dir("").unwrap();
    fs.sync_dir("d").unwrap();
    assert!(fs.sync_dir("").is_err());

    fs.fail_path("d/a", CallKind::Write, 1, Fault::Errno(5));
    outside.write_at(b"x", 0).unwrap();
    let file = fs.open("d/a", Mode::Write).unwrap();
    fs.rename("d/a", "e").unwrap();
    assert!(file.write_at(b"x", 0).is_err(), "a handle's path is the one it was opened by");
    assert_eq!(fs.read_now("e").unwrap(), b"a");
}

#[test]
fn locking_asking_for_room_and_setting_a_time_can_fail() {
    let fs = with("a", b"a");
    let file = fs.open("a", Mode::Read).unwrap();
    let before = file.stat().unwrap();
    for kind in [CallKind::Lock, CallKind::Space, CallKind::SetModified] {
        fs.fail_when(kind, 1, Fault::Errno(5));
    }
    assert!(fs.lock(LockMode::Exclusive).is_err() && fs.space().is_err());
    assert!(file.set_modified(7).is_err());
    assert_eq!(file.stat().unwrap(), before);
    assert!(fs.lock(LockMode::Exclusive).unwrap().is_some());
}

#[test]
fn a_read_or_write_takes_no_more_than_planned() {
    let fs = with("a", b"");
    let file = fs.open("a", Mode::Write).unwrap();
    fs.fail_when(CallKind::Write, 1, Fault::AtMost(3));
    assert_eq!(file.write_at(b"abcdef", 0).unwrap(), 3);
    assert_eq!(fs.read_now("a").unwrap(), b"abc");
    fs.fail_when(CallKind::Write, 1, Fault::AtMost(0));
    assert_kind(write_all_at(&*file, b"def", 3), io::ErrorKind::WriteZero);
    fs.fail_when(CallKind::Read, 1, Fault::AtMost(0));
    assert_eq!(file.read_at(&mut [0; 3], 0).unwrap(), 0);
    assert_eq!(file.read_at(&mut [0; 3], 0).unwrap(), 3);
}

#[test]
fn a_flush_that_lies_makes_nothing_durable_and_the_next_honest_one_does() {
    type Flush = fn(&SimFs, &dyn File) -> io::Result<()>;
    let flushes: [(CallKind, Flush); 3] = [
        (CallKind::Sync, |_, file| file.sync_data()),
        (CallKind::SyncAll, |fs, _| fs.sync_all()),
        (CallKind::WriteBack, |fs, file| {
            file.write_back()?;
            fs.rename("new", "a")?;
            fs.sync_dir("")
        }),
    ];
    let start = || {
        let fs = with("new", b"old");
        let file = fs.open("new", Mode::Write).unwrap();
        write_all_at(&*file, b"NEW", 0).unwrap();
        (fs, file)
    };
    let contents = |fs: &SimFs| {
        let left = fs.if_crashed(CrashMode::Nothing);
        left.read_now("a").or_else(|| left.read_now("new")).unwrap()
    };
    for (kind, flush) in flushes {
        let (fs, file) = start();
        fs.fail_when(kind, 1, Fault::Lie);
        flush(&fs, &*file).unwrap();
        assert_eq!((contents(&fs), fs.faults_fired()), (b"old".to_vec(), 1), "{kind:?}");
        assert_eq!(fs.crash_with(CrashMode::Everything).fingerprint(), fs.fingerprint());
        let (fs, file) = start();
        flush(&fs, &*file).unwrap();
        assert_eq!(contents(&fs), b"NEW", "{kind:?}");
    }
    let (fs, file) = start();
    fs.fail(Plan::new(Fault::Lie).for_ever());
    for _ in 0..3 {
        file.sync_data().unwrap();
        fs.sync_all().unwrap();
    }
    assert_eq!(contents(&fs), b"old");
    fs.clear_faults();
    file.sync_data().unwrap();
    assert_eq!(contents(&fs), b"NEW");

    let fs = SimFs::new();
    put(&fs, "a", b"a");
    fs.fail_when(CallKind::SyncDir, 1, Fault::Lie);
    fs.sync_dir("").unwrap();
    assert!(fs.if_crashed(CrashMode::Nothing).names().is_empty());
    fs.sync_dir("").unwrap();
    assert_eq!(fs.if_crashed(CrashMode::Nothing).names(), ["a"]);
}

#[test]
fn rot_flips_the_bits_that_it_tells_and_no_others() {
    let fs = with("a", &[0; 700]);
    fs.write_now("d/b", &[0; 100]).unwrap();
    fs.write_now("empty", b"").unwrap();
    fs.link("a", "c").unwrap();
    fs.sync_dir("").unwrap();
    for seed in 0..50 {
        let rotten = fs.if_killed();
        let flips = rotten.rot(seed, 9);
        assert_eq!(flips, fs.if_killed().rot(seed, 9), "from the seed alone");
        assert_eq!(flips.len(), 9);
        assert_eq!(rotten.stat("a").unwrap(), fs.stat("a").unwrap());
        for left in [&rotten, &rotten.if_crashed(CrashMode::Nothing)] {
            let mut ones = 0;
            for name in ["a", "d/b"] {
                ones +=
                    left.read_now(name).unwrap().iter().map(|byte| byte.count_ones()).sum::<u32>();
            }
            assert_eq!(ones, 9, "{flips:?}");
            for (path, offset, mask) in &flips {
                let byte = left.read_now(path).unwrap()[usize::try_from(*offset).unwrap()];
                assert_eq!(byte & mask, *mask);
            }
        }
    }
    assert_ne!(fs.if_killed().rot(1, 9), fs.if_killed().rot(2, 9));
    assert_eq!(with("a", &[0; 2]).rot(1, 99).len(), 2, "one bit of a byte at most");
    assert!(SimFs::new().rot(1, 9).is_empty());
}
