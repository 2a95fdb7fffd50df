//! What end users may watch: what the rules of the collection let them read, as long as those rules and the user's session
//! are in force.
//!
//! Rules are compiled when a watch opens or resumes: `now` and `get()` in them have the values of that moment. When the
//! rules of a collection change, its watches end and their clients ask anew.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bson::{RawDocument, RawDocumentBuf};
use futures::future::BoxFuture;

use super::access::{Access, Grant, KeysOnly, Standing};
use crate::auth::Auth;
use crate::call::{Caller, Failure};
use crate::router::Router;
use crate::rules::fill_in;
use crate::rules::refusal::DENIED;

/// Longest that a decision may take.
const DECISION_TIMEOUT: Duration = Duration::from_secs(5);

/// Administrators by their key, end users by rules and session.
pub struct ByRules {
    keys: KeysOnly,
    router: Arc<Router>,
    auth: Arc<Auth>,
}

impl ByRules {
    /// Decides by `keys`, the rules that `router` knows, and the sessions of `auth`.
    pub fn new(keys: KeysOnly, router: Arc<Router>, auth: Arc<Auth>) -> Self {
        Self { keys, router, auth }
    }
}

impl Access for ByRules {
    fn admit<'a>(
        &'a self,
        caller: &'a Caller,
        env: &'a str,
        collection: &'a str,
        query: &'a RawDocument,
    ) -> BoxFuture<'a, Result<Grant, Failure>> {
        let Caller::User(user) = caller else {
            return self.keys.admit(caller, env, collection, query);
        };
        Box::pin(async move {
            let deadline = Instant::now() + DECISION_TIMEOUT;
            let readable = self.router.readable(user, env, collection, query, deadline);
            match readable.await {
                Ok((restriction, version)) => Ok(Grant {
                    restriction,
                    version,
                }),
                Err(mut failure) => {
                    if failure.code == DENIED {
                        failure.code = "COLLECTION_PERMISSION_DENIED".into();
                    }
                    Err(failure)
                }
            }
        })
    }

    fn fill(&self, caller: &Caller, query: RawDocumentBuf) -> Result<RawDocumentBuf, Failure> {
        match caller {
            Caller::User(user) => fill_in(&query, user),
            Caller::Administrator { .. } | Caller::System => Ok(query),
        }
    }

    fn holds<'a>(
        &'a self,
        caller: &'a Caller,
        env: &'a str,
        collection: &'a str,
        grant: &'a Grant,
    ) -> BoxFuture<'a, bool> {
        let holds = match caller {
            Caller::User(_) => self.router.rules_version(env, collection) == Some(grant.version),
            Caller::Administrator { .. } | Caller::System => true,
        };
        Box::pin(std::future::ready(holds))
    }

    fn standing<'a>(&'a self, caller: &'a Caller, env: &'a str) -> BoxFuture<'a, Standing> {
        let Caller::User(user) = caller else {
            return self.keys.standing(caller, env);
        };
        Box::pin(async move {
            let Ok(scope) = self.auth.scope(env, "realtime", DECISION_TIMEOUT, None) else {
                return Standing::Ended;
            };
            match self.auth.check_session(&scope, user).await {
                Ok(()) => Standing::Good,
                Err(_) => Standing::Ended,
            }
        })
    }
}
