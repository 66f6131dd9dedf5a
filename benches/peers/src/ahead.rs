//! Walden, written to by threads that do not wait for each put: many under way, or many in one transaction.
//!
//! Whoever waits sleeps and is woken once for many puts. Puts count when they are durable: what a thread has
//! not waited for at the end of its turn is waited for within the turn's time.

use std::collections::VecDeque;
use std::sync::Arc;

use walden::{Commit, Durability, Result, Store};

use crate::load::{Target, Writer};
use crate::peer::{Contender, failed};
use crate::session::Session;

/// So many puts a thread has under way, or in one transaction.
const AHEAD: usize = 32;

type Documents = Arc<[Arc<[u8]>]>;

/// The two ways, by their names, with a store each.
pub(crate) fn contenders(
    session: &Session,
    documents: &Documents,
) -> Result<[(String, Box<dyn Contender>); 2]> {
    let open = |way: &str| -> Result<Ahead> {
        let store = Store::open(session.path(&format!("walden-{way}")))?;
        Ok(Ahead { store, documents: documents.clone() })
    };
    Ok([
        (format!("walden, {AHEAD} submitted"), Box::new(Submitting(open("submitting")?))),
        (format!("walden, {AHEAD} a transaction"), Box::new(Transacting(open("transacting")?))),
    ])
}

struct Ahead {
    store: Store,
    documents: Documents,
}

impl Ahead {
    fn text(&self, number: usize) -> Result<&str> {
        let document = self.documents.get(number).map(|document| &**document).unwrap_or_default();
        std::str::from_utf8(document).map_err(|error| failed("walden", error))
    }
}

struct Submitting(Ahead);

impl Target for Submitting {
    fn writer(&self, _: bool) -> Writer<'_> {
        let Submitting(ahead) = self;
        let mut under_way = UnderWay(VecDeque::with_capacity(AHEAD));
        Box::new(move |number| {
            if under_way.0.len() == AHEAD
                && let Some(oldest) = under_way.0.pop_front()
            {
                oldest.wait()?;
            }
            let text = ahead.text(number)?;
            let commit = ahead.store.submit(Durability::Sync, |tx| tx.save_task_json(text))?;
            under_way.0.push_back(commit);
            Ok(())
        })
    }
}

impl Contender for Submitting {
    fn settle(&self) -> Result<()> {
        self.0.store.checkpoint().map(drop)
    }

    fn waits(&self) -> bool {
        false
    }
}

/// Oldest first.
struct UnderWay(VecDeque<Commit>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        for commit in self.0.drain(..) {
            commit.wait().expect("what was submitted becomes durable");
        }
    }
}

struct Transacting(Ahead);

impl Target for Transacting {
    fn writer(&self, _: bool) -> Writer<'_> {
        let mut gathered = Gathered { ahead: &self.0, numbers: Vec::with_capacity(AHEAD) };
        Box::new(move |number| {
            gathered.numbers.push(number);
            if gathered.numbers.len() < AHEAD { Ok(()) } else { gathered.commit() }
        })
    }
}

impl Contender for Transacting {
    fn settle(&self) -> Result<()> {
        self.0.store.checkpoint().map(drop)
    }

    fn waits(&self) -> bool {
        false
    }
}

struct Gathered<'a> {
    ahead: &'a Ahead,
    numbers: Vec<usize>,
}

impl Gathered<'_> {
    fn commit(&mut self) -> Result<()> {
        let Gathered { ahead, numbers } = self;
        ahead.store.transaction(|tx| {
            numbers.drain(..).try_for_each(|number| tx.save_task_json(ahead.text(number)?))
        })
    }
}

impl Drop for Gathered<'_> {
    fn drop(&mut self) {
        if !self.numbers.is_empty() {
            self.commit().expect("what was gathered becomes durable");
        }
    }
}
