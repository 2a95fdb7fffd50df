//! What ends the watches of end users: the change log tells of new access rules and of sign-ins that were ended, and a
//! watch gets nothing from there on.

use yunbase_docdb::change_log::{Change, ChangeKind};

use super::query::WatchQuery;
use crate::auth::records::SESSIONS;
use crate::call::{EndUser, Failure, Retry};

/// A change that ends watches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The access rules of a collection were set.
    Rules { env: String, collection: String },
    /// A sign-in was ended.
    Session { env: String, id: String },
}

impl Ending {
    /// What `change` ends, if anything.
    pub(crate) fn of(change: &Change) -> Option<Self> {
        let env = || change.env.clone();
        match change.kind {
            ChangeKind::SetAccess => Some(Self::Rules {
                env: env(),
                collection: change.collection.clone(),
            }),
            ChangeKind::Remove if change.collection == SESSIONS => Some(Self::Session {
                env: env(),
                id: change.id()?.as_str()?.to_owned(),
            }),
            _ => None,
        }
    }

    /// Why a watch of `query` by `user` ends; `None` when it does not.
    pub(crate) fn ends(&self, query: &WatchQuery, user: &EndUser) -> Option<Failure> {
        match self {
            Self::Rules { env, collection } => {
                (query.env == *env && query.collection == *collection).then(|| {
                    let message = "what the caller may read has changed: open the watch anew";
                    Failure::new("QUERYID_INVALID_ERROR", message, Retry::Never)
                })
            }
            Self::Session { env, id } => (query.env == *env && user.session == *id).then(|| {
                let message = "the sign-in has been ended: sign in again";
                Failure::new("COLLECTION_PERMISSION_DENIED", message, Retry::Never)
            }),
        }
    }
}
