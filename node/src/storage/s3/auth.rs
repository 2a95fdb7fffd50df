//! Who asks, and which buckets that opens: the secret keys of environments are the keys of S3, and a bucket is an
//! environment.
//!
//! `s3s` checks signatures (version 4, in headers, in addresses and chunk by chunk) with the secret that it is given
//! here. What it does not know is checked afterwards, before anything of the request is looked at: the session token of
//! a temporary key, the longest life of an address, the bucket.

use std::sync::Arc;
use std::time::Instant;

use axum::http::Extensions;
use s3s::access::{S3Access, S3AccessContext};
use s3s::auth::S3Auth;
use s3s::validation::NameValidation;
use s3s::{S3Error, S3Response, S3Result, s3_error};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::limits::{CATCH_UP_TIMEOUT, PRESIGNED_LIFE_MAX};
use crate::call::{KeyDirectory, SecretKey};
use crate::cluster::founding::check_env_name;
use crate::cluster::records::CLUSTER_ENV;
use crate::gateway::Clock;
use crate::identity::random_id;
use crate::storage::files::Scope;

/// The id of a request, put into its extensions where it comes in.
#[derive(Debug, Clone)]
pub(super) struct RequestId(pub(super) String);

/// A request whose signature has been checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Asked {
    /// The one environment that the key opens; `None` = all.
    pub(super) env: Option<String>,
    /// Travels through logs and into every error.
    pub(super) request_id: String,
}

impl Asked {
    /// What the check has left in the extensions of a request.
    pub(super) fn of(extensions: &Extensions) -> S3Result<Self> {
        extensions
            .get::<Self>()
            .cloned()
            .ok_or_else(|| s3_error!(AccessDenied, "the request was not checked"))
    }

    /// Whether the key opens a bucket that there may be.
    pub(super) fn opens(&self, bucket: &str) -> bool {
        self.env.as_deref().is_none_or(|env| env == bucket)
    }

    /// A bucket as the files know it.
    pub(super) fn scope(&self, bucket: &str) -> Scope {
        Scope {
            env: bucket.to_owned(),
            request_id: self.request_id.clone(),
        }
    }

    /// An outcome with the id of the request in its error.
    pub(super) fn tell<T>(&self, outcome: S3Result<T>) -> S3Result<S3Response<T>> {
        outcome
            .map(S3Response::new)
            .map_err(|error| self.sign(error))
    }

    fn sign(&self, mut error: S3Error) -> S3Error {
        error.set_request_id(self.request_id.clone());
        error
    }
}

/// The keys and environments of the cluster as S3 asks for them.
#[derive(Clone)]
pub(super) struct Keyring {
    directory: Arc<dyn KeyDirectory>,
    clock: Arc<dyn Clock>,
}

impl Keyring {
    pub(super) fn new(directory: Arc<dyn KeyDirectory>, clock: Arc<dyn Clock>) -> Self {
        Self { directory, clock }
    }

    /// Refuses a bucket that the key does not open, and one that is not there. A key for one environment gets the same
    /// answer for every other, existing or not.
    pub(super) async fn check_bucket(&self, asked: &Asked, bucket: &str) -> S3Result<()> {
        if !asked.opens(bucket) {
            return Err(s3_error!(
                AccessDenied,
                "the key does not open this bucket: use one that was made for its environment"
            ));
        }
        if bucket != CLUSTER_ENV {
            if self.directory.has_env(bucket) {
                return Ok(());
            }
            // Perhaps it was made through another node a moment ago.
            let deadline = Instant::now() + CATCH_UP_TIMEOUT;
            self.directory.catch_up(deadline).await;
            if self.directory.has_env(bucket) {
                return Ok(());
            }
        }
        Err(s3_error!(
            NoSuchBucket,
            "there is no environment of this name: make it with `yunbase env create`"
        ))
    }

    async fn find(&self, id: &str) -> S3Result<SecretKey> {
        let mut key = self.directory.find(id);
        if key.is_none() {
            let deadline = Instant::now() + CATCH_UP_TIMEOUT;
            self.directory.catch_up(deadline).await;
            key = self.directory.find(id);
        }
        let key = key.ok_or_else(|| {
            s3_error!(
                InvalidAccessKeyId,
                "there is no such key: `yunbase key list` shows those that there are"
            )
        })?;
        if key.in_force(self.clock.now_unix_ms()) {
            return Ok(key);
        }
        Err(s3_error!(
            ExpiredToken,
            "this temporary key has come to its end: get a new one"
        ))
    }

    /// Everything about a signed request that its signature does not say.
    async fn admit(&self, claim: &Claim) -> S3Result<Asked> {
        let key = self.find(&claim.key_id).await?;
        check_session_token(&key, claim.session_token.as_deref())?;
        check_life(claim.presigned_life.as_deref())?;
        let asked = Asked {
            env: key.env,
            request_id: claim.request_id.clone(),
        };
        if let Some(bucket) = &claim.bucket {
            if claim.creates_bucket {
                // Answered by itself: the bucket need not be there.
                return Ok(asked);
            }
            self.check_bucket(&asked, bucket).await?;
            if claim.owner.as_ref().is_some_and(|owner| owner != bucket) {
                return Err(s3_error!(
                    AccessDenied,
                    "the owner of a bucket has its name: leave x-amz-expected-bucket-owner out"
                ));
            }
        }
        Ok(asked)
    }
}

#[async_trait::async_trait]
impl S3Auth for Keyring {
    async fn get_secret_key(&self, access_key: &str) -> S3Result<s3s::auth::SecretKey> {
        let key = self.find(access_key).await?;
        Ok(s3s::auth::SecretKey::from(key.secret))
    }
}

#[async_trait::async_trait]
impl S3Access for Keyring {
    async fn check(&self, cx: &mut S3AccessContext<'_>) -> S3Result<()> {
        let claim = Claim::of(cx)?;
        let asked = self.admit(&claim).await.map_err(|mut error| {
            error.set_request_id(claim.request_id.clone());
            error
        })?;
        cx.extensions_mut().insert(asked);
        Ok(())
    }
}

/// What a signed request says besides its signature.
struct Claim {
    key_id: String,
    session_token: Option<String>,
    presigned_life: Option<String>,
    bucket: Option<String>,
    owner: Option<String>,
    creates_bucket: bool,
    request_id: String,
}

impl Claim {
    fn of(cx: &mut S3AccessContext<'_>) -> S3Result<Self> {
        let request_id = cx
            .extensions_mut()
            .get::<RequestId>()
            .map_or_else(random_id, |id| id.0.clone());
        let Some(credentials) = cx.credentials() else {
            let mut error = s3_error!(
                AccessDenied,
                "the request is not signed: give the client the id and the secret of a key"
            );
            error.set_request_id(request_id);
            return Err(error);
        };
        let header = |name: &str| {
            let value = cx.headers().get(name)?.to_str().ok()?;
            Some(value.to_owned())
        };
        let query = cx.uri().query().unwrap_or_default();
        let parameter = |name: &str| {
            form_urlencoded::parse(query.as_bytes())
                .find(|(key, _)| key == name)
                .map(|(_, value)| value.into_owned())
        };
        Ok(Self {
            key_id: credentials.access_key.clone(),
            session_token: header("x-amz-security-token")
                .or_else(|| parameter("X-Amz-Security-Token"))
                .filter(|token| !token.is_empty()),
            presigned_life: parameter("X-Amz-Expires"),
            bucket: cx.s3_path().get_bucket_name().map(str::to_owned),
            owner: header("x-amz-expected-bucket-owner"),
            creates_bucket: cx.s3_op().name() == "CreateBucket",
            request_id,
        })
    }
}

/// A temporary key counts with its own session token only, and a permanent one without any.
fn check_session_token(key: &SecretKey, given: Option<&str>) -> S3Result<()> {
    let own = key.session_token.as_deref();
    let fits = match (own, given) {
        (None, None) => true,
        (Some(own), Some(given)) => Sha256::digest(given).ct_eq(&Sha256::digest(own)).into(),
        _ => false,
    };
    if fits {
        return Ok(());
    }
    Err(match own {
        Some(_) => s3_error!(
            InvalidToken,
            "this is a temporary key: give the client the session token that was issued with it"
        ),
        None => s3_error!(
            InvalidToken,
            "the session token does not belong to this key: remove it"
        ),
    })
}

/// Refuses an address that was made to live for too long.
fn check_life(presigned: Option<&str>) -> S3Result<()> {
    let Some(text) = presigned else {
        return Ok(());
    };
    let seconds_max = PRESIGNED_LIFE_MAX.as_secs();
    if text.parse::<u64>().is_ok_and(|life| life <= seconds_max) {
        return Ok(());
    }
    Err(s3_error!(
        AuthorizationQueryParametersError,
        "X-Amz-Expires must be at most {seconds_max} seconds"
    ))
}

/// Buckets are called like environments, which may be called what no bucket of AWS could be.
pub(super) struct EnvironmentNames;

impl NameValidation for EnvironmentNames {
    fn validate_bucket_name(&self, name: &str) -> bool {
        check_env_name(name).is_ok()
    }
}

#[cfg(test)]
#[path = "auth_test.rs"]
mod tests;
