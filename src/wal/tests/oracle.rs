//! What a log must hold, kept beside it by a test. It shares no code with the scan: it knows only
//! what was asked of the writer and what the writer answered.
//!
//! Every record bears a number of its own, so that a wrong, repeated or misplaced one is seen.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::base::{Lsn, Result, StoreId, Timestamp};
use crate::fs::Fs;
use crate::fs::sim::SimFs;
use crate::wal::{self, Hints, Identity, Log, LogOptions, Origin, Record, Replayed, Scan, Verdict};

pub(super) const DIR: &str = "wal";
pub(super) const QUARANTINE: &str = "quarantine";
pub(super) const STORE: StoreId = StoreId(7);
/// Room for some groups in the first segment.
pub(super) const ROOMY: LogOptions = LogOptions {
    segment_bytes_min: 64 << 10,
    segment_bytes_max: 64 << 10,
    direct: true,
    reuse_group_bytes: u64::MAX,
};
pub(super) const SMALL: LogOptions = LogOptions {
    segment_bytes_min: 24 << 10,
    segment_bytes_max: 32 << 10,
    direct: true,
    reuse_group_bytes: 0,
};

/// A disk with the directories that a store has.
pub(super) fn disk() -> SimFs {
    let fs = SimFs::new();
    fs.create_dir(DIR).unwrap();
    fs.create_dir(QUARANTINE).unwrap();
    fs.sync_dir("").unwrap();
    fs
}

/// A record as it was read back: its LSN and its number.
pub(super) type Found = (Lsn, u64);

/// What a scan lets stand above `from`.
pub(super) fn read(fs: &SimFs, scan: &Scan, from: Lsn) -> Result<Vec<Found>> {
    let mut found = Vec::new();
    scan.replay(fs, DIR, from, &mut |replayed| {
        if let Replayed::Group(records) = replayed {
            let above = records.iter().filter(|record| record.lsn > from);
            found.extend(above.map(|record| {
                let number = record.payload.first_chunk::<8>().expect("written by this test");
                (record.lsn, u64::from_le_bytes(*number))
            }));
        }
        Ok(())
    })?;
    Ok(found)
}

#[derive(Clone, Copy, Debug)]
struct Written {
    number: u64,
    /// Unknown where the append was not answered.
    lsn: Option<Lsn>,
    group: u64,
}

/// What was asked and answered so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Oracle {
    history: Vec<Written>,
    /// So many of them are known to be durable.
    acknowledged: usize,
    /// Every LSN that anybody was ever told of, and of which record.
    told: BTreeMap<Lsn, u64>,
    numbers: u64,
    groups: u64,
    nonces: u64,
    /// `SMALL` if not set.
    pub(super) options: Option<LogOptions>,
    pub(super) base: Lsn,
    pub(super) begun: Option<u64>,
    pub(super) clean: Option<(u64, Lsn)>,
}

impl Oracle {
    pub(super) fn hints(&self) -> Hints {
        Hints {
            store: Some(STORE),
            base: self.base,
            begun: self.begun,
            clean: self.clean,
            ..Hints::default()
        }
    }

    /// Scans as an opening does, and compares; `legal` if nothing but crashes and failing calls
    /// happened, so that nothing may be called corrupt.
    pub(super) fn scan(&mut self, fs: &SimFs) -> Result<(Scan, Vec<Found>)> {
        let scan = wal::scan(fs, DIR, &self.hints())?;
        let found = read(fs, &scan, self.base)?;
        assert_ne!(scan.verdict(), Verdict::Corrupt, "{:#?}\n{self:#?}", scan.findings);
        self.compare(&found);
        Ok((scan, found))
    }

    fn compare(&mut self, found: &[Found]) {
        let above = self.history.iter().position(|written| !self.is_below_base(written));
        let skipped = above.unwrap_or(self.history.len());
        let expected = self.history.get_mut(skipped..).unwrap();
        assert!(found.len() <= expected.len(), "more than was written: {found:?}\n{expected:#?}");
        for ((lsn, number), written) in found.iter().zip(expected.iter_mut()) {
            assert_eq!(*number, written.number, "another record\n{found:?}");
            assert_eq!(*lsn, written.lsn.unwrap_or(*lsn), "another LSN\n{found:?}");
            written.lsn = Some(*lsn);
            let told = *self.told.entry(*lsn).or_insert(*number);
            assert_eq!(told, *number, "LSN {lsn} was told of another record");
        }
        assert!(found.is_sorted_by(|a, b| a.0 < b.0), "{found:?}");
        let whole = skipped + found.len();
        assert!(whole >= self.acknowledged, "lost: found {whole} of {}", self.acknowledged);
        let cut = (whole > 0).then(|| self.history.get(whole - 1)).flatten();
        if let (Some(last), Some(lost)) = (cut, self.history.get(whole)) {
            assert_ne!(last.group, lost.group, "a group was torn apart");
        }
    }

    fn is_below_base(&self, written: &Written) -> bool {
        written.lsn.is_some_and(|lsn| lsn <= self.base)
    }

    /// Opens as an engine does: scan, keep aside, begin, clear.
    pub(super) fn begin(&mut self, fs: &SimFs) -> Result<Log> {
        let (scan, found) = self.scan(fs)?;
        wal::set_aside(fs, DIR, &scan, QUARANTINE)?;
        wal::clear_temporaries(fs, DIR, &scan)?;
        self.nonces += 1;
        let incarnation = scan.incarnation_max.max(self.begun.unwrap_or(0)) + 1;
        let identity = Identity { store: STORE, incarnation, nonce: self.nonces };
        self.clean = None;
        let log = Log::begin(
            Arc::new(fs.clone()),
            DIR,
            &scan,
            identity,
            self.options.unwrap_or(SMALL),
            Timestamp(0),
        )?;
        let below = self.history.iter().filter(|written| self.is_below_base(written)).count();
        self.history.truncate(below + found.len());
        self.acknowledged = self.history.len();
        self.begun = Some(incarnation);
        wal::clear_leftovers(fs, DIR, &scan, QUARANTINE)?;
        Ok(log)
    }

    /// Appends one group of records of these sizes (at least 8 bytes each).
    pub(super) fn append(&mut self, log: &mut Log, sizes: &[usize]) -> Result<()> {
        self.write(log, sizes, false)
    }

    /// The same, durable when it returns.
    pub(super) fn commit(&mut self, log: &mut Log, sizes: &[usize]) -> Result<()> {
        self.write(log, sizes, true)?;
        assert_eq!(log.durable_lsn(), log.last_lsn());
        self.acknowledged = self.history.len();
        Ok(())
    }

    fn write(&mut self, log: &mut Log, sizes: &[usize], is_durable: bool) -> Result<()> {
        self.groups += 1;
        let mut records = Vec::new();
        for size in sizes {
            let mut payload = self.numbers.to_le_bytes().to_vec();
            payload.resize(8.max(*size), 0xa5);
            records.push(Record::new(1, Origin::Api, payload));
            self.history.push(Written { number: self.numbers, lsn: None, group: self.groups });
            self.numbers += 1;
        }
        let write = if is_durable { Log::commit } else { Log::append };
        let last = write(log, &records, Timestamp(0))?;
        for (back, written) in self.history.iter_mut().rev().take(sizes.len()).enumerate() {
            let lsn = Lsn(last.0 - back as u64);
            written.lsn = Some(lsn);
            let told = self.told.insert(lsn, written.number);
            assert_eq!(told, None, "LSN {lsn} was told before");
        }
        Ok(())
    }

    pub(super) fn sync(&mut self, log: &mut Log) -> Result<()> {
        let durable = log.sync()?;
        assert_eq!(durable, log.last_lsn());
        self.acknowledged = self.history.len();
        Ok(())
    }

    pub(super) fn close(&mut self, log: Log) -> Result<()> {
        let last = log.last_lsn();
        log.close(Timestamp(0))?;
        self.acknowledged = self.history.len();
        self.clean = self.begun.map(|incarnation| (incarnation, last));
        Ok(())
    }

    /// Cuts the log below its `nth` record from the end, as after a snapshot there.
    pub(super) fn cut(&mut self, log: &mut Log, from_end: usize) -> Result<()> {
        self.sync(log)?;
        let at = self.history.len().checked_sub(from_end + 1);
        self.base = at.and_then(|at| self.history.get(at)?.lsn).unwrap_or(self.base);
        log.remove_below(self.base)?;
        Ok(())
    }
}

/// The path of a segment.
pub(super) fn wal_file(number: u64) -> String {
    format!("{DIR}/{number:020}.wal")
}

/// Overwrites `length` bytes with zeroes, on the medium.
pub(super) fn zero(fs: &SimFs, number: u64, offset: usize, length: usize) {
    let mut bytes = fs.read_now(&wal_file(number)).unwrap();
    bytes[offset..offset + length].fill(0);
    fs.write_now(&wal_file(number), &bytes).unwrap();
}

/// Flips a bit behind the checksum of the group at `offset`.
pub(super) fn rot(fs: &SimFs, number: u64, offset: u64) {
    fs.corrupt(&wal_file(number), offset + 9, 0x10).unwrap();
}
