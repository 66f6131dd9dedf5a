//! Saving while somebody has `state.json` open for writing: the backup stays what it was, and what is
//! written meanwhile or later is kept, whatever crashes or fails in between.

use super::super::{Parsed, Snapshot, leftovers, parse, save};
use super::*;
use crate::base::Lsn;
use crate::files::meddler::Meddler;
use crate::files::names::{CONFLICTS, WAL};
use crate::files::snapshot::Saved;
use crate::files::snapshot::fixture::snapshot_bytes;
use crate::fs::sim::{CallKind, CrashMode, Fault, Held, SimFs};

const STORE: StoreId = StoreId(7);
const EDITED: &[u8] = b"{\"tasks\": [\"a person's\"]}";

fn bytes(lsn: u64) -> Vec<u8> {
    snapshot_bytes(STORE, lsn, 1500)
}

fn save_lsn(fs: &dyn Fs, lsn: u64, last: Option<&Stat>) -> Saved {
    save(fs, STORE, &bytes(lsn), last, None, Timestamp(1)).unwrap()
}

/// A disk with a saved snapshot of LSN 1, its stat, and somebody who has it open for writing.
fn held(reflinks: bool) -> (SimFs, Option<Stat>, Held) {
    let disk = SimFs::new();
    disk.set_reflinks(reflinks);
    disk.create_dir(WAL).unwrap();
    disk.sync_dir("").unwrap();
    let last = save_lsn(&disk, 1, None).stat;
    let holder = disk.hold_now(STATE).unwrap();
    (disk, last, holder)
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

fn is_backed_up(disk: &SimFs, lsn: u64) -> bool {
    below(disk, "state.backup.").iter().any(|name| lsn_of(disk, name) == Some(Lsn(lsn)))
}

/// Whether a file in `conflicts/` has these contents.
fn is_kept(disk: &SimFs, contents: &[u8]) -> bool {
    below(disk, CONFLICTS).iter().any(|name| disk.read_now(name).unwrap() == contents)
}

#[test]
fn what_an_editor_writes_into_the_former_file_is_kept_and_the_backup_stays_true() {
    for reflinks in [false, true] {
        let (disk, last, holder) = held(reflinks);
        let saved = save_lsn(&disk, 2, last.as_ref());
        assert_eq!(saved.problems.len(), 1, "{saved:?}");
        assert_eq!(saved.problems[0].kind, ProblemKind::Edited);
        let backup = saved.backup.unwrap();
        // A copy that was made after the save is proved when it matters.
        let known = if reflinks { disk.stat(&backup).unwrap() } else { None };
        assert_eq!(saved.backup_stat, known);
        holder.write(EDITED);
        let cut = disk.if_crashed(CrashMode::Nothing);
        for disk in [&disk, &cut] {
            assert_eq!(lsn_of(disk, &backup), Some(Lsn(1)));
            assert_eq!(lsn_of(disk, STATE), Some(Lsn(2)));
            assert!(is_kept(disk, EDITED));
        }
        drop(holder);
        let saved = save_lsn(&disk, 3, saved.stat.as_ref());
        assert_eq!(saved.problems, vec![], "nobody has the new one open");
        assert_eq!(below(&disk, WAL), Vec::<String>::new());
        assert!(is_kept(&disk, EDITED) && is_backed_up(&disk, 1) && is_backed_up(&disk, 2));
    }
}

#[test]
fn without_an_exchange_the_backup_itself_is_parted_from_the_editor() {
    let (disk, last, holder) = held(false);
    let fs = Meddler { no_exchange: true, ..Meddler::on(&disk) };
    let saved = save_lsn(&fs, 2, last.as_ref());
    assert_eq!(saved.problems.len(), 1, "{saved:?}");
    holder.write(EDITED);
    assert!(is_backed_up(&disk, 1) && is_kept(&disk, EDITED));
}

#[test]
fn without_links_the_former_file_itself_is_moved_to_conflicts() {
    let (disk, last, holder) = held(false);
    let fs = Meddler { no_link: true, ..Meddler::on(&disk) };
    let saved = save_lsn(&fs, 2, last.as_ref());
    assert_eq!(saved.problems.len(), 1, "{saved:?}");
    holder.write(EDITED);
    assert!(is_backed_up(&disk, 1) && is_kept(&disk, EDITED));
    assert_eq!(below(&disk, WAL), Vec::<String>::new());
}

#[test]
fn an_editor_that_has_written_already_leaves_no_false_backup() {
    let (disk, last, holder) = held(false);
    let holder = std::sync::Arc::new(holder);
    let writer = holder.clone();
    let fs = Meddler::editing(&disk, move |_| writer.write(EDITED));
    let saved = save_lsn(&fs, 2, last.as_ref());
    assert_eq!((saved.backup, saved.problems.len()), (None, 1));
    assert_eq!(below(&disk, "state.backup."), Vec::<String>::new());
    assert!(is_kept(&disk, EDITED));
    assert_eq!(lsn_of(&disk, STATE), Some(Lsn(2)));
}

#[test]
fn an_editor_whose_file_equals_one_that_is_kept_already_is_kept_all_the_same() {
    let (disk, last, holder) = held(false);
    save_lsn(&disk, 2, last.as_ref());
    let former = below(&disk, CONFLICTS)[0].clone();
    let copy = disk.read_now(&former).unwrap();
    disk.remove_now(STATE).unwrap();
    disk.write_now(STATE, &copy).unwrap();
    let again = disk.hold_now(STATE).unwrap();
    save_lsn(&disk, 3, None);
    again.write(b"written by the second one");
    holder.write(EDITED);
    assert!(is_kept(&disk, EDITED) && is_kept(&disk, b"written by the second one"));
}

#[test]
fn where_nobody_can_tell_who_writes_the_save_goes_on_as_if_nobody_did() {
    let (disk, last, holder) = held(false);
    let refused = Fault::Sticky(ErrorKind::Unsupported);
    disk.fail_when(CallKind::Lease, 1, refused);
    let saved = save_lsn(&disk, 2, last.as_ref());
    assert_eq!(saved.problems, vec![]);
    let backup = saved.backup.unwrap();
    holder.write(EDITED);
    assert_eq!(disk.read_now(&backup).unwrap(), EDITED, "what is written is not lost");
    assert_ne!(saved.backup_stat, disk.stat(&backup).unwrap(), "and it is noticed");
}

#[test]
fn a_file_system_that_says_of_every_file_that_it_is_being_written_is_not_believed() {
    let (disk, last, holder) = held(false);
    drop(holder);
    let fs = Meddler { no_leases: true, ..Meddler::on(&disk) };
    let saved = save_lsn(&fs, 2, last.as_ref());
    assert_eq!(saved.problems, vec![]);
    assert_eq!(below(&disk, CONFLICTS), Vec::<String>::new());
    assert_eq!(below(&disk, WAL), Vec::<String>::new());
}

#[test]
fn a_shared_block_backup_is_made_once_though_the_save_failed_after_it() {
    let (disk, last, holder) = held(true);
    drop(holder);
    // The exchange fails: the third rename, and the second once there is a backup.
    for exchange in [3, 2, 2] {
        disk.fail_when(CallKind::Rename, exchange, Fault::Errno(5));
        assert!(save(&disk, STORE, &bytes(2), last.as_ref(), None, Timestamp(1)).is_err());
        disk.clear_faults();
        assert_eq!(lsn_of(&disk, STATE), Some(Lsn(1)));
    }
    save_lsn(&disk, 2, last.as_ref());
    assert_eq!(below(&disk, "state.backup.").len(), 1);
}

#[test]
fn a_crash_or_error_at_any_call_while_an_editor_holds_on_loses_neither_backup_nor_edit() {
    let mut tried = 0;
    for reflinks in [false, true] {
        for call in 1.. {
            let (disk, last, holder) = held(reflinks);
            disk.fail_at(call, Fault::Errno(5));
            let saved = save(&disk, STORE, &bytes(2), last.as_ref(), None, Timestamp(1));
            if disk.faults_fired() == 0 {
                break;
            }
            disk.clear_faults();
            tried += 1;
            // The power fails before the editor writes: the disk has no writer any more.
            for mode in [CrashMode::Nothing, CrashMode::Everything]
                .into_iter()
                .chain((0..8).map(CrashMode::Random))
            {
                let after = disk.if_crashed(&mode);
                let state = lsn_of(&after, STATE).expect("an intact state.json at every instant");
                assert!(state == Lsn(2) || saved.is_err(), "{call} {mode:?}");
                leftovers(&after, STORE, None, Timestamp(2)).unwrap();
                assert!(state == Lsn(1) || is_backed_up(&after, 1), "{call} {mode:?}");
                let saved = save_lsn(&after, 3, None);
                assert_eq!(lsn_of(&after, &saved.backup.unwrap()), Some(state));
                assert_eq!(below(&after, WAL), Vec::<String>::new());
            }
            // The process goes on, or another one takes over, while the editor still has it open.
            let next = save_lsn(&disk, 3, saved.ok().and_then(|saved| saved.stat).as_ref());
            assert_ne!(next.backup, None);
            holder.write(EDITED);
            assert!(is_kept(&disk, EDITED), "{call} {reflinks}: {:?}", disk.names());
            assert!(is_backed_up(&disk, 1), "{call} {reflinks}: {:?}", disk.names());
            assert_eq!(lsn_of(&disk, STATE), Some(Lsn(3)));
        }
    }
    assert!(tried > 60, "{tried}");
}

#[cfg(target_os = "linux")]
#[test]
fn an_editor_on_the_real_disk_keeps_what_it_writes_and_the_backup_stays_true() {
    use std::io::{Seek, Write};

    let dir = tempfile::tempdir().unwrap();
    let fs = crate::fs::real::RealFs::create(dir.path()).unwrap();
    fs.create_dir(WAL).unwrap();
    let last = save_lsn(&fs, 1, None).stat;
    let path = dir.path().join(STATE);
    let mut editor = std::fs::OpenOptions::new().write(true).open(path).unwrap();
    let saved = save_lsn(&fs, 2, last.as_ref());
    assert_eq!(saved.problems.len(), 1, "{saved:?}");
    editor.set_len(0).unwrap();
    editor.rewind().unwrap();
    editor.write_all(EDITED).unwrap();
    let backup = saved.backup.unwrap();
    assert_eq!(prove(&fs, &backup).unwrap().unwrap(), Ok((STORE, Lsn(1))));
    let known = fs.stat(&backup).unwrap();
    assert!(saved.backup_stat.is_none() || saved.backup_stat == known);
    let kept = fs.list(CONFLICTS).unwrap();
    assert_eq!(kept.len(), 1);
    let kept = dir.path().join(CONFLICTS).join(&kept[0].name);
    assert_eq!(std::fs::read(kept).unwrap(), EDITED);
    assert_eq!(fs.list(WAL).unwrap(), vec![]);
}

#[test]
fn a_former_file_that_vanishes_is_no_backup_and_one_that_cannot_be_read_is_an_error() {
    let no_link = Fault::Error(ErrorKind::PermissionDenied);
    let (gone, failed) = (Fault::Error(ErrorKind::NotFound), Fault::Errno(5));
    for (link, read, is_error) in [
        (gone, None, false),
        (failed, None, true),
        (no_link, Some(gone), false),
        (no_link, Some(failed), true),
    ] {
        let (disk, last, holder) = held(false);
        drop(holder);
        // The first asks for shared blocks.
        disk.fail_when(CallKind::Link, 2, link);
        if let Some(read) = read {
            disk.fail_path(STATE, CallKind::Read, 1, read);
        }
        let made = back_up(&disk, STORE, &last.unwrap(), Timestamp(1));
        assert_eq!(disk.faults_fired(), 1 + u64::from(read.is_some()));
        assert_eq!(made.is_err(), is_error, "{link:?}, {read:?}: {made:?}");
        assert!(is_error || made.unwrap().is_none());
        assert_eq!(below(&disk, "state.backup."), Vec::<String>::new());
    }
}

#[test]
fn the_original_of_a_migration_goes_once_its_copy_is_kept_unless_somebody_has_it_open() {
    for is_held in [false, true] {
        let disk = SimFs::new();
        disk.create_dir(WAL).unwrap();
        disk.write_now(STATE, br#"{"tasks": [], "sessions": []}"#).unwrap();
        crate::files::migration::keep_original(&disk).unwrap();
        let holder = is_held.then(|| disk.hold_now(STATE).unwrap());
        save_lsn(&disk, 1, None);
        assert_eq!(lsn_of(&disk, STATE), Some(Lsn(1)));
        match holder {
            Some(holder) => {
                holder.write(EDITED);
                assert!(is_kept(&disk, EDITED), "{:?}", disk.names());
            }
            None => assert_eq!(below(&disk, CONFLICTS), Vec::<String>::new()),
        }
        assert_eq!(below(&disk, WAL), Vec::<String>::new());
    }
}

#[test]
fn a_backup_of_the_same_lsn_and_another_length_does_not_stand_for_the_snapshot() {
    let (disk, _, holder) = held(false);
    drop(holder);
    disk.write_now(&backups::next_name(&[], Timestamp(0)), &snapshot_bytes(STORE, 1, 9)).unwrap();
    let whole = disk.read_now(STATE).unwrap();
    let saved = save_lsn(&disk, 2, None);
    assert_eq!(disk.read_now(&saved.backup.unwrap()).unwrap(), whole);
    assert_eq!(below(&disk, "state.backup.").len(), 2);
}

#[test]
fn a_snapshot_that_vanishes_while_it_is_backed_up_is_looked_at_again_and_a_failing_disk_is_not() {
    for (error, is_looked_at_again) in
        [(ErrorKind::NotFound, true), (ErrorKind::InvalidInput, true), (ErrorKind::Other, false)]
    {
        let (disk, last, holder) = held(true);
        drop(holder);
        disk.fail_when(CallKind::Link, 1, Fault::Error(error));
        let saved = save(&disk, STORE, &bytes(2), last.as_ref(), None, Timestamp(1));
        assert_eq!(saved.is_ok(), is_looked_at_again, "{error}: {saved:?}");
        save_lsn(&disk, 3, None);
        assert!(is_backed_up(&disk, 1) || is_backed_up(&disk, 2), "{error}");
    }
}
