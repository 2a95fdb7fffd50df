//! Bounds of the gRPC service. What is generous here is so for administrators and operators: nobody else gets in.

use std::time::Duration;

/// Content of a file that is put in one message. A larger one is asked about by hash first.
pub(super) const SMALL_FILE_BYTES_MAX: usize = 64 << 10;
/// Chunks of one message: what clients send together, and names of them.
pub(super) const MESSAGE_BYTES_MAX: usize = (4 << 20) + (256 << 10);
/// Chunks that one message sends or asks about.
pub(super) const MESSAGE_CHUNKS_MAX: usize = 4096;
/// Content of one message of a download.
pub(super) const CONTENT_BYTES_MAX: usize = 256 << 10;
/// Messages with content that are stored at once, 4 MiB each; the others wait, and their senders with them.
pub(super) const WRITES_MAX: usize = 32;
/// Longest such wait.
pub(super) const WRITE_WAIT: Duration = Duration::from_secs(10);
/// Pieces, 36 bytes each, for which a commit takes one unit of [`COMMIT_UNITS_MAX`].
pub(super) const COMMIT_UNIT_PIECES: usize = 16_384;
/// Units of all commits at once: 8 Mi pieces in 300 MB, or a file of 256 GiB cut into chunks of 32 KiB.
pub(super) const COMMIT_UNITS_MAX: usize = 512;
/// Longest that a message of a commit may keep its node waiting.
pub(super) const COMMIT_PAUSE_MAX: Duration = Duration::from_secs(60);
/// Checks of all files at once: each of them keeps disks busy.
pub(super) const VERIFICATIONS_MAX: usize = 1;
/// How often a check reports.
pub(super) const REPORT_INTERVAL: Duration = Duration::from_millis(250);
/// Longest that a call for an environment that is not known here waits for this node to catch up with the cluster.
pub(super) const CATCH_UP_TIMEOUT: Duration = Duration::from_secs(1);
