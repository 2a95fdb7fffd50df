//! Every bound of the SDK, in one place. What a caller may want to change is in [`Options`].

use std::time::Duration;

/// Most requests in one frame: beyond this a frame only delays its first request.
pub(crate) const FRAME_REQUESTS_MAX: usize = 256;

/// A frame takes no further request once it holds this much. One request may be larger by itself.
pub(crate) const FRAME_BYTES_MAX: usize = 1 << 20;

/// Largest message accepted from a node: a page of results is far below.
pub(crate) const MESSAGE_BYTES_MAX: usize = 64 << 20;

/// Requests of one client that may be unanswered at once. Further callers wait their turn.
pub(crate) const IN_FLIGHT_MAX: u32 = 1024;

/// A request counts as one in flight for each started piece of this size, so that
/// [`IN_FLIGHT_MAX`] also bounds memory: 64 MiB a client.
pub(crate) const IN_FLIGHT_UNIT_BYTES: usize = 64 << 10;

/// Requests that wait to be put into a frame, for each connection.
pub(crate) const QUEUE_REQUESTS_MAX: usize = 1024;

/// HTTP/2 window of the stream and of the connection. The default of 64 KiB stalls a stream that
/// carries pages of documents for many callers.
pub(crate) const WINDOW_BYTES: u32 = 8 << 20;

/// First pause before the same request is sent again, after every endpoint was tried once.
pub(crate) const BACKOFF_MIN: Duration = Duration::from_millis(10);

/// Longest such pause: below an election, so that a new leader is found soon after it exists.
pub(crate) const BACKOFF_MAX: Duration = Duration::from_millis(500);

/// How long an endpoint that could not be connected to is left alone, at first and at most.
pub(crate) const RECONNECT_MIN: Duration = Duration::from_millis(50);

/// See [`RECONNECT_MIN`].
pub(crate) const RECONNECT_MAX: Duration = Duration::from_secs(2);

/// A session unused for this long is replaced instead of used: the cluster may have dropped it, and
/// a new one costs a round trip while an expired one costs the caller an error.
pub(crate) const SESSION_IDLE_MAX: Duration = Duration::from_secs(300);

/// Largest window of a session that is believed.
pub(crate) const SESSION_WINDOW_MAX: u64 = 65_536;

/// Time between the node's deadline and the caller's, so that the node's own answer, which says more than a
/// timeout can, still arrives. A tenth of short deadlines.
pub(crate) const DEADLINE_MARGIN_MAX: Duration = Duration::from_millis(100);

/// Documents asked for with one page of a streamed find.
pub(crate) const PAGE_DOCUMENTS: u64 = 1000;

/// Content of files that one client may have on its way to the cluster, in units of [`IN_FLIGHT_UNIT_BYTES`]: 32 MiB.
pub(crate) const FILE_IN_FLIGHT_MAX: u32 = 512;

/// HTTP/2 windows of the connection for files. That of the connection is many times that of a stream, so that
/// downloads whose readers have paused leave room for everything else.
pub(crate) const FILE_STREAM_WINDOW_BYTES: u32 = 4 << 20;

/// See [`FILE_STREAM_WINDOW_BYTES`].
pub(crate) const FILE_CONNECTION_WINDOW_BYTES: u32 = 64 << 20;

/// Content that is cut, asked about and sent together, unless one chunk may be larger.
pub(crate) const FILE_BATCH_BYTES: usize = 2 << 20;

/// Content of one message, unless one chunk alone is larger.
pub(crate) const FILE_MESSAGE_BYTES: usize = 4 << 20;

/// Batches of one upload that are on their way at once. With the batch that is being cut, this bounds the memory of an
/// upload to five batches.
pub(crate) const FILE_BATCHES_MAX: usize = 4;

/// How often the connection for files is probed, and how long a probe may stay unanswered: content on a slow line is in
/// its way.
pub(crate) const FILE_KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(5);

/// See [`FILE_KEEP_ALIVE_INTERVAL`].
pub(crate) const FILE_KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(15);

/// Chunks of one batch: bounds what is asked in one question where chunks are tiny.
pub(crate) const FILE_BATCH_CHUNKS_MAX: usize = 1024;

/// Pieces that one message of a commit names, 36 bytes each.
pub(crate) const FILE_COMMIT_PIECES: usize = 16_384;

/// Least time for what moves content, however short the deadline of a client is: a batch over a slow line takes long.
pub(crate) const FILE_TRANSFER_DEADLINE_MIN: Duration = Duration::from_secs(120);

/// How often in a row a download goes on elsewhere without having received anything.
pub(crate) const FILE_RESUMES_MAX: u32 = 8;

/// Largest chunk that a node may ask for.
pub(crate) const FILE_CHUNK_BYTES_MAX: usize = 16 << 20;

/// Most endpoints of a client.
pub(crate) const ENDPOINTS_MAX: usize = 64;

/// Times that matter to callers. The rest is fixed.
#[derive(Debug, Clone)]
pub struct Options {
    /// How long a caller waits for an answer, all attempts together.
    pub deadline: Duration,
    /// How long one attempt to connect may take.
    pub connect_timeout: Duration,
    /// How often a connection is probed, also while nobody asks anything.
    pub keep_alive_interval: Duration,
    /// How long a probe may stay unanswered before the connection counts as lost and its requests
    /// move to another endpoint.
    pub keep_alive_timeout: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            deadline: Duration::from_secs(10),
            connect_timeout: Duration::from_secs(2),
            keep_alive_interval: Duration::from_secs(2),
            keep_alive_timeout: Duration::from_secs(3),
        }
    }
}
