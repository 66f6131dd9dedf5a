//! redb: a transaction of immediate durability, or of none.

use std::path::Path;
use std::sync::Arc;

use redb::{Database, Durability, TableDefinition};
use walden::Result;

use crate::peer::{Peer, failed, id_of};

const DOCUMENTS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("documents");

struct Redb {
    database: Database,
    durability: Durability,
}

pub(super) fn open(dir: &Path, durable: bool) -> Result<Box<dyn Peer>> {
    std::fs::create_dir(dir).map_err(|error| failed("redb", error))?;
    let database = Database::create(dir.join("documents.redb"));
    let durability = if durable { Durability::Immediate } else { Durability::None };
    Ok(Box::new(Redb { database: database.map_err(|error| failed("redb", error))?, durability }))
}

impl Redb {
    fn write(&self, group: &[Arc<[u8]>]) -> Result<(), redb::Error> {
        let mut write = self.database.begin_write()?;
        write.set_durability(self.durability)?;
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
