//! okaywal: an entry of the log a group; what its checkpoints are told is thrown away. It is a log only, and
//! always durable.

use std::path::Path;
use std::sync::Arc;

use okaywal::{LogVoid, WriteAheadLog};
use walden::{Error, Result};

use crate::peer::{Peer, failed};

struct OkayWal(WriteAheadLog);

pub(super) fn open(dir: &Path, durable: bool) -> Result<Box<dyn Peer>> {
    if !durable {
        let why = "it makes every entry durable".to_owned();
        return Err(Error::Unsupported { what: "okaywal, buffered".to_owned(), why });
    }
    let log = WriteAheadLog::recover(dir, LogVoid).map_err(|error| failed("okaywal", error))?;
    Ok(Box::new(OkayWal(log)))
}

impl Peer for OkayWal {
    fn put(&self, group: &[Arc<[u8]>]) -> Result<()> {
        let put = || {
            let mut entry = self.0.begin_entry()?;
            for document in group {
                entry.write_chunk(document)?;
            }
            entry.commit().map(drop)
        };
        put().map_err(|error: std::io::Error| failed("okaywal", error))
    }
}
