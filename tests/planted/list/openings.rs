//! What an opening does ahead and aside, on other threads, and what it leaves for later.

use super::{Bug, By, bug};

const AHEAD: By = By::Lib("recovery::ahead");
const REPLAY: By = By::Lib("recovery::replay");
const WINDOW: By = By::Lib("mirror::tests::window mirror::tests::judging::a_listing");
const OPENING: By = By::Guarantees("opening::");

pub(super) const BUGS: [Bug; 24] = [
    bug(
        "runs-out-of-order",
        "engine/recovery/ahead.rs",
        "let found = «lane.recv()».map_err(panicked)?;",
        "lanes.last().unwrap_or(lane).recv()",
        "what threads read ahead of the log is applied in another order",
        AHEAD,
    ),
    bug(
        "panic-of-a-helper-goes-on",
        "engine/recovery/ahead.rs",
        "for helper in «helpers» {",
        "{
            drop(helpers);
            Vec::new()
        }",
        "an opening panics where a thread that reads ahead for it does",
        AHEAD,
    ),
    bug(
        "heavy-read-ahead",
        "engine/recovery/ahead.rs",
        "let ahead = |item: &T| «is_light(item).then(|| work(item))»;",
        "Some(work(item))",
        "many huge transactions are in memory at once",
        AHEAD,
    ),
    bug(
        "run-left-out",
        "wal/scan.rs",
        "«runs.push(Run { standing, size_bytes });»",
        "if standing.len() > 1 { runs.push(Run { standing, size_bytes }); }",
        "a stretch of the log that is one long group is not replayed",
        REPLAY,
    ),
    bug(
        "run-ends-with-any-group",
        "wal/scan.rs",
        "let fits = «size_bytes == 0 || all <= bytes_max»;",
        "size_bytes < bytes_max",
        "a stretch of the log that is read ahead is as long as its last group",
        REPLAY,
    ),
    bug(
        "pieces-before-an-error-dropped",
        "engine/recovery/replay.rs",
        "(«stretch», read)
}",
        "if read.is_err() { Stretch::default() } else { stretch }",
        "which of two errors an opening tells depends on where stretches end",
        REPLAY,
    ),
    bug(
        "past-asked-too-late",
        "files/mirror/listing.rs",
        "let past_ns = «past_ns(fs)?»;",
        "i64::MAX",
        "a listing taken ahead believes a stat of the present tick",
        WINDOW,
    ),
    bug(
        "listing-of-a-changed-directory",
        "files/mirror/listing.rs",
        "let is_same = is_past && «stat(fs, collection.dir())? == before»;",
        "true",
        "a listing taken ahead is used though files came or went since",
        WINDOW,
    ),
    bug(
        "listing-of-the-present-tick",
        "files/mirror/listing.rs",
        "before.is_some_and(|dir| «dir.modified_ns < self.past_ns»)",
        "dir.modified_ns < i64::MAX",
        "a listing is used though a change of its directory would not show",
        WINDOW,
    ),
    bug(
        "edited-while-read-is-rot",
        "files/mirror/judge.rs",
        "stat(self.fs, file).ok().map(|after| «after == before»)",
        "after == before || before.is_some()",
        "what somebody writes while an opening reads the files is taken for rot",
        WINDOW,
    ),
    bug(
        "failed-stat-is-rot",
        "files/mirror/judge.rs",
        "let after = || «stat(self.fs, file).ok().map(|after| after == before)»;",
        "Some(stat(self.fs, file).map_or(true, |after| after == before))",
        "what somebody writes is taken for rot if its file cannot be looked at then",
        WINDOW,
    ),
    bug(
        "failed-stat-is-an-edit",
        "files/mirror/judge.rs",
        "«is_rot.or_else(|| self.is_in_doubt(file).then_some(false))»",
        "is_rot.or(Some(false))",
        "rot is taken in as an edit if its file cannot be looked at then",
        WINDOW,
    ),
    bug(
        "undecided-forgets-the-stat",
        "files/mirror/open.rs",
        "let (left_in, stat) = (judge.left_in(file), «judge.recorded(file).and_then(|it| it.stat)»);",
        "None",
        "rot is taken in as an edit by the look after an opening that could not tell",
        WINDOW,
    ),
    bug(
        "no-room-for-quarantine",
        "engine/open.rs",
        "match «made.and_then(|()| wal::set_aside(fs, WAL, &plan.scan, QUARANTINE))» {",
        "{
            made?;
            wal::set_aside(fs, WAL, &plan.scan, QUARANTINE)
        }",
        "a store with a torn log is not opened on a full disk",
        By::Lib("open::tests::an_opening_goes_on"),
    ),
    bug(
        "gone-while-read-is-restored",
        "files/mirror/open.rs",
        "if «matches!(contents, Contents::Missing)» {",
        "false",
        "what somebody removes while an opening reads the files is written anew",
        WINDOW,
    ),
    bug(
        "back-again-is-gone",
        "files/mirror/gone.rs",
        "let is_back = || «matches!(judge.fs.stat(&file), Ok(Some(_)))»;",
        "file.is_empty()",
        "a document is deleted though its file is back before that is decided",
        WINDOW,
    ),
    bug(
        "name-given-twice",
        "files/mirror/dir.rs",
        "«entries.dedup_by(|a, b| a.name == b.name);»",
        "entries.shrink_to_fit();",
        "a name that is listed twice hides that another file is missing",
        WINDOW,
    ),
    bug(
        "opening-never-saves",
        "engine/serve.rs",
        "Some(reason) => «autosave(self, reason)»,",
        "drop(reason)",
        "an opening without a snapshot makes none",
        By::Lib("open::tests::an_opening_without"),
    ),
    bug(
        "opening-waits-for-its-snapshot",
        "engine/serve.rs",
        "Some(Reason::Growth) if «self.around.threads» => {",
        "!self.around.threads",
        "a store that was killed before its first snapshot is not served before there is one",
        OPENING,
    ),
    bug(
        "lost-snapshot-left-to-the-keeper",
        "engine/open.rs",
        "Rung::Log if «!had_snapshot» && plan.is_sound =>",
        "!had_snapshot || had_snapshot",
        "a store that lost its snapshot serves before it has one again",
        OPENING,
    ),
    bug(
        "backup-left-to-the-keeper",
        "engine/open.rs",
        "        _ => «Some(Reason::Interval)»,",
        "Some(Reason::Growth)",
        "a store that is built on a backup serves before it has a snapshot again",
        OPENING,
    ),
    bug(
        "no-room-for-the-last-of-an-opening",
        "engine/open.rs",
        "«room.with(|| write_owner(fs, &identity, Stage::Open, plan.evidence))»?;",
        "write_owner(fs, &identity, Stage::Open, plan.evidence)",
        "an opening fails on a full disk though a backup could go, once its log has begun",
        By::Guarantees("backups::an_opening_on_a_full_disk"),
    ),
    bug(
        "no-room-for-the-last-of-a-shutdown",
        "engine/serve.rs",
        "«self.with_room(write)»?;",
        "write()",
        "a shutdown fails on a full disk though a backup could go, once all is saved",
        By::Guarantees("backups::a_shutdown_has_room"),
    ),
    bug(
        "no-room-for-the-mirror",
        "engine/mirror.rs",
        "Some(error) if «self.make_room(&error)» => continue,",
        "false",
        "task files are not written on a full disk though a backup could go",
        By::Guarantees("backups::a_shutdown_on_a_full_disk"),
    ),
];
