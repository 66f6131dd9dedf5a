//! The 128-bit content hash by which the engine knows its own files again.

use std::fmt;

use twox_hash::XxHash3_128;

/// A 128-bit hash of a file's bytes (XXH3-128 by Yann Collet, seed 0).
///
/// It tells accidental change, not an attacker who wants a collision.
///
/// ```
/// use walden::ContentHash;
/// let hash = ContentHash::of(b"abc");
/// assert_eq!(ContentHash::parse(&hash.to_string()), Some(hash));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContentHash(pub u128);

impl ContentHash {
    /// The hash of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        ContentHash(XxHash3_128::oneshot(bytes))
    }

    /// The hash of `parts`, one after the other, as if they were one piece.
    pub fn of_parts<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut hasher = XxHash3_128::new();
        for part in parts {
            hasher.write(part);
        }
        ContentHash(hasher.finish_128())
    }

    /// Reads 32 lower-case hexadecimal digits; `None` where they are not that.
    pub fn parse(text: &str) -> Option<Self> {
        parse_hex(text).map(ContentHash)
    }
}

impl fmt::Display for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// Reads exactly 32 lower-case hexadecimal digits.
pub(crate) fn parse_hex(text: &str) -> Option<u128> {
    let digits = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    (text.len() == 32 && digits).then(|| u128::from_str_radix(text, 16).ok()).flatten()
}
