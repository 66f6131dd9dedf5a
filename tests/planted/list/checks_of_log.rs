//! Checks of the log's scan, each weakened.

use super::{Bug, By, bug};

const BYTES: By = By::Lib("bytes_tests");
const SCAN: By = By::Lib("corruption_tests guarantee_tests");
const CRASH: By = By::Lib("crash_tests guarantee_tests");

pub(super) const BUGS: [Bug; 38] = [
    bug("group-crc-not-compared", "wal/reader.rs", "if «group_crc(identity, number, offset, covered) != crc» {", "false", "the checksum of a group is not compared", SCAN),
    bug("record-crc-not-compared", "wal/reader.rs", "if «crc32fast::hash(payload) != entry.crc» {", "false", "the checksum of a record is not compared", SCAN),
    bug("records-table-not-compared", "wal/reader.rs", "records.is_empty() && (header.count == 0 || may_have_records)", "true", "the table of records need not add up", BYTES),
    bug("group-length-not-bounded", "wal/reader.rs", "header.length <= room", "true", "a group may be longer than its file", BYTES),
    bug("incarnation-not-compared", "wal/reader.rs", "if «header.incarnation != identity.incarnation» {", "false", "a group of another incarnation is taken", BYTES),
    bug("padding-not-looked-at", "wal/reader.rs", "padding.iter().all(|byte| *byte == 0)", "true", "damage in padding is not told", SCAN),
    bug("segment-under-any-name", "wal/reader.rs", "if «header.number == number» =>", "true", "a segment may bear another one's name", SCAN),
    bug("segment-length-not-compared", "wal/reader.rs", "self.size_bytes == header.size_bytes", "true", "a segment that was cut short passes for whole", SCAN),
    bug("group-of-any-store", "wal/format/group.rs", "seed.update(&identity.store.0.to_le_bytes());", "", "the store is not in the seed of a group's checksum", BYTES),
    bug("group-of-any-segment", "wal/format/group.rs", "seed.update(&number.0.to_le_bytes());", "", "the segment's number is not in the seed", BYTES),
    bug("group-of-any-opening", "wal/format/group.rs", "seed.update(&identity.nonce.to_le_bytes());", "", "the nonce is not in the seed", BYTES),
    bug("group-at-any-place", "wal/format/group.rs", "seed.update(&offset.to_le_bytes());", "", "the offset is not in the seed", BYTES),
    bug("segment-header-crc-not-compared", "wal/format/segment.rs", "if «crc != crc32fast::hash(covered).to_le_bytes()» {", "false", "the checksum of a segment's header is not compared", SCAN),
    bug("second-header-not-read", "wal/format/segment.rs", "let second = «Self::decode_copy(block, usize_of(BLOCK_BYTES))»;", "first", "the second copy of a segment's header is not used", SCAN),
    bug("header-lsns-need-not-rise", "wal/format/segment.rs", "&& «rising.is_sorted()»", "true", "a header may contradict itself", BYTES),
    bug("chain-not-compared", "wal/walk.rs", "let chained = «self.chain_crc.is_none_or(|crc| crc == group.header.chain)»;", "true", "a group need not name the one before it", CRASH),
    bug("lsns-need-not-follow", "wal/walk.rs", "} else {
            «group.header.first_lsn == self.expected»
        };", "true", "a group's LSN need not follow the one before", CRASH),
    bug("damage-taken-for-a-torn-tail", "wal/walk.rs", "} else if «self.expected <= self.vouched» {", "false", "fjall: durable records are cut after one flipped byte, and nothing is told", SCAN),
    bug("durable-records-behind-damage-cut", "wal/walk.rs", "let durable = «link.end.is_some() || last <= self.vouched»;", "false", "fjall: all durable groups behind a damaged one are cut", SCAN),
    bug("torn-tail-cut-too-late", "wal/walk.rs", "} else if next_lsn > self.expected && «durable» {", "true", "what lies behind a torn group stands", CRASH),
    bug("damage-behind-a-clean-stop-taken-for-torn", "wal/walk.rs", "} else if «self.closed && !zero» {", "false", "bytes behind a clean stop are taken for a torn tail", SCAN),
    bug("hole-between-segments-not-told", "wal/walk.rs", "if «self.last_lsn < header.previous_lsn» {", "false", "records that are missing between two segments are not told", SCAN),
    bug("missing-segments-of-an-opening-not-told", "wal/walk.rs", "if «hints.begun.is_some_and(|begun| head_incarnation < begun)» {", "false", "the segments of the last opening may vanish", SCAN),
    bug("missing-end-not-told", "wal/walk.rs", "if «self.last_lsn < self.vouched» {", "false", "durable records may be missing at the end", SCAN),
    bug("lsns-given-out-again", "wal/walk.rs", "highest.plus(if walk.doubtful || chain.is_empty() { DOUBT_LEAP } else { 1 })", "last_lsn.next()", "after an unclean stop LSNs are given out again", CRASH),
    bug("no-leap-where-the-end-is-in-doubt", "wal/walk.rs", "{ «DOUBT_LEAP» }", "1", "LSNs of a lost end are given out again", SCAN),
    bug("ceiling-ignored", "wal/walk.rs", ".map(|header| «header.ceiling»)", "Lsn(0)", "LSNs below the ceiling of a lost group are given out again", CRASH),
    bug("groups-do-not-vouch", "wal/chain.rs", "vouched = vouched.max(group.header.durable_lsn);", "", "what a group says is durable is not believed", SCAN),
    bug("headers-do-not-vouch", "wal/chain.rs", "vouched = vouched.max(link.header.previous_lsn);", "", "what a segment's header says was durable is not believed", SCAN),
    bug("dead-headers-do-not-vouch", "wal/chain.rs", "vouched = vouched.max(header.previous_lsn);", "", "what the header of a torn rotation says was durable is not believed", SCAN),
    bug("vouched-within-a-group", "wal/chain.rs", "groups.filter(|group| holding(group)).map(|group| group.last_lsn).max().unwrap_or(vouched)", "vouched", "half a group is taken for durable", SCAN),
    bug("follower-never-contradicts", "wal/chain.rs", "named.is_some_and(|group| group.crc != follower.chain)", "false", "a segment of a copy of the log that went another way is taken for the newest", SCAN),
    bug("head-may-contradict", "wal/chain.rs", "self.counts(index) && previous != Some(true)", "self.counts(index)", "the same, as the head", SCAN),
    bug("foreign-segment-taken", "wal/chain.rs", "Ok(header) if «Some(header.identity.store) != self.store» =>", "false", "a segment of another store is taken", SCAN),
    bug("seal-does-not-count", "wal/chain.rs", "(first && self.is_sealed_into(index))", "false", "a segment whose header is lost is dropped, though a seal names it", SCAN),
    bug("void-groups-come-back", "wal/chain.rs", "linked.then(|| self.link(index, Some(follower.previous_end))).flatten()", "linked.then(|| self.link(index, None)).flatten()", "what lies behind the end that a follower names stands again", CRASH),
    bug("seal-taken-for-data", "wal/chain.rs", "is_own && header.kind == GroupKind::Seal && header.next_segment == index.number", "false", "no seal is believed", SCAN),
    bug("torn-bytes-not-looked-for", "wal/repair.rs", "if bytes.is_empty() {", "if true {", "what is cut from the log is not kept", By::Lib("wal::tests")),
];
