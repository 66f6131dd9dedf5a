//! SQLite: its write-ahead log, `synchronous = FULL` (or `OFF`), one connection behind a lock, since it has
//! one writer in any case.

use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;
use rusqlite::{Connection, params};
use walden::Result;

use crate::peer::{Peer, failed, id_of};

struct Sqlite(Mutex<Connection>);

pub(super) fn open(dir: &Path, durable: bool) -> Result<Box<dyn Peer>> {
    std::fs::create_dir(dir).map_err(|error| failed("sqlite", error))?;
    let open = || {
        let connection = Connection::open(dir.join("documents.sqlite"))?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", if durable { "FULL" } else { "OFF" })?;
        let table =
            "CREATE TABLE documents (id BLOB PRIMARY KEY, text BLOB NOT NULL) WITHOUT ROWID";
        connection.execute(table, ()).map(|_| connection)
    };
    let connection = open().map_err(|error: rusqlite::Error| failed("sqlite", error))?;
    Ok(Box::new(Sqlite(Mutex::new(connection))))
}

impl Sqlite {
    fn write(&self, group: &[Arc<[u8]>]) -> rusqlite::Result<()> {
        let mut connection = self.0.lock();
        let transaction = connection.transaction()?;
        {
            let text = "INSERT OR REPLACE INTO documents VALUES (?1, ?2)";
            let mut insert = transaction.prepare_cached(text)?;
            for document in group {
                insert.execute(params![id_of(document), &**document])?;
            }
        }
        transaction.commit()
    }
}

impl Peer for Sqlite {
    fn put(&self, group: &[Arc<[u8]>]) -> Result<()> {
        self.write(group).map_err(|error| failed("sqlite", error))
    }
}
