//! Steps of the log and the engine swapped or left out, and what other engines got wrong.

use super::{Bug, By, bug};

const LOG: By = By::Lib("wal::tests");
const CRASH: By = By::Guarantees("crash::a_crash_at_any_call_of crash::on_a_disk");
const FAULTS: By = By::Guarantees("faults::");

pub(super) const BUGS: [Bug; 36] = [
    bug(
        "writer-thread-not-reminded",
        "engine/commit.rs",
        "self.remind();",
        "",
        "what a caller wrote `Buffered` by itself is not flushed when it is old",
        By::Guarantees("limits::what_a_caller_wrote"),
    ),
    bug(
        "durable-means-written",
        "wal/log/write.rs",
        "durable_lsn: «self.durable_lsn»,
            chain: self.chain,",
        "self.last_lsn",
        "a group says that what was only written before it is durable",
        LOG,
    ),
    bug(
        "failed-flush-ignored",
        "wal/log.rs",
        "return Err(self.poisoned_by(\"flush\", source));",
        "let _ = self.poisoned_by(\"flush\", source);",
        "a commit is acknowledged though its flush failed",
        By::Lib("failure_tests"),
    ),
    bug(
        "failed-flush-tried-again",
        "wal/log.rs",
        "if let Err(source) = self.active.file.sync_data() {
                return Err(self.poisoned_by(\"flush\", source));
            }",
        "if self.active.file.sync_data().is_err() && let Err(source) = self.active.file.sync_data() {
                return Err(self.poisoned_by(\"flush\", source));
            }",
        "a failed flush is tried again, and then acknowledged",
        By::Lib("failure_tests"),
    ),
    bug(
        "failure-not-latched",
        "wal/log.rs",
        "self.poison.get_or_insert_with(|| error.clone());",
        "",
        "after a failed flush the log goes on",
        By::Lib("failure_tests"),
    ),
    bug(
        "failed-write-ignored",
        "wal/log/write.rs",
        "return Err(self.poisoned_by(\"write to\", source));",
        "let _ = source;",
        "a commit is acknowledged though its write failed",
        By::Lib("failure_tests"),
    ),
    bug(
        "tail-not-restated",
        "wal/log.rs",
        "let (first_lsn, tail) = «scan.read_tail(&*fs, dir)?»;",
        "(scan.join.lsn.next(), Vec::new())",
        "redb: durable commits that nothing vouches for are lost to a recovery",
        LOG,
    ),
    bug(
        "restated-tail-not-witnessed",
        "wal/log.rs",
        "log.witness(now)?;",
        "",
        "what is restated is restated again by every opening",
        LOG,
    ),
    bug(
        "segment-cut-while-needed",
        "wal/log/segments.rs",
        "while let Some(oldest) = self.older.front().filter(|oldest| «oldest.last_lsn <= lsn») {",
        "oldest.number.0 > 0",
        "a cut removes segments that are still needed",
        By::Guarantees("complete::a_crash recovery::"),
    ),
    bug(
        "rotation-joins-the-wrong-group",
        "wal/log/segments.rs",
        "previous_end: «self.join.end»,",
        "self.join.end + 4096",
        "a new segment names a wrong end of the one before",
        LOG,
    ),
    bug(
        "seal-for-the-wrong-segment",
        "wal/log/segments.rs",
        "draft.next_segment = «self.active.number»;",
        "old.number",
        "a seal does not name the next segment",
        LOG,
    ),
    bug(
        "cut-at-the-present-snapshot",
        "engine/checkpoint.rs",
        "self.cut_log(&mut checkpointer, «previous»)?;",
        "lsn.max(previous)",
        "the log is cut at the present snapshot, so that a lost state.json loses data",
        By::Guarantees("complete::a_crash recovery::"),
    ),
    bug(
        "cut-before-the-snapshot-is-durable",
        "engine/checkpoint.rs",
        "let saved = «self.save_snapshot(&mut checkpointer, &table, lsn, has_grown, problems)»;",
        "{ self.writer.lock().log()?.remove_below(lsn)?; self.save_snapshot(&mut checkpointer, &table, lsn, has_grown, problems) }",
        "a checkpoint cuts the log before its snapshot is durable",
        By::Guarantees("complete::a_crash recovery::"),
    ),
    bug(
        "saved-not-logged",
        "engine/checkpoint.rs",
        "checkpointer.in_place = Some(lsn);
            «self.log_own(&[Op::Saved { lsn }])?;»",
        "",
        "a snapshot of the engine's own passes for one that was put back",
        By::Guarantees("restore::"),
    ),
    bug(
        "changes-of-a-failed-checkpoint-forgotten",
        "engine/checkpoint.rs",
        "self.put_back(cut.dirty);",
        "",
        "what a failed checkpoint should have shown is never shown",
        By::Guarantees("faults:: mirror:: checkpoint::"),
    ),
    bug(
        "wrote-not-logged",
        "engine/mirror.rs",
        "let mut failure = «self.record(&mut changes)?»;",
        "None",
        "what the mirror is to hold is not logged",
        CRASH,
    ),
    bug(
        "opening-not-announced",
        "engine/open.rs",
        "room.with(|| write_owner(fs, &identity, Stage::Opening { former }, plan.evidence))?;",
        "",
        "a segment is made before .walden knows of its incarnation",
        CRASH,
    ),
    bug(
        "open-before-the-log-begins",
        "engine/open.rs",
        "let log = «room.with(begin)?»;",
        "{ write_owner(fs, &identity, Stage::Open, plan.evidence)?; room.with(begin)? }",
        ".walden says that an incarnation is open before it has begun",
        CRASH,
    ),
    bug(
        "clean-before-the-log-is-closed",
        "engine/serve.rs",
        "let closed = «log.close(wall)»;",
        "{ write_owner(&*self.around.fs, &identity, Stage::Clean { lsn, documents: None }, Evidence::default())?; log.close(wall) }",
        ".walden says that the stop was clean before the log is closed",
        CRASH,
    ),
    bug(
        "clean-though-not-saved",
        "engine/serve.rs",
        "if «closed.is_ok() && saved.is_ok()» {",
        "true",
        ".walden says that the stop was clean though a shutdown failed",
        By::Guarantees("faults::"),
    ),
    bug(
        "reopen-keeps-the-table",
        "engine/serve.rs",
        "*self.table.write() = opened.table;",
        "",
        "reopen() keeps state that a failed flush lost",
        FAULTS,
    ),
    bug(
        "reopen-keeps-the-mirror",
        "engine/serve.rs",
        "*checkpointer = opened.checkpointer;",
        "",
        "reopen() keeps what it believed of snapshot and mirror",
        FAULTS,
    ),
    bug(
        "waiters-of-a-failed-commit-not-answered",
        "engine/commit.rs",
        "transaction.promise.fail(error.clone());",
        "std::mem::forget(transaction.promise);",
        "okaywal: who waits for a failed commit hangs",
        By::Schedules("failures::a_failed_flush"),
    ),
    bug(
        "queued-after-a-failure-not-answered",
        "engine/core.rs",
        "transaction.promise.fail(poisoned.clone());",
        "std::mem::forget(transaction.promise);",
        "okaywal: who is queued behind a failed commit hangs",
        By::Schedules("failures::a_failed_flush"),
    ),
    bug(
        "failed-commit-applied",
        "engine/commit.rs",
        "«drop(writer);»
                self.refuse(",
        "{ let mut table = self.table.write(); for of in &group { let _ = table.apply(&of.changes); } } drop(writer);",
        "what failed is visible: applied without being durable",
        FAULTS,
    ),
    bug(
        "full-disk-in-a-commit-says-nothing-was-written",
        "wal/log.rs",
        "let error = «Error::Io { action, path, source: Arc::new(source) }»;",
        "Error::io(action, path, source)",
        "a write that failed half-way for want of room is told as if nothing had been written",
        By::Lib("failure_tests"),
    ),
    bug(
        "mirror-forgotten-by-a-cut",
        "engine/checkpoint.rs",
        "self.remember_mirror(&mut checkpointer.mirror)?;",
        "",
        "the log is cut though it alone knows what the mirror holds",
        By::Guarantees("mirror::what_passes checkpoint::a_mirror_that_lags"),
    ),
    bug(
        "lagging-files-not-remembered",
        "engine/mirror.rs",
        "self.log_own(&records).map(drop)",
        "{ drop(records); Ok(()) }",
        "after a cut of the log, what a file that lags behind holds passes for a person's",
        By::Guarantees("checkpoint::a_mirror_that_lags"),
    ),
    bug(
        "wrote-logged-after-the-file-changes",
        "engine/mirror.rs",
        "let mut failure = self.record(&mut changes)?;
            for change in &changes {
                self.prepare_wanted();
                match mirror.apply(fs, change) {
                    Ok(found) => problems.extend(found),
                    Err(error) => failure = failure.or(Some(error)),
                }
            }
            done += changes.len();
            match failure {
                // What could not be changed is in the next plan.
                Some(error) if self.make_room(&error) => continue,
                Some(error) => return Err(error),
                None => {}
            }",
        "for change in &changes {
                problems.extend(mirror.apply(fs, change)?);
            }
            if let Some(error) = self.record(&mut changes)? {
                return Err(error);
            }
            done += changes.len();",
        "mirror files are changed before their records are durable",
        By::Guarantees("mirror::a_kill_in_a_pass"),
    ),
    bug(
        "torn-bytes-not-kept-by-an-opening",
        "engine/open.rs",
        "let is_kept = «keep_aside(fs, plan)?»;",
        "true",
        "what an opening cuts from the log is lost",
        By::Guarantees("corruption::what_an_opening_cuts"),
    ),
    bug(
        "incarnation-used-again",
        "engine/open.rs",
        "let incarnation = «plan.scan.incarnation_max.max(incarnation_seen)» + 1;",
        "plan.scan.incarnation_max",
        "without its log a store forgets how often it was opened",
        By::Guarantees("lost_rows::no_opening_has"),
    ),
    bug(
        "passed-over-segments-stay",
        "engine/open.rs",
        "if is_kept { wal::clear_passed_over(fs, WAL, &plan.scan) } else { Ok(()) }",
        "Ok(())",
        "a torn segment that an opening passed over is found by every later one",
        By::Guarantees("crash::a_torn_segment"),
    ),
    bug(
        "half-a-checkpoint-read",
        "engine/view.rs",
        "if «is_undisturbed && looks.agree_on(&findings)» {",
        "true",
        "a reader takes what a writer has half done for damage, or for a restore",
        By::Guarantees("concurrency::a_reader"),
    ),
    bug(
        "deltas-applied-after-a-hole",
        "state/table.rs",
        "if «(!is_delta || base_is_known)» &&",
        "true",
        "after a hole a delta is applied to a document of unknown age",
        By::Lib("state::table"),
    ),
    bug(
        "suspect-mark-dropped",
        "state/table.rs",
        "left.suspect.push((collection, id.clone()));",
        "",
        "a document that lacks a change is not told of",
        By::Lib("state::table"),
    ),
    bug(
        "suspect-mark-not-kept",
        "state/table.rs",
        "self.set(collection, id, Some(&Arc::new(marked)));",
        "drop(marked);",
        "a document that lacks a change is not marked",
        By::Lib("state::table"),
    ),
];
