//! RocksDB: a batch, written with or without `sync`.

use std::path::Path;
use std::sync::Arc;

use rocksdb::{DB, WriteBatch, WriteOptions};
use walden::Result;

use crate::peer::{Peer, failed, id_of};

struct RocksDb {
    database: DB,
    durable: bool,
}

pub(super) fn open(dir: &Path, durable: bool) -> Result<Box<dyn Peer>> {
    let database = DB::open_default(dir).map_err(|error| failed("rocksdb", error))?;
    Ok(Box::new(RocksDb { database, durable }))
}

impl Peer for RocksDb {
    fn put(&self, group: &[Arc<[u8]>]) -> Result<()> {
        let mut batch = WriteBatch::default();
        for document in group {
            batch.put(id_of(document), document);
        }
        let mut options = WriteOptions::default();
        options.set_sync(self.durable);
        self.database.write_opt(batch, &options).map_err(|error| failed("rocksdb", error))
    }
}
