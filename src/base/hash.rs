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

    /// Reads 32 lower-case hexadecimal digits; `None` where they are not that.
    pub fn parse(text: &str) -> Option<Self> {
        parse_hex(text).map(ContentHash)
    }
}

/// Computes a [`ContentHash`] of bytes that come in pieces.
#[derive(Clone, Default)]
pub struct ContentHasher(XxHash3_128);

impl ContentHasher {
    /// Adds the next piece.
    pub fn write(&mut self, bytes: &[u8]) {
        self.0.write(bytes);
    }

    /// The hash of all pieces, one after the other.
    pub fn finish(&self) -> ContentHash {
        ContentHash(self.0.finish_128())
    }
}

impl fmt::Debug for ContentHasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ContentHasher").field(&self.finish()).finish()
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
