//! The documents of one collection, in shards, and which of them have which status.
//!
//! A document's shard follows from its id. Cloning shares all shards; whoever writes afterwards copies the one
//! that it touches, and what is indexed there only if a status changes. So however many documents have a
//! status, a change of one copies at most the ids of one shard.
//!
//! Invariants: `set` is the one place where a shard changes; an id is below a status exactly while its document
//! is there and has that string as its `status`; no status is without ids. The index shares long ids' texts with
//! the documents, and takes 20 to 80 bytes a document, however often statuses change; some 200 where each
//! document has a status of its own.

use std::collections::{HashMap, HashSet};
use std::hash::BuildHasher;
use std::sync::Arc;

use foldhash::fast::RandomState;
use smol_str::SmolStr;

use crate::base::DocumentId;
use crate::state::table::Doc;

/// So many that copying one is short work with a million documents, and so few that cloning the
/// table stays cheap with ten.
pub(super) const SHARDS: usize = 256;

/// Where fewer ids have a status, the room that their set has is not worth giving back.
const SMALL: usize = 16;

/// Ids come from outside, so where they fall must not be known in advance: seeded at random.
#[derive(Clone, Debug)]
pub(super) struct Shards {
    hasher: RandomState,
    shards: Box<[Arc<Shard>]>,
}

#[derive(Clone, Debug, Default)]
struct Shard {
    docs: HashMap<DocumentId, Arc<Doc>, RandomState>,
    statuses: Arc<Statuses>,
}

type Statuses = HashMap<SmolStr, HashSet<DocumentId, RandomState>, RandomState>;

/// The documents of one status as of one moment. Taking it costs next to nothing where few have it.
#[derive(Debug)]
pub struct OfStatus<'s> {
    status: &'s str,
    shards: Vec<Arc<Shard>>,
}

impl OfStatus<'_> {
    /// The documents, by the bytes of their ids.
    pub fn sorted(&self) -> Vec<(DocumentId, Arc<Doc>)> {
        let found = self.shards.iter().flat_map(|shard| {
            let ids = shard.statuses.get(self.status).into_iter().flatten();
            ids.filter_map(|id| Some((id.clone(), Arc::clone(shard.docs.get(id)?))))
        });
        let mut all: Vec<_> = found.collect();
        all.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        all
    }
}

impl Default for Shards {
    fn default() -> Self {
        Shards { hasher: RandomState::default(), shards: vec![Arc::default(); SHARDS].into() }
    }
}

impl Shards {
    pub(super) fn get(&self, id: &str) -> Option<&Arc<Doc>> {
        self.shards.get(self.place(id))?.docs.get(id)
    }

    pub(super) fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.docs.len()).sum()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&DocumentId, &Arc<Doc>)> {
        self.shards.iter().flat_map(|shard| shard.docs.iter())
    }

    pub(super) fn of_status<'s>(&self, status: &'s str) -> OfStatus<'s> {
        let has_some = |shard: &&Arc<Shard>| shard.statuses.contains_key(status);
        OfStatus { status, shards: self.shards.iter().filter(has_some).cloned().collect() }
    }

    /// Puts a document in its place, or takes it away; gives back what was there.
    pub(super) fn set(&mut self, id: &DocumentId, next: Option<&Arc<Doc>>) -> Option<Arc<Doc>> {
        if next.is_none() && self.get(id.as_str()).is_none() {
            // Nothing to remove: do not copy a shared shard for it.
            return None;
        }
        let place = self.place(id.as_str());
        let shard = self.shards.get_mut(place).expect("a shard for every remainder");
        Arc::make_mut(shard).set(id, next)
    }

    fn place(&self, id: &str) -> usize {
        // A map of the shard finds its own places by a hash of another seed.
        let hash = usize::try_from(self.hasher.hash_one(id) >> 32).unwrap_or(0);
        hash.checked_rem(SHARDS).unwrap_or(0)
    }
}

impl Shard {
    fn set(&mut self, id: &DocumentId, next: Option<&Arc<Doc>>) -> Option<Arc<Doc>> {
        let previous = match next {
            Some(doc) => self.docs.insert(id.clone(), Arc::clone(doc)),
            None => self.docs.remove(id),
        };
        let before = previous.as_deref().and_then(Doc::status);
        let after = next.and_then(|doc| doc.document().members().status.as_ref());
        if before == after.map(SmolStr::as_str) {
            return previous;
        }
        let statuses = Arc::make_mut(&mut self.statuses);
        if let Some(status) = before
            && let Some(ids) = statuses.get_mut(status)
        {
            ids.remove(id);
            if ids.is_empty() {
                statuses.remove(status);
            } else if ids.len() >= SMALL && ids.len() <= ids.capacity() / 4 {
                // Going through a set takes as long as it has room.
                ids.shrink_to(ids.len().saturating_mul(2));
            }
        }
        if let Some(status) = after
            && let Some((id, _)) = self.docs.get_key_value(id)
        {
            statuses.entry(status.clone()).or_default().insert(id.clone());
        }
        previous
    }
}

#[cfg(test)]
mod tests;
