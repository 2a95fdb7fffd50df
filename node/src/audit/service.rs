//! The gRPC service `Audit`: reading the logs, and notes of what many requests have done together.

use tonic::{Request, Response, Status};
use yunbase_client::proto;
use yunbase_client::proto::audit_server::{Audit as AuditRpc, AuditServer};
use yunbase_client::proto::note_movement_request::Movement;

use super::OK;
use super::read::AuditQuery;
use super::record::{Act, AuditRecord};
use crate::call::Failure;
use crate::cluster::records::CLUSTER_ENV;
use crate::operators::door::Door;
use crate::operators::roles::{Action, Place};

/// Largest request: none holds more than a few names.
const MESSAGE_BYTES_MAX: usize = 16 << 10;

/// The service.
pub struct AuditService {
    door: Door,
}

impl AuditService {
    /// A service that lets in who `door` does.
    pub fn new(door: Door) -> Self {
        Self { door }
    }

    /// The service as tonic mounts it.
    pub fn into_server(self) -> AuditServer<Self> {
        AuditServer::new(self).max_decoding_message_size(MESSAGE_BYTES_MAX)
    }

    fn require_env(&self, env: &str) -> Result<(), Status> {
        if env == CLUSTER_ENV || !self.door.keys().has_env(env) {
            let message = format!("there is no environment `{env}`");
            return Err(Status::not_found(message));
        }
        Ok(())
    }
}

#[allow(clippy::needless_pass_by_value)] // The shape that `map_err` wants.
fn status_of(failure: Failure) -> Status {
    let text = failure.to_string();
    match failure.code.as_ref() {
        "SERVER_TIMEOUT" | "RESOURCE_NOT_INITIAL" | "RESOURCE_INSUFFICIENT" => {
            Status::unavailable(text)
        }
        "EXCEED_REQUEST_LIMIT" => Status::resource_exhausted(text),
        _ => Status::internal(text),
    }
}

fn shown(record: AuditRecord) -> proto::AuditEntry {
    proto::AuditEntry {
        id: record.id,
        at_ms: record.at_ms,
        by: record.by,
        from: record.from,
        action: record.action,
        target: record.target,
        outcome: record.outcome,
        request_id: record.request_id,
        detail: record.detail,
    }
}

#[tonic::async_trait]
impl AuditRpc for AuditService {
    async fn read_audit(
        &self,
        request: Request<proto::ReadAuditRequest>,
    ) -> Result<Response<proto::ReadAuditResponse>, Status> {
        let env = request.get_ref().env.clone();
        let (action, place) = if env.is_empty() {
            (Action::ClusterAuditView, Place::Cluster)
        } else {
            (Action::AuditView, Place::Environment(&env))
        };
        let method = "/yunbase.v1.Audit/ReadAudit";
        self.door.authorize(&request, method, action, place).await?;
        let asked = request.into_inner();
        let env = if env.is_empty() {
            CLUSTER_ENV
        } else {
            self.require_env(&env)?;
            &env
        };
        let query = AuditQuery {
            since_ms: asked.since_ms,
            until_ms: asked.until_ms,
            by: asked.by,
            action: asked.action,
            limit: asked.limit,
        };
        let audit = self.door.operators().audit();
        let entries = audit.read(env, &query).await.map_err(status_of)?;
        Ok(Response::new(proto::ReadAuditResponse {
            entries: entries.into_iter().map(shown).collect(),
        }))
    }

    async fn note_movement(
        &self,
        request: Request<proto::NoteMovementRequest>,
    ) -> Result<Response<proto::NoteMovementResponse>, Status> {
        let asked = request.get_ref();
        let (action, needs) = match asked.movement() {
            Movement::Import => ("data.import", Action::DataWrite),
            Movement::Export => ("data.export", Action::DataRead),
            Movement::Delete => ("data.delete", Action::DataWrite),
            Movement::Unknown => {
                return Err(Status::invalid_argument("`movement` is missing"));
            }
        };
        let method = "/yunbase.v1.Audit/NoteMovement";
        let place = Place::Environment(&asked.env);
        let (_, origin) = self.door.authorize(&request, method, needs, place).await?;
        let asked = request.into_inner();
        self.require_env(&asked.env)?;
        let detail = if asked.begins {
            "begins, as the caller says".to_owned()
        } else {
            format!("{} documents, as the caller says", asked.documents)
        };
        let act = Act::new(action, asked.collection).with(detail);
        let audit = self.door.operators().audit();
        audit.record(&asked.env, &origin, act, OK).await;
        Ok(Response::new(proto::NoteMovementResponse {}))
    }
}
