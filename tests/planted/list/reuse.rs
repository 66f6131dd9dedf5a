//! Segments that are reused: what makes sure that nothing of what a file was before is taken for the log,
//! and that nothing is written over which is still somebody's.

use super::{Bug, By, bug};

const REUSE: By = By::Lib("wal::tests::reuse_");

pub(super) const BUGS: [Bug; 18] = [
    bug(
        "mark-not-flushed",
        "wal/segment.rs",
        "fs::write_all_at(&*file, head, 0)?;
    «file.sync_data()?;»",
        "",
        "a segment gets its new number before its old header is durably gone",
        REUSE,
    ),
    bug(
        "cut-not-flushed-before-reuse",
        "wal/log/segments.rs",
        "let synced = «self.fs.sync_dir(&self.dir)»;",
        "Ok::<(), std::io::Error>(())",
        "a segment is written over whose old name a power cut brings back",
        REUSE,
    ),
    bug(
        "kept-though-the-cut-was-not-flushed",
        "wal/log/segments.rs",
        "for spare in kept {
                if let Err(error) = spare.remove(&*self.fs, &self.dir) {
                    tracing::warn!(%error, \"a segment that was cut stays until the next opening\");
                }
            }",
        "self.spares.append(&mut kept);",
        "the same, where that flush failed",
        REUSE,
    ),
    bug(
        "mark-left-out",
        "wal/segment.rs",
        "let mut head = «encode_mark(&spare.identity, number)»;",
        "vec![0; usize_of(SEGMENT_HEADER_BYTES)]",
        "a prepared segment cannot be told from one that lost its header",
        REUSE,
    ),
    bug(
        "end-mark-left-out",
        "wal/log/write.rs",
        "if «segment.end_mark_bytes(offset) > 0» {",
        "false",
        "what the file was before follows the last group",
        REUSE,
    ),
    bug(
        "any-end-mark-is-the-end",
        "wal/reader.rs",
        "if gap.why == END { «!is_end» } else { zero }",
        "true",
        "a last group that went back to the end mark before it is missed by nobody",
        REUSE,
    ),
    bug(
        "end-mark-is-a-group",
        "wal/reader.rs",
        "if «header.kind == GroupKind::End» {",
        "false",
        "an end mark is taken for a group of the log",
        REUSE,
    ),
    bug(
        "any-header-is-the-segments",
        "wal/format/segment.rs",
        "headers().find(|header| «header.number == number»)",
        "header.number.0 > 0",
        "the header of what the file was before counts before the segment's own",
        REUSE,
    ),
    bug(
        "mark-does-not-count",
        "wal/format/segment.rs",
        "decode_mark(block).filter(|_| «own.is_none()»)",
        "false",
        "a prepared segment whose old header is back is taken for damage",
        REUSE,
    ),
    bug(
        "written-over-though-it-has-another-name",
        "wal/segment.rs",
        "!is_ours || «stat.links != 1» ||",
        "false",
        "a backup made of hard links is written over",
        REUSE,
    ),
    bug(
        "written-over-though-it-is-another-file",
        "wal/segment.rs",
        "if «!is_ours» || stat.links",
        "false",
        "what somebody put in the place of a cut segment is written over",
        REUSE,
    ),
    bug(
        "segment-of-another-opening-kept",
        "wal/log/segments.rs",
        "«number >= self.first_number» && sizes.contains",
        "true",
        "segments of an earlier incarnation are kept to be reused",
        REUSE,
    ),
    bug(
        "read-again-unverified",
        "wal/reader.rs",
        "if «GroupHeader::decode(head) != Ok((group.crc, group.header))
            || crc_of(group.seed, head) != group.crc»
        {",
        "false",
        "a reader takes records of the new segment for those of the old one",
        REUSE,
    ),
    bug(
        "padding-of-a-torn-write-is-corrupt",
        "wal/walk.rs",
        "let is_durable = «link.end.is_some() || is_vouched || link.header.former.0 == 0»;",
        "true",
        "a write that a power cut tore is told as damage",
        REUSE,
    ),
    bug(
        "cut-segments-kept-on-a-full-disk",
        "engine/room.rs",
        "«self.free_spares(error)» || self.free_backup(error)",
        "false",
        "backups go from a full disk before what nobody needs",
        By::Guarantees("full_disk::what_a_log_keeps"),
    ),
    bug(
        "lent-segment-forgotten",
        "wal/log.rs",
        "if let Some(spare) = «self.lent.take()» {",
        "None::<Spare>",
        "a clean stop leaves a segment that was to be reused",
        REUSE,
    ),
    bug(
        "history-not-read-again",
        "engine/history.rs",
        "Err(Error::Corrupt { .. }) => «thread::sleep(ATTEMPT_PAUSE)»,",
        "return Err(Error::Closed)",
        "a history beside a writer fails where a segment was reused",
        By::Guarantees("reused::"),
    ),
    bug(
        "a-disturbed-look-believed",
        "engine/view.rs",
        "findings.is_empty() || «before.still_stands(fs)?»;",
        "true",
        "a log that is cut again and again while it is read passes for one that is lost",
        By::Guarantees("reused::a_reader_that_is_disturbed"),
    ),
];
