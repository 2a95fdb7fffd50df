//! Founding a cluster: its collections, its settings, its first member, and what its configuration asks for.
//!
//! Every step may be repeated, so a crash in the middle is finished by the next start.

use super::changes::Changes;
use super::map::SharedMap;
use super::records::{
    CLUSTER_ENV, ENVIRONMENTS, EnvRecord, KEYS, KeyRecord, NODES, NodeRecord, SETTINGS,
    SETTINGS_ID, SettingsRecord,
};
use super::store::ClusterStore;
use crate::audit::Entry;
use crate::call::{Failure, Retry};
use crate::config::Config;
use crate::identity::{Identity, random_id};
use crate::tls::Authority;

/// Longest name of an environment, as the official clients allow it.
const ENV_NAME_BYTES_MAX: usize = 64;

/// Writes what the founder of a cluster must write.
pub async fn found(
    store: &ClusterStore,
    identity: &Identity,
    authority: Authority,
    config: &Config,
    now_ms: i64,
) -> Result<(), Failure> {
    for collection in [NODES, ENVIRONMENTS, KEYS, SETTINGS] {
        store.ensure_collection(collection).await?;
    }
    let settings = SettingsRecord {
        id: SETTINGS_ID.to_owned(),
        cluster_id: identity.cluster_id.clone(),
        groups: i64::from(identity.groups) - 1,
        replicas: i64::from(config.replicas),
        next_node_id: 2,
        join_secret: random_id(),
        authority_certificate: authority.certificate,
        authority_key: authority.key,
    };
    store.insert(SETTINGS, &settings).await?;
    store
        .insert(NODES, &node_record(identity, config, now_ms)?)
        .await?;
    Ok(())
}

/// This node's own record.
pub fn node_record(
    identity: &Identity,
    config: &Config,
    now_ms: i64,
) -> Result<NodeRecord, Failure> {
    Ok(NodeRecord {
        id: i64::try_from(identity.node_id)
            .map_err(|_| Failure::new("SYS_ERR", "the node id is out of range", Retry::Never))?,
        disk_id: identity.disk_id.clone(),
        peer_address: config.peer_advertise.clone(),
        http_address: config.http_advertise.clone(),
        zone: config.zone.clone(),
        joined_at_ms: now_ms,
        leaving_since_ms: None,
        storage_weight: None,
        chunk_disks: Vec::new(),
    })
}

/// Creates an environment unless it exists; says whether it did and where the environment lives. An entry of the audit log
/// becomes part of the commit that creates it.
pub async fn ensure_env(
    store: &ClusterStore,
    map: &SharedMap,
    name: &str,
    now_ms: i64,
    entry: Option<Entry>,
) -> Result<(bool, u32), Failure> {
    check_env_name(name)?;
    if let Some(present) = store
        .find::<EnvRecord>(ENVIRONMENTS, bson::doc! { "_id": name })
        .await?
        .into_iter()
        .next()
    {
        return Ok((false, u32::try_from(present.group).unwrap_or(0)));
    }
    let group = map.get().emptiest_group().0;
    let record = EnvRecord {
        name: name.to_owned(),
        group: i64::from(group),
        created_at_ms: now_ms,
        signing_keys: Vec::new(),
    };
    let mut changes = Changes::default();
    changes.add(ENVIRONMENTS, name, &record)?;
    if let Some(entry) = entry {
        changes.tell(entry);
    }
    let created = store.commit(changes).await?;
    Ok((created, group))
}

/// Creates a key unless one with its public half exists.
pub async fn ensure_key(
    store: &ClusterStore,
    id: &str,
    secret: &str,
    env: Option<String>,
    now_ms: i64,
) -> Result<(), Failure> {
    let record = KeyRecord {
        id: id.to_owned(),
        secret: secret.to_owned(),
        env,
        created_at_ms: now_ms,
        session_token: None,
        expires_at_ms: None,
    };
    store.insert(KEYS, &record).await.map(drop)
}

/// Whether an environment may have this name.
pub fn check_env_name(name: &str) -> Result<(), Failure> {
    let well_formed = !name.is_empty()
        && name.len() <= ENV_NAME_BYTES_MAX
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
        && !name.starts_with('_');
    if well_formed && name != CLUSTER_ENV {
        return Ok(());
    }
    Err(Failure::new(
        "INVALID_PARAM",
        format!(
            "`{name}` cannot name an environment: use up to {ENV_NAME_BYTES_MAX} letters, digits, `-` and `_`, not beginning with `_`"
        ),
        Retry::Never,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn environment_names_are_checked() {
        for good in ["demo", "prod-1", "a_b"] {
            assert!(check_env_name(good).is_ok(), "{good}");
        }
        for bad in ["", "_cluster", "a.b", "ü", &"x".repeat(65)] {
            assert!(check_env_name(bad).is_err(), "{bad}");
        }
    }
}
