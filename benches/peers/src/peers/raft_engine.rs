//! raft-engine: a batch of keys and values in one region, written with or without `sync`.

use std::path::Path;
use std::sync::Arc;

use raft_engine::{Config, Engine, LogBatch};
use walden::Result;

use crate::peer::{Peer, failed, id_of};

const REGION: u64 = 1;

struct RaftEngine {
    engine: Engine,
    durable: bool,
}

pub(super) fn open(dir: &Path, durable: bool) -> Result<Box<dyn Peer>> {
    let config = Config { dir: dir.display().to_string(), ..Config::default() };
    let engine = Engine::open(config).map_err(|error| failed("raft-engine", error))?;
    Ok(Box::new(RaftEngine { engine, durable }))
}

impl Peer for RaftEngine {
    fn put(&self, group: &[Arc<[u8]>]) -> Result<()> {
        let mut batch = LogBatch::with_capacity(group.len());
        let mut put = || {
            for document in group {
                batch.put(REGION, id_of(document).to_vec(), document.to_vec())?;
            }
            self.engine.write(&mut batch, self.durable).map(drop)
        };
        put().map_err(|error: raft_engine::Error| failed("raft-engine", error))
    }

    fn settle(&self) -> Result<()> {
        self.engine.purge_expired_files().map(drop).map_err(|error| failed("raft-engine", error))
    }
}
