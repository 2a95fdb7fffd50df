//! Every bound of the S3 port, beside those of files and of the port's connections.

use std::time::Duration;

/// Most requests in progress. Those beyond are told to slow down, which every S3 client does.
pub(super) const REQUESTS_MAX: usize = 2048;
/// Largest body that is XML: ten thousand parts with their checksums take two to three MiB, a thousand keys less.
pub(super) const XML_BODY_BYTES_MAX: usize = 4 << 20;
/// How much of a body that is too large is read and thrown away.
pub(super) const DRAINED_BYTES_MAX: usize = 64 << 20;
/// Requests with such a body at once: 256 MiB together. Others wait.
pub(super) const XML_REQUESTS_MAX: usize = 64;
/// Largest signed chunk of a streamed upload. It is held in memory until its signature has been checked; the usual
/// sizes are 64 KiB to 1 MiB. Unsigned chunks are passed on in the pieces that they arrive in, so they may have any size.
pub(super) const SIGNED_CHUNK_BYTES_MAX: u32 = 16 << 20;
/// Longest life of a presigned address, as in S3.
pub(super) const PRESIGNED_LIFE_MAX: Duration = Duration::from_secs(7 * 24 * 3600);
/// Smallest part of an upload in parts, but for the last, as in S3.
pub(super) const PART_BYTES_MIN: u64 = 5 << 20;
/// Largest part, as in S3.
pub(super) const PART_BYTES_MAX: u64 = 5 << 30;
/// Longest id of an upload that is looked for.
pub(super) const UPLOAD_ID_BYTES_MAX: usize = 128;
/// Most keys of one request to delete, as in S3.
pub(super) const DELETE_KEYS_MAX: usize = 1000;
/// Deletes of such a request that are under way together.
pub(super) const DELETES_AT_ONCE: usize = 16;
/// Longest wait for news of a key or an environment that this node does not know.
pub(super) const CATCH_UP_TIMEOUT: Duration = Duration::from_secs(1);
/// What a connection reads at once, and so the most bytes of headers too: bodies of many MiB arrive here.
pub(super) const READ_BYTES_MAX: usize = 256 << 10;
