//! Who asks, as a door has established, and the one question whether it may do what it asks for.

use std::net::IpAddr;
use std::sync::Arc;

use super::roles::{Action, Grant, Place, permits};
use crate::audit::record::Origin;
use crate::call::{Failure, Retry};

/// An operator as one of its sign-ins proves it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operator {
    /// Its name.
    pub name: String,
    /// What it may do.
    pub grants: Vec<Grant>,
    /// The sign-in.
    pub session: String,
}

/// What its credentials make of a caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Access {
    /// Holds a secret key: may do everything where that opens.
    Key {
        /// The public half.
        id: String,
        /// The one environment that it opens; `None` = all, and the cluster.
        env: Option<String>,
    },
    /// Is an operator: its roles decide.
    Operator(Arc<Operator>),
    /// An end user, or nobody: the rules of collections decide, and nothing here.
    User,
}

impl Access {
    /// Whether the caller may do `action` at `place`. The only place where that is decided.
    pub fn check(&self, action: Action, place: Place<'_>) -> Result<(), Failure> {
        match (self, place) {
            (Self::Key { env: None, .. }, _) => Ok(()),
            (Self::User, _) => Err(denied(format!(
                "`{}` needs a secret key or an operator: end users may not do it",
                action.name()
            ))),
            (Self::Key { env: Some(own), .. }, Place::Environment(env)) if own == env => Ok(()),
            (Self::Key { .. }, Place::Environment(env)) => Err(denied(format!(
                "this key does not open environment `{env}`"
            ))),
            (Self::Key { env: Some(own), .. }, _) => Err(denied(format!(
                "managing the cluster needs a key for all environments; this one opens `{own}` only"
            ))),
            (Self::Operator(operator), place) => {
                if permits(&operator.grants, action, place) {
                    return Ok(());
                }
                let roles: Vec<String> = operator.grants.iter().map(Grant::to_string).collect();
                let place = match place {
                    Place::Cluster => " in the cluster".to_owned(),
                    Place::Environment(env) => format!(" in environment `{env}`"),
                    Place::Anywhere => String::new(),
                };
                Err(denied(format!(
                    "operator `{}` ({}) may not do `{}`{place}: ask an owner for a role that may",
                    operator.name,
                    if roles.is_empty() {
                        "without a role".to_owned()
                    } else {
                        roles.join(", ")
                    },
                    action.name(),
                )))
            }
        }
    }

    /// Whether the caller may.
    pub fn allows(&self, action: Action, place: Place<'_>) -> bool {
        self.check(action, place).is_ok()
    }

    /// The operator, if it is one.
    pub fn operator(&self) -> Option<&Arc<Operator>> {
        match self {
            Self::Operator(operator) => Some(operator),
            Self::Key { .. } | Self::User => None,
        }
    }

    /// Its name in the audit log.
    pub fn by(&self) -> String {
        match self {
            Self::Key { id, .. } => format!("key:{id}"),
            Self::Operator(operator) => by_operator(&operator.name),
            Self::User => "unknown".to_owned(),
        }
    }

    /// For the audit log: this caller, from `address`, under `request_id`.
    pub fn origin(&self, address: Option<IpAddr>, request_id: &str) -> Origin {
        Origin {
            by: self.by(),
            from: address
                .map(|address| address.to_string())
                .unwrap_or_default(),
            request_id: request_id.to_owned(),
        }
    }
}

/// The name of an operator in the audit log.
pub fn by_operator(name: &str) -> String {
    format!("operator:{name}")
}

fn denied(message: String) -> Failure {
    Failure::new("PERMISSION_DENIED", message, Retry::Never)
}
