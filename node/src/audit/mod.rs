//! The audit log: who did what to the cluster and to environments, when, from where, and what came of it.
//!
//! Two kinds of logs, replicated like everything else: the cluster's (`audit` in environment `_cluster`) for operators,
//! keys, environments, membership and sign-ins of operators, and one in each environment (`_sys.audit`) for what
//! administrators do in it: collections, indexes, rules, end users, documents in bulk. What single requests do to
//! documents is not written down.
//!
//! Promises: entries are never changed, and only removed by age ([`append_only`]). An act that is one change of the
//! cluster's documents is written down in the same commit, so there is neither the one without the other; every other
//! act is written down right after it, with what came of it. No entry holds a secret, and all texts have bounds.
//!
//! | file | idea |
//! |---|---|
//! | `record` | an entry, and where it goes |
//! | `append_only` | what may be done to a log |
//! | `read` | pages of a log |
//! | `service` | the gRPC service `Audit` |
//! | `sweep` | removes what is older than the retention |
//! | `limits` | every bound, with its default |

pub mod append_only;
pub mod limits;
pub mod read;
pub mod record;
pub mod service;
pub mod sweep;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use bson::{RawDocumentBuf, rawdoc};
use yunbase_docdb::op::{Op, OpReply};
use yunbase_docdb::transaction::{ReadDocument, WrittenDocument};

use crate::call::{Call, Caller, Execute, Failure, ReadLevel};
use crate::cluster::records::CLUSTER_ENV;
use crate::gateway::{Clock, document_id};
use limits::{DETAIL_BYTES_MAX, REQUEST_ID_BYTES_MAX, TARGET_BYTES_MAX, WRITE_TIMEOUT};
use record::{Act, AuditRecord, Origin, bounded, collection_of, index_by_time};

/// What stands in an entry when the act was carried out.
pub const OK: &str = "ok";

/// The logs, as one node writes and reads them.
pub struct Audit {
    execute: Arc<dyn Execute>,
    clock: Arc<dyn Clock>,
    written: AtomicU32,
}

/// What a commit must hold so that an entry becomes part of it.
pub struct Entry {
    /// That there is none yet.
    pub read: ReadDocument,
    /// The entry.
    pub write: WrittenDocument,
}

impl Audit {
    /// The logs that `execute` reaches.
    pub fn new(execute: Arc<dyn Execute>, clock: Arc<dyn Clock>) -> Self {
        Self {
            execute,
            clock,
            written: AtomicU32::new(0),
        }
    }

    /// An entry for a commit to the cluster's documents.
    pub fn entry(&self, origin: &Origin, act: &Act) -> Result<Entry, Failure> {
        let record = self.record_of(origin, act, OK);
        let id = rawdoc! { "": record.id.as_str() };
        let collection = collection_of(CLUSTER_ENV).to_owned();
        Ok(Entry {
            read: ReadDocument {
                collection: collection.clone(),
                id: id.clone(),
                fingerprint: None,
            },
            write: WrittenDocument {
                collection,
                id,
                document: Some(raw(&record)?),
                is_replacement: false,
            },
        })
    }

    /// Writes down an act in `env` that has come to `outcome`. That this fails does not undo the act: it goes to the
    /// node's own log.
    pub async fn record(&self, env: &str, origin: &Origin, act: Act, outcome: &str) {
        let record = self.record_of(origin, &act, outcome);
        if let Err(failure) = self.append(env, &record).await {
            tracing::error!(
                env,
                by = record.by,
                action = record.action,
                target = record.target,
                outcome = record.outcome,
                request_id = record.request_id,
                %failure,
                "an act could not be written to the audit log"
            );
        }
    }

    fn record_of(&self, origin: &Origin, act: &Act, outcome: &str) -> AuditRecord {
        let at_ms = self.clock.now_unix_ms();
        AuditRecord {
            id: self.next_id(at_ms),
            at_ms,
            by: bounded(&origin.by, TARGET_BYTES_MAX),
            from: origin.from.clone(),
            action: act.action.to_owned(),
            target: bounded(&act.target, TARGET_BYTES_MAX),
            outcome: bounded(outcome, TARGET_BYTES_MAX),
            request_id: bounded(&origin.request_id, REQUEST_ID_BYTES_MAX),
            detail: bounded(&act.detail, DETAIL_BYTES_MAX),
        }
    }

    /// An id that sorts by time and, within a millisecond, by the order in which this node made it.
    fn next_id(&self, at_ms: i64) -> String {
        let count = self.written.fetch_add(1, Ordering::Relaxed);
        let random = document_id(at_ms);
        format!("{}{count:08x}{}", &random[..12], &random[20..])
    }

    async fn append(&self, env: &str, record: &AuditRecord) -> Result<(), Failure> {
        let op = Op::Insert {
            collection: collection_of(env).to_owned(),
            documents: vec![raw(record)?],
        };
        match self.run(env, op.clone()).await {
            Err(failure) if is_missing(&failure) => {
                self.create(env).await?;
                self.run(env, op).await.map(drop)
            }
            outcome => outcome.map(drop),
        }
    }

    /// Makes the log of `env`, should there be none.
    pub async fn create(&self, env: &str) -> Result<(), Failure> {
        let collection = collection_of(env).to_owned();
        let op = Op::CreateCollection {
            collection: collection.clone(),
        };
        match self.run(env, op).await {
            Err(failure) if failure.code != "DATABASE_COLLECTION_ALREADY_EXIST" => {
                return Err(failure);
            }
            _ => {}
        }
        let index = index_by_time();
        self.run(env, Op::CreateIndex { collection, index })
            .await
            .map(drop)
    }

    async fn run(&self, env: &str, op: Op) -> Result<OpReply, Failure> {
        self.execute
            .execute(Call {
                caller: Caller::System,
                env: env.to_owned(),
                op,
                session: None,
                read_level: ReadLevel::Linearizable,
                deadline: Instant::now() + WRITE_TIMEOUT,
                request_id: "audit".to_owned(),
            })
            .await
    }
}

fn is_missing(failure: &Failure) -> bool {
    failure.code == "DATABASE_COLLECTION_NOT_EXIST"
}

fn raw(record: &AuditRecord) -> Result<RawDocumentBuf, Failure> {
    bson::serialize_to_raw_document_buf(record).map_err(|error| {
        let message = format!("encode an entry of the audit log: {error}");
        Failure::new("SYS_ERR", message, crate::call::Retry::Never)
    })
}
