//! fjall: a batch, and a flush of its journal.

use std::path::Path;
use std::sync::Arc;

use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};
use walden::Result;

use crate::peer::{Peer, failed, id_of};

struct Fjall {
    database: Database,
    documents: Keyspace,
    mode: PersistMode,
}

pub(super) fn open(dir: &Path, durable: bool) -> Result<Box<dyn Peer>> {
    let fail = |error| failed("fjall", error);
    let database = Database::builder(dir).open().map_err(fail)?;
    let documents = database.keyspace("documents", KeyspaceCreateOptions::default).map_err(fail)?;
    let mode = if durable { PersistMode::SyncData } else { PersistMode::Buffer };
    Ok(Box::new(Fjall { database, documents, mode }))
}

impl Peer for Fjall {
    fn put(&self, group: &[Arc<[u8]>]) -> Result<()> {
        let mut batch = self.database.batch().durability(Some(self.mode));
        for document in group {
            batch.insert(&self.documents, id_of(document), &**document);
        }
        batch.commit().map_err(|error| failed("fjall", error))
    }
}
