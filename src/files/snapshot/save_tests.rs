//! Saving a snapshot: whatever crashes, fails or edits in between, nothing loses its last name.

use super::super::{Parsed, Snapshot, parse};
use super::*;
use crate::files::meddler::Meddler;
use crate::files::names::{self, CONFLICTS};
use crate::files::snapshot::fixture::snapshot_bytes;
use crate::fs::sim::{CallKind, CrashMode, Fault, SimFs};

const STORE: StoreId = StoreId(7);
const EDITED: &[u8] = b"{\"tasks\": [\"a person's\"]}";

fn bytes(lsn: u64) -> Vec<u8> {
    snapshot_bytes(STORE, lsn, 1500)
}

fn disk() -> SimFs {
    let disk = SimFs::new();
    disk.create_dir(WAL).unwrap();
    disk.sync_dir("").unwrap();
    disk
}

fn save_lsn(fs: &dyn Fs, lsn: u64, last: Option<&Stat>) -> Saved {
    save(fs, STORE, &bytes(lsn), last, None, Timestamp(1)).unwrap()
}

fn lsn_of(disk: &SimFs, file: &str) -> Option<Lsn> {
    match parse(&disk.read_now(file)?) {
        Parsed::Intact(Snapshot { lsn, .. }) => Some(lsn),
        Parsed::NotIntact(_) => None,
    }
}

fn below(disk: &SimFs, dir: &str) -> Vec<String> {
    disk.names().into_iter().filter(|name| name.starts_with(dir)).collect()
}

/// That the person's version is in `conflicts/`, whole, and nothing else is.
fn assert_kept(disk: &SimFs) {
    let kept = below(disk, CONFLICTS);
    assert_eq!(kept.len(), 1, "{kept:?}");
    assert_eq!(disk.read_now(&kept[0]).unwrap(), EDITED);
}

#[test]
fn a_save_makes_the_former_snapshot_a_backup_and_leaves_nothing_behind() {
    let disk = disk();
    let first = save_lsn(&disk, 1, None);
    assert_eq!((first.backup, first.problems), (None, vec![]));
    let mut last = first.stat;
    for lsn in 2..4 {
        let saved = save_lsn(&disk, lsn, last.as_ref());
        assert_eq!(saved.problems, vec![]);
        assert_eq!(lsn_of(&disk, &saved.backup.unwrap()), Some(Lsn(lsn - 1)));
        last = saved.stat;
    }
    assert_eq!(lsn_of(&disk, STATE), Some(Lsn(3)));
    assert_eq!(disk.names().len(), 3, "{:?}", disk.names());
}

#[test]
fn each_step_of_a_save_is_durable_before_the_next() {
    let disk = disk();
    let last = save_lsn(&disk, 1, None).stat;
    let before = disk.trace().len();
    save_lsn(&disk, 2, last.as_ref());
    let changing = ["sync", "rename", "link", "exchange", "remove wal/state.swap"];
    let trace = disk.trace().split_off(before);
    let steps: Vec<&str> = trace
        .iter()
        .filter(|call| changing.iter().any(|verb| call.starts_with(verb)))
        .map(String::as_str)
        .collect();
    let backup = &list_backups(&disk)[0];
    let expected = [
        "sync wal/state.part",
        "rename wal/state.part wal/state.swap",
        "sync wal/",
        &format!("link state.json {backup}"),
        "sync /",
        "exchange wal/state.swap state.json",
        "sync wal/",
        "sync /",
        "remove wal/state.swap",
    ];
    assert_eq!(steps, expected);
}

fn list_backups(disk: &SimFs) -> Vec<String> {
    below(disk, "state.backup.")
}

#[test]
fn saving_works_on_the_real_disk() {
    let dir = tempfile::tempdir().unwrap();
    let fs = crate::fs::real::RealFs::create(dir.path()).unwrap();
    fs.create_dir(WAL).unwrap();
    let last = save_lsn(&fs, 1, None).stat;
    let saved = save_lsn(&fs, 2, last.as_ref());
    assert_eq!(peek(&fs, &saved.backup.unwrap()).unwrap(), Some((STORE, Lsn(1))));
    let path = dir.path().join(STATE);
    std::fs::write(&path, EDITED).unwrap();
    let saved = save_lsn(&fs, 3, saved.stat.as_ref());
    assert_eq!(saved.problems.len(), 1);
    let kept = fs.list(CONFLICTS).unwrap();
    assert_eq!(std::fs::read(dir.path().join(CONFLICTS).join(&kept[0].name)).unwrap(), EDITED);
    assert_eq!(peek(&fs, STATE).unwrap(), Some((STORE, Lsn(3))));
    assert_eq!(fs.list(WAL).unwrap(), vec![]);
}

#[test]
fn the_engines_own_file_is_known_by_its_digest_when_its_stat_is_not() {
    let disk = disk();
    save_lsn(&disk, 1, None);
    let saved = save_lsn(&disk, 2, None);
    assert!(saved.backup.is_some() && saved.problems.is_empty());
}

#[test]
fn what_a_person_put_in_its_place_is_kept_in_conflicts_and_is_no_backup() {
    for by_rename in [false, true] {
        let disk = disk();
        let last = save_lsn(&disk, 1, None).stat;
        if by_rename {
            disk.save_now(STATE, EDITED).unwrap();
        } else {
            disk.write_now(STATE, EDITED).unwrap();
        }
        let saved = save_lsn(&disk, 2, last.as_ref());
        assert_eq!(saved.backup, None);
        assert_eq!(saved.problems.len(), 1);
        assert_kept(&disk);
        assert_eq!(lsn_of(&disk, STATE), Some(Lsn(2)));
        assert_eq!(below(&disk, WAL), Vec::<String>::new());
    }
}

#[test]
fn a_snapshot_of_another_store_is_kept_in_conflicts() {
    let disk = disk();
    save_lsn(&disk, 1, None);
    let saved = save(&disk, StoreId(8), &bytes(2), None, None, Timestamp(1)).unwrap();
    assert_eq!(saved.problems[0].kind, ProblemKind::Foreign);
    assert_eq!(lsn_of(&disk, &below(&disk, CONFLICTS)[0]), Some(Lsn(1)));
}

#[test]
fn a_person_who_is_quicker_than_the_exchange_loses_nothing() {
    for no_exchange in [false, true] {
        let disk = disk();
        let last = save_lsn(&disk, 1, None).stat;
        let edit = |disk: &SimFs| disk.save_now(STATE, EDITED).unwrap();
        let fs = Meddler { no_exchange, ..Meddler::editing(&disk, edit) };
        let saved = save_lsn(&fs, 2, last.as_ref());
        assert_eq!(saved.problems.len(), 1, "{:?}", saved.problems);
        assert_kept(&disk);
        assert_eq!(lsn_of(&disk, STATE), Some(Lsn(2)));
    }
}

#[test]
fn a_person_who_creates_or_removes_it_meanwhile_is_coped_with() {
    let disk = disk();
    let create = |disk: &SimFs| disk.save_now(STATE, EDITED).unwrap();
    let saved = save_lsn(&Meddler::editing(&disk, create), 1, None);
    assert_eq!(saved.problems.len(), 1);
    assert_kept(&disk);
    let remove = |disk: &SimFs| disk.remove_now(STATE).unwrap();
    save_lsn(&Meddler::editing(&disk, remove), 2, saved.stat.as_ref());
    assert_eq!(lsn_of(&disk, STATE), Some(Lsn(2)));
}

#[test]
fn without_links_backups_are_copies_and_edits_are_still_kept() {
    for no_exchange in [false, true] {
        let disk = disk();
        let fs = Meddler { no_exchange, no_link: true, ..Meddler::on(&disk) };
        let last = save_lsn(&fs, 1, None).stat;
        let saved = save_lsn(&fs, 2, last.as_ref());
        assert_eq!(lsn_of(&disk, &saved.backup.unwrap()), Some(Lsn(1)));
        disk.save_now(STATE, EDITED).unwrap();
        let saved = save_lsn(&fs, 3, saved.stat.as_ref());
        assert_eq!(saved.problems.len(), 1);
        assert_eq!(lsn_of(&disk, STATE), Some(Lsn(3)));
        assert_kept(&disk);
    }
}

#[test]
fn what_is_no_regular_file_is_left_and_the_snapshot_is_published_as_a_backup() {
    for kind in [Kind::Directory, Kind::Other] {
        let disk = disk();
        disk.plant_now(STATE, kind).unwrap();
        let saved = save_lsn(&disk, 1, None);
        assert_eq!(saved.problems[0].kind, ProblemKind::Unreadable);
        assert_eq!(lsn_of(&disk, &saved.file), Some(Lsn(1)));
        assert_eq!(disk.stat(STATE).unwrap().unwrap().kind, kind);
    }
}

/// Where the snapshot of `lsn` is, under a name that recovery looks at.
fn is_there(disk: &SimFs, lsn: u64) -> bool {
    let backups = below(disk, "state.");
    backups.iter().any(|name| lsn_of(disk, name) == Some(Lsn(lsn)))
}

fn modes() -> impl Iterator<Item = CrashMode> {
    [CrashMode::Nothing, CrashMode::Everything].into_iter().chain((0..24).map(CrashMode::Random))
}

/// Crashes at each call of a third save; gives the number of crashes.
fn crash_at_each_call(mode: &CrashMode, reflinks: bool) -> u32 {
    for call in 1.. {
        let disk = disk();
        disk.set_reflinks(reflinks);
        let last = save_lsn(&disk, 1, None).stat;
        let last = save_lsn(&disk, 2, last.as_ref()).stat;
        disk.fail_at(call, Fault::Crash);
        let saved = save(&disk, STORE, &bytes(3), last.as_ref(), None, Timestamp(1));
        if !disk.has_stopped() {
            return u32::try_from(call).unwrap() - 1;
        }
        let after = disk.crash_with(mode);
        let found = lsn_of(&after, STATE).expect("an intact state.json at every instant");
        assert!(found == Lsn(3) || (found == Lsn(2) && saved.is_err()), "{mode:?} {call}");
        assert!(is_there(&after, 1) && is_there(&after, 2), "{mode:?} {call}");
        assert_eq!(leftovers(&after, STORE, None, Timestamp(2)).unwrap(), vec![]);
        assert_eq!(below(&after, WAL), Vec::<String>::new());
        assert!(is_there(&after, 1) && is_there(&after, 2));
        let saved = save_lsn(&after, 4, None);
        assert_eq!(saved.problems, vec![]);
        assert_eq!(lsn_of(&after, &saved.backup.unwrap()), Some(found));
    }
    0
}

#[test]
fn a_crash_at_any_call_of_a_save_leaves_the_old_or_the_new_snapshot_and_loses_neither() {
    for reflinks in [false, true] {
        let crashes: u32 = modes().map(|mode| crash_at_each_call(&mode, reflinks)).sum();
        assert!(crashes > 26 * 10, "{crashes}");
    }
}

#[test]
fn a_crash_at_any_call_of_a_save_never_loses_what_a_person_put_there() {
    for mode in modes() {
        for call in 1.. {
            let disk = disk();
            let last = save_lsn(&disk, 1, None).stat;
            disk.save_now(STATE, EDITED).unwrap();
            disk.fail_at(call, Fault::Crash);
            let _ = save(&disk, STORE, &bytes(2), last.as_ref(), None, Timestamp(1));
            if !disk.has_stopped() {
                break;
            }
            let after = disk.crash_with(&mode);
            leftovers(&after, STORE, None, Timestamp(2)).unwrap();
            save_lsn(&after, 3, None);
            assert_kept(&after);
            assert_eq!(lsn_of(&after, STATE), Some(Lsn(3)));
        }
    }
}

#[test]
fn an_error_at_any_call_of_a_save_loses_nothing_and_the_next_save_succeeds() {
    for call in 1.. {
        let disk = disk();
        let last = save_lsn(&disk, 1, None).stat;
        disk.fail_at(call, Fault::Error(std::io::ErrorKind::StorageFull));
        let saved = save(&disk, STORE, &bytes(2), last.as_ref(), None, Timestamp(1));
        if disk.faults_fired() == 0 {
            break;
        }
        let found = lsn_of(&disk, STATE).unwrap();
        assert!(found == Lsn(2) || (found == Lsn(1) && saved.is_err()), "{call}");
        let saved = save_lsn(&disk, 3, None);
        assert_eq!(saved.problems, vec![], "call {call}");
        assert!(is_there(&disk, 1) && is_there(&disk, 3));
        assert_eq!(below(&disk, WAL), Vec::<String>::new());
    }
}

#[test]
fn a_leftover_is_made_a_backup_if_it_is_the_only_copy_and_kept_aside_if_it_is_a_persons() {
    let place = |published: Option<u64>, leftover: &[u8]| {
        let disk = disk();
        if let Some(lsn) = published {
            save_lsn(&disk, lsn, None);
        }
        disk.write_now(STATE_PART, b"half").unwrap();
        disk.write_now(STATE_SWAP, leftover).unwrap();
        let problems = leftovers(&disk, STORE, None, Timestamp(9)).unwrap();
        assert_eq!(below(&disk, WAL), Vec::<String>::new());
        (disk, problems)
    };
    let (older, problems) = place(Some(5), &bytes(4));
    assert!(is_there(&older, 4) && problems.is_empty());
    let (unpublished, problems) = place(Some(5), &bytes(6));
    assert!(!is_there(&unpublished, 6) && problems.is_empty());
    let (only, problems) = place(None, &bytes(6));
    assert!(is_there(&only, 6) && problems.is_empty());
    let (edited, problems) = place(Some(5), EDITED);
    assert_eq!(problems[0].kind, ProblemKind::Edited);
    assert_kept(&edited);
}

/// A snapshot of the same length with one byte of its document changed.
fn same_size_edit(lsn: u64) -> Vec<u8> {
    String::from_utf8(bytes(lsn)).unwrap().replace("xxx", "xyx").into_bytes()
}

#[test]
fn an_edit_in_the_same_tick_as_a_save_makes_no_backup_of_the_edit() {
    for step_ns in [1, 1000] {
        for reflinks in [false, true] {
            let disk = disk();
            disk.set_reflinks(reflinks);
            disk.set_time_step(step_ns);
            disk.set_clock_stands_still(true);
            let saved = save_lsn(&disk, 1, None);
            assert!(saved.stat.is_some() && saved.stat == disk.stat(STATE).unwrap());
            disk.write_now(STATE, &same_size_edit(1)).unwrap();
            let next = save_lsn(&disk, 2, saved.stat.as_ref());
            assert_eq!((next.backup, next.problems.len()), (None, 1));
            let kept = below(&disk, CONFLICTS);
            assert_eq!(kept.len(), 1, "{kept:?}");
            assert_eq!(disk.read_now(&kept[0]).unwrap(), same_size_edit(1));
        }
    }
}

#[test]
fn an_edit_of_a_new_backup_in_the_same_tick_changes_its_stat() {
    for reflinks in [false, true] {
        let disk = disk();
        disk.set_reflinks(reflinks);
        disk.set_clock_stands_still(true);
        let last = save_lsn(&disk, 1, None).stat;
        let saved = save_lsn(&disk, 2, last.as_ref());
        let backup = saved.backup.unwrap();
        assert!(saved.backup_stat.is_some());
        assert_eq!(saved.backup_stat, disk.stat(&backup).unwrap());
        disk.write_now(&backup, &same_size_edit(1)).unwrap();
        assert_ne!(saved.backup_stat, disk.stat(&backup).unwrap());
    }
}

#[test]
fn a_file_that_takes_the_place_of_a_new_snapshot_is_not_taken_for_it() {
    let disk = disk();
    let mark = write_temporary(&disk, STATE_PART, &bytes(1), true).unwrap().mark;
    disk.rename(STATE_PART, STATE).unwrap();
    assert!(mark.untouched(disk.stat(STATE).unwrap()).is_some());
    disk.save_now(STATE, &bytes(1)).unwrap();
    assert_eq!(mark.untouched(disk.stat(STATE).unwrap()), None);
}

#[test]
fn where_times_cannot_be_set_a_save_knows_its_snapshot_by_its_contents() {
    let disk = disk();
    disk.fail_when(CallKind::SetModified, 1, Fault::Sticky(ErrorKind::PermissionDenied));
    let saved = save_lsn(&disk, 1, None);
    assert_eq!(saved.stat, None);
    let saved = save_lsn(&disk, 2, None);
    assert_eq!(saved.problems, vec![]);
    assert_eq!((lsn_of(&disk, &saved.backup.unwrap()), saved.backup_stat), (Some(Lsn(1)), None));
}

#[test]
fn a_leftover_that_is_older_than_the_last_snapshot_never_takes_its_place() {
    for (saved, backup, takes) in
        [(None, 3, true), (Some(5), 3, false), (None, 5, false), (Some(4), 3, true)]
    {
        let disk = disk();
        disk.write_now(&names::backup(Timestamp(1)), &bytes(backup)).unwrap();
        disk.write_now(STATE_SWAP, &bytes(4)).unwrap();
        assert_eq!(leftovers(&disk, STORE, saved.map(Lsn), Timestamp(9)).unwrap(), vec![]);
        assert_eq!(disk.read_now(STATE).is_some(), takes, "{saved:?}, {backup}");
        assert!(is_there(&disk, 4), "it is kept");
    }
}

#[test]
fn a_snapshot_saved_to_another_place_has_a_durable_name_there() {
    let disk = disk();
    disk.plant_now(STATE, Kind::Other).unwrap();
    let published = save_lsn(&disk, 1, None).file;
    let elsewhere = save_elsewhere(&disk, &bytes(2), Timestamp(2), "part").unwrap();
    let left = disk.crash_with(CrashMode::Nothing);
    assert_eq!(lsn_of(&left, &elsewhere), Some(Lsn(2)));
    let disk = self::disk();
    disk.plant_now(STATE, Kind::Other).unwrap();
    assert_eq!(save_lsn(&disk, 1, None).file, published);
    assert_eq!(lsn_of(&disk.crash_with(CrashMode::Nothing), &published), Some(Lsn(1)));
}
