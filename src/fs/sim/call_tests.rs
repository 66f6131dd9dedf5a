//! What calls to the simulated disk answer: stopping, faults, room, names, locks.

use super::tests::{assert_kind, put, with};
use super::*;
use crate::fs::{read_full_at, write_all_at};

#[test]
fn a_kill_keeps_what_calls_saw_and_frees_the_lock() {
    let fs = with("a", b"old");
    let file = fs.open("a", Mode::Write).unwrap();
    write_all_at(&*file, b"new", 0).unwrap();
    put(&fs, "b", b"b");
    let lock = fs.lock(LockMode::Exclusive).unwrap().unwrap();
    let next = fs.kill();
    assert_eq!(
        (next.read_now("a").unwrap(), next.read_now("b").unwrap()),
        (b"new".into(), b"b".into())
    );
    let held = next.lock(LockMode::Exclusive).unwrap().expect("the owner is dead");
    drop(lock);
    assert!(next.lock(LockMode::Probe).unwrap().is_none(), "the old lock was another one");
    drop(held);
    assert_eq!(next.crash_with(CrashMode::Nothing).read_now("a").unwrap(), b"old");
}

#[test]
fn handles_from_before_a_crash_never_get_through() {
    let fs = with("a", b"old");
    let file = fs.open("a", Mode::Write).unwrap();
    let next = fs.crash(1);
    let calls = fs.calls();
    assert!(file.read_at(&mut [0; 3], 0).is_err());
    assert!(file.write_at(b"new", 0).is_err() && file.sync_data().is_err());
    assert!(fs.open("a", Mode::Read).is_err() && fs.rename("a", "b").is_err());
    assert!(fs.has_stopped() && !next.has_stopped() && !fs.is_writable());
    assert_eq!(fs.calls(), calls);
    assert_eq!(next.read_now("a").unwrap(), b"old");
}

#[test]
fn a_crash_fault_stops_the_machine_before_the_call() {
    let fs = with("a", b"old");
    let file = fs.open("a", Mode::Write).unwrap();
    fs.fail_at(2, Fault::Crash);
    write_all_at(&*file, b"new", 0).unwrap();
    assert!(file.sync_data().is_err());
    assert!(fs.has_stopped());
    assert!(file.write_at(b"xxx", 0).is_err());
    assert_eq!(fs.kill().read_now("a").unwrap(), b"new");
    assert_eq!(fs.crash_with(CrashMode::Nothing).read_now("a").unwrap(), b"old");
    assert_eq!(fs.crash_with(CrashMode::Everything).read_now("a").unwrap(), b"new");
}

#[test]
fn a_fault_strikes_once_or_from_then_on() {
    let fs = with("a", b"a");
    fs.fail_when(CallKind::Stat, 2, Fault::Error(io::ErrorKind::Interrupted));
    fs.stat("a").unwrap();
    fs.list("").unwrap();
    assert_kind(fs.stat("a"), io::ErrorKind::Interrupted);
    fs.stat("a").unwrap();
    fs.fail_when(CallKind::Rename, 1, Fault::Sticky(io::ErrorKind::ReadOnlyFilesystem));
    assert_kind(fs.rename("a", "b"), io::ErrorKind::ReadOnlyFilesystem);
    fs.stat("a").unwrap();
    assert_kind(fs.rename_new("a", "b"), io::ErrorKind::ReadOnlyFilesystem);
    assert_eq!(fs.read_now("a").unwrap(), b"a", "a call that failed changed nothing");
    fs.clear_faults();
    fs.rename("a", "b").unwrap();
    assert_eq!(fs.faults_fired(), 3);
    assert_eq!(fs.calls(), 8);
    assert_eq!(fs.trace()[..3], ["stat a", "list /", "stat a"]);
}

#[test]
fn a_short_call_handles_half() {
    let fs = SimFs::new();
    let file = fs.open("a", Mode::CreateNew).unwrap();
    fs.fail_when(CallKind::Write, 1, Fault::Short);
    assert_eq!(file.write_at(b"abcd", 0).unwrap(), 2);
    assert_eq!(fs.read_now("a").unwrap(), b"ab");
    fs.fail_when(CallKind::Write, 1, Fault::Short);
    fs.fail_when(CallKind::Read, 1, Fault::Short);
    write_all_at(&*file, b"abcd", 0).unwrap();
    let mut buf = [0; 9];
    assert_eq!(read_full_at(&*file, &mut buf, 0).unwrap(), 4);
    assert_eq!(&buf[..4], b"abcd");
}

#[test]
fn a_full_disk_takes_what_fits_and_then_refuses() {
    let fs = with("a", b"1234");
    fs.set_free_bytes(3);
    let file = fs.open("a", Mode::Write).unwrap();
    assert_eq!(file.write_at(b"567890", 4).unwrap(), 3);
    assert_kind(file.write_at(b"890", 7), io::ErrorKind::StorageFull);
    assert_eq!(file.write_at(b"x", 0).unwrap(), 1, "writing over needs no room");
    assert_eq!(fs.space().unwrap(), Space { free_bytes: 0, total_bytes: 7 });
    fs.remove("a").unwrap();
    assert_eq!(fs.space().unwrap().free_bytes, 7);
    let cut = fs.crash_with(CrashMode::Nothing);
    assert_eq!(cut.space().unwrap(), Space { free_bytes: 3, total_bytes: 7 });
}

#[test]
fn a_stat_changes_with_every_change_and_only_then() {
    let fs = with("a", b"a");
    let stat = || fs.stat("a").unwrap().unwrap();
    let first = stat();
    assert_eq!(first, stat());
    fs.link("a", "b").unwrap();
    let linked = stat();
    assert_eq!(
        (linked.links, linked.inode, linked.modified_ns),
        (2, first.inode, first.modified_ns)
    );
    assert!(linked.changed_ns > first.changed_ns);
    fs.corrupt("a", 0, 1).unwrap();
    assert_eq!((stat(), fs.read_now("b").unwrap()), (linked, b"`".to_vec()), "rot leaves no trace");
    fs.write_now("a", b"b").unwrap();
    assert!(stat().modified_ns > linked.modified_ns && stat().inode == first.inode);
    fs.save_now("a", b"c").unwrap();
    assert!(stat().inode != first.inode && stat().links == 1);
    assert_eq!(fs.crash_with(CrashMode::Nothing).read_now("a").unwrap(), b"c");
}

#[test]
fn names_follow_posix() {
    let fs = with("a", b"a");
    fs.link("a", "b").unwrap();
    fs.rename("a", "b").unwrap();
    assert_eq!(fs.names(), ["a", "b"], "two names of one file stay");
    assert_kind(fs.rename_new("a", "b"), io::ErrorKind::AlreadyExists);
    assert_kind(fs.link("a", "b"), io::ErrorKind::AlreadyExists);
    assert_kind(fs.open("a", Mode::CreateNew), io::ErrorKind::AlreadyExists);
    assert_kind(fs.exchange("a", "none"), io::ErrorKind::NotFound);
    assert_kind(fs.open("none", Mode::Read), io::ErrorKind::NotFound);
    assert_kind(fs.open("none/a", Mode::CreateNew), io::ErrorKind::NotFound);
    assert!(fs.create_dir("d").unwrap() && !fs.create_dir("d").unwrap());
    assert_kind(fs.open("d", Mode::Read), io::ErrorKind::InvalidInput);
    assert_kind(fs.rename("a", "d"), io::ErrorKind::IsADirectory);
    assert_kind(fs.remove("d"), io::ErrorKind::IsADirectory);
    fs.plant_now("fifo", Kind::Other).unwrap();
    assert_kind(fs.open("fifo", Mode::Read), io::ErrorKind::InvalidInput);
    assert_kind(fs.open("../a", Mode::Read), io::ErrorKind::InvalidInput);
    let read_only = fs.open("a", Mode::Read).unwrap();
    assert_kind(read_only.write_at(b"x", 0), io::ErrorKind::PermissionDenied);
}

#[test]
fn one_writer_excludes_all_and_probes_exclude_a_writer() {
    let fs = SimFs::new();
    let writer = fs.lock(LockMode::Exclusive).unwrap().unwrap();
    assert!(fs.lock(LockMode::Exclusive).unwrap().is_none());
    assert!(fs.lock(LockMode::Probe).unwrap().is_none());
    drop(writer);
    let probes =
        [fs.lock(LockMode::Probe).unwrap().unwrap(), fs.lock(LockMode::Probe).unwrap().unwrap()];
    assert!(fs.lock(LockMode::Exclusive).unwrap().is_none());
    drop(probes);
    assert!(fs.lock(LockMode::Exclusive).unwrap().is_some());
}

#[test]
fn every_handle_for_writing_and_every_planted_one_is_a_writer_while_it_is_open() {
    let fs = with("a", b"a");
    let file = fs.open("a", Mode::Read).unwrap();
    assert!(!file.has_writer().unwrap());
    let own = fs.open("a", Mode::Write).unwrap();
    let held = fs.hold_now("a").unwrap();
    drop(own);
    fs.rename("a", "b").unwrap();
    assert!(file.has_writer().unwrap());
    held.write(b"longer");
    assert_eq!(fs.crash_with(CrashMode::Nothing).read_now("a").unwrap(), b"longer");
    drop(held);
    fs.fail_when(CallKind::Lease, 1, Fault::Error(io::ErrorKind::Unsupported));
    assert!(file.has_writer().is_err(), "the disk has stopped");
    let fs = with("a", b"a");
    let file = fs.open("a", Mode::Read).unwrap();
    fs.fail_when(CallKind::Lease, 1, Fault::Error(io::ErrorKind::Unsupported));
    assert_kind(file.has_writer(), io::ErrorKind::Unsupported);
    assert!(!file.has_writer().unwrap());
}

#[test]
fn a_reflink_is_a_file_of_its_own_that_is_not_yet_durable() {
    let fs = with("a", b"a");
    assert_kind(fs.reflink("a", "b"), io::ErrorKind::Unsupported);
    fs.set_reflinks(true);
    fs.reflink("a", "b").unwrap();
    fs.write_now("a", b"changed").unwrap();
    fs.sync_dir("").unwrap();
    assert_eq!(fs.read_now("b").unwrap(), b"a");
    assert_eq!(fs.if_crashed(CrashMode::Nothing).read_now("b").unwrap(), b"");
    fs.open("b", Mode::Read).unwrap().sync_data().unwrap();
    assert_eq!(fs.if_crashed(CrashMode::Nothing).read_now("b").unwrap(), b"a");
    assert_kind(fs.reflink("a", "b"), io::ErrorKind::AlreadyExists);
    fs.set_free_bytes(3);
    assert_kind(fs.reflink("a", "c"), io::ErrorKind::StorageFull);
}
