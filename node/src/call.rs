//! One request as everything behind the gateway sees it: who asks, which environment, what, and until when.
//!
//! Identity is settled at the door: nothing behind the surfaces parses a token or a signature.

use std::borrow::Cow;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use serde::{Deserialize, Serialize};
use yunbase_docdb::op::{Op, OpReply};

use crate::cluster::records::CLUSTER_ENV;
use crate::storage::record::FILES;

/// Who asks, as the door has established.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Caller {
    /// Holds a secret key of the environment (or of the whole cluster): collection rules do not apply.
    Administrator {
        /// The public half of the key, for logs and audit.
        key_id: String,
    },
    /// An end user of the environment: its collection rules decide.
    User(Arc<EndUser>),
    /// The node itself: import of its own metadata, index builders.
    System,
}

/// An end user as an access token proves it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndUser {
    /// The `_id` of the user's document.
    pub uid: String,
    /// What `_openid` of the user's documents is: the WeChat openid where there is one, else `uid`.
    pub openid: String,
    /// How the user signed in.
    pub login_type: LoginType,
    /// The `_id` of the sign-in session. A session that was revoked opens nothing any more.
    pub session: String,
}

/// How an end user signed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum LoginType {
    /// Without any proof of identity.
    Anonymous,
    /// User name and password.
    Username,
    /// E-mail address.
    Email,
    /// Phone number.
    Phone,
    /// A ticket of the developer's own server.
    Custom,
    /// WeChat Mini Program login.
    Wechat,
}

impl LoginType {
    /// As rules (`auth.loginType`) and `auth.getUserInfo` spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Anonymous => "ANONYMOUS",
            Self::Username => "USERNAME",
            Self::Email => "EMAIL",
            Self::Phone => "PHONE",
            Self::Custom => "CUSTOM",
            Self::Wechat => "WECHAT",
        }
    }
}

/// How fresh a read must be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ReadLevel {
    /// Sees every write acknowledged before it began.
    #[default]
    Linearizable,
    /// From the leader under its lease.
    Lease,
    /// From this node's replica as it is.
    Stale,
}

/// Names a mutating request for exactly-once: a retry carries the same pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionSequence {
    /// The session, as the state machine gave it out.
    pub session: u64,
    /// Grows by one with each new mutating request of the session.
    pub sequence: u64,
}

/// One authenticated request.
#[derive(Debug, Clone)]
pub struct Call {
    /// Who asks.
    pub caller: Caller,
    /// The environment to act on.
    pub env: String,
    /// What to do.
    pub op: Op,
    /// The caller's own exactly-once name; without it the node uses a session of its own.
    pub session: Option<SessionSequence>,
    /// Freshness of reads.
    pub read_level: ReadLevel,
    /// When the caller stops waiting.
    pub deadline: Instant,
    /// Travels through logs and into every error.
    pub request_id: String,
}

/// What a caller may do after a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// The same request fails the same way.
    Never,
    /// Nothing happened: try again.
    Safe,
    /// Unknown outcome: only a retry under the same session and sequence settles it.
    SameSequence,
}

/// A failed request, ready for any surface.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct Failure {
    /// The code that the CloudBase clients know.
    pub code: Cow<'static, str>,
    /// One sentence that says what to do.
    pub message: String,
    /// Whether a retry makes sense.
    pub retry: Retry,
}

impl Failure {
    /// A failure of class `code`.
    pub fn new(
        code: impl Into<Cow<'static, str>>,
        message: impl Into<String>,
        retry: Retry,
    ) -> Self {
        Self {
            code: code.into(),
            message: message.into(),
            retry,
        }
    }
}

impl From<yunbase_docdb::Error> for Failure {
    fn from(error: yunbase_docdb::Error) -> Self {
        let retry = match error.code {
            // The state machine did not know the session, so this attempt did nothing. Whether an earlier one did
            // is for whoever made it to know.
            yunbase_docdb::ErrorCode::SessionExpired => Retry::Safe,
            // Nothing happened; the router compiles the rules again and tries again.
            yunbase_docdb::ErrorCode::AccessChanged => Retry::Safe,
            _ => Retry::Never,
        };
        Self::new(error.code.as_str(), error.message, retry)
    }
}

/// The future of a running call.
pub type CallFuture = Pin<Box<dyn Future<Output = Result<OpReply, Failure>> + Send>>;

/// Whoever carries out calls: the router of this node, or a stand-in in a test.
pub trait Execute: Send + Sync + 'static {
    /// Carries out `call`, wherever in the cluster that happens, and answers by its deadline.
    fn execute(&self, call: Call) -> CallFuture;
}

/// Prefixes of the names of system collections.
const SYSTEM_PREFIXES: [&str; 2] = ["_sys.", "_cluster."];

/// Refuses system collections to everybody but the node itself: they hold password hashes and signing keys, and what
/// they say is believed.
pub fn check_collection(caller: &Caller, op: &Op) -> Result<(), Failure> {
    let is_system = |name: &str| {
        SYSTEM_PREFIXES
            .iter()
            .any(|prefix| name.starts_with(prefix))
    };
    // What end users may do with files is for administrators to say, as with any collection of theirs.
    if let (Caller::Administrator { .. }, Op::SetAccess { .. } | Op::GetAccess { .. }) =
        (caller, op)
        && op.collection() == Some(FILES)
    {
        return Ok(());
    }
    let is_system = match op {
        Op::Commit(transaction) => transaction.collections().any(is_system),
        Op::CommitChecked(checked) => checked.collections().any(is_system),
        Op::RenameCollection { collection, to } => is_system(collection) || is_system(to),
        op => op.collection().is_some_and(is_system),
    };
    if is_system && *caller != Caller::System {
        return Err(Failure::new(
            "DATABASE_PERMISSION_DENIED",
            "collections whose names begin with `_sys.` or `_cluster.` belong to the system: use the calls that manage them",
            Retry::Never,
        ));
    }
    Ok(())
}

/// Refuses the cluster's own environment to everybody but the node itself: it holds the keys of all others.
pub fn check_environment(caller: &Caller, env: &str) -> Result<(), Failure> {
    if env == CLUSTER_ENV && *caller != Caller::System {
        return Err(Failure::new(
            "INVALID_ENV",
            format!("there is no environment `{env}`"),
            Retry::Never,
        ));
    }
    Ok(())
}

/// A secret key as the door needs it.
#[derive(Clone)]
pub struct SecretKey {
    /// The public half.
    pub id: String,
    /// The secret half. Never logged: this type has no `Debug`.
    pub secret: String,
    /// The one environment the key opens, or `None` for all.
    pub env: Option<String>,
    /// What must come with every request made with a temporary key; `None` for a permanent one.
    pub session_token: Option<String>,
    /// When the key ceases to open anything, in milliseconds since 1970; `None` = never.
    pub expires_at_ms: Option<i64>,
}

impl SecretKey {
    /// Whether the key still opens anything at `now_ms`.
    pub fn in_force(&self, now_ms: i64) -> bool {
        self.expires_at_ms.is_none_or(|end| now_ms < end)
    }
}

/// Looks up secret keys and environments. Answers from this node's replica, so a lookup never leaves the process.
pub trait KeyDirectory: Send + Sync + 'static {
    /// The key with this public half.
    fn find(&self, id: &str) -> Option<SecretKey>;
    /// Whether an environment of this name exists.
    fn has_env(&self, env: &str) -> bool;
    /// Learns of everything that was acknowledged anywhere before the call, as far as that is possible until `deadline`:
    /// what is still unknown then does not exist.
    fn catch_up(&self, _deadline: Instant) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(std::future::ready(()))
    }
    /// What a request means that names no environment: the only one there is, else `None`.
    fn only_env(&self) -> Option<String> {
        None
    }
}

/// Checks access tokens of end users.
pub trait TokenVerifier: Send + Sync + 'static {
    /// Who holds `token`, if it is one of `env`'s, well signed and in force at `now_ms`.
    ///
    /// Refuses with `ACCESS_TOKEN_EXPIRED` when only its time has passed (clients then refresh it), and with
    /// `INVALID_ACCESS_TOKEN` otherwise. Says nothing about revocation, which is checked with each call's data.
    fn verify(&self, env: &str, token: &str, now_ms: i64) -> Result<Arc<EndUser>, Failure>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn system_collections_are_for_the_node_alone() {
        let count = |collection: &str| Op::Count {
            collection: collection.to_owned(),
            filter: bson::RawDocumentBuf::new(),
        };
        let administrator = Caller::Administrator { key_id: "k".into() };
        let user = Caller::User(Arc::new(EndUser {
            uid: "u".into(),
            openid: "u".into(),
            login_type: LoginType::Username,
            session: "s".into(),
        }));
        for name in ["_sys.users", "_sys.", "_cluster.nodes"] {
            assert_eq!(check_collection(&Caller::System, &count(name)), Ok(()));
            for caller in [&administrator, &user] {
                for op in [count(name), Op::Explain(Box::new(count(name)))] {
                    let refused = check_collection(caller, &op).unwrap_err();
                    assert_eq!(refused.code, "DATABASE_PERMISSION_DENIED");
                }
            }
        }
        let get_access = |collection: &str| Op::GetAccess {
            collection: collection.to_owned(),
        };
        assert_eq!(check_collection(&administrator, &get_access(FILES)), Ok(()));
        assert!(check_collection(&user, &get_access(FILES)).is_err());
        assert!(check_collection(&administrator, &count(FILES)).is_err());
        assert!(check_collection(&administrator, &get_access("_sys.users")).is_err());
        for name in ["users", "sys.users", "_sysusers", "x_sys."] {
            assert_eq!(check_collection(&administrator, &count(name)), Ok(()));
        }
        assert_eq!(check_environment(&Caller::System, CLUSTER_ENV), Ok(()));
        for caller in [&administrator, &user] {
            assert!(check_environment(caller, CLUSTER_ENV).is_err());
            assert_eq!(check_environment(caller, "demo"), Ok(()));
        }
        let rename = |collection: &str, to: &str| Op::RenameCollection {
            collection: collection.to_owned(),
            to: to.to_owned(),
        };
        for op in [rename("a", "_sys.keys"), rename("_cluster.nodes", "a")] {
            assert!(check_collection(&administrator, &op).is_err());
        }
        assert_eq!(check_collection(&administrator, &rename("a", "b")), Ok(()));
    }
}
