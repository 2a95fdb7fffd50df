//! What a node writes down about itself in the cluster's documents, and what its configuration asks for.

use std::sync::Arc;
use std::time::Duration;

use super::chunks::{self, ChunkDisks};
use super::now_ms;
use crate::audit::record::Origin;
use crate::auth::Auth;
use crate::cluster::founding;
use crate::cluster::map::SharedMap;
use crate::cluster::records::{NODES, NodeRecord};
use crate::cluster::store::ClusterStore;
use crate::config::Config;
use crate::durable_file;
use crate::identity::{DataDir, Identity};
use crate::operators::Operators;
use crate::tls::Authority;

/// Pause between attempts to write down what a new cluster needs.
const FOUNDING_PAUSE: Duration = Duration::from_millis(100);

/// Writes down what the cluster must know of this node and what its configuration asks for; repeats until done.
#[allow(clippy::too_many_arguments)] // Called once; a struct would only rename the arguments.
pub(super) async fn write_down(
    store: ClusterStore,
    auth: Arc<Auth>,
    operators: Arc<Operators>,
    map: SharedMap,
    identity: Identity,
    data: DataDir,
    config: Config,
    disks: ChunkDisks,
) {
    loop {
        match try_write_down(
            &store, &auth, &operators, &map, &identity, &data, &config, &disks,
        )
        .await
        {
            Ok(()) => return,
            Err(error) => tracing::debug!(
                error = format!("{error:#}"),
                "write down this node's record"
            ),
        }
        tokio::time::sleep(FOUNDING_PAUSE).await;
    }
}

#[allow(clippy::too_many_arguments)] // Called once; a struct would only rename the arguments.
async fn try_write_down(
    store: &ClusterStore,
    auth: &Auth,
    operators: &Operators,
    map: &SharedMap,
    identity: &Identity,
    data: &DataDir,
    config: &Config,
    disks: &ChunkDisks,
) -> anyhow::Result<()> {
    let authority_path = data.tls().join("authority");
    if let Some(authority) = durable_file::read::<Authority>(&authority_path, "authority", 1)? {
        founding::found(store, identity, authority, config, now_ms()).await?;
        // The replicated settings hold it now.
        std::fs::remove_file(&authority_path)?;
    }
    let own = founding::node_record(identity, config, now_ms())?;
    let known = map.get().nodes.get(&identity.node_id).cloned();
    let known_weight = known.as_ref().and_then(|known| known.storage_weight);
    let own = NodeRecord {
        storage_weight: match chunks::is_resized(known_weight, disks.weight) {
            true => Some(disks.weight),
            false => known_weight,
        },
        chunk_disks: disks.markers.clone(),
        ..own
    };
    let set = bson::doc! { "$set": {
        "peer_address": &own.peer_address, "http_address": &own.http_address, "zone": &own.zone,
        "storage_weight": own.storage_weight, "chunk_disks": &own.chunk_disks,
    } };
    let told = |node: &NodeRecord| {
        (
            node.peer_address.clone(),
            node.http_address.clone(),
            node.zone.clone(),
            node.storage_weight,
            node.chunk_disks.clone(),
        )
    };
    if known.is_none_or(|known| told(&known) != told(&own)) {
        store.update::<bson::Document>(NODES, own.id, set).await?;
    }
    // Before key and environment, which readiness waits for.
    if let (Some(name), Some(password)) = (
        &config.bootstrap_operator,
        &config.bootstrap_operator_password,
    ) {
        let origin = Origin {
            by: format!("node:{}", identity.node_id),
            ..Origin::default()
        };
        operators.ensure_owner(&origin, name, password).await?;
    }
    if let (Some(id), Some(secret)) = (&config.bootstrap_secret_id, &config.bootstrap_secret_key) {
        founding::ensure_key(store, id, secret, None, now_ms()).await?;
    }
    if let Some(env) = &config.bootstrap_env {
        founding::ensure_env(store, map, env, now_ms(), None).await?;
        // Refused until this node has heard of the environment; the caller repeats this until it has.
        let scope = auth.scope(env, "start", config.request_timeout, None)?;
        auth.prepare(&scope).await?;
    }
    Ok(())
}
