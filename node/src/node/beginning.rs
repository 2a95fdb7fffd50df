//! How a node comes to be, and its groups are opened.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::Context as _;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use yunbase_consensus::{
    ClusterId, GroupId, GrpcNetwork, Host, HostOptions, LogEngine, Peer, RaftOptions, RaftRuntime,
};
use yunbase_docdb::rocks::RocksStore;
use yunbase_docdb::rocks_options::RocksShared;
use yunbase_docdb::{Database, Options as DatabaseOptions};

use super::now_ms;
use crate::cluster::map::SharedMap;
use crate::cluster::refresh;
use crate::config::Config;
use crate::group_runtime::GroupRuntime;
use crate::identity::{DataDir, Identity, random_id};
use crate::router::Router;
use crate::scan_threads::ScanThreads;
use crate::spill::SpillFolder;
use crate::state_bridge::DatabaseState;
use crate::surface::peer::PeerAddresses;
use crate::tls::{Authority, NewKey, NodeCertificates};
use crate::{durable_file, threads};

/// Makes the first node of a new cluster: identity, authority and certificate, durable in an order in which a
/// crash leaves either nothing that matters or all of it.
pub(super) fn found(config: &Config, data: &DataDir) -> anyhow::Result<Identity> {
    let disk_id = data.claim_new_log()?;
    let cluster_id = random_id();
    let authority = Authority::create(&cluster_id)?;
    let key = NewKey::generate()?;
    let certificate = authority.sign(&key.request, &cluster_id, 1)?;
    let certificates = NodeCertificates {
        authority: authority.certificate.clone(),
        certificate,
        key: key.key,
    };
    certificates.store(&data.tls())?;
    durable_file::write(&data.tls().join("authority"), "authority", 1, &authority)?;
    let identity = Identity {
        cluster_id,
        node_id: 1,
        disk_id,
        groups: config.groups + 1,
    };
    data.set_identity(&identity)?;
    Ok(identity)
}

pub(super) fn start_host(
    config: &Config,
    data: &DataDir,
    identity: &Identity,
    addresses: &PeerAddresses,
    log: LogEngine,
) -> anyhow::Result<Host> {
    let addresses = addresses.clone();
    let network = GrpcNetwork::new(Arc::new(move |node, address: &str| {
        addresses.endpoint(node, Some(address))
    }));
    let cluster_id: ClusterId = identity.cluster_id.parse().context("read the cluster id")?;
    let raft = RaftOptions {
        heartbeat: config.raft_heartbeat,
        election_min: config.raft_election_min,
        election_max: config.raft_election_max,
        ..RaftOptions::default()
    };
    let mut options = HostOptions::new(
        identity.node_id,
        cluster_id,
        Arc::new(network),
        data.snapshots(),
    );
    options.raft = raft;
    options.runtime = RaftRuntime::Own {
        threads: threads::raft(),
    };
    Ok(Host::start(options, log)?)
}

/// Opens all groups, group 0 first, since the map of everything else comes from it.
#[allow(clippy::too_many_arguments)] // Called once; a struct would only rename the arguments.
pub(super) async fn open_groups(
    data: &DataDir,
    identity: &Identity,
    host: &Host,
    router: &Arc<Router>,
    map: &SharedMap,
    scan_threads: &ScanThreads,
    shared: &RocksShared,
    tasks: &mut Vec<JoinHandle<()>>,
    stopping: &watch::Receiver<bool>,
) -> anyhow::Result<()> {
    let spill = SpillFolder::open(data.spill())
        .with_context(|| format!("make the folder {}", data.spill().display()))?;
    for id in 0..identity.groups {
        let folder = data.state(id);
        let shared = shared.clone();
        let database = tokio::task::spawn_blocking(move || {
            let store = RocksStore::open(&folder, shared)
                .with_context(|| format!("open {}", folder.display()))?;
            anyhow::Ok(Database::open(Box::new(store), DatabaseOptions::default())?)
        })
        .await??;
        let database = Arc::new(database);
        let state = Arc::new(DatabaseState::new(database.clone()));
        let applied = state.watch_applied();
        let group = host
            .open_group(GroupId(id), state)
            .await
            .with_context(|| format!("open group {id}"))?;
        router.add_group(GroupRuntime::new(
            group,
            database.clone(),
            applied.clone(),
            scan_threads.clone(),
            spill.clone(),
            now_ms,
        ));
        if id == 0 {
            tasks.push(tokio::spawn(refresh::run(
                database,
                map.clone(),
                applied,
                stopping.clone(),
            )));
        }
    }
    Ok(())
}

/// Makes this node the first member of each group of a new cluster, once in the cluster's life.
pub(super) async fn found_groups(
    config: &Config,
    data: &DataDir,
    identity: &Identity,
    router: &Arc<Router>,
) -> anyhow::Result<()> {
    let marker = data.path().join("founded");
    if !config.bootstrap
        || identity.node_id != 1
        || durable_file::read::<bool>(&marker, "marker", 1)?.is_some()
    {
        return Ok(());
    }
    for group in router.groups() {
        if group.status().members.voters.is_empty() {
            let members = BTreeMap::from([(
                identity.node_id,
                Peer {
                    address: config.peer_advertise.clone(),
                },
            )]);
            group
                .group()
                .bootstrap(members)
                .await
                .with_context(|| format!("found group {}", group.id()))?;
        }
    }
    Ok(durable_file::write(&marker, "marker", 1, &true)?)
}
