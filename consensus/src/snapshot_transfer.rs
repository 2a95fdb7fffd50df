//! Carries snapshots.
use openraft::alias::{SnapshotOf, VoteOf};
use crate::group::Group;
use crate::peer_handler::{Answer, Refusal};
use crate::peer_network::PeerError;
use crate::raft_network::GroupPeer;
use crate::snapshot::SnapshotData;
use crate::state_adapter::StateHandle;
use crate::types::{NodeId, TypeConfig};
use crate::wire::{Reason, proto};

pub(crate) async fn send(peer: &GroupPeer, vote: VoteOf<TypeConfig>, _snapshot: SnapshotOf<TypeConfig, SnapshotData>) -> Result<VoteOf<TypeConfig>, PeerError> {
    let _ = (peer.options(), vote);
    Err(PeerError::Full { to: peer.target() })
}

pub(crate) struct SnapshotReceiver {}
impl SnapshotReceiver {
    pub(crate) fn new(_state: StateHandle) -> Self { Self {} }
    pub(crate) async fn offered(&self, _g: &Group, _from: NodeId, _o: proto::SnapshotOffer) -> Answer { Err(Refusal { reason: Reason::Invalid, detail: String::new() }) }
    pub(crate) async fn part(&self, _g: &Group, _o: proto::SnapshotPart) -> Answer { Err(Refusal { reason: Reason::Invalid, detail: String::new() }) }
    pub(crate) async fn install(&self, _g: &Group, _o: proto::SnapshotInstall) -> Answer { Err(Refusal { reason: Reason::Invalid, detail: String::new() }) }
}
