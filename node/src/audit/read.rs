//! Pages of a log.

use bson::{Document, RawDocumentBuf, doc};
use yunbase_docdb::op::{FindOp, Op, OpReply};

use super::limits::{PAGE_DEFAULT, PAGE_MAX};
use super::record::{AuditRecord, collection_of};
use super::{Audit, is_missing};
use crate::call::{Failure, Retry};

/// Which entries are asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuditQuery {
    /// Only entries from this time on; 0 = from the beginning.
    pub since_ms: i64,
    /// Only entries before this time; 0 = to the end.
    pub until_ms: i64,
    /// Only what this one did: `operator:alice`, `key:AKID…`, or a name alone for either.
    pub by: String,
    /// Only this action, or all that begin with it and a dot: `key` for `key.create` and `key.delete`.
    pub action: String,
    /// Most entries, the newest of those that match; 0 = 100.
    pub limit: u32,
}

impl Audit {
    /// The newest entries of the log of `env` that match, oldest first.
    pub async fn read(&self, env: &str, query: &AuditQuery) -> Result<Vec<AuditRecord>, Failure> {
        let limit = match query.limit {
            0 => PAGE_DEFAULT,
            limit => limit.min(PAGE_MAX),
        };
        let op = Op::Find {
            collection: collection_of(env).to_owned(),
            find: FindOp {
                filter: raw(&filter(query))?,
                sort: raw(&doc! { "at_ms": -1, "_id": -1 })?,
                limit: Some(u64::from(limit)),
                ..FindOp::default()
            },
        };
        match self.run(env, op).await {
            Ok(OpReply::Found { documents, .. }) => documents
                .iter()
                .rev()
                .map(|document| {
                    bson::deserialize_from_slice(document.as_bytes())
                        .map_err(|error| broken(&error.to_string()))
                })
                .collect(),
            Ok(_) => Err(broken("the database answered with another kind of reply")),
            // Nothing has happened yet.
            Err(failure) if is_missing(&failure) => Ok(Vec::new()),
            Err(failure) => Err(failure),
        }
    }
}

fn filter(query: &AuditQuery) -> Document {
    let mut filter = Document::new();
    let mut time = Document::new();
    if query.since_ms > 0 {
        time.insert("$gte", query.since_ms);
    }
    if query.until_ms > 0 {
        time.insert("$lt", query.until_ms);
    }
    if !time.is_empty() {
        filter.insert("at_ms", time);
    }
    match query.by.as_str() {
        "" => {}
        by if by.contains(':') || by == "unknown" => {
            filter.insert("by", by);
        }
        name => {
            let either = [format!("operator:{name}"), format!("key:{name}")];
            filter.insert("by", doc! { "$in": either.to_vec() });
        }
    }
    if !query.action.is_empty() {
        // Everything from `key.` up to what comes after it in the order of texts.
        let (from, to) = (format!("{}.", query.action), format!("{}/", query.action));
        filter.insert(
            "$or",
            vec![
                doc! { "action": &query.action },
                doc! { "action": { "$gte": from, "$lt": to } },
            ],
        );
    }
    filter
}

fn raw(document: &Document) -> Result<RawDocumentBuf, Failure> {
    RawDocumentBuf::try_from(document).map_err(|error| broken(&error.to_string()))
}

fn broken(reason: &str) -> Failure {
    Failure::new(
        "SYS_ERR",
        format!("read the audit log: {reason}"),
        Retry::Never,
    )
}
