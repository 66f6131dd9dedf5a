//! redb: a transaction of immediate durability. One of none need not survive a kill, so there is no buffered
//! one to compare with.

use std::path::Path;
use std::sync::Arc;

use redb::{Database, TableDefinition};
use walden::{Error, Result};

use crate::peer::{Peer, failed, id_of};

const DOCUMENTS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("documents");

struct Redb(Database);

pub(super) fn open(dir: &Path, durable: bool) -> Result<Box<dyn Peer>> {
    if !durable {
        let why = "a transaction without durability need not survive a kill".to_owned();
        return Err(Error::Unsupported { what: "redb, buffered".to_owned(), why });
    }
    std::fs::create_dir_all(dir).map_err(|error| failed("redb", error))?;
    let database = Database::create(dir.join("documents.redb"));
    Ok(Box::new(Redb(database.map_err(|error| failed("redb", error))?)))
}

impl Redb {
    fn write(&self, group: &[Arc<[u8]>]) -> Result<(), redb::Error> {
        let write = self.0.begin_write()?;
        {
            let mut documents = write.open_table(DOCUMENTS)?;
            for document in group {
                documents.insert(id_of(document), &**document)?;
            }
        }
        Ok(write.commit()?)
    }
}

impl Peer for Redb {
    fn put(&self, group: &[Arc<[u8]>]) -> Result<()> {
        self.write(group).map_err(|error| failed("redb", error))
    }
}
