//! The documents of operators, in the cluster's own environment.

use serde::{Deserialize, Serialize};

use super::roles::{Grant, Role};

/// Operators: [`OperatorRecord`].
pub const OPERATORS: &str = "operators";
/// Their sign-ins: [`OperatorSession`].
pub const OPERATOR_SESSIONS: &str = "operator_sessions";

/// Somebody who runs the cluster or builds on it, by the command line or the console.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperatorRecord {
    /// The name to sign in with, in lower case.
    #[serde(rename = "_id")]
    pub name: String,
    /// Hash of the password, a PHC string.
    pub password: String,
    /// What it may do and where.
    pub grants: Vec<Grant>,
    /// Counts changes of the password: a sign-in under an older number has ended.
    pub credential_version: i64,
    /// Milliseconds since 1970.
    pub created_at_ms: i64,
    /// Milliseconds since 1970.
    pub updated_at_ms: i64,
}

impl OperatorRecord {
    /// Whether it may do everything.
    pub fn is_owner(&self) -> bool {
        self.grants.iter().any(|grant| grant.role == Role::Owner)
    }
}

/// A sign-in. Ending it is removing it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperatorSession {
    /// Its id, in both tokens.
    #[serde(rename = "_id")]
    pub id: String,
    /// Whose it is.
    pub operator: String,
    /// [`OperatorRecord::credential_version`] at its beginning.
    pub credential_version: i64,
    /// Refresh tokens given out before the current one.
    pub generation: i64,
    /// Hash of the current refresh token's secret.
    #[serde(with = "serde_bytes")]
    pub refresh_hash: Vec<u8>,
    /// Makes each secret from the one before it, so that a repeated refresh gets the same answer.
    #[serde(with = "serde_bytes")]
    pub seed: Vec<u8>,
    /// Hash of the current access token's secret.
    #[serde(with = "serde_bytes")]
    pub access_hash: Vec<u8>,
    /// When that token ends.
    pub access_until_ms: i64,
    /// Hash of the access token's secret before that.
    #[serde(with = "serde_bytes")]
    pub previous_access_hash: Vec<u8>,
    /// When that one ends.
    pub previous_access_until_ms: i64,
    /// Where it was begun.
    pub from: String,
    /// Milliseconds since 1970.
    pub created_at_ms: i64,
    /// When the current tokens were given out.
    pub refreshed_at_ms: i64,
    /// When it ends unless it is refreshed.
    pub expires_at_ms: i64,
    /// When it ends in any case.
    pub ends_at_ms: i64,
}
