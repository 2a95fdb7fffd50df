//! Operators over one database, as any number of nodes see them.

use std::sync::Arc;
use std::time::Duration;

use super::roles::{Grant, Role};
use super::{OperatorLimits, Operators, SignedIn};
use crate::audit::Audit;
use crate::audit::read::AuditQuery;
use crate::audit::record::{AuditRecord, Origin};
use crate::auth::test_bed::Bed;
use crate::call::Execute;
use crate::cluster::records::CLUSTER_ENV;
use crate::cluster::store::ClusterStore;

pub(crate) const PASSWORD: &str = "correct horse battery";

/// Operators as one node of `bed` sees them.
pub(crate) fn node(bed: &Arc<Bed>) -> Arc<Operators> {
    let execute: Arc<dyn Execute> = bed.clone();
    let timeout = Duration::from_secs(5);
    Arc::new(Operators::new(
        ClusterStore::new(execute.clone(), timeout),
        Arc::new(bed.node()),
        Arc::new(Audit::new(execute, bed.clone())),
        bed.clone(),
        OperatorLimits::default(),
        timeout,
    ))
}

pub(crate) fn origin() -> Origin {
    Origin {
        by: "key:test".to_owned(),
        from: "192.0.2.7".to_owned(),
        request_id: "r".to_owned(),
    }
}

pub(crate) fn grant(role: Role, env: Option<&str>) -> Grant {
    Grant {
        role,
        env: env.map(str::to_owned),
    }
}

impl Operators {
    /// Adds an operator with [`PASSWORD`].
    pub(crate) async fn newcomer(&self, bed: &Bed, name: &str, grants: Vec<Grant>) {
        self.add(&origin(), &bed.map(), name, PASSWORD, grants)
            .await
            .unwrap();
    }

    /// Signs one in.
    pub(crate) async fn enter(&self, name: &str) -> SignedIn {
        let address = "192.0.2.7".parse().ok();
        self.sign_in(&origin(), address, name, PASSWORD)
            .await
            .unwrap()
    }

    /// The log of the cluster.
    pub(crate) async fn log(&self) -> Vec<AuditRecord> {
        let query = AuditQuery {
            limit: 1000,
            ..AuditQuery::default()
        };
        self.audit().read(CLUSTER_ENV, &query).await.unwrap()
    }

    /// The log in short: who, what, to what, with what outcome.
    pub(crate) async fn told(&self) -> Vec<String> {
        let told = |entry: AuditRecord| {
            format!(
                "{} {} {} {}",
                entry.by, entry.action, entry.target, entry.outcome
            )
        };
        self.log().await.into_iter().map(told).collect()
    }
}
