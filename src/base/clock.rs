//! Time and randomness, handed in, so that a test can step the whole engine from a seed.
//!
//! Nothing orders by this clock: order comes from LSNs alone. Wall time only names backups, fills
//! `last_saved`, and is advisory in the log.

use std::fmt;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A point in wall time: nanoseconds since the Unix epoch, UTC.
///
/// ```
/// use walden::Timestamp;
/// assert_eq!(Timestamp(1_704_103_200_000_000_000).to_string(), "2024-01-01T10:00:00Z");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// Reads an RFC 3339 time; `None` where it is not one.
    ///
    /// ```
    /// use walden::Timestamp;
    /// assert_eq!(Timestamp::parse("1970-01-01T00:00:01Z"), Some(Timestamp(1_000_000_000)));
    /// assert_eq!(Timestamp::parse("yesterday"), None);
    /// ```
    pub fn parse(text: &str) -> Option<Self> {
        let nanos = text.parse::<jiff::Timestamp>().ok()?.as_nanosecond();
        i64::try_from(nanos).ok().map(Timestamp)
    }
}

impl fmt::Display for Timestamp {
    /// RFC 3339 in UTC, with as many digits of the second as are needed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_nanosecond(i128::from(self.0)) {
            Ok(time) => time.fmt(f),
            Err(_) => write!(f, "{} ns", self.0),
        }
    }
}

/// Where the engine gets the time from.
pub trait Clock: fmt::Debug + Send + Sync {
    /// Wall time. It may jump either way.
    fn now(&self) -> Timestamp;
    /// Time since an arbitrary start. It never goes back.
    fn monotonic(&self) -> Duration;
}

/// The clock of the operating system.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock {
    start: Instant,
}

impl Default for SystemClock {
    fn default() -> Self {
        SystemClock { start: Instant::now() }
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let nanos = match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(since) => i64::try_from(since.as_nanos()).unwrap_or(i64::MAX),
            Err(before) => {
                i64::try_from(before.duration().as_nanos()).map_or(i64::MIN, |nanos| -nanos)
            }
        };
        Timestamp(nanos)
    }

    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }
}

/// Where the engine gets random numbers from (store ids and incarnation nonces).
pub trait Entropy: fmt::Debug + Send + Sync {
    /// A number nobody can have used before.
    fn next_u64(&self) -> std::io::Result<u64>;
}

/// The random source of the operating system.
#[derive(Clone, Copy, Debug, Default)]
pub struct OsEntropy;

impl Entropy for OsEntropy {
    fn next_u64(&self) -> std::io::Result<u64> {
        getrandom::u64().map_err(std::io::Error::from)
    }
}
