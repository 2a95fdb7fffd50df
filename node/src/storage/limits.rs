//! Every bound of files, with its default.

use std::time::Duration;

/// Longest path, as in S3.
pub const PATH_BYTES_MAX: usize = 1024;
/// Chunks that a manifest names itself, 36 bytes each; a larger file names them in lists that are chunks too.
pub const INLINE_CHUNKS_MAX: usize = 4096;
/// Chunks that such a list names.
pub const LIST_CHUNKS_MAX: usize = 16_384;
/// Name and value of all metadata of a file, as in S3.
pub const METADATA_BYTES_MAX: usize = 2048;
/// Longest media type.
pub const CONTENT_TYPE_BYTES_MAX: usize = 256;
/// Most files of one page of a listing, as in S3.
pub const LIST_FILES_MAX: usize = 1000;
/// Parts of an upload, as in S3.
pub const PARTS_MAX: u32 = 10_000;

/// Bounds that a node can be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StorageLimits {
    /// Largest file. The lists of a manifest allow more.
    pub file_bytes_max: u64,
    /// Largest file that an end user uploads.
    pub user_file_bytes_max: u64,
    /// Uploads that a node takes at once.
    pub uploads_max: usize,
    /// Downloads that a node serves at once.
    pub downloads_max: usize,
    /// Longest pause in a body that arrives, or in one that is taken.
    pub idle_timeout: Duration,
    /// Longest an upload may take, pauses or not; well below the grace of chunks that nothing names yet.
    pub upload_timeout: Duration,
    /// How long an upload in parts that nobody goes on with is kept.
    pub parts_life: Duration,
    /// How long one call of the document database may take.
    pub request_timeout: Duration,
    /// Life of an address to upload to.
    pub upload_link_life: Duration,
    /// Life of an address to read from, unless asked for another.
    pub download_link_life: Duration,
    /// Longest life that may be asked for.
    pub download_link_life_max: Duration,
    /// How long deleted files can be restored.
    pub retention: Duration,
}

impl Default for StorageLimits {
    fn default() -> Self {
        Self {
            file_bytes_max: 1 << 40,
            user_file_bytes_max: 5 << 30,
            uploads_max: 256,
            downloads_max: 1024,
            idle_timeout: Duration::from_secs(60),
            upload_timeout: Duration::from_secs(6 * 3600),
            parts_life: Duration::from_secs(7 * 24 * 3600),
            request_timeout: Duration::from_secs(12),
            upload_link_life: Duration::from_secs(3600),
            download_link_life: Duration::from_secs(24 * 3600),
            download_link_life_max: Duration::from_secs(7 * 24 * 3600),
            retention: Duration::from_secs(7 * 24 * 3600),
        }
    }
}
