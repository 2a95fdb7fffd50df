//! The door of the public gRPC surface: who calls, settled once for each stream.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use tonic::Status;
use tonic::metadata::MetadataMap;
use yunbase_client::auth::Authorization;

use crate::audit::record::Origin;
use crate::call::{Caller, Failure, KeyDirectory, Retry};
use crate::cluster::records::CLUSTER_ENV;
use crate::operators::access::Access;

/// Oldest (and furthest ahead) a signature may be: bounds how long a recorded one is worth anything,
/// and how wrong a client's clock may be.
const SIGNATURE_AGE_S_MAX: u64 = 300;
/// Stands in for the secret of an unknown key, so that refusing takes the same time.
const NO_SECRET: &str = "no such key";

/// An authenticated caller and the one environment that its key opens.
#[derive(Debug, Clone)]
pub struct Admitted {
    /// Who calls.
    pub caller: Caller,
    /// `None` = all environments.
    pub env: Option<String>,
    /// What it may do.
    pub access: Access,
    /// Where the call came from.
    pub address: Option<IpAddr>,
}

impl Admitted {
    /// Checks that the key opens `env` and that it exists.
    pub fn check_env(&self, keys: &dyn KeyDirectory, env: &str) -> Result<(), Failure> {
        if self.env.as_ref().is_some_and(|own| own != env) {
            return Err(Failure::new(
                "PERMISSION_DENIED",
                format!("this key does not open environment `{env}`"),
                Retry::Never,
            ));
        }
        // The cluster's own documents are not for callers: its services manage them.
        if env == CLUSTER_ENV || !keys.has_env(env) {
            return Err(Failure::new(
                "INVALID_ENV",
                format!("there is no environment `{env}`"),
                Retry::Never,
            ));
        }
        Ok(())
    }

    /// For the audit log: this caller, under `request_id`.
    pub fn origin(&self, request_id: &str) -> Origin {
        self.access.origin(self.address, request_id)
    }
}

/// The public half of the key that a call names, proven or not.
pub(crate) fn key_id(metadata: &MetadataMap) -> Option<&str> {
    let value = metadata.get("authorization")?.to_str().ok()?;
    match Authorization::parse(value).ok()? {
        Authorization::Bearer(token) => token.split_once('.').map(|(id, _)| id),
        Authorization::Signed(signed) => Some(signed.secret_id),
    }
}

/// Verifies the `authorization` metadata of a call of `method`.
pub fn admit(
    keys: &Arc<dyn KeyDirectory>,
    metadata: &MetadataMap,
    method: &str,
) -> Result<Admitted, Status> {
    let value = metadata
        .get("authorization")
        .and_then(|value| value.to_str().ok())
        .ok_or_else(|| Status::unauthenticated("the call carries no `authorization` metadata"))?;
    let parsed =
        Authorization::parse(value).map_err(|error| Status::unauthenticated(error.to_string()))?;
    let refused = || Status::unauthenticated("the key or its signature is not valid");
    let (key, proven) = match &parsed {
        Authorization::Bearer(token) => {
            let (id, secret) = token.split_once('.').ok_or_else(refused)?;
            let key = keys.find(id);
            let known = key.as_ref().map_or(NO_SECRET, |key| key.secret.as_str());
            let equal = bool::from(subtle::ConstantTimeEq::ct_eq(
                known.as_bytes(),
                secret.as_bytes(),
            ));
            (key, equal)
        }
        Authorization::Signed(signed) => {
            let now_s = SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |elapsed| elapsed.as_secs());
            if now_s.abs_diff(signed.timestamp_s) > SIGNATURE_AGE_S_MAX {
                return Err(Status::unauthenticated(
                    "the signature is too old: check the clock of this machine",
                ));
            }
            let key = keys.find(signed.secret_id);
            let known = key.as_ref().map_or(NO_SECRET, |key| key.secret.as_str());
            let valid = signed.verify(known, method);
            (key, valid)
        }
    };
    match key {
        // There is no place for its token here, and without it a temporary key must open nothing.
        Some(key) if proven && key.session_token.is_some() => Err(Status::unauthenticated(
            "a temporary key opens `POST /admin` only: use a permanent one",
        )),
        Some(key) if proven => Ok(Admitted {
            caller: Caller::Administrator {
                key_id: key.id.clone(),
            },
            env: key.env.clone(),
            access: Access::Key {
                id: key.id,
                env: key.env,
            },
            address: None,
        }),
        _ => Err(refused()),
    }
}
