//! SQLite: its write-ahead log, `synchronous = FULL` (or `OFF`), one connection behind a lock, since it has
//! one writer in any case. Each row has a number of its own, since a row that is replaced by an equal one
//! would not be written at all.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use parking_lot::Mutex;
use rusqlite::{Connection, params};
use walden::Result;

use crate::peer::{Peer, failed, id_of};

struct Sqlite {
    connection: Mutex<Connection>,
    next: AtomicI64,
}

pub(super) fn open(dir: &Path, durable: bool) -> Result<Box<dyn Peer>> {
    std::fs::create_dir_all(dir).map_err(|error| failed("sqlite", error))?;
    let open = || {
        let connection = Connection::open(dir.join("documents.sqlite"))?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", if durable { "FULL" } else { "OFF" })?;
        let table = "CREATE TABLE IF NOT EXISTS documents (id BLOB PRIMARY KEY, number INTEGER NOT NULL, \
             text BLOB NOT NULL) WITHOUT ROWID";
        connection.execute(table, ()).map(|_| connection)
    };
    let connection = open().map_err(|error: rusqlite::Error| failed("sqlite", error))?;
    Ok(Box::new(Sqlite { connection: Mutex::new(connection), next: AtomicI64::new(0) }))
}

impl Sqlite {
    fn write(&self, group: &[Arc<[u8]>]) -> rusqlite::Result<()> {
        let mut connection = self.connection.lock();
        let transaction = connection.transaction()?;
        {
            let text = "INSERT OR REPLACE INTO documents VALUES (?1, ?2, ?3)";
            let mut insert = transaction.prepare_cached(text)?;
            for document in group {
                let number = self.next.fetch_add(1, Ordering::Relaxed);
                insert.execute(params![id_of(document), number, &**document])?;
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
