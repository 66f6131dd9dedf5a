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
    let open = |name: &str, way: Way| -> Result<Box<dyn Contender>> {
        let store = Store::open(session.path(name))?;
        Ok(Box::new(Ahead { store, documents: documents.clone(), way }))
    };
    Ok([
        (format!("walden, {AHEAD} submitted"), open("walden-submitting", Way::Submit)?),
        (format!("walden, {AHEAD} a transaction"), open("walden-transacting", Way::Transact)?),
    ])
}

#[derive(Clone, Copy)]
enum Way {
    Submit,
    Transact,
}

struct Ahead {
    store: Store,
    documents: Documents,
    way: Way,
}

impl Ahead {
    fn text(&self, number: usize) -> Result<&str> {
        let document = self.documents.get(number).map(|document| &**document).unwrap_or_default();
        std::str::from_utf8(document).map_err(|error| failed("walden", error))
    }
}

impl Target for Ahead {
    fn writer(&self, _: bool) -> Writer<'_> {
        match self.way {
            Way::Submit => {
                let mut submitted =
                    Submitted { ahead: self, under_way: VecDeque::with_capacity(AHEAD) };
                Box::new(move |number| {
                    submitted.put(number).inspect_err(|_| submitted.under_way.clear())
                })
            }
            Way::Transact => {
                let mut gathered = Gathered { ahead: self, numbers: Vec::with_capacity(AHEAD) };
                Box::new(move |number| gathered.put(number))
            }
        }
    }
}

impl Contender for Ahead {
    fn settle(&self) -> Result<()> {
        self.store.checkpoint().map(drop)
    }

    fn waits(&self) -> bool {
        false
    }
}

/// What a thread has submitted and not waited for, oldest first; nothing after a failure.
struct Submitted<'a> {
    ahead: &'a Ahead,
    under_way: VecDeque<Commit>,
}

impl Submitted<'_> {
    fn put(&mut self, number: usize) -> Result<()> {
        let Submitted { ahead, under_way } = self;
        if under_way.len() == AHEAD
            && let Some(oldest) = under_way.pop_front()
        {
            oldest.wait()?;
        }
        let text = ahead.text(number)?;
        under_way.push_back(ahead.store.submit(Durability::Sync, |tx| tx.save_task_json(text))?);
        Ok(())
    }
}

impl Drop for Submitted<'_> {
    fn drop(&mut self) {
        for commit in self.under_way.drain(..) {
            commit.wait().expect("what was submitted becomes durable");
        }
    }
}

/// What a thread will put in one transaction; nothing after a failure.
struct Gathered<'a> {
    ahead: &'a Ahead,
    numbers: Vec<usize>,
}

impl Gathered<'_> {
    fn put(&mut self, number: usize) -> Result<()> {
        self.numbers.push(number);
        if self.numbers.len() < AHEAD { Ok(()) } else { self.commit() }
    }

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
