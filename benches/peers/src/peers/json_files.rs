//! One JSON file a document: written beside its place, flushed, renamed, and the directory flushed.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use walden::Result;

use crate::peer::{Peer, failed, id_of};

struct JsonFiles {
    dir: PathBuf,
    durable: bool,
    next: AtomicU64,
}

pub(super) fn open(dir: &Path, durable: bool) -> Result<Box<dyn Peer>> {
    fs::create_dir_all(dir).map_err(|error| failed("json-files", error))?;
    Ok(Box::new(JsonFiles { dir: dir.to_owned(), durable, next: AtomicU64::new(0) }))
}

impl JsonFiles {
    fn write(&self, document: &[u8]) -> io::Result<()> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let temporary = self.dir.join(format!("{number}.tmp"));
        let name = String::from_utf8_lossy(id_of(document)).into_owned();
        let mut file = File::create_new(&temporary)?;
        file.write_all(document)?;
        if self.durable {
            file.sync_all()?;
        }
        fs::rename(&temporary, self.dir.join(name + ".json"))?;
        if self.durable { File::open(&self.dir)?.sync_all() } else { Ok(()) }
    }
}

impl Peer for JsonFiles {
    fn put(&self, group: &[Arc<[u8]>]) -> Result<()> {
        let all = group.iter().try_for_each(|document| self.write(document));
        all.map_err(|error| failed("json-files", error))
    }
}
