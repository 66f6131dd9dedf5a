//! What is compared: anything that makes a group of documents durable, and how it is written to.
//!
//! One file an engine. Each writes as its documentation says for durable writes and is left at its defaults
//! else; where it needs help between turns (purging, saving), `settle` gives it, outside the measured time.

use std::error::Error as StdError;
use std::io;
use std::path::Path;
use std::sync::Arc;

use walden::{Error, Result};

use crate::limit::{Groups, Limit, Sink, Way};
use crate::load::{Target, Writer};

/// An engine.
pub(crate) trait Peer: Send + Sync {
    /// Puts the documents as one transaction, by their ids; on the medium when it returns if the engine was
    /// opened so, else handed to the kernel.
    fn put(&self, group: &[Arc<[u8]>]) -> Result<()>;
    /// Finishes what it put off.
    fn settle(&self) -> Result<()> {
        Ok(())
    }
}

/// How an engine is opened, durable or not, in a new directory or in one that it left.
pub(crate) type Open = fn(&Path, bool) -> Result<Box<dyn Peer>>;

/// The id of a document, which stands at the same place in each.
pub(crate) fn id_of(document: &[u8]) -> &[u8] {
    document.get(7..18).unwrap_or_default()
}

/// A failure of an engine.
pub(crate) fn failed(name: &str, error: impl Into<Box<dyn StdError + Send + Sync>>) -> Error {
    Error::io("write to", name, io::Error::other(error))
}

/// Something that takes turns with the others.
pub(crate) trait Contender: Target {
    fn settle(&self) -> Result<()>;

    /// Whether each write is waited for, so that the time of a call says something.
    fn waits(&self) -> bool {
        true
    }
}

/// Documents, and who writes them.
pub(crate) struct Alone {
    pub(crate) peer: Box<dyn Peer>,
    pub(crate) documents: Arc<[Arc<[u8]>]>,
}

impl Target for Alone {
    fn writer(&self, _: bool) -> Writer<'_> {
        Box::new(|number| self.peer.put(self.documents.get(number..=number).unwrap_or_default()))
    }
}

impl Contender for Alone {
    fn settle(&self) -> Result<()> {
        self.peer.settle()
    }
}

/// An engine behind the same plain group commit that the limit has.
struct Behind(Arc<dyn Peer>);

impl Sink for Behind {
    fn commit(&mut self, group: &[Arc<[u8]>]) -> io::Result<()> {
        self.0.put(group).map_err(io::Error::other)
    }
}

/// A group commit in front of a file or of an engine.
pub(crate) struct Grouped<S: Sink> {
    front: Limit<S>,
    peer: Option<Arc<dyn Peer>>,
    documents: Arc<[Arc<[u8]>]>,
    /// Where nothing is waited for, nobody gains from a queue.
    queues: bool,
}

impl Grouped<Groups> {
    pub(crate) fn limit(groups: Groups, documents: Arc<[Arc<[u8]>]>) -> Self {
        let queues = groups.way() != Way::Write;
        Grouped { front: Limit::start(groups), peer: None, documents, queues }
    }
}

/// The engine with a group commit in front of its transactions.
pub(crate) fn grouped(peer: Box<dyn Peer>, documents: Arc<[Arc<[u8]>]>) -> impl Contender {
    let peer: Arc<dyn Peer> = Arc::from(peer);
    Grouped { front: Limit::start(Behind(peer.clone())), peer: Some(peer), documents, queues: true }
}

impl<S: Sink> Target for Grouped<S> {
    fn writer(&self, alone: bool) -> Writer<'_> {
        let client = self.front.client(alone || !self.queues);
        Box::new(move |number| match self.documents.get(number) {
            Some(document) => client.put(document).map_err(|error| failed("a group", error)),
            None => Err(Error::not_found(format!("document {number}"))),
        })
    }
}

impl<S: Sink> Contender for Grouped<S> {
    fn settle(&self) -> Result<()> {
        self.peer.as_ref().map_or(Ok(()), |peer| peer.settle())
    }
}
