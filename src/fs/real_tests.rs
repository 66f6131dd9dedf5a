//! The real disk on a temporary directory: what it refuses, and what it leaves behind.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;

use super::*;
use crate::fs::{join, read_exact_at, read_file, write_all_at};

fn disk() -> (tempfile::TempDir, RealFs) {
    let dir = tempfile::tempdir().unwrap();
    let fs = RealFs::open(dir.path()).unwrap();
    (dir, fs)
}

fn put(fs: &RealFs, path: &str, bytes: &[u8]) {
    write_all_at(&*fs.open(path, Mode::CreateNew).unwrap(), bytes, 0).unwrap();
}

fn get(fs: &RealFs, path: &str) -> Vec<u8> {
    read_file(fs, path, 1 << 20).unwrap()
}

#[track_caller]
fn assert_kind<T>(result: io::Result<T>, kind: io::ErrorKind) -> String {
    let error = result.err().expect("the call must fail");
    assert_eq!(error.kind(), kind, "{error}");
    error.to_string()
}

#[track_caller]
fn assert_never_opened(fs: &RealFs, path: &str) {
    for mode in [Mode::Read, Mode::Write] {
        let text = assert_kind(fs.open(path, mode), io::ErrorKind::InvalidInput);
        assert!(text.contains("not a regular file"), "{text}");
    }
    assert_kind(fs.open(path, Mode::CreateNew), io::ErrorKind::AlreadyExists);
}

#[test]
fn a_planted_link_directory_fifo_or_socket_is_refused_without_blocking() {
    let (dir, fs) = disk();
    let outside = tempfile::NamedTempFile::new().unwrap();
    symlink(outside.path(), dir.path().join("link")).unwrap();
    symlink("nowhere", dir.path().join("dangling")).unwrap();
    symlink("/dev/zero", dir.path().join("device")).unwrap();
    std::fs::create_dir(dir.path().join("directory")).unwrap();
    let _socket = UnixListener::bind(dir.path().join("socket")).unwrap();
    let made = std::process::Command::new("mkfifo").arg(dir.path().join("fifo")).status();
    assert!(made.unwrap().success());
    for name in ["link", "dangling", "device", "directory", "socket", "fifo"] {
        assert_never_opened(&fs, name);
        let kind = if name == "directory" { Kind::Directory } else { Kind::Other };
        assert_eq!(fs.stat(name).unwrap().unwrap().kind, kind, "{name}");
    }
}

#[test]
fn a_planted_fifo_is_not_even_opened() {
    let (dir, fs) = disk();
    let path = dir.path().join("fifo");
    assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
    // Opening it for writing waits until somebody opens it for reading, who must not be us.
    let writer = std::thread::spawn({
        let path = path.clone();
        move || std::fs::File::options().write(true).open(path).map(drop)
    });
    for _ in 0..50 {
        assert_never_opened(&fs, "fifo");
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    assert!(!writer.is_finished(), "the waiting writer met a reader");
    std::fs::File::open(&path).unwrap();
    writer.join().unwrap().unwrap();
}

#[test]
fn a_directory_that_became_a_link_is_never_entered() {
    let (dir, fs) = disk();
    let outside = tempfile::tempdir().unwrap();
    assert!(fs.create_dir("tasks").unwrap());
    put(&fs, "tasks/a.json", b"{}");
    put(&fs, "b.json", b"{}");
    std::fs::rename(dir.path().join("tasks"), outside.path().join("tasks")).unwrap();
    symlink(outside.path().join("tasks"), dir.path().join("tasks")).unwrap();
    let refused = io::ErrorKind::InvalidInput;
    assert_kind(fs.open("tasks/a.json", Mode::Read), refused);
    assert_kind(fs.open("tasks/new.json", Mode::CreateNew), refused);
    assert_kind(fs.stat("tasks/a.json"), refused);
    assert_kind(fs.list("tasks"), refused);
    assert_kind(fs.remove("tasks/a.json"), refused);
    assert_kind(fs.rename("b.json", "tasks/a.json"), refused);
    assert_kind(fs.link("b.json", "tasks/b.json"), refused);
    assert_kind(fs.sync_dir("tasks"), refused);
    assert_kind(fs.create_dir("tasks"), refused);
    let names: Vec<_> = std::fs::read_dir(outside.path().join("tasks")).unwrap().collect();
    assert_eq!(names.len(), 1, "nothing outside was touched");
}

#[test]
fn a_path_that_leads_out_is_refused() {
    let (_dir, fs) = disk();
    fs.create_dir("d").unwrap();
    for path in
        ["", "/etc/passwd", "../a", "d/../a", "d/..", ".", "./a", "d//a", "d/e/f", "d/", "a\0"]
    {
        assert_kind(fs.open(path, Mode::Read), io::ErrorKind::InvalidInput);
        assert_kind(fs.open(path, Mode::CreateNew), io::ErrorKind::InvalidInput);
        assert_kind(fs.remove(path), io::ErrorKind::InvalidInput);
    }
    for dir in ["..", "/tmp", "d/e", "."] {
        assert_kind(fs.create_dir(dir), io::ErrorKind::InvalidInput);
        assert_kind(fs.list(dir), io::ErrorKind::InvalidInput);
        assert_kind(fs.sync_dir(dir), io::ErrorKind::InvalidInput);
    }
}

#[test]
fn one_lock_excludes_every_other_opener_of_this_process() {
    let (dir, first) = disk();
    let second = RealFs::open(dir.path()).unwrap();
    let held = first.lock(LockMode::Exclusive).unwrap().expect("it is free");
    assert!(second.lock(LockMode::Exclusive).unwrap().is_none());
    assert!(second.lock(LockMode::Probe).unwrap().is_none());
    assert!(first.lock(LockMode::Exclusive).unwrap().is_none(), "nor twice by one opener");
    drop(held);
    let probe = second.lock(LockMode::Probe).unwrap().expect("it is free again");
    let other = first.lock(LockMode::Probe).unwrap().expect("two probes do not meet");
    drop(other);
    assert!(first.lock(LockMode::Exclusive).unwrap().is_none(), "a probe holds a writer off");
    drop(probe);
    assert!(first.lock(LockMode::Exclusive).unwrap().is_some());
}

#[test]
fn a_rename_to_a_new_name_never_replaces() {
    let (_dir, fs) = disk();
    fs.create_dir("d").unwrap();
    put(&fs, "a", b"a");
    put(&fs, "d/b", b"b");
    assert_kind(fs.rename_new("a", "d/b"), io::ErrorKind::AlreadyExists);
    assert_eq!((get(&fs, "a"), get(&fs, "d/b")), (b"a".to_vec(), b"b".to_vec()));
    fs.rename_new("a", "d/c").unwrap();
    assert_eq!(get(&fs, "d/c"), b"a");
    assert!(fs.stat("a").unwrap().is_none());
    assert_kind(fs.rename_new("a", "d/e"), io::ErrorKind::NotFound);
}

#[test]
fn the_rename_by_link_never_replaces_either() {
    let (_dir, fs) = disk();
    put(&fs, "a", b"a");
    put(&fs, "b", b"b");
    let by_link = |from, to| rename_by_link(&fs.place(from).unwrap(), &fs.place(to).unwrap());
    assert_kind(by_link("a", "b"), io::ErrorKind::AlreadyExists);
    assert_eq!((get(&fs, "a"), get(&fs, "b")), (b"a".to_vec(), b"b".to_vec()));
    by_link("a", "c").unwrap();
    assert_eq!(get(&fs, "c"), b"a");
    assert!(fs.stat("a").unwrap().is_none());
}

#[test]
fn an_exchange_swaps_two_names() {
    let (_dir, fs) = disk();
    fs.create_dir("d").unwrap();
    put(&fs, "a", b"a");
    put(&fs, "d/b", b"b");
    match fs.exchange("a", "d/b") {
        Err(error) if error.kind() == io::ErrorKind::Unsupported => {
            eprintln!("skipped: the temporary directory's file system cannot exchange names");
        }
        exchanged => {
            exchanged.unwrap();
            assert_eq!((get(&fs, "a"), get(&fs, "d/b")), (b"b".to_vec(), b"a".to_vec()));
            assert_kind(fs.exchange("a", "none"), io::ErrorKind::NotFound);
        }
    }
}

#[test]
fn a_listing_is_sorted_and_tells_files_from_the_rest() {
    let (dir, fs) = disk();
    fs.create_dir("m").unwrap();
    for name in ["z", "a", "b"] {
        put(&fs, name, b"");
        put(&fs, &join("m", name), b"");
    }
    symlink("a", dir.path().join("l")).unwrap();
    let entry = |name: &str, kind| Entry { name: name.into(), kind };
    let file = |name| entry(name, Kind::File);
    assert_eq!(fs.list("m").unwrap(), [file("a"), file("b"), file("z")]);
    let (link, below) = (entry("l", Kind::Other), entry("m", Kind::Directory));
    assert_eq!(fs.list("").unwrap(), [file("a"), file("b"), link, below, file("z")]);
    assert_kind(fs.list("none"), io::ErrorKind::NotFound);
}

#[test]
fn what_is_created_is_for_the_owner_only() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("parent/state");
    let fs = RealFs::create(&path).unwrap();
    put(&fs, "a", b"a");
    assert!(fs.create_dir("d").unwrap());
    assert!(!fs.create_dir("d").unwrap(), "it is there already");
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
    assert_eq!(fs.stat("a").unwrap().unwrap().permissions, 0o600);
    assert_eq!(fs.stat("d").unwrap().unwrap().permissions, 0o700);
    RealFs::create(&path).unwrap();
    assert_eq!(get(&fs, "a"), b"a", "creating again changes nothing");
}

#[test]
fn only_an_existing_directory_is_opened() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("file"), "").unwrap();
    assert_kind(RealFs::open(&dir.path().join("none")), io::ErrorKind::NotFound);
    assert!(!dir.path().join("none").exists());
    assert_kind(RealFs::open(&dir.path().join("file")), io::ErrorKind::NotADirectory);
    assert_kind(RealFs::create(&dir.path().join("file")), io::ErrorKind::NotADirectory);
}

#[test]
fn a_directory_that_was_moved_is_still_the_one_that_is_used() {
    let dir = tempfile::tempdir().unwrap();
    let fs = RealFs::create(&dir.path().join("before")).unwrap();
    std::fs::rename(dir.path().join("before"), dir.path().join("after")).unwrap();
    std::fs::create_dir(dir.path().join("before")).unwrap();
    put(&fs, "a", b"a");
    assert!(dir.path().join("after/a").exists());
    assert!(!dir.path().join("before/a").exists());
}

#[test]
fn a_stat_tells_a_written_linked_or_replaced_file_from_an_untouched_one() {
    let (_dir, fs) = disk();
    put(&fs, "a", b"one");
    let file = fs.open("a", Mode::Write).unwrap();
    let before = file.stat().unwrap();
    assert_eq!(fs.stat("a").unwrap().unwrap(), before, "by name and by handle alike");
    assert_eq!((before.size_bytes, before.links), (3, 1));
    fs.link("a", "b").unwrap();
    assert_eq!(file.stat().unwrap().links, 2);
    assert_kind(fs.link("a", "b"), io::ErrorKind::AlreadyExists);
    write_all_at(&*file, b"four", 10).unwrap();
    assert_eq!(get(&fs, "b"), b"one\0\0\0\0\0\0\0four");
    fs.remove("a").unwrap();
    assert!(fs.stat("a").unwrap().is_none());
    assert!(fs.stat("none/a").unwrap().is_none());
    assert_kind(fs.remove("a"), io::ErrorKind::NotFound);
}

#[test]
fn every_way_of_flushing_is_taken_by_the_system() {
    let (dir, fs) = disk();
    put(&fs, "a", b"one");
    let file = fs.open("a", Mode::Write).unwrap();
    file.write_back().unwrap();
    file.sync_data().unwrap();
    fs.create_dir("d").unwrap();
    fs.sync_dir("").unwrap();
    fs.sync_dir("d").unwrap();
    fs.sync_all().unwrap();
    let space = fs.space().unwrap();
    assert!(space.free_bytes <= space.total_bytes && space.total_bytes > 0);
    assert!(fs.is_writable());
    assert_eq!(fs.display("d/a"), dir.path().join("d/a").display().to_string());
    assert_eq!(fs.display(""), dir.path().display().to_string());
}

#[cfg(target_os = "linux")]
#[test]
fn a_file_that_is_open_for_writing_is_told_from_one_that_is_not() {
    let (dir, fs) = disk();
    put(&fs, "a", b"one");
    let file = fs.open("a", Mode::Read).unwrap();
    assert!(!file.has_writer().unwrap());
    let reader = std::fs::File::open(dir.path().join("a")).unwrap();
    assert!(!file.has_writer().unwrap(), "a reader is no writer");
    let writer = std::fs::OpenOptions::new().append(true).open(dir.path().join("a")).unwrap();
    assert!(file.has_writer().unwrap());
    fs.rename("a", "b").unwrap();
    assert!(file.has_writer().unwrap(), "it is the file that counts, not the name");
    drop((reader, writer));
    assert!(!file.has_writer().unwrap());
    let mut child = std::process::Command::new("sleep")
        .arg("60")
        .stdout(std::fs::OpenOptions::new().write(true).open(dir.path().join("b")).unwrap())
        .spawn()
        .unwrap();
    assert!(file.has_writer().unwrap(), "another process counts too");
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!file.has_writer().unwrap());
}

#[cfg(target_os = "linux")]
#[test]
fn asking_for_writers_never_ends_the_process_and_keeps_nobody_from_opening() {
    let (dir, fs) = disk();
    put(&fs, "a", b"one");
    let path = dir.path().join("a");
    let opener = std::thread::spawn(move || {
        for _ in 0..1000 {
            drop(std::fs::OpenOptions::new().write(true).open(&path).unwrap());
            std::thread::sleep(std::time::Duration::from_micros(100));
        }
    });
    let file = fs.open("a", Mode::Read).unwrap();
    let mut seen = [0_u64; 2];
    while !opener.is_finished() {
        seen[usize::from(file.has_writer().unwrap())] += 1;
    }
    opener.join().unwrap();
    assert!(!file.has_writer().unwrap());
    assert!(seen[0] > 0, "{seen:?}");
}

#[test]
fn blocks_are_shared_or_there_is_no_new_file() {
    let (_dir, fs) = disk();
    put(&fs, "a", b"one");
    match fs.reflink("a", "b") {
        Ok(()) => {
            write_all_at(&*fs.open("a", Mode::Write).unwrap(), b"two", 0).unwrap();
            assert_eq!(get(&fs, "b"), b"one");
        }
        Err(error) => {
            assert_eq!(error.kind(), io::ErrorKind::Unsupported, "{error}");
            assert!(fs.stat("b").unwrap().is_none());
        }
    }
    put(&fs, "c", b"three");
    assert_kind(fs.reflink("a", "c"), io::ErrorKind::AlreadyExists);
    assert_eq!(get(&fs, "c"), b"three");
}

#[test]
fn a_file_keeps_a_time_that_is_set_until_it_is_written_to() {
    let (_dir, fs) = disk();
    put(&fs, "a", b"one");
    let writer = fs.open("a", Mode::Write).unwrap();
    let reader = fs.open("a", Mode::Read).unwrap();
    for set_ns in
        [reader.stat().unwrap().modified_ns - 1, 1_700_000_000_123_456_789, -1_500_000_000]
    {
        reader.set_modified(set_ns).unwrap();
        let seen = fs.stat("a").unwrap().unwrap();
        assert_eq!((seen.modified_ns, seen.size_bytes), (set_ns, 3));
        write_all_at(&*writer, b"two", 0).unwrap();
        assert_ne!(fs.stat("a").unwrap().unwrap().modified_ns, set_ns);
    }
}

#[test]
fn many_stats_are_what_each_is() {
    let (dir, fs) = disk();
    fs.create_dir("tasks").unwrap();
    put(&fs, "tasks/a", b"one");
    put(&fs, "tasks/b", b"two");
    std::os::unix::fs::symlink("/etc", dir.path().join("led")).unwrap();
    for at in ["tasks", "", "none", "led"] {
        let names = ["b", "missing", "a", "tasks", "..", "a/b", ""];
        let all = fs.stats(at, &names);
        assert_eq!(all.len(), names.len());
        for (name, found) in names.iter().zip(all) {
            let alone = fs.stat(&crate::fs::join(at, name));
            if name.contains('/') || name.is_empty() {
                assert!(found.is_err(), "{at}/{name}");
            } else {
                assert_eq!(found.map_err(|e| e.kind()), alone.map_err(|e| e.kind()), "{at}/{name}");
            }
        }
    }
}

#[test]
fn a_write_past_the_page_cache_is_seen_by_every_reader_where_it_is_possible() {
    // The system's own place for such things may be in memory. It is missing where cargo builds elsewhere.
    let target = concat!(env!("CARGO_MANIFEST_DIR"), "/target");
    std::fs::create_dir_all(target).unwrap();
    let dir = tempfile::tempdir_in(target).unwrap();
    let fs = RealFs::open(dir.path()).unwrap();
    let plain = fs.open("a", Mode::CreateNew).unwrap();
    write_all_at(&*plain, &[0; 3 * 4096], 0).unwrap();
    let memory = vec![7; 3 * 4096];
    let start = memory.as_ptr().align_offset(4096);
    let block = &memory[start..start + 4096];
    let written = fs.open("a", Mode::Through).and_then(|file| write_all_at(&*file, block, 4096));
    let mut read = vec![1; 3 * 4096];
    read_exact_at(&*plain, &mut read, 0).unwrap();
    let expected = if written.is_ok() { 7 } else { 0 };
    println!("direct writes here: {written:?}");
    assert_eq!(read[4096..8192], [expected; 4096]);
    assert!(read[..4096].iter().chain(&read[8192..]).all(|byte| *byte == 0));
}
