//! `torture`: breaks a store on purpose, in one of several ways, and checks what is left.
//!
//! It only chooses the way. It must never touch a directory that it did not make.

mod child;
mod judge;
mod kill;
mod liar;
mod report;
mod sim;
pub(crate) mod worker;

use crate::args::{Format, Torture};
use crate::failure::Outcome;

/// Runs the way that was chosen.
pub(crate) fn torture(format: Format, wanted: &Torture) -> Outcome {
    match wanted.kill {
        Some(kills) => kill::torture(format, kills, wanted),
        None => sim::torture(format, wanted),
    }
}
