//! All groups of one node: opens them, serves their peers, stops them in good order.
//!
//! Raft runs on the host's own threads. What comes from outside reaches it through bounded queues
//! only, so neither a burst of requests nor a slow state machine delays a heartbeat.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use parking_lot::{Mutex, RwLock};
use tokio::runtime::{Handle, Runtime};
use tokio::time::Instant;

use crate::blocking_thread::run_blocking;
use crate::commit_hold::CommitWanted;
use crate::compaction;
use crate::disk_room::{DiskRoom, SharedRoom};
use crate::error::HostError;
use crate::group::{Group, GroupParts};
use crate::log_engine::LogEngine;
use crate::metrics::GroupCounters;
use crate::options::{HostOptions, RaftRuntime};
use crate::peer_handler;
use crate::peer_network::{Parties, PeerHandler, PeerRequest, PeerResponse};
use crate::peer_service::{PeerService, peer_service};
use crate::raft::{self, RaftHandle};
use crate::raft_network::{NetworkFactory, PeerContext};
use crate::state_machine::StateMachine;
use crate::state_machine_store::StateMachineStore;
use crate::types::{GroupId, NodeId};
use crate::wire::{Reason, proto, refused};

/// How long a leader gets to hand over before the host stops anyway; an election would take longer.
const HANDOVER_TIMEOUT: Duration = Duration::from_secs(2);

/// The groups of one node. Clones are the same host.
#[derive(Clone)]
pub struct Host {
    inner: Arc<HostInner>,
}

pub(crate) struct HostInner {
    options: HostOptions,
    peers: Arc<PeerContext>,
    log: LogEngine,
    groups: RwLock<BTreeMap<GroupId, Group>>,
    room: Arc<SharedRoom>,
    /// Serialises opening and closing of groups.
    opening: tokio::sync::Mutex<()>,
    stopped: AtomicBool,
    runtime: Handle,
    /// The threads themselves, when they are ours.
    own_runtime: Mutex<Option<Runtime>>,
}

impl Drop for HostInner {
    fn drop(&mut self) {
        // The last handle may go inside an async task, where a runtime must not be waited for.
        if let Some(runtime) = self.own_runtime.lock().take() {
            runtime.shutdown_background();
        }
    }
}

impl Host {
    /// Starts a host on the log in `log`. Opens no group yet.
    pub fn start(options: HostOptions, log: LogEngine) -> Result<Self, HostError> {
        raft::config(GroupId(0), &options.raft, &options.compaction)?;
        let (runtime, own_runtime) = match options.runtime {
            RaftRuntime::Current => (Handle::current(), None),
            RaftRuntime::Own { threads } => {
                let runtime = tokio::runtime::Builder::new_multi_thread()
                    .worker_threads(threads)
                    .thread_name(format!("raft-{}", options.node_id))
                    .enable_all()
                    .build()?;
                (runtime.handle().clone(), Some(runtime))
            }
        };
        options.network.run_on(runtime.clone());
        let peers = Arc::new(PeerContext {
            cluster: options.cluster_id,
            node_id: options.node_id,
            network: options.network.clone(),
            addresses: RwLock::default(),
            raft: options.raft.clone(),
            transfer: options.transfer.clone(),
        });
        let inner = Arc::new(HostInner {
            peers,
            log,
            groups: RwLock::default(),
            room: Arc::default(),
            opening: tokio::sync::Mutex::new(()),
            stopped: AtomicBool::new(false),
            own_runtime: Mutex::new(own_runtime),
            runtime,
            options,
        });
        inner.runtime.spawn(compaction::run(
            Arc::downgrade(&inner),
            inner.options.compaction.clone(),
        ));
        Ok(Self { inner })
    }

    /// This node's id.
    pub fn node_id(&self) -> NodeId {
        self.inner.options.node_id
    }

    /// The runtime that Raft runs on; the place for the server of the peer port.
    pub fn runtime(&self) -> Handle {
        self.inner.runtime.clone()
    }

    /// The service to mount on the peer port. The node owns server, address and TLS.
    ///
    /// Serve it on [`Self::runtime`], and set TCP_NODELAY on the accepted connections: tonic does so
    /// only for listeners it binds itself, and without it answers wait 40 ms for acknowledgements.
    pub fn peer_service(&self) -> PeerService {
        peer_service(self.peer_handler(), self.inner.runtime.clone())
    }

    /// What answers peers, for transports other than gRPC.
    pub fn peer_handler(&self) -> Arc<dyn PeerHandler> {
        Arc::new(Door(Arc::downgrade(&self.inner)))
    }

    /// Overrides the address that memberships give for a node.
    pub fn set_address(&self, node: NodeId, address: String) {
        self.inner.peers.addresses.write().insert(node, address);
    }

    /// What the disk has room for, as of the last [`Self::set_disk_room`].
    pub fn disk_room(&self) -> DiskRoom {
        self.inner.room.get()
    }

    /// Tells all groups what the disk has room for. What to do about it is theirs, but the leadership,
    /// see [`Self::hand_over`].
    pub fn set_disk_room(&self, room: DiskRoom) {
        self.inner.room.set(room);
    }

    /// Lets the most caught-up voter lead each of `groups` that this node leads, as far as that goes.
    pub async fn hand_over(&self, groups: &[GroupId]) {
        let groups: Vec<Group> = groups.iter().filter_map(|id| self.group(*id)).collect();
        futures::future::join_all(groups.iter().map(hand_over)).await;
    }

    /// Opens a replica: an empty one that waits for its first leader or a bootstrap, or the one that
    /// this node had before, brought up to the log's committed part.
    pub async fn open_group(
        &self,
        id: GroupId,
        state: Arc<dyn StateMachine>,
    ) -> Result<Group, HostError> {
        let _opening = self.inner.opening.lock().await;
        if self.inner.stopped.load(Ordering::Acquire) {
            return Err(HostError::Stopped);
        }
        if self.inner.groups.read().contains_key(&id) {
            return Err(HostError::AlreadyOpen(id));
        }
        let inner = self.inner.clone();
        let opened = self
            .inner
            .runtime
            .spawn(async move { inner.open(id, state).await });
        let group = opened.await.map_err(|_| HostError::Stopped)??;
        self.inner.groups.write().insert(id, group.clone());
        Ok(group)
    }

    /// An open group.
    pub fn group(&self, id: GroupId) -> Option<Group> {
        self.inner.group(id)
    }

    /// All open groups, by id.
    pub fn groups(&self) -> Vec<Group> {
        self.inner.groups()
    }

    /// Stops a replica without a hand-over; its data stay.
    pub async fn close_group(&self, id: GroupId) {
        let _opening = self.inner.opening.lock().await;
        let group = self.inner.groups.write().remove(&id);
        if let Some(group) = group {
            drop(group.inner.raft.shutdown().await);
        }
    }

    /// Stops all groups as they are, without hand-over or flush: what is acknowledged is in the log.
    pub async fn abandon(&self) {
        let _opening = self.inner.opening.lock().await;
        self.inner.stopped.store(true, Ordering::Release);
        let groups = std::mem::take(&mut *self.inner.groups.write());
        for group in groups.values() {
            drop(group.inner.raft.shutdown().await);
        }
        if let Err(error) = self.inner.log.close().await {
            tracing::debug!(%error, "close the log");
        }
    }

    /// Hands leadership over, stops all groups and flushes what they hold.
    pub async fn shutdown(&self) -> Result<(), HostError> {
        let _opening = self.inner.opening.lock().await;
        self.inner.stopped.store(true, Ordering::Release);
        let groups = self.groups();
        futures::future::join_all(groups.iter().map(hand_over)).await;
        for group in &groups {
            drop(group.inner.raft.shutdown().await);
            group.inner.state.flush().await?;
        }
        self.inner.groups.write().clear();
        self.inner.log.close().await?;
        Ok(())
    }
}

/// Lets the most caught-up voter lead, if this node does.
async fn hand_over(group: &Group) {
    let status = group.status();
    if !status.leadership.here {
        return;
    }
    let successor = status
        .followers
        .iter()
        .filter(|(node, _)| status.members.voters.contains(node))
        .min_by_key(|(_, follower)| {
            (
                follower.silent_for.is_none(),
                follower.lag,
                follower.silent_for,
            )
        });
    if let Some((successor, _)) = successor {
        let deadline = Instant::now() + HANDOVER_TIMEOUT;
        if let Err(error) = group.transfer_leader(*successor, deadline).await {
            tracing::info!(group = %group.id(), successor, %error, "leadership could not be handed over");
        }
    }
}

impl HostInner {
    pub(crate) fn group(&self, id: GroupId) -> Option<Group> {
        self.groups.read().get(&id).cloned()
    }

    pub(crate) fn groups(&self) -> Vec<Group> {
        self.groups.read().values().cloned().collect()
    }

    async fn open(&self, id: GroupId, state: Arc<dyn StateMachine>) -> Result<Group, HostError> {
        let options = &self.options;
        let config = raft::config(id, &options.raft, &options.compaction)?;
        let log = self.log.group(id);
        let opening = {
            let (log, apply, snapshots) = (
                log.clone(),
                options.apply.clone(),
                options.snapshots.clone(),
            );
            let folder = options.snapshot_dir.join(id.0.to_string());
            move || StateMachineStore::open(log, state, folder, apply, snapshots)
        };
        let state = run_blocking(opening).await??;
        let counters = Arc::new(GroupCounters::default());
        let commit_wanted = CommitWanted::default();
        let network = NetworkFactory::new(
            self.peers.clone(),
            id,
            counters.clone(),
            commit_wanted.clone(),
        );
        let raft = RaftHandle::new(options.node_id, config, network, log.clone(), state.clone())
            .await
            .map_err(|error| HostError::Group {
                group: id,
                detail: error.to_string(),
            })?;
        let parts = GroupParts {
            id,
            raft,
            log,
            state,
            peers: self.peers.clone(),
            counters,
            commit_wanted,
            room: self.room.clone(),
        };
        Ok(Group::start(
            parts,
            options.proposals.clone(),
            &self.runtime,
        ))
    }
}

/// What peers knock at. Connections outlive a host that is dropped, and must not keep it.
struct Door(Weak<HostInner>);

impl PeerHandler for Door {
    fn admit(&self, parties: Parties) -> Result<(), String> {
        let host = self.0.upgrade().ok_or("this node has stopped")?;
        host.admit(parties)
    }

    fn connected(&self, peer: NodeId) {
        if let Some(host) = self.0.upgrade() {
            host.peer_alive(peer);
        }
    }

    fn handle(&self, from: NodeId, request: PeerRequest) -> BoxFuture<'static, PeerResponse> {
        let PeerRequest(proto::Request { id, group, body }) = request;
        let group_id = GroupId(group);
        let group = self.0.upgrade().and_then(|host| host.group(group_id));
        async move {
            let body = match group {
                Some(group) => peer_handler::answer(&group, from, body).await,
                None => refused(
                    Reason::UnknownGroup,
                    format!("group {group_id} is not open on this node"),
                ),
            };
            PeerResponse(proto::Response {
                id,
                body: Some(body),
            })
        }
        .boxed()
    }
}

impl HostInner {
    fn admit(&self, parties: Parties) -> Result<(), String> {
        let options = &self.options;
        if parties.cluster != options.cluster_id {
            return Err(format!(
                "this node belongs to cluster {}, not {}",
                options.cluster_id, parties.cluster
            ));
        }
        if parties.to != options.node_id {
            return Err(format!(
                "this is node {}, not {}",
                options.node_id, parties.to
            ));
        }
        if parties.from == options.node_id {
            return Err(format!(
                "this is node {} itself: another process uses its id, perhaps on a copy of its data folder",
                options.node_id
            ));
        }
        Ok(())
    }

    /// Whoever has just connected to us can be spoken to: do not sit out a pause from when it was away.
    fn peer_alive(&self, peer: NodeId) {
        self.options.network.peer_alive(peer);
        let leading: Vec<Group> = self
            .groups()
            .into_iter()
            .filter(|group| group.inner.raft.is_leader())
            .collect();
        self.runtime.spawn(async move {
            for group in leading {
                drop(group.inner.raft.trigger().reset_backoff([peer]).await);
            }
        });
    }
}
