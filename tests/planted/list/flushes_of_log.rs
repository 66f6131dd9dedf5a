//! Each flush of the log and of the engine, left out.

use super::{Bug, By, bug};

const LOG: By = By::Lib("wal::tests");
const CRASH: By = By::Guarantees("crash::a_crash_at_any_call_of crash::on_a_disk");

pub(super) const BUGS: [Bug; 29] = [
    bug(
        "log-not-flushed",
        "wal/log.rs",
        "if let Err(source) = self.active.file.sync_data() {
                return Err(self.poisoned_by(\"flush\", source));
            }",
        "",
        "the flush of the log does nothing",
        LOG,
    ),
    bug(
        "start-not-flushed",
        "wal/log.rs",
        "«log.write_group(&start, Some(&header), true)?;
        log.sync()?;»
        // What",
        "log.write_group(&start, Some(&header), false)?;",
        "an incarnation begins before its first group is durable",
        CRASH,
    ),
    bug(
        "restated-tail-not-flushed",
        "wal/log.rs",
        "log.write_group(&start, Some(&header), true)?;
        log.sync()?;
        // What is restated must not be restated again by an opening that finds nothing behind it.
        log.witness(now)?;",
        "log.write_group(&start, Some(&header), false)?;
        log.unflushed_bytes = 0;",
        "redb: what a recovery made of the tail is taken for durable, and is not",
        LOG,
    ),
    bug(
        "witness-vouches-for-nothing",
        "wal/log.rs",
        "return Ok(false);
        }
        «self.sync()?;»",
        "",
        "a witness is written before what it vouches for is durable",
        LOG,
    ),
    bug(
        "witness-not-flushed",
        "wal/log.rs",
        "self.write_group(&self.draft(GroupKind::Witness, &[], now), None, true)?;
        self.sync()?;",
        "self.write_group(&self.draft(GroupKind::Witness, &[], now), None, false)?;",
        "the next group is written before the witness is durable",
        LOG,
    ),
    bug(
        "close-before-records-are-durable",
        "wal/log.rs",
        "pub fn close(mut self, now: Timestamp) -> Result<()> {
        «self.sync()?;»",
        "",
        "the mark of a clean stop is written before the records before it are durable",
        LOG,
    ),
    bug(
        "close-not-flushed",
        "wal/log.rs",
        "self.write_group(&self.draft(GroupKind::Close, &[], now), None, true)?;
            self.sync()?;",
        "self.write_group(&self.draft(GroupKind::Close, &[], now), None, false)?;",
        "the mark of a clean stop is not flushed",
        LOG,
    ),
    bug(
        "seals-not-flushed-at-close",
        "wal/log.rs",
        "self.sync()?;
        «self.sync_seals()?;»",
        "",
        "a seal may be missing after a clean stop",
        LOG,
    ),
    bug(
        "seals-not-flushed-at-preparation",
        "wal/log/segments.rs",
        "self.check()?;
        «self.sync_seals()?;»",
        "",
        "the seal of a segment is not flushed while the next one is in use",
        LOG,
    ),
    bug(
        "seals-not-flushed",
        "wal/log/segments.rs",
        "if let Err(source) = file.sync_data() {
                return Err(self.poisoned_by(\"flush the segment before\", source));
            }",
        "",
        "the flush of a seal does nothing",
        LOG,
    ),
    bug(
        "rotation-before-the-segment-is-durable",
        "wal/log/segments.rs",
        "now: Timestamp) -> Result<()> {
        «self.sync()?;»
        let last = self.chain;",
        "",
        "the log goes on in the next segment before the one before is durable",
        LOG,
    ),
    bug(
        "first-group-of-segment-not-flushed",
        "wal/log/segments.rs",
        "self.write_group(&self.draft(GroupKind::Data, records, now), Some(&header), true)?;
        self.sync()?;",
        "self.write_group(&self.draft(GroupKind::Data, records, now), Some(&header), false)?;",
        "a segment is sealed before the first group of the next is durable",
        LOG,
    ),
    bug(
        "segment-name-not-flushed",
        "wal/segment.rs",
        "fs.sync_dir(dir)",
        "Ok(())",
        "the name of a new segment is not durable",
        LOG,
    ),
    bug(
        "segment-zeroes-not-flushed",
        "wal/segment.rs",
        "offset += length as u64;
    }
    «file.sync_data()?;»",
        "",
        "a new segment gets its name before its zeroes are durable",
        LOG,
    ),
    bug(
        "quarantined-region-name-not-flushed",
        "wal/repair.rs",
        "fs.sync_dir(quarantine)",
        "Ok(())",
        "what is cut from the log has no durable name in quarantine/",
        LOG,
    ),
    bug(
        "restore-before-the-state-is-durable",
        "engine/intake.rs",
        "let before = «writer.sync()?»;",
        "writer.log()?.last_lsn()",
        "the backup made before a restore holds what is not durable",
        By::Guarantees("restore::"),
    ),
    bug(
        "outputs-contents-not-flushed",
        "engine/outputs.rs",
        "match «output.flush(fs)» {",
        "Ok::<Option<Problem>, Error>(None)",
        "the log is cut before the contents of outputs are durable",
        By::Guarantees("outputs"),
    ),
    bug(
        "outputs-names-not-flushed",
        "engine/outputs.rs",
        "fs.sync_dir(&dir)",
        "Ok(())",
        "the log is cut before the names of outputs are durable",
        By::Guarantees("outputs"),
    ),
    bug(
        "log-of-an-opening-cut-off-not-flushed",
        "engine/open.rs",
        "fs.sync_all().map_err(|source| Error::io(\"flush\", fs.display(\"\"), source))?;",
        "",
        "what an opening that was cut off left is relied on though it may not be on the medium",
        By::Guarantees("crash::three_crashes"),
    ),
    bug(
        "commit-not-flushed",
        "wal/log.rs",
        "self.write(records, now, true)?;
        self.sync()",
        "self.write(records, now, false)?;
        Ok(self.last_lsn)",
        "a commit is acknowledged before it is durable",
        By::Lib("where_direct_writes_are_refused"),
    ),
    bug(
        "plain-write-taken-for-durable",
        "wal/log/write.rs",
        "if «is_through» {
            self.stats.flushes += 1;",
        "is_durable",
        "a group that went to the page cache is not flushed where direct writes are refused",
        LOG,
    ),
    bug(
        "delete-from-reserve-not-flushed",
        "engine/core.rs",
        "if sync || due {
            «log.sync()?;»",
        "",
        "deletes that take what is kept back for them are acknowledged before they are durable",
        By::Guarantees("full_disk::deletes_go_through full_disk::a_transaction_of_deletes"),
    ),
    bug(
        "asked-for-flush-left-out",
        "engine/core.rs",
        "self.log()?.sync()",
        "Ok(self.log()?.last_lsn())",
        "a flush that somebody asks for does nothing",
        CRASH,
    ),
    bug(
        "timed-flush-left-out",
        "engine/core.rs",
        "Some(_) => «writer.sync().map(|_| ())»",
        "Ok(())",
        "buffered writes are not flushed when they are a second old",
        By::Guarantees("limits::a_buffered_write"),
    ),
    bug(
        "log-cut-before-outputs-are-durable",
        "engine/checkpoint.rs",
        "self.outputs.flush(&*self.around.fs, problems)?;",
        "",
        "the log is cut while outputs are not durable",
        By::Guarantees("outputs"),
    ),
    bug(
        "checkpoint-of-what-is-not-durable",
        "engine/checkpoint.rs",
        "let lsn = match «writer.sync()» {",
        "writer.log().map(|log| log.last_lsn())",
        "snapshot and mirror show what a power cut can still take",
        By::Guarantees("checkpoint::a_checkpoint_shows_nothing"),
    ),
    bug(
        "sync-answers-without-flushing",
        "engine/store.rs",
        "let synced = «self.core().writer.lock().sync()»;",
        "self.core().writer.lock().log().map(|log| log.last_lsn())",
        "Store::sync says that buffered writes are durable, and they are not",
        By::Guarantees("limits::what_was_buffered"),
    ),
    bug(
        "mirror-contents-not-flushed-at-shutdown",
        "engine/mirror.rs",
        "Reason::Shutdown => «mirror.sync(&*self.around.fs)?»,",
        "mirror.sync_dirs(&*self.around.fs)?",
        "after a shutdown the mirror's files have names only",
        By::Guarantees("mirror::after_a_shutdown"),
    ),
    bug(
        "mirror-names-not-flushed-by-checkpoint",
        "engine/mirror.rs",
        "_ => «mirror.sync_dirs(&*self.around.fs)?»,",
        "()",
        "after a checkpoint the names in the mirror are not durable",
        By::Guarantees("checkpoint::the_names_that"),
    ),
];
