//! What a power cut leaves of everything that was not yet durable: a list of draws, which a mode
//! gives.
//!
//! Each question that a cut leaves open is answered by one draw below a limit, in an order that the
//! state of the disk alone determines: first which changes of names survive, then, file by file in
//! the order of their names, which contents and times. A draw of 0 is always the answer by which
//! less survives. So the draws of any cut can be written down, given back, and made smaller one by
//! one.
//!
//! Invariants: the same state, rules and mode give the same disk on every machine; where nothing is
//! open, nothing is drawn; any list of draws means a disk that the rules allow.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::data::SECTOR_BYTES;
use super::rules::Tearing;

/// What survives of what was not yet durable.
///
/// As a text, for a command that replays a failure:
///
/// ```
/// use walden::fs::sim::CrashMode;
/// for text in ["nothing", "everything", "r93", "c0.0.3.1"] {
///     let mode: CrashMode = text.parse().unwrap();
///     assert_eq!(mode.to_string(), text);
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum CrashMode {
    /// Nothing: every unsynced sector and name is lost.
    Nothing,
    /// Everything but the sectors whose sync failed.
    Everything,
    /// For each file none, all, a prefix or any subset of its unsynced sectors, whole or torn as
    /// [`Tearing`] says, with or without its new length; of the changes to directories none, all, a
    /// prefix, or any subset in which no change comes without those that it builds on
    /// ([`Rules`](super::Rules)). What a failed sync lost may have got through. Drawn from the seed.
    Random(u64),
    /// The draws themselves, each taken modulo its limit, and 0 after the list's end: see
    /// [`SimFs::if_crashed_traced`](super::SimFs::if_crashed_traced). In every draw 0 is the answer
    /// by which less survives, so that an empty list is the same as `Nothing`.
    Choices(Arc<[u32]>),
}

impl fmt::Display for CrashMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CrashMode::Nothing => f.write_str("nothing"),
            CrashMode::Everything => f.write_str("everything"),
            CrashMode::Random(seed) => write!(f, "r{seed}"),
            CrashMode::Choices(draws) => {
                f.write_str("c")?;
                for (at, draw) in draws.iter().enumerate() {
                    write!(f, "{}{draw}", if at == 0 { "" } else { "." })?;
                }
                Ok(())
            }
        }
    }
}

/// A text that is no [`CrashMode`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is none of `nothing`, `everything`, `r<seed>`, `c<draw>.<draw>…`")]
pub struct NoCrashMode(String);

impl FromStr for CrashMode {
    type Err = NoCrashMode;

    fn from_str(text: &str) -> Result<Self, NoCrashMode> {
        let none = || NoCrashMode(text.to_owned());
        if let Some(seed) = text.strip_prefix('r') {
            return seed.parse().map(CrashMode::Random).map_err(|_| none());
        }
        match (text, text.strip_prefix('c')) {
            ("nothing", _) => Ok(CrashMode::Nothing),
            ("everything", _) => Ok(CrashMode::Everything),
            (_, Some("")) => Ok(CrashMode::Choices(Arc::default())),
            (_, Some(draws)) => {
                let draws: Result<_, _> = draws.split('.').map(str::parse).collect();
                draws.map(CrashMode::Choices).map_err(|_| none())
            }
            _ => Err(none()),
        }
    }
}

#[derive(Debug)]
enum Source {
    Least,
    Most,
    /// The state of a 64-bit linear congruential generator, of which the upper half is used.
    Seed(u64),
    List(Arc<[u32]>),
}

/// The draws of one power cut.
#[derive(Debug)]
pub(super) struct Chance {
    source: Source,
    drawn: Vec<u32>,
    tearing: Tearing,
}

/// How much of an unsynced sector reached the medium.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kept {
    pub(super) sector: usize,
    /// So many of its bytes, from its beginning.
    pub(super) bytes: usize,
}

impl Chance {
    pub(super) fn new(mode: &CrashMode, tearing: Tearing) -> Chance {
        let source = match mode {
            CrashMode::Nothing => Source::Least,
            CrashMode::Everything => Source::Most,
            CrashMode::Random(seed) => Source::Seed(seed ^ 0x9e37_79b9_7f4a_7c15),
            CrashMode::Choices(draws) => Source::List(Arc::clone(draws)),
        };
        let mut chance = Chance { source, drawn: Vec::new(), tearing };
        if let CrashMode::Random(_) = mode {
            // Neighbouring seeds begin alike; a few steps drive them apart.
            for _ in 0..4 {
                chance.draw(2);
            }
            chance.drawn.clear();
        }
        chance
    }

    /// The draws so far, without the zeroes at the end.
    pub(super) fn into_draws(mut self) -> Vec<u32> {
        let length = self.drawn.iter().rposition(|draw| *draw != 0).map_or(0, |last| last + 1);
        self.drawn.truncate(length);
        self.drawn
    }

    /// A number below `limit`, which must not be 0.
    pub(super) fn draw(&mut self, limit: u32) -> u32 {
        let draw = match &mut self.source {
            Source::Least => 0,
            Source::Most => limit - 1,
            Source::Seed(state) => {
                *state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                u32::try_from((*state >> 32) % u64::from(limit)).unwrap_or(0)
            }
            Source::List(draws) => draws.get(self.drawn.len()).map_or(0, |draw| draw % limit),
        };
        self.drawn.push(draw);
        draw
    }

    /// Whether something survives.
    pub(super) fn coin(&mut self) -> bool {
        self.draw(2) == 1
    }

    /// Whether something odd happens: never where everything survives, since that mode is there to
    /// show a definite outcome.
    pub(super) fn whim(&mut self) -> bool {
        if matches!(self.source, Source::Most) {
            self.drawn.push(0);
            return false;
        }
        self.coin()
    }

    /// Which of `count` things in their order survive: none, a prefix, any subset, or all.
    pub(super) fn survivors(&mut self, count: usize) -> Vec<bool> {
        if count < 2 {
            return (0..count).map(|_| self.coin()).collect();
        }
        match self.draw(4) {
            0 => vec![false; count],
            1 => {
                let kept = self.draw(u32::try_from(count + 1).unwrap_or(u32::MAX)) as usize;
                (0..count).map(|at| at < kept).collect()
            }
            2 => (0..count).map(|_| self.coin()).collect(),
            _ => vec![true; count],
        }
    }

    /// Which unsynced sectors of a file reach the medium, and how much of each.
    pub(super) fn sectors(&mut self, unsynced: &BTreeSet<usize>) -> Vec<Kept> {
        if unsynced.is_empty() {
            return Vec::new();
        }
        let tearing = self.tearing();
        let unit = |sector: usize| if tearing == Tearing::Page { sector / 8 } else { sector };
        let mut units: Vec<usize> = unsynced.iter().map(|sector| unit(*sector)).collect();
        units.dedup();
        let survivors = self.survivors(units.len());
        let kept: BTreeSet<usize> =
            units.iter().zip(survivors).filter_map(|(unit, kept)| kept.then_some(*unit)).collect();
        let kept = unsynced.iter().copied().filter(|sector| kept.contains(&unit(*sector)));
        let is_torn = tearing == Tearing::Byte;
        kept.map(|sector| {
            let bytes = if is_torn { self.torn() } else { SECTOR_BYTES };
            Kept { sector, bytes }
        })
        .collect()
    }

    /// The tearing of this cut, drawn once, when the first file asks.
    fn tearing(&mut self) -> Tearing {
        if self.tearing == Tearing::Drawn {
            self.tearing = match self.draw(3) {
                0 => Tearing::Sector,
                1 => Tearing::Byte,
                _ => Tearing::Page,
            };
        }
        self.tearing
    }

    /// How many bytes of a torn sector are new: in two of three cases all.
    fn torn(&mut self) -> usize {
        if self.draw(3) == 0 { self.draw(SECTOR_BYTES as u32) as usize } else { SECTOR_BYTES }
    }
}
