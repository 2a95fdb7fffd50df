//! Every bound of realtime, in one place.

use std::time::Duration;

/// Bounds of sockets, watches and what waits for them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Open sockets of a node; more are refused with 503.
    pub sockets_max: usize,
    /// Watches of a node, those being opened included.
    pub watches_max: usize,
    /// Watches of one socket.
    pub watches_per_socket_max: usize,
    /// Environments that one socket may log in to: some clients share a socket between their apps.
    pub logins_per_socket_max: usize,
    /// Watches of one socket that are being opened or resumed at one time; further ones wait.
    pub openings_per_socket_max: usize,
    /// Largest message from a client. The largest that clients send carries a query.
    pub message_bytes_max: usize,
    /// Largest query of a watch after decoding. It travels in the watch's query id.
    pub query_bytes_max: usize,
    /// Documents in the result of a watch, as the original documents it; also the greatest `limit`.
    pub documents_max: usize,
    /// Bytes of the documents in the first result of a watch, and of those that one with a limit keeps.
    pub result_bytes_max: usize,
    /// Documents behind the end of a limited result that are kept to fill it up without a query.
    pub spare_documents: usize,
    /// Events that wait for one watch's socket; beyond it the watch must resume.
    pub queued_events_max: usize,
    /// Bytes that wait for one socket.
    pub queued_bytes_per_socket_max: usize,
    /// Bytes that wait for all sockets.
    pub queued_bytes_max: usize,
    /// Events of one message; it is closed there or at the next bound.
    pub message_events_max: usize,
    /// Bytes of events of one message; one event may be larger.
    pub message_events_bytes_max: usize,
    /// Events that one answer to a resumption carries; for the rest the watch resumes again.
    pub resumed_events_max: usize,
    /// Bytes of these events.
    pub resumed_bytes_max: usize,
    /// Watches that wait for one pass over the change log to resume; more are refused.
    pub resumptions_max: usize,
    /// Changes that one read of the change log returns.
    pub changes_max: usize,
    /// Bytes of changes that one read of the change log returns; one change may be larger.
    pub changes_bytes_max: usize,
    /// First results being read at one time on a node.
    pub first_results_max: usize,
    /// Time to answer a message that opens or resumes a watch: just under the 10 s of the clients.
    pub answer_timeout: Duration,
    /// Time for the first login of a socket.
    pub login_timeout: Duration,
    /// A socket from which nothing came for this long is closed; clients ping every 10 s.
    pub idle_timeout: Duration,
    /// Time for a client to take one message.
    pub write_timeout: Duration,
    /// Time for both sides to close a socket in order.
    pub close_timeout: Duration,
    /// Pause between looks whether a caller may still watch.
    pub standing_interval: Duration,
    /// Life of a ticket, as long as clients keep one.
    pub ticket_life: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            sockets_max: 4096,
            watches_max: 20_000,
            watches_per_socket_max: 200,
            logins_per_socket_max: 16,
            openings_per_socket_max: 8,
            message_bytes_max: 256 << 10,
            query_bytes_max: 32 << 10,
            documents_max: 5000,
            result_bytes_max: 16 << 20,
            spare_documents: 100,
            queued_events_max: 2000,
            queued_bytes_per_socket_max: 32 << 20,
            queued_bytes_max: 512 << 20,
            message_events_max: 1000,
            message_events_bytes_max: 1 << 20,
            resumed_events_max: 2000,
            resumed_bytes_max: 8 << 20,
            resumptions_max: 20_000,
            changes_max: 512,
            changes_bytes_max: 1 << 20,
            first_results_max: 8,
            answer_timeout: Duration::from_secs(9),
            login_timeout: Duration::from_secs(15),
            idle_timeout: Duration::from_secs(60),
            write_timeout: Duration::from_secs(10),
            close_timeout: Duration::from_secs(1),
            standing_interval: Duration::from_secs(3),
            ticket_life: Duration::from_secs(75),
        }
    }
}
