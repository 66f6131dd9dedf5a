//! What a user can set when opening a store: each with its default, its limits, and what it means for
//! durability.

use std::path::PathBuf;
use std::time::Duration;

use crate::base::{Error, Result};
use crate::engine::queue::Limits;
use crate::files::backups::Retention;
use crate::wal::LogOptions;

/// When a write counts as done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// When it is on the medium: it survives a kill and a power cut. The default.
    #[default]
    Sync,
    /// When it is handed to the kernel: it survives a kill of the process; a power cut loses at most
    /// the last second or [`Options::buffered_bytes_max`] bytes. It becomes durable with the next
    /// `Sync` write.
    Buffered,
}

/// Settings of a store. Every default is safe; none weakens what `Sync` promises.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Durability of calls that do not name one. Default [`Durability::Sync`].
    pub durability: Durability,
    /// How long to wait for another opener to let go of the store. Default: not at all. A reader's
    /// probe is waited out for 100 ms in any case.
    pub lock_wait: Duration,
    /// Time between checkpoints when something changed. Default 30 s; at least 10 ms.
    pub checkpoint_interval: Duration,
    /// Time between passes of the mirror (`tasks/`, `sessions/`) when something changed, so that the
    /// files follow the state; after a pass that took long, nine times as long as it took. Default
    /// 250 ms; at least 10 ms. Nothing is flushed by a pass but the log; a clean shutdown makes the
    /// mirror durable.
    pub mirror_interval: Duration,
    /// A checkpoint is also made when the log has grown by this many bytes, or by half the last
    /// snapshot if that is more. Default 64 MiB; at least 64 KiB.
    pub checkpoint_log_bytes: u64,
    /// How many backups of `state.json` are kept in any case. Default 10; at least 1, since the log
    /// is cut only below the previous snapshot, which is a backup.
    pub backups: usize,
    /// Besides, the newest backup of each of the latest so many hours that have one is kept, by the
    /// times in the names, in UTC. Default 24; 0 is none. Hours without a backup do not count.
    pub backups_hourly: usize,
    /// Besides, the newest backup of each of the latest so many days that have one. Default 7; 0 is
    /// none.
    pub backups_daily: usize,
    /// Most bytes of all backups that are kept; over it the oldest go, but never the previous
    /// snapshot. Default 1 GiB; no limits. Where the disk is full, surplus backups go earlier.
    pub backup_bytes_max: u64,
    /// Most bytes of transactions waiting for the writer; more makes callers wait. Default 64 MiB.
    pub queue_bytes_max: usize,
    /// Most transactions waiting for the writer. Default 65,536.
    pub queue_entries_max: usize,
    /// Most bytes of one group, but for a transaction that is larger. Default 8 MiB.
    pub group_bytes_max: usize,
    /// Unflushed bytes of `Buffered` writes at which a flush is made. Default 8 MiB.
    pub buffered_bytes_max: u64,
    /// Age of unflushed `Buffered` writes at which a flush is made. Default 1 s.
    pub buffered_age_max: Duration,
    /// Idle time after which the log vouches for its last group. Default 1 s.
    pub witness_after: Duration,
    /// Largest document. Default 16 MiB; at most 256 MiB.
    pub document_bytes_max: usize,
    /// Largest transaction of a caller. Default and maximum 256 MiB.
    pub transaction_bytes_max: usize,
    /// Where the state is saved, as [`crate::Store::dump`] does it, if the last save of a shutdown (or of
    /// dropping the last handle) fails; listeners are told of it as `state:dumped`. Best on another disk.
    /// Default: nowhere. Nothing that is durable depends on it: it is for what a failing disk may lose.
    pub emergency_dir: Option<PathBuf>,
    /// Whether people's edits of the files are taken in as soon as the system tells of them (within 250 ms,
    /// but not while a checkpoint is being made); they are found by a scan every 30 s in any case. Needs the
    /// feature `watch`, and a directory that the system can watch: without, it changes nothing. Default:
    /// true if the feature is there. Nothing durable depends on it.
    pub watch: bool,
    /// Sizes of the log's segments.
    pub log: LogOptions,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            durability: Durability::Sync,
            lock_wait: Duration::ZERO,
            checkpoint_interval: Duration::from_secs(30),
            mirror_interval: Duration::from_millis(250),
            checkpoint_log_bytes: 64 << 20,
            backups: 10,
            backups_hourly: 24,
            backups_daily: 7,
            backup_bytes_max: 1 << 30,
            queue_bytes_max: 64 << 20,
            queue_entries_max: 65_536,
            group_bytes_max: 8 << 20,
            buffered_bytes_max: 8 << 20,
            buffered_age_max: Duration::from_secs(1),
            witness_after: Duration::from_secs(1),
            document_bytes_max: 16 << 20,
            transaction_bytes_max: 256 << 20,
            emergency_dir: None,
            watch: cfg!(feature = "watch"),
            log: LogOptions::default(),
        }
    }
}

impl Options {
    /// Says which setting cannot be, if one cannot.
    pub fn check(&self) -> Result<()> {
        let ms = Duration::from_millis(10);
        let segments = self.log.segment_bytes_min >= crate::wal::format::SEGMENT_BYTES_MIN
            && self.log.segment_bytes_min <= self.log.segment_bytes_max;
        let rules = [
            (self.checkpoint_interval >= ms, "checkpoint_interval must be at least 10 ms"),
            (self.mirror_interval >= ms, "mirror_interval must be at least 10 ms"),
            (self.checkpoint_log_bytes >= 64 << 10, "checkpoint_log_bytes must be at least 64 KiB"),
            (self.backups >= 1, "backups must be at least 1"),
            (self.queue_bytes_max > 0, "queue_bytes_max must not be 0"),
            (self.queue_entries_max > 0, "queue_entries_max must not be 0"),
            (
                (1..=256 << 20).contains(&self.document_bytes_max),
                "document_bytes_max must be between 1 byte and 256 MiB",
            ),
            (
                (1..=256 << 20).contains(&self.transaction_bytes_max),
                "transaction_bytes_max must be between 1 byte and 256 MiB",
            ),
            (
                segments,
                "log.segment_bytes_min must be at least 8 KiB and at most segment_bytes_max",
            ),
        ];
        match rules.iter().find(|(holds, _)| !holds) {
            Some((_, why)) => Err(Error::invalid("options", why)),
            None => Ok(()),
        }
    }

    pub(crate) fn retention(&self) -> Retention {
        Retention {
            last: self.backups,
            hourly: self.backups_hourly,
            daily: self.backups_daily,
            bytes_max: self.backup_bytes_max,
        }
    }

    pub(crate) fn limits(&self) -> Limits {
        Limits {
            queue_bytes: self.queue_bytes_max,
            queue_entries: self.queue_entries_max,
            group_bytes: self.group_bytes_max,
        }
    }
}
