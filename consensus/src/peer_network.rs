//! The seam between Raft and the wire: one request to one peer, one answer.
//!
//! Everything nodes say to each other goes through [`PeerNetwork::call`], and everything they hear
//! through [`PeerHandler::handle`]; the gRPC transport and the simulated one differ in nothing else.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::runtime::Handle;

use crate::types::NodeId;
use crate::wire::proto;

/// Which cluster a node belongs to: drawn at bootstrap, written to every disk, named in every
/// conversation, so that a node that was restored or copied cannot talk to the wrong one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClusterId(pub [u8; 16]);

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// A text that is not a cluster id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a cluster id is 32 hexadecimal digits, with or without hyphens")]
pub struct InvalidClusterId;

impl FromStr for ClusterId {
    type Err = InvalidClusterId;

    fn from_str(text: &str) -> Result<Self, InvalidClusterId> {
        let mut digits = text.chars().filter(|c| *c != '-');
        let mut id = [0; 16];
        for byte in &mut id {
            let mut digit = || {
                digits
                    .next()
                    .and_then(|c| c.to_digit(16))
                    .ok_or(InvalidClusterId)
            };
            let (high, low) = (digit()?, digit()?);
            *byte = u8::try_from(high * 16 + low).map_err(|_| InvalidClusterId)?;
        }
        if digits.next().is_some() {
            return Err(InvalidClusterId);
        }
        Ok(Self(id))
    }
}

/// The connection that a request takes. Each lane has a connection of its own, so a heartbeat never
/// waits behind an append, and an append never behind a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lane {
    /// Votes, heartbeats, read indexes, transfers of leadership: small and urgent.
    Control,
    /// Appends with entries, pipelined.
    Log,
    /// Parts of snapshots.
    Snapshot,
}

/// Both ends of a conversation. The receiver refuses it when cluster or receiver are wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parties {
    /// The cluster that the sender belongs to.
    pub cluster: ClusterId,
    /// The sender.
    pub from: NodeId,
    /// The node that the sender means to reach.
    pub to: NodeId,
}

/// A request as it crosses the wire.
#[derive(Debug, Clone)]
pub struct PeerRequest(pub(crate) proto::Request);

/// An answer as it crosses the wire.
#[derive(Debug, Clone)]
pub struct PeerResponse(pub(crate) proto::Response);

/// Why a request got no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PeerError {
    /// No connection, or it broke; the request may or may not have been handled.
    #[error("peer {to} is unreachable: {detail}")]
    Unreachable {
        /// The peer.
        to: NodeId,
        /// What the transport said.
        detail: String,
    },
    /// No answer in time; the request may or may not have been handled.
    #[error("peer {to} did not answer within {after:?}")]
    Timeout {
        /// The peer.
        to: NodeId,
        /// The time-out that passed.
        after: Duration,
    },
    /// The peer is not who we think, or belongs to another cluster. Nothing was handled.
    #[error("peer {to} refused the conversation: {detail}")]
    Refused {
        /// The peer.
        to: NodeId,
        /// What the peer said.
        detail: String,
    },
    /// More requests wait for this peer than the lane may hold. Nothing was sent.
    #[error("too many requests wait for peer {to}")]
    Full {
        /// The peer.
        to: NodeId,
    },
}

/// Carries requests to peers.
pub trait PeerNetwork: Send + Sync + 'static {
    /// Sends `request` and returns the answer.
    ///
    /// * The request is on its way, or refused, before this function returns; the future only waits.
    ///   Dropping it gives up the answer, not the request.
    /// * Requests to one peer on one lane should arrive in the order of the calls. Raft stays correct
    ///   when they do not, but resends.
    /// * Never waits longer than `timeout`.
    fn call(
        &self,
        parties: Parties,
        address: &str,
        lane: Lane,
        request: PeerRequest,
        timeout: Duration,
    ) -> BoxFuture<'static, Result<PeerResponse, PeerError>>;

    /// A peer was heard from: a transport that holds back reconnecting to it may try at once.
    fn peer_alive(&self, _peer: NodeId) {}

    /// The runtime on which connections should live; told once, before the first call.
    fn run_on(&self, _runtime: Handle) {}
}

/// Answers the requests of peers; a [`Host`](crate::Host) gives one out.
pub trait PeerHandler: Send + Sync + 'static {
    /// Whether this node takes part in the conversation; `Err` says why not.
    fn admit(&self, parties: Parties) -> Result<(), String>;

    /// Handles one request of an admitted conversation. The first poll of the future fixes the
    /// request's place in the order, so callers poll futures in the order of arrival.
    fn handle(&self, from: NodeId, request: PeerRequest) -> BoxFuture<'static, PeerResponse>;

    /// A conversation was admitted: the peer lives.
    fn connected(&self, _peer: NodeId) {}
}
