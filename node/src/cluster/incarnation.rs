//! One process a node id: each process draws an incarnation at its start and claims its node's record with it.
//!
//! A data folder that was copied and started elsewhere answers to the same id as the original, and two processes that
//! vote and acknowledge under one id can lose what was acknowledged. So a process first asks, where its id was served
//! last, whether another one still answers there; and one whose claim was taken over by a later process stops. Against
//! a process that hangs while it is asked, or cannot be reached, only the second helps, and only once it is reached again.

use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::watch;
use tonic::Status;
use yunbase_consensus::NodeId;

use super::map::SharedMap;
use super::records::{NODES, NodeRecord};
use super::store::ClusterStore;
use crate::call::Failure;
use crate::identity::DataDir;
use crate::node::NodeFailure;
use crate::peer_proto::membership_client::MembershipClient;
use crate::peer_proto::{InspectRequest, InspectResponse};
use crate::surface::peer::{PeerAddresses, PeerCalls};

/// Where nobody listens that shows at once; this is for a host that is gone, which a moved node should not wait for.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// A process whose port is open answers within this, also while it starts on a busy machine.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// How often a peer is asked whether our claim still stands: a process that was cut off learns it from nobody else.
const ASK_INTERVAL: Duration = Duration::from_secs(5);
/// Former incarnations that a record names, so that each that lingers is told. More restarts than this while one
/// lingers hide it, and then it is cut off all the same: no peer calls its address any more.
const SUPERSEDED_MAX: usize = 16;

/// Another process answers to this node's id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "another process runs as node {node} at {address}: one of the two uses a copy of the other's data folder, and together they could lose acknowledged writes; run only one of them, and give a new node an empty data_dir"
)]
pub struct Twin {
    /// The id that both answer to.
    pub node: NodeId,
    /// Where the other one is.
    pub address: String,
}

/// Why a claim has not come about.
#[derive(Debug, thiserror::Error)]
pub enum ClaimError {
    /// It must not.
    #[error(transparent)]
    Twin(#[from] Twin),
    /// It could not be written now.
    #[error(transparent)]
    Failed(#[from] Failure),
    /// The record is not there, or has just changed.
    #[error("the record of node {0} is not there yet or has just changed")]
    Unsettled(NodeId),
}

/// Before anything is opened: refuses when this folder was last served at another address and is served there still.
pub async fn check_move(
    data: &DataDir,
    addresses: &PeerAddresses,
    node: NodeId,
    incarnation: &str,
    address: &str,
) -> anyhow::Result<()> {
    let before = data.last_address()?;
    if before.as_deref() == Some(address) {
        return Ok(());
    }
    if let Some(before) = before {
        refuse_twin(addresses, node, incarnation, &before).await?;
    }
    Ok(data.set_last_address(address)?)
}

/// Fails when a process other than this one answers at `address` as `node`.
async fn refuse_twin(
    addresses: &PeerAddresses,
    node: NodeId,
    incarnation: &str,
    address: &str,
) -> Result<(), Twin> {
    let connected = tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await;
    if !matches!(connected, Ok(Ok(_))) {
        return Ok(());
    }
    let asked = tokio::time::timeout(ANSWER_TIMEOUT, ask(addresses, node, address)).await;
    match asked {
        Ok(Ok(answer)) if answer.incarnation != incarnation => Err(Twin {
            node,
            address: address.to_owned(),
        }),
        Ok(Ok(_)) => Ok(()),
        // The certificate shows who answers: whatever else lives there now does not get this far.
        Ok(Err(status)) => {
            tracing::debug!(address, %status, "no process of this node answers where it was last");
            Ok(())
        }
        Err(_) => {
            tracing::warn!(
                address,
                "something listens where this node was last and does not answer; going on"
            );
            Ok(())
        }
    }
}

async fn ask(
    addresses: &PeerAddresses,
    node: NodeId,
    address: &str,
) -> Result<InspectResponse, Status> {
    let endpoint = addresses
        .endpoint_at(node, address)
        .map_err(Status::invalid_argument)?;
    let channel = endpoint
        .connect()
        .await
        .map_err(|error| Status::unavailable(error.to_string()))?;
    MembershipClient::new(channel)
        .inspect(InspectRequest::default())
        .await
        .map(tonic::Response::into_inner)
}

/// Writes `own` down as the record of its node, unless the process that did so before still answers.
pub async fn claim(
    store: &ClusterStore,
    addresses: &PeerAddresses,
    node: NodeId,
    own: &NodeRecord,
) -> Result<(), ClaimError> {
    let by_id = bson::doc! { "_id": own.id };
    let found = store.find::<NodeRecord>(NODES, by_id).await?;
    let known = found
        .into_iter()
        .next()
        .ok_or(ClaimError::Unsettled(node))?;
    let is_claimed = known.incarnation == own.incarnation;
    if is_claimed && is_same_place(&known, own) {
        return Ok(());
    }
    let is_first = known.incarnation.is_empty();
    if !is_first && !is_claimed {
        refuse_twin(addresses, node, &own.incarnation, &known.peer_address).await?;
    }
    // Only from what was just looked at: of two claims at once one must look again, and meets the other.
    let unchanged = if is_first {
        bson::doc! { "_id": own.id, "incarnation": { "$in": [null, ""] } }
    } else {
        bson::doc! { "_id": own.id, "incarnation": &known.incarnation }
    };
    let set = bson::doc! { "$set": {
        "peer_address": &own.peer_address, "http_address": &own.http_address, "zone": &own.zone,
        "incarnation": &own.incarnation, "superseded": superseded(&known, &own.incarnation),
    } };
    store
        .update_if::<bson::Document>(NODES, unchanged, set)
        .await?
        .map(drop)
        .ok_or(ClaimError::Unsettled(node))
}

fn is_same_place(known: &NodeRecord, own: &NodeRecord) -> bool {
    (&known.peer_address, &known.http_address, &known.zone)
        == (&own.peer_address, &own.http_address, &own.zone)
}

/// Those that are no longer the node's process once `own` is, the latest last.
fn superseded(known: &NodeRecord, own: &str) -> Vec<String> {
    let mut former = known.superseded.clone();
    if !known.incarnation.is_empty() && known.incarnation != own {
        former.push(known.incarnation.clone());
    }
    let surplus = former.len().saturating_sub(SUPERSEDED_MAX);
    former.split_off(surplus)
}

/// Whether a record says that `incarnation` has been replaced; then where its successor is.
pub fn successor_of<'r>(record: &'r NodeRecord, incarnation: &str) -> Option<&'r str> {
    record
        .superseded
        .iter()
        .any(|former| former == incarnation)
        .then_some(record.peer_address.as_str())
}

/// Watches that this process stays its node's only one; reports through `failed` when another has taken over.
pub async fn guard(
    peers: std::sync::Arc<PeerCalls>,
    map: SharedMap,
    node: NodeId,
    incarnation: String,
    failed: watch::Sender<Option<NodeFailure>>,
    mut stop: watch::Receiver<bool>,
) {
    let mut changes = map.watch();
    let mut ask_at = tokio::time::interval(ASK_INTERVAL);
    let mut asked = 0_usize;
    loop {
        let ask = tokio::select! {
            changed = changes.changed() => match changed {
                Ok(()) => false,
                Err(_) => return,
            },
            _ = ask_at.tick() => true,
            () = async { drop(stop.wait_for(|stopping| *stopping).await) } => return,
        };
        let taken_over = if ask {
            asked += 1;
            peers.successor_told_by_peer(asked, &incarnation).await
        } else {
            // Before our claim has come through, the record names a predecessor, never a successor.
            map.get()
                .nodes
                .get(&node)
                .and_then(|record| successor_of(record, &incarnation))
                .map(str::to_owned)
        };
        if let Some(address) = taken_over {
            failed.send_replace(Some(NodeFailure::Twin(Twin { node, address })));
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(incarnation: &str, superseded: &[&str]) -> NodeRecord {
        NodeRecord {
            id: 1,
            disk_id: String::new(),
            peer_address: "b:1".into(),
            http_address: String::new(),
            zone: String::new(),
            joined_at_ms: 0,
            incarnation: incarnation.into(),
            superseded: superseded.iter().map(ToString::to_string).collect(),
        }
    }

    #[test]
    fn a_record_remembers_the_latest_former_processes() {
        assert_eq!(superseded(&record("", &[]), "a"), [""; 0]);
        assert_eq!(superseded(&record("a", &[]), "b"), ["a"]);
        assert_eq!(superseded(&record("b", &["a"]), "b"), ["a"], "moved only");
        let mut known = record("0", &[]);
        for number in 1..100 {
            let own = number.to_string();
            known.superseded = superseded(&known, &own);
            known.incarnation = own;
        }
        assert_eq!(known.superseded.len(), SUPERSEDED_MAX);
        assert_eq!(known.superseded.last().map(String::as_str), Some("98"));
    }

    #[test]
    fn only_a_former_process_has_a_successor() {
        let known = record("b", &["a"]);
        assert_eq!(successor_of(&known, "a"), Some("b:1"));
        assert_eq!(successor_of(&known, "b"), None);
        assert_eq!(successor_of(&known, "c"), None, "has not claimed yet");
        assert_eq!(successor_of(&known, ""), None, "of an older version");
    }

    #[test]
    fn records_of_an_older_version_are_read() {
        let old = bson::rawdoc! {
            "_id": 1_i64, "disk_id": "d", "peer_address": "a:1", "http_address": "a:2", "zone": "", "joined_at_ms": 0_i64,
        };
        let read: NodeRecord = bson::deserialize_from_slice(old.as_bytes()).expect("readable");
        assert_eq!((read.incarnation.as_str(), read.superseded.len()), ("", 0));
    }
}
