//! The cluster's own documents, in environment `_cluster` of group 0, and their collections.

use serde::{Deserialize, Serialize};

/// The environment that holds the cluster's own documents.
pub const CLUSTER_ENV: &str = "_cluster";
/// Nodes: [`NodeRecord`].
pub const NODES: &str = "nodes";
/// Nodes that were removed: [`RemovedNode`].
pub const REMOVED_NODES: &str = "removed_nodes";
/// Environments: [`EnvRecord`].
pub const ENVIRONMENTS: &str = "environments";
/// Secret keys: [`KeyRecord`].
pub const KEYS: &str = "keys";
/// One document, [`SettingsRecord`].
pub const SETTINGS: &str = "settings";
/// `_id` of the settings document.
pub const SETTINGS_ID: &str = "cluster";

/// A node of the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeRecord {
    /// Node id.
    #[serde(rename = "_id")]
    pub id: i64,
    /// Marker of its disk: a node that comes with another disk is another node.
    pub disk_id: String,
    /// Where its peers connect.
    pub peer_address: String,
    /// Where its clients connect.
    pub http_address: String,
    /// Failure domain.
    pub zone: String,
    /// Milliseconds since 1970.
    pub joined_at_ms: i64,
    /// When its removal was asked for, in milliseconds since 1970: no group is placed on it any more, and when none has it
    /// for a member, a [`RemovedNode`] takes the place of this record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leaving_since_ms: Option<i64>,
    /// Its share of the chunks of files: the size of its disks for chunks, in GiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage_weight: Option<i64>,
    /// Markers of its disks for chunks: new ones are empty, and everybody looks what has to be brought there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub chunk_disks: Vec<String>,
}

/// A node that was removed: its id and its disk are never let in again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemovedNode {
    /// Node id.
    #[serde(rename = "_id")]
    pub id: i64,
    /// Marker of its disk.
    pub disk_id: String,
    /// Milliseconds since 1970.
    pub removed_at_ms: i64,
}

/// An environment: a tenant with its own database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnvRecord {
    /// Its name.
    #[serde(rename = "_id")]
    pub name: String,
    /// The group that holds all of it.
    pub group: i64,
    /// Milliseconds since 1970.
    pub created_at_ms: i64,
    /// Public halves of the keys that sign its users' access tokens: here, so that every node can check a token
    /// without asking another, and forgets a withdrawn key with the commit.
    #[serde(default)]
    pub signing_keys: Vec<PublishedKey>,
}

/// The public half of a key that signs access tokens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublishedKey {
    /// The key's id, in the head of each token.
    pub kid: String,
    /// Grows with each key of the environment.
    pub number: i64,
    /// Uncompressed point on P-256.
    #[serde(with = "serde_bytes")]
    pub public_key: Vec<u8>,
    /// When it begins to sign, in milliseconds since 1970.
    pub active_from_ms: i64,
}

/// A secret key. Kept in the clear because request signatures are keyed with it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRecord {
    /// The public half.
    #[serde(rename = "_id")]
    pub id: String,
    /// The secret half.
    pub secret: String,
    /// The one environment that it opens; `None` = all.
    pub env: Option<String>,
    /// Milliseconds since 1970.
    pub created_at_ms: i64,
    /// Of a temporary key: what must come with every request made with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_token: Option<String>,
    /// Of a temporary key: its end, in milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at_ms: Option<i64>,
}

/// What concerns the whole cluster.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SettingsRecord {
    /// [`SETTINGS_ID`].
    #[serde(rename = "_id")]
    pub id: String,
    /// The cluster's id.
    pub cluster_id: String,
    /// Data groups, without group 0.
    pub groups: i64,
    /// Copies of each data group.
    pub replicas: i64,
    /// The id that the next new node gets.
    pub next_node_id: i64,
    /// Secret half of the join token.
    pub join_secret: String,
    /// PEM certificate of the cluster's authority.
    pub authority_certificate: String,
    /// PEM key of the cluster's authority.
    pub authority_key: String,
}
