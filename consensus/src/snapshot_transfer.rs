//! Carries a snapshot to a follower: the manifest first, then the parts it lacks, then the word to install.
//!
//! The receiver keeps what has arrived, so a transfer that broke off, even by a restart of either side,
//! goes on with the parts that are missing. A bounded number of parts is on its way at once, on a
//! connection of their own.

use std::io;

use futures::{StreamExt, TryStreamExt};
use openraft::alias::{SnapshotOf, VoteOf};
use openraft::async_runtime::WatchReceiver;
use parking_lot::Mutex;

use crate::blocking_thread::run_blocking;
use crate::group::Group;
use crate::metrics::GroupCounters;
use crate::peer_handler::{Answer, Refusal};
use crate::peer_network::{Lane, PeerError};
use crate::raft_network::GroupPeer;
use crate::snapshot::{PartId, SnapshotData, SnapshotStaging, snapshot_id};
use crate::types::{NodeId, TypeConfig};
use crate::wire::{self, Malformed, Reason, RequestBody, ResponseBody, proto};

/// Why a snapshot was not delivered. It is tried again, from where it stopped.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SendError {
    #[error(transparent)]
    Peer(#[from] PeerError),
    #[error("the snapshot cannot be read: {0}")]
    Read(#[from] io::Error),
    #[error("the receiver refused: {0}")]
    Refused(String),
    #[error(transparent)]
    Malformed(#[from] Malformed),
    #[error("the receiver asks again for a part it has confirmed")]
    NoProgress,
}

fn unexpected(answer: ResponseBody) -> SendError {
    match answer {
        ResponseBody::Refused(refused) => {
            SendError::Refused(format!("{:?} {}", refused.reason(), refused.detail))
        }
        _ => SendError::Malformed(Malformed("an answer to another question")),
    }
}

/// Sends and has installed; returns the receiver's vote, which is higher than `vote` when this node no
/// longer leads.
pub(crate) async fn send(
    peer: &GroupPeer,
    vote: VoteOf<TypeConfig>,
    snapshot: SnapshotOf<TypeConfig, SnapshotData>,
) -> Result<VoteOf<TypeConfig>, SendError> {
    let data = snapshot.snapshot;
    let id = bytes::Bytes::copy_from_slice(data.id().as_bytes());
    let ballot = wire::vote_to_wire(&vote);
    let options = peer.transfer();
    let mut first_missing = None;
    loop {
        let offer = proto::SnapshotOffer {
            ballot: Some(ballot),
            manifest: data.manifest_bytes(),
        };
        let answer = peer
            .call(
                Lane::Snapshot,
                RequestBody::SnapshotOffer(offer),
                options.part_timeout,
            )
            .await?;
        let ResponseBody::SnapshotWanted(wanted) = answer else {
            return Err(unexpected(answer));
        };
        if let Some(higher) = &wanted.higher_ballot {
            return Ok(wire::vote_from_wire(Some(higher))?);
        }
        let Some(first) = wanted.missing.first().copied() else {
            break;
        };
        if first_missing == Some(first) {
            return Err(SendError::NoProgress);
        }
        first_missing = Some(first);
        futures::stream::iter(wanted.missing)
            .map(|part| send_part(peer, &data, &id, part))
            .buffer_unordered(options.parts_in_flight)
            .try_collect::<()>()
            .await?;
    }
    let install = proto::SnapshotInstall {
        snapshot: id,
        ballot: Some(ballot),
    };
    let answer = peer
        .call(
            Lane::Snapshot,
            RequestBody::SnapshotInstall(install),
            options.install_timeout,
        )
        .await?;
    match answer {
        ResponseBody::SnapshotInstalled(installed) => {
            Ok(wire::vote_from_wire(installed.ballot.as_ref())?)
        }
        other => Err(unexpected(other)),
    }
}

async fn send_part(
    peer: &GroupPeer,
    data: &SnapshotData,
    id: &bytes::Bytes,
    part: proto::PartId,
) -> Result<(), SendError> {
    let bytes = data
        .read_part(PartId {
            file: part.file,
            part: part.part,
        })
        .await?;
    let length = bytes.len() as u64;
    let message = proto::SnapshotPart {
        snapshot: id.clone(),
        part: Some(part),
        data: bytes,
    };
    let answer = peer
        .call(
            Lane::Snapshot,
            RequestBody::SnapshotPart(message),
            peer.transfer().part_timeout,
        )
        .await?;
    match answer {
        ResponseBody::SnapshotPart(_) => {
            GroupCounters::add(&peer.counters().snapshot_bytes_sent, length);
            Ok(())
        }
        other => Err(unexpected(other)),
    }
}

/// The receiving end of one group.
#[derive(Default)]
pub(crate) struct SnapshotReceiver {
    /// The snapshot that is arriving.
    staging: Mutex<Option<SnapshotStaging>>,
}

impl SnapshotReceiver {
    /// Begins or resumes; answers with the parts that are missing.
    pub(crate) async fn offered(
        &self,
        group: &Group,
        from: NodeId,
        offer: proto::SnapshotOffer,
    ) -> Answer {
        let vote = wire::vote_from_wire(offer.ballot.as_ref())?;
        let own = group.inner.raft.metrics().borrow_watched().vote;
        if own > vote {
            let higher_ballot = Some(wire::vote_to_wire(&own));
            return Ok(ResponseBody::SnapshotWanted(proto::SnapshotWanted {
                higher_ballot,
                missing: Vec::new(),
            }));
        }
        let store = group.inner.state.clone();
        let current = store.snapshots().current();
        if current.is_some_and(|current| current.id() == snapshot_id(&offer.manifest)) {
            return Ok(ResponseBody::SnapshotWanted(
                proto::SnapshotWanted::default(),
            ));
        }
        let manifest = offer.manifest;
        let staging = blocking(move || store.snapshots().begin(&manifest)).await?;
        let missing = staging.missing(group.inner.transfer.parts_per_offer);
        tracing::info!(group = %group.id(), from, snapshot = staging.id(), missing = missing.len(), "receiving snapshot");
        *self.staging.lock() = Some(staging);
        let missing = missing
            .into_iter()
            .map(|id| proto::PartId {
                file: id.file,
                part: id.part,
            })
            .collect();
        Ok(ResponseBody::SnapshotWanted(proto::SnapshotWanted {
            higher_ballot: None,
            missing,
        }))
    }

    /// Checks and stores one part.
    pub(crate) async fn part(&self, group: &Group, part: proto::SnapshotPart) -> Answer {
        let staging = self.arriving(&part.snapshot)?;
        let id = part.part.ok_or(Malformed("a part without its number"))?;
        let id = PartId {
            file: id.file,
            part: id.part,
        };
        let length = part.data.len() as u64;
        blocking(move || staging.write_part(id, &part.data)).await?;
        GroupCounters::add(&group.inner.counters.snapshot_bytes_received, length);
        Ok(ResponseBody::SnapshotPart(proto::SnapshotPartStored {}))
    }

    /// Verifies the complete snapshot and has Raft install it.
    pub(crate) async fn install(&self, group: &Group, install: proto::SnapshotInstall) -> Answer {
        let vote = wire::vote_from_wire(install.ballot.as_ref())?;
        let current = group.inner.state.snapshots().current();
        if current.is_some_and(|current| current.id().as_bytes() == install.snapshot.as_ref()) {
            let ballot = Some(wire::vote_to_wire(
                &group.inner.raft.metrics().borrow_watched().vote,
            ));
            return Ok(ResponseBody::SnapshotInstalled(proto::SnapshotInstalled {
                ballot,
            }));
        }
        let staging = self.arriving(&install.snapshot)?;
        let raft = group.inner.raft.clone();
        // On a task of its own: what has been received must not be lost with the connection.
        let installed = tokio::spawn(async move {
            let data = blocking(move || staging.finish()).await?;
            let snapshot = openraft::Snapshot {
                meta: data.meta(),
                snapshot: data,
            };
            let response = raft.install_full_snapshot(vote, snapshot).await;
            response.map_err(|fatal| Refusal {
                reason: Reason::Stopped,
                detail: fatal.to_string(),
            })
        });
        let stopped = |_| Refusal {
            reason: Reason::Stopped,
            detail: "the installation was cut off".to_owned(),
        };
        let response = installed.await.map_err(stopped)??;
        *self.staging.lock() = None;
        let ballot = Some(wire::vote_to_wire(&response.vote));
        Ok(ResponseBody::SnapshotInstalled(proto::SnapshotInstalled {
            ballot,
        }))
    }

    fn arriving(&self, id: &[u8]) -> Result<SnapshotStaging, Refusal> {
        let staging = self
            .staging
            .lock()
            .clone()
            .filter(|staging| staging.id().as_bytes() == id);
        staging.ok_or_else(|| Refusal {
            reason: Reason::Invalid,
            detail: "this snapshot has not been offered, or another one took its place".to_owned(),
        })
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, Refusal> {
    let result = run_blocking(work).await.and_then(|result| result);
    result.map_err(|error| Refusal {
        reason: Reason::Storage,
        detail: error.to_string(),
    })
}
