//! LMDB by heed: a write transaction, which flushes when it commits unless told not to.

#![expect(unsafe_code, reason = "heed maps a file, and opening is unsafe for that")]

use std::path::Path;
use std::sync::Arc;

use heed::types::Bytes;
use heed::{Database, Env, EnvFlags, EnvOpenOptions};
use walden::Result;

use crate::peer::{Peer, failed, id_of};

const MAP_BYTES: usize = 4 << 30;

struct Heed {
    env: Env,
    documents: Database<Bytes, Bytes>,
}

pub(super) fn open(dir: &Path, durable: bool) -> Result<Box<dyn Peer>> {
    std::fs::create_dir_all(dir).map_err(|error| failed("heed", error))?;
    let mut options = EnvOpenOptions::new();
    options.map_size(MAP_BYTES);
    let mut open = || {
        if !durable {
            // SAFETY: what a power cut leaves of this environment is never read.
            unsafe { options.flags(EnvFlags::NO_SYNC) };
        }
        // SAFETY: the directory is this run's own and new; nobody else opens or changes its files.
        let env = unsafe { options.open(dir) }?;
        let mut write = env.write_txn()?;
        let documents = env.create_database(&mut write, None)?;
        write.commit()?;
        Ok(Heed { env, documents })
    };
    Ok(Box::new(open().map_err(|error: heed::Error| failed("heed", error))?))
}

impl Heed {
    fn write(&self, group: &[Arc<[u8]>]) -> heed::Result<()> {
        let mut write = self.env.write_txn()?;
        for document in group {
            self.documents.put(&mut write, id_of(document), document)?;
        }
        write.commit()
    }
}

impl Peer for Heed {
    fn put(&self, group: &[Arc<[u8]>]) -> Result<()> {
        self.write(group).map_err(|error| failed("heed", error))
    }
}
