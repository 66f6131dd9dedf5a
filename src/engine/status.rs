//! What can be told of a store: its status and its counters.

use std::path::Path;

use serde::Serialize;

use crate::base::{Error, Lsn, Result};
use crate::engine::census;
use crate::engine::core::Core;
use crate::engine::kept::count_open;
use crate::engine::recovery::{Plan, Recovery};
use crate::engine::store::{Store, owner_pid};
use crate::engine::view::read_plan;
use crate::files::backups;
use crate::files::names::OutputKind;
use crate::files::outputs;
use crate::fs::Fs;
use crate::state::{Collection, Metrics};
use crate::wal::LogStats;

/// A store's status; as JSON, the fields have these names.
#[derive(Clone, Debug, Serialize)]
pub struct Status {
    /// Whether the directory is there.
    pub state_dir_exists: bool,
    /// Whether this process may write to it.
    pub writeable: bool,
    /// Room that is left on its file system.
    pub disk_free_bytes: u64,
    /// When `state.json` was last saved (RFC 3339).
    pub last_save_time: Option<String>,
    /// Backups of `state.json`, whatever is in them, the earlier format's included.
    pub backup_count: usize,
    /// Their bytes.
    pub backup_bytes: u64,
    /// Number of tasks.
    pub tasks: usize,
    /// Number of sessions.
    pub sessions: usize,
    /// Files in `logs/`, those of the earlier format included.
    pub session_logs: usize,
    /// Files in `reports/`, likewise.
    pub reports: usize,
    /// Kept versions in `conflicts/` whose documents mean something else: somebody should decide.
    pub conflicts_open: usize,
    /// The metrics of the tasks.
    pub metrics: Metrics,
    /// The last LSN given out.
    pub last_lsn: Lsn,
    /// Everything up to here is known to be on the medium.
    pub durable_lsn: Lsn,
    /// `state.json` holds everything up to here.
    pub snapshot_lsn: Lsn,
    /// The mirror shows everything up to here.
    pub mirror_lsn: Lsn,
    /// Changed documents, or files, that the mirror does not show yet. `None` beside a writer in
    /// another process, whose business that is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mirror_behind: Option<usize>,
    /// The age of the oldest change that the mirror does not show, in milliseconds; 0 if it shows
    /// everything. `None` where only the store that made the change could tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mirror_lag_ms: Option<u64>,
    /// Bytes of the log's files.
    pub wal_bytes: u64,
    /// The process that has the store open for writing, if one has.
    pub owner_pid: Option<u32>,
    /// How the store was found when it was opened: by its writer, or by this reading of it.
    pub recovery: Recovery,
    /// What lies directly in the directory and can be used by others than its owner. Not part of the
    /// JSON form.
    #[serde(skip)]
    pub warnings: Vec<String>,
}

/// What a store's log did since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CommitStats {
    /// Groups of records written; each is one write.
    pub groups: u64,
    /// Records written.
    pub records: u64,
    /// Flushes of the log.
    pub flushes: u64,
    /// Bytes written to the log, padding included.
    pub bytes: u64,
}

impl From<LogStats> for CommitStats {
    fn from(stats: LogStats) -> Self {
        let LogStats { groups, records, flushes, bytes, .. } = stats;
        CommitStats { groups, records, flushes, bytes }
    }
}

impl Status {
    pub(crate) fn of_core(core: &Core) -> Result<Status> {
        let fs = &*core.around.fs;
        let facts = core.facts.lock().clone();
        let (last_lsn, durable_lsn, wal_bytes, unshown) = {
            let writer = core.writer.lock();
            let log = writer.log.as_ref().ok_or(Error::Closed)?;
            let unshown = writer.dirty.len().saturating_add(core.facts.lock().mirror.taken());
            (log.last_lsn(), log.durable_lsn(), log.size_bytes(), unshown)
        };
        let (backup_count, backup_bytes) = backups::count(fs)?;
        let lag = facts.mirror.lag(core.around.clock.monotonic());
        let table = core.table.read().clone();
        Ok(Status {
            state_dir_exists: true,
            writeable: fs.is_writable(),
            disk_free_bytes: free_bytes(fs)?,
            last_save_time: facts.last_saved,
            backup_count,
            backup_bytes,
            tasks: table.len(Collection::Task),
            sessions: table.len(Collection::Session),
            session_logs: outputs::count(fs, OutputKind::SessionLog)?,
            reports: outputs::count(fs, OutputKind::Report)?,
            conflicts_open: count_open(fs, &table)?,
            metrics: table.metrics(),
            last_lsn,
            durable_lsn,
            snapshot_lsn: facts.snapshot_lsn,
            mirror_lsn: facts.mirror_lsn,
            mirror_behind: Some(unshown),
            mirror_lag_ms: Some(u64::try_from(lag.as_millis()).unwrap_or(u64::MAX)),
            wal_bytes,
            owner_pid: Some(std::process::id()),
            recovery: (**core.recovery.lock()).clone(),
            warnings: census::warnings(fs)?,
        })
    }

    fn of_directory(fs: &dyn Fs) -> Result<Status> {
        let (plan, writer_alive) = read_plan(fs)?;
        let (mirror_lsn, mirror_behind) = mirror_place(fs, &plan, writer_alive)?;
        let (backup_count, backup_bytes) = backups::count(fs)?;
        let table = plan.state();
        let Plan { scan, snapshot_lsn, last_saved, recovery, .. } = plan;
        Ok(Status {
            state_dir_exists: true,
            writeable: fs.is_writable(),
            disk_free_bytes: free_bytes(fs)?,
            last_save_time: last_saved,
            backup_count,
            backup_bytes,
            tasks: table.len(Collection::Task),
            sessions: table.len(Collection::Session),
            session_logs: outputs::count(fs, OutputKind::SessionLog)?,
            reports: outputs::count(fs, OutputKind::Report)?,
            conflicts_open: count_open(fs, &table)?,
            metrics: table.metrics(),
            last_lsn: recovery.lsn,
            durable_lsn: scan.vouched.max(recovery.base_lsn),
            snapshot_lsn: snapshot_lsn.unwrap_or_default(),
            mirror_lsn,
            mirror_behind,
            mirror_lag_ms: mirror_behind.filter(|behind| *behind == 0).map(|_| 0),
            wal_bytes: scan.size_bytes,
            owner_pid: owner_pid(fs).filter(|_| writer_alive),
            recovery,
            warnings: census::warnings(fs)?,
        })
    }
}

fn free_bytes(fs: &dyn Fs) -> Result<u64> {
    match fs.space() {
        Ok(space) => Ok(space.free_bytes),
        Err(source) => Err(Error::io("ask for the room of", fs.display(""), source)),
    }
}

/// Up to where the mirror is known to show the state (everything, if no file is behind), and how many
/// files are behind.
fn mirror_place(fs: &dyn Fs, plan: &Plan, writer_alive: bool) -> Result<(Lsn, Option<usize>)> {
    let snapshot_lsn = plan.snapshot_lsn.unwrap_or_default();
    if writer_alive {
        return Ok((snapshot_lsn, None));
    }
    let behind = plan.mirror(fs, false)?.0.behind();
    Ok((if behind == 0 { plan.recovery.lsn } else { snapshot_lsn }, Some(behind)))
}

/// The status of the store in `path`, read without opening it for writing.
///
/// # Errors
/// `NotFound` if there is no such directory.
pub fn status(path: impl AsRef<Path>) -> Result<Status> {
    Status::of_directory(&*Store::builder(path).existing_fs()?)
}
