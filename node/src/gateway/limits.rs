//! Every bound of the gateway, in one place.

use std::time::Duration;

/// Bounds of the action protocol and of the REST of apps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Largest request body. The original documents 1 MiB; a batch of documents deserves more.
    pub body_bytes_max: usize,
    /// How much of a body that is too large is read and thrown away, so that the client gets to
    /// read the refusal: a connection that breaks under a write crashes the processes of some clients.
    pub body_drain_bytes_max: usize,
    /// All bodies being held at one time; more are refused.
    pub body_bytes_in_flight_max: usize,
    /// Time for a body to arrive after its headers.
    pub body_read_timeout: Duration,
    /// Sum of the names and values of all headers.
    pub header_bytes_max: usize,
    /// Nesting of arrays and objects in JSON.
    pub json_depth_max: usize,
    /// Top-level members of a body. The largest action has about twenty.
    pub body_members_max: usize,
    /// Largest document or query after decoding. Room for the wrapping of a document of 16 MiB.
    pub bson_bytes_max: usize,
    /// Documents in one insert.
    pub insert_documents_max: usize,
    /// Documents returned by one read when the client asks for no number.
    pub find_limit_default: u64,
    /// Most documents returned by one read; a larger number is lowered, as the clients do.
    pub find_limit_max: u64,
    /// Largest answer.
    pub answer_bytes_max: usize,
    /// Requests being worked on at one time; more are refused.
    pub requests_in_flight_max: usize,
    /// The node answers by then. With the grace below just under the 15 s after which clients give up.
    pub request_deadline: Duration,
    /// How long after the deadline the gateway itself answers for a node that did not.
    pub request_deadline_grace: Duration,
    /// Longest life a request may claim for its signature.
    pub signature_life_max_seconds: u64,
    /// Difference between the clocks of client and server that is forgiven.
    pub clock_skew_max_seconds: u64,
    /// Longest access token or API key that is looked at.
    pub access_token_bytes_max: usize,
    /// Commands in one `runCommands`.
    pub commands_max: usize,
    /// Longest request id taken over from a client.
    pub request_id_bytes_max: usize,
    /// Longest collection or environment name that is looked at.
    pub name_bytes_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes_max: 8 << 20,
            body_drain_bytes_max: 256 << 20,
            body_bytes_in_flight_max: 256 << 20,
            body_read_timeout: Duration::from_secs(10),
            header_bytes_max: 32 << 10,
            json_depth_max: 100,
            body_members_max: 128,
            bson_bytes_max: (16 << 20) + (64 << 10),
            insert_documents_max: 1000,
            find_limit_default: 100,
            find_limit_max: 1000,
            answer_bytes_max: 64 << 20,
            requests_in_flight_max: 4096,
            request_deadline: Duration::from_millis(14_000),
            request_deadline_grace: Duration::from_millis(500),
            signature_life_max_seconds: 3600,
            clock_skew_max_seconds: 300,
            access_token_bytes_max: 4096,
            commands_max: 100,
            request_id_bytes_max: 128,
            name_bytes_max: 255,
        }
    }
}
