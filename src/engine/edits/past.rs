//! The versions that mirror files showed until lately, in memory: an edit is made of one of them.
//!
//! Kept for ten minutes after they were displaced, 64 MiB at most. Invariant: what fell out is known to
//! have fallen out ([`Past::may_lack`]).

use std::cmp::Reverse;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::base::{DocumentId, Lsn};
use crate::state::{Collection, Doc};

const KEPT_FOR: Duration = Duration::from_secs(600);
const BYTES_MAX: usize = 64 << 20;

type Key = (Collection, DocumentId);

/// Displaced versions.
#[derive(Debug)]
pub(crate) struct Past {
    /// By document, oldest first.
    versions: HashMap<Key, VecDeque<Arc<Doc>>>,
    /// When each was displaced, oldest first.
    queue: VecDeque<(Duration, Key, usize)>,
    bytes: usize,
    /// The highest LSN of a version that fell out.
    fallen_out: Lsn,
    /// Nothing from before is known.
    since: Duration,
}

impl Past {
    pub(crate) fn new(now: Duration) -> Self {
        Past {
            versions: HashMap::new(),
            queue: VecDeque::new(),
            bytes: 0,
            fallen_out: Lsn::ZERO,
            since: now,
        }
    }

    /// A version was displaced.
    pub(crate) fn push(&mut self, now: Duration, key: Key, doc: Arc<Doc>) {
        let bytes = doc.text().len();
        self.bytes += bytes;
        self.versions.entry(key.clone()).or_default().push_back(doc);
        self.queue.push_back((now, key, bytes));
        while let Some((since, ..)) = self.queue.front() {
            let is_old = now.saturating_sub(*since) > KEPT_FOR;
            if !is_old && self.bytes <= BYTES_MAX {
                break;
            }
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        let Some((_, key, bytes)) = self.queue.pop_front() else { return };
        self.bytes -= bytes;
        let Some(versions) = self.versions.get_mut(&key) else { return };
        if let Some(doc) = versions.pop_front() {
            self.fallen_out = self.fallen_out.max(doc.lsn());
        }
        if versions.is_empty() {
            self.versions.remove(&key);
        }
    }

    /// The versions of a document, newest first: an edit that was taken in displaces what was there before
    /// the next pass notes that.
    pub(crate) fn of(&self, key: &Key) -> Vec<&Arc<Doc>> {
        let versions = self.versions.get(key).into_iter();
        let mut versions: Vec<_> = versions.flat_map(|versions| versions.iter().rev()).collect();
        versions.sort_by_key(|doc| Reverse(doc.lsn()));
        versions
    }

    /// Whether a version of a document may be missing that was displaced within ten minutes.
    pub(crate) fn may_lack(&self, now: Duration) -> bool {
        now.saturating_sub(self.since) < KEPT_FOR || self.fallen_out > Lsn::ZERO
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::Document;

    fn doc(lsn: u64, bytes: usize) -> Arc<Doc> {
        let text = format!("{{\"id\":\"{}\"}}", "x".repeat(bytes));
        Arc::new(Doc::new(Document::new(text), Lsn(lsn), false))
    }

    fn key(id: &str) -> Key {
        (Collection::Task, DocumentId::new(id).unwrap())
    }

    fn lsns(past: &Past, id: &str) -> Vec<u64> {
        past.of(&key(id)).iter().map(|doc| doc.lsn().0).collect()
    }

    #[test]
    fn versions_are_kept_for_ten_minutes_newest_first() {
        let mut past = Past::new(Duration::ZERO);
        past.push(Duration::from_secs(1), key("a"), doc(1, 1));
        past.push(Duration::from_secs(300), key("a"), doc(2, 1));
        past.push(Duration::from_secs(301), key("b"), doc(3, 1));
        assert_eq!(lsns(&past, "a"), [2, 1]);
        assert!(past.may_lack(Duration::from_secs(599)), "what was displaced before it was opened");
        assert!(!past.may_lack(Duration::from_secs(601)));
        past.push(Duration::from_secs(602), key("b"), doc(4, 1));
        assert_eq!((lsns(&past, "a"), lsns(&past, "b")), (vec![2], vec![4, 3]));
        assert!(past.may_lack(Duration::from_secs(602)), "one fell out");
    }

    #[test]
    fn what_an_edit_displaced_is_older_than_the_edit() {
        let mut past = Past::new(Duration::ZERO);
        past.push(Duration::from_secs(1), key("a"), doc(2, 1));
        past.push(Duration::from_secs(2), key("a"), doc(1, 1));
        past.push(Duration::from_secs(3), key("a"), doc(2, 2));
        assert_eq!(lsns(&past, "a"), [2, 2, 1]);
        assert_eq!(past.of(&key("a"))[0].text().len(), doc(2, 2).text().len());
    }

    #[test]
    fn no_more_than_64_mib_are_kept() {
        let mut past = Past::new(Duration::ZERO);
        for lsn in 1..=5 {
            past.push(Duration::from_secs(1), key("a"), doc(lsn, 20 << 20));
        }
        assert_eq!(lsns(&past, "a"), [5, 4, 3]);
        past.push(Duration::from_secs(1), key("b"), doc(6, 70 << 20));
        assert_eq!(lsns(&past, "b"), Vec::<u64>::new());
        assert_eq!((past.bytes, past.queue.len(), past.versions.len()), (0, 0, 0));
    }
}
