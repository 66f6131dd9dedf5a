//! The documents that are written, and stores that are filled with them.

use std::path::Path;
use std::time::Duration;

use walden::{Durability, Options, Result, Store};

use crate::session::Plan;

/// So many documents are put as one transaction where it is only about filling a store.
pub(crate) const TOGETHER: usize = 1000;
const NEVER: Duration = Duration::from_secs(86_400 * 365);

pub(crate) fn id(number: usize) -> String {
    format!("task_{number:06}")
}

/// A task of about so many bytes, whose text follows from number and seed.
pub(crate) fn text(number: usize, plan: &Plan) -> String {
    with_status(number, "in_progress", plan)
}

pub(crate) fn with_status(number: usize, status: &str, plan: &Plan) -> String {
    let mut text = format!(r#"{{"id":"{}","status":"{status}","description":""#, id(number));
    let mut state = plan.seed ^ (number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    while text.len() + 2 < plan.value_bytes {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let letter = u8::try_from(state >> 59).unwrap_or_default() % 26;
        text.push(char::from(b'a' + letter));
    }
    text.push_str("\"}");
    text
}

/// Nothing is saved unless it is asked for: only the log has what is written.
pub(crate) fn quiet() -> Options {
    Options {
        checkpoint_interval: NEVER,
        mirror_interval: NEVER,
        checkpoint_log_bytes: u64::MAX,
        ..Options::default()
    }
}

/// Fills a store, durably; gives the bytes of the documents.
pub(crate) fn fill(store: &Store, texts: impl Iterator<Item = String>) -> Result<u64> {
    let mut texts = texts.peekable();
    let mut bytes = 0;
    while texts.peek().is_some() {
        let commit = store.submit(Durability::Buffered, |tx| {
            texts.by_ref().take(TOGETHER).try_for_each(|text| {
                bytes += text.len() as u64;
                tx.save_task_json(&text)
            })
        });
        commit?.wait()?;
    }
    store.sync()?;
    Ok(bytes)
}

/// A new store at its defaults with the documents of these numbers, everything saved.
pub(crate) fn saved(path: &Path, options: Options, count: usize, plan: &Plan) -> Result<Store> {
    let store = Store::builder(path).options(options).open()?;
    fill(&store, (0..count).map(|number| text(number, plan)))?;
    // The log is cut below the last snapshot but one.
    store.checkpoint()?;
    store.save_task_json(&text(0, plan))?;
    store.checkpoint()?;
    Ok(store)
}

/// Leaves a store without saving, as a kill does: what is measured afterwards, if anything, is not it.
pub(crate) fn abandon(store: Store) {
    std::mem::forget(store);
}
