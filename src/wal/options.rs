//! What a user of the log can set, and what it counts.

/// Sizes of segments, in bytes, and the way to the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogOptions {
    /// The first segment of an opening (default 256 KiB); each further one doubles.
    pub segment_bytes_min: u64,
    /// The largest, but for a group that needs more (default 64 MiB).
    pub segment_bytes_max: u64,
    /// Whether a group that is to be durable at once goes past the page cache, with one call instead of a
    /// write and a flush, where the file system can do that (`O_DIRECT` and `O_DSYNC`) and is not slower so,
    /// which is measured once in an opening. Default: true. What is durable when does not depend on it.
    pub direct: bool,
    /// A segment that was cut is used again, instead of one that has to be filled with zeroes, if the groups
    /// since the cut before took so many bytes each on the average (default 16 KiB). Each group in such a
    /// segment costs a block of 4096 bytes more. 0: always; `u64::MAX`: never.
    pub reuse_group_bytes: u64,
}

impl Default for LogOptions {
    fn default() -> Self {
        LogOptions {
            segment_bytes_min: 256 << 10,
            segment_bytes_max: 64 << 20,
            direct: true,
            reuse_group_bytes: 16 << 10,
        }
    }
}

/// What the log has done since it was begun.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogStats {
    /// Groups of records written.
    pub groups: u64,
    /// Records written.
    pub records: u64,
    /// Flushes, of all kinds.
    pub flushes: u64,
    /// Bytes written to segments, padding included.
    pub bytes: u64,
    /// Rotations to a new segment.
    pub rotations: u64,
    /// Those of them to a segment whose file was one before.
    pub reused: u64,
}
