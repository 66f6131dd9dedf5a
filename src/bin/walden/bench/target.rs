//! What is written to: the engine, and the limit.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use walden::wal::LogOptions;
use walden::{CommitStats, Durability, Error, Event, Options, Result, Store};

use super::args::Interval;
use super::limit::{Limit, Way};
use super::load::{Target, Writer};

/// Tasks as JSON texts of a size, with ids of their own.
pub(crate) fn texts(count: usize, bytes: usize) -> Arc<[String]> {
    (0..count).map(|number| text(number, bytes)).collect()
}

fn text(number: usize, bytes: usize) -> String {
    let words = ["read", "the", "failing", "test", "and", "fix", "what", "it", "found", "then"];
    let mut text = format!(r#"{{"id":"task_{number:06}","status":"in_progress","description":""#);
    for word in words.iter().cycle().skip(number % words.len()) {
        if text.len() + word.len() + 3 > bytes {
            break;
        }
        text.push_str(word);
        text.push(' ');
    }
    text.extend(std::iter::repeat_n('.', bytes.saturating_sub(text.len() + 2)));
    text.push_str("\"}");
    text
}

/// The settings of a store that is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setup {
    pub(crate) durability: Durability,
    pub(crate) value_bytes: usize,
    pub(crate) segment_bytes: u64,
    pub(crate) interval: Interval,
}

impl Setup {
    pub(crate) fn options(self) -> Options {
        let log = LogOptions::default();
        let base = Options {
            durability: self.durability,
            log: LogOptions {
                segment_bytes_min: log.segment_bytes_min.min(self.segment_bytes),
                segment_bytes_max: self.segment_bytes,
                ..log
            },
            ..Options::default()
        };
        match self.interval.0 {
            Some(interval) => Options { checkpoint_interval: interval, ..base },
            None => without_checkpoints(base),
        }
    }
}

/// The same, but nothing is saved unless it is asked for.
pub(crate) fn without_checkpoints(options: Options) -> Options {
    Options {
        checkpoint_interval: Duration::from_secs(86_400 * 365),
        checkpoint_log_bytes: u64::MAX,
        ..options
    }
}

/// A store with documents, which are replaced again and again.
pub(crate) struct StoreTarget {
    pub(crate) store: Store,
    texts: Arc<[String]>,
    saves: bool,
    saved: Arc<AtomicU64>,
}

impl StoreTarget {
    /// Opens a new store and fills it with so many documents.
    pub(crate) fn open(path: &Path, setup: Setup, count: usize) -> Result<StoreTarget> {
        let texts = texts(count, setup.value_bytes);
        let store = Store::builder(path).options(setup.options()).open()?;
        for part in texts.chunks(1000) {
            store.transaction(|tx| part.iter().try_for_each(|text| tx.save_task_json(text)))?;
        }
        store.checkpoint()?;
        let saved = Arc::new(AtomicU64::new(0));
        let count = saved.clone();
        store.on_event(move |event| {
            if let Event::StateSaved { .. } = event {
                count.fetch_add(1, Ordering::Relaxed);
            }
        });
        Ok(StoreTarget { store, texts, saves: setup.interval.0.is_some(), saved })
    }

    /// Saves what was written, so that nobody else's turn pays for it.
    pub(crate) fn settle(&self) -> Result<()> {
        if self.saves { self.store.checkpoint().map(drop) } else { self.store.sync() }
    }

    pub(crate) fn documents(&self) -> usize {
        self.texts.len()
    }

    /// Checkpoints since it was opened.
    pub(crate) fn saved(&self) -> u64 {
        self.saved.load(Ordering::Relaxed)
    }

    pub(crate) fn stats(&self) -> CommitStats {
        self.store.commit_stats()
    }
}

impl Target for StoreTarget {
    fn writer(&self, _: bool) -> Writer<'_> {
        Box::new(|number| match self.texts.get(number) {
            Some(text) => self.store.save_task_json(text).map(drop),
            None => Err(Error::not_found(format!("document {number}"))),
        })
    }
}

/// The limit, with the same documents as a store.
pub(crate) struct LimitTarget {
    limit: Limit,
    records: Vec<Arc<[u8]>>,
}

impl LimitTarget {
    pub(crate) fn new(limit: Limit, value_bytes: usize, count: usize) -> LimitTarget {
        let texts = texts(count, value_bytes);
        let records = texts.iter().map(|text| Arc::from(text.as_bytes())).collect();
        LimitTarget { limit, records }
    }
}

impl Target for LimitTarget {
    fn writer(&self, alone: bool) -> Writer<'_> {
        // Where nothing is waited for, nobody gains from a queue.
        let client = self.limit.client(alone || self.limit.way() == Way::Write);
        Box::new(move |number| match self.records.get(number) {
            Some(record) => client.put(record).map_err(failed),
            None => Err(Error::not_found(format!("document {number}"))),
        })
    }
}

/// A failure of the limit's own file.
pub(crate) fn failed(error: std::io::Error) -> Error {
    Error::io("write", "the file of the limit", error)
}
