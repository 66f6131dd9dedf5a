//! Walden, at its defaults: checkpoints and mirror on.

use std::path::Path;
use std::sync::Arc;

use walden::{Durability, Options, Result, Store};

use crate::peer::{Peer, failed};

struct Walden(Store);

pub(super) fn open(dir: &Path, durable: bool) -> Result<Box<dyn Peer>> {
    let durability = if durable { Durability::Sync } else { Durability::Buffered };
    let options = Options { durability, ..Options::default() };
    Ok(Box::new(Walden(Store::builder(dir).options(options).open()?)))
}

impl Peer for Walden {
    fn put(&self, group: &[Arc<[u8]>]) -> Result<()> {
        let text = |document| std::str::from_utf8(document).map_err(|e| failed("walden", e));
        match group {
            [document] => self.0.save_task_json(text(document)?).map(drop),
            _ => self.0.transaction(|tx| {
                group.iter().try_for_each(|document| tx.save_task_json(text(document)?).map(drop))
            }),
        }
    }

    fn settle(&self) -> Result<()> {
        self.0.checkpoint().map(drop)
    }
}
